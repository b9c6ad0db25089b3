"""Texts as people type them, on which the pictures of importance are measured.

Each text is a beginning: it ends where the next word is asked for, and goes on with a space and its answer. Most are
made from public data sets at the time of reading; `everyday.tsv` holds those written by hand, and `everyday_later.tsv`
those of a part that was put aside when the others had been looked at.
"""

import csv
import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

HAND = Path(__file__).with_suffix(".tsv")
LATER = HAND.with_name("everyday_later.tsv")

EACH = 36
"""Texts of each kind that is drawn from more."""

BLIMP = (
    "anaphor_gender_agreement",
    "determiner_noun_agreement_1",
    "ioi_dataset",
    "npi_present_1",
    "regular_plural_subject_verb_agreement_1",
)

CHOSEN_ON = 60
"""Rows at the beginning of each of these sets by which methods were once chosen; they are left out."""

SALT = 113
"""The first number by which no kind is split less evenly than 16 to 20 of 36."""

Span = tuple[int, int]
Group = tuple[Span, ...]


@dataclass(frozen=True)
class Item:
    """text: a beginning, without a space at its end. answer: the word that rightly comes next, None where any may.
    deciding: groups of words of `text` by which people decide on the answer, as characters `[start, end)`; who finds
    one word of a group has found the group. Empty where nobody marked any. foil: a wrong next word."""

    kind: str
    text: str
    answer: str | None
    deciding: tuple[Group, ...]
    foil: str | None = None


def items(shared: Path, later: bool = False) -> list[Item]:
    """All texts, made from the data sets in the folder `shared`: always the same ones in the same order.

    later: those that were put aside instead, of which none is among the others.
    """
    found = [*by_hand(LATER if later else HAND)]
    turn = int(later)
    for make in (gap, winobias, xquad, cos_e, captions, chats):
        found += _drawn(make(shared), turn=turn)
    found += _drawn(babi(shared, turn))
    for invent in (lists, negations, sums):
        found += _drawn(invent(), turn=turn)
    return [*found, *_drawn(code(turn))]


