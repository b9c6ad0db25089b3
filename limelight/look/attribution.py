"""Direct logit attribution: what each part of the network adds to an answer by itself (nostalgebraist, 2020; Elhage et
al., 2021; Wang et al., 2023, section 3.1).

The stream from which the answer is read is a sum: the embeddings, and what each layer's heads and feed-forward added
there. With the norms held at the scale that they had, so is the difference of two logits.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.errors import RequestError
from limelight.look.decompose import explained
from limelight.look.grid import Grid, heads
from limelight.look.linear import along_bias, backward, pull
from limelight.look.logit_difference import asked, spelled
from limelight.look.parts import PARTS, activations
from limelight.look.record import block_of, stack_of
from limelight.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from limelight.look.seen import Seen


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Grid):
    """The log-odds of an answer against a foil, which is the difference of their logits, taken apart.

    answer, foil: tokens. log_odds: their difference, to which ``embeddings + attention.sum() + feedforward.sum() +
    rest`` adds up. embeddings: what the asking token brings. heads: [L, H]. attention: [L], the heads' sum and what
    the biases of values and output give. feedforward: [L]. rest: biases of norms and head, which belong to no layer.
    """

    answer: str
    foil: str
    log_odds: float
    embeddings: float
    heads: Tensor
    attention: Tensor
    feedforward: Tensor
    rest: float

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The heads by number, what their output's bias gave, and the feed-forward."""
        return (*heads(self.heads.shape[1]), "bias", "feedforward")

    @property
    def values(self) -> Tensor:
        """All that layers added, [L, H + 2]."""
        bias = self.attention - self.heads.sum(1)
        return torch.cat((self.heads, bias[:, None], self.feedforward[:, None]), 1)

    @property
    def title(self) -> str:
        """The log-odds, and how much of them no layer added."""
        outside = f"{self.log_odds:+.2f}, of which the embeddings {self.embeddings:+.2f} and no layer {self.rest:+.2f}"
        return f"Logit attribution: “{self.answer}” rather than “{self.foil}” {outside.replace('-', '−')}"


@torch.no_grad()
def attribute(tokenizer: Tokenizer, seen: "Seen", answer: str | None, foil: str | None) -> Attribution:
    """See `limelight.look.Seen.logit_attribution`."""
    network = seen.session.network
    stack = stack_of(network)
    question = asked(tokenizer, seen, answer, foil)
    found, hidden = activations(network, torch.tensor([seen.ids]), PARTS, lambda made: made[0, -1])
    stream = [each.float() for each in found["residual"]]
    direction, offset = explained(network, question, 0, hidden[0, -1].float())
    log_odds = float(direction @ hidden[0, -1].float()) + offset
    rest = offset + along_bias(stack.norm, direction)
    direction = pull(stack.norm, stream[-1], direction)
    by_head, attention, feedforward = [], [], []
    for layer in reversed(range(len(stack.blocks))):
        block = block_of(network, layer)
        if len(block.joins) != 2:
            raise RequestError("only a model that reads one text can be taken apart: this one hears a source as well")
        first, second = block.joins
        heard, fed = found["attention"][layer], found["feedforward"][layer]
        added = second.inner(fed).float()
        between = stream[layer] + first.inner(heard).float()
        rest += along_bias(second.outer, direction)
        direction = pull(second.outer, first.outer(between) + added, direction)
        feedforward.append(direction @ added)
        rest += along_bias(first.outer, direction)
        direction = pull(first.outer, between, direction)
        attention.append(direction @ first.inner(heard).float())
        # In front of the output matrix the heads stand side by side.
        mixed = found["heads"][layer].float()
        toward = backward(
            block.attention.out, len(mixed), pull(first.inner, heard.float(), direction)[None], network.dtype
        )
        by_head.append((toward[0] * mixed).view(-1, block.attention.head_width).sum(-1))
    brought = float(direction @ stream[0])
    heads_gave, attention_gave, fed_gave = (torch.stack(each[::-1]).cpu() for each in (by_head, attention, feedforward))
    return Attribution(*spelled(seen, question), log_odds, brought, heads_gave, attention_gave, fed_gave, rest)
