#!/usr/bin/env bash
# ISCT and what it is compared with (Li et al. 2021, arXiv:2103.09094): the lesion-free T2 slices of 234 glioblastomas of
# BraTS 2019, then the other patients, and strokes of ISLES 2015.
#
#   BRATS2019=MICCAI_BraTS_2019_Data_Training ISLES=SISS2015_Training examples/protocols/isct-isles.sh
#
# BRATS2019: HGG/ and LGG/ with a folder per case, as unpacked; the paper's 234 are all of HGG but 25. ISLES (may be left
# out): a folder per case with *_t2.nii.gz and *_seg.nii.gz, skull-stripped already, as it is distributed.
#
# What differs: tissue maps are made from the scans themselves (the paper: SPM); a tenth of the training patients
# calibrates, and pooled best Dice is in scores.json beside the columns below.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
BRATS2019=${BRATS2019:?BRATS2019=folder of BraTS 2019}
METHODS=${METHODS:-ae vae gmvae fanogan isct}

preset_of() { case $1 in ae | vae) echo baur ;; *) echo paper ;; esac }

learn=$BRATS2019 others=()
if [[ -d $BRATS2019/HGG ]]; then
    learn=$BRATS2019/HGG others=("$BRATS2019/LGG")
fi
hgg=$(parts hgg "$learn" --contrasts t2 --test "${HGG_TEST:-25}" --validation "${VALIDATION:-0.1}")
if ((${#others[@]})); then lgg=$(parts lgg "${others[0]}" --contrasts t2); fi
if [[ -n ${ISLES:-} ]]; then
    stripped=(--already-stripped)
    all=$(prepared isles "$ISLES" "${stripped[@]}")
    isles=$(parts isles "$all" --contrasts t2)
fi
for method in $METHODS; do
    model=$(trained "$method" "$method" "$(preset_of "$method")" "$hgg/train.tsv")
    tested "$model" brats2019-hgg "$hgg/validation.tsv" "$hgg/test.tsv"
    ((${#others[@]})) && tested "$model" brats2019-lgg "$hgg/validation.tsv" "$lgg/train.tsv"
    [[ -n ${ISLES:-} ]] && tested "$model" isles "$hgg/validation.tsv" "$isles/train.tsv"
done
table
