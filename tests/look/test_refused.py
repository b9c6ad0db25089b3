"""What looks refuse: the whole sentence, for each argument that does not fit."""

from collections.abc import Callable
from typing import Any

import pytest
from references import saved

import limelight
from limelight.errors import RequestError
from limelight.look import Seen

TEXT = "w10 w11 w12 w13"
FLAG, FUNCTION, STRING = "True or False", "a function or None", "a string"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp("llama")
    saved("llama", folder)
    return limelight.open(folder, kind=limelight.Model)


def refused(ask: Callable[[], object], said: str) -> None:
    with pytest.raises(RequestError) as error:
        ask()
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("network", {"network": 3}, "the network of a model that continues texts"),
        ("tokenizer", {"tokenizer": 3}, "a Tokenizer"),
        ("text", {"text": 3}, STRING),
        ("title", {"title": 3}, STRING),
        ("pieces", {"pieces": 3}, FLAG),
        ("display", {"display": 3}, FUNCTION),
        ("quick", {"quick": 3}, "the same network, as it is in use"),
    ],
)
def test_a_text_is_looked_at_by_what_it_needs(
    model: limelight.Model, name: str, options: dict[str, Any], wanted: str
) -> None:
    usual: dict[str, Any] = {"network": model.network, "tokenizer": model.tokenizer, "text": TEXT}
    refused(lambda: Seen(**(usual | options)), f"{name} is 3; it must be {wanted}")


Ask = Callable[[Any], object]

NAMED: list[tuple[str, Ask, str]] = [
    ("check", lambda seen: seen.importance("w12", check=3), FLAG),
    ("progress", lambda seen: seen.importance("w12", progress=3), FUNCTION),
    ("progress", lambda seen: seen.token_importance("w12", progress=3), FUNCTION),
    ("foil", lambda seen: seen.importance("w12", foil=3), STRING),
    ("progress", lambda seen: seen.lens(progress=3), FUNCTION),
    ("tokens", lambda seen: seen.attention(0, 0, tokens=3), FLAG),
    ("positions", lambda seen: seen.what_if(positions=3), FLAG),
    ("heads_off", lambda seen: seen.what_if(heads_off=3), "a list of pairs (layer, head)"),
    ("part 2 of heads_off", lambda seen: seen.what_if(heads_off=[(0, 0), 3]), "a pair (layer, head)"),
    ("layers_off", lambda seen: seen.what_if(layers_off=3), "a list of layers"),
    ("attention_off", lambda seen: seen.what_if(attention_off=3), "a list of layers"),
    ("feedforward_off", lambda seen: seen.what_if(feedforward_off=3), "a list of layers"),
    ("means", lambda seen: seen.what_if(means=3), "what `model.means` returns"),
    ("means", lambda seen: seen.ablate(means=3), "what `model.means` returns"),
    ("by", lambda seen: seen.replace(1, 3), STRING),
    ("corrupted", lambda seen: seen.patch_into(3), "another look, by the same model"),
    ("tokens", lambda seen: seen.patch_into(seen, tokens=3), FLAG),
    ("progress", lambda seen: seen.patch_into(seen, progress=3), FUNCTION),
    ("tokens", lambda seen: seen.ablate(tokens=3), FLAG),
    ("progress", lambda seen: seen.ablate(progress=3), FUNCTION),
    ("answer", lambda seen: seen.ablate(3), STRING),
    ("foil", lambda seen: seen.logit_attribution("w20", foil=3), STRING),
    ("sentences", lambda seen: seen.roles(3), "a list of strings"),
    ("part 1 of sentences", lambda seen: seen.roles([3]), STRING),
]


@pytest.mark.parametrize(("name", "ask", "wanted"), NAMED)
def test_what_does_not_fit_is_named(model: limelight.Model, name: str, ask: Ask, wanted: str) -> None:
    refused(lambda: ask(model.look(TEXT)), f"{name} is 3; it must be {wanted}")


