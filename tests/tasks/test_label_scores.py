"""Models of labels on texts whose labels are known, with a model that says what it is told."""

from pathlib import Path

import pytest
import torch
from references import saved, write_marked_tokenizer

import limelight
from limelight.errors import RequestError
from limelight.tasks.evaluation.labels import judge, judge_tags
from limelight.train.examples import Tagged


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name in ("classes", "tokens"):
        found[name] = tmp_path_factory.mktemp(name)
        saved(f"bert-{name}", found[name])
        write_marked_tokenizer(found[name])
    return found


def test_a_classifier_is_judged_and_the_words_that_decide_are_found(
    opened: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = limelight.open(opened["classes"], kind=limelight.Classifier)

    def forward(tokens: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """Good, if w5 is there; else bad."""
        good = (tokens == 5).any(-1).float()
        return torch.stack((2 - 4 * good, torch.full_like(good, -9.0), 4 * good - 2), -1)

    monkeypatch.setattr(model.network, "forward", forward)
    texts = [("w5 w10", "good"), ("w11 w5", "good"), ("w12 w13", "bad"), ("w14 w15", "good")]
    found = judge(model, texts)
    assert found.accuracy.value == 75
    assert found.macro_f1.value == pytest.approx(100 * (0.8 + 2 / 3) / 2)
    assert found.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 2]]
    assert [(each.text, each.found, each.right) for each in found.mistakes] == [("w14 w15", "bad", "good")]
    (word,) = found.decides["good"]
    assert (word.word, word.texts) == ("w5", 2)
    assert word.weight == pytest.approx(2 * 8, rel=1e-2)  # from odds of 4 to odds of −4
    assert found.decides["bad"] == ()
    with pytest.raises(RequestError, match="does not know the label 'other'"):
        judge(model, [("w5", "other")])


def test_a_tagger_is_judged_by_spans_of_the_words_that_are_given(
    opened: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = limelight.open(opened["tokens"], kind=limelight.Tagger)
    monkeypatch.setattr(limelight.Tagger, "labels", ("O", "B-x", "I-x"))
    monkeypatch.setattr(model.network, "forward", lambda tokens, *_, **__: _by_token(tokens))
    right = Tagged("w20 w21 w30", ((0, 3), (4, 7), (8, 11)), ("B-x", "I-x", "O"))
    wrong = Tagged("w20 w30", ((0, 3), (4, 7)), ("O", "O"))
    found = judge_tags(model, [right, wrong])
    assert found.f1.value == pytest.approx(200 / 3)
    assert found.accuracy.value == 80
    assert found.by_label["x"].value == pytest.approx(200 / 3)
    assert [(each.found, each.right) for each in found.mistakes] == [("w20 (x)", "nothing")]


def _by_token(tokens: torch.Tensor) -> torch.Tensor:
    """w20 begins a span, w21 is in one, all else is outside."""
    kinds = (tokens == 20).long() + 2 * (tokens == 21).long()
    return torch.nn.functional.one_hot(kinds, 3) * 9.0
