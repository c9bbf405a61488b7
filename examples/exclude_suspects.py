"""Make unlabelled cases usable for training: write generous masks of everything that may be a lesion.

TSGM learns from tissue that is known to be free of lesions. Patients without a mask can lend theirs, if whatever looks
suspicious is left out: the brightest part of the smoothed, histogram-equalised FLAIR, filled and grown. Healthy tissue
may be lost this way; that costs little. The masks are no segmentations, hence they go to the column ``unsure``.

    python examples/exclude_suspects.py unlabelled/ suspects/
    braincli train --data cohort/ --data suspects/manifest.tsv -o models/mine

Where an earlier model has looked at the cases, what it marked can lend its looks to training as well (self-training):
it goes to the column ``lesion``, and what lies around it is left out, too.

    braincli detect --model tsgm unlabelled/ -o found/
    python examples/exclude_suspects.py unlabelled/ suspects/ found/
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from braincli.imaging.cases import CONTRASTS, Contrast, find_cases, sound
from braincli.imaging.slices import SliceSpec, load_case
from braincli.imaging.volume import load, save
from braincli.layout.bids import place

SPEC = SliceSpec(normalisation="equalise")
BRIGHT, SMALLEST_ML, MARGIN = 0.86, 0.5, 3
AROUND = 2  # voxels


def suspects(flair: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """(S, H, W) equalised FLAIR and brain -> bool mask of bright regions, filled and grown by ``MARGIN`` pixels."""
    smooth = ndimage.gaussian_filter(flair, (1.5, 1.0, 1.0))
    bright = ndimage.binary_opening((smooth > BRIGHT) & brain, iterations=1)
    labels, count = ndimage.label(bright)
    large = np.bincount(labels.ravel(), minlength=count + 1) * SPEC.pixel_mm**2 / 1000 >= SMALLEST_ML
    large[0] = False
    grown = ndimage.binary_dilation(large[labels], iterations=MARGIN)
    return np.stack([ndimage.binary_fill_holes(part) for part in grown])


def mask_of(case: str, found: Path) -> Path:
    """What ``detect`` wrote: in a folder per case, or as BIDS derivatives."""
    derived = sorted(found.glob(f"{place(case)}/anat/*_label-L_desc-*_mask.nii.gz"))
    return derived[0] if derived else found / case / f"{case}_mask.nii.gz"


def main(cohort: Path, out: Path, found: Path | None = None) -> None:
    """Write ``<case>_suspect.nii.gz`` (and ``<case>_marked.nii.gz``) for each case, and a manifest that names them."""
    lines = ["\t".join(["id", *CONTRASTS, "lesion", "unsure"])]
    for case in sound(find_cases(cohort)):
        slices, _ = load_case(case, SPEC)
        volume = slices.to_volume(suspects(slices.image[:, CONTRASTS.index(Contrast.FLAIR)], slices.brain[:, 0]))
        mask, marked = volume.data > 0.3, ""
        if found is not None:
            lesion = load(mask_of(case.id, found), labels=True).data > 0
            marked = f"{case.id}_marked.nii.gz"
            save(volume.with_data(lesion), out / marked, overwrite=True)
            mask |= ndimage.binary_dilation(lesion, iterations=AROUND)
        path = out / f"{case.id}_suspect.nii.gz"
        save(volume.with_data(mask), path, overwrite=True)
        print(f"{case.id}: {mask.sum() / slices.brain_volume.sum():.0%} of the brain left out")
        images = [str(case.images[c].resolve()) if c in case.images else "" for c in CONTRASTS]
        lines.append("\t".join([case.id, *images, marked, path.name]))
    (out / "manifest.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
