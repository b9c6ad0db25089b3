"""Recurrent units that stand where a block has attention, and what state space models and linear attention share.

Each reads many words at once by a parallel form, and passes on what a word alone is read behind.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.nn.mask import Mask
from limelight.nn.norm import RMSNorm
from limelight.nn.positions import NoRotary, Positions
from limelight.nn.recurrent import Carried, Tensors

CHUNK = 32
"""Positions that are read by products of pairs; from chunk to chunk a state is carried."""


class RecurrentUnit(nn.Module, ABC):
    """It is called as attention is, and keeps one state for a text and not one for each of its positions.

    So a text cannot be taken back, and no word can be hidden from those behind it. carries: the shapes of the tensors
    that are carried from step to step, for one row. The last linear layer is called `out`, as attention's is.
    """

    window = None
    carries: tuple[tuple[int, ...], ...]

    def __init__(self) -> None:
        super().__init__()
        self.rotary = NoRotary()

    def cache(self, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> Carried:
        """What `rows` texts carry before their first word; in full precision, since what a state loses stays lost."""
        with torch.inference_mode(False):
            return Carried(tuple(torch.zeros(rows, *shape, device=device) for shape in self.carries))

    def forward(
        self, x: Tensor, positions: Positions, mask: Mask, cache: Carried | None, starts: int | Tensor
    ) -> Tensor:
        """x [B, T, W] → [B, T, W], behind what the cache has seen."""
        if cache is None:
            cache = self.cache(len(x), 0, x.dtype, x.device)
        out, cache.tensors = self.read(x, cache.tensors, positions)
        return out

    @abstractmethod
    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        """What x [B, T, W] is made into, and what is carried on.

        What stands behind the real positions of each row (`Positions.counts`) changes nothing that is carried.
        """

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws the weights that are the unit's own; those of its layers are not touched."""


def real(x: Tensor, counts: Tensor | None) -> Tensor:
    """x [B, T, ..] with zeros behind the real positions of each row."""
    if counts is None:
        return x
    within = torch.arange(x.shape[1]) < counts[:, None]  # [B, T]
    return x * within.to(x.device, x.dtype).view(*within.shape, *(1,) * (x.dim() - 2))


def heads(x: Tensor, count: int) -> Tensor:
    """[.., count · D] → [.., count, D]."""
    return x.view(*x.shape[:-1], count, -1)


