"""What they run on: three problems made by rule, whose answers are known, and running text.

Every problem gives batches from a generator, so that all contenders read the same examples in the same order, and
tests that are the same for all, by what makes them hard.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from limelight.train.batches import IGNORE, Batch

TESTED = 128
"""Examples in a test."""


@dataclass(frozen=True)
class Test:
    """Examples of one difficulty. name: what is varied; at: how much of it; seen: whether training held so much."""

    name: str
    at: int
    seen: bool
    batch: Batch


class Problem(Protocol):
    """name: as options say it. title, says: as people read it. chance: the share right of one who guesses; None where
    loss is what counts. context: the longest example."""

    name: str
    title: str
    says: str
    vocab: int
    context: int
    rows: int
    chance: float | None

    def batch(self, generator: torch.Generator) -> Batch:
        """The next examples to learn from: tokens [B, T], targets [B, T]."""
        ...

    def tests(self) -> list[Test]:
        """The same every time."""
        ...


def _answers(tokens: Tensor, at: Tensor, answers: Tensor) -> Batch:
    """Targets that ask for nothing but `answers` [B, N] at the places `at` [B, N]."""
    return Batch(tokens, torch.full_like(tokens, IGNORE).scatter_(1, at, answers))


class Recall:
    """Facts are told, other words follow, then one is asked for: who has what?

    A fact is one token that names its key and its value, a question is a key; so what is tested is whether the fact is
    still there, and not whether two neighbours can be bound, which takes longer to learn than a quick race has. The
    order is that of multi-query recall (Arora et al., 2023, "Zoology"): all facts, then a question for each.
    """

    name, title = "recall", "Remembering"
    says = "Facts are told, other words follow, and each fact is asked for: which value had this key?"
    KEYS, VALUES, NOISE = 16, 8, 8
    vocab = 1 + KEYS * VALUES + KEYS + NOISE
    context, rows = 288, 32
    chance: float | None = 1 / VALUES
    LONGEST = 32
    """Words between facts and questions in training."""

    def examples(self, rows: int, facts: int, between: int, generator: torch.Generator) -> Batch:
        """Rows of `facts` facts, `between` other words, and a question for each fact."""
        keys = torch.rand(rows, self.KEYS, generator=generator).argsort(1)[:, :facts]
        values = torch.randint(self.VALUES, (rows, facts), generator=generator)
        told = 1 + keys * self.VALUES + values
        noise = torch.randint(self.NOISE, (rows, between), generator=generator) + self.vocab - self.NOISE
        order = torch.rand(rows, facts, generator=generator).argsort(1)
        asked = 1 + self.KEYS * self.VALUES + keys.gather(1, order)
        tokens = torch.cat((told, noise, asked), 1)
        at = torch.arange(facts + between, 2 * facts + between).expand(rows, -1)
        return _answers(tokens, at, told.gather(1, order))

    def batch(self, generator: torch.Generator) -> Batch:
        facts = int(torch.randint(1, self.KEYS + 1, (), generator=generator))
        return self.examples(self.rows, facts, int(torch.randint(self.LONGEST + 1, (), generator=generator)), generator)

    def tests(self) -> list[Test]:
        many = [Test("facts", n, True, self.examples(TESTED, n, 8, _fixed(n))) for n in (1, 2, 4, 8, 16)]
        far = (8, 32, 64, 128, 256)
        return many + [Test("words between", n, n <= self.LONGEST, self.examples(TESTED, 4, n, _fixed(n))) for n in far]


class Agreement:
    """The verb agrees with the subject, however many nouns of the other number stand between them.

    (Linzen et al., 2016: "the keys to the cabinet are", not "is".)
    """

    name, title = "agreement", "Agreement"
    says = (
        "“The keys to the cabinet by the door are …”: the verb agrees with the subject, past nouns of the other number."
    )
    NOUNS, LINKS = 12, 6
    vocab = 2 * NOUNS + LINKS + 3  # nouns of both numbers, links, two verbs, the end
    context, rows = 80, 32
    chance: float | None = 0.5
    LONGEST = 4

    def examples(self, rows: int, between: int, generator: torch.Generator, other: bool = False) -> Batch:
        """Rows of a subject, `between` times a link and a noun (all of the other number if asked), and a verb."""
        number = torch.randint(2, (rows, 1), generator=generator)
        nouns = torch.randint(self.NOUNS, (rows, 1 + between), generator=generator)
        theirs = torch.randint(2, (rows, between), generator=generator)
        theirs = (1 - number).expand_as(theirs) if other else theirs
        nouns = nouns + self.NOUNS * torch.cat((number, theirs), 1)
        links = 2 * self.NOUNS + torch.randint(self.LINKS, (rows, between), generator=generator)
        pairs = torch.stack((links, nouns[:, 1:]), 2).flatten(1)
        end = torch.full((rows, 1), self.vocab - 1)
        tokens = torch.cat((nouns[:, :1], pairs, end), 1)
        at = torch.full((rows, 1), tokens.shape[1] - 1)
        return _answers(tokens, at, self.vocab - 3 + number)

    def batch(self, generator: torch.Generator) -> Batch:
        return self.examples(self.rows, int(torch.randint(self.LONGEST + 1, (), generator=generator)), generator)

    def tests(self) -> list[Test]:
        return [
            Test("nouns between", n, n <= self.LONGEST, self.examples(TESTED, n, _fixed(n), other=True))
            for n in (1, 2, 4, 8, 16, 32)
        ]


class Switch:
    """A lamp is switched or left alone at every word: is it on now? The parity of all that was read.

    One bit carried from word to word is enough, so it favours those that carry a state; a transformer of few layers
    cannot do it at every length (Hahn, 2020).
    """

    name, title = "switch", "Keeping count"
    says = "A lamp is switched or left alone, word by word: is it on? One bit that is carried along is enough."
    vocab = 4  # leave, switch, off, on
    context, rows = 160, 32
    chance: float | None = 0.5
    LONGEST = 20

    def examples(self, rows: int, length: int, generator: torch.Generator) -> Batch:
        """Rows of `length` words, asked after each of them."""
        tokens = torch.randint(2, (rows, length), generator=generator)
        return Batch(tokens, 2 + tokens.cumsum(1) % 2)

    def batch(self, generator: torch.Generator) -> Batch:
        return self.examples(self.rows, int(torch.randint(1, self.LONGEST + 1, (), generator=generator)), generator)

    def tests(self) -> list[Test]:
        def last(length: int) -> Batch:
            batch = self.examples(TESTED, length, _fixed(length))
            batch.targets[:, :-1] = IGNORE
            return batch

        return [Test("words", n, n <= self.LONGEST, last(n)) for n in (5, 10, 20, 40, 80, 160)]


class Text:
    """Running text: the next piece of it, in windows."""

    name, title = "text", "Text"
    says = "Running text, and its next character each time."
    context, rows = 64, 16
    chance: float | None = None

    def __init__(self, training: Tensor, validation: Tensor, vocab: int) -> None:
        """training, validation: token ids [N]."""
        self.vocab = vocab
        self.training = training
        self.validation = validation

    def _windows(self, text: Tensor, starts: Tensor) -> Batch:
        windows = text[starts[:, None] + torch.arange(self.context + 1)]
        return Batch(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())

    def batch(self, generator: torch.Generator) -> Batch:
        starts = torch.randint(len(self.training) - self.context, (self.rows,), generator=generator)
        return self._windows(self.training, starts)

    def tests(self) -> list[Test]:
        starts = torch.linspace(0, len(self.validation) - self.context - 1, TESTED).long()
        return [Test("characters", self.context, True, self._windows(self.validation, starts))]


BY_RULE: dict[str, Callable[[], Problem]] = {"recall": Recall, "agreement": Agreement, "switch": Switch}


def _fixed(number: int) -> torch.Generator:
    """The dice of a test, which no training throws."""
    return torch.Generator().manual_seed(10_000_019 + number)
