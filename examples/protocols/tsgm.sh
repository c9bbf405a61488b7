#!/usr/bin/env bash
# TSGM and what it is compared with (Wang et al. 2023, arXiv:2311.03074): BraTS 2020 in parts 9:1 by patient, slices 80 to
# 128, then ICTS, of which there is T1ce alone.
#
#   BRATS2020=MICCAI_BraTS2020_TrainingData ICTS=train-2207 examples/protocols/tsgm.sh
#
# BRATS2020: BraTS20_Training_001/BraTS20_Training_001_{t1,t1ce,t2,flair,seg}.nii and so on, as unpacked.
# ICTS (may be left out): a folder per patient with *_t1ce.nii.gz and *_seg.nii.gz; with skull, as it is distributed.
#
# What differs: the fusion weights and the threshold come from a tenth of the training patients, which no network has
# seen (the paper: weights from training cases, Otsu's threshold slice by slice).
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
BRATS2020=${BRATS2020:?BRATS2020=folder of BraTS 2020}
METHODS=${METHODS:-tsgm cyclegan dpm-classifier dpm-classifier-free vae fanogan}

preset_of() { case $1 in vae | fanogan | dpm-classifier-free) echo wang ;; *) echo paper ;; esac }

brats=$(parts brats2020 "$BRATS2020" --test "${TEST:-0.1}" --validation "${VALIDATION:-0.1}")
if [[ -n ${ICTS:-} ]]; then
    all=$(prepared icts "$ICTS")
    icts=$(parts icts "$all" --contrasts t1ce) # nothing is learnt from them: train.tsv lists them all
fi
for method in $METHODS; do
    model=$(trained "$method" "$method" "$(preset_of "$method")" "$brats/train.tsv")
    tested "$model" brats2020 "$brats/validation.tsv" "$brats/test.tsv"
    if [[ -n ${ICTS:-} && $method != @(dpm-classifier-free|vae|fanogan) ]]; then # these take all contrasts at once
        tested "$model" icts "$brats/validation.tsv" "$icts/train.tsv" --contrasts t1ce
    fi
done
table
