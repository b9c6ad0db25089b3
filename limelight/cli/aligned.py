"""How ``limelight look`` shows a translation: what each word listens to, and which source words made one of them."""

from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from limelight.cli.picture import AMBER, BLUE, LOOKS, VIOLET, bar, colour, figure, moved, shade
from limelight.cli.screen import clean, print_json
from limelight.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from limelight import Translator
    from limelight.look import Importance
    from limelight.tasks.look import SeenTranslation

HEARD = 3
"""Source words shown beside each word of the translation."""

_BAR = 30


def show(
    console: Console,
    translator: "Translator",
    source: str,
    target: str | None,
    word: str | None,
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
    found = seen.importance(word)
    if json:
        print_json({"model": translator.name, **_as_json(seen, found, weights)})
        return
    console.print(Text(clean(seen.source)), soft_wrap=True)
    console.print(Text(clean(seen.target), "bold"), soft_wrap=True)
    console.print()
    if weights is not None:
        console.print(_alignment(seen, weights))
        console.print()
    console.print(_importance(found))


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


def _importance(found: "Importance") -> RenderableType:
    asked = f"“{clean(found.target.text)}”"
    most = max(abs(heard.importance) for heard in found.words) or 1.0
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for heard in found.ranked():
        drawn = Text(bar(abs(heard.importance) / most, _BAR), colour(AMBER if heard.importance >= 0 else BLUE))
        table.add_row(Text(f"  {clean(heard.word)}", "bold"), figure(heard.importance, ".2f"), drawn)
    how = "the word is left out" if found.method == "leave-one-out" else "the model is made deaf to the word"
    notes = [f"Each number says how far the log-odds of {asked} fall when {how}."]
    if found.check is not None:
        c = found.check
        verdict = "this picture can be trusted" if c.holds else "this picture cannot be trusted here"
        notes.append(
            f"Check: without the {c.k} highest-ranked words they {moved(c.top_drop)}, without {c.k} random ones they "
            f"{moved(c.random_drop)} ± {c.random_sd:.1f}; {verdict}."
        )
    title = Text(f"Which words of the source made the model say {asked}?", "bold")
    return Group(title, Text(), table, Text(), *(Text(note, "dim") for note in notes))


def _as_json(seen: "SeenTranslation", found: "Importance", weights: "Tensor | None") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "source": seen.source,
        "translation": seen.target,
        "source_words": [word.text for word in seen.source_words],
        "target_words": [word.text for word in seen.target_words],
        "alignment": None if weights is None else weights.tolist(),
        "importance": {
            "word": found.target.text,
            "logprob": found.logprob,
            "against": list(found.alternatives),
            "method": found.method,
            "words": [{"word": heard.word, "importance": heard.importance} for heard in found.words],
            "check": None if found.check is None else {**asdict(found.check), "holds": found.check.holds},
        },
    }
