"""What BERT (Devlin et al., 2019) and those that came of it share: the body, the heads, and the names of both."""

from typing import Any

from limelight.models import config as c
from limelight.models.hf import ConfigReader, activation_name, head_width, labels, several
from limelight.models.mapping import WeightMapping


def architectures(stem: str) -> dict[type, str]:
    """The class that an export names for each head, of a family whose classes begin with `stem`."""
    return {
        c.Pooling: f"{stem}Model",
        c.MaskedLMHead: f"{stem}ForMaskedLM",
        c.SequenceClassifier: f"{stem}ForSequenceClassification",
        c.TokenClassifier: f"{stem}ForTokenClassification",
        c.SpanHead: f"{stem}ForQuestionAnswering",
    }


def answer(
    keys: ConfigReader, kind: str, masked: c.Hidden, classes: c.Hidden | None, pretraining: c.Head | None = None
) -> c.Head:
    """The head by the class that wrote the config, whose name ends in `kind`.

    masked, classes: the layer in front of its scores for words and for labels of a text. pretraining: the head of the
    family's ForPreTraining (None: as ForMaskedLM).
    """
    tied = keys.truth("tie_word_embeddings", True)
    keys.keep("num_labels")
    match kind:
        case "ForPreTraining" if pretraining is not None:
            return pretraining
        case "ForMaskedLM" | "ForPreTraining":
            return c.MaskedLMHead(tied, masked)
        case "ForSequenceClassification":
            return c.SequenceClassifier(labels(keys), hidden=classes, several=several(keys))
        case "ForTokenClassification":
            return c.TokenClassifier(labels(keys))
        case "ForQuestionAnswering":
            return c.SpanHead()
    return c.Pooling(normalised=False)


def stack(keys: ConfigReader, *, offset: int = 0, width: int | None = None) -> c.TransformerStack:
    """The body. offset: see `config.Learned`. width: of the token vectors where they are projected."""
    wide, heads = keys.whole("hidden_size", 768), keys.whole("num_attention_heads", 12)
    rows, head = keys.whole("max_position_embeddings", 512, least=offset + 1), head_width(keys, wide, heads)
    norm = c.LayerNorm(keys.number("layer_norm_eps", 1e-12))
    for key in ("is_decoder", "add_cross_attention"):
        if keys.truth(key, False):
            raise keys.refused(key, True, "false: limelight opens this family as encoders only")
    if (kind := keys.take("position_embedding_type", "absolute")) != "absolute":
        raise keys.refused("position_embedding_type", kind, "'absolute', the only one that transformers still reads")
    block = c.Block(
        c.Attention(heads, heads, head, head**-0.5, bias=True, out_bias=True),
        c.FeedForward(keys.whole("intermediate_size", 3072), keys.activation("hidden_act", "gelu")),
        norm,
        "post",
    )
    positions, types = c.Learned(rows - offset, offset), keys.whole("type_vocab_size", 2, least=0)
    embeddings = c.Embeddings(positions=positions, types=types or None, norm=norm, width=width)
    return c.TransformerStack(wide, (block,) * keys.layers("num_hidden_layers"), None, embeddings)


def model(name: str, keys: ConfigReader, vocab: int, stack: c.TransformerStack, head: c.Head) -> c.ModelConfig:
    """The whole config. vocab: its size where the config does not say."""
    positions = stack.embeddings.positions
    assert isinstance(positions, c.Learned)
    return c.ModelConfig(name, keys.whole("vocab_size", vocab), positions.context, None, head, keys.rest(), stack)


