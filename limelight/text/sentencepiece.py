"""SentencePiece's own model files (Kudo and Richardson 2018), as a tokenizer of the `tokenizers` library.

A file is one protocol buffer message, of which only what changes the pieces of a text is read: pieces, scores and
types, the kind of model, and the rules by which text is normalised.
"""

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from limelight import given
from limelight.errors import TextError
from limelight.text.foreign import guarded, tried
from limelight.text.kinds import BYTE, LONGEST_VOCABULARY, NORMAL, UNKNOWN, USER, merges_of

UNIGRAM, BPE = 1, 2  # kinds of model
_LARGEST = 1 << 26  # bytes; real files take a few MB
_SPACE = "▁"


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a file holds: for each piece its spelling, score and type; the kind of model; rules, as SentencePiece
    compiled them; whether a space is put in front of a text, whether spaces are made one, whether bytes stand in for
    what is unknown. what: names the file in errors."""

    spelled: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    kind: int
    rules: bytes
    spaced: bool
    trimmed: bool
    bytes: bool
    what: str


def read(path: Path) -> Pieces:
    """The model in a file. Raises TextError if it is none, or of a kind that is neither Unigram nor BPE."""
    what = f"the SentencePiece model {path}"
    try:
        if path.stat().st_size > _LARGEST:
            raise TextError(f"{what} has {path.stat().st_size:,} bytes; at most {_LARGEST:,} are read")
        data = path.read_bytes()
    except OSError as problem:
        raise TextError(f"{what} cannot be read: {problem.strerror}") from problem
    spelled, scores, types = [], [], []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for field, value in _fields(data):
            if field == 1:
                piece = dict(_fields(value))
                spelled.append(piece[1].decode())
                scores.append(struct.unpack("<f", piece.get(2, b"\0" * 4))[0])
                types.append(int(piece.get(3, NORMAL)))
            elif field == 2:
                trainer = dict(_fields(value))
            elif field == 3:
                normalizer = dict(_fields(value))
        kind, rules = int(trainer.get(3, UNIGRAM)), bytes(normalizer.get(2, b""))
        backwards = bool(trainer.get(24, 0))
        flags = [bool(normalizer.get(number, 1)) for number in (3, 4, 5)]
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as problem:
        raise TextError(f"{what} is damaged: it is no message of SentencePiece") from problem
    if not spelled or len(spelled) > LONGEST_VOCABULARY:
        raise TextError(f"{what} has {len(spelled):,} pieces; a tokenizer has from 1 to {LONGEST_VOCABULARY:,}")
    if kind not in (UNIGRAM, BPE) or backwards or not flags[2]:
        raise TextError(f"{what} is of a kind that limelight does not read: it knows Unigram and BPE over spaced words")
    if len({*spelled}) != len(spelled):
        raise TextError(f"{what} is damaged: it has a piece twice")
    return Pieces(tuple(spelled), tuple(scores), tuple(types), kind, rules, flags[0], flags[1], BYTE in types, what)


def build(pieces: Pieces, ids: Mapping[str, int] | None = None) -> tokenizers.Tokenizer:
    """The tokenizer that cuts as SentencePiece does.

    ids: the numbers of the pieces in a vocabulary of the model's own, which may have others besides; without it a piece
    has the number of its place. A piece that the vocabulary lacks is unknown. Raises TextError for a model without an
    unknown piece, or with rules that are no good.
    """
    unknown = next((p for p, kind in zip(pieces.spelled, pieces.types, strict=True) if kind == UNKNOWN), None)
    numbers = {piece: id for id, piece in enumerate(pieces.spelled)} if ids is None else dict(ids)
    if unknown is None or unknown not in numbers:
        raise TextError(f"{pieces.what} has no unknown piece, or none that the vocabulary has")
    if sorted(numbers.values()) != list(range(len(numbers))):
        raise TextError(f"{pieces.what}: the numbers of its vocabulary are not those from 0 to {len(numbers) - 1:,}")
    model = _unigram(pieces, numbers, unknown) if pieces.kind == UNIGRAM else _bpe(pieces, numbers, unknown)
    scheme = "always" if pieces.spaced else "never"
    metaspace = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": scheme, "split": False}
    definition: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": list(_normalizers(pieces))},
        "pre_tokenizer": metaspace,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace]}
        if pieces.bytes
        else metaspace,
        "model": model,
    }
    tried(definition, pieces.what)
    with guarded(f"{pieces.what} is damaged"):
        return tokenizers.Tokenizer.from_str(json.dumps(definition))


def lacking(pieces: Pieces, ids: Mapping[str, int]) -> list[str]:
    """The pieces that a text may be cut into and a vocabulary of the model's own lacks."""
    usable = (NORMAL, USER, BYTE)
    found = zip(pieces.spelled, pieces.types, strict=True)
    return [piece for piece, kind in found if kind in usable and piece not in ids]


def _unigram(pieces: Pieces, numbers: Mapping[str, int], unknown: str) -> dict[str, Any]:
    kept = (NORMAL, USER, BYTE)
    scores = {p: s for p, s, kind in zip(pieces.spelled, pieces.scores, pieces.types, strict=True) if kind in kept}
    least = min(scores.values(), default=0.0)
    never = least - 1000.0  # of what this model never cuts a text into
    vocab = sorted(((piece, scores.get(piece, never)) for piece in numbers), key=lambda entry: numbers[entry[0]])
    return {"type": "Unigram", "unk_id": numbers[unknown], "vocab": vocab, "byte_fallback": pieces.bytes}


def _bpe(pieces: Pieces, numbers: Mapping[str, int], unknown: str) -> dict[str, Any]:
    usable = {p: s for p, s, kind in zip(pieces.spelled, pieces.scores, pieces.types, strict=True) if kind == NORMAL}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": pieces.bytes,
        "ignore_merges": False,
        "vocab": dict(numbers),
        "merges": merges_of({piece: score for piece, score in usable.items() if piece in numbers}),
    }


def _normalizers(pieces: Pieces) -> Iterator[dict[str, Any]]:
    if pieces.rules:
        yield {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(pieces.rules).decode()}
    if pieces.trimmed:
        yield {"type": "Strip", "strip_left": True, "strip_right": True}
        yield {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: numbers as int, all else as bytes. Raises ValueError where it ends too early."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        match key & 7:
            case 0:
                value, at = _number(data, at)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, at = _number(data, at)
            case 5:
                length = 4
            case _:
                raise ValueError("an unknown kind of field")
        if length > len(data) - at:
            raise ValueError("a field ends behind the message")
        yield key >> 3, data[at : at + length]
        at += length


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number does not end")


def vocabulary(path: Path, values: Any) -> dict[str, int]:
    """Pieces and their numbers from the contents of a JSON file. Raises TextError for anything else."""
    if not isinstance(values, dict) or not values or len(values) > LONGEST_VOCABULARY:
        raise TextError(f"{path} is damaged: it is no vocabulary of 1 to {LONGEST_VOCABULARY:,} pieces")
    if not all(type(id) is int for id in values.values()):
        wrong = next(piece for piece, id in values.items() if type(id) is not int)
        raise TextError(f"{path} is damaged: the number of the piece {given.shown(wrong)} is none")
    return values
