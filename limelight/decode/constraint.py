"""What a text may hold, told token by token: the place where grammars and schemas are put in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from limelight.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor


class Constraint(Protocol):
    """Says which tokens may come next; one object for one text, which it follows from the first generated token on.

    It is asked once before each token that is chosen, and told each token that the text went on by, the one that ends
    it included. Guesses of a draft are no exception: each is told only once it was chosen. So an object that counts or
    parses need never take anything back. Whatever either method raises ends this text and no other, see
    `Request.error`.
    """

    def mask(self) -> Tensor | None:
        """The tokens that may come next, [V] bool, those that end the text among them; None: all may."""
        ...

    def accept(self, token: int) -> None:
        """The text goes on by this token."""
        ...


def constrained(logits: Tensor, constraint: Constraint) -> Tensor:
    """The logits [1, V] with -inf for what may not come next. Raises RequestError if nothing may, or for a bad mask."""
    mask = constraint.mask()
    if mask is None:
        return logits
    if mask.dtype is not torch.bool or mask.shape != logits.shape[1:]:
        raise RequestError(
            f"the constraint's mask is {mask.dtype} {list(mask.shape)}; it must be bool [{logits.shape[1]}], "
            "one for each token of the vocabulary"
        )
    if not bool(mask.any()):
        raise RequestError("the constraint allows no token here, not even one that ends the text")
    return logits.masked_fill(~mask.to(logits.device), -torch.inf)
