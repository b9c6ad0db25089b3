"""What quantised weights are made of: told to the byte, told apart layer by layer, and refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints.test_quantised import GOOD, GPTQ, STATE, halves, pairs, random, words
from safetensors.torch import save_file
from torch import Tensor

from limelight.checkpoints.floats import _block_of
from limelight.checkpoints.integers import grouped
from limelight.checkpoints.quantised import widened
from limelight.checkpoints.reader import TensorReader, open_tensors
from limelight.errors import ConfigError
from limelight.quant.packed import Packed

FP8 = torch.float8_e4m3fn


def opened(folder: Path, tensors: dict[str, Tensor], method: str, **said: Any) -> TensorReader:
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    return widened(open_tensors(folder), {"quantization_config": {"quant_method": method, **said}})[0]


def values(reader: TensorReader, name: str) -> Tensor:
    weight = reader.read(name)
    return weight.dequantize() if isinstance(weight, Packed) else weight


def described(**said: Any) -> Tensor:
    """What bitsandbytes says of a weight."""
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


def table(rows: int, columns: int, block: int, inner: int = 0) -> dict[str, Tensor]:
    """A weight of bitsandbytes' 4 bits; inner: so many of its blocks share a scale of their own."""
    count = -(-rows * columns // block)
    state = {"shape": [rows, columns], "blocksize": block}
    held = {"weight": random(-(-rows * columns // 2), 1, most=256).byte(), "weight.quant_map": torch.arange(16.0)}
    if inner:
        state |= {"nested_blocksize": inner, "nested_offset": 1}
        held |= {"weight.absmax": random(count, most=256).byte(), "weight.nested_quant_map": torch.arange(256.0)}
        held["weight.nested_absmax"] = torch.arange(1.0, 1 + -(-count // inner))
    else:
        held["weight.absmax"] = torch.arange(1.0, count + 1)
    return held | {"weight.quant_state.bitsandbytes__nf4": described(**state)}


@pytest.mark.parametrize(
    ("bits", "size", "codes", "zero", "scale", "format"),
    [
        (8, 16, (0, 255), 128, 0.5, "S8"),  # −128 to 127, all that a byte holds
        (8, 16, (0, 255), 127, 0.5, "F32"),  # up to 128
        (8, 16, (0, 255), 129, 0.5, "F32"),  # down to −129
        (8, 48, (3, 200), 100, 0.1, "S8"),
        (8, 24, (3, 200), 100, 0.1, "F32"),  # no whole block of 16
        (4, 32, (0, 15), 8, 0.5, "Q4_0"),
        (4, 32, (0, 15), 7, 0.5, "U4"),
        (4, 96, (0, 15), 8, 0.1, "U4"),  # 0.1 is no float16
        (4, 16, (0, 15), 8, 0.5, "F32"),  # no whole block of 32
    ],
)
def test_integers_become_the_blocks_that_hold_them_exactly(
    bits: int, size: int, codes: tuple[int, int], zero: int, scale: float, format: str
) -> None:
    held = torch.tensor(codes, dtype=torch.uint8).repeat(2, size)  # two rows of two groups
    scales = torch.tensor([[scale, 2 * scale], [3 * scale, 4 * scale]])
    weight = grouped(held, scales, torch.full((2, 2), float(zero)), bits)
    assert (weight.format if isinstance(weight, Packed) else "F32") == format
    exact = (held.float() - zero).view(2, 2, size) * scales[..., None]
    found = weight.dequantize() if isinstance(weight, Packed) else weight
    assert torch.allclose(found, exact.view(2, -1), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("method", "name", "kind", "shape", "nbytes"),
    [
        ("gptq", "a.weight", "INT4", (8, 32), 4 * (32 + 8 + 1 + 32)),  # words, scales, zeros, order
        ("awq", "a.weight", "INT4", (8, 32), 4 * (32 + 8 + 1)),
        ("fp8", "a.weight", "F8_E5M2", (4, 4), 16 + 4 * 4),
        ("bitsandbytes", "a.weight", "NF4", (4, 4), 8 + 4 * (1 + 16) + len(STATE)),
        ("compressed-tensors", "a.weight", "INT4", (4, 32), 4 * (16 + 4 + 1) + 8 * 2),
        ("mxfp4", "a_blocks", "MXFP4", (1, 2, 32), 32 + 2),
        ("modelopt", "a.weight", "NVFP4", (2, 16), 16 + 2 + 4),
    ],
)
def test_a_weight_counts_all_that_it_is_made_of(
    method: str, name: str, kind: str, shape: tuple[int, ...], nbytes: int, tmp_path: Path
) -> None:
    reader = opened(tmp_path, GOOD[method] | {"norm": torch.ones(3).half()}, method, bits=4)
    assert reader.names() == ("norm", name)
    assert reader.metadata == {"format": "pt"}
    assert (reader.dtype("norm"), reader.shape("norm"), reader.nbytes("norm")) == ("F16", (3,), 6)
    assert reader.read("norm").tolist() == [1, 1, 1]
    assert (reader.dtype(name), reader.shape(name), reader.nbytes(name)) == (kind, shape, nbytes)


def test_a_quarter_of_the_blocks_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    held = {"a_blocks": random(2, 3, 2, 16, most=256).byte(), "a_scales": torch.full((2, 3, 2), 128).byte()}
    reader = opened(tmp_path, held, "mxfp4")
    assert reader.shape("a_blocks") == (2, 3, 64)
    low, high = held["a_blocks"].long() & 15, held["a_blocks"].long() >> 4
    numbers = torch.tensor([0.0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
    expected = 2 * numbers[torch.stack((low, high), -1)].view(2, 3, 64)  # 2 to the power of 128 − 127
    assert torch.equal(values(reader, "a_blocks"), expected)


LAYERS: dict[str, tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]] = {
    "gptq": (
        {"bits": 4},
        {"qweight": words(random(64, 8), 4), "scales": halves(2, 8), "qzeros": words(random(8, 2, most=15), 4).T},
        {"qweight": words(random(48, 16), 4), "scales": halves(3, 16), "qzeros": words(random(16, 3, most=15), 4).T},
    ),
    "awq": (
        {},
        {"qweight": words(random(8, 64), 4).T, "scales": halves(2, 8), "qzeros": words(random(8, 2), 4).T},
        {"qweight": words(random(16, 48), 4).T, "scales": halves(3, 16), "qzeros": words(random(16, 3), 4).T},
    ),
    "compressed-tensors": (
        {},
        {"weight_packed": words(random(60, 6), 4).T, "weight_scale": halves(6, 2)}
        | {"weight_shape": torch.tensor([6, 60]), "weight_zero_point": words(random(6, 2), 4)},
        {"weight_packed": words(random(32, 5, most=256), 8).T, "weight_scale": halves(5, 1)}
        | {"weight_shape": torch.tensor([5, 32]).int()},
    ),
    "fp8": (
        {},
        {"weight": (random(5, 32, most=256) - 128).to(torch.int8), "weight_scale": halves(5, 2)},
        {"weight": halves(6, 7).to(FP8), "weight_scale": halves(3, 2)},
    ),
    "bitsandbytes": ({}, table(5, 7, 8), table(6, 8, 4, inner=5)),
    "bitsandbytes rows": (
        {},
        {"weight": (random(4, 32, most=256) - 128).to(torch.int8), "SCB": torch.arange(1.0, 5)},
        {"weight": (random(3, 10, most=256) - 128).to(torch.int8), "SCB": torch.arange(1.0, 4)},
    ),
    "modelopt": (
        {},
        {"weight": pairs(random(4, 32)), "weight_scale": halves(4, 2).to(FP8), "weight_scale_2": torch.tensor(0.5)},
        {"weight": pairs(random(6, 16)), "weight_scale": halves(6, 1).to(FP8), "weight_scale_2": torch.tensor([3.0])},
    ),
}


@pytest.mark.parametrize("method", LAYERS)
def test_layers_of_one_file_may_have_other_sizes(method: str, tmp_path: Path) -> None:
    said, *layers = LAYERS[method]
    both, alone = {}, []
    for name, held in zip("ab", layers, strict=True):
        tensors = {f"{name}.{part}": tensor for part, tensor in held.items()}
        (folder := tmp_path / name).mkdir()
        alone.append(opened(folder, tensors, method.partition(" ")[0], **said))
        both |= tensors
    reader = opened(tmp_path, both, method.partition(" ")[0], **said)
    assert sorted(reader.names()) == ["a.weight", "b.weight"]
    for name, single in zip(("a.weight", "b.weight"), alone, strict=True):
        weight = values(reader, name)
        assert tuple(weight.shape) == reader.shape(name) == single.shape(name)
        assert torch.equal(weight, values(single, name))
        assert weight.abs().sum() > 0


def test_groups_that_do_not_divide_the_columns_share_what_is_left(tmp_path: Path) -> None:
    codes, scale, zero = random(64, 8), halves(3, 8), random(3, 8, most=15) + 1
    held = {"a.qweight": words(codes, 4), "a.scales": scale, "a.qzeros": words((zero - 1).T, 4).T}
    group = torch.arange(64) // 22  # 22, 22 and 20 of them
    expected = (scale.float()[group] * (codes - zero[group])).T
    assert torch.equal(values(opened(tmp_path, held, "gptq", bits=4), "a.weight"), expected)


@pytest.mark.parametrize("said", [{}, {"bits": 4, "version": "GEMM"}])
def test_awq_has_4_bits_and_this_order_unless_it_says_otherwise(said: dict[str, Any], tmp_path: Path) -> None:
    assert opened(tmp_path, GOOD["awq"], "awq", **said).dtype("a.weight") == "INT4"


@pytest.mark.parametrize(
    ("shape", "scales", "block", "size"),
    [
        ((6, 8), (), None, (6, 8)),
        ((6, 8), (1, 1), None, (6, 8)),
        ((6, 8), (6,), None, (1, 8)),
        ((6, 8), (6, 1), None, (1, 8)),
        ((6, 8), (1, 8), None, (6, 1)),
        ((6, 8), (3, 2), None, (2, 4)),
        ((5, 7), (3, 2), None, (2, 4)),  # the last ones are short
        ((5, 7), (2, 2), None, (3, 4)),
        ((5, 7), (2, 2), (4, 4), (4, 4)),  # as the config says
        ((5, 7), (2, 2), (1, 9), (3, 4)),  # which does not fit this weight
        ((5, 7), (5, 2), (1, 5), (1, 5)),
        ((6, 8), (4,), None, None),
        ((6, 8), (0,), None, None),
        ((6, 8), (6, 0), None, None),
        ((6, 8), (2, 3, 1), None, None),
        ((6, 8), (7, 1), (1, 8), None),
    ],
)
def test_scales_are_shared_by_blocks_of_rows_and_columns(
    shape: tuple[int, int], scales: tuple[int, ...], block: tuple[int, int] | None, size: tuple[int, int] | None
) -> None:
    if size is not None:
        assert _block_of("a", shape, scales, block) == size
        return
    with pytest.raises(ConfigError) as refused:
        _block_of("a", shape, scales, block)
    assert str(refused.value) == f"the tensor 'a' has the shape {scales}, which does not fit its weight {shape}"


@pytest.mark.parametrize(
    ("said", "column"),
    [
        ([4, 4], [1, 1, 1, 1, 3]),
        *((none, [1, 1, 1, 3, 3]) for none in (None, "44", [4], [4, 4, 4], [4.0, 4], [4, 0], [True, 4], (0, 4))),
    ],
)
def test_a_block_is_two_whole_numbers_or_what_fits(said: Any, column: list[int], tmp_path: Path) -> None:
    held = {"a.weight": torch.ones(5, 7).to(FP8), "a.weight_scale_inv": torch.tensor([[1.0, 2], [3, 4]])}
    found = values(opened(tmp_path, held, "fp8", weight_block_size=said), "a.weight")
    assert found[:, 0].tolist() == column
    assert found[:, 6].tolist() == [each + 1 for each in column]


def test_zeros_of_rows_are_taken_away_before_the_scale(tmp_path: Path) -> None:
    held = {"a.weight": torch.tensor([[-3, 5] * 8, [7, 0] * 8], dtype=torch.int8)}
    held |= {"a.weight_scale": torch.tensor([[0.5], [2.0]]), "a.weight_zero_point": torch.tensor([[1], [-2]]).char()}
    reader = opened(tmp_path, held, "compressed-tensors")
    assert reader.dtype("a.weight") == "INT8"
    assert values(reader, "a.weight").tolist() == [[-2, 2] * 8, [18, 4] * 8]


def test_weights_that_are_not_rounded_stay_beside_those_that_are(tmp_path: Path) -> None:
    held = {"a.weight": torch.ones(2, 2), "a.weight_scale": torch.ones(2), "b.weight_scale": torch.tensor(3.0)}
    reader = opened(tmp_path, held | {"b.weight": torch.ones(2, 2).to(FP8)}, "fp8")
    assert sorted(reader.names()) == ["a.weight", "a.weight_scale", "b.weight"]
    assert values(reader, "a.weight").tolist() == [[1, 1], [1, 1]]
    assert values(reader, "b.weight").tolist() == [[3, 3], [3, 3]]


def test_scales_of_activations_are_left_out(tmp_path: Path) -> None:
    ends = [f"{part}_scale" for part in ("input", "output", "input_global", "q", "k", "v", "kv")]
    ends += ["input_zero_point", "weight_format"]
    held = {f"attention.{end}": torch.ones(1) for end in ends}
    plain = {"scale": torch.ones(1), "input_scale_of": torch.ones(1), "attention.scale": torch.ones(1)}
    assert sorted(opened(tmp_path, held | plain, "fp8").names()) == sorted(plain)
    assert len(opened(tmp_path, held | plain, "another").names()) == len(held | plain)


def test_biases_of_zeros_are_left_out_of_gptq_alone(tmp_path: Path) -> None:
    for bias, kept in ((torch.zeros(8), False), (torch.tensor([0.0] * 7 + [-1]), True)):
        reader = opened(tmp_path, GPTQ | {"a.bias": bias, "b.bias": torch.zeros(8)}, "gptq", bits=4)
        assert reader.names() == (*(["a.bias"] if kept else []), "b.bias", "a.weight")
    reader = opened(tmp_path, GOOD["awq"] | {"a.bias": torch.zeros(8)}, "awq")
    assert reader.names() == ("a.bias", "a.weight")


SHAPED = {"a.weight_packed": torch.ones(4, 4).int(), "a.weight_scale": torch.ones(4, 1)}
SHAPED |= {"a.weight_shape": torch.tensor([4, 32])}
NV = {"a.weight_packed": torch.ones(2, 16).byte(), "a.weight_scale": torch.ones(2, 2).to(FP8)}
NV |= {"a.weight_global_scale": torch.ones(1)}
MX = {"a.weight_packed": torch.ones(2, 16).byte(), "a.weight_scale": torch.ones(2, 1).byte()}
NF4 = GOOD["bitsandbytes"]
NESTED = {f"a.{name}": tensor for name, tensor in table(6, 8, 4, inner=5).items()}
GENERAL = "the model's quantization_config says"
UNSHAPED = "the tensor 'a.weight_packed' does not hold integers of 4 or 8 bits of the shape that it says"


def of_shape(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return f"the tensor '{name}' of a quantised model has the shape {shape}, not {wanted}"


def holds(name: str, kind: str, wanted: str) -> str:
    return f"the tensor '{name}' of a quantised model holds {kind}, not {wanted}"


@pytest.mark.parametrize(
    ("method", "said", "good", "spoilt", "why"),
    [
        ("gptq", {"bits": 4.0}, GPTQ, {}, f"{GENERAL} bits: 4.0; limelight reads 2, 4, 8"),
        ("gptq", {"bits": "4" * 50}, GPTQ, {}, f"{GENERAL} bits: '{'4' * 39}; limelight reads 2, 4, 8"),
        ("gptq", {"bits": 4, "checkpoint_format": "x" * 50}, GPTQ, {},
         f"{GENERAL} checkpoint_format: '{'x' * 39}; limelight reads gptq and gptq_v2"),
        ("gptq", {"bits": 4}, GPTQ, {"a.qzeros": torch.zeros(1, 2).int()}, of_shape("a.qzeros", (1, 2), (1, 1))),
        ("gptq", {"bits": 4}, GPTQ, {"a.qzeros": torch.zeros(1, 1)}, holds("a.qzeros", "F32", "I32")),
        ("gptq", {"bits": 4}, GPTQ, {"a.g_idx": torch.zeros(31).int()}, of_shape("a.g_idx", (31,), (32,))),
        ("gptq", {"bits": 4}, GPTQ, {"a.g_idx": torch.zeros(32)}, holds("a.g_idx", "F32", "I32 or I64")),
        ("gptq", {"bits": 4}, GPTQ, {"a.scales": torch.ones(8)},
         "the tensor 'a.scales' of a quantised model has the shape (8,)"),
        ("gptq", {"bits": 4}, GPTQ, {"a.scales": torch.ones(0, 8)},
         "the tensor 'a.scales' of a quantised model has the shape (0, 8)"),
        ("gptq", {"bits": 4}, GPTQ, {"a.scales": None}, "the quantised model lacks the tensor 'a.scales'"),
        ("awq", {"bits": 8}, {}, {}, f"{GENERAL} bits: 8; limelight reads 4"),
        ("awq", {"version": "v" * 50}, {}, {}, f"{GENERAL} version: '{'v' * 39}; limelight reads gemm alone"),
        ("awq", {}, GOOD["awq"], {"a.scales": torch.ones(3, 8)},
         "the tensor 'a.scales' has 3 groups for 32 columns"),
        ("awq", {}, GOOD["awq"], {"a.scales": torch.ones(1, 7)}, of_shape("a.scales", (1, 7), (1, 8))),
        ("awq", {}, GOOD["awq"], {"a.qweight": torch.zeros(32, 1)}, holds("a.qweight", "F32", "I32")),
        ("awq", {}, GOOD["awq"], {"a.qzeros": torch.zeros(1, 1)}, holds("a.qzeros", "F32", "I32")),
        ("awq", {}, GOOD["awq"], {"a.qzeros": torch.zeros(2, 1).int()}, of_shape("a.qzeros", (2, 1), (1, 1))),
        ("compressed-tensors", {}, SHAPED, {"a.weight_shape": torch.tensor([5, 32])}, UNSHAPED),
        ("compressed-tensors", {}, SHAPED, {"a.weight_shape": torch.tensor([4, 0])}, UNSHAPED),
        ("compressed-tensors", {}, SHAPED, {"a.weight_shape": torch.tensor([4, 33])}, UNSHAPED),
        ("compressed-tensors", {}, SHAPED, {"a.weight_scale": torch.ones(4, 3)}, UNSHAPED),
        ("compressed-tensors", {}, SHAPED, {"a.weight_shape": torch.tensor([4.0, 32])},
         holds("a.weight_shape", "F32", "I32 or I64")),
        ("compressed-tensors", {}, SHAPED, {"a.weight_scale": torch.ones(3, 1)},
         of_shape("a.weight_scale", (3, 1), (4, 1))),
        ("compressed-tensors", {}, SHAPED, {"a.weight_zero_point": torch.ones(2, 1).int()},
         of_shape("a.weight_zero_point", (2, 1), (1, 1))),
        ("compressed-tensors", {}, SHAPED, {"a.weight_zero_point": torch.ones(1, 1).char()},
         of_shape("a.weight_zero_point", (1, 1), (4, 1))),
        ("compressed-tensors", {}, SHAPED, {"a.weight_zero_point": torch.ones(1, 1)},
         holds("a.weight_zero_point", "F32", "I8 or I32")),
        ("compressed-tensors", {}, SHAPED, {"a.weight_g_idx": torch.ones(32).int()},
         "the weight 'a.weight_packed' has its columns out of order (g_idx), which limelight does not read"),
        ("compressed-tensors", {}, NV, {"a.weight_global_scale": torch.ones(2)},
         "the tensor 'a.weight_global_scale' of a quantised model is not one number"),
        ("compressed-tensors", {}, NV, {"a.weight_packed": torch.ones(2, 12).byte()},
         "the tensor 'a.weight_packed' has rows of 24 weights, which are no whole blocks of 16"),
        ("compressed-tensors", {}, NV, {"a.weight_scale": torch.ones(2, 2)},
         holds("a.weight_scale", "F32", "F8_E4M3")),
        ("compressed-tensors", {}, NV, {"a.weight_scale": torch.ones(2, 1).to(FP8)},
         of_shape("a.weight_scale", (2, 1), (2, 2))),
        ("compressed-tensors", {}, MX, {"a.weight_packed": torch.ones(2, 24).byte()},
         "the tensor 'a.weight_packed' has rows of 48 weights, which are no whole blocks of 32"),
        ("compressed-tensors", {}, MX, {"a.weight_scale": torch.ones(2, 1)}, holds("a.weight_scale", "F32", "U8")),
        ("compressed-tensors", {}, MX, {"a.weight_scale": torch.ones(2, 2).byte()},
         of_shape("a.weight_scale", (2, 2), (2, 1))),
        ("modelopt", {}, GOOD["modelopt"], {"a.weight": torch.ones(2, 8)}, holds("a.weight", "F32", "U8")),
        ("modelopt", {}, GOOD["modelopt"], {"a.weight_scale_2": torch.ones(2)},
         "the tensor 'a.weight_scale_2' of a quantised model is not one number"),
        ("modelopt", {}, GOOD["modelopt"], {"a.weight_scale": torch.ones(2, 1)},
         holds("a.weight_scale", "F32", "F8_E4M3")),
        ("mxfp4", {}, GOOD["mxfp4"], {"a_blocks": torch.ones(1, 2, 1, 16)}, holds("a_blocks", "F32", "U8")),
        ("mxfp4", {}, GOOD["mxfp4"], {"a_scales": torch.ones(1, 2, 1)}, holds("a_scales", "F32", "U8")),
        ("mxfp4", {}, GOOD["mxfp4"], {"a_scales": torch.ones(1, 2).byte()},
         "the tensor 'a_scales' of a quantised model has the shape (1, 2)"),
        ("mxfp4", {}, GOOD["mxfp4"], {"a_blocks": torch.ones(1, 2, 1, 8).byte()},
         "the tensor 'a_blocks' has blocks of 16 weights; MXFP4's have 32"),
        ("fp8", {}, GOOD["fp8"], {"a.weight_zero_point": torch.ones(4)},
         "the tensor 'a.weight_zero_point' of a quantised model has the shape (4,)"),
        ("bitsandbytes", {}, {"a.weight": torch.ones(4, 8)}, {"a.SCB": torch.ones(4)}, holds("a.weight", "F32", "I8")),
        ("bitsandbytes", {}, {"a.weight": torch.ones(4, 8).char()}, {"a.SCB": torch.ones(5)},
         of_shape("a.SCB", (5,), (4,))),
        ("bitsandbytes", {}, NF4, {"a.weight": torch.ones(7, 1).byte()}, of_shape("a.weight", (7, 1), (8, 1))),
        ("bitsandbytes", {}, NF4, {"a.weight": torch.ones(8, 1)}, holds("a.weight", "F32", "U8")),
        ("bitsandbytes", {}, NF4, {"a.weight.absmax": torch.ones(2)}, of_shape("a.weight.absmax", (2,), (1,))),
        ("bitsandbytes", {}, NF4, {"a.weight.absmax": torch.ones(1).byte()}, holds("a.weight.absmax", "U8", "F32")),
        ("bitsandbytes", {}, NF4, {"a.weight.quant_map": torch.ones(15)},
         of_shape("a.weight.quant_map", (15,), (16,))),
        ("bitsandbytes", {}, NESTED, {"a.weight.absmax": torch.ones(12)}, holds("a.weight.absmax", "F32", "U8")),
        ("bitsandbytes", {}, NESTED, {"a.weight.nested_absmax": torch.ones(2)},
         of_shape("a.weight.nested_absmax", (2,), (3,))),
        ("bitsandbytes", {}, NESTED, {"a.weight.nested_quant_map": torch.ones(255)},
         of_shape("a.weight.nested_quant_map", (255,), (256,))),
    ],
)  # fmt: skip
def test_parts_that_do_not_belong_together_are_named(
    method: str, said: dict[str, Any], good: dict[str, Tensor], spoilt: dict[str, Tensor | None], why: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    if good and spoilt and "a.SCB" not in spoilt:
        opened(tmp_path, good, method, bits=4)  # which is read as it is
    tensors = {name: tensor for name, tensor in {**good, **spoilt}.items() if tensor is not None}
    with pytest.raises(ConfigError) as refused:
        opened(tmp_path, tensors, method, **said)
    assert str(refused.value) == why


@pytest.mark.parametrize(
    "state",
    [
        b"{",
        b"[4]",
        b"3",
        b"[" * 100_000,
        b'{"shape": [4, 4]}',
        b'{"blocksize": 64}',
        b'{"shape": 16, "blocksize": 64}',
        b'{"shape": [4, 0], "blocksize": 64}',
        b'{"shape": [-4, -4], "blocksize": 64}',
        b'{"shape": [4.0, 4], "blocksize": 64}',
        b'{"shape": [4, 4], "blocksize": true}',
        b'{"shape": [4, 4], "blocksize": 0}',
        b'{"shape": [4, 4], "blocksize": 4294967296}',
        b'{"shape": [4, 4], "blocksize": 64, "nested_blocksize": 0}',
        b'{"shape": [4, 4], "blocksize": 64, "nested_offset": "0"}',
        b'{"shape": [4, 4], "blocksize": 64, "nested_blocksize": 1, "nested_offset": null}',
    ],
)
def test_a_weight_that_is_not_described_is_refused(state: bytes, tmp_path: Path) -> None:
    name = "a.weight.quant_state.bitsandbytes__nf4"
    with pytest.raises(ConfigError) as refused:
        opened(tmp_path, NF4 | {name: torch.tensor(list(state), dtype=torch.uint8)}, "bitsandbytes")
    assert str(refused.value) == f"the tensor '{name}' does not describe a quantised weight"


def test_one_block_may_be_longer_than_the_weight(tmp_path: Path) -> None:
    name, longest = "a.weight.quant_state.bitsandbytes__nf4", (1 << 32) - 1
    held = NF4 | {"a.weight.quant_map": torch.arange(16.0), "a.weight.absmax": torch.tensor([0.5])}
    reader = opened(tmp_path, held | {name: described(shape=[15], blocksize=64)}, "bitsandbytes")
    assert reader.shape("a.weight") == (15,)  # an odd number: half of the last byte is no weight
    assert values(reader, "a.weight").tolist() == [0, 0.5] * 7 + [0]  # bytes of 1: the upper half comes first
    reader = opened(tmp_path, held | {name: described(shape=[4, 4], blocksize=longest)}, "bitsandbytes")
    assert reader.shape("a.weight") == (4, 4)


@pytest.mark.parametrize("group", [-1, 1, 7])
def test_no_column_is_in_a_group_that_is_not_there(group: int, tmp_path: Path) -> None:
    reader = opened(tmp_path, GPTQ | {"a.g_idx": torch.tensor([0] * 31 + [group])}, "gptq", bits=4)
    with pytest.raises(ConfigError, match=r"^the tensor 'a\.g_idx' names a group that is not there$"):
        reader.read("a.weight")
