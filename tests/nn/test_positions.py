"""Sinusoidal positions against the formula of the paper and Marian's table; scaled rotations against the reference."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from references import CONFIGS
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding

from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.registry import config_from_hf
from limelight.nn.positions import (
    LinearScaling,
    Llama3Scaling,
    Positions,
    Rotary,
    SinusoidalPositions,
    YarnScaling,
    sinusoids,
)

WIDTH, LENGTH = 12, 9


def vectors(layout: str) -> torch.Tensor:
    positions = Positions(torch.arange(LENGTH), LENGTH)
    return SinusoidalPositions(WIDTH, layout)(torch.zeros(1, LENGTH, WIDTH), positions)[0]


def formula(position: int, feature: int) -> float:
    angle = position / 10000 ** (feature // 2 * 2 / WIDTH)
    return math.cos(angle) if feature % 2 else math.sin(angle)


def test_interleaved_is_the_papers_formula() -> None:
    expected = torch.tensor([[formula(at, feature) for feature in range(WIDTH)] for at in range(LENGTH)])
    torch.testing.assert_close(vectors("interleaved"), expected)


def test_halves_hold_the_same_numbers_in_another_order() -> None:
    both = vectors("interleaved")
    torch.testing.assert_close(vectors("halves"), torch.cat((both[:, 0::2], both[:, 1::2]), -1), rtol=0, atol=0)


@pytest.mark.parametrize("width", [2, 12, 64])
def test_fairseqs_are_those_of_m2m_100(width: int) -> None:
    expected = M2M100SinusoidalPositionalEmbedding.get_embedding(700, width) if width > 2 else None
    found = sinusoids(700, width, "fairseq")
    if expected is not None:
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert found.isfinite().all()
    at_five = SinusoidalPositions(width, "fairseq", offset=2)(torch.zeros(1, 1, width), Positions(torch.tensor([5]), 6))
    assert torch.equal(at_five[0, 0], found[7])


def test_rows_may_stand_at_different_positions() -> None:
    positions = Positions(torch.tensor([[0, 1], [5, 6]]), 7)
    found = SinusoidalPositions(WIDTH, "interleaved")(torch.zeros(2, 2, WIDTH), positions)
    whole = vectors("interleaved")
    torch.testing.assert_close(found, torch.stack((whole[:2], whole[5:7])))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_type_of_the_stream_stays(dtype: torch.dtype) -> None:
    positions = Positions(torch.arange(LENGTH), LENGTH)
    found = SinusoidalPositions(WIDTH, "halves")(torch.zeros(1, LENGTH, WIDTH, dtype=dtype), positions)
    assert found.dtype == dtype
    torch.testing.assert_close(found[0].float(), vectors("halves"), atol=1e-2, rtol=0)


def theirs(kind: str, width: int, base: float, **parameters: float) -> tuple[torch.Tensor, float]:
    """The reference's frequencies and amplitude."""
    scaling = {"rope_type": kind, "rope_theta": base, **parameters}
    config = LlamaConfig(
        head_dim=width, hidden_size=4 * width, num_attention_heads=4, max_position_embeddings=1 << 16,
        rope_parameters=scaling,
    )  # fmt: skip
    return ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))


WIDTHS, BASES = st.integers(1, 64).map(lambda half: 2 * half), st.floats(10, 1e6)
FACTORS, LENGTHS = st.floats(1, 64), st.integers(64, 1 << 16)
NONE = torch.zeros(1, dtype=torch.int64)


@settings(max_examples=60, deadline=None)
@given(width=WIDTHS, base=BASES, factor=FACTORS, low=st.floats(0.5, 4), more=st.floats(0.5, 8), original=LENGTHS)
def test_llama3_and_linear_frequencies_are_the_references(
    width: int, base: float, factor: float, low: float, more: float, original: int
) -> None:
    expected, _ = theirs("linear", width, base, factor=factor)
    torch.testing.assert_close(LinearScaling(factor).frequencies(width, base, NONE), expected)
    chosen = {"low_freq_factor": low, "high_freq_factor": low + more, "original_max_position_embeddings": original}
    expected, _ = theirs("llama3", width, base, factor=factor, **chosen)
    found = Llama3Scaling(factor, low, low + more, original).frequencies(width, base, NONE)
    torch.testing.assert_close(found, expected)


@settings(max_examples=100, deadline=None)
@given(width=WIDTHS, base=BASES, factor=FACTORS, slow=st.floats(0.25, 8), ratio=st.floats(1, 64), original=LENGTHS)
@example(width=2, base=10000.0, factor=4.0, slow=1.0, ratio=32.0, original=64)  # a ramp of no length
@example(width=8, base=100.0, factor=4.0, slow=8.0, ratio=8.0, original=64)  # one that would begin before all
def test_yarn_frequencies_are_the_references(
    width: int, base: float, factor: float, slow: float, ratio: float, original: int
) -> None:
    for whole in (True, False):
        chosen = {"beta_slow": slow, "beta_fast": slow * ratio, "truncate": whole}
        expected, _ = theirs("yarn", width, base, factor=factor, original_max_position_embeddings=original, **chosen)
        scaling = YarnScaling(factor, original, 1.0, slow * ratio, slow, whole)
        torch.testing.assert_close(scaling.frequencies(width, base, NONE), expected)


@pytest.mark.parametrize(("setting", "value"), [("base", 500.0), ("scaling", LinearScaling(4.0)), ("width", 6)])
def test_a_rotary_whose_settings_change_turns_by_the_new_ones(setting: str, value: object) -> None:
    x = torch.randn(1, 2, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0))
    rotary, built = Rotary(WIDTH, 10000.0), {"width": WIDTH, "base": 10000.0, "scaling": None}
    before = rotary(x, Positions(torch.arange(LENGTH), LENGTH))
    setattr(rotary, setting, value)
    after = rotary(x, Positions(torch.arange(LENGTH), LENGTH))
    assert not torch.allclose(before, after)
    fresh = Rotary(**built | {setting: value})
    assert torch.equal(after, fresh(x, Positions(torch.arange(LENGTH), LENGTH)))


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neo"])
def test_a_row_at_the_end_of_the_context_goes_on_beside_one_that_is_read(name: str) -> None:
    """What fills up its row would stand at positions that the model does not have."""
    torch.manual_seed(0)
    values = CONFIGS[name].to_dict() | {"model_type": CONFIGS[name].model_type}
    network = build(config_from_hf(values)).eval()
    assert isinstance(network, Decoder)
    end = network.context - 1
    texts = torch.randint(3, 99, (2, end + 1))
    with torch.inference_mode():
        state = network.start(2, end + 9)
        network.step(texts[:, :end], state, torch.tensor([end, 1]))
        row = torch.stack((texts[0, end:].expand(9), texts[1, 1:10]))
        found = network.step(row, state, torch.tensor([1, 9]), last=True)[:, 0]
        alone = [network(texts[:1])[0, -1], network(texts[1:, :10])[0, -1]]
    torch.testing.assert_close(found, torch.stack(alone), rtol=1e-4, atol=1e-4)
