"""How ``limelight look`` shows a translation: what each word listens to, and which source words made one of them."""

from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from limelight.cli.screen import clean, print_json, progress
from limelight.cli.views.picture import LOOKS, VIOLET, answer, shade
from limelight.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from limelight import Translator
    from limelight.tasks.look_translation import SeenTranslation

HEARD = 3
"""Source words shown beside each word of the translation."""


def show(
    console: Console,
    translator: "Translator",
    source: str,
    target: str | None,
    word: str | None,
    foil: str | None,
    method: str | None,
    layer: int | None,
    json: bool,
) -> None:
    """Prints a source text, its translation, the alignment and the importance for one word."""
    seen = translator.look(source, target)
    weights: Tensor | None
    try:
        weights = seen.alignment(layer)
    except RequestError:
        if layer is not None:
            raise
        weights = None  # a recurrent model without attention
    with progress("taking words away", quiet=json, unit=str, after=0.5) as tell:
        found = seen.importance(word, foil=foil, method=method, progress=tell)
    if json:
        print_json(
            {
                "model": translator.name,
                "source": seen.source,
                "translation": seen.target,
                "source_words": [each.text for each in seen.source_words],
                "target_words": [each.text for each in seen.target_words],
                "alignment": None if weights is None else weights.tolist(),
                "importance": found.to_json(),
            }
        )
        return
    console.print(Text(clean(seen.source)), soft_wrap=True)
    console.print(Text(clean(seen.target), "bold"), soft_wrap=True)
    console.print()
    if weights is not None:
        console.print(_alignment(seen, weights))
        console.print()
    console.print(answer(found, console.width))


def _alignment(seen: "SeenTranslation", weights: "Tensor") -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for target, row in zip(seen.target_words, weights, strict=True):
        values, places = row.topk(min(HEARD, len(row)))
        heard = Text()
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            name = clean(seen.source_words[place].text)
            heard.append(f" {name} ", shade(VIOLET, value)).append(f" {value:.2f}  ", "dim")
        table.add_row(Text(f"  {clean(target.text)}", "bold"), heard)
    return Group(Text("What each word listens to", "bold"), Text(), table, Text(), Text(LOOKS, "dim"))
