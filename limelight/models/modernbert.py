"""ModernBERT (Warner et al., 2024): an encoder with rotary positions, most of whose layers see a window on both sides,
gated feed-forwards, and no biases but that of the words."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.errors import ConfigError
from limelight.models import bert, encoders
from limelight.models import config as c
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, activation_name, architecture, head_width, kinds, rotary
from limelight.models.mapping import Split, Table, WeightMapping

BASES = {"full_attention": ("global_rope_theta", 160_000.0), "sliding_attention": ("local_rope_theta", 10_000.0)}
"""Where older configs have the rotary base of each kind of layer, and what it is by itself."""

POOLED: dict[str, c.Pooled] = {"cls": "first", "mean": "mean"}


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    keys.keep("cls_token_id", "initializer_cutoff_factor", "reference_compile", "deterministic_flash_attn")
    keys.keep("embedding_dropout", "mlp_dropout", "repad_logits_with_grad", "sparse_prediction")
    keys.keep("sparse_pred_ignore_index", "classifier_pooling", "classifier_activation", "layer_norm_eps")
    keys.keep("position_embedding_type", "decoder_bias", "classifier_bias")
    width, heads, layers = keys.whole("hidden_size", 768), keys.whole("num_attention_heads", 12), _layers(keys)
    context, head = keys.whole("max_position_embeddings", 8192), head_width(keys, width, heads)
    biases, hidden = keys.truth("mlp_bias", False), keys.whole("intermediate_size", 1152)
    eps = keys.number("norm_eps", 1e-5)
    norm = c.LayerNorm(eps) if keys.truth("norm_bias", False) else c.UnbiasedLayerNorm(eps)
    feedforward = c.GatedFeedForward(hidden, keys.activation("hidden_activation", "gelu"), biases)
    around, bias = keys.whole("local_attention", 128, least=2) // 2 + 1, keys.truth("attention_bias", False)
    turning = _turnings(keys, head, context)
    blocks = [
        c.Block(
            c.Attention(heads, heads, head, head**-0.5, turning[kind], bias, bias, window=window),
            feedforward,
            norm,
            "pre" if layer else "bare",
        )
        for layer, kind in enumerate(layers)
        for window in [around if kind == "sliding_attention" else None]
    ]
    stack = c.TransformerStack(width, tuple(blocks), norm, c.Embeddings(norm=norm))
    transform = c.Hidden(keys.activation("classifier_activation", "gelu"), norm, keys.truth("classifier_bias", False))
    answer = encoders.answer(keys, architecture(values).removeprefix("ModernBert"), transform, transform)
    match answer:
        case c.MaskedLMHead():
            answer = replace(answer, bias=keys.truth("decoder_bias", True))
        case c.SequenceClassifier():
            pooled = keys.take("classifier_pooling", "cls")
            if not isinstance(pooled, str) or pooled not in POOLED:
                raise keys.refused("classifier_pooling", pooled, f"one of {', '.join(POOLED)}")
            answer = replace(answer, pooled=POOLED[pooled])
        case c.TokenClassifier() | c.SpanHead():
            answer = replace(answer, hidden=transform)
    return c.ModelConfig("modernbert", keys.whole("vocab_size", 50368), context, None, answer, keys.rest(), stack)


def _layers(keys: ConfigReader) -> list[str]:
    """The kind of each layer; one in so many sees all of the text unless the config lists them."""
    layers, every = keys.layers("num_hidden_layers"), keys.whole("global_attn_every_n_layers", 3)
    alternating = ["sliding_attention" if i % every else "full_attention" for i in range(layers)]
    return kinds(keys, layers) or alternating


def _turnings(keys: ConfigReader, head: int, context: int) -> dict[str, c.Rotary]:
    """The rotary positions of each kind of layer."""
    said, made = keys.part("rope_parameters") or ConfigReader({}), {}
    if keys.take("rope_scaling"):
        raise ConfigError(f"{keys.called('rope_scaling')} stretches the positions, which limelight does not do here")
    for kind, (name, base) in BASES.items():
        own = {"rope_parameters": said.take(kind), "rope_theta": keys.number(name, base, above=1.0)}
        made[kind] = rotary(ConfigReader(own, place=f"{kind}: "), head, context)
        if made[kind].scaling is not None:
            raise ConfigError(f"{said.called(kind)} stretches the positions, which limelight does not do here")
    said.rest()
    return made


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, block = config.transformer, config.transformer.blocks[0]
    windows = [block.attention.window for block in stack.blocks]
    turned = {}
    for kind, (_, base) in BASES.items():
        found = (b.attention.rotary for b in stack.blocks if (b.attention.window is None) == (kind == "full_attention"))
        rotary = next(found, None)
        turned[kind] = {"rope_type": "default", "rope_theta": base if rotary is None else rotary.base}
    head = config.head
    said = {
        "vocab_size": config.vocab,
        "hidden_size": stack.width,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": block.attention.heads,
        "intermediate_size": block.feedforward.hidden,
        "hidden_activation": activation_name(block.feedforward.activation),
        "max_position_embeddings": config.context,
        "norm_eps": block.norm.eps,
        "norm_bias": isinstance(block.norm, c.LayerNorm),
        "attention_bias": block.attention.bias,
        "mlp_bias": block.feedforward.bias,
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
        "rope_parameters": turned,
        "tie_word_embeddings": config.tied or not isinstance(head, c.MaskedLMHead),
    }
    # Versions of transformers before 5 read the bases and the pattern under names of their own.
    said |= {name: turned[kind]["rope_theta"] for kind, (name, _) in BASES.items()}
    if around := max((window for window in windows if window is not None), default=None):
        said["local_attention"] = 2 * (around - 1)
    return said


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "model."
    theirs, ours, block = f"{front}layers.{{i}}.", "encoder.blocks.{i}.", config.transformer.blocks[0]
    wide, hidden = block.attention.heads * block.attention.head_width, block.feedforward.hidden
    mappings = [
        WeightMapping(f"{front}embeddings.tok_embeddings.weight", "embed.weight"),
        WeightMapping(f"{front}embeddings.norm.{{p}}", "encoder.embeddings.norm.{p}"),
        WeightMapping(f"{theirs}attn_norm.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(
            f"{theirs}attn.Wqkv.{{p}}", tuple(f"{ours}attention.{part}.{{p}}" for part in "qkv"), Split((wide,) * 3)
        ),
        WeightMapping(f"{theirs}attn.Wo.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"{theirs}mlp_norm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
        WeightMapping(
            f"{theirs}mlp.Wi.{{p}}",
            (f"{ours}feedforward.gate.{{p}}", f"{ours}feedforward.up.{{p}}"),
            Split((hidden,) * 2),
        ),
        WeightMapping(f"{theirs}mlp.Wo.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping(f"{front}final_norm.{{p}}", "encoder.norm.{p}"),
        WeightMapping("head.dense.{p}", "head.hidden.dense.{p}"),
        WeightMapping("head.norm.{p}", "head.hidden.norm.{p}"),
        WeightMapping(
            f"{'decoder' if isinstance(config.head, c.MaskedLMHead) else 'classifier'}.{{p}}", "head.proj.{p}"
        ),
    ]
    return Table(tuple(mappings), front, (), {"decoder.weight": "embed.weight"} if config.tied else {}, body="model.")


GGUF = replace(
    bert.GGUF,
    architecture="modern-bert",
    eps=("attention.layer_norm_epsilon", "norm_eps"),
    whole={
        "pooling_type": "pooling_type",
        "attention.sliding_window": "local_attention",
        "attention.sliding_window_pattern": "global_attn_every_n_layers",
    },
    numbers={"rope.freq_base": "global_rope_theta", "rope.freq_base_swa": "local_rope_theta"},
    rows={},
    names={},
    joint=True,
    halves=True,
)

FAMILY = Family("modernbert", encoders.architectures("ModernBert"), from_hf, to_hf, table, GGUF)
