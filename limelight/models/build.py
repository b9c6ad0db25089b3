"""From a config to modules: the only place where one becomes the other."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import units as u
from limelight.models.api import Decoder, Encoder, Network, Seq2Seq
from limelight.models.fitting import check
from limelight.models.ties import tie
from limelight.nn.attention import AdditiveWeights, Attention, Weigh, attention_weights
from limelight.nn.bias import LinearBias, NoBias, RelativeBias
from limelight.nn.block import ORDERS, Block, NoFeedForward, Scaled
from limelight.nn.cells import Cells, MinGRU
from limelight.nn.delta import GatedDeltaNet
from limelight.nn.disentangled import DisentangledAttention, Distances
from limelight.nn.embeddings import Embeddings
from limelight.nn.experts import Experts, Router
from limelight.nn.feedforward import ACTIVATIONS, ClampedFeedForward, FeedForward, GatedFeedForward
from limelight.nn.heads import Hidden, LMHead, MaskedLMHead, Pooling, SequenceClassifier, TokenClassifier
from limelight.nn.latent import LatentAttention, LatentQueries, Latents
from limelight.nn.mamba import Mamba, Mamba2
from limelight.nn.norm import (
    AcrossHeads,
    LayerNorm,
    Norm,
    OwnNorms,
    RMSNorm,
    ShiftedRMSNorm,
    UnbiasedLayerNorm,
    WeightlessLayerNorm,
)
from limelight.nn.positions import LearnedPositions, NoPositions, NoRotary, Rotary, SinusoidalPositions
from limelight.nn.recurrent import (
    BahdanauDecoder,
    FeedingDecoder,
    LuongDecoder,
    PlainDecoder,
    RecurrentDecoder,
    RecurrentEncoder,
    RecurrentLayer,
)
from limelight.nn.rwkv import ChannelMix, TimeMix
from limelight.nn.shortconv import ShortConv
from limelight.nn.ssru import SSRU
from limelight.nn.stack import Stack
from limelight.nn.unit import RecurrentUnit

T = TypeVar("T")

NORMS: dict[type, Callable[[int, float], Norm]] = {
    c.RMSNorm: RMSNorm,
    c.ShiftedRMSNorm: ShiftedRMSNorm,
    c.LayerNorm: LayerNorm,
    c.UnbiasedLayerNorm: UnbiasedLayerNorm,
    c.WeightlessLayerNorm: WeightlessLayerNorm,
}
"""The module for each kind of norm that a config may name."""


def build(config: c.ModelConfig, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Network:
    """The modules that `config` describes, with torch's initial weights.

    device "meta" makes the shapes alone; weights are assigned afterwards. Raises ConfigError if the config's parts do
    not fit each other.
    """
    check(config)
    with torch.device(device):
        model = _network(config)
    return model if dtype is None else model.to(dtype)


def _network(config: c.ModelConfig) -> Network:
    encoder, decoder = config.encoder, config.decoder
    embed = _embedding(config.vocab, _vector_width(decoder or encoder))
    head = _known(HEADS, type(config.head), "head")(config.head, config)
    if config.tied:
        assert isinstance(head.proj, nn.Linear)
        head.proj.weight = embed.weight
    if encoder is None:
        assert decoder is not None
        return Decoder(config, embed, _stack_decoder(decoder), head)
    first = _stack(encoder) if isinstance(encoder, c.TransformerStack) else _recurrent_encoder(encoder)
    if decoder is None:
        assert isinstance(first, Stack)
        return Encoder(config, embed, first, head)
    source = None if config.source_vocab is None else _embedding(config.source_vocab, _vector_width(encoder))
    return Seq2Seq(config, source, first, embed, _stack_decoder(decoder), head)


def _vector_width(stack: c.Stack | None) -> int:
    """Of the token vectors that a stack reads."""
    assert stack is not None
    own = stack.embeddings.width if isinstance(stack, c.TransformerStack) else None
    return own or stack.width


def _hidden(hidden: c.Hidden | None, inputs: int, outputs: int) -> nn.Module:
    if hidden is None:
        return nn.Identity()
    dense = nn.Linear(inputs, outputs, bias=hidden.bias)
    return Hidden(dense, ACTIVATIONS[hidden.activation], _norm(hidden.norm, outputs))


def _lm_head(head: c.LMHead, config: c.ModelConfig) -> nn.Module:
    out = nn.Linear(config.width, config.vocab, bias=head.bias)
    return LMHead(out, scale=head.scale, cap=head.cap)


def _masked_lm_head(head: c.MaskedLMHead, config: c.ModelConfig) -> nn.Module:
    width = _vector_width(config.encoder)  # that of the words which it is tied to
    return MaskedLMHead(_hidden(head.hidden, config.width, width), nn.Linear(width, config.vocab, bias=head.bias))


def _sequence_classifier(head: c.SequenceClassifier, config: c.ModelConfig) -> nn.Module:
    out = nn.Linear(config.width, len(head.labels), bias=head.bias)
    return SequenceClassifier(head.pooled, _hidden(head.hidden, config.width, config.width), out)


def _token_classifier(head: c.TokenClassifier, config: c.ModelConfig) -> nn.Module:
    hidden = _hidden(head.hidden, config.width, config.width)
    return TokenClassifier(hidden, nn.Linear(config.width, len(head.labels)))


def _span_head(head: c.SpanHead, config: c.ModelConfig) -> nn.Module:
    return TokenClassifier(_hidden(head.hidden, config.width, config.width), nn.Linear(config.width, 2))


def _pooling(head: c.Pooling, config: c.ModelConfig) -> nn.Module:
    hidden = _hidden(head.hidden, config.width, head.width or config.width)
    return Pooling(head.pooled, hidden, normalised=head.normalised)


HEADS: dict[type, Callable[[Any, c.ModelConfig], nn.Module]] = {
    c.LMHead: _lm_head,
    c.MaskedLMHead: _masked_lm_head,
    c.SequenceClassifier: _sequence_classifier,
    c.TokenClassifier: _token_classifier,
    c.SpanHead: _span_head,
    c.Pooling: _pooling,
}
"""The module for each kind of head that a config may name. One that is tied scores its words by `proj`."""


def _embedding(count: int, width: int) -> nn.Embedding:
    """Without weights on "meta": to draw them there torch loads its compiler, which takes longer than a file."""
    weight = torch.empty(count, width)
    return nn.Embedding(count, width, _weight=weight if weight.is_meta else nn.init.normal_(weight))


def _stack_decoder(stack: c.Stack) -> Stack | RecurrentDecoder:
    return _stack(stack) if isinstance(stack, c.TransformerStack) else _recurrent_decoder(stack)


def _stack(stack: c.TransformerStack) -> Stack:
    parts = _Parts(stack.width)
    e = stack.embeddings
    vectors = _vector_width(stack)
    embeddings = Embeddings(
        _positions(e.positions, vectors),
        _dropout(e.dropout),
        scale=e.scale,
        types=None if e.types is None else _embedding(e.types, vectors),
        norm=_norm(e.norm, vectors),
        project=None if e.width is None else nn.Linear(vectors, stack.width),
    )
    made = Stack(embeddings, [parts.block(block) for block in stack.blocks], _norm(stack.norm, stack.width))
    for block, first in enumerate(stack.shared):
        if block != first:
            weights = [name for name, _ in made.blocks[first].named_parameters(remove_duplicate=False)]
            tie(made, {f"blocks.{block}.{name}": f"blocks.{first}.{name}" for name in weights})
    return made


def _positions(positions: c.Learned | c.Sinusoidal | None, width: int) -> nn.Module:
    match positions:
        case None:
            return NoPositions()
        case c.Learned(context, offset):
            return LearnedPositions(context, width, offset)
        case c.Sinusoidal(layout, offset):
            if width % 2:
                raise ConfigError(f"sinusoidal positions need an even width, and {width} is not")
            return SinusoidalPositions(width, layout, offset)


class _Parts:
    """Makes the blocks of one stack, whose layers share what is equal in them: rotary embeddings, and so their cosines,
    and relative biases."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._shared: dict[c.Rotary | c.RelativeBias | c.LinearBias | c.Disentangled, nn.Module] = {}

    def block(self, block: c.Block) -> Block:
        if isinstance(block.feedforward, u.NoFeedForward) and block.order != "lone":
            raise ConfigError(f"a block of the order {block.order!r} needs a feed-forward")
        return _known(ORDERS, block.order, "order of a block")(
            cast("Attention", self.reads(block.attention)),  # a unit is called as attention is
            None if block.cross is None else self.attention(block.cross),
            _feedforward(block.feedforward, self.width),
            lambda: _norm(block.norm, self.width),
            _added(block),
        )

    def reads(self, a: c.Attention) -> Attention | SSRU | RecurrentUnit:
        if isinstance(a, c.SSRU):
            return SSRU(nn.Linear(self.width, self.width, bias=False), nn.Linear(self.width, self.width), self.width)
        return _unit(a, self.width) if isinstance(a, u.Recurrence) else self.attention(a)

    def attention(self, a: c.Attention) -> Attention:
        if a.heads % a.kv_heads:
            raise ConfigError(f"{a.heads} heads cannot share {a.kv_heads} heads of keys and values evenly")
        if a.rotary is not None and (a.rotary.width % 2 or not 2 <= a.rotary.width <= a.key_width):
            raise ConfigError(
                f"of a head's {a.key_width} features {a.rotary.width} would turn; it must be an even number"
            )
        if a.latent is not None:
            return self._latent(a, a.latent)
        projections = (
            nn.Linear(self.width, a.heads * a.head_width, bias=a.bias),
            nn.Linear(self.width, a.kv_heads * a.head_width, bias=a.bias and a.key_bias),
            nn.Linear(self.width, a.kv_heads * a.head_width, bias=a.bias),
            nn.Linear(a.heads * a.head_width, self.width, bias=a.out_bias),
        )
        settings = self._settings(a)
        if isinstance(a.score_bias, c.Disentangled):
            return self._disentangled(a, a.score_bias, projections, settings)
        return Attention(*projections, score_bias=self._score_bias(a), **settings)

    def _settings(self, a: c.Attention) -> dict[str, Any]:
        return {
            "kv_heads": a.kv_heads,
            "head_width": a.head_width,
            "rotary": self._rotary(a.rotary),
            "q_norm": _heads_norm(a, a.heads),
            "k_norm": _heads_norm(a, a.kv_heads),
            "scale": a.scale,
            "cap": a.cap,
            "window": a.window,
            "sinks": a.heads if a.sinks else 0,
            "clip": a.clip,
            "gate": nn.Linear(self.width, a.heads * a.head_width, bias=a.bias) if a.gated else None,
            "dropout": a.dropout,
        }

    def _latent(self, a: c.Attention, latent: c.Latent) -> Attention:
        if a.rotary is None or a.kv_heads != a.heads:
            raise ConfigError("attention with latents needs rotary positions, and as many heads of keys as of queries")

        def narrow(rank: int) -> tuple[nn.Module, nn.Module]:
            return nn.Linear(self.width, rank, bias=a.bias), _norm(latent.norm, rank)

        wide = a.heads * a.key_width
        q: nn.Module = nn.Linear(self.width, wide, bias=False)
        if latent.query_rank is not None:
            q = LatentQueries(*narrow(latent.query_rank), nn.Linear(latent.query_rank, wide, bias=False))
        return LatentAttention(
            q,
            nn.Linear(latent.rank, a.heads * latent.unturned, bias=False),
            nn.Linear(latent.rank, a.heads * a.head_width, bias=False),
            nn.Linear(a.heads * a.head_width, self.width, bias=a.out_bias),
            latent=Latents(*narrow(latent.rank)),
            turned=nn.Linear(self.width, a.rotary.width, bias=a.bias),
            key_width=a.key_width,
            **self._settings(a),
        )

    def _disentangled(
        self, a: c.Attention, bias: c.Disentangled, projections: Sequence[nn.Module], settings: Mapping[str, Any]
    ) -> Attention:
        wide = a.heads * a.head_width
        distances = self._score_bias(a)
        assert isinstance(distances, Distances)
        q = nn.Linear(self.width, wide, bias=a.bias) if bias.projected and bias.of_key else None
        k = nn.Linear(self.width, wide, bias=a.bias and a.key_bias) if bias.projected and bias.of_query else None
        return DisentangledAttention(
            *projections,
            distances=distances,
            of_query=bias.of_query,
            of_key=bias.of_key,
            distance_q=q,
            distance_k=k,
            **settings,
        )

    def _rotary(self, rotary: c.Rotary | None) -> nn.Module:
        if rotary is None:
            return NoRotary()
        if rotary not in self._shared:
            self._shared[rotary] = Rotary(rotary.width, rotary.base, rotary.scaling)
        return self._shared[rotary]

    def _score_bias(self, a: c.Attention) -> nn.Module:
        bias = a.score_bias
        if bias is None:
            return NoBias()
        if bias not in self._shared or (isinstance(bias, c.RelativeBias) and bias.own):
            match bias:
                case c.LinearBias():
                    self._shared[bias] = LinearBias(a.heads, bias.scale, bias.steepest)
                case c.RelativeBias():
                    self._shared[bias] = RelativeBias(a.heads, bias.buckets, bias.farthest, both_ways=bias.both_ways)
                case c.Disentangled():
                    self._shared[bias] = Distances(self.width, bias.span, bias.farthest, _norm(bias.norm, self.width))
        return self._shared[bias]


