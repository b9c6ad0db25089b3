"""Translations looked at by the default method: each number by plain forwards of source and target."""

from itertools import combinations
from statistics import fmean
from typing import Any

import pytest
import torch
from look import plainly
from tasks.small_languages import language, network

from limelight.look.inquiry import AGAIN, MORE, REPLACEMENTS
from limelight.look.question import GivenWord
from limelight.look.seq2seq import Seq2SeqSession
from limelight.look.session import Variant
from limelight.models import config as c
from limelight.models.build import build
from limelight.tasks.look_translation import SeenTranslation

SOURCE = "zwei kinder läuft schnee und ein kleiner hund im"
"""None of the sentences that the models know by heart, of which they are too sure."""

TARGET = " ".join(reversed(SOURCE.split()))


@pytest.fixture(scope="module", params=["transformer-modern-tiny", "lstm-attention"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(name: str) -> SeenTranslation:
    model: Any = network(name)
    return SeenTranslation(model, language(), SOURCE, TARGET)


class Plain:
    """The log-probability of a word of the target, of which all before it is read."""

    def __init__(self, name: str, place: int) -> None:
        self._model: Any = network(name)
        words = language()
        self.source = words.read(SOURCE)
        self.target = words.read(TARGET)[:place]
        self.answer = words.read(TARGET)[place]

    @torch.inference_mode()
    def said(self, source: list[int], target: list[int] | None = None) -> float:
        marks, target = language().marks, self.target if target is None else target
        logits = self._model(torch.tensor([[*source, marks.end]]), None, torch.tensor([[marks.start, *target]]))
        return float(logits[0, -1].log_softmax(-1)[self.answer])

    def without(self, *places: int) -> float:
        """What the answer loses when words of the source are deleted."""
        return self.said(self.source) - self.said([id for at, id in enumerate(self.source) if at not in places])


@pytest.mark.parametrize("number", [1, 4, 9])
def test_source_words_are_measured_by_words_near_in_meaning(
    name: str, seen: SeenTranslation, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limelight.look.measured.DECIDES", -100)  # whatever it is worth, something is named
    found, plain = seen.importance(number), Plain(name, number - 1)
    assert (found.method, found.unit) == ("measured", "log-probability")
    assert found.logprob == pytest.approx(plain.said(plain.source), abs=1e-4)
    assert not any(heard.asks for heard in found.words)  # what asks stands in the translation
    others = [[other for (other,) in seen.session.likely(range(at, at + 1), MORE + AGAIN)] for at in range(9)]
    assert not any(id in found for id, found in zip(plain.source, others, strict=True))

    def replaced(turn: int, *gone: int) -> float:
        changed = [others[at][turn] if at in gone else id for at, id in enumerate(plain.source)]
        return plain.said(plain.source) - plain.said(changed)

    for at, heard in enumerate(found.words):
        falls = [replaced(turn, at) for turn in range(REPLACEMENTS)]
        assert heard.importance == pytest.approx(plainly.average(falls), abs=1e-4), heard
    blocks = name == "transformer-modern-tiny"
    assert set(found.losses) == {"replaced", "deleted", *(["blocked"] if blocks else [])}
    assert found.losses["deleted"] == pytest.approx(plain.without(*found.named), abs=1e-4)
    assert found.check is not None
    sets = [
        (2 * plain.without(*each) + fmean(replaced(turn, *each) for turn in range(MORE, MORE + AGAIN))) / 3
        for each in combinations(range(9), len(found.named))
    ]
    assert (found.check.sets, found.check.every) == (len(sets) - 1, True)
    assert found.check.better == sum(loss > found.check.loss + 1e-4 for loss in sets)


def test_words_already_written_are_judged_too(name: str, seen: SeenTranslation) -> None:
    found, plain = seen.importance(5, written=True), Plain(name, 4)
    assert [heard.word for heard in found.words] == [*SOURCE.split(), *TARGET.split()[:4]]
    assert [heard.asks for heard in found.words] == [False] * 12 + [True]
    for at, heard in enumerate(found.words[9:]):
        place = seen.session.split + 1 + at
        falls = []
        for (other,) in seen.session.likely(range(place, place + 1), REPLACEMENTS):
            changed = [other if i == at else id for i, id in enumerate(plain.target)]
            falls.append(plain.said(plain.source) - plain.said(plain.source, changed))
        if heard.asks and 12 not in found.named:
            assert heard.importance is None
        else:
            assert heard.importance == pytest.approx(plainly.average(falls), abs=1e-4), heard


@pytest.mark.parametrize("inherits", [False, True])
def test_what_is_hidden_in_a_translation_is_hidden_from_what_follows(inherits: bool) -> None:
    """Where a unit passes on what it read, also from the later tokens of the same word."""
    norm, width = c.LayerNorm(1e-6), 8
    attention = c.Attention(2, 2, 4, 0.5)
    own = c.SSRU(1, 1, width, 1.0) if inherits else attention
    reader, writer = (
        c.TransformerStack(width, (c.Block(mine, c.FeedForward(8, "relu"), norm, "post", cross),), None)
        for mine, cross in ((attention, None), (own, attention))
    )
    made: Any = build(c.ModelConfig("test", 30, 16, writer, c.LMHead(tied=True), encoder=reader))
    session = Seq2SeqSession(made.eval(), [5, 6, 7], [1, 8, 9, 10])
    question = GivenWord((6,), (11,))
    variant = Variant(blocked=(range(1, 2), range(4, 6)))
    source, target = session._sides(question, variant)
    assert (source.tokens, source.blocked, target.tokens, target.blocked) == (
        (5, 6, 7), (range(1, 2),), (1, 8, 9, 10), (range(1, 3),)
    )  # fmt: skip
    heard, seen = session._heard([source]), session._seen([target])
    assert heard is not None
    assert seen is not None
    assert heard.tolist() == [[True, False, True]]
    hidden = [(row, column) for row, column in (~seen[0]).nonzero().tolist()]
    assert hidden == ([(2, 1), (3, 1), (3, 2)] if inherits else [(3, 1), (3, 2)])
    assert (session.split, session.blocks) == (3, True)
    assert session.asking(question, [range(1, 2)]) is None
    assert session.asking(question, []) is None
    assert session.asking(question, [range(1, 2), range(3, 4)]) == 1
