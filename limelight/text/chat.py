"""Chat templates: jinja2 programs that come with a model, and are therefore run in a sandbox.

They see what Hugging Face's renderer shows them: `messages`, `add_generation_prompt`, the special tokens by name,
`raise_exception`, `strftime_now`, `tojson`, loop controls and `{% generation %}` blocks.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from limelight.errors import TextError

if TYPE_CHECKING:
    from jinja2 import Template

_LONGEST_TEMPLATE = 1_000_000  # characters of source
_LONGEST_CHAT = 10_000_000  # characters rendered
_WORD_JOINER = "\u2060"


def render(
    template: str | None,
    messages: Sequence[Mapping[str, str]],
    *,
    reply: bool,
    tokens: Mapping[str, str],
    controls: Iterable[str],
) -> str:
    """The text of a conversation; `tokens` are the names the template may use, `controls` what no message may spell."""
    if template is None:
        raise TextError("this model has no chat template: it continues text, but was not made for conversation")
    if len(template) > _LONGEST_TEMPLATE:
        raise TextError(f"the chat template has {len(template):,} characters; at most {_LONGEST_TEMPLATE:,} are read")
    inert = [{key: _inert(value, controls) for key, value in message.items()} for message in messages]
    pieces, length = [], 0
    try:
        for piece in _compile(template).generate(messages=inert, add_generation_prompt=reply, **tokens):
            pieces.append(piece)
            length += len(piece)
            if length > _LONGEST_CHAT:
                break
    except Exception as problem:  # a template is a program from outside: it can raise anything
        raise TextError(f"the model's chat template failed: {problem or type(problem).__name__}") from problem
    if length > _LONGEST_CHAT:
        raise TextError(f"the model's chat template writes more than {_LONGEST_CHAT:,} characters")
    return "".join(pieces)


def _inert(value: str, controls: Iterable[str]) -> str:
    """`value` with a word joiner inside every control token that it spells out."""
    spelled = "|".join(re.escape(control) for control in controls if len(control) > 1)
    return re.sub(f"(?={spelled})(.)", rf"\1{_WORD_JOINER}", value, flags=re.DOTALL) if spelled else value


@lru_cache(maxsize=8)
def _compile(template: str) -> "Template":
    from jinja2 import TemplateError, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """`{% generation %} … {% endgeneration %}` marks the model's own words for training; only its body matters."""

        tags = {"generation"}  # noqa: RUF012 - jinja2's own way to declare it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class PlainNamespace(Namespace):
        """A namespace without private names, by which a template could reach into the interpreter."""

        def __init__(self, /, *values: Any, **named: Any) -> None:
            super().__init__()
            for name, value in dict(*values, **named).items():
                self[name] = value

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a chat template may not set the private name {name!r}")
            super().__setitem__(name, value)

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    def strftime_now(format: str) -> str:
        return datetime.now().strftime(format)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": strftime_now,
        "namespace": PlainNamespace,
    }
    return environment.from_string(template)
