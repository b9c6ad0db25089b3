"""Changed texts that are read from where they part: the same answers as alone, and nothing is read twice."""

from itertools import combinations
from typing import Any

import pytest
import torch
from references import saved
from torch import Tensor

import limelight
from limelight.look.branches import Branch, Kept, _compared, _lots, branch, read
from limelight.look.question import GivenWord
from limelight.look.session import DecoderSession, Variant
from limelight.models.api import Decoder
from limelight.nn.state import State

TEXT = tuple(range(10, 22))
PLACES = [range(at, at + 1) for at in (2, 3, 5, 6, 9)]
VARIANTS = [
    Variant(),
    *(Variant(left_out=pair) for pair in combinations(PLACES, 2)),
    *(Variant(blocked=each) for n in (1, 2) for each in combinations(PLACES, n)),
    *(
        Variant(replaced=tuple((span, (new,)) for span in each))
        for n in (1, 2, 3)
        for each in combinations(PLACES, n)
        for new in (40, 41)
    ),
    Variant(left_out=(range(4, 6),), replaced=((range(7, 9), (42,)),), blocked=(range(2, 3),)),
]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("llama")
    saved("llama", folder)
    return limelight.open(folder).opened


def test_a_branch_is_what_is_left_of_the_text_where_it_stands() -> None:
    made = branch(VARIANTS[-1], TEXT, (8, 11))
    assert made.tokens == [10, 11, 13, 16, 42, 19, 20, 21]
    assert made.index == [0, 1, 3, 4, 5, 6, 7, 8]
    assert made.asked == [4, 7]
    assert branch(Variant(), TEXT, (11,)) == Branch(list(TEXT), list(range(12)), [11])


def test_a_text_begins_as_another_up_to_where_it_is_asked() -> None:
    one, other = Branch([1, 2, 3, 4], [0, 1, 2, 3], [3]), Branch([1, 2, 3, 9], [0, 1, 2, 3], [3])
    assert one.begins_as(other) == 3
    assert Branch(one.tokens, one.index, [2, 3]).begins_as(other) == 2  # its answer is wanted
    assert one.begins_as(Branch([1, 2, 3, 4], [0, 2, 3, 4], [3])) == 1  # the same, elsewhere
    assert one.begins_as(Branch([1, 2], [0, 1], [1])) == 2
    assert one.begins_as(Branch([7], [0], [0])) == 0
    assert _compared(Branch([1, 9], [0, 1], [1]), [(1, 0), (2, 1)]) == [(-1, -1), (9, 1)]


def test_a_kept_text_is_found_by_what_it_begins_with() -> None:
    state: Any = object()
    kept = Kept()
    assert kept.state is None
    kept.put(state, [Branch([1, 2, 3], [0, 1, 2], [2]), Branch([1, 9, 3], [0, 1, 2], [2])])
    assert kept.state is state
    assert kept.begun(Branch([1, 9, 4], [0, 1, 2], [2])) == (1, 2)
    assert kept.begun(Branch([1, 2, 3], [0, 1, 2], [2])) == (0, 2)
    assert kept.begun(Branch([1, 2, 3, 4], [0, 1, 2, 3], [3])) == (0, 3)
    assert kept.begun(Branch([7, 2], [0, 1], [1])) == (0, 0)


@pytest.mark.parametrize(
    ("length", "start", "most", "lots"),
    [
        (30, 0, 64, [[0, 1, 2], [3, 4]]),  # 150 positions are two lots of about 64
        (30, 0, 2, [[0, 1], [2], [3, 4]]),
        (30, 10, 64, [[0, 1, 2], [3, 4]]),  # 100 that are left to read
        (30, 20, 64, [[0, 1, 2, 3, 4]]),
        (2, 0, 64, [[0, 1, 2, 3, 4]]),
        (90, 0, 64, [[0], [1], [2], [3], [4]]),
    ],
)
def test_texts_are_read_in_lots_of_about_as_many_positions(
    length: int, start: int, most: int, lots: list[list[int]]
) -> None:
    texts = [Branch([1] * length, [*range(length)], [length - 1])] * 5
    assert [*_lots(texts, range(5), dict.fromkeys(range(5), start), most)] == lots


