"""``limelight look``: how a text goes on, and which of its words made the model say so."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from limelight import Model, Seen
    from limelight.look import Importance

_PANEL = "What is asked"
_FILES = "Files instead of a picture"
_AHEAD = 16
"""Tokens in which the first word that the model adds is looked for."""

VIEWS = ("attention", "heads", "lens", "steps")
"""What can be shown instead of importance; under --json, beside it and by these names."""


def look(
    text: o.TextArgument,
    model: o.ModelOption = None,
    word: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="The word in question, or its number from 1; the last one if none is named.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    next: Annotated[
        bool, typer.Option("--next", help="Ask for the first word that the model adds.", rich_help_panel=_PANEL)
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--not", "--why-not", metavar="WORD", help="Ask why not this word instead.", rich_help_panel=_PANEL
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="How importance is measured: blocking, alti-logit, leave-one-out … (a wrong name lists them all).",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Show instead where one head looks.", rich_help_panel=_PANEL)
    ] = False,
    heads: Annotated[
        bool, typer.Option("--heads", help="Show instead what each head does.", rich_help_panel=_PANEL)
    ] = False,
    lens: Annotated[
        bool, typer.Option("--lens", help="Show instead what each layer would have said.", rich_help_panel=_PANEL)
    ] = False,
    steps: Annotated[
        bool,
        typer.Option("--steps", help="Show instead the nine steps from the word to the next.", rich_help_panel=_PANEL),
    ] = False,
    layer: Annotated[
        int | None,
        typer.Option(metavar="L", help="That head's layer, from 0; else the telling one's.", rich_help_panel=_PANEL),
    ] = None,
    head: Annotated[
        int | None, typer.Option(metavar="H", help="Which head of that layer, from 0.", rich_help_panel=_PANEL)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="A translation of the text, for a model that translates.", rich_help_panel=_PANEL
        ),
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue/--no-continue", help="Show first how the model goes on.")] = True,
    tokens: Annotated[int, typer.Option(metavar="N", min=1, help="How many tokens it goes on for.")] = 24,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the page for it into one file that opens anywhere.",
            dir_okay=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    npz: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write all numbers: importance by word and token, attention [L, H, T, T], next words, the lens.",
            dir_okay=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the same numbers as a table (pip install 'limelight[parquet]').",
            dir_okay=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    json: o.Json = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Continue a sentence, and show which words made the model say the last one.

    Each word before the one in question is weighed by what it did to the odds
    of that one. Then the model is made deaf to the words that came out on top,
    and to random ones: so one sees whether the picture can be trusted.

    Example:

      limelight look "The cat sat on the mat because it was tired"
      limelight look "The cat sat on the mat because it was tired" --word it
      limelight look "Mary and John went out. John gave a drink to" --next
      limelight look "The keys to the cabinet are" --why-not is
      limelight look "The keys to the cabinet are" --method alti-logit
      limelight look "The keys to the cabinet are" --lens
      limelight look "The keys to the cabinet are" --heads
      limelight look "The keys to the cabinet are" --steps --layer 13 --head 8
      limelight look "The keys to the cabinet are" --attention
      limelight look "The keys to the cabinet are" --html keys.html
      limelight look "The keys to the cabinet are" --npz keys.npz
    """
    import limelight
    from limelight.cli import numbers, picture, screen
    from limelight.errors import RequestError

    if word is not None and next:
        raise typer.BadParameter("--word and --next ask for two different words; give one of them")

    instead = attention or heads or lens or steps
    files = [file for file in (html, npz, parquet) if file is not None]
    if parquet is not None:
        numbers.needs_pyarrow()
    prompt = screen.read(text)
    console = screen.stdout()
    opened = o.open_any(model, device=device, dtype=dtype, quiet=json)
    if isinstance(opened, limelight.Translator):
        opened = opened.model or opened  # a language model is looked at as one, whatever it has learnt
    if isinstance(opened, limelight.Translator):
        from limelight.cli import aligned

        if next or against or instead or method or files:
            raise typer.BadParameter("a translation is asked with --target and --word alone")
        aligned.show(console, opened, prompt, target, word, layer, json)
        return
    if (layer is None) != (head is None):
        raise typer.BadParameter("a head is named by both --layer and --head")
    if layer is not None and not (attention or steps):
        raise typer.BadParameter("--layer and --head choose what --attention and --steps show; add one of them")
    if target is not None:
        raise RequestError(f"{opened.name} does not translate; leave out --target")
    continuation = None
    if json and go_on:
        continuation = opened.complete(prompt, max_tokens=tokens, parked=True).text
    elif go_on and not instead and not files:
        _stream(console, opened, prompt, tokens)
    seen = opened.look(_with_next_word(opened, prompt) if next else prompt)
    if html is not None:
        _save(html, opened, seen, word, against, method)
    tables = [(file, write) for file, write in ((npz, numbers.npz), (parquet, numbers.parquet)) if file is not None]
    found = None
    if json or tables or not (files or instead) or ((attention or steps) and layer is None and not files):
        with screen.progress("listening without each word", quiet=json, unit=str, after=0.5) as tell:
            found = seen.importance(word, against=against, method=method, progress=tell)
            arrays = numbers.numbers(opened, seen, found, against, tell) if tables else {}
        for file, write in tables:
            write(file, arrays)
    if files and not json:
        for file in files:
            told = "opens in any browser, without a network" if file is html else "holds the numbers"
            console.print(f"{screen.clean(str(file))} {told}.", soft_wrap=True)
        return
    if layer is None or head is None:  # the one that looks hardest at the words that mattered most
        layer, head = (found.telling.layer, found.telling.head) if found and found.telling else (0, 0)
    asked = [name for name, wanted in zip(VIEWS, (attention, heads, lens, steps), strict=True) if wanted]
    if json and found is not None:
        answer = {"model": opened.name, "prompt": prompt, "continuation": continuation, **_as_json(seen, found)}
        screen.print_json(answer | {name: _numbers(name, seen, word, layer, head) for name in asked})
    elif found is not None and not instead:
        console.print(picture.importance(seen.text, seen.words, found, against, console.width))
    elif not json:
        for name in asked:
            console.print(_drawn(name, seen, word, layer, head, console.width))


