"""Batches: each example once an epoch, within the budget, and always the same from the same position."""

from itertools import islice

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.errors import RequestError
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer
from limelight.train import batches as module
from limelight.train.batches import IGNORE, Batch, Batches, Marks, Pairs, Part, Position, Shuffle, Stream
from limelight.train.loop import _seed
from limelight.train.tokenfile import Ints, TokenFile, prepare_pairs
from limelight.train.tokenizers import train_tokenizer


class Lengths:
    """A corpus of nothing but lengths."""

    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        self.pairs = np.array(pairs, np.int64)

    def __len__(self) -> int:
        return len(self.pairs)

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        return self.pairs[indices, 0], self.pairs[indices, 1]

    def batch(self, indices: Ints, epoch: int) -> Batch:
        raise NotImplementedError


LENGTHS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=200)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 300), st.integers(0, 2**32), st.integers(0, 5), st.integers(1, 64))
def test_an_epoch_has_each_example_once_within_the_budget(
    pairs: list[tuple[int, int]], budget: int, seed: int, epoch: int, pool: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "POOL", pool)
        found = list(Batches(Lengths(pairs), budget, seed).epoch(epoch))
        again = list(Batches(Lengths(pairs), budget, seed).epoch(epoch))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(pairs)))
    assert [batch.tolist() for batch in found] == [batch.tolist() for batch in again]
    for batch in found:
        longest = max(max(pairs[i]) for i in batch.tolist())
        assert len(batch) == 1 or len(batch) * longest <= budget


def test_a_run_goes_on_in_the_same_order_by_any_version() -> None:
    """Its checkpoints keep a place in that order, and not the order itself."""
    assert Shuffle(12, 1, 2)(np.arange(12)).tolist() == [6, 2, 10, 9, 3, 5, 1, 7, 0, 4, 11, 8]
    assert Shuffle(1000, 7)(np.array([0, 1, 999])).tolist() == [109, 491, 175]
    assert Shuffle(1 << 40, 3)(np.array([5])).tolist() == [996176573355]
    lengths = Lengths([(n % 4 + 1, n % 3 + 1) for n in range(9)])
    assert [batch.tolist() for batch in Batches(lengths, 8, 5).pool(1, 0)] == [[8, 5], [0, 6], [1, 4], [3, 7], [2]]
    text = Stream(np.arange(50, dtype=np.uint16), 8)
    starts = [text.batch(np.array([0, 3]), epoch).tokens[:, 0].tolist() for epoch in range(4)]
    assert starts == [[0, 24], [7, 31], [6, 30], [5, 29]]
    assert [_seed(1, 2, rank) for rank in (0, 1)] == [64839537240436289, 47553742108684966]  # of a step's dropout


def test_a_batch_is_as_large_as_the_budget_allows() -> None:
    order = Batches(Lengths([(10, 10)] * 20), 45, 1)
    found = list(order.epoch())
    assert [len(batch) for batch in found] == [4] * 5
    assert np.array_equal(found, list(order.epoch(0)))  # the first one, where none is named


@settings(deadline=None, max_examples=30)
@given(LENGTHS, st.integers(1, 300), st.integers(0, 40), st.integers(1, 64))
def test_a_position_is_all_that_is_needed_to_go_on(
    pairs: list[tuple[int, int]], budget: int, done: int, pool: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "POOL", pool)
        order = Batches(Lengths(pairs), budget, 3)
        whole = [(at, batch.tolist()) for at, batch in islice(order.after(Position()), done + 40)]
        at = whole[done - 1][0] if done else Position()
        rest = [(at, batch.tolist()) for at, batch in islice(Batches(Lengths(pairs), budget, 3).after(at), 40)]
    assert rest == whole[done:]


def test_behind_an_epoch_stands_the_next() -> None:
    order = Batches(Lengths([(n % 7 + 1, 3) for n in range(50)]), 30, 1)
    epochs = [batch.tolist() for epoch in range(3) for batch in order.epoch(epoch)]
    assert [batch.tolist() for _, batch in islice(order.after(Position()), len(epochs))] == epochs


def test_epochs_and_seeds_differ() -> None:
    corpus = Lengths([(5, 5)] * 500)
    orders = [np.concatenate(list(Batches(corpus, 100, seed).epoch(epoch))) for seed in (1, 2) for epoch in (0, 1)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one != other).mean() > 0.9


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 65_537])
def test_a_shuffle_is_a_permutation(n: int) -> None:
    assert sorted(Shuffle(n, 1, n)(np.arange(n)).tolist()) == list(range(n))


def test_a_shuffle_is_even() -> None:
    n, draws = 10, 4000
    counts = np.zeros((n, n))
    for key in range(draws):
        counts[np.arange(n), Shuffle(n, key)(np.arange(n))] += 1
    chi = ((counts - draws / n) ** 2 / (draws / n)).sum()
    assert chi < 81 + 5 * (2 * 81) ** 0.5  # nine times nine degrees of freedom


