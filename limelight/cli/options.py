"""Options that several commands share, each said once, and the model that they open."""

from collections.abc import Collection
from pathlib import Path
from secrets import randbelow
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    import limelight

E = TypeVar("E", bound="limelight.EncoderModel")


def default_model() -> str:
    """The short name of the model that is opened when none is named."""
    from limelight.checkpoints import catalog

    return catalog.default()


TextArgument = Annotated[
    str, typer.Argument(metavar="TEXT", help='The text, or "-" to read it from standard input.', show_default=False)
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help=f"A short name, folder, file or hub id (org/name); {default_model()} by default.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Where to run: cpu, cuda or mps.")]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        help="float32, bfloat16, float16 or q8_0 (8 bits, fast on a CPU); as in the file by default.",
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Ask a running limelight serve and open no model; its key is taken from LIMELIGHT_API_KEY.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Texts = Annotated[
    list[str] | None,
    typer.Argument(metavar="[TEXT]...", help="Texts; without any, --file or standard input.", show_default=False),
]
Files = Annotated[
    list[str] | None,
    typer.Option("--file", "-f", metavar="FILE...", help="Tables (.csv, .tsv, .jsonl), texts, or folders of them."),
]
Columns = Annotated[
    list[str] | None, typer.Option(metavar="NAME...", help="The column of a table; else found and said.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write .jsonl, .csv or .tsv, or go on with it where it was stopped.", show_default=False
    ),
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object for each text.")]
Logprobs = Annotated[
    bool, typer.Option("--logprobs", help="With --json: add every token and the logarithm of its probability.")
]

Draft = Annotated[
    str | None,
    typer.Option(
        metavar="lookup|MODEL",
        help="Write the same text faster: guess what comes next from the text itself, or with a smaller model.",
        show_default=False,
    ),
]

TEMPERATURE, TOP_P, REPETITION = 0.7, 0.9, 1.1
"""How commands choose the next token if nothing else is said: a draw that keeps to what is likely and does not go round
in circles. From Python the likeliest is taken."""

_PANEL = "How the next word is chosen"
MaxTokens = Annotated[int, typer.Option(metavar="N", min=1, help="Add at most this many tokens.")]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STRING", help="End the text where this would appear; may be repeated.", rich_help_panel=_PANEL
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        metavar="T",
        help="0 always takes the likeliest token, 1 follows the model's probabilities, more is bolder.",
        rich_help_panel=_PANEL,
    ),
]
TopK = Annotated[
    int | None, typer.Option(metavar="K", help="Draw from the K likeliest tokens only.", rich_help_panel=_PANEL)
]
TopP = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help=f"Draw from the likeliest tokens that together reach this probability; {TOP_P} by default.",
        rich_help_panel=_PANEL,
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        help="Drop tokens whose probability is below this share of the likeliest one's.",
        rich_help_panel=_PANEL,
    ),
]
Repetition = Annotated[
    float | None,
    typer.Option(
        "--repetition-penalty",
        metavar="X",
        help=f"Above 1, tokens already in the text are less likely; {REPETITION} by default, 1 with --temperature 0.",
        rich_help_panel=_PANEL,
    ),
]
Frequency = Annotated[
    float,
    typer.Option(
        "--frequency-penalty",
        metavar="X",
        help="Subtracted from a token's score for each time it was used.",
        rich_help_panel=_PANEL,
    ),
]
Presence = Annotated[
    float,
    typer.Option(
        "--presence-penalty",
        metavar="X",
        help="Subtracted from a token's score once it was used.",
        rich_help_panel=_PANEL,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="The same seed gives the same text; by default one is drawn and shown.",
        rich_help_panel=_PANEL,
    ),
]


class Misused(typer.BadParameter):
    """A command line that makes no sense, whichever of its options is to blame; ends with code 2."""

    def format_message(self) -> str:
        """The sentence alone."""
        return self.message


def refuse(ctx: typer.Context, names: Collection[str], why: str) -> None:
    """Refuses the first of these options that stands on the command line, since it would do nothing there."""
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise Misused(f"{max(parameter.opts, key=len)} {why}")


LOCAL = ("device", "dtype", "draft")
"""Options of a model that is opened here."""


def refuse_local(ctx: typer.Context) -> None:
    """Refuses what a server decides."""
    refuse(ctx, LOCAL, "is the server's to choose, with --server; leave one of them out")


