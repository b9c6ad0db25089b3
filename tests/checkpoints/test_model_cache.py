"""The folder of fetched models: what is remembered of a file, who waits for whom, and how far a transfer is."""

import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from limelight.checkpoints import cache, catalog, hub, source
from limelight.checkpoints.catalog import CatalogEntry, Wheel

DIGEST = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # sha256 of "foo"


@pytest.mark.parametrize(("name", "behind"), [("LIMELIGHT_HOME", ()), ("XDG_CACHE_HOME", ("limelight",))])
def test_a_folder_that_the_user_names_may_be_short(
    name: str, behind: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("LIMELIGHT_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for said in ("~/kept", "kept", str(tmp_path / "kept")):
        monkeypatch.setenv(name, said)
        assert cache.home() == tmp_path.joinpath("kept", *behind)
        assert cache.model_folder("tiny") == tmp_path.joinpath("kept", *behind, "models", "tiny")


def test_a_marker_remembers_the_hash_and_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, marker = tmp_path / "a.gguf", tmp_path / "a.gguf.verified.json"
    assert not cache.verified(path, 3, DIGEST)
    path.write_bytes(b"foo")
    assert cache.sha256(path) == DIGEST
    right = {"sha256": DIGEST, "mtime_ns": path.stat().st_mtime_ns}
    for before in (
        None,
        "no JSON",
        "{}",
        json.dumps(right | {"mtime_ns": 0}),
        json.dumps(right | {"sha256": "0" * 64}),
    ):
        if before is not None:
            marker.write_text(before)
        assert cache.verified(path, 3, DIGEST)
        assert json.loads(marker.read_text()) == right
    marker.unlink()
    assert not cache.verified(path, 3, "0" * 64)
    assert not marker.exists()
    monkeypatch.setattr(cache, "_marker", lambda _: tmp_path / "none" / "marker")  # a folder that cannot be written to
    assert cache.verified(path, 3, DIGEST)


def test_one_holds_a_folder_while_another_waits(tmp_path: Path) -> None:
    folder, said = tmp_path / "deep" / "folder", list[str]()
    waits = threading.Event()

    def waiting() -> None:
        said.append("waiting")
        waits.set()

    def second() -> None:
        with cache.locked(folder, waiting):
            said.append("second")

    with cache.locked(folder, lambda: pytest.fail("nobody else is there")):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(5)
        said.append("first")
    thread.join(5)
    assert said == ["waiting", "first", "second"]
    assert [file.name for file in folder.iterdir()] == ["lock"]


def test_a_transfer_is_as_far_as_its_files_have_grown(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "other").write_bytes(bytes(50))
    (tmp_path / "part-0").write_bytes(bytes(3))
    seen: list[tuple[int, int, str]] = []
    grown = threading.Event()

    def progress(*step: Any) -> None:
        seen.append(step)
        if step[0] == 8:
            grown.set()

    with cache.watched(tmp_path, ("part", "more"), 10, "downloading", progress):
        assert seen == [(3, 10, "downloading")]
        (tmp_path / "deep" / "more.bin").write_bytes(bytes(5))
        assert grown.wait(5)
    assert seen[-1] == (10, 10, "downloading")
    assert {step[1:] for step in seen} == {(10, "downloading")}
    seen.clear()
    with cache.watched(tmp_path, ("other",), 10, "again", progress):
        assert seen == [(10, 10, "again")]  # no more than all
    with cache.watched(tmp_path, ("other",), 10, "again", None):
        pass


def test_what_models_do_is_listed_in_this_order() -> None:
    assert list(catalog.KINDS.items()) == [
        ("chat", "Chat"),
        ("complete", "Continue"),
        ("translate", "Translate"),
        ("fill", "Fill gaps"),
        ("embed", "Embed"),
        ("classify", "Classify"),
        ("", "Others"),
    ]


def test_a_row_says_no_more_than_it_must() -> None:
    carrier = Wheel("a==1", "a.whl", 1, DIGEST, "a/a.gguf")
    entry = CatalogEntry("a", "A", "llama", "MIT", "a.gguf", 2, DIGEST, carrier)
    wheel = {"requirement": "a==1", "file": "a.whl", "size": 1, "sha256": DIGEST, "member": "a/a.gguf", "beside": ()}
    facts = {"name": "a", "title": "A", "family": "llama", "licence": "MIT", "file": "a.gguf", "size": 2}
    empty = {"more": (), "terms": "", "kind": "", "good_for": "", "says": {}}
    assert asdict(entry) == facts | {"sha256": DIGEST, "wheel": wheel} | empty
    assert entry.wheels == (carrier,)


def test_the_list_tells_all_of_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_HOME", str(tmp_path))
    gguf = tmp_path / "hub.gguf"
    gguf.touch()
    monkeypatch.setattr(hub, "every", lambda: iter([hub.Cached("org/name", gguf, 7, "")]))
    rows = source.available()
    assert [row.name for row in rows] == [*catalog.catalog(), "org/name"]
    assert rows[-1] == source.Listed("org/name", "", "", "", 7, gguf, "complete", "")
    for row, entry in zip(rows, catalog.catalog().values(), strict=False):
        facts = (entry.title, entry.family, entry.licence, entry.size)
        assert row == source.Listed(entry.name, *facts, None, entry.kind, entry.good_for)
    first = next(iter(catalog.catalog().values()))
    path = tmp_path / "models" / first.name / first.file
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, first.size - 1)
    assert source.available()[0].path is None  # it has not arrived whole
    os.truncate(path, first.size)
    assert source.available()[0].path == path
