"""Reading the files that ``torch.save`` wrote before version 1.6, without ever running what is in them.

Five pickles stand one behind the other (a magic number, a version, facts about the machine, the state, and the order of
what follows), then the bytes of each storage behind their count. The pickles are read by a reader of their language
that knows what a dictionary of tensors is made of and nothing else: no name in them is ever looked up.
"""

from __future__ import annotations

import io
import math
import pickletools
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from limelight.checkpoints.tensors import lookup
from limelight.checkpoints.torchzip import LIMIT, NAMES, STORAGES, dictionary
from limelight.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
DIMENSIONS = 8  # of a tensor, at most
LARGEST = 1 << 48  # of the numbers that describe it
EMPTY = 1 << 20  # the product of an empty tensor's other sizes, at most


class Storage(NamedTuple):
    """Numbers that tensors are views of: `length` of them, by the name that the file gives them."""

    dtype: torch.dtype
    key: str
    length: int


class View(NamedTuple):
    """A tensor: where in a storage its numbers are, offset and strides counted in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.storage.dtype.itemsize

    @property
    def last(self) -> int:
        """The place of its last number."""
        steps = zip(self.shape, self.strides, strict=True)
        return self.offset + sum((size - 1) * stride for size, stride in steps)


class OldTorchReader:
    """One file of before torch's zip files (.bin, .pt, .pth); a ``TensorReader``.

    The dictionary of tensors may also lie under the key "state_dict" or "model". Raises ``FileError`` for anything
    else.
    """

    metadata: Mapping[str, Any]

    def __init__(self, path: Path) -> None:
        self._path = path
        self.metadata = {}
        size = path.stat().st_size
        with path.open("rb") as file:
            program = io.BytesIO(file.read(LIMIT))
        try:
            magic, protocol, machine, state, keys = (_pickle(path, program) for _ in range(5))
            if (magic, protocol) != (MAGIC, PROTOCOL) or not isinstance(keys, list):
                raise ValueError("it is of another version")
            if not isinstance(machine, dict) or machine.get("little_endian") is not True:
                raise ValueError("its numbers are in big-endian order")
        except FileError:
            raise
        except Exception as error:  # the pickle of a stranger: whatever it trips over is the file's fault
            long = f" within the first {LIMIT:,} bytes" if size > LIMIT else ""
            raise FileError(f"{path}: not a sound file of tensors{long}: {error}") from error
        self._views = _views(path, dictionary(path, state), size)
        self._bytes = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
        self._starts = self._places(program.tell(), keys)

    def names(self) -> tuple[str, ...]:
        return tuple(self._views)

    def shape(self, name: str) -> tuple[int, ...]:
        return lookup(self._views, name, self._path).shape

    def dtype(self, name: str) -> str:
        return NAMES[lookup(self._views, name, self._path).storage.dtype]

    def nbytes(self, name: str) -> int:
        return lookup(self._views, name, self._path).nbytes

    def read(self, name: str) -> Tensor:
        view = lookup(self._views, name, self._path)
        kind = view.storage.dtype
        if not view.nbytes:
            return torch.empty(view.shape, dtype=kind)
        # A copy, for the storages lie behind pickles of any length, where numbers are not aligned.
        start = self._starts[view.storage.key] + view.offset * kind.itemsize
        end = self._starts[view.storage.key] + (view.last + 1) * kind.itemsize
        return self._bytes[start:end].clone().view(kind).as_strided(view.shape, view.strides)

    def _places(self, at: int, keys: list[Any]) -> dict[str, int]:
        """Where the numbers of each storage begin, in bytes; `at`: where the first one's count is."""
        storages = {view.storage.key: view.storage for view in self._views.values()}
        sizes = {storage.key: storage.length * storage.dtype.itemsize for storage in storages.values()}
        starts = {}
        for key in keys:
            if not isinstance(key, str) or key in starts or key not in sizes or at + 8 > len(self._bytes):
                raise FileError(f"{self._path}: the list of its storages does not fit its tensors")
            count = int.from_bytes(self._bytes[at : at + 8].numpy().tobytes(), "little")
            if count != storages[key].length or at + 8 + sizes[key] > len(self._bytes):
                raise FileError(f"{self._path}: ends within the numbers of a tensor, or says two lengths of one")
            starts[key] = at + 8
            at += 8 + sizes[key]
        if missing := sizes.keys() - starts.keys():
            raise FileError(f"{self._path}: holds no numbers for the storage {min(missing):.40}")
        return starts