def sampling(
    ctx: typer.Context,
    temperature: float,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition: float | None = None,
    frequency: float = 0.0,
    presence: float = 0.0,
    seed: int | None = None,
) -> "limelight.Sampling":
    """How to choose the next token, by the options of the command line; draws a seed where none is named.

    Raises RequestError for a number out of range.
    """
    from limelight import Sampling

    if temperature == 0:
        why = "does nothing with --temperature 0, which always takes the likeliest token; leave one of them out"
        refuse(ctx, ("top_k", "top_p", "min_p", "seed"), why)
        return Sampling(0, None, None, None, 1.0 if repetition is None else repetition, frequency, presence)
    return Sampling(
        temperature,
        top_k,
        TOP_P if top_p is None else top_p,
        min_p,
        REPETITION if repetition is None else repetition,
        frequency,
        presence,
        randbelow(1_000_000) if seed is None else seed,
    )


def tell_seed(sampling: "limelight.Sampling", seed: int | None) -> None:
    """Says the seed that was drawn, if one was: by it the text can be had again."""
    from limelight.cli.screen import remark

    if sampling.seed is not None and seed is None:
        remark(f"--seed {sampling.seed} gives this text again")


def open_model(model: str | None, *, device: str, dtype: str | None, quiet: bool) -> "limelight.Model":
    """Opens the language model that was named, or the default one, with progress on stderr unless `quiet`.

    Raises RequestError for a model of another kind.
    """
    import limelight
    from limelight.errors import RequestError

    opened = open_any(model, device=device, dtype=dtype, quiet=quiet)
    if isinstance(opened, limelight.Translator):
        raise RequestError(f"{opened.name} translates texts rather than continuing them; use limelight translate")
    return opened


def open_any(
    model: str | None, *, device: str, dtype: str | None, quiet: bool
) -> "limelight.Model | limelight.Translator":
    """Opens whatever model that writes text was named, or the default one, with progress on stderr unless `quiet`.

    Raises RequestError for an encoder.
    """
    import limelight
    from limelight.errors import RequestError

    opened = open_whatever(model, device=device, dtype=dtype, quiet=quiet)
    if isinstance(opened, limelight.EncoderModel):
        verbs = {"Embedder": "embed", "MaskedModel": "fill", "Classifier": "classify", "Tagger": "tag"}
        verb = verbs.get(type(opened).__name__)
        how = f"use limelight {verb}" if verb else "open it from Python with limelight.open"
        raise RequestError(f"{opened.name} {opened.kind} and writes no text; {how}")
    return opened


def open_whatever(
    model: str | None, *, device: str, dtype: str | None, quiet: bool
) -> "limelight.Model | limelight.Translator | limelight.EncoderModel":
    """Opens whatever model was named, or the default one, with progress on stderr unless `quiet`."""
    from limelight.cli.screen import progress

    name = model or default_model()
    with progress(f"opening {name}", quiet=quiet) as tell:
        import limelight

        return limelight.open(name, dtype=dtype, device=device, progress=tell)


def what(model: "limelight.Model | limelight.Translator | limelight.EncoderModel") -> str:
    """What a model of its kind does, in words."""
    import limelight

    if isinstance(model, limelight.EncoderModel):
        return model.kind
    return "continues texts" if isinstance(model, limelight.Model) else "translates texts"


def open_encoder(model: str, kind: "type[E]", does: str, *, device: str, dtype: str | None, quiet: bool) -> "E":
    """Opens a model that must be of a kind of encoder. does: what that kind does, in words.

    Raises RequestError for a model of another kind.
    """
    from limelight.errors import RequestError

    opened = open_whatever(model, device=device, dtype=dtype, quiet=quiet)
    if isinstance(opened, kind):
        return opened
    raise RequestError(f"{model} {what(opened)}; name a model that {does}")


def open_scorer(
    model: str, *, device: str, dtype: str | None, quiet: bool
) -> "limelight.Embedder | limelight.Classifier":
    """Opens a model that says how near two texts are. Raises RequestError for any other."""
    import limelight
    from limelight.errors import RequestError

    opened = open_whatever(model, device=device, dtype=dtype, quiet=quiet)
    if isinstance(opened, limelight.Embedder) or (isinstance(opened, limelight.Classifier) and opened.scores):
        return opened
    raise RequestError(f"{model} {what(opened)}; name a model that embeds texts, or a cross-encoder")


def open_translator(model: str, *, device: str, dtype: str | None, quiet: bool) -> "limelight.Translator":
    """Opens a model that translates: an encoder–decoder, or a language model that was trained on pairs.

    Raises RequestError for any other language model.
    """
    import limelight
    from limelight.errors import RequestError

    opened = open_any(model, device=device, dtype=dtype, quiet=quiet)
    if not isinstance(opened, limelight.Translator):
        raise RequestError(f"{model} continues texts; it was not trained to translate")
    return opened
