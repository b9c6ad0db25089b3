"""Everything that is measured: ``make bench``. Ends with a table and writes benchmarks/results.json."""

import json
import os
from pathlib import Path

from benchmarks import decode
from benchmarks.report import table

RUNS = 7


def main() -> None:
    results = {"decode": decode.measure(RUNS, decode.default_file())}
    path = Path(__file__).with_name("results.json")
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, path)
    for name, result in results.items():
        print(f"\n{name}\n{table(result)}")


if __name__ == "__main__":
    main()
