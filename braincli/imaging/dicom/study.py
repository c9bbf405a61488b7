"""A study on disk, before and after it was opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from braincli.errors import InputError
from braincli.imaging.contrast import Contrast
from braincli.imaging.dicom.series import Series

SERIES = re.compile(r"(?P<contrast>[a-z0-9]+)=(?P<label>[0-9]+[a-z]*|none)")
PACKAGES = ("pydicom", "dcm2niix", "highdicom")


@dataclass(frozen=True)
class Study:
    """The images of one study.

    Attributes:
        folders: that its files lie in; other files may lie there, too.
        uid: of the study (Study Instance UID); empty where no header could be read.
        renamed: the folder's name told who the patient is, so that its outputs are called otherwise.
        series: what was converted, by contrast, once it is open.
    """

    folders: tuple[Path, ...]
    uid: str = ""
    renamed: bool = False
    series: Mapping[Contrast, Series] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """The numbers of the series that were converted, by contrast, for records."""
        return {str(contrast): series.label for contrast, series in self.series.items()}


def series_by_contrast(value: object) -> object:
    """``t1ce=7`` (one, or several), as flags give it, by contrast; a table's numbers as text; anything else as it is.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, Mapping):
        pairs = {str(contrast): str(label) for contrast, label in value.items()}
    elif isinstance(value, list | tuple):
        parts = [str(part).strip().lower() for part in value]
        pairs = dict(part.partition("=")[::2] for part in parts)  # type: ignore[misc]
    else:
        return value
    for contrast, label in pairs.items():
        if contrast not in list(Contrast) or not SERIES.fullmatch(f"{contrast}={label}"):
            raise ValueError("is not CONTRAST=SERIES, such as t1ce=7, or t2=none")
    return pairs


def missing_packages(what: str) -> InputError | None:
    """What is wrong where the extra is not installed.

    Args:
        what: needs it.
    """
    from importlib.util import find_spec

    missing = [name for name in PACKAGES if find_spec(name) is None]
    if not missing:
        return None
    return InputError(f"{what}: DICOM needs {', '.join(missing)}.", 'Install it: pip install "braincli[dicom]".')
