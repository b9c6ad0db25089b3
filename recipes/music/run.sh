#!/bin/sh
# sh recipes/music/run.sh tunes ABC_FOLDER [lstm]   or   sh recipes/music/run.sh chorales CHORALES.json.gz [lstm]
# Trains a model of music and says what held-out music costs it: a tenth of the tunes, or the chorales' own test part.
set -e
what=$1 data=$2 model=${3:-gpt-modern-tiny}
here=$(dirname "$0")
work=runs/music
lstm="--model lstm --lr 0.003 --set parameters=815000 optimizer=adamw threads=1"
if [ "$what" = tunes ]; then
    [ -d "$work/tunes" ] || python "$here/prepare.py" "$data" "$work/tunes"
    options="--steps 1500 --batch-tokens 2048 --dropout 0.1 --set held_out=0.04 every=150"
    train=$work/tunes/train.abc test="$work/tunes/test.abc --write 200"
elif [ "$model" = lstm ]; then
    options="--steps 2000 --batch-tokens 2048 --dropout 0.3 --set every=150" train=$data test=$data
else
    options="--steps 2000 --batch-tokens 1024 --dropout 0.2 --set every=200" train=$data test=$data
fi
[ "$model" = lstm ] && options="$options $lstm" || options="$options --set threads=1"
limelight train compose --train "$train" --out "$work/$what-$model" $options
limelight eval compose --model "$work/$what-$model" --test $test
