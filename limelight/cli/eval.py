"""``limelight eval``: how good a model is at what it does, on texts of which that is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight import Translator
    from limelight.tasks import Bucket, Score

TASKS = ("translate", "align", "classify", "tag", "answer", "embed", "fill", "summarise", "compose")
_TRANSLATE = "eval translate"
_ALIGN = "eval align"
_COMPOSE = "eval compose"


def eval(
    task: Annotated[str, typer.Argument(metavar="TASK", help=f"{', '.join(TASKS)}.", show_default=False)],
    model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="The folder of a training, or a model.")],
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE...", help="Two aligned files, or tables; else as it was trained."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="A table's columns: source and target, or text and label."),
    ] = None,
    beam: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many hypotheses to follow.", rich_help_panel=_TRANSLATE)
    ] = 5,
    alpha: Annotated[float, typer.Option(metavar="A", help="Length penalty.", rich_help_panel=_TRANSLATE)] = 1.0,
    tokenized: Annotated[
        bool, typer.Option("--tokenized", help="The files are already tokenized.", rich_help_panel=_TRANSLATE)
    ] = False,
    lowercase: Annotated[
        bool,
        typer.Option(
            "--lowercase", help="Ignore the difference between capitals and small letters.", rich_help_panel=_TRANSLATE
        ),
    ] = False,
    gold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...",
            help="Known links: JSON lines, or links and the two files of the sentences.",
            rich_help_panel=_ALIGN,
        ),
    ] = None,
    swap: Annotated[
        bool,
        typer.Option("--swap", help="The links are from the model's target to its source.", rich_help_panel=_ALIGN),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw which words decide each label.", rich_help_panel="eval classify"),
    ] = None,
    write: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=10_000, help="Write so many tunes, and judge them.", rich_help_panel=_COMPOSE
        ),
    ] = 0,
    free: Annotated[
        bool, typer.Option("--free", help="Ask nothing of their bars and notes.", rich_help_panel=_COMPOSE)
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of what is written.", rich_help_panel=_COMPOSE)] = 1,
    json: o.Json = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Score a model on texts whose answer is known.

    translate: BLEU and chrF from sacreBLEU, with their signatures, and BLEU by
    sentence length. align: the error rate of each layer's alignment. classify:
    accuracy and macro-F1 with 95 % intervals, what is taken for what, which
    words decide, the worst mistakes; where several labels may fit, F1. tag: the
    F1 of spans, as conlleval counts. answer: exact and F1, as SQuAD counts. embed:
    the rank correlation of scores, or how often the right text is the nearest.
    fill: perplexity and accuracy where 15 % of the tokens are masked. summarise:
    ROUGE by rouge-score, beside that of each text's first sentence.
    compose: bits a character of tunes, or nats a step of chorales.

    Example:

      limelight eval translate --model runs/en-de --test test.en test.de
      limelight eval align --model runs/de-en --gold de-en.wa test.de test.en
      limelight eval classify --model runs/mood --test test.csv --picture words.png
      limelight eval compose --model runs/reels --test test.abc --write 200
    """
    from limelight.cli import screen
    from limelight.errors import RequestError, suggestion

    if task not in TASKS:
        raise RequestError(f"there is no task {task!r}; the tasks are {', '.join(TASKS)}{suggestion(task, TASKS)}")
    needed, name = (gold, "--gold") if task == "align" else (test, "--test")
    if not needed:
        raise RequestError(f"limelight eval {task} needs {name} with its files")
    if columns and task in {"tag", "answer", "align", "compose"}:
        raise RequestError(f"--columns says nothing to limelight eval {task}; leave it out")
    if task == "compose":
        from limelight.cli.views import music_scores

        opened = o.open_model(model, device=device, dtype=dtype, quiet=json)
        music_scores.judge(screen.stdout(), opened, needed, write, seed, json, free=free)
        return
    if task in {"classify", "tag", "answer", "embed", "fill", "summarise"}:
        import limelight
        from limelight.cli.views import encoder_scores

        console = screen.stdout()
        opening: dict[str, Any] = {"device": device, "dtype": dtype, "quiet": json}
        if task == "tag":
            encoder_scores.tagger(
                console, o.open_encoder(model, limelight.Tagger, "labels words", **opening), needed, json
            )
        elif task == "answer":
            marks = o.open_encoder(model, limelight.SpanModel, "marks answers", **opening)
            encoder_scores.answers(console, marks, needed, json)
        elif task == "embed":
            makes = o.open_encoder(model, limelight.Embedder, "makes vectors", **opening)
            encoder_scores.vectors(console, makes, needed, columns or [], json)
        elif task == "fill":
            fills = o.open_encoder(model, limelight.MaskedModel, "fills gaps", **opening)
            encoder_scores.fills(console, fills, needed, columns or [], json)
        elif task == "summarise":
            encoder_scores.summaries(console, o.open_any(model, **opening), needed, columns or [], json)
        else:
            known = o.open_encoder(model, limelight.Classifier, "classifies texts", **opening)
            encoder_scores.classifier(console, known, needed, columns or [], picture, json)
        return
    translator = o.open_translator(model, device=device, dtype=dtype, quiet=json)
    if task == "align":
        rates = _aligned(translator, needed, swap, quiet=json)
        if json:
            screen.print_json({"model": model, "gold": needed, "error_rates": rates})
        else:
            _show_rates(rates)
        return
    scores, buckets = _scored(translator, needed, columns or [], beam, alpha, tokenized, lowercase, quiet=json)
    if json:
        by_length = [{"words": _span(b), "sentences": b.sentences, "bleu": b.score.value} for b in buckets]
        found: dict[str, Any] = {s.name.lower(): {"value": s.value, "signature": s.signature} for s in scores}
        screen.print_json({"model": model, "test": needed, **found, "bleu_by_length": by_length})
    else:
        _show_scores(scores, buckets)


