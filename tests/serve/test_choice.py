"""One text while it is written: what is certain of it, why it ended, and what is told of its tokens."""

from typing import Any

import pytest
from cli.tiny_models import trained

from limelight.decode import Token
from limelight.serve.choice import FLOOR, Choice, Told

TOKENIZER = trained()
A, B, C, SPACE = (TOKENIZER.encode(each).ids[0] for each in "xyz ")
EURO = TOKENIZER.encode("€").ids
END = TOKENIZER.id("<|im_end|>")


def token(id: int, finish: Any = None, logprob: float | None = None, best: Any = ()) -> Token:
    return Token(0, id, finish, logprob, best)


def test_each_token_is_told_with_its_place_and_what_else_was_likely() -> None:
    made = Choice(TOKENIZER, [])
    assert (made.text, made.finish, made.tokens, made.ids, made.take()) == ("", None, 0, [], [])
    assert made.push(token(A, logprob=-0.5, best=((A, -0.5), (B, -2.0)))) == "x"
    assert made.push(token(B, logprob=float("-inf"), best=((C, float("-inf")),))) == "y"
    expected = [
        Told(A, "x", -0.5, ((A, "x", -0.5), (B, "y", -2.0)), 0),
        Told(B, "y", FLOOR, ((C, "z", FLOOR),), 1),
    ]
    assert made.take() == expected
    assert made.take() == []  # once
    assert made.push(token(C)) == "z"  # nobody asked for its probability
    assert made.take() == []
    assert (made.text, made.tokens, made.ids, made.finish) == ("xyz", 3, [A, B, C], None)
    assert (expected[0].rank, FLOOR) == (None, -9999.0)


@pytest.mark.parametrize(("why", "text", "finish"), [("length", "xy", "length"), ("stop", "x", "stop")])
def test_what_ends_a_text_is_part_of_it_unless_it_is_a_stop(why: str, text: str, finish: str) -> None:
    made = Choice(TOKENIZER, [])
    made.push(token(A, logprob=-1.0))
    made.push(token(B, why, logprob=-1.0))
    assert (made.text, made.finish, made.tokens, made.ids) == (text, finish, 2, [A, B])
    assert [told.text for told in made.take()] == list(text)


def test_a_stop_string_ends_the_text_in_front_of_it_and_takes_its_tokens_along() -> None:
    made = Choice(TOKENIZER, ["yz"])
    pieces, told = [], []
    for id in (A, B, A, B, C):
        pieces.append(made.push(token(id, logprob=-1.0)))
        told.append([each.offset for each in made.take()])
    assert pieces == ["x", "", "yx", "", ""]  # what may begin a stop string waits
    assert told == [[0], [], [1, 2], [], []]
    assert (made.text, made.finish, made.tokens, made.told) == ("xyx", "stop", 5, [])


@pytest.mark.parametrize(
    ("stops", "ids", "text", "finish"),
    [
        (["yz"], [A, B], "xy", "length"),  # what was held back is text after all
        (["xyz", "y"], [A, B], "x", "stop"),  # the longer one can come no more, the shorter one is there
        ([], [A, *EURO[:2]], "x\ufffd", "length"),  # half a character at the end
    ],
)
def test_what_was_held_back_comes_with_the_end(stops: list[str], ids: list[int], text: str, finish: str) -> None:
    made = Choice(TOKENIZER, stops)
    for id in ids[:-1]:
        made.push(token(id, logprob=-1.0))
    made.push(token(ids[-1], "length", logprob=-1.0))
    assert (made.text, made.finish) == (text, finish)
    assert [told.id for told in made.take()] == ids[: {"xy": 2, "x": 1}.get(text, 3)]


def test_the_parts_of_a_character_begin_where_it_does() -> None:
    made = Choice(TOKENIZER, [])
    assert [made.push(token(id, logprob=-1.0)) for id in (A, *EURO, B)] == ["x", "", "", "€", "y"]
    assert [told.offset for told in made.take()] == [0, 1, 1, 1, 2]


def test_special_tokens_are_text_only_where_they_are_asked_for() -> None:
    start = TOKENIZER.id("<|im_start|>")
    for special, text in ((False, "x"), (True, "<|im_start|>x")):
        made = Choice(TOKENIZER, [], special=special)
        for id in (start, A):
            made.push(token(id))
        assert (made.text, made.tokens) == (text, 2)
