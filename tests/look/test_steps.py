"""The nine steps: every number can be worked out again from the numbers before it, in every family."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from references import CONFIGS, saved
from torch.testing import assert_close

import limelight
from limelight.errors import RequestError
from limelight.look.plain import plain
from limelight.look.record import record
from limelight.look.steps import Steps, steps
from limelight.look.text import read
from limelight.nn.attention import Attention

TEXT = " ".join(f"w{i}" for i in range(10, 22))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
LOOSE = {"rtol": 1e-4, "atol": 1e-4}
HEAD = (1, 3)


RECURRENT = {"mamba", "mamba2", "qwen3_next", "qwen3_5_text", "granitemoehybrid", "lfm2"}
OTHERWISE = {"bloom", "mpt", "gpt_oss", "opt-post", "olmo", "smollm3", "cohere2", "exaone4", *RECURRENT}
"""Of other sizes than the rest, or with parts that a step tells of in another way: biases of scores, sinks, clipping,
norms behind what is added, layers without positions, and recurrent units, which score nothing."""


@pytest.fixture(scope="module", params=[name for name in CONFIGS if name not in OTHERWISE])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder)


def follow(model: limelight.Model, word: int = 9) -> Steps:
    return model.look(TEXT).steps(word, *HEAD)


def test_the_row_of_weights_is_worked_out_again_and_is_the_recorded_one(model: limelight.Model) -> None:
    found = follow(model)
    place, at = found.tokens.place, found.projected
    query, keys, scores, weights = at.query, at.keys, found.scores, found.weights
    recording = record(model.network, attention=[HEAD[0]])
    with torch.inference_mode():
        recording.network.read(torch.tensor([found.tokens.ids]))
    recorded = recording.attention[HEAD[0]][0, HEAD[1], place]
    for key in range(len(found.tokens.ids)):
        product = sum(float(a) * float(b) for a, b in zip(query, keys[key], strict=True))
        assert float(scores.products[key]) == pytest.approx(product, rel=1e-4, abs=1e-4)
        score = product * scores.scale
        if scores.cap is not None:
            score = float(torch.tensor(score / scores.cap).tanh()) * scores.cap
        share = float(torch.tensor(score - weights.highest).exp()) / weights.total if weights.visible[key] else 0.0
        rounding = 4 * torch.finfo(torch.float32).eps * abs(score)  # of the score, which a share follows
        assert share == pytest.approx(float(recorded[key]), abs=max(1e-5, rounding))
    assert_close(weights.values, recorded, **CLOSE)
    assert float(weights.values.sum()) == pytest.approx(1, abs=1e-5)
    expected = torch.arange(len(found.tokens.ids)) <= place
    if weights.window is not None:
        expected &= torch.arange(len(found.tokens.ids)) > place - weights.window
    assert torch.equal(weights.visible, expected)


def test_scores_are_held_below_a_cap(tmp_path: Path) -> None:
    saved("gemma2", tmp_path)
    model = limelight.open(tmp_path, kind=limelight.Model)
    for module in model.network.modules():
        if isinstance(module, Attention):
            module.scale /= 100  # else all scores are at the cap
    scores = follow(model).scores
    assert scores.cap is not None
    expected = scores.cap * torch.tanh(scores.products * scores.scale / scores.cap)
    assert_close(scores.values, expected, **CLOSE)
    assert expected.std() > 0.1
    test_the_row_of_weights_is_worked_out_again_and_is_the_recorded_one(model)


@pytest.mark.parametrize("name", ["gpt_oss", "bloom", "mpt"])
def test_sinks_take_a_share_and_biases_are_added_to_the_scores(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    model = limelight.open(tmp_path, kind=limelight.Model)
    found = model.look(TEXT).steps(9, 0, 1)
    scores, weights = found.scores, found.weights
    visible = weights.visible
    assert weights.highest == pytest.approx(float(scores.values[visible].max()))
    shares = (scores.values[visible] - weights.highest).exp()
    assert_close(weights.values[visible], shares / weights.total, **CLOSE)
    assert not weights.values[~visible].any()
    sinks = model.network.decoder.blocks[0].attention.sinks
    added = scores.values - scores.products * scores.scale
    if name == "gpt_oss":
        sink = float((sinks[1] - weights.highest).exp())
        assert weights.total == pytest.approx(float(shares.sum()) + sink, rel=1e-5)
        assert not added.any()
    else:
        assert weights.total == pytest.approx(float(shares.sum()), rel=1e-5)
        steps = added[visible].diff()  # each place nearer by one counts as much more
        assert float(steps[0]) > 0.001
        assert_close(steps, steps[:1].expand_as(steps), rtol=1e-3, atol=1e-5)


def test_queries_and_keys_are_turned_by_the_angles(model: limelight.Model) -> None:
    found = follow(model)
    at, angles = found.projected, found.placed.angles
    half = len(angles)
    if not half:
        assert found.placed.added.abs().max() > 0
        assert torch.equal(at.query, at.query_before)
        return
    assert torch.equal(found.placed.added, torch.zeros_like(found.placed.added))
    for before, after, turns in (
        (at.query_before, at.query, angles),
        (at.keys_before[1], at.keys[1], angles / found.tokens.place),
    ):
        cos, sin = turns.cos() * found.placed.amplitude, turns.sin() * found.placed.amplitude
        first, second = before[:half], before[half : 2 * half]
        turned = torch.cat((first * cos - second * sin, second * cos + first * sin, before[2 * half :]))
        assert_close(after, turned, rtol=1e-4, atol=1e-4)


def test_the_vectors_lead_from_the_embedding_to_what_is_heard(model: limelight.Model) -> None:
    found = follow(model)
    token = torch.tensor(found.tokens.ids[found.tokens.place])
    assert_close(found.embedded.vector, model.network.embed(token).detach())
    assert_close(found.placed.stream, found.embedded.vector * found.embedded.scale + found.placed.added, **CLOSE)
    assert_close(found.joined.heard, found.weights.values @ found.projected.values, **CLOSE)
    heads = model.config.decoder.blocks[0].attention.heads
    width = len(found.joined.heard)
    assert len(found.joined.heads) == heads * width
    assert torch.equal(found.joined.heads[HEAD[1] * width : (HEAD[1] + 1) * width], found.joined.heard)
    out = model.network.decoder.blocks[HEAD[0]].attention.out.weight.detach()
    assert_close(found.joined.own, out[:, HEAD[1] * width : (HEAD[1] + 1) * width] @ found.joined.heard, **LOOSE)
    sharing = found.projected.sharing
    assert found.projected.kv_head == HEAD[1] // sharing
    assert sharing == heads // model.config.decoder.blocks[0].attention.kv_heads


def test_the_stream_is_what_was_there_and_what_was_added(model: limelight.Model) -> None:
    found = follow(model)
    added = found.added
    recording = record(model.network, hidden=[0, 1])
    with torch.inference_mode():
        recording.network.read(torch.tensor([found.tokens.ids]))
    assert_close(added.before, recording.hidden[0][0, found.tokens.place])
    assert_close(added.after, recording.hidden[1][0, found.tokens.place])
    assert added.order == model.config.decoder.blocks[0].order
    assert_close(added.after, added.before + added.attention + added.feedforward, **LOOSE)
    assert added.attention.abs().max() > 1e-3
    assert not torch.equal(added.attention, added.feedforward)


def test_the_answer_is_the_models_own(model: limelight.Model) -> None:
    found = follow(model)
    with torch.inference_mode():
        logits = model.network(torch.tensor([found.tokens.ids]))[0, found.tokens.place]
    assert [logit for _, logit, _ in found.output.top] == pytest.approx(logits.topk(10).values.tolist(), abs=1e-4)
    for _, logit, chance in found.output.top:
        assert chance == pytest.approx(float(torch.tensor(logit - found.output.total).exp()), rel=1e-4)
    last = model.look(TEXT).steps(None, *HEAD).output.top
    said = model.look(TEXT).next_words(10)
    assert [chance for _, _, chance in last] == pytest.approx([chance for _, chance in said], abs=1e-5)
    assert [t for t, _, _ in found.output.top] == [model.tokenizer.token(i) for i in logits.topk(10).indices.tolist()]


def test_it_is_json_and_names_what_does_not_exist(model: limelight.Model) -> None:
    found = follow(model)
    said = json.loads(json.dumps(plain(found)))
    assert list(said) == [field.name for field in fields(Steps)]
    assert said["scores"]["values"] == pytest.approx(found.scores.values.tolist())
    assert said["weights"]["visible"][0] is bool(found.weights.visible[0])
    seen = model.look(TEXT)
    layers = len(model.config.decoder.blocks)
    with pytest.raises(RequestError, match=f"layers 0 to {layers - 1}"):
        seen.steps(9, layers, 0)
    with pytest.raises(RequestError, match="heads 0 to 3"):
        seen.steps(9, 0, 4)
    with pytest.raises(RequestError, match="no word is 'w99'"):
        seen.steps("w99", 0, 0)


def test_a_single_token_hears_itself(model: limelight.Model) -> None:
    alone = steps(model.network, model.tokenizer, read("w10", model.tokenizer, ()), 0, *HEAD, n=0)
    assert alone.weights.values.tolist() == [1.0]
    assert alone.weights.total == 1.0
    assert_close(alone.joined.heard, alone.projected.values[0])
    assert alone.output.top == ()
