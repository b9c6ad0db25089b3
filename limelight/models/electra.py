"""ELECTRA (Clark et al., 2020): BERT with token vectors of another width; the generator fills gaps, the discriminator
says which tokens were replaced."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import encoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, architecture
from limelight.models.mapping import Table, WeightMapping

REPLACED = "replaced"
"""The one label of a discriminator."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, **values})
    vectors = keys.whole("embedding_size", 128)
    body = encoders.stack(keys, width=None if vectors == keys.whole("hidden_size") else vectors)
    keys.keep("summary_last_dropout")  # of another head
    block = body.blocks[0]
    discriminator = c.TokenClassifier((REPLACED,), c.Hidden(block.feedforward.activation))
    kind = architecture(values).removeprefix("Electra")
    head = encoders.answer(keys, kind, c.Hidden("gelu", block.norm), c.Hidden("gelu"), discriminator)
    return encoders.model("electra", keys, 30522, body, head)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.transformer
    said = {**encoders.write(config), "embedding_size": stack.embeddings.width or stack.width}
    return said | ({"architectures": ["ElectraForPreTraining"]} if _discriminates(config.head) else {})


def _discriminates(head: c.Head) -> bool:
    return isinstance(head, c.TokenClassifier) and head.hidden is not None


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "electra."
    mappings = [
        *encoders.body(front),
        WeightMapping(f"{front}embeddings_project.{{p}}", "encoder.embeddings.project.{p}"),
    ]
    tied = {}
    match config.head:
        case c.MaskedLMHead():
            mappings += [
                WeightMapping("generator_predictions.dense.{p}", "head.hidden.dense.{p}"),
                WeightMapping("generator_predictions.LayerNorm.{p}", "head.hidden.norm.{p}"),
                WeightMapping("generator_lm_head.{p}", "head.proj.{p}"),
            ]
            tied = {"generator_lm_head.weight": "embed.weight"} if config.tied else {}
        case c.SequenceClassifier():
            mappings += [
                WeightMapping("classifier.dense.{p}", "head.hidden.dense.{p}"),
                WeightMapping("classifier.out_proj.{p}", "head.proj.{p}"),
            ]
        case c.TokenClassifier() if _discriminates(config.head):
            mappings += [
                WeightMapping("discriminator_predictions.dense.{p}", "head.hidden.dense.{p}"),
                WeightMapping("discriminator_predictions.dense_prediction.{p}", "head.proj.{p}"),
            ]
        case c.TokenClassifier():
            mappings.append(WeightMapping("classifier.{p}", "head.proj.{p}"))
        case c.SpanHead():
            mappings.append(WeightMapping("qa_outputs.{p}", "head.proj.{p}"))
    return Table(tuple(mappings), front, (f"{front}embeddings.position_ids",), tied, body="electra.")


FAMILY = Family("electra", encoders.architectures("Electra"), from_hf, to_hf, table)
