"""The families that limelight knows, one line each."""

from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError, suggestion
from limelight.models import gemma2, gpt2, gptneox, llama, mistral, phi3, qwen2, qwen3, recurrent, transformer2017
from limelight.models.config import ModelConfig
from limelight.models.family import Family

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (gpt2, llama, mistral, qwen2, qwen3, gemma2, phi3, gptneox, transformer2017, recurrent)
}


def family(name: str) -> Family:
    """The family called `name`. Raises ConfigError with the nearest known name."""
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ConfigError(
            f"limelight does not know the model type {name!r}{suggestion(name, FAMILIES)}; it knows {known}"
        )
    return FAMILIES[name]


def config_from_hf(values: Mapping[str, Any]) -> ModelConfig:
    """A config from the contents of a ``config.json``.

    Raises ConfigError if the type is unknown, or if a key is missing or has an impossible value.
    """
    name = values.get("model_type")
    if not isinstance(name, str):
        raise ConfigError("the model's config.json has no 'model_type', so its family is not known")
    try:
        return family(name).from_hf(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"the model's config.json has a value of the wrong type: {error}") from None


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The contents of a ``config.json`` that transformers reads."""
    own = family(config.family)
    return {**own.to_hf(config), **config.extra, "model_type": own.name, "architectures": [own.architecture]}
