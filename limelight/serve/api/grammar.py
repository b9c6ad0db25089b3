"""The shapes that a request may ask for, as constraints on its tokens; see `limelight.decode.grammar`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from limelight.errors import RequestError
from limelight.serve.api import bodies as b
from limelight.serve.api.errors import ApiError

if TYPE_CHECKING:
    from limelight.decode import Constraint
    from limelight.serve.api.shelf import Writer


def constraint(writer: "Writer", format: "b.Format | None") -> "Callable[[], Constraint] | None":
    """What makes the constraint of each text; None where it is free. Raises ApiError for a schema or grammar that
    cannot be enforced."""
    from limelight.decode.grammar import library

    match format:
        case None | b.TextFormat():
            return None
        case b.JsonObjectFormat():
            return of_schema(writer, format.schema_, "response_format")
        case b.JsonSchemaFormat():
            return of_schema(writer, format.json_schema.schema_, "response_format")
        case b.GrammarFormat(type="regex"):
            return of_grammar(writer, library().grammar_from_regex(format.grammar), "response_format")
        case b.GrammarFormat():
            return of_grammar(writer, library().grammar_from_lark(format.grammar), "response_format")


def of_schema(writer: "Writer", schema: dict[str, Any] | None, param: str) -> "Callable[[], Constraint]":
    """Constraints to what a JSON schema describes (None: any object). Raises ApiError if that cannot be enforced."""
    from limelight.decode import grammar

    shape = {"type": "object"} if schema is None else schema
    try:
        return grammar.of_schema(writer.model.tokenizer, writer.model.network.vocab, shape)
    except RequestError as error:
        raise ApiError(str(error), param=param, code="invalid_schema") from None


def of_grammar(writer: "Writer", text: str, param: str) -> "Callable[[], Constraint]":
    """Constraints to what a grammar describes, as llguidance writes it. Raises ApiError for one that it refuses."""
    from limelight.decode import grammar

    try:
        return grammar.of_grammar(writer.model.tokenizer, writer.model.network.vocab, text)
    except RequestError as error:
        raise ApiError(str(error), param=param, code="invalid_schema") from None
