"""BERT (Devlin et al., 2019): an encoder with post-norm blocks, learned positions, and token types; any head."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import encoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, architecture
from limelight.models.mapping import Table


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    body = encoders.stack(keys)
    block = body.blocks[0]
    masked = c.Hidden(block.feedforward.activation, block.norm)
    return encoders.model(
        "bert",
        keys,
        30522,
        body,
        encoders.answer(keys, architecture(values).removeprefix("Bert"), masked, c.Hidden("tanh")),
    )


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "bert."
    mappings, tied = encoders.heads(config, "bert.pooler")
    ignored = [f"{front}embeddings.position_ids", "cls.seq_relationship.{p}"]
    if not isinstance(config.head, c.SequenceClassifier):
        ignored.append(f"{front}pooler.dense.{{p}}")
    return Table((*encoders.body(front), *mappings), front, tuple(ignored), tied, body="bert.")


def alone(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a GGUF file says, without what encoders have no keys for; it holds the body alone."""
    return {name: value for name, value in values.items() if name not in ("num_key_value_heads", "head_dim")}


GGUF = Gguf(
    "bert",
    eps=("attention.layer_norm_epsilon", "layer_norm_eps"),
    whole={"pooling_type": "pooling_type"},
    rows={"type_vocab_size": "token_types.weight"},
    complete=alone,
    names={"attention_norm": "attn_output_norm", "feedforward_norm": "layer_output_norm"},
    causal=False,
)

FAMILY = Family("bert", encoders.architectures("Bert"), from_hf, encoders.write, table, GGUF)