class CausalConv(nn.Conv1d):
    """Each of C channels as a weighted sum of its last `size` values; the weights are torch's, [C, 1, size]."""

    def __init__(self, channels: int, size: int, *, bias: bool) -> None:
        super().__init__(channels, channels, size, groups=channels, bias=bias)

    def read(self, x: Tensor, before: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [B, T, C] behind the values `before` [B, size - 1, C] → [B, T, C], and the last values of each row."""
        T, last = x.shape[1], before.shape[1]
        seen = torch.cat((before.to(x.dtype), x), 1)
        weight = self.weight[:, 0].T  # [size, C]
        out = seen[:, last:] * weight[last] if self.bias is None else torch.addcmul(self.bias, x, weight[last])
        for i in range(last):  # many times as fast as torch's own, which is made for many channels in a group
            out = torch.addcmul(out, seen[:, i : i + T], weight[i])
        if counts is None:
            return out, seen[:, T:].float()
        place = counts[:, None] + torch.arange(last)  # [B, size - 1]
        return out, seen[torch.arange(len(x))[:, None], place.to(x.device)].float()


def scan(keep: Tensor, new: Tensor, before: Tensor) -> Tensor:
    """``c_t = keep_t · c_{t-1} + new_t`` for all t [B, T, ..], c before the first as given [B, ..].

    In about 2 √T steps: side by side through pieces of √T positions, from zero; then from piece to piece.
    """
    out: Tensor = _Scan.apply(keep, new, before)  # type: ignore[no-untyped-call]
    return out


def _scanned(keep: Tensor, new: Tensor, before: Tensor) -> Tensor:
    B, T = keep.shape[:2]
    if T == 1:
        return torch.addcmul(new, keep, before[:, None])
    size = round(T**0.5)
    more = -T % size
    fill = new.new_zeros(B, more, *new.shape[2:])
    out = torch.cat((new, fill), 1).view(B, -1, size, *new.shape[2:])
    kept = torch.cat((keep, fill), 1).view(out.shape)
    for i in range(1, size):
        out[:, :, i].addcmul_(kept[:, :, i], out[:, :, i - 1])
        kept[:, :, i].mul_(kept[:, :, i - 1])
    for i in range(out.shape[1]):
        out[:, i].addcmul_(kept[:, i], before[:, None])
        before = out[:, i, -1]
    return out.flatten(1, 2)[:, :T]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: Tensor, new: Tensor, before: Tensor) -> Tensor:
        out = _scanned(keep, new, before)
        ctx.save_for_backward(keep, out, before)
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, out, before = ctx.saved_tensors
        later = torch.cat((keep[:, 1:], torch.zeros_like(keep[:, :1])), 1).flip(1)
        new = _scanned(later, slopes[0].flip(1), torch.zeros_like(before)).flip(1)
        return new * torch.cat((before[:, None], out[:, :-1]), 1), new, new[:, 0] * keep[:, 0]


def linear_attention(
    q: Tensor, k: Tensor, v: Tensor, fall: Tensor, state: Tensor, beta: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """``o_t = q_t S_t`` with ``S_t = exp(fall_t) S_{t-1} + k_t v_tᵀ``: what is read [B, T, H, P], and the last state.

    q, k: [B, T, G, N]; v: [B, T, H, P], of which H / G heads in a row share their q and k; fall: [B, T, H], none above
    zero; state: [B, H, N, P]. All in float32. beta: [B, T, H]; with it v is first set against what the state already
    says to k, ``v_t ← beta_t (v_t - exp(fall_t) k_t S_{t-1})`` (the gated delta rule; Yang et al., 2025).

    Within a chunk by products of all pairs (Dao & Gu, 2024, section 6; for the delta rule Yang et al., 2024, section
    3.2), from chunk to chunk by the state; a word alone as it stands above, which costs a sixth.
    """
    with torch.autocast(q.device.type, enabled=False):
        return (_chunks if k.shape[1] > 1 else _word)(q, k, v, fall, state, beta)


def _word(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, state: Tensor, beta: Tensor | None) -> tuple[Tensor, Tensor]:
    (B, _, G, N), (H, P) = k.shape, v.shape[2:]
    state = state.view(B, G, H // G, N, P) * fall.exp().view(B, G, -1, 1, 1)
    key, value = k.view(B, G, 1, N, 1), v.view(B, G, -1, 1, P)
    if beta is not None:
        value = beta.view(B, G, -1, 1, 1) * (value - key.mT @ state)
    state = torch.addcmul(state, key, value)
    return (q.view(B, G, 1, 1, N) @ state).view(B, 1, H, P), state.view(B, H, N, P)


def _chunks(q: Tensor, k: Tensor, v: Tensor, fall: Tensor, state: Tensor, beta: Tensor | None) -> tuple[Tensor, Tensor]:
    (B, T, G, N), (H, P) = k.shape, v.shape[2:]
    size = min(T, CHUNK)

    def chunks(x: Tensor, heads: int) -> Tensor:
        """[B, T, heads, ..] → [B, C, G, heads / G, L, ..]; what is missing behind the text leaves the state alone."""
        x = F.pad(x, (*(0, 0) * (x.dim() - 2), 0, -T % size))
        return x.reshape(B, -1, size, G, heads // G, *x.shape[3:]).movedim(2, 4)

    q, k, v = chunks(q, G), chunks(k, G), chunks(v, H)
    falls = chunks(fall, H)  # [B, C, G, H / G, L]
    # Summed from each position on: a difference of sums from the first one on would lose what is small beside them.
    apart = falls[..., None].expand(*falls.shape, size).tril(-1).cumsum(-2)
    between = apart.exp().tril()  # what is left at the row's position of what the column's wrote
    summed = falls.cumsum(-1)
    read = (q @ k.mT) * between
    asked = q * summed.exp()[..., None]
    written = k * between[..., -1, :, None]
    recalled = None
    if beta is not None:
        share = chunks(beta, H)[..., None]
        system = (k @ k.mT) * between * share
        both = torch.cat((v * share, k * share * summed.exp()[..., None]), -1)
        solved = torch.linalg.solve_triangular(system, both, upper=False, unitriangular=True)
        v, recalled = torch.split(solved, [P, N], -1)
    outs = []
    state = state.view(B, G, H // G, N, P)
    left = summed[..., -1:, None].exp()
    for c in range(q.shape[1]):
        value = v[:, c] if recalled is None else v[:, c] - recalled[:, c] @ state
        outs.append(asked[:, c] @ state + read[:, c] @ value)
        state = state * left[:, c] + written[:, c].mT @ value
    out = torch.stack(outs, 1).movedim(4, 2).reshape(B, -1, H, P)[:, :T]
    return out, state.reshape(B, H, N, P)


class GroupedRMSNorm(RMSNorm):
    """An RMS norm of each of `groups` equal parts of its input, with one gain over all."""

    def __init__(self, width: int, eps: float, groups: int) -> None:
        super().__init__(width, eps)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """x [.., W]."""
        parts = heads(x, self.groups)
        normal = F.rms_norm(parts, parts.shape[-1:], None, self.eps)
        return normal.flatten(-2) * self.weight
