"""Encoders looked at: words, classes, tags, spans and similarity, each number against transformers' own model."""

import copy
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import fmean

import pytest
import torch
from look import plainly
from references import saved, write_marked_tokenizer
from torch import Tensor

import limelight
from limelight.errors import RequestError
from limelight.look import METHODS
from limelight.look.encoded import SeenEncoded
from limelight.look.encoder import EncoderSession
from limelight.look.importance import fitting
from limelight.look.inquiry import AGAIN, MORE, REPLACEMENTS, Inquiry
from limelight.look.question import Class, MaskedWord, Score, Similarity, Span, Tag
from limelight.look.replacements import NEAR, NEARNESS
from limelight.look.session import Variant, stacked
from limelight.look.wording import ANSWERS
from limelight.models import config as c
from limelight.models.api import Encoder
from limelight.models.build import build

TEXT = "w10 w11 w12 w13 w14 w15 w16"
IDS = [1, *range(10, 17), 2]
"""The text between <s> and </s>."""

MASK = 98
Answer = Callable[..., Tensor]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[SeenEncoded, Answer]]:
    """``opened(name)``: TEXT looked at by a tiny BERT, and what the reference answers [n, C] or [C] to ids, not
    attending to some places."""
    made: dict[str, tuple[SeenEncoded, Answer]] = {}

    def opened(name: str) -> tuple[SeenEncoded, Answer]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            theirs = saved(name, folder)
            write_marked_tokenizer(folder)
            model = limelight.open(folder)
            assert isinstance(model, limelight.EncoderModel)

            def answer(ids: list[int], blocked: tuple[int, ...] = (), **options: bool) -> Tensor:
                mask = torch.tensor([[place not in blocked for place in range(len(ids))]]).long()
                with torch.inference_mode():
                    found = theirs(torch.tensor([ids]), attention_mask=mask, **options)
                if options:
                    return torch.stack(found.attentions)[:, 0]  # [L, H, T, T]
                if hasattr(found, "start_logits"):
                    return torch.stack((found.start_logits, found.end_logits), -1)[0]
                if hasattr(found, "logits"):
                    return found.logits[0]
                hidden = found.last_hidden_state[0]
                return hidden[[place for place in range(len(ids)) if place not in blocked]].mean(0)

            made[name] = model.look(TEXT), answer
        return made[name]

    return opened


def said(scores: Tensor, id: int, foil: int | None = None) -> float:
    """The log-probability of an answer, or its log-odds against another."""
    return float(scores.log_softmax(-1)[id] if foil is None else scores[id] - scores[foil])


def nearness(seen: SeenEncoded, own: int) -> dict[int, float]:
    """The cosine between a token's embedding and that of each word that could stand in its place, nearest first: any
    but itself, and no mark or mask."""
    rows = seen.session.network.embed(torch.arange(99)).detach()
    near = torch.cosine_similarity(rows, rows[own], dim=-1).tolist()
    return {word: near[word] for word in sorted(range(3, MASK), key=lambda word: -near[word]) if word != own}


def values(seen: SeenEncoded, asked: str | int | None, method: str, foil: str | None = None) -> list[float]:
    return [heard.importance for heard in seen.importance(asked, method=method, foil=foil, check=False).words]


