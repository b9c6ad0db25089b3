"""``limelight compose``: write music."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.tasks.compose import Written

TEMPERATURE = 0.9


def compose(
    ctx: typer.Context,
    model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="The folder of a training.")],
    key: Annotated[str, typer.Option(metavar="KEY", help="D, Am, F#m, Bb, EDor; else the model's own choice.")] = "",
    metre: Annotated[str, typer.Option(metavar="METRE", help="4/4, 6/8, 3/4; else the model's own choice.")] = "",
    form: Annotated[
        str, typer.Option(metavar="LETTERS", help="Sections in the order in which they sound, as AABB or ABA.")
    ] = "",
    bars: Annotated[int, typer.Option(metavar="N", min=0, max=32, help="Bars of each section; 0: any number.")] = 0,
    start: Annotated[
        str, typer.Option(metavar="ABC|FILE", help="How the tune begins, or a file that says it: it goes on there.")
    ] = "",
    count: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many pieces.")] = 1,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="How freely; 0 always takes the likeliest.")
    ] = TEMPERATURE,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed gives the same music; by default one is drawn.")
    ] = None,
    copies: Annotated[
        bool, typer.Option("--copies", help="Allow more than 16 notes in a row from one training tune.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=".abc, or .mid (pip install 'limelight[music]'); else on the screen."),
    ] = None,
    json: o.Json = False,
) -> None:
    """Write tunes, or chorales, with a model that limelight train compose made.

    Bars add up and sections are those of the form, since nothing else may come
    next; key and metre stand in front. Of the tunes that the model learned from
    at most 16 notes in a row are copied. Several pieces as MIDI are files with
    numbers.

    Example:

      limelight compose --model runs/reels --key D --metre 6/8 --form AABB
      limelight compose --model runs/reels --key D --metre 6/8 --start "|:D2F A2d" --out tune.mid
      limelight compose --model runs/reels --start mine.abc --count 3 --out mine-on.abc
      limelight compose --model runs/bach --out chorale.mid
    """
    from limelight.cli import screen
    from limelight.decode import Sampling
    from limelight.errors import RequestError
    from limelight.music import midi
    from limelight.tasks.compose import About, Wish
    from limelight.tasks.compose import compose as written

    if temperature == 0:
        o.refuse(ctx, ("seed", "count"), "does nothing with --temperature 0, which gives one piece; leave one out")
    if out is not None:
        if out.suffix not in {".abc", ".mid"}:
            raise RequestError(f"{out} is neither .abc nor .mid; name the file by what it is to hold")
        screen.writable(out)
        if out.suffix == ".mid":
            midi.library()
    sampling = o.sampling(ctx, temperature, top_p=1.0, repetition=1.0, seed=seed)
    wish = Wish(key, metre, form, bars, _start(start), copies)
    opened = o.open_model(model, device="cpu", dtype=None, quiet=json)
    about = About.of(opened.path)
    if about.kind == "chorale" and out is not None and out.suffix == ".abc":
        raise RequestError("chorales are written as MIDI; name a file that ends in .mid")
    with screen.progress("writing", quiet=json, unit=str, after=1.0) as tell:
        pieces = written(
            opened.network,
            opened.tokenizer,
            about,
            [wish] * count,
            sampling if temperature else Sampling(),
            wrote=lambda done: tell(done, count),
        )
    if out is not None:
        _save(out, pieces)
    if json:
        screen.print_json({"model": opened.name, "seed": sampling.seed, "pieces": [_plain(each) for each in pieces]})
        return
    if out is None:
        screen.stdout().print(screen.clean(_texts(pieces)), soft_wrap=True, highlight=False)
    o.tell_seed(sampling, seed)


def _start(said: str) -> str:
    """What a tune begins with: the text, or what a file of that name holds."""
    from limelight.train.data import existing, lines

    return "\n".join(lines(existing(said))) if said.endswith(".abc") else said


def _texts(pieces: list["Written"]) -> str:
    """All pieces as they are kept in a file."""
    from limelight.music import abc
    from limelight.music.tune import Tune

    texts = []
    for number, each in enumerate(pieces, 1):
        piece = each.piece
        texts.append(abc.write(piece, number) if isinstance(piece, Tune) else each.text + "\n")
    return "\n".join(texts)


def _plain(each: "Written") -> dict[str, object]:
    from limelight.music.tune import Tune

    piece = each.piece
    if not isinstance(piece, Tune):
        return {"steps": piece}
    return {"text": each.text, "key": str(piece.key), "metre": "{}/{}".format(*piece.metre), "form": piece.form}


def _save(out: Path, pieces: list["Written"]) -> None:
    from limelight.cli import screen
    from limelight.music import midi

    if out.suffix == ".abc":
        files = {out: _texts(pieces).encode()}
    else:
        several = len(pieces) > 1
        names = (out.with_stem(f"{out.stem}-{number}") if several else out for number in range(1, len(pieces) + 1))
        files = {name: midi.write(each.piece) for name, each in zip(names, pieces, strict=True)}
    for file, content in files.items():
        with screen.beside(file) as stream:
            stream.write(content)
        screen.stdout().print(f"{screen.clean(str(file))} is written.", soft_wrap=True)
