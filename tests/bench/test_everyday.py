"""The texts on which pictures are measured: whole words are marked, no text comes twice, and all is drawn alike."""

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.everyday import (
    BABI,
    BLIMP,
    CHOSEN_ON,
    LATER,
    Item,
    babi,
    blimp,
    by_hand,
    code,
    cos_e,
    gap,
    halves,
    items,
    lists,
    negations,
    places,
    sums,
    winobias,
    xquad,
)
from limelight.text.words import words

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
INVENTED = {"by hand": by_hand, "code": code, "list": lists, "negation": negations, "sum": sums}
with_data = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")


@pytest.fixture(scope="module")
def everyday() -> list[Item]:
    return items(SHARED)


def check(found: Sequence[Item]) -> None:
    """What holds for the texts of any kind."""
    assert found
    assert len(set(found)) == len(found)
    for item in found:
        assert item.text == item.text.strip()
        assert item.answer is None or re.fullmatch(r"\S+", item.answer)
        assert item.foil is None or (item.foil != item.answer and re.fullmatch(r"\S+", item.foil))
        spans = [span for group in item.deciding for span in group]
        assert len(set(spans)) == len(spans)
        assert all(item.deciding)
        whole = {(word.start, word.end) for word in words(item.text, [(at, at + 1) for at in range(len(item.text))])}
        assert {*spans} <= whole


def told(item: Item) -> tuple[str | None, list[list[str]]]:
    """Its answer and the deciding words."""
    return item.answer, [[item.text[start:end] for start, end in group] for group in item.deciding]


def one(found: Iterable[Item], text: str) -> Item:
    (item,) = {item for item in found if item.text == text}
    return item


def test_what_was_put_aside_is_none_of_the_others() -> None:
    """So that what is told of it was chosen on nothing of it."""
    later = {item.text for item in (*by_hand(LATER), *code(1))}
    check([*by_hand(LATER)])
    assert len(later) == len([*by_hand(LATER)]) + len([*code()])
    assert not later & {item.text for item in (*by_hand(), *code(), *sums())}


def test_a_word_is_found_where_it_stands_whole() -> None:
    assert places("cat, concat, cat's cat_1 category cat", "cat") == [(0, 3), (13, 18), (34, 37)]
    assert places("cat cat cat", "cat", 1, 8) == [(4, 7)]
    assert places("C++ and C", "C++") == [(0, 3)]


@pytest.mark.parametrize("kind", INVENTED)
def test_texts_that_need_no_data_are_well_formed(kind: str) -> None:
    found = [*INVENTED[kind]()]
    check([*dict.fromkeys(found)])
    assert {item.kind for item in found} == {kind}


def test_sixty_and_more_are_written_by_hand() -> None:
    found = [*by_hand()]
    assert len({item.text for item in found}) == len(found) >= 60
    assert sum(bool(item.deciding) for item in found) >= 60
    assert any(item.answer is None for item in found)
    lines = (ROOT / "benchmarks" / "everyday.tsv").read_text("utf-8").splitlines()
    for item, line in zip(found, lines, strict=True):  # a word that does not stand in the text would be lost
        groups = [group for group in line.split("\t")[2].split("|") if group]
        assert len(item.deciding) == len(groups), line
        found_words = {re.sub("'s$", "", item.text[start:end]) for group in item.deciding for start, end in group}
        assert found_words == {*" ".join(groups).split()}


def test_what_decides_is_marked_in_patterns() -> None:
    assert told(one(negations(), "The soup was not hot at all. In fact, it was very")) == ("cold", [["hot"], ["not"]])
    both = "Everyone had told us that the soup would be hot, but when we got there it was not hot at all. It was very"
    assert told(one(negations(), both)) == ("cold", [["hot", "hot"], ["not"]])
    assert told(one(lists(), "Monday, Tuesday, Wednesday,")) == ("Thursday", [["Wednesday"]])
    assert told(one(lists(), "red, blue, red, blue, red,")) == ("blue", [["blue", "blue"]])
    assert told(one(sums(), "3 + 4 =")) == ("7", [["3"], ["4"]])
    assert told(one(sums(), "3 + 3 =")) == ("6", [["3"], ["3"]])


def test_halves_hang_on_the_text_alone() -> None:
    found = [*by_hand()]
    chosen, told_on = halves(found)
    assert Counter(chosen + told_on) == Counter(found)
    assert halves(found[::-1]) == (chosen[::-1], told_on[::-1])
    assert halves(found[::3])[0] == [item for item in found[::3] if item in chosen]
    assert chosen
    assert told_on


# ---- each data set's format, in small


