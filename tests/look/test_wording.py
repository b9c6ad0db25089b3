"""The answer in plain words: every sentence, for every case, as it is read."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, log, nan

import pytest

from limelight.look.answer import Heard, Importance
from limelight.look.check import Check
from limelight.look.wording import folded, percent, quoted
from limelight.text.words import Word

SAID = "The cat sat on the mat because it was".split()


def told(
    *,
    said: str = "tired",
    chance: float = 0.8,
    named: tuple[int, ...] = (1, 2),
    losses: Mapping[str, float] | None = None,
    check: tuple[float, int, int] | None = None,
    every: bool = True,
    **options: object,
) -> list[str]:
    """check: what the answer loses, the sets that were tried, and how many of them do as much."""
    found = Importance(
        target=Word(said, 38, 38 + len(said), range(10, 11)),
        logprob=log(chance),
        method="measured",
        words=tuple(Heard(word, at, at, 0.0, False) for at, word in enumerate(SAID)),
        named=named,
        losses=({"replaced": log(30), "blocked": log(50)} if named else {}) if losses is None else losses,
        check=None if check is None else Check(named, "deleted", check[0], check[1], every, check[2], 0.14),
        links=(),
        rank=1,
        expected=said,
    )
    return replace(found, **options).told()  # type: ignore[arg-type]


def test_what_the_model_says_what_that_hangs_on_and_the_check() -> None:
    assert told(check=(3.0, 27, 0)) == [
        "The model says “tired” (80 %).",
        "It depends most on “cat” and “sat”: with other likely words in their place, “tired” is on average 30 times "
        "less likely.",
        "Check: of all 27 other pairs of words, none lowers it as much when deleted.",
    ]
    assert told(check=None)[2:] == []


@pytest.mark.parametrize(
    ("rank", "expected", "chance", "sentence"),
    [
        (1, "tired", 0.8, "The model says “tired” (80 %)."),
        (None, None, 0.5, "The model says “tired” (50 %)."),
        (2, "a", 0.2, "The model expected “a”; “tired” is its no. 2 (20 %)."),
        (31, "a", 0.0044, "The model expected “a”; “tired” is its no. 31 (0.44 %)."),
        (12345, "\n", 1e-9, "The model expected “\\n”; “tired” is its no. 12,345 (less than 0.01 %)."),
        (7, "", 0.03, "The model expected something else; “tired” is its no. 7 (3 %)."),
        (7, None, 0.03, "The model expected something else; “tired” is its no. 7 (3 %)."),
        (7, "a\ufffd", 0.03, "The model expected something else; “tired” is its no. 7 (3 %)."),  # part of a character
        (7, "(the end)", 0.03, "The model expected the text to end; “tired” is its no. 7 (3 %)."),
    ],
)
def test_a_word_that_the_model_did_not_choose(
    rank: int | None, expected: str | None, chance: float, sentence: str
) -> None:
    assert told(rank=rank, expected=expected, chance=chance)[0] == sentence


@pytest.mark.parametrize(
    ("named", "loss", "sentence"),
    [
        ((1,), log(4), "It depends most on “cat”: with another likely word in its place, “tired” is on average "
                       "4.0 times less likely."),
        ((1, 2, 6), log(1500), "It depends most on “cat”, “sat” and “because”: with other likely words in their place, "
                               "“tired” is on average 1,500 times less likely."),
        ((1,), 99.0, "It depends most on “cat”: with another likely word in its place, “tired” is on average "
                     "more than a million times less likely."),
        ((1,), 0.1, "It depends most on “cat”: with another likely word in its place, “tired” stays about as likely."),
        ((1,), -log(3), "“cat” ranks highest, yet with another likely word in its place, “tired” is 3.0 times more "
                        "likely."),
        ((1, 2), 0.0, "“cat” and “sat” rank highest, yet with other likely words in their place, “tired” stays about "
                      "as likely."),
    ],
)  # fmt: skip
def test_one_word_or_some_and_how_much_the_answer_loses(named: tuple[int, ...], loss: float, sentence: str) -> None:
    assert told(named=named, losses={"replaced": loss, "blocked": loss})[1:] == [sentence]


@pytest.mark.parametrize(
    ("named", "sets"), [((1,), "words"), ((1, 2), "pairs of words"), ((1, 2, 6), "sets of three words")]
)
def test_what_sets_are_called(named: tuple[int, ...], sets: str) -> None:
    assert told(named=named, check=(3.0, 40, 0))[2:] == [
        f"Check: of all 40 other {sets}, none lowers it as much when deleted."
    ]
    they = "it is" if len(named) == 1 else "they are"
    losses = {"replaced": 3.0, "blocked": 0.0}
    assert told(named=named, losses=losses, check=(0.0, 40, 40))[2:] == [
        f"If {they} hidden from all other words instead, “tired” stays about as likely.",
        f"The check disagrees: if {they} deleted instead, “tired” stays about as likely.",
    ]


def test_a_word_said_more_than_once_is_told_by_its_number() -> None:
    words = tuple(Heard(word, at, at, 0.0, False) for at, word in enumerate(["the", "cat", "and", "the", "dog"]))
    assert told(words=words, named=(3, 1))[1].startswith("It depends most on “the” (word 4) and “cat”: ")


@pytest.mark.parametrize("adds", [log(2) - 0.01, log(2) + 0.01])
def test_words_that_add_little_to_the_first_are_told_so(adds: float) -> None:
    words = tuple(Heard(word, at, at, 2.0 if at == 1 else 0.0, False) for at, word in enumerate(SAID))
    little = adds < log(2)
    two = "“cat”, and a little on “sat”" if little else "“cat” and “sat”"
    three = "“cat”, and a little on “sat” and “because”" if little else "“cat”, “sat” and “because”"
    for named, names in (((1, 2), two), ((1, 2, 6), three)):
        found = told(words=words, named=named, losses={"replaced": 2.0 + adds, "blocked": 2.0})
        assert found[1].startswith(f"It depends most on {names}: with other likely words in their place, ")
    for other in ({"method": "blocking"}, {"answer_unit": "score"}):  # whose words' numbers are something else
        found = told(words=words, losses={"replaced": 2.0 + adds, "blocked": 2.0}, **other)
        assert found[1].startswith("It depends most on “cat” and “sat”: ")


def test_a_single_word_has_nothing_beside_it() -> None:
    assert told(words=(Heard("The", 0, 3, 0.0, True),), named=())[1:] == [
        "The text is a single word, so there is nothing to compare it with."
    ]


def test_no_few_words_decide() -> None:
    assert told(named=()) == [
        "The model says “tired” (80 %).",
        "No few words decide: “tired” depends a little on all of the text.",
    ]


def test_beside_a_foil() -> None:
    found = told(foil="hungry", rank=3, expected="a", losses={"replaced": 3.0, "blocked": 0.05}, check=(0.1, 27, 20))
    assert found == [
        "The model expected “a”; “tired” is its no. 3 (80 %).",
        "It depends most on “cat” and “sat”: with other likely words in their place, “tired” is on average 20 times "
        "less likely beside “hungry”.",
        "If they are hidden from all other words instead, “tired” stays about as likely beside “hungry”.",
        "The check disagrees: if they are deleted instead, “tired” stays about as likely beside “hungry”.",
    ]


@pytest.mark.parametrize(
    ("check", "every", "sentence"),
    [
        ((3.0, 27, 0), True, "Check: of all 27 other pairs of words, none lowers it as much when deleted."),
        ((3.0, 219, 1), True, "Check: of all 219 other pairs of words, only one lowers it as much when deleted."),
        ((3.0, 220, 10), False, "Check: of 220 other pairs of words drawn at random, only 10 lower it as much when "
                                "deleted."),
        ((3.0, 60, 0), False, "Check: of 60 other pairs of words drawn at random, none lowers it as much when "
                              "deleted."),
        ((3.0, 27, 1), True, "The check disagrees: of all 27 other pairs of words, one lowers it as much when "
                             "deleted."),
        ((3.0, 60, 40), False, "The check disagrees: of 60 other pairs of words drawn at random, 40 lower it as much "
                               "when deleted."),
        ((0.14, 27, 0), True, "The check disagrees: if they are deleted instead, “tired” stays about as likely."),
        ((-log(5), 27, 0), True, "The check disagrees: if they are deleted instead, “tired” is 5.0 times more likely."),
        ((3.0, 18, 0), True, "The text is too short to check this: it has only 19 pairs of words to delete."),
        ((3.0, 0, 0), True, "The text is too short to check this: it has nothing else to delete."),
    ],
)  # fmt: skip
def test_whether_that_holds(check: tuple[float, int, int], every: bool, sentence: str) -> None:
    assert told(check=check, every=every)[2:] == [sentence]


@pytest.mark.parametrize(
    ("blocked", "sentences"),
    [
        (log(50), []),
        (0.3, ["If they are hidden from all other words instead, “tired” is 1.3 times less likely."]),
        (-log(12), ["If they are hidden from all other words instead, “tired” is 12 times more likely."]),
        (log(30) / 4, ["If they are hidden from all other words instead, “tired” is 2.3 times less likely."]),
        (log(30) / 4 + 0.01, []),
    ],
)
def test_where_hiding_disagrees_with_replacing_that_is_told(blocked: float, sentences: list[str]) -> None:
    assert told(losses={"replaced": log(30), "blocked": blocked})[2:] == sentences
    assert told(losses={"replaced": log(30), "blocked": blocked}, check=(3.0, 27, 0))[2:-1] == sentences


def test_sentences_in_whose_place_no_word_could_stand_are_hidden() -> None:
    assert told(losses={"blocked": log(30)})[1] == (
        "It depends most on “cat” and “sat”: without them, “tired” is 30 times less likely."
    )
    assert told(named=(1,), losses={"deleted": 0.1})[1] == (
        "It depends most on “cat”: without it, “tired” stays about as likely."
    )


@pytest.mark.parametrize(("unit", "name"), [("score", "score"), ("cosine", "similarity")])
def test_a_score_and_a_similarity_have_no_odds(unit: str, name: str) -> None:
    options = {"logprob": nan, "rank": None, "expected": None, "answer_unit": unit}
    for values in (unit, "share of attention"):  # whatever the words' values are
        found = told(
            losses={"replaced": 0.316, "blocked": -0.05}, check=(0.25, 27, 0), said="a kitten", unit=values, **options
        )
        assert found == [
            f"It depends most on “cat” and “sat”: with other likely words in their place, the {name} falls on "
            "average by 0.32.",
            f"If they are hidden from all other words instead, the {name} rises by 0.05.",
            "Check: of all 27 other pairs of words, none lowers it as much when deleted.",
        ]
    assert told(named=(), said="a kitten", **options) == [
        f"No few words decide: the {name} depends a little on all of the text."
    ]
    assert told(check=(-0.5, 27, 0), **options)[-1] == (
        f"The check disagrees: if they are deleted instead, the {name} rises by 0.50."
    )


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (log(2), "2.0 times less"),
        (log(9.94), "9.9 times less"),
        (log(10), "10 times less"),
        (log(1234.4), "1,200 times less"),
        (log(994_999), "990,000 times less"),
        (log(1_000_001), "more than a million times less"),
        (-log(40), "40 times more"),
        (1e9, "more than a million times less"),
        (inf, "more than a million times less"),
        (-inf, "more than a million times more"),
    ],
)
def test_a_loss_is_told_as_times(loss: float, said: str) -> None:
    assert folded(loss) == said


@pytest.mark.parametrize(
    ("chance", "said"),
    [(1.0, "100 %"), (0.995, "100 %"), (0.124, "12 %"), (0.0996, "10 %"), (0.096, "9.6 %"), (0.0123, "1.2 %"),
     (0.00044, "0.044 %"), (0.0001, "0.01 %"), (0.00009, "less than 0.01 %"), (0.0, "less than 0.01 %")],
)  # fmt: skip
def test_a_chance_is_told_as_people_read_it(chance: float, said: str) -> None:
    assert percent(chance) == said


def test_a_text_in_a_sentence_is_one_line_and_short() -> None:
    assert quoted("cat") == "“cat”"
    assert quoted("\n\n") == "“\\n\\n”"
    assert quoted("a\n  b") == "“a b”"
    long = "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals."
    assert quoted(long) == "“It was a dark and stormy night … xcept at occasional intervals.”"
    assert len(quoted("x" * 999)) < 70


def test_what_else_was_judged_is_called_so() -> None:
    twice = tuple(Heard("Yes.", at, at, 0.0, False) for at in range(9))
    losses = {"blocked": log(2), "replaced": log(300)}
    first, second, third, check = told(by="sentence", words=twice, losses=losses, check=(3.0, 35, 0))
    assert second.startswith("It depends most on “Yes.” (sentence 2) and “Yes.” (sentence 3): ")
    assert third.startswith("If they are hidden from all other sentences instead, ")
    assert check == "Check: of all 35 other pairs of sentences, none lowers it as much when deleted."
    assert told(by="sentence", named=())[1].startswith("No few sentences decide: ")
    assert told(by="message", named=(), words=twice[:1])[1].startswith("The text is a single message, ")
    assert "word" not in first + third + check


def test_a_label_is_told_beside_its_word() -> None:
    labelled = told(said="Paris", label="B-city")
    assert labelled[0] == "The model labels “Paris” “B-city” (80 %)."
    assert labelled[1].endswith(
        ": with other likely words in their place, “B-city” is on average 30 times less likely."
    )
