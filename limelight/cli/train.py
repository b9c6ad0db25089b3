"""``limelight train``: a model of one's own text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.tasks.learn import Begun
    from limelight.train.loop import Result
    from limelight.train.report import Progress

_PANEL = "What is chosen from the data, if you say nothing"
USES = {
    "translate": "limelight translate",
    "generate": 'limelight complete "Once upon a time"',
    "compose": "limelight compose",
    "classify": 'limelight classify "A text of your own"',
    "tag": 'limelight tag "A text of your own"',
    "answer": 'limelight answer "A question?" "A text of your own"',
    "embed": 'limelight similar "One text" "Another one"',
    "summarise": "limelight summarise --file text.txt",
    "fill": 'limelight fill "A text with a [MASK]"',
    "assistant": "limelight chat",
    "prefer": "limelight chat",
}
UNITS = {
    "translate": "pairs",
    "compose": "pieces",
    "answer": "windows",
    "embed": "pairs",
    "fill": "windows",
    "summarise": "texts with summaries",
    "assistant": "conversations",
    "prefer": "pairs",
}
SPEEDS = {"classify": "texts", "tag": "words", "answer": "windows", "embed": "pairs", "fill": "gaps", "prefer": "pairs"}
"""The command that runs a finished model, what examples are called, and what is predicted."""

MEASURES = {
    "bleu": "BLEU",
    "f1": "F1",
    "exact": "windows right",
    "ranked": "pairs ranked right",
    "spearman": "rank correlation",
}
"""What measures of models are called, where it is not as the settings have it."""

SPOKEN = 30.0
"""Seconds between two lines of progress where no terminal looks."""


def train(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="translate, generate, compose, classify, tag, answer, embed, fill, summarise, assistant or prefer.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the run and its model are kept.")],
    train: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE...", help="What to learn from: see above.", show_default=False),
    ] = None,
    valid: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE...", help="What to judge by; else some of the training text is kept back."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="A table's columns: source and target, or text and label."),
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A TOML file with any of the options.")] = None,
    set: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE...", help="Any other option, as it stands in settings.toml.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="A preset, or a model to train on.", rich_help_panel=_PANEL
        ),
    ] = None,
    lora: Annotated[
        int | None,
        typer.Option(metavar="RANK", help="Train a model on by LoRA, and not whole.", rich_help_panel=_PANEL),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="bpe, unigram, word, character or byte.", rich_help_panel=_PANEL),
    ] = None,
    vocab: Annotated[int | None, typer.Option(metavar="N", help="Tokens at most.", rich_help_panel=_PANEL)] = None,
    epochs: Annotated[
        float | None,
        typer.Option(metavar="N", help="How often the text is read; 0: as fits it.", rich_help_panel=_PANEL),
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="In place of epochs.", rich_help_panel=_PANEL)] = None,
    minutes: Annotated[
        float | None,
        typer.Option(metavar="N", help="In place of both: how long it may take.", rich_help_panel=_PANEL),
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of a step.", rich_help_panel=_PANEL)
    ] = None,
    lr: Annotated[float | None, typer.Option(metavar="RATE", help="Learning rate.", rich_help_panel=_PANEL)] = None,
    dropout: Annotated[float | None, typer.Option(metavar="SHARE", help="Dropout.", rich_help_panel=_PANEL)] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Where chance begins.", rich_help_panel=_PANEL)] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="cpu, cuda or mps.", rich_help_panel=_PANEL)
    ] = None,
    json: o.Json = False,
) -> None:
    """Train a model on text of your own, or go on with a training.

    To translate: two files whose lines belong together, or tables of pairs
    (.tsv, .csv, .jsonl, .po). To generate: text files or folders of them. To
    summarise: tables with a text and its summary. To compose: tunes in ABC
    notation (.abc), or chorales (.json).
    To classify: tables with a column of texts and one of labels (or lists of
    labels). To tag: a word and its tag a line (CoNLL), or JSON lines with tokens
    and tags. To answer: SQuAD's JSON, or tables with question, context and
    answer. To embed: tables of two texts that belong together, with a third that
    does not, or with a score. To fill gaps: texts, as to generate, or a table's
    column of them. An assistant: JSON lines of conversations. To prefer one
    answer over another: JSON lines with chosen and rejected. Each may be packed
    (.gz, .xz).

    The same command again goes on where a training was stopped, exactly.
    Several processes: torchrun --nproc-per-node 2 -m limelight train ...

    Example:

      limelight train translate --train train.en train.de --out runs/en-de
      limelight train generate --train book.txt --model gpt-small --out runs/book
      limelight train generate --train notes/ --model smollm2 --lora 8 --out runs/me
      limelight train compose --train tunes.abc --out runs/reels
      limelight train classify --train reviews.csv --out runs/mood
      limelight train assistant --model gemma3 --train chats.jsonl --out runs/helper
      limelight train prefer --model runs/helper --train pairs.jsonl --out runs/liked
    """
    import os

    from limelight.cli import screen
    from limelight.errors import RequestError

    typed: dict[str, Any] = {
        "train": tuple(train or ()),
        "valid": tuple(valid or ()),
        "columns": tuple(columns or ()),
        "model": model,
        "lora": lora,
        "tokenizer": tokenizer,
        "vocab": vocab,
        "epochs": epochs,
        "steps": steps,
        "minutes": minutes,
        "batch_tokens": batch_tokens,
        "lr": lr,
        "dropout": dropout,
        "seed": seed,
        "device": device,
    }
    given = {name: value for name, value in typed.items() if value is not None and value != ()}
    options = _options(task, config, set or [], given)
    if not options.get("train") and not (out / "settings.toml").is_file():
        raise RequestError(f"there is no training to go on with in {out}; name files to learn from with --train")
    main = os.environ.get("RANK", "0") == "0"
    show = _Shown(task, out, quiet=json or not main)
    try:
        from limelight.tasks.learn import learn

        show.say(f"reading {' and '.join(options['train'])}" if options.get("train") else f"going on in {out}")
        with show:
            result = learn(options, out, begun=show.begun, progress=show.progress)
    except KeyboardInterrupt:
        if main:
            screen.remark(f"stopped; the same command goes on {_last(out)}")
        raise typer.Exit(130) from None
    if main:
        _finish(result, task, out, json)


def _options(task: str, config: Path | None, pairs: list[str], typed: dict[str, Any]) -> dict[str, Any]:
    """What was asked for: the file first, then --set, then options of their own; the later one counts.

    Raises ConfigError or RequestError for an option that nobody knows, or that has no effect.
    """
    from limelight.errors import RequestError
    from limelight.train.settings import WRITE, checked, from_toml, idle

    options = checked({"task": task}, "limelight train")
    if config is not None:
        named = from_toml(config)
        if named.get("task", task) != task:
            raise RequestError(f"{config} is for the task {named['task']}; you asked for {task}")
        options |= named
    said: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise RequestError(f"--set takes NAME=VALUE, and {pair!r} has no =")
        said |= checked({name.strip(): _value(value.strip())}, "--set")
    said |= checked(typed, "limelight train")
    for names in (("minutes", "steps", "epochs"), ("parameters", "width")):
        same = [name for name in names if name in said]
        if len(same) > 1:
            raise RequestError(f"{same[0]} and {same[1]} say the same thing in two ways; give one of them")
        for name in names if same else ():  # then the others, of the file, no longer count
            options.pop(name, None)
    for name in said:
        if idle(name, task):
            raise RequestError(f"{name} has no effect when a model learns to {task}; leave the option out")
    if model := (options | said).get("model"):
        own = [name for name in ("tokenizer", "vocab", "lower", "width", "parameters") if name in said]
        if own and task in WRITE:
            from limelight.models.presets import PRESETS

            if model not in PRESETS:
                raise RequestError(f"{model} brings its own {own[0]}; leave the option out")
    return options | said


def _value(text: str) -> Any:
    """A value as TOML writes it; what is no TOML is a text."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _last(out: Path) -> str:
    steps = sorted(int(path.name[5:]) for path in (out / "checkpoints").glob("step-*") if path.name[5:].isdecimal())
    return f"from step {steps[-1]:,}" if steps else "from the beginning, with the data prepared"


