#!/bin/sh
# Trains one of the settings beside this file on the first nine tenths of the text, and judges by the last:
#
#   sh recipes/tinyshakespeare/run.sh ../shared/data/tinyshakespeare/input.txt.gz nanogpt
set -eu
text=$1
name=$2
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
limelight train generate --config "$here/$name.toml" --train "$out/train.txt" --valid "$out/valid.txt" --out "$out/$name"
