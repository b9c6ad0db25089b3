"""Everything that is measured: ``make bench``. Ends with a table and writes benchmarks/results.json.

``python -m benchmarks PART…`` measures some parts only and leaves the others' results in the file as they are. On two
cores ``python -m benchmarks decode translate train`` takes less than 20 minutes.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.engines import default_file

RESULTS = Path(__file__).with_name("results.json")

PARTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "decode": lambda part: part.measure(5, default_file()),
    "translate": lambda part: part.measure(5),
    "train": lambda part: part.measure(3),
    "importance": lambda part: part.measure(2),  # texts of each kind; all of them take hours
    "growth": lambda part: part.measure(default_file()),
    "page": lambda part: part.measure(5, default_file()),
}
"""What is measured, by the module's name, and how."""


def measured(name: str) -> dict[str, Any]:
    """A part's result; where it cannot be measured, a result without rows that says why."""
    try:
        return PARTS[name](import_module(f"benchmarks.{name}"))
    except (ImportError, FileNotFoundError, SystemExit) as reason:  # a peer, data or a browser that is not there
        return {"rows": [], "missing": {name: str(reason)}}
    except Exception as error:  # the other parts are measured all the same
        traceback.print_exc()
        return {"rows": [], "missing": {name: f"failed: {error}"}, "failed": True}


def told(name: str, result: dict[str, Any]) -> str:
    """A part's result as lines that a person can read, in the part's own table."""
    if not result["rows"]:
        return "\n".join(f"not measured: {what} ({reason})" for what, reason in result["missing"].items())
    lines: str = import_module(f"benchmarks.{name}").table(result)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    names = parser.parse_args().parts or list(PARTS)
    for name in names:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for name in names:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        begin = time.perf_counter()
        results[name] = measured(name)
        results[name]["took_s"] = round(time.perf_counter() - begin, 1)
        beside = RESULTS.with_suffix(".new")
        beside.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(beside, RESULTS)
    for name in names:
        print(f"\n{name}\n{told(name, results[name])}")
    sys.exit(any(results[name].get("failed") for name in names))


if __name__ == "__main__":
    main()
