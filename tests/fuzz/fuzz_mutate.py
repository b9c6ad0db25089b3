"""Changes to files, in bytes and in what the bytes mean; each is a function of a source of chance and a file."""

import copy
import io
import json
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import gguf
from gguf.constants import GGMLQuantizationType, GGUFValueType

from limelight.checkpoints.gguf import NUMBERS

Mutate = Callable[[Random, bytes], bytes]

NUMBER_EDGES = [
    0, 1, -1, 2, 3, 7, 31, 255, 4096, 20_000, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**30, -(10**30),
    0.0, -0.0, 0.5, -0.5, 1.5, 1e-320, 1e-30, 1e30, 1e308, float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
EDGES: list[Any] = [
    *NUMBER_EDGES, None, True, False, "", "x", "128", "1e5", "é\ud800", "long" * 5000, "{{", "../x",
    [], [0], [1, 2], [None], [[]], ["x"], [1.0] * 4, {}, {"x": 1}, {"type": []}, [10**9] * 3,
]  # fmt: skip
WORDS = b'{}[]":,\\\0\xff\x80\x7f \n-+.eE0123456789nulltrefas'


def raw(random: Random, data: bytes) -> bytes:
    """Bytes changed, cut, doubled, moved, or the whole cut short."""
    out = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5, 20])):
        at, length = random.randrange(len(out) + 1), random.choice([1, 1, 2, 4, 8, 64])
        match random.randrange(7):
            case 0:
                out[at : at + length] = random.randbytes(length)
            case 1:
                out[at:at] = random.choice([random.randbytes(length), bytes(random.choices(WORDS, k=length))])
            case 2:
                del out[at : at + length]
            case 3:
                out[at : at + 1] = bytes(b ^ 1 << random.randrange(8) for b in out[at : at + 1])
            case 4:
                whole = random.choice([0, 1, 2**15, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1, random.randrange(2**20)])
                size = random.choice([4, 8])
                out[at : at + size] = (whole % 2 ** (8 * size)).to_bytes(size, "little")
            case 5:
                start = random.randrange(len(out) + 1)
                out[at : at + length] = out[start : start + length]
            case 6 if random.random() < 0.3:
                del out[at:]
    return bytes(out)


def text(random: Random, data: bytes, extra: tuple[str, ...] = ()) -> bytes:
    """JSON whose values, keys and structure are changed; `extra`: keys that may be added. Sometimes bytes."""
    if random.random() < 0.1:
        return raw(random, data)
    whole = json.loads(data)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        whole = _changed(random, whole, extra)
    return json.dumps(whole).encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with every key in it."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def _changed(random: Random, whole: Any, extra: tuple[str, ...]) -> Any:
    places = _places(whole)
    if not places:
        return random.choice(EDGES)
    holder, key = random.choice(places)
    match random.randrange(9):
        case 0 | 1 | 2:
            holder[key] = copy.deepcopy(random.choice(EDGES))
        case 3:
            del holder[key]
        case 4:
            other, place = random.choice(places)
            holder[key] = copy.deepcopy(other[place])
        case 5 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
            holder[key] = random.choice([holder[key] * 2, holder[key] + 1, -holder[key], holder[key] * 10**6])
        case 6 if isinstance(holder, dict):
            names = [k for other, k in places if isinstance(other, dict)]
            holder[random.choice([*names, *extra])] = copy.deepcopy(random.choice(EDGES))
        case 7:
            holder[key] = random.choice([[holder[key]], {"x": holder[key]}, str(holder[key]), [holder[key]] * 1000])
        case 8 if random.random() < 0.1:
            return random.choice([whole, [whole], *EDGES])
    return whole


def config(random: Random, data: bytes) -> bytes:
    """A model's config.json."""
    extra = (
        "rope_scaling rope_parameters rope_theta partial_rotary_factor sliding_window layer_types head_dim model_type "
        "num_key_value_heads attention_bias quantization_config tie_word_embeddings original_max_position_embeddings "
        "n_inner max_window_layers use_sliding_window rms_norm_eps torch_dtype num_labels vocab_size architectures"
    )
    return text(random, data, tuple(extra.split()))


