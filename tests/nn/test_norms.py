"""Norms and what precedes the first block, by numbers worked out by hand."""

import pytest
import torch
from torch import nn

from limelight.errors import RequestError
from limelight.nn.bias import LinearBias, slopes_of
from limelight.nn.embeddings import Embeddings
from limelight.nn.norm import (
    AcrossHeads,
    LayerNorm,
    Norm,
    OwnNorms,
    RMSNorm,
    ShiftedRMSNorm,
    UnbiasedLayerNorm,
    WeightlessLayerNorm,
)
from limelight.nn.positions import Positions


@pytest.mark.parametrize(
    ("norm", "centred", "weight", "bias", "expected"),
    [
        # Mean 4, variance 4; with eps 12 the spread is 4.
        (LayerNorm(2, 12.0), True, [1, 1], [0, 0], [-0.5, 0.5]),
        (UnbiasedLayerNorm(2, 12.0), True, [1, 1], None, [-0.5, 0.5]),
        (WeightlessLayerNorm(2, 12.0), True, [1, 1], None, [-0.5, 0.5]),
        # Mean square 20; with eps 44 the spread is 8.
        (RMSNorm(2, 44.0), False, [1, 1], None, [0.25, 0.75]),
        (ShiftedRMSNorm(2, 44.0), False, [0, 0], None, [0.25, 0.75]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Norm) else "",
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_norm_has_a_gain_of_one(
    norm: Norm, centred: bool, weight: list[float], bias: list[float] | None, expected: list[float], dtype: torch.dtype
) -> None:
    norm = norm.to(dtype)
    out = norm(torch.tensor([2.0, 6.0], dtype=dtype))
    assert (out.tolist(), out.dtype) == (expected, dtype)
    assert norm.centred is centred
    assert norm.weight.tolist() == weight
    assert norm.gain.tolist() == [1, 1]
    assert (None if norm.bias is None else norm.bias.tolist()) == bias
    assert ("weight" in norm.state_dict()) is not isinstance(norm, WeightlessLayerNorm)


def test_norms_of_heads_are_taken_over_all_or_each() -> None:
    x = torch.tensor([[[[2.0, 6.0]], [[4.0, 4.0]]]])  # [1, 2 heads, 1, 2]
    # Over all heads the mean square is 18; of the heads alone 20 and 16.
    assert AcrossHeads(RMSNorm(4, 46.0))(x).tolist() == [[[[0.25, 0.75]], [[0.5, 0.5]]]]
    assert OwnNorms([RMSNorm(2, 44.0), RMSNorm(2, 48.0)])(x).tolist() == [[[[0.25, 0.75]], [[0.5, 0.5]]]]


class Further(nn.Module):
    """Adds 100 wherever the position is."""

    def forward(self, x: torch.Tensor, positions: Positions) -> torch.Tensor:
        return x + 100


def test_embeddings_scale_then_add_types_and_positions() -> None:
    types = nn.Embedding.from_pretrained(torch.tensor([[1.0], [5.0]]))
    stem = Embeddings(Further(), nn.Identity(), scale=3.0, types=types)
    x, positions = torch.tensor([[[10.0], [20.0]]]), Positions(torch.arange(2), 2)
    assert stem(x, positions).flatten().tolist() == [131, 161]
    assert stem(x, positions, torch.tensor([[0, 1]])).flatten().tolist() == [131, 165]
    bare = Embeddings(Further(), nn.Identity())
    assert bare(x, positions, torch.tensor([[0, 0]])).flatten().tolist() == [110, 120]
    with pytest.raises(RequestError, match=r"^this model knows one type of token only; leave the types out$"):
        bare(x, positions, torch.tensor([[0, 1]]))


def test_rates_of_linear_biases_halve_from_head_to_head() -> None:
    assert slopes_of(4, 4) == [1 / 2, 1 / 4, 1 / 8, 1 / 16]
    assert slopes_of(3, 4) == [1 / 4, 1 / 16, 1 / 2]
    # Query 1 of keys 0 to 2; two heads fall by 1/16 and 1/256 a step, here four times as fast.
    bias = LinearBias(2, scale=4.0)(Positions(torch.tensor([1]), 3))
    assert bias.tolist() == [[[[-1 / 4, 0, -1 / 4]], [[-1 / 64, 0, -1 / 64]]]]
