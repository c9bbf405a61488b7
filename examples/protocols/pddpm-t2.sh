#!/usr/bin/env bash
# Patched DDPM and what it is compared with (Behrendt et al. 2023, arXiv:2303.03758): healthy T2 of IXI, in folds, then
# tumours of BraTS 2021 and lesions of multiple sclerosis (MSLUB).
#
#   IXI_T2=IXI-T2 BRATS21=BraTS2021_Training_Data MSLUB=MSLUB examples/protocols/pddpm-t2.sh
#
# IXI_T2: IXI002-Guys-0828-T2.nii.gz and so on in one folder, as unpacked. BRATS21: a folder per case, as unpacked.
# MSLUB (may be left out): a folder per patient with *_T2W.nii.gz and *_consensus_gt.nii.gz.
#
# The folds are equal parts by patient, without regard to age (the paper: 44 of 402 people validate); each is tested as the paper does: the threshold is
# fitted on the validation part of each set with lesions, and the mean Dice per volume counts.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
IXI_T2=${IXI_T2:?IXI_T2=folder of IXI-T2}
BRATS21=${BRATS21:?BRATS21=folder of BraTS 2021}
METHODS=${METHODS:-threshold ae vae svae dae fanogan anoddpm pddpm}

# shellcheck disable=SC2046 # folding gives several words
ixi=$(all=$(prepared ixi-t2 "$IXI_T2" --contrast t2) &&
    parts ixi-t2 "$all" --contrasts t2 --group healthy --test "${IXI_TEST:-158}" $(folding "${IXI_VALIDATION:-44}"))
brats=$(parts brats21 "$BRATS21" --contrasts t2 --validation "${BRATS_VALIDATION:-100}" --test "${BRATS_TEST:-1151}")
sets=("brats21 $brats")
if [[ -n ${MSLUB:-} ]]; then
    all=$(prepared mslub "$MSLUB")
    sets+=("mslub $(parts mslub "$all" --contrasts t2 --validation "${MS_VALIDATION:-10}" --test "${MS_TEST:-20}")")
fi
number=0
while read -r fold; do
    for method in $METHODS; do
        preset=paper && [[ $method == dae ]] && preset=behrendt
        judges=(--validation "$fold/validation.tsv") && [[ $method == threshold ]] && judges=()
        model=$(trained "$method-fold-$number" "$method" "$preset" "$fold/train.tsv" "${judges[@]}")
        for set in "${sets[@]}"; do
            read -r name parts <<< "$set"
            tested "$model" "$name" "$parts/validation.tsv" "$parts/test.tsv"
        done
        [[ $method == threshold ]] || healthy_error "$model" ixi-t2 "$ixi/test.tsv"
    done
    number=$((number + 1))
done < <(folds_of "$ixi")
table
