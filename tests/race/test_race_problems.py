"""What a race runs on: problems made by rule, and the answers that the rule gives."""

import pytest
import torch

from limelight.race import problems as made_by_rule
from limelight.race.problems import (
    BY_RULE,
    WORDS,
    Agreement,
    Brackets,
    Copying,
    Objects,
    Pairs,
    Recall,
    Senses,
    Switch,
)
from limelight.train.batches import IGNORE


@pytest.mark.parametrize("name", BY_RULE)
def test_problems_are_the_same_for_all_and_fit_their_context(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_by_rule, "TESTED", 8)
    problem = BY_RULE[name]()
    for one, other in zip(problem.tests(), BY_RULE[name]().tests(), strict=True):
        assert torch.equal(one.batch.tokens, other.batch.tokens)
        assert one.batch.tokens.shape[1] <= problem.context
        assert int(one.batch.tokens.max()) < problem.vocab
    one, other = (problem.batch(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.targets, other.targets)


def test_each_question_is_answered_by_the_fact_of_its_key() -> None:
    batch = Recall().examples(20, 5, 7, torch.Generator().manual_seed(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        facts = {(token - 1) // Recall.VALUES: token for token in tokens[:5]}
        assert len(facts) == 5
        assert all(target == IGNORE for target in targets[:12])
        for token, target in zip(tokens[12:], targets[12:], strict=True):
            assert target == facts[token - 1 - Recall.KEYS * Recall.VALUES]


@pytest.mark.parametrize(("length", "pairs"), Pairs.SIZES)
def test_each_key_comes_once_more_and_its_answer_is_the_token_behind_it(length: int, pairs: int) -> None:
    batch = Pairs().examples(6, length, pairs, torch.Generator().manual_seed(0))
    assert batch.tokens.shape == (6, length)
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        value = dict(zip(tokens[: 2 * pairs : 2], tokens[1 : 2 * pairs : 2], strict=True))
        asked = {tokens[at]: target for at, target in enumerate(targets) if target != IGNORE}
        assert asked == value
        assert len(value) == len(set(value.values())) == pairs
        assert targets[: 2 * pairs] == [IGNORE] * 2 * pairs


def test_recall_of_pairs_begins_with_short_texts_and_reads_as_many_tokens_in_each_step() -> None:
    problem, generator = Pairs(), torch.Generator().manual_seed(0)
    first = {tuple(problem.batch(generator, 0.05).tokens.shape) for _ in range(9)}
    later = {tuple(problem.batch(generator, 0.9).tokens.shape) for _ in range(40)}
    assert first == {(32, 64)}
    assert later == {(2048 // length, length) for length, _ in Pairs.SIZES}


def test_what_is_asked_for_at_the_end_was_said_at_the_beginning() -> None:
    generator = torch.Generator().manual_seed(0)
    copied, bracketed, given = (made.examples(20, 16, generator) for made in (Copying(), Brackets(), Objects()))
    assert torch.equal(copied.targets[:, 24:], copied.tokens[:, :8])
    assert torch.equal(copied.tokens[:, 25:], copied.tokens[:, :7])  # those that were said so far
    for tokens, targets in zip(bracketed.tokens.tolist(), bracketed.targets.tolist(), strict=True):
        waiting: list[int] = []
        for at, (token, target) in enumerate(zip(tokens, targets, strict=True)):
            if token == Brackets.KINDS:
                assert target == waiting.pop()
                assert bool(waiting) == (at < 17)  # the first of all is the last to close
            else:
                assert target == IGNORE
                waiting.append(token)
                assert len(waiting) <= Brackets.DEPTH
    givers = given.tokens[:, -2]
    for row in range(20):
        assert {int(givers[row]), int(given.targets[row, -1])} == set(given.tokens[row, :2].tolist())


def test_what_follows_a_word_depends_on_the_sense_that_was_told_of() -> None:
    problem = Senses()
    for number, (word, told) in enumerate(WORDS.items()):
        for sense, (follows, context) in enumerate(told.items()):
            rows = torch.full((4,), number), torch.full((4,), sense)
            for sentence in problem.sentences(*rows, 3, torch.Generator().manual_seed(0)).tolist():
                the, one, _, two, *others, last, named, then, end = (problem.TOKENS[token] for token in sentence)
                assert (the, last, named, then, end) == ("the", "the", word, follows, ".")
                assert {one, two} <= set(context.split())
                assert one != two
                assert len(others) == 3
    answers = {int(token) for test in problem.tests() for token in test.batch.targets[:, -1]}
    assert answers == set(problem.follows.flatten().tolist())


def read_by_rule(tokens: list[int]) -> list[tuple[int, list[int], int]]:
    """Of each verb of a text of `Agreement`: where it is said, the numbers of all nouns so far, and its subject's.

    The subject is the noun without a preposition whose verb is still to come, the latest first.
    """
    preposition, that = Agreement.KINDS["p"][0], Agreement.KINDS["t"][0]
    waiting: list[int] = []
    nouns: list[int] = []
    found = []
    for at, token in enumerate(tokens):
        if token < 2 * Agreement.NOUNS:
            nouns.append(token // Agreement.NOUNS)
            if at == 0 or not preposition <= tokens[at - 1] < that:
                waiting.append(nouns[-1])
        elif token < preposition:
            found.append((at, list(nouns), waiting.pop()))
    assert not waiting
    return found


def test_every_verb_agrees_with_its_own_subject_and_is_asked_for_where_it_is_said() -> None:
    batch = Agreement().batch(torch.Generator().manual_seed(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        verbs = read_by_rule(tokens)
        assert {at: token for at, token in enumerate(targets) if token != IGNORE} == {
            at - 1: Agreement.KINDS["v"][0] + number for at, _, number in verbs
        }
        assert all(tokens[at] == targets[at - 1] for at, _, _ in verbs)


def test_a_subject_is_told_by_its_place_alone() -> None:
    """Neither the first noun nor the nearest, nor the verb before, says what number the next verb has."""
    problem, generator = Agreement(), torch.Generator().manual_seed(0)
    batches = [problem.batch(generator) for _ in range(40)]
    right: dict[str, list[bool]] = {"first": [], "nearest": [], "verb before": []}
    for tokens in (row for batch in batches for row in batch.tokens.tolist()):
        before = None
        for _, nouns, number in read_by_rule(tokens):
            right["first"].append(nouns[0] == number)
            right["nearest"].append(nouns[-1] == number)
            if before is not None:
                right["verb before"].append(before == number)
            before = number
    shares = {name: sum(found) / len(found) for name, found in right.items()}
    assert shares["verb before"] == pytest.approx(0.5, abs=0.03)
    assert shares["first"] < 0.65
    assert shares["nearest"] < 0.65


@pytest.mark.parametrize("shape", ["pnspnpnv.", "stsvv.", "ststspnvvv."])
def test_all_nouns_between_the_last_verb_and_its_subject_are_of_the_other_number(shape: str) -> None:
    between = sum(kind in "ns" for kind in shape[shape.index("s") + 1 :])
    batch = Agreement().examples(["pnstspnvv." + shape] * 64, torch.Generator().manual_seed(0), last=True)
    earlier, told = [], []
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        *_, (at, nouns, number) = read_by_rule(tokens)
        assert [token for token in targets if token != IGNORE] == [targets[at - 1]] == [tokens[at]]
        assert tokens[at] == Agreement.KINDS["v"][0] + number
        assert set(nouns[-between:]) == {1 - number}
        earlier.append(nouns[0] == number)
        told.append(number)
    assert 16 < sum(told) < 48
    assert 16 < sum(earlier) < 48


def test_what_training_held_of_agreement_is_told_by_sentences_nouns_and_clauses() -> None:
    problem = Agreement()
    generator = torch.Generator().manual_seed(0)
    shapes = [shape for _ in range(40) for shape in problem.shapes(problem.rows, problem.SENTENCES, generator)]
    held = {
        "sentences": {shape.count(".") for shape in shapes},
        "nouns between": {sentence.split("s")[-1].count("n") for shape in shapes for sentence in shape.split(".")[:-1]},
        "clauses between": {sentence.count("t") for shape in shapes for sentence in shape.split(".")[:-1]},
    }
    for test in problem.tests():
        assert test.seen == (test.at <= max(held[test.name]))


def test_the_lamp_is_on_after_an_odd_number_of_switches() -> None:
    batch = Switch().examples(3, 9, torch.Generator().manual_seed(0))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        assert targets == [2 + sum(tokens[: i + 1]) % 2 for i in range(9)]
