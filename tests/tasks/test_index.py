"""A folder's index: what it finds, that it reads only what changed, and that it is one file."""

from pathlib import Path

import pytest
import torch
from references import write_marked_tokenizer

import limelight
from limelight.checkpoints.sentences import Sentences
from limelight.errors import FileError, RequestError
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.registry import config_from_hf
from limelight.tasks.index import NAME, PASSAGE, Index, passages
from limelight.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> limelight.Embedder:
    folder = tmp_path_factory.mktemp("embedder")
    write_marked_tokenizer(folder)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    network = build(config_from_hf({"model_type": "bert", "vocab_size": 99, "architectures": ["BertModel"], **sizes}))
    initialise(network, torch.Generator().manual_seed(0))
    return limelight.Embedder(network.eval(), Tokenizer.from_folder(folder), "tiny", folder)


@pytest.mark.parametrize("text", ["", "one", "a\n\n" * 900, "x" * 3000, "Some words here. " * 400, "  \n\n  "])
def test_passages_hold_all_of_a_text_but_white_space(text: str) -> None:
    found = list(passages(text))
    assert all(
        part == text[start:end].strip() == text[start:end] and 0 < len(part) <= PASSAGE for start, end, part in found
    )
    assert "".join("".join(part for *_, part in found).split()) == "".join(text.split())


def test_a_folder_is_searched_and_only_what_changed_is_read_again(
    model: limelight.Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    for name, text in (("a.txt", "w10 w11"), ("b.md", "w20 w21 w22"), ("sub/c.txt", "w30"), ("empty.txt", "")):
        (tmp_path / name).write_text(text)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    index = Index(tmp_path, model)
    assert index.update() == (4, 0)
    found = index.search("w20 w21 w22", 2)
    assert (found[0].file, found[0].text, found[0].start, found[0].end) == ("b.md", "w20 w21 w22", 0, 11)
    assert found[0].score == pytest.approx(1, abs=2e-3)
    vectors = torch.nn.functional.normalize(model.embed(["w20 w21 w22", "w10 w11", "w30"]), dim=-1)
    assert found[1].score == pytest.approx(float((vectors[1:] @ vectors[0]).max()), abs=2e-3)
    with pytest.raises(RequestError, match="the query is empty"):
        index.search(" ")
    index.close()

    read: list[str] = []
    embed = limelight.Embedder.embed
    monkeypatch.setattr(
        limelight.Embedder, "embed", lambda self, texts, prompt=None: read.extend(texts) or embed(self, texts, prompt)
    )
    (tmp_path / "a.txt").write_text("w40 w41 w42")
    (tmp_path / "b.md").unlink()
    again = Index(tmp_path, model)
    assert again.update() == (1, 1)
    assert read == ["w40 w41 w42"]
    assert {each.file for each in again.search("w40 w41 w42", 9)} == {"a.txt", "sub/c.txt"}
    assert len(again) == 2
    assert again.update() == (0, 0)
    again.close()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == [NAME]


def test_what_is_no_index_of_this_model_is_left_alone(model: limelight.Embedder, tmp_path: Path) -> None:
    (tmp_path / "mine.db").write_text("not a database, and long enough not to be taken for an empty one" * 9)
    with pytest.raises(FileError, match="is no index that can be used"):
        Index(tmp_path, model, tmp_path / "mine.db")
    Index(tmp_path, model).close()
    other = limelight.Embedder(model.network, model.tokenizer, "other", model.path)
    with pytest.raises(FileError, match="not of other, 64 wide"):
        Index(tmp_path, other)
    with pytest.raises(FileError, match="is no folder"):
        Index(tmp_path / "nowhere", model)


def test_no_end_of_a_passage_is_left_out(model: limelight.Embedder, tmp_path: Path) -> None:
    text = " ".join(f"w{10 + number % 80}" for number in range(700))  # more tokens in 900 characters than a short model
    short = limelight.Embedder(model.network, model.tokenizer, "tiny", model.path, Sentences(longest=50))
    (tmp_path / "a.txt").write_text(text)
    index = Index(tmp_path, short)
    index.update()
    found = sorted(index.search("w10", 999), key=lambda each: each.start)
    index.close()
    assert all(text[each.start : each.end] == each.text and len(short.encode(each.text)) <= 50 for each in found)
    assert " ".join(each.text for each in found) == text
