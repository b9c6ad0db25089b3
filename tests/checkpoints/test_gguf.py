"""The GGUF reader: equal to the reference on good files, a FileError on all others."""

import math
import os
import re
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from limelight.checkpoints.gguf import DEPTH_LIMIT, HEADER_LIMIT, GGUFReader
from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.tensors import DTYPES
from limelight.errors import FileError
from limelight.quant.converted import PLACES as CONVERTED
from limelight.quant.packed import FORMATS, Packed

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: GGUFValueType, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, elements: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + elements


def tensor(name: str, shape: tuple[int, ...], dtype: int, offset: int = 0) -> bytes:
    dims = struct.pack(f"<{len(shape)}Q", *reversed(shape))
    return string(name) + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", dtype, offset)


def header(
    *, pairs: list[bytes] | None = None, tensors: list[bytes] | None = None, version: int = 3, data: int = 0
) -> bytes:
    """A GGUF file put together by hand, so that each of its parts can lie; ``data`` zero bytes of tensors."""
    pairs, tensors = pairs or [], tensors or []
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32 + data)


def blocks(format: str, rows: int, columns: int) -> np.ndarray:
    """Blocks of small bytes: as float16 scales they are small too."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[format]]
    return np.random.default_rng(len(format)).integers(0, 60, (rows, columns // block * size), dtype=np.uint8)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with every kind of value and of tensor, written by the reference."""
    path = tmp_path_factory.mktemp("gguf") / "good.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("u8", 200)
    writer.add_int8("i8", -100)
    writer.add_uint16("u16", 60_000)
    writer.add_int16("i16", -30_000)
    writer.add_uint32("u32", 4_000_000_000)
    writer.add_int32("i32", -2_000_000_000)
    writer.add_uint64("u64", 2**63)
    writer.add_int64("i64", -(2**62))
    writer.add_float32("f32", 0.1)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_string("text", "naïve 🙂\n")
    writer.add_array("strings", ["<0x0A>", "Ġthe", "", "日本"])
    writer.add_array("numbers", [1, 2, -3])
    writer.add_array("floats", [0.5, -1.5])
    writer.add_array("truths", [True, False])
    random = np.random.default_rng(0)
    for dtype in (np.float32, np.float16, np.float64):
        writer.add_tensor(np.dtype(dtype).name, random.normal(size=(3, 2, 5)).astype(dtype))
    for integer in (np.int8, np.int16, np.int32, np.int64):
        writer.add_tensor(np.dtype(integer).name, np.arange(-3, 4, dtype=integer))
    brain = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    writer.add_tensor("brain", brain.view(torch.uint8).numpy(), raw_dtype=GGMLQuantizationType.BF16)
    for format in (format for format in (*FORMATS, *CONVERTED) if format in GGMLQuantizationType.__members__):
        writer.add_tensor(format, blocks(format, 6, 512), raw_dtype=GGMLQuantizationType[format])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def refused(path: Path, data: bytes, match: str) -> None:
    path.write_bytes(data)
    with pytest.raises(FileError, match=match) as caught:
        open_tensors(path)
    assert str(path) in str(caught.value)


def outcome(path: Path, data: bytes) -> str:
    """Opens the file and reads all of it: either succeeds or raises FileError; anything else fails the test."""
    path.write_bytes(data)
    try:
        reader = GGUFReader(path)
        for name in reader.names():
            value = reader.read(name)
            assert tuple(value.shape) == reader.shape(name)
            assert reader.nbytes(name) <= len(data)
            assert value.nbytes == reader.nbytes(name) or reader.dtype(name) in CONVERTED
    except FileError as error:
        return str(error)
    return "opened"


def test_values_equal_those_written(good: Path) -> None:
    metadata = open_tensors(good).metadata
    assert metadata["general.architecture"] == "llama"
    assert (metadata["u8"], metadata["i8"], metadata["u16"], metadata["i16"]) == (200, -100, 60_000, -30_000)
    assert (metadata["u32"], metadata["i32"]) == (4_000_000_000, -2_000_000_000)
    assert (metadata["u64"], metadata["i64"]) == (2**63, -(2**62))
    assert (metadata["f32"], metadata["f64"]) == (np.float32(0.1).item(), 0.1)
    assert metadata["yes"] is True
    assert metadata["text"] == "naïve 🙂\n"
    assert metadata["strings"] == ["<0x0A>", "Ġthe", "", "日本"]
    assert metadata["numbers"] == [1, 2, -3]
    assert metadata["floats"] == [0.5, -1.5]
    assert metadata["truths"] == [True, False]


