"""Names of BIDS derivatives: ``sub-XX/[ses-YY/]anat/`` with everything that ``preprocess`` and ``detect`` leave.

What BIDS 1.11 has a name for bears it: images, masks, numbered lesions (``dseg``) with their table. For the rest,
which :data:`IGNORED` lists for validators, names are made of the same entities.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from braincli.imaging.names import Contrast

ATLAS = "SRI24"
BIDS_ID = re.compile(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?")
SUFFIX = {Contrast.T1: "T1w", Contrast.T1CE: "T1w", Contrast.T2: "T2w", Contrast.FLAIR: "FLAIR"}
FROM = {Contrast.T1: "T1w", Contrast.T1CE: "T1wCE", Contrast.T2: "T2w", Contrast.FLAIR: "FLAIR"}
TAKEN = ("brain", "preproc", "head")  # by images and masks of preprocess
# For these BIDS 1.11 has no name: run records, pages, pictures, transforms, maps that are no probability, DICOM.
IGNORED = (
    "*_record.json", "*_report.html", "figures", "*_xfm.mat", "*_xfm.json", "*_anomaly.nii.gz", "*_anomaly.json",
    "*_uncertainty.nii.gz", "*_uncertainty.json", "*_seg.dcm", "/index.html", "/cohort.tsv",
)  # fmt: skip


def prefix(case_id: str) -> str:
    """``sub-<label>[_ses-<label>]`` for any case id: BIDS ids as they are, others with all but letters and digits cut.

    ``sub-01_ses-2`` stays, ``TCGA-FG-6692`` becomes ``sub-TCGAFG6692``.
    """
    if BIDS_ID.fullmatch(case_id):
        return case_id
    label = re.sub(r"[^A-Za-z0-9]", "", re.sub(r"^sub-", "", case_id))
    return f"sub-{label or os.fsencode(case_id).hex()}"


def place(case_id: str) -> str:
    """The folder of a case below that of its data set: ``sub-01/ses-2``."""
    return prefix(case_id).replace("_ses-", "/ses-")


def model_label(model: str) -> str:
    """What stands for a model in names (``desc-<label>``): its letters and digits."""
    label = re.sub(r"[^A-Za-z0-9]", "", model)
    return f"{label}model" if label.lower() in ("", *TAKEN) or label.lower().endswith("lesion") else label


@dataclass(frozen=True)
class Names:
    """File names of one case's outputs below the data set ``out``.

    Attributes:
        space: of the preprocessed images; empty where detection searched a scan that has none in its name.
    """

    out: Path
    case_id: str
    space: str = ATLAS

    @property
    def folder(self) -> Path:
        """The subject's (or session's) folder; records and pages lie in it."""
        return self.out / place(self.case_id)

    @property
    def anat(self) -> Path:
        """The folder of all volumes."""
        return self.folder / "anat"

    def name(self, suffix: str, *, ce: bool = False, space: str | None = None, label: str = "", desc: str = "") -> str:
        """A name with its entities in the order of BIDS."""
        space = self.space if space is None else space
        pairs = (("ce", "gd" if ce else ""), ("space", space), ("label", label), ("desc", desc))
        return "_".join([prefix(self.case_id), *(f"{key}-{value}" for key, value in pairs if value), suffix])

    def image(self, contrast: Contrast, desc: str = "preproc", space: str | None = None) -> Path:
        """An image of a contrast: preprocessed, or (``desc-head``) aligned and with its skull."""
        ce = contrast is Contrast.T1CE
        return self.anat / f"{self.name(SUFFIX[contrast], ce=ce, space=space, desc=desc)}.nii.gz"

    def brain(self) -> Path:
        """The brain mask."""
        return self.anat / f"{self.name('mask', desc='brain')}.nii.gz"

    def lesion(self) -> Path:
        """The lesion mask that lay beside the scans."""
        return self.anat / f"{self.name('mask', label='L')}.nii.gz"

    def transform(self, contrast: Contrast, *, inverse: bool = False) -> Path:
        """The ITK transform that resamples a contrast into the output space, or back."""
        source, target = (self.space, FROM[contrast]) if inverse else (FROM[contrast], self.space)
        return self.anat / f"{prefix(self.case_id)}_from-{source}_to-{target}_mode-image_xfm.mat"

    def picture(self) -> Path:
        """The quality picture."""
        return self.folder / "figures" / f"{self.name('qc', desc='preproc')}.png"

    def record(self) -> Path:
        """The run record."""
        return self.folder / f"{self.name('record', desc='preproc')}.json"
