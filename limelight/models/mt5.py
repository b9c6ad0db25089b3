"""mT5 (Xue et al., 2021): T5 v1.1 for many languages, whose head never reads scaled states."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import t5
from limelight.models.family import Family

DEFAULTS = {"vocab_size": 250112, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu"}


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    return t5.from_hf({**DEFAULTS, **values}, "mt5", scales=False)


ARCHITECTURES: dict[type, str] = {c.LMHead: "MT5ForConditionalGeneration"}
FAMILY = Family("mt5", ARCHITECTURES, from_hf, partial(t5.to_hf, scales=False), t5.table)
