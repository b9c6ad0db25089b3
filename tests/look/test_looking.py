"""Looking inside a model: every number against a slow and plain way to get it."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path

import pytest
import torch
from look import plainly
from references import saved, write_tokenizer

import limelight
from limelight.errors import RequestError
from limelight.look import METHODS, Seen
from limelight.look.decompose import traced
from limelight.look.links import ATTENTION, TELLING, by_word, keepable, strongest
from limelight.look.question import GivenWord
from limelight.look.session import DecoderSession, Variant, stacked
from limelight.look.text import known, read
from limelight.models.api import Decoder
from limelight.text.words import Word

TEXT = "w10 w11 w12 w13 w14 w15 w16 w17 w18"


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder)


@pytest.fixture
def seen(model: limelight.Model) -> Seen:
    return model.look(TEXT)


def test_blocking_is_what_the_answer_loses_when_nothing_later_attends_to_the_word(
    model: limelight.Model, seen: Seen
) -> None:
    found = seen.importance("w18", method="blocking")
    *prompt, token = plainly.ids_of(model, TEXT)
    logits = plainly.scores(model, prompt)[-1]
    assert found.logprob == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-5)
    assert found.unit == "log-probability"
    order = logits.argsort(descending=True).tolist()
    assert (found.rank, found.expected) == (order.index(token) + 1, model.tokenizer.spell(order[0]).strip())
    for place, heard in enumerate(found.words, 1):  # behind the separator
        lost = plainly.deleted if heard.asks else plainly.blocked
        assert heard.importance == pytest.approx(lost(model, prompt, [place], token), abs=2e-4), heard
        assert heard.times == pytest.approx(math.exp(heard.importance))
    assert [heard.word for heard in found.words] == TEXT.split()[:-1]
    assert [heard.asks for heard in found.words] == [False] * 7 + [True]
    assert [TEXT[heard.start : heard.end] for heard in found.words] == TEXT.split()[:-1]


@pytest.mark.parametrize("foil", [None, "w40"])
def test_the_named_words_are_taken_away_together_in_three_ways(
    model: limelight.Model, seen: Seen, foil: str | None
) -> None:
    found = seen.importance("w18", foil=foil, method="blocking")  # whose named words are the highest of its own
    highest = sorted((i for i in range(7) if found.words[i].importance > 0), key=lambda i: -found.words[i].importance)
    assert found.named == tuple(highest[:2])  # two of seven make 21 sets
    *prompt, token = plainly.ids_of(model, TEXT)
    rival = None if foil is None else model.tokenizer.id(foil)
    places = [i + 1 for i in found.named]
    for way in ("replaced", "blocked", "deleted"):
        expected = getattr(plainly, way)(model, prompt, places, token, rival)
        assert found.losses[way] == pytest.approx(expected, abs=2e-4), way
    check = found.check
    assert check is not None
    assert (check.way, check.words) == ("deleted or replaced by others", tuple(sorted(found.named)))
    assert check.loss == pytest.approx(plainly.checked(model, prompt, places, token, rival), abs=2e-4)
    sets = [plainly.checked(model, prompt, pair, token, rival) for pair in combinations(range(1, 8), 2)]
    assert (check.sets, check.every) == (len(sets) - 1, True)
    assert check.better == sum(loss > check.loss + 1e-4 for loss in sets)
    assert check.least == GivenWord.least
    assert check.holds == (check.loss > GivenWord.least and check.better == 0)
    assert found.trusted is check.holds
    assert seen.importance("w18", foil=foil, method="blocking").check == check


def test_another_word_can_be_asked_for_by_text_or_number(seen: Seen) -> None:
    assert seen.importance("w15").target.text == "w15"
    assert seen.importance(6) == seen.importance("w15")
    assert len(seen.importance("w15").words) == 5
    with pytest.raises(RequestError, match="first word"):
        seen.importance(1)
    with pytest.raises(RequestError, match="did you mean 'w15'"):
        seen.importance("w155")


def test_why_this_word_rather_than_that(model: limelight.Model, seen: Seen) -> None:
    found = seen.importance("w18", foil="w40", method="blocking")
    assert (found.foil, found.unit) == ("w40", "log-odds")
    *prompt, token = plainly.ids_of(model, TEXT)
    assert found.logprob == pytest.approx(plainly.said(model, prompt, token), abs=1e-5)  # of the answer, as without it
    assert found.words[1].importance == pytest.approx(plainly.blocked(model, prompt, [2], token, 40), abs=2e-4)
    assert seen.importance("w18", method="blocking").foil is None
    with pytest.raises(RequestError, match="begin alike"):
        seen.importance("w18", foil="w18")


def test_leaving_out_equals_running_the_shorter_text(model: limelight.Model, seen: Seen) -> None:
    found = seen.importance("w18", method="leave-one-out")
    *prompt, token = plainly.ids_of(model, TEXT)
    for place, heard in enumerate(found.words, 1):
        assert heard.importance == pytest.approx(plainly.deleted(model, prompt, [place], token), abs=2e-4)


def test_attention_as_a_method_is_the_mean_over_all_heads(model: limelight.Model, seen: Seen) -> None:
    found = seen.importance("w18", method="attention")
    parked = model.look("w3 " + TEXT)  # only to read maps of the same length
    assert len(found.words) == len(parked.words) - 2
    shares = [heard.importance for heard in found.words]
    assert all(share >= 0 for share in shares)
    assert 0 < sum(shares) < 1  # the rest is parked on the separator


def test_every_method_carries_a_check_of_what_it_names(seen: Seen) -> None:
    for method in METHODS:
        found = seen.importance("w18", method=method)
        assert (found.check is None) == (not found.named)
        if found.check is not None:
            assert found.check.words == tuple(sorted(found.named))
            others = comb(7, len(found.named)) - 1
            way = "deleted or replaced by others"
            assert (found.check.way, found.check.sets, found.check.every) == (way, others, True)


def test_unknown_method_is_refused(seen: Seen) -> None:
    with pytest.raises(RequestError, match="did you mean 'blocking'"):
        seen.importance(method="bloking")


def test_too_few_words_have_nothing_to_stand_out_from(model: limelight.Model) -> None:
    found = model.look("w10 w11 w12").importance("w12", method="attention")
    assert len(found.words) == 2
    assert found.check is not None
    assert (found.check.sets, found.check.short, found.check.holds) == (0, True, False)
    assert not found.trusted


def test_attention_maps(model: limelight.Model, seen: Seen) -> None:
    weights = seen.attention(1, 2)
    assert weights.shape == (9, 9)
    assert len(seen.words) == 9
    assert torch.equal(weights.triu(1), torch.zeros(9, 9))
    tokens = seen.attention(1, 2, tokens=True)
    torch.testing.assert_close(tokens.sum(-1), torch.ones(10))
    assert torch.equal(weights, tokens[1:, 1:])  # every word is one token, in front of them is what is parked on
    assert seen.tokens[0] == model.tokenizer.token(model.tokenizer.separator)
    with pytest.raises(RequestError, match="layers 0 to 2"):
        seen.attention(3, 0)
    with pytest.raises(RequestError, match="heads 0 to 3"):
        seen.attention(0, 4)


def test_links_are_the_largest_weights_of_all_heads(model: limelight.Model, seen: Seen) -> None:
    everything = torch.stack([torch.stack([seen.attention(layer, head) for head in range(4)]) for layer in range(3)])
    row = everything[:, :, 6, :6]  # from w16 to what stands before it
    links = seen.links("w16", 4)
    assert [link.weight for link in links] == pytest.approx(row.flatten().topk(4).values.tolist(), abs=1e-6)
    for link in links:
        assert link.source == 6
        assert float(row[link.layer, link.head, link.target]) == pytest.approx(link.weight, abs=1e-6)
    found = seen.importance("w18", method="blocking")
    assert all(link.source - link.target >= 2 for link in found.links)
    assert all(link.source - link.target >= 1 for link in seen.links(n=10_000))
    asking = [float(everything[:, :, 7, i].max()) for i in found.named if i < 6]
    most = next((weight for weight in asking if weight >= TELLING), found.links[0].weight)
    assert found.telling is not None
    assert found.telling.weight == pytest.approx(most, abs=1e-6)
    one = model.look("w10 w11").importance("w11").telling  # only one word, which can look at itself alone
    assert one is not None
    assert (one.source, one.target) == (0, 0)


def test_links_of_words_of_several_tokens_are_those_of_attention_by_word(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limelight.look.record.ROWS", 4)  # some words end in the next rows
    spans = (range(1, 3), range(3, 6), range(6, 7), range(7, 10))
    reading = replace(seen.reading, words=tuple(Word("w", 0, 0, span) for span in spans))
    whole = by_word(seen.every_attention(), reading)  # [L, H, 4, 4]
    links = strongest(stacked(seen.session), reading, [3, 2, 1], [0, 1], 100)
    assert len(links) == 3 * 4 * 5  # of six pairs one is a word with itself
    links += strongest(stacked(seen.session), reading, [3], [2], 100)
    assert len(links) == 3 * 4 * 6
    for link in links:
        expected = float(whole[link.layer, link.head, link.source, link.target])
        assert link.weight == pytest.approx(expected, abs=1e-6)


def test_next_words_are_the_distribution_behind_the_text(model: limelight.Model, seen: Seen) -> None:
    ids = [model.tokenizer.separator, *model.tokenizer.encode(TEXT).ids]
    with torch.inference_mode():
        probabilities = model.network(torch.tensor([ids]))[0, -1].softmax(-1)
    words = seen.next_words(99)
    assert sum(value for _, value in words) == pytest.approx(1, abs=1e-5)
    assert [value for _, value in words[:5]] == pytest.approx(probabilities.topk(5).values.tolist(), abs=1e-6)


def test_variants_in_batches_equal_variants_alone(model: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = list(range(10, 34))
    question = GivenWord((21, 22), (40, 41))
    variants = [
        Variant(),
        Variant(blocked=(range(3, 5), range(9, 10))),
        Variant(left_out=(range(4, 7),)),
        Variant(left_out=(range(4, 7),), blocked=(range(1, 3), range(12, 14))),
        Variant(blocked=(range(20, 21),)),
    ]
    together = DecoderSession(model.network, tokens).values(question, variants)
    alone = [DecoderSession(model.network, tokens).values(question, [variant])[0] for variant in variants]
    assert together == pytest.approx(alone, abs=1e-4)
    monkeypatch.setattr("limelight.look.session.ROWS", 2)
    assert DecoderSession(model.network, tokens).values(question, variants) == pytest.approx(alone, abs=1e-4)
    assert len(set(map(round, together))) > 1 or max(together) - min(together) > 1e-3


def test_what_was_read_and_measured_is_kept(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    first, lines = seen.importance("w16"), seen.next_words(5)

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(Decoder, "read", refuse)
    assert seen.importance("w16", check=False).words == first.words
    assert seen.importance("w16", check=False).links == first.links
    assert seen.next_words(5) == lines
    with pytest.raises(AssertionError, match="read again"):
        seen.importance("w15")


def test_a_text_past_the_context_is_refused_with_both_numbers(model: limelight.Model) -> None:
    with pytest.raises(RequestError, match=r"130 tokens .* at most 128"):
        model.look(" ".join(["w5"] * 129))
    with pytest.raises(RequestError, match="no words"):
        model.look("   ")


def test_a_text_may_fill_the_context_and_then_no_word_comes_next(model: limelight.Model) -> None:
    full = " ".join(["w5"] * 127)  # behind the sink token
    seen = model.look(full)
    assert len(seen.ids) == 128
    with pytest.raises(
        RequestError, match=r"^the text fills all that the model sees, so that no word comes next; shor"
    ):
        seen.importance()
    assert model.look(full[:-3]).ahead.ids[:-1] == seen.ids[:-1]
    assert model.means([full]).places == 127
    assert model.steering_vector([(full, "w6")], layer=1).direction.shape == (64,)


def test_a_reading_counts_the_tokens_in_front_of_the_text(model: limelight.Model) -> None:
    found = read("w10  w11", model.tokenizer, (7, 8))
    assert (found.text, found.tokens) == ("w10  w11", (7, 8, 10, 11))
    assert found.words == (Word("w10", 0, 3, range(2, 3)), Word("w11", 5, 8, range(3, 4)))
    assert found.spell(10) == model.tokenizer.spell(10)
    seen = model.look("w10  w11")
    assert seen.ids == (model.tokenizer.separator, 10, 11)
    assert seen.tokens == tuple(model.tokenizer.token(id) for id in seen.ids)
    assert seen.place() == 1


def test_what_is_asked_for_by_default(seen: Seen) -> None:
    assert len(seen.next_words()) == len(seen.links()) == 10
    assert seen.next_words() == seen.next_words(10)
    assert {link.source for link in seen.links()} == {8}  # the last word
    assert len(seen.next_words(1)) == len(seen.links(n=1)) == 1
    for ask in (seen.next_words, lambda n: seen.links(n=n), lambda n: seen.lens(n=n)):
        with pytest.raises(RequestError, match=r"^n is 0; it must be"):
            ask(0)
    assert {len(guess.top) for layer in seen.lens().layers for guess in layer} == {5}
    assert seen.logits("w12").shape == (1, 99)
    assert [seen.place(), seen.place(1), seen.place("w12")] == [8, 0, 2]


def test_attention_is_kept_from_one_reading_where_there_is_room(
    model: limelight.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tuple(range(10, 22))
    for room, kept in ((3 * 4 * 12**2, True), (3 * 4 * 12**2 - 1, False)):  # of layers, heads and pairs of tokens
        monkeypatch.setattr("limelight.look.links.KEPT", room)
        session = DecoderSession(model.network, tokens)
        assert keepable(session) is kept
        traced(session, (11,))
        assert session.knows(ATTENTION) is kept
        assert "hidden" in vars(session)  # which it need not read again
        other = DecoderSession(model.network, tokens)
        traced(other, (10,))  # of a part of the text nothing more is known
        assert not other.knows(ATTENTION)
        assert "hidden" not in vars(other)
        torch.testing.assert_close(session.hidden, other.hidden, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["llama-dynamic", "phi3-longrope"])
def test_where_all_hangs_on_the_length_each_length_is_read_anew(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    network = limelight.open(tmp_path, kind=limelight.Model).network
    tokens = [10 + i * 7 % 80 for i in range(40)]
    session = DecoderSession(network, tokens)
    for end in (38, 36, 38, 38):
        question, span = GivenWord((end,), (50,)), range(20, 21)
        found = session.values(question, [Variant(), Variant(replaced=((span, (60,)),))])
        rows = torch.tensor([tokens[: end + 1], [*tokens[:20], 60, *tokens[21 : end + 1]]])
        with torch.inference_mode():
            expected = network(rows)[:, -1].log_softmax(-1)[:, 50]
        assert found == pytest.approx(expected.tolist(), abs=1e-4)
        assert session._prefix is not None
        assert session._prefix[0] == end + 1


def test_log_probabilities_are_finite(seen: Seen) -> None:
    assert all(
        heard.importance is None if heard.asks else math.isfinite(heard.importance)
        for heard in seen.importance("w18").words
    )


def test_saved_and_opened_again_it_sees_the_same(model: limelight.Model, seen: Seen, tmp_path: Path) -> None:
    limelight.save(model, tmp_path / "again")
    again = limelight.open(tmp_path / "again").look(TEXT)
    assert again.importance("w18") == seen.importance("w18")
    assert again.importance() == seen.importance()


@pytest.fixture
def beside(tmp_path: Path) -> Callable[[int], limelight.Model]:
    """``beside(n)``: a Llama of 99 rows whose tokenizer has n tokens."""

    def beside(tokens: int) -> limelight.Model:
        saved("llama", tmp_path)
        write_tokenizer(tmp_path, tokens)
        return limelight.open(tmp_path)

    return beside


def test_a_token_without_a_row_is_refused_by_name(beside: Callable[[int], limelight.Model]) -> None:
    model = beside(120)
    with pytest.raises(RequestError, match=r"the token ' ?w110'"):
        model.look("w10 w110 w11")
    with pytest.raises(RequestError, match=r"the token ' ?w119'"):
        model.look(TEXT).importance("w18", foil="w119")
    with pytest.raises(RequestError, match="number 119, which the model has no row for"):
        model.network(torch.tensor([[1, 119]]))


def test_rows_without_a_token_have_a_name(beside: Callable[[int], limelight.Model]) -> None:
    model = beside(60)
    seen = model.look(TEXT)
    assert {f"<unused {id}>" for id in range(60, 99)} < {token for token, _ in seen.next_words(99)}
    assert "<unused 98>" in {
        token for layer in seen.lens("w18", n=99).layers for guess in layer for token, _ in guess.top
    }
    assert len(seen.importance("w18").words) == 8
    assert len(seen.steps(None, 0, 0).output.top) > 0
    assert len(model.complete(TEXT, max_tokens=20, logprobs=True).logprobs) > 0


def test_the_first_token_without_a_row_is_refused_and_the_last_with_one_is_not(model: limelight.Model) -> None:
    ids = model.tokenizer.encode("w10 w11").ids
    assert known(ids, model.tokenizer, ids[1] + 1) == ids
    with pytest.raises(RequestError, match=r"the text has the token ' ?w11' in it, .*; leave it out"):
        known(ids, model.tokenizer, ids[1])
