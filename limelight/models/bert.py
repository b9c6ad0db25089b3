"""BERT (Devlin et al., 2019): an encoder with post-norm blocks, learned positions, and token types; any head."""

from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, activation_name, architecture, head_width, labels
from limelight.models.mapping import Table, WeightMapping

ARCHITECTURES: dict[type, str] = {
    c.Pooling: "BertModel",
    c.MaskedLMHead: "BertForMaskedLM",
    c.SequenceClassifier: "BertForSequenceClassification",
    c.TokenClassifier: "BertForTokenClassification",
    c.SpanHead: "BertForQuestionAnswering",
}


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    width, heads = keys.whole("hidden_size", 768), keys.whole("num_attention_heads", 12)
    context, head = keys.whole("max_position_embeddings", 512), head_width(keys, width, heads)
    norm = c.LayerNorm(keys.number("layer_norm_eps", 1e-12))
    activation = keys.activation("hidden_act", "gelu")
    if keys.truth("is_decoder", False) or keys.truth("add_cross_attention", False):
        raise ConfigError("this BERT is a decoder; limelight opens it as an encoder only")
    if (kind := keys.take("position_embedding_type", "absolute")) != "absolute":
        raise keys.refused("position_embedding_type", kind, "'absolute', the only one that transformers still reads")
    block = c.Block(
        c.Attention(heads, heads, head, head**-0.5, bias=True, out_bias=True),
        c.FeedForward(keys.whole("intermediate_size", 3072), activation),
        norm,
        "post",
    )
    embeddings = c.Embeddings(positions=c.Learned(context), types=keys.whole("type_vocab_size", 2), norm=norm)
    stack = c.TransformerStack(width, (block,) * keys.layers("num_hidden_layers"), None, embeddings)
    answers: dict[str, c.Head] = {
        "BertForMaskedLM": c.MaskedLMHead(keys.truth("tie_word_embeddings", True), activation, norm),
        "BertForSequenceClassification": c.SequenceClassifier(labels(keys)),
        "BertForTokenClassification": c.TokenClassifier(labels(keys)),
        "BertForQuestionAnswering": c.SpanHead(),
    }
    answers["BertForPreTraining"] = answers["BertForMaskedLM"]
    answer = answers.get(architecture(values), c.Pooling(normalised=False))
    return c.ModelConfig("bert", keys.whole("vocab_size", 30522), context, None, answer, keys.rest(), stack)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, block = config.transformer, config.transformer.blocks[0]
    return {
        "vocab_size": config.vocab,
        "hidden_size": stack.width,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": block.attention.heads,
        "intermediate_size": block.feedforward.hidden,
        "hidden_act": activation_name(block.feedforward.activation),
        "max_position_embeddings": config.context,
        "type_vocab_size": stack.embeddings.types,
        "layer_norm_eps": block.norm.eps,
        "tie_word_embeddings": config.tied or not isinstance(config.head, c.MaskedLMHead),
    }


def table(config: c.ModelConfig) -> Table:
    front = "" if isinstance(config.head, c.Pooling) else "bert."
    theirs, ours = f"{front}encoder.layer.{{i}}.", "encoder.blocks.{i}."
    mappings = [
        WeightMapping(f"{front}embeddings.word_embeddings.weight", "embed.weight"),
        WeightMapping(f"{front}embeddings.token_type_embeddings.weight", "encoder.embeddings.types.weight"),
        WeightMapping(f"{front}embeddings.position_embeddings.weight", "encoder.embeddings.positions.weight"),
        WeightMapping(f"{front}embeddings.LayerNorm.{{p}}", "encoder.embeddings.norm.{p}"),
        WeightMapping(f"{theirs}attention.self.query.{{p}}", f"{ours}attention.q.{{p}}"),
        WeightMapping(f"{theirs}attention.self.key.{{p}}", f"{ours}attention.k.{{p}}"),
        WeightMapping(f"{theirs}attention.self.value.{{p}}", f"{ours}attention.v.{{p}}"),
        WeightMapping(f"{theirs}attention.output.dense.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"{theirs}attention.output.LayerNorm.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(f"{theirs}intermediate.dense.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"{theirs}output.dense.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping(f"{theirs}output.LayerNorm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
    ]
    ignored, tied = [f"{front}embeddings.position_ids", "cls.predictions.decoder.bias"], {}
    match config.head:
        case c.MaskedLMHead():
            mappings += [
                WeightMapping("cls.predictions.transform.dense.{p}", "head.dense.{p}"),
                WeightMapping("cls.predictions.transform.LayerNorm.{p}", "head.norm.{p}"),
                WeightMapping("cls.predictions.bias", "head.proj.bias"),
                WeightMapping("cls.predictions.decoder.weight", "head.proj.weight"),
            ]
            if config.tied:
                tied["cls.predictions.decoder.weight"] = "embed.weight"
        case c.SequenceClassifier():
            mappings += [
                WeightMapping("bert.pooler.dense.{p}", "head.dense.{p}"),
                WeightMapping("classifier.{p}", "head.proj.{p}"),
            ]
        case c.TokenClassifier():
            mappings.append(WeightMapping("classifier.{p}", "head.proj.{p}"))
        case c.SpanHead():
            mappings.append(WeightMapping("qa_outputs.{p}", "head.proj.{p}"))
    if not isinstance(config.head, c.SequenceClassifier):
        ignored.append(f"{front}pooler.dense.{{p}}")
    return Table(tuple(mappings), front, (*ignored, "cls.seq_relationship.{p}"), tied)


FAMILY = Family("bert", ARCHITECTURES, from_hf, to_hf, table)
