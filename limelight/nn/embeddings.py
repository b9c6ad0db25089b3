"""What a stack makes of its tokens' vectors before its first block."""

import torch
from torch import Tensor, nn

from limelight.errors import RequestError
from limelight.nn.positions import Positions


class Embeddings(nn.Module):
    """``project(dropout(norm(tokens · scale + type + position)))``; each part may be missing.

    positions: adds what tells one position from another. types: a vector for each type of token, such as the first
    and the second of two texts (Devlin et al., 2019). project: to the stack's width where the vectors are of another
    (Lan et al., 2020).
    """

    def __init__(
        self,
        positions: nn.Module,
        dropout: nn.Module,
        *,
        scale: float = 1.0,
        types: nn.Module | None = None,
        norm: nn.Module | None = None,
        project: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.types = types
        self.positions = positions
        self.norm = nn.Identity() if norm is None else norm
        self.dropout = dropout
        self.project = nn.Identity() if project is None else project

    def forward(self, x: Tensor, positions: Positions, types: Tensor | None = None) -> Tensor:
        """Token vectors [B, T, E] and their types [B, T] (None: all 0) → [B, T, W].

        Raises RequestError for types that the model does not know.
        """
        if self.scale != 1.0:
            x = x * torch.tensor(self.scale, dtype=x.dtype, device=x.device)
        if self.types is not None:
            x = x + self.types(x.new_zeros(1, dtype=torch.int64) if types is None else types)
        elif types is not None and bool(types.any()):
            raise RequestError("this model knows one type of token only; leave the types out")
        out: Tensor = self.project(self.dropout(self.norm(self.positions(x, positions))))
        return out
