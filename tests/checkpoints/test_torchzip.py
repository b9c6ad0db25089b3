"""The torch zip reader: plain dictionaries of tensors are read, and nothing in a file is ever run."""

import io
import json
import os
import pickle
import struct
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import refusals
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import SHARED, Call, holds, number, tensors
from torch_files import outcome as outcome_of

from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.torchzip import LIMIT, TUPLE_LIMIT, TorchZipReader
from limelight.errors import FileError

refusal = partial(refusals.refusal, opens=TorchZipReader)

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
outcome = partial(outcome_of, TorchZipReader)


def saved(state: Any) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def archive(program: bytes, data: bytes = b"", **options: Any) -> bytes:
    """A torch zip file around a pickle made by hand."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as zip:
        for name, content in [("data.pkl", program), ("byteorder", b"little"), ("data/0", data), ("version", b"3\n")]:
            zip.writestr(f"archive/{name}", content)
    return file.getvalue()


def weight(numel: int, offset: int, size: list[int], stride: list[int]) -> bytes:
    """The pickle of a float tensor, with whatever numbers."""
    tuples = [b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride)]
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpu" + number(numel) + b"tQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + b"".join(tuples)
    return rebuild + b"\x89ccollections\nOrderedDict\n)RtR"


def view(numel: int, offset: int, size: list[int], stride: list[int]) -> bytes:
    """The pickle of {"w": that tensor}."""
    return b"\x80\2}X\1\0\0\0w" + weight(numel, offset, size, stride) + b"s."


def test_tensors_survive(tmp_path: Path) -> None:
    expected = tensors()
    path = tmp_path / "pytorch_model.bin"
    torch.save(expected, path)
    for reader in (open_tensors(path), open_tensors(tmp_path)):
        holds(reader, expected)


def test_a_module_and_tied_tensors(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    state = module.state_dict()
    state["tied"] = state["weight"]
    path = tmp_path / "model.pt"
    torch.save(state, path)
    reader = open_tensors(path)
    one, two = reader.read("weight"), reader.read("tied")
    assert isinstance(one, torch.Tensor)
    assert isinstance(two, torch.Tensor)
    assert torch.equal(one, module.weight)
    assert one.data_ptr() == two.data_ptr()


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_nested_dictionary_is_found(key: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"epoch": 3, key: {"w": torch.ones(2)}}, path)
    assert open_tensors(path).names() == ("w",)


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model-1.bin")
    torch.save({"b": torch.zeros(3)}, tmp_path / "pytorch_model-2.bin")
    places = {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    reader = open_tensors(tmp_path)
    assert reader.names() == ("a", "b")
    assert reader.shape("b") == (3,)


def test_writing_into_a_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved({"w": torch.ones(4)}))
    before = path.read_bytes()
    value = open_tensors(path).read("w")
    assert isinstance(value, torch.Tensor)
    value.zero_()
    assert path.read_bytes() == before


def test_opening_does_not_read_the_tensors(tmp_path: Path) -> None:
    """A tensor of 4 GiB in a zip written as torch does it, but for the tensor's bytes, which are a hole."""
    path, size = tmp_path / "huge.pt", (1 << 32) - (1 << 16)
    head, tail = archive(view(size // 4, 0, [size // 4], [1]), b"?" * 4).split(b"????")
    head, tail = (part.replace(struct.pack("<II", 4, 4), struct.pack("<II", size, size)) for part in (head, tail))
    end = tail.index(b"PK\1\2")
    entries, trailer = tail[end : tail.index(b"PK\5\6")], bytearray(tail[tail.index(b"PK\5\6") :])
    version_at = struct.pack("<I", len(head) + 4)  # the only part behind the tensor
    entries = entries.replace(version_at, struct.pack("<I", len(head) + size))
    trailer[16:20] = struct.pack("<I", len(head) + size + end)
    with path.open("wb") as file:
        file.write(head)
        file.seek(size, os.SEEK_CUR)
        file.write(tail[:end] + entries + trailer)
    value = open_tensors(path).read("w")
    assert isinstance(value, torch.Tensor)
    assert value.shape == (size // 4,)
    assert value[-1] == 0


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_the_pickle_is_not_run(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    bad = {"w": Call(os.mkdir, str(trace))}
    data = io.BytesIO()
    torch.save(bad, data, pickle_protocol=protocol)
    message = outcome(tmp_path / "bad.pt", data.getvalue())
    assert not trace.exists()
    assert "bad.pt: " in message
    assert "data.pkl" in message
    legacy = io.BytesIO()
    torch.save(bad, legacy, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    names = r"the pickle names posix.mkdir, which no tensor needs and which could run code"
    bare = r"not a file that torch.save wrote, and a bare pickle may run code"
    for content, why in ((legacy.getvalue(), names if protocol == 2 else bare), (pickle.dumps(bad, protocol), bare)):
        (tmp_path / "old.pt").write_bytes(content)
        with pytest.raises(FileError, match=f"old.pt: {why}"):
            open_tensors(tmp_path / "old.pt")
    assert not trace.exists()
    torch.load(io.BytesIO(data.getvalue()), weights_only=False)
    assert trace.exists()  # the same file does run code where it is let


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({"w": Call(os.mkdir, "x")}, r"data.pkl names posix.mkdir, which no tensor needs and which could run code"),
        ({"w": Call(bytearray, 1 << 40)}, r"names (__builtin__|builtins).bytearray"),
        ({"w": Call(torch.UntypedStorage, 1 << 40)}, "names torch.storage.UntypedStorage"),
        ({"w": np.ones(3)}, r"names numpy.*_reconstruct"),
        (torch.nn.Linear(2, 2), "names torch.nn.modules.linear.Linear"),
        ({}, "holds a dict, not a dictionary of tensors"),
        ([torch.ones(2)], "holds a list, not"),
        (torch.ones(2), "holds a Tensor, not"),
        ({"epoch": 3}, "entry 'epoch' is a int, not a named tensor"),
        ({3: torch.ones(2)}, "entry of a int is a torch.float32, not a named tensor"),
        ({"w": torch.ones(1).expand(1000)}, r"tensor 'w' of shape \(1000,\) is larger than its data"),
        ({f"w{i}": SHARED for i in range(9)}, "they claim more than twice the file"),
        ({f"w{i}": SHARED[i:] for i in range(9)}, "they claim more than twice the file"),
    ],
)
def test_anything_but_a_dictionary_of_tensors_is_refused(state: Any, match: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(saved(state))
    with pytest.raises(FileError, match=match):
        open_tensors(path)


def test_attributes_of_the_dictionary_are_not_called(tmp_path: Path) -> None:
    item = b"X\1\0\0\0w" + weight(4, 0, [4], [1]) + b"s"
    attributes = b"}X\5\0\0\0itemsK\3sX\3\0\0\0getK\3sX\4\0\0\0keysK\3sb"
    program = b"\x80\2ccollections\nOrderedDict\n)R" + item + attributes + b"."
    assert outcome(tmp_path / "model.pt", archive(program, bytes(16))) == "opened"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (archive(view(4, 0, [4], [1]), bytes(16), compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (archive(bytes(1 << 28), compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (archive(b"\x80\2" + b"N0" * (LIMIT // 2) + b"N."), "data.pkl is longer than"),
        (archive(b"\x80\2}" + b")" + b"\x85" * (TUPLE_LIMIT + 1) + b"Ns."), "describes more than 5,000 tensors"),
        (archive(b"\x80\2}" + b")" + b"\x85" * TUPLE_LIMIT + b"Ns."), "entry of a tuple is a NoneType"),
        (archive(b"\x80\2X\xff\xff\xff\xff."), "data.pkl is not a sound pickle"),
        (archive(b"\x80\2}"), "data.pkl is not a sound pickle"),
        (archive(b"\x80\2" + b"0."), "weights-only loader refuses data.pkl"),
        (archive(view(1 << 40, 0, [1 << 40], [1]), bytes(16)), "data.pkl|larger than its data"),
        (archive(view(4, 0, [1 << 40], [0]), bytes(16)), "larger than its data"),
        (archive(view(4, 0, [1 << 62, 1 << 62], [0, 0]), bytes(16)), "data.pkl|larger than its data"),
        (archive(view(4, 0, [1 << 32, 1 << 32], [0, 0]), bytes(16)), "data.pkl|larger than its data"),
        (archive(view(4, 0, [2], [1 << 62]), bytes(16)), "data.pkl|larger than its data"),
        (archive(view(0, 0, [0, -1], []), bytes(16)), "larger than its data"),
        (archive(view(4, 1 << 40, [4], [1]), bytes(16)), "weights-only loader refuses"),
        (archive(view(4, -8, [4], [1]), bytes(16)), "weights-only loader refuses"),
        (archive(view(4, 0, [4], [-1]), bytes(16)), "weights-only loader refuses"),
        (archive(view(0, 0, [1 << 40], [1]), bytes(16)), "data.pkl|larger than its data"),
        (archive(view(4, 0, [4], [1]), bytes(16)) + b"x", "ambiguous"),
        (b"PK\3\4" + archive(view(4, 0, [4], [1]), bytes(16)), "ambiguous"),
        (b"PK\3\4" + bytes(99), "not a sound zip file"),
    ],
)
def test_a_hostile_file_is_refused(data: bytes, match: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.pt"
    path.write_bytes(data)
    with pytest.raises(FileError, match=f"hostile.pt: .*({match})"):
        open_tensors(path)


def test_the_handmade_file_is_good_otherwise(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    path = tmp_path / "model.pt"
    path.write_bytes(archive(view(4, 0, [2, 2], [2, 1]), struct.pack("<4f", 1, 2, 3, 4)))
    value = open_tensors(path).read("w")
    assert isinstance(value, torch.Tensor)
    assert value.tolist() == [[1, 2], [3, 4]]


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.pt"
    with zipfile.ZipFile(path, "w") as zip:
        zip.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(FileError, match=r"expected one data.pkl in the zip, found \[\]"):
        open_tensors(path)
    with zipfile.ZipFile(path, "w") as zip:  # as TorchScript has it
        zip.writestr("archive/data.pkl", b"\x80\2}.")
        zip.writestr("archive/constants.pkl", b"\x80\2).")
    with pytest.raises(FileError, match=r"expected one data\.pkl"):
        open_tensors(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = saved({"a": torch.ones(5), "b": torch.zeros(2, 2)})
    for end in range(0, len(data), 11):
        assert "not a sound zip file" in outcome(tmp_path / "short.pt", data[:end]), end


MODEL = saved({"a": torch.ones(5), "b": torch.zeros(2, 2).half()})
CHANGES = st.lists(st.tuples(st.integers(0, len(MODEL)), st.binary(min_size=1, max_size=5)), min_size=1, max_size=4)


@FUZZ
@given(changes=CHANGES)
def test_mutated_files_open_or_are_refused(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(MODEL)
    for at, new in changes:
        data[at : at + len(new)] = new
    assert outcome(tmp_path / "mutated.pt", bytes(data)).startswith(("opened", str(tmp_path)))


PROGRAM = view(4, 0, [4], [1])
OPCODES = st.sampled_from([*map(bytes, zip(b"()]}tsuaeQR.0:bNq\x85\x86\x87\x88\x8f\x90\x93\x94")), b"K\1", b"h\0"])
EDITS = st.lists(st.tuples(st.integers(2, len(PROGRAM)), st.one_of(OPCODES, st.binary(min_size=1, max_size=3))))


@FUZZ
@given(edits=EDITS, insert=st.booleans())
def test_mutated_pickles_open_or_are_refused(tmp_path: Path, edits: list[tuple[int, bytes]], insert: bool) -> None:
    program = bytearray(PROGRAM)
    for at, new in edits:
        program[at : at + (0 if insert else len(new))] = new
    data = archive(bytes(program), bytes(16))
    assert outcome(tmp_path / "mutated.pt", data).startswith(("opened", str(tmp_path)))


EDGES = st.sampled_from([0, 1, 2, 4, 5, -1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64])


@FUZZ
@given(numel=EDGES, offset=EDGES, size=st.lists(EDGES, max_size=3), stride=st.lists(EDGES, max_size=3))
def test_random_views_open_or_are_refused(
    tmp_path: Path, numel: int, offset: int, size: list[int], stride: list[int]
) -> None:
    data = archive(view(numel, offset, size, stride), bytes(16))
    assert outcome(tmp_path / "view.pt", data).startswith(("opened", str(tmp_path)))


def test_a_zip_has_one_directory_and_one_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, good = tmp_path / "a.pt", archive(view(4, 0, [4], [1]), bytes(16))
    ambiguous = "the zip's directory is ambiguous; torch did not write this file"
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    assert refusal(path, empty.getvalue()) == ambiguous
    assert refusal(path, good + b"x") == ambiguous
    twice = io.BytesIO()
    with zipfile.ZipFile(twice, "w") as zip:
        zip.writestr("a/data.pkl", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            zip.writestr("a/data.pkl", b"2")
    assert refusal(path, twice.getvalue()) == ambiguous
    at = good.rindex(b"PK\1\2")  # of the last part, whose place is said 42 bytes on
    away = good[: at + 42] + struct.pack("<I", len(good)) + good[at + 46 :]
    assert refusal(path, away) == "'archive/version' reaches past the end of the file"
    deflated = archive(view(4, 0, [4], [1]), bytes(99), compression=zipfile.ZIP_DEFLATED)
    assert refusal(path, deflated) == "'archive/data.pkl' is compressed; torch stores tensors as they are"
    for names, found in ((["a", "b"], []), (["1.pkl", "2.pkl", "3.pkl", "4.pkl"], ["1.pkl", "2.pkl", "3.pkl"])):
        several = io.BytesIO()
        with zipfile.ZipFile(several, "w") as zip:
            for name in names:
                zip.writestr(name, b"")
        assert refusal(path, several.getvalue()) == (
            f"expected one data.pkl in the zip, found {found}; not a file of tensors"
        )
    path.write_bytes(good)
    program = len(view(4, 0, [4], [1]))
    monkeypatch.setattr("limelight.checkpoints.torchzip.LIMIT", max(program, 400))
    assert TorchZipReader(path).metadata == {}
    assert TorchZipReader(path).names() == ("w",)
    longer = archive(b"\x80\2" + b"N0" * 300 + b"N.", bytes(16))
    assert refusal(path, longer) == f"data.pkl is longer than {max(program, 400):,} bytes; save the tensors in shards"


def test_what_is_no_dictionary_of_tensors_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for state, why in (
        ({"w": torch.ones(1), "epoch": 3}, "entry 'epoch' is a int, not a named tensor of numbers"),
        ({"w": torch.ones(1).to(torch.complex64)}, "data.pkl names torch.ComplexFloatStorage, which no tensor needs"),
        ({3: torch.ones(1)}, "entry of a int is a torch.float32, not a named tensor of numbers"),
        ({"state_dict": {}, "model": {"w": torch.ones(1)}}, "holds a dict, not a dictionary of tensors"),
    ):
        assert refusal(path, saved(state)).startswith(why)
    path.write_bytes(saved({"model": {"b": torch.ones(1)}, "state_dict": {"a": torch.ones(1)}}))
    assert TorchZipReader(path).names() == ("a",)
    path.write_bytes(saved({"state_dict": 3, "model": {"b": torch.ones(1)}}))
    assert TorchZipReader(path).names() == ("b",)