def safetensors(random: Random, data: bytes) -> bytes:
    """A safetensors file: its header as JSON, its length, its numbers, or any bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = data[8 : 8 + length], data[8 + length :]
    match random.randrange(4):
        case 0:
            return raw(random, data)
        case 1:
            return data[: 8 + length] + floats(random, body)
        case 2:
            header = text(random, header, ("__metadata__", "dtype", "shape", "data_offsets", "lm_head.weight"))
            header += b" " * (-len(header) % 8)
        case 3:
            header = raw(random, header)
    return struct.pack("<Q", len(header)) + header + body


def floats(random: Random, data: bytes) -> bytes:
    """Numbers put among the weights: not finite, huge, tiny, or anything."""
    out = bytearray(data)
    for _ in range(random.choice([1, 3, 50])):
        at = random.randrange(max(len(out) // 4, 1)) * 4
        number = random.choice([float("nan"), float("inf"), -1e38, 3e38, 1e-40, 0.0])
        out[at : at + 4] = random.choice([struct.pack("<f", number), random.randbytes(4)])
    return bytes(out[: len(data)])


def torch_zip(random: Random, data: bytes) -> bytes:
    """A torch zip file: the instructions of its pickle, the numbers in it, its parts, or any bytes."""
    if random.random() < 0.25:
        return raw(random, data)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                content = pickled(random, content)
            elif random.random() < 0.02:
                content = random.choice([floats(random, content), raw(random, content), b""])
            target.writestr(entry.filename, content)
    return out.getvalue()


def pickled(random: Random, program: bytes) -> bytes:
    """A pickle with instructions changed, left out, doubled, or put elsewhere."""
    starts = [at for _, _, at in pickletools.genops(program) if at is not None]
    steps = [program[a:b] for a, b in zip(starts, [*starts[1:], len(program)], strict=True)]
    for _ in range(random.choice([1, 1, 2, 6])):
        at = random.randrange(1, len(steps))
        match random.randrange(5):
            case 0:
                numbers = [i for i, step in enumerate(steps) if step[:1] in b"KMJ\x8a"]
                steps[random.choice(numbers)] = _whole(random.choice([0, 1, 2, 2**16, 2**31 - 1, 2**40, 2**62, -1]))
            case 1:
                del steps[at]
            case 2:
                steps.insert(at, random.choice(steps))
            case 3:
                steps[at] = random.choice([bytes([b]) for b in b"()]}tsuaeQR.0:bNq\x85\x86\x87\x88\x8f\x90\x94"])
            case 4:
                steps[at] = raw(random, steps[at])
    return b"".join(steps)


def _whole(number: int) -> bytes:
    return b"\x8a\x09" + number.to_bytes(9, "little", signed=True)  # LONG1


@dataclass
class Gguf:
    """A GGUF file taken apart: pairs of key, type and the value's bytes; tensors as name, shape, type, offset."""

    pairs: list[list[Any]]
    tensors: list[list[Any]]
    data: bytes

    @staticmethod
    def of(content: bytes) -> "Gguf":
        file = io.BytesIO(content)
        _, _, tensors, pairs = struct.unpack("<IIQQ", file.read(24))
        read_pairs: list[list[Any]] = []
        for _ in range(pairs):
            key = _string(file)
            (kind,) = struct.unpack("<I", file.read(4))
            start = file.tell()
            _skip(file, kind)
            read_pairs.append([key, kind, content[start : file.tell()]])
        read_tensors: list[list[Any]] = []
        for _ in range(tensors):
            name = _string(file)
            (dimensions,) = struct.unpack("<I", file.read(4))
            shape = list(struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions)))
            read_tensors.append([name, shape, *struct.unpack("<IQ", file.read(12))])
        return Gguf(read_pairs, read_tensors, content[-(-file.tell() // 32) * 32 :])

    def content(self) -> bytes:
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.pairs))
        for key, kind, value in self.pairs:
            head += struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value
        for name, shape, kind, offset in self.tensors:
            head += struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            head += struct.pack("<IQ", kind, offset)
        return head + bytes(-len(head) % 32) + self.data


def _string(file: io.BytesIO) -> bytes:
    return file.read(struct.unpack("<Q", file.read(8))[0])


def _skip(file: io.BytesIO, kind: int) -> None:
    if kind == GGUFValueType.STRING:
        _string(file)
    elif kind == GGUFValueType.ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        for _ in range(count):
            _skip(file, inner)
    else:
        file.read(1 if kind == GGUFValueType.BOOL else struct.calcsize("<" + NUMBERS[GGUFValueType(kind)]))


def _keys(group: type) -> list[str]:
    return [key for name, key in vars(group).items() if isinstance(key, str) and not name.startswith("_")]


GGUF_KEYS = [key for group in vars(gguf.Keys).values() if isinstance(group, type) for key in _keys(group)]
GGUF_TYPES = [*map(int, GGMLQuantizationType), 99, 2**32 - 1]


def _value(random: Random) -> list[Any]:
    """The type of a GGUF value, and its bytes."""
    kind = random.choice([*NUMBERS, GGUFValueType.STRING, GGUFValueType.BOOL, GGUFValueType.ARRAY])
    match kind:
        case GGUFValueType.STRING:
            word = random.choice(["", "x", "yarn", "linear", "128", "llama", "long" * 999]).encode()
            return [kind, struct.pack("<Q", len(word)) + word]
        case GGUFValueType.BOOL:
            return [kind, bytes([random.choice([0, 1, 1, 2])])]
        case GGUFValueType.ARRAY:
            count, (inner, value) = random.choice([0, 1, 2, 4, 100]), _value(random)
            return [kind, struct.pack("<IQ", inner, count) + value * count]
    number, layout = random.choice(NUMBER_EDGES), NUMBERS[kind]
    if layout in "fd":
        return [kind, struct.pack("<" + layout, float(number) if layout == "d" or abs(number) < 3e38 else float("inf"))]
    size = struct.calcsize("<" + layout)
    number = int(number) if abs(number) < 1e300 else 0
    return [kind, (number % 2 ** (8 * size)).to_bytes(size, "little")]


def gguf_file(random: Random, data: bytes) -> bytes:
    """A GGUF file: keys and values, tensors' descriptions, weights, or any bytes."""
    if random.random() < 0.15:
        return raw(random, data)
    file = Gguf.of(data)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        pair, tensor = random.choice(file.pairs), random.choice(file.tensors)
        match random.randrange(9):
            case 0 | 1:
                pair[1:] = _value(random)
            case 2 if len(file.pairs) > 1:
                file.pairs.remove(pair)
            case 3:
                architecture = next((value[8:] for key, _, value in file.pairs if key == b"general.architecture"), b"")
                key = random.choice(GGUF_KEYS).replace("{arch}", architecture.decode("utf-8", "replace"))
                file.pairs.append([key.encode(), *_value(random)])
            case 4:
                pair[2] = raw(random, pair[2])
            case 5:
                at = random.randrange(4)
                if at == 0:
                    tensor[0] = random.choice([raw(random, tensor[0]), random.choice(file.tensors)[0]])
                elif at == 1 and tensor[1]:
                    tensor[1][random.randrange(len(tensor[1]))] = random.choice([0, 1, 7, 32, 33, 2**31, 2**63])
                elif at == 2:
                    tensor[2] = random.choice(GGUF_TYPES)
                else:
                    tensor[3] = random.choice([0, 1, 32, 2**40, 2**63])
            case 6 if len(file.tensors) > 1:
                random.choice([file.tensors.remove, file.tensors.append])(tensor)
            case 7:
                tensor[1] = random.choice([tensor[1][::-1], [*tensor[1], 1], tensor[1][1:], []])
            case 8:
                file.data = random.choice([floats(random, file.data), file.data[: random.randrange(len(file.data))]])
    return file.content()
