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


def allowed(constraint: Constraint, vocab: int) -> Tensor | None:
    """The constraint's mask [V], on whatever device. Raises RequestError if it allows nothing or is no such mask."""
    mask = constraint.mask()
    if mask is None:
        return None
    if mask.dtype is not torch.bool or mask.shape != (vocab,):
        raise RequestError(
            f"the constraint's mask is {mask.dtype} {list(mask.shape)}; it must be bool [{vocab}], "
            "one for each token of the vocabulary"
        )
    if not bool(mask.any()):
        raise RequestError("the constraint allows no token here, not even one that ends the text")
    return mask
