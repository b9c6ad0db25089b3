"""A source text and its translation under an encoder–decoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limelight.look import replacements
from limelight.look.question import GivenWord, NextWord, Question
from limelight.look.session import Session, Variant
from limelight.models.api import Seq2Seq
from limelight.nn.recurrent import RecurrentDecoder, RecurrentEncoder
from limelight.nn.ssru import SSRU


@dataclass(frozen=True)
class _Side:
    """What is read of one of the two texts: tokens, and the ranges of them that are blocked."""

    tokens: tuple[int, ...]
    blocked: tuple[range, ...]


class Seq2SeqSession(Session):
    """Both texts in one line of tokens, the source first, as spans and questions see them. A question's `at` are
    positions of the target whose next tokens are asked for.

    Each source is encoded once for all variants of a batch that leave it as it is.
    """

    network: Seq2Seq
    kind = "a model that translates"
    questions = (GivenWord, NextWord)

    def __init__(
        self,
        network: Seq2Seq,
        source: Sequence[int],
        target: Sequence[int],
        spell: Callable[[int], str] = str,
        spell_source: Callable[[int], str] | None = None,
    ) -> None:
        """source: with what the model expects at its end; target: with the mark of the start. spell, spell_source: a
        token's text in the target and in the source (None: the same)."""
        super().__init__(network, (*source, *target), spell)
        self._spell_source = spell_source or spell
        self.split = len(source)
        self.blocks = not (
            isinstance(network.encoder, RecurrentEncoder) or isinstance(network.decoder, RecurrentDecoder)
        )

        self._inherits = any(isinstance(module, SSRU) for module in network.decoder.modules())

    def asking(self, question: Question, spans: Sequence[range]) -> int | None:
        """The last of the target's spans, if there are any."""
        return len(spans) - 1 if spans and spans[-1].start >= self.split else None

    def likely(self, span: range, n: int) -> list[tuple[int, ...]]:
        """Words that mean much the same in the source's place; in the translation, of those that the model finds likely
        there. See `limelight.look.replacements`."""
        own = self.tokens[span.start : span.stop]
        if span.start < self.split:
            network = self.network
            embed = network.source_embed or network.embed
            return replacements.near(embed, network.source_vocab, network.device, self._spell_source, own, n)
        asked = GivenWord((span.start - 1,), (0,))
        scores = self.once(("likely", span.start), lambda: self.answers(asked)[0, 0])
        return replacements.fitting(self.network, self.spell, own, scores, n)

    def answers(self, question: Question, variants: Sequence[Variant] = (Variant(),)) -> Tensor:
        """Logits [B, n, V] on the CPU at the n places of a question."""
        network, device = self.network, self.network.device
        sides = [self._sides(question, variant) for variant in variants]
        sources = list(dict.fromkeys(source for source, _ in sides))
        targets = [target for _, target in sides]
        with torch.inference_mode():
            memory = network.encode(
                _padded([side.tokens for side in sources]).to(device),
                torch.tensor([len(side.tokens) for side in sources]),
                self._heard(sources),
            )
            if len(sources) < len(sides):
                memory = memory.select(torch.tensor([sources.index(source) for source, _ in sides]))
            read = _padded([side.tokens for side in targets])
            hidden = network.read(read.to(device), network.start(memory, 0), visible=self._seen(targets))  # [B, T, W]
            places = [[each.moved(at + 1) - 1 - each.moved(self.split) for at in question.at] for each in variants]
            return network.logits(hidden[torch.arange(len(variants))[:, None], torch.tensor(places)]).cpu()

    def _values(self, question: Question, variants: Sequence[Variant]) -> Tensor:
        return question.value(self.answers(question, variants))

    def _sides(self, question: Question, variant: Variant) -> tuple[_Side, _Side]:
        """What a variant makes of the source, and of the target up to where is asked."""
        read = self.tokens[: question.at[-1] + 1]
        changed, split = variant.tokens(read), variant.moved(self.split)
        moved = [(part, variant.moved(part.start)) for part in variant.blocked]
        source = tuple(range(at, at + len(part)) for part, at in moved if part.start < self.split)
        target = tuple(range(at - split, at - split + len(part)) for part, at in moved if part.start >= self.split)
        return _Side(tuple(changed[:split]), source), _Side(tuple(changed[split:]), target)

    def _heard(self, sources: Sequence[_Side]) -> Tensor | None:
        """Which positions of the sources may be attended to: [B, S]."""
        if not self.blocks:
            return None
        heard = torch.ones(len(sources), max(len(side.tokens) for side in sources), dtype=torch.bool)
        for row, side in zip(heard, sources, strict=True):
            for part in side.blocked:
                row[part.start : part.stop] = False
        return heard.to(self.network.device)

    def _seen(self, targets: Sequence[_Side]) -> Tensor | None:
        """Which positions of the targets the positions behind them may attend to: [B, T, T]."""
        if not self.blocks:
            return None
        length = max(len(side.tokens) for side in targets)
        seen = torch.ones(len(targets), length, length, dtype=torch.bool)
        for row, side in zip(seen, targets, strict=True):
            for part in side.blocked:
                row[part.stop :, part.start : part.stop] = False
                if self._inherits:  # what is passed on is hidden from all that follow, the word's own tokens too
                    for place in part:
                        row[place + 1 :, place] = False
        return seen.to(self.network.device)


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
