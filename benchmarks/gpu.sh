#!/usr/bin/env bash
# What needs an NVIDIA GPU, in one go and in about six minutes: timings beside what is promised, then tests/gpu.
#
#   bash benchmarks/gpu.sh [SLICE_STORE]
#   CASE=tumour/val/BraTS2021_01478 bash benchmarks/gpu.sh
#
# A bare folder with this code is enough: nothing is installed or fetched, and nibabel, SimpleITK and ANTs may be missing.
# Python packages that the machine lacks (pydantic, platformdirs, pooch, lightning-fabric and what they need) are taken
# from wheels in $WHEELS (default: ./wheels). Without a slice store, slices are generated. $CASE, a prepared case, is
# searched with the shipped model, alone and as a cohort (this wants nibabel). $PYTHON is the interpreter (default:
# python3), $WORKERS how many processes test (default: 8); what is printed also goes to $OUT/gpu.txt where OUT is set.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
python=${PYTHON:-python3}
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
for wheel in "${WHEELS:-wheels}"/*.whl; do
    [ -e "$wheel" ] && "$python" -m zipfile -e "$wheel" "$packages"
done
export PYTHONPATH=$PWD:$PWD/benchmarks:${PYTHONPATH:+$PYTHONPATH:}$packages PYTHONDONTWRITEBYTECODE=1

step() { # seconds command...: its output, and how long it took; it is interrupted after so many seconds
    local limit=$1 begin=$SECONDS
    shift
    echo "== ${*:2}"
    timeout --signal=INT --kill-after=5 "$limit" "$@" 2>&1
    local code=$?
    echo "== exit code $code after $((SECONDS - begin)) s"
    [ $code -eq 0 ]
}

everything() {
    local failed=0
    step 75 "$python" benchmarks/detect.py --preset paper --device cuda --network --calls 15 --batch 32 || failed=1
    step 160 "$python" benchmarks/train.py --device cuda ${1:+--store "$1"} || failed=1
    if [ -n "${CASE:-}" ]; then
        step 45 "$python" benchmarks/detect.py "$CASE" --device cuda || failed=1
        step 45 "$python" benchmarks/overlap.py "$CASE" --device cuda --cases 12 || failed=1
    fi
    step 75 "$python" -m pytest tests/gpu tests/networks/test_gpu.py -q -n "${WORKERS:-8}" -o addopts="--import-mode=importlib -p no:cacheprovider" --tb=short || failed=1
    return $failed
}

if [ -n "${OUT:-}" ]; then
    set -o pipefail
    everything "$@" | tee "$OUT/gpu.txt"
else
    everything "$@"
fi