def write(folder: Path, name: str, lines: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def test_gap_asks_whom_the_pronoun_means(tmp_path: Path) -> None:
    header = "ID Text Pronoun Pronoun-offset A A-offset A-coref B B-offset B-coref URL".split()
    text = "Ada Lane met Bo Ray. Later Ray said that She was right. More."
    row = ["1", text, "She", str(text.index("She")), "Ada Lane", "0", "TRUE", "Bo Ray", "13", "FALSE", "x"]
    neither = [*row[:6], "FALSE", *row[7:]]
    write(tmp_path / "gap", "gap-development.tsv.gz", ["\t".join(each) for each in (header, row, neither)])
    (item,) = gap(tmp_path)
    assert item.text == text[:-6] + ' In the last sentence, "she" refers to'
    assert told(item) == ("Ada", [["Ada", "Lane"]])


def test_winobias_asks_for_the_trade_against_the_other(tmp_path: Path) -> None:
    lines = ["1 [The cook] thanked the clerk because [he] was kind.", "2 The clerk saw [the cook] 's hat ."]
    for number in (1, 2):
        write(
            tmp_path / "winobias", f"pro_stereotyped_type{number}.txt.dev.gz", lines[:1] if number == 1 else lines[1:]
        )
    for name, trade in (("male", "cook"), ("female", "clerk")):
        write(tmp_path / "winobias", f"{name}_occupations.txt.gz", [trade])
    (item,) = winobias(tmp_path)
    assert item.text == 'The cook thanked the clerk because he was kind. The word "he" refers to the'
    assert told(item) == ("cook", [["cook"]])
    assert item.foil == "clerk"


def test_babi_marks_the_lines_that_support_the_answer(tmp_path: Path) -> None:
    story = "1 Mary moved to the hall.\n2 John went to the hall.\n3 Where is John? \thall\t2\n"
    for task in BABI:
        (tmp_path / f"{task}_train.txt").write_text(story if task.startswith("qa1_") else "", "utf-8")
    (tmp_path / "babi_en_1k").mkdir()
    with tarfile.open(tmp_path / "babi_en_1k" / "babi_en.tar.xz", "w:xz") as files:
        for task in BABI:
            files.add(tmp_path / f"{task}_train.txt", f"en/{task}_train.txt")
    (item,) = babi(tmp_path)
    assert item.text == "Mary moved to the hall. John went to the hall. Where is John? John is in the"
    assert told(item) == ("hall", [["hall"], ["John", "John", "John"]])
    assert item.deciding[0][0] == places(item.text, "hall")[1]


def test_xquad_marks_the_answer_in_its_sentence(tmp_path: Path) -> None:
    context = "It rained. The old mill was built by Jan Smit in 1850. It burned down."
    asked = {"question": "Who built it?", "answers": [{"text": "Jan Smit", "answer_start": context.index("Jan")}]}
    paragraphs = [{"context": context, "qas": [asked]}]
    write(tmp_path / "xquad", "xquad.en.json.gz", [json.dumps({"data": [{"paragraphs": paragraphs * 2}]})])
    short, long = xquad(tmp_path)
    assert short.text.endswith("The old mill was built by Jan Smit in 1850. Question: Who built it? Answer:")
    assert "It rained. The old" in long.text
    assert "It rained" not in short.text
    assert told(short) == told(long) == ("Jan", [["Jan", "Smit"]])


def test_cos_e_marks_the_words_that_people_marked(tmp_path: Path) -> None:
    choices = [{"label": label, "text": text} for label, text in zip("ABC", ("shop", "house", "barn"), strict=True)]
    question = {"choices": choices, "stem": "If it is not for sale, where is it?"}
    write(
        tmp_path / "cos_e_v1.0",
        "train_rand_split.jsonl.gz",
        [json.dumps({"answerKey": "B", "id": "1", "question": question})],
    )
    write(
        tmp_path / "cos_e_v1.0",
        "cose_train_v1.0.jsonl.gz",
        [json.dumps({"id": "1", "explanation": {"selected": "not for sale"}})],
    )
    (item,) = cos_e(tmp_path)
    assert item.text.endswith("If it is not for sale, where is it? Choices: shop, house, barn. Answer:")
    assert told(item) == ("house", [["not", "sale"], ["house"]])


def test_blimp_moves_what_both_words_begin_with_into_the_text(tmp_path: Path) -> None:
    header = "one_prefix_prefix,one_prefix_word_good,one_prefix_word_bad,target"
    rows = ["x,y,z,x"] * CHOSEN_ON + ["Ann saw that,grocery store,grocery stores,that", "Ann saw,him,her,nobody"]
    write(tmp_path / "importance_targets", "one.csv.gz", [header, *rows])
    (item,) = blimp(tmp_path, "one")
    assert (item.kind, item.text, item.foil) == ("blimp one", "Ann saw that grocery", "stores")
    assert told(item) == ("store", [["that"]])


# ---- the data sets themselves


@with_data
def test_at_least_three_hundred_texts_of_every_kind_and_length(everyday: list[Item]) -> None:
    check(everyday)
    assert len({item.text for item in everyday}) == len(everyday) >= 300
    kinds = Counter(item.kind for item in everyday)
    assert {*kinds} == {*INVENTED, "gap", "winobias", "babi", "xquad", "cos-e", "caption", "chat"}
    assert min(kinds.values()) >= 30
    lengths = [len(item.text.split()) for item in everyday]
    assert sum(length <= 6 for length in lengths) >= 20
    assert sum(12 <= length <= 40 for length in lengths) >= 100
    assert sum(95 <= length <= 140 for length in lengths) >= 12
    assert max(lengths) <= 140
    unmarked = {item.kind for item in everyday if not item.deciding}
    assert unmarked == {"caption", "chat", "code", "by hand"}


@with_data
def test_no_kind_is_split_unevenly(everyday: list[Item]) -> None:
    chosen, told_on = (Counter(item.kind for item in half) for half in halves(everyday))
    for kind in chosen | told_on:
        assert abs(chosen[kind] - told_on[kind]) <= 4 + 0.05 * (chosen[kind] + told_on[kind]), kind


@with_data
def test_another_process_reads_the_same(everyday: list[Item]) -> None:
    command = (
        "import sys, pathlib; from benchmarks.everyday import items; print(hash_of(items(pathlib.Path(sys.argv[1]))))"
    )
    source = "import hashlib\ndef hash_of(found): return hashlib.sha256(repr(found).encode()).hexdigest()\n" + command
    run = [sys.executable, "-c", source, str(SHARED)]
    for seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        found = subprocess.run(run, env=env, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        assert found == hashlib.sha256(repr(everyday).encode()).hexdigest()


@with_data
@pytest.mark.parametrize("set", BLIMP)
def test_every_set_for_comparison_is_read(set: str) -> None:
    found = blimp(SHARED, set)
    check(found)
    assert len(found) >= 500
    assert all(item.foil and item.deciding for item in found)
