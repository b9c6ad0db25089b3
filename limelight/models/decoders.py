"""What decoders share that are built as Llama is: how their configs are read and written, and the names of their
weights (as `encoders` has it for those that came of BERT)."""

from collections.abc import Callable, Sequence
from typing import Any

from limelight.models import config as c
from limelight.models.hf import REQUIRED, ConfigReader, activation_name, head_width, rope_keys, rotary
from limelight.models.mapping import Table, WeightMapping, interleaved_rotary

Turning = Callable[[ConfigReader, int, int], c.Rotary | None]
"""Reads rotary positions from a config, for heads of this width and this context; None: the family has none."""


def unturned(keys: ConfigReader, width: int, context: int) -> None:
    """No rotary positions."""


NOTHING = c.Embeddings()
"""Nothing is made of the tokens' vectors."""


def read(
    family: str,
    keys: ConfigReader,
    *,
    context: int,
    turning: Turning = rotary,
    kv_heads: int | None = None,
    norm: c.Norm | None = None,
    eps: float = 1e-6,
    activation: tuple[str, str] | c.Activation = ("hidden_act", "silu"),
    gated: bool = True,
    hidden: int | None = None,
    groups: int | None = None,
    bias: bool = False,
    out_bias: bool = False,
    feedforward_bias: bool = False,
    head_norm: bool = False,
    scale: float | None = None,
    cap: float | None = None,
    windows: Sequence[int | None] | None = None,
    order: c.Order = "pre",
    embeddings: c.Embeddings = NOTHING,
    tied: bool = False,
) -> c.ModelConfig:
    """A Llama-shaped config from foreign keys.

    context, kv_heads (None: as many as heads), eps, activation (its key and value, or what it is), hidden (None: it
    must say), tied: what the family means where its config says nothing. groups: how many heads of keys and values
    there are, in families that read neither ``num_key_value_heads`` nor ``head_dim``. turning: how rotary positions are
    read. norm: None: an RMS norm. scale: of the scores (None: one over the root of the head's width). windows: one for
    each layer (None: none has one).
    """
    width, heads, layers = (
        keys.whole("hidden_size"),
        keys.whole("num_attention_heads"),
        keys.layers("num_hidden_layers"),
    )
    head = (keys.whole("head_dim", None) if groups is None else None) or head_width(keys, width, heads)
    context = keys.whole("max_position_embeddings", context)
    norm = norm or c.RMSNorm(keys.number("rms_norm_eps", eps))
    turned = turning(keys, head, context)
    if groups is None:
        groups = keys.whole(
            "num_key_value_heads", heads if kv_heads is None or keys.says("num_key_value_heads") else kv_heads
        )
    part = c.GatedFeedForward if gated else c.FeedForward
    activates = activation if isinstance(activation, str) else keys.activation(*activation)
    feedforward = part(keys.whole("intermediate_size", hidden or REQUIRED), activates, feedforward_bias)
    blocks = tuple(
        c.Block(
            c.Attention(
                heads,
                groups,
                head,
                head**-0.5 if scale is None else scale,
                turned,
                bias,
                out_bias,
                norm if head_norm else None,
                cap,
                window,
            ),
            feedforward,
            norm,
            order,
        )
        for window in windows or [None] * layers
    )
    return c.ModelConfig(
        family,
        keys.whole("vocab_size"),
        context,
        c.TransformerStack(width, blocks, norm, embeddings),
        c.LMHead(keys.truth("tie_word_embeddings", tied)),
        keys.rest(),
    )


def write(config: c.ModelConfig, eps: str | None = "rms_norm_eps") -> dict[str, Any]:
    """The foreign keys that all Llama-shaped families share. eps: that of the norms' epsilon (None: it has none)."""
    stack, block = config.transformer, config.transformer.blocks[0]
    attention, feedforward = block.attention, block.feedforward
    turned = next((b.attention.rotary for b in stack.blocks if b.attention.rotary is not None), None)
    return {
        "vocab_size": config.vocab,
        "hidden_size": stack.width,
        "intermediate_size": feedforward.hidden,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_width,
        "hidden_act": activation_name(feedforward.activation),
        "max_position_embeddings": config.context,
        **({} if eps is None else {eps: block.norm.eps}),
        "tie_word_embeddings": config.tied,
        **({} if turned is None else rope_keys(turned, attention.head_width)),
    }


def table(config: c.ModelConfig) -> Table:
    """The names of Llama-shaped checkpoints; mappings for parts that a config lacks match nothing."""
    block, ours = "layers.{i}.", "decoder.blocks.{i}."
    mappings = [
        WeightMapping("model.embed_tokens.weight", "embed.weight"),
        WeightMapping(f"model.{block}input_layernorm.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(f"model.{block}self_attn.q_proj.{{p}}", f"{ours}attention.q.{{p}}"),
        WeightMapping(f"model.{block}self_attn.k_proj.{{p}}", f"{ours}attention.k.{{p}}"),
        WeightMapping(f"model.{block}self_attn.v_proj.{{p}}", f"{ours}attention.v.{{p}}"),
        WeightMapping(f"model.{block}self_attn.o_proj.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"model.{block}self_attn.q_norm.weight", f"{ours}attention.q_norm.weight"),
        WeightMapping(f"model.{block}self_attn.k_norm.weight", f"{ours}attention.k_norm.weight"),
        WeightMapping(f"model.{block}post_attention_layernorm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
        WeightMapping(f"model.{block}mlp.gate_proj.{{p}}", f"{ours}feedforward.gate.{{p}}"),
        WeightMapping(f"model.{block}mlp.up_proj.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"model.{block}mlp.down_proj.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping("model.norm.{p}", "decoder.norm.{p}"),
        WeightMapping("lm_head.{p}", "head.proj.{p}"),
    ]
    return Table(
        tuple(mappings),
        prefix="model.",
        ignored=("model.layers.{i}.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"),
        tied={"lm_head.weight": "embed.weight"} if config.tied else {},
    )


def interleaved(config: c.ModelConfig) -> tuple[WeightMapping, ...]:
    """The names of queries and keys in checkpoints whose heads turn by neighbouring features."""
    attention = config.transformer.blocks[0].attention
    turned = next((b.attention.rotary for b in config.transformer.blocks if b.attention.rotary is not None), None)
    features = attention.head_width if turned is None else turned.width
    return tuple(
        WeightMapping(
            f"model.layers.{{i}}.self_attn.{part}_proj.{{p}}",
            f"decoder.blocks.{{i}}.attention.{part}.{{p}}",
            interleaved_rotary(heads, attention.head_width, features),
        )
        for part, heads in (("q", attention.heads), ("k", attention.kv_heads))
    )


BIASES = {"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_up.bias"}
"""The tensors of a GGUF file that tell of biases."""
