"""Files of before torch's zip files: read as torch reads them, and nothing in them is ever run."""

import io
import os
import pickle
import struct
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import SHARED, Call, holds, number, tensors
from torch_files import outcome as outcome_of

from limelight.checkpoints import torchold
from limelight.checkpoints.files import holds_tensors
from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.torchold import OldTorchReader
from limelight.errors import FileError

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
outcome = partial(outcome_of, OldTorchReader)


def saved(state: Any, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    return file.getvalue()


def head() -> bytes:
    """The first three pickles."""
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, facts))


def view(numel: int, offset: int, size: list[int], stride: list[int], kind: bytes = b"FloatStorage") -> bytes:
    """A file {"w": a tensor of four floats}, described with whatever numbers."""
    tuples = [b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride)]
    storage = b"(X\7\0\0\0storagectorch\n" + kind + b"\nX\1\0\0\0" + b"0X\3\0\0\0cpu" + number(numel) + b"NtQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + b"".join(tuples)
    state = b"\x80\2}X\1\0\0\0w" + rebuild + b"\x89ccollections\nOrderedDict\n)RtRs."
    return head() + state + pickle.dumps(["0"], 2) + struct.pack("<q4f", 4, 1, 2, 3, 4)


@pytest.mark.parametrize("protocol", [2, 3])
def test_tensors_survive(protocol: int, tmp_path: Path) -> None:
    expected = tensors()
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(saved(expected, protocol))
    assert holds_tensors(path)
    reader = open_tensors(tmp_path)
    assert isinstance(reader, OldTorchReader)
    holds(reader, expected)


def test_tensors_without_a_number_keep_their_shape_and_kind(tmp_path: Path) -> None:
    expected = {"none": torch.empty(0, 3, dtype=torch.float16), "whole": torch.ones(2)}
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(saved(expected))
    reader = open_tensors(tmp_path)
    assert (reader.read("none").dtype, tuple(reader.read("none").shape)) == (torch.float16, (0, 3))


def test_a_module_and_what_lies_one_level_down(tmp_path: Path) -> None:
    module, path = torch.nn.BatchNorm1d(3), tmp_path / "model.pt"
    path.write_bytes(saved({"epoch": 3, "loss": 0.5, "state_dict": module.state_dict()}))
    reader = open_tensors(path)
    assert reader.names() == tuple(module.state_dict())
    assert torch.equal(reader.read("running_var"), module.running_var)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [2, 3])
def test_plain_values_are_what_pickle_reads(protocol: int, tmp_path: Path) -> None:
    numbers = [0, 255, 256, -1, 1 << 16, 1 << 31, -(1 << 40), 1.5, None, True, False]
    tuples = [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [1], [], {}, {"one": 1}, {1: "a", "b": (None, [])}]
    names = [f"name {n}" for n in range(300)]  # more than are remembered by a byte
    value = [*numbers, *tuples, names, "é" * 300, dict.fromkeys(names, names)]
    found = torchold._pickle(tmp_path, io.BytesIO(pickle.dumps(value, protocol)))
    assert found == value
    assert [type(each) for each in found] == [type(each) for each in value]


def test_what_python_2_wrote(tmp_path: Path) -> None:
    """Names as bytes, and an OrderedDict made of a list of pairs."""
    made = view(4, 0, [2, 2], [2, 1]).replace(b"X\7\0\0\0storage", b"U\7storage").replace(b"X\1\0\0\0w", b"U\1w")
    assert outcome(tmp_path / "model.pt", made) == "opened"
    entry = made[made.index(b"U\1w") : made.index(b"s.\x80\2]")]
    pairs = b"ccollections\nOrderedDict\n]](" + entry + b"ea\x85R."
    made = made.replace(b"}" + entry + b"s.", pairs)
    path = tmp_path / "model.pt"
    assert outcome(path, made) == "opened"
    value = open_tensors(path).read("w")
    assert isinstance(value, torch.Tensor)
    assert value.tolist() == [[1, 2], [3, 4]]


