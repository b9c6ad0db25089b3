"""The same request gives the same bits: alone, among others, behind what was read before, drafted, put out, in threads.

The model is tiny, of random weights, low-bit and run by the compiled kernels, as models are that the engine serves; one
of its layers sees a window. What is compared are tokens with the logarithms of their probabilities, to the bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.decode import Engine, Request, Sampling, Step, Token, collect, position_bytes
from limelight.decode.prefixes import BLOCK
from limelight.errors import RequestError
from limelight.models import config as c
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.quant import fuse, native, quantise

CONTEXT = 160
TEXT = [(at * at * 7 + at // 5) % 61 for at in range(100)]
SAMPLINGS = [Sampling(), Sampling(temperature=0.9, top_p=0.9, repetition=1.2, seed=4)]


def transformer(rotary: c.Rotary | None = None) -> Decoder:
    rotary = rotary or c.Rotary(16, 10_000.0)
    blocks = tuple(
        c.Block(c.Attention(4, 2, 16, 0.25, rotary, window=window), c.GatedFeedForward(96, "silu"), c.RMSNorm(1e-6))
        for window in (None, 24)
    )
    network = build(
        c.ModelConfig("llama", 61, CONTEXT, c.TransformerStack(64, blocks, c.RMSNorm(1e-6)), c.LMHead(tied=False))
    )
    assert isinstance(network, Decoder)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:  # a visible spread, so that the likeliest token is so by far
                parameter.normal_(0, 0.3, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def model() -> Decoder:
    network = transformer()
    quantise(network)
    fuse(network)
    return network


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@cache
def alone(model: Decoder, prompt: tuple[int, ...], n: int, sampling: Sampling) -> tuple[Token, ...]:
    engine = Engine(model, rows=1, keep=False)
    engine.submit(prompt, max_tokens=n, sampling=sampling, draft=None, logprobs=2)
    return collect(engine.run())[0].tokens


def run(engine: Engine) -> list[Step]:
    return [step for step in engine.run() if step]


def same(model: Decoder, steps: list[Step], requests: list[Request]) -> None:
    """All that was made is what each makes alone; all of it, unless the request was cancelled."""
    made: dict[int, list[Token]] = {}
    for step in steps:
        for token in step:
            made.setdefault(token.row, []).append(token)
    for request in requests:
        prompt = tuple(request.tokens[: request.given])
        expected = alone(model, prompt, request.max_tokens, request.sampling)
        found = made.get(request.row, [])
        if request.finish != "cancelled":
            assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=False):
            assert (ours.id, ours.finish, ours.logprob, ours.best) == (
                theirs.id, theirs.finish, theirs.logprob, theirs.best
            )  # fmt: skip


@dataclass(frozen=True)
class Visit:
    """A request: how much of the common text it begins with, or that it goes on where an earlier one ended."""

    common: int
    own: tuple[int, ...]
    follows: int | None
    n: int
    sampling: Sampling
    draft: str | None
    arrives: int
    cancelled: int | None


visits = st.lists(
    st.builds(
        Visit,
        st.integers(0, 80),
        st.lists(st.integers(0, 60), min_size=1, max_size=20).map(tuple),
        st.none() | st.integers(0, 5),
        st.integers(1, 12),
        st.sampled_from(SAMPLINGS),
        st.sampled_from([None, "auto", "lookup"]),
        st.integers(0, 15),
        st.none() | st.integers(0, 25),
    ),
    min_size=2,
    max_size=8,
)


@pytest.mark.skipif(not native.KERNELS, reason="the compiled kernels are not built")
@pytest.mark.usefixtures("threads")
@given(visits, st.integers(1, 16), st.integers(CONTEXT, 900), st.integers(1, 64), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_the_same_request_gives_the_same_bits(
    model: Decoder, visits: list[Visit], rows: int, positions: int, chunk: int, threads: int
) -> None:
    torch.set_num_threads(threads)
    engine = Engine(model, rows=rows, positions=positions, chunk=chunk)
    requests: list[Request] = []
    steps: list[Step] = []
    at = 0
    while engine.busy or len(requests) < len(visits):
        if len(requests) < len(visits) and visits[len(requests)].arrives <= at:
            visit, at = visits[len(requests)], 0
            before = [] if visit.follows is None or not requests else requests[visit.follows % len(requests)].tokens
            prompt = [*(before or TEXT[: visit.common])[:120], *visit.own]
            requests.append(
                engine.submit(prompt, max_tokens=visit.n, sampling=visit.sampling, draft=visit.draft, logprobs=2)
            )
        for visit, request in zip(visits, requests, strict=False):
            if visit.cancelled == at:
                engine.cancel(request)
        steps.append(engine.step())
        kept = engine._prefixes.positions
        assert kept <= max(0, engine._spare)
        at += 1
        assert len(steps) < 1000, "it never comes to an end"
    same(model, steps, requests)


@pytest.mark.skipif(not native.KERNELS, reason="the compiled kernels are not built")
def test_a_request_gives_the_same_bits_beside_fifteen_others(model: Decoder) -> None:
    engine = Engine(model, rows=16)
    prompts = [[*TEXT[: 5 * (at % 4)], *range(at, 40, 4)] for at in range(1, 17)]
    requests = [engine.submit(prompt, max_tokens=12, sampling=SAMPLINGS[-1], logprobs=2) for prompt in prompts]
    steps = [engine.step()]
    together = 0
    while engine.busy:
        together = max(together, len(engine.running))
        steps.append(engine.step())
    assert together == 16
    same(model, steps, requests)


def test_what_two_texts_begin_with_is_read_once(model: Decoder) -> None:
    engine = Engine(model)
    requests = [engine.submit([*TEXT[:70], 5, at], max_tokens=8, logprobs=2) for at in range(4)]
    steps = [engine.step()]
    assert [request.status for request in requests] == ["running", "waiting", "waiting", "waiting"]
    steps += run(engine)
    assert [request.cached for request in requests] == [0, 68, 68, 68]
    turn = [*requests[2].tokens, 1, 2, 3]  # the last token was never read, and the answer before it was
    later = engine.submit(turn, max_tokens=3, logprobs=2)
    steps += run(engine)
    assert later.cached == (len(turn) - 4) // BLOCK * BLOCK == 76
    whole = engine.submit(TEXT[:64], max_tokens=3, logprobs=2)  # all of it is known, and the last must be read again
    steps += run(engine)
    assert whole.cached == 60
    if native.KERNELS:
        same(model, steps, [*requests, later, whole])


def test_what_was_not_used_for_longest_goes(model: Decoder) -> None:
    engine = Engine(model, rows=1, positions=256 + 6 * BLOCK)
    texts = [[at] * (2 * BLOCK + 1) for at in (1, 2, 3, 4)]

    def cached(text: list[int]) -> int:
        request = engine.submit(text, max_tokens=1)
        run(engine)
        return request.cached

    assert [cached(text) for text in texts[:3]] == [0, 0, 0]
    engine.positions = 2 * BLOCK + 1 + 6 * BLOCK  # from now on there is room for three texts beside the one that runs
    assert cached(texts[0]) == 2 * BLOCK
    assert cached(texts[3]) == 0
    assert [cached(text) for text in (texts[0], texts[2], texts[3])] == [2 * BLOCK] * 3
    assert cached(texts[1]) == 0, "it was used before all others"


def test_a_text_that_is_put_out_or_cancelled_leaves_what_was_read(model: Decoder) -> None:
    engine = Engine(model, chunk=20)
    first = engine.submit([1], max_tokens=60)
    engine.step()
    gone = engine.submit(TEXT, max_tokens=5)
    engine.step()
    engine.step()
    assert gone.status == "reading"
    engine.cancel(gone)
    again = engine.submit(TEXT, max_tokens=5)
    run(engine)
    assert again.cached == 40
    assert first.finish == "length"


def test_what_failed_is_not_kept() -> None:
    network = transformer()
    engine = Engine(network)
    with torch.no_grad():
        network.embed.weight[60] = torch.nan
    bad = engine.submit([*TEXT[:40], 60], max_tokens=5)
    while engine.busy:
        engine.step()
    assert bad.finish == "error"
    assert engine._prefixes.positions == 0


@pytest.mark.parametrize(
    "network",
    [
        lambda: transformer(c.Rotary(16, 10_000.0, scaling=c.DynamicScaling(2.0, 50))),
        lambda: build(
            c.ModelConfig("recurrent", 61, 200, c.RecurrentStack("lstm", 32, 2), c.LMHead(tied=False))
        ).eval(),
    ],
    ids=["rotation by the whole text's length", "recurrent"],
)
def test_nothing_is_kept_where_it_depends_on_more_than_the_tokens(network) -> None:
    engine = Engine(network())
    requests = [engine.submit(TEXT[:60], max_tokens=2) for _ in range(2)]
    engine.step()
    assert [request.status for request in requests] == ["running", "running"], "neither waits for the other"
    run(engine)
    requests.append(engine.submit(TEXT[:60], max_tokens=2))
    run(engine)
    assert [request.cached for request in requests] == [0, 0, 0]
    assert engine._prefixes.positions == 0


def test_memory_is_given_in_bytes(model: Decoder) -> None:
    each = 2 * 2 * 2 * 16 * (2 if native.KERNELS else 4)  # layers, keys and values, heads, width, bytes
    assert position_bytes(model) == each
    assert Engine(model, memory=1000 * each).positions == 500
    assert Engine(model, memory=1000 * each, positions=70).positions == 70
    assert Engine(model, memory=2**40).positions == 16 * CONTEXT
    with pytest.raises(RequestError, match=rf"memory is {each} bytes; for each token of a text it takes {2 * each}"):
        Engine(model, memory=each)


def test_memory_is_bounded_however_many_come(model: Decoder) -> None:
    """Cache, prompts that are being read, and what is kept of texts stay within it, and fill the half of it that is not
    for a copy while the cache grows: a server under load for long."""
    memory = 1200 * position_bytes(model)
    engine = Engine(model, rows=4, memory=memory, chunk=16)
    most = 0
    for number in range(60):
        text = [(number * 7 + place * place) % 60 for place in range(20 + 13 * number % 50)]
        engine.submit(text, max_tokens=1 + number % 9)
        for _ in range(number % 4):
            engine.step()
            most = max(most, engine.nbytes)
            assert engine.nbytes <= memory
        if number % 11 == 5 and engine.running:
            engine.cancel(engine.running[0])
    while engine.busy:
        engine.step()
        most = max(most, engine.nbytes)
        assert engine.nbytes <= memory
    assert most == memory // 2
    assert memory / 4 < engine.nbytes <= memory / 2  # what is kept when nobody runs any more
