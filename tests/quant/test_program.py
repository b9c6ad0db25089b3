"""Stacks that the compiled kernels run at once, against their blocks run in turn and against torch."""

import copy
import gc
import pickle
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.look.record import record, twin
from limelight.models import transformer2017
from limelight.models.api import Decoder, Encoder, Seq2Seq
from limelight.models.build import build
from limelight.models.config import ModelConfig
from limelight.models.registry import FAMILIES, config_from_hf
from limelight.nn.norm import Norm
from limelight.nn.recurrent import Carried
from limelight.nn.stack import Stack, in_turn
from limelight.quant import fuse, native, quantise
from limelight.quant.compiler import UnfitError
from limelight.quant.kernels import NativeMatrix
from limelight.quant.linear import exactly
from limelight.quant.program import Fused, Program
from tests.references import CONFIGS, ENCODERS, FOLLOWING, SEQ2SEQ

pytestmark = pytest.mark.skipif(not native.KERNELS, reason="the compiled kernels are not built")

N = TypeVar("N", Decoder, Encoder, Seq2Seq)

VOCAB = 99
KERNELS = range(len(native.KERNELS))
TOKENS = torch.randint(3, VOCAB, (3, 23), generator=torch.Generator().manual_seed(1))


def spread(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + 0.02)


# Kernels know heads of 16, 32, … and rows of whole blocks.
WIDE = {"hidden_size": 96, "d_kv": 16, "decoder_attention_heads": 4, "decoder_ffn_dim": 96}


def built(name: str) -> nn.Module:
    config = CONFIGS.get(name) or SEQ2SEQ.get(name) or ENCODERS[name][0]
    head = {"architectures": [ENCODERS[name][1].__name__]} if name in ENCODERS else {}
    said = config.to_dict() | {"model_type": config.model_type}
    if name in TRANSLATORS or name == "bloom":
        said |= {key: value for key, value in WIDE.items() if key in said}
    return build(config_from_hf(said | head))


def language_model(name: str = "llama", kernel: int = 0) -> Decoder:
    network = built(name)
    assert isinstance(network, Decoder)
    return fused(network, kernel)


def fused(network: N, kernel: int = 0) -> N:
    """Rounded and fused, and remembering exactly, as the blocks in turn do."""
    spread(network)
    quantise(network.eval())
    for module in network.modules():
        if isinstance(module, NativeMatrix):
            module.kernel = kernel
    fuse(network)
    stack(network).cache_dtype = None
    return network


def stack(network: Decoder | Encoder | Seq2Seq) -> nn.Module:
    return network.encoder if isinstance(network, Encoder) else network.decoder


def translator(kind: Callable[..., ModelConfig]) -> Seq2Seq:
    network = build(
        kind(vocab=VOCAB, source_vocab=None, context=64, layers=2, width=64, heads=4, hidden=96, dropout=0.1)
    )
    assert isinstance(network, Seq2Seq)
    fused(network)
    network.encoder.cache_dtype = None
    return network


def slowly(network: nn.Module) -> nn.Module:
    other = twin(network)
    for module in other.modules():
        if isinstance(module, Stack):
            module.run = in_turn
    return other


def error(found: Tensor, expected: Tensor) -> float:
    """How far off the median number is, in mean sizes; and that nothing is far off."""
    off = (found - expected).abs() / expected.abs().mean()
    assert off.mean() < 2e-2
    return float(off.median())


def near(found: Tensor, expected: Tensor) -> None:
    """Equal but for the order of sums; a number that this carries over the edge between two codes is off by more."""
    assert error(found, expected) < 2e-5


def fits(network: Decoder | Encoder | Seq2Seq) -> bool:
    run = stack(network).run
    assert isinstance(run, Fused)
    assert run._made is not None
    return run._made[1] is not None


LEFT = {"stablelm-parallel": "OwnNorms", "cohere": "OwnNorms", "gpt_oss": "sinks", "mamba": "Mamba", "mamba2": "Mamba2"}
LEFT |= {"lfm2": "ShortConv", "granitemoe": "Experts", "granitemoehybrid": "Mamba2"}
LEFT |= dict.fromkeys(("mixtral", "qwen2_moe", "qwen2_moe-some-dense", "qwen3_moe", "olmoe"), "Experts")
LEFT |= dict.fromkeys(("deepseek_v2", "deepseek_v2-lite", "deepseek_v3"), "LatentAttention")
LEFT |= dict.fromkeys(("qwen3_next", "qwen3_5_text"), "GatedDeltaNet")
LEFT |= dict.fromkeys(("deberta-states", "deberta-v2-states"), "DisentangledAttention")
"""Those with a part that the kernels do not know, and that part; their blocks run in turn."""

