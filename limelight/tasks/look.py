"""Looking at a translation: which source words each target word listens to, and which ones made the model say it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limelight import given
from limelight.errors import RequestError
from limelight.look import Heard, Importance
from limelight.look.recurrent import checked
from limelight.look.target import likeliest_rivals, one_rival
from limelight.models.api import Seq2Seq
from limelight.nn.recurrent import RecurrentDecoder, RecurrentEncoder
from limelight.tasks.align import Step, by_word, listening, steps
from limelight.tasks.translate import Language
from limelight.text.words import Word, find, words

ROWS = 64
"""The most variants of a source in one batch."""


class SeenTranslation:
    """A source text and its translation, looked at by the model. Everything is computed when asked for.

    Words are asked for and numbered as in `limelight.Seen`.
    """

    def __init__(self, network: Seq2Seq, language: Language, source: str, target: str) -> None:
        """Raises RequestError if a side has no words, or more than the model can read."""
        self._network = network
        self._language = language
        self.source = given.text("source", source).strip()
        self.target = given.text("target", target).strip()
        self.source_words = _words(self.source, language.source.encode(self.source).offsets)
        self.target_words = _words(self.target, language.target.encode(self.target).offsets)
        self._source = [*language.read(self.source), language.marks.end]
        self._target = [language.marks.start, *language.target.encode(self.target).ids]
        for side, tokens in (("source", self._source), ("translation", self._target)):
            if len(tokens) > network.context:
                raise RequestError(
                    f"the {side} has {len(tokens):,} tokens and the model reads at most {network.context:,}; shorten it"
                )

    def __repr__(self) -> str:
        return f"SeenTranslation({given.shown(self.source)} → {given.shown(self.target)})"

    @property
    def layers(self) -> int:
        """The layers that listen to the source: one in a recurrent model, none if it listens to its end alone."""
        return len(self._network.crosses)

    def alignments(self, step: Step | None = None) -> Tensor:
        """How much each target word listens to each source word in every layer: [L, target words, source words].

        step: see `limelight.tasks.align.by_word`. Raises RequestError for a model that does not attend to its source.
        """
        ours, theirs = ([(word.start, word.end) for word in side] for side in (self.source_words, self.target_words))
        return by_word(self._network, self._language, self.source, self.target, ours, theirs, step)

    def alignment(self, layer: int | None = None, step: Step | None = None) -> Tensor:
        """How much each target word listens to each source word: [target words, source words].

        layer: of the decoder, from 0; without it the one that listens most to the words that mattered, which takes the
        importance of all words; see `listening`. step: see `limelight.tasks.align.by_word`. Raises RequestError for a
        layer that does not exist, and for a model that does not attend to its source.
        """
        if layer is None and self.layers * len(steps(self._network)) > 1:
            layers, layer, _ = self.listening(self.importances(), step)
            return layers[layer]
        layers, layer = self.alignments(step), 0 if layer is None else layer
        if not 0 <= given.whole("layer", layer) < len(layers):
            raise RequestError(f"there is no layer {layer}: the decoder has layers 0 to {len(layers) - 1}")
        return layers[layer]

    def listening(self, importance: Tensor, step: Step | None = None) -> tuple[Tensor, int, Step]:
        """Where words listen most to what mattered: the alignment of all layers at a step, the layer, and the step.

        importance: [target words, source words], see `importances`. step: the one to read at; without it all that the
        model can be looking at, since some layers look for the word that was just written, others for the one to come.
        """
        shape = len(self.target_words), len(self.source_words)
        if given.a(Tensor, "importance", importance, "a tensor").shape != shape:
            raise RequestError(f"importance has the shape {tuple(importance.shape)}; it must be {shape}")
        layers = {each: self.alignments(each) for each in (steps(self._network) if step is None else [step])}
        found = {each: listening(weights, importance) for each, weights in layers.items()}
        best = max(found, key=lambda each: found[each][1])
        return layers[best], found[best][0], best

    def importances(self) -> Tensor:
        """`importance` of every source word for every target word: [target words, source words]."""
        numbers = range(1, len(self.target_words) + 1)
        return torch.tensor([[h.importance for h in self.importance(n, check=False).words] for n in numbers])

    def logits(self, word: str | int | None = None) -> Tensor:
        """The model's logits [n, V] in the places of the n tokens of a word of the translation, the last if None."""
        return self._logits([()], self._word(word))[0]

    def importance(
        self,
        word: str | int | None = None,
        *,
        against: str | None = None,
        written: bool = False,
        check: bool = True,
    ) -> Importance:
        """Which source words made the model say a word of the translation, where it stands.

        word: of the translation, by its text or its number from 1; without it the last one. against: another word; the
        question is then why this word rather than that one; without it the ten likeliest others. written: whether the
        words of the translation before it are judged too; they stand behind the source's in the answer, with their
        places in the translation. A transformer is made deaf to each word (method "blocking"), only the word written
        last is left out, since the model asks from there; for a recurrent model all words are left out
        ("leave-one-out"). What falls are the log-odds. Raises RequestError if there is no such word.
        """
        asked = self._word(word)
        first = asked.tokens.start + 1  # behind the mark of the start
        whole = self._logits([()], asked)
        question = likeliest_rivals(whole[0], first, self._target[first : asked.tokens.stop + 1])
        probability = float(question.logprob(whole)[0])
        given.flag("written", written)
        given.flag("check", check)
        if against is not None:
            given.text("against", against)
            other = self._language.target.encode(f"{self._gap(asked)}{against.strip()}").ids
            question = one_rival(first, question.tokens, other, against)

        def odds(sets: Sequence[Sequence[int]]) -> list[float]:
            logits = self._logits(sets, asked)
            found: list[float] = question.odds(logits[:, [at + 1 - first for at in question.at]]).tolist()
            return found

        before = odds([()])[0]

        def falls(sets: Sequence[Sequence[int]]) -> list[float]:
            return [before - each for each in odds(sets)]

        judged = [*self.source_words, *(self._before(asked) if written else ())]
        values = falls([(i,) for i in range(len(judged))])
        asks = len(judged) - 1 if len(judged) > len(self.source_words) else None
        heard = enumerate(zip(judged, values, strict=True))
        return Importance(
            asked,
            probability,
            tuple(self._language.target.spell(id) for id in question.rivals[0]),
            "leave-one-out" if self._leaves_out else "blocking",
            tuple(Heard(each.text, each.start, each.end, value, i == asks) for i, (each, value) in heard),
            checked(values[:asks], falls) if check else None,
            (),
        )

    def _word(self, word: str | int | None) -> Word:
        return self.target_words[-1 if word is None else find(self.target_words, word)]

    def _gap(self, word: Word) -> str:
        """The white space in front of a word of the translation."""
        ahead = self.target[: word.start]
        return ahead[len(ahead.rstrip()) :]

    def _before(self, asked: Word) -> tuple[Word, ...]:
        """The words of the translation in front of one."""
        return tuple(word for word in self.target_words if word.tokens.stop <= asked.tokens.start)

    @property
    def _leaves_out(self) -> bool:
        """Whether nothing can be hidden from the model, so that words are left out instead."""
        return isinstance(self._network.encoder, RecurrentEncoder) or isinstance(
            self._network.decoder, RecurrentDecoder
        )

    @torch.inference_mode()
    def _logits(self, sets: Sequence[Sequence[int]], asked: Word) -> Tensor:
        """Logits [B, n, V] for the tokens of a target word, each time deaf to some words: those of the source by their
        places, behind them those of the translation."""
        network, device = self._network, self._network.device
        found = []
        for at in range(0, len(sets), ROWS):
            variants = [self._variant(each, asked) for each in sets[at : at + ROWS]]
            sources = pad_sequence([torch.tensor(each.source) for each in variants], batch_first=True)
            lengths = torch.tensor([len(each.source) for each in variants])
            targets = pad_sequence([torch.tensor(each.target) for each in variants], batch_first=True)  # [B, T]
            heard = shown = None
            if not self._leaves_out:
                heard = torch.stack([each.heard for each in variants]).to(device)  # [B, S]
                length = targets.shape[1]
                shown = torch.ones(len(variants), length, length, dtype=torch.bool)
                for row, each in zip(shown, variants, strict=True):
                    for part in each.hidden:
                        row[part.stop :, part.start : part.stop] = False
                shown = shown.to(device)
            state = network.start(network.encode(sources.to(device), lengths, heard), 0)
            hidden = network.read(targets.to(device), state, visible=shown)  # [B, T, W]
            ends = torch.tensor([len(each.target) for each in variants])
            places = ends[:, None] - len(asked.tokens) + torch.arange(len(asked.tokens))  # [B, n]
            found.append(network.logits(hidden[torch.arange(len(variants))[:, None], places]).cpu())
        return torch.cat(found)

    def _variant(self, deaf: Sequence[int], asked: Word) -> "_Variant":
        """Both texts up to the word in question, without or deaf to some words."""
        read = self._target[: asked.tokens.stop]
        source = {token for i in deaf if i < len(self.source_words) for token in self.source_words[i].tokens}
        written = [self._before(asked)[i - len(self.source_words)] for i in deaf if i >= len(self.source_words)]
        parts = [range(word.tokens.start + 1, word.tokens.stop + 1) for word in written]  # behind the start mark
        asks = [part for part in parts if self._leaves_out or part.stop == asked.tokens.start + 1]
        gone = {token for part in asks for token in part}
        return _Variant(
            [id for i, id in enumerate(self._source) if not (self._leaves_out and i in source)],
            [id for i, id in enumerate(read) if i not in gone],
            torch.tensor([i not in source for i in range(len(self._source))]),
            [part for part in parts if part not in asks],
        )


@dataclass(frozen=True)
class _Variant:
    """What the model reads: tokens of both sides, which of the source [S] it hears, and which ranges of the target are
    hidden from what follows them."""

    source: list[int]
    target: list[int]
    heard: Tensor
    hidden: list[range]


def _words(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[Word, ...]:
    found = tuple(word for word in words(text, offsets) if word.text.strip())
    if not found:
        raise RequestError("an empty text has no words to look at; give at least one word on each side")
    return found
