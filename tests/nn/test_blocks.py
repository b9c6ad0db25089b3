"""Blocks, with parts that a reader can work out in their head: each joins the stream where its order says."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from limelight.errors import ConfigError
from limelight.nn.attention import KeysValues
from limelight.nn.block import ORDERS, Block, NoCross, NoFeedForward, PostNormCross, PreNormCross, Scaled
from limelight.nn.mask import CAUSAL, OPEN
from limelight.nn.norm import LayerNorm, RMSNorm
from limelight.nn.positions import Positions
from limelight.nn.recurrent import Carried, Tensors
from limelight.nn.unit import RecurrentUnit

AT = Positions(torch.arange(1), 1)
KEYS = KeysValues(torch.tensor(100.0), torch.tensor(0.0))


class Times(nn.Module):
    """Stands for attention and for a feed-forward: multiplies, and notes what else it is called with."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.given: tuple[object, ...] = ()

    def forward(self, x: Tensor, *given: object) -> Tensor:
        self.given = given
        return x * self.factor

    def attend(self, x: Tensor, source: KeysValues, *given: object) -> Tensor:
        self.given = (source, *given)
        return x * self.factor

    def cache(self, *given: object) -> tuple[object, ...]:
        return given


class Plus(nn.Module):
    """Stands for a norm."""

    def __init__(self, term: float) -> None:
        super().__init__()
        self.term = term

    def forward(self, x: Tensor) -> Tensor:
        return x + self.term


