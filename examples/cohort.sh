#!/usr/bin/env bash
# Lesion masks for every case of a cohort, then their scores against the reference masks beside the scans.
#
#   examples/cohort.sh COHORT OUT [MODEL] [further options of braincli detect, e.g. --preprocess]
#
# COHORT holds one folder per case (case01/case01_{t1,t1ce,t2,flair}.nii.gz, reference: case01_seg.nii.gz). Run it again
# to go on where it stopped: complete cases are skipped. "braincli detect COHORT -o OUT --resume" does the same in one
# process, which loads the model once; a loop like this one is what a job array or GNU parallel takes apart.
set -uo pipefail

cohort=${1:?usage: cohort.sh COHORT OUT [MODEL] [OPTIONS]}
out=${2:?usage: cohort.sh COHORT OUT [MODEL] [OPTIONS]}
model=${3:-tsgm}
shift $(($# < 3 ? $# : 3))
read -ra braincli <<< "${BRAINCLI:-braincli}"

failed=()
for case in "$cohort"/*/; do
    "${braincli[@]}" detect --model "$model" "$case" -o "$out" --resume --anomaly-map "$@" || failed+=("$(basename "$case")")
done

references=("$cohort"/*/*_seg.nii*)
if [[ -e ${references[0]} ]]; then
    "${braincli[@]}" score "$out" "$cohort" -o "$out/scores" --overwrite || true
fi

if ((${#failed[@]})); then
    echo "failed: ${failed[*]}" >&2
    exit 6
fi