def _finish(result: "Result", task: str, out: Path, json: bool) -> None:
    import shlex

    from limelight.cli import screen

    if json:
        scored = {} if result.score is None else {result.metric: result.score}
        screen.print_json({"steps": result.steps, "loss": result.loss, **scored, "model": str(result.model)})
        return
    name = MEASURES.get(result.metric, result.metric)
    found = "" if result.score is None else f", {name} {result.score:.1f}"
    use = USES[task]
    done = f"Done after {result.steps:,} steps: validation loss {result.loss:.3f}{found}. Use it:"
    screen.stdout().print(f"{done}\n\n  {use} --model {shlex.quote(str(out))}", soft_wrap=True)


class _Shown:
    """Progress on stderr: one line that changes in a terminal, else a line every so often."""

    def __init__(self, task: str, out: Path, *, quiet: bool) -> None:
        from rich.live import Live

        from limelight.cli import screen

        self._task = task
        self._out = out
        self._quiet = quiet
        self._console = screen.stderr()
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal and not quiet:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
        self._spoken = float("-inf")

    def __enter__(self) -> None:
        if self._live is not None:
            self._live.start()

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        from limelight.cli.screen import clean

        if not self._quiet:
            self._console.print(clean(text), soft_wrap=True)

    def begun(self, begun: "Begun") -> None:
        """What is trained, and where every option stands."""
        s = begun.settings
        for each in begun.said:
            self.say(each)
        unit = f"windows of {s.context} tokens" if s.task == "generate" else UNITS.get(s.task, "texts")
        self.say(f"{s.model}: {begun.parameters:,} weights learn from {begun.examples:,} {unit}")
        self.say(f"{s.steps:,} steps of {s.batch_tokens:,} tokens; every option is in {self._out / 'settings.toml'}")

    def progress(self, told: "Progress") -> None:
        """How far it is."""
        import math
        import time

        from rich.text import Text

        line = f"step {told.step:,} of {told.steps:,}"
        if math.isfinite(told.loss):  # the first steps are not measured yet
            said = SPEEDS.get(self._task, "tokens")
            line += f" · loss {told.loss:.3f} · {told.tokens_per_second:,.0f} {said}/s"
        if told.best is not None:
            line += f" · best {told.best:.3f}"
        line += f" · {_duration(told.left)} left"
        if self._live is not None:
            self._live.update(Text(line), refresh=True)
        elif time.monotonic() - self._spoken >= SPOKEN or told.step == told.steps:
            self.say(line)
            self._spoken = time.monotonic()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
