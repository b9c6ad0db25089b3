"""How ``limelight look`` shows a text under an encoder: which words made its class, a tag, a vector or a gap's word."""

from typing import TYPE_CHECKING

from rich.console import Console

from limelight.cli.screen import clean, print_json, progress
from limelight.cli.views import picture
from limelight.look.wording import quoted

if TYPE_CHECKING:
    from limelight import EncoderModel

OPTIONS = frozenset(("text", "model", "word", "foil", "method", "json", "device", "dtype"))
"""The options that mean something for an encoder."""


def show(
    console: Console,
    model: "EncoderModel",
    text: str,
    asked: str | None,
    foil: str | None,
    method: str | None,
    json: bool,
) -> None:
    """Prints which words made the model answer as it does. asked: a label of the text, a word of it, or another text,
    by what the model does, or a question; see `SeenEncoded.importance`."""
    import limelight
    from limelight.errors import RequestError

    if isinstance(model, limelight.SpanModel):
        if asked is None:
            raise RequestError(f"{model.name} marks answers in a text; name the question with --word")
        seen, asked = model.look(text, asked), None
    else:
        seen = model.look(text)
    with progress("taking words away", quiet=json, unit=str, after=0.5) as tell:
        found = seen.importance(asked, foil=foil, method=method, progress=tell)
    if json:
        print_json({"model": model.name, "text": text, **found.to_json()})
        return
    if isinstance(model, limelight.Tagger):
        spans = [span for span in model.tag([text])[0] if span.start <= found.target.start < span.end]
        label = spans[0].label if spans else "nothing"
        console.print(f"{quoted(clean(found.target.text))} is labelled {clean(label)}.\n", soft_wrap=True)
    console.print(picture.answer(found, console.width))