def write(config: c.ModelConfig) -> dict[str, Any]:
    """The keys that `stack` and `answer` read."""
    stack, block = config.transformer, config.transformer.blocks[0]
    positions = stack.embeddings.positions
    return {
        "vocab_size": config.vocab,
        "hidden_size": stack.width,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": block.attention.heads,
        "intermediate_size": block.feedforward.hidden,
        "hidden_act": activation_name(block.feedforward.activation),
        "max_position_embeddings": config.context + (positions.offset if isinstance(positions, c.Learned) else 0),
        "type_vocab_size": stack.embeddings.types or 0,
        "layer_norm_eps": block.norm.eps,
        "tie_word_embeddings": config.tied or not isinstance(config.head, c.MaskedLMHead),
    }


def embeddings(front: str) -> list[WeightMapping]:
    """The names of what is made of tokens' vectors, behind `front`; without types."""
    return [
        WeightMapping(f"{front}embeddings.word_embeddings.weight", "embed.weight"),
        WeightMapping(f"{front}embeddings.position_embeddings.weight", "encoder.embeddings.positions.weight"),
        WeightMapping(f"{front}embeddings.LayerNorm.{{p}}", "encoder.embeddings.norm.{p}"),
    ]


def feedforward(theirs: str, ours: str) -> list[WeightMapping]:
    """The names of a block's feed-forward."""
    return [
        WeightMapping(f"{theirs}intermediate.dense.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"{theirs}output.dense.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping(f"{theirs}output.LayerNorm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
    ]


def body(front: str) -> list[WeightMapping]:
    """The names of the body's weights, behind `front`."""
    theirs, ours = f"{front}encoder.layer.{{i}}.", "encoder.blocks.{i}."
    return [
        *embeddings(front),
        WeightMapping(f"{front}embeddings.token_type_embeddings.weight", "encoder.embeddings.types.weight"),
        WeightMapping(f"{theirs}attention.self.query.{{p}}", f"{ours}attention.q.{{p}}"),
        WeightMapping(f"{theirs}attention.self.key.{{p}}", f"{ours}attention.k.{{p}}"),
        WeightMapping(f"{theirs}attention.self.value.{{p}}", f"{ours}attention.v.{{p}}"),
        WeightMapping(f"{theirs}attention.output.dense.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"{theirs}attention.output.LayerNorm.{{p}}", f"{ours}attention_norm.{{p}}"),
        *feedforward(theirs, ours),
    ]


def words(config: c.ModelConfig, front: str) -> tuple[list[WeightMapping], dict[str, str]]:
    """The names behind `front` of a masked language model's scores, and those that stand for others (`Table.tied`).

    The bias has two names: transformers reads the second where the scores are not tied to the embeddings.
    """
    weight, biases = f"{front}decoder.weight", [f"{front}bias", f"{front}decoder.bias"]
    own, other = biases if config.tied else reversed(biases)
    tied = {other: "head.proj.bias", **({weight: "embed.weight"} if config.tied else {})}
    return [WeightMapping(own, "head.proj.bias"), WeightMapping(weight, "head.proj.weight")], tied


def heads(config: c.ModelConfig, pooler: str, norm: str = "LayerNorm") -> tuple[list[WeightMapping], dict[str, str]]:
    """The names of a head's weights, and those that stand for others. pooler: what the layer in front of the labels of
    a text is called; norm: that of the words' scores."""
    scores, tied = words(config, "cls.predictions.")
    match config.head:
        case c.MaskedLMHead():
            transform = [
                WeightMapping("cls.predictions.transform.dense.{p}", "head.hidden.dense.{p}"),
                WeightMapping(f"cls.predictions.transform.{norm}.{{p}}", "head.hidden.norm.{p}"),
            ]
            return [*transform, *scores], tied
        case c.SequenceClassifier():
            labels = WeightMapping("classifier.{p}", "head.proj.{p}")
            return [WeightMapping(f"{pooler}.dense.{{p}}", "head.hidden.dense.{p}"), labels], {}
        case c.TokenClassifier():
            return [WeightMapping("classifier.{p}", "head.proj.{p}")], {}
        case c.SpanHead():
            return [WeightMapping("qa_outputs.{p}", "head.proj.{p}")], {}
    return [], {}
