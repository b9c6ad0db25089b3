"""Roles: known patterns of attention, put where heads would make them, get the names and strengths that they have."""

import json
from collections.abc import Callable

import pytest
import tokenizers
import torch
from references import saved
from torch import Tensor

import limelight
from limelight.errors import RequestError
from limelight.look import ROLES, Roles, plain
from limelight.look import roles as measuring
from limelight.look.record import twin
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.gpt import gpt
from limelight.nn.scores import Scores
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer

LAYERS, HEADS = 3, 4
TEXT = "w10 w11 w12 w10 w11 w13"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp("llama")
    saved("llama", folder)
    return limelight.open(folder)


def puppet(model: limelight.Model, where: dict[tuple[int, int], Callable[[Tensor], Tensor]]) -> Decoder:
    """A twin of the model whose heads look where they are told: `where[layer, head](tokens)` → weights [B, T, T].

    All others spread their attention evenly over what they may see.
    """
    other = twin(model.network)
    read: list[Tensor] = []
    other.embed.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))

    def weigh(layer: int) -> Callable[[Tensor, Tensor, Scores], Tensor]:
        def told(q: Tensor, k: Tensor, scores: Scores) -> Tensor:
            B, H, T, _ = q.shape
            even = torch.ones(B, H, T, T).tril()
            weights = even / even.sum(-1, keepdim=True)
            for (at, head), pattern in where.items():
                if at == layer:
                    weights[:, head] = pattern(read[-1])
            return weights

        return told

    for layer, block in enumerate(other.decoder.blocks):
        block.attention.weigh = weigh(layer)
    return other


def looking_back(tokens: Tensor, steps: int) -> Tensor:
    T = tokens.shape[1]
    back = (torch.arange(T) - steps).clamp(min=0)
    return torch.eye(T)[back].expand(len(tokens), T, T)


def at_the_same(tokens: Tensor, behind: int) -> Tensor:
    """To where the token stood last, or `behind` it; to the first token if nowhere."""
    B, T = tokens.shape
    weights = torch.zeros(B, T, T)
    for b in range(B):
        for t in range(T):
            places = [s + behind for s in range(1, t) if tokens[b, s] == tokens[b, t] and s + behind < t]
            weights[b, t, places[-1] if places else 0] = 1
    return weights


PATTERNS = {
    (0, 0): lambda tokens: looking_back(tokens, 1),
    (0, 1): lambda tokens: looking_back(tokens, 0),
    (0, 2): lambda tokens: at_the_same(tokens, 0),
    (1, 0): lambda tokens: at_the_same(tokens, 1),
    (1, 3): lambda tokens: looking_back(tokens, tokens.shape[1]),
    (2, 2): lambda tokens: 0.5 * looking_back(tokens, 1) + 0.5 * looking_back(tokens, tokens.shape[1]),
}
KNOWN = {(0, 0): "previous", (0, 1): "self", (0, 2): "same", (1, 0): "induction", (1, 3): "first", (2, 2): "previous"}


PRONOUNS = """
Mary met John in town because she was bored | she Mary John
Mary met John in town because he was bored | he John Mary
John met Mary in town because she was bored | she Mary John
John met Mary in town because he was bored | he John Mary
Yesterday Mary told John that she had to go | she Mary John
Yesterday Mary told John that he had to go | he John Mary
Yesterday John told Mary that she had to go | she Mary John
Yesterday John told Mary that he had to go | he John Mary
the king met the woman in town because he was bored | he king woman
the king met the woman in town because she was bored | she woman king
the woman met the king in town because he was bored | he king woman
the woman met the king in town because she was bored | she woman king
Yesterday the king told the woman that he had to go | he king woman
Yesterday the king told the woman that she had to go | she woman king
Yesterday the woman told the king that he had to go | he king woman
Yesterday the woman told the king that she had to go | she woman king
We saw the dog near the boys and thought that it looked old | it dog boys
We saw the dog near the boys and thought that they looked old | they boys dog
We saw the boys near the dog and thought that it looked old | it dog boys
We saw the boys near the dog and thought that they looked old | they boys dog
We saw the car near the trees and thought that it looked old | it car trees
We saw the car near the trees and thought that they looked old | they trees car
We saw the trees near the car and thought that it looked old | it car trees
We saw the trees near the car and thought that they looked old | they trees car
"""
"""Each sentence, and who looks, whom the pronoun means and whom it does not."""

