#!/bin/sh
# Trains one of the settings beside this file and measures it on test_2016_flickr:
#
#   sh recipes/multi30k/run.sh ../shared/data/multi30k transformer2017
#
# Started again, it goes on where it was stopped. The figure to compare with the published one is BLEU on lower-cased,
# Moses-tokenized text; for `raw` it is sacreBLEU on the text as it is.
set -eu
raw=$1
name=$2
here=$(dirname "$0")
out=runs/multi30k

if [ "$name" = raw ]; then
  train="$raw/train.en.gz $raw/train.de.gz"
  valid="$raw/val.en.gz $raw/val.de.gz"
  test="$raw/test_2016_flickr.en.gz $raw/test_2016_flickr.de.gz"
  scoring=""
else
  [ -d "$out/data" ] || { python "$here/prepare.py" "$raw" "$out/data.part" && mv "$out/data.part" "$out/data"; }
  train="$out/data/train.en $out/data/train.de"
  valid="$out/data/val.en $out/data/val.de"
  test="$out/data/test_2016_flickr.en $out/data/test_2016_flickr.de"
  scoring="--tokenized --lowercase"
fi

limelight train translate --config "$here/$name.toml" --train $train --valid $valid --out "$out/$name"
limelight eval translate --model "$out/$name" --test $test $scoring
