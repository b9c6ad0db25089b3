"""What races on this machine measured, for the card that sets word by word beside all at once."""

import csv
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

RACES = Path("races")
"""Where `limelight race` writes to, a folder for each race."""


def measured() -> dict[str, Any] | None:
    """The newest race that has results; None without one, or if they cannot be read.

    recall: by contender the share of facts that it remembers, by test. costs: by contender and length, the seconds to
    read a text and the bytes that are kept of it.
    """
    try:
        tables = [(file.stat().st_mtime, file) for file in RACES.glob("*/results.csv")]
        if not tables:
            return None
        file = max(tables)[1]
        with file.open(encoding="utf-8", newline="") as lines:
            return _told(file.parent.name, csv.DictReader(lines))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _told(name: str, rows: Any) -> dict[str, Any] | None:
    right: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    costs: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["what"] == "right" and row["problem"] == "recall" and row["by"] == "tokens":
            right[row["contender"]][row["at"]].append(float(row["value"]))
        elif row["what"] in ("read", "kept"):
            costs[row["contender"]][str(int(row["at"]))][row["what"]] = float(row["value"])
    if not right or not costs:
        return None
    recall = {who: {at: fmean(values) for at, values in tests.items()} for who, tests in right.items()}
    return {"name": name, "recall": recall, "costs": costs}
