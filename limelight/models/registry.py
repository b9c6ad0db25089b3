"""The families that limelight knows, one line each."""

import reprlib
from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models import (
    albert,
    arcee,
    bart,
    bert,
    bloom,
    camembert,
    cohere,
    cohere2,
    deberta,
    deberta2,
    deepseek2,
    deepseek3,
    distilbert,
    electra,
    ernie4_5,
    exaone4,
    falcon,
    gemma,
    gemma2,
    gemma3,
    glm,
    glm4,
    gpt2,
    gptj,
    gptneo,
    gptneox,
    gptoss,
    granite,
    granitemoe,
    granitemoehybrid,
    helium,
    lfm2,
    llama,
    m2m100,
    mamba,
    mamba2,
    marian,
    marian_nmt,
    mbart,
    ministral,
    mistral,
    mixtral,
    modernbert,
    mpnet,
    mpt,
    mt5,
    nomicbert,
    olmo,
    olmo2,
    olmo3,
    olmoe,
    opt,
    pegasus,
    phi,
    phi3,
    qwen2,
    qwen2moe,
    qwen3,
    qwen3_5,
    qwen3moe,
    qwen3next,
    recurrent,
    roberta,
    rwkv7,
    smollm3,
    stablelm,
    starcoder2,
    t5,
    transformer2017,
    umt5,
    xlmroberta,
)
from limelight.models.config import ModelConfig
from limelight.models.family import Family
from limelight.models.hf import architecture

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (
        gpt2,
        llama,
        mistral,
        ministral,
        qwen2,
        qwen3,
        gemma,
        gemma2,
        gemma3,
        phi3,
        gptneox,
        olmo,
        olmo2,
        olmo3,
        smollm3,
        granite,
        granitemoe,
        granitemoehybrid,
        starcoder2,
        phi,
        stablelm,
        cohere,
        cohere2,
        glm,
        glm4,
        falcon,
        gptj,
        gptneo,
        opt,
        bloom,
        mpt,
        arcee,
        helium,
        ernie4_5,
        exaone4,
        mixtral,
        qwen2moe,
        qwen3moe,
        olmoe,
        gptoss,
        deepseek2,
        deepseek3,
        mamba,
        mamba2,
        qwen3next,
        qwen3_5,
        lfm2,
        rwkv7,
        bert,
        roberta,
        xlmroberta,
        camembert,
        distilbert,
        albert,
        electra,
        mpnet,
        modernbert,
        nomicbert,
        deberta,
        deberta2,
        t5,
        mt5,
        umt5,
        bart,
        mbart,
        pegasus,
        marian,
        m2m100,
        marian_nmt,
        transformer2017,
        recurrent,
    )
}


def family(name: str) -> Family:
    """The family called `name`. Raises ConfigError if there is none."""
    if name not in FAMILIES:
        raise ConfigError(
            f"limelight does not open models of the type {reprlib.repr(name)}; it opens {', '.join(FAMILIES)}"
        )
    return FAMILIES[name]


def config_from_hf(values: Mapping[str, Any]) -> ModelConfig:
    """A config from the contents of a ``config.json``.

    Raises ConfigError if the model is of another kind, or if a key is missing or has an impossible value.
    """
    name = values.get("model_type")
    if not isinstance(name, str):
        raise ConfigError("the model's config.json has no 'model_type', so its family is not known")
    known = name in FAMILIES and architecture(values) in FAMILIES[name].architectures.values()
    if other := _other_kind(values, known):
        raise ConfigError(f"this is {other}, which limelight does not open")
    return family(name).from_hf(values)


def _other_kind(values: Mapping[str, Any], known: bool) -> str:
    """What the model is, where its config says that it is none that limelight opens. known: whether its head is one of
    its family's."""
    if quantised := values.get("quantization_config"):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        by = f"by {method:.40}" if isinstance(method, str) else "in a form of its own"
        return f"a model quantised {by}"
    named = "" if known else architecture(values)
    for suffix, kind in HEADS.items():
        if named.endswith(suffix):
            labels = values.get("id2label") or values.get("num_labels")
            count = len(labels) if isinstance(labels, dict | list) else labels if isinstance(labels, int) else 2
            return kind.format(labels=count, name=named[:80])
    return ""


HEADS = {
    "ForSequenceClassification": "a classifier with {labels} labels ({name})",
    "ForTokenClassification": "a classifier of tokens with {labels} labels ({name})",
    "ForQuestionAnswering": "a model that marks answers in a text ({name})",
    "ForMaskedLM": "a model that fills gaps ({name})",
    "ForMultipleChoice": "a model that chooses between answers ({name})",
    "ForImageClassification": "a classifier of images ({name})",
    "ForSpeechSeq2Seq": "a model that writes down speech ({name})",
}
"""What a model is by the end of its architecture's name, where it is none that limelight opens."""


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The contents of a ``config.json`` that transformers reads."""
    own = family(config.family)
    named = own.architectures.get(type(config.head))
    if named is None:
        raise ConfigError(
            f"the family {own.name!r} has no model with a {type(config.head).__name__}, so it cannot be saved"
        )
    said = own.to_hf(config)
    return {**said, **config.extra, "model_type": own.name, "architectures": said.get("architectures", [named])}
