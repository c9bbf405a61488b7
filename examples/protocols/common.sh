# What the protocols share; read by them (source), not run. See README.md beside this file.
#
# Every protocol takes, besides the folders of its data sets:
#   OUT       folder of everything it makes               METHODS   which methods (each script has its own list)
#   PRESET    of all methods, instead of the paper's       TRAIN     further options of braincli train
#   FOLDS     of the cross-validation; 1: one split        SEED      of splits and trainings
#   PREPARED  1: the data are skull-stripped and on one grid already, in SRI24 space where that counts
# BRAINCLI, BRAINCLI_DEVICE and BRAINCLI_NUM_THREADS are as everywhere. Run a protocol again to go on where it stopped.
set -euo pipefail
shopt -s inherit_errexit # what fails in $(...) ends the protocol, too

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=${OUT:-$(basename "$0" .sh)}
SEED=${SEED:-0}
FOLDS=${FOLDS:-5}
read -ra braincli <<< "${BRAINCLI:-braincli}"
read -ra train_options <<< "${TRAIN:-}"
read -ra python <<< "${PYTHON:-python3}"
mkdir -p "$OUT"

say() { echo "== $*" >&2; }

# Scans as downloaded -> skull-stripped, in SRI24 space, 1 mm. prepared NAME FOLDER [OPTIONS]; prints the folder.
prepared() {
    local name=$1 folder=$2
    shift 2
    if [[ ${PREPARED:-0} == 1 ]]; then
        echo "$folder"
    else
        say "preprocess $name"
        "${braincli[@]}" preprocess "$folder" -o "$OUT/prepared/$name" --resume "$@" >&2 || tolerated $?
        echo "$OUT/prepared/$name"
    fi
}

# A case that fails is listed by braincli and left out; anything else ends the protocol.
tolerated() { (($1 == 6 || $1 == 7)) || exit "$1"; }

# Manifests of parts, by patient. parts NAME FOLDER [OPTIONS of braincli split]; prints their folder.
parts() {
    local name=$1 folder=$2
    shift 2
    if [[ ! -f $OUT/parts/$name/splits.json ]]; then
        say "split $name"
        "${braincli[@]}" split "$folder" -o "$OUT/parts/$name" --seed "$SEED" --overwrite "$@" >&2
    fi
    echo "$OUT/parts/$name"
}

# The folds of a set of parts: their folders, one a line.
folds_of() { if [[ -d $1/fold-0 ]]; then printf '%s\n' "$1"/fold-*; else echo "$1"; fi; }

# Options of braincli split for FOLDS parts, or for one validation part of the size $1.
folding() { if ((FOLDS > 1)); then echo "--folds $FOLDS"; else echo "--validation $1"; fi; }

# trained MODEL METHOD PRESET DATA [OPTIONS of braincli train]: MODEL below OUT/models; prints its folder.
trained() {
    local model=$OUT/models/$1 method=$2 preset=${PRESET:-$3} data=$4 options=("${train_options[@]}")
    shift 4
    [[ $method == threshold ]] && options=() # nothing is trained
    if [[ ! -f $model/model.json ]]; then
        say "train $(basename "$model") ($method, $preset)"
        "${braincli[@]}" train --method "$method" --preset "$preset" --data "$data" -o "$model" \
            --store "$OUT/slices/$(basename "$model")" --seed "$SEED" --resume "${options[@]}" "$@" >&2
        [[ -f $model/model.json ]] || { echo "training has stopped; run this again to go on" >&2; exit 75; }
        rm -rf "$OUT/slices/$(basename "$model")"
    fi
    echo "$model"
}

# tested MODEL SET CALIBRATION TEST [OPTIONS of braincli calibrate]: a copy of MODEL, calibrated on the manifest
# CALIBRATION, finds the lesions of TEST; scores go to OUT/scores/SET/<model>.
tested() {
    local model=$1 set=$2 calibration=$3 test=$4 name
    name=$(basename "$model")
    shift 4
    local copy=$OUT/calibrated/$set/$name
    if [[ ! -f $OUT/scores/$set/$name/scores.json ]]; then
        say "$name on $set"
        rm -rf "$copy" && mkdir -p "$(dirname "$copy")" && cp -r "$model" "$copy"
        "${braincli[@]}" calibrate --model "$copy" --data "$calibration" "$@" >&2
        "${braincli[@]}" detect --model "$copy" "$test" -o "$OUT/masks/$set/$name" --anomaly-map --uncalibrated \
            --no-figure --no-report --overwrite >&2 || tolerated $?
        "${braincli[@]}" score "$OUT/masks/$set/$name" "$test" -o "$OUT/scores/$set/$name" --overwrite >&2 || tolerated $?
    fi
}

# healthy_error MODEL SET TEST: |scan - restoration| of healthy test cases, for the column L1 of the table.
healthy_error() {
    local model=$1 set=$2 test=$3 name
    name=$(basename "$model")
    if [[ ! -f $OUT/scores/$set/$name/scores.json ]]; then
        say "$name on healthy cases of $set"
        "${braincli[@]}" detect --model "$model" "$test" -o "$OUT/healthy/$set/$name" --threshold 1 --uncalibrated \
            --restored --no-figure --no-report --overwrite >&2 || tolerated $?
        "${braincli[@]}" score "$OUT/healthy/$set/$name" "$test" --healthy -o "$OUT/scores/$set/$name" --overwrite \
            >&2 || tolerated $?
    fi
}

# The table of everything that was scored, on stdout and in OUT/table.md.
table() { "${python[@]}" "$here/tables.py" table "$OUT/scores" | tee "$OUT/table.md"; }
