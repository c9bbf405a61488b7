"""What is on disk -> cases: a single file, a folder of BraTS names, a BIDS subject, a TSV manifest, a cohort."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Contrast(StrEnum):
    """The four contrasts, in the order of every contrast axis in braincli."""

    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"
    FLAIR = "flair"


CONTRASTS: tuple[Contrast, ...] = tuple(Contrast)


@dataclass(frozen=True)
class Case:
    """One patient (or session) as found on disk.

    Attributes:
        id: unique in its cohort; from the folder or the file names.
        images: at least one contrast.
        brain: brain mask, if one lies beside the images.
        lesion: reference lesion mask, if one lies beside the images.
        group: ``healthy``, ``diseased`` or None when unknown.
    """

    id: str
    images: dict[Contrast, Path] = field(default_factory=dict)
    brain: Path | None = None
    lesion: Path | None = None
    group: str | None = None


def find_cases(path: Path, *, contrast: Contrast | None = None) -> list[Case]:
    """All cases at ``path``, sorted by id.

    Args:
        path: a NIfTI file, a folder of one case, a BIDS subject or dataset, a cohort folder, or a ``.tsv`` manifest.
        contrast: what a single file shows, where its name does not tell.

    Raises:
        InputError: nothing usable, two files for one contrast, or a file that cannot be placed.
    """
    raise NotImplementedError
