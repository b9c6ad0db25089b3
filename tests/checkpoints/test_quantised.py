"""Quantised Hugging Face files mean what their methods' papers and packers say, written out here once more."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import limelight
from limelight.checkpoints.quantised import widened
from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.save import export
from limelight.errors import ConfigError, FileError
from limelight.quant.packed import Packed

FLOAT4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
FLOAT4 = FLOAT4 + [-value for value in FLOAT4]


def random(*shape: int, most: int = 16, seed: int = 0) -> Tensor:
    return torch.randint(0, most, shape, generator=torch.Generator().manual_seed(seed + math.prod(shape)))


def halves(*shape: int, seed: int = 0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.1).half()


def words(values: Tensor, bits: int, order: tuple[int, ...] | None = None) -> Tensor:
    """Along the first dimension, so many to a word, the first in the lowest bits; `order`: which value is in which."""
    per = 32 // bits
    packed = torch.zeros(-(-len(values) // per), values.shape[1], dtype=torch.int64)
    for row, value in enumerate(values):
        word, place = divmod(row, per)
        packed[word] |= value << bits * (place if order is None else order.index(place))
    return torch.where(packed >= 1 << 31, packed - (1 << 32), packed).int()


def pairs(codes: Tensor) -> Tensor:
    """Two neighbours to a byte, the first in the lower half."""
    return (codes[..., ::2] | codes[..., 1::2] << 4).to(torch.uint8)


def read(folder: Path, tensors: dict[str, Tensor], **said: Any) -> tuple[Tensor, str]:
    """The weight "a.weight" that a file with these tensors holds, and its format."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    reader, config = widened(open_tensors(folder), {"x": 1, "quantization_config": said})
    assert config == {"x": 1}
    assert reader.names() == ("a.weight",)
    weight = reader.read("a.weight")
    assert tuple(weight.shape) == reader.shape("a.weight")
    assert reader.nbytes("a.weight") <= (folder / "model.safetensors").stat().st_size
    assert reader.dtype("a.weight") in {"INT2", "INT4", "INT8", "F8_E4M3", "NF4", "FP4", "MXFP4", "NVFP4"}
    return (weight.dequantize(), weight.format) if isinstance(weight, Packed) else (weight, "F32")


