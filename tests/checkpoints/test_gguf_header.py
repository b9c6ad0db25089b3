"""GGUF headers field by field: sentences for what they cannot say, and the most and least that they may."""

import struct
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import refusals
from checkpoints.test_gguf import DEEP, F32, Q4_0, array, header, pair, string, tensor
from gguf.constants import GGMLQuantizationType, GGUFValueType

from limelight.checkpoints import gguf
from limelight.checkpoints.gguf import DEPTH_LIMIT, TENSOR_TYPES, GGUFReader
from limelight.checkpoints.reader import open_tensors

refusal = partial(refusals.refusal, opens=GGUFReader)

U8, U32, ARRAY, STRING = GGUFValueType.UINT8, GGUFValueType.UINT32, GGUFValueType.ARRAY, GGUFValueType.STRING
COUNTS = b"GGUF\3\0\0\0"


def ends(field: str, data: bytes) -> str:
    return f"{field} reaches past the end of the file at byte {len(data):,}; is it complete?"


def number(key: str, value: int) -> bytes:
    return pair(key, U32, struct.pack("<I", value))


SUPPORTED = ", ".join(kind.name for kind in TENSOR_TYPES.values())
ALIGNED = "not a power of two from 8 to 65536"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GGUX" + bytes(99), "magic is not 'GGUF'"),
        (b"GGU", ends("magic", b"GGU")),
        (b"GGUF\3\0\0", ends("version", b"GGUF\3\0\0")),
        (header(version=0), "version is 0; 2 and 3 are supported"),
        (header(version=4), "version is 4; 2 and 3 are supported"),
        (header(version=3 << 16), "version is stored in big-endian order, which is not supported; convert the file"),
        (header(version=3 << 15), "version is 98304; 2 and 3 are supported"),
        (COUNTS + struct.pack("<QQ", 65_537, 0), "tensor count is 65,537; at most 65,536 are allowed"),
        (COUNTS + struct.pack("<QQ", 0, 65_537), "metadata count is 65,537; at most 65,536 are allowed"),
        (COUNTS + struct.pack("<QQ", 1, 0) + bytes(15), ends("tensor count", bytes(39))),  # 24 bytes are the least
        (COUNTS + struct.pack("<QQ", 0, 1) + bytes(12), ends("metadata count", bytes(36))),
        (header(pairs=[string("") + bytes(9)]), "metadata key 0 has 0 bytes; 1 to 65,535 are allowed"),
        (header(pairs=[number("a", 1), string("k" * 65_536)]),
         "metadata key 1 has 65536 bytes; 1 to 65,535 are allowed"),
        (header(pairs=[number("a", 1), number("b", 1), number("a", 1)]), "metadata key 'a' appears twice"),
        (header(pairs=[string("a") + struct.pack("<IQ", 13, 0)]), "metadata 'a' has the unknown type 13"),
        (header(pairs=[pair("a", ARRAY, array(13, 1, bytes(32)))]),
         "metadata 'a': element type has the unknown type 13"),
        (header(pairs=[pair("a", GGUFValueType.BOOL, b"\2")]),
         "metadata 'a' holds a truth value that is neither 0 nor 1"),
        (header(pairs=[pair("a", ARRAY, DEEP)]), "metadata 'a' has arrays in arrays more than 4 deep"),
        (header(pairs=[number("general.alignment", 4)]), f"metadata 'general.alignment' is 4, {ALIGNED}"),
        (header(pairs=[number("general.alignment", 1 << 17)]), f"metadata 'general.alignment' is 131072, {ALIGNED}"),
        (header(pairs=[pair("general.alignment", STRING, string("9" * 99))]),
         f"metadata 'general.alignment' is '{'9' * 39}, {ALIGNED}"),
        (header(tensors=[tensor("t", (1,) * 5, F32)], data=32),
         "tensor 't' has 5 dimensions; at most 4 are supported"),
        (header(tensors=[tensor("s", (2,), F32), tensor("", (2,), F32)], data=99),
         "name of tensor 1 has 0 bytes; 1 to 65,535 are allowed"),
        (header(tensors=[tensor("t", (32,), 4)], data=32),
         f"tensor 't' has the type number 4; supported are {SUPPORTED}"),
        (header(tensors=[tensor("t", (256,), GGMLQuantizationType.Q8_K)], data=999),
         f"tensor 't' has the type Q8_K; supported are {SUPPORTED}"),
        (header(tensors=[tensor("t", (2, 0), F32)], data=32), "tensor 't' has the empty shape (2, 0)"),
        (header(tensors=[tensor("t", (32, 31), Q4_0)], data=999),
         "tensor 't' has shape (32, 31), whose columns are not a multiple of Q4_0's block of 32"),
        (header(tensors=[tensor("t", (1,), F32, 16)], data=32),
         "tensor 't' has the offset 16, not a multiple of the alignment 32"),
        (header(tensors=[tensor("t", (1,), F32), tensor("t", (1,), F32, 32)], data=64), "tensor 't' appears twice"),
        (header(tensors=[tensor("u", (1,), F32, 32), tensor("t", (9,), F32)], data=99),
         "tensor 'u' overlaps tensor 't'"),
        (header(tensors=[tensor("t", (9,), F32)], data=35),
         "tensor 't' ends at byte 100, but the file has 99; is it complete?"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_is_named(data: bytes, why: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.gguf", data) == why


@pytest.mark.parametrize(
    ("spoilt", "field"),
    [
        (string("a") + struct.pack("<I", 4), "metadata 'a'"),
        (string("name") + b"\4\0\0", "metadata 'name': type"),
        (string("a") + struct.pack("<IIQ", 9, 0, 1), "metadata 'a': length"),
        (string("a") + struct.pack("<IIQ", 9, 8, 1) + bytes(7), "metadata 'a': length"),
        (string("a") + struct.pack("<IIQ", 9, 9, 1) + bytes(11), "metadata 'a': length"),
        (string("a") + struct.pack("<IQ", 8, 3) + b"ab", "metadata 'a'"),
        (string("a") + struct.pack("<II", 9, 0), "metadata 'a': length"),
        (struct.pack("<Q", 9) + b"8 bytes!", "metadata key 0"),
    ],
)
def test_a_value_lies_within_the_file(spoilt: bytes, field: str, tmp_path: Path) -> None:
    data = COUNTS + struct.pack("<QQ", 0, 1) + spoilt
    assert refusal(tmp_path / "a.gguf", data) == ends(field, data)


@pytest.mark.parametrize(
    ("missing", "field"),
    [
        (1, "tensor 't': offset"),
        (9, "tensor 't': type"),
        (13, "tensor 't': shape"),
        (29, "tensor 't': number of dimensions"),
        (33, "name of tensor 1"),
        (34, "name of tensor 1: length"),
    ],
)
def test_a_tensor_is_described_to_its_end(missing: int, field: str, tmp_path: Path) -> None:
    described = tensor("s" * 30, (1,), F32) + tensor("t", (1, 2), F32, 32)  # the first makes up for what is missing
    data = (COUNTS + struct.pack("<QQ", 2, 0) + described)[:-missing]
    assert refusal(tmp_path / "a.gguf", data) == ends(field, data)


def test_a_header_may_be_this_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    nested = b"".join(array(ARRAY, 1, b"") for _ in range(DEPTH_LIMIT - 1)) + array(U8, 1, b"\7")
    numbers, more = pair("a", ARRAY, array(U8, 3, b"\1\2\3")), pair("b", ARRAY, array(U8, 2, b"\4\5"))
    pairs = [pair("n" * 65_535, ARRAY, nested), numbers, more, number("general.alignment", 8)]
    data = header(pairs=pairs, tensors=[tensor("t", (1, 1, 1, 2), F32, 8)], data=16)
    path.write_bytes(data)
    assert GGUFReader(path).metadata == {
        "n" * 65_535: [[[[7]]]],
        "a": [1, 2, 3],
        "b": [4, 5],
        "general.alignment": 8,
    }
    assert GGUFReader(path).shape("t") == (1, 1, 1, 2)
    monkeypatch.setattr(gguf, "VALUES_LIMIT", 9)  # four of the nested ones, and five others
    assert GGUFReader(path).names() == ("t",)
    monkeypatch.setattr(gguf, "VALUES_LIMIT", 8)
    assert refusal(path, data) == "metadata 'b': length is 2; at most 1 are allowed"
    end = 24 + 8 + 65_535 + 4 + 12 * DEPTH_LIMIT + 1 + len(numbers) + len(more) + len(pairs[-1]) + len(
        tensor("t", (1, 1, 1, 2), F32)
    )  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setattr(gguf, "HEADER_LIMIT", end)
    assert GGUFReader(path).names() == ("t",)
    monkeypatch.setattr(gguf, "HEADER_LIMIT", end - 1)
    assert refusal(path, data) == f"tensor 't': offset lies past byte {end - 1:,}, longer than a header may be"


def test_tensors_may_lie_in_another_order_and_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    described = [tensor("last", (2,), F32, 64), tensor("first", (8,), F32), tensor("middle", (2, 4), F32, 32)]
    head = header(tensors=described)
    path.write_bytes(head + struct.pack("<18f", *range(18)))
    reader = GGUFReader(path)
    assert reader.names() == ("last", "first", "middle")
    assert [reader.nbytes(name) for name in reader.names()] == [8, 32, 32]
    held = {name: reader.read(name) for name in reader.names()}
    assert {name: each.tolist() for name, each in held.items() if isinstance(each, torch.Tensor)} == {
        "last": [16, 17],
        "first": [*range(8)],
        "middle": [[*range(8, 12)], [*range(12, 16)]],
    }


@pytest.mark.parametrize("kind", [U8, GGUFValueType.INT64, GGUFValueType.FLOAT64, GGUFValueType.BOOL, STRING, ARRAY])
def test_arrays_may_be_empty(kind: GGUFValueType, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(COUNTS + struct.pack("<QQ", 0, 1) + pair("a", ARRAY, array(kind, 0, b"")))
    assert open_tensors(path).metadata == {"a": []}


def test_a_text_has_its_bytes_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    pairs = [pair("a", STRING, string("")), pair("b", STRING, string("zwölf")), pair("c", STRING, string(b"\xf0\x9f"))]
    path.write_bytes(header(pairs=pairs))
    found: Any = open_tensors(path).metadata
    assert found == {"a": "", "b": "zwölf", "c": "\udcf0\udc9f"}


def test_an_empty_file_cannot_be_mapped(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.gguf", b"").startswith("cannot be mapped into memory: ")
