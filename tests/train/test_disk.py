"""What is kept on disk: whole or not at all, and said in a sentence where the file system refuses."""

import errno
import fcntl
import os
import re
import stat
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from limelight.errors import FileError, RequestError
from limelight.train import tokenfile
from limelight.train.disk import LOCK, locked, seal, unwritten, write, written
from limelight.train.report import Log
from limelight.train.run import Run
from limelight.train.settings import Settings
from limelight.train.tokenfile import TokenFile, fingerprint, prepared_from, write_sequences
from limelight.train.tokenizers import train_tokenizer

GOES_ON = (
    " cannot be written ({}); what was written before is whole: put that right and start the same command again, and it"
    " goes on from there"
)
FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_refusal_says_what_the_file_system_says() -> None:
    assert str(unwritten(Path("a"), FULL)) == "a" + GOES_ON.format("No space left on device")
    assert str(unwritten(Path("a"), SafetensorError("full"))) == "a" + GOES_ON.format("full")


def test_a_file_is_written_as_text_or_bytes_into_a_new_folder(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "c", "é")
    write(tmp_path / "a" / "b" / "c", b"\xff\n")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"\xff\n"
    with pytest.raises(FileError) as refused:
        write(tmp_path / "a" / "b", "x")
    assert str(refused.value).startswith(f"{tmp_path / 'a' / 'b'} cannot be written (")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b", "c"]  # and nothing half-written


def test_a_folder_takes_the_place_of_the_old_one_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "new" / "x"
    for name in ("old", "young"):
        with written(place) as beside:
            assert (beside.parent, beside.name[:3]) == (place.parent, ".x-")
            (beside / name).touch()
    assert [path.name for path in place.iterdir()] == ["young"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    for error, said in (
        (FULL, GOES_ON.format("No space left on device")),
        (SafetensorError("full"), GOES_ON.format("full")),
    ):
        with pytest.raises(FileError, match=f"^{re.escape(str(place) + said)}$"), written(place):
            raise error
    with pytest.raises(FileError, match=r"^nothing to learn from$"), written(place):
        raise FileError("nothing to learn from")
    with pytest.raises(FileError, match=re.escape(f"{place} cannot be written (")), written(place) as beside:
        raise FileError(f"{beside / 'part'} is full")
    within = place / "young" / "y"  # of a file
    with pytest.raises(FileError, match=re.escape(f"{within} cannot be written (")), written(within):
        pass
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["x", "young"]


@pytest.mark.parametrize(
    ("error", "free"), [(BlockingIOError, False), (PermissionError, False), (OSError(errno.ENOLCK, "no locks"), True)]
)
def test_a_folder_is_free_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, free: bool
) -> None:
    asked: list[int] = []

    def flock(file: int, how: int) -> None:
        asked.append(how)
        raise error

    monkeypatch.setattr(fcntl, "flock", flock)
    if free:
        with locked(tmp_path):
            assert stat.S_IMODE((tmp_path / LOCK).stat().st_mode) & 0o600 == 0o600
    else:
        with pytest.raises(RequestError) as refused, locked(tmp_path):
            pass
        assert str(refused.value) == (
            f"another training is at work in {tmp_path}; wait for it to end, or name another folder"
        )
    assert asked == [fcntl.LOCK_EX | fcntl.LOCK_NB]


def test_a_lock_that_its_owner_has_just_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: (tmp_path / LOCK).unlink())
    with pytest.raises(RequestError, match="another training is at work"), locked(tmp_path):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(FileError) as refused, locked(tmp_path / "file"):
        pass
    assert str(refused.value) == f"{tmp_path / 'file'} cannot be written (File exists); name another folder"


def test_a_log_on_a_full_disk_ends_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "log.jsonl", 0)
    log.write({"step": 1, "texts": ["é"]})
    assert log.path.read_text(encoding="utf-8") == '{"step": 1, "texts": ["é"]}\n'
    assert Log(log.path, 1).path.read_text(encoding="utf-8") == '{"step": 1, "texts": ["é"]}\n'
    assert Log(log.path, 0).path.read_text() == ""
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(FileError) as refused:
        log.write({"step": 2})
    assert str(refused.value) == str(log.path) + GOES_ON.format("Is a directory")


