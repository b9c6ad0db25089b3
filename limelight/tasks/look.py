"""Looking at a translation: which source words each target word listens to, and which ones made the model say it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limelight.errors import RequestError
from limelight.look import Heard, Importance
from limelight.look.recurrent import checked
from limelight.look.target import likeliest_rivals
from limelight.models.api import Seq2Seq
from limelight.nn.recurrent import RecurrentEncoder
from limelight.tasks.align import Step, by_word
from limelight.tasks.translate import Language
from limelight.text.words import Word, find, words

ROWS = 64
"""The most variants of a source in one batch."""


class SeenTranslation:
    """A source text and its translation, looked at by the model. Everything is computed when asked for."""

    def __init__(self, network: Seq2Seq, language: Language, source: str, target: str) -> None:
        """Raises RequestError if a side has no words, or more than the model can read."""
        self._network = network
        self._language = language
        self.source = source.strip()
        self.target = target.strip()
        self.source_words = _words(self.source, language.source.encode(self.source).offsets)
        self.target_words = _words(self.target, language.target.encode(self.target).offsets)
        self._source = [*language.read(self.source), language.marks.end]
        self._target = [language.marks.start, *language.target.encode(self.target).ids]
        for side, tokens in (("source", self._source), ("translation", self._target)):
            if len(tokens) > network.context:
                raise RequestError(
                    f"the {side} has {len(tokens):,} tokens and the model reads at most {network.context:,}; shorten it"
                )

    def alignment(self, layer: int | None = None, step: Step | None = None) -> Tensor:
        """How much each target word listens to each source word: [target words, source words].

        layer: of the decoder, from 0; without it the one in the middle, which mostly aligns best. step: see
        `limelight.tasks.align.by_word`. Raises RequestError for a layer that does not exist, and for a model that does
        not attend to its source.
        """
        layers = by_word(
            self._network,
            self._language,
            self.source,
            self.target,
            [(word.start, word.end) for word in self.source_words],
            [(word.start, word.end) for word in self.target_words],
            step,
        )
        layer = len(layers) // 2 if layer is None else layer
        if not 0 <= layer < len(layers):
            raise RequestError(f"there is no layer {layer}: the decoder has layers 0 to {len(layers) - 1}")
        return layers[layer]

    def importance(self, word: str | int | None = None) -> Importance:
        """Which source words made the model say a word of the translation, where it stands.

        word: of the translation, by its text or its number from 1; without it the last one. A transformer is made deaf
        to each source word (method "blocking"); for a recurrent model the word is left out ("leave-one-out"). What
        falls are the log-odds of the word against the ten likeliest others. Raises RequestError if there is no such
        word.
        """
        place = len(self.target_words) - 1 if word is None else find(self.target_words, str(word))
        asked = self.target_words[place]
        first = asked.tokens.start + 1  # behind the mark of the start
        whole = self._logits([()], asked)
        question = likeliest_rivals(whole[0], first, self._target[first : asked.tokens.stop + 1])

        def falls(sets: Sequence[Sequence[int]]) -> list[float]:
            before = float(question.odds(whole)[0])
            return [before - odds for odds in question.odds(self._logits(sets, asked)).tolist()]

        values = falls([(i,) for i in range(len(self.source_words))])
        heard = zip(self.source_words, values, strict=True)
        return Importance(
            asked,
            float(question.logprob(whole)[0]),
            tuple(self._language.target.token(id) for id in question.rivals[0]),
            "leave-one-out" if isinstance(self._network.encoder, RecurrentEncoder) else "blocking",
            tuple(Heard(each.text, each.start, each.end, value, False) for each, value in heard),
            checked(values, falls),
            (),
        )

    @torch.inference_mode()
    def _logits(self, sets: Sequence[Sequence[int]], asked: Word) -> Tensor:
        """Logits [B, n, V] for the tokens of a target word, each time deaf to some of the source words."""
        network, device = self._network, self._network.device
        places = torch.arange(asked.tokens.start, asked.tokens.stop)
        found = []
        for at in range(0, len(sets), ROWS):
            gone = [{token for i in each for token in self.source_words[i].tokens} for each in sets[at : at + ROWS]]
            if isinstance(network.encoder, RecurrentEncoder):
                kept = [[id for i, id in enumerate(self._source) if i not in each] for each in gone]
                source = pad_sequence([torch.tensor(row) for row in kept], batch_first=True)
                memory = network.encode(source.to(device), torch.tensor([len(row) for row in kept]))
            else:
                visible = torch.tensor([[i not in each for i in range(len(self._source))] for each in gone])
                source = torch.tensor(self._source).expand(len(gone), -1)
                memory = network.encode(source.to(device), None, visible.to(device))
            target = torch.tensor(self._target, device=device).expand(len(gone), -1)
            hidden = network.read(target, network.start(memory, 0))  # [B, T, W]
            found.append(network.logits(hidden[:, places]).cpu())
        return torch.cat(found)


def _words(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[Word, ...]:
    found = tuple(word for word in words(text, offsets) if word.text.strip())
    if not found:
        raise RequestError("an empty text has no words to look at; give at least one word on each side")
    return found