PARTS = "one of residual, attention, feedforward, heads"
OTHERWISE: list[tuple[Ask, str]] = [
    (lambda seen: seen.importance("w12", foil=" "), "foil is an empty text; give a word that could have stood there "
                                                   "instead"),
    (lambda seen: seen.importance(1), "“w10” is the first word: nothing before it could have mattered"),
    (lambda seen: seen.ablate("w20", foil=" "), "foil is an empty text; give a word that could come next"),
    (lambda seen: seen.ablate(part="x"), f"part is 'x'; it must be {PARTS}"),
    (lambda seen: seen.patch_into(seen, part="x"), f"part is 'x'; it must be {PARTS}"),
    (lambda seen: seen.patch_into(seen, "w20", foil="w30"), "both texts give the answer the same odds, so there is "
                                                            "nothing to restore; choose others"),
    (lambda seen: seen.what_if(heads_off=[(1,)]), "part 1 of heads_off is (1,); it must be a pair (layer, head)"),
    (lambda seen: seen.what_if(heads_off=[(0, 4)]), "there is no head 4: layer 0 has heads 0 to 3"),
    (lambda seen: seen.attention("x", 0), "layer is 'x'; it must be a whole number"),
    (lambda seen: seen.attention(0, "x"), "head is 'x'; it must be a whole number"),
    (lambda seen: seen.attention(3, 0), "there is no layer 3: the model has layers 0 to 2"),
    (lambda seen: seen.attention(0, -1), "there is no head -1: layer 0 has heads 0 to 3"),
    (lambda seen: seen.steps(1, 0, "x"), "head is 'x'; it must be a whole number"),
    (lambda seen: seen.hidden(4), "layer is 4; it must be from 0 to 3"),
    (lambda seen: seen.next_words(0), "n is 0; it must be at least 1"),
    (lambda seen: seen.links(n=0), "n is 0; it must be at least 1"),
    (lambda seen: seen.lens(n=0), "n is 0; it must be at least 1"),
    (lambda seen: seen.ablate("w20", foil="w30").strongest(0), "n is 0; it must be at least 1"),
    (lambda seen: seen.swap(2, "w11"), "word 2, “w11”, cannot be swapped with itself; name another word"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "said"), OTHERWISE)
def test_what_cannot_be_asked_is_told_in_a_sentence(model: limelight.Model, ask: Ask, said: str) -> None:
    refused(lambda: ask(model.look(TEXT)), said)


MANY: list[tuple[Ask, str]] = [
    (lambda model: model.means(3), "texts is 3; it must be a list of strings"),
    (lambda model: model.means(["w10", 3]), "part 2 of texts is 3; it must be a string"),
    (lambda model: model.means([]), "the texts have no tokens to take a mean of; give at least one word"),
    (lambda model: model.means(["w5", "w5 " * 128]), "text 2 of 2 has 129 tokens and the model sees at most 128; "
                                                     "shorten it"),
    (lambda model: next(model.look_all(3)), "texts is 3; it must be a list of strings"),
    (lambda model: next(model.look_all([TEXT], layers=3)), "layers is 3; it must be a list of layers"),
    (lambda model: next(model.look_all([TEXT], layers=[0, "x"])), "part 2 of layers is 'x'; it must be a whole number"),
    (lambda model: next(model.look_all([TEXT], layers=[4])), "layer is 4; it must be from 0 to 3"),
    (lambda model: model.steering_vector(3, layer=1), "pairs is 3; it must be a list of pairs of texts"),
    (lambda model: model.steering_vector([("w10",)], layer=1), "part 1 of pairs is ('w10',); it must be a pair of "
                                                               "texts"),
    (lambda model: model.steering_vector([("w10", 3)], layer=1), "a text of pair 1 is 3; it must be a string"),
    (lambda model: model.steering_vector([("w10", "w11")], layer=4), "layer is 4; it must be from 0 to 3"),
    (lambda model: model.steering_vector([("w10", "w11")], layer="x"), "layer is 'x'; it must be a whole number"),
    (lambda model: model.look("w5 " * 128), "the text has 129 tokens and the model sees at most 128; shorten it"),
    (lambda model: model.look(" "), "the text has no words to look at; give at least one"),
]  # fmt: skip


@pytest.mark.parametrize(("ask", "said"), MANY)
def test_what_a_model_cannot_look_at_is_told_in_a_sentence(model: limelight.Model, ask: Ask, said: str) -> None:
    refused(lambda: ask(model), said)


LEVELS = "one of message, sentence, word"


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda seen: seen.prompt("x"), f"by is 'x'; it must be {LEVELS}"),
        (lambda seen: seen.parts("x"), f"by is 'x'; it must be {LEVELS}"),
        (lambda seen: seen.importance(of="x"), f"of is 'x'; it must be {LEVELS}"),
        (lambda seen: seen.importance(by="x"), f"by is 'x'; it must be {LEVELS}"),
        (lambda seen: seen.importance(check=3), f"check is 3; it must be {FLAG}"),
        (lambda seen: seen.importance(progress=3), f"progress is 3; it must be {FUNCTION}"),
        (lambda seen: seen.matrix(progress=3), f"progress is 3; it must be {FUNCTION}"),
    ],
)
def test_what_cannot_be_asked_of_an_answer_is_told_in_a_sentence(model: limelight.Model, ask: Ask, said: str) -> None:
    refused(lambda: ask(model.look(TEXT, "w20 w21")), said)
