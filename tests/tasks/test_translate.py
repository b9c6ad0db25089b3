"""Translation: in order, as trained, alone as in a batch, and with no more read ahead than said."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_languages import SENTENCES, backwards, language, logprobs, network

from limelight.errors import RequestError
from limelight.models import config as c
from limelight.models.api import Decoder, Network, Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.tasks import Translation, translate
from limelight.train.batches import IGNORE, Pairs
from limelight.train.tokenfile import prepare_pairs

WORDS = language()
LINES = [SENTENCES[3], "", *SENTENCES[:3], "   ", *SENTENCES[4:], SENTENCES[0]]


@pytest.fixture(scope="module", params=["transformer-modern-tiny", "lstm-attention", "gpt-modern-tiny"])
def model(request: pytest.FixtureRequest) -> Network:
    return network(request.param)


@pytest.fixture(scope="module")
def alone(model: Network) -> list[Translation]:
    return [next(translate(model, WORDS, [line], beam=3, best=2)) for line in LINES]


def test_what_was_learnt_is_said(model: Network) -> None:
    found = [each.text for each in translate(model, WORDS, SENTENCES)]
    assert found == [" ".join(reversed(line.split())) for line in SENTENCES]


def alike(found: list[Translation], expected: list[Translation]) -> None:
    assert [each.texts for each in found] == [each.texts for each in expected]
    assert [each.source for each in found] == [each.source for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        scores = [each.score for each in theirs.hypotheses]
        assert [each.score for each in ours.hypotheses] == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize(("batch_tokens", "window"), [(1000, 1000), (20, 1000), (1000, 3)])
def test_lines_keep_their_order_and_give_what_they_give_alone(
    model: Network, alone: list[Translation], batch_tokens: int, window: int
) -> None:
    found = list(translate(model, WORDS, LINES, beam=3, best=2, batch_tokens=batch_tokens, window=window))
    alike(found, alone)
    assert [each.source for each in found] == LINES
    for each in found:
        assert len(each.texts) == (2 if each.source.strip() else 0)
        assert each.text == (each.texts[0] if each.source.strip() else "")


def test_the_score_is_what_reading_the_translation_gives(model: Network, alone: list[Translation]) -> None:
    for found in alone:
        for each in found.hypotheses:
            with torch.no_grad():
                expected = logprobs(model, found.source, list(each.tokens))
            logprob = float((expected if each.ended else expected[:-1]).sum())
            assert each.logprob == pytest.approx(logprob, abs=1e-3)


def test_the_marks_are_those_of_training(model: Network, tmp_path: Path) -> None:
    """`logprobs`, which the scores agree with, reads what a training reads."""
    pairs = [(line, " ".join(reversed(line.split()))) for line in SENTENCES]
    file = prepare_pairs(iter(pairs), (WORDS.source, WORDS.target), tmp_path / "pairs", 100)
    corpus = Pairs(file, WORDS.marks, joined=isinstance(model, Decoder))
    for row, line in enumerate(SENTENCES):
        batch = corpus.batch(torch.tensor([row]).numpy(), 0)
        with torch.no_grad():
            if isinstance(model, Seq2Seq):
                assert batch.source is not None
                logits = model(batch.source, batch.lengths, batch.tokens)
            else:
                logits = model(batch.tokens)
            expected = logprobs(model, line, backwards(line))
        loss = torch.nn.functional.cross_entropy(logits[0], batch.targets[0], ignore_index=IGNORE, reduction="sum")
        torch.testing.assert_close(-loss, expected.sum())


def test_no_special_token_is_generated(model: Network) -> None:
    for found in translate(model, WORDS, SENTENCES, beam=4, best=4):
        for each in found.hypotheses:
            assert WORDS.target.controls.isdisjoint(each.tokens)


def test_lines_are_read_only_as_they_are_needed() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield SENTENCES[taken % len(SENTENCES)]

    found = translate(network("lstm-attention"), WORDS, endless(), beam=1, window=8)
    assert taken == 0
    for _ in range(8):
        next(found)
    assert taken == 8
    next(found)
    assert taken == 16


@pytest.mark.parametrize("name", ["transformer-modern-tiny", "gpt-modern-tiny"])
def test_a_line_longer_than_the_context_is_translated_as_far_as_it_goes(name: str) -> None:
    model = network(name)
    whole = " ".join(["hund"] * 100)
    most = model.context - 1 if isinstance(model, Seq2Seq) else model.context // 2
    cut = " ".join(["hund"] * most)
    found, expected = translate(model, WORDS, [whole, cut], beam=2)
    assert found.left_out == 100 - most
    assert expected.left_out == 0
    assert found.texts == expected.texts
    assert len(found.hypotheses[0].tokens) <= model.context


def test_ids_beyond_the_tokenizer_are_never_generated() -> None:
    stack = c.RecurrentStack("gru", 16, 1, attention=c.AdditiveAttention())
    config = c.ModelConfig(
        "limelight-recurrent",
        WORDS.target.vocab + 40,
        64,
        stack,
        c.LMHead(tied=True),
        encoder=c.RecurrentStack("gru", 16, 1),
    )
    model = build(config).eval()
    initialise(model, torch.Generator().manual_seed(0))
    for found in translate(model, WORDS, SENTENCES, beam=4, best=4):
        assert all(max(each.tokens, default=0) < WORDS.target.vocab for each in found.hypotheses)


def test_batches_of_nothing_are_refused() -> None:
    with pytest.raises(RequestError, match="batch_tokens is 0; it must be at least 1"):
        translate(network("lstm-attention"), WORDS, ["hund"], batch_tokens=0)


def test_text_comes_back_on_one_line() -> None:
    ids = WORDS.read("  ein kleiner hund ")
    assert WORDS.write([*ids, WORDS.marks.end]) == "ein kleiner hund"
    assert WORDS.read("   ") == []
