"""The four contrasts, in the order of every contrast axis in braincli."""

from __future__ import annotations

from enum import StrEnum


class Contrast(StrEnum):
    """What a scan shows."""

    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"
    FLAIR = "flair"


CONTRASTS: tuple[Contrast, ...] = tuple(Contrast)
