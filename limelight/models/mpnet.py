"""MPNet (Song et al., 2020): BERT with T5's relative bias beside learned positions, and one type of token."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import encoders, roberta
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, architecture
from limelight.models.mapping import Table, WeightMapping

OFFSET = 2
"""Positions are counted from behind the padding token, which is number 1 here whatever the config says."""

BUCKETS = 32
"""The reference cuts distances into so many buckets, whatever the config says."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    if (buckets := keys.whole("relative_attention_num_buckets", BUCKETS)) != BUCKETS:
        raise keys.refused("relative_attention_num_buckets", buckets, f"{BUCKETS}, the only number that the model uses")
    body = encoders.stack(keys, offset=OFFSET)
    bias = c.RelativeBias(BUCKETS, 128, both_ways=True)
    block = replace(body.blocks[0], attention=replace(body.blocks[0].attention, score_bias=bias))
    embeddings = replace(body.embeddings, types=None)
    body = replace(body, blocks=(block,) * len(body.blocks), embeddings=embeddings)
    kind = architecture(values).removeprefix("MPNet")
    head = encoders.answer(keys, kind, c.Hidden("gelu", block.norm), c.Hidden("tanh"))
    return encoders.model("mpnet", keys, 30527, body, head)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    said = {**encoders.write(config), "relative_attention_num_buckets": BUCKETS}
    del said["type_vocab_size"]
    return said


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "mpnet."
    theirs, ours = f"{front}encoder.layer.{{i}}.", "encoder.blocks.{i}."
    mappings, tied = roberta.heads(config)
    mappings += [
        *encoders.embeddings(front),
        *(WeightMapping(f"{theirs}attention.attn.{p}.{{p}}", f"{ours}attention.{p}.{{p}}") for p in "qkv"),
        WeightMapping(f"{theirs}attention.attn.o.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"{theirs}attention.LayerNorm.{{p}}", f"{ours}attention_norm.{{p}}"),
        *encoders.feedforward(theirs, ours),
        WeightMapping(f"{front}encoder.relative_attention_bias.weight", "encoder.blocks.0.attention.score_bias.weight"),
    ]
    return Table(
        tuple(mappings), front, (f"{front}embeddings.position_ids", f"{front}pooler.dense.{{p}}"), tied, body="mpnet."
    )


FAMILY = Family("mpnet", encoders.architectures("MPNet"), from_hf, to_hf, table)
