"""Marian's files, put together by hand: what stands in them, and each thing that cannot stand there."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints.refusals import refusal

from limelight.checkpoints import marian
from limelight.checkpoints.marian import FLOAT32, INT8, MOST, OPTIONS, TEXT, TEXT_LIMIT, is_npz
from limelight.checkpoints.reader import open_tensors
from limelight.errors import FileError

SAID = (OPTIONS, TEXT, (8,), b"type: x\0")
FLOATS = struct.pack("<6f", 1, 2, 3, 4, 5, 6)


def binary(*items: tuple[str, int, tuple[int, ...], bytes], version: int = 1, gap: int | None = None) -> bytes:
    """A ``.bin`` file of these items: name, type, shape and bytes."""
    head = struct.pack("<2Q", version, len(items))
    for name, kind, shape, data in items:
        head += struct.pack("<4Q", len(name) + 1, kind, len(shape), len(data))
    head += b"".join(name.encode() + b"\0" for name, *_ in items)
    head += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, _, shape, _ in items)
    space = -len(head) % 4
    return head + struct.pack("<Q", space if gap is None else gap) + bytes(space) + b"".join(d for *_, d in items)


def test_what_a_binary_file_holds(tmp_path: Path) -> None:
    path, whole = tmp_path / "model.bin", struct.pack("<8b", 1, 2, 3, 4, -5, 6, 7, -128)
    items = [
        SAID,
        ("W", FLOAT32, (2, 3), FLOATS),
        ("b", FLOAT32, (1, 2, 1, 3), FLOATS + bytes(4)),  # with room behind it
        ("special:more", TEXT, (4,), b"more"),
        ("Wemb", INT8, (2, 4), whole + struct.pack("<f", 2)),
        ("x_W", INT8, (2, 4), whole + struct.pack("<f", 0.5) + bytes(4)),
        ("x_W_QuantMultA", 0x4102, (1, 1), struct.pack("<f", 12.5)),
        ("last_b", FLOAT32, (3,), FLOATS[:12]),
    ]
    path.write_bytes(binary(*items))
    reader = open_tensors(path)
    assert reader.metadata == {OPTIONS: "type: x"}
    assert {name: (reader.shape(name), reader.dtype(name), reader.nbytes(name)) for name in reader.names()} == {
        "W": ((2, 3), "F32", 24),
        "b": ((1, 2, 1, 3), "F32", 28),
        "Wemb": ((2, 4), "F32", 12),
        "x_W": ((2, 4), "F32", 16),
        "x_W_QuantMultA": ((1, 1), "F32", 4),
        "last_b": ((3,), "F32", 12),
    }
    held = {name: reader.read(name) for name in reader.names()}
    assert all(isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32 for tensor in held.values())
    assert {name: tensor.tolist() for name, tensor in held.items() if isinstance(tensor, torch.Tensor)} == {
        "W": [[1, 2, 3], [4, 5, 6]],
        "b": [[[[1, 2, 3]], [[4, 5, 6]]]],
        "Wemb": [[0.5, 1, 1.5, 2], [-2.5, 3, 3.5, -64]],  # as they lie, divided by 2
        "x_W": [[2, 6, -10, 14], [4, 8, 12, -256]],  # output by output, divided by a half
        "x_W_QuantMultA": [[12.5]],
        "last_b": [1, 2, 3],
    }
    weight = reader.read("W")
    assert isinstance(weight, torch.Tensor)
    weight.zero_()
    assert path.read_bytes() == binary(*items)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, float("inf"), float("nan")])
def test_no_weight_was_multiplied_by_that(multiplier: float, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(binary(SAID, ("W", INT8, (2, 2), bytes(4) + struct.pack("<f", multiplier))))
    with pytest.raises(FileError) as refused:
        open_tensors(path).read("W")
    assert str(refused.value) == f"{path}: tensor 'W' was multiplied by {multiplier}, which cannot be"


def test_a_binary_file_may_end_nowhere(tmp_path: Path) -> None:
    data = binary(SAID, ("W", FLOAT32, (2, 3), FLOATS))
    names = len(OPTIONS) + 1 + 2
    parts = [
        (16, "ends within its first numbers"),
        (16 + 32, "ends within the header of item 0"),
        (16 + 64, "ends within the header of item 1"),
        (16 + 64 + names, "ends within the names"),
        (16 + 64 + names + 4 + 8, "ends within the shapes"),
        (16 + 64 + names + 12 + 8, "ends within the shapes"),
    ]
    for end, why in parts:
        assert refusal(tmp_path / "model.bin", data[: end - 1]) == why
    assert refusal(tmp_path / "model.bin", data[:-1]) == "tensor 'W' ends behind the file"


TYPED = "limelight reads float32 and intgemm's 8-bit, which marian-conv writes with --gemm-type float32 and intgemm8"


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ([], "claims 0 items; a model has from 1 to 16,384"),
        ([SAID, ("", FLOAT32, (1, 1), FLOATS)], "item 1 has a name of 1 bytes and 2 dimensions"),
        ([SAID, ("n" * 1024, FLOAT32, (1, 1), FLOATS)], "item 1 has a name of 1,025 bytes and 2 dimensions"),
        ([SAID, ("W", FLOAT32, (), FLOATS)], "item 1 has a name of 2 bytes and 0 dimensions"),
        ([SAID, ("W", FLOAT32, (1,) * 5, FLOATS)], "item 1 has a name of 2 bytes and 5 dimensions"),
        ([SAID, ("W", FLOAT32, (1, 6), FLOATS), ("W", FLOAT32, (1, 6), FLOATS)], "has an item twice"),
        ([SAID, ("W", 0x0202, (1, 6), FLOATS)], f"tensor 'W' is of the type 0x202; {TYPED}"),
        ([SAID, ("W", FLOAT32, (1, 7), FLOATS)], "tensor 'W' of the shape (1, 7) does not fit its 24 bytes"),
        ([SAID, ("W", FLOAT32, (0, 6), FLOATS)], "tensor 'W' of the shape (0, 6) does not fit its 24 bytes"),
        ([SAID, ("W", INT8, (3, 7), FLOATS)], "tensor 'W' of the shape (3, 7) does not fit its 24 bytes"),
        ([SAID, ("W", INT8, (8,), FLOATS)], "tensor 'W' of the shape (8,) does not fit its 24 bytes"),
        ([SAID, ("s", TEXT, (25,), FLOATS)], "tensor 's' of the shape (25,) does not fit its 24 bytes"),
        ([SAID, ("s", TEXT, (1,), b"s"), ("W", FLOAT32, (1,), FLOATS)],
         "tensor 'W' of the shape (1,) does not fit its 24 bytes"),  # which begin where no number can
        ([("W", FLOAT32, (1, 6), FLOATS)], f"no {OPTIONS}, which says what the model is, or one of more than 1 MB"),
        ([(OPTIONS, TEXT, (4,), b"\xff" * 4)], "holds a text that is not UTF-8"),
    ],
)  # fmt: skip
def test_items_that_cannot_be_are_named(items: list[Any], why: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "model.bin", binary(*items)) == why


def test_the_most_that_a_binary_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    text = (OPTIONS, TEXT, (TEXT_LIMIT,), b"a" * TEXT_LIMIT)
    path.write_bytes(binary(text, ("n" * 1023, FLOAT32, (1,), FLOATS)))
    assert open_tensors(path).names() == ("n" * 1023,)
    assert open_tensors(path).metadata == {OPTIONS: "a" * TEXT_LIMIT}
    longer = binary((OPTIONS, TEXT, (4,), b"a" * ((1 << 20) + 4)))
    assert refusal(path, longer) == f"no {OPTIONS}, which says what the model is, or one of more than 1 MB"
    head = struct.pack("<2Q", 1, MOST + 1)
    assert refusal(path, head) == "claims 16,385 items; a model has from 1 to 16,384"
    assert refusal(path, struct.pack("<2Q", 1, MOST)) == "ends within the header of item 0"


def test_a_gap_lies_within_the_file(tmp_path: Path) -> None:
    behind = len(binary(SAID)) - len(binary(SAID)[: 16 + 32 + len(OPTIONS) + 1 + 4 + 8])
    path = tmp_path / "model.bin"
    assert refusal(path, binary(SAID, gap=behind)) == f"tensor '{OPTIONS}' ends behind the file"
    why = f"the gap before its items is {behind + 1:,} bytes, more than there are"
    assert refusal(path, binary(SAID, gap=behind + 1)) == why


def npy(descr: str, shape: str, data: bytes = b"", order: str = "False", *, magic: bytes = b"\x93NUMPY\1\0") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}".encode()
    return magic + struct.pack("<H", len(text)) + text + data


def zipped(**members: bytes) -> bytes:
    """An ``.npz`` file with the options and these arrays."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {OPTIONS: npy("'|i1'", "(8,)", b"type: x\0"), **members}.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def test_what_an_npz_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    others = {"special:a": npy("'<i1'", "(1,)", b"a"), "special:b": npy("'|u1'", "(1, 1)", b"b")}
    path.write_bytes(zipped(W=npy("'<f4'", "(2, 3)", FLOATS), b=npy("'<f4'", "(1, 2, 1, 3)", FLOATS), **others))
    reader = open_tensors(path)
    assert reader.metadata == {OPTIONS: "type: x"}
    assert {name: (reader.shape(name), reader.dtype(name), reader.nbytes(name)) for name in reader.names()} == {
        "W": ((2, 3), "F32", 24),
        "b": ((1, 2, 1, 3), "F32", 24),
    }
    weight = reader.read("W")
    assert isinstance(weight, torch.Tensor)
    assert weight.tolist() == [[1, 2, 3], [4, 5, 6]]
    weight.zero_()  # which changes what was read, not what will be
    again = reader.read("W")
    assert isinstance(again, torch.Tensor)
    assert again.tolist() == [[1, 2, 3], [4, 5, 6]]


