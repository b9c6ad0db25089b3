"""A family of models as data: how its configs and weights are read and written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from limelight.models.config import ModelConfig
from limelight.models.mapping import Table


@dataclass(frozen=True)
class Family:
    """One family.

    name: Hugging Face's ``model_type``, or one of limelight's own. architectures: the class that an export names, by
    the kind of head (`limelight.models.config`), unless `to_hf` names another.
    from_hf and to_hf turn a foreign config into ours and back. table: the names of the weights.
    """

    name: str
    architectures: Mapping[type, str]
    from_hf: Callable[[Mapping[str, Any]], ModelConfig]
    to_hf: Callable[[ModelConfig], dict[str, Any]]
    table: Callable[[ModelConfig], Table]