def test_lengths_stand_together() -> None:
    draw = np.random.default_rng(0)
    target = draw.integers(3, 40, 20_000)
    source = np.clip(target + draw.integers(-3, 4, 20_000), 1, None)
    corpus = Lengths(list(zip(source.tolist(), target.tolist(), strict=True)))
    real, padded = np.zeros(2), np.zeros(2)
    for batch in Batches(corpus, 4096, 1).epoch():
        for side, lengths in enumerate(corpus.lengths(batch)):
            real[side] += lengths.sum()
            padded[side] += lengths.max() * len(lengths)
    assert (real / padded > [0.9, 0.98]).all()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> TokenFile:
    text = [("a b c", "x y"), ("b", "z y x"), ("c a", "x")]
    tokenizer = train_tokenizer([side for pair in text for side in pair], "word", 50)
    return prepare_pairs(text, (tokenizer, tokenizer), tmp_path_factory.mktemp("pairs") / "data", 10)


def test_pairs_for_an_encoder_decoder(pairs: TokenFile) -> None:
    batch = Pairs(pairs, Marks(start=1, end=2, pad=0)).batch(np.array([0, 1]), 0)
    (a, b, c), (x, y) = pairs[0].tolist(), pairs[1].tolist()
    z = int(pairs[3][0])
    assert batch.source is not None
    assert batch.lengths is not None
    assert batch.source.tolist() == [[a, b, c, 2], [b, 2, 0, 0]]
    assert batch.lengths.tolist() == [4, 2]
    assert batch.tokens.tolist() == [[1, x, y, 0], [1, z, y, x]]
    assert batch.targets.tolist() == [[x, y, 2, IGNORE], [z, y, x, 2]]


def test_pairs_for_a_decoder(pairs: TokenFile) -> None:
    corpus = Pairs(pairs, Marks(start=1, end=2, pad=0), joined=True)
    batch = corpus.batch(np.array([2, 1]), 0)
    (c, a), x = pairs[4].tolist(), int(pairs[5][0])
    assert batch.source is None
    assert batch.tokens[0].tolist() == [c, a, 1, x, 0]
    assert batch.targets[0].tolist() == [IGNORE, IGNORE, x, 2, IGNORE]
    beside, predicted = corpus.lengths(np.array([2, 1]))
    assert beside.tolist() == [4, 5]
    assert predicted.tolist() == (batch.targets != IGNORE).sum(1).tolist()


def test_parts_share_nothing(pairs: TokenFile) -> None:
    corpus = Pairs(pairs, Marks(1, 2, 0))
    held, rest = Part(corpus, 0, 1), Part(corpus, 1, 3)
    lengths = [part.lengths(np.arange(len(part)))[0].tolist() for part in (held, rest)]
    assert sorted(lengths[0] + lengths[1]) == [2, 3, 4]
    assert held.batch(np.array([0]), 0).targets.shape[0] == 1


@given(st.integers(2, 300), st.integers(1, 50), st.integers(0, 20))
def test_windows_of_a_stream(tokens: int, context: int, epoch: int) -> None:
    text = np.arange(tokens, dtype=np.uint16)
    if tokens <= context:
        with pytest.raises(RequestError, match="too short for windows"):
            Stream(text, context)
        return
    corpus = Stream(text, context)
    batch = corpus.batch(np.arange(len(corpus)), epoch)
    assert torch.equal(batch.targets, batch.tokens + 1)
    if epoch == 0:
        assert batch.tokens.flatten().tolist() == list(range(len(corpus) * context))


def test_marks_come_from_the_tokenizer() -> None:
    tokenizer = train_tokenizer(["a b"], "word", 50)
    assert Marks.of(tokenizer) == Marks(start=1, end=2, pad=0)


@pytest.mark.parametrize(
    ("named", "behind", "expected"),
    [
        ({"bos": "<s>", "eos": "</s>", "pad": "<pad>"}, None, Marks(start=1, end=2, pad=0)),
        ({"eos": "</s>", "pad": "<pad>"}, None, Marks(start=3, end=2, pad=0)),  # between documents stands 3
        ({"bos": "<s>", "eos": "</s>"}, None, Marks(start=1, end=2, pad=2)),
        ({"bos": "<s>", "eos": "</s>"}, 3, Marks(start=1, end=3, pad=3)),
        ({"bos": "<s>", "eos": "</s>"}, 0, Marks(start=1, end=2, pad=2)),  # behind a document, but no end of it
    ],
)
def test_marks_are_those_that_the_model_knows(named: dict[str, str], behind: int | None, expected: Marks) -> None:
    marks = ["<pad>", "<s>", "</s>", "<|endoftext|>"]
    vocab = {token: id for id, token in enumerate([*marks, "a"])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, "a"))
    inner.add_special_tokens(marks)
    if behind is not None:
        inner.post_processor = tokenizers.processors.TemplateProcessing(
            f"$A {marks[behind]}", special_tokens=[(marks[behind], behind)]
        )
    assert Marks.of(Tokenizer(Parts(inner, **named))) == expected
