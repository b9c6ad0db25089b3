"""Conversations asked for once more under a constraint that a rule can check, with an answer that keeps it.

A few hundred conversations teach a small model to answer, but hardly that it matters how it was asked to. Verifiable
constraints do (Tülu 3, Lambert et al., 2024). No other model is needed to answer under them: the answer that is there
keeps a constraint already, or is rewritten so that it does.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from limelight.train.chats import Chat

Constrained = tuple[str, str] | None
"""What is asked for besides, and the answer that keeps it; None where the answer cannot be made to."""


def constrained(chat: Chat, draw: Random) -> Chat | None:
    """The conversation with one constraint on its last answer; None if that is no text that answers a question."""
    *before, asked, answer = chat.messages if len(chat.messages) > 1 else ({}, {})
    text = str(answer.get("content") or "").strip()
    if asked.get("role") != "user" or answer.get("role") != "assistant" or answer.get("tool_calls") or not text:
        return None
    rules = draw.sample(_RULES, len(_RULES))
    if _items(text) and draw.random() < 0.5:  # few answers can be a list
        rules.insert(0, _list)
    demand, text = next(made for rule in rules if (made := rule(text, draw)))  # some of them any answer can keep
    parts = [str(asked["content"]), demand]
    if draw.random() < 0.3:
        parts.reverse()
    messages = (*before, asked | {"content": " ".join(parts)}, answer | {"content": text})
    return replace(chat, form=f"{chat.form}, under a constraint", messages=messages)


def words(text: str) -> list[str]:
    """The words of a text in small letters, without their signs."""
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())


def sentences(text: str) -> int:
    """How many sentences a text has, by their ends."""
    return len(re.findall(r"[^.!?\s][^.!?]*(?:[.!?]+(?=\s|$)|$)", text))


def _capitals(text: str, draw: Random) -> Constrained:
    asks = ("Write everything in upper case.", "Reply in block letters.", "Use upper-case letters throughout.")
    return draw.choice((*asks, asks[0].upper())), text.upper()


def _small(text: str, draw: Random) -> Constrained:
    asks = ("Write everything in lowercase.", "No capitals, please.", "keep every letter lowercase.")
    return draw.choice(asks), text.lower()


def _json(text: str, draw: Random) -> Constrained:
    key = draw.choice(("reply", "result", "text", "output", "value"))
    if draw.random() < 0.5:
        asks = (f'Reply as a JSON object whose only key is "{key}".', f'Format the reply as JSON: {{"{key}": ...}}')
        return draw.choice(asks), json.dumps({key: text}, ensure_ascii=False)
    other, said = draw.choice((("words", len(words(text))), ("length", "short" if len(text) < 60 else "long")))
    asks = (f'Reply in JSON with two keys, "{key}" and "{other}".', f'Give a JSON object with "{key}" and "{other}".')
    return draw.choice(asks), json.dumps({key: text, other: said}, ensure_ascii=False)


def _most(text: str, draw: Random) -> Constrained:
    count = len(words(text))
    if count > 30:
        return None
    most = max(2, count + draw.randrange(5))
    return draw.choice((f"Use no more than {most} words.", f"Keep it to {most} words or fewer.")), text


def _least(text: str, draw: Random) -> Constrained:
    count = len(words(text))
    least = draw.randrange(count // 2, count) if count > 11 else 0
    return (draw.choice((f"Use over {least} words.", f"Write {least + 1} words or more.")), text) if least else None


def _sentences(text: str, draw: Random) -> Constrained:
    count = sentences(text)
    if not 0 < count < 4 or not text.endswith((".", "!", "?")):
        return None
    number = ("one sentence", "two sentences", "three sentences")[count - 1]
    return draw.choice((f"Make it {number} long.", f"Reply with {number}, no more and no fewer.")), text


def _use(text: str, draw: Random) -> Constrained:
    there = sorted({word for word in words(text) if len(word) > 3 and word.isalpha()})
    if not there:
        return None
    what = _named(draw.sample(there, min(len(there), draw.choice((1, 2)))))
    return draw.choice((f"Include {what}.", f"Your reply has to contain {what}.")), text


def _avoid(text: str, draw: Random) -> Constrained:
    usual = ("very", "good", "time", "people", "water", "house", "because", "small", "green", "never", "it", "a", "of")
    absent = sorted(set(usual) - set(words(text)))
    what = _named(draw.sample(absent, draw.choice((1, 2))))
    return draw.choice((f"Leave out {what}.", f"You may not say {what}.", f"Avoid {what}.")), text


def _named(some: Sequence[str]) -> str:
    return f"the word{'s' if len(some) > 1 else ''} {' and '.join(some)}"


def _commas(text: str, draw: Random) -> Constrained:
    return draw.choice(("Do without commas.", "Put no comma in it.")), text.replace(",", "")


def _first(text: str, draw: Random) -> Constrained:
    word = draw.choice(("Sure", "Well", "Indeed", "Look", "Today", "Yes", "Friend", "Now"))
    asks = (f'Your first word must be "{word}".', f'Open with the word "{word}".')
    return draw.choice(asks), f"{word}, {text[0].lower() if text[1:2].islower() else text[0]}{text[1:]}"


def _last(text: str, draw: Random) -> Constrained:
    last = draw.choice(("Thank you.", "That is all.", "See you soon.", "Have fun!", "Over and out.", "Take care."))
    return draw.choice((f'Close with "{last}"', f'Let the last words be "{last}"')), f"{text} {last}"


def _list(text: str, draw: Random) -> Constrained:
    items = _items(text)
    if not items:
        return None
    if draw.random() < 0.5:
        marked = "\n".join(f"- {item}" for item in items)
        return draw.choice(("Put each on a line with a dash before it.", "Write it as bullets.")), marked
    marked = "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))
    return draw.choice(("Number them, one to a line.", "Write it as numbered lines.")), marked


def _items(text: str) -> list[str]:
    """What an answer enumerates, if that is what it does."""
    items = re.split(r",\s+(?:and\s+|or\s+)?|\s+(?:and|or)\s+", text.rpartition(": ")[2].strip().rstrip("."))
    short = len(items) > 2 and all(0 < len(item.split()) < 4 for item in items)
    return [item[0].upper() + item[1:] for item in items] if short else []


_RULES: tuple[Callable[[str, Random], Constrained], ...] = (
    *(_capitals, _small, _json, _most, _least, _sentences, _use, _avoid, _commas, _first, _last, _list),
)
