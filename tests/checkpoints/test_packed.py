"""Low-bit blocks mean what ggml says they mean, bit for bit."""

import gguf
import numpy as np
import pytest
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import given, settings
from hypothesis import strategies as st
from quant.weights import HALVES, sensible

from limelight.errors import ConfigError
from limelight.quant.converted import PLACES, convert
from limelight.quant.packed import CHUNK, FORMATS, Packed, groups

GGML = [format for format in FORMATS if format in GGMLQuantizationType.__members__]


def random_blocks(format: str, rows: int, columns: int, seed: int) -> np.ndarray:
    """Every bit pattern is a weight, so blocks of random bytes test all of them; scales are finite, some negative."""
    random = np.random.default_rng(seed)
    layout = FORMATS[format]
    blocks = random.integers(0, 256, (rows, columns // layout.block, layout.bytes), dtype=np.uint8)
    for at in HALVES.get(format, ()):  # random bytes there would be infinities and NaN
        numbers = random.normal(0, 0.1, blocks.shape[:2]).astype(np.float16)
        numbers[random.random(numbers.shape) < 0.1] = 0
        numbers[random.random(numbers.shape) < 0.1] = np.float16(6e-8)  # subnormal
        blocks[..., at : at + 2] = numbers[..., None].view(np.uint8)
    sensible(torch.from_numpy(blocks).view(-1, layout.bytes), format, torch.Generator().manual_seed(seed))
    return blocks.reshape(rows, -1)


def reference(data: np.ndarray, format: str) -> np.ndarray:
    """What ggml says of its own formats, and of ours what their numbers say, one after the other."""
    if format == "S8":
        blocks = data.reshape(-1, 20)
        return (blocks[:, :4].copy().view(np.float32) * blocks[:, 4:].view(np.int8)).reshape(len(data), -1)
    if format == "U4":
        blocks = data.reshape(-1, 24)
        scale, minimum = blocks[:, :4].copy().view(np.float32), blocks[:, 4:8].copy().view(np.float32)
        return (np.concatenate((blocks[:, 8:] & 15, blocks[:, 8:] >> 4), 1) * scale + minimum).reshape(len(data), -1)
    return gguf.quants.dequantize(data, GGMLQuantizationType[format])


@pytest.mark.parametrize("format", GGML)
def test_layout_sizes_are_those_of_ggml(format: str) -> None:
    layout = FORMATS[format]
    assert (layout.block, layout.bytes) == GGML_QUANT_SIZES[GGMLQuantizationType[format]]
    assert layout.block % layout.group == 0


@pytest.mark.parametrize("format", PLACES)
@settings(max_examples=5, deadline=None)
@given(rows=st.integers(1, 5), blocks=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_rare_formats_are_converted_without_rounding(format: str, rows: int, blocks: int, seed: int) -> None:
    kind, random = GGMLQuantizationType[format], np.random.default_rng(seed)
    data = random.integers(0, 256, (rows * blocks, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    scales = random.choice([0.0, 6e-8, -0.03, 0.1, 1.7], len(data)).astype(np.float16)
    at = PLACES[format]
    if at is not None:
        data[:, at : at + 2] = scales[:, None].view(np.uint8)
    else:  # IQ1_M's, in the upper halves of the upper bytes of four words
        parts = scales.view(np.uint16)[:, None] >> np.array([0, 4, 8, 12]) & 15
        data[:, 49::2] = data[:, 49::2] & 15 | (parts << 4).astype(np.uint8)
    before = data.copy()
    ours = convert(torch.from_numpy(data.reshape(-1)), format, (rows, blocks * 256))
    assert (ours.format, ours.shape) == ("S8", (rows, blocks * 256))
    expected = gguf.quants.dequantize(data.reshape(rows, -1), kind)
    np.testing.assert_array_equal(ours.dequantize().numpy(), expected)
    assert (data == before).all()


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 5), blocks=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_dequantize_equals_the_reference_bit_for_bit(format: str, rows: int, blocks: int, seed: int) -> None:
    columns = blocks * FORMATS[format].block
    data = random_blocks(format, rows, columns, seed)
    ours = Packed(torch.from_numpy(data), format, (rows, columns)).dequantize()
    assert ours.dtype == torch.float32
    assert ours.shape == (rows, columns)
    np.testing.assert_array_equal(ours.numpy().view(np.uint32), reference(data, format).view(np.uint32))


@pytest.mark.parametrize("format", FORMATS)
def test_groups_are_scale_times_integer_plus_minimum(format: str) -> None:
    layout = FORMATS[format]
    data = random_blocks(format, 7, 512, seed=1)
    packed = Packed(torch.from_numpy(data), format, (7, 512))
    q, scale, minimum = groups(packed)
    assert q.dtype == (torch.int8 if layout.symmetric else torch.uint8)
    assert q.shape == (7, 512 // layout.group, layout.group)
    assert scale.shape == minimum.shape == q.shape[:2]
    product = (scale[..., None] * q + minimum[..., None]).flatten(1)
    np.testing.assert_array_equal(product.numpy().view(np.uint32), reference(data, format).view(np.uint32))


@pytest.mark.parametrize("format", FORMATS)
def test_no_rows_are_no_weights(format: str) -> None:
    layout = FORMATS[format]
    packed = Packed(torch.empty(0, layout.bytes, dtype=torch.uint8), format, (0, layout.block))
    assert packed.dequantize().shape == (0, layout.block)
    assert groups(packed).q.shape == (0, layout.block // layout.group, layout.group)


@pytest.mark.parametrize("format", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_weights_survive_quantising(format: str) -> None:
    weights = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    data = gguf.quants.quantize(weights, GGMLQuantizationType[format])
    ours = Packed(torch.from_numpy(data), format, (8, 64)).dequantize()
    assert (ours - torch.from_numpy(weights)).abs().max() < (0.02 if format == "Q8_0" else 0.4)


def test_dequantize_in_pieces_and_other_types() -> None:
    rows = 2 * CHUNK // 512 + 3  # three pieces, the last one short
    data = random_blocks("Q4_1", rows, 512, seed=2)
    packed = Packed(torch.from_numpy(data), "Q4_1", (rows, 512))
    expected = torch.from_numpy(reference(data, "Q4_1"))
    assert torch.equal(packed.dequantize(), expected)
    assert torch.equal(packed.dequantize(torch.bfloat16), expected.bfloat16())


def test_rows_are_taken_without_unpacking() -> None:
    packed = Packed(torch.from_numpy(random_blocks("Q6_K", 6, 256, seed=3)), "Q6_K", (2, 3, 256))
    whole = packed.dequantize()
    assert whole.shape == (2, 3, 256)
    order = torch.tensor([5, 0, 3])
    assert torch.equal(packed.rows(order).dequantize(), whole.flatten(0, 1)[order])
    part = packed.rows(slice(2, 5))
    assert part.shape == (3, 256)
    assert part.nbytes == 3 * 210
    assert part.data.untyped_storage().data_ptr() == packed.data.untyped_storage().data_ptr()
    assert torch.equal(part.dequantize(), whole.flatten(0, 1)[2:5])


@pytest.mark.parametrize(
    ("format", "shape", "data"),
    [
        ("Q4_2", (1, 32), torch.zeros(1, 18, dtype=torch.uint8)),
        ("Q4_0", (1, 33), torch.zeros(1, 18, dtype=torch.uint8)),
        ("Q4_0", (2, 32), torch.zeros(1, 18, dtype=torch.uint8)),
        ("Q4_0", (1, 32), torch.zeros(1, 18, dtype=torch.int8)),
        ("Q4_0", (), torch.zeros(1, 18, dtype=torch.uint8)),
    ],
)
def test_data_that_does_not_fit_is_refused(format: str, shape: tuple[int, ...], data: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="Q4_"):
        Packed(data, format, shape)
