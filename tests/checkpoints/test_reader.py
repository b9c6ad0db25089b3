"""What a file of weights is and which of a folder is read, told by first bytes and refused in whole sentences."""

import json
import struct
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from checkpoints.test_gguf import header, pair, part, tensor
from gguf.constants import GGMLQuantizationType, GGUFValueType
from safetensors import SafetensorError
from safetensors.torch import save_file

from limelight.checkpoints import files, reader
from limelight.checkpoints.files import OLD_TORCH, foreign, gguf_parts, head, holds_tensors, read_json
from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.safetensors import SafetensorsReader
from limelight.errors import FileError

F32 = GGMLQuantizationType.F32
EMPTY = struct.pack("<Q", 2) + b"{}"  # a safetensors file of no tensors


def refusal(path: Path) -> str:
    """Why something is not opened, behind its name."""
    with pytest.raises(FileError) as refused:
        open_tensors(path)
    assert str(refused.value).startswith(f"{path}: ")
    return str(refused.value).removeprefix(f"{path}: ")


def unreadable(*_: object, **__: object) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("first", "tensors"),
    [
        (b"GGUF", True),
        (b"GGU", False),
        (b"PK\3\4", True),
        (struct.pack("<Q", 1), True),
        (struct.pack("<Q", 2), False),
        (b"\x80\2" + OLD_TORCH, True),
        (b"\x80\3" + OLD_TORCH + b"more", True),
        (b"\x81\2" + OLD_TORCH, False),
        (b"\x80\2" + OLD_TORCH[1:], False),
        (EMPTY, True),
        (struct.pack("<Q", 10) + b"{}", True),  # as long as the file: the readers know better
        (struct.pack("<Q", 11) + b"{}", False),
        (struct.pack("<Q", 2) + b"[]", False),
        (b"", False),
    ],
)
def test_files_of_tensors_are_known_by_their_first_bytes(first: bytes, tensors: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(first)
    assert holds_tensors(tmp_path / "a") == tensors
    assert head(tmp_path / "a") == first[:16]
    assert not holds_tensors(tmp_path / "b")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileError) as refused:
        head(tmp_path)
    assert str(refused.value) == f"{tmp_path}: there is no such file, or it is not a regular one"
    path.write_text("{}")
    monkeypatch.setattr(Path, "open", unreadable)
    with pytest.raises(FileError) as refused:
        head(path)
    assert str(refused.value) == f"{path}: cannot be read: Input/output error"
    monkeypatch.setattr(Path, "read_bytes", unreadable)
    with pytest.raises(FileError) as refused:
        read_json(path, "it says how")
    assert str(refused.value) == f"{path}: cannot be read (Input/output error); it says how"


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("[]", dict, "holds a JSON list, not an object"),
        ("{}", list, "holds a JSON dict, not a list"),
        ("null", dict, "holds a JSON NoneType, not an object"),
        ("{", dict, "not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (None, dict, "cannot be read (No such file or directory); it says how"),
    ],
)
def test_small_json_is_an_object_or_a_list(text: str | None, kind: type, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FileError) as refused:
        read_json(path, "it says how", kind)
    assert str(refused.value) == f"{path}: {why}"


def test_a_config_has_a_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a":1}')
    monkeypatch.setattr(files, "CONFIG_LIMIT", 7)
    assert read_json(path, "") == {"a": 1}
    path.write_text('{"a": 1}')
    with pytest.raises(FileError) as refused:
        read_json(path, "")
    assert str(refused.value) == f"{path}: more than 7 bytes, which no model's config takes"
    with pytest.raises(FileError) as refused:
        read_json(tmp_path, "it says how")
    assert str(refused.value) == f"{tmp_path}: not a regular file; it says how"


