"""A real encoder, where it has been fetched (``limelight pull minilm``)."""

import gzip
import itertools
import re
from pathlib import Path

import pytest
import torch

import limelight
from limelight.checkpoints import wheel
from limelight.checkpoints.catalog import catalog

FILE = wheel.path_of(catalog()["minilm"])
WIKITEXT = Path(__file__).parents[2] / "shared" / "data" / "wikitext2" / "wiki.valid.raw.gz"

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason="the model is not on this machine: limelight pull minilm")

TEXTS = [
    "A man is eating food.",
    "The girl is carrying a baby; it smiles.",
    "tea",
    "Ein Mann isst. 一个人在吃饭。 🍎",
    "The new movie is awesome, and the new movie is so great that I would watch it again and again. " * 6,
]


@pytest.fixture(scope="module")
def model() -> limelight.Embedder:
    return limelight.open("minilm", kind=limelight.Embedder)


def texts() -> list[str]:
    if not WIKITEXT.is_file():
        return TEXTS
    with gzip.open(WIKITEXT, "rt", encoding="utf-8") as file:
        lines = [line.strip()[:600] for line in file if len(line) > 40]
    return [*TEXTS, *itertools.islice(lines, 0, None, max(1, len(lines) // 60))]


def test_embeddings_are_those_of_the_reference(model: limelight.Embedder) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(FILE.parent)
    reference = transformers.AutoModel.from_pretrained(FILE.parent).eval()
    ours = model.embed(texts())
    for text, vector in zip(texts(), ours, strict=True):
        with torch.inference_mode():
            states = reference(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(states.mean(0), dim=0)
        torch.testing.assert_close(vector, expected, rtol=1e-5, atol=1e-5)


def test_what_means_the_same_is_near(model: limelight.Embedder) -> None:
    a, b, c = model.embed(["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again."])
    assert float(a @ b) > 0.6
    assert float(a @ c) < 0.2


def test_what_is_shown_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    from limelight.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["show", "minilm"])
    out = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert "bert, 6 layers of width 384, 12 heads each" in out
    assert "512 tokens\n" in re.sub(" +\n", "\n", out)  # and no word on a cache, which an encoder has not
