"""``limelight race``: models that read word by word against models that read all at once."""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from limelight.race.course import Settings


def race(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the race, its report and its models are kept.")
    ] = Path("races/race"),
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...",
            help="Text to learn from, or pairs to translate (a table, or two files); without it, Python's own"
            " documentation.",
        ),
    ] = None,
    models: Annotated[
        str | None, typer.Option(metavar="NAMES", help="The contenders, with commas; see above.", show_default=False)
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--problems", metavar="NAMES", help="What they run on, with commas; see above.", show_default=False
        ),
    ] = None,
    budget: Annotated[str, typer.Option(metavar="TIME", help="How long it may take, such as 90s, 30m or 2h.")] = "5m",
    seeds: Annotated[int, typer.Option(metavar="N", help="Runs of each contender on each problem.")] = 3,
    seed: Annotated[int, typer.Option(metavar="N", help="The first seed.")] = 1,
    parameters: Annotated[int, typer.Option(metavar="N", help="Of each contender.")] = 100_000,
    state: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Instead of parameters: the numbers that each keeps of a problem's shortest text.",
            show_default=False,
        ),
    ] = 0,
    words: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Of the text, with commas: how far apart their places are put.")
    ] = None,
    scale: Annotated[
        bool, typer.Option("--scale", help="Also with fewer parameters and with less text: how the loss falls.")
    ] = False,
    threads: Annotated[int, typer.Option(metavar="N", help="0: as many as torch takes.")] = 0,
) -> None:
    """Race models that read word by word against models that read all at once.

    All have the same number of parameters, examples, order, optimiser and trials
    of the rate. They remember facts, agree verbs with subjects, keep count, and
    learn text, by tokens and by seconds; what reading and writing cost is timed
    by length. The report is FOLDER/report.html. A race that was stopped goes on.

    Contenders: rnn, gru, lstm, gpt, transformer; by name also lstm+attention,
    mingru, mamba2, delta and rwkv7, of which the last three are slow.

    Problems: recall, agreement, switch, text. By name also little (as text, with
    20,000 characters of it), senses (one word in two senses), and what takes more
    time: mqar (recall as published), copying, brackets and objects (whom was it
    given to?), at distances of 4 to 1,024 words.

    On one thread, seconds are of the processor: other programs take no part.

    Example:

      limelight race
      limelight race --data my-texts/ --budget 30m --models lstm,transformer
      limelight race --data train.en train.de --problems text --budget 1h
      limelight race --problems mqar --state 2048 --budget 2h --out races/mqar
    """
    from limelight.cli import screen
    from limelight.cli.screen import progress
    from limelight.race.course import Settings, problems
    from limelight.race.course import race as run
    from limelight.race.found import conclusions
    from limelight.race.report import check_drawing, write_report

    check_drawing()
    named = {"models": models, "problems": on, "words": words}
    chosen = {what: tuple(each.strip() for each in names.split(",")) for what, names in named.items() if names}
    settings = Settings(
        data=tuple(data or ()),
        budget=_seconds(budget),
        seeds=seeds,
        first_seed=seed,
        parameters=parameters,
        state=state,
        threads=threads,
        scale=scale,
        **chosen,
    )
    ran, _ = problems(settings)
    command = _command(settings, budget, out)
    results = None
    try:
        with progress("racing", quiet=False, unit=lambda seconds: f"{seconds:,.0f} s") as tell:
            for found in run(settings, out, lambda done, total, note: tell(round(done), round(total), note)):
                results = found
    finally:  # Ctrl-C, too, leaves a report of what was finished
        if results is not None:
            page = write_report(results, ran, out, command)
            console = screen.stdout()
            for sentence in conclusions(results, ran):
                console.print(f"• {sentence}", markup=False, highlight=False)
            console.print(f"\nThe report: {page}", markup=False, highlight=False, soft_wrap=True)
            if not results.done:
                screen.remark(f"the race is not through; this goes on with it: {command}")


UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(budget: str) -> float:
    """A time such as 90s, 30m or 2h, in seconds. Raises RequestError for anything else."""
    from limelight.errors import RequestError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget.strip())
    if found is None:
        raise RequestError(f"--budget is {budget!r}; it takes a time such as 90s, 30m or 2h")
    return float(found[1]) * UNITS[found[2]]


def _command(settings: "Settings", budget: str, out: Path) -> str:
    """The command line that runs the same race."""
    words = ["limelight", "race", *(["--data", *settings.data] if settings.data else [])]
    words += ["--models", ",".join(settings.models), "--problems", ",".join(settings.problems)]
    words += ["--budget", budget, "--seeds", str(settings.seeds), "--seed", str(settings.first_seed)]
    words += ["--state", str(settings.state)] if settings.state else ["--parameters", str(settings.parameters)]
    words += [*(["--words", ",".join(settings.words)] if settings.words else [])]
    words += [*(["--scale"] if settings.scale else [])]
    words += [*(["--threads", str(settings.threads)] if settings.threads else []), "--out", str(out)]
    return shlex.join(words)
