"""DeBERTa (He et al., 2021): BERT whose scores also weigh what a position says against the distance to others."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import encoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, architecture
from limelight.models.mapping import Table, WeightMapping, grouped_by_head


def read(name: str, stem: str, vocab: int, values: Mapping[str, Any]) -> c.ModelConfig:
    """The config of a version whose classes begin with `stem`. vocab: the vocabulary's size unless it says so."""
    keys, second = ConfigReader({"layer_norm_eps": 1e-7, "type_vocab_size": 0, **values}), name == "deberta-v2"
    keys.keep("cls_dropout", "conv_act", "conv_groups", "legacy", "padding_idx", "pooler_dropout", "pooler_hidden_size")
    keys.keep("max_relative_positions", "pos_att_type", "position_buckets", "attention_head_size", "embedding_size")
    body = encoders.stack(keys)
    block, attention = body.blocks[0], body.blocks[0].attention
    for key, size in (
        ("embedding_size", body.width),
        ("pooler_hidden_size", body.width),
        ("attention_head_size", attention.head_width),
    ):
        if (said := keys.whole(key, size)) != size:
            raise keys.refused(key, said, f"{size} beside this 'hidden_size'")
    for key in ("talking_head", "conv_kernel_size"):
        if keys.take(key):
            raise ConfigError(f"{keys.called(key)} asks for a layer which limelight does not know")
    kinds = keys.take("pos_att_type", [])
    named = [kind.strip() for kind in kinds.lower().split("|")] if isinstance(kinds, str) else kinds
    if named not in ([], ["c2p"], ["p2c"], ["c2p", "p2c"], ["p2c", "c2p"]):
        raise keys.refused("pos_att_type", kinds, "'c2p', 'p2c' or both")
    context = keys.whole("max_position_embeddings", 512)
    attention = replace(
        attention,
        scale=(attention.head_width * (1 + len(named))) ** -0.5,
        score_bias=_disentangled(keys, named, context, block.norm, second),
        key_bias=second,
    )
    embeddings = body.embeddings
    if not keys.truth("position_biased_input", True):
        embeddings = replace(embeddings, positions=None)
    body = replace(body, blocks=(replace(block, attention=attention),) * len(body.blocks), embeddings=embeddings)
    classes = c.Hidden(keys.activation("pooler_hidden_act", "gelu"))
    masked = c.Hidden(block.feedforward.activation, block.norm)
    answer = encoders.answer(keys, architecture(values).removeprefix(stem), masked, classes)
    if isinstance(answer, c.MaskedLMHead) and not _legacy(values):
        answer = replace(answer, tied=True)
    return c.ModelConfig(name, keys.whole("vocab_size", vocab), context, None, answer, keys.rest(), body)


def _legacy(values: Mapping[str, Any]) -> bool:
    """Whether a masked language model's head has the names of BERT's, and not DeBERTa's own."""
    return values.get("legacy", True) is not False


def _disentangled(
    keys: ConfigReader, kinds: list[str], context: int, norm: c.Norm, second: bool
) -> c.Disentangled | None:
    """How distances are scored, if they are; `second`: by version 2, which gathers them in buckets."""
    span, buckets = keys.whole("max_relative_positions", -1, least=-1), -1
    span = context if span < 1 else span
    shared, normalised = False, False
    if second:
        buckets = keys.whole("position_buckets", -1, least=-1)
        shared, normalisation = keys.truth("share_att_key", False), keys.take("norm_rel_ebd", "none")
        if normalisation not in ("none", "layer_norm"):
            raise keys.refused("norm_rel_ebd", normalisation, "'none' or 'layer_norm'")
        normalised = normalisation == "layer_norm"
    if not keys.truth("relative_attention", False):
        return None
    if not kinds or (buckets > 0 and not 4 <= buckets < span):
        raise ConfigError(
            f"{keys.called('relative_attention')} needs 'c2p' or 'p2c' in 'pos_att_type', and if there are "
            "'position_buckets' at least 4 and fewer than 'max_relative_positions'"
        )
    farthest = span if buckets > 0 else None
    own_norm = norm if normalised else None
    return c.Disentangled(max(buckets, 0) or span, farthest, "c2p" in kinds, "p2c" in kinds, not shared, own_norm)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, bias = config.transformer, config.transformer.blocks[0].attention.score_bias
    said = {
        **encoders.write(config),
        "position_biased_input": stack.embeddings.positions is not None,
        "relative_attention": bias is not None,
    }
    if isinstance(bias, c.Disentangled):
        said["pos_att_type"] = [kind for kind, there in (("c2p", bias.of_query), ("p2c", bias.of_key)) if there]
        said["max_relative_positions"] = bias.farthest or bias.span
        if config.family == "deberta-v2":
            said["position_buckets"] = -1 if bias.farthest is None else bias.span
            said["share_att_key"] = not bias.projected
            said["norm_rel_ebd"] = "none" if bias.norm is None else "layer_norm"
    head = config.head
    if isinstance(head, c.SequenceClassifier) and head.hidden is not None:
        said["pooler_hidden_act"] = config.extra.get("pooler_hidden_act", head.hidden.activation)
    return said


