#!/bin/sh
# Trains one of the settings beside this file and measures it on test_2016_flickr:
#
#   sh recipes/multi30k/run.sh ../shared/data/multi30k transformer2017
#
# The figure to compare with the published one is BLEU on lower-cased, Moses-tokenized text. Behind the name of settings,
# `-raw` takes the text as it is, and measures sacreBLEU on it; `-distilled` takes the training text twice, as it is and
# with the translations of `modern`, which must have been trained before.
# TO=fr in front makes it English to French, for the settings that begin at nothing.
# What follows the name goes to `limelight train translate`, `--set epochs=20` for instance.
# Started again, it goes on where it was stopped.
set -eu
raw=$1
name=$2
shift 2
here=$(dirname "$0")
to=${TO:-de}
out=runs/multi30k
[ "$to" = de ] || out=$out-$to
settings=${name%-raw}
settings=${settings%-distilled}

if [ "$name" = "$settings-raw" ]; then
  from=$raw
  end=.gz
  scoring=""
else
  [ -d "$out/data" ] || { python "$here/prepare.py" "$raw" "$out/data.part" "$to" && mv "$out/data.part" "$out/data"; }
  from=$out/data
  end=""
  scoring="--tokenized --lowercase"
fi

train="$from/train.en$end $from/train.$to$end"
if [ "$name" = "$settings-distilled" ]; then
  if [ ! -d "$out/distilled" ]; then
    mkdir -p "$out/distilled.part"
    limelight translate --model "$out/modern" < "$from/train.en" > "$out/distilled.part/modern.$to"
    cat "$from/train.en" "$from/train.en" > "$out/distilled.part/train.en"
    cat "$from/train.$to" "$out/distilled.part/modern.$to" > "$out/distilled.part/train.$to"
    mv "$out/distilled.part" "$out/distilled"
  fi
  train="$out/distilled/train.en $out/distilled/train.$to"
fi
valid="$from/val.en$end $from/val.$to$end"
test="$from/test_2016_flickr.en$end $from/test_2016_flickr.$to$end"

limelight train translate --config "$here/$settings.toml" --train $train --valid $valid --out "$out/$name" "$@"
limelight eval translate --model "$out/$name" --test $test $scoring
