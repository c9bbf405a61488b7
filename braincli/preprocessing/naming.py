"""BIDS-derivative names and sidecars of the outputs."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.imaging.cases import Contrast
from braincli.runtime import files

SUFFIX = {Contrast.T1: "T1w", Contrast.T1CE: "T1w", Contrast.T2: "T2w", Contrast.FLAIR: "FLAIR"}
FROM = {Contrast.T1: "T1w", Contrast.T1CE: "T1wCE", Contrast.T2: "T2w", Contrast.FLAIR: "FLAIR"}
BIDS_VERSION = "1.10.0"
# What is copied of a raw scan's sidecar, and only values of these kinds: everything else, free text above all, could
# identify a patient, a site or a day.
NUMBERS = {  # key -> lowest and highest plausible value (seconds, degrees, mm, tesla)
    "MagneticFieldStrength": (0.01, 25.0),
    "RepetitionTime": (0.0, 100.0),
    "EchoTime": (0.0, 10.0),
    "InversionTime": (0.0, 100.0),
    "FlipAngle": (0.0, 360.0),
    "SliceThickness": (0.01, 100.0),
}
AGENTS = """gadobenate gadobutrol gadodiamide gadofosveset gadopentetate gadopiclenol gadoterate gadoteridol
gadoversetamide gadoxetate ferumoxytol""".upper().split()
CODES = {  # key -> words that are defined; a value is one, several joined by backslash or underscore, or a list
    "Modality": {"MR"},
    "MRAcquisitionType": {"1D", "2D", "3D"},
    "ScanningSequence": {"SE", "IR", "GR", "EP", "RM"},
    "SequenceVariant": {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "TOF", "NONE"},
    "ContrastBolusIngredient": {
        "GADOLINIUM", "IODINE", "BARIUM", "BARIUM SULFATE", "CARBON DIOXIDE", "XENON", "MANGANESE", "IRON OXIDE",
        "NONE", *AGENTS, *(f"{agent} {salt}" for agent in AGENTS for salt in ("MEGLUMINE", "DIMEGLUMINE", "DISODIUM")),
    },
}  # fmt: skip


def prefix(case_id: str) -> str:
    """``sub-<label>[_ses-<label>]`` for any case id: BIDS ids as they are, others with all but letters and digits cut.

    ``sub-01_ses-2`` stays, ``TCGA-FG-6692`` becomes ``sub-TCGAFG6692``.
    """
    if re.fullmatch(r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?", case_id):
        return case_id
    label = re.sub(r"[^A-Za-z0-9]", "", re.sub(r"^sub-", "", case_id))
    return f"sub-{label or os.fsencode(case_id).hex()}"


@dataclass(frozen=True)
class Names:
    """File names of one case's outputs in ``out/<prefix>/``."""

    out: Path
    case_id: str
    space: str

    @property
    def folder(self) -> Path:
        """Where the case's outputs lie."""
        return self.out / prefix(self.case_id)

    def _file(self, rest: str) -> Path:
        return self.folder / f"{prefix(self.case_id)}_{rest}"

    def image(self, contrast: Contrast, desc: str = "preproc") -> Path:
        """The preprocessed image of a contrast (``desc``: another stage, which goes to ``intermediates/``)."""
        contrast_agent = "ce-gd_" if contrast is Contrast.T1CE else ""
        path = self._file(f"{contrast_agent}space-{self.space}_desc-{desc}_{SUFFIX[contrast]}.nii.gz")
        return path if desc == "preproc" else path.parent / "intermediates" / path.name

    def brain(self) -> Path:
        """The brain mask."""
        return self._file(f"space-{self.space}_desc-brain_mask.nii.gz")

    def lesion(self) -> Path:
        """The lesion mask that lay beside the scans."""
        return self._file(f"space-{self.space}_label-L_mask.nii.gz")

    def transform(self, contrast: Contrast, *, inverse: bool = False) -> Path:
        """The ITK transform that resamples a contrast into the output space, or back."""
        source, target = (self.space, FROM[contrast]) if inverse else (FROM[contrast], self.space)
        return self._file(f"from-{source}_to-{target}_mode-image_xfm.mat")

    def picture(self) -> Path:
        """The quality picture."""
        return self._file(f"space-{self.space}_desc-preproc_qc.png")

    def record(self) -> Path:
        """The run record."""
        return self._file(f"space-{self.space}_desc-preproc_record.json")


def sidecar(image: Path) -> Path:
    """The JSON file of a NIfTI file."""
    return image.with_name(re.sub(r"\.nii(\.gz)?$", "", image.name) + ".json")


def copied(scan: Path) -> dict[str, Any]:
    """What of a raw scan's own sidecar may be told, if there is a readable one."""
    try:
        content = json.loads(sidecar(scan).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: content[key] for key in (*NUMBERS, *CODES) if key in content and _is_harmless(key, content[key])}


def _is_harmless(key: str, value: Any) -> bool:
    """Whether the value of an allowed key is what the key is meant for: a plausible number, or defined words."""
    if key in CODES:
        words = value if isinstance(value, list) else re.split(r"[\\_]", value) if isinstance(value, str) else []
        return bool(words) and all(isinstance(word, str) and word.strip().upper() in CODES[key] for word in words)
    low, high = NUMBERS[key]
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def spatial_reference(space: str, reference: Path) -> str:
    """What ``SpatialReference`` says: the atlas with its hash, or the scan whose grid it is."""
    from braincli.preprocessing import spaces

    template = spaces.labelled(space)
    return reference.name if template is None else template.spatial_reference()


def write_dataset_description(out: Path) -> None:
    """Write ``dataset_description.json`` into ``out`` unless one is there, and remove what a killed attempt left."""
    files.sweep(out)
    path = out / "dataset_description.json"
    if not path.exists():
        by = [{"Name": "braincli", "Version": __version__, "Description": RESEARCH_USE_ONLY}]
        content = {"Name": "braincli preprocess", "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative"}
        files.write_json(path, content | {"GeneratedBy": by})
