"""The loop over a real (tiny, random) transformer: caching, padding, chunks and leaving rows change no token."""

import pytest
import torch

from limelight.decode import Sampling, collect, generate
from limelight.decode.request import CHUNK
from limelight.models import config as c
from limelight.models.api import Decoder
from limelight.models.build import build

PROMPTS = [
    [5, 6, 7],
    [(at * at + 3) % 97 for at in range(CHUNK + 40)],
    [9],
    [(at * 5 + 1) % 97 for at in range(60)],
]


@pytest.fixture(scope="module")
def model() -> Decoder:
    blocks = tuple(
        c.Block(
            c.Attention(4, 2, 8, 8**-0.5, c.Rotary(8, 10_000.0), window=window),
            c.GatedFeedForward(64, "silu"),
            c.RMSNorm(1e-6),
        )
        for window in (None, 16)
    )
    stack = c.TransformerStack(32, blocks, c.RMSNorm(1e-6))
    built = build(c.ModelConfig("llama", 97, CHUNK + 60, stack, c.LMHead(tied=False)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.ndim > 1:  # a visible spread: torch's own start hides errors
                parameter.normal_(0, 0.3, generator=generator)
    return built.eval()


@torch.no_grad()
def greedy(model: Decoder, prompt: list[int], n: int) -> list[int]:
    """The n likeliest tokens one by one, everything read again each time."""
    text = list(prompt)
    for _ in range(n):
        text.append(int(model(torch.tensor([text]))[0, -1].argmax()))
    return text[len(prompt) :]


def test_greedy_batch_equals_reading_everything_again(model: Decoder) -> None:
    expected = [greedy(model, prompt, 10) for prompt in PROMPTS]
    stop = frozenset({expected[1][4]})  # makes a row leave, the longest one
    rows = collect(generate(model, PROMPTS, max_tokens=10, stop=stop))
    cuts = [next((at for at, id in enumerate(ids) if id in stop), len(ids)) for ids in expected]
    assert [row.ids for row in rows] == [ids[:cut] for ids, cut in zip(expected, cuts, strict=True)]
    assert rows[1].finish == "stop"
    assert "length" in [row.finish for row in rows]


def test_a_seeded_batch_equals_each_prompt_alone(model: Decoder) -> None:
    sampling = Sampling(temperature=0.9, top_k=40, top_p=0.95, repetition=1.1, seed=11)
    together = collect(generate(model, PROMPTS, max_tokens=10, sampling=sampling))
    alone = [collect(generate(model, [prompt], max_tokens=10, sampling=sampling))[0] for prompt in PROMPTS]
    assert [row.ids for row in together] == [row.ids for row in alone]


def test_a_full_context_gives_one_more_token(model: Decoder) -> None:
    prompt = [at % 97 for at in range(model.context - 1)]
    (row,) = collect(generate(model, [prompt], max_tokens=10))
    assert row.finish == "context"
    assert row.ids == greedy(model, prompt, 2)
