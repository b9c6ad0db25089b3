"""The page about one question as one element of HTML: a frame that holds the whole page and needs nothing else.

It needs no kernel, no extension and no network, so that every notebook shows it, also when it is opened again or
exported. It may ask nobody (its own policy forbids it) and cannot reach the document around it (it is sandboxed). Its
size is bounded by that of what it holds, a few hundred kilobytes for a sentence.
"""

from html import escape
from typing import TYPE_CHECKING

from limelight.errors import RequestError
from limelight.views.numbers import Numbers

if TYPE_CHECKING:
    from limelight.models.api import Decoder
    from limelight.text.tokenizer import Tokenizer

ROOM = 1 << 20
"""Bytes of attention that an output may hold: a notebook has many of them."""

NEAR = 10
"""Words to either side for which it holds what could have stood there; each takes as long as a token."""

HEIGHT = 680
"""Pixels; the lower edge can be dragged."""


def display(network: "Decoder", tokenizer: "Tokenizer", text: str, title: str) -> str:
    """The page about the word that the model says next, as HTML; one sentence where there is nothing to show.

    network: opened for looking. title: what it is called.
    """
    try:
        return frame(network, tokenizer, text, title)
    except RequestError as error:  # whoever displays something cannot be expected to catch
        return f"<p>{escape(str(error))}</p>"


def frame(
    network: "Decoder",
    tokenizer: "Tokenizer",
    text: str,
    title: str,
    word: str | int | None = None,
    foil: str | None = None,
    method: str | None = None,
) -> str:
    """The page about one question, as HTML; the last arguments are those of `Seen.importance`.

    Raises RequestError as that does.
    """
    from limelight.views.saved import about, hold, html
    from limelight.views.text import TextViews

    views = TextViews(network, tokenizer, text)
    place = None if word is None else views.seen.place(word)
    data = hold(views, about(title, network.config), place, foil, method, room=ROOM, places=NEAR)
    return framed(html(data), _told(data))


def framed(document: str, told: str) -> str:
    """A document as one element. told: what stands there where a notebook takes the frame away.

    Notebooks that were not trusted lose their frames, and their styles with them, one of which hides `told`.
    """
    held = document.replace("&", "&amp;").replace("'", "&#39;")  # in data, " is far more frequent than '
    return (
        f"<style>.limelight-told {{ display: none }}</style><p class='limelight-told'>{escape(told)}</p>"
        f"<div style='height: {HEIGHT}px; resize: vertical; overflow: hidden'><iframe title='limelight'"
        f" sandbox='allow-scripts allow-forms' style='border: 0; width: 100%; height: 100%' srcdoc='{held}'>"
        "</iframe></div>"
    )


def _told(data: Numbers) -> str:
    """The question and the answer, in sentences."""
    found, words = data["importance"], [word["text"] for word in data["words"]["words"]]
    foil = f" and not “{found['foil']}”" if found["foil"] else ""
    told = [part if isinstance(part, str) else part["text"] for sentence in found["told"] for part in (*sentence, " ")]
    return f"Which words made {data['model']['name']} say “{words[found['word']]}”{foil}? {''.join(told).strip()}"
