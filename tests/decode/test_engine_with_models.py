"""The engine over real (tiny, random) networks: joining, leaving, eviction and drafts change no token."""

from collections.abc import Iterator

import pytest
import torch

from limelight.decode import Engine, Request, Sampling, collect, generate
from limelight.errors import RequestError
from limelight.models import config as c
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.nn.cache import KVCache

PROMPTS = [
    [(at * at * (3 + row) + row) % 61 for at in range(length)] for row, length in enumerate((5, 70, 1, 33, 12, 2))
]


def spread(network: Decoder) -> Decoder:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:  # a visible spread, so that the likeliest token is so by far
                parameter.normal_(0, 0.3, generator=generator)
    return network.eval()


def transformer(width: int, layers: int) -> Decoder:
    blocks = tuple(
        c.Block(
            c.Attention(4, 2, width // 4, (width // 4) ** -0.5, c.Rotary(width // 4, 10_000.0), window=window),
            c.GatedFeedForward(2 * width, "silu"),
            c.RMSNorm(1e-6),
        )
        for window in (None, 16)[:layers]
    )
    stack = c.TransformerStack(width, blocks, c.RMSNorm(1e-6))
    return spread(build(c.ModelConfig("llama", 61, 200, stack, c.LMHead(tied=False))))


def recurrent(cell: str) -> Decoder:
    return spread(build(c.ModelConfig("recurrent", 61, 200, c.RecurrentStack(cell, 32, 2), c.LMHead(tied=False))))


@pytest.fixture(scope="module", params=["transformer", "lstm", "gru"])
def network(request: pytest.FixtureRequest) -> Iterator[Decoder]:
    return transformer(32, 2) if request.param == "transformer" else recurrent(request.param)


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=0.8, repetition=1.2, seed=2)], ids=["greedy", "drawn"]
)
def test_a_busy_engine_gives_what_each_prompt_gives_alone(network: Decoder, sampling: Sampling) -> None:
    expected = [collect(generate(network, [prompt], max_tokens=40, sampling=sampling))[0].ids for prompt in PROMPTS]
    engine = Engine(network, rows=4, positions=300, chunk=8)
    requests: list[Request] = []
    widths = set()
    while engine.busy or len(requests) < len(PROMPTS):
        if len(requests) < len(PROMPTS):
            requests.append(engine.submit(PROMPTS[len(requests)], max_tokens=40, sampling=sampling))
        if len(requests) == 5 and requests[0].finish is None:
            engine.cancel(requests[0])
        engine.step()
        widths.add(len(engine.running))
    assert {1, 2, 3} <= widths
    assert [request.generated for request in requests[1:]] == expected[1:]
    assert requests[0].generated == expected[0][: len(requests[0].generated)]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.3, seed=2)], ids=["greedy", "drawn"])
def test_drafts_change_no_token(sampling: Sampling) -> None:
    network = transformer(32, 2)
    options = {"max_tokens": 40, "sampling": sampling}
    plain = collect(generate(network, PROMPTS, **options))
    for draft in ("lookup", transformer(16, 1), recurrent("lstm"), network):
        steps = list(generate(network, PROMPTS, draft=draft, **options))
        assert [row.ids for row in collect(steps)] == [row.ids for row in plain]
        if draft is network:
            assert len(steps) < 20, "the likeliest tokens are its own guesses"


def test_recurrent_models_cannot_use_a_draft() -> None:
    with pytest.raises(RequestError, match="recurrent model cannot take back"):
        generate(recurrent("gru"), [[1]], max_tokens=2, draft="lookup")


def test_rows_are_put_and_what_stood_there_is_gone() -> None:
    cache, other = (KVCache.empty((3, 1, 6, 2), torch.float32, torch.device("cpu")) for _ in range(2))
    cache.append(torch.full((3, 1, 5, 2), torch.nan), torch.full((3, 1, 5, 2), torch.nan), 0)
    other.append(torch.ones(3, 1, 4, 2), torch.ones(3, 1, 4, 2), 0)
    cache.put(1, other.narrow(0, 2), 2)
    for kept in (cache.keys, cache.values):
        assert kept[:1, :, :5].isnan().all()
        assert torch.equal(kept[1:, :, :, 0], torch.tensor([1.0, 1, 0, 0, 0, 0]).expand(2, 1, 6))
    narrow = cache.narrow(1, 3)
    narrow.append(torch.zeros(2, 1, 1, 2), torch.zeros(2, 1, 1, 2), 5)
    cache.put(1, narrow, 6)
    assert cache.written == 6
    assert torch.equal(cache.keys[1, 0, :, 0], torch.tensor([1.0, 1, 0, 0, 0, 0]))


def test_states_that_do_not_fit_are_refused() -> None:
    network = transformer(16, 1)
    small, large = network.start(1, 4), network.start(1, 8)
    with torch.no_grad():
        network.step(torch.tensor([[1, 2, 3, 4, 5]]), large)
    with pytest.raises(RequestError, match="a text of 5 tokens does not fit a state with room for 4"):
        small.put(0, large)
