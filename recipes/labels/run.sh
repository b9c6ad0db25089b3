#!/bin/sh
# sh recipes/labels/run.sh DATA NAME [OPTION...]: trains on one of the sets of prepare.py and judges the result.
# NAME: trec, subj, cr, sst2, sst5 or snips for classes, slots for the slots of snips, names for those of WNUT-17; cr.few0
# to cr.few9 (trec, sst2) for eight texts a class. OPTIONs go to limelight train. Which checkpoint is taken is said by what
# the training keeps back of its own part, never by what it is judged on.
set -e
data=$1 name=$2
shift 2
here=$(dirname "$0")
work=runs/labels
[ -d "$work/data" ] || python "$here/prepare.py" "$data" "$work/data"
if [ "$name" = slots ]; then
    task=tag train=$work/data/snips.train.jsonl test=$work/data/snips.dev.jsonl
elif [ "$name" = names ]; then
    task=tag train=$data/wnut17/wnut17train.conll.gz test=$data/wnut17/emerging.dev.conll.gz
else
    task=classify train=$work/data/$name.train.csv test=$work/data/${name%.few*}.dev.csv
    [ "$name" = "${name%.few*}" ] || train=$work/data/$name.csv
fi
limelight train $task --train "$train" --out "$work/$name" "$@"
limelight eval $task --model "$work/$name" --test "$test"