def test_tensors_equal_those_of_the_reference(good: Path) -> None:
    ours, theirs = open_tensors(good), gguf.GGUFReader(good)
    assert ours.names() == tuple(t.name for t in theirs.tensors)
    for reference in theirs.tensors:
        name = str(reference.name)
        value = ours.read(name)
        assert ours.dtype(name) == reference.tensor_type.name
        assert ours.shape(name) == tuple(value.shape) == tuple(reference.shape.tolist()[::-1])
        assert ours.nbytes(name) == reference.n_bytes
        assert value.nbytes == reference.n_bytes or name in CONVERTED
        if isinstance(value, Packed):
            expected = gguf.quants.dequantize(reference.data, reference.tensor_type)
            np.testing.assert_array_equal(value.dequantize().numpy(), expected.reshape(value.shape))
        else:
            assert value.dtype == DTYPES[ours.dtype(name)]
            assert value.contiguous().view(torch.uint8).numpy().tobytes() == reference.data.tobytes()


def test_writing_into_a_tensor_leaves_the_file_alone(good: Path) -> None:
    before = good.read_bytes()
    value = open_tensors(good).read("float32")
    assert isinstance(value, torch.Tensor)
    value.zero_()
    assert good.read_bytes() == before


def test_a_tensor_is_pickled_without_the_rest_of_the_file(good: Path) -> None:
    reader = GGUFReader(good)
    for name in set(reader.names()) - set(CONVERTED):  # which are made anew
        tensor = reader.read(name)
        storage = (tensor.data if isinstance(tensor, Packed) else tensor).untyped_storage()
        assert storage.nbytes() == reader.nbytes(name)


def test_low_bit_tensors_keep_their_leading_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "experts.gguf"
    path.write_bytes(header(tensors=[tensor("experts", (2, 3, 64), GGMLQuantizationType.Q8_0)], data=6 * 68))
    value = open_tensors(path).read("experts")
    assert isinstance(value, Packed)
    assert (tuple(value.data.shape), value.shape) == ((6, 68), (2, 3, 64))


def test_version_2_a_scalar_and_an_own_alignment(tmp_path: Path) -> None:
    path = tmp_path / "old.gguf"
    alignment = pair("general.alignment", GGUFValueType.UINT32, struct.pack("<I", 64))
    head = header(version=2, pairs=[alignment], tensors=[tensor("one", (), GGMLQuantizationType.F32, 64)])
    head += bytes(-len(head) % 64)
    path.write_bytes(head + bytes(64) + struct.pack("<f", 2.5))
    value = open_tensors(path).read("one")
    assert isinstance(value, torch.Tensor)
    assert value.shape == ()
    assert value.item() == 2.5


def test_bytes_that_are_not_text_can_be_had_back(tmp_path: Path) -> None:
    path = tmp_path / "bytes.gguf"
    tokens = pair("tokens", GGUFValueType.ARRAY, array(GGUFValueType.STRING, 2, string("é"[:1]) + string(b"\xf0\x9f")))
    path.write_bytes(header(pairs=[tokens]))
    first, second = open_tensors(path).metadata["tokens"]
    assert first == "é"
    assert second.encode("utf-8", "surrogateescape") == b"\xf0\x9f"


def test_nested_arrays(tmp_path: Path) -> None:
    path = tmp_path / "nested.gguf"
    inner = array(GGUFValueType.UINT8, 2, b"\1\2")
    path.write_bytes(header(pairs=[pair("n", GGUFValueType.ARRAY, array(GGUFValueType.ARRAY, 2, inner + inner))]))
    assert open_tensors(path).metadata["n"] == [[1, 2], [1, 2]]


