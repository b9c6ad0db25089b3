"""``limelight translate``: lines in, translated lines out."""

from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.tasks import Translation


def translate(
    model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="The folder of a training, or a model.")],
    text: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="The text; without it standard input is translated.")
    ] = "-",
    beam: Annotated[int, typer.Option(metavar="N", min=1, help="How many hypotheses to follow; 1 is greedy.")] = 5,
    alpha: Annotated[
        float,
        typer.Option(metavar="A", help="Length penalty: above 1 prefers longer translations, below 1 shorter ones."),
    ] = 1.0,
    nbest: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Show N translations of each line: line ||| translation ||| score."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each line.")] = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Translate lines in order, with a model made by limelight train.

    Example:

      limelight translate --model runs/en-de < input.en > output.de
      limelight translate --model runs/en-de "A dog runs in the snow."
    """
    import sys
    from json import dumps

    from limelight.cli import screen

    translator = o.open_translator(model, device=device, dtype=dtype, quiet=json)
    lines = screen.lines() if text == "-" else iter(text.splitlines())
    # Where somebody types, each line is answered at once; else many are read ahead, which is faster.
    window = 1 if text != "-" or sys.stdin.isatty() else 2048
    console = screen.stdout()
    done = translator.translate(lines, beam=max(beam, nbest or 1), alpha=alpha, best=nbest or 1, window=window)
    for number, each in enumerate(done, 1):
        if each.left_out:
            screen.remark(
                f"line {number}: longer than the model can read; its last {each.left_out} tokens are left out"
            )
        if json:
            screen.put(console, dumps(_as_json(each), ensure_ascii=False) + "\n")
        elif nbest is None:
            screen.put(console, each.text + "\n")
        else:
            for written, found in zip(each.texts, each.hypotheses, strict=True):
                screen.put(console, f"{number} ||| {written} ||| {found.score:.4f}\n")


def _as_json(each: "Translation") -> dict[str, object]:
    pairs = zip(each.texts, each.hypotheses, strict=True)
    found = [{"text": text, "score": h.score, "logprob": h.logprob} for text, h in pairs]
    return {"source": each.source, "translations": found, "left_out": each.left_out}
