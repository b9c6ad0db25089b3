"""The opened model as a Python user has it: texts continued together, cancelled, copied and pickled."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from references import saved

import limelight
from limelight.decode import Engine, Sampling
from limelight.errors import LimelightError
from limelight.models import config as c
from limelight.models.build import build
from limelight.quant import fuse, quantise

TEXTS = ["w10 w11 w12", "w50", " ".join(f"w{3 + at * 7 % 90}" for at in range(30)), "w20 w21", "w33 w9"]
DRAWN = Sampling(temperature=1.0, top_k=30, seed=5)


def recurrent(cell: str) -> torch.nn.Module:
    torch.manual_seed(1)
    network = build(c.ModelConfig("recurrent", 99, 100, c.RecurrentStack(cell, 32, 2), c.LMHead(tied=False)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.4)
    return network.eval()


@pytest.fixture(scope="module", params=["llama", "llama fused", "phi3-longrope", "lstm", "gru"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    name, _, how = request.param.partition(" ")
    folder: Path = tmp_path_factory.mktemp(name)
    cell = name in ("lstm", "gru")
    saved("llama" if cell else name, folder)
    opened = limelight.open(folder)
    if cell:
        opened = replace(opened, network=recurrent(name))
    if how:
        fuse(quantise(opened.network))
    return opened


@pytest.mark.parametrize("sampling", [Sampling(), DRAWN], ids=["greedy", "drawn"])
def test_each_text_gives_what_it_gives_alone(model: limelight.Model, sampling: Sampling) -> None:
    options = {"max_tokens": 20, "sampling": sampling, "logprobs": True}
    together = model.complete_all(TEXTS, **options)
    for text, found in zip(TEXTS, together, strict=True):
        alone = model.complete(text, **options)
        assert (found.text, found.finish, found.tokens) == (alone.text, alone.finish, alone.tokens)
        assert [word for word, _ in found.logprobs] == [word for word, _ in alone.logprobs]
        assert found.text == "".join(model.stream(text, max_tokens=20, sampling=sampling))
    assert len({found.text for found in together}) > 2


def test_texts_that_end_by_a_stop_string_leave_at_once_and_change_no_other(model: limelight.Model) -> None:
    options = {"max_tokens": 20, "sampling": DRAWN}
    whole = model.complete_all(TEXTS, **options)
    for row in range(len(TEXTS)):  # each row is the first to leave once, whatever stands behind it
        stop = whole[row].text.split()[1]
        found = model.complete_all(TEXTS, stop=[stop], **options)
        assert found[row].finish == "stop"
        assert found[row].tokens < 20
        for other, before in zip(found, whole, strict=True):
            assert other.text == before.text.partition(stop)[0]


def test_copies_of_a_text_draw_by_the_seeds_that_follow(model: limelight.Model) -> None:
    texts = [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[0]]
    found = model.complete_all(texts, max_tokens=12, sampling=DRAWN)
    for copies, row in enumerate((0, 2, 3)):
        alone = model.complete(TEXTS[0], max_tokens=12, sampling=replace(DRAWN, seed=5 + copies))
        assert found[row].text == alone.text
    assert len({found[row].text for row in (0, 2, 3)}) == 3
    greedy = model.complete_all(texts, max_tokens=12, sampling=Sampling())
    assert greedy[0].text == greedy[2].text


@pytest.mark.parametrize("row", range(4))
def test_a_running_text_may_be_cancelled_in_any_mode(model: limelight.Model, row: int) -> None:
    prompts = [model.tokenizer.encode(text).ids for text in TEXTS[:4]]
    expected = []
    for prompt in prompts:
        engine = Engine(model.network)
        request = engine.submit(prompt, max_tokens=9)
        list(engine.run())
        expected.append(request.generated)
    engine = Engine(model.network)
    requests = [engine.submit(prompt, max_tokens=9) for prompt in prompts]
    for _ in range(3):
        engine.step()
    assert len(engine.running) == 4
    engine.cancel(requests[row])
    assert requests[row] not in engine.running
    list(engine.run())
    for at, request in enumerate(requests):
        assert request.generated == (expected[at][: len(request.generated)] if at == row else expected[at])


@torch.no_grad()
def test_a_state_made_in_inference_mode_can_be_used_outside_of_it(model: limelight.Model) -> None:
    network = model.network
    tokens = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with torch.inference_mode():
        state = network.start(2, 20)
        network.step(tokens, state)
        chosen = state.select(torch.tensor([1, 0]))
    for each, order in ((state, [0, 1]), (chosen, [1, 0])):
        each.put(0, each.narrow(1, 2))
        logits = network.step(torch.tensor([[4], [4]]), each)
        alone = network.start(1, 20)
        network.step(tokens[order[1:]], alone)
        torch.testing.assert_close(logits[:1], network.step(torch.tensor([[4]]), alone), rtol=1e-4, atol=1e-4)


def test_nothing_to_continue_is_refused(model: limelight.Model) -> None:
    with pytest.raises(LimelightError, match="there is no prompt"):
        model.complete_all([])


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deep", "shallow", "pickle"],
)
def test_copies_of_a_model_continue_texts_as_it_does(
    model: limelight.Model, again: Callable[[limelight.Model], limelight.Model]
) -> None:
    expected = model.complete_all(TEXTS, max_tokens=8)  # after use, and again before
    other = again(model)
    assert other.complete_all(TEXTS, max_tokens=8) == expected
    assert model.complete_all(TEXTS, max_tokens=8) == expected
