"""JSON files beside volumes: what they are called, and what of a raw scan's own may be told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

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


def sidecar(image: Path) -> Path:
    """The JSON file of a NIfTI file, of a transform or of a table."""
    return image.with_name(re.sub(r"\.(?:nii(?:\.gz)?|mat|tsv)$", "", image.name) + ".json")


def copied(scan: Path) -> dict[str, Any]:
    """What of a raw scan's own sidecar may be told, if there is a readable one."""
    content = _read(scan)
    return {key: content[key] for key in (*NUMBERS, *CODES) if key in content and _is_harmless(key, content[key])}


def _is_harmless(key: str, value: Any) -> bool:
    """Whether the value of an allowed key is what the key is meant for: a plausible number, or defined words."""
    if key in CODES:
        words = value if isinstance(value, list) else re.split(r"[\\_]", value) if isinstance(value, str) else []
        return bool(words) and all(isinstance(word, str) and word.strip().upper() in CODES[key] for word in words)
    low, high = NUMBERS[key]
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def spatial_reference(image: Path) -> str | None:
    """What the JSON file of a prepared image says of its space."""
    told = _read(image).get("SpatialReference")
    return told if isinstance(told, str) else None


def _read(image: Path) -> dict[str, Any]:
    try:
        content = json.loads(sidecar(image).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
