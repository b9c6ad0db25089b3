"""Parts of a network held at one point, where they are linear: norms by their spread, layers by their gradient."""

import torch
from torch import Tensor, nn

from limelight.nn.norm import RMSNorm, ShiftedRMSNorm


def spread(norm: nn.Module, point: Tensor) -> Tensor:
    """What a norm divides by at point [.., W]: [.., 1]; one where there is no norm."""
    match norm:
        case RMSNorm() | ShiftedRMSNorm():
            return (point.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        case nn.LayerNorm():
            return (point.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    return torch.ones_like(point[..., :1])


def push(norm: nn.Module, point: Tensor, x: Tensor) -> Tensor:
    """What a norm makes of x [.., W] without its bias, its spread held as at point [.., W]; linear in x."""
    match norm:
        case RMSNorm():
            return x / spread(norm, point) * norm.weight.float()
        case ShiftedRMSNorm():
            return x / spread(norm, point) * (1 + norm.weight.float())
        case nn.LayerNorm():
            return (x - x.mean(-1, keepdim=True)) / spread(norm, point) * norm.weight.float()
    return x


def pull(norm: nn.Module, point: Tensor, direction: Tensor) -> Tensor:
    """`push` transposed: ``direction · push(x) = pull(direction) · x``."""
    match norm:
        case RMSNorm():
            return direction * norm.weight.float() / spread(norm, point)
        case ShiftedRMSNorm():
            return direction * (1 + norm.weight.float()) / spread(norm, point)
        case nn.LayerNorm():
            scaled = direction * norm.weight.float() / spread(norm, point)
            return scaled - scaled.mean(-1, keepdim=True)
    return direction


def along_bias(norm: nn.Module, direction: Tensor) -> float:
    """What a norm's bias, if it has one, gives along a direction behind it."""
    return float(direction @ norm.bias.float()) if isinstance(norm, nn.LayerNorm) else 0.0


def backward(layer: nn.Module, inputs: int, directions: Tensor, dtype: torch.dtype) -> Tensor:
    """Directions [N, out] behind a linear layer as directions [N, in] in front of it; low-bit layers can do it too."""
    with torch.inference_mode(False), torch.enable_grad():
        x = torch.zeros(len(directions), inputs, dtype=dtype, device=directions.device, requires_grad=True)
        return pulled(layer(x), x, directions.to(dtype).clone()).float()


def pulled(y: Tensor, x: Tensor, directions: Tensor) -> Tensor:
    """Directions behind y, of its shape, as directions in front of the x that it was computed from.

    As `torch.autograd.grad` with directions, which would import a library of symbols at its first call, for 0.4 s.
    """
    with torch.enable_grad():
        (found,) = torch.autograd.grad((y * directions).sum(), x)
    return found