UNSOUND = "not a sound .npz file: W.npy"


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (npy("'<f4'", "(2, 3)", FLOATS, magic=b"\x93NUMPY\2\0"), f"{UNSOUND} is no array"),
        (npy("'<f4'", "(2, 3)" + " " * 968, FLOATS), f"{UNSOUND} has a header of 1,025 bytes"),
        (npy("'<f4'", "(2, 3)", FLOATS, "True"), f"{UNSOUND} is no array in the order of C"),
        (npy("'<f4'", "(2, 3)", FLOATS, "0"), f"{UNSOUND} is no array in the order of C"),
        (b"\x93NUMPY\1\0\2\0[]", f"{UNSOUND} is no array in the order of C"),
        (npy("'<f8'", "(1, 3)", FLOATS), f"{UNSOUND} holds '<f8', no plain numbers"),
        (npy(f"'{'x' * 50}'", "(2, 3)"), f"{UNSOUND} holds '{'x' * 39}, no plain numbers"),
        (npy("'<f4'", "[2, 3]", FLOATS), f"{UNSOUND} holds '<f4', no plain numbers"),
        (npy("'<f4'", "(0,)"), f"{UNSOUND} has the shape (0,)"),
        (npy("'<f4'", "(True, 6)", FLOATS), f"{UNSOUND} has the shape (True, 6)"),
        (npy("'<f4'", "(2, 4)", FLOATS), f"{UNSOUND} has the shape (2, 4), which does not fit its bytes"),
        (npy("'<f4'", "(2, 2)", FLOATS), f"{UNSOUND} has the shape (2, 2), which does not fit its bytes"),
        (npy("'<f4'", "()", FLOATS[:4]), "array 'W' is of the type float32 and shape (), no weight of Marian's"),
        (npy("'<f4'", "(1, 1, 1, 2, 3)", FLOATS),
         "array 'W' is of the type float32 and shape (1, 1, 1, 2, 3), no weight of Marian's"),
        (npy("'|u1'", "(2, 2)", b"abcd"), "array 'W' is of the type uint8 and shape (2, 2), no weight of Marian's"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_are_named(array: bytes, why: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "model.npz", zipped(W=array)) == why


def test_the_most_that_an_npz_file_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, weight = tmp_path / "model.npz", npy("'<f4'", "(2, 3)", FLOATS)
    path.write_bytes(zipped(W=npy("'<f4'", "(2, 3)" + " " * 967, FLOATS)))  # a header of 1,024 bytes
    assert open_tensors(path).names() == ("W",)
    monkeypatch.setattr(marian, "MOST", 2)
    assert open_tensors(path).names() == ("W",)
    assert refusal(path, zipped(W=weight, b=weight)) == "holds 3 arrays; a model has at most 2"
    monkeypatch.setattr(marian, "TEXT_LIMIT", 8)
    path.write_bytes(zipped(W=weight))
    assert open_tensors(path).names() == ("W",)
    monkeypatch.setattr(marian, "TEXT_LIMIT", 7)
    missing = f"no {OPTIONS}, which says what the model is; this is no model of Marian's"
    assert refusal(path, zipped(W=weight)) == missing


def test_an_array_that_was_damaged_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(zipped(W=npy("'<f4'", "(6000,)", FLOATS * 1000)).replace(FLOATS, bytes(24)))
    with pytest.raises(FileError) as refused:
        open_tensors(path).read("W")
    assert str(refused.value) == f"{path}: tensor 'W' cannot be read: Bad CRC-32 for file 'W.npy'"


def test_a_zip_of_arrays_alone_is_an_npz_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for members, expected in ((["a.npy"], True), (["a.npy", "b.npy"], True), (["a.npy", "b"], False), ([], False)):
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, b"")
        assert is_npz(path) == expected
    path.write_bytes(b"PK\3\4")
    assert not is_npz(path)
    assert not is_npz(tmp_path / "none")


def test_numpy_itself_wrote_such_a_file(tmp_path: Path) -> None:
    """Else the files made by hand would prove nothing."""
    text = np.frombuffer(b"type: x", np.int8)
    np.savez(tmp_path / "model.npz", **{OPTIONS: text}, W=np.arange(6, dtype=np.float32).reshape(2, 3))
    weight = open_tensors(tmp_path / "model.npz").read("W")
    assert isinstance(weight, torch.Tensor)
    assert weight.tolist() == [[0, 1, 2], [3, 4, 5]]
