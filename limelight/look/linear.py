"""Parts of a network held at one point, where they are linear: norms by their spread, layers by their gradient."""

import torch
from torch import Tensor, nn

from limelight.errors import RequestError
from limelight.nn.block import Scaled
from limelight.nn.norm import Norm


def spread(norm: nn.Module, point: Tensor) -> Tensor:
    """What a norm divides by at point [.., W]: [.., 1]; one where there is no norm.

    Raises RequestError for a module that is no norm, as do the others here.
    """
    if _kept(norm):
        return torch.ones_like(point[..., :1])
    assert isinstance(norm, Norm)
    if norm.centred:
        return (point.var(-1, correction=0, keepdim=True) + norm.eps).sqrt()
    return (point.square().mean(-1, keepdim=True) + norm.eps).sqrt()


def push(norm: nn.Module, point: Tensor, x: Tensor) -> Tensor:
    """What a norm makes of x [.., W] without its bias, its spread held as at point [.., W]; linear in x."""
    if _kept(norm):
        return x * fixed(norm)
    assert isinstance(norm, Norm)
    if norm.centred:
        x = x - x.mean(-1, keepdim=True)
    return x / spread(norm, point) * norm.gain.float()


def pull(norm: nn.Module, point: Tensor, direction: Tensor) -> Tensor:
    """`push` transposed: ``direction · push(x) = pull(direction) · x``."""
    if _kept(norm):
        return direction * fixed(norm)
    assert isinstance(norm, Norm)
    scaled = direction * norm.gain.float() / spread(norm, point)
    return scaled - scaled.mean(-1, keepdim=True) if norm.centred else scaled


def along_bias(norm: nn.Module, direction: Tensor) -> float:
    """What a norm's bias, if it has one, gives along a direction behind it."""
    if _kept(norm):
        return 0.0
    assert isinstance(norm, Norm)
    return 0.0 if norm.bias is None else float(direction @ norm.bias.float())


def fixed(part: nn.Module) -> float:
    """What a module that is no norm multiplies by."""
    return part.scale if isinstance(part, Scaled) else 1.0


def _kept(norm: nn.Module) -> bool:
    """Whether a module leaves everything as it is (dropout does, outside training), but for a fixed number."""
    if isinstance(norm, Norm):
        return False
    if isinstance(norm, nn.Identity | nn.Dropout | Scaled):
        return True
    raise RequestError(f"{type(norm).__name__} is not a norm that can be held fixed; use leave-one-out instead")


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
