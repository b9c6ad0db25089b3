"""How much a page shows of a text: up to which length each view is made, and what is said beyond."""

from pathlib import Path

import pytest
from cli.tiny_models import SENTENCE

import limelight
from limelight.errors import RequestError
from limelight.views import cards, conversation, text
from limelight.views import inside as insides
from limelight.views.conversation import ConversationViews, prompt
from limelight.views.text import TextViews

WORDS = [SENTENCE.split()[0], *SENTENCE.split()[1:] * 9]
"""Each a token."""


@pytest.fixture(scope="module")
def model(tiny: Path) -> limelight.Model:
    return limelight.open(tiny, kind=limelight.Model)


def views(model: limelight.Model, count: int) -> TextViews:
    """A text of the first so many `WORDS`."""
    return TextViews(model.network, model.tokenizer, " ".join(WORDS[:count]))


def test_cards_have_room_for_sixty_words(model: limelight.Model) -> None:
    drawn = views(model, 60).seen
    assert [len(head["weights"]) for head in cards.heads(drawn)] == [60] * 3
    assert len(cards.network(drawn)) == 60
    for draw in (cards.heads, cards.network):
        with pytest.raises(RequestError, match="the text has 61 words; a card has room for 60: shorten the text"):
            draw(views(model, 61).seen)


def test_all_pairs_are_measured_of_forty_words(model: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="the text has 41 words; all pairs are measured of 40 at most"):
        views(model, 41).every_importance()
    monkeypatch.setattr(text, "CROSSED", 4)
    told: list[tuple[int, int]] = []
    losses = views(model, 4).every_importance(lambda *step: told.append(step))["losses"]
    assert [[value is None for value in row] for row in losses] == [
        [True] * 4,
        [True] * 4,
        [False, True, True, True],
        [False, False, True, True],
    ]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_patching_takes_sixty_words(model: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="the text has 61 words, and patching takes long; shorten it to 60"):
        insides.inside(views(model, 62), "carries", 61)
    monkeypatch.setattr(insides, "TOO_LONG", 3)
    found = insides.inside(views(model, 4), "carries", 3, instead="The mat sat")
    assert (found["unit"], found["other"]) == ("share", "The mat sat")
    with pytest.raises(RequestError, match="the text has 4 words"):
        insides.inside(views(model, 5), "brings", 4)


def test_the_layers_are_shown_over_forty_tokens(model: limelight.Model) -> None:
    long = views(model, 60)
    count = [len(word["tokens"]) for word in long.words()["words"]]
    assert count == [1] * 60
    for word in (0, 1, 39, 40, 41, 59):
        found = long.lens(word)
        assert len(found["read"]) == len(found["following"]) == min(word + 1, 40)
        assert found["asked"] == [min(word + 1, 40) - 1]
    last = long.lens(59)
    assert [piece.strip() for piece in last["read"]] == WORDS[19:59]
    assert [piece.strip() for piece in last["following"]] == WORDS[20:60]


def test_a_conversation_is_as_long_as_the_model_sees(model: limelight.Model) -> None:
    turns = [{"role": "user", "content": "The cat sat"}]
    ids = prompt(model.tokenizer, turns, 20)
    assert ids == model.tokenizer.encode(model.tokenizer.chat(turns), special=True).ids
    assert len(ids) == 20
    with pytest.raises(RequestError, match="the conversation has 20 tokens and the model sees 19; start a new one"):
        prompt(model.tokenizer, turns, 19)
    begun = [*turns, {"role": "assistant", "content": " on"}]
    assert prompt(model.tokenizer, begun, 21) == [*ids, *model.tokenizer.encode(" on").ids]
    with pytest.raises(RequestError, match="the conversation ends without an answer; ask for one before"):
        ConversationViews(model.network, model.tokenizer, turns)
    with pytest.raises(RequestError, match="the conversation ends without an answer"):
        ConversationViews(model.network, model.tokenizer, [])


def test_of_many_words_sentences_are_hidden(model: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = [{"role": "user", "content": "The cat. Mary gave."}, {"role": "assistant", "content": "on the mat"}]
    monkeypatch.setattr(conversation, "MANY", 6)
    words = ConversationViews(model.network, model.tokenizer, turns).light()
    assert words["columns"] == [[0, at, at + 1] for at in range(6)]
    assert [len(row) for row in words["values"]] == [6] * 3
    monkeypatch.setattr(conversation, "MANY", 5)
    sentences = ConversationViews(model.network, model.tokenizer, turns).light()
    assert sentences["columns"] == [[0, 0, 3], [0, 3, 6]]
    assert [len(row) for row in sentences["values"]] == [2] * 3
