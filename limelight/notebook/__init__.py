"""A look in a notebook: the page's own views as the output of a cell.

What `Model.look` returns displays itself, and `page` asks another question: both are a frame that needs nothing, see
`limelight.views.frame`. `live` is the page with the kernel behind it.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from limelight.errors import RequestError
from limelight.views.frame import frame

if TYPE_CHECKING:
    from limelight import Model, Translator
    from limelight.notebook.widget import Live


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
    return Page(frame(model.opened, model.tokenizer, text, model.title, word, foil, method))


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

    return Live(model, text, word, foil, method)