def halves(items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """Those on which recipes are chosen, and those on which they are told. An item's half hangs on its text alone."""
    sides: tuple[list[Item], list[Item]] = ([], [])
    for item in items:
        sides[_digest(f"{SALT} {item.text}")[0] % 2].append(item)
    return sides


def blimp(shared: Path, set: str) -> list[Item]:
    """The sentences of one of the sets in `BLIMP` up to the word that is right or wrong, for comparison."""
    found = []
    with gzip.open(shared / "importance_targets" / f"{set}.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for row in islice(csv.DictReader(lines), CHOSEN_ON, None):
            text, right, wrong = (row[f"one_prefix_{name}"] for name in ("prefix", "word_good", "word_bad"))
            rights, wrongs = right.split(), wrong.split()
            while rights[0] == wrongs[0]:  # the words that both begin with belong to the text
                text, rights, wrongs = f"{text} {rights[0]}", rights[1:], wrongs[1:]
            found.append(_item(f"blimp {set}", text, rights[0], row["target"], foil=wrongs[0]))
    return [*dict.fromkeys(item for item in found if item.deciding)]


# ---- what all kinds share


def _item(kind: str, text: str, answer: str | None, *groups: str, foil: str | None = None) -> Item:
    """groups: each the words of one group; all their places in the text are meant."""
    found = (tuple(span for word in group.split() for span in places(text, word)) for group in groups)
    return Item(kind, text, answer, tuple(group for group in found if group), foil)


def places(text: str, word: str, start: int = 0, end: int | None = None) -> list[Span]:
    """Where `word` stands as a whole word in the characters `[start, end)` of `text`; in its genitive too."""
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?:['’]s)?(?!\w)")
    return [match.span() for match in pattern.finditer(text, start, len(text) if end is None else end)]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _drawn(candidates: Iterable[Item], number: int = EACH, turn: int = 0) -> list[Item]:
    """Different texts, drawn by chance, which is that of their digests: so they are the same on every machine. turn:
    how often as many were drawn before; those are left out."""
    drawn = sorted({item.text: item for item in candidates}.values(), key=lambda item: _digest(item.text))
    return drawn[number * turn : number * (turn + 1)]


def _lines(file: Path) -> list[str]:
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        return [line.rstrip("\r\n") for line in lines]


def _count(text: str) -> int:
    return len(text.split())


def by_hand(file: Path = HAND) -> Iterator[Item]:
    """Lines of a text, its answer, and groups of deciding words with a bar between them."""
    for line in file.read_text("utf-8").splitlines():
        text, answer, groups = line.split("\t")
        yield _item("by hand", text.replace("\\n", "\n"), answer or None, *groups.split("|"))


# ---- from data sets


def gap(shared: Path) -> Iterator[Item]:
    """Whom a pronoun means, in sentences from encyclopedia articles. People read it off the name."""
    rows = csv.DictReader(_lines(shared / "gap" / "gap-development.tsv.gz"), delimiter="\t", quoting=csv.QUOTE_NONE)
    for row in rows:
        text, at, pronoun = row["Text"], int(row["Pronoun-offset"]), row["Pronoun"].lower()
        names = [row[name] for name in "AB" if row[f"{name}-coref"] == "TRUE"]
        end = re.search(r"(?<=[a-z\d]{3})[.!?](?= |$)", text[at:])
        if len(names) == 1 and end and re.fullmatch(r"[\w .,;:'()-]+", text) and "--" not in text:
            begun = f'{text[: at + end.end()]} In the last sentence, "{pronoun}" refers to'
            if text.find(names[0]) < at and _count(begun) <= 130:
                yield _item("gap", begun, names[0].split()[0], names[0])


def winobias(shared: Path) -> Iterator[Item]:
    """Whom a pronoun means, of two people with their trades."""
    trades = {
        trade for each in ("female", "male") for trade in _lines(shared / "winobias" / f"{each}_occupations.txt.gz")
    }
    for number in (1, 2):
        for line in _lines(shared / "winobias" / f"pro_stereotyped_type{number}.txt.dev.gz"):
            marks = re.findall(r"\[(.+?)\]", line)
            text = re.sub(r"[\[\]]", "", line.split(" ", 1)[1]).replace(" 's", "'s").replace(" ,", ",")
            if len(marks) == 2 and re.fullmatch(r"[Tt]he \w+", marks[0]) and text.endswith("."):
                trade = marks[0].split()[1]
                others = [word for word in re.findall(r"\w+", text) if word in trades and word != trade]
                begun = f'{text} The word "{marks[1].lower()}" refers to the'
                yield _item("winobias", begun, trade, trade, foil=others[0] if others else None)


BABI: dict[str, dict[str, str]] = {
    "qa1_single-supporting-fact": {r"Where is (\w+)\?": r"\1 is in the"},
    "qa2_two-supporting-facts": {r"Where is the (\w+)\?": r"The \1 is in the"},
    "qa5_three-arg-relations": {
        r"What did (\w+) give to (\w+)\?": r"\1 gave \2 the",
        r"Who gave the (\w+) to (\w+)\?": r"The one who gave the \1 to \2 was",
    },
    "qa11_basic-coreference": {r"Where is (\w+)\?": r"\1 is in the"},
    "qa12_conjunction": {r"Where is (\w+)\?": r"\1 is in the"},
    "qa14_time-reasoning": {r"Where was (\w+) before the (\w+)\?": r"Before the \2, \1 was in the"},
}
"""Task → its questions, each with the beginning of an answer."""

BABI_LINES = (2, 4, 6, 10, 20)
"""How many lines a story has at most, in turn."""


def babi(shared: Path, turn: int = 0) -> Iterator[Item]:
    """Stories of who went where with what. What decides is, in the lines that the data set names, the answer, and
    there and in the question each of those who are asked about."""
    with tarfile.open(shared / "babi_en_1k" / "babi_en.tar.xz") as files:
        for task, forms in BABI.items():
            member = files.extractfile(f"en/{task}_train.txt")
            assert member is not None
            yield from _drawn(_stories(io.TextIOWrapper(member, "utf-8"), forms), EACH // len(BABI), turn)


def _stories(lines: Iterable[str], forms: dict[str, str]) -> Iterator[Item]:
    story: dict[int, str] = {}
    for count, line in enumerate(lines):
        number, told = line.strip().split(" ", 1)
        if number == "1":
            story = {}
        if "\t" not in told:
            story[int(number)] = told
            continue
        question, answer, given = map(str.strip, told.split("\t"))
        form = next((form for form in forms if re.fullmatch(form, question)), None)
        supports = {int(each) for each in given.split()}
        needed = sum(number >= min(supports, default=0) for number in story)
        kept = [*story][-max(needed, BABI_LINES[count % len(BABI_LINES)]) :]
        if form is None or needed > max(BABI_LINES):
            continue
        text, facts = "", []
        for each in kept:
            if each in supports:
                facts.append((len(text), len(text) + len(story[each])))
            text += story[each] + " "
        begun = f"{text}{question} {re.sub(form, forms[form], question)}"
        asked = re.findall(r"(?<!^)\b[A-Z]\w+|(?<=the )\w+", question)  # names and things
        parts = {word: [*facts, (len(text), len(begun))] for word in asked} | {answer: facts}
        groups = ([span for part in parts[word] for span in places(begun, word, *part)] for word in (answer, *asked))
        yield Item("babi", begun, answer, tuple(map(tuple, groups)))


EXAMPLE = (
    "Our shop opens at nine. Question: When does the shop open? Answer: nine. "
    "Tom Miller painted the fence. Question: Who painted the fence? Answer: Tom Miller. "
)


def xquad(shared: Path) -> Iterator[Item]:
    """Questions after the sentence that answers them, and the sentence before it in every second text."""
    with gzip.open(shared / "xquad" / "xquad.en.json.gz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    for number, paragraph in enumerate(each for article in articles for each in article["paragraphs"]):
        context = paragraph["context"]
        ends = [0, *(match.end() for match in re.finditer(r"[.!?] (?=[A-Z])", context)), len(context) + 1]
        for asked in paragraph["qas"]:
            answer, at = asked["answers"][0]["text"], asked["answers"][0]["answer_start"]
            sentence = next(i for i, end in enumerate(ends[1:]) if at < end)
            first = ends[max(0, sentence - number % 2)]
            told = context[first : ends[sentence + 1] - 1]
            word = answer.split()[0]
            if _count(answer) <= 2 and re.fullmatch(r"[A-Z]?[a-z]+|\d+", word) and word not in SMALL and answer in told:
                text = f"{EXAMPLE}{told} Question: {asked['question'].strip()} Answer:"
                begin = len(EXAMPLE) + at - first
                spans = [s for each in answer.split() for s in places(text, each, begin, begin + len(answer))]
                if spans and _count(text) <= 140:
                    yield Item("xquad", text, word, (tuple(spans),))
                    break  # one from each paragraph


CHOOSING = "What do people wear on their feet? Choices: hats, shoes, gloves. Answer: shoes. "


def cos_e(shared: Path) -> Iterator[Item]:
    """Questions with three choices. What decides are the words that people marked as the evidence, and the choice."""
    folder = shared / "cos_e_v1.0"
    asked = {each["id"]: each for each in map(json.loads, _lines(folder / "train_rand_split.jsonl.gz"))}
    for explained in map(json.loads, _lines(folder / "cose_train_v1.0.jsonl.gz")):
        row, marked = asked[explained["id"]], explained["explanation"]["selected"]
        stem, choices = row["question"]["stem"], {each["label"]: each["text"] for each in row["question"]["choices"]}
        answer = choices[row["answerKey"]]
        words = [word for word in re.findall(r"[\w'-]+", marked) if word.lower() not in SMALL]
        at = stem.find(marked)
        if at < 0 or not 0 < len(words) <= 3 or not re.fullmatch("[a-z]+", answer) or not stem.endswith("?"):
            continue
        text = f"{CHOOSING}{stem} Choices: {', '.join(choices.values())}. Answer:"
        begin = len(CHOOSING) + at
        spans = [span for word in words for span in places(text, word, begin, begin + len(marked))]
        if spans:
            yield Item("cos-e", text, answer, (tuple(spans), tuple(places(text, answer, begin + len(marked)))))


SMALL = frozenset(
    "a an and are as at be but by can do does each for from has have he her him his how i if in into is it its of off "
    "on or other out over she so some something than that the their them there they this to two up was were what when "
    "where which while who will with would you your might could likely around down him himself "
    "herself themselves".split()
)
"""Words that carry little alone."""


def captions(shared: Path) -> Iterator[Item]:
    """What is seen in a photograph, up to its last word. Nobody marked what decides."""
    for line in _lines(shared / "multi30k" / "train.en.gz"):
        match = re.fullmatch(r"([A-Z][\w ,'-]+ (?:an?|the|his|her|their) [a-z]+) ([a-z]+)\.", line)
        if match and not {match[1].split()[-1], match[2]} & SMALL and _count(match[1]) >= 12:
            yield _item("caption", match[1], match[2])


def chats(shared: Path) -> Iterator[Item]:
    """Requests as people make them of an assistant, every third one after another turn."""
    before = ""
    for number, task in enumerate(map(json.loads, _lines(shared / "self_instruct" / "seed_tasks.jsonl.gz"))):
        case = task["instances"][0]
        request = f"User: {task['instruction'].strip()}" + (f"\n{case['input'].strip()}" if case["input"] else "")
        text = f"{before if number % 3 == 2 else ''}{request}\nAssistant:"
        if _count(text) <= 130:
            yield Item("chat", text, None, ())
        before = f"{request}\nAssistant: {case['output'].strip()}\n"


# ---- made from patterns

NAMES = "width height count total first second left price size value speed limit".split()

CODE = (
    ("def area({0}, {1}):\n    return {0} *", "{1}", "{1}"),
    ("{0} = 3\n{1} = 4\nif {0} < {1}:\n    {0} =", "{1}", "{1}"),
    ("class Box:\n    def __init__(self, {0}, {1}):\n        self.{0} = {0}\n        self.{1} =", "{1}", "{1}"),
    ("with open({0}) as {1}:\n    for line in", "{1}", "{1}"),
    ("{0} = 0\nfor {1} in range(10):\n    {0} +=", "{1}", "{1}"),
    ("{0}, {1} = {1},", "{0}", "{0}"),
    ("def largest({0}, {1}):\n    if {0} > {1}:\n        return {0}\n    else:\n        return", "{1}", "{1}"),
    ("for {0} in range(5):\n    print({0})\n\nfor {1} in", "range", "range"),
    ("if not isinstance({0}, str):\n    raise", "TypeError", "isinstance str"),
    ("import random\n\n{0} = [4, 5, 6]\nwhile {0}:\n    {1} = {0}.pop()\n    if {1} % 2 ==", "0", "2"),
    ("def find({0}, {1}):\n    if {1} in {0}:\n        return True\n    return", "False", "True"),
    ("# count down to zero\n{0} = 10\nwhile {0} > 0:\n    print({0})\n    {0} -=", "1", ""),
)
"""Python, what comes next, and the words that decide."""


def code(turn: int = 0) -> Iterator[Item]:
    """Small pieces of Python with names of variables drawn for each."""
    for pattern in CODE:
        pairs = [(one, two) for one, two in product(NAMES, NAMES) if one != two]
        yield from _drawn((_item("code", *(each.format(*pair) for each in pattern)) for pair in pairs), 3, turn)


SERIES = (
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "January February March April May June July August September October November December",
    "one two three four five six seven eight nine ten eleven twelve",
    "first second third fourth fifth sixth seventh eighth ninth tenth",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "2 4 6 8 10 12 14 16 18 20",
    "5 10 15 20 25 30 35 40 45 50",
    "20 19 18 17 16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1",
    "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune",
)

OPENINGS = ("", "The list goes like this: ", "We learned to say it by heart at school: ")


def lists() -> Iterator[Item]:
    """Series that everyone knows, where the last member decides, and two things by turns, where the other one does."""
    for series in map(str.split, SERIES):
        for opening, length in product(OPENINGS, (3, 4, 6)):
            for start in range(0, len(series) - length, 2):
                members = series[start : start + length]
                text = f"{opening}{', '.join(members)},"
                span = (len(text) - 1 - len(members[-1]), len(text) - 1)
                yield Item("list", text, series[start + length], ((span,),))
    for one, two in (("red", "blue"), ("cat", "dog"), ("north", "south"), ("tea", "coffee"), ("circle", "square")):
        yield _item("list", f"{one}, {two}, {one}, {two}, {one},", two, two)


OPPOSITES = (
    "soup hot cold, street empty crowded, door open closed, test easy difficult, glass full empty, uncle rich poor, "
    "box heavy light, knife sharp dull, answer right wrong, road wide narrow, music loud quiet, boy tall short, "
    "water deep shallow, room dark bright, shirt clean dirty, train late early, bread fresh stale, ground wet dry, "
    "dog big small, exam long short, winter warm cold, man young old, rope thick thin, river fast slow, "
    "teacher kind mean, floor smooth rough, pillow soft hard, girl happy sad, car cheap expensive, lesson good bad"
)

DENIALS = (
    "The {0} was not {1} at all. In fact, it was very",
    "The tea is not sweet, it is bitter. The house is not new, it is old. The {0} is not {1}, it is",
    "Everyone had told us that the {0} would be {1}, but when we got there it was not {1} at all. It was very",
)


def negations() -> Iterator[Item]:
    """What is not so, and hence the opposite: the word denied and the denial decide."""
    for each in OPPOSITES.split(", "):
        thing, word, opposite = each.split()
        for form in DENIALS:
            text = form.format(thing, word)
            denied = places(text, word)
            before = [places(text, "not", 0, denied[-1][0])[-1]]
            yield Item("negation", text, opposite, (tuple(denied), tuple(before)))


ADDING = (
    "{0} + {1} =",
    "1 + 1 = 2, 2 + 3 = 5, {0} + {1} =",
    "Question: What is 2 plus 3? Answer: 5. Question: What is {0} plus {1}? Answer:",
)


def sums() -> Iterator[Item]:
    """Sums of two numbers, both of which decide."""
    for one, two, form in product(range(2, 9), range(1, 9), ADDING):
        begin, text = form.index("{0}"), form.format(one, two)
        groups = [[span] for word in re.findall(r"\d", text[begin:]) for span in places(text, word, begin)]
        yield Item("sum", text, str(one + two), tuple(map(tuple, groups if one != two else groups[:2])))
