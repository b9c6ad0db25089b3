"""Training a tokenizer on the user's text, with the `tokenizers` library."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

from limelight.errors import RequestError
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer

Kind = Literal["bpe", "unigram", "word", "character", "byte"]
PAD, BOS, EOS, UNK = SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
SAMPLE = 10_000_000  # texts that a tokenizer learns from; more change nothing but the memory it takes
# Letters, digits and everything else are separate words; "▁" stands for the space in front of a word.
_WORDS = r"▁?[\p{L}\p{M}]+|▁?\p{N}+|▁?[^▁\p{L}\p{M}\p{N}]+|▁+"


def train_tokenizer(
    texts: Iterable[str], kind: Kind, vocab: int, *, lower: bool = False, document: bool = False
) -> Tokenizer:
    """A tokenizer of at most `vocab` tokens, its four special tokens (ids 0 to 3) included.

    kind: "bpe" (Sennrich et al., 2016) and "unigram" (Kudo, 2018) over words cut at letters, digits and other signs;
    "byte": the same as GPT-2, BPE over bytes, so that no text is unknown; "word"; "character". lower: text is
    lower-cased. document: texts are read as documents with <bos> in front, rather than as sentences with <eos> behind.
    The same texts give the same tokenizer. Raises RequestError for a vocabulary that is too small or no text.
    """
    least = 256 + len(SPECIALS) if kind == "byte" else len(SPECIALS) + 1
    if vocab < least:
        raise RequestError(f"a {kind} vocabulary needs at least {least} tokens; {vocab} were asked for")
    inner, trainer = _untrained(kind, vocab)
    if lower:
        inner.normalizer = normalizers.Lowercase()
    seen = _Seen(islice(texts, SAMPLE))
    inner.train_from_iterator(seen, trainer)
    if not seen.some:
        raise RequestError("there is no text to learn a tokenizer from")
    around = f"{BOS} $A" if document else f"$A {EOS}"
    marks = [(mark, inner.token_to_id(mark)) for mark in (BOS, EOS)]
    inner.post_processor = processors.TemplateProcessing(single=around, special_tokens=marks)
    return Tokenizer(Parts(inner, bos=BOS, eos=EOS, pad=PAD, unk=UNK))


def _untrained(kind: Kind, vocab: int) -> tuple[tokenizers.Tokenizer, Any]:
    common: dict[str, Any] = {"vocab_size": vocab, "special_tokens": list(SPECIALS), "show_progress": False}
    match kind:
        case "bpe":
            inner = tokenizers.Tokenizer(models.BPE(unk_token=UNK))
            trainer: Any = trainers.BpeTrainer(**common)
        case "unigram":
            inner = tokenizers.Tokenizer(models.Unigram())
            trainer = trainers.UnigramTrainer(unk_token=UNK, **common)
        case "word":
            inner = tokenizers.Tokenizer(models.WordLevel(unk_token=UNK))
            trainer = trainers.WordLevelTrainer(**common)
        case "character":
            inner = tokenizers.Tokenizer(models.WordLevel(unk_token=UNK))
            inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
            inner.decoder = decoders.Fuse()
            return inner, trainers.WordLevelTrainer(**common)
        case "byte":
            inner = tokenizers.Tokenizer(models.BPE())
            inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            inner.decoder = decoders.ByteLevel()
            return inner, trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
        ]
    )
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    return inner, trainer


class _Seen:
    """An iterator that remembers whether anything came."""

    def __init__(self, texts: Iterator[str]) -> None:
        self.texts = texts
        self.some = False

    def __iter__(self) -> Iterator[str]:
        for text in self.texts:
            self.some = True
            yield text