def test_checkpoints_that_cannot_go_or_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, Settings("generate"))
    run.save(5, {"a": torch.ones(2)}, {"é": 1}, Path.mkdir)
    place = tmp_path / "checkpoints" / "step-000005"
    assert (place / "state.json").read_text() == '{\n  "\\u00e9": 1\n}\n'
    assert run.checkpoint(5) == place
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(FULL))
    run.keep([5])
    with pytest.raises(FileError) as refused:
        run.keep([6])
    assert str(refused.value) == str(place) + GOES_ON.format("No space left on device")
    (place / "state.safetensors").write_bytes(b"12")
    seal(place)
    with pytest.raises(FileError, match=r"state\.safetensors cannot be read \("):
        list(run.tensors(5, ""))


@pytest.mark.parametrize(("vocab", "dtype"), [(1 << 16, "<u2"), ((1 << 16) + 1, "<u4")])
def test_a_token_file_says_what_it_holds(tmp_path: Path, vocab: int, dtype: str) -> None:
    file = write_sequences([[1, vocab - 1], None, [], [7], None], vocab, tmp_path / "x", "here")
    assert (file.highest, file.dropped, file.tokens.dtype.str, len(file)) == (vocab - 1, 2, dtype, 3)
    assert [file[index].tolist() for index in range(3)] == [[1, vocab - 1], [], [7]]
    assert (tmp_path / "x" / "about.json").read_text() == (
        f'{{"dtype": "{dtype}", "vocab": {vocab}, "dropped": 2, "origin": "here"}}\n'
    )
    assert prepared_from(tmp_path / "x") == "here"
    assert prepared_from(tmp_path) is None
    for text in ("{", "{}", "[]"):
        (tmp_path / "x" / "about.json").write_text(text)
        assert prepared_from(tmp_path / "x") is None
    for sequences, why in (([None] * 1234, ": all 1,234 pairs are too long or empty"), ([[]], "")):
        with pytest.raises(FileError) as refused:
            write_sequences(sequences, 9, tmp_path / "y", "")  # type: ignore[arg-type]
        assert str(refused.value) == f"nothing to learn from{why}; look at the data or raise the longest length"


def test_a_token_beyond_the_vocabulary_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(FileError) as refused:
        write_sequences([[1234]], 1234, tmp_path / "x", "")
    assert str(refused.value) == (
        f"{tmp_path / 'x'} is no token file (the token 1,234 is beyond a vocabulary of 1,234); delete"
        f" {tmp_path / 'x' / 'tokens.bin'}, and the same command makes it anew out of the files that it came from"
    )
    (tmp_path / "x" / "about.json").write_text('{"dtype": "<u2", "dropped": 0, "vocab": 1235}')
    seal(tmp_path / "x")
    assert TokenFile(tmp_path / "x").highest == 1234


def test_a_fingerprint_knows_how_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a.txt", "a.md", "a.tsv", "b.tsv", "a.csv", "a.jsonl", "a.po")
    for name in names:
        (tmp_path / name).write_text("a b\n")
    found = [fingerprint([tmp_path / name], []) for name in names]
    assert (found[0], found[2]) == (found[1], found[3])
    assert len({*found}) == 5  # running text, and each kind of table
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in found)
    assert fingerprint([tmp_path / "a.txt"], [], "x", 5) == fingerprint([tmp_path / "a.md"], [], "x", "5")
    tokenizer = train_tokenizer(["a b"], "word", 9)

    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied", "secret")

    with monkeypatch.context() as patch:
        patch.setattr(tokenfile, "sha256", refuse)
        with pytest.raises(FileError, match=r"^secret: cannot be read \(Permission denied\)$"):
            fingerprint([tmp_path / "a.txt"], [])
        with pytest.raises(FileError, match=r"^secret cannot be written \(Permission denied\)$"):
            fingerprint([], [tokenizer])
    monkeypatch.setattr(tokenfile, "TemporaryDirectory", lambda: (_ for _ in ()).throw(FULL))
    with pytest.raises(FileError, match=r"^a temporary file cannot be written \(No space left on device\)$"):
        fingerprint([], [tokenizer])


def test_only_what_was_made_and_stayed_empty_goes_again(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "kept").touch()
    assert sorted(os.listdir(tmp_path / "a" / "b")) == [LOCK, "kept"]
