"""What ``limelight eval compose`` prints."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from limelight.cli import screen
from limelight.cli.compose import TEMPERATURE

if TYPE_CHECKING:
    from rich.console import Console

    from limelight import Model
    from limelight.music.tune import Tune


def judge(
    console: "Console", model: "Model", files: list[str], write: int, seed: int, json: bool, *, free: bool
) -> None:
    """Judges a model of music and prints what came out. Raises RequestError or FileError."""
    from limelight.decode import Sampling
    from limelight.errors import RequestError
    from limelight.music.tune import Tune
    from limelight.tasks.compose import About
    from limelight.tasks.evaluation import music
    from limelight.tasks.pieces import holds, read

    about = About.of(model.path)
    if holds(files) != about.kind:
        raise RequestError(
            f"{model.name} writes {about.kind}s, and {' and '.join(files)} holds none; test it on its own"
        )
    if about.kind == "chorale" and (write or free):
        raise RequestError("tunes are written and judged; leave out --write and --free for a model of chorales")
    pieces, said = read(files, "test")
    with screen.progress("reading", quiet=json, unit=str, after=0.5) as tell:
        cost = music.cost(model.network, model.tokenizer, about, pieces, tell)
    found = {"model": model.name, "test": files, "cost": asdict(cost)}
    kept = None
    if write:
        models = [piece for piece in pieces if isinstance(piece, Tune)]
        with screen.progress("writing", quiet=json, unit=str, after=0.5) as tell:
            sampling = Sampling(temperature=TEMPERATURE, seed=seed)
            written = music.write(
                model.network, model.tokenizer, about, models, write, sampling, free=free, progress=tell
            )
        kept = music.kept(written, _learned(model))
        found["written"] = asdict(kept)
    if json:
        screen.print_json(found)
        return
    unit = "bits a character" if about.kind == "tune" else "nats a step"
    many = "characters" if about.kind == "tune" else "steps"
    console.print(f"{said[0]}", soft_wrap=True)
    left = f", {cost.left_out} left out" if cost.left_out else ""
    console.print(f"{cost.pieces:,} pieces of {cost.units:,} {many}{left}: {cost.value:.3f} {unit}", soft_wrap=True)
    if kept is not None:
        console.print(f"\n{kept.tunes:,} tunes in keys, metres and forms of these:")
        for name, share in (
            ("can be read", kept.parse),
            ("their bars add up", kept.bars),
            ("the metre that was asked for", kept.metre),
            ("the form that was asked for", kept.form),
            ("the key that was asked for, by their notes", kept.key),
        ):
            console.print(f"  {share:6.1%}  {name}")
        if kept.copied:
            middle, most = kept.copied[len(kept.copied) // 2], kept.copied[-1]
            console.print(f"  notes in a row from one training tune: {middle} in the median, {most} at most")


def _learned(model: "Model") -> "list[Tune]":
    """The tunes that the model learned from, if its run is there, and they are."""
    from limelight.errors import LimelightError
    from limelight.music.tune import Tune
    from limelight.tasks.pieces import read
    from limelight.train.settings import from_toml

    settings = model.path.parent / "settings.toml"
    try:
        pieces, _ = read(from_toml(settings)["train"], "train")
    except (LimelightError, KeyError):
        screen.remark("the tunes that the model learned from are gone, so what it copied is not told")
        return []
    return [piece for piece in pieces if isinstance(piece, Tune)]