def _unit(a: u.Recurrence, width: int) -> RecurrentUnit:
    match a:
        case u.Mamba():
            return Mamba(width, a.inner, a.size, a.rank, a.conv, bias=a.bias, conv_bias=a.conv_bias)
        case u.Mamba2():
            if a.inner % a.units or a.units % a.groups or a.inner % a.groups:
                raise ConfigError(f"{a.inner} features cannot be {a.units} heads in {a.groups} groups")
            return Mamba2(
                width,
                a.inner,
                a.size,
                a.units,
                a.groups,
                a.conv,
                bias=a.bias,
                conv_bias=a.conv_bias,
                eps=a.norm.eps,
                steps=a.steps,
            )
        case u.GatedDelta():
            if a.units % a.keys:
                raise ConfigError(f"{a.units} heads of values cannot share {a.keys} keys evenly")
            return GatedDeltaNet(width, a.keys, a.asking_width, a.units, a.unit_width, a.conv, eps=a.norm.eps)
        case u.ShortConv():
            return ShortConv(width, a.conv, bias=a.bias)
        case u.Cells():
            return Cells(width, a.inner, a.cell)
        case u.MinGRU():
            return MinGRU(width, a.inner)
        case u.TimeMix():
            if width % a.wide:
                raise ConfigError(f"{width} features cannot be heads {a.wide} wide")
            return TimeMix(width, a.wide, a.ranks, eps=a.eps, leads=a.leads)
    raise ConfigError(f"nothing builds the recurrent unit {type(a).__name__!r}")