def _numbers(view: str, seen: "Seen", word: str | None, layer: int, head: int) -> dict[str, Any]:
    """One of VIEWS as an object."""
    from limelight.look import plain

    numbers: dict[str, Any]
    match view:
        case "attention":
            weights = seen.attention(layer, head).tolist()
            numbers = {"layer": layer, "head": head, "words": [word.text for word in seen.words], "weights": weights}
        case "heads":
            numbers = {"measured": plain(seen.roles())["strengths"], "here": plain(seen.heads())["strengths"]}
        case "lens":
            numbers = plain(seen.lens(seen.place(word) + 1))
        case _:
            numbers = plain(seen.steps(word, layer, head))
    return numbers


def _drawn(view: str, seen: "Seen", word: str | None, layer: int, head: int, width: int) -> "RenderableType":
    """One of VIEWS as a picture."""
    from limelight.cli import inside, picture, screen

    place = seen.place(word)
    match view:
        case "attention":
            return picture.head(seen, word, layer, head, width)
        case "heads":
            with screen.progress("measuring what each head does", quiet=False):
                return inside.heads(seen.roles(), seen.heads(), width)
        case "lens":
            with screen.progress("reading every layer", quiet=False):
                return inside.lens(seen.lens(place + 1), seen.words[place].text, width)
        case _:
            return inside.steps(seen.steps(word, layer, head), seen.words[place].text, width)


def _save(file: Path, model: "Model", seen: "Seen", word: str | None, against: str | None, method: str | None) -> None:
    """Writes the page about one word into a file."""
    from limelight.cli import numbers, screen
    from limelight.serve import saved

    with screen.progress("listening without each word", quiet=False, unit=str, after=0.5) as tell:
        place = seen.place(word)
        page = saved.look(model, seen.text, word=place, against=against, method=method, progress=tell)
    with numbers.beside(file) as stream:
        stream.write(page.encode())


def _stream(console: "Console", model: "Model", prompt: str, tokens: int) -> None:
    """Shows the text as it was given, and how the model goes on."""
    from limelight.cli import screen

    pieces = model.stream(prompt, max_tokens=tokens, parked=True)
    screen.put(console, screen.clean(prompt))
    for piece in pieces:
        screen.put(console, screen.clean(piece), screen.ADDED)
    screen.put(console, "\n\n")


def _with_next_word(model: "Model", prompt: str) -> str:
    """The text with the first word that the model adds."""
    from limelight.errors import RequestError

    text = prompt + model.complete(prompt, max_tokens=_AHEAD, parked=True).text
    for word in model.look(text).words:
        if word.end > len(prompt):
            return text[: word.end]
    raise RequestError("the model ends the text here, so that there is no next word to ask for")


def _as_json(seen: "Seen", found: "Importance") -> dict[str, Any]:
    from dataclasses import asdict

    target, check = found.target, found.check
    return {
        "target": {
            "word": target.text,
            "start": target.start,
            "end": target.end,
            "logprob": found.logprob,
            "against": list(found.against),
        },
        "method": found.method,
        "words": [asdict(heard) for heard in found.words],
        "check": None
        if check is None
        else {
            "k": check.k,
            "top_drop": check.top_drop,
            "random_drop": check.random_drop,
            "random_sd": check.random_sd,
            "holds": check.holds,
        },
        "links": [
            {
                "layer": link.layer,
                "head": link.head,
                "from": seen.words[link.source].text,
                "to": seen.words[link.target].text,
                "weight": link.weight,
            }
            for link in found.links
        ],
    }
