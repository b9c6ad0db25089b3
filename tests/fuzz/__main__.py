"""The long form: ``python tests/fuzz [--files N] [--seed N] [format …]``; what failed is kept for a look."""

import argparse
import sys
import tempfile
from pathlib import Path
from random import Random

import fuzz_models
from fuzz_runner import FORMATS, Child, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="format", help=f"of {', '.join(FORMATS)}; all without it")
    parser.add_argument("--files", type=int, default=2000, help="of each format")
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6))
    options = parser.parse_args()
    failed = 0
    kept = Path(tempfile.mkdtemp(prefix="limelight-fuzz-"))
    with tempfile.TemporaryDirectory() as sound:
        models = fuzz_models.make(Path(sound))
        for name in options.formats or FORMATS:
            print(f"{name}: {options.files} files, seed {options.seed}", flush=True)
            with Child(models[0]) as child:
                for number, fault in faults(child, models, name, options.seed, options.files, kept):
                    failed += 1
                    print(f"\n{kept}/{name}-{options.seed}-{number}\n{fault}", flush=True)
    if failed:
        sys.exit(f"{failed} files were not treated as they should be; they are kept in {kept}")
    kept.rmdir()
    print("every file gave a result or one sentence, within its limits")


if __name__ == "__main__":
    main()
