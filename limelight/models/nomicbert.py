"""Nomic Embed (Nussbaum et al., 2024): BERT with rotary positions, gated feed-forwards and few biases."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import bert, encoders
from limelight.models import config as c
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, architecture, head_width, rope_keys, rotary
from limelight.models.mapping import Split, Table, WeightMapping

OLDER = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
    "layer_norm_eps": "layer_norm_epsilon",
    "rope_theta": "rotary_emb_base",
}
"""What the config says in the models' own repositories."""

OTHERWISE: tuple[str, ...] = (
    "prenorm",
    "parallel_block",
    "causal",
    "qkv_proj_bias",
    "mlp_fc1_bias",
    "mlp_fc2_bias",
    "use_rms_norm",
)
OTHERWISE += ("rotary_emb_interleaved", "rotary_scaling_factor", "rotary_emb_scale_base")
"""Its keys by which a model would be another one."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    older = "n_embd" in values
    keys = ConfigReader(values, names=OLDER if older else {})
    for name in OTHERWISE:
        if keys.take(name):
            raise keys.refused(name, values[name], "false, as in the models that limelight knows")
    if older:
        keys.keep(
            "activation_function", "rotary_emb_fraction", *(name for name in values if name not in OLDER.values())
        )
        for name, wanted in (("activation_function", "swiglu"), ("rotary_emb_fraction", 1.0)):
            if (value := keys.take(name, wanted)) != wanted:
                raise keys.refused(name, value, repr(wanted))
    wide, heads = keys.whole("hidden_size", 768), keys.whole("num_attention_heads", 12)
    context, head = keys.whole("max_position_embeddings", 2048), head_width(keys, wide, heads)
    head = keys.whole("head_dim", head)
    norm, activation = c.LayerNorm(keys.number("layer_norm_eps", 1e-12)), keys.activation("hidden_act", "silu")
    block = c.Block(
        c.Attention(heads, heads, head, head**-0.5, rotary(keys, head, context, base=1000.0)),
        c.GatedFeedForward(keys.whole("intermediate_size", 3072), activation),
        norm,
        "post",
    )
    types = keys.whole("type_vocab_size", 2, least=0)
    stack = c.TransformerStack(
        wide, (block,) * keys.layers("num_hidden_layers"), None, c.Embeddings(types=types or None, norm=norm)
    )
    kind = architecture(values).removeprefix("NomicBert")
    answer = encoders.answer(keys, kind, c.Hidden(activation, norm), c.Hidden("tanh"))
    return c.ModelConfig("nomic_bert", keys.whole("vocab_size", 30528), context, None, answer, keys.rest(), stack)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attention = config.transformer.blocks[0].attention
    assert attention.rotary is not None
    said = {key: value for key, value in encoders.write(config).items() if key != "tie_word_embeddings" or not value}
    said |= {"head_dim": attention.head_width} | rope_keys(attention.rotary, attention.head_width)
    return said


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "nomic_bert."
    theirs, ours = f"{front}encoder.layers.{{i}}.", "encoder.blocks.{i}."
    attention = config.transformer.blocks[0].attention
    qkv = tuple(f"{ours}attention.{part}.weight" for part in "qkv")
    body = [
        WeightMapping(f"{front}embeddings.word_embeddings.weight", "embed.weight"),
        WeightMapping(f"{front}embeddings.token_type_embeddings.weight", "encoder.embeddings.types.weight"),
        WeightMapping(f"{front}emb_ln.{{p}}", "encoder.embeddings.norm.{p}"),
        WeightMapping(f"{theirs}attn.Wqkv.weight", qkv, Split((attention.heads * attention.head_width,) * 3)),
        WeightMapping(f"{theirs}attn.out_proj.weight", f"{ours}attention.out.weight"),
        WeightMapping(f"{theirs}norm1.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(f"{theirs}mlp.fc11.weight", f"{ours}feedforward.up.weight"),
        WeightMapping(f"{theirs}mlp.fc12.weight", f"{ours}feedforward.gate.weight"),
        WeightMapping(f"{theirs}mlp.fc2.weight", f"{ours}feedforward.down.weight"),
        WeightMapping(f"{theirs}norm2.{{p}}", f"{ours}feedforward_norm.{{p}}"),
    ]
    heads, tied = encoders.heads(config, "nomic_bert.pooler", "layer_norm")
    ignored = () if isinstance(config.head, c.SequenceClassifier) else (f"{front}pooler.dense.{{p}}",)
    return Table((*body, *heads), front, ignored, tied, body="nomic_bert.")


ARCHITECTURES = {kind: name for kind, name in encoders.architectures("NomicBert").items() if kind is not c.SpanHead}
GGUF = replace(bert.GGUF, architecture="nomic-bert", joint=True)

FAMILY = Family("nomic_bert", ARCHITECTURES, from_hf, to_hf, table, GGUF)