SUBJECTS = """
Last week the key near the cabinets was lost | was key cabinets
Last week the keys near the cabinet were lost | were keys cabinet
Last week the picture near the houses was lost | was picture houses
Last week the pictures near the house were lost | were pictures house
Last week the teacher near the students was lost | was teacher students
Last week the teachers near the student were lost | were teachers student
Last week the book near the tables was lost | was book tables
Last week the books near the table were lost | were books table
"""


def test_the_sentences_say_who_is_meant_and_who_is_not() -> None:
    told = [[f"{sentence} | {' '.join(asked)}" for sentence, *asked in links] for links in measuring.LINKS.values()]
    assert list(measuring.LINKS) == ["pronoun", "subject"]
    assert told == [PRONOUNS.split("\n")[1:-1], SUBJECTS.split("\n")[1:-1]]


def test_the_sentences_are_english_and_hold_the_words_that_are_asked_about() -> None:
    for sentence, *words in (link for links in measuring.LINKS.values() for link in links):
        cut = sentence.split()
        assert all(cut.count(word) == 1 for word in words)
        looks, meant, other = map(cut.index, words)
        assert max(meant, other) < looks
        for at, word in enumerate(cut):  # a name stands alone, and one thing behind an article
            name, thing = word in ("Mary", "John"), word in ("king", "woman", "dog", "car", "key", "cabinet")
            assert (name or thing) <= ((cut[at - 1] == "the" and at > 0) == thing)


def test_heads_get_the_roles_that_they_have(model: limelight.Model) -> None:
    sentences = [" ".join(f"w{i}" for i in range(10, 30)), " ".join(f"w{i}" for i in range(40, 55))]
    found = measuring.measure(puppet(model, PATTERNS), model.tokenizer, sentences)
    for layer in range(LAYERS):
        for head in range(HEADS):
            role, strength = found.of(layer, head)
            assert role == KNOWN.get((layer, head)), (layer, head)
            if (layer, head) in KNOWN:
                assert strength == pytest.approx(0.5 if (layer, head) == (2, 2) else 1.0)
    assert found.strengths["first"][2, 2] > 0.5
    assert found.strengths["induction"][0, 2] == 0
    assert found.strengths["same"][1, 0] == 0
    assert list(found.strengths) == [role for role in ROLES if role in found.strengths]
    assert all(strength.shape == (LAYERS, HEADS) for strength in found.strengths.values())


def test_strengths_in_one_text_are_shares_of_its_attention(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    found = seen.heads()
    ids = seen.reading.tokens
    assert set(found.strengths) == {"previous", "same", "induction", "self", "first"}  # no punctuation here
    for layer in range(LAYERS):
        for head in range(HEADS):
            weights = seen.attention(layer, head, tokens=True)
            assert len(weights) == len(ids)
            expected = {
                "previous": weights.diagonal(-1)[1:].mean(),
                "self": weights.diagonal()[1:].mean(),
                "first": weights[1:, 0].mean(),
                "same": (weights[4, 1] + weights[5, 2]) / 2,
                "induction": (weights[4, 2] + weights[5, 3]) / 2,
            }
            for role, strength in expected.items():
                assert float(found.strengths[role][layer, head]) == pytest.approx(float(strength), abs=1e-5), role


def test_the_places_of_repetitions_and_punctuation() -> None:
    class Marks:
        def token(self, id: int) -> str:
            return " ," if id == 9 else "x9"

    places = measuring._places([[1, 5, 9, 5, 9, 6], [2, 3]], Marks(), ROLES)
    marked = {role: place.nonzero().tolist() for role, place in places.items()}
    assert marked["same"] == [[0, 3, 1], [0, 4, 2]]
    assert marked["induction"] == [[0, 3, 2], [0, 4, 3]]
    assert marked["punctuation"] == [[0, 4, 2], [0, 5, 2]]
    assert marked["previous"] == [[0, t, t - 1] for t in range(2, 6)]
    assert marked["first"] == [[0, t, 0] for t in range(1, 6)] + [[1, 1, 0]]
    assert marked["self"] == [[0, t, t] for t in range(1, 6)] + [[1, 1, 1]]
    assert list(marked) == ["previous", "same", "induction", "punctuation", "self", "first"]
    assert all(place.dtype == torch.int8 for place in places.values())


def test_random_tokens_are_said_twice_behind_the_sink_token(model: limelight.Model) -> None:
    rows = measuring._random(model.network, model.tokenizer)
    assert len(rows) == 4
    assert all(row[0] == model.tokenizer.separator for row in rows)
    assert all(row[1:26] == row[26:] and len({*row[1:]}) == 25 for row in rows)
    assert not model.tokenizer.controls & {id for row in rows for id in row[1:]}
    assert len({tuple(row) for row in rows}) == 4


def test_pronouns_count_for_the_right_word_and_against_the_wrong_one(model: limelight.Model) -> None:
    spelled = ["<s>", *(f"w{i}" for i in range(1, 10)), *"Mary met John because she he was late".split()]
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(spelled)}, unk_token="w1")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens(["<s>"])
    english = Tokenizer(Parts(inner, bos="<s>", unk="w1"))
    links = [
        ("Mary met John because she was late", "she", "Mary", "John"),
        ("John met Mary because she was late", "she", "Mary", "John"),
    ]
    rows, places = measuring._linked(english, links, 8)
    assert [list(row) for row in rows] == [[0, 10, 11, 12, 13, 14, 16, 17], [0, 12, 11, 10, 13, 14, 16, 17]]
    assert measuring._linked(english, links, 7)[0] == []
    assert places.nonzero().tolist() == [[0, 5, 1], [0, 5, 3], [1, 5, 1], [1, 5, 3]]
    assert (int(places[0, 5, 1]), int(places[0, 5, 3]), int(places[1, 5, 1])) == (1, -1, -1)

    def mary(tokens: Tensor) -> Tensor:  # every word looks at Mary
        return torch.nn.functional.one_hot((tokens == 10).int().argmax(-1), tokens.shape[1])[:, None].float()

    looks = {(1, 2): mary, (0, 1): lambda tokens: looking_back(tokens, 4), (2, 0): lambda tokens: 0 * mary(tokens)}
    found = measuring._strengths(puppet(model, looks), rows, {"pronoun": places})["pronoun"]
    assert float(found[1, 2]) == 1  # the one who is meant, wherever she stands
    assert float(found[0, 1]) == 0  # one place, whoever stands there: right once, wrong once
    assert float(found[2, 0]) == 0


