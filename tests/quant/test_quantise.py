"""Float weights rounded to low-bit ones: bit for bit as ggml rounds, and layer by layer in a model."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from gguf.constants import GGMLQuantizationType
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.save import save_checkpoint
from limelight.errors import ConfigError, RequestError
from limelight.models.api import Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import preset
from limelight.quant import fuse, pack, quantise
from limelight.quant.linear import LowBitEmbedding, LowBitLinear
from limelight.quant.packed import CHUNK, FORMATS
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer

VOCAB, WIDTH = 41, 64
SOURCE = torch.randint(0, VOCAB, (2, 7), generator=torch.Generator().manual_seed(1))
TARGET = torch.randint(0, VOCAB, (2, 5), generator=torch.Generator().manual_seed(2))


def reference(weight: np.ndarray) -> np.ndarray:
    return gguf.quants.quantize(weight, GGMLQuantizationType.Q8_0)


@settings(max_examples=100, deadline=None)
@given(shape=st.lists(st.integers(1, 4), max_size=2), blocks=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_rounding_is_that_of_ggml_bit_for_bit(shape: list[int], blocks: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    weight = random.normal(size=(*shape, blocks, 32)).astype(np.float32)
    weight *= 10 ** random.uniform(-30, 6, (*shape, blocks, 1)).astype(np.float32)
    # Where the scale is 1, halves: C rounds them away from zero, torch to the even neighbour.
    weight[..., -1, :] = random.integers(-253, 254, 32) / 2
    weight[..., -1, 0] = random.choice([-127, 127])
    weight[..., 0, :] *= random.choice([0, 1])
    weight = weight.reshape(*shape, 32 * blocks)
    packed = pack(torch.from_numpy(weight))
    assert packed.shape == weight.shape
    np.testing.assert_array_equal(packed.data.numpy(), reference(weight.reshape(-1, 32 * blocks)))


def test_many_rows_and_other_number_types_are_rounded_alike() -> None:
    weight = torch.randn(3 * CHUNK // 64 + 5, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    np.testing.assert_array_equal(pack(weight).data.numpy(), reference(weight.float().numpy()))
    assert pack(weight.T.contiguous().T).data.equal(pack(weight).data)
    assert pack(weight[:0]).dequantize().shape == (0, 64)


def test_a_second_rounding_changes_nothing() -> None:
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
    once = pack(weight)
    assert (once.dequantize() - weight).abs().max() <= weight.abs().max() / 127
    again = pack(once.dequantize()).dequantize()
    torch.testing.assert_close(again, once.dequantize(), rtol=2**-10, atol=0)  # the scale, a float16 number, may differ


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e7])
def test_what_is_no_number_or_too_large_is_refused(value: float) -> None:
    weight = torch.zeros(2, 64)
    weight[1, 40] = value
    with pytest.raises(ConfigError, match="too large to be rounded"):
        pack(weight)


def test_formats_that_are_only_read_and_rows_that_are_not_whole_blocks_are_refused() -> None:
    for format in {*FORMATS, "Q9"} - {"Q8_0"}:
        with pytest.raises(ConfigError, match="choose from: Q8_0"):
            pack(torch.zeros(2, 256), format)
        with pytest.raises(ConfigError, match="choose from: Q8_0"):
            quantise(nn.Linear(256, 4), format)
    for shape in ((2, 48), ()):
        with pytest.raises(ConfigError, match="blocks of Q8_0"):
            pack(torch.zeros(shape))


def translator(source_vocab: int | None = None, width: int = WIDTH) -> Seq2Seq:
    config = preset("transformer2017-tiny", VOCAB, source_vocab=source_vocab, width=width)
    built = build(config)
    assert isinstance(built, Seq2Seq)
    initialise(built, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in built.parameters():  # biases that are not zero
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return built.eval()


@torch.inference_mode()
def logits(network: Seq2Seq) -> torch.Tensor:
    return network(SOURCE, None, TARGET)


@pytest.mark.parametrize("source_vocab", [None, VOCAB])
def test_a_network_computes_nearly_what_it_did_and_shares_what_it_shared(source_vocab: int | None) -> None:
    network = translator(source_vocab)
    exact = logits(network)
    assert quantise(network) is network
    kinds = [type(module) for module in network.modules()]
    assert nn.Linear not in kinds
    assert nn.Embedding not in kinds
    assert kinds.count(LowBitEmbedding) == (1 if source_vocab is None else 2)
    assert network.head.proj.matrix is network.embed.matrix
    assert (logits(network) - exact).norm() < 0.02 * exact.norm()


def test_layers_that_do_not_fit_stay_as_they_are() -> None:
    network = translator(width=72)  # neither 72 nor its heads are multiples of 32; only the hidden layer is
    exact = logits(network)
    quantise(network)
    low = {name for name, module in network.named_modules() if isinstance(module, LowBitLinear)}
    assert low
    assert all(name.endswith("feedforward.down") for name in low)
    assert network.head.proj.weight is network.embed.weight
    assert (logits(network) - exact).norm() < 0.02 * exact.norm()


def test_a_layer_that_stands_in_two_places_is_rounded_once() -> None:
    layer = nn.Linear(32, 32)
    first, second = quantise(nn.Sequential(layer, layer))
    assert isinstance(first, LowBitLinear)
    assert first.matrix is second.matrix
    assert first.bias is second.bias is layer.bias


@pytest.mark.parametrize("source_vocab", [None, VOCAB])
def test_opening_as_q8_0_gives_the_rounded_model(source_vocab: int | None, tmp_path: Path) -> None:
    network = translator(source_vocab)
    words = {"</s>": 0} | {f"w{i}": i for i in range(1, VOCAB)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w1"))
    save_checkpoint(network, Tokenizer(Parts(inner, eos="</s>")), tmp_path / "model")
    opened = open_checkpoint(tmp_path / "model", dtype="q8_0").network
    assert isinstance(opened, Seq2Seq)
    assert opened.dtype == torch.float32
    assert opened.head.proj.matrix is opened.embed.matrix
    fuse(quantise(network))
    assert torch.equal(logits(opened), logits(network))


def test_q8_0_is_for_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="for the CPU alone"):
        open_checkpoint(tmp_path, dtype="q8_0", device="meta")
    with pytest.raises(RequestError, match="float16, q8_0"):
        open_checkpoint(tmp_path, dtype="q4_9")