@pytest.mark.parametrize(
    ("bits", "size", "symmetric", "version", "format"),
    [
        (4, 32, False, "gptq", "U4"),
        (4, 64, True, "gptq", "Q4_0"),
        (4, 64, True, "gptq_v2", "Q4_0"),
        (2, 32, False, "gptq", "U4"),
        (8, 32, True, "gptq", "S8"),
        (8, 32, False, "gptq", "F32"),
        (4, 8, False, "gptq", "F32"),
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_gptq(bits: int, size: int, symmetric: bool, version: str, format: str, ordered: bool, tmp_path: Path) -> None:
    columns, out = 64, 24
    codes, scale = random(columns, out, most=1 << bits), halves(columns // size, out)
    zero = random(columns // size, out, most=(1 << bits) - 1, seed=1) + 1
    if symmetric:
        zero = torch.full_like(zero, 1 << (bits - 1))
    group = torch.arange(columns) // size
    if not ordered:
        group = group[torch.randperm(columns, generator=torch.Generator().manual_seed(3))]
    expected = (scale.float()[group] * (codes - zero[group])).T
    tensors = {"a.qweight": words(codes, bits), "a.scales": scale, "a.g_idx": group.int()}
    tensors |= {"a.qzeros": words((zero - int(version == "gptq")).T, bits).T, "a.bias": torch.zeros(out)}
    found, kept = read(tmp_path, tensors, quant_method="gptq", bits=bits, checkpoint_format=version)
    assert torch.equal(found, expected)
    assert kept == (format if torch.equal(group, torch.arange(columns) // size) else "F32")


@pytest.mark.parametrize(("size", "format"), [(32, "U4"), (16, "F32")])
def test_awq(size: int, format: str, tmp_path: Path) -> None:
    columns, out, order = 64, 24, (0, 2, 4, 6, 1, 3, 5, 7)
    codes, zero, scale = random(columns, out), random(columns // size, out, seed=1), halves(columns // size, out)
    group = torch.arange(columns) // size
    tensors = {"a.qweight": words(codes.T, 4, order).T, "a.qzeros": words(zero.T, 4, order).T, "a.scales": scale}
    found, kept = read(tmp_path, tensors, quant_method="awq", bits=4, version="gemm")
    assert torch.equal(found, (scale.float()[group] * (codes - zero[group])).T)
    assert kept == format


@pytest.mark.parametrize(
    ("rows", "columns", "scale", "said"),
    [
        (20, 24, (), {"quant_method": "fp8"}),
        (20, 24, (20, 1), {"quant_method": "compressed-tensors"}),
        (20, 24, (20,), {"quant_method": "fbgemm_fp8"}),
        (20, 24, (3, 2), {"quant_method": "fp8", "weight_block_size": [8, 16]}),
        (16, 32, (2, 4), {"quant_method": "compressed-tensors"}),
    ],
)
def test_8_bit_floats(rows: int, columns: int, scale: tuple[int, ...], said: dict[str, Any], tmp_path: Path) -> None:
    weight, scales = halves(rows, columns).to(torch.float8_e4m3fn), halves(*scale, seed=1).abs().float()
    size = said.get(
        "weight_block_size", [rows // (scale or (1,))[0], columns // scale[1] if len(scale) == 2 else columns]
    )
    expected = torch.empty(rows, columns)
    for row in range(rows):
        for column in range(columns):
            at = (row // size[0], column // size[1])
            factor = scales[at[: len(scale)]] if scale else scales
            expected[row, column] = weight[row, column].float() * factor
    name = "a.weight_scale_inv" if "weight_block_size" in said else "a.weight_scale"
    others = {"a.input_scale": torch.ones(()), "attention.k_scale": torch.ones(1)}
    found, kept = read(tmp_path, {"a.weight": weight, name: scales, **others}, **said)
    assert torch.equal(found, expected)
    assert kept == "F32"


@pytest.mark.parametrize(("columns", "groups", "format"), [(64, 1, "S8"), (64, 2, "S8"), (40, 1, "F32")])
def test_whole_numbers_of_8_bits(columns: int, groups: int, format: str, tmp_path: Path) -> None:
    weight, scale = (random(20, columns, most=256) - 128).to(torch.int8), halves(20, groups)
    of_column = torch.arange(columns) // (columns // groups)
    found, kept = read(tmp_path, {"a.weight": weight, "a.weight_scale": scale}, quant_method="compressed-tensors")
    assert torch.equal(found, scale.float()[:, of_column] * weight)
    assert kept == format


@pytest.mark.parametrize(
    ("bits", "zeros", "plain", "format"),
    [(4, False, False, "Q4_0"), (4, True, False, "U4"), (4, True, True, "U4"), (8, False, False, "S8")],
)
def test_whole_numbers_in_words(bits: int, zeros: bool, plain: bool, format: str, tmp_path: Path) -> None:
    out, columns, size, middle = 24, 64, 32, 1 << (bits - 1)
    codes, scale = random(out, columns, most=1 << bits), halves(out, columns // size)
    zero = random(out, columns // size, most=1 << bits, seed=1) if zeros else torch.full_like(scale, middle).long()
    tensors = {"a.weight_packed": words(codes.T, bits).T, "a.weight_scale": scale}
    tensors |= {"a.weight_shape": torch.tensor([out, columns])}
    if zeros:
        tensors["a.weight_zero_point"] = (zero - middle).to(torch.int8) if plain else words(zero, bits)
    found, kept = read(tmp_path, tensors, quant_method="compressed-tensors")
    group = torch.arange(columns) // size
    assert torch.equal(found, scale.float()[:, group] * (codes - zero[:, group]))
    assert kept == format


def test_4_bit_floats(tmp_path: Path) -> None:
    codes = random(24, 64)
    values = torch.tensor(FLOAT4)[codes]
    small, whole = halves(24, 4).abs().to(torch.float8_e4m3fn), torch.tensor([3.0])
    tensors = {"a.weight_packed": pairs(codes), "a.weight_scale": small, "a.weight_global_scale": whole}
    found, kept = read(tmp_path, tensors, quant_method="compressed-tensors")
    assert torch.equal(found, values * (small.float() / whole).repeat_interleave(16, 1))
    assert kept == "S8"
    tensors = {"a.weight": pairs(codes), "a.weight_scale": small, "a.weight_scale_2": whole}
    found, kept = read(tmp_path, {**tensors, "a.input_scale": torch.ones(1)}, quant_method="modelopt")
    assert torch.equal(found, values * (small.float() * whole).repeat_interleave(16, 1))
    assert kept == "S8"
    exponents = (random(24, 2) + 115).to(torch.uint8)
    found, kept = read(
        tmp_path, {"a.weight_packed": pairs(codes), "a.weight_scale": exponents}, quant_method="compressed-tensors"
    )
    assert torch.equal(found, values * torch.exp2(exponents.float() - 127).repeat_interleave(32, 1))
    assert kept == "MXFP4"


def test_some_layers_may_be_integers_and_others_floats(tmp_path: Path) -> None:
    codes, exponents = random(24, 64), (random(24, 2) + 115).to(torch.uint8)
    integers = {"weight_packed": words(codes.T, 4).T, "weight_scale": halves(24, 4)}
    integers |= {"weight_shape": torch.tensor([24, 64])}
    floats = {"weight_packed": pairs(codes), "weight_scale": exponents}
    layers = {"a": integers, "b": floats, "c": integers, "d": floats}
    tensors = {f"{layer}.{name}": each.contiguous() for layer, held in layers.items() for name, each in held.items()}
    save_file({name: each.clone() for name, each in tensors.items()}, tmp_path / "model.safetensors")
    groups = {"group_0": {"weights": {"num_bits": 4, "group_size": 16, "type": "int", "symmetric": True}}}
    said = {"quant_method": "compressed-tensors", "config_groups": groups}
    reader, _ = widened(open_tensors(tmp_path), {"quantization_config": said})
    assert [reader.dtype(f"{layer}.weight") for layer in layers] == ["INT4", "MXFP4"] * 2


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_tables(kind: str, nested: bool, tmp_path: Path) -> None:
    rows, columns, block = 9, 50, 64  # the last block is short
    codes, table = random(rows * columns), torch.linspace(-1, 1, 16).sin()
    count = -(-rows * columns // block)
    state: dict[str, Any] = {"quant_type": kind, "blocksize": block, "shape": [rows, columns], "dtype": "bfloat16"}
    peaks = halves(count).abs().float()
    tensors = {"a.weight": (codes[::2] << 4 | codes[1::2]).to(torch.uint8)[:, None], "a.weight.quant_map": table}
    if nested:
        state |= {"nested_blocksize": 4, "nested_offset": 0.25, "nested_dtype": "float32"}
        stored, inner, outer = (
            random(count, most=256),
            torch.linspace(-1, 1, 256),
            halves(-(-count // 4), seed=2).float(),
        )
        peaks = torch.tensor([inner[int(n)] * outer[i // 4] + 0.25 for i, n in enumerate(stored)])
        tensors |= {"a.weight.absmax": stored.to(torch.uint8)}
        tensors |= {"a.weight.nested_absmax": outer, "a.weight.nested_quant_map": inner}
    else:
        tensors["a.weight.absmax"] = peaks
    said = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    found, _ = read(
        tmp_path, {**tensors, f"a.weight.quant_state.bitsandbytes__{kind}": said}, quant_method="bitsandbytes"
    )
    expected = torch.stack([table[int(code)] * peaks[i // block] for i, code in enumerate(codes)]).view(rows, columns)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("columns", "format"), [(32, "S8"), (24, "F32")])
def test_bitsandbytes_rows(columns: int, format: str, tmp_path: Path) -> None:
    weight, peak = (random(6, columns, most=255) - 127).to(torch.int8), halves(6).abs().float()
    tensors = {"a.weight": weight, "a.SCB": peak, "a.weight_format": torch.tensor(0, dtype=torch.uint8)}
    found, kept = read(tmp_path, tensors, quant_method="bitsandbytes", load_in_8bit=True)
    torch.testing.assert_close(found, weight * peak[:, None] / 127, rtol=1e-6, atol=0)
    assert kept == format


def test_a_whole_model_opens_low_bit_and_is_saved_as_what_it_computes(tmp_path: Path, tiny: Path) -> None:
    weights, config = load_file(tiny / "model.safetensors"), json.loads((tiny / "config.json").read_text())
    expected = dict(weights)
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        stem, (out, columns) = name.removesuffix("weight"), weights.pop(name).shape
        codes, scale = random(columns, out, seed=len(stem)), halves(columns // 16, out)
        zero = torch.full((columns // 16, out), 8)
        weights |= {f"{stem}qweight": words(codes, 4), f"{stem}scales": scale, f"{stem}qzeros": words(zero.T - 1, 4).T}
        expected[name] = (scale.float().repeat_interleave(16, 0) * (codes - 8)).T
    folder = tmp_path / "quantised"
    folder.mkdir()
    for file in tiny.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    said = {"bits": 4, "group_size": 16}
    (folder / "quantize_config.json").write_text(json.dumps(said))  # as AutoGPTQ did at first
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    model = limelight.open(folder, kind=limelight.Model)
    found = export(model.network)
    (folder / "quantize_config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq", **said}}))
    again = export(limelight.open(folder, kind=limelight.Model).network)
    assert all(torch.equal(found[name], again[name]) for name in found)
    for name, tensor in expected.items():
        if name in found:
            assert torch.equal(found[name], tensor.float()), name
    limelight.save(model, tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    copy = limelight.open(tmp_path / "saved", kind=limelight.Model)
    tokens = torch.arange(5)[None]
    torch.testing.assert_close(copy.network(tokens), model.network(tokens), rtol=1e-5, atol=1e-5)


def test_gpt_oss_as_it_is_published(tmp_path: Path, tiny: Path) -> None:
    from transformers import GptOssConfig, GptOssForCausalLM
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 300}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "num_local_experts": 3}
    reference = GptOssForCausalLM(GptOssConfig(**sizes, **heads, num_experts_per_tok=2)).eval()
    reference.save_pretrained(tmp_path / "a")
    weights, front = load_file(tmp_path / "a" / "model.safetensors"), "model.layers.0.mlp.experts."
    expected = {}
    for name, (rows, columns) in {"gate_up_proj": (64, 64), "down_proj": (64, 32)}.items():
        codes, scales = random(3, rows, columns), (random(3, rows, columns // 32) + 115).to(torch.uint8)
        del weights[front + name]
        blocks = pairs(codes).view(3, rows, -1, 16)
        weights |= {f"{front}{name}_blocks": blocks, f"{front}{name}_scales": scales}
        expected[front + name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    save_file(weights, tmp_path / "a" / "model.safetensors")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "mxfp4"}})
    )
    (tmp_path / "a" / "tokenizer.json").write_bytes((tiny / "tokenizer.json").read_bytes())
    network = limelight.open(tmp_path / "a", kind=limelight.Model).network
    found = export(network)
    assert {name: torch.equal(found[name], tensor) for name, tensor in expected.items()} == dict.fromkeys(
        expected, True
    )
    layers = [module for name, module in network.named_modules() if ".experts." in name and name.endswith("gate")]
    assert {layer.packed.format for layer in layers} == {"MXFP4"}  # type: ignore[union-attr]
    with torch.no_grad():
        for name, tensor in expected.items():
            reference.get_parameter(name).copy_(tensor)
    tokens, exact = torch.arange(7)[None], limelight.open(tmp_path / "a", dtype="float32", kind=limelight.Model).network
    with torch.inference_mode():
        torch.testing.assert_close(exact(tokens), reference(tokens).logits, rtol=1e-4, atol=1e-4)


GPTQ = {"a.qweight": torch.zeros(4, 8).int(), "a.scales": torch.ones(1, 8), "a.qzeros": torch.zeros(1, 1).int()}
STATE = torch.tensor(list(b'{"shape": [4, 4], "blocksize": 64}'), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("method", "said", "tensors", "match"),
    [
        ("gptq", {"bits": 3}, GPTQ, "bits: 3; limelight reads 2, 4, 8"),
        ("gptq", {}, GPTQ, "says bits: None"),
        ("gptq", {"bits": 4, "checkpoint_format": "marlin"}, GPTQ, "says checkpoint_format: 'marlin'"),
        ("modelopt", {}, {"a.weight": torch.ones(2, 9).byte(), "a.weight_scale_2": torch.ones(1)}, "whole blocks"),
        ("gptq", {"bits": 4}, GPTQ | {"a.scales": torch.ones(1, 7)}, r"'a.scales' of .* shape \(1, 7\), not \(1, 8\)"),
        ("gptq", {"bits": 4}, {k: v for k, v in GPTQ.items() if k != "a.qzeros"}, "lacks the tensor 'a.qzeros'"),
        ("gptq", {"bits": 4}, GPTQ | {"a.qweight": torch.zeros(4, 8)}, "'a.qweight' of .* holds F32, not I32"),
        ("awq", {"bits": 4, "version": "gemv"}, {}, "says version: 'gemv'"),
        ("fp8", {}, {"a.weight": torch.ones(4, 4).to(torch.float8_e5m2), "a.weight_scale": torch.ones(3)}, "not fit"),
        ("bitsandbytes", {}, {"a.weight.quant_state.bitsandbytes__nf4": STATE[:9]}, "does not describe"),
        ("bitsandbytes", {}, {"a.weight.quant_state.bitsandbytes__nf4": STATE}, "lacks the tensor 'a.weight'"),
        ("compressed-tensors", {}, {"a.weight_packed": torch.ones(4, 8).int(), "a.weight_scale": torch.ones(4, 1),
         "a.weight_shape": torch.tensor([4, 99])}, "does not hold integers of 4 or 8 bits"),
        ("mxfp4", {}, {"a_blocks": torch.ones(1, 2, 1, 8).byte(), "a_scales": torch.ones(1, 2, 1).byte()}, "of 16"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    method: str, said: dict[str, Any], tensors: dict[str, Tensor], match: str, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=match):
        widened(open_tensors(tmp_path), {"quantization_config": {"quant_method": method, **said}})


def test_groups_that_are_not_there_are_refused(tmp_path: Path) -> None:
    save_file(GPTQ | {"a.g_idx": torch.full((32,), 7).int()}, tmp_path / "model.safetensors")
    reader, _ = widened(open_tensors(tmp_path), {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    with pytest.raises(ConfigError, match=r"'a.g_idx' names a group that is not there"):
        reader.read("a.weight")


GOOD: dict[str, dict[str, Tensor]] = {
    "gptq": GPTQ | {"a.g_idx": torch.zeros(32).int()},
    "awq": {"a.qweight": torch.zeros(32, 1).int(), "a.scales": torch.ones(1, 8), "a.qzeros": torch.zeros(1, 1).int()},
    "fp8": {"a.weight": torch.ones(4, 4).to(torch.float8_e5m2), "a.weight_scale": torch.ones(4, 1)},
    "bitsandbytes": {"a.weight": torch.ones(8, 1).byte(), "a.weight.absmax": torch.ones(1)}
    | {"a.weight.quant_map": torch.ones(16), "a.weight.quant_state.bitsandbytes__nf4": STATE},
    "compressed-tensors": {"a.weight_packed": torch.ones(4, 4).int(), "a.weight_scale": torch.ones(4, 1)}
    | {"a.weight_shape": torch.tensor([4, 32]), "a.weight_zero_point": torch.ones(1, 1).int()},
    "mxfp4": {"a_blocks": torch.ones(1, 2, 1, 16).byte(), "a_scales": torch.ones(1, 2, 1).byte()},
    "modelopt": {"a.weight": torch.ones(2, 8).byte(), "a.weight_scale": torch.ones(2, 1).to(torch.float8_e4m3fn)}
    | {"a.weight_scale_2": torch.ones(1)},
}  # fmt: skip
KINDS = [torch.float32, torch.float8_e4m3fn, torch.int32, torch.int64, torch.uint8, torch.int8]


@pytest.mark.parametrize("method", GOOD)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_spoilt_files_are_read_or_refused(method: str, data: st.DataObject, tmp_path: Path) -> None:
    tensors = dict(GOOD[method])
    changed = data.draw(st.sets(st.sampled_from(sorted(tensors)), max_size=2))
    for name in changed:
        shape = data.draw(st.sampled_from([(), (0,), (1,), (4, 1), (1, 4), (8, 4), tuple(tensors[name].shape)]))
        value, kind = data.draw(st.sampled_from([-(2**31), -1, 0, 9, 2**30])), data.draw(st.sampled_from(KINDS))
        tensors[name] = torch.full(shape, value, dtype=torch.int64).to(torch.float32).to(kind)
    save_file(tensors, tmp_path / "model.safetensors")
    try:
        reader, _ = widened(open_tensors(tmp_path), {"quantization_config": {"quant_method": method, "bits": 4}})
        for name in reader.names():
            assert tuple(reader.read(name).shape) == reader.shape(name)
    except (ConfigError, FileError):
        assert changed


@pytest.mark.parametrize("said", [None, 3, {"quant_method": "hqq"}, {"quant_method": ["gptq"]}, {}])
def test_other_methods_are_left_as_they_are(said: Any, tmp_path: Path) -> None:
    save_file(GPTQ, tmp_path / "model.safetensors")
    reader, config = open_tensors(tmp_path), {"quantization_config": said}
    assert widened(reader, config) == (reader, config)
