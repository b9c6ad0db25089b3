"""Numbers by layer and place, of one text and of many, and texts with other words: against the reference."""

from collections.abc import Callable, Iterator

import pytest
import torch
import transformers
from references import saved

import limelight
from limelight.errors import RequestError
from limelight.look import SteeringVector
from limelight.look.many import POSITIONS, batches

TEXT = "w10 w11 w12 w13 w14 w15 w16"
TEXTS = ["w10", TEXT, "w20 w21 w22", "w9 " * 30, "w30 w31 w32"]


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2", "gpt_neox"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[limelight.Model, object]:
    folder = tmp_path_factory.mktemp(request.param)
    reference = saved(request.param, folder)
    return limelight.open(folder, kind=limelight.Model), reference


@pytest.fixture
def model(pair: tuple[limelight.Model, object]) -> limelight.Model:
    return pair[0]


def test_logits_and_hidden_states_are_the_reference_s(
    pair: tuple[limelight.Model, transformers.PreTrainedModel],
) -> None:
    model, reference = pair
    seen = model.look(TEXT)
    with torch.no_grad():
        expected = reference(torch.tensor([seen.ids]), output_hidden_states=True)
    torch.testing.assert_close(seen.logits(), expected.logits[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        seen.logits("w12"), seen.logits()[2:3], rtol=1e-5, atol=1e-5
    )  # behind the sink token and two words
    for layer in range(3):  # what transformers shows last went through the final norm
        torch.testing.assert_close(seen.hidden(layer), expected.hidden_states[layer][0], rtol=1e-4, atol=1e-4)
        assert torch.equal(seen.hidden()[layer], seen.hidden(layer))
    normed = model.network.stack.norm(seen.hidden(3))
    torch.testing.assert_close(normed, expected.hidden_states[3][0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.network.logits(normed), seen.logits(), rtol=1e-5, atol=1e-5)


def test_gradients_may_start_at_what_is_handed_out(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    probe = torch.nn.Linear(64, 1)
    probe(seen.hidden(1)).sum().backward()
    torch.nn.Linear(99, 1)(seen.logits()).sum().backward()
    assert probe.weight.grad is not None
    before = seen.hidden(1)
    seen.hidden(1).zero_()
    seen.logits().zero_()
    assert torch.equal(seen.hidden(1), before)
    assert float(seen.logits().abs().sum()) > 0


def test_layers_that_do_not_exist_are_refused(model: limelight.Model) -> None:
    for layer in (-1, 4):
        with pytest.raises(RequestError, match=r"layer is -?\d; it must be from 0 to 3"):
            model.look(TEXT).hidden(layer)
        with pytest.raises(RequestError, match="it must be from 0 to 3"):
            next(model.look_all(TEXTS, layers=[layer]))
    with pytest.raises(RequestError, match="no word is"):
        model.look(TEXT).logits("w99")


def test_many_texts_give_what_each_gives_alone(model: limelight.Model) -> None:
    found = list(model.look_all(TEXTS, layers=[0, 2, 3]))
    assert [seen.text for seen in found] == TEXTS
    for seen in found:
        alone = model.look(seen.text)
        torch.testing.assert_close(seen.logits(), alone.logits(), rtol=1e-5, atol=1e-5)
        for layer in range(4):  # 1 was not asked for, and is computed now
            torch.testing.assert_close(seen.hidden(layer), alone.hidden(layer), rtol=1e-5, atol=1e-5)
        assert [token for token, _ in seen.next_words(3)] == [token for token, _ in alone.next_words(3)]
    heard, expected = (seen.importance(method="blocking").words for seen in (found[1], model.look(TEXT)))
    assert [each.importance for each in heard] == pytest.approx([each.importance for each in expected], abs=1e-4)


def test_what_was_read_together_is_not_read_again(model: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    (seen,) = model.look_all([TEXT], layers=[2])

    def never(*args: object, **options: object) -> torch.Tensor:
        raise AssertionError("read again")

    monkeypatch.setattr(type(model.network), "read", never)
    seen.hidden(2)
    seen.logits()
    with pytest.raises(AssertionError):
        seen.hidden(1)


def test_texts_are_taken_when_they_are_needed(model: limelight.Model) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"w{taken % 50 + 10} w11"

    looks = model.look_all(endless())
    assert taken == 0
    assert next(looks).text == "w11 w11"
    assert taken <= 64
    with pytest.raises(RequestError, match="texts is 'w10 w11'; it must be a list of strings"):
        next(model.look_all("w10 w11"))
    with pytest.raises(RequestError, match="part 2 of texts is 5; it must be a string"):
        next(model.look_all(["w10", 5]))  # type: ignore[list-item]


def test_batches_hold_every_text_once_and_no_more_than_fits() -> None:
    lengths = [700, 3, POSITIONS + 1, 90, 5, 700, 700, 700, 1] * 5
    found = list(batches(lengths))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= POSITIONS for batch in found)
    assert len(found) < 15


def test_a_text_is_encoded_as_it_is_read(model: limelight.Model) -> None:
    assert model.encode("w10 w11") == [10, 11]
    assert model.encode("w10 w11", sink=True) == list(model.look("w10 w11").ids) == [model.tokenizer.separator, 10, 11]
    assert model.decode([10, 11]) == "w10 w11"
    with pytest.raises(RequestError, match="the text is empty"):
        model.encode("")


def test_words_are_replaced_and_swapped(model: limelight.Model) -> None:
    seen = model.look("w10  w11 w12\nw10")
    assert seen.replace("w11", "w30 w31").text == "w10  w30 w31 w12\nw10"
    assert seen.replace(1, "w40").text == "w40  w11 w12\nw10"
    assert seen.swap(1, "w12").text == "w12  w11 w10\nw10"
    assert seen.swap("w12", 1).next_words() == model.look("w12  w11 w10\nw10").next_words()
    with pytest.raises(RequestError, match="word 2, “w11”, cannot be swapped with itself"):
        seen.swap(2, "w11")
    with pytest.raises(RequestError, match="the text has no words"):
        model.look("w10").replace(1, " ")


def test_a_recurrent_model_has_logits_but_no_residual_stream(tmp_path_factory: pytest.TempPathFactory) -> None:
    from cli.tiny_models import trained

    from limelight.models.build import build
    from limelight.models.init import initialise
    from limelight.models.recurrent import language_model

    tokenizer = trained()
    network = build(language_model(cell="lstm", vocab=tokenizer.vocab, context=64, layers=1, width=16, dropout=0.0))
    initialise(network)
    model = limelight.Model(network, tokenizer, "lstm", tmp_path_factory.mktemp("none"))
    texts = ["Mary gave", "The cat sat on the mat"]
    found = list(model.look_all(texts))
    for seen in found:
        torch.testing.assert_close(seen.logits(), model.look(seen.text).logits(), rtol=1e-5, atol=1e-5)
    asked: list[Callable[[], object]] = [
        lambda: found[0].hidden(0),
        lambda: next(model.look_all(texts, layers=[0])),
        lambda: found[0].patch_into(found[0].replace(1, "John")),
        found[0].ablate,
        found[0].logit_attribution,
        lambda: model.means(texts),
        lambda: model.steering_vector([("Mary gave", "John gave")], layer=0),
        lambda: model.steered(SteeringVector(torch.ones(16), 0, "lstm")),
    ]
    for ask in asked:
        with pytest.raises(RequestError, match="this model is recurrent"):
            ask()
