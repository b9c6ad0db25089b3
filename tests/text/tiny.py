"""Small tokenizers, trained on the spot, that stand as the reference; and texts that are hard on tokenizers."""

import io
import json
from typing import Any

import sentencepiece
import tokenizers
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers

MIXED = (
    "The cat's mat, it was tired... 😀👩‍👩‍👧🇫🇷 中文测试 日本語のテキスト cafe\u0301 é naïve\t"
    "def f(x):\n\n    return x**2  # 12345 ½\r\n"
    "  I don't, we'LL <|im_start|>user\nhi<|im_end|></s> नमस्ते Ω≈ç√  \u00a0x 3.14 2024-11-05   \n \n"
)
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Sentences that the trained vocabularies come from: enough for merges across letters, spaces, digits and scripts.
_CORPUS = [
    MIXED,
    "the cat sat on the mat because it was tired, and the dog sat on the other mat",
    "she doesn't know what they're doing; we'll see, I'd say it's all theirs",
    "def encode(text):\n    return [vocab[token] for token in text.split()]\n",
    "in 1984 there were 365 days, 12 months and 52 weeks",
    "中文 测试 中文 日本語 日本 テキスト",
    "नमस्ते नमस्ते दुनिया   spaces    and\t\ttabs\n\nnewlines\n",
] * 20
# The regular expressions as they stand in the tokenizer.json of Llama 3 and of Qwen 2.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(pre: str) -> tokenizers.Tokenizer:
    """A byte-level BPE whose words are cut as in the published tokenizer.json of the family that `pre` names."""
    inner = tokenizers.Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre in ("gpt-2", "smollm"))
    first = {
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "llama-bpe": [pre_tokenizers.Split(Regex(_LLAMA3), "isolated")],
        "qwen2": [pre_tokenizers.Split(Regex(_QWEN2), "isolated")],
    }.get(pre, [])
    inner.pre_tokenizer = pre_tokenizers.Sequence([*first, whole])
    if pre == "qwen2":
        inner.normalizer = normalizers.NFC()
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=CONTROLS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    inner.add_tokens([AddedToken("<tool>", normalized=False)])
    inner.post_processor = processors.ByteLevel(trim_offsets=True)
    return inner


def byte_level_metadata(inner: tokenizers.Tokenizer, pre: str) -> dict[str, Any]:
    """What llama.cpp's converter writes into a GGUF file for such a tokenizer."""
    vocab = inner.get_vocab()
    tokens = sorted(vocab, key=lambda token: vocab[token])
    added = {token.content: token for token in inner.get_added_tokens_decoder().values()}
    types = [1 if token not in added else 3 if added[token].special else 4 for token in tokens]
    merges = json.loads(inner.to_str())["model"]["merges"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": vocab["<|im_start|>"],
        "tokenizer.ggml.eos_token_id": vocab["<|im_end|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    }


def sentence_piece(*, spaced: bool = True) -> sentencepiece.SentencePieceProcessor:
    """A SentencePiece BPE with byte fallback, trained as Llama's (or, not `spaced`, as Gemma's)."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in _CORPUS for line in text.split("\n") if line.strip()),
        model_writer=model,
        model_type="bpe",
        vocab_size=520,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=spaced,
        split_digits=True,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def sentence_piece_metadata(model: sentencepiece.SentencePieceProcessor, *, spaced: bool = True) -> dict[str, Any]:
    ids = range(model.get_piece_size())
    types = [2 if model.is_unknown(id) else 3 if model.is_control(id) else 6 if model.is_byte(id) else 1 for id in ids]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [model.id_to_piece(id) for id in ids],
        "tokenizer.ggml.scores": [model.get_score(id) for id in ids],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": model.bos_id(),
        "tokenizer.ggml.eos_token_id": model.eos_id(),
        "tokenizer.ggml.unknown_token_id": model.unk_id(),
        "tokenizer.ggml.add_space_prefix": spaced,
    }


def word_piece() -> tokenizers.Tokenizer:
    """A tokenizer in the manner of BERT, with [CLS] and [SEP] around every text."""
    inner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    inner.train_from_iterator(
        _CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return inner


def unigram() -> tokenizers.Tokenizer:
    """A Unigram in the manner of T5, which puts a space in front of every text."""
    inner = tokenizers.Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    inner.train_from_iterator(
        _CORPUS,
        trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    return inner


# Random text: mostly what people write, some of everything else that Unicode has.
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            [*MIXED.split(" "), " ", "  ", "\n", "\t", "'", *CONTROLS, "<s>", "</s>", "<unk>", "<0x41>", "▁"]
        ),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=6),
    ),
    max_size=12,
).map("".join)
