"""The engine and drafts with the default model, where it has been fetched (``limelight pull smollm2``)."""

import pytest

import limelight
from limelight.checkpoints import wheel
from limelight.checkpoints.catalog import catalog, default
from limelight.decode import Engine, Token, collect, generate
from limelight.quant.native import KERNELS

pytestmark = pytest.mark.skipif(
    not wheel.path_of(catalog()[default()]).is_file(), reason="the default model is not on this machine: limelight pull"
)

REPEATED = "The quick brown fox jumps over the lazy dog.\n" * 4
CODE = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef mul(a, b):\n"
TEXTS = [REPEATED, CODE, "Once upon a time, in a small village by the sea,", "The capital of France is Paris. The"]
ROUNDING = 0.5  # logits; without the compiled kernels, reading several tokens at once rounds otherwise than one by one


@pytest.fixture(scope="module")
def model() -> limelight.Model:
    opened = limelight.open(default())
    assert isinstance(opened, limelight.Model)
    return opened


def same(found: tuple[Token, ...], plain: tuple[Token, ...]) -> bool:
    """Whether the tokens are equal, up to the first where the model's two likeliest are no further apart than rounding.

    The compiled kernels compute each position of each text by itself, so that there all are equal.
    """
    assert len(found) == len(plain)
    for ours, theirs in zip(found, plain, strict=True):
        if ours.id != theirs.id:
            return not KERNELS and theirs.best[0][1] - theirs.best[1][1] < ROUNDING
    return True


def test_a_draft_changes_no_token_of_a_text_that_repeats_itself(model: limelight.Model) -> None:
    for text, most in ((REPEATED, 16), (CODE, 47)):
        prompt = model.tokenizer.encode(text).ids
        (plain,) = collect(generate(model.network, [prompt], max_tokens=48, logprobs=2, draft=None))
        for draft in ("lookup", "auto") if KERNELS else ("lookup",):
            steps = list(generate(model.network, [prompt], max_tokens=48, logprobs=2, draft=draft))
            assert same(collect(steps)[0].tokens, plain.tokens)
            assert len(steps) <= most


def test_a_busy_engine_gives_what_each_text_gives_alone(model: limelight.Model) -> None:
    prompts = [model.tokenizer.encode(text).ids for text in TEXTS]
    alone = [collect(generate(model.network, [prompt], max_tokens=24, logprobs=2, draft=None))[0] for prompt in prompts]
    engine = Engine(model.network, rows=3, positions=90, chunk=8)
    steps = []
    for prompt in prompts:
        engine.submit(prompt, max_tokens=24, logprobs=2)
        steps.append(engine.step())
    steps += list(engine.run())
    for row, plain in zip(collect(steps), alone, strict=True):
        assert same(row.tokens, plain.tokens)
