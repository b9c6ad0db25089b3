"""Is the picture true? ``python -m benchmarks.importance [--half chosen|told|later|new] [--peers] [--blimp]``.

On the everyday texts (`benchmarks.everyday`), where the model gives the answer at least 5 %, and on the model's own
next word where any may come:

- how the words that are named do among all sets of as many words, by each way to take words away;
- how often the check trusts them, and how often random words;
- the mean reciprocal rank of the words by which people decide, for ours and, with ``--peers``, for other methods and
  captum's, among all words and with the one that the model asks from left out.

With ``--blimp`` the last of these on the sets that are kept for comparison, on the sentences in which the model finds
the right word likelier than the wrong one, with that as a foil and without.

A text takes seconds: with ``--out FILE.jsonl`` each is written down as soon as it is measured and not measured again,
so that a run can be broken off, or cut in parts (``--shard 1/4``) whose whole is told by a last run without. ``--cost``
measures what looking costs instead, ``--translator FOLDER`` (and ``--swap`` for one from English) word alignment.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from itertools import islice, zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

import limelight
from benchmarks import looking, report
from benchmarks.alignment import alignment
from benchmarks.engines import default_file
from benchmarks.everyday import BLIMP, Item, blimp, halves, items
from benchmarks.peers import captum
from benchmarks.pictures import CHANCE, JUDGES, SETS, SHARED, Picture, picture
from benchmarks.report import Row, beside, machine, markdown
from limelight.look.importance import DEFAULT

COMPARED = 60
"""Sentences of each set for comparison, unless another number is given."""

SPENT, EACH_SPENT = {"by hand": 36}, 14
"""Of the part that was put aside, texts at the beginning of a kind, and of each other kind, that were looked at before
the present recipe was chosen; the others are new."""

BEST = 0.05
"""A set is among the best if no more than this share of the others lowers the answer more."""

ASKED = {"found by": 0.9, "blocked": 0.9, "replaced": 0.9, "by others": 0.75, "deleted": 0.75}
"""The share of texts that was asked for to name words among the best: by the ways that found them, and by others."""

TRUSTED, BY_CHANCE = 0.75, 0.05
"""The share of texts whose words are to be trusted, and the most of random sets."""

ALL, KINDS = "all texts", "mean of kinds"

Key = tuple[str, str, str | None, str]


def key(made: Picture) -> Key:
    """What tells measured texts apart."""
    return made.kind, made.text, made.foil, made.model


def wanted(
    half: str, limit: int | None, kinds: Sequence[str] | None, compare: bool, data: Path = SHARED
) -> list[tuple[Item, bool]]:
    """The items to be measured, at most `limit` of each kind, the kinds in turn, and whether against their foils."""
    if compare:
        sets = (islice(blimp(data, name), limit or COMPARED) for name in BLIMP)
        return [(item, foil) for found in sets for item in found for foil in (False, True)]
    chosen, told = halves(items(data))
    later = items(data, later=True) if half in ("later", "new") else []
    by_kind: dict[str, list[Item]] = {}
    for item in {"chosen": chosen, "told": told, "later": later, "new": later}[half]:
        by_kind.setdefault(item.kind, []).append(item)
    if half == "new":
        by_kind = {kind: own[SPENT.get(kind, EACH_SPENT) :] for kind, own in by_kind.items()}
    in_turn = zip_longest(*(own[:limit] for kind, own in by_kind.items() if kinds is None or kind in kinds))
    return [(item, False) for turn in in_turn for item in turn if item is not None]


def pictures(
    path: str, todo: Sequence[tuple[Item, bool]], peers: bool, out: Path | None = None, sets: int = SETS
) -> Iterator[Picture]:
    """What is measured of each item: as it stands in the file `out`, or measured now and written there."""
    name = Path(path).name
    known = {key(made): made for made in _written(out) if made.peers or not peers}
    others = captum() if peers else None
    model: Any = None
    for number, (item, foil) in enumerate(todo, 1):
        own = (item.kind, item.text, item.foil if foil else None, name)
        if own not in known:
            model = model or limelight.open(path)
            known[own] = made = picture(model, name, item, foil, others, sets)
            if out is not None:
                with out.open("a", encoding="utf-8") as file:  # in a line of its own, also behind one broken off
                    file.write("\n" + json.dumps(asdict(made), ensure_ascii=False))
            print(
                f"{number}/{len(todo)} {item.kind}, {made.seconds:.1f} s of processor time", file=sys.stderr, flush=True
            )
        yield known[own]


def _written(out: Path | None) -> Iterator[Picture]:
    """The texts of a file; one that was broken off is measured again."""
    for line in out.read_text("utf-8").splitlines() if out is not None and out.exists() else ():
        try:
            yield Picture(**json.loads(line))
        except ValueError:
            continue


# ---- what is told of them


def mean(values: Iterable[float]) -> float | None:
    """The mean, None of nothing."""
    found = [*values]
    return fmean(found) if found else None


def told(found: Sequence[Picture]) -> dict[str, dict[str, float | None]]:
    """kind → how many texts count, in how many no words are named, and shares of the others."""
    groups = _by_kind(found)
    return {kind: _told(own) for kind, own in groups.items()} | {ALL: _told(found)}


def _told(found: Sequence[Picture]) -> dict[str, float | None]:
    counted = [made for made in found if made.counts]
    named = [made for made in counted if made.named]
    ranked = [made for made in named if made.sets]
    checked = [made for made in named if not made.short]
    facts: dict[str, float | None] = {
        "texts": len(found),
        "counted": len(counted),
        "none named": len(counted) - len(named),
        "too short": len(named) - len(checked),
    }
    for judge in JUDGES:
        ranks = [made.ahead[judge] for made in ranked if judge in made.ahead]
        facts[f"best, {judge}"] = mean(rank <= BEST for rank in ranks)
        facts[f"rank, {judge}"] = mean(ranks)
    return facts | {
        "trusted": mean(made.trusted for made in checked),
        "trusted of all": mean(made.trusted for made in counted),
        "random trusted": mean(holds for made in checked for holds in made.random),
    }


def ranks(found: Sequence[Picture], rest: bool = False) -> dict[str, dict[str, float]]:
    """method → kind → the mean reciprocal rank of the deciding words, a text counting once whatever its groups; and
    over all texts, and over the kinds. rest: with the word that asks left out."""
    by_method: dict[str, dict[str, list[float]]] = {}
    for made in found:
        for method, groups in (made.found_rest if rest else made.found).items() if made.counts else ():
            if groups:
                by_method.setdefault(method, {}).setdefault(made.kind, []).append(fmean(groups))
    return {
        method: {kind: fmean(values) for kind, values in kinds.items()}
        | {
            ALL: fmean(value for values in kinds.values() for value in values),
            KINDS: fmean(map(fmean, kinds.values())),
        }
        for method, kinds in by_method.items()
    }


def ahead(found: dict[str, dict[str, float]], of: Callable[[str], bool]) -> dict[str, float]:
    """kind → by how much the default's rank is above the best of some other methods'."""
    others = {method: kinds for method, kinds in found.items() if method != DEFAULT and of(method)}
    if DEFAULT not in found or not others:
        return {}
    return {
        kind: own - max(kinds[kind] for kinds in others.values() if kind in kinds)
        for kind, own in found[DEFAULT].items()
    }


def peer(method: str) -> bool:
    """Whether a method is one that the default is measured beside."""
    return method not in (DEFAULT, CHANCE)


def _by_kind(found: Iterable[Picture]) -> dict[str, list[Picture]]:
    groups: dict[str, list[Picture]] = {}
    for made in found:
        groups.setdefault(made.kind, []).append(made)
    return groups


def summary(found: Sequence[Picture]) -> dict[str, Any]:
    """All that is told: of the everyday texts and, where they were measured, of the sets for comparison."""
    everyday = [made for made in found if made.right is None]
    result: dict[str, Any] = {"told": told(everyday), "ranks": {}} if everyday else {"ranks": {}}
    groups = {
        "deciding words": everyday,
        "for comparison, no foil": [made for made in found if made.right is not None and made.foil is None],
        "for comparison, foil": [made for made in found if made.right is not None and made.foil is not None],
    }
    for name, own in groups.items():
        for column, rest in (("all words", False), ("the asking word left out", True)):
            if by_method := ranks(own, rest):
                result["ranks"][f"{name}, {column}"] = by_method
    return result


def rows(result: dict[str, Any], missing: dict[str, str]) -> Iterator[Row]:
    """What was asked for beside what was found."""
    if "told" in result:
        facts = result["told"][ALL]
        for judge in JUDGES:
            yield from _asked(f"the words named are among the best, {judge}", facts[f"best, {judge}"], ASKED[judge])
        yield from _asked("trusted, of texts that are long enough", facts["trusted"], TRUSTED)
        if (share := facts["random trusted"]) is not None:
            ratio = BY_CHANCE / share if share else None
            yield Row("random words trusted", share, BY_CHANCE, looking.ASKED, ratio, "share")
    for name, by_method in result["ranks"].items():
        for column in (ALL, KINDS):
            peers = {method: kinds[column] for method, kinds in by_method.items() if peer(method)}
            yield beside(f"{name}, {column}", "MRR", by_method[DEFAULT][column], peers, missing)


def _asked(name: str, share: float | None, bar: float) -> Iterator[Row]:
    if share is not None:
        yield Row(name, share, bar, "the least that was asked for", share / bar, "share")


# ---- for people


def tables(result: dict[str, Any]) -> str:
    """The figures by kind as lines that a person can read."""
    lines = []
    if "told" in result:
        facts = [*result["told"][ALL]]
        cells = [("", *facts)]
        for kind, own in result["told"].items():
            cells.append((kind, *(_figure(own[fact]) for fact in facts)))
        lines += [*markdown([*zip(*cells, strict=True)], range(1, len(cells))), ""]
    for name, by_method in result["ranks"].items():
        kinds = [*by_method[DEFAULT]]
        cells = [(f"MRR of {name}", *(kind.removeprefix("blimp ") for kind in kinds))]
        order = sorted(by_method, key=lambda method: -by_method[method][ALL])
        margins = {
            "ahead of the best peer": ahead(by_method, peer),
            "ahead of chance": ahead(by_method, lambda method: method == CHANCE),
        }
        told_margins = ((name, margin) for name, margin in margins.items() if margin)
        for method, own in [*((method, by_method[method]) for method in order), *told_margins]:
            cells.append((method, *(_figure(own.get(kind)) for kind in kinds)))
        lines += [*markdown(cells, range(1, len(kinds) + 1)), ""]
    lines += [f"alignment error rate, {name}: {rate:.3f}" for name, rate in result.get("alignment", {}).items()]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"


def shown(found: Iterable[Picture], number: int) -> str:
    """The answers of some texts to be read one by one, of every kind in turn."""
    kinds = _by_kind(made for made in found if made.counts and made.told).values()
    in_turn = [made for turn in zip_longest(*kinds) for made in turn if made is not None][:number]
    blocks = []
    for made in in_turn:
        ranked = sorted(((value, i) for i, value in enumerate(made.values) if value is not None), reverse=True)
        words = ", ".join(f"{made.words[i]} {value:.2f}{' (asks)' if i == made.asks else ''}" for value, i in ranked)
        blocks.append("\n".join((f"[{made.kind}] {made.text} → {made.answer}", *made.told, words)))
    return "\n\n".join(blocks)


def table(result: dict[str, Any]) -> str:
    """A result as lines that a person can read."""
    return f"{tables(result)}\n{report.table(result)}"


def measure(
    limit: int | None,
    path: str | None = None,
    half: str = "told",
    kinds: Sequence[str] | None = None,
    peers: bool = True,
    compare: bool = False,
    cost: bool = True,
) -> dict[str, Any]:
    """At most `limit` texts of each kind, and what looking costs."""
    path = path or default_file()
    missing = {}
    if peers and find_spec("captum") is None:
        missing, peers = {"captum": "pip install captum"}, False
    found = [*pictures(path, wanted(half, limit, kinds, compare), peers)]
    return result_of(found, missing, looking.measure(path)["rows"] if cost else [])


def result_of(found: Sequence[Picture], missing: dict[str, str], more: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What is written down and told of measured texts."""
    result = summary(found)
    compared_with = [*map(asdict, rows(result, missing)), *more]
    return {"rows": compared_with, **result, "missing": missing, "machine": machine()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--half", choices=("chosen", "told", "later", "new"), default="new", help="of the everyday texts"
    )
    parser.add_argument("--limit", type=int, help="texts of each kind; all of them, or 60 of each set for comparison")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="of the everyday texts")
    parser.add_argument("--model", help="another file or folder than the default model's")
    parser.add_argument("--peers", action="store_true", help="measure other methods too, captum's among them")
    parser.add_argument(
        "--sets", type=int, default=SETS, help=f"other sets of words that are tried at most, instead of {SETS}"
    )
    parser.add_argument("--blimp", action="store_true", help="the sets for comparison instead")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="each nth text from the ith on")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="each text's figures, to go on from")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result is written")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the answers of so many texts")
    parser.add_argument("--data", type=Path, default=SHARED, help="the folder of data sets")
    parser.add_argument("--cost", action="store_true", help="what looking costs instead")
    parser.add_argument("--translator", metavar="FOLDER", help="the alignment of a model that translates instead")
    parser.add_argument("--swap", action="store_true", help="that model translates from English")
    options = parser.parse_args()
    if options.translator:
        result = {"ranks": {}, "alignment": alignment(options.translator, options.limit or 60, options.swap)}
        text = tables(result)
    elif options.cost:
        result = looking.measure(options.model)
        text = report.table(result)
    else:
        if not options.data.is_dir():
            parser.error(f"{options.data} is not there; name the folder of data sets with --data")
        first, _, every = options.shard.partition("/")
        todo = wanted(options.half, options.limit, options.kinds, options.blimp, options.data)
        if not todo:
            parser.error("there is no text of those kinds")
        if options.peers and find_spec("captum") is None:
            parser.error("--peers needs captum; install it with: pip install captum")
        found = [
            *pictures(
                options.model or default_file(),
                todo[int(first) - 1 :: int(every)],
                options.peers,
                options.out,
                options.sets,
            )
        ]
        result = result_of(found, {} if options.peers else {"other methods": "--peers measures them"})
        text = "\n\n".join((*([shown(found, options.show)] if options.show else []), table(result)))
    if options.json:
        new = options.json.with_name(f"{options.json.name}.new")
        new.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(new, options.json)
    print(text)


if __name__ == "__main__":
    main()
