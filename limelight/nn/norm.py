"""Normalisation over the last dimension: layer norm and RMS norms."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Norm(nn.Module):
    """``(x - mean) / spread · gain + bias``, and what others need to know of a norm to compute it or to hold it fixed.

    centred: whether the mean is taken away; the spread is then the standard deviation, otherwise the root mean square.
    weight: [W], what is stored: the gain without `shift`. bias: [W] or None.
    """

    centred = False
    shift = 0.0
    bias: nn.Parameter | None

    def __init__(self, width: int, eps: float, *, bias: bool = False) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))
        self.register_parameter("bias", nn.Parameter(torch.empty(width)) if bias else None)
        self.reset_parameters()

    @property
    def gain(self) -> Tensor:
        """What the normalised vector is multiplied by, [W]."""
        return self.shift + self.weight.float() if self.shift else self.weight

    def reset_parameters(self) -> None:
        """A gain of one and no bias."""
        nn.init.constant_(self.weight, 1 - self.shift)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class LayerNorm(Norm):
    """Mean and variance norm with scale and bias (Ba et al., 2016)."""

    centred = True

    def __init__(self, width: int, eps: float, *, bias: bool = True) -> None:
        super().__init__(width, eps, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class UnbiasedLayerNorm(LayerNorm):
    """Mean and variance norm with scale alone (ModernBERT, Cohere)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps, bias=False)


class WeightlessLayerNorm(Norm):
    """Mean and variance norm without weights (OLMo; Groeneveld et al., 2024); its gain is a constant one."""

    centred = True

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps)
        del self.weight
        # On the CPU even where shapes alone are made, since no file holds it.
        self.register_buffer("weight", torch.ones(width, device="cpu"), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, None, None, self.eps)


class RMSNorm(Norm):
    """Root-mean-square norm (Zhang & Sennrich, 2019).

    Normalises in float32 whatever the input's type, as the reference implementations do.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return self.weight * F.rms_norm(x.float(), self.weight.shape, None, self.eps).to(x.dtype)


class ShiftedRMSNorm(Norm):
    """RMS norm whose stored weight is the gain minus one (Gemma, 2024), multiplied in float32."""

    shift = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.weight.shape, self.gain, self.eps).to(x.dtype)


class AcrossHeads(nn.Module):
    """One norm over all heads of a position, as one vector (OLMo 2)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """x [B, H, T, D]."""
        B, H, T, D = x.shape
        out: Tensor = self.norm(x.transpose(1, 2).reshape(B, T, H * D))
        return out.view(B, T, H, D).transpose(1, 2)


class OwnNorms(nn.Module):
    """Each head has a norm of its own (Cohere, StableLM 2)."""

    def __init__(self, norms: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(norms)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, H, T, D]."""
        return torch.stack([norm(head) for norm, head in zip(self.heads, x.unbind(1), strict=True)], 1)
