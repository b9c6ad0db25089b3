"""The other words that are put in a word's place: what could stand there, some near in meaning, some likely."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from look.made_up import OTHERS, MadeUp, inquiry, text
from references import saved
from torch import Tensor, nn

import limelight
from limelight.look import replacements
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.question import GivenWord
from limelight.look.replacements import NEARNESS, alike, fitting, near
from limelight.look.session import DecoderSession, Session, Variant
from limelight.look.text import speller

WORDS = [" cat", " dog", " Cat", "cat", ".", ",", " 7", " 12", "", " it's", " Dog", " cow", "…", " 3rd", " hen", " pig"]
"""The tokens of a small vocabulary, one of which is never part of a text."""


def cosines(table: Tensor, own: Sequence[int]) -> list[float]:
    mean = table[list(own)].mean(0)
    return [float(torch.cosine_similarity(row, mean, dim=0)) for row in table]


@pytest.mark.parametrize(
    ("token", "own", "could"),
    [
        (" cat", " dog", True),
        ("cat", " dog", False),  # begins no word
        (" Cat", " dog", False),
        (" Cat", " Anna", True),
        (" 12", " 7", True),
        (" 12", " dog", False),
        (" ,", " dog", False),
        (",", ".", True),
        (".", "dog", False),
        (" it's", " dog", False),  # letters and signs
        (" Äpfel", " Katzen", True),
        ("人", "在", True),
        ("", "", False),  # never part of a text
        ("", ".", False),
    ],
)
def test_what_could_stand_in_a_place_is_of_the_same_shape(token: str, own: str, could: bool) -> None:
    assert alike(token, own) is could


numbers = st.lists(st.floats(-9, 9).map(lambda value: round(value, 2)), min_size=16, max_size=16, unique=True)


@settings(max_examples=80, deadline=None)
@given(numbers, st.lists(st.sampled_from([i for i, word in enumerate(WORDS) if word]), min_size=1, max_size=2),
       st.integers(1, 7), st.integers(0, 99))  # fmt: skip
def test_of_the_first_words_two_of_three_are_near_among_the_likely_and_all_others_are_likeliest(
    scores: list[float], own: list[int], n: int, seed: int
) -> None:
    table = torch.randn(16, 5, generator=torch.Generator().manual_seed(seed))
    network: Any = SimpleNamespace(embed=nn.Embedding.from_pretrained(table), device=torch.device("cpu"))
    found = fitting(network, WORDS.__getitem__, own, torch.tensor(scores), n)
    chances, close = torch.tensor(scores).log_softmax(-1).tolist(), cosines(table, own)
    left = {i for i, word in enumerate(WORDS) if i not in own and alike(word, WORDS[own[0]])}
    assert len(found) == min(n, len(left))
    for (id,), fits in zip(found, (True, True, False, True, True, False, False), strict=False):
        assert id == max(left, key=lambda i: chances[i] + NEARNESS * close[i] if fits else chances[i])
        left.remove(id)


def test_only_the_likeliest_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest word is not taken where it is not likely."""
    table = torch.eye(16)
    table[11] = table[0]
    network: Any = SimpleNamespace(embed=nn.Embedding.from_pretrained(table), device=torch.device("cpu"))
    scores = torch.tensor([5.0, 4.0, *[0.0] * 12, 3.0, 2.0])
    monkeypatch.setattr(replacements, "SEARCHED", 4)
    assert fitting(network, WORDS.__getitem__, [0], scores, 4) == [(1,), (14,), (15,)]
    monkeypatch.setattr(replacements, "SEARCHED", 200)
    assert fitting(network, WORDS.__getitem__, [0], scores, 4) == [(11,), (1,), (14,), (15,)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([i for i, word in enumerate(WORDS) if word]), min_size=1, max_size=2),
       st.integers(1, 6), st.integers(0, 99), st.sampled_from([3, 16, 4096]))  # fmt: skip
def test_without_chances_the_nearest_are_taken(own: list[int], n: int, seed: int, chunk: int) -> None:
    table = torch.randn(16, 5, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replacements, "CHUNK", chunk)
        found = near(nn.Embedding.from_pretrained(table), 16, torch.device("cpu"), WORDS.__getitem__, own, n)
    close = cosines(table, own)
    could = [i for i, word in enumerate(WORDS) if i not in own and alike(word, WORDS[own[0]])]
    assert found == [(i,) for i in sorted(could, key=lambda i: -close[i])[:n]]


