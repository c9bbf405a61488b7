"""A case's files -> volumes, the same way in every command."""

from __future__ import annotations

from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.imaging.volume import Volume, load


def load_images(case: Case, *, volume: int | None = None, prefer: str = "sform") -> dict[Contrast, Volume]:
    """The images of ``case`` in the order of CONTRASTS.

    Args:
        volume: which volume of 4-D files (from 0).
        prefer: ``sform`` or ``qform``, where both are set and disagree.

    Raises:
        InputError: the gatekeeper refuses one.
    """
    return {
        contrast: load(case.images[contrast], volume=volume, prefer=prefer)
        for contrast in CONTRASTS
        if contrast in case.images
    }
