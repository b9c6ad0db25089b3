"""``limelight look --npz`` and ``--parquet``: what is read back is what the library says."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import SENTENCE, Run

import limelight
from limelight.cli import numbers
from limelight.errors import RequestError
from limelight.look import Seen

TEXT = "The cat sat on the mat catatonically because"  # with a word of several tokens before the one in question
NAMES = {
    *("model", "text", "method", "unit", "words", "word_characters", "tokens", "token_words", "given", "asked"),
    *("logprob", "rank", "expected", "foil", "word_importance", "token_importance", "named", "ways", "losses"),
    *("check_sets", "check_every", "check_better", "check_holds", "attention"),
    *("next_tokens", "next_probabilities", "lens_tokens", "lens_probabilities", "lens_ranks", "lens_entropies"),
}


@pytest.fixture
def seen(tiny: Path) -> Seen:
    model = limelight.open(tiny)
    assert isinstance(model, limelight.Model)
    return model.look(TEXT)


def loaded(file: Path) -> dict[str, Any]:
    """All arrays of a file."""
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def written(run: Run, tiny: Path, file: Path, *args: object) -> None:
    code, out, err = run("look", TEXT, "-m", tiny, f"--{file.suffix[1:]}", file, *args)
    assert (code, out.strip(), err) == (0, f"{file} holds the numbers.", "")
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_npz_holds_what_the_library_says(run: Run, tiny: Path, tmp_path: Path, seen: Seen) -> None:
    written(run, tiny, tmp_path / "out.npz", "--word", "because", "--method", "blocking")
    arrays = loaded(tmp_path / "out.npz")
    found = seen.importance("because", method="blocking")
    assert found.named
    count, words = len(seen.tokens), len(seen.words)
    assert set(arrays) == NAMES
    assert (str(arrays["model"]), str(arrays["text"]), str(arrays["method"])) == (str(tiny), TEXT, found.method)
    assert arrays["words"].tolist() == TEXT.split()
    assert [TEXT[start:end] for start, end in arrays["word_characters"]] == TEXT.split()
    assert arrays["tokens"].tolist() == list(seen.tokens)
    assert "".join(arrays["tokens"][arrays["token_words"] == 6]) == " catatonically"
    assert (int(arrays["asked"]), int(arrays["given"]), str(arrays["foil"])) == (words - 1, count, "")
    assert (int(arrays["rank"]), str(arrays["expected"])) == (found.rank, found.expected)
    assert float(arrays["logprob"]) == pytest.approx(found.logprob, abs=1e-5)
    assert arrays["word_importance"][:-1] == pytest.approx([heard.importance for heard in found.words], abs=1e-4)
    assert np.isnan(arrays["word_importance"][-1])
    assert found.check is not None
    assert arrays["named"].tolist() == list(found.named)
    assert arrays["ways"].tolist() == list(found.losses) == ["replaced", "blocked", "deleted"]
    assert arrays["losses"] == pytest.approx(list(found.losses.values()), abs=1e-4)
    for name in ("sets", "every", "better", "holds"):
        assert arrays[f"check_{name}"] == getattr(found.check, name)
    assert arrays["attention"].shape == (3, 4, count, count)
    for layer, head in ((0, 0), (1, 3), (2, 2)):
        assert arrays["attention"][layer, head] == pytest.approx(
            seen.attention(layer, head, tokens=True).numpy(), abs=1e-6
        )
    following = seen.next_words(50)
    assert arrays["next_tokens"].tolist() == [token for token, _ in following]
    assert arrays["next_probabilities"] == pytest.approx([share for _, share in following], abs=1e-6)
    layers = seen.lens(words).layers
    assert arrays["lens_ranks"].tolist() == [[guess.rank for guess in row] for row in layers]
    assert arrays["lens_tokens"][2, 0].tolist() == [token for token, _ in layers[2][0].top]
    assert arrays["lens_probabilities"].shape == arrays["lens_tokens"].shape == (3, len(layers[0]), 5)


def test_the_next_word_is_the_last_of_the_words(run: Run, tiny: Path, tmp_path: Path, seen: Seen) -> None:
    written(run, tiny, tmp_path / "out.npz")
    arrays, found = loaded(tmp_path / "out.npz"), seen.importance()
    assert str(arrays["text"]) == seen.ahead.text != TEXT
    assert arrays["words"].tolist() == [*TEXT.split(), found.target.text]
    assert (int(arrays["asked"]), int(arrays["given"])) == (len(seen.words), len(seen.tokens))
    values = [math.nan if heard.importance is None else heard.importance for heard in found.words]
    assert arrays["word_importance"][:-1] == pytest.approx(values, abs=1e-4, nan_ok=True)
    # what could follow the text that was given stands in the place of the word in question
    first = int(np.flatnonzero(arrays["token_words"] == arrays["asked"])[0])
    assert first == arrays["given"]
    assert arrays["next_tokens"][0] == arrays["tokens"][first]
    assert arrays["next_tokens"].tolist() == [token for token, _ in seen.next_words(50)]


def test_importance_by_token(run: Run, tiny: Path, tmp_path: Path, seen: Seen) -> None:
    written(run, tiny, tmp_path / "out.npz", "--word", "because", "--method", "leave-one-out", "--why-not", "cat")
    arrays = loaded(tmp_path / "out.npz")
    of, by_word, by_token = (arrays[name] for name in ("token_words", "word_importance", "token_importance"))
    assert (str(arrays["method"]), str(arrays["foil"]), str(arrays["unit"])) == ("leave-one-out", "cat", "log-odds")
    found = seen.token_importance("because", foil="cat", method="leave-one-out")
    assert (
        sorted(found) == np.flatnonzero(~np.isnan(by_token)).tolist() == np.flatnonzero((of >= 0) & (of < 7)).tolist()
    )
    assert [by_token[place] for place in sorted(found)] == pytest.approx([found[p] for p in sorted(found)], abs=1e-4)
    for word in range(7):
        tokens = by_token[of == word]
        if len(tokens) == 1:  # a word of one token is that token
            assert tokens[0] == pytest.approx(by_word[word], abs=1e-4)
    assert max(np.bincount(of[of >= 0])) > 1


def test_parquet_holds_the_same_numbers(run: Run, tiny: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    word = ("--word", "because")
    code, _, err = run(
        "look", TEXT, "-m", tiny, *word, "--npz", tmp_path / "a.npz", "--parquet", tmp_path / "a.parquet"
    )
    assert (code, err) == (0, "")
    table, arrays = parquet.read_table(tmp_path / "a.parquet"), loaded(tmp_path / "a.npz")
    assert table.column_names == ["view", "layer", "head", "place", "other", "text", "value"]
    about = json.loads(table.schema.metadata[b"limelight"])
    assert (about["text"], about["words"], about["asked"]) == (TEXT, TEXT.split(), 7)
    assert (about["unit"], about["named"]) == ("log-probability", arrays["named"].tolist())
    assert all("against" not in name and "drops" not in name for name in about)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["view"], []).append(row)
    assert [(row["other"], row["text"], row["place"]) for row in rows["word importance"]] == [
        (place, word, 7) for place, word in enumerate(TEXT.split()[:-1])
    ]
    values = [row["value"] for row in rows["word importance"]]
    assert values == pytest.approx(arrays["word_importance"][:-1].tolist(), abs=0, nan_ok=True)
    for row in rows["token importance"]:
        assert row["value"] == arrays["token_importance"][row["other"]]
        assert row["text"] == arrays["tokens"][row["other"]]
    rebuilt = np.zeros_like(arrays["attention"])
    for row in rows["attention"]:
        rebuilt[row["layer"], row["head"], row["place"], row["other"]] = row["value"]
        assert row["text"] == arrays["tokens"][row["other"]]
    assert np.array_equal(rebuilt, arrays["attention"])
    assert [row["value"] for row in rows["next"]] == arrays["next_probabilities"].tolist()
    assert [row["text"] for row in rows["lens"]] == arrays["lens_tokens"].ravel().tolist()
    own = np.flatnonzero(arrays["token_words"] == 7).tolist()
    assert {row["place"] for row in rows["lens"]} == set(own)


def test_parquet_without_pyarrow_is_refused_before_anything_is_opened(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numbers, "find_spec", lambda name: None)
    code, out, err = run("look", SENTENCE, "-m", tmp_path / "none", "--parquet", tmp_path / "a.parquet")
    assert (code, out) == (1, "")
    assert 'install it with: pip install "limelight[parquet]"' in " ".join(err.split())


def test_json_and_files_together(run: Run, tiny: Path, tmp_path: Path) -> None:
    files = ("--npz", tmp_path / "a.npz", "--html", tmp_path / "a.html")
    code, out, err = run("look", SENTENCE, "-m", tiny, "--json", "--no-continue", "--lens", *files)
    assert (code, err) == (0, "")
    assert set(json.loads(out)) >= {"words", "check", "lens"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.npz"]


def test_a_file_that_cannot_be_written(run: Run, tiny: Path, tmp_path: Path) -> None:
    for option in ("--npz", "--html"):
        code, out, err = run("look", SENTENCE, "-m", tiny, option, tmp_path / "none" / "a.out")
        assert (code, out) == (1, "")
        assert "cannot write" in err


def test_nothing_is_left_of_a_file_that_failed(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(b"before")

    def interrupted() -> None:
        with numbers.beside(file) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_too_much_attention_is_refused(tiny: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    model = limelight.open(tiny)
    assert isinstance(model, limelight.Model)
    monkeypatch.setattr(numbers, "MOST", 1 << 10)
    with pytest.raises(RequestError, match="shorten the text"):
        numbers.fits(model, seen)
