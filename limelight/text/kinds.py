"""The kinds of tokenizers, each made of its vocabulary: byte pairs, SentencePiece's, pieces of words, RWKV's World."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from limelight import given
from limelight.errors import TextError, suggestion

LONGEST_VOCABULARY = 2_000_000
_MOST_OF_WORLD, _LONGEST_OF_WORLD = 100_000, 256  # the real one has 65,529, of up to 128 bytes
_MOST_WORK = 100_000_000  # characters looked at to find the merges; Gemma's 256,000 pieces take 20 million
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)  # types of pieces, for SentencePiece and GGUF

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
PRE = {
    "gpt-2": "gpt-2",
    "default": "gpt-2",
    "phi-2": "gpt-2",
    "roberta-bpe": "gpt-2",
    "modern-bert": "modern-bert",
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


def byte_level_bpe(vocab: dict[str, int], merges: list[tuple[str, str]], pre: str) -> tokenizers.Tokenizer:
    """Byte-level BPE (Radford et al. 2019, section 2.2), with the words cut as `pre` says."""
    if pre not in PRE:
        near = suggestion(pre, PRE)
        raise TextError(
            f"tokenizer.ggml.pre is {given.shown(pre)}, a way to cut words that limelight does not know{near}"
        )
    family = PRE[pre]
    # Llama 3 takes a word that is in the vocabulary as it stands, even where no merges lead to it.
    inner = tokenizers.Tokenizer(models.BPE(vocab, merges, ignore_merges=family == "llama-bpe"))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family in ("gpt-2", "smollm", "modern-bert"))
    first: dict[str, pre_tokenizers.PreTokenizer] = {
        "smollm": pre_tokenizers.Digits(individual_digits=True),
        "llama-bpe": pre_tokenizers.Split(Regex(_LLAMA3), "isolated"),
        "qwen2": pre_tokenizers.Split(Regex(_QWEN2), "isolated"),
    }
    inner.pre_tokenizer = pre_tokenizers.Sequence([first[family], whole]) if family in first else whole
    if family in ("qwen2", "modern-bert"):
        inner.normalizer = normalizers.NFC()
    inner.decoder = decoders.ByteLevel()
    return inner


def sentencepiece_bpe(
    vocab: dict[str, int], scores: Sequence[float], types: Sequence[float], *, unk: str | None, spaced: bool
) -> tokenizers.Tokenizer:
    """SentencePiece BPE (Kudo and Richardson 2018): the pair whose piece scores highest is merged first.

    `spaced` puts a space in front of the text, as Llama does and Gemma does not.
    """
    usable = {piece: scores[id] for piece, id in vocab.items() if types[id] not in (UNKNOWN, CONTROL, BYTE)}
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


def word_pieces(
    vocab: dict[str, int], unk: str, *, lower: bool, chinese: bool = True, accents: bool | None = None
) -> tokenizers.Tokenizer:
    """WordPiece as BERT has it (Devlin et al., 2019): the longest piece first, "##" in front of those within a word.

    chinese: their characters are words. accents: whether they are taken off (None: where `lower`).
    """
    inner = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token=unk))
    inner.normalizer = normalizers.BertNormalizer(True, chinese, accents, lower)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    return inner


def world(tokens: Mapping[bytes, int], others: Mapping[str, int], what: str) -> tokenizers.Tokenizer:
    """RWKV's World tokenizer: of all tokens that a text's bytes go on with, the longest.

    others: names that stand for no bytes. The rule is a tree of the tokens as one regular expression. Raises TextError,
    beginning with `what`, for a vocabulary that is longer than the real one can be, or that lacks a byte.
    """
    if len(tokens) > _MOST_OF_WORLD or max(map(len, tokens), default=0) > _LONGEST_OF_WORLD:
        most = f"{_MOST_OF_WORLD:,} tokens of {_LONGEST_OF_WORLD} bytes"
        raise TextError(f"{what} is none of RWKV's World: that has at most {most}")
    if any(bytes([byte]) not in tokens for byte in range(256)):
        raise TextError(f"{what} is none of RWKV's World: not every byte is a token")
    letters = byte_letters()
    vocab = {"".join(letters[byte] for byte in token): id for token, id in tokens.items()}
    tree: dict[str, Any] = {}
    for token in vocab:
        place = tree
        for letter in token:
            place = place.setdefault(letter, {})
        place[""] = {}
    if len({*vocab, *others}) != len(vocab) + len(others):
        raise TextError(f"{what} has a token twice")
    inner = tokenizers.Tokenizer(models.WordLevel(vocab | dict(others), unk_token=letters[0]))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            pre_tokenizers.Split(Regex(_longest(tree)), "isolated"),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    return inner


def _longest(tree: Mapping[str, Any]) -> str:
    """A pattern for the longest way through a tree of letters that ends at a token, marked by an empty letter."""
    ends = [letter for letter, below in tree.items() if below.keys() == {""}]
    ways = [f"[{''.join(map(re.escape, ends))}]"] if ends else []
    ways += [re.escape(letter) + _longest(below) for letter, below in tree.items() if letter and letter not in ends]
    return f"(?:{'|'.join(ways)}){'?' if '' in tree else ''}"


@cache
def byte_letters() -> tuple[str, ...]:
    """The letter that stands for each byte (Radford et al. 2019): itself where it is printed, else one behind all."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    return tuple(chr(byte if byte in printed else 256 + others.index(byte)) for byte in range(256))


def surround(inner: tokenizers.Tokenizer, front: str | None, back: str | None) -> None:
    """Puts the tokens that the model expects around every document into the post-processor."""
    names = [name for name in (front, back) if name is not None]
    if not names:
        return
    special = [(name, inner.token_to_id(name)) for name in dict.fromkeys(names)]
    single = [*([front] if front else []), "$A", *([back] if back else [])]
    inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
