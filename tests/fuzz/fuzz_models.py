"""Sound models to spoil: one tiny folder a family and a file format, with a tokenizer and a chat template."""

import json
from pathlib import Path

import fuzz_text
import gguf
import numpy as np
import tokenizers
import torch
from tokenizers import decoders, pre_tokenizers, trainers

from limelight.checkpoints.save import save_checkpoint
from limelight.models import gguf as names
from limelight.models.api import Network
from limelight.models.build import build
from limelight.models.config import ModelConfig
from limelight.models.registry import config_from_hf
from limelight.models.transformer2017 import transformer2017
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer

TEXT = "The cat sat on the mat"
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

WIDE: dict[str, object] = {
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
LLAMA = {**WIDE, "num_key_value_heads": 1}
GPT2 = {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 64}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
FAMILIES = {
    "gpt2": GPT2,
    "llama": {**LLAMA, "rope_parameters": YARN},
    "mistral": {**LLAMA, "sliding_window": 8},
    "qwen2": LLAMA,
    "qwen3": {**LLAMA, "head_dim": 8},
    "gemma2": {**LLAMA, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8},
    "phi3": {**LLAMA, "rope_scaling": LONG, "original_max_position_embeddings": 16},
    "gpt_neox": WIDE,
}
GGUFS = ("llama", "qwen2", "qwen3", "gemma2", "gpt2")
"""Those that are written as GGUF, too."""


def tokenizer() -> tokenizers.Tokenizer:
    """A byte-level BPE that knows the words of `TEXT`."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=CONTROLS, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([TEXT] * 3, trainer)
    return inner


def network(config: ModelConfig) -> Network:
    """The model with random weights of a visible spread."""
    torch.manual_seed(0)
    built = build(config).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(0.1, 0.3)
    return built


def make(folder: Path) -> list[Path]:
    """Writes every model below `folder`; returns their folders."""
    inner = tokenizer()
    vocab = inner.get_vocab_size()
    words = Tokenizer(Parts(inner, eos="<|im_end|>", template=TEMPLATE))
    for family, keys in FAMILIES.items():
        built = network(config_from_hf({"model_type": family, "vocab_size": vocab, **keys}))
        save_checkpoint(built, words, folder / family)
    shape = {"layers": 1, "width": 16, "heads": 2, "hidden": 24, "dropout": 0.0}
    translator = network(transformer2017(vocab=vocab, source_vocab=None, context=64, **shape))
    save_checkpoint(translator, words, folder / "translator")
    _torch_zip(folder / "llama", folder / "torch")
    for kind, train in fuzz_text.KINDS.items():
        _folder(train([TEXT] * 3), folder / f"text-{kind}")
    lists = fuzz_text.byte_level([TEXT] * 3)
    _folder(lists, folder / "text-lists")
    fuzz_text.write_lists(folder / "text-lists", lists)
    spm = fuzz_text.sentencepiece([TEXT] * 3)
    config = config_from_hf({"model_type": "llama", "vocab_size": spm.get_vocab_size(), **FAMILIES["llama"]})
    _gguf("llama", network(config), spm, folder / "gguf-spm" / "model.gguf")
    for family in GGUFS:
        config = config_from_hf({"model_type": family, "vocab_size": vocab, **FAMILIES[family]})
        _gguf(family, network(config), inner, folder / f"gguf-{family}" / "model.gguf")
    return sorted(folder.iterdir())


def _folder(inner: tokenizers.Tokenizer, folder: Path) -> None:
    """A small Llama with that tokenizer, and its chat template in a file of its own."""
    words = Tokenizer(Parts(inner, bos="<s>", eos="</s>", unk="<unk>"))
    built = network(config_from_hf({"model_type": "llama", "vocab_size": inner.get_vocab_size(), **LLAMA}))
    save_checkpoint(built, words, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)


def _torch_zip(source: Path, folder: Path) -> None:
    from safetensors.torch import load_file

    folder.mkdir()
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(source / "model.safetensors"), folder / "pytorch_model.bin")


def _gguf(architecture: str, built: Network, inner: tokenizers.Tokenizer, path: Path) -> None:
    """The file that llama.cpp's converter would make; the matrices of Llama as Q8_0."""
    path.parent.mkdir()
    writer = gguf.GGUFWriter(path, architecture)
    block = built.config.transformer.blocks[0]
    attention = block.attention
    writer.add_context_length(built.config.context)
    writer.add_embedding_length(built.config.transformer.width)
    writer.add_block_count(len(built.config.transformer.blocks))
    writer.add_feed_forward_length(block.feedforward.hidden)
    writer.add_head_count(attention.heads)
    writer.add_head_count_kv(attention.kv_heads)
    if attention.rotary is not None:
        writer.add_rope_freq_base(attention.rotary.base)
        writer.add_rope_dimension_count(attention.rotary.width)
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(2.0)
        writer.add_key_length(attention.head_width)
        writer.add_layer_norm_rms_eps(1e-6)
    else:
        writer.add_layer_norm_eps(1e-5)
    vocab = inner.get_vocab()
    tokens = sorted(vocab, key=lambda token: vocab[token])
    writer.add_token_list(tokens)
    if "<unk>" in vocab:  # SentencePiece
        writer.add_tokenizer_model("llama")
        kinds = {"<unk>": 2, "<s>": 3, "</s>": 3, **dict.fromkeys(fuzz_text.BYTES, 6)}
        writer.add_token_types([kinds.get(token, 1) for token in tokens])
        writer.add_token_scores([-float(id) for id in range(len(tokens))])
        writer.add_bos_token_id(vocab["<s>"])
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_types([3 if token in CONTROLS else 1 for token in tokens])
        merges = json.loads(inner.to_str())["model"]["merges"]
        writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_eos_token_id(vocab["</s>" if "</s>" in vocab else "<|im_end|>"])
    writer.add_chat_template(TEMPLATE)
    ours = {name: weight for name, weight in built.state_dict().items() if name != "head.proj.weight"}
    for move in names.table(built.config).saves(ours):
        for name, weight in zip(move.theirs, move.mapping.save([ours[o] for o in move.ours]), strict=True):
            data = np.ascontiguousarray(weight.numpy())
            if architecture == "llama" and data.ndim == 2 and data.shape[1] % 32 == 0:
                kind = gguf.GGMLQuantizationType.Q8_0
                writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
