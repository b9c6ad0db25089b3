"""The parts of a transformer's layers, and what they put out: to be read, or replaced by something else."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from limelight.errors import RequestError
from limelight.look.record import stream_of, twin
from limelight.models.api import Decoder
from limelight.nn.block import Block, NoFeedForward
from limelight.nn.state import State
from limelight.nn.unit import RecurrentUnit

T = TypeVar("T")

PARTS = {
    "residual": "the stream in front of a layer, [B, T, W]; one layer further, behind the last one",
    "attention": "what a layer's attention puts out, [B, T, W]",
    "feedforward": "what a layer's feed-forward puts out, [B, T, W]",
    "heads": "what a layer's heads heard, side by side, in front of the output matrix, [B, T, H · D]",
}
"""Part → what of it is read or replaced. Norms behind a part, where a layer has them, come after it."""


def change(block: Block, part: str, made: Callable[[Tensor], Tensor]) -> None:
    """Lets a twin's layer go on with what `made` returns for what one of its `PARTS` put out; in place."""
    if part == "heads" and isinstance(block.attention, RecurrentUnit):
        raise RequestError("a recurrent unit of this model has no heads; look at another part")
    if part == "feedforward" and isinstance(block.feedforward, NoFeedForward):
        raise RequestError("the layers of this model have no feed-forward; look at another part")
    if part == "heads":
        block.attention.out.register_forward_pre_hook(_ahead(made))
    elif part == "residual":
        block.register_forward_pre_hook(_ahead(made))
    else:
        module: nn.Module = getattr(block, part)
        module.register_forward_hook(lambda module, inputs, output: made(output))


def _ahead(made: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    return lambda module, inputs: (made(inputs[0]), *inputs[1:])


@torch.no_grad()
def activations(
    network: Decoder,
    tokens: Tensor,
    parts: Collection[str],
    keep: Callable[[Tensor], T],
    counts: Tensor | None = None,
    state: State | None = None,
) -> tuple[dict[str, list[T]], Tensor]:
    """What `keep` makes of what each layer's parts put out for tokens [B, T]; and the final hidden states [B, T, W].

    The list for "residual" has one more than there are layers: last, the stream behind all of them, in front of the
    final norm. counts: [B] int64 on CPU, the real tokens of each row (None: T). state: what is to remember the text.
    Raises RequestError for a model whose layers have no such part.
    """
    other = twin(network)
    stack = stream_of(other)
    found: dict[str, list[T]] = {part: [] for part in parts}

    def noting(part: str) -> Callable[[Tensor], Tensor]:
        def note(made: Tensor) -> Tensor:
            found[part].append(keep(made))
            return made

        return note

    for layer in range(len(stack.blocks)):
        for part in parts:
            change(cast("Block", stack.blocks[layer]), part, noting(part))
    if "residual" in found:
        stack.norm.register_forward_pre_hook(_ahead(noting("residual")))
    hidden = other.read(tokens.to(network.device), state, counts)
    return found, hidden
