"""What the heads of encoders are asked, and what is refused."""

from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import torch
from references import saved, write_marked_tokenizer

import limelight
from limelight.errors import RequestError
from limelight.look.encoded import SeenEncoded
from limelight.look.encoder import EncoderSession
from limelight.look.question import Class, MaskedWord, Score, Similarity, Span, Tag
from limelight.look.session import Variant
from limelight.models import config as c
from limelight.models.api import Encoder
from limelight.models.build import build
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word

TEXT = "w10 w11 w12 w13"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("marked")
    write_marked_tokenizer(folder)
    return Tokenizer.from_folder(folder)


def network(head: Any) -> Encoder:
    block = c.Block(c.Attention(2, 2, 4, 0.5), c.FeedForward(12, "gelu"), c.LayerNorm(1e-5), "post")
    stack = c.TransformerStack(8, (block,) * 2, None)
    torch.manual_seed(0)
    made = build(c.ModelConfig("test", 99, 16, None, head, encoder=stack)).eval()
    assert isinstance(made, Encoder)
    return made


def test_a_head_of_one_score_is_asked_for_nothing_else(tokenizer: Tokenizer) -> None:
    seen = SeenEncoded(network(c.SequenceClassifier(("mood",), hidden=None)), tokenizer, TEXT, "tiny")
    assert repr(seen) == "SeenEncoded('w10 w11 w12 w13', 4 words, by tiny)"
    assert seen.asking() == (seen.session, Score(()), Word("mood", 0, 0, range(0)), Score(()))
    found = seen.importance(method="leave-one-out", check=False)
    assert (found.target.text, found.unit, found.rank, found.expected, found.label) == (
        "mood",
        "score",
        None,
        None,
        None,
    )
    assert isnan(found.logprob)
    ids = list(seen.reading.tokens)
    with torch.inference_mode():
        texts = [ids, *(ids[:at] + ids[at + 1 :] for at in range(1, 5))]
        whole, *without = (float(seen.session.network(torch.tensor([text]))[0, 0]) for text in texts)
    assert [heard.importance for heard in found.words] == pytest.approx([whole - each for each in without], abs=1e-5)
    for wrong in ({"asked": "mood"}, {"foil": "mood"}):
        with pytest.raises(
            RequestError, match=r"^this model gives a text one score and has no labels to choose from; nam"
        ):
            seen.importance(**wrong)  # type: ignore[arg-type]


def test_labels_of_which_several_may_fit_have_scores_of_their_own(tokenizer: Tokenizer) -> None:
    seen = SeenEncoded(network(c.SequenceClassifier(("a", "b", "c"), several=True)), tokenizer, TEXT)
    assert seen.session.several
    with torch.inference_mode():
        scores = seen.session.network(torch.tensor([seen.reading.tokens]))[0]
    best = int(scores.argmax())
    for asked, label in ((None, best), ("b", 1), ("c", 2)):
        word = Word("abc"[label], 0, 0, range(0))
        assert seen.asking(asked) == (seen.session, Score((), label), word, Score((), label))
        assert seen.session.whole(Score((), label)) == pytest.approx(float(scores[label]), abs=1e-5)
    with pytest.raises(
        RequestError, match=r"^each of this model's labels fits or does not; it chooses none rather than a"
    ):
        seen.importance("a", foil="b")
    with pytest.raises(RequestError, match=r"^asked is 'd'; it must be one of a, b, c"):
        seen.importance("d")


def test_labels_of_which_one_fits_are_held_against_all_others_or_one(tokenizer: Tokenizer) -> None:
    seen = SeenEncoded(network(c.SequenceClassifier(("a", "b", "c"))), tokenizer, TEXT)
    assert not seen.session.several
    b = Word("b", 0, 0, range(0))
    assert seen.asking("b") == (seen.session, Class((), (1,)), b, Class((), (1,)))
    assert seen.asking("b", "c") == (seen.session, Class((), (1,), 2), b, Class((), (1,)))
    with pytest.raises(RequestError, match=r"^'b' is the answer itself; name another label as the foil$"):
        seen.importance("b", foil="b")
    with pytest.raises(RequestError, match=r"^foil is 'd'; it must be one of a, b, c"):
        seen.importance("b", foil="d")


def test_a_tag_is_asked_for_at_the_first_token_of_its_word(tokenizer: Tokenizer) -> None:
    seen = SeenEncoded(network(c.TokenClassifier(("a", "b"))), tokenizer, TEXT)
    with torch.inference_mode():
        best = int(seen.session.network(torch.tensor([seen.reading.tokens]))[0, 3].argmax())
    word = seen.words[2]
    assert seen.asking("w12") == (seen.session, Tag((3,), (best,)), word, Tag((3,), (best,)))
    found = seen.importance(3, foil="ab"[1 - best], method="blocking", check=False)
    assert (found.target, found.label, found.expected, found.rank) == (word, "ab"[best], "ab"[best], 1)
    assert [heard.word for heard in found.words] == ["w10", "w11", "w13"]


def test_an_answer_is_the_likeliest_whole_words_in_order(tmp_path: Path) -> None:
    saved("bert-spans", tmp_path)
    write_marked_tokenizer(tmp_path)
    seen = limelight.open(tmp_path, kind=limelight.SpanModel).look(TEXT, "w50 w51")
    assert seen.reading.tokens == (1, 50, 51, 2, 10, 11, 12, 13, 2)
    scores = seen.session.answers(Span((4, 5, 6, 7), 4, 4))[0]
    spans = [(a, b) for a in range(4) for b in range(a, 4)]
    first, last = max(spans, key=lambda span: float(scores[span[0], 0] + scores[span[1], 1]))
    _, question, word, whole = seen.asking()
    assert question == whole == Span((4, 5, 6, 7), 4 + first, 4 + last)
    assert word.text == " ".join(TEXT.split()[first : last + 1])
    _, question, word, whole = seen.asking("11 w1", "w13")  # the words that a part of the text touches
    assert (question, whole) == (Span((4, 5, 6, 7), 5, 6, (7, 7)), Span((4, 5, 6, 7), 5, 6))
    assert word == Word("w11 w12", 4, 11, range(5, 7))
    with pytest.raises(RequestError, match=r"^'w99' does not stand in the text$"):
        seen.asking("w99")


