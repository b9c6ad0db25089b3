"""A tokenizer rebuilt from GGUF metadata, equal to the Hugging Face tokenizer that the file was converted from.

Metadata keys as in the GGUF specification, `tokenizer.ggml.*`. Two kinds: "gpt2" is byte-level BPE with merges, whose
pre-tokenizer is named by `pre`; "llama" is SentencePiece BPE, where pieces have scores and unknown characters fall
back to their bytes.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from limelight import given
from limelight.errors import TextError, suggestion
from limelight.text.foreign import guarded
from limelight.text.parts import Parts

LONGEST_VOCABULARY = 2_000_000
_MOST_WORK = 100_000_000  # characters looked at to find the merges; Gemma's 256,000 pieces take 20 million
_NORMAL, _UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = range(1, 7)  # token types of the specification
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
_ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")  # of a turn, of a message

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_PRE = {
    "gpt-2": "gpt-2",
    "default": "gpt-2",
    "phi-2": "gpt-2",
    "olmo": "gpt-2",
    "smollm": "smollm",
    "starcoder": "smollm",
    "refact": "smollm",
    "llama-bpe": "llama-bpe",
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "qwen2": "qwen2",
    "deepseek-r1-qwen": "qwen2",
}

_SAMPLES = (
    "The quick brown fox, 1234567 times; it's  two   spaces.\n\nZwölf Boxkämpfer…",
    "  leading, don't\tstop: 日本語 и русский, café 🙂 x==y",
)
"""What a tokenizer of pieces is compared by."""


def rebuild(metadata: Mapping[str, Any]) -> Parts:
    """The tokenizer that `tokenizer.ggml.*` describes. Raises TextError naming the field that does not fit."""
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise TextError(f"tokenizer.ggml.model is {given.shown(kind)}; limelight rebuilds 'gpt2' and 'llama'")
    tokens = _strings(metadata, "tokens")
    if len(tokens) > LONGEST_VOCABULARY:
        raise TextError(f"tokenizer.ggml.tokens has {len(tokens):,} entries; at most {LONGEST_VOCABULARY:,} are read")
    vocab = {token: id for id, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise TextError(f"tokenizer.ggml.tokens has {len(tokens) - len(vocab)} tokens twice")
    types = _numbers(metadata, "token_type", len(tokens)) or [1] * len(tokens)
    bos, eos, pad, unk = (_token(metadata, name, tokens) for name in ("bos", "eos", "padding", "unknown"))

    with guarded("the tokenizer in this file's metadata is damaged"):
        if kind == "gpt2":
            pre = metadata.get("tokenizer.ggml.pre", "default")
            merges = [tuple(merge.split(" ", 1)) for merge in _strings(metadata, "merges")]
            inner = byte_level_bpe(vocab, cast("list[tuple[str, str]]", merges), pre)
            starts = _PRE.get(pre) == "llama-bpe"
        else:
            scores = _numbers(metadata, "scores", len(tokens))
            if not scores:
                raise TextError("tokenizer.ggml.scores is missing, which a 'llama' tokenizer is built from")
            unk = unk or next((token for token, type in zip(tokens, types, strict=True) if type == _UNKNOWN), None)
            spaced = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
            inner = sentencepiece_bpe(vocab, scores, types, unk=unk, spaced=spaced)
            starts = True
        special = [AddedToken(t, normalized=False, special=True) for t in _of_type(tokens, types, _CONTROL, _UNKNOWN)]
        inner.add_special_tokens(special)
        inner.add_tokens([AddedToken(t, normalized=False, special=False) for t in _of_type(tokens, types, _USER)])
        front = bos if metadata.get("tokenizer.ggml.add_bos_token", starts) else None
        back = eos if metadata.get("tokenizer.ggml.add_eos_token", False) else None
        surround(inner, front, back)

    ends = [metadata[key] for key in _ENDS if isinstance(metadata.get(key), int) and 0 <= metadata[key] < len(tokens)]
    template = metadata.get("tokenizer.chat_template")
    template = template if isinstance(template, str) else None
    return Parts(inner, bos, eos, pad, unk, tuple(ends), template, "the tokenizer in this file's metadata")


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
            return _UNUSED
        if token == parts.unk and token not in (parts.bos, parts.eos, parts.pad):
            return _UNKNOWN
        if id in added:
            return _CONTROL if added[id].special else _USER
        return _BYTE if model["byte_fallback"] and _BYTE_PIECE.fullmatch(token) else _NORMAL

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

    for pre in dict.fromkeys(_PRE.values()):
        other = json.loads(byte_level_bpe({}, [], pre).to_str())
        same = all(plain(said[part]) == plain(other[part]) for part in ("normalizer", "pre_tokenizer"))
        if same and said["model"].get("ignore_merges", False) == other["model"]["ignore_merges"]:
            return pre
    raise TextError(f"{what} cuts words in a way that limelight cannot name in GGUF; it names {', '.join(_PRE)}")


def byte_level_bpe(vocab: dict[str, int], merges: list[tuple[str, str]], pre: str) -> tokenizers.Tokenizer:
    """Byte-level BPE (Radford et al. 2019, section 2.2), with the words cut as `pre` says."""
    if pre not in _PRE:
        near = suggestion(pre, _PRE)
        raise TextError(
            f"tokenizer.ggml.pre is {given.shown(pre)}, a way to cut words that limelight does not know{near}"
        )
    family = _PRE[pre]
    # Llama 3 takes a word that is in the vocabulary as it stands, even where no merges lead to it.
    inner = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=family == "llama-bpe"))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family in ("gpt-2", "smollm"))
    first: dict[str, pre_tokenizers.PreTokenizer] = {
        "smollm": pre_tokenizers.Digits(individual_digits=True),
        "llama-bpe": pre_tokenizers.Split(Regex(_LLAMA3), "isolated"),
        "qwen2": pre_tokenizers.Split(Regex(_QWEN2), "isolated"),
    }
    inner.pre_tokenizer = pre_tokenizers.Sequence([first[family], whole]) if family in first else whole
    if family == "qwen2":
        inner.normalizer = normalizers.NFC()
    inner.decoder = decoders.ByteLevel()
    return inner


def sentencepiece_bpe(
    vocab: dict[str, int], scores: Sequence[float], types: Sequence[float], *, unk: str | None, spaced: bool
) -> tokenizers.Tokenizer:
    """SentencePiece BPE (Kudo and Richardson 2018): the pair whose piece scores highest is merged first.

    `spaced` puts a space in front of the text, as Llama does and Gemma does not.
    """
    usable = {piece: scores[id] for piece, id in vocab.items() if types[id] not in (_UNKNOWN, _CONTROL, _BYTE)}
    merges = merges_of(usable)
    inner = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token=unk, fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if spaced else space
    text: list[decoders.Decoder] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    inner.decoder = decoders.Sequence([*text, decoders.Strip(" ", 1, 0)] if spaced else text)
    return inner


def merges_of(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """The pairs of pieces that make a piece, that of the highest score first."""
    if sum(len(piece) ** 2 for piece in scores) > _MOST_WORK:
        longest = max(len(piece) for piece in scores)
        raise TextError(f"this tokenizer has pieces of up to {longest:,} characters, too long for SentencePiece")
    ranked = sorted(
        (-score, -cut, piece[:cut], piece[cut:])
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    )
    return [(left, right) for _, _, left, right in ranked]


def surround(inner: tokenizers.Tokenizer, front: str | None, back: str | None) -> None:
    """Puts the tokens that the model expects around every document into the post-processor."""
    names = [name for name in (front, back) if name is not None]
    if not names:
        return
    special = [(name, inner.token_to_id(name)) for name in dict.fromkeys(names)]
    single = [*([front] if front else []), "$A", *([back] if back else [])]
    inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)


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