def table(config: c.ModelConfig) -> Table:
    block = config.transformer.blocks[0]
    heads, width = block.attention.heads, block.attention.head_width
    front = "" if isinstance(config.head, c.Pooling) else "deberta."
    theirs, ours = f"{front}encoder.layer.{{i}}.attention.", "encoder.blocks.{i}.attention"
    if config.family == "deberta":
        parts = tuple(f"{ours}.{part}.weight" for part in "qkv")
        mappings = [
            WeightMapping(f"{theirs}self.in_proj.weight", parts, *grouped_by_head(heads, width)),
            WeightMapping(f"{theirs}self.q_bias", f"{ours}.q.bias"),
            WeightMapping(f"{theirs}self.v_bias", f"{ours}.v.bias"),
            WeightMapping(f"{theirs}self.pos_proj.{{p}}", f"{ours}.distance_k.{{p}}"),
            WeightMapping(f"{theirs}self.pos_q_proj.{{p}}", f"{ours}.distance_q.{{p}}"),
        ]
    else:
        names = {"query": "q", "key": "k", "value": "v", "pos_key": "distance_k", "pos_query": "distance_q"}
        mappings = [WeightMapping(f"{theirs}self.{n}_proj.{{p}}", f"{ours}.{own}.{{p}}") for n, own in names.items()]
    shared = "encoder.blocks.0.attention.score_bias."
    mappings += [
        *encoders.embeddings(front),
        WeightMapping(f"{front}embeddings.token_type_embeddings.weight", "encoder.embeddings.types.weight"),
        WeightMapping(f"{theirs}output.dense.{{p}}", f"{ours}.out.{{p}}"),
        WeightMapping(f"{theirs}output.LayerNorm.{{p}}", f"{ours}_norm.{{p}}"),
        *encoders.feedforward(f"{front}encoder.layer.{{i}}.", "encoder.blocks.{i}."),
        WeightMapping(f"{front}encoder.rel_embeddings.weight", f"{shared}weight"),
        WeightMapping(f"{front}encoder.LayerNorm.{{p}}", f"{shared}norm.{{p}}"),
    ]
    ignored = [f"{front}embeddings.position_ids", "mask_predictions.{a}.{p}", "mask_predictions.{p}"]
    tied: dict[str, str] = {}
    if config.transformer.embeddings.positions is None:
        ignored.append(f"{front}embeddings.position_embeddings.weight")
    match config.head:
        case c.MaskedLMHead() if not _legacy(config.extra):
            mappings += [
                WeightMapping("lm_predictions.lm_head.dense.{p}", "head.hidden.dense.{p}"),
                WeightMapping("lm_predictions.lm_head.LayerNorm.{p}", "head.hidden.norm.{p}"),
                WeightMapping("lm_predictions.lm_head.bias", "head.proj.bias"),
            ]
        case _:
            own, tied = encoders.heads(config, "pooler")
            mappings += own
    return Table(tuple(mappings), front, tuple(ignored), tied, body="deberta.")


def family(name: str, stem: str, vocab: int) -> Family:
    return Family(name, encoders.architectures(stem), partial(read, name, stem, vocab), to_hf, table)


FAMILY = family("deberta", "Deberta", 50265)
