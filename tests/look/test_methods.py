"""The methods of importance: each against a plain way to get its numbers, in every family where that differs."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from look import plainly
from look.made_up import MadeUp, text
from references import CONFIGS, saved
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.errors import RequestError
from limelight.look import METHODS, Seen
from limelight.look.decompose import ALTERNATIVES, Trace, explained, mixing
from limelight.look.importance import chosen, fitting
from limelight.look.linear import backward
from limelight.look.links import by_word
from limelight.look.question import GivenWord
from limelight.look.record import record
from limelight.look.session import DecoderSession, Variant, session, stacked
from limelight.look.text import Reading
from limelight.models import config as c
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.presets import preset
from limelight.text.words import Word

TOKENS = torch.randint(3, 99, (24,), generator=torch.Generator().manual_seed(3)).tolist()
TEXT = "w10 w11 w12 w13 w14 w15 w16 w17 w18"
QUESTION = GivenWord((23,), (40,), 50)


def post_norm() -> Decoder:
    """A decoder with its norms behind the parts, which no family of the references has."""
    attention = c.Attention(4, 2, 16, 0.25, c.Rotary(16, 10000.0), bias=True, out_bias=True)
    block = c.Block(attention, c.FeedForward(96, "relu"), c.LayerNorm(1e-5), order="post")
    config = c.ModelConfig("post", 99, 128, c.TransformerStack(64, (block,) * 3, None), c.LMHead(tied=False, bias=True))
    torch.manual_seed(0)
    network = build(config).eval()
    assert isinstance(network, Decoder)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + 0.1)
    return network


OTHERWISE = {
    "bloom",
    "gpt_oss",
    "opt-post",
    "mamba",
    "mamba2",
    "qwen3_next",
    "qwen3_5_text",
    "granitemoehybrid",
    "lfm2",
}
"""Narrower than the rest; with sinks, which are not taken apart; with shares too small to be compared; with
recurrent units, which have none."""


@pytest.fixture(scope="module", params=[*(name for name in CONFIGS if name not in OTHERWISE), "post-norm"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    if request.param == "post-norm":
        return post_norm()
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    opened = open_checkpoint(folder).network
    assert isinstance(opened, Decoder)
    return opened


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp("llama")
    saved("llama", folder)
    return limelight.open(folder)


@pytest.fixture
def seen(model: limelight.Model) -> Seen:
    return model.look(TEXT)


def values(seen: Seen, method: str) -> list[float]:
    return [heard.importance for heard in seen.importance("w18", method=method, check=False).words]


@pytest.mark.parametrize("foil", [None, 50])
def test_contributions_and_constant_sum_to_the_logit_explained(network: Decoder, foil: int | None) -> None:
    trace = Trace(network, TOKENS)
    direction, offset = explained(network, GivenWord((23,), (40,), foil), 0, trace.hidden[0])
    shares = trace.shares(direction, offset)
    with torch.inference_mode():
        logits = network(torch.tensor([TOKENS]))[0, -1]
    others = [id for id in logits.argsort(descending=True).tolist() if id != 40][:ALTERNATIVES]
    rivals = others if foil is None else [foil]
    expected = float(logits[40] - logits[rivals] @ logits[rivals].softmax(-1))
    assert shares.total == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert float(shares.tokens.sum()) + shares.constant == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert float(shares.tokens.std()) > 1e-4


def test_the_constant_is_what_biases_and_feed_forwards_gave(model: limelight.Model) -> None:
    network = model.network
    added: list[Tensor] = []
    for block in network.decoder.blocks:
        block.feedforward.register_forward_hook(lambda module, inputs, output: added.append(output[0, -1]))
    try:
        trace = Trace(network, TOKENS)
    finally:
        for block in network.decoder.blocks:
            block.feedforward._forward_hooks.clear()
    direction = torch.randn(64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        stream = record(network, hidden=[2])
        stream.network.read(torch.tensor([TOKENS]))
        last = stream.hidden[2][0, -1]
        spread = (last.square().mean() + network.decoder.norm.eps).sqrt()
        expected = direction @ (network.decoder.norm.weight * torch.stack(added[:3]).sum(0) / spread)
    assert trace.shares(direction).constant == pytest.approx(float(expected), rel=1e-4)  # Llama has no biases


def test_a_model_of_one_layer_gives_each_token_what_attention_read_from_it() -> None:
    """In one layer nothing is mixed before it is heard, so that the shares are exact and can be had by hand."""
    attention = c.Attention(4, 2, 16, 0.25, c.Rotary(16, 10000.0))
    block = c.Block(attention, c.GatedFeedForward(96, "silu"), c.RMSNorm(1e-6))
    stack = c.TransformerStack(64, (block,), c.RMSNorm(1e-6))
    torch.manual_seed(0)
    network = build(c.ModelConfig("one", 99, 128, stack, c.LMHead(tied=True))).eval()
    assert isinstance(network, Decoder)
    recording = record(network, attention=[0], hidden=[0])
    direction = torch.randn(64)
    with torch.inference_mode():
        recording.network.read(torch.tensor([TOKENS]))
        spread = (recording.hidden[0][0, -1].square().mean() + 1e-6).sqrt()
        embedded = network.embed(torch.tensor([TOKENS]))
        part = network.decoder.blocks[0]
        heard = part.attention.v(part.attention_norm(embedded))[0].view(24, 2, 16).repeat_interleave(2, 1)  # [T, H, D]
        read = part.attention.out((recording.attention[0][0, :, -1].T[..., None] * heard).flatten(1))  # [T, W]
        read[-1] += embedded[0, -1]
        expected = read @ (direction / spread)
    torch.testing.assert_close(Trace(network, TOKENS).shares(direction).tokens, expected, rtol=1e-4, atol=1e-5)


def test_a_text_traced_in_parts_is_traced_as_a_whole(network: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any of its positions as if the text ended there, and one layer's attention as it is recorded."""
    recording = record(network, attention=[1])
    with torch.inference_mode():
        recording.network.read(torch.tensor([TOKENS]))
    direction = torch.randn(64, generator=torch.Generator().manual_seed(0))
    whole = [Trace(network, TOKENS[: place + 1]).shares(direction, 0.5) for place in (9, 23)]
    for user in ("record", "decompose"):
        monkeypatch.setattr(f"limelight.look.{user}.ROWS", 5)
    trace = Trace(network, TOKENS, (9, 23), attention=True)
    for i, expected in enumerate(whole):
        shares = trace.shares(direction, 0.5, i)
        assert (shares.total, shares.constant) == pytest.approx((expected.total, expected.constant), rel=1e-4, abs=1e-4)
        torch.testing.assert_close(shares.tokens[: len(expected.tokens)], expected.tokens, rtol=1e-3, atol=1e-4)
        assert not shares.tokens[len(expected.tokens) :].any()
    torch.testing.assert_close(trace.heads[1], recording.attention[1][0], rtol=1e-4, atol=1e-6)


