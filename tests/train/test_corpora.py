"""What each kind of corpus takes in a batch, and the batches that it makes, worked out by hand."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch

from limelight.errors import RequestError
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer
from limelight.train import batches as module
from limelight.train.batches import (
    IGNORE,
    Answered,
    Batch,
    Batches,
    Chats,
    Corpus,
    Marks,
    Part,
    Position,
    Stream,
    Texts,
    padded,
)
from limelight.train.preference import Preferred
from limelight.train.tokenfile import TokenFile, prepare_examples

BOTH = np.array([0, 1])


def file(folder: Path, rows: Sequence[tuple[list[int], list[int]]]) -> TokenFile:
    return prepare_examples(rows, 99, folder / "data")


def sizes(corpus: Corpus) -> list[list[int]]:
    return [each.tolist() for each in corpus.lengths(BOTH)]


def test_texts_with_one_label_each(tmp_path: Path) -> None:
    corpus = Answered(file(tmp_path, [([5, 6, 7], [3]), ([8], [0])]), 9)
    batch = corpus.batch(BOTH, 0)
    assert (len(corpus), sizes(corpus)) == (2, [[3, 1], [1, 1]])
    assert batch.tokens.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch.targets.tolist() == [3, 0]
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [3, 1]
    assert (batch.source, batch.texts()) == (None, [[5, 6, 7], [8]])


def test_texts_with_labels_at_places(tmp_path: Path) -> None:
    corpus = Answered(file(tmp_path, [([5, 6, 7], [0, 4, 2, 1]), ([8, 6], [1, 2])]), 9, placed=True)
    batch = corpus.batch(BOTH, 0)
    assert sizes(corpus) == [[3, 2], [2, 1]]
    assert batch.tokens.tolist() == [[5, 6, 7], [8, 6, 9]]
    assert batch.targets.tolist() == [[4, IGNORE, 1], [IGNORE, 2, IGNORE]]
    assert (batch.source, batch.texts()) == (None, [[5, 6, 7], [8, 6]])


def test_texts_with_any_number_of_labels(tmp_path: Path) -> None:
    corpus = Answered(file(tmp_path, [([5, 6], [0, 2]), ([8], [1])]), 9, several=3)
    batch = corpus.batch(BOTH, 0)
    assert sizes(corpus) == [[2, 1], [1, 1]]
    assert batch.targets.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert batch.targets.is_floating_point()
    assert (batch.source, batch.texts()) == (None, [[5, 6], [8]])


CONVERSATIONS = [([1, 2, 3, 4, 5, 6], [1, 3, 4, 6]), ([7, 8], [1, 2])]


def test_of_conversations_the_answers_are_predicted(tmp_path: Path) -> None:
    corpus = Chats(file(tmp_path, CONVERSATIONS), 9)
    batch = corpus.batch(BOTH, 0)
    assert (len(corpus), sizes(corpus)) == (2, [[5, 1], [4, 1]])
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5], [7, 9, 9, 9, 9]]
    assert batch.targets.tolist() == [[2, 3, IGNORE, 5, 6], [8, *[IGNORE] * 4]]


def test_of_pairs_of_answers_the_better_ones_come_first(tmp_path: Path) -> None:
    rows = [*CONVERSATIONS, ([1, 3], [1, 2]), ([1, 2, 4], [2, 3])]
    corpus = Preferred(file(tmp_path, rows), 9, np.array([-1, -2, -3, -4], np.float32))
    batch = corpus.batch(BOTH, 0)
    assert (len(corpus), sizes(corpus)) == (2, [[10, 4], [1, 1]])
    assert batch.tokens[:, 0].tolist() == [1, 1, 7, 1]
    assert batch.targets[:, :2].tolist() == [[2, 3], [3, IGNORE], [8, IGNORE], [IGNORE, 4]]
    assert batch.reference is not None
    assert batch.reference.tolist() == [-1, -3, -2, -4]


def test_whole_texts_stand_between_their_marks(tmp_path: Path) -> None:
    corpus = Texts(file(tmp_path, [([5, 6, 7], [8])]), Marks(start=1, end=2, pad=3))
    batch = corpus.batch(BOTH, 0)
    assert (len(corpus), sizes(corpus)) == (2, [[0, 0], [4, 2]])
    assert batch.tokens.tolist() == [[1, 5, 6, 7], [1, 8, 3, 3]]
    assert batch.targets.tolist() == [[5, 6, 7, 2], [8, 2, IGNORE, IGNORE]]


def test_a_stream_has_as_many_windows_as_have_a_token_behind_them() -> None:
    found = {n: len(Stream(np.arange(n, dtype=np.uint16), 4)) for n in (5, 8, 9)}
    assert found == {5: 1, 8: 1, 9: 2}
    stream = Stream(np.arange(9, dtype=np.uint16), 4)
    assert sizes(stream) == [[0, 0], [4, 4]]
    batch = stream.batch(BOTH, 3)  # from 3 · 40503 mod 4 = 1 on, around the end
    assert batch.tokens.tolist() == [[1, 2, 3, 4], [0, 1, 2, 3]]
    assert batch.targets.tolist() == [[2, 3, 4, 5], [1, 2, 3, 4]]
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    assert batch.tokens.is_contiguous()
    assert batch.targets.is_contiguous()
    with pytest.raises(
        RequestError, match=r"^a text of 1,000 tokens is too short for windows of 1,000; lower context$"
    ):
        Stream(np.zeros(1000, np.uint16), 1000)


def test_parts_are_cut_in_one_order_and_keep_their_epoch() -> None:
    stream = Stream(np.arange(25, dtype=np.uint16), 4)
    parts = Part(stream, 0, 2), Part(stream, 2, 6)
    assert [len(part) for part in parts] == [2, 4]
    found = [part.batch(np.arange(len(part)), 0).tokens[:, 0].tolist() for part in parts]
    assert sorted(found[0] + found[1]) == [0, 4, 8, 12, 16, 20]
    later = [part.batch(np.arange(len(part)), 3).tokens[:, 0].tolist() for part in parts]
    assert later == [[(start + 1) % 21 for start in part] for part in found]


def test_a_batch_that_is_moved_keeps_all_that_it_holds() -> None:
    tensors = [torch.full((2, 3), n) for n in range(7)]
    batch = Batch(*tensors)
    moved = batch.to(torch.device("cpu"))
    assert all(torch.equal(getattr(moved, f.name), getattr(batch, f.name)) for f in fields(Batch))
    away = batch.to(torch.device("meta"))
    assert {f.name for f in fields(Batch) if not getattr(away, f.name).is_meta} == {"lengths"}


def test_a_batch_finds_where_it_is_asked() -> None:
    targets = torch.tensor([[IGNORE, 4], [5, IGNORE]])
    moved = Batch(targets, targets).to(torch.device("cpu"))
    assert moved.places is not None
    assert (moved.places.tolist(), moved.asked().tolist()) == ([1, 2], [1, 2])
    assert Batch(targets, targets, places=torch.tensor([3])).asked().tolist() == [3]
    assert all(each is None for each in (moved.source, moved.lengths, moved.reference, moved.types))


def test_a_position_is_one_that_the_order_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL", 4)
    order = Batches(Stream(np.arange(17, dtype=np.uint16), 2), 4, 0)  # 8 windows: 2 pools of 2 batches of 2
    assert all(order.has(at) for at in (Position(), Position(7, 1, 2), Position(0, 0, 2)))
    wrong = [Position(0, 2, 0), Position(0, 0, 3), Position(-1), Position(0, -1), Position(0, 0, -1)]
    assert not any(order.has(at) for at in [*wrong, Position(0.0), Position(True)])  # type: ignore[arg-type]
    steps = order.after(Position(2, 0, 1))
    assert [next(steps)[0] for _ in range(4)] == [
        Position(2, 0, 2),
        Position(2, 1, 1),
        Position(2, 1, 2),
        Position(3, 0, 1),
    ]


def test_rows_are_filled_up_on_the_right() -> None:
    table = padded([(1,), (2, 3, 4), ()], -7)
    assert table.tolist() == [[1, -7, -7], [2, 3, 4], [-7, -7, -7]]
    assert table.dtype is torch.int64


def test_a_tokenizer_without_an_end_cannot_be_trained_on() -> None:
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, "a"))
    said = "^this model's tokenizer has no token for the end of a text, so it cannot be trained on$"
    with pytest.raises(RequestError, match=said):
        Marks.of(Tokenizer(Parts(inner)))
