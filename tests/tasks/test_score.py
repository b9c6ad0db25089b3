"""Scores are sacreBLEU's own, with its signature."""

import sys

import pytest

from limelight.errors import RequestError
from limelight.tasks import bleu, bleu_by_length, chrf

OURS = ["The small dog runs through snow .", "Two children play outside , today .", "A man sits on a bench"]
THEIRS = ["the small dog runs through the snow .", "Two children play outside , now .", "A man sits on a bench"]


@pytest.fixture
def sacrebleu() -> None:
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed")


@pytest.mark.usefixtures("sacrebleu")
def test_bleu_is_the_mean_of_ngram_precisions() -> None:
    ours, theirs = ["a b c d e"], ["a b c d f"]
    expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu(ours, theirs, tokenized=True).value == pytest.approx(expected)
    assert bleu(ours, ours).value == pytest.approx(100)


@pytest.mark.usefixtures("sacrebleu")
def test_the_setting_is_in_the_signature() -> None:
    raw = bleu(OURS, THEIRS)
    published = bleu(OURS, THEIRS, tokenized=True, lowercase=True)
    assert "tok:13a" in raw.signature
    assert "case:mixed" in raw.signature
    assert "tok:none" in published.signature
    assert "case:lc" in published.signature
    assert raw.value < published.value < 100
    assert raw.name == "BLEU"
    # Without spaces in front of the marks, only a tokenizer sees the words behind them.
    glued = [line.replace(" .", ".") for line in OURS]
    assert bleu(glued, THEIRS).value == pytest.approx(raw.value)
    assert bleu(glued, THEIRS, tokenized=True).value < bleu(OURS, THEIRS, tokenized=True).value


@pytest.mark.usefixtures("sacrebleu")
def test_chrf_counts_characters() -> None:
    found = chrf(OURS, THEIRS)
    assert found.name == "chrF2"
    assert "nc:6" in found.signature
    assert 80 < found.value < 100
    assert chrf(OURS, OURS).value == pytest.approx(100)


@pytest.mark.usefixtures("sacrebleu")
def test_buckets_hold_every_sentence_once() -> None:
    sources = ["a b", "a b c d", "a b c d e f g h i"]
    buckets = bleu_by_length(OURS, THEIRS, sources, edges=(3, 6, 9), tokenized=True)
    assert [(each.low, each.high, each.sentences) for each in buckets] == [(0, 2, 1), (3, 5, 1), (9, None, 1)]
    for at, each in enumerate(buckets):
        assert each.score == bleu(OURS[at : at + 1], THEIRS[at : at + 1], tokenized=True)
    (whole,) = bleu_by_length(OURS, THEIRS, sources, edges=())
    assert whole.score == bleu(OURS, THEIRS)


@pytest.mark.parametrize(("ours", "theirs"), [(["a"], []), ([], []), (["a"], ["a", "b"])])
def test_sides_that_differ_are_refused(ours: list[str], theirs: list[str]) -> None:
    for metric in (bleu, chrf):
        with pytest.raises(RequestError, match="each needs exactly one"):
            metric(ours, theirs)
    with pytest.raises(RequestError, match="each needs exactly one"):
        bleu_by_length(["a"], ["a"], ["a", "b"])


def test_without_sacrebleu_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(RequestError, match="pip install"):
        bleu(["a"], ["a"])