def test_mixing_is_each_vector_along_their_sum(network: Decoder) -> None:
    """The proportions, against the vectors themselves: a block made deaf to all positions but one, by its weights."""
    block = network.decoder.blocks[1]
    caught: dict[str, Tensor] = {}
    block.attention.register_forward_hook(lambda module, inputs, output: caught.update(read=output[0]))
    hook = block.attention.v.register_forward_hook(lambda module, inputs, output: caught.update(v=output[0]))
    try:
        recording = record(network, attention=[1], hidden=[0])
        with torch.inference_mode():
            recording.network.read(torch.tensor([TOKENS]))
            weights, stream = recording.attention[1][0], recording.hidden[0][0]
            heads = caught["v"].view(24, -1, block.attention.head_width).transpose(0, 1)
            joined = len(weights) * heads.shape[2]
            back = partial(backward, block.attention.out, joined, dtype=torch.float32)
            blocks = mixing(block, back, [weights[:, :16, :16], weights[:, 16:]], heads, stream, caught["read"])
            shares = torch.cat([torch.nn.functional.pad(blocks[0], (0, 8)), blocks[1]])
    finally:
        hook.remove()
        block.attention._forward_hooks.clear()
    torch.testing.assert_close(shares.sum(-1), torch.ones(24))
    assert torch.equal(shares.triu(1), torch.zeros(24, 24))
    assert shares.min() >= 0
    if type(block).__name__ == "PreNormBlock" and isinstance(block.attention_after, torch.nn.Identity):
        wide = heads.repeat_interleave(len(weights) // len(heads), 0)
        with torch.inference_mode():
            parts = (weights[..., None] * wide[:, None]).permute(1, 2, 0, 3).flatten(2)  # [T, S, H·D]
            vectors = block.attention.out(parts) - block.attention.out(torch.zeros_like(parts))
            vectors[range(24), range(24)] += stream
            along = (vectors * (stream + caught["read"])[:, None]).sum(-1).clamp(min=0)
        torch.testing.assert_close(shares, along / along.sum(-1, keepdim=True), rtol=1e-3, atol=1e-5)


def test_alti_logit_by_word_and_rival(model: limelight.Model, seen: Seen) -> None:
    found = seen.importance("w18", method="alti-logit", foil="w40", check=False)
    ids = [model.tokenizer.separator, *model.tokenizer.encode(TEXT).ids][:-1]
    trace = Trace(model.network, ids)
    weight = model.network.head.proj.weight.detach()
    shares = trace.shares(weight[model.tokenizer.id("w18")] - weight[model.tokenizer.id("w40")])
    assert [heard.importance for heard in found.words] == pytest.approx(shares.tokens[1:].tolist(), abs=1e-4)
    assert found.check is None


def test_shares_of_the_upper_layers_leave_the_rest_to_the_constant(network: Decoder) -> None:
    direction = torch.randn(64, generator=torch.Generator().manual_seed(0))
    trace = Trace(network, TOKENS)
    whole, upper = trace.shares(direction), trace.shares(direction, first=1)
    assert upper.total == whole.total
    assert float(upper.tokens.sum()) + upper.constant == pytest.approx(upper.total, rel=1e-4, abs=1e-4)
    assert not torch.equal(upper.tokens, whole.tokens)


def test_rollout_is_the_product_of_the_layers_mixing(network: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in ("record", "decompose"):
        monkeypatch.setattr(f"limelight.look.{user}.ROWS", 100)
    trace = Trace(network, TOKENS, (9, 23))
    product = torch.eye(24)
    for layer in trace._layers:
        product = layer.mixing[0] @ product
    for i, place in enumerate((9, 23)):
        torch.testing.assert_close(trace.rollout(i), product[place])
        assert float(trace.rollout(i).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("foil", [None, "w40"])
def test_gradient_input_is_the_derivative_of_scaling_a_word(
    model: limelight.Model, seen: Seen, foil: str | None
) -> None:
    network = model.network
    ids = [model.tokenizer.separator, *model.tokenizer.encode(TEXT).ids]
    found = seen.importance("w18", method="gradient-input", foil=foil, check=False)
    question = GivenWord((8,), (ids[-1],), None if foil is None else model.tokenizer.id(foil))

    def at(place: int, scale: float) -> float:
        with torch.inference_mode():
            embedded = network.embed(torch.tensor([ids[:-1]])).double()
            embedded[0, place] *= scale
            wide = build(network.config, dtype=torch.float64)
            wide.load_state_dict(network.state_dict())
            assert isinstance(wide, Decoder)
            hidden = wide.eval().decoder.decode(embedded, wide.start(1, 0), None, None)
            return float(question.value(wide.logits(hidden[:, [8]])))

    for place in (1, 5, 8):
        slope = (at(place, 1.01) - at(place, 0.99)) / 0.02
        assert found.words[place - 1].importance == pytest.approx(slope, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("foil", [None, "w40"])
def test_integrated_gradients_sum_to_what_the_answer_gains(
    model: limelight.Model, seen: Seen, foil: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limelight.look.gradients.STEPS", 300)
    found = seen.importance("w18", method="integrated-gradients", foil=foil, check=False)
    ids = [model.tokenizer.separator, *model.tokenizer.encode(TEXT).ids]
    question = GivenWord((8,), (ids[-1],), None if foil is None else model.tokenizer.id(foil))
    with torch.inference_mode():
        rows = torch.tensor([ids[:-1], ids[:1] * 9])
        whole, empty = question.value(model.network(rows)[:, [8]]).tolist()
    assert sum(heard.importance for heard in found.words) == pytest.approx(whole - empty, rel=0.01, abs=1e-4)


def test_rollout_multiplies_the_layers(model: limelight.Model, seen: Seen) -> None:
    ids = [model.tokenizer.separator, *model.tokenizer.encode(TEXT).ids][:-1]
    recording = record(model.network, attention=range(3))
    with torch.inference_mode():
        recording.network.read(torch.tensor([ids]))
    product = torch.eye(9)
    for layer in range(3):
        product = (recording.attention[layer][0].mean(0) / 2 + torch.eye(9) / 2) @ product
    assert values(seen, "attention-rollout") == pytest.approx(product[-1, 1:].tolist(), abs=1e-6)
    assert float(product[-1].sum()) == pytest.approx(1)


def test_value_weighted_attention_is_the_length_of_what_is_received(model: limelight.Model, seen: Seen) -> None:
    ids = [model.tokenizer.separator, *model.tokenizer.encode(TEXT).ids][:-1]
    recording = record(model.network, attention=range(3), hidden=range(3))
    total = torch.zeros(9)
    with torch.inference_mode():
        recording.network.read(torch.tensor([ids]))
        stream = model.network.embed(torch.tensor([ids]))
        for layer, block in enumerate(model.network.decoder.blocks):
            attention = block.attention
            v = attention.v(block.attention_norm(stream))[0].view(9, 2, 16)
            for place in range(9):
                heard = [recording.attention[layer][0, h, -1, place] * v[place, h // 2] for h in range(4)]
                total[place] += attention.out(torch.cat(heard)).norm() / 3
            stream = recording.hidden[layer]
    assert values(seen, "value-weighted") == pytest.approx(total[1:].tolist(), rel=1e-4)


@pytest.mark.parametrize("foil", [None, "w40"])
def test_replacing_is_the_smallest_fall_among_likely_words(
    model: limelight.Model, seen: Seen, foil: str | None
) -> None:
    found = seen.importance("w18", method="leave-one-replaced", foil=foil, check=False)
    *tokens, answer = plainly.ids_of(model, TEXT)
    rival = None if foil is None else model.tokenizer.id(foil)
    expected = [plainly.alone(model, tokens, place, answer, rival) for place in range(1, 9)]
    assert [heard.importance for heard in found.words] == pytest.approx(expected, abs=2e-4)


def test_a_variant_may_put_fewer_tokens_in_the_place_of_many(model: limelight.Model) -> None:
    variant = Variant(replaced=((range(4, 7), (60, 61)),), blocked=(range(1, 3), range(12, 14)))
    (found,) = DecoderSession(model.network, TOKENS).values(QUESTION, [variant])
    changed = [*TOKENS[:4], 60, 61, *TOKENS[7:]]
    visible = torch.ones(1, 23, 23, dtype=torch.bool)
    visible[0, 3:, 1:3] = False
    visible[0, 13:, 11:13] = False
    with torch.inference_mode():
        logits = model.network(torch.tensor([changed]), visible=visible)[:, -1:]
    assert found == pytest.approx(float(GivenWord((22,), (40,), 50).value(logits)), abs=1e-4)


def test_long_texts_are_blocked_in_spans_first(model: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"w{3 + i * 7 % 96}" for i in range(101))
    whole = [heard.importance for heard in model.look(text).importance(101, method="blocking", check=False).words]
    monkeypatch.setattr("limelight.look.perturb.LONG", 60)
    monkeypatch.setattr("limelight.look.perturb.GROUP", 8)
    told: list[tuple[int, int]] = []
    grouped = model.look(text).importance(101, method="blocking", check=False, progress=lambda *step: told.append(step))
    found = [heard.importance for heard in grouped.words]
    assert len(found) == 100
    assert found[-1] == pytest.approx(whole[-1], abs=2e-4)
    exact = [i for i in range(100) if found[i] == pytest.approx(whole[i], abs=2e-4)]
    assert len(exact) >= 3  # the words that were looked into down to the single word
    assert max(found, key=lambda value: value) in [found[i] for i in exact]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1] < 40


def test_every_method_says_what_it_is() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.answers.endswith("?")
        assert method.kind == ("attention" if "attention" in name or name == "value-weighted" else "importance")
        assert all((method.title, method.paper, method.cost))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", [None, *METHODS])
def test_methods_measure_the_same_whatever_the_callers_gradient_mode(
    tmp_path_factory: pytest.TempPathFactory, mode: type, method: str | None
) -> None:
    folder = tmp_path_factory.mktemp("modes")
    saved("llama", folder)
    options = {"check": False} | ({} if method is None else {"method": method})
    expected = limelight.open(folder).look(TEXT).importance("w18", **options)
    with mode():
        model = limelight.open(folder)
        found = model.look(TEXT).importance("w18", **options)
    outside = model.look(TEXT).importance("w18", **options)
    for other in (found, outside):
        known = [i for i, heard in enumerate(expected.words) if heard.importance is not None]
        assert [i for i, heard in enumerate(other.words) if heard.importance is not None] == known
        assert [other.words[i].importance for i in known] == pytest.approx(
            [expected.words[i].importance for i in known], rel=1e-4, abs=1e-4
        )


def test_a_model_opened_and_used_in_inference_mode_can_be_trained(tmp_path: Path) -> None:
    saved("llama", tmp_path)
    with torch.inference_mode():
        network = limelight.open(tmp_path).network
        network(torch.tensor([[3, 4, 5]]))
    network.requires_grad_()(torch.tensor([[3, 4, 5]])).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp("halved")
    saved("llama", folder)
    return limelight.open(folder, dtype="bfloat16")


@pytest.mark.parametrize("foil", [None, "w40"])
@pytest.mark.parametrize("method", METHODS)
def test_a_model_in_bfloat16_is_explained_about_as_it_is_in_float32(
    method: str, foil: str | None, seen: Seen, halved: limelight.Model
) -> None:
    found = (look.importance("w18", method=method, foil=foil, check=False) for look in (seen, halved.look(TEXT)))
    exact, rounded = (torch.tensor([heard.importance for heard in each.words[:7]]) for each in found)
    assert rounded.isfinite().all()
    assert torch.corrcoef(torch.stack((exact, rounded)))[0, 1] > 0.8


def test_a_model_with_sinks_is_not_taken_apart_but_measured(tmp_path: Path) -> None:
    saved("gpt_oss", tmp_path)
    seen = limelight.open(tmp_path, kind=limelight.Model).look(TEXT)
    with pytest.raises(RequestError, match="gated or rest on sinks"):
        seen.importance("w18", method="alti-logit")
    words = " ".join(f"w{3 + i * 7 % 90}" for i in range(40))
    assert seen.importance("w18").words
    assert limelight.open(tmp_path, kind=limelight.Model).look(words).importance(check=False).words


def test_methods_know_the_texts_that_they_fit(model: limelight.Model) -> None:
    everywhere = ["measured", "leave-one-out", "leave-one-replaced"]  # in a recurrent model nothing can be hidden
    assert [method.name for method in fitting(MadeUp(text(3), lambda *gone: 1.0, blocks=False))] == everywhere
    assert [method.name for method in fitting(MadeUp(text(3), lambda *gone: 1.0))] == [
        "measured",
        "blocking",
        "leave-one-out",
        "leave-one-replaced",
    ]
    assert fitting(DecoderSession(model.network, [5, 6])) == list(METHODS.values())
    with pytest.raises(
        RequestError, match=r"^the method attention cannot be used on no model; those that can: measured,"
    ):
        chosen("attention", MadeUp(text(3), lambda *gone: 1.0))


def test_what_is_recurrent_is_not_taken_apart() -> None:
    network = build(preset("lstm", 99, width=32))
    assert isinstance(network, Decoder)
    with pytest.raises(
        RequestError, match=r"^only a transformer that reads one text can be taken apart; use leave-one-o"
    ):
        Trace(network, [5, 6])
    with pytest.raises(
        RequestError, match=r"^this is a recurrent model: it has no single stack of attention to look int"
    ):
        stacked(session(network, [5, 6]))


def test_methods_are_told_apart_by_name_title_kind_and_unit() -> None:
    assert {name: (method.title, method.kind, method.unit) for name, method in METHODS.items()} == {
        "measured": ("Measured", "importance", None),
        "blocking": ("Blocking", "importance", None),
        "alti-logit": ("ALTI-Logit", "importance", "share of the log-odds"),
        "leave-one-out": ("Leave one out", "importance", None),
        "leave-one-replaced": ("Leave one replaced", "importance", None),
        "gradient-input": ("Gradient × input", "importance", "slope"),
        "integrated-gradients": ("Integrated gradients", "importance", "gain on the way"),
        "attention": ("Attention", "attention", "share of attention"),
        "attention-rollout": ("Attention rollout", "attention", "share of attention"),
        "value-weighted": ("Value-weighted attention", "attention", "length"),
    }


class OneDevice(TorchDispatchMode):
    """Tensors of two devices do not meet, which most operations refuse on a GPU alone."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        devices = {each.device for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor) and each.dim()}
        assert len(devices) < 2, func
        return func(*args, **(kwargs or {}))


def test_attention_over_words_is_found_where_the_weights_are() -> None:
    words = tuple(Word(text, at, at + 1, range(at, at + 1)) for at, text in enumerate("abc"))
    with OneDevice():
        found = by_word(torch.ones(2, 3, 3, device="meta"), Reading("abc", (0, 1, 2), words, str), [2], [0, 1])
    assert (found.shape, found.device.type) == ((2, 1, 2), "meta")
