"""Token files: what went in comes out, a second run finds it, and memory does not grow with the text."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from limelight.errors import FileError, RequestError
from limelight.text.tokenizer import Tokenizer
from limelight.train import tokenfile as module
from limelight.train.parallel import world
from limelight.train.prepare import prepare
from limelight.train.tokenfile import TokenFile, fingerprint, prepare_pairs, prepare_texts
from limelight.train.tokenizers import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a b c d e f g"], "word", 50, document=True)


@pytest.mark.parametrize("held", [1, 5, 1 << 20])
def test_pairs_come_back(tmp_path: Path, tokenizer: Tokenizer, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD", held)
    pairs = [("a b c", "d"), ("a b c d", "e"), ("b", "f g"), ("", "a")] * 3
    file = prepare_pairs(pairs, (tokenizer, tokenizer), tmp_path / "x", longest=3)
    assert (len(file), file.dropped) == (12, 6)
    assert file.tokens.dtype == np.uint16
    texts = [tokenizer.decode(file[i].tolist()) for i in range(4)]
    assert texts == ["a b c", "d", "b", "f g"]
    assert TokenFile(tmp_path / "x").lengths(np.arange(4)).tolist() == [3, 1, 1, 2]


def test_documents_have_a_beginning_and_an_end(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pieces = [("a b", False), (" c", True), ("d", True)]
    file = prepare_texts(pieces, tokenizer, tmp_path / "x", end=2)
    a, b, c, d = (tokenizer.encode("a b c d").ids)[:4]
    assert file.tokens.tolist() == [1, a, b, c, 2, 1, d, 2]


def test_a_large_vocabulary_takes_wider_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = " ".join(f"w{i}" for i in range(66_000))
    tokenizer = train_tokenizer([words.replace("w", "")], "word", 70_000)
    assert tokenizer.vocab > 1 << 16
    file = prepare_texts([("65999", True)], tokenizer, tmp_path / "x", end=2)
    assert file.tokens.dtype == np.uint32
    assert file.tokens.tolist() == [*tokenizer.encode("65999").ids, 2]


def test_nothing_left_and_a_damaged_folder(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(FileError, match="all 1 pairs are too long or empty"):
        prepare_pairs([("a b c", "d")], (tokenizer, tokenizer), tmp_path / "x", longest=2)
    assert not list(tmp_path.iterdir())
    file = prepare_texts([("a", True)], tokenizer, tmp_path / "y", end=2)
    assert len(file) == 1
    (tmp_path / "y/about.json").write_text("{}")
    with pytest.raises(
        FileError, match=r"about\.json is damaged: it is no longer what was written.*delete .*tokens\.bin, and the same"
    ):
        TokenFile(tmp_path / "y")


def test_a_fingerprint_covers_files_and_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    text = tmp_path / "a.txt"
    text.write_text("a b")
    other = train_tokenizer(["a b"], "character", 50)
    marks = {fingerprint([text], [tokenizer]), fingerprint([text], [other]), fingerprint([text], [tokenizer], 5)}
    assert fingerprint([text], [tokenizer]) in marks
    text.write_text("a b c")
    assert len(marks | {fingerprint([text], [tokenizer])}) == 4


def test_a_second_run_finds_what_the_first_made(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("".join(f"a b {i}\tc d {i}\n" for i in range(60)))
    options = {"task": "translate", "train": [str(tmp_path / "x.tsv")], "tokenizer": "word", "shared": False}
    with world() as alone:
        first = prepare(options, tmp_path / "run", alone)
        made = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
        second = prepare(options, tmp_path / "run", alone)
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert first.run.settings == second.run.settings
    assert (len(first.validation), len(first.training)) == (1, 59)
    source, target = second.tokenizers
    assert source.decode(source.encode("a d").ids) == "a"
    assert target.decode(target.encode("a d").ids).strip() == "d"


def test_bad_input_is_answered_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "x.en").write_text("a\nb\n")
    (tmp_path / "x.de").write_text("a\n")
    with world() as alone:
        for options, error, message in [
            ({"task": "translate", "train": [str(tmp_path / "x.en"), str(tmp_path / "x.de")]}, FileError, "2 lines"),
            ({"task": "translate"}, RequestError, "needs a task"),
            ({"task": "generate", "train": [str(tmp_path / "x.ende")]}, FileError, r"did you mean 'x\.en'|'x\.de'"),
        ]:
            with pytest.raises(error, match=message):
                prepare(options, tmp_path / "run", alone)
    assert not (tmp_path / "run").exists()


def test_memory_does_not_grow_with_the_text() -> None:
    program = "import large_text; print(*large_text.prepare(3)); print(*large_text.prepare(20))"
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here.parent.parent}:{here}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    small, large = ([int(number) for number in line.split()] for line in done.stdout.splitlines())
    assert large[0] > 19e6
    assert large[1] > 3e6
    assert small[2] < 80e6
    assert large[2] < 20e6  # beyond what the small one took; the text alone has as many bytes
