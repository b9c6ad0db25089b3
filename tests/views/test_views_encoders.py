"""What a page is told of a text that an encoder reads, and which word it asks about."""

import math
from pathlib import Path

import pytest
from references import saved, write_marked_tokenizer

import limelight
from limelight.decode import Sampling
from limelight.views.encoded import EncodedViews


@pytest.mark.parametrize("name", ["bert-tokens", "bert-masked", "bert-classes"])
def test_a_word_is_found_again_by_its_text(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    write_marked_tokenizer(tmp_path)
    model = limelight.open(tmp_path, kind=limelight.EncoderModel)
    views = EncodedViews(model.network, model.tokenizer, "w10 w11 w10 w12 w13")
    if name == "bert-classes":  # which answers of the whole text, behind it
        assert views.last("w10") == views.asked == 5
    else:
        assert views.last("w10") == 2
        assert views.last("w11") == 1
        assert views.last("w99") == views.last() == views.asked


TEXT = "w10 w20 w30 w12"


def opened(name: str, folder: Path, text: str = TEXT, beside: str = "") -> EncodedViews:
    saved(name, folder)
    write_marked_tokenizer(folder)
    model = limelight.open(folder, kind=limelight.EncoderModel)
    return EncodedViews(model.network, model.tokenizer, text, beside)


@pytest.mark.parametrize("name", ["bert-tokens", "bert-classes"])
def test_labels_are_ranked_by_their_shares(name: str, tmp_path: Path) -> None:
    views = opened(name, tmp_path)
    labels = views.seen.session.labels
    whole = name == "bert-classes"
    found = views.next(None, Sampling(1.0))
    rows = found["rows"]
    assert (found["word"], found["asked"], found["left"]) == (views.asked, 0, len(labels))
    assert {row["token"] for row in rows} == {*labels}
    assert [row["rank"] for row in rows] == [*range(1, len(labels) + 1)]
    assert [row["share"] for row in rows] == sorted((row["share"] for row in rows), reverse=True)
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert all(row["kept"] == row["share"] and row["cut"] is None for row in rows)
    assert views.next(None, Sampling(1.0), n=1)["rows"] == rows[:1]
    words = views.words()
    if whole:
        behind = {"gap": " → ", "text": rows[0]["token"], "tokens": [], "given": False}
        assert words["words"][4] == behind
        assert views.asked == 4
    else:
        best = [views.next(word, Sampling(1.0))["rows"][0]["token"] for word in range(4)]
        assert [word["tag"] for word in words["words"]] == [None if tag == "O" else tag for tag in best]
    assert [word["given"] for word in words["words"][:4]] == [True] * 4
    assert (words["tail"], words["added"], words["asked"]) == ("", "", views.asked)
    assert views.estimate(0) is None


@pytest.mark.parametrize("name", ["bert-spans", "bert-states"])
def test_what_is_chosen_from_no_list_has_no_rows(name: str, tmp_path: Path) -> None:
    views = opened(name, tmp_path, beside=" w50 ")
    assert views.next(None, Sampling(1.0)) == {"word": 4, "rows": [], "asked": None, "left": 0}
    answer = views.words()["words"][4]["text"]
    if name == "bert-states":
        told = views.importance(None, None, check=False)
        assert told["told"][0] == [f"Their likeness is {answer}."]
        assert -1 <= float(answer.replace("−", "-")) <= 1
        assert (told["word"], told["checked"], len(told["values"])) == (4, False, 4)
    else:
        assert answer in TEXT


def test_a_word_is_answered_from_both_sides(tmp_path: Path) -> None:
    views = opened("bert-masked", tmp_path)
    found = views.next(1, Sampling(1.0), n=3)
    assert found["word"] == 1
    assert found["rows"][found["asked"]]["token"].strip() == "w20"
    assert len(found["rows"]) in (3, 4)
    told = views.importance(1, None, check=False)
    assert [value is None for value in told["values"]] == [False, True, False, False]
    assert (told["word"], told["checked"], told["check"]) == (1, False, None)
    assert told["probability"] == pytest.approx(math.exp(views.seen.importance(2, check=False).logprob))
    for sentence in told["told"]:
        for part in sentence:
            if isinstance(part, dict):
                assert part["text"] == f"“{TEXT.split()[part['word']]}”"


@pytest.mark.parametrize(("name", "count"), [("bert-masked", 4), ("bert-classes", 5), ("bert-states", 5)])
def test_attention_has_a_row_for_what_the_model_answers_of_the_whole(name: str, count: int, tmp_path: Path) -> None:
    views = opened(name, tmp_path)
    layers = len(views._session.stack.blocks)
    weights = [views.attention(layer) for layer in range(layers)]
    assert all(layer.shape[1:] == (count, count) for layer in weights)
    assert all(layer.is_contiguous() for layer in weights)
    for source, target in ((1, 3), (count - 1, 0)):
        links = [pytest.approx(layer[:, source, target].tolist(), abs=1e-5) for layer in weights]
        assert views.linking(source, target) == links
        assert all(share > 0 for layer in weights for share in layer[:, source, target].tolist())
    if count == 5:  # nothing looks at the answer
        assert not any(layer[:, :4, 4].any() or layer[:, 4, 4].any() for layer in weights)
        assert all((layer[:, 4].sum(-1) < 1).all() for layer in weights)  # some of it goes to the marks


def test_the_likeliest_word_stands_in_the_first_gap(tmp_path: Path) -> None:
    views = opened("bert-masked", tmp_path, "w10 [MASK] w20 [MASK]")
    words = views.words()
    filled = words["words"][1]["text"]
    assert [word["text"] for word in words["words"]] == ["w10", filled, "w20", "[MASK]"]
    assert [word["given"] for word in words["words"]] == [True, False, True, True]
    assert views.asked == words["asked"] == 1
    plain = opened("bert-masked", tmp_path / "again", "w10 ! ?")
    assert plain.asked == 0  # the last word that has a letter
    assert opened("bert-masked", tmp_path / "signs", "! ?").asked == 1
