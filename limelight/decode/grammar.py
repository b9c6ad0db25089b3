"""What shape a text must have: JSON schemas and grammars as constraints on its tokens, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from limelight.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.decode.constraint import Constraint
    from limelight.text.tokenizer import Tokenizer

_known: WeakKeyDictionary[Tokenizer, Any] = WeakKeyDictionary()


class Grammar:
    """One text under a grammar; see `limelight.decode.Constraint`. matcher: llguidance's, at the text's beginning."""

    def __init__(self, matcher: Any, vocab: int) -> None:
        import torch

        self._matcher = matcher
        self._vocab = vocab
        self._bits = torch.zeros((vocab + 31) // 32, dtype=torch.int32)
        self._shifts = torch.arange(32, dtype=torch.int32)

    def mask(self) -> Tensor:
        """See `Constraint`."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.data_ptr(), self._bits.nbytes)
        if self._matcher.is_error():
            raise RequestError(f"the grammar came to an end that it does not have: {self._matcher.get_error()}")
        return ((self._bits[:, None] >> self._shifts) & 1).bool().view(-1)[: self._vocab]

    def accept(self, token: int) -> None:
        """See `Constraint`."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)


def of_schema(tokenizer: Tokenizer, vocab: int, schema: Any) -> Callable[[], Constraint]:
    """Constraints to what a JSON schema describes. vocab: of the network. Raises RequestError for a schema that cannot
    be enforced."""
    try:
        grammar = library().grammar_from_json_schema(written(schema))
    except ValueError as error:
        raise RequestError(f"the schema cannot be enforced: {_first(error)}") from None
    return of_grammar(tokenizer, vocab, grammar)


def written(schema: Any) -> str:
    """A schema for llguidance: spaces as `json.dumps` sets them, since small models lose themselves in others."""
    how = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
    return json.dumps({**schema, "x-guidance": how} if isinstance(schema, dict) else schema)


def of_grammar(tokenizer: Tokenizer, vocab: int, grammar: str) -> Callable[[], Constraint]:
    """Constraints to what a grammar describes, as llguidance writes it. Raises RequestError for one that it refuses."""
    read = _read(tokenizer, vocab)
    refused, told = library().validate_grammar_with_warnings(grammar, read)
    if refused:
        raise RequestError(f"this cannot be enforced: {_first(told[0])}")
    matcher = library()(read, grammar)  # which takes a while; a copy for each text does not
    return lambda: Grammar(matcher.deep_copy(), vocab)


def library() -> Any:
    """llguidance's matcher; not imported before it is needed. Raises RequestError where it is not installed."""
    try:
        from llguidance import LLMatcher
    except ImportError:
        raise RequestError("shapes are enforced by llguidance; install it with: pip install llguidance") from None
    return LLMatcher


def _read(tokenizer: Tokenizer, vocab: int) -> Any:
    """The tokenizer as llguidance reads it; made once, since it takes a second."""
    from llguidance import LLTokenizer

    if tokenizer not in _known:
        ends = sorted(tokenizer.eos)
        if not ends:
            raise RequestError("this model has no token that ends a text, without which no shape can be enforced")
        _known[tokenizer] = LLTokenizer(tokenizer.definition, n_vocab=max(vocab, tokenizer.vocab), eos_token=ends)
    return _known[tokenizer]


def _first(error: object) -> str:
    return str(error).strip().partition("\n")[0][:500]
