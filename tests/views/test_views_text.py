"""A text, a conversation and a translation as a page gets them: every field, against the looks that they come from."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.tiny_models import SENTENCE

import limelight
from limelight.decode import Sampling
from limelight.errors import RequestError
from limelight.look import METHODS
from limelight.views import inside as insides
from limelight.views import saved, text
from limelight.views.conversation import ConversationViews, prompt
from limelight.views.text import TextViews
from limelight.views.translation import TranslationViews

PLAIN = Sampling(1.0)


@pytest.fixture(scope="module")
def model(tiny: Path) -> limelight.Model:
    return limelight.open(tiny, kind=limelight.Model)


def views(model: limelight.Model, given: str, added: str = "", **options: Any) -> TextViews:
    return TextViews(model.network, model.tokenizer, given, added, **options)


def test_words_are_those_that_were_given_and_those_that_the_model_added(model: limelight.Model) -> None:
    assert views(model, "The cat", " sat on ").words() == {
        "words": [
            {"gap": "", "text": "The", "tokens": ["The"], "given": True},
            {"gap": " ", "text": "cat", "tokens": [" cat"], "given": True},
            {"gap": " ", "text": "sat", "tokens": [" sat"], "given": False},
            {"gap": " ", "text": "on", "tokens": [" on", " "], "given": False},
        ],
        "tail": " ",
        "count": 6,  # with the token in front of the text
        "added": " sat on ",
    }
    assert [word["given"] for word in views(model, "The ca", "t sat").words()["words"]] == [True, False, False]
    pieces = views(model, "Xy cat", tokens=True).words()["words"]
    assert [word["text"] for word in pieces] == ["X", "y", "cat"]


def test_what_could_stand_in_a_place_is_what_the_model_thinks_there(model: limelight.Model) -> None:
    seen = views(model, "The cat sat")
    ids = model.tokenizer.encode("The cat sat").ids
    with torch.inference_mode():
        separator = model.tokenizer.separator
        shares = model.network(torch.tensor([[separator, *ids]]))[0].float().softmax(-1)
    for word, place in ((0, 0), (2, 2), (None, 3)):
        found = seen.next(word, PLAIN, n=2)
        top = shares[place].topk(2)
        assert (found["word"], found["left"]) == (word, shares.shape[-1])
        assert [row["share"] for row in found["rows"][:2]] == pytest.approx(top.values.tolist(), abs=1e-5)
        asked = found["asked"]
        if word is None:
            assert (asked, len(found["rows"])) == (None, 2)
        else:
            row = found["rows"][asked]
            assert row["token"] == model.tokenizer.spell(ids[word])
            assert row["share"] == pytest.approx(float(shares[place, ids[word]]), abs=1e-5)
    assert len(seen.next(None, PLAIN)["rows"]) == 10


def test_an_answer_is_told_by_every_number_that_it_has(model: limelight.Model) -> None:
    seen = views(model, SENTENCE)
    steps: list[tuple[int, int]] = []
    checks: list[Any] = []
    for word, foil in ((9, None), (None, "mat"), (4, None)):
        told = seen.importance(word, foil, None, lambda *step: steps.append(step))
        place = 9 if word is None else word
        found = seen.seen.importance(place + 1, foil=foil)
        check = None
        if found.check is not None:
            names = ("words", "way", "loss", "sets", "every", "better", "holds", "short")
            check = {name: getattr(found.check, name) for name in names} | {"words": list(found.check.words)}
        checks.append(check)
        sentences = ["".join(p if isinstance(p, str) else p["text"] for p in each) for each in told.pop("told")]
        assert sentences == list(found.told())
        assert told == {
            "word": place,
            "method": found.method,
            "kind": METHODS[found.method].kind,
            "answers": METHODS[found.method].answers,
            "unit": found.unit,
            "answer_unit": found.answer_unit,
            "values": [heard.importance for heard in found.words],
            "asks": next((at for at, heard in enumerate(found.words) if heard.asks), None),
            "named": list(found.named),
            "losses": dict(found.losses),
            "times": found.times,
            "probability": math.exp(found.logprob),
            "rank": found.rank,
            "expected": found.expected,
            "foil": foil,
            "check": check,
            "checked": True,
            "telling": None
            if found.telling is None
            else {name: getattr(found.telling, name) for name in found.telling.__dataclass_fields__},
        }
    assert steps
    assert any(checks)
    unchecked = seen.importance(3, None, None, check=False)
    assert (unchecked["checked"], unchecked["check"]) == (False, None)


def test_words_that_are_named_are_places_in_the_sentence(model: limelight.Model) -> None:
    seen = views(model, SENTENCE)
    told = seen.importance(9, None, None)
    linked = [part for sentence in told["told"] for part in sentence if isinstance(part, dict)]
    assert [part["word"] for part in linked] == told["named"] != []
    assert [part["text"] for part in linked] == [f"“{SENTENCE.split()[at]}”" for at in told["named"]]


def test_an_estimate_is_given_until_the_answer_is_measured(
    model: limelight.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = views(model, SENTENCE)
    first = seen.estimate(9)
    assert first is not None
    values = first.pop("values")
    assert first == {
        "word": 9,
        "named": [],
        "kind": "importance",
        "unit": first["unit"],
        "asks": 8,
        "measuring": True,
    }
    assert seen.estimate(0) is None  # nothing stands before it
    answered = seen.importance(9, None, None)
    assert (len(values), first["unit"]) == (9, answered["unit"])
    assert seen.estimate(9) is None
    assert seen.estimate(None) is None
    for long, kind in ((8, "some"), (9, "all"), (10, "all")):
        monkeypatch.setattr(text, "LONG", long)
        monkeypatch.setattr(text, "ESTIMATED", 3)
        found = views(model, SENTENCE).estimate(None)
        assert found is not None
        assert found["word"] == 9
        if kind == "all":
            assert found["measuring"]
            assert found["values"] == values
        else:
            assert found.keys() == {"word", "values", "named", "estimate"}
            assert (found["named"], found["estimate"]) == ([], True)
            shown = [value for value in found["values"] if value is not None]
            ranked = [heard.importance for heard in seen.seen.importance(10, method="alti-logit", check=False).words]
            assert sorted(shown) == pytest.approx(sorted(value or 0.0 for value in ranked)[-3:], abs=1e-5)


def test_attention_is_the_same_by_layer_by_all_layers_and_by_link(model: limelight.Model) -> None:
    seen = views(model, "The cat sat on")
    every = seen.every_attention()
    assert [layer.shape for layer in every] == [(4, 4, 4)] * 3
    for number, layer in enumerate(every):
        assert torch.allclose(seen.attention(number), layer, atol=1e-6)
    links = seen.linking(3, 1)
    assert links == [pytest.approx(layer[:, 3, 1].tolist(), abs=1e-6) for layer in every]
    for wrong in ((4, 0), (0, 4), (-1, 0)):
        with pytest.raises(RequestError, match=r"^there is no word [05]: the text has 4 words$"):
            seen.linking(*wrong)


def test_the_steps_are_beside_the_token_that_is_looked_at_most(model: limelight.Model) -> None:
    seen = views(model, "The cat sat on")
    found = seen.steps(2, 1, 3)
    weights = found["weights"]["values"]
    assert found["other"] == weights.index(max(weights))
    for other in (0, 3):
        assert seen.steps(2, 1, 3, other)["other"] == other
    beyond = [seen.steps(2, 1, 3, other)["other"] for other in (-1, 4)]
    assert beyond == [found["other"]] * 2
    assert found["projected"].keys() == {
        *("query", "query_before", "key", "key_before", "value", "kv_head", "sharing"),
    }


def test_what_stands_in_front_of_a_word_is_a_text_of_its_own(model: limelight.Model) -> None:
    seen = views(model, "The cat", " sat on")
    assert [(front.text, word) for front, word in map(seen.before, (1, 2, 3))] == [
        ("The", "cat"),
        ("The cat", "sat"),
        ("The cat sat", None),  # the model said it
    ]
    assert views(model, "The cat").before(1)[1] == "cat"
    with pytest.raises(RequestError, match=r"^nothing stands in front of the first word; choose another$"):
        seen.before(0)
    assert [seen.last(word) for word in ("cat", "dog", None)] == [1, 3, 3]


def test_parts_are_switched_off_in_a_twin(model: limelight.Model) -> None:
    def network(**off: Any) -> Any:
        options: Any = {"heads_off": [], "layers_off": [], "positions": True, "tokens": False} | off
        return text.edited(model.network, model.tokenizer, "The cat sat", **options)._network

    assert network() is model.network
    for off in ({"heads_off": [(0, 1)]}, {"layers_off": [1]}, {"positions": False}):
        assert network(**off) is not model.network
    assert text.shape(model.config) == [4, 4, 4]


def test_what_heads_do_is_a_table_with_the_meaning_of_each_role(model: limelight.Model) -> None:
    found = text.roles(model.network, model.tokenizer)
    assert found.keys() == {"roles", "meanings"}
    assert [len(row) for row in found["roles"]] == [4, 4, 4]
    for row in found["roles"]:
        for head in row:
            assert head.keys() == {"role", "strength"}
            assert head["role"] is None or head["role"] in found["meanings"]


def test_a_file_opens_in_the_state_that_was_asked_for(model: limelight.Model) -> None:
    roles = {"roles": []}
    about = saved.about("tiny", model.config)
    assert about == {"name": "tiny", "heads": [4, 4, 4]}
    held = saved.hold(views(model, SENTENCE), about, 9, None, None, Sampling(0.5), roles=roles, places=0)
    telling = held["importance"]["telling"] or {"layer": 0, "head": 0}
    method = held["importance"]["method"]
    assert held["state"] == {
        "text": SENTENCE,
        "word": 9,
        "foil": None,
        "method": method,
        "door": None,
        "model": None,
        "layer": telling["layer"],
        "head": telling["head"],
        "temperature": 0.5,
        "k": 50,
        "p": 1,
        "seed": 0,
    }
    assert held["model"] == {**about, "methods": [{"name": method, "title": METHODS[method].title}]}
    assert (held["roles"], list(held["next"])) == (roles, [9])
    assert held["steps"] == views(model, SENTENCE).steps(8, telling["layer"], telling["head"])
    cards = held["cards"]
    assert cards["network"].keys() == {"model", "both", "words", "weights"}
    assert (cards["network"]["model"], cards["network"]["both"]) == (None, False)
    assert cards["network"]["words"] == SENTENCE.split()
    assert [head["kind"] for head in cards["spotlights"]] == ["back", "before", "rests"]
    drawn = saved.hold(views(model, SENTENCE), about, 9, None, None)["state"]
    assert (drawn["temperature"], drawn["k"], drawn["p"]) == (0.8, 8, 0.9)


TURNS = [
    {"role": "user", "content": "The cat."},
    {"role": "system", "content": "  "},
    {"role": "user", "content": " Mary gave"},
    {"role": "assistant", "content": " on the mat. it sat "},
]


def test_a_conversation_is_cut_into_turns_and_words(model: limelight.Model) -> None:
    seen = ConversationViews(model.network, model.tokenizer, TURNS)
    turns = seen.turns()
    assert [[word["text"] for word in turn["words"]] for turn in turns] == [
        ["The", "cat", "."],
        [],
        ["Mary", "gave"],
        ["on", "the", "mat", ".", "it", "sat"],
    ]
    assert [word["gap"] for word in turns[0]["words"]] == ["", " ", ""]
    assert [word["gap"] for word in turns[3]["words"]] == ["", " ", " ", "", " ", " "]
    assert [word["sentence"] for word in turns[3]["words"]] == [0, 0, 0, 0, 1, 1]
    assert turns[3]["tail"] == ""
    assert [turn.keys() for turn in turns[:3]] == [{"words"}] * 3
    whole = seen.came_from(None, "word")
    assert [len(values) for values in whole["values"]] == [3, 0, 2, 0]
    found = seen.seen.importance(None, of="word", by="message", check=False)
    first, second = (heard.importance for heard in found.words)
    assert whole["turns"] == [first, None, second, None]
    part = seen.came_from(1, "sentence")
    single = seen.seen.importance(2, of="sentence", by="word")
    assert [value for values in part["values"] for value in values] == [heard.importance for heard in single.words]
    assert part["word"] == len(single.words)
    columns = seen.light()["columns"]
    assert columns == [[0, 0, 1], [0, 1, 2], [0, 2, 3], [2, 0, 1], [2, 1, 2]]


def test_an_answer_that_was_begun_is_gone_on_with(model: limelight.Model) -> None:
    tokenizer = model.tokenizer
    before = tokenizer.encode(tokenizer.chat(TURNS[:1]), special=True).ids
    assert prompt(tokenizer, TURNS[:1], 999) == before
    empty = [TURNS[0], {"role": "assistant", "content": ""}]  # nothing was begun: it is a turn like others
    assert prompt(tokenizer, empty, 999) == tokenizer.encode(tokenizer.chat(empty), special=True).ids


def test_patching_compares_with_a_text_in_which_another_likely_word_stands(model: limelight.Model) -> None:
    seen = views(model, "The cat sat on")
    for changed, same in ((1, "The {} sat"), (None, "{} cat sat"), (9, "{} cat sat")):
        found = insides.inside(seen, "carries", 3, changed=changed)
        place = 1 if changed == 1 else 0
        assert found["other"] == same.format(found["other"].split()[place])
    adds = insides.inside(seen, "adds", 3)
    needs = insides.inside(seen, "needs", 3)
    assert (adds["unit"], adds["other"], len(needs["values"])) == ("log-odds", None, 3)
    assert adds["answer"].strip() == "on"
    front, answer = seen.before(3)
    assert needs["values"] == pytest.approx((-front.ablate(answer).values).numpy())


@pytest.fixture(scope="module")
def translator(runs: Path) -> limelight.Translator:
    return limelight.open(runs / "transformer-modern-tiny", kind=limelight.Translator)


def test_a_translation_stands_behind_its_source(translator: limelight.Translator) -> None:
    seen = TranslationViews(translator, " zwei kinder spielen ", " two children ")
    words = seen.words()
    assert [(word["gap"], word["text"], word["given"]) for word in words["words"]] == [
        ("", "zwei", True),
        (" ", "kinder", True),
        (" ", "spielen", True),
        ("\n", "two", False),
        (" ", "children", False),
    ]
    language = translator.language
    count = len(language.source.encode(seen.source).ids) + len(language.target.encode(seen.target).ids)
    assert (words["tail"], words["count"]) == ("", count)
    assert [seen.last(word) for word in ("two", "zwei", None)] == [3, 4, 4]
    assert seen.estimate(4) is None
    assert seen.next(None, PLAIN) == seen.next(4, PLAIN)
    assert (len(seen.next(3, PLAIN, 2)["rows"]) in (2, 3), seen.next(3, PLAIN)["word"]) == (True, 3)
    told = seen.importance(None, None, check=False)
    assert (told["word"], told["checked"], told["telling"], told["check"]) == (4, False, None, None)
    for wrong in (2, 5):
        with pytest.raises(RequestError, match=r"^the model did not say this word, it read it; choose a word of the"):
            seen.next(wrong, PLAIN)
    steps: list[tuple[int, int]] = []
    grid = seen.grid(lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    assert [len(row) for row in grid] == [3, 4]
    aligned = seen.alignment(grid)
    assert aligned.keys() == {"alignment", "layer", "step", "grid"}
    assert aligned["grid"] is grid


def test_without_a_translation_there_is_the_source_alone(translator: limelight.Translator) -> None:
    seen = TranslationViews(translator, "zwei kinder", "")
    assert [word["text"] for word in seen.words()["words"]] == ["zwei", "kinder"]
    with pytest.raises(RequestError, match=r"^there is no translation yet to ask about$"):
        seen.next(None, PLAIN)


def test_a_model_that_listens_to_no_single_word_has_no_alignment(runs: Path) -> None:
    seen: Any = TranslationViews.__new__(TranslationViews)
    seen._seen = type("Seen", (), {"layers": 0})()
    assert seen.alignment([[0.5]]) == {"alignment": [], "layer": 0, "step": "output", "grid": [[0.5]]}