READERS = [*(name for name in ENCODERS if name.endswith("-states")), "xlm-roberta-masked", "camembert-masked"]
TRANSLATORS = ["t5", "t5-gated", "mt5", "umt5", "bart", "mbart", "pegasus", "marian", "m2m_100"]


def test_every_family_is_among_those_below() -> None:
    configs = (*CONFIGS.values(), *(ENCODERS[name][0] for name in READERS), *map(SEQ2SEQ.__getitem__, TRANSLATORS))
    left = {"rwkv7"}  # recurrent, and not one of transformers'
    assert {config.model_type for config in configs} | left == {name for name in FAMILIES if "limelight-" not in name}


def left(each: nn.Module) -> str | None:
    """What the kernels do not know of a stack; and that it ran as they know it."""
    assert isinstance(each.run, Fused)
    assert each.run._made is not None
    try:
        Program(each)
    except UnfitError as error:
        assert each.run._made[1] is None
        return str(error)
    assert each.run._made[1] is not None
    return None


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_every_family_runs_at_once_and_gives_what_its_blocks_give(name: str) -> None:
    network = language_model(name)
    other = slowly(network)
    near(network.read(TOKENS), other.read(TOKENS))
    assert left(network.decoder) == LEFT.get(name)
    ours, theirs = network.start(3, 40), other.start(3, 40)
    counts = torch.tensor([7, 9, 4])
    for chunk, count in ((TOKENS[:, :9], counts), (TOKENS[:, 9:14], None), (TOKENS[:, 14:15], None)):
        real = torch.arange(chunk.shape[1]) < (torch.tensor([chunk.shape[1]] * 3) if count is None else count)[:, None]
        near(network.read(chunk, ours, count)[real], other.read(chunk, theirs, count)[real])
    if isinstance(ours.parts[1], Carried):
        for found, expected in zip(ours.parts[1].tensors, theirs.parts[1].tensors, strict=True):
            near(found, expected)
        return
    near(ours.parts[1].keys.float(), theirs.parts[1].keys.float())
    assert ours.parts[1].written == theirs.parts[1].written


@torch.inference_mode()
def test_rows_of_different_lengths_get_the_bits_that_they_get_alone() -> None:
    network = language_model()
    together = network.start(3, 40)
    alone = [network.start(1, 40) for _ in TOKENS]
    for begin, counts in ((0, [7, 9, 0]), (9, [1, 4, 5]), (14, [0, 1, 1])):
        found = network.read(TOKENS[:, begin : begin + 9], together, torch.tensor(counts))
        for row, (state, count) in enumerate(zip(alone, counts, strict=True)):
            if count:
                assert torch.equal(
                    found[row, :count], network.read(TOKENS[row : row + 1, begin : begin + count], state)[0]
                )
    assert fits(network)


@pytest.mark.parametrize("name", FOLLOWING)
@torch.inference_mode()
def test_rows_on_both_sides_of_the_border_of_growing_texts(name: str) -> None:
    network = language_model(name)
    other = slowly(network)
    ours, theirs = network.start(3, 60), other.start(3, 60)
    tokens = torch.cat((TOKENS, TOKENS), 1)
    for chunk, count in (
        (tokens[:, :40], torch.tensor([31, 20, 40])),
        (tokens[:, 40:41], None),
        (tokens[:, 41:], None),
    ):
        last = [0, 1, 2], -1 if count is None else count - 1
        near(network.read(chunk, ours, count)[last], other.read(chunk, theirs, count)[last])
    assert fits(network)
    alone = network.read(torch.cat((tokens[0, :31], tokens[0, 40:]))[None])
    near(network.read(tokens[:1, :4]), other.read(tokens[:1, :4]))
    ours.rewind(torch.tensor([31, 20, 40]))
    near(network.read(tokens[:, 40:], ours)[0, -1], alone[0, -1])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
@torch.inference_mode()
def test_every_set_of_kernels_gives_what_the_blocks_give(name: str, kernel: int) -> None:
    network = language_model(name, kernel)
    expected = slowly(network)
    texts = [TOKENS, TOKENS.flip(1), TOKENS + 1]
    assert sorted(error(network.read(text), expected.read(text)) for text in texts)[1] < 2e-5
    assert fits(network)


