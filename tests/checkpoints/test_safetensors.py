"""The safetensors reader, single and in shards, and how the kind of a file is told."""

import json
import os
import struct
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from limelight.checkpoints.open import _dtype
from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.safetensors import SafetensorsReader
from limelight.checkpoints.tensors import DTYPES
from limelight.errors import FileError

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tensors() -> dict[str, torch.Tensor]:
    """One tensor of each number type."""
    numbers = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) * 3
    kinds = {name: (numbers.abs() if name[0] == "U" else numbers).to(dtype) for name, dtype in DTYPES.items()}
    return {**kinds, "empty": torch.empty(0, 5), "scalar": torch.tensor(2.5)}


def file(header: Any, data: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


def entry(dtype: Any = "F32", shape: Any = (2,), start: Any = 0, end: Any = 8) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def write_shards(folder: Path, **changes: Any) -> Path:
    """Two shards and their index, in which ``changes`` replace or (when None) leave out entries."""
    save_file({"a": torch.ones(2), "b": torch.zeros(3)}, folder / "model-1.safetensors")
    save_file({"c": torch.arange(4)}, folder / "model-2.safetensors")
    places = {"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"} | changes
    places = {name: place for name, place in places.items() if place is not None}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 52}, "weight_map": places}))
    return index


def outcome(path: Path, data: bytes) -> str:
    """Opens the file and reads all of it: either succeeds or raises FileError; anything else fails the test."""
    path.write_bytes(data)
    try:
        reader = SafetensorsReader(path)
        for name in reader.names():
            assert tuple(reader.read(name).shape) == reader.shape(name)
            assert reader.nbytes(name) <= len(data)
    except FileError as error:
        return str(error)
    return "opened"


def test_tensors_survive(tmp_path: Path) -> None:
    path, expected = tmp_path / "model.safetensors", tensors()
    save_file(expected, path, metadata={"format": "pt"})
    for reader in (open_tensors(path), open_tensors(tmp_path)):
        assert isinstance(reader, SafetensorsReader)
        assert reader.metadata == {"format": "pt"}
        assert set(reader.names()) == set(expected)
        for name, tensor in expected.items():
            value = reader.read(name)
            assert isinstance(value, torch.Tensor)
            assert value.dtype == tensor.dtype == DTYPES[reader.dtype(name)]
            assert value.shape == tensor.shape == reader.shape(name)
            assert value.nbytes == reader.nbytes(name)
            assert value.view(-1).view(torch.uint8).tolist() == tensor.view(-1).view(torch.uint8).tolist()


def test_the_kind_is_told_by_the_content(tmp_path: Path) -> None:
    path = tmp_path / "weights.gguf"
    save_file({"a": torch.ones(2)}, path)
    assert isinstance(open_tensors(path), SafetensorsReader)


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    for reader in (open_tensors(index), open_tensors(tmp_path)):
        assert reader.names() == ("a", "b", "c")
        assert reader.metadata == {"total_size": 52}
        assert (reader.dtype("c"), reader.shape("c"), reader.nbytes("c")) == ("I64", (4,), 32)
        value = reader.read("c")
        assert isinstance(value, torch.Tensor)
        assert value.tolist() == [0, 1, 2, 3]
        with pytest.raises(FileError, match="no tensor 'd'"):
            reader.read("d")


def test_shards_may_be_links(tmp_path: Path) -> None:
    """The hub's cache keeps the files elsewhere and links to them."""
    store, folder = tmp_path / "store", tmp_path / "folder"
    store.mkdir()
    folder.mkdir()
    write_shards(store)
    for path in store.iterdir():
        (folder / path.name).symlink_to(path)
    assert open_tensors(folder).names() == ("a", "b", "c")


@pytest.mark.parametrize(
    "place", ["../model-1.safetensors", "/etc/passwd", "sub/x", "..", ".", "", "a\\b", "x\0", "C:x", 3, ["x"]]
)
def test_an_index_cannot_leave_its_folder(place: object, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"a": torch.ones(2)}, tmp_path / "model-1.safetensors")
    with pytest.raises(FileError, match=r"weight_map\['a'\] is .* not the name of a file in the same folder"):
        open_tensors(write_shards(folder, a=place))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"d": "model-2.safetensors"}, "model-2.safetensors: tensor 'd' is missing"),
        ({"b": None}, "model-1.safetensors: holds tensor 'b', which .* does not place here"),
        ({"b": "model-2.safetensors"}, "model-1.safetensors: holds tensor 'b'"),
        ({"d": "model-3.safetensors"}, "model-3.safetensors: there is no such file"),
        ({"d": "x" * 5000}, "there is no such file"),
        ({"d": "model.safetensors.index.json"}, "index.json: starts with"),
    ],
)
def test_index_and_shards_must_agree(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=match):
        open_tensors(write_shards(tmp_path, **changes))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"weight_map": []}', "{", "[" * 100_000, '{"a":' * 100_000, b"\xff\xfe", '{"weight_map": 1}'],
)
def test_a_broken_index_is_refused(text: str | bytes, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FileError, match=r"index.json: (not valid JSON|there is no 'weight_map')"):
        open_tensors(index)


