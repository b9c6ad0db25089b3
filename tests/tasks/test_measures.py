"""Measures of labels, beside counts by hand and seqeval's published rules."""

import pytest

from limelight.tasks.evaluation.measures import accuracy, confusion, macro_f1, span_f1, spans


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-a I-a O B-b", [(0, 2, "a"), (3, 4, "b")]),
        ("B-a B-a", [(0, 1, "a"), (1, 2, "a")]),
        ("O I-a I-a", [(1, 3, "a")]),  # a span that nothing began
        ("B-a I-b", [(0, 1, "a"), (1, 2, "b")]),
        ("S-a B-b I-b E-b O", [(0, 1, "a"), (1, 4, "b")]),
        ("U-a B-b L-b", [(0, 1, "a"), (1, 3, "b")]),
        ("NOUN NOUN", [(0, 1, "NOUN"), (1, 2, "NOUN")]),
        ("O O", []),
        ("B-a-x I-a-x", [(0, 2, "a-x")]),
    ],
)
def test_spans(tags: str, found: list[tuple[int, int, str]]) -> None:
    assert spans(tags.split()) == found


def test_span_f1_is_seqevals() -> None:
    right = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    measured = span_f1(found, right)  # the example of seqeval's own page
    assert measured.value == pytest.approx(50)
    assert measured.low == 0 < measured.high == 100


def test_accuracy_f1_and_confusion_by_hand() -> None:
    right, found = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
    assert accuracy(found, right).value == pytest.approx(100 * 4 / 6)
    assert macro_f1(found, right, 4).value == pytest.approx(100 * (2 / 3 + 4 / 5 + 0) / 3)  # the fourth is nowhere
    assert confusion(found, right, 3).tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_an_interval_holds_its_value_and_narrows_with_the_texts() -> None:
    right = [0, 1] * 50
    found = [0, 1, 1, 0, 0, 1, 0, 1, 0, 1] * 10
    few, many = accuracy(found, right), accuracy(found * 16, right * 16)
    assert few.low < few.value < few.high
    assert many.high - many.low == pytest.approx((few.high - few.low) / 4, rel=0.3)
