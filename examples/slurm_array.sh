#!/usr/bin/env bash
#SBATCH --job-name=braincli
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --mem=24G
#SBATCH --time=04:00:00
#SBATCH --output=braincli-%A_%a.log
# Lesion masks for a cohort of raw scans, one part of it per task of a SLURM array.
#
#   sbatch [--array=0-7] examples/slurm_array.sh COHORT OUT [options of braincli detect]
#
# Each task takes every eighth case (as many parts as the array has tasks), four of them at a time. Submit it again
# after a failure, a time limit or a change of the cohort: complete cases are skipped, whatever the number of tasks. A
# task ends with 0 when all its cases are done, and with 6 when some failed (the log names them).
set -uo pipefail

cohort=${1:?usage: slurm_array.sh COHORT OUT [OPTIONS]}
out=${2:?usage: slurm_array.sh COHORT OUT [OPTIONS]}
shift 2
read -ra braincli <<< "${BRAINCLI:-braincli}"

exec "${braincli[@]}" detect "$cohort" -o "$out" --preprocess --resume --jobs "${JOBS:-4}" \
    --part-id "${SLURM_ARRAY_TASK_ID:?run it with sbatch, or set SLURM_ARRAY_TASK_ID}" \
    --num-parts "${SLURM_ARRAY_TASK_COUNT:-8}" "$@"
