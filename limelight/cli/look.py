"""``limelight look``: how a text goes on, and which of its words made the model say so."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limelight import given
from limelight.cli import options as o

if TYPE_CHECKING:
    from rich.console import RenderableType

    from limelight import Model, Seen
    from limelight.look import Importance

_PANEL = "What to ask"
_FILES = "Files to write instead of showing a picture"
_WAITING = "taking words away"

METHODS = (
    *("measured", "blocking", "alti-logit", "leave-one-out", "leave-one-replaced", "gradient-input"),
    *("integrated-gradients", "attention", "attention-rollout", "value-weighted"),
)
"""The names in `limelight.look.METHODS`, which takes too long to import for a help text."""

VIEWS = ("attention", "heads", "lens", "steps")
"""What can be shown instead of importance; under --json, beside it and by these names."""


def look(
    ctx: typer.Context,
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help='The text, or "-" to read it from standard input.', show_default=False),
    ] = None,
    model: o.ModelOption = None,
    word: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="A word of the text to ask about, or its number from 1; by default the word that the model says next.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    foil: Annotated[
        str | None,
        typer.Option(
            "--not", "--why-not", metavar="WORD", help="Ask why that word and not this one.", rich_help_panel=_PANEL
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help=f"How importance is measured: {', '.join(METHODS)}.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Show where one head looks.", rich_help_panel=_PANEL)
    ] = False,
    heads: Annotated[bool, typer.Option("--heads", help="Show what each head does.", rich_help_panel=_PANEL)] = False,
    lens: Annotated[
        bool, typer.Option("--lens", help="Show what each layer would have said.", rich_help_panel=_PANEL)
    ] = False,
    steps: Annotated[
        bool,
        typer.Option("--steps", help="Show the nine steps from the word to the next.", rich_help_panel=_PANEL),
    ] = False,
    layer: Annotated[
        int | None,
        typer.Option(
            metavar="L",
            help="The layer of the head to show, from 0; by default a telling one is chosen.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    head: Annotated[
        int | None, typer.Option(metavar="H", help="The head in that layer, from 0.", rich_help_panel=_PANEL)
    ] = None,
    bar: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="TEXT is a tune (ABC, or an .abc file): which earlier bars made the model write this one.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    note: Annotated[
        int | None, typer.Option(metavar="N", help="With --bar: a note of it, from 1.", rich_help_panel=_PANEL)
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="The translation to look at, for a model that translates; its own by default.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat", help="Say TEXT to the model, and show what its answer rests on.", rich_help_panel=_PANEL
        ),
    ] = False,
    server: o.ServerOption = None,
    request: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="With --server: the request that it answered (limelight serve --keep N), instead of a text.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    sentence: Annotated[
        str | None,
        typer.Option(
            metavar="SENTENCE",
            help="With --server: a sentence of the answer, or its number from 1.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue/--no-continue", help="Show how the model goes on.")] = True,
    tokens: Annotated[int, typer.Option(metavar="N", min=1, help="How many tokens it goes on for.")] = 24,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="How freely it continues; 0 always takes the likeliest token.")
    ] = o.TEMPERATURE,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed gives the same continuation; by default one is drawn and shown."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The page about it, as one file that opens in any browser.",
            dir_okay=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    npz: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="All numbers: importance by word and token, attention [L, H, T, T], next words, the lens.",
            dir_okay=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    parquet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The same numbers as a table (pip install 'limelight[parquet]').",
            dir_okay=False,
            rich_help_panel=_FILES,
        ),
    ] = None,
    json: o.Json = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Show what the model says next, and which words made it say so.

    Each word is replaced by others that are likely there: how much less
    likely does the answer become? The few words that do most are named, and
    checked by deleting them.

    Example:

      limelight look "She opened her umbrella because it started to"
      limelight look --chat "I live in Lisbon. Where do I live?"
      limelight look "The cat sat on the mat because it was tired" --word it
      limelight look "The keys to the cabinet are" --word are --why-not is
      limelight look "The keys to the cabinet" --method alti-logit
      limelight look "The keys to the cabinet" --lens
      limelight look "The keys to the cabinet" --heads
      limelight look "The keys to the cabinet" --steps --layer 13 --head 8
      limelight look "The keys to the cabinet" --attention
      limelight look "The keys to the cabinet" --html keys.html
      limelight look "The keys to the cabinet" --npz keys.npz
      limelight look tune.abc --model runs/reels --bar 6 --note 2
      limelight look --server http://127.0.0.1:11211 --request cmpl-1f3a --sentence 2
    """
    import limelight
    from limelight.cli import numbers, screen
    from limelight.cli.views import picture
    from limelight.errors import RequestError

    if server is not None:
        _by_server(ctx, server, text, model, request, word, sentence, chat, tokens, temperature, seed, json)
        return
    o.refuse(ctx, ("request", "sentence"), "is about what a server answered; name it by --server")
    if text is None:
        raise o.Misused("give a text to look at, or --server and --request")
    asked = [name for name, wanted in zip(VIEWS, (attention, heads, lens, steps), strict=True) if wanted]
    files = [file for file in (html, npz, parquet) if file is not None]
    shown = go_on and (json or not (asked or files))
    _check_options(ctx, asked, bool(files), shown)
    for file in files:
        screen.writable(file)
    if parquet is not None:
        numbers.needs_pyarrow()
    sampling = o.sampling(ctx, temperature, seed=seed)
    prompt = screen.read(text)
    console = screen.stdout()
    opened = o.open_whatever(model, device=device, dtype=dtype, quiet=json)
    if isinstance(opened, limelight.EncoderModel):
        from limelight.cli.views import encoded

        others = {parameter.name or "" for parameter in ctx.command.params} - encoded.OPTIONS
        o.refuse(ctx, others, "asks nothing of a model that writes no text; leave it out")
        encoded.show(console, opened, prompt, word, foil, method, json)
        return
    if isinstance(opened, limelight.Translator):
        opened = opened.model or opened  # a language model is looked at as one, whatever it has learnt
    if isinstance(opened, limelight.Translator):
        from limelight.cli.views import translation

        known = {"text", "model", "word", "foil", "method", "target", "layer", "json", "device", "dtype"}
        others = {parameter.name or "" for parameter in ctx.command.params} - known
        o.refuse(ctx, others, "asks nothing of a model that translates; leave it out")
        translation.show(console, opened, prompt, target, word, foil, method, layer, json)
        return
    if bar is not None:
        from limelight.cli.views import music

        others = {parameter.name or "" for parameter in ctx.command.params} - music.OPTIONS
        o.refuse(ctx, others, "asks nothing of a tune; leave it or --bar out")
        music.show(console, opened, prompt, bar, note, html, json)
        return
    o.refuse(ctx, ("note",), "is a note of a bar; name that by --bar")
    if chat:
        from limelight.cli.views import conversation

        others = {parameter.name or "" for parameter in ctx.command.params} - conversation.OPTIONS
        o.refuse(ctx, others, "asks nothing of a whole answer; leave it or --chat out")
        conversation.show(console, opened, prompt, json)
        return
    if target is not None:
        raise RequestError(f"{opened.name} does not translate; leave out --target")
    if (layer is None) != (head is None):
        raise o.Misused("a head is named by both --layer and --head")
    if layer is not None and not (attention or steps):
        raise o.Misused("--layer and --head choose what --attention and --steps show; add one of them")
    needed = bool(json or files or not asked or ((attention or steps) and layer is None))
    seen = opened.look(prompt)
    _check_question(opened, seen, word, foil, method, layer, head, bool(asked), needed)
    about = seen if word is not None or not (needed or lens) else seen.ahead  # with the word in question
    if npz is not None or parquet is not None:
        numbers.fits(opened, about)
    if html is not None:
        _save(html, opened, seen, word, foil, method)
    tables = [(file, write) for file, write in ((npz, numbers.npz), (parquet, numbers.parquet)) if file is not None]
    found = None
    if needed and (json or tables or not files):
        with screen.progress(_WAITING, quiet=json, unit=str, after=0.5) as tell:
            found = seen.importance(word, foil=foil, method=method, progress=tell)
            arrays = numbers.numbers(opened, seen, about, found, tell) if tables else {}
        for file, write in tables:
            write(file, arrays)
    if files and not json:
        for file in files:
            told = "opens in any browser, without a network" if file is html else "holds the numbers"
            console.print(f"{screen.clean(str(file))} {told}.", soft_wrap=True)
        return
    if layer is None or head is None:  # the one that looks hardest at the words that mattered most
        layer, head = (found.telling.layer, found.telling.head) if found and found.telling else (0, 0)
    added = ""
    if shown and not (found and found.target.start == found.target.end):  # where the model ends the text
        with screen.progress("going on", quiet=json, after=0.5):
            added = opened.complete(about.text, max_tokens=tokens, sampling=sampling, sink=True).text
    if json and found is not None:
        answer = {
            "model": opened.name,
            "prompt": prompt,
            "continuation": about.text[len(prompt) :] + added if shown else None,
            "seed": sampling.seed if shown else None,
        }
        views = {name: _numbers(name, seen, about, word, layer, head) for name in asked}
        screen.print_json(answer | _as_json(about, found) | views)
    elif found is not None and not asked:
        console.print(picture.importance(about.text, found, added, console.width))
        if shown:
            o.tell_seed(sampling, seed)
    else:
        console.print(_drawn(asked[0], seen, about, word, layer, head, console.width))


