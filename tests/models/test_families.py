"""What every decoder family gets by being listed in tests/references.py."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from references import ANOTHER_ORDER, CONFIGS, ENCODERS, SEQ2SEQ, reference, saved, write_tokenizer
from torch import Tensor

from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.save import export, save_checkpoint
from limelight.decode import Sampling, collect, generate
from limelight.errors import RequestError
from limelight.look.record import record
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.registry import FAMILIES, config_from_hf, config_to_hf
from limelight.nn.attention import Attention

TOKENS = torch.randint(3, 99, (2, 40), generator=torch.Generator().manual_seed(1))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


class Pair:
    """A family's reference and ours, opened from the folder that the reference wrote."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.theirs = saved(name, folder)
        self.ours: Decoder = open_checkpoint(folder).network
        size = ANOTHER_ORDER.get(name)
        self.close = CLOSE if size is None else {"rtol": 5e-5, "atol": 5e-5 * size}


@pytest.fixture(scope="module", params=list(CONFIGS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, tmp_path_factory.mktemp(request.param))


def attending(network: Decoder) -> list[int]:
    """The layers that have attention: all but those of recurrent units."""
    return [i for i, block in enumerate(network.decoder.blocks) if isinstance(block.attention, Attention)]


def run(network: Decoder, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(tokens)


def test_all_families_are_listed() -> None:
    configs = (*CONFIGS.values(), *SEQ2SEQ.values(), *(config for config, _ in ENCODERS.values()))
    own = {"rwkv7"}  # which transformers has not: tests/models/test_rwkv7.py
    listed = {config.model_type for config in configs} | own
    assert listed == {name for name in FAMILIES if not name.startswith("limelight-")}


def test_logits_match(pair: Pair) -> None:
    with torch.inference_mode():
        expected = pair.theirs(TOKENS).logits
    assert expected.std() > 0.1  # a model that says the same of everything would prove nothing
    torch.testing.assert_close(run(pair.ours, TOKENS), expected, **pair.close)


def test_attention_and_hidden_states_match_in_every_layer(pair: Pair) -> None:
    blocks = pair.ours.decoder.blocks
    layers, heard = range(len(blocks)), attending(pair.ours)
    with torch.inference_mode():
        expected = pair.theirs(TOKENS, output_hidden_states=True, **({"output_attentions": True} if heard else {}))
        recording = record(pair.ours, attention=heard, hidden=layers[:-1])
        logits = recording.network(TOKENS)
    if heard:
        assert len(expected.attentions) == len(heard)
    for i, layer in enumerate(heard):
        torch.testing.assert_close(recording.attention[layer], expected.attentions[i], **pair.close)
    first = 0 if pair.name.startswith("mamba") else 1  # theirs begin behind the first layer, or behind the embeddings
    for layer in layers[:-1]:  # their last one stands behind the final norm
        theirs = expected.hidden_states[layer + first]
        rounding = 1e-5 * float(theirs.std())  # more than the bound where states are large
        close = pair.close | {"atol": max(pair.close["atol"], rounding)}
        torch.testing.assert_close(recording.hidden[layer], theirs, **close)
    torch.testing.assert_close(logits, run(pair.ours, TOKENS), **pair.close)  # recorded = fused


def test_config_goes_both_ways(pair: Pair) -> None:
    config = pair.ours.config
    assert config_from_hf(config_to_hf(config)) == config
    # transformers reads what we write as the config that it wrote.
    kind = type(CONFIGS[pair.name])
    again, before = kind(**config_to_hf(config)).to_dict(), CONFIGS[pair.name].to_dict()
    free = {"architectures", "dtype", "rope_parameters", "head_dim", "n_inner", "original_max_position_embeddings"}
    assert {k: v for k, v in again.items() if k not in free} == {k: v for k, v in before.items() if k not in free}


def test_weights_go_both_ways_bit_for_bit(pair: Pair) -> None:
    from limelight.checkpoints.reader import open_tensors

    file = open_tensors(pair.folder)
    weights = export(pair.ours)
    assert set(weights) == set(file.names())
    for name, weight in weights.items():
        assert torch.equal(weight, file.read(name)), name


def test_transformers_opens_what_we_save(pair: Pair, tmp_path: Path) -> None:
    import transformers

    save_checkpoint(pair.ours, open_checkpoint(pair.folder).tokenizer, tmp_path / "saved")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved", attn_implementation="eager").eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(TOKENS).logits, pair.theirs(TOKENS).logits, rtol=0, atol=0)


def test_steps_over_a_cache_equal_reading_at_once(pair: Pair) -> None:
    tokens = TOKENS
    state = pair.ours.start(2, 40)
    state.give(torch.tensor([40, 40]))  # rotary embeddings may follow the length
    with torch.inference_mode():
        # one token at a time, a chunk, and one token behind a chunk
        pieces = [tokens[:, :1], tokens[:, 1:2], tokens[:, 2:19], tokens[:, 19:20], tokens[:, 20:]]
        logits = torch.cat([pair.ours.step(piece, state) for piece in pieces], 1)
    assert state.lengths.tolist() == [tokens.shape[1]] * 2
    torch.testing.assert_close(logits, run(pair.ours, tokens), **pair.close)


def test_padding_changes_nothing(pair: Pair) -> None:
    lengths = [11, 25]
    rows = torch.full((2, 25), 0)
    for row, length in enumerate(lengths):
        rows[row, :length] = TOKENS[row, :length]
    state = pair.ours.start(2, 30)
    with torch.inference_mode():
        first = pair.ours.step(rows, state, counts=torch.tensor(lengths), last=True)
        second = pair.ours.step(TOKENS[:, 30:31], state, last=True)
    for row, length in enumerate(lengths):
        alone = torch.cat((TOKENS[row, :length], TOKENS[row, 30:31]))[None]
        expected = run(pair.ours, alone)[0]
        torch.testing.assert_close(second[row, 0], expected[-1], **pair.close)
        torch.testing.assert_close(first[row, 0], expected[-2], **pair.close)


def test_states_fork_select_and_rewind(pair: Pair) -> None:
    tokens = TOKENS[:, :20]
    state = pair.ours.start(2, 40)
    with torch.inference_mode():
        pair.ours.step(tokens, state)
        state = state.fork(2).select(torch.tensor([3, 0]))
        assert state.rewinds == (len(attending(pair.ours)) == len(pair.ours.decoder.blocks))
        kept = 12 if state.rewinds else 20
        if not state.rewinds:
            with pytest.raises(RequestError, match="recurrent"):
                state.rewind(torch.tensor([12, 20]))
        state.rewind(torch.tensor([kept, 20]))
        logits = pair.ours.step(tokens[[1, 0], :1], state)[:, 0]
    rows = (torch.cat((tokens[1, :kept], tokens[1, :1])), torch.cat((tokens[0], tokens[0, :1])))
    for row, alone in enumerate(rows):
        torch.testing.assert_close(logits[row], run(pair.ours, alone[None])[0, -1], **pair.close)


def test_a_state_forgets_all_or_some_and_never_more_than_it_has_read(pair: Pair) -> None:
    state = pair.ours.start(2, 40)
    with torch.inference_mode():
        pair.ours.step(TOKENS[:, :20], state)
        for wrong in (21, -1, torch.tensor([20, 21])):
            with pytest.raises(RequestError, match="cannot rewind"):
                state.rewind(wrong)
        state.rewind(20)
        if not state.rewinds:
            with pytest.raises(RequestError, match="recurrent"):
                state.rewind(0)
            return
        state.rewind(0)
        assert state.lengths.tolist() == [0, 0]
        logits = pair.ours.step(TOKENS[:, 20:33], state)
    torch.testing.assert_close(logits, run(pair.ours, TOKENS[:, 20:33]), **pair.close)


def test_a_text_begins_with_what_another_kept_of_the_same_tokens(pair: Pair) -> None:
    state = pair.ours.start(2, 40)
    assert state.has_prefixes == (state.rewinds and state.text is None), "keys and values of the tokens alone"
    if not state.has_prefixes:
        return
    with torch.inference_mode():
        pair.ours.step(TOKENS[:, :20], state)
        other = pair.ours.start(2, 40)
        other.begin(1, torch.cat((state.prefix(0, 0, 5), state.prefix(0, 5, 16))))
        assert other.lengths.tolist() == [0, 16]
        logits = pair.ours.step(torch.stack((TOKENS[1, :8], TOKENS[0, 16:24])), other)
    torch.testing.assert_close(logits[:1], run(pair.ours, TOKENS[1:, :8]), **pair.close)
    torch.testing.assert_close(logits[1:], run(pair.ours, TOKENS[:1, :24])[:, 16:], **pair.close)


def test_greedy_equals_the_reference(pair: Pair) -> None:
    prompts = [TOKENS[0, :18].tolist(), TOKENS[1, :4].tolist()]  # long enough for what is kept of it, and short
    steps = generate(pair.ours, prompts, max_tokens=12, sampling=Sampling())
    for prompt, made in zip(prompts, collect(steps), strict=True):
        tokens = list(prompt)
        for _ in range(12):
            with torch.inference_mode():
                tokens.append(int(pair.theirs(torch.tensor([tokens])).logits[0, -1].argmax()))
        assert [token.id for token in made.tokens] == tokens[len(prompt) :]


def test_gradients_reach_every_weight(pair: Pair) -> None:
    network = build(pair.ours.config)
    network(TOKENS).log_softmax(-1)[:, :, 5].sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_model_is_untouched_by_being_looked_at(pair: Pair) -> None:
    before = run(pair.ours, TOKENS)
    heard = attending(pair.ours)
    cores = [pair.ours.decoder.blocks[layer].attention.core for layer in heard]
    recording = record(pair.ours, attention=heard[:1], hidden=[1])
    run(recording.network, TOKENS)
    assert [pair.ours.decoder.blocks[layer].attention.core for layer in heard] == cores
    assert not any(module._forward_hooks for module in pair.ours.modules())
    assert torch.equal(run(pair.ours, TOKENS), before)
    assert {id(p) for p in recording.network.parameters()} == {id(p) for p in pair.ours.parameters()}


def test_a_falcon_with_linear_biases(tmp_path: Path) -> None:
    """Whose reference adds them twice where it writes attention out, and once, as the models need it, otherwise."""
    config = transformers.FalconConfig(
        **{**CONFIGS["falcon"].to_dict(), "alibi": True, "multi_query": False, "parallel_attn": False}
    )
    theirs = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + 0.1)
    theirs.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with torch.inference_mode():
        logits = run(open_checkpoint(tmp_path).network, TOKENS)
        torch.testing.assert_close(logits, theirs(TOKENS).logits, **CLOSE)


def test_layers_that_guess_further_tokens_are_left_out(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    expected = saved("deepseek_v3", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    ahead = (
        "eh_proj.weight",
        "shared_head.norm.weight",
        "self_attn.kv_a_layernorm.weight",
        "mlp.experts.3.up_proj.weight",
    )
    weights |= {f"model.layers.3.{name}": torch.ones(4) for name in ahead}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with torch.inference_mode():
        torch.testing.assert_close(run(open_checkpoint(tmp_path).network, TOKENS), expected(TOKENS).logits, **CLOSE)


def test_sharded_files_open_alike(tmp_path: Path) -> None:
    expected = saved("llama", tmp_path, max_shard_size="60KB")
    assert len(json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]) > 10
    with torch.inference_mode():
        torch.testing.assert_close(run(open_checkpoint(tmp_path).network, TOKENS), expected(TOKENS).logits, **CLOSE)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_number_types(dtype: str, tmp_path: Path) -> None:
    expected = saved("llama", tmp_path)
    network = open_checkpoint(tmp_path, dtype=dtype).network
    logits = run(network, TOKENS)
    assert network.dtype == getattr(torch, dtype)
    assert logits.dtype == torch.float32
    with torch.inference_mode():
        same = (logits.argmax(-1) == reference("llama")(TOKENS).logits.argmax(-1)).float().mean()
        torch.testing.assert_close(logits, expected(TOKENS).logits, rtol=0.1, atol=0.3)
    assert same > 0.8
