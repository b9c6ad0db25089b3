"""The encoder–decoder: against torch's and Marian's, and every way of reading against reading at once."""

import json
import warnings

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from limelight.errors import ConfigError, RequestError
from limelight.models import config as c
from limelight.models.api import Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import PRESETS, count, fit, preset, with_dropout
from limelight.models.registry import config_from_hf, config_to_hf, family

VOCAB, WIDTH, HEADS, HIDDEN = 53, 32, 4, 48
LENGTHS = torch.tensor([7, 3, 5])
SOURCE = torch.randint(0, VOCAB, (3, 7), generator=torch.Generator().manual_seed(1))
TARGET = torch.randint(0, VOCAB, (3, 6), generator=torch.Generator().manual_seed(2))


def post_norm(norm: c.Norm | None = None, positions: c.Sinusoidal | None = None, dropout: float = 0.0) -> c.ModelConfig:
    attention = c.Attention(HEADS, HEADS, 8, 8**-0.5, bias=True, out_bias=True)

    def stack(cross: c.Attention | None) -> c.TransformerStack:
        block = c.Block(attention, c.FeedForward(HIDDEN, "relu"), c.LayerNorm(1e-5), "post", cross, dropout)
        return c.TransformerStack(WIDTH, (block,) * 2, norm, c.Embeddings(WIDTH**0.5, positions, dropout))

    name = "limelight-transformer2017"
    return c.ModelConfig(name, VOCAB, 64, stack(attention), c.LMHead(tied=True), encoder=stack(None))


def modern() -> c.ModelConfig:
    return preset("transformer-modern-tiny", VOCAB, width=WIDTH, dropout=0.0, source_vocab=VOCAB)


CONFIGS = {
    "post-norm": post_norm(positions=c.Sinusoidal()),
    "modern": modern(),
}


