"""What a translation model writes token by token: greedily as by a beam of one, drawn, stopped, in pieces, together."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_languages import SENTENCES, backwards, language, logprobs, network

import limelight
from limelight import Sampling
from limelight.errors import RequestError
from limelight.models.api import Seq2Seq

LINES = [*SENTENCES, "schnee schnee ein hund zwei", "läuft"]
DRAWN = Sampling(temperature=1.5, seed=3)


@pytest.fixture(scope="module", params=["transformer-modern-tiny", "lstm-attention", "gpt-modern-tiny"])
def translator(request: pytest.FixtureRequest) -> limelight.Translator:
    return limelight.Translator(network(request.param), language(), request.param, Path(request.param))


def test_greedily_it_writes_what_a_beam_of_one_finds(translator: limelight.Translator) -> None:
    found = translator.complete_all(LINES, max_tokens=20)
    beam = list(translator.translate(LINES, beam=1))
    assert [" ".join(each.text.split()) for each in found] == [each.text for each in beam]
    assert [each.text for each in found][: len(SENTENCES)] == [" ".join(reversed(s.split())) for s in SENTENCES]
    assert [each.finish for each in found] == ["stop" if each.hypotheses[0].ended else "length" for each in beam]


@pytest.mark.parametrize("sampling", [None, DRAWN], ids=["greedy", "drawn"])
def test_each_source_gives_what_it_gives_alone(translator: limelight.Translator, sampling: Sampling | None) -> None:
    options = {"max_tokens": 12, "sampling": sampling}
    together = translator.complete_all(LINES, **options, logprobs=True)
    for line, found in zip(LINES, together, strict=True):
        alone = translator.complete(line, **options, logprobs=True)
        assert (found.text, found.finish, found.tokens) == (alone.text, alone.finish, alone.tokens)
        assert [word for word, _ in found.logprobs] == [word for word, _ in alone.logprobs]
        assert "".join(translator.stream(line, **options)) == found.text
        assert len(found.logprobs) == found.tokens <= 12
    assert len({found.text for found in together}) > 4


def test_logprobs_are_those_of_the_text(translator: limelight.Translator) -> None:
    for line in SENTENCES:
        found = translator.complete(line, logprobs=True)
        expected = logprobs(translator.network, line, backwards(line))[:-1].tolist()
        assert [logprob for _, logprob in found.logprobs] == pytest.approx(expected, abs=1e-3)


def test_texts_end_at_a_stop_string_and_change_no_other(translator: limelight.Translator) -> None:
    plain = translator.complete_all(SENTENCES)
    stopped = translator.complete_all(SENTENCES, stop=["hund"])
    for before, found in zip(plain, stopped, strict=True):
        assert found.text == before.text.partition("hund")[0]
        assert found.finish == "stop"
        assert found.steps <= before.steps
    assert stopped[1].steps < plain[1].steps
    assert "".join(translator.stream(SENTENCES[1], stop=["hund"])) == stopped[1].text


def test_it_writes_no_more_than_it_may(translator: limelight.Translator) -> None:
    found = translator.complete(SENTENCES[1], max_tokens=3)
    assert (found.tokens, found.finish) == (3, "length")
    assert found.text.split() == list(reversed(SENTENCES[1].split()))[:3]


def test_drafts_change_no_text(translator: limelight.Translator) -> None:
    plain = translator.complete_all(LINES, max_tokens=12)
    if not translator.network.decoder.start(1, 1).rewinds:
        with pytest.raises(RequestError, match="a recurrent model cannot take back what it read"):
            translator.complete(LINES[0], draft="lookup")
        return
    for draft in ("lookup", translator):
        found = translator.complete_all(LINES, max_tokens=12, draft=draft)
        assert [each.text for each in found] == [each.text for each in plain]
        if draft is translator:
            assert sum(each.steps for each in found) < sum(each.steps for each in plain) / 2


def test_a_source_that_cannot_be_read_is_refused_before_anything_is_computed(translator: limelight.Translator) -> None:
    for empty in ("", "  \n"):
        with pytest.raises(RequestError, match="source is empty; give at least one word"):
            translator.stream(empty)
        with pytest.raises(RequestError, match="source 2 is empty"):
            translator.complete_all([LINES[0], empty])
    with pytest.raises(RequestError, match="source is 3; it must be a string"):
        translator.stream(3)
    with pytest.raises(RequestError, match=r"has 7\d tokens and the model (reads|sees) at most 64: shorten it by"):
        translator.stream("ein hund " * 35)
    with pytest.raises(RequestError, match="sampling is 'hot'"):
        translator.stream(LINES[0], sampling="hot")


def test_the_forced_first_token_is_read_and_not_written(translator: limelight.Translator) -> None:
    words = translator.language
    forced = words.read("hund")[0]
    other = replace(translator, language=type(words)(words.source, words.target, forced=forced))
    found = other.complete_all(LINES, max_tokens=12)
    beam = other.translate(LINES, beam=1)
    if isinstance(translator.network, Seq2Seq):
        assert [each.text for each in found] != [each.text for each in translator.complete_all(LINES, max_tokens=12)]
    for ours, theirs in zip(found, beam, strict=True):
        assert theirs.text.startswith(" ".join(ours.text.split()))