def test_the_parts_of_a_model_in_several_gguf_files() -> None:
    names = ("a-b\n-00001-of-00003.gguf", "a-b\n-00002-of-00003.gguf", "a-b\n-00003-of-00003.gguf")
    assert [gguf_parts(name) for name in names] == [names] * 3
    assert gguf_parts("-00001-of-00001.gguf") == ("-00001-of-00001.gguf",)
    assert len(gguf_parts("a-01024-of-01024.gguf")) == 1024
    for none in ("a-00000-of-00003", "a-00004-of-00003", "a-00001-of-01025", "a-00000-of-00000", "a-1-of-3", "a"):
        assert gguf_parts(f"{none}.gguf") == ()
    assert gguf_parts("a-00001-of-00003.gguf.old") == ()


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"\x89HDF\r\n", "an HDF5 file, as Keras writes them"),
        *((magic, "a GGML file of before GGUF") for magic in (b"lmgg", b"fmgg", b"tjgg")),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"(\xb5/\xfd", "compressed with zstd"),
        (b"%PDF-1.7", "a PDF document"),
        (b"version https://git-lfs",
         "a Git LFS pointer, which says where the file is; `git lfs pull` fetches it"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"<html><body>", "a web page"),
    ],
)  # fmt: skip
def test_what_people_take_for_models_is_called_by_its_name(first: bytes, kind: str, tmp_path: Path) -> None:
    assert foreign(first) == kind
    path = tmp_path / "model.safetensors"
    path.write_bytes(first)
    why = f"starts with {first[:8]!r}, which is none of GGUF, safetensors or a torch file; this is {kind}"
    assert refusal(path) == why