def test_a_folder_must_hold_one_model(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no \.safetensors, \.gguf or torch"):
        open_tensors(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    assert open_tensors(tmp_path).names() == ("a",)
    save_file({"a": torch.ones(2)}, tmp_path / "two.safetensors")
    with pytest.raises(FileError, match=r"2 files could be the model \(one.safetensors, two.safetensors\)"):
        open_tensors(tmp_path)


def test_a_folders_files_come_in_this_order(tmp_path: Path) -> None:
    """Whatever they are called, their kind is told by the content."""
    names = ["a.pth", "a.pt", "z.bin", "model.a.bin", "model.a.npz", "a.gguf", "pytorch_model.bin", "a.safetensors"]
    for name in [*names, "model.safetensors"]:
        save_file({name: torch.ones(2)}, tmp_path / name)
        if name == "model.a.bin":
            (tmp_path / "z.bin").rename(tmp_path / "z.old")  # else there would be two of that kind
        if name == "pytorch_model.bin":
            (tmp_path / "model.a.bin").rename(tmp_path / "b.old")
        assert open_tensors(tmp_path).names() == (name,)
    for name in ("adapter_config.json", "a.json"):
        (tmp_path / name).write_text("{}")
    assert open_tensors(tmp_path).names() == ("model.safetensors",)


@pytest.mark.parametrize("first", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_the_index_of_a_folder_comes_before_its_parts(first: str, tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    if "bin" in first:
        for part in (1, 2):
            (tmp_path / f"model-{part}.safetensors").rename(tmp_path / f"model-{part}.bin")
        index.write_text(index.read_text().replace(".safetensors", ".bin"))
        index.rename(tmp_path / first)
    assert open_tensors(tmp_path).names() == ("a", "b", "c")


def test_an_adapter_alone_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FileError, match="holds an adapter"):
        open_tensors(tmp_path)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no such file"):
        open_tensors(tmp_path / "none.safetensors")
    (tmp_path / "page.safetensors").write_text("<!DOCTYPE html>")
    with pytest.raises(FileError, match="starts with b'<!DOCTYP', which is none of GGUF"):
        open_tensors(tmp_path / "page.safetensors")
    (tmp_path / "empty").touch()
    with pytest.raises(FileError, match="starts with b''"):
        open_tensors(tmp_path / "empty")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="not a regular one"):
        open_tensors(tmp_path / "pipe")


def test_opening_reads_the_header_alone(tmp_path: Path) -> None:
    path, size = tmp_path / "huge.safetensors", 1 << 34
    path.write_bytes(file({"huge": entry(shape=[size // 4], end=size)}))
    os.truncate(path, path.stat().st_size + size)  # 16 GiB, all of it a hole
    value = open_tensors(path).read("huge")
    assert isinstance(value, torch.Tensor)
    assert value[-1] == 0


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 1 << 62) + b"{}",
        file(b"{" + b"[" * 100_000),
        file({"a": entry(end=16)}, 8),
        file({"a": entry(start=8, end=0)}, 8),
        file({"a": entry(shape=[2**63, 2**63], end=8)}, 8),
        file({"a": entry(shape=[2**64]), "b": 3}, 8),
        file({"a": entry(), "b": entry()}, 8),
        file({"a": entry("Q4_9")}, 8),
        file({"a": entry("F4", [16])}, 8),
        file({"a": entry("C64", [1])}, 8),
        file({"a": entry()}, 7),
        file({"a": entry()}, 9),
        file({"a": entry(shape="x")}, 8),
        file({"__metadata__": {"a": 1}, "a": entry()}, 8),
    ],
)
def test_a_lying_header_is_refused(data: bytes, tmp_path: Path) -> None:
    assert outcome(tmp_path / "lie.safetensors", data).startswith(str(tmp_path))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    save_file(tensors(), path)
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        assert "not a sound safetensors file" in outcome(path, data[:end]), end


@FUZZ
@given(changes=st.lists(st.tuples(st.integers(0, 1800), st.binary(min_size=1, max_size=5)), min_size=1, max_size=4))
def test_mutated_files_open_or_are_refused(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    path = tmp_path / "mutated.safetensors"
    save_file(tensors(), path)
    data = bytearray(path.read_bytes())
    for at, new in changes:
        data[at : at + len(new)] = new
    assert outcome(path, bytes(data)).startswith(("opened", str(tmp_path)))


EDGES = st.sampled_from([0, 1, 2, 4, 8, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1, 0.5, "x", None])
ENTRIES = st.builds(
    entry, st.sampled_from([*DTYPES, "F4", "C64", "?", 1, None]), st.lists(EDGES, max_size=3), EDGES, EDGES
)


@FUZZ
@given(header=st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), ENTRIES), data=st.integers(0, 17))
def test_random_headers_open_or_are_refused(tmp_path: Path, header: dict[str, Any], data: int) -> None:
    assert outcome(tmp_path / "random.safetensors", file(header, data)).startswith(("opened", str(tmp_path)))


@pytest.mark.parametrize(
    ("most", "device", "expected"),
    [
        ("F32", "cpu", torch.float32),
        ("F16", "cpu", torch.float32),
        ("BF16", "cpu", torch.bfloat16),
        ("Q8_0", "cpu", torch.float32),
        ("F32", "cuda", torch.float32),
        ("F16", "cuda", torch.float16),
        ("BF16", "cuda", torch.bfloat16),
        ("Q8_0", "cuda", torch.float16),
    ],
)
def test_numbers_between_the_layers_follow_most_bytes_and_the_device(
    most: str, device: str, expected: torch.dtype
) -> None:
    class Reader:
        def names(self) -> tuple[str, ...]:
            return ("small", "large", "other")

        def dtype(self, name: str) -> str:
            return most if name == "large" else "BF16" if most == "F32" else "F32"

        def nbytes(self, name: str) -> int:
            return 5 if name == "large" else 2

    assert _dtype(cast("Any", Reader()), None, torch.device(device)) is expected