def test_numbers_are_read_only_from_their_own_storage(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    assert outcome(path, view(4, 1, [3], [1])) == "opened"
    before, value = path.read_bytes(), open_tensors(path).read("w")
    assert isinstance(value, torch.Tensor)
    assert value.tolist() == [2, 3, 4]
    value.zero_()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({"w": Call(os.mkdir, "x")}, r"the pickle names posix.mkdir, which no tensor needs and which could run code"),
        ({"w": Call(bytearray, 1 << 40)}, r"names (__builtin__|builtins).bytearray"),
        (Call(os.mkdir, "x"), "names posix.mkdir"),
        ({}, "holds a dict, not a dictionary of tensors"),
        ([torch.ones(2)], "holds a list, not"),
        ({"epoch": 3}, "entry 'epoch' is a int, not a named tensor"),
        ({3: torch.ones(2)}, "entry of a int is a View, not a named tensor"),
        ({"w": OrderedDict}, "entry 'w' is a Name, not a named tensor"),
        ({"w": torch.ones(1).expand(1000)}, r"tensor 'w' of shape \(1000,\) is larger than its data"),
        ({f"w{i}": SHARED[i:] for i in range(9)}, "they claim more than twice the file"),
        ({(1, 2): torch.ones(2)}, "a key that is a tuple"),
    ],
)
def test_anything_but_a_dictionary_of_tensors_is_refused(state: Any, match: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(saved(state))
    with pytest.raises(FileError, match=f"bad.pt: .*({match})"):
        open_tensors(path)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (view(1 << 40, 0, [1 << 40], [1]), "they claim more than twice the file"),
        (view(5, 0, [5], [1]), "says two lengths of one"),
        (head() + b"\x80\2(X\6\0\0\0moduleNNNtQ.", "holds a module, which is code"),
        (view(4, 0, [5], [1]), "larger than its data"),
        (view(4, 0, [2], [1 << 40]), "reaches past its data"),
        (view(4, 4, [1], [1]), "reaches past its data"),
        (view(4, 0, [0, 1 << 40, 1 << 40], [1, 1, 1]), "larger than its data"),
        (view(4, -1, [1], [1]), "something else than whole numbers"),
        (view(4, 0, [1] * 9, [1] * 9), "a storage and sizes"),
        (view(4, 0, [1], [1, 1]), "a storage and sizes"),
        (view(4, 0, [2], [1], b"ComplexFloatStorage"), "torch.ComplexFloatStorage, which is no storage"),
        (view(4, 0, [4], [1])[:-1], "ends within the numbers of a tensor"),
        (view(4, 0, [4], [1]).replace(pickle.dumps(["0"], 2), pickle.dumps([], 2)), "no numbers for the storage 0"),
        (view(4, 0, [4], [1]).replace(pickle.dumps(["0"], 2), pickle.dumps(["0", "0"], 2)), "does not fit its tensors"),
        (view(4, 0, [4], [1]).replace(b"little_endianq\2\x88", b"little_endianq\2\x89"), "big-endian"),
        (head() + b"\x80\2}" + b"h\0" * 9 + b".", "not a sound file of tensors"),
        (head() + b"\x80\2(i__builtin__\nlist\n.", "the instruction INST, which no tensor needs"),
        (head() + b"\x80\2X\xff\xff\xff\xff.", "not a sound file of tensors"),
        (head(), "not a sound file of tensors"),
    ],
)
def test_a_hostile_file_is_refused(data: bytes, match: str, tmp_path: Path) -> None:
    assert match in outcome(tmp_path / "bad.pt", data)


def test_a_list_is_not_gone_through_again_and_again(tmp_path: Path) -> None:
    """Else a file of two megabytes takes hours."""
    pairs = b"(" + b"h\1" * 100_000 + b"e"
    program = b"\x80\2](X\1\0\0\0wN\x86q\1ccollections\nOrderedDict\nq\2]q\3" + pairs + b"e"
    program += b"h\2h\3\x85Ra" * 50_000 + b"."
    assert "not a dictionary of tensors" in outcome(tmp_path / "bad.pt", head() + program + pickle.dumps([], 2))


MODEL = saved({"a": torch.ones(5), "b": torch.zeros(2, 2).half()})
CHANGES = st.lists(st.tuples(st.integers(0, len(MODEL)), st.binary(min_size=1, max_size=5)), min_size=1, max_size=4)


