"""Selective state spaces: Mamba (Gu & Dao, 2023) and Mamba-2 (Dao & Gu, 2024)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.nn.positions import Positions
from limelight.nn.recurrent import Tensors
from limelight.nn.unit import CHUNK, CausalConv, GroupedRMSNorm, RecurrentUnit, heads, linear_attention, real, scan

STEPS = 0.001, 0.1
"""Between which the first steps lie (Gu & Dao, 2023, section 3.6)."""


def first_steps(bias: Tensor, generator: torch.Generator | None) -> None:
    """Draws biases by which, behind a softplus, steps are spread evenly over the scales of `STEPS`; in place."""
    low, high = (math.log(step) for step in STEPS)
    steps = torch.empty_like(bias).uniform_(low, high, generator=generator).exp()
    bias.copy_(steps + (-torch.expm1(-steps)).log())


class Mamba(RecurrentUnit):
    """``h_t = exp(A Δ_t) h_{t-1} + Δ_t B_t x_t``, ``y_t = C_t h_t + D x_t``: each of `inner` channels has a state of
    `size` numbers; Δ, B and C come from what is read (Gu & Dao, 2023, algorithm 2).

    Δ comes through `rank` numbers, in which it has no bias.
    """

    def __init__(self, width: int, inner: int, size: int, rank: int, conv: int, *, bias: bool, conv_bias: bool) -> None:
        super().__init__()
        self.x, self.gate = nn.Linear(width, inner, bias=bias), nn.Linear(width, inner, bias=bias)
        self.conv = CausalConv(inner, conv, bias=conv_bias)
        self.select = nn.Linear(inner, rank + 2 * size, bias=False)
        self.step = nn.Linear(rank, inner, bias=False)
        self.step_bias = nn.Parameter(torch.empty(inner))
        self.log_rate = nn.Parameter(torch.empty(inner, size))
        self.skip = nn.Parameter(torch.empty(inner))
        self.out = nn.Linear(inner, width, bias=bias)
        self.sizes = [rank, size, size]
        self.carries = ((conv - 1, inner), (inner, size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        self.log_rate.copy_(torch.arange(1, self.sizes[1] + 1, device=self.skip.device).log().expand_as(self.log_rate))
        nn.init.ones_(self.skip)
        first_steps(self.step_bias, generator)

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        counts = positions.counts
        read, seen = self.conv.read(self.x(x), before[0], counts)
        read = F.silu(read)
        step, B, C = torch.split(self.select(read), self.sizes, -1)
        taken = real(F.softplus(self.step(step).float() + self.step_bias.float()), counts)  # [B, T, inner]
        rate = -self.log_rate.float().exp()
        state, outs, written = before[1], [], taken * read.float()
        for at in range(0, x.shape[1], CHUNK):  # or all states of a long text would be in memory at once
            part = slice(at, at + CHUNK)
            new = written[:, part, :, None] * B[:, part, None].float()  # [B, L, inner, size]
            states = scan((taken[:, part, :, None] * rate).exp(), new, state)
            with torch.autocast(x.device.type, enabled=False):
                outs.append((states @ C[:, part, :, None].float())[..., 0])
            state = states[:, -1]
        y = torch.cat(outs, 1) + read.float() * self.skip.float()
        out: Tensor = self.out(y.to(x.dtype) * F.silu(self.gate(x)))
        return out, (seen, state)


class Mamba2(RecurrentUnit):
    """``S_t = exp(A Δ_t) S_{t-1} + Δ_t B_t x_tᵀ``, ``y_t = C_t S_t + D x_t``, with one A and one Δ_t for each of
    `heads`, in `groups` that share B and C (Dao & Gu, 2024, section 7).

    size: of a state, for each of a head's features. steps: between which Δ is kept.
    """

    def __init__(
        self,
        width: int,
        inner: int,
        size: int,
        heads: int,
        groups: int,
        conv: int,
        *,
        bias: bool,
        conv_bias: bool,
        eps: float,
        steps: tuple[float, float],
    ) -> None:
        super().__init__()
        self.heads, self.groups, self.steps = heads, groups, steps
        self.sizes = [inner, groups * size, groups * size]
        self.gate = nn.Linear(width, inner, bias=bias)
        self.x = nn.Linear(width, sum(self.sizes), bias=bias)
        self.step = nn.Linear(width, heads, bias=bias)
        self.conv = CausalConv(sum(self.sizes), conv, bias=conv_bias)
        self.step_bias, self.log_rate, self.skip = (nn.Parameter(torch.empty(heads)) for _ in range(3))
        self.norm = GroupedRMSNorm(inner, eps, groups)
        self.out = nn.Linear(inner, width, bias=bias)
        self.carries = ((conv - 1, sum(self.sizes)), (heads, size, inner // heads))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        self.log_rate.copy_(torch.arange(1, self.heads + 1, device=self.skip.device).log())
        nn.init.ones_(self.skip)
        first_steps(self.step_bias, generator)

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        counts = positions.counts
        read, seen = self.conv.read(self.x(x), before[0], counts)
        value, B, C = torch.split(F.silu(read).float(), self.sizes, -1)
        value = heads(value, self.heads)
        B, C = (heads(part, self.groups) for part in (B, C))
        taken = F.softplus(self.step(x).float() + self.step_bias.float()).clamp(*self.steps)
        taken = real(taken, counts)  # [B, T, H]
        fall = -self.log_rate.float().exp() * taken
        y, state = linear_attention(C, B, value * taken[..., None], fall, before[1])
        y = (y + value * self.skip.float()[:, None]).flatten(-2)
        out: Tensor = self.out(self.norm(y * F.silu(self.gate(x).float())).to(x.dtype))
        return out, (seen, state)
