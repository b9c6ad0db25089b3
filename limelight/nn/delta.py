"""Linear attention by the gated delta rule (Yang et al., 2025)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.nn.norm import RMSNorm
from limelight.nn.positions import Positions
from limelight.nn.recurrent import Tensors
from limelight.nn.unit import CausalConv, RecurrentUnit, heads, linear_attention, real


class GatedDeltaNet(RecurrentUnit):
    """``S_t = exp(g_t) S_{t-1} + beta_t k_t (v_t - exp(g_t) k_t S_{t-1})ᵀ``, read by ``q_t S_t``, as Qwen3-Next has it.

    keys: heads of queries and keys, `key_width` wide and of length one; heads: of values, `head_width` wide, of which
    some in a row share a key. mixed: makes queries, keys and values, which pass a convolution.
    """

    def __init__(
        self, width: int, keys: int, key_width: int, heads: int, head_width: int, conv: int, *, eps: float
    ) -> None:
        super().__init__()
        self.keys, self.heads = keys, heads
        self.sizes = [keys * key_width, keys * key_width, heads * head_width]
        self.mixed = nn.Linear(width, sum(self.sizes), bias=False)
        self.gate = nn.Linear(width, heads * head_width, bias=False)
        self.write, self.step = nn.Linear(width, heads, bias=False), nn.Linear(width, heads, bias=False)
        self.conv = CausalConv(sum(self.sizes), conv, bias=False)
        self.step_bias, self.log_rate = (nn.Parameter(torch.empty(heads)) for _ in range(2))
        self.norm = RMSNorm(head_width, eps)
        self.out = nn.Linear(heads * head_width, width, bias=False)
        self.carries = ((conv - 1, sum(self.sizes)), (heads, key_width, head_width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        self.log_rate.uniform_(0.01, 16, generator=generator).log_()
        nn.init.ones_(self.step_bias)

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        counts = positions.counts
        read, seen = self.conv.read(self.mixed(x), before[0], counts)
        q, k, v = torch.split(F.silu(read).float(), self.sizes, -1)
        q, k = (_unit(heads(part, self.keys)) for part in (q, k))
        q = q * q.shape[-1] ** -0.5
        fall = -self.log_rate.float().exp() * F.softplus(self.step(x).float() + self.step_bias.float())
        beta = self.write(x).sigmoid().float()
        v = heads(v, self.heads)
        y, state = linear_attention(q, k, v, real(fall, counts), before[1], real(beta, counts))
        y = self.norm(y.to(x.dtype)).flatten(-2) * F.silu(self.gate(x).float())
        out: Tensor = self.out(y.to(x.dtype))
        return out, (seen, state)


def _unit(x: Tensor) -> Tensor:
    """Vectors [.., N] made as long as one."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
