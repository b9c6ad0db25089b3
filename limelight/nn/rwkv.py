"""RWKV-7 (Peng et al., 2025): attention and feed-forward that each read a word beside the one before it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.nn.feedforward import relu_squared
from limelight.nn.positions import Positions
from limelight.nn.recurrent import Tensors
from limelight.nn.unit import CHUNK, RecurrentUnit, heads, real

FASTEST = -math.exp(-0.5)
"""What a feature of a state falls by at most from word to word, as the logarithm of what is left (equation 4)."""


class LowRank(nn.Module):
    """``wide(activation(narrow(x)))`` through `rank` numbers."""

    def __init__(self, width: int, rank: int, activation: nn.Module) -> None:
        super().__init__()
        self.narrow, self.wide = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x [.., W] → [.., W]."""
        out: Tensor = self.wide(self.activation(self.narrow(x)))
        return out


class TimeMix(RecurrentUnit):
    """``S_t = (diag(w_t) - κ̂_t (a_t κ̂_t)ᵀ)ᵀ S_{t-1} + k_t v_tᵀ``, read by ``r_t S_t``, of heads `head_width` wide.

    Each of r, w, k, v, a and g reads a mixture of its own (`mix`) of a word and the one before it. w, a, the share of
    the first layer's values and g come through as many numbers as `ranks` says, in that order. leads: this is the
    first layer, whose values the others mix into theirs; see `Positions.values`. eps: of the norm of each head.
    """

    def __init__(
        self, width: int, head_width: int, ranks: tuple[int, int, int, int], *, eps: float, leads: bool
    ) -> None:
        super().__init__()
        self.heads, self.leads = width // head_width, leads
        self.mix = nn.ParameterDict({part: nn.Parameter(torch.empty(width)) for part in "rwkvag"})
        self.r, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.fall = LowRank(width, ranks[0], nn.Tanh())
        self.rate = LowRank(width, ranks[1], nn.Identity())
        self.gate = LowRank(width, ranks[3], nn.Sigmoid())
        self.fall_bias, self.rate_bias, self.key_removed, self.key_rate = (
            nn.Parameter(torch.empty(width)) for _ in range(4)
        )
        if not leads:
            self.share = LowRank(width, ranks[2], nn.Identity())
            self.share_bias = nn.Parameter(torch.empty(width))
        self.bonus = nn.Parameter(torch.empty(self.heads, head_width))
        self.norm = nn.GroupNorm(self.heads, width, eps)
        self.out = nn.Linear(width, width, bias=False)
        self.carries = ((width,), (self.heads, head_width, head_width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """As the authors' own training begins, in a layer half way up (their appendix on initialisation)."""
        line = torch.linspace(0, 1, len(self.key_rate), device=self.key_rate.device)
        within = heads(line, self.heads)
        within = ((within - within[:, :1]) * self.heads * 2 - 1).clamp(-1, 1).flatten()  # -1 to 1 in each head
        for part, power in {"r": 0.1, "w": 0.45, "k": 0.35, "v": 0.35, "a": 0.45, "g": 0.1}.items():
            self.mix[part].copy_(1 - line**power)
        self.fall_bias.copy_(6 * line**1.8 - 5.5 + 2.5 * within * within.abs())
        self.rate_bias.copy_(0.3 * within * within.abs() + 0.4 * (line - 0.5) - 0.19)
        self.key_removed.copy_(0.71 - 0.1 * (line - 0.5))
        self.key_rate.fill_(1.02)
        self.bonus.fill_(-0.04)
        if not self.leads:
            self.share_bias.copy_(0.73 - 0.4 * (line - 0.5))
        self.norm.reset_parameters()

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        counts = positions.counts
        earlier, last = _shifted(x, before[0], counts)
        mixed = {part: torch.lerp(x, earlier, mix.to(x.dtype)) for part, mix in self.mix.items()}
        fall = FASTEST * (self.fall(mixed["w"]) + self.fall_bias).float().sigmoid()
        rate = (self.rate(mixed["a"]) + self.rate_bias).float().sigmoid()
        k, v = self.k(mixed["k"]).float(), self.v(mixed["v"]).float()
        if self.leads:
            positions.values = v
        else:
            assert positions.values is not None  # a block in front of this one has left them
            v = torch.lerp(v, positions.values, (self.share(mixed["v"]) + self.share_bias).float().sigmoid())
        removed = F.normalize(heads(k * self.key_removed.float(), self.heads), dim=-1)
        k = k * (1 + (rate - 1) * self.key_rate.float())
        r, k, v, rate = (heads(part, self.heads) for part in (self.r(mixed["r"]).float(), k, v, rate))
        y, state = corrected_attention(
            r,
            real(k, counts),
            v,
            real(heads(fall, self.heads), counts),
            real(removed, counts),
            removed * rate,
            before[1],
        )
        y = self.norm(y.flatten(0, 1).flatten(1).to(x.dtype)).view(x.shape)
        y = y + ((r * k * self.bonus.float()).sum(-1, keepdim=True) * v).flatten(2).to(x.dtype)
        out: Tensor = self.out(y * self.gate(mixed["g"]))
        return out, (last, state)


class ChannelMix(RecurrentUnit):
    """``down(relu(up(x'))²)`` of a mixture x' of a word and the one before it, in the place of a feed-forward."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.empty(width))
        self.up, self.down = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
        self.carries = ((width,),)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """As `TimeMix`."""
        self.mix.copy_(1 - torch.linspace(0, 1, len(self.mix), device=self.mix.device) ** 0.0625)

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        earlier, last = _shifted(x, before[0], positions.counts)
        out: Tensor = self.down(relu_squared(self.up(torch.lerp(x, earlier, self.mix.to(x.dtype)))))
        return out, (last,)


def _shifted(x: Tensor, before: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
    """x [B, T, W] one position later, behind `before` [B, W]; and the last real vector of each row."""
    seen = torch.cat((before[:, None].to(x.dtype), x), 1)
    if counts is None:
        return seen[:, :-1], seen[:, -1].float()
    return seen[:, :-1], seen[torch.arange(len(x)), counts.to(x.device)].float()


def corrected_attention(
    q: Tensor, k: Tensor, v: Tensor, fall: Tensor, removed: Tensor, written: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """``o_t = q_t S_t`` with ``S_t = diag(exp(fall_t)) S_{t-1} - written_t (removed_t S_{t-1})ᵀ + k_t v_tᵀ``: what is
    read [B, T, H, P], and the last state.

    q, k, removed, written: [B, T, H, N]; v: [B, T, H, P]; fall: [B, T, H, N], from `FASTEST` to zero; state: [B, H, N,
    P]. All in float32. Within a chunk by products of all pairs (Yang et al., 2024, section 3.2, with a rate for each
    feature), from chunk to chunk by the state. Since a state falls no faster than `FASTEST`, what is left of it between
    two positions of a chunk is a quotient of two numbers that float32 holds.
    """
    with torch.autocast(q.device.type, enabled=False):
        if q.shape[1] > 1:
            return _chunks(q, k, v, fall, removed, written, state)
        q, k, v, removed, written = (x[:, 0, :, None] for x in (q, k, v, removed, written))  # [B, H, 1, ..]
        kept = state * fall[:, 0, :, :, None].exp() - written.mT @ (removed @ state) + k.mT @ v
        return (q @ kept)[:, None, :, 0], kept


def _chunks(
    q: Tensor, k: Tensor, v: Tensor, fall: Tensor, removed: Tensor, written: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    T = q.shape[1]
    size = min(T, CHUNK)

    def chunks(x: Tensor) -> Tensor:
        """[B, T, H, ..] → [B, C, H, L, ..]; what is missing behind the text leaves the state alone."""
        x = F.pad(x, (0, 0, 0, 0, 0, -T % size))
        return x.view(len(x), -1, size, *x.shape[2:]).transpose(2, 3)

    q, k, v, fall, removed, written = (chunks(x) for x in (q, k, v, fall, removed, written))
    left = fall.cumsum(-2)  # logarithm of what is left of the state in front of the chunk
    asked, recalled = q * left.exp(), removed * (left - fall).exp()
    keys, writes = k * (-left).exp(), written * (-left).exp()
    # What each position removes, [.., L, N + P]: of the state in front of the chunk, and of what the chunk has written.
    both = torch.cat((recalled, (recalled @ keys.mT).tril(-1) @ v), -1)
    system = (recalled @ writes.mT).tril(-1)
    solved = torch.linalg.solve_triangular(system, both, upper=False, unitriangular=True)
    before, within = torch.split(solved, [k.shape[-1], v.shape[-1]], -1)
    read, unread = (asked @ keys.mT).tril(), (asked @ writes.mT).tril()
    end = left[..., -1:, :].exp()
    outs = []
    for c in range(q.shape[1]):
        gone = before[:, c] @ state + within[:, c]
        outs.append(asked[:, c] @ state + read[:, c] @ v[:, c] - unread[:, c] @ gone)
        state = end[:, c].mT * (state + keys[:, c].mT @ v[:, c] - writes[:, c].mT @ gone)
    return torch.stack(outs, 1).transpose(2, 3).flatten(1, 2)[:, :T], state