def test_variants_that_change_at_nearly_the_same_place_are_read_together(
    network: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, question = DecoderSession(network, TEXT), GivenWord((11,), (5,))
    variants = [*(Variant(left_out=(range(at, at + 1),)) for at in (2, 2, 6, 9, 9)), Variant()]
    assert [session._first_change(question, each) for each in variants] == [2, 2, 6, 9, 9, 11]
    hidden, both = Variant((range(2, 4),)), Variant((range(7, 8),), (range(5, 6),))
    assert [session._first_change(question, each) for each in (hidden, both)] == [4, 5]  # behind what is hidden
    assert [*session._batches(question, variants)] == [[0, 1, 2, 3, 4, 5]]
    for limits, batches in (
        ({"WORTHWHILE": 10}, [[0, 1], [2, 3], [4, 5]]),
        ({"WORTHWHILE": 10, "BATCH": 15}, [[0], [1], [2, 3], [4, 5]]),
        ({"BATCH": 20}, [[0, 1], [2, 3, 4], [5]]),
        ({"ROWS": 4}, [[0, 1, 2, 3], [4, 5]]),
        ({"LOGITS": 3 * 99}, [[0, 1, 2], [3, 4, 5]]),  # of 99 tokens each
        ({"LOGITS": 98}, [[0], [1], [2], [3], [4], [5]]),
    ):
        with monkeypatch.context() as patch:
            for name, limit in limits.items():
                patch.setattr(f"limelight.look.session.{name}", limit)
            assert [*session._batches(question, variants)] == batches, limits


@pytest.mark.parametrize("most", [1, 3, 64])
def test_what_several_texts_begin_with_is_read_once(network: Decoder, most: int) -> None:
    at = (len(TEXT) - 2, len(TEXT) - 1)
    state = network.start(1, 2 * len(TEXT))
    steps: list[int] = []
    with torch.inference_mode():
        network.read(torch.tensor([TEXT]), state)
        made = [branch(variant, TEXT, at) for variant in VARIANTS]
        text = branch(Variant(), TEXT, at)
        hook = network.decoder.register_forward_hook(lambda module, inputs, out: steps.append(len(out)))
        found = {}
        for places, hidden in read(network, text, state, made, most):
            found |= dict(zip(places, hidden, strict=True))
        hook.remove()
        assert sorted(found) == list(range(len(VARIANTS)))
        for i, one in enumerate(made):
            alone = network.decoder.decode(
                network.embed(torch.tensor([one.tokens])),
                network.start(1, len(TEXT)),
                None,
                None,
                index=torch.tensor([one.index]),
            )
            torch.testing.assert_close(found[i], alone[0, one.asked], rtol=0, atol=1e-5)
    assert max(steps) <= most
    assert sum(steps) == len(VARIANTS)


def test_one_after_another_each_beginning_is_read_once(network: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positions that are read are those in which a text differs from all that were read before."""
    at = (len(TEXT) - 1,)
    made = [branch(variant, TEXT, at) for variant in VARIANTS]
    text = branch(Variant(), TEXT, at)
    seen = {tuple(zip(text.tokens, text.index, strict=True))[:n] for n in range(1, len(TEXT) + 1)}
    asked = 0
    for one in made:
        begun = [tuple(zip(one.tokens, one.index, strict=True))[:n] for n in range(1, len(one.tokens) + 1)]
        asked += begun[-1] in seen  # the last one is read again, since its answer is wanted
        seen |= {*begun}
    counted: list[int] = []
    whole = network.embed.forward
    monkeypatch.setattr(network.embed, "forward", lambda tokens: (counted.append(tokens.numel()), whole(tokens))[1])
    state = network.start(1, 2 * len(TEXT))
    with torch.inference_mode():
        network.read(torch.tensor([TEXT]), state)
        for _ in read(network, text, state, made, most=1):
            pass
    assert sum(counted) == len(seen) + asked


def test_a_kept_text_is_gone_on_from(network: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a text that is changed in two places only what stands behind the second is read."""
    at = (len(TEXT) - 1,)
    text = branch(Variant(), TEXT, at)
    singles, pairs = (
        [
            branch(Variant(blocked=each[:hidden], replaced=tuple((span, (new,)) for span in each[hidden:])), TEXT, at)
            for each in combinations(PLACES, n)
            for hidden, new in ((0, 40), (0, 41), (n, 0))
        ]
        for n in (1, 2)
    )
    state = network.start(1, 2 * len(TEXT))
    counted: list[int] = []
    whole = network.decoder.decode

    def count(x: Tensor, state: State, counts: Tensor, *rest: Any, **more: Any) -> Tensor:
        counted.append(int(counts.sum()))
        return whole(x, state, counts, *rest, **more)

    with torch.inference_mode():
        network.read(torch.tensor([TEXT]), state)
        alone = dict(each for made in read(network, text, state, pairs, 64) for each in zip(*made, strict=True))
        kept = Kept()
        for _ in read(network, text, state, singles, 4, kept):
            pass
        monkeypatch.setattr(network.decoder, "decode", count)
        found = dict(each for made in read(network, text, state, pairs, 4, kept) for each in zip(*made, strict=True))
    assert found.keys() == alone.keys() == {*range(len(pairs))}
    for place, hidden in alone.items():
        torch.testing.assert_close(found[place], hidden, rtol=0, atol=1e-5)
    behind = (len(TEXT) - two.start for _, two in combinations(PLACES, 2))
    assert sum(counted) == sum(2 * left + left - 1 for left in behind)
