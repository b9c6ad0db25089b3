"""Masks in texts: the ids are those of the reference, whatever a mask takes along."""

from pathlib import Path

import pytest
import transformers as hf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from limelight.errors import RequestError
from limelight.text.tokenizer import Tokenizer as Ours

TEXTS = ["the cat {} on the mat", "{} cat", "the {}", "the {}{} mat", "the{}mat", "  the  {}  mat "]
WORDS = ["the", "cat", "sat", "on", "mat"]


def word_piece(folder: Path) -> hf.PreTrainedTokenizerFast:
    vocab = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    inner = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", mask_token="[MASK]"
    )


def byte_level(folder: Path) -> hf.PreTrainedTokenizerFast:
    """As RoBERTa's: the mask takes the space in front of it along."""
    marks = ["<s>", "<pad>", "</s>", "<unk>", *pre_tokenizers.ByteLevel.alphabet(), "<mask>"]
    inner = Tokenizer(models.BPE({token: i for i, token in enumerate(marks)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    mask = AddedToken("<mask>", lstrip=True, normalized=False, special=True)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", mask_token=mask
    )


def unigram(folder: Path) -> hf.PreTrainedTokenizerFast:
    """As XLM-RoBERTa's."""
    pieces = [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -3.0),
        *((f"▁{w}", -1.0) for w in WORDS),
    ]
    pieces += [(letter, -5.0) for letter in "thecasonm"] + [("<mask>", 0.0)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=3))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    inner.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    mask = AddedToken("<mask>", lstrip=True, normalized=True, special=True)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", mask_token=mask
    )


@pytest.mark.parametrize("make", [word_piece, byte_level, unigram])
def test_masks_are_where_the_reference_has_them(make: object, tmp_path: Path) -> None:
    reference = make(tmp_path)  # type: ignore[operator]
    reference.save_pretrained(tmp_path)
    ours = Ours.from_folder(tmp_path)
    for text in TEXTS:
        masked = text.replace("{}", reference.mask_token)
        assert [*ours.prefix, *ours.encode_masked(masked), *ours.suffix] == reference(masked).input_ids, masked
    with pytest.raises(RequestError, match="has no gap to fill"):
        ours.encode_masked("the cat")
    end = reference.eos_token or reference.sep_token
    with pytest.raises(RequestError, match="one of the model's own marks"):
        ours.encode_masked(f"the {reference.mask_token} {end}")
