"""The inner side of `limelight.text.foreign.tried`: a tokenizer's rules, without its vocabulary, on texts made for it.

Only ever run by `limelight.text.apart`.
"""

import base64
import binascii
import json
import string
from collections.abc import Iterator
from typing import Any

import tokenizers

from limelight.errors import TextError
from limelight.text.foreign import guarded

_GROWTH = 100  # characters that rules may make of one; Unicode's own need 18
_AROUND = 1000  # tokens around a text
_OWN = 200  # of the rules' own strings that are tried
_MODEL = {"type": "BPE", "vocab": {}, "merges": []}
# Long runs of each kind of character, and a break: what rules and regular expressions are slow at or grow by.
_PROBES = [
    *(f"{each * 100}!" for each in ("a", "A", "1", " ", ".", "é", "中", "▁", "\n")),
    *(each * 10 for each in ("a b  c.", "don't we'll ", "1,000.5 ", "😀e\u0301ß中文\r\n\t")),
    string.printable,
    "\0",
]
_PIECES = ["a", "▁a", "a</w>", "##a", "Ġa", "<0xE2>", "<0x41>", "", "é", " ", "a"]


def trial(pipeline: str, what: str) -> None:
    """Raises TextError, beginning with `what`, for rules that break or make too much of a text."""
    rules = json.loads(pipeline)
    growth = 1.0
    for rule in _rules(rules):
        growth *= _growth(rule)
    if growth > _GROWTH**2:
        raise TextError(f"{what} has rules that can make {growth:.0e} characters of one")
    with guarded(f"{what} is damaged or of a newer kind"):
        inner = tokenizers.Tokenizer.from_str(json.dumps({"version": "1.0", "model": _MODEL, **rules}))
        if (around := len(inner.encode("a").ids)) > _AROUND:
            raise TextError(f"{what} puts {around:,} tokens around every text")
        own = [text for text in dict.fromkeys(_strings(rules)) if text][:_OWN]
        for probe in (*_PROBES, *(text[:100] * 10 for text in own), " ".join(text[:100] for text in own)):
            text = probe if inner.normalizer is None else inner.normalizer.normalize_str(probe)
            pieces = [text] if inner.pre_tokenizer is None else _cut(inner, text)
            back = "" if inner.decoder is None else inner.decoder.decode([*_PIECES, *pieces])
            for made in (text, "".join(pieces), back):
                if len(made) > _GROWTH * (len(probe) + len(_PIECES)):
                    raise TextError(f"{what} makes {len(made):,} characters of {len(probe):,}")
            inner.encode(probe)


def _cut(inner: tokenizers.Tokenizer, text: str) -> list[str]:
    return [piece for piece, _ in inner.pre_tokenizer.pre_tokenize_str(text)]


def _rules(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in the rules."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _rules(each)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(each)


def _growth(rule: dict[str, Any]) -> float:
    """By how much a rule may make a text longer that no probe need hold; it multiplies with the others'."""
    pattern, content, charsmap = (rule.get(name) for name in ("pattern", "content", "precompiled_charsmap"))
    if isinstance(pattern, dict) and "Regex" in pattern and isinstance(content, str):
        return 1.0 + len(content)  # it may match between any two characters
    if isinstance(charsmap, str):
        try:
            table = base64.b64decode(charsmap)
        except binascii.Error:
            return 1.0  # the library says what is wrong
        return max(1.0, max(map(len, table[4 + int.from_bytes(table[:4], "little") :].split(b"\0"))) / 3)
    return 1.0
