#!/bin/sh
# Trains one of the settings beside this file and measures it on test_2016_flickr:
#
#   sh recipes/multi30k/run.sh ../shared/data/multi30k transformer2017
#
# TO=fr in front makes it English to French, for the settings that begin at nothing.
# What follows the name goes to `limelight train translate`, `--set epochs=20` for instance.
# Started again, it goes on where it was stopped. The figure to compare with the published one is BLEU on lower-cased,
# Moses-tokenized text; for `raw` it is sacreBLEU on the text as it is. A setting named `-distilled` learns from the
# training text twice: as it is, and with the translations of `modern`, which must have been trained before.
set -eu
raw=$1
name=$2
shift 2
here=$(dirname "$0")
to=${TO:-de}
out=runs/multi30k
[ "$to" = de ] || out=$out-$to

if [ "$name" = raw ]; then
  train="$raw/train.en.gz $raw/train.$to.gz"
  valid="$raw/val.en.gz $raw/val.$to.gz"
  test="$raw/test_2016_flickr.en.gz $raw/test_2016_flickr.$to.gz"
  scoring=""
else
  [ -d "$out/data" ] || { python "$here/prepare.py" "$raw" "$out/data.part" "$to" && mv "$out/data.part" "$out/data"; }
  train="$out/data/train.en $out/data/train.$to"
  valid="$out/data/val.en $out/data/val.$to"
  test="$out/data/test_2016_flickr.en $out/data/test_2016_flickr.$to"
  scoring="--tokenized --lowercase"
fi

case "$name" in *-distilled)
  if [ ! -d "$out/distilled" ]; then
    mkdir -p "$out/distilled.part"
    limelight translate --model "$out/modern" < "$out/data/train.en" > "$out/distilled.part/modern.$to"
    cat "$out/data/train.en" "$out/data/train.en" > "$out/distilled.part/train.en"
    cat "$out/data/train.$to" "$out/distilled.part/modern.$to" > "$out/distilled.part/train.$to"
    mv "$out/distilled.part" "$out/distilled"
  fi
  train="$out/distilled/train.en $out/distilled/train.$to" ;;
esac

limelight train translate --config "$here/$name.toml" --train $train --valid $valid --out "$out/$name" "$@"
limelight eval translate --model "$out/$name" --test $test $scoring
