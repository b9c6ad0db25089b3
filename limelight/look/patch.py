"""Activation patching: what a part of the network put out for one text, put into its reading of another.

Where that brings back the answer of the first text, the part carries what tells the two apart (Vig et al., 2020; Meng
et al., 2022, section 2, for the stream by layer and place; Wang et al., 2023, section 3, for heads).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look.grid import Grid, heads
from limelight.look.logit_difference import asked, spelled, value
from limelight.look.parts import PARTS, activations
from limelight.look.record import stack_of
from limelight.look.replaced import Spots, replaced
from limelight.look.session import Progress
from limelight.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from limelight.look.seen import Seen

SAME = 1e-4
"""Log-odds that differ by less have nothing between them to restore."""


@dataclass(frozen=True, eq=False, repr=False)
class Patching(Grid):
    """What was restored of one text's answer in another.

    part: what was put in, one of `limelight.look.PARTS`. answer, foil: tokens. columns: the words or tokens at whose
    places it was put in, by their numbers, "corrupted → clean" where they differ; of "heads" the heads, everywhere.
    log_odds: of the answer against the foil, [n, m], natural logarithms; clean, corrupted: of the two texts as they
    are. n is the number of layers, of "residual" one more: the stream in front of each layer, and behind the last.
    """

    part: str
    answer: str
    foil: str
    columns: tuple[str, ...]
    log_odds: Tensor
    clean: float
    corrupted: float

    @property
    def values(self) -> Tensor:
        """How much of the answer was restored, [n, m]: 0 as in the corrupted text, 1 as in the clean one."""
        return (self.log_odds - self.corrupted) / (self.clean - self.corrupted)

    @property
    def title(self) -> str:
        """What was put in, and between which log-odds."""
        ends = f"0 as in the corrupted text ({self.corrupted:+.2f}), 1 as in the clean one ({self.clean:+.2f})"
        return f"Patching {self.part}: “{self.answer}” rather than “{self.foil}”, {ends.replace('-', '−')}"


def patch(
    tokenizer: Tokenizer,
    clean: "Seen",
    corrupted: "Seen",
    answer: str | None,
    foil: str | None,
    part: str,
    tokens: bool,
    progress: Progress | None,
) -> Patching:
    """See `limelight.look.Seen.patch_into`."""
    given.one_of("part", part, PARTS)
    given.flag("tokens", tokens)
    given.callback("progress", progress)
    source, target = clean.session.network, corrupted.session.network
    stack_of(source)
    if source.config.decoder != target.config.decoder:
        raise RequestError("the two texts are looked at by models of different shapes; look at both by one model")
    places, columns = _paired(clean, corrupted, tokens)
    question = asked(tokenizer, clean, answer, foil, corrupted)
    before, wanted = value(corrupted, question), value(clean, question)
    if abs(wanted - before) < SAME:
        raise RequestError("both texts give the answer the same odds, so there is nothing to restore; choose others")
    theirs, _ = activations(source, torch.tensor([clean.ids]), [part], lambda made: made[0])
    found = replaced(target, corrupted.ids, Spots(part, places), theirs[part], question, progress)
    if part == "heads":
        columns = heads(found.shape[1])
    return Patching(part, *spelled(clean, question), columns, found, wanted, before)


def places(seen: "Seen", tokens: bool) -> tuple[tuple[range, ...], tuple[str, ...]]:
    """The words of a text, or its tokens: where they stand, and their names, words by number."""
    spans = tuple(range(i, i + 1) for i in range(len(seen.ids))) if tokens else tuple(w.tokens for w in seen.words)
    return spans, _numbered(_names(seen, tokens), 0 if tokens else 1)


def _names(seen: "Seen", tokens: bool) -> list[str]:
    if tokens:
        return [token.strip() or repr(token) for token in seen.tokens]
    return [word.text for word in seen.words]


def _paired(clean: "Seen", corrupted: "Seen", tokens: bool) -> tuple[tuple[range, ...], tuple[str, ...]]:
    """As `places`, for two texts at once. Raises RequestError where they are not of as many tokens, word by word, or,
    if it is by tokens, in all."""
    if not tokens or len(clean.ids) != len(corrupted.ids):
        _check(clean, corrupted)
    found, _ = places(clean, tokens)
    sides = zip(_names(corrupted, tokens), _names(clean, tokens), strict=True)
    names = [a if a == b else f"{a} → {b}" for a, b in sides]
    return found, _numbered(names, 0 if tokens else 1)


def _check(clean: "Seen", corrupted: "Seen") -> None:
    """Raises RequestError naming the first word that is not of as many tokens as the one in its place."""
    for number, (one, other) in enumerate(zip(clean.words, corrupted.words, strict=False), 1):
        if one.tokens != other.tokens:
            raise RequestError(
                f"word {number} is {_counted(one.text, len(one.tokens))} in the clean text and "
                f"{_counted(other.text, len(other.tokens))} in the corrupted one; to be patched they must be of as many"
            )
    if len(clean.words) != len(corrupted.words) or len(clean.ids) != len(corrupted.ids):
        raise RequestError(
            f"the clean text has {len(clean.words)} words and {len(clean.ids)} tokens, the corrupted one "
            f"{len(corrupted.words)} and {len(corrupted.ids)}; to be patched they must have as many"
        )


def _counted(word: str, tokens: int) -> str:
    return f"“{word}”, {tokens} token{'s' if tokens > 1 else ''},"


def _numbered(names: list[str], first: int) -> tuple[str, ...]:
    return tuple(f"{number} {name}" for number, name in enumerate(names, first))
