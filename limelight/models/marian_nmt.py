"""Marian (Junczys-Dowmunt et al., 2018) from its own files: what ``special:model.yml`` says.

Students of the Bergamot project have a recurrent unit in the place of the decoder's self-attention (Kim et al., 2019).
In Marian a target begins with nothing, a vector of zeros; here that is the vector of one more token, which is never
written. Saved, the model is one of limelight's own, since no other library has all of its parts.
"""

import math
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models.hf import LARGEST, LAYERS, ConfigReader
from limelight.models.native import native_family

FAMILY = native_family("limelight-marian")

EPS = 1e-6  # of Marian's layer norm, in every version
CONTEXT = 1024  # Marian has no limit of its own; its models are trained on less
ORDERS = {("", "dan"): "post", ("", "an"): "post", ("n", "da"): "pre", ("n", "a"): "pre"}
AS_BUILT: dict[str, tuple[Any, ...]] = {
    "type": ("transformer",),
    "transformer-postprocess-emb": ("d", ""),
    "transformer-train-position-embeddings": (False,),
    "transformer-train-positions": (False,),
    "transformer-no-projection": (False,),
    "transformer-no-affine": (False,),
    "transformer-no-bias": (False,),
    "transformer-rnn-projection": (False,),
    "transformer-pool": (False,),
    "transformer-flat": (False,),
    "transformer-tied-layers": ([],),
    "transformer-ffn-depth": (2,),
    "transformer-decoder-ffn-depth": (0, 2),
    "lemma-dim-emb": (0,),
    "ulr": (False,),
    "output-omit-bias": (False,),
    "right-left": (False,),
    "input-types": ([],),
}
"""Options, and the values at which the model is one that is built here; what is not said has the first."""


def config_from_marian(text: str) -> c.ModelConfig:
    """The model that ``special:model.yml`` describes. Raises ConfigError naming the option that is wrong or unknown."""
    keys = ConfigReader(options(text), "the model's option")
    for name, values in AS_BUILT.items():
        if (said := keys.take(name, values[0])) not in values:
            raise keys.refused(name, said, f"{values[0]!r}, since limelight knows no other Marian")
    width, hidden = keys.whole("dim-emb"), keys.whole("transformer-dim-ffn")
    decoder_hidden = keys.whole("transformer-decoder-dim-ffn", hidden, least=0) or hidden
    heads = keys.whole("transformer-heads")
    if width % heads:
        raise ConfigError(f"{keys.called('transformer-heads')} is {heads}, which does not divide the width {width}")
    asked = (str(keys.take("transformer-preprocess", "")), str(keys.take("transformer-postprocess", "dan")))
    if asked not in ORDERS:
        raise keys.refused(
            "transformer-postprocess", asked[1], f"one of {', '.join(map(str, ORDERS))} with what is before"
        )
    order, norm = ORDERS[asked], c.LayerNorm(EPS)
    last = norm if keys.take("transformer-postprocess-top", "") == "n" else None
    activation = keys.take("transformer-ffn-activation", "swish")
    if activation not in ("relu", "swish", "gelu"):
        raise keys.refused("transformer-ffn-activation", activation, "relu, swish or gelu")
    autoregressive, cell = keys.take("transformer-decoder-autoreg", "self-attention"), keys.take("dec-cell", "gru")
    if autoregressive not in ("self-attention", "rnn") or (autoregressive == "rnn" and cell != "ssru"):
        said = f"{autoregressive} ({cell})" if autoregressive == "rnn" else autoregressive
        raise keys.refused("transformer-decoder-autoreg", said, "self-attention, or rnn with a dec-cell of ssru")
    if autoregressive == "rnn" and order == "pre":
        raise keys.refused("transformer-preprocess", asked[0], "'' behind a decoder with a recurrent unit")
    attention = c.Attention(heads, heads, width // heads, (width // heads) ** -0.5, bias=True, out_bias=True)
    own = c.SSRU(1, 1, width, 1.0) if autoregressive == "rnn" else attention
    embeddings = c.Embeddings(math.sqrt(width), c.Sinusoidal("fairseq"))

    def stack(side: str, depth: int) -> c.TransformerStack:
        decodes, size = side == "dec", decoder_hidden if side == "dec" else hidden
        feedforward = c.FeedForward(size, {"swish": "silu"}.get(activation, activation))
        block = c.Block(own if decodes else attention, feedforward, norm, order, attention if decodes else None)  # type: ignore[arg-type]
        return c.TransformerStack(width, (block,) * depth, last, embeddings)

    source, target = _vocabularies(keys.take("dim-vocabs"))
    shared = keys.truth("tied-embeddings-all", False)
    head = c.LMHead(shared or keys.truth("tied-embeddings", False), bias=True)
    if shared and source != target:
        raise ConfigError(f"{keys.called('dim-vocabs')} is [{source:,}, {target:,}], but both sides share embeddings")
    encoder, decoder = (stack(side, keys.whole(f"{side}-depth", most=LAYERS)) for side in ("enc", "dec"))
    # One token more than Marian has: it stands for nothing.
    extra: dict[str, Any] = {"decoder_start_token_id": target, "suppress_tokens": [target], "renormalize_logits": True}
    if autoregressive == "rnn":
        extra["num_beams"] = 1  # students are made to be read greedily
    return c.ModelConfig(FAMILY.name, target + 1, CONTEXT, decoder, head, extra, encoder, None if shared else source)


def _vocabularies(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and 0 < n < LARGEST for n in value):
        raise ConfigError(f"the model's option 'dim-vocabs' is {value!r:.40}; it must be the sizes of two vocabularies")
    return value[0], value[1]


def options(text: str) -> dict[str, Any]:
    """The part of YAML that Marian writes: ``key: value`` a line, and lists of values, one a line behind a dash.

    Raises ConfigError for a line that is neither.
    """
    said: dict[str, Any] = {}
    name = None
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("- ") and name is not None and isinstance(said[name], list):
            said[name].append(_value(bare[2:]))
        elif bare and not bare.startswith("#"):
            name, colon, value = bare.partition(":")
            if not colon or " " in name:
                raise ConfigError(
                    f"line {number} of the model's options is {line!r:.60}, which is no option of Marian's"
                )
            said[name] = _value(value.strip()) if value.strip() else []
    return said


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if text == "[]":
        return []
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text.strip("\"'")
