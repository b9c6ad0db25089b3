"""How a grammar's masks are read and schemas are written down; texts under them are tested with the server."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from limelight.decode.grammar import Grammar, written
from limelight.errors import RequestError


def test_a_broken_grammar_is_told() -> None:
    matcher: Any = SimpleNamespace(
        unsafe_compute_mask_ptr=lambda at, size: None, is_error=lambda: True, get_error=lambda: "no more"
    )
    with pytest.raises(RequestError, match=r"^the grammar came to an end that it does not have: no more$"):
        Grammar(matcher, 33).mask()


def test_each_token_has_its_bit_and_a_stopped_grammar_takes_no_more() -> None:
    told: list[int] = []
    sizes: list[int] = []
    matcher: Any = SimpleNamespace(
        unsafe_compute_mask_ptr=lambda at, size: sizes.append(size),
        is_error=lambda: False,
        is_stopped=lambda: bool(told),
        consume_token=told.append,
    )
    grammar = Grammar(matcher, 33)
    grammar._bits[:] = grammar._bits.new_tensor([0b101, 0b11])
    assert grammar.mask().nonzero().flatten().tolist() == [0, 2, 32]
    assert (len(grammar.mask()), sizes) == (33, [8, 8])
    grammar.accept(5)
    grammar.accept(6)
    assert told == [5]


def test_schemas_are_written_with_the_spaces_of_json() -> None:
    how = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
    assert json.loads(written({"type": "object"})) == {"type": "object", "x-guidance": how}
    assert written(True) == "true"