@pytest.mark.parametrize("kind", [transformer2017.transformer2017, transformer2017.modern])
@torch.inference_mode()
def test_translators_run_at_once_and_give_what_their_blocks_give(kind: Callable[..., ModelConfig]) -> None:
    network = translator(kind)
    other = slowly(network)
    lengths = torch.tensor([23, 5, 11])
    off = []  # of some texts, in most of which nothing is carried over the edge between two codes
    for tokens in (TOKENS.flip(1), TOKENS + 1, TOKENS):
        memory = network.encode(tokens, lengths)
        expected = other.encode(tokens, lengths)
        off += [error(memory.hidden[i, :n], expected.hidden[i, :n]) for i, n in enumerate(lengths.tolist())]
    assert sorted(off)[len(off) // 2] < 2e-5
    ours, theirs = network.start(expected, 20), other.start(expected, 20)
    for chunk in (TOKENS[:, :1], TOKENS[:, 1:5]):
        near(network.read(chunk, ours), other.read(chunk, theirs))
    assert fits(network)
    rows = torch.tensor([1, 1, 0])
    ours, theirs = ours.select(rows), theirs.select(rows)
    near(network.read(TOKENS[:, 5:6], ours), other.read(TOKENS[:, 5:6], theirs))


@pytest.mark.parametrize("name", READERS)
@torch.inference_mode()
def test_encoders_run_at_once_and_give_what_their_blocks_give(name: str) -> None:
    network = built(name)
    assert isinstance(network, Encoder)
    fused(network)
    other = slowly(network)
    lengths = torch.tensor([23, 9, 1])
    found, expected = network.read(TOKENS, lengths), other.read(TOKENS, lengths)
    off = [error(found[row, :length], expected[row, :length]) for row, length in enumerate(lengths.tolist())]
    assert sorted(off)[1] < 2e-5  # of a text in which nothing is carried over the edge between two codes
    if (reason := left(network.encoder)) is None:  # and among others the bits that a text gives alone
        for row, length in enumerate(lengths.tolist()):
            assert torch.equal(found[row, :length], network.read(TOKENS[row : row + 1, :length])[0])
    assert reason == LEFT.get(name)


@pytest.mark.parametrize("name", TRANSLATORS)
@torch.inference_mode()
def test_families_of_translators_run_at_once_and_give_what_their_blocks_give(name: str) -> None:
    network = built(name)
    assert isinstance(network, Seq2Seq)
    fused(network)
    network.encoder.cache_dtype = None
    other = slowly(network)
    lengths = torch.tensor([23, 9, 1])
    near(network(TOKENS, lengths, TOKENS[:, :7]), other(TOKENS, lengths, TOKENS[:, :7]))
    assert left(network.encoder) is None
    assert left(network.decoder) is None
    memory = network.encode(TOKENS, lengths)
    ours, theirs = network.start(memory, 20), other.start(memory, 20)
    for chunk in (TOKENS[:, :6], TOKENS[:, 6:7], TOKENS[:, 7:8]):
        near(network.read(chunk, ours), other.read(chunk, theirs))


@pytest.mark.parametrize("kept", [None, native.half(0)] if native.KERNELS else [])
@torch.inference_mode()
def test_a_row_gives_the_same_bits_alone_among_others_word_by_word_and_with_other_threads(
    kept: torch.dtype | None,
) -> None:
    network = language_model("mistral")
    network.decoder.cache_dtype = kept
    tokens = torch.randint(3, VOCAB, (2, 70), generator=torch.Generator().manual_seed(2))
    together = network.read(tokens)
    alone = torch.cat([network.read(row[None]) for row in tokens])
    state = network.start(2, 80)
    stepwise = torch.cat([network.read(tokens[:, i : i + 1], state) for i in range(70)], 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    shared = network.read(tokens)
    torch.set_num_threads(threads)
    for found in (alone, stepwise, shared):
        assert torch.equal(found, together)


@torch.inference_mode()
def test_keys_and_values_are_kept_in_half_the_bytes_and_cost_little() -> None:
    network = language_model("qwen3")
    exact = network.read(TOKENS)
    fuse(network)
    state = network.start(3, 40)
    assert state.parts[0].keys.dtype is native.half(0)
    halved = network.read(TOKENS, state)
    assert torch.equal(halved, network.read(TOKENS))
    assert 0 < (halved - exact).norm() < 2e-2 * exact.norm()
    inside = twin(network)
    inside.decoder.run = in_turn
    assert (inside.read(TOKENS, inside.start(3, 40)) - exact).norm() < 2e-2 * exact.norm()
    assert exactly(twin(network)).start(3, 40).parts[0].keys.dtype is torch.float32


@torch.inference_mode()
def test_whoever_looks_inside_sees_every_block() -> None:
    network = language_model()
    network.read(TOKENS)
    assert fits(network)
    assert network.batch_invariant == bool(native.KERNELS)
    seen: list[Tensor] = []
    handle = network.decoder.blocks[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    network.read(TOKENS)
    assert len(seen) == 1
    assert not network.batch_invariant, "torch's attention rounds otherwise for other shapes"
    handle.remove()
    network.read(TOKENS)
    assert len(seen) == 1
    assert fits(network)

    recording = record(network, attention=[0], hidden=[1])
    near(recording.network.read(TOKENS), network.read(TOKENS))
    assert recording.attention[0].shape == (3, 4, 23, 23)
    near(recording.hidden[1], seen[0])


@torch.inference_mode()
def test_what_the_kernels_do_not_do_is_done_block_by_block() -> None:
    network = language_model()
    other = slowly(network)
    visible = torch.ones(3, 23, 23, dtype=torch.bool)
    visible[:, 5:, 2] = False
    assert torch.equal(network.read(TOKENS, visible=visible), other.read(TOKENS, visible=visible))
    exact = exactly(twin(network))
    assert not exact.batch_invariant
    assert torch.equal(exact.read(TOKENS), slowly(exact).read(TOKENS))
    network.decoder.norm.weight.data = network.decoder.norm.weight.data * 2  # elsewhere in memory
    near(network.read(TOKENS), slowly(network).read(TOKENS))
    assert fits(network)
    network.decoder.blocks[0].attention.q = nn.Linear(64, 64)
    assert torch.equal(network.read(TOKENS), slowly(network).read(TOKENS))
    assert not fits(network)


def test_gradients_flow_as_ever() -> None:
    network = language_model()
    loss = network(TOKENS).logsumexp(-1).sum()
    loss.backward()
    assert network.decoder.blocks[0].attention_norm.weight.grad.abs().sum() > 0


def test_a_stack_in_training_is_not_fused() -> None:
    network = language_model()
    network.train()
    with torch.inference_mode():
        network.read(TOKENS)
    assert not fits(network)
    with pytest.raises(UnfitError):
        Program(network.decoder)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
@torch.inference_mode()
def test_weights_that_change_in_place_are_seen(name: str) -> None:
    network = language_model(name)
    other = slowly(network)
    near(network.read(TOKENS), other.read(TOKENS))
    for module in network.modules():
        if isinstance(module, Norm):
            module.weight.mul_(1.5).add_(0.25)
    state = network.start(3, 40)
    near(network.read(TOKENS, state), other.read(TOKENS))
    network.decoder.norm.weight.data.neg_()
    near(network.read(TOKENS[:, :1], state), other.read(torch.cat((TOKENS, TOKENS[:, :1]), 1))[:, -1:])


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("attention", "scale", 0.03),
        ("attention", "window", 3),
        ("feedforward", "activation", F.relu),
        ("attention_norm", "eps", 5.0),
    ],
)
@torch.inference_mode()
def test_settings_that_change_between_texts_are_seen(part: str, setting: str, value: object) -> None:
    network = language_model("mistral")
    before = network.read(TOKENS)
    for block in network.decoder.blocks:
        setattr(getattr(block, part), setting, value)
    after = network.read(TOKENS)
    near(after, slowly(network).read(TOKENS))
    assert (after - before).abs().mean() > 0.03 * before.abs().mean()
    assert fits(network)


@torch.inference_mode()
def test_looking_again_and_again_keeps_nothing() -> None:
    network = language_model()
    network.read(TOKENS)

    def look() -> int:
        recording = record(network, attention=[0], hidden=[1])
        recording.network.read(TOKENS)
        exactly(twin(network)).read(TOKENS)
        twin(network).read(TOKENS)
        del recording
        gc.collect()
        return sum(issubclass(type(each), Program | Fused | nn.Module) for each in gc.get_objects())

    assert look() == look()
    assert fits(network)
    mine = network.decoder.run._made
    network.read(TOKENS)
    assert network.decoder.run._made is mine, "a twin's program takes nothing from the model's own"


@pytest.mark.parametrize("again", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
@torch.inference_mode()
def test_copies_run_at_once_over_their_own_weights(again: Callable[[Decoder], Decoder]) -> None:
    network = language_model()
    expected = network.read(TOKENS)
    other = again(network)
    for parameter in network.parameters():
        parameter.zero_()
    assert torch.equal(other.read(TOKENS), expected)
    assert fits(other)
    assert other.decoder.run is not network.decoder.run
