"""Parts of a network that training on a CPU replaces, because torch's own are slow there.

Like a low-bit layer, each takes the place of a module or core that does the same; weights keep their names. What each
gained stands in docs/training.md.
"""

from typing import Any, final

import torch
from torch import Tensor, nn

from limelight.nn.attention import Attention, fused
from limelight.nn.norm import RMSNorm
from limelight.nn.scores import Scores

LONGEST = {torch.float32: 64, torch.bfloat16: 512}
"""Keys up to which attention is written out. Torch's own, which is for long texts, holds no weights of pairs; on
sentences its backward pass takes ten times as long in bfloat16."""


def swap(network: nn.Module) -> None:
    """Puts faster parts in the place of dropout, RMS norms and the fused core of attention."""
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, Attention) and module.core is fused:
            module.core = written
        elif type(module) is nn.Dropout and not name.endswith("attention.dropout"):  # which belongs to its core
            network.set_submodule(name, Dropout(module.p).train(module.training))
        elif type(module) is RMSNorm:
            network.set_submodule(name, QuickRMSNorm(module))


@final
class Dropout(nn.Dropout):
    """Zeroes a share `rate` of what it reads (Srivastava et al., 2014), by one random byte each.

    Torch draws a number for each feature, one by one, which takes longer than the layer in front; here eight features
    share one. The rate is rounded to a multiple of 1 / 256, and what is kept is scaled to match.
    """

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.kept = max(1, round(256 * (1 - rate)))  # of 256

    def forward(self, x: Tensor) -> Tensor:
        """x, of any shape."""
        if not self.training or self.kept == 256:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        # In place, so that the result is a byte as well: a comparison that gives booleans takes 20 times as long.
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape).lt_(self.kept)
        out: Tensor = x * kept.to(x.dtype).mul_(256 / self.kept)
        return out


@final
class QuickRMSNorm(RMSNorm):
    """`RMSNorm` in few passes, with a backward pass of its own; it holds the same weight."""

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__(len(norm.weight), norm.eps)
        self.weight = norm.weight

    def forward(self, x: Tensor) -> Tensor:
        """x [.., W]."""
        out: Tensor = _RMSNorm.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return out


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        square: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide).square_()
        scale = square.div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)  # [.., 1]
        normal = x * scale
        ctx.save_for_backward(normal, scale, weight)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale, weight = ctx.saved_tensors
        slope = slopes[0]
        product = slope * normal
        of_weight = product.flatten(0, -2).sum(0)
        along = (product @ weight).unsqueeze(-1) / -len(weight)  # [.., 1]
        of_x: Tensor = torch.addcmul(slope * weight, normal, along).mul_(scale)
        return of_x, of_weight, None


def written(q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
    """The fused core written out in the type of q; see LONGEST."""
    T, S = q.shape[2], k.shape[2]
    if LONGEST.get(q.dtype, 0) < S or q.shape[1] != k.shape[1] or not torch.is_grad_enabled():
        return fused(q, k, v, scores)
    raw = (q * scores.scale) @ k.transpose(-1, -2)  # [B, H, T, S]
    allowed = scores.mask.tensor(T, S, q.device)
    if allowed is not None:
        # Added, not filled in where the mask says so, which takes ten times as long.
        raw += torch.zeros(allowed.shape, dtype=q.dtype, device=q.device).masked_fill(~allowed, float("-inf"))
    if scores.bias is not None:
        raw = raw + scores.bias
    return raw.softmax(-1) @ v
