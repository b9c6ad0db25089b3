"""Looking into models whose layers are recurrent units: what they can be asked, and what they refuse by name."""

from collections.abc import Callable

import pytest
import torch
from references import saved

import limelight
from limelight.decode import generate
from limelight.errors import RequestError
from limelight.look import Seen
from limelight.look.parts import activations
from limelight.look.question import GivenWord
from limelight.look.record import record
from limelight.look.session import Variant
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import preset

TEXT = "w10 w11 w12 w13 w14 w15"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp("mamba2")
    saved("mamba2", folder)
    return limelight.open(folder)


def test_words_are_measured_by_replacing_and_deleting_them(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    found = seen.importance("w15", check=False)
    deleted = seen.importance("w15", method="leave-one-out", check=False)
    assert len(found.words) == len(deleted.words) == 5
    assert max(abs(heard.importance) for heard in found.words if heard.importance is not None) > 0
    with torch.inference_mode():
        whole, without = (model.network(torch.tensor([ids]))[0, -1].log_softmax(-1) for ids in _with_and_without(seen))
    expected = (whole - without)[seen.ids[-1]]
    assert deleted.words[2].importance == pytest.approx(float(expected), abs=1e-4)


def _with_and_without(seen: Seen) -> tuple[list[int], list[int]]:
    ids = list(seen.ids[:-1])
    return ids, ids[:3] + ids[4:]


def test_the_stream_and_what_each_layer_would_say(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    states = seen.hidden()
    assert states.shape == (4, len(seen.ids), 64)
    torch.testing.assert_close(model.network.head(model.network.decoder.norm(states[-1])), seen.logits())
    assert len(seen.lens().layers) == 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda seen: seen.importance("w15", method="blocking"),
        lambda seen: seen.importance("w15", method="alti-logit"),
        lambda seen: seen.attention(0, 0),
        lambda seen: seen.links(),
        lambda seen: seen.steps(3, 0, 0),
        lambda seen: seen.what_if(heads_off=[(0, 0)]),
        lambda seen: seen.ablate(),
        lambda seen: seen.logit_attribution(),
        lambda seen: seen.roles(),
    ],
)
def test_what_needs_attention_is_refused(model: limelight.Model, ask: Callable[[Seen], object]) -> None:
    with pytest.raises(RequestError, match=r"recurrent"):
        ask(model.look(TEXT))


def test_parts_that_a_layer_does_not_have_are_refused(model: limelight.Model) -> None:
    tokens = torch.tensor([[5, 6, 7]])
    for part, said in (
        ("heads", "^a recurrent unit of this model has no heads; look at another part$"),
        ("feedforward", "^the layers of this model have no feed-forward; look at another part$"),
    ):
        with pytest.raises(RequestError, match=said):
            activations(model.network, tokens, [part], lambda made: made)
    found, _ = activations(model.network, tokens, ["attention"], lambda made: made.shape)
    assert found == {"attention": [(1, 3, 64)] * 3}
    with pytest.raises(RequestError, match=r"^layer 1 has a recurrent unit in the place of attention, so it has no w"):
        record(model.network, attention=[1])
    with pytest.raises(RequestError, match=r"^layer 0 has no attention to a source: the model has 0 that do$"):
        record(model.network, cross=[0])
    with pytest.raises(RequestError, match=r"^there is no layer 3: the model has layers 0 to 2$"):
        record(model.network, hidden=[3])
    with pytest.raises(RequestError, match=r"so none can be blocked; leave it out$"):
        model.look(TEXT).session.values(GivenWord((2,), (0,)), [Variant(blocked=(range(1, 2),))])


def test_nothing_is_hidden_and_nothing_drafted(model: limelight.Model) -> None:
    tokens = torch.tensor([[5, 6, 7]])
    with pytest.raises(RequestError, match="none can be hidden"):
        model.network(tokens, visible=torch.ones(1, 3, 3, dtype=torch.bool))
    with pytest.raises(RequestError, match="cannot use a draft"):
        list(generate(model.network, [[5, 6]], max_tokens=3, draft="lookup"))


@pytest.mark.parametrize("name", ["mamba", "mamba2", "rwkv7", "delta-hybrid"])
def test_a_new_one_learns(name: str) -> None:
    torch.manual_seed(0)
    network = build(preset(name, 20, width=32, dropout=0.0))
    initialise(network, torch.Generator().manual_seed(0))
    rows = (torch.arange(25) * 7 % 20).repeat(2, 1)
    adam, losses = torch.optim.Adam(network.parameters(), 1e-2), []
    for _ in range(12):
        logits = network(rows[:, :-1])
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()))
        adam.zero_grad()
        losses[-1].backward()
        adam.step()
    assert losses[0] > 2.5
    assert losses[-1] < losses[0] / 2