@pytest.mark.parametrize(
    ("name", "first", "bare"),
    [
        *((f"a{suffix}", b"x", True) for suffix in (".bin", ".pt", ".pth", ".pkl")),
        ("a.safetensors", b"\x80\4x", True),
        ("a.gguf", b"x", False),
    ],
)
def test_a_bare_pickle_is_not_opened(name: str, first: bytes, bare: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(first)
    assert foreign(first) is None
    pickle = "not a file that torch.save wrote, and a bare pickle may run code, so it is not opened; save it as"
    none = f"starts with {first!r}, which is none of GGUF, safetensors or a torch file"
    assert refusal(tmp_path / name) == (f"{pickle} safetensors" if bare else none)


def test_a_folder_of_several_says_which(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()  # a folder is no file
    assert refusal(tmp_path) == "no .safetensors, .gguf or torch (.bin, .pt, .pth) file in this folder"
    (tmp_path / "adapter_config.json").touch()
    adapter = "holds an adapter (LoRA), not a model; name the model that it belongs to"
    assert refusal(tmp_path) == adapter
    for number in range(5):
        (tmp_path / f"{number}.gguf").touch()
    names = "0.gguf, 1.gguf, 2.gguf, 3.gguf"
    assert refusal(tmp_path) == f"5 files could be the model ({names}); name the one to open"


def test_a_part_and_another_file_are_two_models(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(part(0, 2, "a"))
    second.write_bytes(part(1, 2, "b"))
    assert open_tensors(tmp_path).names() == ("a", "b")
    (tmp_path / "n.gguf").write_bytes(part(0, 1, "a", 1))
    names = "m-00001-of-00002.gguf, m-00002-of-00002.gguf, n.gguf"
    assert refusal(tmp_path) == f"3 files could be the model ({names}); name the one to open"


def split(count: bytes, kind: GGUFValueType, number: int = 0) -> bytes:
    pairs = [pair("split.count", kind, count), pair("split.no", GGUFValueType.UINT16, struct.pack("<H", number))]
    return header(pairs=pairs, tensors=[tensor("a", (2,), F32)], data=8)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (split(struct.pack("<h", -1), GGUFValueType.INT16), "metadata 'split.count' is -1, not a number of files"),
        (split(struct.pack("<h", 1025), GGUFValueType.INT16), "metadata 'split.count' is 1025, not a number of files"),
        (split(b"\1", GGUFValueType.BOOL), "metadata 'split.count' is True, not a number of files"),
        (split(struct.pack("<Q", 99) + b"9" * 99, GGUFValueType.STRING),
         f"metadata 'split.count' is '{'9' * 59}, not a number of files"),
        (split(struct.pack("<h", 1024), GGUFValueType.INT16),
         "metadata 'split.count' says that this is one part of 1024; "
         "they must be called NAME-00001-of-01024.gguf and so on, and lie side by side"),
        (split(struct.pack("<h", 3), GGUFValueType.INT16, number=1),
         "metadata 'split.count' says that this is one part of 3, but not the first; open that one"),
    ],
)  # fmt: skip
def test_a_part_without_the_others_says_how_they_are_called(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(data)
    assert refusal(tmp_path / "a.gguf") == why


def test_parts_are_called_by_their_place_and_count(tmp_path: Path) -> None:
    for name in ("m-00001-of-00003.gguf", "m-00002-of-00002.gguf"):
        (tmp_path / name).write_bytes(part(0, 2, "a"))
        says = "metadata 'split.count' says that this is one part of 2"
        called = "they must be called NAME-00001-of-00002.gguf and so on, and lie side by side"
        assert refusal(tmp_path / name) == f"{says}; {called}"
    first, second = (tmp_path / f"n-0000{number}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(split(struct.pack("<h", 2), GGUFValueType.INT16))  # which does not say how many tensors there are
    second.write_bytes(part(1, 2, "b", 9))
    both = open_tensors(first)
    assert {name: (both.dtype(name), both.nbytes(name)) for name in both.names()} == {"a": ("F32", 8), "b": ("F32", 8)}
    assert both.metadata == {"split.count": 2, "split.no": 0}
    second.write_bytes(part(0, 2, "b"))
    with pytest.raises(FileError) as refused:
        open_tensors(first)
    assert str(refused.value) == f"{second}: does not say that it is part 2 of 2"


def write_index(folder: Path, **index: Any) -> Path:
    save_file({"a": torch.ones(2)}, folder / "a.safetensors")
    (folder / "index").write_text(f" \n{json.dumps(index)}")  # without a suffix: it begins as JSON does
    return folder / "index"


def test_an_index_is_known_by_its_content_or_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_index(tmp_path, weight_map={"a": "a.safetensors"}, metadata=[1])
    assert open_tensors(path).names() == ("a",)
    assert open_tensors(path).metadata == {}
    monkeypatch.setattr(reader, "INDEX_LIMIT", path.stat().st_size)
    assert open_tensors(path).names() == ("a",)
    monkeypatch.setattr(reader, "INDEX_LIMIT", path.stat().st_size - 1)
    assert refusal(path) == f"an index of more than {path.stat().st_size - 1:,} bytes is not read"
    (tmp_path / "b.json").write_text("[]")
    assert refusal(tmp_path / "b.json") == "there is no 'weight_map' that says which tensor is in which file"


def test_index_and_files_name_the_same_tensors_first_to_last(tmp_path: Path) -> None:
    places = dict.fromkeys(("z", "a", "c"), "a.safetensors")
    missing = "tensor 'c' is missing, though index places it here"
    with pytest.raises(FileError) as refused:
        open_tensors(write_index(tmp_path, weight_map=places))
    assert str(refused.value) == f"{tmp_path / 'a.safetensors'}: {missing}"
    save_file({name: torch.ones(1) for name in ("y", "b", "c")}, tmp_path / "b.safetensors")
    path = write_index(tmp_path, weight_map={"a": "a.safetensors", "c": "b.safetensors"})
    with pytest.raises(FileError) as refused:
        open_tensors(path)
    assert str(refused.value) == f"{tmp_path / 'b.safetensors'}: holds tensor 'b', which index does not place here"
    path = write_index(tmp_path, weight_map={"a": 3})
    assert refusal(path) == "weight_map['a'] is 3, not the name of a file in the same folder"


def test_tensors_of_safetensors_come_as_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    entries = {name: {"dtype": "F16", "shape": [2], "data_offsets": [at, at + 4]} for name, at in (("a", 4), ("b", 0))}
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<4e", 1, 2, 3, 4))
    found = open_tensors(path)
    assert found.metadata == {}
    assert {name: (found.shape(name), found.dtype(name), found.nbytes(name)) for name in found.names()} == {
        "b": ((2,), "F16", 4),
        "a": ((2,), "F16", 4),
    }
    assert found.names() == ("b", "a")
    assert [cast("torch.Tensor", found.read(name)).tolist() for name in "ab"] == [[3, 4], [1, 2]]


def test_what_safetensors_cannot_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    text = json.dumps({"a": {"dtype": "F4", "shape": [16], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    assert refusal(path) == "tensor 'a' has the number type F4, which is not supported"
    path.write_bytes(EMPTY[:-1] + b"x")
    assert refusal(path).startswith("not a sound safetensors file: ")
    path.unlink()
    save_file({"a": torch.ones(2)}, path)
    found = SafetensorsReader(path)

    class Broken:
        def get_tensor(self, name: str) -> None:
            raise SafetensorError(f"no {name}")

    monkeypatch.setattr(found, "_file", Broken())
    with pytest.raises(FileError) as refused:
        found.read("a")
    assert str(refused.value) == f"{path}: tensor 'a' cannot be read: no a"
