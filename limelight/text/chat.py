"""Conversations as the text that a model was trained on, by the chat template that comes with it.

What a template sees of the messages is what Hugging Face's renderer shows it, but for control tokens that a message
spells out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from limelight.errors import RequestError, TextError
from limelight.text.apart import apart

_LONGEST_TEMPLATE = 1_000_000  # characters of source
_LARGEST_INT = 10_000  # bits; beyond some 14,000 Python does not write them out
_WORD_JOINER = "\u2060"
_REASONING = ("reasoning_content", "thinking", "reasoning")  # names for one thing; templates read the first two


def render(
    template: str | None,
    messages: Sequence[Mapping[str, Any]],
    *,
    reply: bool,
    tokens: Mapping[str, str],
    controls: Iterable[str],
    tools: Sequence[Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """The text of a conversation; `tokens` are the names the template may use, `controls` what no message may spell."""
    if template is None:
        raise TextError("this model has no chat template: it continues text, but was not made for conversation")
    if len(template) > _LONGEST_TEMPLATE:
        raise TextError(f"the chat template has {len(template):,} characters; at most {_LONGEST_TEMPLATE:,} are read")
    if not isinstance(messages, Sequence) or not all(isinstance(message, Mapping) for message in messages):
        raise RequestError('a conversation is a list of messages such as {"role": "user", "content": "Hello"}')
    if not messages:
        raise RequestError("the conversation is empty; give at least one message")
    spelled = "|".join(re.escape(control) for control in controls if len(control) > 1)
    pattern = re.compile(f"(?={spelled})(.)" if spelled else "(?!)(.)", re.DOTALL)
    try:
        seen = [_message(message, pattern) for message in messages]
        functions = None if tools is None else _plain(tools, pattern)
        others = _plain(variables, pattern)
    except RecursionError:
        raise RequestError("a message is nested too deeply, or holds itself") from None
    values = {
        "documents": None,
        **others,
        "messages": seen,
        "tools": functions,
        "add_generation_prompt": reply,
        **tokens,
    }
    text: str = apart("limelight.text.template.rendered", template, values, what="the model's chat template", keep=True)
    return text


def _message(message: Mapping[str, Any], spelled: re.Pattern[str]) -> dict[str, Any]:
    """A message as templates see it: what is None is not there, and its reasoning has the names that they look for."""
    plain = {key: _plain(value, spelled) for key, value in message.items() if value is not None}
    reasoning = next((plain[key] for key in _REASONING if key in plain), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _plain(value: Any, spelled: re.Pattern[str]) -> Any:
    """`value` with a word joiner inside every control token that it spells out. Raises RequestError for what is not
    made of text, numbers, lists and dicts."""
    if isinstance(value, str):
        return spelled.sub(rf"\1{_WORD_JOINER}", value)
    if value is None or isinstance(value, float) or (isinstance(value, int) and value.bit_length() < _LARGEST_INT):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each, spelled) for each in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {_plain(key, spelled): _plain(each, spelled) for key, each in value.items()}
    raise RequestError(
        f"a message holds a {type(value).__name__}; it takes text, or lists and dicts of text and numbers"
    )
