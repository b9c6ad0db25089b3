"""What is asked of the engine for a request, and how a prompt is scored."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.tiny_models import SENTENCE

import limelight
from limelight.decode import Rules, Sampling
from limelight.decode.processors import Bias
from limelight.serve.api import writing
from limelight.serve.api.bodies import Drawing
from limelight.serve.api.errors import ApiError
from limelight.serve.api.shelf import Writer
from limelight.serve.api.writing import plan, scored
from limelight.serve.runner import Ask


@pytest.fixture(scope="module")
def writer(tiny: Path) -> Iterator[Writer]:
    found = Writer("tiny", limelight.open(tiny, kind=limelight.Model), 4, 4, None)
    yield found
    found.close()


def planned(writer: Writer, prompts: Any = ([5, 6],), max_tokens: int | None = 3, **fields: Any) -> writing.Writing:
    more = {name: fields.pop(name) for name in ("logprobs", "constraint", "special", "stops") if name in fields}
    return plan("id-1", writer, Drawing(**fields), prompts, max_tokens=max_tokens, **{"logprobs": None, **more})


def test_each_prompt_is_written_behind_as_often_as_was_asked(writer: Writer) -> None:
    found = planned(writer, ([5, 6], [7]), n=2, seed=40, temperature=0.5, logprobs=2, stop="zz")
    eos = frozenset(writer.model.tokenizer.eos)
    assert found.asks == [
        Ask(prompt, 3, seed, Sampling(temperature=0.5), eos, 2, Rules(), None)
        for prompt in ([5, 6], [7])
        for seed in (40, 41)
    ]
    assert (found.id, found.writer, found.prompts, found.job) == ("id-1", writer, ([5, 6], [7]), None)
    assert [(made.after, made.stops, made.special) for made in found.made] == [
        *([([5, 6], ["zz"], False)] * 2),
        *([([7], ["zz"], False)] * 2),
    ]
    assert found.usage == {
        "prompt_tokens": 3,
        "completion_tokens": 0,
        "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert planned(writer, special=True).made[0].special
    assert len(planned(writer).asks) == 1


def test_a_text_ends_where_it_was_told_to(writer: Writer) -> None:
    tokenizer = writer.model.tokenizer
    start, eos = tokenizer.id("<|im_start|>"), frozenset(tokenizer.eos)

    def stop(**fields: Any) -> frozenset[int]:
        return planned(writer, **fields).asks[0].stop

    assert stop() == stop(stop=["a", "b"]) == eos != frozenset()
    assert stop(ignore_eos=True) == frozenset()
    assert stop(ignore_eos=True, constraint=lambda: None) == eos  # a shape has an end
    assert stop(ignore_eos=True, stop_token_ids=[9, 8]) == {8, 9}
    assert stop(stop=["a", "<|im_start|>"]) == stop(stops=["<|im_start|>"]) == eos | {start}
    assert planned(writer, stop=["a"], stops=["b"]).made[0].stops == ["a", "b"]
    with pytest.raises(ApiError) as error:
        planned(writer, stop=["a", ""])
    assert str(error.value) == "stop holds an empty string; give at least one character, or leave it out"
    assert error.value.param == "stop"


def test_seeds_are_numbers_that_torch_takes(writer: Writer) -> None:
    def seeds(seed: int) -> list[int]:
        return [ask.seed for ask in planned(writer, seed=seed, n=2).asks]

    assert seeds(0) == [0, 1]
    assert seeds(-1) == [2**63 - 1, 0]
    assert seeds(-(2**63)) == [0, 1]
    drawn = {planned(writer).asks[0].seed for _ in range(3)}
    assert len(drawn) == 3
    assert all(0 <= seed < 2**31 for seed in drawn)


def test_a_text_is_as_long_as_there_is_room_where_nobody_says(writer: Writer) -> None:
    longest = writer.longest
    found = planned(writer, ([5], [5] * longest), max_tokens=None)
    assert [ask.max_tokens for ask in found.asks] == [longest, 1]
    none = planned(writer, max_tokens=0)
    assert (none.asks, none.made) == ([], [])
    assert none.usage["prompt_tokens_details"] == {"cached_tokens": 0}

    async def run() -> list[Any]:
        await none.begin()
        return [each async for each in none.steps()]

    assert asyncio.run(run()) == []
    assert none.job is None


def test_a_bias_names_tokens_that_there_are(writer: Writer) -> None:
    vocab = writer.model.network.vocab
    rules = planned(writer, logit_bias={"0": 1.5, str(vocab - 1): -2}).asks[0].rules
    assert rules == Rules((Bias((0, vocab - 1), (1.5, -2.0)),))
    assert planned(writer, logit_bias={}).asks[0].rules == Rules()
    for wrong in (str(vocab), "-1", "a", "", "²", "٣"):
        with pytest.raises(ApiError) as error:
            planned(writer, logit_bias={wrong: 1})
        said = f"logit_bias names the token {wrong!r}; a token is a whole number from 0 to {vocab - 1}"
        assert (str(error.value), error.value.param) == (said, "logit_bias")


@pytest.mark.parametrize("piece", [1, 3, 4, 128])
def test_a_prompt_is_scored_alike_in_pieces_of_any_size(
    writer: Writer, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PIECE", piece)
    model = writer.model
    ids = [*model.tokenizer.encode("The é cat").ids, 11]
    told = asyncio.run(scored(writer, ids, 2))
    logprobs = model.network(torch.tensor([ids]))[0].log_softmax(-1)
    assert [each.id for each in told] == ids
    assert [each.text for each in told] == [model.tokenizer.spell(id) for id in ids]
    assert (told[0].logprob, told[0].rank, told[0].best) == (None, None, ())
    for at, each in enumerate(told[1:]):
        row = logprobs[at]
        assert each.logprob == pytest.approx(float(row[each.id]), abs=1e-4)
        assert each.rank == 1 + sum(value > float(row[each.id]) + 1e-6 for value in row.tolist())
        likeliest = row.topk(2)
        assert [id for id, _, _ in each.best] == likeliest.indices.tolist()
        assert [text for _, text, _ in each.best] == [model.tokenizer.spell(int(id)) for id in likeliest.indices]
        assert [value for _, _, value in each.best] == pytest.approx(likeliest.values.tolist(), abs=1e-4)
    starts = [len(model.tokenizer.decode(ids[:end]).rstrip("\ufffd")) for end in range(len(ids))]
    assert [each.offset for each in told] == starts


def test_what_cannot_come_has_the_least_logarithm_that_json_holds(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token whose logit is minus infinity."""
    step = writer.model.network.step

    def never(*args: Any, **how: Any) -> torch.Tensor:
        logits = step(*args, **how)
        logits[..., 7] = -torch.inf
        return logits

    monkeypatch.setattr(type(writer.model.network), "step", lambda self, *args, **how: never(*args, **how))
    told = asyncio.run(scored(writer, [5, 7], 0))
    assert [each.logprob for each in told] == [None, -9999.0]
    assert (told[1].rank, told[1].best) == (writer.model.network.vocab, ())


def test_what_was_written_is_told_and_counted(writer: Writer) -> None:
    prompt = writer.model.encode(SENTENCE)
    found = planned(writer, (prompt,), 5, n=2, temperature=0, ignore_eos=True, logprobs=0)

    async def run() -> list[Any]:
        await found.begin()
        return [each async for each in found.steps()]

    steps = asyncio.run(run())
    for index in (0, 1):
        assert "".join(piece for which, piece, _ in steps if which == index) == found.made[index].text
        assert [told.id for which, _, tokens in steps if which == index for told in tokens] == found.made[index].ids
    assert found.made[0].text == writer.model.complete(SENTENCE, max_tokens=5).text
    assert [made.finish for made in found.made] == ["length", "length"]
    assert found.job is not None
    assert found.usage == {
        "prompt_tokens": len(prompt),
        "completion_tokens": 10,
        "total_tokens": len(prompt) + 10,
        "prompt_tokens_details": {"cached_tokens": found.job.requests[0].cached},
    }
