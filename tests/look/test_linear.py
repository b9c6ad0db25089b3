"""Norms held fixed at a point: linear, equal to the norm at that point, and the same forwards and backwards."""

import pytest
import torch
from torch import nn

from limelight.errors import RequestError
from limelight.look.linear import along_bias, fixed, pull, push, spread
from limelight.nn.block import Scaled
from limelight.nn.norm import LayerNorm, RMSNorm, ShiftedRMSNorm

WIDTH = 6


def drawn(norm: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm.eval()


NORMS = {
    "layer norm": drawn(LayerNorm(WIDTH, 0.1)),
    "rms norm": drawn(RMSNorm(WIDTH, 0.1)),
    "shifted rms norm": drawn(ShiftedRMSNorm(WIDTH, 0.1)),
    "nothing": nn.Identity(),
    "dropout": nn.Dropout(0.5).eval(),
}


@pytest.mark.parametrize("name", NORMS)
@torch.no_grad()
def test_a_norm_held_at_a_point(name: str) -> None:
    norm = NORMS[name]
    point, x, y, direction = torch.randn(4, 3, WIDTH)
    bias = getattr(norm, "bias", None)
    whole = push(norm, point, point) + (0 if bias is None else bias)
    torch.testing.assert_close(whole, norm(point), rtol=1e-5, atol=1e-5)
    both = push(norm, point, 2 * x - y)
    torch.testing.assert_close(both, 2 * push(norm, point, x) - push(norm, point, y), rtol=1e-4, atol=1e-5)
    forwards = (direction * push(norm, point, x)).sum(-1)
    torch.testing.assert_close(forwards, (pull(norm, point, direction) * x).sum(-1), rtol=1e-4, atol=1e-5)
    assert spread(norm, point).shape == (3, 1)
    assert along_bias(norm, direction[0]) == pytest.approx(0 if bias is None else float((direction[0] * bias).sum()))


def test_the_spread_is_what_a_norm_divides_by() -> None:
    point = torch.tensor([[3.0, -1.0, 3.0, -1.0, 3.0, -1.0]])  # mean 1, variance 4, mean square 5
    assert spread(NORMS["layer norm"], point).item() == pytest.approx(4.1**0.5)
    assert spread(NORMS["rms norm"], point).item() == pytest.approx(5.1**0.5)
    assert spread(NORMS["nothing"], point).item() == 1


def test_what_only_multiplies_is_kept_but_for_its_number() -> None:
    x = torch.tensor([[3.0, -1.0]])
    for part, factor in ((Scaled(0.5), 0.5), (nn.Identity(), 1.0), (nn.Dropout(0.5).eval(), 1.0)):
        assert fixed(part) == factor
        assert torch.equal(push(part, x, x), factor * x)
        assert torch.equal(pull(part, x, x), factor * x)
        assert spread(part, x).tolist() == [[1]]
        assert along_bias(part, x[0]) == 0


def test_what_is_no_known_norm_is_refused() -> None:
    x = torch.randn(3, WIDTH)
    unknown = nn.GroupNorm(1, WIDTH)
    for use in (
        lambda: spread(unknown, x),
        lambda: push(unknown, x, x),
        lambda: pull(unknown, x, x),
        lambda: along_bias(unknown, x[0]),
    ):
        with pytest.raises(RequestError, match="GroupNorm is not a norm that can be held fixed"):
            use()