def _views(path: Path, state: Mapping[object, object], size: int) -> dict[str, View]:
    """The tensors, each within its storage, whose numbers it does not repeat."""
    views = {}
    for name, view in state.items():
        if not isinstance(name, str) or not isinstance(view, View):
            key = repr(name) if isinstance(name, str) else f"of a {type(name).__name__}"
            raise FileError(f"{path}: entry {key} is a {type(view).__name__}, not a named tensor of numbers")
        held, whole = view.storage.length, math.prod(max(size, 1) for size in view.shape)
        # torch multiplies the other sizes of an empty one, too.
        if whole > held if view.nbytes else whole > EMPTY:
            raise FileError(f"{path}: tensor {name!r} of shape {view.shape} is larger than its data")
        if view.nbytes and view.last >= held:
            raise FileError(f"{path}: tensor {name!r} of shape {view.shape} reaches past its data")
        views[name] = view
    if sum(view.nbytes for view in views.values()) > 2 * size:
        raise FileError(f"{path}: its tensors share their bytes so often that they claim more than twice the file")
    return views


# ---- the language of pickles, as far as dictionaries of tensors speak it

_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
_BYTES = {"SHORT_BINSTRING", "BINSTRING"}  # what Python 2 wrote
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MADE = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(str):
    """A name that a pickle would look up."""


def _pickle(path: Path, program: io.BytesIO) -> Any:
    """The value of the next pickle."""
    stack: list[Any] = []
    marks: list[int] = []  # where lists of arguments begin on the stack
    memo: dict[Any, Any] = {}
    for opcode, argument, _ in pickletools.genops(program):
        name = opcode.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _BYTES:
            stack.append(str(argument))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _MADE:
            stack.append(_MADE[name]())
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(_above(stack, marks.pop())))
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name in {"BINPUT", "LONG_BINPUT"}:
            memo[argument] = stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            stack.append(memo[argument])
        elif name in {"SETITEM", "SETITEMS"}:
            found = _above(stack, marks.pop()) if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _put(stack[-1], zip(found[::2], found[1::2], strict=True))
        elif name in {"APPEND", "APPENDS"}:
            found = _above(stack, marks.pop()) if name == "APPENDS" else [stack.pop()]
            _only(stack[-1], list).extend(found)
        elif name == "BINPERSID":
            stack.append(_storage(path, stack.pop()))
        elif name == "GLOBAL":
            stack.append(Name(argument))
        elif name == "REDUCE":
            arguments = _only(stack.pop(), tuple)
            stack.append(_made(path, stack.pop(), arguments))
        elif name == "BUILD":
            stack.pop()  # attributes, which no tensor needs
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise ValueError(f"its pickle holds the instruction {name}, which no tensor needs")
    raise AssertionError("pickletools ends with STOP")


def _above(stack: list[Any], mark: int) -> list[Any]:
    """What lies above a mark, taken from the stack."""
    found = stack[mark:]
    del stack[mark:]
    return found


def _only(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"its pickle has a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _put(into: Any, pairs: Iterator[tuple[Any, Any]]) -> None:
    held = _only(into, dict)
    for key, value in pairs:
        if not isinstance(key, str | int):
            raise ValueError(f"its pickle has a key that is a {type(key).__name__}")
        held[key] = value


def _made(path: Path, name: Any, arguments: tuple[Any, ...]) -> Any:
    """What a call stands for, of the few that are known; none is made."""
    if name == "collections OrderedDict":
        made: dict[Any, Any] = {}
        for pairs in arguments:  # as Python 2 wrote them
            _put(made, ((key, value) for key, value in _only(pairs, list)))
            pairs.clear()  # no list is gone through twice
        return made
    if name == "torch._utils _rebuild_parameter":
        return arguments[0]
    if name in {"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor"}:
        storage, offset, shape, strides = arguments[:4]
        if not isinstance(storage, Storage) or not len(_only(shape, tuple)) == len(_only(strides, tuple)) <= DIMENSIONS:
            raise ValueError("its pickle describes a tensor by something else than a storage and sizes")
        if not all(type(number) is int and 0 <= number < LARGEST for number in (offset, *shape, *strides)):
            raise ValueError("its pickle describes a tensor by something else than whole numbers")
        return View(storage, offset, shape, strides)
    shown = str(name).replace(" ", ".") if isinstance(name, Name) else f"a {type(name).__name__}"
    raise FileError(f"{path}: the pickle names {shown:.80}, which no tensor needs and which could run code")


def _storage(path: Path, said: Any) -> Storage:
    """What the pickle says of a storage: the word, its type, key, device and length, and what it is part of."""
    if _only(said, tuple)[:1] == ("module",):
        raise FileError(f"{path}: holds a module, which is code, not a dictionary of tensors; save its state_dict()")
    word, kind, key, _, count, whole = said
    if word != "storage" or not isinstance(key, str) or type(count) is not int or count < 0 or whole is not None:
        raise ValueError("its pickle describes no storage of a tensor")
    if kind not in STORAGES:
        raise FileError(f"{path}: the pickle names {str(kind).replace(' ', '.'):.80}, which is no storage of a tensor")
    return Storage(STORAGES[kind], key, count)
