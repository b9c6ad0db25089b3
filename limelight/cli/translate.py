"""``limelight translate``: lines in, translated lines out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight import Translator
    from limelight.cli.rows import Answer, Given, Row
    from limelight.tasks import Translation


def translate(
    model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="The folder of a training, or a model.")],
    text: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="The text; without it standard input is translated.")
    ] = "-",
    source: Annotated[
        str | None, typer.Option("--from", metavar="LANG", help="The language of the text, for models of several.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", metavar="LANG", help="The language to write, for models of several.")
    ] = None,
    beam: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many hypotheses to follow (1: greedy; default: the model's, or 5)."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            metavar="A", help="Length penalty: above 1 prefers longer translations (default: the model's, or 1)."
        ),
    ] = None,
    nbest: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Show N translations of each line: line ||| translation ||| score."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="A document (.txt, .md, .po, .srt), a folder of them, or a table (.csv, .tsv, .jsonl).",
            show_default=False,
        ),
    ] = None,
    columns: o.Columns = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where it is written; of a folder or table .jsonl, .csv or .tsv.", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each line.")] = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Translate lines in order, with a model made by limelight train or by others.

    Of a document (--file) paragraphs, mark-up, times and placeholders stay; of
    a .po file the messages without a translation are filled in. Of a table each
    row is translated, of a folder each file; with --out it goes on where it was
    stopped.

    Example:

      limelight translate --model runs/en-de < input.en > output.de
      limelight translate --model runs/en-de "A dog runs in the snow."
      limelight translate --model bergamot-en-pt --file guide.md --out guia.md
      limelight translate --model bergamot-en-pt --file reviews.csv --out pt.jsonl
      limelight translate --model nllb/ --from eng_Latn --to fra_Latn "A dog runs in the snow."
    """
    import sys
    from json import dumps

    from limelight.cli import rows, screen
    from limelight.errors import RequestError
    from limelight.train.data import kind

    if columns and file is None:
        raise RequestError("--columns names columns of the table that --file names, and there is none")
    if file is None and out is not None:
        raise RequestError("--out is where the document of --file is written, and there is none")
    table = file is not None and (kind(file) in rows.TABLES or file.is_dir())
    if file is not None and (text != "-" or nbest is not None or (json and not table)):
        raise RequestError("--file translates a document; leave the text, --nbest and --json out")
    given = rows.given(None, [str(file)], columns) if table or columns else None
    document = None if file is None or table else _read(file)
    if out is not None and not table:
        screen.writable(out)
    translator = o.open_translator(model, device=device, dtype=dtype, quiet=json)
    if target is not None:
        translator = translator.between(source, target)
    elif source is not None:
        raise RequestError("--from says what language the text is in; say with --to which one to write")
    if given is not None:
        _table(translator, given, beam, alpha, out, json=json)
        return
    if file is not None and document is not None:
        written = _document(translator, document, file.suffix, beam, alpha)
        if out is None:
            screen.put(screen.stdout(), written)
            return
        with screen.beside(out) as stream:
            stream.write(written.encode())
        return
    lines = screen.lines() if text == "-" else iter(text.splitlines())
    # Where somebody types, each line is answered at once; else many are read ahead, which is faster.
    window = 1 if text != "-" or sys.stdin.isatty() else 2048
    console = screen.stdout()
    done = translator.translate(
        lines, beam=None if beam is None else max(beam, nbest or 1), alpha=alpha, best=nbest or 1, window=window
    )
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


def _read(file: Path) -> str:
    from limelight.errors import FileError
    from limelight.tasks.documents import KINDS
    from limelight.train.data import existing

    path = existing(file)
    if path.suffix not in KINDS:
        raise FileError(f"{path}: documents are {', '.join(KINDS)}, by the end of the name")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 (byte {error.start}); convert the file to UTF-8 first") from None


def _table(
    translator: "Translator", given: "Given", beam: int | None, alpha: float | None, out: Path | None, *, json: bool
) -> None:
    """Translates the rows of a table, each as a line, or the files of a folder, each as a document."""
    from limelight.cli import rows, screen

    def verb(part: list["Row"]) -> list["Answer"]:
        if part[0].named is not None:
            texts = [_document(translator, row.text, Path(row.named or "").suffix, beam, alpha) for row in part]
            return [{"translation": text} for text in texts]
        found = list(translator.translate([" ".join(row.text.split()) for row in part], beam=beam, alpha=alpha))
        for row, each in zip(part, found, strict=True):
            if each.left_out:
                screen.remark(f"row {row.number}: its last {each.left_out} tokens are more than the model reads")
        return [{"translation": each.text} for each in found]

    rows.answer(given, verb, lambda row, found: f"{found['translation']}\n", out=out, json=json, title="translating")


def _document(translator: "Translator", text: str, kind: str, beam: int | None, alpha: float | None) -> str:
    from collections.abc import Sequence

    from limelight.cli import screen
    from limelight.tasks.documents import translated

    def say(sentences: Sequence[str]) -> list[str]:
        found = []
        with screen.progress("translating", quiet=False, unit=str, after=0.5) as tell:
            for each in translator.translate(sentences, beam=beam, alpha=alpha):
                found.append(each.text)
                tell(len(found), len(sentences))
                if each.left_out:
                    screen.remark(f"a sentence is longer than the model can read; {each.left_out} tokens are left out")
        return found

    return translated(text, kind, say)


def _as_json(each: "Translation") -> dict[str, object]:
    pairs = zip(each.texts, each.hypotheses, strict=True)
    found = [{"text": text, "score": h.score, "logprob": h.logprob} for text, h in pairs]
    return {"source": each.source, "translations": found, "left_out": each.left_out}
