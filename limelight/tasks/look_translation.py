"""Looking at a translation: which source words each target word listens to, and which ones made the model say it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look.answer import Importance, answer_of
from limelight.look.importance import chosen, measure
from limelight.look.inquiry import Inquiry
from limelight.look.question import GivenWord
from limelight.look.seq2seq import Seq2SeqSession
from limelight.look.session import Progress
from limelight.look.text import speller
from limelight.models.api import Seq2Seq
from limelight.tasks.evaluation.alignment import Asking, by_word, listening, steps
from limelight.tasks.translate import Language
from limelight.text.words import Word, find, words


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
        ours = language.heard(language.read(self.source))
        theirs = [*language.begins, *language.target.encode(self.target).ids]
        for side, tokens in (("source", ours), ("translation", theirs)):
            if len(tokens) > network.context:
                raise RequestError(
                    f"the {side} has {len(tokens):,} tokens and the model reads at most {network.context:,}; shorten it"
                )
        self.session = Seq2SeqSession(network, ours, theirs, speller(language.target), speller(language.source))

    def __repr__(self) -> str:
        return f"SeenTranslation({given.shown(self.source)} → {given.shown(self.target)})"

    @property
    def layers(self) -> int:
        """The layers that listen to the source: one in a recurrent model, none if it listens to its end alone."""
        return len(self._network.crosses)

    def alignments(self, step: Asking | None = None) -> Tensor:
        """How much each target word listens to each source word in every layer: [L, target words, source words].

        step: see `alignment.by_word`. Raises RequestError for a model that does not attend to its source.
        """
        ours, theirs = ([(word.start, word.end) for word in side] for side in (self.source_words, self.target_words))
        return by_word(self._network, self._language, self.source, self.target, ours, theirs, step)

    def alignment(self, layer: int | None = None, step: Asking | None = None) -> Tensor:
        """How much each target word listens to each source word: [target words, source words].

        layer: of the decoder, from 0; without it the one that listens most to the words that mattered, which takes the
        importance of all words; see `listening`. step: see `alignment.by_word`. Raises RequestError for a layer that
        does not exist, and for a model that does not attend to its source.
        """
        if layer is None and self.layers * len(steps(self._network)) > 1:
            layers, layer, _ = self.listening(self.importances(), step)
            return layers[layer]
        layers, layer = self.alignments(step), 0 if layer is None else layer
        if not 0 <= given.whole("layer", layer) < len(layers):
            raise RequestError(f"there is no layer {layer}: the decoder has layers 0 to {len(layers) - 1}")
        return layers[layer]

    def listening(self, importance: Tensor, step: Asking | None = None) -> tuple[Tensor, int, Asking]:
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
        """What every source word did for every target word, by blocking it, or leaving it out where nothing can be
        blocked, which takes one variant of the text each: [target words, source words]."""
        numbers = range(1, len(self.target_words) + 1)
        method = "blocking" if self.session.blocks else "leave-one-out"
        return torch.tensor(
            [[h.importance or 0.0 for h in self.importance(n, method=method, check=False).words] for n in numbers]
        )

    def logits(self, word: str | int | None = None) -> Tensor:
        """The model's logits [n, V] in the places of the n tokens of a word of the translation, the last if None."""
        return self._answers(self._word(word))

    def importance(
        self,
        word: str | int | None = None,
        *,
        foil: str | None = None,
        method: str | None = None,
        written: bool = False,
        check: bool = True,
        progress: Progress | None = None,
    ) -> Importance:
        """Which source words made the model say a word of the translation, where it stands.

        word: of the translation, by its text or its number from 1; without it the last one. foil: another word; the
        question is then why this word rather than that one. method: one of `limelight.look.METHODS` that fits; without
        it the words are measured, see `limelight.look.measured`. written: whether the words of the translation before
        it are judged too; they stand behind the source's in the answer, with their places in the translation.
        Raises RequestError if there is no such word, or if the method does not fit.
        """
        asked = self._word(word)
        if method is not None:
            chosen(method, self.session)
        given.flag("written", written)
        given.flag("check", check)
        given.callback("progress", progress)
        at = self._at(asked)
        tokens = [self.session.tokens[place + 1] for place in at]
        answers = self._answers(asked)
        whole = question = GivenWord(tuple(at), tuple(tokens))
        if foil is not None:
            given.text("foil", foil)
            other = self._language.target.encode(f"{self._gap(asked)}{foil.strip()}").ids
            question = GivenWord.against(at, tokens, other, foil)
        before = [each for each in self.target_words if each.tokens.stop <= asked.tokens.start] if written else []
        ahead, shift = len(self._language.front), self.session.split + len(self._language.begins)
        spans = [range(each.tokens.start + ahead, each.tokens.stop + ahead) for each in self.source_words]
        spans += [range(each.tokens.start + shift, each.tokens.stop + shift) for each in before]
        inquiry = Inquiry(self.session, question, tuple(spans))
        if method is not None:
            chosen(method, self.session)
        found = measure(inquiry, method, progress, check)
        first = answers[0]
        return answer_of(
            found,
            [*self.source_words, *before],
            inquiry.asks,
            target=asked,
            logprob=float(whole.logprob(answers[None])[0]),
            rank=1 + int((first > first[tokens[0]]).sum()),
            expected=self._language.target.spell(int(first.argmax())).strip(),
            foil=foil,
        )

    def _at(self, asked: Word) -> range:
        """The positions of the session whose next tokens are those of a target word; what begins it comes first."""
        first = self.session.split + len(self._language.begins) - 1 + asked.tokens.start
        return range(first, first + len(asked.tokens))

    def _answers(self, asked: Word) -> Tensor:
        """The logits [n, V] in the places of a target word."""
        question = GivenWord(tuple(self._at(asked)), ())
        return self.session.once(("logits", asked), lambda: self.session.answers(question)[0])

    def _word(self, word: str | int | None) -> Word:
        return self.target_words[-1 if word is None else find(self.target_words, word)]

    def _gap(self, word: Word) -> str:
        """The white space in front of a word of the translation."""
        ahead = self.target[: word.start]
        return ahead[len(ahead.rstrip()) :]


def _words(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[Word, ...]:
    found = tuple(word for word in words(text, offsets) if word.text.strip())
    if not found:
        raise RequestError("an empty text has no words to look at; give at least one word on each side")
    return found
