"""The recurrent models: against plain torch written out, and every way of reading against reading at once."""

import json

import pytest
import torch
from torch import Tensor, nn

from limelight.decode import collect, generate
from limelight.errors import ConfigError, RequestError
from limelight.models import config as c
from limelight.models.api import Decoder, Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import with_dropout
from limelight.models.registry import config_from_hf, config_to_hf

VOCAB, WIDTH = 53, 16
SCALE = 1.5  # of embeddings
LENGTHS = torch.tensor([7, 3, 5])
SOURCE = torch.randint(0, VOCAB, (3, 7), generator=torch.Generator().manual_seed(1))
TARGET = torch.randint(0, VOCAB, (3, 6), generator=torch.Generator().manual_seed(2))
CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def language_model(cell: str) -> c.ModelConfig:
    return c.ModelConfig(
        "limelight-recurrent", VOCAB, 64, c.RecurrentStack(cell, WIDTH, 2, scale=SCALE), c.LMHead(tied=False)
    )


def translator(cell: str, attention: object, direction: str, layers: int = 2) -> c.ModelConfig:
    encoder = c.RecurrentStack(cell, WIDTH, layers, direction, scale=SCALE)
    decoder = c.RecurrentStack(cell, WIDTH, layers, attention=attention, scale=SCALE)
    return c.ModelConfig("limelight-recurrent", VOCAB, 64, decoder, c.LMHead(tied=True), encoder=encoder)


TRANSLATORS = {
    "rnn-plain-backward": translator("rnn", None, "backward"),
    "lstm-plain-forward": translator("lstm", None, "forward"),
    "gru-additive": translator("gru", c.AdditiveAttention(), "both"),
    "lstm-dot": translator("lstm", c.DotAttention(feeding=False), "both"),
    "gru-general": translator("gru", c.GeneralAttention(feeding=False), "backward"),
    "lstm-dot-feeding": translator("lstm", c.DotAttention(), "forward"),
    "lstm-general-feeding": translator("lstm", c.GeneralAttention(), "both"),
}


