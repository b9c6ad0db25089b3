"""Heads: what they answer of which positions, in which type."""

import pytest
import torch
from torch import nn

from limelight.errors import RequestError
from limelight.models import config as c
from limelight.models.api import Encoder
from limelight.models.build import build
from limelight.models.ties import names, ties
from limelight.nn.heads import Hidden, LMHead, MaskedLMHead, Pooling, SequenceClassifier, TokenClassifier, pool

HIDDEN = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([5, 2, 1])


def test_pooling_sees_no_padding() -> None:
    for row, length in enumerate(LENGTHS.tolist()):
        real = HIDDEN[row, :length]
        expected = {"first": real[0], "last": real[-1], "mean": real.mean(0), "max": real.amax(0)}
        for pooled, vector in expected.items():
            torch.testing.assert_close(pool(HIDDEN, LENGTHS, pooled)[row], vector)  # type: ignore[arg-type]


def test_normalised_vectors_are_of_length_one() -> None:
    vectors = Pooling("mean", nn.Identity(), normalised=True)(HIDDEN, LENGTHS)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    plain = Pooling("mean", nn.Identity(), normalised=False)(HIDDEN, LENGTHS)
    torch.testing.assert_close(plain / plain.norm(dim=-1, keepdim=True), vectors)


def test_a_language_models_head_scales_and_caps_in_float32() -> None:
    out = nn.Linear(8, 11).to(torch.bfloat16)
    logits = LMHead(out, scale=0.5, cap=2.0)(HIDDEN.to(torch.bfloat16))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, (out(HIDDEN.to(torch.bfloat16) * 0.5).float() / 2).tanh() * 2)
    assert logits.abs().max() < 2


@pytest.mark.parametrize("dense", [True, False])
def test_a_classifier_scores_the_text(dense: bool) -> None:
    layer = nn.Linear(8, 8) if dense else None
    out = nn.Linear(8, 3)
    hidden = nn.Identity() if layer is None else Hidden(layer, torch.tanh, nn.Identity())
    scores = SequenceClassifier("last", hidden, out)(HIDDEN, LENGTHS)
    vector = torch.stack([HIDDEN[row, length - 1] for row, length in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(scores, out(vector if layer is None else layer(vector).tanh()))


def encoder(head: c.Head, types: int | None = 2) -> Encoder:
    attention = c.Attention(2, 2, 4, 0.5, bias=True, out_bias=True)
    block = c.Block(attention, c.FeedForward(12, "gelu"), c.LayerNorm(1e-5), "post")
    embeddings = c.Embeddings(positions=c.Learned(16), types=types, norm=c.LayerNorm(1e-5), width=6)
    stack = c.TransformerStack(8, (block,) * 2, None, embeddings)
    torch.manual_seed(0)
    built = build(c.ModelConfig("test", 19, 16, None, head, encoder=stack)).eval()
    assert isinstance(built, Encoder)
    return built


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (c.MaskedLMHead(True, c.Hidden("gelu", c.LayerNorm(1e-5))), (2, 4, 19)),
        (c.MaskedLMHead(False, c.Hidden("gelu", c.LayerNorm(1e-5))), (2, 4, 19)),
        (c.SequenceClassifier(("a", "b", "c")), (2, 3)),
        (c.SequenceClassifier(("score",), "mean", hidden=None, bias=False), (2, 1)),
        (c.TokenClassifier(("a", "b", "c")), (2, 4, 3)),
        (c.SpanHead(), (2, 4, 2)),
        (c.Pooling("first", normalised=False), (2, 8)),
        (c.Pooling("max", True, c.Hidden("tanh"), 5), (2, 5)),
    ],
    ids=lambda value: type(value).__name__,
)
@torch.inference_mode()
def test_an_encoder_answers_by_its_head_whatever_stands_beside_the_text(head: c.Head, shape: tuple[int, ...]) -> None:
    network = encoder(head)
    tokens, lengths = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]), torch.tensor([4, 2])
    answer = network(tokens, lengths)
    assert answer.shape == shape
    alone = network(tokens[1:, :2])
    torch.testing.assert_close(answer[1, :2] if len(shape) == 3 else answer[1], alone[0])
    assert not torch.allclose(network(tokens, lengths, types=torch.ones_like(tokens)), answer)
    hidden = network(tokens, lengths, visible=torch.tensor([[True, True, False, True]] * 2))
    assert not torch.allclose(hidden[0], answer[0])


@torch.inference_mode()
def test_types_of_tokens_that_a_model_does_not_know_are_refused() -> None:
    network, tokens = encoder(c.TokenClassifier(("a", "b")), types=None), torch.tensor([[1, 2, 3]])
    assert torch.equal(network(tokens, types=torch.zeros_like(tokens)), network(tokens))
    with pytest.raises(RequestError, match="knows one type of token only"):
        network(tokens, types=torch.tensor([[0, 0, 1]]))


def test_a_tie_is_read_off_the_network() -> None:
    network = encoder(c.MaskedLMHead(True, c.Hidden("gelu", c.LayerNorm(1e-5))))
    assert ties(network) == {"head.proj.weight": "embed.weight"}
    assert "head.proj.weight" not in names(network)
    assert set(names(network)) == {name for name, _ in network.named_parameters()}
    assert ties(encoder(c.SpanHead())) == {}


def test_layers_share_a_relative_bias() -> None:
    bias = c.RelativeBias(8, 20, both_ways=False)
    attention = c.Attention(2, 2, 4, 1.0, score_bias=bias)
    block = c.Block(attention, c.FeedForward(12, "relu", bias=False), c.RMSNorm(1e-6))
    stack = c.TransformerStack(8, (block,) * 3, c.RMSNorm(1e-6))
    network = build(c.ModelConfig("test", 19, 16, stack, c.LMHead(tied=False)))
    first = "decoder.blocks.0.attention.score_bias.weight"
    assert set(ties(network).values()) == {first}
    assert len(ties(network)) == 2


def test_a_token_without_a_row_is_refused_by_name() -> None:
    with pytest.raises(RequestError, match="number 19, which the model has no row for"):
        encoder(c.Pooling())(torch.tensor([[1, 19]]))


@pytest.mark.parametrize("pooled", ["first", "last", "mean", "max"])
def test_every_head_answers_in_float32(pooled: str) -> None:
    states = HIDDEN.to(torch.bfloat16)
    proj, hidden = nn.Linear(8, 3).to(torch.bfloat16), Hidden(nn.Identity(), torch.neg, nn.ReLU())
    vector = pool(states, LENGTHS, pooled)  # type: ignore[arg-type]
    assert vector.dtype == torch.bfloat16
    answers = {
        LMHead(proj): proj(states),
        MaskedLMHead(hidden, proj): proj((-states).relu()),
        TokenClassifier(hidden, proj): proj((-states).relu()),
    }
    for head, expected in answers.items():
        assert head(states).dtype == torch.float32
        assert torch.equal(head(states), expected.float())
    scores = SequenceClassifier(pooled, hidden, proj)(states, LENGTHS)  # type: ignore[arg-type]
    assert scores.dtype == torch.float32
    assert torch.equal(scores, proj((-vector).relu()).float())
    plain = Pooling(pooled, hidden, normalised=False)(states, LENGTHS)  # type: ignore[arg-type]
    assert plain.dtype == torch.float32
    assert torch.equal(plain, (-vector).relu().float())
