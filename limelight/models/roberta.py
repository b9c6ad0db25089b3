"""RoBERTa (Liu et al., 2019): BERT whose positions are counted from behind the padding token's number."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import encoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, architecture
from limelight.models.mapping import Table, WeightMapping


def read(name: str, stem: str, vocab: int, values: Mapping[str, Any]) -> c.ModelConfig:
    """The config of a family whose classes begin with `stem`. vocab: the vocabulary's size unless it says so."""
    keys = ConfigReader(values)
    body = encoders.stack(keys, offset=keys.whole("pad_token_id", 1, least=0) + 1)
    masked, classes = c.Hidden("gelu", body.blocks[0].norm), c.Hidden("tanh")
    head = encoders.answer(keys, architecture(values).removeprefix(stem), masked, classes)
    return encoders.model(name, keys, vocab, body, head)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    positions = config.transformer.embeddings.positions
    assert isinstance(positions, c.Learned)
    return {**encoders.write(config), "pad_token_id": positions.offset - 1}


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "roberta."
    mappings, tied = heads(config)
    ignored = (f"{front}embeddings.position_ids", f"{front}pooler.dense.{{p}}")
    return Table((*encoders.body(front), *mappings), front, ignored, tied, body="roberta.")


def heads(config: c.ModelConfig) -> tuple[list[WeightMapping], dict[str, str]]:
    """The names of the head's weights, and those that stand for others; MPNet shares them."""
    match config.head:
        case c.MaskedLMHead():
            scores, tied = encoders.words(config, "lm_head.")
            dense = WeightMapping("lm_head.dense.{p}", "head.hidden.dense.{p}")
            return [dense, WeightMapping("lm_head.layer_norm.{p}", "head.hidden.norm.{p}"), *scores], tied
        case c.SequenceClassifier():
            dense = WeightMapping("classifier.dense.{p}", "head.hidden.dense.{p}")
            return [dense, WeightMapping("classifier.out_proj.{p}", "head.proj.{p}")], {}
        case c.TokenClassifier():
            return [WeightMapping("classifier.{p}", "head.proj.{p}")], {}
        case c.SpanHead():
            return [WeightMapping("qa_outputs.{p}", "head.proj.{p}")], {}
    return [], {}


def family(name: str, stem: str, vocab: int) -> Family:
    return Family(name, encoders.architectures(stem), partial(read, name, stem, vocab), to_hf, table)


FAMILY = family("roberta", "Roberta", 50265)