def test_a_word_is_masked_where_the_tokenizer_has_a_mask(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = SeenEncoded(network(c.MaskedLMHead(tied=True, hidden=None)), tokenizer, TEXT)
    session, question, word, whole = seen.asking("w11", "w40")
    assert session.tokens == (1, 10, 98, 12, 13, 2)
    assert (question, whole, word) == (MaskedWord((2,), (11,), 40), MaskedWord((2,), (11,)), seen.words[1])
    assert seen.asking()[2] == seen.words[-1]
    assert seen.asking("w11")[0] is session  # made once
    assert session.asking(question, [range(1, 2)]) is None
    monkeypatch.setattr(tokenizer, "mask", None)
    with pytest.raises(RequestError, match=r"^this model's tokenizer has no mask to put in a word's place$"):
        seen.importance("w12")


def test_nothing_is_answered_at_a_place_that_was_left_out(tokenizer: Tokenizer) -> None:
    made = network(c.TokenClassifier(("a", "b")))
    session = EncoderSession(made, [1, 10, 11, 2])
    found = session.answers(
        Tag((2,), (0,)), [Variant(), Variant(left_out=(range(1, 2),)), Variant(left_out=(range(2, 3),))]
    )
    with torch.inference_mode():
        expected = [made(torch.tensor([ids]))[0, at] for ids, at in (([1, 10, 11, 2], 2), ([1, 11, 2], 1))]
    torch.testing.assert_close(found[:2, 0], torch.stack(expected), rtol=1e-4, atol=1e-5)
    assert found[2].tolist() == [[-torch.inf, -torch.inf]]
    assert [session.questions, session.askers(Tag((2,), (0,))), session.labels] == [(Tag, Span), [2], ("a", "b")]
    assert session.askers(Span((1, 2), 1, 2)) == [1, 2]


@pytest.mark.parametrize(("pooled", "askers"), [("first", [0]), ("last", [3]), ("mean", [0, 1, 2, 3])])
def test_what_asks_for_a_text_is_what_is_pooled(pooled: Any, askers: list[int]) -> None:
    session = EncoderSession(network(c.SequenceClassifier(("a", "b"), pooled)), [1, 10, 11, 2])
    assert session.askers(Class((), (0,))) == askers
    assert session.questions == (Class, Score)


def test_what_does_not_fit_is_named(tokenizer: Tokenizer) -> None:
    made = network(c.MaskedLMHead(tied=True, hidden=None))
    seen = SeenEncoded(made, tokenizer, TEXT)
    asks: list[tuple[Callable[[], object], str]] = [
        (lambda: SeenEncoded(3, tokenizer, TEXT), "network is 3; it must be the network of an encoder"),  # type: ignore[arg-type]
        (lambda: SeenEncoded(made, 3, TEXT), "tokenizer is 3; it must be a Tokenizer"),  # type: ignore[arg-type]
        (lambda: SeenEncoded(made, tokenizer, TEXT, question=3), "question is 3; it must be a string"),  # type: ignore[arg-type]
        (lambda: seen.importance(check=3), "check is 3; it must be True or False"),  # type: ignore[arg-type]
        (lambda: seen.importance(progress=3), "progress is 3; it must be a function or None"),  # type: ignore[arg-type]
        (lambda: seen.importance(foil=3), "foil is 3; it must be a string"),  # type: ignore[arg-type]
        (
            lambda: SeenEncoded(made, tokenizer, "w10").importance(),
            "'w10' is the only word: no other could have mattered",
        ),
    ]
    for ask, said in asks:
        with pytest.raises(RequestError) as error:
            ask()
        assert str(error.value) == said


def test_a_text_is_near_to_another_text_or_nearer_than_a_third(tokenizer: Tokenizer) -> None:
    seen = SeenEncoded(network(c.Pooling()), tokenizer, TEXT)
    with torch.inference_mode():
        own, other, third = (
            seen.session.network(torch.tensor([ids]))[0] for ids in (seen.reading.tokens, [1, 20, 21, 2], [1, 30, 2])
        )
    _, near, word, whole = seen.asking("w20 w21", "w30")
    assert isinstance(near, Similarity)
    assert near.at == ()
    assert whole is near
    assert word == Word("w20 w21", 0, 0, range(0))
    torch.testing.assert_close(torch.stack([near.other, near.foil]), torch.stack([other, third]))
    beside = torch.cosine_similarity(own, other, dim=0) - torch.cosine_similarity(own, third, dim=0)
    assert seen.session.whole(near) == pytest.approx(float(beside), abs=1e-5)
    found = seen.importance("w20 w21", check=False)
    assert (found.unit, found.rank, found.expected, isnan(found.logprob)) == ("cosine", None, None, True)
    refused = {
        None: "^this model makes vectors of texts; name another text to hold t",
        3: "^asked is 3; it must be a s",
    }
    for asked, said in refused.items():
        with pytest.raises(RequestError, match=said):
            seen.importance(asked)
    marks = SeenEncoded(network(c.SpanHead()), tokenizer, TEXT)
    with pytest.raises(RequestError, match=r"^this model marks an answer in a text; name the question, too$"):
        marks.importance()