def _by_server(
    ctx: typer.Context,
    url: str,
    text: str | None,
    model: str | None,
    request: str | None,
    word: str | None,
    sentence: str | None,
    chat: bool,
    tokens: int,
    temperature: float,
    seed: int | None,
    json: bool,
) -> None:
    """Looks into what a server answered: to a request, or to a text that it is given now."""
    from limelight.cli import remote, screen

    known = {"text", "model", "server", "request", "word", "sentence", "chat", "tokens", "temperature", "seed", "json"}
    o.refuse(ctx, {each.name or "" for each in ctx.command.params} - known, "is not known to --server; leave it out")
    if (text is None) == (request is None):
        raise o.Misused("give a text, or --request with the id of one that the server has answered")
    server, console = remote.Server(url), screen.stdout()
    if text is not None:
        body = remote.drawn(o.sampling(ctx, temperature, seed=seed), tokens, None, model)
        prompt = screen.read(text)
        said = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        request = server.ask("/v1/chat/completions" if chat else "/v1/completions", {**body, **said})["id"]
    with screen.progress(_WAITING, quiet=json, after=0.5):
        found = remote.looked(server, str(request), word, sentence)
    remote.show(console, found, json)


def _check_options(ctx: typer.Context, asked: list[str], files: bool, shown: bool) -> None:
    """Refuses options that contradict each other, and those that would do nothing.

    asked: the views. shown: whether the continuation is.
    """
    params = ctx.params
    if not shown:
        o.refuse(
            ctx, ("tokens", "temperature", "seed"), "is about the continuation, which is not shown here; leave it out"
        )
    if params["json"]:
        return
    if files and asked:
        raise o.Misused(f"a file holds every view, and --{asked[0]} is for the screen; leave out one of them")
    if len(asked) > 1:
        raise o.Misused(f"--{asked[0]} and --{asked[1]} are two pictures; ask for one, or add --json for all numbers")
    if asked == ["heads"]:
        o.refuse(ctx, ("word",), "does nothing with --heads, which is about the whole text; leave it out")
    if asked and (asked[0] in {"heads", "lens"} or params["layer"] is not None):
        o.refuse(ctx, ("foil", "method"), f"is about importance, and --{asked[0]} shows none; leave out one of them")


