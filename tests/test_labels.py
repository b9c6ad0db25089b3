"""Encoders with labels: whole words with their places, windows in place of cuts, pairs as the reference reads them."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from references import saved, write_marked_tokenizer
from transformers import AutoTokenizer

import limelight
from limelight.errors import RequestError
from limelight.text.windows import windows

TEXT = " ".join(f"w{10 + number % 60}" for number in range(300))
"""Longer than the 128 positions of the models here."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name in ("classes", "tokens", "spans"):
        found[name] = tmp_path_factory.mktemp(name)
        saved(f"bert-{name}", found[name])
        write_marked_tokenizer(found[name])
    return found


@pytest.mark.parametrize(("length", "room", "overlap"), [(0, 5, 1), (5, 5, 1), (6, 5, 1), (23, 5, 2)])
def test_windows_hold_every_token_and_overlap(length: int, room: int, overlap: int) -> None:
    found = list(windows(length, room, overlap))
    assert sorted({at for part in found for at in part}) == list(range(length))
    assert all(len(part) <= room for part in found)
    assert all(len(set(one) & set(other)) == overlap for one, other in pairwise(found))


def test_a_long_text_is_classified_by_all_of_its_windows(folders: dict[str, Path]) -> None:
    model = limelight.open(folders["classes"], kind=limelight.Classifier)
    short = " ".join(TEXT.split()[:20])
    (scores,) = model.answers([short])
    assert model.classify([short])[0] == pytest.approx(
        dict(zip(model.labels, scores.softmax(-1).tolist(), strict=True))
    )
    words = TEXT.split()
    parts = [words[part.start : part.stop] for part in windows(300, 126, 15)]
    each = [model.classify([" ".join(part)])[0] for part in parts]
    for label, share in model.classify([TEXT])[0].items():
        mean = sum(one[label] * len(part) for one, part in zip(each, parts, strict=True)) / sum(map(len, parts))
        assert share == pytest.approx(mean, rel=1e-4)


def test_tags_are_spans_of_whole_words(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = limelight.open(folders["tokens"], kind=limelight.Tagger)
    assert model.labels == ("bad", "fine", "good")
    text = "w20 w30  w40"
    (scores,) = model.answers([text])
    likeliest = [model.labels[i] for i in scores[1:-1].argmax(-1).tolist()]
    (found,) = model.tag([text])  # labels without a scheme: each word by itself
    assert [(span.text, span.start, span.end) for span in found] == [("w20", 0, 3), ("w30", 4, 7), ("w40", 9, 12)]
    assert [span.label for span in found] == likeliest
    assert found[0].probability == pytest.approx(float(scores[1].softmax(-1).max()))
    monkeypatch.setattr(limelight.Tagger, "labels", ("O", "B-x", "I-x"))
    fixed = torch.full((6, 3), -9.0)
    for place, label in enumerate([0, 1, 2, 0, 2, 0]):
        fixed[place, label] = 9
    monkeypatch.setattr(model.network, "forward", lambda *_, **__: fixed[None])
    (found,) = model.tag(["w20 w30  w40 w50"])
    assert [(span.text, span.label) for span in found] == [("w20 w30", "x"), ("w50", "x")]


def test_a_long_text_has_a_tag_for_every_word(folders: dict[str, Path]) -> None:
    model = limelight.open(folders["tokens"], kind=limelight.Tagger)
    (found,) = model.tag([TEXT])
    assert [span.text for span in found] == TEXT.split()
    (head,) = model.tag([" ".join(TEXT.split()[:126])])
    assert [span.label for span in found[:94]] == [span.label for span in head[:94]]  # from the first window alone


def test_pairs_are_read_as_the_reference_reads_them(folders: dict[str, Path]) -> None:
    theirs = AutoTokenizer.from_pretrained(folders["spans"])("w10 w11", "w12")
    model = limelight.open(folders["spans"], kind=limelight.SpanModel)
    ids, types = model.encode_pair("w10 w11", "w12")
    assert ids == theirs["input_ids"]
    assert types == theirs.get("token_type_ids", [0] * len(ids))


def test_an_answer_is_the_likeliest_span_or_none(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = limelight.open(folders["spans"], kind=limelight.SpanModel)
    fixed = torch.zeros(9, 2)  # <s> w10 </s> w20 w30 w40 w50 w60 </s>
    fixed[4, 0], fixed[5, 1], fixed[1] = 20, 20, 50  # the question itself answers nothing
    monkeypatch.setattr(model.network, "forward", lambda *_, **__: fixed[None])
    (found,) = model.answer("w10", ["w20 w30 w40 w50 w60"])
    assert (found.text, found.start, found.end) == ("w30 w40", 4, 11)
    assert found.probability > 0.99
    fixed[0] = 30
    (found,) = model.answer("w10", ["w20 w30 w40 w50 w60"])
    assert (found.text, found.end) == ("", 0)
    assert found.none > 0.99


def test_answers_in_a_long_text_stand_where_they_say(folders: dict[str, Path]) -> None:
    model = limelight.open(folders["spans"], kind=limelight.SpanModel)
    (found,) = model.answer("w10 w11", [TEXT])
    assert found.text == TEXT[found.start : found.end]
    with pytest.raises(RequestError, match="leave room for a text"):
        model.answer(TEXT, ["w10"])


def test_labels_of_ones_own_need_a_model_of_entailment(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = limelight.open(folders["classes"], kind=limelight.Classifier)
    with pytest.raises(RequestError, match="name a model of entailment"):
        model.classify(["w10"], ["x", "y"])
    monkeypatch.setattr(limelight.Classifier, "labels", ("contradiction", "neutral", "ENTAILMENT"))
    (found,) = model.classify(["w10 w11"], ["w20", "w30"], hypothesis="w5 {}")
    pairs = [model.encode_pair("w10 w11", f"w5 {label}") for label in ("w20", "w30")]
    scores = torch.stack([model.network(torch.tensor([ids]), types=torch.tensor([types]))[0] for ids, types in pairs])
    assert found == pytest.approx(dict(zip(("w20", "w30"), scores[:, 2].softmax(-1).tolist(), strict=True)))
    with pytest.raises(RequestError, match="scores no pairs"):
        model.score([("w10", "w11")])