def _feedforward(part: Any, width: int) -> nn.Module:
    if isinstance(part, c.Experts):
        return _experts(part, width)
    if isinstance(part, u.NoFeedForward):
        return NoFeedForward()
    if isinstance(part, c.ClampedFeedForward):
        gate, up = (nn.Linear(width, part.hidden, bias=part.bias) for _ in range(2))
        return ClampedFeedForward(gate, up, nn.Linear(part.hidden, width, bias=part.bias), part.alpha, part.limit)
    if isinstance(part, u.ChannelMix):
        return ChannelMix(width, part.hidden)
    activation = ACTIVATIONS[part.activation]
    up = nn.Linear(width, part.hidden, bias=part.bias)
    down = nn.Linear(part.hidden, width, bias=part.bias)
    dropout = _dropout(part.dropout)
    if isinstance(part, c.GatedFeedForward):
        return GatedFeedForward(nn.Linear(width, part.hidden, bias=part.bias), up, down, activation, dropout)
    return FeedForward(up, down, activation, dropout)


def _experts(part: c.Experts, width: int) -> nn.Module:
    r = part.router
    if not r.chosen <= part.count // r.groups * r.open or part.count % r.groups or not r.open <= r.groups:
        raise ConfigError(
            f"of {part.count} experts in {r.groups} groups, {r.open} of which are open, {r.chosen} cannot be chosen"
        )
    if r.groups > 1 and r.best > part.count // r.groups:
        raise ConfigError(f"a group of {part.count // r.groups} experts has no {r.best} best to be judged by")
    router = Router(width, part.count, **dataclasses.asdict(r))
    shared = None if part.shared is None else _feedforward(part.shared, width)
    share = nn.Linear(width, 1, bias=False) if part.weighed else None
    return Experts(router, [_feedforward(part.expert, width) for _ in range(part.count)], shared, share)


