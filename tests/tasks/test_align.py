"""Alignment error rate on examples counted by hand, the formats of known links, and attention read as an alignment."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from small_languages import SENTENCES, language, network

from limelight.errors import FileError, RequestError
from limelight.look.record import record
from limelight.models.api import Seq2Seq
from limelight.tasks.evaluation.alignment import Gold, align, attention, by_word, error_rate, listening, read_gold

WORDS = language()
DATA = Path(__file__).parents[3] / "shared" / "data"


def gold(sure: set[tuple[int, int]], possible: set[tuple[int, int]]) -> Gold:
    return Gold(("a",) * 4, ("b",) * 4, frozenset(sure), frozenset(sure | possible))


@pytest.mark.parametrize(
    ("found", "sure", "possible", "expected"),
    [
        ({(0, 0), (1, 1)}, {(0, 0), (1, 1)}, set(), 0.0),
        ({(0, 0), (1, 1)}, {(0, 0)}, {(1, 1)}, 0.0),  # a possible link is no error
        ({(0, 0)}, {(0, 0)}, {(1, 1)}, 0.0),  # and need not be found
        ({(2, 2)}, {(0, 0)}, {(1, 1)}, 1.0),
        ({(0, 0), (2, 2)}, {(0, 0), (1, 1)}, {(3, 3)}, 1 - (1 + 1) / (2 + 2)),
        ({(0, 0), (3, 3), (2, 2)}, {(0, 0), (1, 1)}, {(3, 3)}, 1 - (1 + 2) / (3 + 2)),
        (set(), {(0, 0)}, set(), 1.0),
    ],
)
def test_error_rate(
    found: set[tuple[int, int]], sure: set[tuple[int, int]], possible: set[tuple[int, int]], expected: float
) -> None:
    assert error_rate([found], [gold(sure, possible)]) == pytest.approx(expected)


def test_the_error_rate_counts_links_and_not_sentences() -> None:
    one, other = gold({(0, 0), (1, 1), (2, 2)}, set()), gold({(0, 0)}, set())
    rate = error_rate([{(0, 0), (1, 1), (2, 2)}, {(3, 3)}], [one, other])
    assert rate == pytest.approx(1 - (3 + 3) / (4 + 4))
    with pytest.raises(RequestError, match="not as many"):
        error_rate([{(0, 0)}], [one, other])
    with pytest.raises(RequestError, match="no link"):
        error_rate([set()], [gold(set(), {(0, 0)})])


def sides(folder: Path) -> tuple[Path, Path]:
    (folder / "a.de").write_text("\ufeffeins zwei\ndrei\n", encoding="utf-8")
    (folder / "a.en").write_text("one two\nthree more\n", encoding="utf-8")
    return folder / "a.de", folder / "a.en"


@pytest.mark.parametrize("text", ["1 0 0 S\n1 1 1 P\n2 0 1\n", "0-0 1p1\n0-1\n"])
def test_links_are_read_from_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "links.wa"
    path.write_text(text, encoding="utf-8")
    first, second = read_gold(path, *sides(tmp_path))
    assert first == Gold(("eins", "zwei"), ("one", "two"), frozenset({(0, 0)}), frozenset({(0, 0), (1, 1)}))
    assert second == Gold(("drei",), ("three", "more"), frozenset({(0, 1)}), frozenset({(0, 1)}))


def test_links_are_read_from_json(tmp_path: Path) -> None:
    path = tmp_path / "links.jsonl.gz"
    line = {"src_words": ["a", "b"], "tgt_words": ["c"], "alignment": [[1, 0]]}
    path.write_bytes(gzip.compress((json.dumps(line) + "\n").encode()))
    assert read_gold(path) == [Gold(("a", "b"), ("c",), frozenset({(1, 0)}), frozenset({(1, 0)}))]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.wa", "1 0 0 S\n1 0 2 S\n", r"a.wa: 1 of its 2 links .* in sentence 1: 0-2"),
        ("a.wa", "3 0 0 S\n", "line 1: there is no sentence 3"),
        ("a.wa", "1 0 x S\n", "line 1: '1' is no link"),
        (
            "a.jsonl",
            '{"src_words": ["a"], "tgt_words": ["b"], "alignment": [[0, -1]]}\n',
            "line 1: a link is to a word below",
        ),
        ("a.jsonl", '{"src_words": []}\n', "line 1: not an aligned pair"),
        ("a.jsonl", '{"src_words": ["a"], "tgt_words": ["b"], "alignment": [[0, 1]]}\n', "1 of its 1 links"),
    ],
)
def test_links_that_do_not_fit_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match=message):
        read_gold(path, *sides(tmp_path))
    if name == "a.wa":
        with pytest.raises(RequestError, match="name the two files"):
            read_gold(path)


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")
def test_the_known_links_of_real_sentences_are_read() -> None:
    folder = DATA / "align_de_en_small"
    texts = folder / "test.de", folder / "test.en"
    found = read_gold(folder / "de-en.ref.wa", *texts)
    assert found == read_gold(folder / "de-en.wa", *texts)
    assert len(found) == 100
    assert sum(len(each.sure) for each in found) == 1233
    assert found[0].source[:2] == ("herr", "präsident")
    assert error_rate([each.sure for each in found], found) == 0
    assert len(read_gold(DATA / "align_en_pt" / "train.jsonl.gz")) == 90


@pytest.mark.parametrize(
    "name", ["transformer-modern-tiny", "lstm-attention", "gru-attention-additive", "lstm-attention-dot"]
)
def test_attention_is_that_of_the_model_read_at_the_right_step(name: str) -> None:
    model = network(name)
    assert isinstance(model, Seq2Seq)
    source, target = SENTENCES[0], "hund läuft im"
    weights = attention(model, WORDS, source, target)
    S, T = len(WORDS.read(source)) + 1, len(WORDS.read(target)) + 1
    assert weights.shape == (len(model.crosses), T, S)
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(model.crosses), T))
    spans = [[(at, at + len(word)) for word in text.split() for at in [text.index(word)]] for text in (source, target)]
    # Each word here is one token: the row of a word is that of the step it is read at, or of the step before.
    told = by_word(model, WORDS, source, target, *spans, step="input")
    torch.testing.assert_close(told, weights[:, 1:, :-1])
    asked = by_word(model, WORDS, source, target, *spans, step="output")
    torch.testing.assert_close(asked, weights[:, :-1, :-1])
    fitting = told if name.startswith("transformer") else asked
    torch.testing.assert_close(by_word(model, WORDS, source, target, *spans), fitting)
    links = align(model, WORDS, source.split(), target.split())
    assert links == [{(int(row.argmax()), j) for j, row in enumerate(layer)} for layer in fitting]


def test_words_of_several_tokens_are_summed_where_heard_and_averaged_where_asking() -> None:
    model = network("transformer-modern-tiny")
    source, target = SENTENCES[0], "hund läuft im"
    weights = attention(model, WORDS, source, target)[:, 1:]
    found = by_word(model, WORDS, source, target, [(0, 11), (12, 22)], [(0, 10), (11, 13)], step="input")
    asking = torch.stack((weights[:, :2].mean(1), weights[:, 2]), 1)
    torch.testing.assert_close(found, torch.stack((asking[:, :, :2].sum(-1), asking[:, :, 2:4].sum(-1)), -1))


def test_models_without_attention_to_a_source_are_refused() -> None:
    for name in ("gpt-modern-tiny", "lstm-plain"):
        with pytest.raises(RequestError, match="no attention to a source"):
            attention(network(name), WORDS, "hund", "hund")
    with pytest.raises(RequestError, match="an empty text"):
        attention(network("lstm-attention"), WORDS, " ", "hund")
    with pytest.raises(RequestError, match="layer 1 has no attention to a source"):
        record(network("lstm-attention"), cross=[1])


def test_the_model_itself_is_not_recorded() -> None:
    model = network("lstm-attention")
    assert isinstance(model, Seq2Seq)
    before = [cross.core for cross in model.crosses]
    attention(model, WORDS, "hund", "hund")
    assert [cross.core for cross in model.crosses] == before


def test_the_layer_that_listens_to_what_mattered() -> None:
    weights = torch.tensor([[[0.9, 0.1], [0.8, 0.2]], [[0.4, 0.6], [0.5, 0.5]]])
    assert listening(weights, torch.tensor([[2.0, -1.0], [0.1, 0.0]]))[0] == 0
    assert listening(weights, torch.tensor([[-3.0, -1.0], [0.1, 0.2]])) == (1, pytest.approx(0.4743, abs=1e-3))
