"""Ablation: each part of the network silenced in turn, and what that does to an answer (Michel et al., 2019; Wang et
al., 2023, section 2.2, for means instead of zeros)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight import given
from limelight.look.grid import Grid, heads
from limelight.look.logit_difference import asked, spelled, value
from limelight.look.means import Means, fitting
from limelight.look.parts import PARTS
from limelight.look.patch import places
from limelight.look.record import stack_of
from limelight.look.replaced import Spots, replaced
from limelight.look.session import Progress
from limelight.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from limelight.look.seen import Seen


@dataclass(frozen=True, eq=False, repr=False)
class Ablation(Grid):
    """What an answer loses without each part.

    part: what was silenced, one of `limelight.look.PARTS`; to: "zero" or "mean". answer, foil: tokens. columns: the
    words or tokens at whose places it was silenced, by their numbers; of "heads" the heads, everywhere. log_odds: of
    the answer against the foil, [n, m], natural logarithms; whole: with all parts.
    """

    part: str
    to: str
    answer: str
    foil: str
    columns: tuple[str, ...]
    log_odds: Tensor
    whole: float

    @property
    def values(self) -> Tensor:
        """By how much the log-odds change, [n, m]; below 0 the part speaks for the answer."""
        return self.log_odds - self.whole

    @property
    def title(self) -> str:
        """What was silenced, and the log-odds with all parts."""
        whole = f"{self.whole:+.2f}".replace("-", "−")
        return (
            f"Ablating {self.part} to {self.to}: change of “{self.answer}” rather than “{self.foil}”, {whole} with all"
        )


def ablate(
    tokenizer: Tokenizer,
    seen: "Seen",
    answer: str | None,
    foil: str | None,
    part: str,
    means: Means | None,
    tokens: bool,
    progress: Progress | None,
) -> Ablation:
    """See `limelight.look.Seen.ablate`."""
    given.one_of("part", part, PARTS)
    given.flag("tokens", tokens)
    given.callback("progress", progress)
    network = seen.session.network
    layers = len(stack_of(network).blocks) + (part == "residual")
    instead = [torch.zeros(1)] * layers if means is None else fitting(means, network).of[part]
    question = asked(tokenizer, seen, answer, foil)
    spans, columns = places(seen, tokens)
    found = replaced(network, seen.ids, Spots(part, spans), instead, question, progress)
    if part == "heads":
        columns = heads(found.shape[1])
    to = "zero" if means is None else "mean"
    return Ablation(part, to, *spelled(seen, question), columns, found, value(seen, question))