def test_a_word_for_which_none_could_stand_is_left_out() -> None:
    session = MadeUp(text(9), lambda way, places, turn: 1.0)
    session.likely = lambda span, n: [(OTHERS + i,) for i in range(min(n, span.start))]  # type: ignore[method-assign]
    asked = inquiry(session)
    zero, one, two, three = (range(i, i + 1) for i in range(4))
    a, b, c = (OTHERS,), (OTHERS + 1,), (OTHERS + 2,)
    assert asked.replaced([0]) == [Variant(left_out=(zero,))]
    assert asked.replaced([3]) == [Variant(replaced=((three, each),)) for each in (a, b, c)]
    assert asked.replaced([0, 1, 2, 3]) == [  # of which there are fewer come in turn
        Variant(left_out=(zero,), replaced=((one, a), (two, a), (three, a))),
        Variant(left_out=(zero,), replaced=((one, a), (two, b), (three, b))),
        Variant(left_out=(zero,), replaced=((one, a), (two, a), (three, c))),
    ]
    assert asked.replaced([]) == [Variant()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def folder(name: str) -> Path:
        made = tmp_path_factory.mktemp(name)
        saved(name, made)
        return made

    return folder


def check_all(session: Session, spans: Sequence[range], spell: Callable[[int], str]) -> None:
    for span in spans:
        own = session.tokens[span.start : span.stop]
        for n in (1, 3, 4):
            found = session.likely(span, n)
            assert len(found) == len(set(found)) == n
            for (other,) in found:
                assert other not in own
                assert other > 2  # none of the marks
                assert alike(spell(other), spell(own[0]))


def test_of_every_kind_of_model_they_are_words(folder: Callable[[str], Path]) -> None:
    """Decoders, encoders with and without a head for words, and both sides of a translation."""
    for name in ("llama", "gpt2", "bert-masked", "bert-classes", "bert-states"):
        model: Any = limelight.open(folder(name))
        seen = model.look("w10 w11 w12 w13")
        check_all(seen.session, [word.tokens for word in seen.words], model.tokenizer.spell)
    translator = limelight.open(folder("marian-two-vocabularies"), kind=limelight.Translator)
    both = translator.look("w5 w17 w30", "w40 w41")
    session, language = both.session, translator.language
    check_all(session, [word.tokens for word in both.source_words], language.source.spell)
    behind = [range(session.split + at, session.split + at + 1) for at in (1, 2)]
    check_all(session, behind, language.target.spell)
    table = (both._network.source_embed or both._network.embed)(torch.arange(99)).detach()
    close = cosines(table, [5])
    expected = sorted((i for i in range(3, 99) if i != 5), key=lambda i: -close[i])[:3]
    assert session.likely(both.source_words[0].tokens, 3) == [(i,) for i in expected]


def test_a_word_of_several_tokens_gives_way_to_one(folder: Callable[[str], Path]) -> None:
    model: Any = limelight.open(folder("llama"))
    tokens = [1, 10, 11, 12, 13, 14, 15]
    session = DecoderSession(model.network, tokens, speller(model.tokenizer))
    spans = (range(1, 2), range(2, 5), range(5, 6))
    question = GivenWord((5,), (15,))
    asked = Inquiry(session, question, spans)
    (losses,) = asked.spread(WAYS["replaced"], [(1,)])
    others = session.likely(range(2, 5), 3)
    assert not {id for (id,) in others} & {11, 12, 13}
    with torch.inference_mode():
        whole = model.network(torch.tensor([tokens[:-1]]))[0, -1].log_softmax(-1)[15]
        rows = torch.tensor([[1, 10, id, 14] for (id,) in others])
        falls = whole - model.network(rows)[:, -1].log_softmax(-1)[:, 15]
    assert list(losses) == pytest.approx(falls.tolist(), abs=2e-4)


def test_a_speller_knows_what_is_never_part_of_a_text(folder: Callable[[str], Path]) -> None:
    tokenizer: Any = limelight.open(folder("llama")).tokenizer
    spell = speller(tokenizer)
    assert [spell(id) for id in (*tokenizer.controls, 99, 12345)] == [""] * (len(tokenizer.controls) + 2)
    assert spell(50) == tokenizer.spell(50)
