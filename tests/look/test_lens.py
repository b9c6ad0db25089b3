"""The logit lens against each layer's stream put through norm and head by hand."""

import json
import math

import pytest
import torch
from references import saved

import limelight
from limelight.errors import RequestError
from limelight.look.plain import plain
from limelight.look.record import record

TEXT = " ".join(f"w{i}" for i in range(10, 22))


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2", "gpt_neox"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder)


def by_hand(model: limelight.Model) -> tuple[list[int], torch.Tensor]:
    """Token ids, and log-probabilities [L, T, V]."""
    ids = [model.tokenizer.separator, *model.tokenizer.encode(TEXT).ids]
    recording = record(model.network, hidden=range(3))
    with torch.inference_mode():
        recording.network.read(torch.tensor([ids]))
        streams = torch.stack([recording.hidden[layer][0] for layer in range(3)])
        return ids, model.network.logits(model.network.decoder.norm(streams)).log_softmax(-1)


def test_every_guess_is_norm_and_head_of_the_stream_behind_the_layer(model: limelight.Model) -> None:
    ids, expected = by_hand(model)
    found = model.look(TEXT).lens(n=4)
    assert found.read == tuple(model.tokenizer.token(id) for id in ids)
    assert found.following == (*found.read[1:], None)
    assert [len(row) for row in found.layers] == [len(ids)] * 3
    for layer, row in enumerate(found.layers):
        for place, guess in enumerate(row):
            scores = expected[layer, place]
            best = scores.topk(4)
            assert [token for token, _ in guess.top] == [model.tokenizer.token(i) for i in best.indices.tolist()]
            assert [chance for _, chance in guess.top] == pytest.approx(best.values.exp().tolist(), abs=1e-5)
            assert guess.entropy == pytest.approx(-float((scores.exp() * scores).sum()), abs=1e-4)
            if place + 1 < len(ids):
                order = scores.argsort(descending=True).tolist()
                assert guess.rank == order.index(ids[place + 1]) + 1
                assert guess.probability == pytest.approx(float(scores[ids[place + 1]].exp()), abs=1e-6)
            else:
                assert guess.rank is None
                assert guess.probability is None


def test_the_last_layer_says_what_the_model_says(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    last = seen.lens(n=5).layers[-1]
    expected = seen.next_words(5)
    assert [token for token, _ in last[-1].top] == [token for token, _ in expected]
    assert [chance for _, chance in last[-1].top] == pytest.approx([chance for _, chance in expected], abs=1e-5)
    logprob = seen.importance(len(seen.words), method="attention", check=False).logprob
    assert last[-2].probability is not None
    assert math.log(last[-2].probability) == pytest.approx(logprob, abs=1e-4)


def test_one_word_is_asked_for_in_front_of_it(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    told: list[tuple[int, int]] = []
    whole, one = seen.lens(), seen.lens("w15", progress=lambda *step: told.append(step))
    assert told == [(3, 3)]  # a guess of each layer, all at once
    assert [token.strip() for token in one.read] == ["w14"]
    assert [token.strip() for token in one.following if token] == ["w15"]
    for row, alone in zip(whole.layers, one.layers, strict=True):
        assert alone[0].rank == row[5].rank
        assert alone[0].entropy == pytest.approx(row[5].entropy, abs=1e-4)


def test_no_more_logits_than_allowed_are_held(model: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.look(TEXT).lens()
    sizes: list[int] = []
    monkeypatch.setattr("limelight.look.lens.ROOM", 5 * model.network.vocab + 3)
    seen = model.look(TEXT)
    logits = type(seen._network).logits
    monkeypatch.setattr(type(seen._network), "logits", lambda self, x: sizes.append(len(x)) or logits(self, x))
    told: list[tuple[int, int]] = []
    found = seen.lens(progress=lambda done, total: told.append((done, total)))
    assert sizes == [5] * 7 + [4]  # 3 layers of 13 places
    assert told[-1] == (39, 39)
    for row, other in zip(found.layers, expected.layers, strict=True):
        assert [guess.rank for guess in row] == [guess.rank for guess in other]


def test_it_is_json(model: limelight.Model) -> None:
    found = model.look("w10 w11").lens(n=2)
    said = json.loads(json.dumps(plain(found)))
    assert list(said) == ["read", "following", "layers"]
    assert list(said["layers"][0][0]) == ["top", "entropy", "rank", "probability"]
    assert said["layers"][2][2]["rank"] is None


def test_a_recurrent_model_has_no_layers_to_look_into() -> None:
    from limelight.look.record import stack_of
    from limelight.models.build import build
    from limelight.models.recurrent import language_model

    network = build(language_model(cell="gru", vocab=99, context=64, layers=1, width=16, dropout=0.0))
    with pytest.raises(RequestError, match="recurrent"):
        stack_of(network)
