"""The inner side of chat templates: jinja2's sandbox, with what Hugging Face's renderer puts into it.

Only ever run by `limelight.text.apart`. Templates see `messages`, `tools`, `documents`, `add_generation_prompt`, the
special tokens by name, `raise_exception`, `strftime_now`, `tojson`, loop controls and `{% generation %}` blocks.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from limelight.errors import TextError

LONGEST = 10_000_000  # characters rendered


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """The text of a template over `values`. Raises TextError for one that fails or writes without end."""
    pieces, length = [], 0
    try:
        for piece in _compiled(template).generate(values):
            pieces.append(piece)
            length += len(piece)
            if length > LONGEST:
                break
    except MemoryError:
        raise
    except Exception as problem:  # a template is a program from outside: it can raise anything
        why = (str(problem) or type(problem).__name__)[:500]
        raise TextError(f"the model's chat template failed: {why}") from problem
    if length > LONGEST:
        raise TextError(f"the model's chat template writes more than {LONGEST:,} characters")
    return "".join(pieces)


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}` marks the model's own words for training; only its body matters."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own way to declare it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _PlainNamespace(Namespace):
    """A namespace without private names, by which a template could reach into the interpreter."""

    def __init__(self, /, *values: Any, **named: Any) -> None:
        super().__init__()
        for name, value in dict(*values, **named).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"a chat template may not set the private name {name!r}")
        super().__setitem__(name, value)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(4)
def _compiled(template: str) -> Template:
    """The template as a program: it is the same for all conversations with a model, and making it takes longest."""
    return _environment().from_string(template)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _strftime_now,
        "namespace": _PlainNamespace,
    }
    return environment
