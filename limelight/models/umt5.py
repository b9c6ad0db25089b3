"""UMT5 (Chung et al., 2023): an mT5 in which each layer has a bias of its own."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import mt5, t5, t5_gguf
from limelight.models.family import Family


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    return t5.from_hf({**mt5.DEFAULTS, **values}, "umt5", own_biases=True)


FAMILY = Family("umt5", {c.LMHead: "UMT5ForConditionalGeneration"}, from_hf, t5.to_hf, t5.table, t5_gguf.GGUF)