@pytest.mark.parametrize("foil", [None, "w40"])
def test_a_masked_word_by_blocking_leaving_out_and_replacing(
    opened: Callable[[str], tuple[SeenEncoded, Answer]], foil: str | None
) -> None:
    seen, answer = opened("bert-masked")
    ids = [*IDS[:4], MASK, *IDS[5:]]  # w13 is masked, at place 4
    scores, rival = answer(ids)[4], None if foil is None else 40
    whole = said(scores, 13, rival)
    found = seen.importance("w13", foil=foil)
    assert (found.target.text, found.method) == ("w13", "measured")
    assert (found.unit, found.foil) == ("log-probability" if foil is None else "log-odds", foil)
    assert found.logprob == pytest.approx(float(scores.log_softmax(-1)[13]), abs=1e-5)
    order = scores.argsort(descending=True).tolist()
    assert (found.rank, found.expected) == (order.index(13) + 1, seen.reading.spell(order[0]).strip())
    assert [heard.word for heard in found.words] == [word for word in TEXT.split() if word != "w13"]
    assert not any(heard.asks for heard in found.words)
    places = [1, 2, 3, 5, 6, 7]

    def without(gone: list[int]) -> float:
        kept = [place for place in range(9) if place not in gone]
        return whole - said(answer([ids[place] for place in kept])[kept.index(4)], 13, rival)

    blocked = [whole - said(answer(ids, (place,))[4], 13, rival) for place in places]
    assert values(seen, 4, "blocking", foil) == pytest.approx(blocked, abs=1e-5)
    assert values(seen, 4, "leave-one-out", foil) == pytest.approx([without([place]) for place in places], abs=1e-5)
    others: dict[int, list[int]] = {}
    for at in places:
        chances = answer([*ids[:at], MASK, *ids[at + 1 :]])[at].log_softmax(-1).tolist()
        near = nearness(seen, ids[at])
        own: list[int] = []
        for turn in range(MORE + AGAIN):
            fits = {word: chances[word] + (NEARNESS * near[word] if turn in NEAR else 0) for word in {*near} - {*own}}
            own.append(max(fits, key=lambda word: fits[word]))
        others[at] = own

    def replaced(turn: int, *gone: int) -> float:
        changed = [others[place][turn] if place in gone else id for place, id in enumerate(ids)]
        return whole - said(answer(changed)[4], 13, rival)

    falls = {at: [replaced(turn, at) for turn in range(REPLACEMENTS)] for at in places}
    average = [plainly.average(falls[at]) for at in places]
    assert values(seen, "w13", "leave-one-replaced", foil) == pytest.approx(average, abs=1e-5)
    assert [heard.importance for heard in found.words] == pytest.approx(average, abs=1e-5)
    highest = seen.importance("w13", method="blocking", foil=foil)
    assert highest.named == tuple(i for i in sorted(range(6), key=lambda i: -blocked[i]) if blocked[i] > 0)[:3]
    together = [places[i] for i in highest.named]
    assert highest.losses["blocked"] == pytest.approx(
        whole - said(answer(ids, tuple(together))[4], 13, rival), abs=1e-5
    )
    check = highest.check
    assert check is not None
    assert highest.losses["deleted"] == pytest.approx(without(together), abs=1e-5)

    def taken(gone: list[int]) -> float:
        again = fmean(replaced(turn, *gone) for turn in range(MORE, MORE + AGAIN))
        return (2 * without(gone) + again) / 3

    assert check.loss == pytest.approx(taken(together), abs=1e-5)
    sets = [taken(list(each)) for each in combinations(places, len(together))]
    assert (check.sets, check.every) == (len(sets) - 1, True)
    assert check.better == sum(loss > check.loss + 1e-4 for loss in sets)


