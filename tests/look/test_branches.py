"""Changed texts that are read from where they part: the same answers as alone, and nothing is read twice."""

from itertools import combinations
from typing import Any

import pytest
import torch
from references import saved
from torch import Tensor

import limelight
from limelight.look.branches import Branch, Kept, branch, read
from limelight.look.session import Variant
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
