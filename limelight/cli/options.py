"""Options that several commands share, each said once, and the model that they open."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import limelight


def default_model() -> str:
    """The short name of the model that is opened when none is named."""
    from limelight.checkpoints import named

    return named.default()


TextArgument = Annotated[
    str, typer.Argument(metavar="TEXT", help='The text; "-" reads it from standard input.', show_default=False)
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help=f"A short name, folder, file, or hub id (org/name); {default_model()} if none is named.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="Where to run: cpu, cuda or mps.")]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        help="float32, bfloat16, float16, or q8_0 (8 bits, fast on a CPU); as in the file if none is named.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Logprobs = Annotated[
    bool, typer.Option("--logprobs", help="With --json: every token and the logarithm of its probability.")
]

Draft = Annotated[
    str | None,
    typer.Option(
        metavar="lookup|MODEL",
        help="Faster, with the same text: guess what comes next from the text itself, or by a smaller model.",
        show_default=False,
    ),
]

_PANEL = "How the next word is chosen"
MaxTokens = Annotated[int, typer.Option(metavar="N", min=1, help="The most tokens to add.")]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STRING", help="Ends the text where this would appear; may be given again.", rich_help_panel=_PANEL
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        metavar="T",
        help="0: always the likeliest token. 1: as often as the model thinks. Above: bolder.",
        rich_help_panel=_PANEL,
    ),
]
TopK = Annotated[
    int | None, typer.Option(metavar="K", help="Choose among the K likeliest only.", rich_help_panel=_PANEL)
]
TopP = Annotated[
    float | None,
    typer.Option(metavar="P", help="Choose among the likeliest that make up this share.", rich_help_panel=_PANEL),
]
MinP = Annotated[
    float | None,
    typer.Option(
        metavar="P", help="Leave out what is less likely than this share of the likeliest.", rich_help_panel=_PANEL
    ),
]
Repetition = Annotated[
    float,
    typer.Option(
        "--repetition-penalty",
        metavar="X",
        help="Above 1: tokens already in the text are less likely.",
        rich_help_panel=_PANEL,
    ),
]
Frequency = Annotated[
    float,
    typer.Option(
        "--frequency-penalty",
        metavar="X",
        help="Taken from a token's score each time it was used.",
        rich_help_panel=_PANEL,
    ),
]
Presence = Annotated[
    float,
    typer.Option(
        "--presence-penalty",
        metavar="X",
        help="Taken from a token's score once it was used.",
        rich_help_panel=_PANEL,
    ),
]
Seed = Annotated[
    int | None, typer.Option(metavar="N", help="The same seed gives the same text.", rich_help_panel=_PANEL)
]


def open_model(model: str | None, *, device: str, dtype: str | None, quiet: bool) -> "limelight.Model":
    """Opens the language model that was named, or the default one, with progress on stderr unless `quiet`.

    Raises RequestError for a model of another kind.
    """
    import limelight
    from limelight.errors import RequestError

    opened = open_any(model, device=device, dtype=dtype, quiet=quiet)
    if isinstance(opened, limelight.Translator):
        raise RequestError(f"{opened.name} translates texts and does not continue them; use limelight translate")
    return opened


def open_any(
    model: str | None, *, device: str, dtype: str | None, quiet: bool
) -> "limelight.Model | limelight.Translator":
    """Opens whatever model that writes text was named, or the default one, with progress on stderr unless `quiet`.

    Raises RequestError for an encoder.
    """
    from limelight.cli.screen import progress
    from limelight.errors import RequestError

    name = model or default_model()
    with progress(f"opening {name}", quiet=quiet) as tell:
        import limelight

        opened = limelight.open(name, dtype=dtype, device=device, progress=tell)
    if isinstance(opened, limelight.EncoderModel):
        raise RequestError(f"{opened.name} {opened.kind} and writes no text; open it from Python with limelight.open")
    return opened


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