def _norm(norm: c.Norm | None, width: int) -> nn.Module:
    return nn.Identity() if norm is None else _known(NORMS, type(norm), "norm")(width, norm.eps)


def _heads_norm(a: c.Attention, heads: int) -> nn.Module:
    """The norm of as many heads of q or k."""
    if a.norm is None or a.normed == "each":
        return _norm(a.norm, a.head_width)
    if a.normed == "all":
        return AcrossHeads(_norm(a.norm, heads * a.head_width))
    return OwnNorms([_norm(a.norm, a.head_width) for _ in range(heads)])


def _added(block: c.Block) -> nn.Module:
    """What acts on what each part of a block adds."""
    if block.scale == 1.0:
        return _dropout(block.dropout)
    return nn.Sequential(Scaled(block.scale), _dropout(block.dropout)) if block.dropout else Scaled(block.scale)


def _known(table: Mapping[Any, T], key: Any, what: str) -> T:
    if key not in table:
        name = key.__name__ if isinstance(key, type) else key
        raise ConfigError(f"nothing builds the {what} {name!r}")
    return table[key]


def _dropout(rate: float) -> nn.Module:
    if not 0 <= rate < 1:
        raise ConfigError(f"a dropout rate of {rate} is not from 0 to below 1")
    return nn.Dropout(rate) if rate else nn.Identity()