def spread(network: nn.Module, seed: int = 0) -> None:
    """Weights with a visible spread and biases that are not zero, since fresh ones hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    built = build(CONFIGS[request.param])
    assert isinstance(built, Seq2Seq)
    initialise(built, torch.Generator().manual_seed(0))
    spread(built)
    return built.eval()


@pytest.fixture(scope="module")
def whole(model: Seq2Seq) -> Tensor:
    with torch.no_grad():
        return model(SOURCE, LENGTHS, TARGET)


def test_equals_torch_nn_transformer() -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about nested tensors, which are not used
        theirs = nn.Transformer(WIDTH, HEADS, 2, 2, HIDDEN, 0.0, batch_first=True).eval()
    theirs.encoder.use_nested_tensor = False
    spread(theirs)
    ours = build(post_norm(norm=c.LayerNorm(1e-5))).eval()
    assert isinstance(ours, Seq2Seq)
    weights = {"embed.weight": torch.randn(VOCAB, WIDTH), "head.proj.weight": torch.zeros(0)}
    weights["head.proj.weight"] = weights["embed.weight"]
    for name, tensor in theirs.state_dict().items():
        weights |= _from_torch(name, tensor)
    ours.load_state_dict(weights)
    embed = weights["embed.weight"] * WIDTH**0.5
    padded = torch.arange(7) >= LENGTHS[:, None]
    causal = nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.bool)
    with torch.no_grad():
        expected = theirs(
            embed[SOURCE], embed[TARGET], tgt_mask=causal, src_key_padding_mask=padded, memory_key_padding_mask=padded
        )
        found = ours.read(TARGET, ours.start(ours.encode(SOURCE, LENGTHS), 0))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def _from_torch(name: str, tensor: Tensor) -> dict[str, Tensor]:
    side, *rest = name.split(".")
    if rest[0] == "norm":
        return {f"{side}.norm.{rest[1]}": tensor}
    _, layer, *rest = rest
    ours = f"{side}.blocks.{layer}."
    last = "norm3" if side == "decoder" else "norm2"
    parts = {
        "self_attn.out_proj": "attention.out",
        "multihead_attn.out_proj": "cross.attention.out",
        "linear1": "feedforward.up",
        "linear2": "feedforward.down",
        "norm1": "attention_norm",
        "norm2": "cross.norm",
        last: "feedforward_norm",
    }
    part, leaf = ".".join(rest[:-1]), rest[-1]
    if leaf.startswith("in_proj"):
        place = "attention" if part == "self_attn" else "cross.attention"
        return {
            f"{ours}{place}.{p}.{leaf.removeprefix('in_proj_')}": t for p, t in zip("qkv", tensor.chunk(3), strict=True)
        }
    return {f"{ours}{parts[part]}.{leaf}": tensor}


def test_equals_marian() -> None:
    torch.manual_seed(0)
    config = hf.MarianConfig(
        vocab_size=VOCAB, d_model=WIDTH, encoder_layers=2, decoder_layers=2, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, encoder_ffn_dim=HIDDEN, decoder_ffn_dim=HIDDEN, max_position_embeddings=64,
        activation_function="relu", scale_embedding=True, dropout=0.0, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, share_encoder_decoder_embeddings=True,
    )  # fmt: skip
    theirs = hf.MarianMTModel(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "embed_positions" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = build(post_norm(positions=c.Sinusoidal("halves"))).eval()
    assert isinstance(ours, Seq2Seq)
    held = theirs.state_dict()
    parts = {
        "self_attn": "attention",
        "encoder_attn": "cross.attention",
        "self_attn_layer_norm": "attention_norm",
        "encoder_attn_layer_norm": "cross.norm",
        "final_layer_norm": "feedforward_norm",
        "fc1": "feedforward.up",
        "fc2": "feedforward.down",
        **{f"{p}_proj": p for p in "qkv"},
        "out_proj": "out",
    }
    weights = {"embed.weight": held["model.shared.weight"], "head.proj.weight": held["model.shared.weight"]}
    for name, tensor in held.items():
        if ".layers." in name:
            _, side, _, layer, *rest = name.split(".")
            weights[".".join((side, "blocks", layer, *(parts.get(part, part) for part in rest)))] = tensor
    ours.load_state_dict(weights)
    with torch.no_grad():
        expected = theirs(
            input_ids=SOURCE, attention_mask=(torch.arange(7) < LENGTHS[:, None]).long(), decoder_input_ids=TARGET
        ).logits
        torch.testing.assert_close(ours(SOURCE, LENGTHS, TARGET), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing(model: Seq2Seq, whole: Tensor) -> None:
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(SOURCE[row : row + 1, :length], None, TARGET[row : row + 1])
        torch.testing.assert_close(alone[0], whole[row], atol=2e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [[1, 1, 1, 1, 1, 1], [2, 1, 3], [6]])
def test_step_by_step_equals_at_once(model: Seq2Seq, whole: Tensor, cuts: list[int]) -> None:
    state = model.start(model.encode(SOURCE, LENGTHS), 8)
    logits = [model.step(part, state) for part in TARGET.split(cuts, 1)]
    torch.testing.assert_close(torch.cat(logits, 1), whole, atol=2e-5, rtol=1e-5)
    assert state.lengths.tolist() == [6, 6, 6]


@torch.no_grad()
def test_targets_of_different_lengths(model: Seq2Seq, whole: Tensor) -> None:
    state = model.start(model.encode(SOURCE, LENGTHS), 8)
    counts = torch.tensor([3, 1, 2])
    last = model.step(TARGET[:, :3], state, counts, last=True)
    rows = torch.arange(3)
    torch.testing.assert_close(last[:, 0], whole[rows, counts - 1], atol=2e-5, rtol=1e-5)
    after = model.step(TARGET[rows, counts][:, None], state)
    torch.testing.assert_close(after[:, 0], whole[rows, counts], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_select_fork_and_rewind(model: Seq2Seq, whole: Tensor) -> None:
    state = model.start(model.encode(SOURCE, LENGTHS), 8)
    model.step(TARGET[:, :4], state)
    state.rewind(2)
    forked = state.fork(2).select(torch.tensor([4, 1, 0]))
    found = model.step(TARGET[[2, 0, 0], 2:], forked)
    torch.testing.assert_close(found, whole[[2, 0, 0], 2:], atol=2e-5, rtol=1e-5)
    rest = model.step(TARGET[:, 2:], state)  # the state that was forked is as it was
    torch.testing.assert_close(rest, whole[:, 2:], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_beams_of_the_same_source_share_its_keys_and_values(model: Seq2Seq) -> None:
    state = model.start(model.encode(SOURCE, LENGTHS), 8).fork(2)
    assert state.select(torch.tensor([1, 1, 2, 3, 5, 4])).source is state.source
    fewer = state.select(torch.tensor([2, 3])).source
    assert fewer is not None
    assert fewer.origin.tolist() == [1, 1]
    assert fewer.nbytes < state.nbytes


@torch.no_grad()
def test_memory_select_equals_encoding_those_rows(model: Seq2Seq, whole: Tensor) -> None:
    memory = model.encode(SOURCE, LENGTHS).select(torch.tensor([2, 0]))
    found = model.step(TARGET[[2, 0]], model.start(memory, 8))
    torch.testing.assert_close(found, whole[[2, 0]], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_deaf_to_a_source_word_means_that_it_makes_no_difference(model: Seq2Seq, whole: Tensor) -> None:
    visible = torch.ones(3, 7, dtype=torch.bool)
    visible[0, 2] = False
    deaf = model(SOURCE, LENGTHS, TARGET, source_visible=visible)
    other = SOURCE.clone()
    other[0, 2] = (SOURCE[0, 2] + 1) % VOCAB
    torch.testing.assert_close(model(other, LENGTHS, TARGET, source_visible=visible), deaf, atol=1e-6, rtol=0)
    assert not torch.allclose(deaf[0], whole[0], atol=1e-2)
    torch.testing.assert_close(deaf[1:], whole[1:], atol=2e-5, rtol=1e-5)
    with pytest.raises(RequestError, match="no word left"):
        model.encode(SOURCE, LENGTHS, torch.zeros(3, 7, dtype=torch.bool))


@torch.no_grad()
def test_deaf_to_a_target_word(model: Seq2Seq, whole: Tensor) -> None:
    visible = torch.ones(3, 6, 6, dtype=torch.bool)
    visible[:, 2:, 1] = False
    deaf = model(SOURCE, LENGTHS, TARGET, visible)
    other = TARGET.clone()
    other[:, 1] = (TARGET[:, 1] + 1) % VOCAB
    torch.testing.assert_close(model(SOURCE, LENGTHS, other, visible)[:, 2:], deaf[:, 2:], atol=1e-6, rtol=0)
    torch.testing.assert_close(deaf[:, :2], whole[:, :2], atol=2e-5, rtol=1e-5)
    assert not torch.allclose(deaf[:, 2:], whole[:, 2:], atol=1e-2)


def test_every_weight_is_trained() -> None:
    for config in CONFIGS.values():
        network = build(with_dropout(config, 0.1))
        initialise(network)
        network(SOURCE, LENGTHS, TARGET).logsumexp(-1).sum().backward()
        still = [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
        # Adding the same to all keys' scores changes no weight, so a bias on k has no gradient but rounding.
        assert [name for name in still if not name.endswith("k.bias")] == []


def test_dropout_acts_in_training_only(model: Seq2Seq, whole: Tensor) -> None:
    network = build(with_dropout(model.config, 0.3))
    network.load_state_dict(model.state_dict())  # dropout changes no weight's name
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(SOURCE, LENGTHS, TARGET), whole, rtol=0, atol=0)
        network.train()
        assert not torch.allclose(network(SOURCE, LENGTHS, TARGET), network(SOURCE, LENGTHS, TARGET), atol=1e-2)


@pytest.mark.parametrize("config", [preset(name, 99) for name in PRESETS], ids=list(PRESETS))
def test_configs_round_trip(config: c.ModelConfig) -> None:
    values = json.loads(json.dumps(config_to_hf(config)))
    if not config.family.startswith("limelight-"):  # their configs say nothing of dropout
        config = with_dropout(config, 0.0)
    assert config_from_hf(values) == config


def test_weights_keep_their_names(model: Seq2Seq) -> None:
    table = family(model.config.family).table(model.config)
    names = set(model.state_dict()) - {"head.proj.weight"}
    assert {move.theirs: move.ours for move in table.saves(names)} == {(name,): (name,) for name in names}
    assert {move.ours for move in table.loads(names, names)} == {(name,) for name in names}


def _changed(**values: object) -> dict[str, object]:
    return {**config_to_hf(CONFIGS["post-norm"]), **values}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (_changed(vocabb=3), "'vocabb' is not known; did you mean 'vocab'"),
        (_changed(vocab="many"), "'vocab' is 'many'; it must be a whole number"),
        (_changed(vocab=-1), "'vocab' is -1"),
        (_changed(vocab=True), "'vocab' is True"),
        (_changed(head={"type": "LMHead"}), "'head.tied' is missing"),
        (
            _changed(head={"type": "LMHead", "tied": True, "bais": True}),
            "'head.bais' is not known; did you mean 'bias'",
        ),
        (_changed(decoder={"type": "Transformerstack"}), "did you mean 'TransformerStack'"),
        (_changed(decoder={"type": "Pooling"}), "'decoder' has the type 'Pooling', which has no place there"),
        (_changed(decoder=None), "an encoder alone scores no next word: its head cannot be of the type 'LMHead'"),
        (_changed(head={"type": "Pooling"}), "a decoder must score the next word"),
        (_changed(decoder=None, encoder=None), "an encoder alone"),
        (_changed(decoder=None, encoder=None, head={"type": "Pooling"}), "needs a decoder, an encoder or both"),
        ({**_changed(), "decoder": config_to_hf(CONFIGS["post-norm"])["encoder"]}, "every block of a decoder"),
    ],
)
def test_a_wrong_config_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(config_from_hf(values), "meta")
    assert message in str(caught.value)


def test_a_config_of_before_embeddings_were_a_part_of_their_own() -> None:
    config = CONFIGS["post-norm"]
    older = config_to_hf(config)
    for name in ("encoder", "decoder"):
        embeddings = older[name].pop("embeddings")
        older[name] |= {key: embeddings[key] for key in ("scale", "positions", "dropout")}
    assert config_from_hf(older) == config


def test_sizes_of_presets() -> None:
    assert count(preset("transformer2017-tiny", 10_000)) == 2_605_056  # "2.6 M", Wu et al. (2021)
    assert count(preset("transformer2017-base", 37_000)) == pytest.approx(63e6, rel=0.02)  # table 3: 65 M
    assert count(preset("transformer2017-big", 37_000)) == pytest.approx(214e6, rel=0.02)  # table 3: 213 M
    assert count(preset("gpt-base", 50_257)) == 124_439_808  # GPT-2's smallest
    for size in ("tiny", "small", "base", "big"):
        paper = count(preset(f"transformer2017-{size}", 10_000))
        assert count(preset(f"transformer-modern-{size}", 10_000)) == pytest.approx(paper, rel=0.02)
    fitted = fit("lstm-attention", 10_000, 2_600_000)
    assert count(fitted) <= 2_600_000
    wider = preset("lstm-attention", 10_000, width=fitted.decoder.width + 8)
    assert count(wider) > 2_600_000


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: preset("transformer-tiny", 9), "there is no preset 'transformer-tiny'; did you mean"),
        (lambda: preset("gpt-tiny", 9, source_vocab=9), "has no source vocabulary"),
        (lambda: preset("gpt-tiny", 9, width=100), "multiple of 8"),
        (lambda: fit("lstm-plain", 10_000, 1000), "does not fit into 1,000 parameters"),
        (lambda: build(with_dropout(preset("lstm", 9), 1.0)), "dropout rate of 1.0"),
    ],
)
def test_an_impossible_preset_is_refused(ask: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ask()
    assert message in str(caught.value)


def test_a_sandwich_has_no_dropout() -> None:
    norm = c.RMSNorm(1e-6)
    block = c.Block(c.Attention(2, 2, 8, 8**-0.5), c.GatedFeedForward(32, "silu"), norm, "sandwich")
    config = c.ModelConfig("gemma2", VOCAB, 64, c.TransformerStack(16, (block,), norm), c.LMHead(tied=True))
    with pytest.raises(ConfigError, match="sandwich"):
        build(with_dropout(config, 0.1))


@torch.no_grad()
def test_initial_weights_are_those_of_the_table() -> None:
    network = build(preset("gpt-tiny", 500))
    initialise(network, torch.Generator().manual_seed(0))
    block = network.decoder.blocks[0]
    assert float(network.embed.weight.std()) == pytest.approx(0.02, rel=0.05)
    assert float(block.attention.q.weight.std()) == pytest.approx(0.02, rel=0.05)
    assert float(block.feedforward.down.weight.std()) == pytest.approx(0.02 / 8**0.5, rel=0.05)
    assert not block.attention.q.bias.any()

    network = build(preset("transformer2017-tiny", 500))
    initialise(network, torch.Generator().manual_seed(0))
    block = network.decoder.blocks[0]
    assert float(network.embed.weight.std()) == pytest.approx(128**-0.5, rel=0.05)
    assert float(block.cross.attention.out.weight.abs().max()) == pytest.approx((6 / 256) ** 0.5, rel=0.01)
    assert float(block.attention.q.weight.abs().max()) == pytest.approx((6 / 512) ** 0.5, rel=0.01)
    assert float(block.feedforward.up.weight.abs().max()) == pytest.approx((6 / 384) ** 0.5, rel=0.01)

    network = build(preset("lstm", 50, width=32))
    initialise(network, torch.Generator().manual_seed(0))
    cells = network.decoder.blocks[0].cell
    for gate in cells.weight_hh_l0.split(32):
        torch.testing.assert_close(gate @ gate.T, torch.eye(32), atol=1e-5, rtol=0)
    assert cells.bias_ih_l0.view(4, 32).mean(1).tolist() == [0, 1, 0, 0]
    assert not cells.bias_hh_l0.any()
