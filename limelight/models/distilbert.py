"""DistilBERT (Sanh et al., 2019): BERT with half of the layers and one type of token, under names of its own."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import encoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, activation_name, architecture, head_width
from limelight.models.mapping import Table, WeightMapping

NORM = c.LayerNorm(1e-12)
"""The family's only norm, which its configs do not name."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    keys.keep("dropout", "qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds", "tie_weights_")
    width, heads = keys.whole("dim", 768), keys.whole("n_heads", 12)
    head, context = head_width(keys, width, heads, "n_heads"), keys.whole("max_position_embeddings", 512)
    activation = keys.activation("activation", "gelu")
    block = c.Block(
        c.Attention(heads, heads, head, head**-0.5, bias=True, out_bias=True),
        c.FeedForward(keys.whole("hidden_dim", 3072), activation),
        NORM,
        "post",
    )
    embeddings = c.Embeddings(positions=c.Learned(context), norm=NORM)
    stack = c.TransformerStack(width, (block,) * keys.layers("n_layers"), None, embeddings)
    kind = architecture(values).removeprefix("DistilBert")
    answer = encoders.answer(keys, kind, c.Hidden(activation, NORM), c.Hidden("relu"))
    return encoders.model("distilbert", keys, 30522, stack, answer)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, block = config.transformer, config.transformer.blocks[0]
    return {
        "vocab_size": config.vocab,
        "dim": stack.width,
        "n_layers": len(stack.blocks),
        "n_heads": block.attention.heads,
        "hidden_dim": block.feedforward.hidden,
        "activation": activation_name(block.feedforward.activation),
        "max_position_embeddings": config.context,
        "tie_word_embeddings": config.tied or not isinstance(config.head, c.MaskedLMHead),
    }


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "distilbert."
    theirs, ours = f"{front}transformer.layer.{{i}}.", "encoder.blocks.{i}."
    mappings = [
        WeightMapping(f"{front}embeddings.word_embeddings.weight", "embed.weight"),
        WeightMapping(f"{front}embeddings.position_embeddings.weight", "encoder.embeddings.positions.weight"),
        WeightMapping(f"{front}embeddings.LayerNorm.{{p}}", "encoder.embeddings.norm.{p}"),
        WeightMapping(f"{theirs}attention.{{part}}_lin.{{p}}", f"{ours}attention.{{part}}.{{p}}"),
        WeightMapping(f"{theirs}sa_layer_norm.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(f"{theirs}ffn.lin1.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"{theirs}ffn.lin2.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping(f"{theirs}output_layer_norm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
    ]
    tied = {}
    match config.head:
        case c.MaskedLMHead():
            mappings += [
                WeightMapping("vocab_transform.{p}", "head.hidden.dense.{p}"),
                WeightMapping("vocab_layer_norm.{p}", "head.hidden.norm.{p}"),
                WeightMapping("vocab_projector.{p}", "head.proj.{p}"),
            ]
            tied = {"vocab_projector.weight": "embed.weight"} if config.tied else {}
        case c.SequenceClassifier():
            mappings += [
                WeightMapping("pre_classifier.{p}", "head.hidden.dense.{p}"),
                WeightMapping("classifier.{p}", "head.proj.{p}"),
            ]
        case c.TokenClassifier():
            mappings.append(WeightMapping("classifier.{p}", "head.proj.{p}"))
        case c.SpanHead():
            mappings.append(WeightMapping("qa_outputs.{p}", "head.proj.{p}"))
    return Table(tuple(mappings), front, (f"{front}embeddings.position_ids",), tied, body="distilbert.")


FAMILY = Family("distilbert", encoders.architectures("DistilBert"), from_hf, to_hf, table)
