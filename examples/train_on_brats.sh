#!/usr/bin/env bash
# From a folder as BraTS distributes it to a trained, calibrated and scored model.
#
#   examples/train_on_brats.sh [further options of braincli train, e.g. --max-time 08:00:00]
#
# DATA holds one folder per case (BraTS2021_00000/BraTS2021_00000_{t1,t1ce,t2,flair,seg}.nii.gz, or the names of 2023:
# BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz). Run it again to go on where it stopped: that is
# also what to do after --max-time or SIGTERM. In a batch job start it with srun, so that the notice reaches training.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DATA=${DATA:?DATA=folder of BraTS cases}
OUT=${OUT:-brats}                                       # everything goes below
CONFIG=${CONFIG:-$here/configs/tsgm-compact.toml}
VALIDATION=${VALIDATION:-10}                            # percent of the patients that calibrate the model
TEST=${TEST:-10}                                        # percent of the patients that score it
MODEL=${MODEL:-$OUT/model}
read -ra braincli <<< "${BRAINCLI:-braincli}"
read -ra torchrun <<< "${TORCHRUN:-}"                   # several GPUs: TORCHRUN="torchrun --nproc-per-node 4 -m"

# 1. Split by patient: all time points (the last number of a BraTS 2023 name) go the same way. The order is that of the
#    names' hashes, so that it is neither the sites' nor a matter of luck.
patient() { [[ $1 =~ ^(BraTS-.*)-[0-9]+$ ]] && echo "${BASH_REMATCH[1]}" || echo "$1"; }
at_least() { echo $(($1 > $2 ? $1 : $2)); }

if [[ ! -d $OUT/split ]]; then
    mapfile -t cases < <(find -L "$DATA" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
    mapfile -t patients < <(
        for case in "${cases[@]}"; do patient "$case"; done | sort -u | while read -r name; do
            echo "$(printf '%s' "$name" | md5sum | cut -d ' ' -f 1) $name"
        done | sort | cut -d ' ' -f 2-
    )
    count=${#patients[@]}
    test=$(at_least $((count * TEST / 100)) 1)
    validation=$(at_least $((count * VALIDATION / 100)) 2)
    ((count > test + validation)) || { echo "$DATA: $count patients are too few to split" >&2; exit 3; }
    rm -rf "$OUT/split.part"
    mkdir -p "$OUT/split.part"/{train,validation,test}
    declare -A part
    for index in "${!patients[@]}"; do
        part[${patients[index]}]=$((index < test ? 0 : index < test + validation ? 1 : 2))
    done
    names=(test validation train)
    for case in "${cases[@]}"; do
        folder=$OUT/split.part/${names[${part[$(patient "$case")]}]}/$case
        mkdir "$folder"
        ln -s "$(realpath "$DATA/$case")"/*.nii* "$folder"
    done
    mv "$OUT/split.part" "$OUT/split"
fi

# 2. Train. Stopped early, it leaves a checkpoint and no model yet.
"${torchrun[@]}" "${braincli[@]}" train --config "$CONFIG" --data "$OUT/split/train" -o "$MODEL" --resume "$@"
if [[ ! -f $MODEL/model.json ]]; then
    echo "training has stopped before its end; run this again to go on" >&2
    exit 0
fi

# 3. Contrast weights, threshold and smallest lesion, on patients that training has not seen.
if grep -q '"calibration": null' "$MODEL/model.json"; then
    "${braincli[@]}" calibrate --model "$MODEL" --data "$OUT/split/validation" --cross-fit
fi

# 4. Masks of the test patients, and their scores. A case that fails, or is marked all over, has no mask: it is scored as
# missed, and the exit code says so in the end.
code=0
"${braincli[@]}" detect --model "$MODEL" "$OUT/split/test" -o "$OUT/masks" --anomaly-map --resume || code=$?
((code == 0 || code == 6 || code == 7)) || exit "$code"
"${braincli[@]}" score "$OUT/masks" "$OUT/split/test" -o "$OUT/scores" --overwrite || code=$?
exit "$code"