def _recurrent_encoder(stack: c.RecurrentStack) -> RecurrentEncoder:
    both = stack.direction == "both"
    layers = [RecurrentLayer(stack.cell, stack.width, stack.width, both) for _ in range(stack.layers)]
    return RecurrentEncoder(layers, stack.direction == "backward", stack.scale, _dropout(stack.dropout))


def _recurrent_decoder(stack: c.RecurrentStack) -> RecurrentDecoder:
    width, scale, dropout = stack.width, stack.scale, _dropout(stack.dropout)

    def layers(inputs: int) -> list[RecurrentLayer]:
        return [RecurrentLayer(stack.cell, width if i else inputs, width) for i in range(stack.layers)]

    match stack.attention:
        case None:
            return PlainDecoder(layers(width), width, scale, dropout)
        case c.AdditiveAttention():
            ask, offer = nn.Linear(width, width, bias=False), nn.Linear(width, width)
            attention = _listening(width, ask, offer, AdditiveWeights(width))
            return BahdanauDecoder(layers(2 * width), width, scale, dropout, attention, nn.Linear(3 * width, width))
        case c.DotAttention(feeding):
            attention = _listening(width, nn.Identity(), nn.Identity(), attention_weights)
        case c.GeneralAttention(feeding):
            attention = _listening(width, nn.Identity(), nn.Linear(width, width, bias=False), attention_weights)
    join = nn.Linear(2 * width, width, bias=False)
    if feeding:
        return FeedingDecoder(layers(2 * width), width, scale, dropout, attention, join)
    return LuongDecoder(layers(width), width, scale, dropout, attention, join)


def _listening(width: int, ask: nn.Module, offer: nn.Module, weigh: Weigh) -> Attention:
    """The attention of a recurrent decoder: one head as wide as the model, which hears the memory as it is."""
    return Attention(
        ask,
        offer,
        nn.Identity(),
        nn.Identity(),
        kv_heads=1,
        head_width=width,
        rotary=NoRotary(),
        q_norm=nn.Identity(),
        k_norm=nn.Identity(),
        scale=1.0,
        weigh=weigh,
    )