def test_a_tokenizer_that_does_not_know_the_words_leaves_their_roles_out(model: limelight.Model) -> None:
    found = model.look(TEXT).roles()
    assert set(found.strengths) == {"previous", "same", "induction", "self", "first"}
    assert json.loads(json.dumps(plain(found)))["strengths"]["same"] == found.strengths["same"].tolist()


def test_measuring_is_the_same_every_time_and_leaves_the_model_alone(model: limelight.Model) -> None:
    tokens = torch.tensor([[10, 11, 12]])
    with torch.inference_mode():
        before = model.network(tokens)
        one, two = model.look(TEXT).roles(), model.look(TEXT).roles()
        assert torch.equal(model.network(tokens), before)
    for role, strength in one.strengths.items():
        assert torch.equal(strength, two.strengths[role])


def test_of_names_what_holds() -> None:
    def role(**strengths: float) -> tuple[str | None, float]:
        return Roles({name: torch.tensor([[value]]) for name, value in strengths.items()}).of(0, 0)

    assert role(previous=0.3, same=0.4, first=0.6) == ("same", pytest.approx(0.4))
    assert role(previous=0.1, first=0.9) == ("first", pytest.approx(0.9))
    assert role(previous=0.2, first=0.3) == (None, pytest.approx(0.3))
    assert role(pronoun=-0.5) == (None, 0.0)
    assert role(self=0.25, first=0.9) == ("self", 0.25)
    assert role(previous=0.24, first=0.5) == ("first", 0.5)
    assert role(first=0.75) == ("first", 0.75)
    two = Roles({"previous": torch.tensor([[0.1, 0.5], [0.9, 0.1]])})
    assert [two.of(0, 1), two.of(1, 0)] == [("previous", 0.5), ("previous", pytest.approx(0.9))]
    for layer, head, said in (
        (2, 0, "layer is 2; it must be from 0 to 1"),
        (0, 2, "head is 2; it must be from 0 to 1"),
    ):
        with pytest.raises(RequestError, match=said):
            two.of(layer, head)


def test_sentences_without_words_are_refused(model: limelight.Model) -> None:
    with pytest.raises(RequestError, match="no words"):
        model.look(TEXT).roles(["  "])


def test_a_model_that_sees_little_is_measured_on_what_it_sees(model: limelight.Model) -> None:
    torch.manual_seed(0)
    network = build(gpt(vocab=99, context=9, layers=1, width=16, heads=2, dropout=0.0)).eval()
    assert isinstance(network, Decoder)
    found = measuring.measure(network, model.tokenizer)
    assert found.strengths["first"].shape == (1, 2)
    assert set(found.strengths) == {"previous", "same", "induction", "self", "first"}
