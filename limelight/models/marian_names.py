"""Where the weights of Marian's own files belong."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from limelight.models import config as c
from limelight.models.mapping import Row, Table, Transpose, Weight, WeightMapping

NEVER = -1e4  # the score of the token that stands for nothing


@dataclass(frozen=True)
class OneMore:
    """n rows ↔ n + 1, the last of which holds `value` everywhere."""

    value: float

    def load(self, weights: Sequence[Weight]) -> list[Weight]:
        return [_longer(weight, self.value) for weight in weights if isinstance(weight, Tensor)]

    def save(self, weights: Sequence[Tensor]) -> list[Tensor]:
        return [weight[:-1] for weight in weights]


def _longer(weight: Tensor, value: float) -> Tensor:
    longer = weight.new_full((len(weight) + 1, *weight.shape[1:]), value)
    if not weight.is_meta:
        longer[:-1] = weight
    return longer


def table(config: c.ModelConfig) -> Table:
    """One of a table's rows more than the files have stands for nothing."""
    shared = config.source_vocab is None
    embed, nothing = ("Wemb" if shared else "decoder_Wemb"), OneMore(0.0)
    mappings = [
        WeightMapping(embed, "embed.weight", nothing),
        WeightMapping("decoder_ff_logit_out_b", "head.proj.bias", Row(), OneMore(NEVER)),
    ]
    if not shared:
        mappings.append(WeightMapping("encoder_Wemb", "source_embed.weight"))
    if not config.tied:
        mappings.append(WeightMapping("decoder_ff_logit_out_W", "head.proj.weight", Transpose(), nothing))
    for side, stack in (("encoder", config.encoder), ("decoder", config.decoder)):
        assert isinstance(stack, c.TransformerStack)
        for layer, block in enumerate(stack.blocks):
            theirs, ours, pre = f"{side}_l{layer + 1}_", f"{side}.blocks.{layer}.", "_pre" * (block.order == "pre")
            if isinstance(block.attention, c.SSRU):
                mappings += [
                    WeightMapping(f"{theirs}rnn_W", f"{ours}attention.value.weight", Transpose()),
                    WeightMapping(f"{theirs}rnn_Wf", f"{ours}attention.gate.weight", Transpose()),
                    WeightMapping(f"{theirs}rnn_bf", f"{ours}attention.gate.bias", Row()),
                    *_norm(f"{theirs}rnn_ffn", f"{ours}attention_norm", pre),
                ]
            else:
                mappings += _attention(f"{theirs}self", f"{ours}attention", f"{ours}attention_norm", pre)
            if block.cross is not None:
                mappings += _attention(f"{theirs}context", f"{ours}cross.attention", f"{ours}cross.norm", pre)
            for number, part in ((1, "up"), (2, "down")):
                mappings += [
                    WeightMapping(f"{theirs}ffn_W{number}", f"{ours}feedforward.{part}.weight", Transpose()),
                    WeightMapping(f"{theirs}ffn_b{number}", f"{ours}feedforward.{part}.bias", Row()),
                ]
            mappings += _norm(f"{theirs}ffn_ffn", f"{ours}feedforward_norm", pre)
        mappings += _norm(f"{side}_top", f"{side}.norm", "")
    tables = 1 if config.tied else 2
    return Table(tuple(mappings), ignored=("{name}_QuantMultA",), spare=tables * config.width + 1)


def _attention(theirs: str, ours: str, norm: str, pre: str) -> list[WeightMapping]:
    names = {"q": "q", "k": "k", "v": "v", "o": "out"}
    weights = [WeightMapping(f"{theirs}_W{p}", f"{ours}.{part}.weight", Transpose()) for p, part in names.items()]
    biases = [WeightMapping(f"{theirs}_b{p}", f"{ours}.{part}.bias", Row()) for p, part in names.items()]
    return [*weights, *biases, *_norm(f"{theirs}_Wo", norm, pre)]


def _norm(theirs: str, ours: str, pre: str) -> list[WeightMapping]:
    leaves = {"scale": "weight", "bias": "bias"}
    return [WeightMapping(f"{theirs}_ln_{leaf}{pre}", f"{ours}.{weight}", Row()) for leaf, weight in leaves.items()]
