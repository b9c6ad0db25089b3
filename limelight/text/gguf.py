"""A tokenizer rebuilt from GGUF metadata, equal to the Hugging Face tokenizer that the file was converted from.

Metadata keys as in the GGUF specification, `tokenizer.ggml.*`. Five kinds: "gpt2" is byte-level BPE with merges, whose
pre-tokenizer is named by `pre`; "llama" is SentencePiece BPE, where pieces have scores and unknown characters fall
back to their bytes; "t5" is SentencePiece's Unigram; "bert" is WordPiece; "rwkv" is RWKV's World.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import tokenizers
from tokenizers import AddedToken

from limelight import given
from limelight.errors import TextError
from limelight.text import sentencepiece
from limelight.text.foreign import guarded
from limelight.text.kinds import (
    BYTE,
    CONTROL,
    LONGEST_VOCABULARY,
    NORMAL,
    PRE,
    UNKNOWN,
    UNUSED,
    USER,
    byte_level_bpe,
    sentencepiece_bpe,
    surround,
    word_pieces,
    world,
)
from limelight.text.parts import Parts

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
_WHAT = "the tokenizer in this file's metadata"
_BUILT_IN = ("rwkv-world",)  # names of templates of llama.cpp's own
_ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")  # of a turn, of a message

_SAMPLES = (
    "The quick brown fox, 1234567 times; it's  two   spaces.\n\nZwölf Boxkämpfer…",
    "  leading, don't\tstop: 日本語 и русский, café 🙂 x==y",
)
"""What a tokenizer of pieces is compared by."""


def rebuild(metadata: Mapping[str, Any]) -> Parts:
    """The tokenizer that `tokenizer.ggml.*` describes. Raises TextError naming the field that does not fit."""
    kind = metadata.get("tokenizer.ggml.model")
    if not isinstance(kind, str) or kind not in _MADE:
        known = ", ".join(map(repr, _MADE))
        raise TextError(f"tokenizer.ggml.model is {given.shown(kind)}; limelight rebuilds {known}")
    tokens = _strings(metadata, "tokens")
    if len(tokens) > LONGEST_VOCABULARY:
        raise TextError(f"tokenizer.ggml.tokens has {len(tokens):,} entries; at most {LONGEST_VOCABULARY:,} are read")
    if twice := len(tokens) - len({*tokens}):
        raise TextError(f"tokenizer.ggml.tokens has {twice} tokens twice")
    types = _numbers(metadata, "token_type", len(tokens)) or [NORMAL] * len(tokens)
    if kind == "bert":
        tokens = [_with_marks(token, type) for token, type in zip(tokens, types, strict=True)]
    vocab = {token: id for id, token in enumerate(tokens)}
    named = {name: _token(metadata, name, tokens) for name in ("bos", "eos", "padding", "unknown", "cls", "mask")}
    named["sep"] = _token(metadata, "seperator", tokens) or _token(metadata, "separator", tokens)  # as gguf spells it
    if kind == "bert":
        defaults = {"cls": "[CLS]", "sep": "[SEP]", "unknown": "[UNK]"}
        named |= {name: token for name, token in defaults.items() if named[name] is None and token in vocab}
    elif kind in ("llama", "t5"):
        unknown = (token for token, type in zip(tokens, types, strict=True) if type == UNKNOWN)
        named["unknown"] = named["unknown"] or next(unknown, None)

    with guarded(f"{_WHAT} is damaged"):
        inner = _MADE[kind](metadata, vocab, types, named["unknown"])
        special = [AddedToken(t, normalized=False, special=True) for t in _of_type(tokens, types, CONTROL, UNKNOWN)]
        inner.add_special_tokens(special)
        inner.add_tokens([AddedToken(t, normalized=False, special=False) for t in _of_type(tokens, types, USER)])
        starts = kind in ("llama", "bert") or (
            kind == "gpt2" and PRE.get(metadata.get("tokenizer.ggml.pre", "")) == "llama-bpe"
        )
        first, last = named["bos"] or named["cls"], named["eos"] or named["sep"]
        front = first if metadata.get("tokenizer.ggml.add_bos_token", starts) else None
        back = last if metadata.get("tokenizer.ggml.add_eos_token", kind in ("bert", "t5")) else None
        surround(inner, front, back)

    ends = [metadata[key] for key in _ENDS if isinstance(metadata.get(key), int) and 0 <= metadata[key] < len(tokens)]
    template = metadata.get("tokenizer.chat_template")
    template = template if isinstance(template, str) and template not in _BUILT_IN else None
    others = {name: token for name in ("sep", "cls", "mask") if (token := named[name]) is not None}
    bos, eos, pad, unk = (named[name] for name in ("bos", "eos", "padding", "unknown"))
    return Parts(inner, bos, eos, pad, unk, tuple(ends), template, _WHAT, others)


def _byte_pairs(
    metadata: Mapping[str, Any], vocab: dict[str, int], types: Sequence[float], unk: str | None
) -> tokenizers.Tokenizer:
    merges = [tuple(merge.split(" ", 1)) for merge in _strings(metadata, "merges")]
    return byte_level_bpe(vocab, cast("list[tuple[str, str]]", merges), metadata.get("tokenizer.ggml.pre", "default"))


def _llama(
    metadata: Mapping[str, Any], vocab: dict[str, int], types: Sequence[float], unk: str | None
) -> tokenizers.Tokenizer:
    spaced = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    return sentencepiece_bpe(vocab, _scores(metadata, len(vocab), "llama"), types, unk=unk, spaced=spaced)


def _unigram(
    metadata: Mapping[str, Any], vocab: dict[str, int], types: Sequence[float], unk: str | None
) -> tokenizers.Tokenizer:
    rules = metadata.get("tokenizer.ggml.precompiled_charsmap", [])
    if not isinstance(rules, list):
        raise TextError("tokenizer.ggml.precompiled_charsmap is not a list of bytes")
    spaced = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    trimmed = bool(metadata.get("tokenizer.ggml.remove_extra_whitespaces", True))
    scores = tuple(_scores(metadata, len(vocab), "t5"))
    kinds = tuple(map(int, types))
    return sentencepiece.build(
        sentencepiece.Pieces(
            tuple(vocab), scores, kinds, sentencepiece.UNIGRAM, bytes(rules), spaced, trimmed, BYTE in types, _WHAT
        )
    )


def _word_pieces(
    metadata: Mapping[str, Any], vocab: dict[str, int], types: Sequence[float], unk: str | None
) -> tokenizers.Tokenizer:
    # Whether texts are put in lower case is not said: the pieces tell.
    lower = not any(token != token.lower() for token, type in zip(vocab, types, strict=True) if not _bracketed(token))
    return word_pieces(vocab, unk or "[UNK]", lower=lower)


def _world(
    metadata: Mapping[str, Any], vocab: dict[str, int], types: Sequence[float], unk: str | None
) -> tokenizers.Tokenizer:
    normal = {token for token, type in zip(vocab, types, strict=True) if type == NORMAL}
    others = {token: id for token, id in vocab.items() if token not in normal}
    tokens = {_unescaped(token): vocab[token] for token in normal}
    return world(tokens, others, _WHAT)


_MADE = {"gpt2": _byte_pairs, "llama": _llama, "t5": _unigram, "bert": _word_pieces, "rwkv": _world}
"""What makes a tokenizer of each kind from metadata, vocabulary, types of tokens, and the unknown one."""


def _bracketed(token: str) -> bool:
    return len(token) > 2 and token[0] == "[" and token[-1] == "]"


def _with_marks(token: str, type: float) -> str:
    """A piece of a word as BERT spells it: GGUF marks those at a word's beginning, BERT the others."""
    if token.startswith("▁") and len(token) > 1:
        return token[1:]
    return token if type in (CONTROL, UNKNOWN) or _bracketed(token) else f"##{token}"


