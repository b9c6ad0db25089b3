"""What the tests of the command line are made of: a tokenizer trained on the spot, tiny Llamas, and a result."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import tokenizers
import torch
from tokenizers import decoders, pre_tokenizers, trainers

from limelight.checkpoints.save import save_checkpoint
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.registry import config_from_hf
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SENTENCE = "The cat sat on the mat because it was tired"


class Result(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


def trained(template: str | None = TEMPLATE) -> Tokenizer:
    """A byte-level BPE that knows the words of `SENTENCE`."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=CONTROLS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([SENTENCE, "Mary gave John a drink"] * 5, trainer)
    return Tokenizer(Parts(inner, eos="<|im_end|>", template=template))


def llama(vocab: int, context: int = 128) -> Decoder:
    return build(
        config_from_hf(
            {
                "model_type": "llama",
                "vocab_size": vocab,
                "hidden_size": 32,
                "intermediate_size": 48,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": context,
                "tie_word_embeddings": False,
            }
        )
    )


def saved(network: Decoder, tokenizer: Tokenizer, temporary: pytest.TempPathFactory) -> Path:
    folder = temporary.mktemp("model") / "tiny"
    save_checkpoint(network, tokenizer, folder)
    return folder


def random_llama(tmp_path_factory: pytest.TempPathFactory, context: int = 4096) -> Path:
    """The folder of a tiny Llama with random weights of a visible spread: 3 layers of 4 heads."""
    torch.manual_seed(0)
    tokenizer = trained()
    network = llama(tokenizer.vocab, context)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.dim() == 1 else 0.0, 0.3)
    return saved(network, tokenizer, tmp_path_factory)
