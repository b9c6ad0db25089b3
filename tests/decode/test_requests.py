"""What a request says of itself as it goes on, token by token."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from limelight.decode import Request, Rules, Sampling, Token
from limelight.decode.joining import Joining
from limelight.decode.processors import NoRepeat
from limelight.decode.request import CHUNK


def request(**changed: Any) -> Request:
    """The prompt 5, 6, 7, to be continued by three tokens."""
    options = {
        "row": 4,
        "tokens": [5, 6, 7],
        "given": 3,
        "limit": 3,
        "max_tokens": 3,
        "sampling": Sampling(),
        "generator": torch.Generator(),
        "stop": frozenset({1}),
        "logprobs": None,
        "draft": None,
    }
    return Request(**{**options, **changed})


def test_a_new_request_waits_and_has_nothing() -> None:
    new = request()
    assert (new.auto, new.source, new.rules, new.constraint) == (False, (), Rules((), None), None)
    assert (new.status, new.finish, new.error, new.cached, new.blocks) == ("waiting", None, None, 0, [])
    assert (new.text.tokens is new.tokens, new.text.given) == (True, 3)
    assert (new.generated, new.left, new.need) == ([], 3, 5)
    assert CHUNK == 512


def test_each_token_is_told_and_the_last_says_why() -> None:
    going = request()
    assert [going.add(id, None) for id in (8, 9)] == [Token(4, 8, None, None, ()), Token(4, 9, None, None, ())]
    assert (going.generated, going.left, going.finish, going.status) == ([8, 9], 1, None, "waiting")
    assert going.add(2, None) == Token(4, 2, "length")
    assert (going.generated, going.left, going.finish, going.status) == ([8, 9, 2], 0, "length", "ended")


@pytest.mark.parametrize(
    ("changed", "ids", "finish"),
    [
        ({}, [8, 1], "stop"),
        ({}, [8, 9, 1], "stop"),
        ({"max_tokens": 9}, [8, 9, 2], "context"),
        ({"rules": Rules(last=1)}, [8, 9, 1], "length"),  # it didn't end by itself
        ({"rules": Rules(last=1)}, [8, 1], "stop"),
    ],
)
def test_why_a_text_ends(changed: dict[str, Any], ids: list[int], finish: str) -> None:
    going = request(**changed, draft=SimpleNamespace())
    assert [going.add(id, None).finish for id in ids] == [None] * (len(ids) - 1) + [finish]
    assert (going.status, going.finish, going.error, going.draft) == ("ended", finish, None, None)


def test_an_error_is_kept() -> None:
    failed, error = request(), ValueError("lost")
    failed.end("error", error)
    assert (failed.status, failed.finish, failed.error) == ("ended", "error", error)


def test_log_probabilities_come_best_first() -> None:
    scores = torch.tensor([-3.0, -1.0, -2.0, -0.5])
    assert request(logprobs=2).add(2, scores) == Token(4, 2, None, -2.0, ((3, -0.5), (1, -1.0)))
    assert request(logprobs=0).add(0, scores) == Token(4, 0, None, -3.0, ())


def test_a_constraint_hears_each_token_before_the_text_goes_on() -> None:
    heard: list[tuple[int, int]] = []
    going = request()
    going.constraint = SimpleNamespace(accept=lambda token: heard.append((token, len(going.tokens))))  # type: ignore
    going.add(8, None)
    going.add(1, None)
    assert heard == [(8, 3), (1, 4)]


def test_no_more_is_guessed_than_may_come_before_the_last() -> None:
    asked: list[tuple[list[int], int]] = []
    draft = SimpleNamespace(propose=lambda tokens, most: asked.append((list(tokens), most)) or [0] * most)
    guessing = request(draft=draft)
    assert [guessing.guess(capacity) for capacity in (9, 1, 0, -1)] == [[0, 0], [0], [], []]
    assert asked == [([5, 6, 7], 2), ([5, 6, 7], 1)]
    guessing.add(8, None)
    guessing.add(9, None)
    assert guessing.guess(9) == []
    assert request().guess(9) == []


@pytest.mark.parametrize(("border", "steady"), [(None, 3), (2, 3), (3, 0), (4, 1), (9, 6)])
def test_guesses_end_at_the_border(border: int | None, steady: int) -> None:
    assert request().steady(border) == steady


def test_a_guess_was_right_if_the_text_went_on_by_it() -> None:
    going = request()
    going.add(8, None)
    assert [going.went(guess) for guess in ([8], [7], [])] == [True, False, False]
    going.add(1, None)
    assert not going.went([1]), "it is over"


def test_requests_share_a_pass_only_if_they_choose_alike() -> None:
    assert request().manner == request(row=7, tokens=[1]).manner
    for other in (
        request(sampling=Sampling(presence=1)),
        request(rules=Rules((NoRepeat(2),))),
        request(sampling=Sampling(temperature=1)),
    ):
        assert other.manner != request().manner


def test_who_leaves_the_reading_leaves_the_others_in_memory_of_their_own() -> None:
    first, second, third = (request(row=row) for row in range(3))
    kept: list[list[int]] = []
    state: Any = SimpleNamespace(select=lambda rows: kept.append(rows.tolist()) or "copied")
    assert Joining([first, second, third], state, state).without(second) == Joining([first, third], "copied", None)
    assert kept == [[0, 2]]
    assert Joining([first], state, state).without(first) is None
