"""What shape a text must have: schemas and grammars as constraints on its tokens, by llguidance."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from limelight.serve.api import bodies as b
from limelight.serve.api.errors import ApiError

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.decode import Constraint
    from limelight.serve.api.shelf import Writer
    from limelight.text.tokenizer import Tokenizer

_known: "WeakKeyDictionary[Tokenizer, Any]" = WeakKeyDictionary()


class Grammar:
    """One text under a grammar; see `limelight.decode.Constraint`."""

    def __init__(self, tokenizer: Any, grammar: str, vocab: int) -> None:
        import torch
        from llguidance import LLMatcher

        self._matcher = LLMatcher(tokenizer, grammar)
        self._vocab = vocab
        self._bits = torch.zeros((vocab + 31) // 32, dtype=torch.int32)
        self._shifts = torch.arange(32, dtype=torch.int32)

    def mask(self) -> "Tensor":
        """See `Constraint`."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.data_ptr(), self._bits.nbytes)
        if self._matcher.is_error():
            raise ApiError(f"the grammar came to an end that it does not have: {self._matcher.get_error()}", status=500)
        return ((self._bits[:, None] >> self._shifts) & 1).bool().view(-1)[: self._vocab]

    def accept(self, token: int) -> None:
        """See `Constraint`."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)


def constraint(writer: "Writer", format: "b.Format | None") -> "Callable[[], Constraint] | None":
    """What makes the constraint of each text; None where it is free. Raises ApiError for a schema or grammar that
    cannot be enforced."""
    match format:
        case None | b.TextFormat():
            return None
        case b.JsonObjectFormat():
            return of_schema(writer, {"type": "object"}, "response_format")
        case b.JsonSchemaFormat():
            schema = format.json_schema.schema_
            return of_schema(writer, {"type": "object"} if schema is None else schema, "response_format")
        case b.GrammarFormat(type="regex"):
            return of_grammar(writer, _llguidance().grammar_from_regex(format.grammar), "response_format")
        case b.GrammarFormat():
            return of_grammar(writer, _llguidance().grammar_from_lark(format.grammar), "response_format")


def of_schema(writer: "Writer", schema: Any, param: str) -> "Callable[[], Constraint]":
    """Constraints to what a JSON schema describes. Raises ApiError for one that cannot be enforced."""
    try:
        grammar = _llguidance().grammar_from_json_schema(written(schema))
    except ValueError as error:
        raise ApiError(f"the schema cannot be enforced: {_first(error)}", param=param, code="invalid_schema") from None
    return of_grammar(writer, grammar, param)


def written(schema: Any) -> str:
    """A schema for llguidance: spaces as `json.dumps` sets them, since small models lose themselves in others."""
    how = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
    return json.dumps({**schema, "x-guidance": how} if isinstance(schema, dict) else schema)


def of_grammar(writer: "Writer", grammar: str, param: str) -> "Callable[[], Constraint]":
    """Constraints to what a grammar describes, as llguidance writes it. Raises ApiError for one that it refuses."""
    matcher, tokenizer = _llguidance(), _tokenizer(writer)
    refused, told = matcher.validate_grammar_with_warnings(grammar, tokenizer)
    if refused:
        raise ApiError(f"this cannot be enforced: {_first(told[0])}", param=param, code="invalid_schema")
    return lambda: Grammar(tokenizer, grammar, writer.model.network.vocab)


def _tokenizer(writer: "Writer") -> Any:
    """The model's tokenizer as llguidance reads it; made once, since it takes a second."""
    from llguidance import LLTokenizer

    tokenizer = writer.model.tokenizer
    if tokenizer not in _known:
        ends = sorted(tokenizer.eos)
        if not ends:
            raise ApiError("this model has no token that ends a text, without which no shape can be enforced")
        vocab = max(writer.model.network.vocab, tokenizer.vocab)
        _known[tokenizer] = LLTokenizer(tokenizer.definition, n_vocab=vocab, eos_token=ends)
    return _known[tokenizer]


def _llguidance() -> Any:
    from llguidance import LLMatcher  # not before it is needed

    return LLMatcher


def _first(error: object) -> str:
    return str(error).strip().partition("\n")[0][:500]
