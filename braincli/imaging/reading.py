"""A case's files -> volumes, the same way in every command."""

from __future__ import annotations

from math import prod
from pathlib import Path

from braincli.imaging.case import Case
from braincli.imaging.names import CONTRASTS, Contrast
from braincli.imaging.volume import Volume, load
from braincli.runtime.side_by_side import mapped


def load_images(
    case: Case, *, volume: int | None = None, prefer: str = "sform", threads: int | None = 1
) -> dict[Contrast, Volume]:
    """The images of ``case`` in the order of CONTRASTS.

    Args:
        volume: which volume of 4-D files (from 0), where the case does not say it itself (``Case.volumes``).
        prefer: ``sform`` or ``qform``, where both are set and disagree.
        threads: see :func:`braincli.runtime.side_by_side.mapped`.

    Raises:
        InputError: the gatekeeper refuses one.
    """

    def read(contrast: Contrast) -> Volume:
        path = case.images[contrast]
        return load(path, volume=case.volumes.get(contrast, volume_of(path, volume)), prefer=prefer)

    there = [contrast for contrast in CONTRASTS if contrast in case.images]
    return dict(zip(there, mapped(read, there, threads), strict=True))


def volume_of(path: Path, volume: int | None) -> int | None:
    """``volume`` where the file has several; a three-dimensional one beside it needs no choice."""
    if volume is None:
        return None
    import nibabel

    try:
        shape = nibabel.load(path).shape  # type: ignore[attr-defined]
    except Exception:  # the gatekeeper says better what is wrong with it
        return volume
    return volume if prod(shape[3:]) > 1 else None
