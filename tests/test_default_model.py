"""The default model itself, where it has been fetched (``limelight pull smollm2``)."""

import gzip
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch

import limelight
from limelight.checkpoints import wheel
from limelight.checkpoints.catalog import catalog, default
from limelight.decode import Sampling
from limelight.quant.linear import LowBitLinear
from limelight.serve.session import PageSession
from limelight.views.cards import heads

FILE = wheel.path_of(catalog()[default()])
WIKITEXT = Path(__file__).parents[2] / "shared" / "data" / "wikitext2" / "wiki.valid.raw.gz"

TIRED = "The cat sat on the mat because it was tired, so the"
CHASED = "The cat chased the mouse, and the mouse ran away from the"
CAUGHT = "The mouse chased the cat, and the cat ran away from the"
MARY = "Mary and John went to the shop. John gave a drink to"
PARIS = "The capital of Germany is Berlin. The capital of France is"
STAR = "Twinkle, twinkle, little star, how I wonder what you"

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the default model is not on this machine: limelight pull")


@pytest.fixture(scope="module")
def model() -> limelight.Model:
    return limelight.open(default())


@pytest.fixture(scope="module")
def exact() -> limelight.Model:
    """The same in float32, whose numbers do not hang on how low bits are multiplied."""
    return limelight.open(default(), dtype="float32", kind=limelight.Model)


def test_the_cat_is_why_it_was_tired(model: limelight.Model, exact: limelight.Model) -> None:
    seen = exact.look("The cat sat on the mat because it was tired")
    found = seen.importance("tired", method="blocking", check=False)
    values = {(heard.word, heard.start): heard.importance for heard in found.words}
    expected = {("cat", 4): 5.0, ("sat", 8): 2.4, ("the", 15): 2.0, ("on", 12): 1.6, ("because", 23): 1.07}
    assert {word: values[word] for word in expected} == pytest.approx(expected, abs=0.05)
    assert [heard.word for heard in found.ranked() if not heard.asks][:4] == ["cat", "sat", "the", "on"]
    assert found.words[-1].asks
    measured = seen.importance("tired", check=False)
    values = {(heard.word, heard.start): heard.importance for heard in measured.words}
    expected = {("cat", 4): 4.4, ("because", 23): 1.9, ("it", 31): -0.8}
    assert {word: values[word] for word in expected} == pytest.approx(expected, abs=0.05)
    for each in (measured, model.look(seen.text).importance("tired", check=False)):
        assert each.words[each.named[0]].word == "cat"
        assert (each.expected, each.rank) == ("a", pytest.approx(31, abs=3))
    attention = seen.attention(layer=13, head=8)
    assert float(attention[7, 1]) == pytest.approx(0.62, abs=0.01)  # "it" looks at "cat"


def test_mary_gets_the_drink(model: limelight.Model, exact: limelight.Model) -> None:
    text = "When Mary and John went to the store, John gave a drink to"
    found = exact.look(text).importance(method="blocking")
    ranked = [heard for heard in found.ranked() if not heard.asks][:3]
    assert [heard.word for heard in ranked] == ["gave", "Mary", "John"]
    assert [heard.importance for heard in ranked] == pytest.approx([4.67, 3.33, 2.44], abs=0.05)
    for each in (found, model.look(text).importance()):
        assert (each.target.text, each.rank, each.expected) == ("Mary", 1, "Mary")  # what comes next
        assert sorted(each.words[place].word for place in each.named) == ["Mary", "gave"]
        assert each.times is not None
        assert each.times > 1000
        assert each.trusted


def test_low_bit_layers_stay_low_bit(model: limelight.Model) -> None:
    layers = [module for module in model.network.modules() if isinstance(module, LowBitLinear)]
    assert len(layers) == 30 * 7 + 1
    assert {layer.matrix.format for layer in layers} == {"Q4_1", "Q8_0"}


def test_it_answers_in_its_own_template(model: limelight.Model) -> None:
    answer = "".join(model.chat([{"role": "user", "content": "Say hello."}], max_tokens=24))
    assert answer.strip()
    assert "<|im_end|>" not in answer


@pytest.mark.skipif(not WIKITEXT.is_file(), reason="../shared/data/wikitext2 is not here")
def test_rounding_costs_next_to_nothing(model: limelight.Model, exact: limelight.Model) -> None:
    text = gzip.decompress(WIKITEXT.read_bytes()).decode()[:6000]
    tokens = torch.tensor([model.tokenizer.encode(text).ids[:1024]])
    with torch.inference_mode():
        losses = [
            torch.nn.functional.cross_entropy(each.network(tokens)[0, :-1], tokens[0, 1:]).exp().item()
            for each in (model, exact)
        ]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)  # perplexity


def test_opening_it_imports_nothing_that_only_others_need() -> None:
    code = (
        "import sys, limelight; limelight.open(); assert not {'sympy', 'limelight.tasks', 'fastapi'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_example_and_card_of_the_page_shows_what_it_claims(model: limelight.Model) -> None:
    session = PageSession(default())
    session.put(model)

    def says(text: str, positions: bool = True) -> dict[str, float]:
        rows = session.edited(text, [], [], positions, None).next(None, Sampling(1.0))["rows"]
        return {row["token"]: row["share"] for row in rows}

    def moved(positions: bool) -> float:
        before, after = says(CHASED, positions), says(CAUGHT, positions)
        return sum(abs(share - after.get(word, 0.0)) for word, share in before.items()) / 2

    said = {TIRED: "cat", CHASED: "cat", CAUGHT: "mouse", MARY: "Mary", PARIS: "Paris"}
    for text, word in said.items():
        shares = says(text)
        assert max(shares, key=shares.__getitem__).strip() == word
    assert "are" in model.look(STAR).ahead.text[len(STAR) :]
    examples = (files("limelight") / "web" / "examples.js").read_text("utf-8")
    assert all(f'"{text}"' in examples for text in (*said, STAR))

    views = session.text_views(TIRED, "", ahead=True)
    words = [word.text for word in views.seen.words]
    it, cat = words.index("it"), words.index("cat")
    spotlight = heads(views.seen, [cat])[0]["weights"][it]
    assert spotlight.index(max(spotlight)) == cat  # “it” looks at “cat”
    assert spotlight[cat] > 0.5
    assert moved(True) > 0.5  # two words swapped: another word is next
    assert moved(False) < 0.2 * moved(True)  # positions off: the order is gone