def test_opening_reads_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "huge.gguf"
    rows = 1 << 22
    path.write_bytes(header(tensors=[tensor("huge", (rows, 1024), GGMLQuantizationType.F32)]))
    os.truncate(path, path.stat().st_size + rows * 4096)  # 16 GiB, all of it a hole
    value = open_tensors(path).read("huge")
    assert isinstance(value, torch.Tensor)
    assert value[-1, -1] == 0


def test_a_large_vocabulary_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    tokens = array(GGUFValueType.STRING, 100_000, b"".join(string(f"token {i}") for i in range(100_000)))
    path.write_bytes(header(pairs=[pair("tokens", GGUFValueType.ARRAY, tokens)]))
    assert GGUFReader(path).metadata["tokens"] == [f"token {i}" for i in range(100_000)]


F32, Q4_0 = GGMLQuantizationType.F32, GGMLQuantizationType.Q4_0
DEEP = b"".join(array(GGUFValueType.ARRAY, 1, b"") for _ in range(DEPTH_LIMIT + 1)) + array(GGUFValueType.UINT8, 0, b"")
LIES: dict[str, tuple[bytes, str]] = {
    "magic alone": (b"GGUF", "version reaches past the end"),
    "version": (header(version=1), "version is 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "tensor count": (b"GGUF\3\0\0\0" + struct.pack("<QQ", 1 << 63, 0), "tensor count is 9,223,"),
    "tensors not there": (b"GGUF\3\0\0\0" + struct.pack("<QQ", 1000, 0), "tensor count reaches past the end"),
    "metadata count": (b"GGUF\3\0\0\0" + struct.pack("<QQ", 0, 1 << 63), "metadata count is"),
    "key length": (header(pairs=[struct.pack("<Q", 1 << 62)]) + bytes(99), "metadata key 0 has 46116"),
    "key not text": (header(pairs=[string(b"\xff") + bytes(12)]), "metadata key 0 is not UTF-8"),
    "key twice": (header(pairs=[pair("a", GGUFValueType.BOOL, b"\1")] * 2), "metadata key 'a' appears twice"),
    "value type": (header(pairs=[string("a") + struct.pack("<IQ", 13, 0)]), "metadata 'a' has the unknown type 13"),
    "string length": (
        header(pairs=[pair("a", GGUFValueType.STRING, struct.pack("<Q", 2**64 - 1))]),
        "metadata 'a' reaches past the end",
    ),
    "truth value": (header(pairs=[pair("a", GGUFValueType.BOOL, b"\2")]), "metadata 'a' holds a truth value"),
    "truth values": (
        header(pairs=[pair("a", GGUFValueType.ARRAY, array(GGUFValueType.BOOL, 3, b"\0\1\2"))]),
        "metadata 'a' holds a truth value",
    ),
    "truth values not there": (
        header(pairs=[pair("a", GGUFValueType.ARRAY, array(GGUFValueType.BOOL, 1 << 10, b"\1"))]),
        "metadata 'a': length reaches past the end",
    ),
    "array length": (
        header(pairs=[pair("a", GGUFValueType.ARRAY, array(GGUFValueType.UINT8, 1 << 60, b""))]),
        "metadata 'a': length is",
    ),
    "array not there": (
        header(pairs=[pair("a", GGUFValueType.ARRAY, array(GGUFValueType.STRING, 1 << 20, b""))]),
        "metadata 'a': length reaches past the end",
    ),
    "array element": (
        header(pairs=[pair("a", GGUFValueType.ARRAY, array(99, 1, bytes(32)))]),
        "metadata 'a': element type has the unknown type 99",
    ),
    "array depth": (header(pairs=[pair("a", GGUFValueType.ARRAY, DEEP)]), "more than 4 deep"),
    "alignment": (
        header(pairs=[pair("general.alignment", GGUFValueType.UINT32, struct.pack("<I", 48))]),
        "'general.alignment' is 48",
    ),
    "alignment of none": (
        header(pairs=[pair("general.alignment", GGUFValueType.UINT32, struct.pack("<I", 0))]),
        "'general.alignment' is 0",
    ),
    "alignment absurd": (
        header(pairs=[pair("general.alignment", GGUFValueType.UINT64, struct.pack("<Q", 1 << 63))]),
        "'general.alignment' is 9223",
    ),
    "alignment no integer": (
        header(pairs=[pair("general.alignment", GGUFValueType.FLOAT32, struct.pack("<f", 32))]),
        r"'general.alignment' is 32\.0",
    ),
    "one part of several": (
        header(pairs=[pair("split.count", GGUFValueType.UINT16, struct.pack("<H", 3))]),
        "'split.count' says that this is one part",
    ),
    "tensor name": (header(tensors=[tensor("", (1,), F32)], data=32), "name of tensor 0 has 0 bytes"),
    "tensor twice": (
        header(tensors=[tensor("t", (1,), F32), tensor("t", (1,), F32, 32)], data=64),
        "tensor 't' appears twice",
    ),
    "dimensions": (header(tensors=[tensor("t", (1,) * 5, F32)], data=32), "tensor 't' has 5 dimensions"),
    "shape overflows": (
        header(tensors=[tensor("t", (1 << 63, 1 << 63, 2, 2), F32)], data=32),
        "tensor 't' ends at byte",
    ),
    "shape empty": (header(tensors=[tensor("t", (2, 0), F32)], data=32), "tensor 't' has the empty shape"),
    "columns": (header(tensors=[tensor("t", (32, 31), Q4_0)], data=999), "not a multiple of Q4_0's block of 32"),
    "low-bit scalar": (header(tensors=[tensor("t", (), Q4_0)], data=999), "not a multiple of Q4_0's block of 32"),
    "type unknown": (header(tensors=[tensor("t", (32,), 4)], data=32), "tensor 't' has the type number 4"),
    "type unsupported": (
        header(tensors=[tensor("t", (256,), GGMLQuantizationType.Q8_K)], data=99),
        "tensor 't' has the type Q8_K; supported are F32, F16, Q4_0",
    ),
    "offset misaligned": (header(tensors=[tensor("t", (1,), F32, 4)], data=32), "not a multiple of the alignment 32"),
    "offset far": (header(tensors=[tensor("t", (1,), F32, 1 << 63)], data=32), "tensor 't' ends at byte 9,223"),
    "overlap": (
        header(tensors=[tensor("t", (9,), F32), tensor("u", (1,), F32, 32)], data=99),
        "tensor 'u' overlaps tensor 't'",
    ),
    "truncated data": (header(tensors=[tensor("t", (9,), F32)], data=35), "tensor 't' ends at byte .* complete"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused_by_field(lie: str, tmp_path: Path) -> None:
    data, match = LIES[lie]
    refused(tmp_path / "lie.gguf", data, match)


@pytest.mark.parametrize(
    ("kind", "element", "value"),
    [
        (GGUFValueType.STRING, bytes(8), ""),
        (GGUFValueType.BOOL, bytes(1), False),
        (GGUFValueType.ARRAY, array(GGUFValueType.UINT8, 0, b""), []),
        (GGUFValueType.UINT8, bytes(1), 0),
        (GGUFValueType.FLOAT64, bytes(8), 0.0),
    ],
)
def test_a_file_may_end_with_the_smallest_values_of_a_kind(
    kind: GGUFValueType, element: bytes, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "small.gguf"
    path.write_bytes(header(pairs=[pair("a", GGUFValueType.ARRAY, array(kind, 99, element * 99))]))
    assert GGUFReader(path).metadata["a"] == [value] * 99


def test_a_header_longer_than_any_real_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    path.write_bytes(header(pairs=[pair("a", GGUFValueType.STRING, struct.pack("<Q", HEADER_LIMIT))]))
    os.truncate(path, 2 * HEADER_LIMIT)
    with pytest.raises(FileError, match="longer than a header may be"):
        open_tensors(path)


def test_every_truncation_is_refused(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    starts = len(data) - sum(math.ceil(t.n_bytes / 32) * 32 for t in gguf.GGUFReader(good).tensors)
    path = tmp_path / "short.gguf"
    for end in [*range(0, starts, 5), *range(starts, len(data) - 31, 499)]:
        assert re.search("past the end|ends at byte|cannot be mapped", outcome(path, data[:end])), end


def test_a_missing_tensor_is_named_with_the_nearest(good: Path) -> None:
    reader = open_tensors(good)
    for ask in (reader.shape, reader.dtype, reader.nbytes, reader.read):
        with pytest.raises(FileError, match="no tensor 'float31'; did you mean 'float32'"):
            ask("float31")


@FUZZ
@given(changes=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=9)), min_size=1, max_size=4))
def test_mutated_files_open_or_are_refused(good: Path, tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(good.read_bytes())
    for at, new in changes:
        data[at : at + len(new)] = new
    assert outcome(tmp_path / "mutated.gguf", bytes(data)).startswith(("opened", str(tmp_path)))


EDGES = st.sampled_from([0, 1, 2, 31, 32, 33, 255, 2**16, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])


@st.composite
def headers(draw: Any) -> bytes:
    kinds = st.sampled_from([*GGUFValueType, 13])
    keys = st.sampled_from(["a", "b", "general.alignment", "split.count"])
    number = EDGES.map(lambda n: struct.pack("<Q", n))
    body = st.one_of(st.binary(max_size=24), number, st.builds(array, kinds, EDGES, st.binary(max_size=24)))
    types = st.sampled_from([*GGMLQuantizationType, 4, 999])
    shapes = st.lists(EDGES, max_size=5).map(tuple)
    names = st.sampled_from(["s", "t", "u", "é"])
    pairs = draw(st.lists(st.builds(pair, keys, kinds, body), max_size=4))
    tensors = draw(st.lists(st.builds(tensor, names, shapes, types, EDGES), max_size=3))
    return header(pairs=pairs, tensors=tensors, version=draw(st.sampled_from([2, 3])), data=draw(st.integers(0, 99)))


@FUZZ
@given(data=headers())
@example(data=header())
def test_random_headers_open_or_are_refused(tmp_path: Path, data: bytes) -> None:
    assert outcome(tmp_path / "random.gguf", data).startswith(("opened", str(tmp_path)))


@FUZZ
@given(data=st.binary(max_size=200))
def test_random_bytes_open_or_are_refused(tmp_path: Path, data: bytes) -> None:
    assert outcome(tmp_path / "noise.gguf", b"GGUF\3\0\0\0" + data).startswith(("opened", str(tmp_path)))


def part(number: object, count: int, name: str, total: int = 2) -> bytes:
    """One file of a model in several, with a tensor of its own."""
    pairs = [
        pair("split.no", GGUFValueType.UINT16, struct.pack("<H", number)),
        pair("split.count", GGUFValueType.UINT16, struct.pack("<H", count)),
        pair("split.tensors.count", GGUFValueType.INT32, struct.pack("<i", total)),
    ]
    return header(pairs=pairs, tensors=[tensor(name, (2,), GGMLQuantizationType.F32)], data=8)


def test_a_model_in_parts_opens_by_the_first(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-{number:05d}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(part(0, 2, "a"))
    second.write_bytes(part(1, 2, "b"))
    for place in (first, tmp_path):
        reader = open_tensors(place)
        assert reader.names() == ("a", "b")
        assert reader.shape("b") == (2,)
        assert reader.read("b").tolist() == [0, 0]
    refused(second, part(1, 2, "b"), "but not the first; open m-00001-of-00002.gguf")
    for content, why in [
        (part(1, 2, "a"), "holds tensor 'a', which an earlier part holds too"),
        (part(0, 2, "b"), "does not say that it is part 2 of 2"),
        (part(1, 3, "b"), "does not say that it is part 2 of 2"),
    ]:
        second.write_bytes(content)
        with pytest.raises(FileError, match=why):
            open_tensors(first)
    second.write_bytes(part(1, 2, "b"))
    refused(first, part(0, 2, "a", total=3), "says that its parts hold 3 tensors; they hold 2")
    first.write_bytes(part(0, 2, "a"))
    second.unlink()
    with pytest.raises(FileError, match=r"m-00002-of-00002\.gguf: there is no such file"):
        open_tensors(first)


@pytest.mark.parametrize("count", [0, 1])
def test_a_model_that_was_joined_is_whole(count: int, tmp_path: Path) -> None:
    (tmp_path / "joined.gguf").write_bytes(part(0, count, "a", total=1))
    assert open_tensors(tmp_path / "joined.gguf").names() == ("a",)
