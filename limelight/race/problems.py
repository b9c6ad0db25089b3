"""What they run on: problems made by rule, whose answers are known.

Every problem gives batches from a generator, so that all contenders read the same examples in the same order, and
tests that are the same for all, by what makes them hard.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from limelight.race.contenders import HEADS
from limelight.train.batches import IGNORE, Batch

TESTED = 128
"""Examples in a test."""


WORDS = {
    "bank": {"pays": "money loan cash clerk coins savings", "floods": "river boat reeds water mud fish"},
    "bat": {"cracks": "ball player game team pitcher score", "flies": "cave wings night moth dusk roof"},
    "spring": {"squeaks": "coil metal mattress clock screw lever", "blooms": "rain tulips april birds warmth buds"},
}
"""Each word, what follows it in each of its two senses, and the words that tell which is meant."""

OTHERS = "and then there was some more of it all so we said that day".split()


@dataclass(frozen=True)
class Test:
    """Examples of one difficulty. name: what is varied; at: how much of it; seen: whether training held so much."""

    name: str
    at: int
    seen: bool
    batch: Batch


class Problem(Protocol):
    """name: as options say it. title, says: as people read it. chance: the share right of one who guesses; None where
    loss is what counts. context: the longest example. heads: of attention. conv: how many words a short convolution
    in front of every contender reads; 0: there is none."""

    name: str
    title: str
    says: str
    vocab: int
    context: int
    rows: int
    chance: float | None
    heads: int
    conv: int

    def batch(self, generator: torch.Generator, done: float) -> Batch:
        """The next examples to learn from: tokens [B, T], targets [B, T]. done: the share of the training that is
        over, for problems that begin with what is easy."""
        ...

    def tests(self) -> list[Test]:
        """The same every time."""
        ...

    def __hash__(self) -> int: ...


@cache
def tests(problem: Problem) -> list[Test]:
    """Those of a problem, made once."""
    return problem.tests()


def answers(tokens: Tensor, at: Tensor, answers: Tensor) -> Batch:
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
    heads, conv = HEADS, 0
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
        return answers(tokens, at, told.gather(1, order))

    def batch(self, generator: torch.Generator, done: float = 1.0) -> Batch:
        facts = int(torch.randint(1, self.KEYS + 1, (), generator=generator))
        return self.examples(self.rows, facts, int(torch.randint(self.LONGEST + 1, (), generator=generator)), generator)

    def tests(self) -> list[Test]:
        many = [Test("facts", n, True, self.examples(TESTED, n, 8, fixed(n))) for n in (1, 2, 4, 8, 16)]
        far = (8, 32, 64, 128, 256)
        return many + [Test("words between", n, n <= self.LONGEST, self.examples(TESTED, 4, n, fixed(n))) for n in far]


class Pairs:
    """Multi-query recall as it is published (Arora et al., 2023, "Zoology", appendix E): key and value are two tokens.

    First all pairs, then each key once more among other tokens, mostly soon; its answer is the value. The lengths and
    pairs are the published ones; of 8,192 tokens there are 512, and each kind of model gets a short convolution and one
    head, so that it is learned in hundreds of steps. Training begins with short texts.
    """

    name, title = "mqar", "Multi-query recall"
    says = (
        "Pairs of a key and a value, two tokens each; then every key comes once more among other tokens: which value"
        " was its? By pairs and length as published, with a short convolution in front of every contender."
    )
    vocab, context = 512, 512
    TOKENS = 2048
    """In each step, whatever the length."""
    SIZES = ((64, 4), (128, 8), (256, 16), (512, 64))
    """Length of the text, and pairs in it."""
    rows = TOKENS // SIZES[0][0]
    chance: float | None = 2 / vocab
    heads, conv = 1, 4

    def examples(self, rows: int, length: int, pairs: int, generator: torch.Generator) -> Batch:
        """Rows of `length` tokens, of which the first are `pairs` pairs."""
        half, told = self.vocab // 2, 2 * pairs
        keys = torch.rand(rows, half, generator=generator).topk(pairs, 1).indices
        values = half + torch.rand(rows, half, generator=generator).topk(pairs, 1).indices
        places = torch.arange(1, (length - told) // 2 + 1)
        soon = (places**-0.99).expand(rows, -1)  # the published power law
        at = told + 2 * torch.multinomial(soon, pairs, generator=generator)  # [B, pairs]
        tokens = torch.randint(self.vocab, (rows, length), generator=generator)
        tokens[:, :told] = torch.stack((keys, values), 2).flatten(1)
        return answers(tokens.scatter_(1, at, keys), at, values)

    def batch(self, generator: torch.Generator, done: float = 1.0) -> Batch:
        sizes = self.SIZES[: 1 + int(2 * done * len(self.SIZES))]
        length, pairs = sizes[int(torch.randint(len(sizes), (), generator=generator))]
        return self.examples(self.TOKENS // length, length, pairs, generator)

    def tests(self) -> list[Test]:
        return [Test("pairs", n, True, self.examples(TESTED, length, n, fixed(n))) for length, n in self.SIZES]


class Agreement:
    """Every verb agrees with its own subject, which need be neither the first noun of a text nor the nearest.

    Sentences follow one another. Some open with a phrase ("near the trees"), whose noun no verb agrees with; the
    subject is the noun without a preposition. Between it and its verb stand phrases ("the keys to the cabinet are",
    Linzen et al., 2016) or clauses that have a subject and a verb of their own ("the keys that the man sees are",
    Marvin & Linzen, 2018), one within the other, with phrases in the innermost (Lakretz et al., 2021). Asked for, where
    a verb is to be said, is its number.

    A shape is what kinds of words a text has: "p" a preposition, "n" its noun, "s" a subject, "t" that, "v" a verb and
    "." the end of a sentence.
    """

    name, title = "agreement", "Agreement"
    says = (
        "“Near the trees the keys that the man by the doors sees are …”: every verb agrees with its own subject, past"
        " nouns of the other number, clauses with verbs of their own, and other sentences."
    )
    NOUNS, PREPOSITIONS = 12, 6
    KINDS: ClassVar[dict[str, tuple[int, int, bool]]] = {
        "n": (0, NOUNS, True),
        "s": (0, NOUNS, True),
        "v": (2 * NOUNS, 1, True),
        "p": (2 * NOUNS + 2, PREPOSITIONS, False),
        "t": (2 * NOUNS + 2 + PREPOSITIONS, 1, False),
        ".": (2 * NOUNS + 3 + PREPOSITIONS, 1, False),
    }
    """Of each kind of word: its first token, how many words there are, and whether there is a plural of each."""
    vocab = KINDS["."][0] + 1
    context, rows = 112, 16
    chance: float | None = 0.5
    heads, conv = HEADS, 0
    SENTENCES, PHRASES, CLAUSES = 2, 4, 2
    """Sentences of a text in training, and the most phrases and clauses between a subject and its verb."""

    def sentence(self, phrases: int, clauses: int, opened: bool = True) -> str:
        """The shape of a sentence."""
        return "pn" * opened + "st" * clauses + "s" + "pn" * phrases + "v" * (clauses + 1) + "."

    def shapes(self, rows: int, sentences: int, generator: torch.Generator) -> list[str]:
        """Those of texts of so many sentences, each as training has them."""
        most = torch.tensor([self.PHRASES + 1, self.CLAUSES + 1, 2])
        parts = (torch.rand(rows, sentences, 3, generator=generator) * most).int().tolist()
        return ["".join(self.sentence(*each) for each in text) for text in parts]

    def examples(self, shapes: list[str], generator: torch.Generator, last: bool = False) -> Batch:
        """A text of each shape, asked for every verb; or for the last alone, and no noun between its subject and it is
        of its number."""
        size = len(shapes), max(map(len, shapes))
        kinds = [[self.KINDS[kind] for kind in shape.ljust(size[1], ".")] for shape in shapes]
        first, many, numbered = torch.tensor(kinds).permute(2, 0, 1)
        plural = torch.randint(2, size, generator=generator)
        targets = torch.full(size, IGNORE)
        for shape, number, target in zip(shapes, plural, targets, strict=True):
            verbs, subjects = _agreeing(shape)
            if last:
                number[subjects[-1] + 1 : verbs[-1]] = 1 - number[subjects[-1]]
            number[verbs] = number[subjects]
            asked = verbs[-1:] if last else verbs
            target[[at - 1 for at in asked]] = self.KINDS["v"][0] + number[asked]
        words = (torch.rand(size, generator=generator) * many).long()
        return Batch(first + words + many * numbered * plural, targets)

    def batch(self, generator: torch.Generator, done: float = 1.0) -> Batch:
        return self.examples(self.shapes(self.rows, self.SENTENCES, generator), generator)

    def tests(self) -> list[Test]:
        def last(name: str, at: int, most: int, shape: str) -> Test:
            generator = fixed(at)
            before = self.shapes(TESTED, self.SENTENCES - 1, generator)
            return Test(name, at, at <= most, self.examples([each + shape for each in before], generator, last=True))

        def every(at: int) -> Batch:
            return self.examples(self.shapes(TESTED, at, fixed(at)), fixed(at + 1))

        found = [Test("sentences", n, n <= self.SENTENCES, every(n)) for n in (1, 2, 4)]
        found += [last("nouns between", n, self.PHRASES, self.sentence(n, 0)) for n in (1, 2, 4, 8, 32)]
        return found + [last("clauses between", n, self.CLAUSES, self.sentence(0, n)) for n in (1, 2, 3, 4)]


def _agreeing(shape: str) -> tuple[list[int], list[int]]:
    """The places of the verbs of a shape, and of the subject of each."""
    verbs, subjects, waiting = [], [], []
    for at, kind in enumerate(shape):
        if kind == "s":
            waiting.append(at)
        elif kind == "v":
            verbs.append(at)
            subjects.append(waiting.pop())
    return verbs, subjects


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
    heads, conv = HEADS, 0
    LONGEST = 20

    def examples(self, rows: int, length: int, generator: torch.Generator) -> Batch:
        """Rows of `length` words, asked after each of them."""
        tokens = torch.randint(2, (rows, length), generator=generator)
        return Batch(tokens, 2 + tokens.cumsum(1) % 2)

    def batch(self, generator: torch.Generator, done: float = 1.0) -> Batch:
        return self.examples(self.rows, int(torch.randint(1, self.LONGEST + 1, (), generator=generator)), generator)

    def tests(self) -> list[Test]:
        def last(length: int) -> Batch:
            batch = self.examples(TESTED, length, fixed(length))
            batch.targets[:, :-1] = IGNORE
            return batch

        return [Test("words", n, n <= self.LONGEST, last(n)) for n in (5, 10, 20, 40, 80, 160)]


class Senses:
    """A word of two senses behind words that tell which is meant; what follows depends on the sense."""

    name, title = "senses", "Senses in context"
    says = (
        "“The river and the boat … and so the bank floods”, “the loan and the clerk … and so the bank pays”: what"
        " follows a word depends on what was said before it."
    )
    TOKENS = (
        *("the", "."),
        *WORDS,
        *(follows for senses in WORDS.values() for follows in senses),
        *(word for senses in WORDS.values() for told in senses.values() for word in told.split()),
        *dict.fromkeys(OTHERS),
    )
    vocab = len(TOKENS)
    context, rows = 72, 32
    chance: float | None = 0.5
    heads, conv = HEADS, 0
    LONGEST = 8
    """Words between what tells the sense and the word, in training."""

    def __init__(self) -> None:
        place = {token: number for number, token in enumerate(self.TOKENS)}
        self.words = torch.tensor([place[word] for word in WORDS])
        self.follows = torch.tensor([[place[each] for each in senses] for senses in WORDS.values()])
        self.told = torch.tensor([[[place[x] for x in told.split()] for told in s.values()] for s in WORDS.values()])
        self.others = torch.tensor([place[word] for word in dict.fromkeys(OTHERS)])

    def sentences(self, word: Tensor, sense: Tensor, between: int, generator: torch.Generator) -> Tensor:
        """Sentences [B, between + 8] with the words and senses of those numbers [B]; the word is third from the end."""
        rows = len(word)
        one, two = torch.rand(rows, self.told.shape[2], generator=generator).argsort(1)[:, :2].T
        others = self.others[torch.randint(len(self.others), (rows, between), generator=generator)]
        the = torch.zeros(rows, 1, dtype=torch.int64)

        def column(found: Tensor) -> Tensor:
            return found[:, None]

        told = self.told[word, sense]  # [B, 6]
        named = told.gather(1, column(one)), told.gather(1, column(two))
        ends = column(self.words[word]), column(self.follows[word, sense]), the + 1
        return torch.cat((the, named[0], the, named[1], others, the, *ends), 1)

    def _drawn(self, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        word = torch.randint(len(WORDS), (rows,), generator=generator)
        return word, torch.randint(2, (rows,), generator=generator)

    def batch(self, generator: torch.Generator, done: float = 1.0) -> Batch:
        between = int(torch.randint(self.LONGEST + 1, (), generator=generator))
        text = self.sentences(*self._drawn(self.rows, generator), between, generator)
        return Batch(text[:, :-1].contiguous(), text[:, 1:].contiguous())

    def tests(self) -> list[Test]:
        def last(between: int) -> Batch:
            generator = fixed(between)
            text = self.sentences(*self._drawn(TESTED, generator), between, generator)
            tokens = text[:, :-2].contiguous()
            targets = torch.full_like(tokens, IGNORE)
            targets[:, -1] = text[:, -2]
            return Batch(tokens, targets)

        return [Test("words between", n, n <= self.LONGEST, last(n)) for n in (0, 4, 8, 16, 32, 64)]


class _Far(ABC):
    """What is asked for at the end of a text was said at its beginning, 4 to 1,024 words before. Training holds all of
    these distances, short ones first, and reads as many tokens in each step, so that long ones are a fair question."""

    BETWEEN = (4, 16, 64, 256, 1024)
    TOKENS = 2048
    AROUND = 0
    """Words beside those between."""
    context: int
    rows = TOKENS // BETWEEN[2]
    heads, conv = HEADS, 0

    @abstractmethod
    def examples(self, rows: int, between: int, generator: torch.Generator) -> Batch:
        """Texts with so many words between what is told and what is asked."""

    def batch(self, generator: torch.Generator, done: float = 1.0) -> Batch:
        distances = self.BETWEEN[: 1 + int(2 * done * len(self.BETWEEN))]
        between = distances[int(torch.randint(len(distances), (), generator=generator))]
        return self.examples(self.TOKENS // (between + self.AROUND), between, generator)

    def tests(self) -> list[Test]:
        return [Test("words between", n, True, self.examples(TESTED, n, fixed(n))) for n in self.BETWEEN]


class Copying(_Far):
    """A row of letters, other words, a sign, and the row once more (Hochreiter & Schmidhuber, 1997; Arjovsky et al.,
    2016)."""

    name, title = "copying", "Copying"
    says = "Eight letters are told, other words follow, and then the letters are to be said again in their order."
    LETTERS, ROW, NOISE = 16, 8, 8
    vocab = LETTERS + NOISE + 1
    AROUND = 2 * ROW
    context = _Far.BETWEEN[-1] + AROUND
    chance: float | None = 1 / LETTERS

    def examples(self, rows: int, between: int, generator: torch.Generator) -> Batch:
        """Rows of ROW letters, `between` other words, a sign, and the letters but the last."""
        letters = torch.randint(self.LETTERS, (rows, self.ROW), generator=generator)
        noise = torch.randint(self.NOISE, (rows, between), generator=generator) + self.LETTERS
        sign = torch.full((rows, 1), self.vocab - 1)
        tokens = torch.cat((letters, noise, sign, letters[:, :-1]), 1)
        return answers(tokens, torch.arange(self.ROW + between, tokens.shape[1]).expand(rows, -1), letters)


class Brackets(_Far):
    """Brackets of several kinds, one inside the other: of which kind is the one that must close now? Nested clauses are
    like that, whose verbs agree with their nouns last first. (Dyck words of bounded depth; Hewitt et al., 2020.)"""

    name, title = "brackets", "Brackets"
    says = (
        "“( [ ] { [ ] }”: which bracket closes now? So the verbs of nested clauses agree with their nouns, the last"
        " first: “the keys that the man that the dogs see has are …”."
    )
    KINDS, DEPTH = 4, 8
    vocab = KINDS + 1
    AROUND = 2
    context = _Far.BETWEEN[-1] + AROUND
    chance: float | None = 1 / KINDS

    def examples(self, rows: int, between: int, generator: torch.Generator) -> Batch:
        """Rows of a bracket, `between` inside it, and the one that closes it; asked at each that closes."""
        kinds = torch.randint(self.KINDS, (rows, between + 2), generator=generator).tolist()
        opens = (torch.rand(rows, between + 2, generator=generator) < 0.5).tolist()
        targets = torch.full((rows, between + 2), IGNORE)
        for row, (own, ups) in enumerate(zip(kinds, opens, strict=True)):
            waiting = [own[0]]
            for at in range(1, between + 2):
                left = between + 2 - at
                inside = len(waiting)
                up = left > inside and (inside == 1 or (inside < self.DEPTH and ups[at]))
                if up:
                    waiting.append(own[at])
                else:
                    targets[row, at] = waiting.pop()
                    own[at] = self.KINDS
        return Batch(torch.tensor(kinds), targets)

    def tests(self) -> list[Test]:
        for test in (found := super().tests()):
            test.batch.targets[:, :-1] = IGNORE  # the one that closes the first
        return found


class Objects(_Far):
    """Two people are named; much later one gives something to the other: to whom? (Wang et al., 2023, "Interpretability
    in the wild".)"""

    name, title = "objects", "Indirect objects"
    says = "“Mary and John went to the shop … John gave a drink to”: Mary. The one of the two who doesn't give."
    NAMES, NOISE = 16, 8
    vocab = NAMES + NOISE + 1
    AROUND = 4
    context = _Far.BETWEEN[-1] + AROUND
    chance: float | None = 0.5

    def examples(self, rows: int, between: int, generator: torch.Generator) -> Batch:
        """Rows of two names, `between` other words, one of the names, and what asks for the other."""
        names = torch.rand(rows, self.NAMES, generator=generator).argsort(1)[:, :2]
        noise = torch.randint(self.NOISE, (rows, between), generator=generator) + self.NAMES
        gives = torch.randint(2, (rows, 1), generator=generator)
        tokens = torch.cat((names, noise, names.gather(1, gives), torch.full((rows, 1), self.vocab - 1)), 1)
        return answers(tokens, torch.full((rows, 1), tokens.shape[1] - 1), names.gather(1, 1 - gives))


BY_RULE: dict[str, Callable[[], Problem]] = {
    each.name: each for each in (Recall, Agreement, Switch, Pairs, Senses, Copying, Brackets, Objects)
}
BUILT_IN = ("recall", "agreement", "switch", "text")
"""Those that run where none are named."""


def fixed(number: int) -> torch.Generator:
    """The dice of a test, which no training throws."""
    return torch.Generator().manual_seed(10_000_019 + number)