class Running(RecurrentUnit):
    """Multiplies the sum of a word and the one before it."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.carries = ((1,),)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """There are none."""

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        (last,) = before
        seen = torch.cat((last[:, None], x), 1)
        return (seen[:, 1:] + seen[:, :-1]) * self.factor, (x[:, -1],)


def norms() -> Callable[[], nn.Module]:
    """The first norm adds 1, the second 2, ..."""
    terms = itertools.count(1)
    return lambda: Plus(next(terms))


def block(
    order: str,
    cross: bool = False,
    drops: bool = True,
    attention: nn.Module | None = None,
    then: nn.Module | None = None,
) -> Block:
    """Attention is times 3, attention to the source times 7, feed-forward times 5, dropout one half."""
    if then is None:
        then = NoFeedForward() if order == "lone" else Times(5)
    dropout = Scaled(0.5) if drops else nn.Identity()
    return ORDERS[order](attention or Times(3), Times(7) if cross else None, then, norms(), dropout)  # type: ignore[arg-type]


# The stream is 1. In the comments: what attention reads, what the stream is then, and so on.
CASES = {
    ("pre", False, True): 19.0,  # 2, 1 + 3 = 4; 6, 4 + 15
    ("pre", True, True): 95.0,  # 2, 1 + 3 = 4; 6, 4 + 21 = 25; 28, 25 + 70
    ("bare", False, True): 13.75,  # 1, 1 + 1.5 = 2.5; 4.5, 2.5 + 11.25
    ("sandwich", False, False): 73.0,  # 2, 1 + (6 + 2) = 9; 12, 9 + (60 + 4)
    ("post", False, True): 14.25,  # 1, (1 + 1.5) + 1 = 3.5; 3.5, (3.5 + 8.75) + 2
    ("post", True, True): 65.125,  # 3.5 as above; (3.5 + 12.25) + 2 = 17.75; (17.75 + 44.375) + 3
    ("output", False, False): 32.0,  # 1, 1 + (3 + 1) = 5; 5, 5 + (25 + 2)
    ("parallel", False, True): 11.5,  # 2 and 3, 1 + (6 + 15) / 2
    ("shared", False, True): 9.0,  # 2 and 2, 1 + (6 + 10) / 2
    ("lone", False, True): 4.0,  # 2, 1 + 3
}


@pytest.mark.parametrize(("case", "expected"), CASES.items())
def test_each_order_joins_its_parts_in_its_own_way_and_says_so(case: tuple[str, bool, bool], expected: float) -> None:
    order, cross, _ = case
    made = block(*case)
    x, cache = torch.ones(1, 1, 1), object()
    out = made(x, AT, CAUSAL, cache, 4, (KEYS, OPEN))  # type: ignore[arg-type]
    assert out.item() == expected
    assert x.item() == 1
    assert made.attention.given == (AT, CAUSAL, cache, 4)
    joined = x
    for join in made.joins:
        read = join.before(x if made.parallel else joined)
        part = join.part.attend(read, KEYS, AT, OPEN) if join.part.factor == 7 else join.part(read)  # type: ignore[union-attr, operator]
        joined = join.outer(joined + join.inner(part))
    assert joined.item() == expected
    assert [join.part.factor for join in made.joins] == [3, *[7] * cross, *[5] * (order != "lone")]
    if cross:
        assert not isinstance(made.cross, NoCross)
        assert made.cross.attention.given == (KEYS, AT, OPEN)
    else:
        assert made.cross.joins == ()


def test_the_orders_by_name() -> None:
    assert {name: (made.__name__, made.parallel) for name, made in ORDERS.items()} == {
        "pre": ("PreNormBlock", False),
        "bare": ("BareBlock", False),
        "post": ("PostNormBlock", False),
        "output": ("OutputNormBlock", False),
        "sandwich": ("SandwichBlock", False),
        "carried": ("CarriedBlock", False),
        "parallel": ("ParallelBlock", True),
        "shared": ("SharedNormBlock", True),
        "lone": ("LoneBlock", False),
    }


def test_a_block_of_two_units_carries_what_both_have_seen() -> None:
    made = block("carried", attention=Running(3), then=Running(5))
    device = torch.device("cpu")
    carried = made.cache(2, 9, torch.bfloat16, device)
    assert isinstance(carried, Carried)
    assert [(tensor.shape, tensor.dtype) for tensor in carried.tensors] == [((2, 1), torch.float32)] * 2
    # Both words are 1. The first: 2 · 3 / 2, so 4; 6 · 5 / 2, so 19. The second: (2 + 2) · 3 / 2, so 7;
    # (9 + 6) · 5 / 2, so 44.5.
    words = torch.ones(2, 2, 1)
    found = [made(words[:, t : t + 1], AT, CAUSAL, carried, t, None)[:, 0, 0].tolist() for t in range(2)]  # type: ignore[arg-type]
    assert found == [[19, 19], [44.5, 44.5]]
    assert [tensor.tolist() for tensor in carried.tensors] == [[[2], [2]], [[9], [9]]]
    assert made(words, AT, CAUSAL, None, 0, None)[0, :, 0].tolist() == [19, 44.5]


UNIT = Running(3)


@pytest.mark.parametrize(
    ("order", "changed", "sentence"),
    [
        ("sandwich", {}, "a sandwich block ends in a norm and has no dropout; set its rate to 0"),
        ("carried", {}, "a block that carries states has two recurrent units and hears no source"),
        ("carried", {"attention": UNIT}, "a block that carries states has two recurrent units and hears no source"),
        ("carried", {"then": UNIT}, "a block that carries states has two recurrent units and hears no source"),
        (
            "carried",
            {"attention": UNIT, "then": UNIT, "cross": True},
            "a block that carries states has two recurrent units and hears no source",
        ),
        ("lone", {"cross": True}, "a lone block has no feed-forward and hears no source"),
        ("lone", {"then": Times(5)}, "a lone block has no feed-forward and hears no source"),
        ("output", {}, "a block that normalises what its parts add has no dropout and hears no source"),
        (
            "output",
            {"drops": False, "cross": True},
            "a block that normalises what its parts add has no dropout and hears no source",
        ),
        ("parallel", {"cross": True}, "a parallel block cannot attend to a source"),
        ("shared", {"cross": True}, "a parallel block cannot attend to a source"),
    ],
)
def test_what_an_order_has_no_place_for_is_refused(order: str, changed: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        block(order, **changed)  # type: ignore[arg-type]
    assert str(refused.value) == sentence


def test_a_block_asks_its_attention_for_memory_and_its_norms_for_the_number_type() -> None:
    device = torch.device("cpu")
    assert block("pre").cache(2, 9, torch.float16, device) == (2, 9, torch.float16, device)
    parts = (Times(3), None, nn.Linear(2, 2, dtype=torch.float64))
    for norm in (LayerNorm, RMSNorm):
        made = ORDERS["pre"](*parts, lambda norm=norm: norm(2, 1e-5).half(), nn.Identity())  # type: ignore[arg-type]
        assert made.dtype == torch.float16


def test_a_stream_that_hears_no_source_goes_on_as_it_is() -> None:
    x = torch.randn(1, 2, 3)
    assert NoCross()(x, AT, (KEYS, OPEN)) is x


def test_attention_to_a_source_names_its_parts() -> None:
    attention, norm, dropout = Times(7), Plus(1), Scaled(0.5)
    for made, before, outer in ((PreNormCross, norm, None), (PostNormCross, None, norm)):
        (join,) = made(attention, norm, dropout).joins  # type: ignore[arg-type]
        assert (join.part, join.inner) == (attention, dropout)
        assert join.before is before or (before is None and isinstance(join.before, nn.Identity))
        assert join.outer is outer or (outer is None and isinstance(join.outer, nn.Identity))