def built(config: c.ModelConfig) -> Decoder | Seq2Seq:
    network = build(config).eval()
    initialise(network, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network


@pytest.fixture(scope="module", params=CELLS)
def speaker(request: pytest.FixtureRequest) -> Decoder:
    network = built(language_model(request.param))
    assert isinstance(network, Decoder)
    return network


@pytest.fixture(scope="module", params=TRANSLATORS)
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    network = built(TRANSLATORS[request.param])
    assert isinstance(network, Seq2Seq)
    return network


@pytest.fixture(scope="module")
def whole(model: Seq2Seq) -> Tensor:
    with torch.no_grad():
        return model(SOURCE, LENGTHS, TARGET)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def reference_cells(network: nn.Module, cell: str, inputs: int, both: bool = False) -> nn.RNNBase:
    """torch's own two layers with the weights of ours."""
    theirs = CELLS[cell](inputs, WIDTH // 2 if both else WIDTH, 2, batch_first=True, bidirectional=both)
    for layer, block in enumerate(network.blocks):
        for name, weight in block.cell.named_parameters():
            theirs.get_parameter(name.replace("_l0", f"_l{layer}")).data.copy_(weight)
    return theirs


@torch.no_grad()
def test_language_models_equal_torch(speaker: Decoder) -> None:
    cells = reference_cells(speaker.decoder, speaker.config.decoder.cell, WIDTH)
    hidden, _ = cells(SCALE * speaker.embed(TARGET))
    close(speaker(TARGET), hidden @ speaker.head.proj.weight.T)


@torch.no_grad()
@pytest.mark.parametrize("cuts", [[1] * 6, [2, 1, 3]])
def test_language_models_step_by_step(speaker: Decoder, cuts: list[int]) -> None:
    state = speaker.start(3, 8)
    logits = torch.cat([speaker.step(part, state) for part in TARGET.split(cuts, 1)], 1)
    close(logits, speaker(TARGET))


@torch.no_grad()
def test_language_models_in_the_decoding_loop(speaker: Decoder) -> None:
    prompts = [[5, 6, 7], [9], [1, 2, 3, 4, 5, 6]]
    together = collect(generate(speaker, prompts, max_tokens=8))
    for prompt, row in zip(prompts, together, strict=True):
        text = list(prompt)
        for _ in range(8):
            text.append(int(speaker(torch.tensor([text]))[0, -1].argmax()))
        assert row.ids == text[len(prompt) :]


@torch.no_grad()
def encoded(model: Seq2Seq, row: int) -> tuple[Tensor, object]:
    """One source text read by torch's own layers: hidden states [S, W], and the states to begin with."""
    stack = model.config.encoder
    cells = reference_cells(model.encoder, stack.cell, WIDTH, stack.direction == "both")
    x = SCALE * model.embed(SOURCE[row, : LENGTHS[row]])
    hidden, final = cells(x.flip(0)[None] if stack.direction == "backward" else x[None])
    hidden = hidden[0].flip(0) if stack.direction == "backward" else hidden[0]

    def begin(tensor: Tensor) -> Tensor:  # [layers · directions, 1, W'] → [layers, 1, W]
        return tensor.reshape(2, 1, WIDTH)

    return hidden, tuple(map(begin, final)) if stack.cell == "lstm" else begin(final)


@torch.no_grad()
def test_translators_equal_torch(model: Seq2Seq, whole: Tensor) -> None:
    stack, decoder = model.config.decoder, model.decoder
    attention = stack.attention
    feeds = attention == c.AdditiveAttention() or (attention is not None and attention.feeding)
    cells = reference_cells(decoder, stack.cell, 2 * WIDTH if feeds else WIDTH)
    for row in range(3):
        memory, state = encoded(model, row)
        vector = torch.zeros(WIDTH)
        for t, word in enumerate(SCALE * model.embed(TARGET[row])):
            if attention == c.AdditiveAttention():
                top = (state[0] if stack.cell == "lstm" else state)[-1, 0]
                part = decoder.attention
                scores = part.weigh.score((part.q(top) + part.k(memory)).tanh())[:, 0]
                heard = scores.softmax(0) @ memory
                out, state = cells(torch.cat((word, heard))[None, None], state)
                vector = decoder.join(torch.cat((out[0, 0], heard, word))).tanh()
            else:
                out, state = cells((torch.cat((word, vector)) if feeds else word)[None, None], state)
                vector = out[0, 0]
                if attention is not None:
                    keys = memory if isinstance(attention, c.DotAttention) else memory @ decoder.attention.k.weight.T
                    heard = (keys @ vector).softmax(0) @ memory
                    vector = (decoder.join.weight @ torch.cat((heard, vector))).tanh()
            close(whole[row, t], model.embed.weight @ vector)


@torch.no_grad()
def test_the_encoder_ignores_padding(model: Seq2Seq) -> None:
    memory = model.encode(SOURCE, LENGTHS)
    other = SOURCE.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        other[row, length:] = 0
        alone = model.encode(SOURCE[row : row + 1, :length])
        close(memory.hidden[row, :length], alone.hidden[0])
        for padded, plain in zip(memory.final, alone.final, strict=True):
            close(padded[row], plain[0])
    close(model(other, LENGTHS, TARGET), model(SOURCE, LENGTHS, TARGET))


@torch.no_grad()
@pytest.mark.parametrize("cuts", [[1] * 6, [2, 1, 3]])
def test_translators_step_by_step(model: Seq2Seq, whole: Tensor, cuts: list[int]) -> None:
    state = model.start(model.encode(SOURCE, LENGTHS), 8)
    close(torch.cat([model.step(part, state) for part in TARGET.split(cuts, 1)], 1), whole)
    assert state.lengths.tolist() == [6, 6, 6]


@torch.no_grad()
def test_targets_of_different_lengths(model: Seq2Seq, whole: Tensor) -> None:
    state = model.start(model.encode(SOURCE, LENGTHS), 8)
    counts, rows = torch.tensor([3, 1, 0]), torch.arange(3)
    last = model.step(TARGET[:, :3], state, counts, last=True)
    close(last[:2, 0], whole[rows, counts - 1][:2])
    close(model.step(TARGET[rows, counts][:, None], state)[:, 0], whole[rows, counts])
    assert state.lengths.tolist() == [4, 2, 1]


@torch.no_grad()
def test_select_and_fork(model: Seq2Seq, whole: Tensor) -> None:
    state = model.start(model.encode(SOURCE, LENGTHS), 8)
    model.step(TARGET[:, :2], state)
    chosen = state.fork(2).select(torch.tensor([4, 1, 0]))
    close(model.step(TARGET[[2, 0, 0], 2:], chosen), whole[[2, 0, 0], 2:])
    close(model.step(TARGET[:, 2:], state), whole[:, 2:])
    assert state.nbytes > 0


@torch.no_grad()
def test_going_back_is_refused(speaker: Decoder) -> None:
    state = speaker.start(2, 8)
    speaker.step(TARGET[:2, :4], state)
    state.rewind(4)
    with pytest.raises(RequestError, match="recurrent"):
        state.rewind(3)
    with pytest.raises(RequestError, match="have seen"):
        state.rewind(5)


def test_deafness_is_refused(model: Seq2Seq) -> None:
    with pytest.raises(RequestError, match="recurrent"):
        model.encode(SOURCE, LENGTHS, torch.ones(3, 7, dtype=torch.bool))
    with pytest.raises(RequestError, match="recurrent"):
        model(SOURCE, LENGTHS, TARGET, torch.ones(3, 6, 6, dtype=torch.bool))


@torch.no_grad()
def test_attention_can_be_recorded(model: Seq2Seq, whole: Tensor) -> None:
    seen: list[Tensor] = []
    for part in model.crosses:
        core = part.core

        def recording(q: Tensor, k: Tensor, v: Tensor, mask: object, *rest: object, part: object = part) -> Tensor:
            seen.append(part.weigh(q, k, mask, *rest))
            return (seen[-1] @ v).type_as(v)

        part.core = recording
        close(model(SOURCE, LENGTHS, TARGET), whole)
        part.core = core
    assert len(model.crosses) == (model.config.decoder.attention is not None)
    if model.crosses:
        weights = torch.cat(seen, 2)  # [B, 1, T, S]
        assert weights.shape == (3, 1, 6, 7)
        close(weights.sum(-1), torch.ones(3, 1, 6))
        for row, length in enumerate(LENGTHS.tolist()):
            assert not weights[row, :, :, length:].any()


def test_every_weight_is_trained(model: Seq2Seq) -> None:
    network = built(with_dropout(model.config, 0.2)).train()
    network(SOURCE, LENGTHS, TARGET).logsumexp(-1).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


@torch.no_grad()
def test_dropout_acts_in_training_only(model: Seq2Seq, whole: Tensor) -> None:
    network = build(with_dropout(model.config, 0.3))
    network.load_state_dict(model.state_dict())
    close(network.eval()(SOURCE, LENGTHS, TARGET), whole)
    network.train()
    assert not torch.allclose(network(SOURCE, LENGTHS, TARGET), network(SOURCE, LENGTHS, TARGET), atol=1e-2)


def test_configs_round_trip() -> None:
    for config in (*TRANSLATORS.values(), language_model("gru")):
        assert config_from_hf(json.loads(json.dumps(config_to_hf(config)))) == config


@torch.no_grad()
def test_recurrent_and_transformer_stacks_may_be_mixed() -> None:
    attention = c.Attention(2, 2, 8, 8**-0.5)
    block = c.Block(attention, c.FeedForward(32, "relu"), c.LayerNorm(1e-5))
    encoder = c.TransformerStack(WIDTH, (block,), c.LayerNorm(1e-5), c.Embeddings(positions=c.Sinusoidal()))
    decoder = c.RecurrentStack("gru", WIDTH, 1, attention=c.GeneralAttention())
    network = built(c.ModelConfig("limelight-recurrent", VOCAB, 64, decoder, c.LMHead(tied=True), encoder=encoder))
    padded = network(SOURCE, LENGTHS, TARGET)
    close(padded[1:2], network(SOURCE[1:2, :3], None, TARGET[1:2]))


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        (c.RecurrentStack("gru", 16, 2), c.RecurrentStack("lstm", 16, 2), "same cell and layers"),
        (c.RecurrentStack("gru", 16, 1), c.RecurrentStack("gru", 16, 2), "same cell and layers"),
        (c.RecurrentStack("gru", 8, 2), c.RecurrentStack("gru", 16, 2), "must be equal"),
        (c.RecurrentStack("gru", 15, 2, "both"), c.RecurrentStack("gru", 15, 2), "even width"),
        (c.RecurrentStack("gru", 16, 2), c.RecurrentStack("gru", 16, 2, "both"), "reads forward"),
        (c.RecurrentStack("gru", 16, 2, attention=c.DotAttention()), c.RecurrentStack("gru", 16, 2), "belongs to"),
        (None, c.RecurrentStack("gru", 16, 2, attention=c.DotAttention()), "needs an encoder"),
    ],
)
def test_stacks_that_do_not_fit_are_refused(encoder: c.Stack | None, decoder: c.Stack, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(c.ModelConfig("limelight-recurrent", VOCAB, 64, decoder, c.LMHead(tied=True), encoder=encoder))