def test_a_class_by_blocking_leaving_out_and_replacing(opened: Callable[[str], tuple[SeenEncoded, Answer]]) -> None:
    seen, answer = opened("bert-classes")
    labels = seen.session.labels
    scores = answer(IDS)
    best = int(scores.argmax())
    found = seen.importance(method="blocking")
    assert (found.target.text, found.logprob) == (labels[best], pytest.approx(float(scores.log_softmax(-1)[best])))
    assert (found.rank, found.expected, found.foil) == (1, labels[best], None)
    whole = said(scores, best)
    expected = [whole - said(answer(IDS, (place,)), best) for place in range(1, 8)]
    assert [heard.importance for heard in found.words] == pytest.approx(expected, abs=1e-5)
    low, high = (
        next(i for i in range(len(labels)) if i != best),
        best,
    )  # any label can be asked for, and why not another
    asked = seen.importance(labels[low], foil=labels[high], check=False)
    assert (asked.expected, asked.foil, asked.unit) == (labels[best], labels[high], "log-odds")
    assert asked.rank == 1 + int((scores > scores[low]).sum()) > 1
    whole = float(scores[low] - scores[high])
    left_out = [answer([*IDS[:at], *IDS[at + 1 :]]) for at in range(1, 8)]
    expected = [whole - float(each[low] - each[high]) for each in left_out]
    assert values(seen, labels[low], "leave-one-out", labels[high]) == pytest.approx(expected, abs=1e-5)
    expected = []
    for at in range(1, 8):  # a model that says no words: by those that mean much the same
        others = list(nearness(seen, IDS[at]))[:REPLACEMENTS]
        falls = [answer([*IDS[:at], id, *IDS[at + 1 :]]) for id in others]
        expected.append(plainly.average([whole - float(each[low] - each[high]) for each in falls]))
    assert values(seen, labels[low], "leave-one-replaced", labels[high]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(RequestError, match="asked is 'no such'; it must be one of"):
        seen.importance("no such")
    with pytest.raises(RequestError, match="is the answer itself"):
        seen.importance(labels[low], foil=labels[low])


def test_similarity_to_another_text_rather_than_to_a_third(
    opened: Callable[[str], tuple[SeenEncoded, Answer]],
) -> None:
    seen, answer = opened("bert-states")
    one, other = answer([1, 20, 21, 2]), answer([1, 30, 2])

    def near(vector: Tensor) -> float:
        return float(torch.cosine_similarity(vector, one, 0) - torch.cosine_similarity(vector, other, 0))

    found = seen.importance("w20 w21", foil="w30", method="blocking")
    expected = [near(answer(IDS)) - near(answer(IDS, (place,))) for place in range(1, 8)]
    assert [heard.importance for heard in found.words] == pytest.approx(expected, abs=1e-5)
    assert (found.unit, found.foil, found.target.text) == ("cosine", "w30", "w20 w21")
    assert (found.rank, found.expected) == (None, None)
    assert math.isnan(found.logprob)
    assert found.check is not None
    assert found.check.least == Similarity.least
    with pytest.raises(RequestError, match="name another text"):
        seen.importance()


def test_a_tag_of_a_word(opened: Callable[[str], tuple[SeenEncoded, Answer]]) -> None:
    seen, answer = opened("bert-tokens")
    scores = answer(IDS)[3]
    best = int(scores.argmax())
    found = seen.importance("w12", method="blocking")
    assert (found.logprob, found.rank) == (pytest.approx(said(scores, best), abs=1e-5), 1)
    assert found.expected == seen.session.labels[best]
    assert [heard.word for heard in found.words] == [word for word in TEXT.split() if word != "w12"]
    whole = said(scores, best)
    expected = [whole - said(answer(IDS, (place,))[3], best) for place in (1, 2, 4, 5, 6, 7)]
    assert [heard.importance for heard in found.words] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("foil", [None, (2, 6)])
def test_where_an_answer_stands(
    opened: Callable[[str], tuple[SeenEncoded, Answer]], foil: tuple[int, int] | None
) -> None:
    seen, answer = opened("bert-spans")
    question = Span(tuple(range(1, 8)), 4, 5, foil)

    def expected(scores: Tensor, places: list[int]) -> float:
        """Scores [n, 2] of the old places."""
        total = 0.0
        for side, place in enumerate((4, 5)):
            others = [at for at in range(1, 8) if at != place] if foil is None else [foil[side]]
            held = scores[[places.index(at) for at in others if at in places], side]
            total += float(scores[places.index(place), side] - held.logsumexp(0))
        return total

    whole = list(range(9))
    gone = [place for place in whole if place != 3]
    variants = [Variant(), Variant(blocked=(range(3, 4),)), Variant(left_out=(range(3, 4),))]
    found = seen.session.values(question, variants)
    left_out = answer([IDS[place] for place in gone])
    assert found == pytest.approx(
        [expected(answer(IDS), whole), expected(answer(IDS, (3,)), whole), expected(left_out, gone)], abs=1e-5
    )
    assert seen.session.values(Span(tuple(range(1, 8)), 3, 5), variants[2:]) == [-torch.inf]  # the answer is gone
    with pytest.raises(RequestError, match="marks an answer in a text"):
        seen.importance()


def test_an_answer_is_held_against_another_part_of_the_text(tmp_path: Path) -> None:
    theirs = saved("bert-spans", tmp_path)
    write_marked_tokenizer(tmp_path)
    model = limelight.open(tmp_path, kind=limelight.SpanModel)
    seen = model.look(TEXT, "w50")
    front = seen.words[0].tokens.start
    tokens = torch.tensor([seen.reading.tokens])

    def odds(gone: int | None) -> float:
        """That "w11 w12" is the answer rather than "w14 w15 w16", with a word that nobody attends to."""
        mask = torch.tensor([[int(place != gone) for place in range(tokens.shape[1])]])
        with torch.inference_mode():
            found = theirs(tokens, attention_mask=mask)
        start, end = found.start_logits[0], found.end_logits[0]
        return float(start[front + 1] - start[front + 4] + end[front + 2] - end[front + 6])

    found = seen.importance("w11 w12", foil="w14 w15 w16", method="blocking", check=False)
    assert (found.target.text, found.foil, found.unit) == ("w11 w12", "w14 w15 w16", "log-odds")
    places = [front + place for place in (0, 3, 4, 5, 6)]
    assert [heard.importance for heard in found.words] == pytest.approx(
        [odds(None) - odds(place) for place in places], abs=2e-6
    )
    for foil in ("w11", "w10 w11 w12"):  # which begin or end where the answer does
        with pytest.raises(RequestError, match="begins or ends where the answer does"):
            seen.importance("w11 w12", foil=foil)
    with pytest.raises(RequestError, match="'w10' is the only word"):
        model.look("w10", "w50").importance()
    for nowhere in ("w99", ""):
        with pytest.raises(RequestError):
            seen.importance(nowhere)


def test_a_pair_of_texts_keeps_its_types_where_tokens_go(opened: Callable[[str], tuple[SeenEncoded, Answer]]) -> None:
    seen, _ = opened("bert-spans")
    network, types = seen.session.network, [0] * 4 + [1] * 5
    session = EncoderSession(network, IDS, types=types)
    question = Span((5, 6), 5, 6)
    found = session.values(question, [Variant(left_out=(range(2, 3),), blocked=(range(6, 7),))])
    with torch.inference_mode():
        ids, kept = torch.tensor([[*IDS[:2], *IDS[3:]]]), torch.tensor([[*types[:2], *types[3:]]])
        visible = torch.ones(1, 8, dtype=torch.bool)
        visible[0, 5] = False
        answers = network(ids, visible=visible, types=kept)[:, 4:6]
    assert found == pytest.approx(question.value(answers).tolist(), abs=1e-5)


def test_answers_that_are_no_odds_have_the_units_that_sentences_and_pictures_know() -> None:
    assert [question.unit for question in (Score(()), Similarity((), torch.ones(2)))] == list(ANSWERS)
    assert Span((1, 2), 1, 2).unit == "log-odds"


@pytest.mark.parametrize("pooled", ["first", "last", "mean", "max"])
def test_blocked_words_are_no_part_of_what_is_pooled(pooled: str) -> None:
    """Blocking equals leaving a word out where tokens have no places."""
    block = c.Block(c.Attention(2, 2, 4, 0.5), c.FeedForward(12, "gelu"), c.LayerNorm(1e-5), "post")
    stack = c.TransformerStack(8, (block,) * 2, None)
    torch.manual_seed(0)
    head = c.SequenceClassifier(("score",), pooled, hidden=None)  # type: ignore[arg-type]
    network = build(c.ModelConfig("test", 19, 16, None, head, encoder=stack)).eval()
    assert isinstance(network, Encoder)
    session = EncoderSession(network, [1, 5, 6, 7, 2])
    spans = (range(1, 2), range(2, 4))
    blocked = session.values(Score(()), [Variant(blocked=(span,)) for span in spans])
    left_out = session.values(Score(()), [Variant(left_out=(span,)) for span in spans])
    assert blocked == pytest.approx(left_out, abs=1e-6)
    assert max(abs(value - session.whole(Score(()))) for value in blocked) > 1e-3


@pytest.mark.parametrize("foil", [None, 2])
def test_gradients_are_derivatives_and_sum_to_what_is_gained(
    opened: Callable[[str], tuple[SeenEncoded, Answer]], foil: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, _ = opened("bert-classes")
    session = seen.session
    question = Class((), (1,), foil)
    inquiry = Inquiry(session, question, tuple(range(i, i + 1) for i in range(9)))
    wide = EncoderSession(copy.deepcopy(session.network).double(), IDS)
    embedded = wide.embedded(question)

    def at(place: int, scale: float) -> float:
        points = embedded.clone()
        points[place] *= scale
        return float(wide.value_from(question, points[None]))

    found = METHODS["gradient-input"].values(inquiry)
    for place in (0, 3, 8):
        assert found[place] == pytest.approx((at(place, 1.001) - at(place, 0.999)) / 0.002, rel=2e-2, abs=2e-3)
    monkeypatch.setattr("limelight.look.gradients.STEPS", 300)
    gained = METHODS["integrated-gradients"].values(inquiry)
    empty = float(session.value_from(question, session.embedded(question)[:1].expand(1, 9, -1)))
    assert sum(gained) == pytest.approx(session.whole(question) - empty, rel=0.05, abs=0.05)


def test_attention_is_the_references(opened: Callable[[str], tuple[SeenEncoded, Answer]]) -> None:
    seen, answer = opened("bert-masked")
    weights = answer(IDS, output_attentions=True)  # [L, H, T, T]
    torch.testing.assert_close(seen.every_attention(), weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen.attention(1, 2), weights[1, 2, 1:8, 1:8], rtol=1e-4, atol=1e-5)
    links = seen.links("w13", 5)
    row = weights[:, :, 4, 1:8].clone()
    row[:, :, 3] = 0  # itself
    assert [link.weight for link in links] == pytest.approx(row.flatten().topk(5).values.tolist(), abs=1e-5)
    assert any(link.target > link.source for link in links)  # it reads both ways
    ids = [*IDS[:4], MASK, *IDS[5:]]
    weights = answer(ids, output_attentions=True)
    others = [place for place in range(1, 8) if place != 4]
    expected = weights[:, :, 4].mean((0, 1))[others]
    assert values(seen, "w13", "attention") == pytest.approx(expected.tolist(), abs=1e-5)
    product = torch.eye(9)
    for layer in weights:
        product = (layer.mean(0) + torch.eye(9)) / 2 @ product
    assert values(seen, "w13", "attention-rollout") == pytest.approx(product[4, others].tolist(), abs=1e-5)
    strongest = seen.importance("w13", method="attention")
    assert strongest.telling == strongest.links[0]
    assert {link.source for link in strongest.links} == {3}


def test_value_weighted_attention_is_the_length_of_what_the_pooled_places_receive(
    opened: Callable[[str], tuple[SeenEncoded, Answer]],
) -> None:
    seen, answer = opened("bert-states")
    weights, network = answer(IDS, output_attentions=True), seen.session.network
    caught: list[Tensor] = []
    blocks = network.encoder.blocks
    hooks = [block.attention.v.register_forward_hook(lambda *args: caught.append(args[2])) for block in blocks]
    with torch.inference_mode():
        network.read(torch.tensor([IDS]))
        for hook in hooks:
            hook.remove()
        total = torch.zeros(9)
        for heads, v, block in zip(weights, caught, blocks, strict=True):
            for asking in range(9):
                parts = (heads[:, asking].T[..., None] * v[0].view(9, 4, 16)).flatten(1)  # [T, W]
                received = block.attention.out(parts) - block.attention.out(torch.zeros_like(parts))
                total += received.norm(dim=-1) / 9 / 3
    assert values(seen, "w20", "value-weighted") == pytest.approx(total[1:8].tolist(), rel=1e-3)


def test_every_method_fits_or_is_refused_by_name(opened: Callable[[str], tuple[SeenEncoded, Answer]]) -> None:
    seen, _ = opened("bert-masked")
    names = {method.name for method in fitting(seen.session)}
    assert names == set(METHODS) - {"alti-logit"}
    assert stacked(seen.session) is seen.session
    for name in METHODS:
        if name in names:
            assert len(seen.importance("w13", method=name).words) == 6
        else:
            with pytest.raises(RequestError, match=f"{name} cannot be used on an encoder; those that can: measured"):
                seen.importance("w13", method=name)
    for question in (Class((), (0,)), Tag((1,), (0,)), Similarity((), torch.zeros(64))):
        with pytest.raises(RequestError, match=f"no answer to the question {type(question).__name__}"):
            seen.session.values(question, [Variant()])
    with pytest.raises(RequestError, match="the only word"):
        SeenEncoded(seen.session.network, seen._tokenizer, "w10").importance()
    assert isinstance(seen.session.whole(MaskedWord((4,), (13,), 40)), float)


def test_what_was_measured_is_kept(
    opened: Callable[[str], tuple[SeenEncoded, Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, _ = opened("bert-masked")
    first = seen.importance("w14")

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(Encoder, "read", refuse)
    assert seen.importance("w14", check=False).words == first.words
