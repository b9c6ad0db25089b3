#!/bin/sh
# The plain loop, then the settings beside this file (or those that are named), one after another, and at the end the
# seconds of training that each took to a validation loss of 1.88:
#
#   sh recipes/tinyshakespeare/run.sh ../shared/data/tinyshakespeare/input.txt.gz [nanogpt] [quick] [modern]
#
# All train on the first nine tenths of the text and are judged by the whole of the last. The time for judging is not
# counted. Started again, it goes on where it was stopped.
set -eu
text=$1
shift
[ $# -gt 0 ] || set -- nanogpt quick modern
here=$(dirname "$0")
out=runs/tinyshakespeare

mkdir -p "$out"
python - "$text" "$out" <<'END'
import gzip, pathlib, sys
text = gzip.open(sys.argv[1], "rt", encoding="utf-8").read()
cut = int(0.9 * len(text))
for name, part in (("train", text[:cut]), ("valid", text[cut:])):
    path = pathlib.Path(sys.argv[2], f"{name}.txt")
    if not path.exists():
        path.write_text(part, encoding="utf-8")
END
[ -f "$out/plain.log" ] || { python "$here/plain.py" "$text" | tee "$out/plain.part" && mv "$out/plain.part" "$out/plain.log"; }
for name in "$@"; do
  limelight train generate --config "$here/$name.toml" --train "$out/train.txt" --valid "$out/valid.txt" --out "$out/$name"
done
python "$here/seconds.py" "$out" "$@"