def _scored(
    translator: "Translator",
    files: list[str],
    columns: list[str],
    beam: int,
    alpha: float,
    tokenized: bool,
    lowercase: bool,
    *,
    quiet: bool,
) -> tuple[list["Score"], list["Bucket"]]:
    from limelight.cli.screen import progress, remark
    from limelight.tasks import bleu, bleu_by_length, chrf
    from limelight.train.data import read_pairs

    sources, references = map(list, zip(*read_pairs(files, columns, empty=True), strict=True))  # as sacreBLEU counts
    outputs: list[str] = []
    cut = 0
    with progress("translating", quiet=quiet, unit=str) as tell:
        for each in translator.translate(sources, beam=beam, alpha=alpha, window=256):
            outputs.append(each.text)
            cut += each.left_out > 0
            tell(len(outputs), len(sources))
    if cut:
        remark(f"{cut:,} of {len(sources):,} lines are longer than the model can read; their ends are left out")
    scores = [bleu(outputs, references, tokenized=tokenized, lowercase=lowercase), chrf(outputs, references)]
    return scores, bleu_by_length(outputs, references, sources, tokenized=tokenized, lowercase=lowercase)


def _aligned(translator: "Translator", files: list[str], swap: bool, *, quiet: bool) -> list[float]:
    """The alignment error rate of each layer."""
    from limelight.cli.screen import progress
    from limelight.errors import RequestError
    from limelight.tasks import Gold, align, error_rate, read_gold

    if len(files) not in {1, 3}:
        raise RequestError("--gold takes JSON lines, or a file of links and the two files of their sentences")
    gold = read_gold(*files)
    if swap:
        turned = (frozenset((j, i) for i, j in each.sure) for each in gold)
        possible = (frozenset((j, i) for i, j in each.possible) for each in gold)
        gold = [Gold(g.target, g.source, s, p) for g, s, p in zip(gold, turned, possible, strict=True)]
    found = []
    with progress("aligning", quiet=quiet, unit=str) as tell:
        for sentence in gold:
            found.append(align(translator.network, translator.language, sentence.source, sentence.target))
            tell(len(found), len(gold))
    return [error_rate(layer, gold) for layer in zip(*found, strict=True)]


def _show_scores(scores: list["Score"], buckets: list["Bucket"]) -> None:
    from rich.table import Table

    from limelight.cli import screen

    console = screen.stdout()
    for score in scores:
        console.print(f"{score.name} {score.value:.2f}   {score.signature}", soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("words in the source", "sentences", "BLEU"):
        table.add_column(heading, justify="right")
    for bucket in buckets:
        table.add_row(_span(bucket), f"{bucket.sentences:,}", f"{bucket.score.value:.1f}")
    console.print()
    console.print(table)


def _show_rates(rates: list[float]) -> None:
    from limelight.cli import screen

    console = screen.stdout()
    console.print("Alignment error rate of each layer's attention (0 is perfect):\n")
    for layer, rate in enumerate(rates):
        console.print(f"  layer {layer}  {rate:.3f}", style="bold" if rate == min(rates) else "")


def _span(bucket: "Bucket") -> str:
    return f"{bucket.low} and more" if bucket.high is None else f"{bucket.low} to {bucket.high}"
