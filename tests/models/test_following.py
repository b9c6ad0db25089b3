"""Rotary embeddings that follow the length of the text (LongRoPE, dynamic NTK) beyond the original one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from references import CONFIGS, FOLLOWING, reference, saved
from torch import Tensor

from limelight.checkpoints.open import open_checkpoint
from limelight.decode import Engine, Sampling, beam_search, collect, generate
from limelight.errors import RequestError
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.registry import config_from_hf

ORIGINAL = 32
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
TOKENS = torch.randint(3, 99, (3, 60), generator=torch.Generator().manual_seed(4))
LENGTHS = (5, 31, 32, 33, 34, 50)  # of prompts, on both sides of the border


@pytest.fixture(scope="module", params=FOLLOWING)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def ours(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoder]:
    folder: Path = tmp_path_factory.mktemp(name)
    saved(name, folder)
    with torch.inference_mode():
        yield open_checkpoint(folder).network


def at_once(network: Decoder, tokens: Tensor) -> Tensor:
    """The logits [V] behind the last of tokens [T]."""
    return network(tokens[None])[0, -1]


def theirs(name: str, prompt: list[int], n: int) -> tuple[list[int], Tensor]:
    """What transformers' `generate` adds, and the log-probabilities [n, V] that it chose by.

    By a model that has read nothing else, since it keeps the longest length seen. Without a cache for a family that
    does not clear it at the border, as Phi-3 does.
    """
    text = torch.tensor([prompt])
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "use_cache": name != "llama-longrope"}
    report = {"output_logits": True, "return_dict_in_generate": True}
    mask = torch.ones_like(text)
    made = reference(name).generate(text, attention_mask=mask, max_new_tokens=n, **options, **report)
    return made.sequences[0, len(prompt) :].tolist(), torch.cat(made.logits).log_softmax(-1)


def test_the_frequencies_do_follow(name: str, ours: Decoder) -> None:
    short, long = ours(TOKENS[:1, :ORIGINAL]), ours(TOKENS[:1])
    assert (short - long[:, :ORIGINAL]).abs().max() > 0.02


@pytest.mark.parametrize("length", LENGTHS)
def test_reading_at_once_equals_the_reference(name: str, ours: Decoder, length: int) -> None:
    tokens = TOKENS[:, :length]
    torch.testing.assert_close(ours(tokens), reference(name)(tokens).logits, **CLOSE)


@pytest.mark.parametrize("piece", [1, 7, 31, 33])
def test_word_by_word_and_in_chunks_equal_at_once(ours: Decoder, piece: int) -> None:
    state = ours.start(1, 60)
    for start in range(0, 60, piece):
        end = min(start + piece, 60)
        logits = ours.step(TOKENS[:1, start:end], state, last=True)
        torch.testing.assert_close(logits[0, 0], at_once(ours, TOKENS[0, :end]), **CLOSE)


def test_chunks_of_a_text_whose_length_is_said_equal_at_once_everywhere(ours: Decoder) -> None:
    state = ours.start(2, 60)
    state.give(torch.tensor([60, 60]))
    logits = torch.cat([ours.step(piece, state) for piece in TOKENS[:2].split(13, 1)], 1)
    torch.testing.assert_close(logits, ours(TOKENS[:2]), **CLOSE)


@pytest.mark.parametrize("said", [False, True])
def test_each_row_of_a_batch_goes_by_its_own_length(ours: Decoder, said: bool) -> None:
    first, second = torch.tensor([10, 31, 40]), torch.tensor([4, 3, 9])
    state = ours.start(3, 80)
    if said:
        state.give(first + second)
    ours.step(TOKENS[:, :40], state, first, last=True)
    logits = ours.step(TOKENS[:, 40:49], state, second, last=True)[:, 0]
    for row, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        alone = torch.cat((TOKENS[row, :a], TOKENS[row, 40 : 40 + b]))
        torch.testing.assert_close(logits[row], at_once(ours, alone), **CLOSE)


def test_rows_that_fork_and_go_back_read_anew_what_they_keep(ours: Decoder) -> None:
    state = ours.start(2, 60)
    ours.step(TOKENS[:2, :40], state)
    state = state.fork(2).select(torch.tensor([3, 0, 1]))
    state.rewind(torch.tensor([20, 40, 32]))
    logits = ours.step(TOKENS[2, :3].view(3, 1), state)[:, 0]
    for row, (origin, kept) in enumerate(((1, 20), (0, 40), (0, 32))):
        alone = torch.cat((TOKENS[origin, :kept], TOKENS[2, row : row + 1]))
        torch.testing.assert_close(logits[row], at_once(ours, alone), **CLOSE)


def test_going_back_to_the_beginning_forgets_all(ours: Decoder) -> None:
    state = ours.start(2, 60)
    ours.step(TOKENS[:2, :50], state)
    state.rewind(0)
    assert state.lengths.tolist() == [0, 0]
    torch.testing.assert_close(ours.step(TOKENS[1:, :9], state), ours(TOKENS[1:, :9]), **CLOSE)


def test_what_was_read_deaf_cannot_be_read_anew(ours: Decoder) -> None:
    state = ours.start(1, 60)
    visible = torch.ones(1, 30, 30, dtype=torch.bool)
    visible[:, 4:, 3] = False
    ours.step(TOKENS[:1, :30], state, visible=visible)
    with pytest.raises(RequestError, match="reads all of it anew"):
        ours.step(TOKENS[:1, 30:40], state)


@pytest.mark.parametrize("length", LENGTHS)
def test_generation_equals_transformers(name: str, ours: Decoder, length: int) -> None:
    prompt = TOKENS[1, :length].tolist()
    (made,) = collect(generate(ours, [prompt], max_tokens=40, logprobs=99))
    tokens, logprobs = theirs(name, prompt, 40)
    assert [token.id for token in made.tokens] == tokens
    for token, expected in zip(made.tokens, logprobs, strict=True):
        found = torch.tensor([logprob for _, logprob in sorted(token.best)])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("draft", [None, "lookup", "itself"])
def test_a_busy_engine_gives_what_each_prompt_gives_alone(ours: Decoder, draft: str | None) -> None:
    prompts = [TOKENS[row % 3, row : row + length].tolist() for row, length in enumerate((3, 40, 29, 31, 33, 20))]
    sampling = Sampling(repetition=1.2)
    expected = [collect(generate(ours, [prompt], max_tokens=50, sampling=sampling))[0].ids for prompt in prompts]
    engine = Engine(ours, rows=3, positions=150, chunk=8)
    guessing = ours if draft == "itself" else draft
    requests = []
    evicted = False
    while engine.busy or len(requests) < len(prompts):
        if len(requests) < len(prompts):
            prompt = prompts[len(requests)]
            requests.append(engine.submit(prompt, max_tokens=50, sampling=sampling, draft=guessing))
        engine.step()
        evicted = evicted or any(len(request.tokens) > request.given for request in engine.waiting)
    assert evicted
    assert [request.generated for request in requests] == expected


def test_a_beam_of_one_is_greedy(ours: Decoder) -> None:
    for length in (28, 40):
        prompt = TOKENS[2, :length]
        state = ours.start(1, 80)
        ((found,),) = beam_search(ours, state, prompt[None], limits=[12], stop=(), beam=1)
        assert list(found.tokens) == collect(generate(ours, [prompt.tolist()], max_tokens=12))[0].ids


def test_beams_that_cross_the_border_equal_transformers(name: str, ours: Decoder) -> None:
    lengths = (26, 40)  # one crosses it on its way, one begins behind it
    state = ours.start(2, 60)
    found = beam_search(ours, state, TOKENS[:2, :40], counts=torch.tensor(lengths), limits=[12, 12], stop=(), beam=3)
    for row, ((best,), length) in enumerate(zip(found, lengths, strict=True)):
        text = TOKENS[row : row + 1, :length]
        options = {"num_beams": 3, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
        options["use_cache"] = name != "llama-longrope"  # see `theirs`
        report = {"output_scores": True, "return_dict_in_generate": True}
        mask = torch.ones_like(text)
        made = reference(name).generate(text, attention_mask=mask, max_new_tokens=12, **options, **report)
        assert list(best.tokens) == made.sequences[0, length:].tolist()
        assert best.score == pytest.approx(made.sequences_scores.item(), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "longest"),
    [("llama", 128), ("llama-dynamic", 4 * 32), ("llama-yarn", 128), ("llama-longrope", 128), ("gpt2", 128)],
)
def test_texts_may_be_as_long_as_scalings_reach(name: str, longest: int) -> None:
    config = config_from_hf(CONFIGS[name].to_dict() | {"model_type": CONFIGS[name].model_type})
    assert config.longest == longest
    assert build(config).context == longest
