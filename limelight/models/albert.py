"""ALBERT (Lan et al., 2020): BERT whose layers share their weights, with narrow token vectors that are projected."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import encoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, architecture
from limelight.models.mapping import Table, WeightMapping

SIZES = {"hidden_size": 4096, "num_attention_heads": 64, "intermediate_size": 16384, "hidden_act": "gelu_new"}
"""What the reference takes where a config is silent."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({**SIZES, **values})
    unused = ("classifier_dropout_prob", "down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks")
    keys.keep(*unused, "layers_to_keep", "inner_group_num")
    body = encoders.stack(keys, width=keys.whole("embedding_size", 128))
    layers, block = len(body.blocks), body.blocks[0]
    groups, inner = keys.whole("num_hidden_groups", 1), keys.whole("inner_group_num", 1, most=layers)
    if groups > layers:
        raise ConfigError(f"{keys.called('num_hidden_groups')} is {groups}; there are {layers} layers to share weights")
    # The same division in floating point as the reference's, which may cut groups of unlike size.
    sets = [int(i / (layers / groups)) * inner + j for i in range(layers) for j in range(inner)]
    body = replace(body, blocks=(block,) * len(sets), shared=tuple(map(sets.index, sets)))
    kind = architecture(values).removeprefix("Albert")
    head = encoders.answer(keys, kind, c.Hidden(block.feedforward.activation, block.norm), c.Hidden("tanh"))
    return encoders.model("albert", keys, 30000, body, head)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, inner = config.transformer, _inner(config)
    return {
        **encoders.write(config),
        "embedding_size": stack.embeddings.width,
        "num_hidden_layers": len(stack.blocks) // inner,
        "num_hidden_groups": len(set(stack.shared)) // inner,
        "inner_group_num": inner,
    }


def _inner(config: c.ModelConfig) -> int:
    """How many layers, one behind the other, a group has."""
    return int(config.extra.get("inner_group_num") or 1)


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "albert."
    scores, words = encoders.words(config, "predictions.")
    heads = {
        c.MaskedLMHead: [
            WeightMapping("predictions.dense.{p}", "head.hidden.dense.{p}"),
            WeightMapping("predictions.LayerNorm.{p}", "head.hidden.norm.{p}"),
            *scores,
        ],
        c.SequenceClassifier: [
            WeightMapping("albert.pooler.{p}", "head.hidden.dense.{p}"),
            WeightMapping("classifier.{p}", "head.proj.{p}"),
        ],
        c.TokenClassifier: [WeightMapping("classifier.{p}", "head.proj.{p}")],
        c.SpanHead: [WeightMapping("qa_outputs.{p}", "head.proj.{p}")],
    }
    mappings = [
        *encoders.embeddings(front),
        WeightMapping(f"{front}embeddings.token_type_embeddings.weight", "encoder.embeddings.types.weight"),
        WeightMapping(f"{front}encoder.embedding_hidden_mapping_in.{{p}}", "encoder.embeddings.project.{p}"),
        *heads.get(type(config.head), ()),
    ]
    for number, block in enumerate(sorted(set(config.transformer.shared))):
        group, layer = divmod(number, _inner(config))
        theirs = f"{front}encoder.albert_layer_groups.{group}.albert_layers.{layer}."
        ours = f"encoder.blocks.{block}."
        mappings += [
            WeightMapping(f"{theirs}attention.query.{{p}}", f"{ours}attention.q.{{p}}"),
            WeightMapping(f"{theirs}attention.key.{{p}}", f"{ours}attention.k.{{p}}"),
            WeightMapping(f"{theirs}attention.value.{{p}}", f"{ours}attention.v.{{p}}"),
            WeightMapping(f"{theirs}attention.dense.{{p}}", f"{ours}attention.out.{{p}}"),
            WeightMapping(f"{theirs}attention.LayerNorm.{{p}}", f"{ours}attention_norm.{{p}}"),
            WeightMapping(f"{theirs}ffn.{{p}}", f"{ours}feedforward.up.{{p}}"),
            WeightMapping(f"{theirs}ffn_output.{{p}}", f"{ours}feedforward.down.{{p}}"),
            WeightMapping(f"{theirs}full_layer_layer_norm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
        ]
    ignored = [f"{front}embeddings.position_ids", "sop_classifier.classifier.{p}"]
    if not isinstance(config.head, c.SequenceClassifier):
        ignored.append(f"{front}pooler.{{p}}")
    return Table(
        tuple(mappings), front, tuple(ignored), words if isinstance(config.head, c.MaskedLMHead) else {}, body="albert."
    )


FAMILY = Family("albert", encoders.architectures("Albert"), from_hf, to_hf, table)