_ESCAPED = re.compile(r"\\(x[0-9a-f]{2}|.)", re.DOTALL)


def _unescaped(token: str) -> bytes:
    """The bytes that Python writes so in an expression."""
    known = {"t": "\t", "n": "\n", "r": "\r"}
    plain = _ESCAPED.sub(lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 3 else known.get(m[1], m[1]), token)
    return plain.encode("latin-1")


def _scores(metadata: Mapping[str, Any], length: int, kind: str) -> list[float]:
    scores = _numbers(metadata, "scores", length)
    if not scores:
        raise TextError(f"tokenizer.ggml.scores is missing, which a {kind!r} tokenizer is built from")
    return scores


def describe(parts: Parts, rows: int, *, front: bool, back: bool) -> dict[str, Any]:
    """The metadata that `rebuild` makes the same tokenizer from; of both kinds that it knows.

    rows: of the model's embeddings, which names that stand for nothing fill up. front, back: whether bos and eos go
    around every document. Raises TextError for a tokenizer of another kind.
    """
    said = json.loads(parts.inner.to_str())
    model = said["model"]
    if model.get("type") != "BPE":
        raise TextError(f"GGUF has a form for byte pairs alone, and {parts.what} is of the type {model.get('type')}")
    vocab = parts.inner.get_vocab(with_added_tokens=True)
    tokens = {id: token for token, id in vocab.items()}
    added = parts.inner.get_added_tokens_decoder()
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    found: dict[str, Any] = {
        "tokenizer.ggml.tokens": [tokens.get(id, f"[PAD{id}]") for id in range(max(rows, *tokens) + 1)][:rows],
        "tokenizer.ggml.add_bos_token": front,
        "tokenizer.ggml.add_eos_token": back,
    }
    for name, token in (("bos", parts.bos), ("eos", parts.eos), ("padding", parts.pad), ("unknown", parts.unk)):
        if token in vocab:
            found[f"tokenizer.ggml.{name}_token_id"] = vocab[token]
    if parts.template is not None:
        found["tokenizer.chat_template"] = parts.template

    def kind(id: int) -> int:
        token = tokens.get(id)
        if token is None:
            return UNUSED
        if token == parts.unk and token not in (parts.bos, parts.eos, parts.pad):
            return UNKNOWN
        if id in added:
            return CONTROL if added[id].special else USER
        return BYTE if model["byte_fallback"] and _BYTE_PIECE.fullmatch(token) else NORMAL

    found["tokenizer.ggml.token_type"] = [kind(id) for id in range(rows)]
    if not model["byte_fallback"]:
        pre = _cutting(said, parts.what)
        return found | {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.merges": merges}
    first: dict[str, float] = {}
    for rank, merge in enumerate(merges):
        first.setdefault(merge.replace(" ", "", 1), float(-rank))
    scores = [first.get(tokens.get(id, ""), float(-len(merges) - id)) for id in range(rows)]
    spaced = parts.inner.encode("a", add_special_tokens=False).tokens[0].startswith("▁")
    found |= {"tokenizer.ggml.model": "llama", "tokenizer.ggml.scores": scores}
    found["tokenizer.ggml.add_space_prefix"] = spaced
    rebuilt = rebuild(found).inner
    for text in _SAMPLES:
        if rebuilt.encode(text, add_special_tokens=False).ids != parts.inner.encode(text, add_special_tokens=False).ids:
            raise TextError(f"{parts.what} cuts {text!r} in a way that GGUF cannot say")
    return found


def _cutting(said: Mapping[str, Any], what: str) -> str:
    """The name of the way in which a byte-level tokenizer cuts words."""

    def plain(part: Any) -> Any:
        """Without what changes offsets alone."""
        if isinstance(part, dict):
            return {key: plain(value) for key, value in part.items() if key != "trim_offsets"}
        return [plain(each) for each in part] if isinstance(part, list) else part

    for pre in dict.fromkeys(PRE.values()):
        other = json.loads(byte_level_bpe({}, [], pre).to_str())
        same = all(plain(said[part]) == plain(other[part]) for part in ("normalizer", "pre_tokenizer"))
        if same and said["model"].get("ignore_merges", False) == other["model"]["ignore_merges"]:
            return pre
    raise TextError(f"{what} cuts words in a way that limelight cannot name in GGUF; it names {', '.join(PRE)}")


def _of_type(tokens: Sequence[str], types: Sequence[float], *wanted: int) -> Iterable[str]:
    return (token for token, type in zip(tokens, types, strict=True) if type in wanted)


def _strings(metadata: Mapping[str, Any], name: str) -> list[str]:
    value = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
        raise TextError(f"tokenizer.ggml.{name} is missing or not a list of strings")
    return value


def _numbers(metadata: Mapping[str, Any], name: str, length: int) -> list[float]:
    value = metadata.get(f"tokenizer.ggml.{name}")
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, int | float) for entry in value):
        raise TextError(f"tokenizer.ggml.{name} is not a list of numbers")
    if len(value) != length:
        raise TextError(f"tokenizer.ggml.{name} has {len(value)} entries for {length} tokens")
    return value


def _token(metadata: Mapping[str, Any], name: str, tokens: Sequence[str]) -> str | None:
    id = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if id is None:
        return None
    if not isinstance(id, int) or not 0 <= id < len(tokens):
        raise TextError(f"tokenizer.ggml.{name}_token_id is {given.shown(id)}, outside the {len(tokens)} tokens")
    return tokens[id]