@FUZZ
@given(changes=CHANGES)
def test_mutated_files_open_or_are_refused(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(MODEL)
    for at, new in changes:
        data[at : at + len(new)] = new
    assert outcome(tmp_path / "mutated.pt", bytes(data)).startswith(("opened", str(tmp_path)))


def call(name: str, *arguments: bytes) -> bytes:
    """The pickle of a call, within another."""
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(arguments) + b"tR"


def sizes(*numbers: int) -> bytes:
    return b"(" + b"".join(map(number, numbers)) + b"t"


def file(weight: bytes, keys: Any = ("0",), data: bytes = struct.pack("<q4f", 4, 1, 2, 3, 4)) -> bytes:
    """A file {"w": what the pickle `weight` makes}."""
    state = b"\x80\2}X\1\0\0\0w" + weight + b"s."
    return head() + state + pickle.dumps(list(keys) if isinstance(keys, tuple) else keys, 2) + data


def held(count: int = 4, key: bytes = b"X\1\0\0\0" + b"0", word: bytes = b"storage", behind: bytes = b"N") -> bytes:
    named = b"X" + struct.pack("<I", len(word)) + word
    return b"(" + named + b"ctorch\nFloatStorage\n" + key + b"X\3\0\0\0cpu" + number(count) + behind + b"tQ"


def test_older_calls_make_the_same_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    plain = call("torch._utils _rebuild_tensor", held(), number(1), sizes(2), sizes(2))
    assert outcome(path, file(plain)) == "opened"
    assert open_tensors(path).read("w").tolist() == [2, 4]  # type: ignore[union-attr]
    whole = call("torch._utils _rebuild_parameter", plain, b"\x88", b"}")
    assert outcome(path, file(whole)) == "opened"
    assert open_tensors(path).read("w").tolist() == [2, 4]  # type: ignore[union-attr]
    assert open_tensors(path).metadata == {}


def rebuilt(*arguments: bytes) -> bytes:
    return file(call("torch._utils _rebuild_tensor", *arguments))


NO_STORAGE = "its pickle describes no storage of a tensor"
NO_SIZES = "its pickle describes a tensor by something else than a storage and sizes"
NO_NUMBERS = "its pickle describes a tensor by something else than whole numbers"
ONE = number(0), sizes(1), sizes(1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (view(4, 0, [1], [1]).replace(b"P\x19.", b"P\x1a."), "it is of another version"),
        (head().replace(number(1001), number(1002)) + view(4, 0, [1], [1])[len(head()) :], "it is of another version"),
        (file(call("torch._utils _rebuild_tensor", held(), *ONE), keys={}), "it is of another version"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + b"\x80\2]." + view(4, 0, [1], [1])[len(
            head()) :], "its numbers are in big-endian order"),
        (rebuilt(number(1), *ONE), NO_SIZES),
        (rebuilt(held(), number(0), sizes(1), sizes(1, 1)), NO_SIZES),
        (rebuilt(held(), number(0), sizes(*[1] * 9), sizes(*[1] * 9)), NO_SIZES),
        (rebuilt(held(), number(0), b"]", b"]"), "its pickle has a list where a tuple belongs"),
        (rebuilt(held(), b"\x88", sizes(1), sizes(1)), NO_NUMBERS),
        (rebuilt(held(), number(0), sizes(1), sizes(-1)), NO_NUMBERS),
        (rebuilt(held(), number(0), sizes(1), sizes(1 << 48)), NO_NUMBERS),
        (rebuilt(held(-1), *ONE), NO_STORAGE),
        (rebuilt(held(key=b"K\0"), *ONE), NO_STORAGE),
        (rebuilt(held(word=b"stores"), *ONE), NO_STORAGE),
        (rebuilt(held(behind=b"K\1"), *ONE), NO_STORAGE),
        (head() + b"\x80\2}(N\x88u.", "its pickle has a key that is a NoneType"),
        (head() + b"\x80\2}K\1a.", "its pickle has a dict where a list belongs"),
        (head() + b"\x80\2]K\1K\1s.", "its pickle has a list where a dict belongs"),
        (head() + b"\x80\2cos\nmkdir\n]R.", "its pickle has a list where a tuple belongs"),
    ],
)  # fmt: skip
def test_a_pickle_of_something_else_is_refused(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    assert outcome(path, data) == f"{path}: not a sound file of tensors: {why}"


def test_a_tensor_may_be_this_large(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    eight = rebuilt(held(), number(0), sizes(*[1] * 7, 4), sizes(*[1] * 8))
    assert outcome(path, eight) == "opened"
    assert outcome(path, rebuilt(held(), number(0), sizes(1), sizes((1 << 48) - 1))) == "opened"
    assert outcome(path, rebuilt(held(), number(0), sizes(0, 1 << 20), sizes(1, 1))) == "opened"
    why = f"{path}: tensor 'w' of shape (0, 1048577) is larger than its data"
    assert outcome(path, rebuilt(held(), number(0), sizes(0, (1 << 20) + 1), sizes(1, 1))) == why
    past = f"{path}: tensor 'w' of shape (2,) reaches past its data"
    assert outcome(path, rebuilt(held(), number(0), sizes(2), sizes(4))) == past
    assert outcome(path, rebuilt(held(), number(0), sizes(2), sizes(3))) == "opened"


def test_tensors_may_claim_twice_the_file_and_no_more(tmp_path: Path) -> None:
    whole = torchold.View(torchold.Storage(torch.uint8, "0", 10), 0, (10,), (1,))
    views = {"a": whole, "b": whole}
    assert torchold._views(tmp_path, views, 10) == views
    with pytest.raises(FileError, match=r"they claim more than twice the file$"):
        torchold._views(tmp_path, views, 9)


def test_numbers_lie_where_the_list_says(tmp_path: Path) -> None:
    path, one = tmp_path / "model.pt", call("torch._utils _rebuild_tensor", held(), *ONE)
    unfit = f"{path}: the list of its storages does not fit its tensors"
    for keys in ((0,), ("0", "0"), ("1",), ("0", "1")):
        assert outcome(path, file(one, keys)) == unfit
    assert outcome(path, file(one, data=bytes(7))) == unfit
    lengths = f"{path}: ends within the numbers of a tensor, or says two lengths of one"
    assert outcome(path, file(one, data=struct.pack("<q4f", 3, 1, 2, 3, 4))) == lengths
    assert outcome(path, file(one, data=struct.pack("<q4f", 4, 1, 2, 3, 4)[:-1])) == lengths
    assert outcome(path, file(one, ())) == f"{path}: holds no numbers for the storage 0"
    long = call("torch._utils _rebuild_tensor", held(key=b"X" + struct.pack("<I", 50) + b"k" * 50), *ONE)
    assert outcome(path, file(long, ())) == f"{path}: holds no numbers for the storage {'k' * 40}"
