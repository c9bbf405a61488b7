#!/usr/bin/env bash
# SADM and what it is compared with (Behrendt et al. 2024, MIDL): healthy T1 of IXI, in folds, then BraTS 2021, strokes of
# ATLAS 2.0 and synthetic anomalies. The supervised branch learns from synthetic anomalies, or from the masks of a tenth
# of BraTS or of ATLAS.
#
#   IXI_T1=IXI-T1 BRATS21=BraTS2021_Training_Data ATLAS=ATLAS_2/Training examples/protocols/sadm-t1.sh
#
# IXI_T1: IXI002-Guys-0828-T1.nii.gz and so on in one folder, as unpacked. BRATS21: a folder per case, as unpacked.
# ATLAS (may be left out): the BIDS data set, decrypted, or a folder per case with *_t1.nii.gz and *_seg.nii.gz.
# BRATS_LABELLED, ATLAS_LABELLED: how many cases lend their masks (100 and 66).
#
# Best Dice is per case; thresholds for the column Dice are fitted on the cases that also lend their masks.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
IXI_T1=${IXI_T1:?IXI_T1=folder of IXI-T1}
BRATS21=${BRATS21:?BRATS21=folder of BraTS 2021}
METHODS=${METHODS:-ae vae dae fae rd anoddpm pddpm cddpm pii draem unet unet-res sadm sadm-res}
WEAK=${WEAK-unet unet-res sadm sadm-res}

preset_of() { case $1 in cddpm | unet | unet-res | sadm | sadm-res) echo paper ;; *) echo behrendt2024 ;; esac }

# shellcheck disable=SC2046 # folding gives several words
ixi=$(all=$(prepared ixi-t1 "$IXI_T1" --contrast t1) &&
    parts ixi-t1 "$all" --contrasts t1 --group healthy --test "${IXI_TEST:-158}" $(folding "${IXI_VALIDATION:-44}"))
brats=$(parts brats21 "$BRATS21" --contrasts t1 --validation "${BRATS_LABELLED:-100}" --test "${BRATS_TEST:-1151}")
sets=("brats21 $brats")
if [[ -n ${ATLAS:-} ]]; then
    all=$(prepared atlas "$ATLAS")
    sets+=("atlas $(parts atlas "$all" --contrasts t1 --validation "${ATLAS_LABELLED:-66}" --test "${ATLAS_TEST:-589}")")
fi
planted=$OUT/planted
if [[ ! -d $planted ]]; then
    say "plant synthetic anomalies into healthy test cases"
    "${braincli[@]}" synth "$ixi/test.tsv" -o "$planted.part" --kind draem --seed "$SEED" --overwrite >&2 || tolerated $?
    mv "$planted.part" "$planted"
fi
synthetic=$(parts planted "$planted" --contrasts t1)

number=0
while read -r fold; do
    for method in $METHODS; do
        synthetic_masks=() && [[ $method == unet ]] && synthetic_masks=(--set masks=synthetic)
        model=$(trained "$method-fold-$number" "$method" "$(preset_of "$method")" "$fold/train.tsv" \
            --validation "$fold/validation.tsv" "${synthetic_masks[@]}")
        for set in "${sets[@]}"; do
            read -r name parts <<< "$set"
            tested "$model" "$name" "$parts/validation.tsv" "$parts/test.tsv"
        done
        read -r name parts <<< "${sets[0]}"
        tested "$model" synthetic "$parts/validation.tsv" "$synthetic/train.tsv"
    done
    # weakly supervised: the reconstruction branch is that of the fold; only the U-Net learns, from real masks
    for set in "${sets[@]}"; do
        read -r lender lent <<< "$set"
        for method in $WEAK; do
            weak=$method-$lender-fold-$number own=()
            if [[ $method != unet ]]; then
                own=(--init "$OUT/models/$method-fold-$number" --steps pretrain=0 --steps main=0)
            fi
            # the labelled cases train, calibrate and choose: halves of them, so that no case does two of these
            halves=$(parts "$lender-halves" "$lent/validation.tsv" --validation 0.5)
            model=$(trained "$weak" "$method" paper "$halves/train.tsv" "${own[@]}" --set masks=real)
            for tested_set in "${sets[@]}"; do
                read -r name parts <<< "$tested_set"
                calibration=$parts/validation.tsv && [[ $name == "$lender" ]] && calibration=$halves/validation.tsv
                tested "$model" "$name" "$calibration" "$parts/test.tsv"
            done
        done
    done
    number=$((number + 1))
done < <(folds_of "$ixi")
table
