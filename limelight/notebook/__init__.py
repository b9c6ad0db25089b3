"""A look in a notebook: the page's own views as the output of a cell.

What `Model.look` returns displays itself, and `page` asks another question. The output is one element of HTML, a frame
that holds the whole page for one question: it needs no kernel, no extension and no network, so that every notebook
shows it, also when it is opened again or exported. It may ask nobody (its own policy forbids it) and cannot reach the
notebook around it (it is sandboxed). Its size is bounded by that of what it holds, a few hundred kilobytes for a
sentence. `live` is the page with the kernel behind it.
"""

from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING

from limelight.errors import RequestError

if TYPE_CHECKING:
    from limelight import Model, Translator
    from limelight.models.api import Decoder
    from limelight.notebook.widget import Live
    from limelight.serve.looking import Numbers
    from limelight.text.tokenizer import Tokenizer

ROOM = 1 << 20
"""Bytes of attention that an output may hold: a notebook has many of them."""

NEAR = 10
"""Words to either side for which it holds what could have stood there; each takes as long as a token."""

HEIGHT = 680
"""Pixels; the lower edge can be dragged."""


@dataclass(frozen=True)
class Page:
    """What a notebook displays. html: the element."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def page(
    model: "Model", text: str, *, word: str | int | None = None, foil: str | None = None, method: str | None = None
) -> Page:
    """The page about one question; the arguments are those of `Seen.importance`.

    Raises RequestError as that does.
    """
    return Page(_frame(model.opened, model.tokenizer, text, model.title, word, foil, method))


def live(
    model: "Model | Translator",
    text: str,
    *,
    word: str | int | None = None,
    foil: str | None = None,
    method: str | None = None,
) -> "Live":
    """The whole page as a widget that the kernel answers: any word, method, head and change, and other texts.

    The arguments say what it shows at first; they are those of `Seen.importance`. A model that translates is shown
    with the last word of its own translation. Raises RequestError where anywidget is missing.
    """
    if find_spec("anywidget") is None:
        raise RequestError('widgets are made by anywidget; install it with: pip install "limelight[notebook]"')
    from limelight.notebook.widget import Live
    from limelight.serve.desk import Desk

    desk = Desk(model.name)
    desk.put(model)
    place = None if word is None else desk.looking(text, "").seen.place(word)
    return Live(desk, {"text": text, "word": place, "foil": foil, "method": method})


def frame(network: "Decoder", tokenizer: "Tokenizer", text: str, title: str) -> str:
    """The page about the last word of a text, as HTML; one sentence where there is nothing to show.

    network: opened for looking. title: what it is called.
    """
    try:
        return _frame(network, tokenizer, text, title, None, None, None)
    except RequestError as error:  # whoever displays something cannot be expected to catch
        return f"<p>{escape(str(error))}</p>"


def _frame(
    network: "Decoder",
    tokenizer: "Tokenizer",
    text: str,
    title: str,
    word: str | int | None,
    foil: str | None,
    method: str | None,
) -> str:
    from limelight.serve.looking import Looking
    from limelight.serve.saved import about, hold, html

    looking = Looking(network, tokenizer, text)
    place = None if word is None else looking.seen.place(word)
    data = hold(looking, about(title, network.config), place, foil, method, room=ROOM, places=NEAR)
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


def _told(data: "Numbers") -> str:
    """The answer in a sentence."""
    found, words = data["importance"], [word["text"] for word in data["words"]["words"]]
    ranked = sorted(range(found["word"]), key=lambda place: -found["values"][place])[:5]
    named = ", ".join(f"{words[place]} {found['values'][place]:+.1f}" for place in ranked)
    foil = f" and not “{found['foil']}”" if found["foil"] else ""
    return f"Which words made {data['model']['name']} say “{words[found['word']]}”{foil}? {named}"