def _check_question(
    model: "Model",
    seen: "Seen",
    word: str | None,
    foil: str | None,
    method: str | None,
    layer: int | None,
    head: int | None,
    instead: bool,
    importance: bool,
) -> None:
    """Refuses what cannot be answered, before anything is computed.

    instead: whether a view is asked for. importance: whether it is needed.
    """
    from limelight.look import METHODS
    from limelight.look.record import block_of, stack_of

    if instead:
        stack_of(model.network)
    if layer is not None:
        block_of(model.network, layer, head)
    if method is not None:
        given.one_of("method", method, METHODS)  # before the next word is looked for
    if importance:
        seen.check_question(word, foil=foil, method=method)
    else:
        seen.place(word)


def _numbers(view: str, seen: "Seen", about: "Seen", word: str | None, layer: int, head: int) -> dict[str, Any]:
    """One of VIEWS as an object. about: the text with the word in question."""
    from limelight.look import plain

    numbers: dict[str, Any]
    match view:
        case "attention":
            weights = seen.attention(layer, head).tolist()
            numbers = {"layer": layer, "head": head, "words": [word.text for word in seen.words], "weights": weights}
        case "heads":
            numbers = {"measured": plain(seen.roles())["strengths"], "here": plain(seen.heads())["strengths"]}
        case "lens":
            numbers = plain(about.lens(about.place(word) + 1))
        case _:
            numbers = plain(seen.steps(word, layer, head))
    return numbers


def _drawn(
    view: str, seen: "Seen", about: "Seen", word: str | None, layer: int, head: int, width: int
) -> "RenderableType":
    """One of VIEWS as a picture. about: the text with the word in question."""
    from limelight.cli import screen
    from limelight.cli.views import inside, picture

    match view:
        case "attention":
            return picture.head(seen, word, layer, head, width)
        case "heads":
            with screen.progress("measuring what each head does", quiet=False):
                return inside.heads(seen.roles(), seen.heads(), width)
        case "lens":
            with screen.progress("reading every layer", quiet=False):
                place = about.place(word)
                return inside.lens(about.lens(place + 1), about.words[place].text, width)
        case _:
            return inside.steps(seen.steps(word, layer, head), seen.words[seen.place(word)].text, width)


def _save(file: Path, model: "Model", seen: "Seen", word: str | None, foil: str | None, method: str | None) -> None:
    """Writes the page about one question into a file."""
    from limelight.cli import screen
    from limelight.views import saved

    with screen.progress(_WAITING, quiet=False, unit=str, after=0.5) as tell:
        place = None if word is None else seen.place(word)
        page = saved.look(model, seen.text, word=place, foil=foil, method=method, progress=tell)
    with screen.beside(file) as stream:
        stream.write(page.encode())


def _as_json(seen: "Seen", found: "Importance") -> dict[str, Any]:

    return {
        **found.to_json(),
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
