#!/usr/bin/env bash
# Two chapters of Wolleb's thesis (2022) on BraTS 2020: segmentation ensembles (ch. 5, arXiv:2112.03145: one sample against
# the mean of five) and the grid of guidance scales s and noise levels L of anomaly detection (ch. 7, arXiv:2203.04306).
#
#   BRATS2020=MICCAI_BraTS2020_TrainingData examples/protocols/diffusion-thesis.sh
#
# 37 patients test (TEST), as there; a tenth of the others calibrates. SCALES and LEVELS make the grid, ENSEMBLES the sizes
# of the ensembles. A model with other options of its sampler is made of the trained one by --init and no step.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
BRATS2020=${BRATS2020:?BRATS2020=folder of BraTS 2020}
SCALES=${SCALES:-10 50 100 200}
LEVELS=${LEVELS:-250 500 750}
ENSEMBLES=${ENSEMBLES:-1 5}

brats=$(parts brats2020 "$BRATS2020" --test "${TEST:-37}" --validation "${VALIDATION:-0.1}")

# variant MODEL NAME [OPTIONS of braincli train]: MODEL's weights with other options; nothing is learnt.
variant() {
    local model=$1 name=$2 method
    shift 2
    method=$(basename "$model")
    trained "$name" "$method" paper "$brats/train.tsv" --init "$model" "$@"
}

if [[ -n $ENSEMBLES ]]; then
    ensembles=$(trained diffseg diffseg paper "$brats/train.tsv")
    for size in $ENSEMBLES; do
        model=$(variant "$ensembles" "diffseg-of-$size" --steps main=0 --set "ensemble=$size")
        tested "$model" brats2020 "$brats/validation.tsv" "$brats/test.tsv"
    done
fi
if [[ -n $SCALES ]]; then
    guided=$(trained dpm-classifier dpm-classifier paper "$brats/train.tsv")
    for level in $LEVELS; do
        for scale in $SCALES; do
            model=$(variant "$guided" "dpm-classifier-s$scale-L$level" --steps diffusion=0 --steps classifier=0 \
                --set "scale=$scale" --set "level=$level" --set "steps=${STEPS:-$level}")
            tested "$model" brats2020 "$brats/validation.tsv" "$brats/test.tsv"
        done
    done
fi
table
