"""What a state remembers, held against plain lists of the tokens that each row has read."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from limelight.errors import RequestError
from limelight.nn.attention import KeysValues
from limelight.nn.cache import KVCache, clear, copy
from limelight.nn.mask import FullMasks, Mask
from limelight.nn.positions import DynamicScaling, LongRopeScaling
from limelight.nn.state import Memory, Source, State, Text

ROOM = 12
SHAPE = (2, ROOM, 3)  # heads, positions, width of a head


def start(rows: int, room: int = ROOM, layers: int = 2) -> State:
    heads, _, width = SHAPE
    caches = [KVCache.empty((rows, heads, room, width), torch.float32, torch.device("cpu")) for _ in range(layers)]
    return State(caches, torch.zeros(rows, dtype=torch.int64), room)


def spell(tokens: list[list[int]], layer: int) -> Tensor:
    """Keys [B, H, T, D] by which each token can be known again."""
    heads, _, width = SHAPE
    return torch.tensor(tokens, dtype=torch.float32)[:, None, :, None].expand(-1, heads, -1, width) + layer / 8


def read(state: State, tokens: list[list[int]]) -> None:
    """One step, as a stack makes it: one number where all rows begin at the same place."""
    starts = state.lengths
    begin = int(starts[0]) if bool((starts == starts[0]).all()) else starts
    for layer, cache in enumerate(state.parts):
        assert isinstance(cache, KVCache)
        keys = spell(tokens, layer)
        seen, heard = cache.append(keys, -keys, begin)
        assert seen.shape[2] == heard.shape[2] == int(starts.max()) + len(tokens[0])
    state.lengths = starts + len(tokens[0])


def holds(state: State, texts: list[list[int]]) -> None:
    assert state.lengths.tolist() == [len(text) for text in texts]
    for layer, cache in enumerate(state.parts):
        assert isinstance(cache, KVCache)
        assert cache.keys.isfinite().all()
        assert cache.values.isfinite().all()
        for row, text in enumerate(texts):
            if text:
                kept = cache.keys[row, :, : len(text)]
                assert torch.equal(kept, spell([text], layer)[0])
                assert torch.equal(cache.values[row, :, : len(text)], -kept)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 3))
def test_a_state_holds_what_each_row_has_read(data: st.DataObject, rows: int) -> None:
    state, texts, new = start(rows), [[] for _ in range(rows)], iter(range(1, 10**6))
    for verb in data.draw(st.lists(st.sampled_from(["read", "select", "fork", "rewind", "join"]), max_size=12)):
        row = st.integers(0, len(texts) - 1)
        if verb == "read" and (free := ROOM - max(map(len, texts))):
            count = data.draw(st.integers(1, free))
            tokens = [[next(new) for _ in range(count)] for _ in texts]
            read(state, tokens)
            texts = [text + more for text, more in zip(texts, tokens, strict=True)]
        elif verb == "select":
            chosen = data.draw(st.lists(row, min_size=1, max_size=4))
            state, texts = state.select(torch.tensor(chosen)), [texts[i] for i in chosen]
        elif verb == "fork" and len(texts) < 4:
            state, texts = state.fork(2), [text for text in texts for _ in range(2)]
        elif verb == "rewind":
            to = [data.draw(st.integers(0, len(text))) for text in texts]
            state.rewind(torch.tensor(to))
            texts = [text[:length] for text, length in zip(texts, to, strict=True)]
        elif verb == "join":  # as a text joins those that run: read apart, then put in the place of a row
            place, length = data.draw(row), data.draw(st.integers(1, ROOM))
            other = start(1, data.draw(st.integers(length, ROOM + 3)))
            texts = [*texts[:place], [next(new) for _ in range(length)], *texts[place + 1 :]]
            read(other, [texts[place]])
            state.put(place, other)
        holds(state, texts)


def test_some_rows_go_on_in_the_same_memory() -> None:
    state = start(4)
    read(state, [[1, 2], [3, 4], [5, 6], [7, 8]])
    some = state.narrow(1, 3)
    read(some, [[9], [10]])
    assert state.lengths.tolist() == [2, 2, 2, 2]  # not before they are put back
    state.put(1, some)
    holds(state, [[1, 2], [3, 4, 9], [5, 6, 10], [7, 8]])
    assert some.parts[0].keys.data_ptr() == state.parts[0].keys[1].data_ptr()


@pytest.mark.parametrize("to", [0, 1, 4, torch.tensor([0, 4]), torch.tensor([4, 0])])
def test_rewinding_reaches_from_nothing_to_all(to: int | Tensor) -> None:
    state = start(2)
    read(state, [[1, 2, 3, 4], [5, 6, 7, 8]])
    state.rewind(to)
    assert state.lengths.tolist() == (to.tolist() if isinstance(to, Tensor) else [to, to])


@pytest.mark.parametrize("to", [-1, 5, torch.tensor([0, 5]), torch.tensor([-1, 4])])
def test_rewinding_past_either_end_is_refused_and_changes_nothing(to: int | Tensor) -> None:
    state = start(2)
    read(state, [[1, 2, 3, 4], [5, 6, 7, 8]])
    with pytest.raises(RequestError, match=r"cannot rewind to .* the rows have seen \[4, 4\] tokens"):
        state.rewind(to)
    holds(state, [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_a_state_that_cannot_go_back_stays_where_it_is() -> None:
    state = State((), torch.tensor([3, 4]), 8, rewinds=False)
    state.rewind(torch.tensor([3, 4]))
    for one in (state, state.fork(2), state.narrow(0, 1)):
        with pytest.raises(RequestError, match="cannot take back what it read"):
            one.rewind(one.lengths - 1)


def test_a_text_must_fit_the_room_to_the_token() -> None:
    other = start(1, ROOM + 1)
    read(other, [list(range(ROOM))])
    state = start(2)
    state.put(1, other)
    holds(state, [[], list(range(ROOM))])
    read(other, [[1]])
    with pytest.raises(RequestError, match=f"{ROOM + 1} tokens does not fit a state with room for {ROOM}"):
        state.put(0, other)


def test_bytes_are_those_set_aside() -> None:
    heads, room, width = SHAPE
    assert start(3, layers=2).nbytes == 3 * 2 * 2 * heads * room * width * 4
    keys = torch.zeros(2, heads, 5, width)
    state = State((), torch.zeros(2, dtype=torch.int64), 4, Source((KeysValues(keys, keys),), Mask(), torch.arange(2)))
    assert state.nbytes == 2 * keys.nbytes


def test_the_rows_of_a_beam_hear_the_source_of_their_own() -> None:
    keys = torch.arange(3.0)[:, None, None, None].expand(3, 1, 5, 2)
    allowed = torch.arange(15).view(3, 1, 1, 5) % 2 == 0
    state = State(
        (),
        torch.zeros(3, dtype=torch.int64),
        4,
        Source((KeysValues(keys, -keys),), Mask(False, allowed), torch.arange(3)),
    )
    beam = state.fork(2).select(torch.tensor([5, 0, 3])).narrow(0, 2)
    assert beam.source is not None
    assert beam.source.origin.tolist() == [2, 0]
    assert torch.equal(beam.source.expanded[0].k, keys[[2, 0]])
    assert torch.equal(beam.source.expanded[0].v, -keys[[2, 0]])
    assert torch.equal(beam.source.mask.allowed, allowed[[2, 0]])
    with pytest.raises(RequestError, match="hears no source cannot be put where one is heard"):
        state.put(0, start(1))


def hearing(texts: list[list[int]]) -> State:
    """A state whose rows hear sources of so many and such keys, padded with what is no number."""
    lengths, longest = torch.tensor([len(text) for text in texts]), max(map(len, texts))
    keys = torch.full((len(texts), 1, longest, 2), torch.nan)
    for row, text in enumerate(texts):
        keys[row, :, : len(text)] = torch.tensor(text, dtype=torch.float32)[:, None]
    masks = FullMasks(lengths, longest, None, keys.device)
    layers = (KeysValues(keys, -keys), KeysValues(keys + 0.5, -keys - 0.5))
    return State(
        (), torch.zeros(len(texts), dtype=torch.int64), 4, Source(layers, masks.mask, torch.arange(len(texts)))
    )


def hears(state: State, texts: list[list[int]]) -> None:
    source = state.source
    assert source is not None
    assert source.mask.lengths is not None
    assert source.mask.lengths.tolist() == [len(text) for text in texts]
    keys = source.layers[0].k.shape[2]
    allowed = source.mask.tensor(1, keys, torch.device("cpu"))
    for row, text in enumerate(texts):
        expected = torch.arange(keys) < len(text)
        assert (allowed is None and bool(expected.all())) or torch.equal(allowed[row, 0, 0], expected)
        for layer, (kept, looked_up) in enumerate(zip(source.expanded, source.layers, strict=True)):
            for heard in (kept.k[row], -kept.v[row], looked_up.k[source.origin[row]]):
                assert heard[0, : len(text), 0].tolist() == [number + layer / 2 for number in text]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_rows_hear_their_own_sources_wherever_they_are_put(data: st.DataObject) -> None:
    new = iter(range(10**6))
    sources = st.lists(st.integers(1, 6).map(lambda n: [next(new) for _ in range(n)]), min_size=1, max_size=3)
    texts = data.draw(sources)
    state = State((), torch.zeros(5, dtype=torch.int64), 4)  # a pool that hears nothing yet
    state.put(0, hearing(texts))
    state = state.narrow(0, len(texts))
    for verb in data.draw(st.lists(st.sampled_from(["join", "move", "select", "leave"]), max_size=8)):
        if verb == "join":
            others = data.draw(sources)
            place = data.draw(st.integers(0, len(texts) - 1))
            others = others[: len(texts) - place]
            state.put(place, hearing(others))
            texts = [*texts[:place], *others, *texts[place + len(others) :]]
            assert state.source is not None
            assert len(state.source.layers[0].k) == len({tuple(text) for text in texts})
        elif verb == "move":
            place, row = (data.draw(st.integers(0, len(texts) - 1)) for _ in range(2))
            state.put(place, state.narrow(row, row + 1))
            texts[place] = texts[row]
        elif verb == "select":
            rows = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=5))
            state, texts = state.select(torch.tensor(rows)), [texts[row] for row in rows]
        elif len(texts) > 1:
            state, texts = state.narrow(0, len(texts) - 1), texts[:-1]
        hears(state, texts)


def test_what_a_row_is_deaf_to_it_stays_deaf_to_among_others() -> None:
    visible = torch.tensor([[True, False, True, True, False]])
    keys = torch.arange(10.0).view(1, 1, 5, 2)
    masks = FullMasks(torch.tensor([4]), 5, visible, keys.device)
    state = State(
        (), torch.zeros(1, dtype=torch.int64), 4, Source((KeysValues(keys, keys),) * 2, masks.mask, torch.arange(1))
    )
    pool = State((), torch.zeros(3, dtype=torch.int64), 4)
    pool.put(0, hearing([[1, 2, 3, 4, 5, 6], [7]]))
    pool.put(2, state)
    assert pool.source is not None
    assert pool.source.mask.lengths is None, "not all that is hidden stands at an end"
    allowed = pool.source.mask.tensor(1, 6, keys.device)
    assert allowed is not None
    assert allowed[:, 0, 0].int().tolist() == [[1] * 6, [1, 0, 0, 0, 0, 0], [1, 0, 1, 1, 0, 0]]


def test_a_memory_of_some_rows() -> None:
    hidden, lengths = torch.randn(3, 4, 2), torch.tensor([4, 2, 1])
    allowed = torch.arange(4) < lengths[:, None]
    memory = Memory(hidden, lengths, Mask(allowed=allowed, lengths=lengths), (hidden[:, 0], hidden[:, 1]))
    rows = torch.tensor([2, 0, 0])
    some = memory.select(rows)
    assert torch.equal(some.hidden, hidden[rows])
    assert some.lengths.tolist() == some.mask.lengths.tolist() == [1, 4, 4]
    assert torch.equal(some.mask.allowed, allowed[rows])
    assert all(torch.equal(part, hidden[rows, i]) for i, part in enumerate(some.final))
    assert len(some.final) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int8])
def test_copies_are_the_same_to_the_bit_and_leave_the_rest_alone(dtype: torch.dtype) -> None:
    """Numbers that are none among them, and memory in any order."""
    size = torch.empty((), dtype=dtype).element_size()
    with torch.inference_mode():
        bits = torch.randint(256, (2, 3, 5, 4 * size), dtype=torch.uint8)
        source, to = bits.view(dtype), torch.zeros(4, 5, 3, 8, dtype=dtype)
        copy(to[1:3, :, :, :4].transpose(1, 2), source)
        assert torch.equal(to[1:3, :, :, :4].transpose(1, 2).contiguous().view(torch.uint8), bits)
        assert not to[[0, 3]].any()
        assert not to[..., 4:].any()
        clear(to[1, :, :2])
        assert not to[1, :, :2].any()
        assert torch.equal(to[1, :, 2, :4].contiguous().view(torch.uint8), bits[0, 2])


def test_other_numbers_and_other_devices_are_copied_by_torch() -> None:
    to = torch.zeros(2, 3)
    copy(to, torch.tensor([[1, 2, 3], [4, 5, 6]]))
    assert to.tolist() == [[1, 2, 3], [4, 5, 6]]
    copy(torch.zeros(2, 3, device="meta"), to)
    clear(torch.zeros(2, 3, device="meta"))


def test_texts_that_may_be_read_anew_move_with_their_rows() -> None:
    scalings = (
        DynamicScaling(2.0, 4),
        LongRopeScaling((1.0,), (2.0,), 6, 1.0),
        LongRopeScaling((1.0,), (2.0,), 5, 1.0),
    )
    text = Text.empty(2, 3, scalings, torch.device("cpu"))
    assert text.tokens.tolist() == [[0] * 3] * 2
    assert (text.given.tolist(), text.reach.tolist(), text.limited) == ([0, 0], [[0] * 3] * 2, False)
    assert text.nbytes == 2 * 3 * 8
    text.write(torch.tensor([[7, 8], [9, 10]]), torch.tensor([0, 1]))
    text.given = torch.tensor([0, 9])
    text.turn(torch.tensor([5, 6]))
    assert text.tokens.tolist() == [[7, 8, 0], [0, 9, 10]]
    assert text.reach.tolist() == [[5, 6, 5], [9, 7, 6]]  # nobody said how long the first is; the second will pass both
    text.limited = True
    swapped, second = text.select(torch.tensor([1, 0, 1])), text.narrow(1, 2)
    assert swapped.tokens.tolist() == [[0, 9, 10], [7, 8, 0], [0, 9, 10]]
    assert (swapped.given.tolist(), swapped.limited, second.limited) == ([9, 0, 9], True, True)
    assert (second.given.tolist(), second.reach.tolist()) == ([9], [[9, 7, 6]])
    assert second.tokens.data_ptr() == text.tokens[1].data_ptr()
    pool = Text.empty(3, 4, scalings, torch.device("cpu"))
    before = pool.given
    pool.put(1, text, 2)
    assert pool.tokens.tolist() == [[0] * 4, [7, 8, 0, 0], [0, 9, 0, 0]]
    assert (pool.given.tolist(), pool.reach.tolist()) == ([0, 0, 9], [[0] * 3, [5, 6, 5], [9, 7, 6]])
    assert (pool.limited, before.tolist()) == (True, [0, 0, 0])
    pool.put(0, Text.empty(1, 4, scalings, torch.device("cpu")), 1)
    assert pool.limited
    state = State((), torch.tensor([1, 2]), 3, text=text)
    assert (state.border, state.nbytes) == (5, 48)
    assert (State((), torch.tensor([1]), 3).border, start(1).has_prefixes, state.has_prefixes) == (None, True, False)
    state.give(torch.tensor([3, 4]))
    assert text.given.tolist() == [3, 4]
    last = state.select(torch.tensor([1]))
    assert last.text is not None
    assert (last.text.given.tolist(), last.lengths.tolist(), last.capacity, last.rewinds) == ([4], [2], 3, True)
