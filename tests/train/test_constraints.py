"""Conversations asked for once more under a constraint, judged by what a reader would count."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.report.instructions import bullets
from limelight.train import constraints
from limelight.train.chats import Chat
from limelight.train.constraints import constrained, sentences, words

ANSWERS = (
    "The capital of Brazil is Brasília.",
    "Apples, pears, and sweet plums.",
    "It rained, so we stayed. Nobody minded.",
    "I went to the village by the river to buy three loaves of bread and some salt for my uncle.",
    "1, 4, 9, 16.",
    "no",
)


def _chat(answer: str, *before: tuple[str, str]) -> Chat:
    turns = [*before, ("user", "What is it?"), ("assistant", answer)]
    return Chat("pairs", tuple({"role": role, "content": text} for role, text in turns))


def _named(demand: str) -> list[str]:
    """The words that a demand names, in quotes or behind "word" and "words"."""
    return demand.rpartition("the words " if "the words " in demand else "the word ")[2].rstrip(".").split(" and ")


def _quoted(demand: str) -> str:
    return demand.split('"')[1]


def _number(demand: str) -> int:
    return int(next(word for word in demand.split() if word.isdecimal()))


KEPT = {
    "_capitals": lambda asked, said, was: said == was.upper(),
    "_small": lambda asked, said, was: said == was.lower(),
    "_json": lambda asked, said, was: (
        was in json.loads(said).values() and all(f'"{key}"' in asked for key in json.loads(said))
    ),
    "_most": lambda asked, said, was: said == was and len(words(said)) <= _number(asked),
    "_least": lambda asked, said, was: said == was and len(words(said)) >= _number(asked) + ("over" in asked),
    "_sentences": lambda asked, said, was: (
        said == was and ("one", "two", "three")[sentences(said) - 1] in asked.split()
    ),
    "_use": lambda asked, said, was: said == was and set(_named(asked)) <= set(words(said)),
    "_avoid": lambda asked, said, was: said == was and not set(_named(asked)) & set(words(said)),
    "_commas": lambda asked, said, was: said == was.replace(",", ""),
    "_first": lambda asked, said, was: said.split(", ")[0] == _quoted(asked) and said.lower().endswith(was.lower()),
    "_last": lambda asked, said, was: said == f"{was} {_quoted(asked)}",
    "_list": lambda asked, said, was: (
        bullets(said) == len(said.splitlines()) > 2
        and all(line.split(maxsplit=1)[1].lower() in was.lower() for line in said.splitlines())
    ),
}


def test_every_rule_is_judged() -> None:
    assert [rule.__name__ for rule in constraints._RULES] == list(KEPT)


@pytest.mark.parametrize("rule", constraints._RULES, ids=lambda rule: rule.__name__)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), answer=st.sampled_from(ANSWERS) | st.text(min_size=1).map(str.strip).filter(bool))
def test_an_answer_keeps_what_is_asked_for(rule, seed: int, answer: str) -> None:
    made = rule(answer, Random(seed))
    if made is not None:
        assert KEPT[rule.__name__](made[0], made[1], answer), made


@pytest.mark.parametrize(
    ("rule", "answer", "applies"),
    [
        ("_most", "no", True),
        ("_most", "word " * 31, False),
        ("_least", "word " * 11, False),
        ("_least", "word " * 12, True),
        ("_sentences", "One. Two. Three.", True),
        ("_sentences", "One. Two. Three. Four.", False),
        ("_sentences", "no end", False),
        ("_sentences", "...", False),
        ("_use", "a few", False),
        ("_list", "Plums, and pears.", False),
        ("_list", "They are: plums, pears or figs.", True),
        ("_list", "We went out, we came back, and nobody had seen us all day long.", False),
    ],
)
def test_what_an_answer_cannot_be_made_to_keep_is_not_asked(rule: str, answer: str, applies: bool) -> None:
    found = [getattr(constraints, rule)(answer, Random(seed)) for seed in range(20)]
    assert all((made is not None) == applies for made in found)


def test_what_is_enumerated_becomes_lines() -> None:
    lists = {constraints._list("They are: plums, pears or figs.", Random(seed))[1] for seed in range(20)}
    assert lists == {"- Plums\n- Pears\n- Figs", "1. Plums\n2. Pears\n3. Figs"}


def test_the_last_question_asks_for_it_before_or_behind_and_all_else_stays() -> None:
    chat = _chat("Yes.", ("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi!"))
    found = [constrained(chat, Random(seed)) for seed in range(60)]
    assert all(
        each is not None and each.messages[:3] == chat.messages[:3] and each.form == "pairs, under a constraint"
        for each in found
    )
    asked = [each.messages[3]["content"] for each in found if each]
    assert all("What is it?" in text and text != "What is it?" for text in asked)
    before = sum(text.endswith("What is it?") for text in asked)
    assert 0 < before < sum(text.startswith("What is it?") for text in asked) == 60 - before
    assert len({text.replace("What is it?", "").strip() for text in asked}) > 20
    assert chat.messages[-1]["content"] == "Yes."  # the one that was given is as it was


@pytest.mark.parametrize(
    "messages",
    [
        (),
        ({"role": "assistant", "content": "Hi!"},),
        ({"role": "system", "content": "Be kind."}, {"role": "assistant", "content": "Hi!"}),
        ({"role": "user", "content": "Hi"}, {"role": "user", "content": "there"}),
        ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": " "}),
        ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [{}]}),
    ],
)
def test_what_answers_no_question_is_left_alone(messages: tuple[dict[str, object], ...]) -> None:
    assert [constrained(Chat("pairs", messages), Random(seed)) for seed in range(30)] == [None] * 30
