"""Writing what the chain made, and finding it again with ``--resume``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli import files, volume
from braincli.cases import Case, Contrast
from braincli.errors import UsageError
from braincli.preprocess import naming, picture, register
from braincli.preprocess.result import Preprocessed, grid_only
from braincli.volume import Volume

if TYPE_CHECKING:
    from braincli.preprocess.chain import Work


def refuse_existing(names: naming.Names, case: Case, *, overwrite: bool) -> None:
    """Raise before any work where a finished run, or another case's, lies in the case's folder.

    Raises:
        UsageError: see above.
    """
    record = names.record()
    if not record.exists():
        return  # leftovers of an interrupted run may be replaced: nothing there is complete
    try:
        owner = json.loads(record.read_text(encoding="utf-8"))["case"]
    except (OSError, ValueError, KeyError, TypeError):
        owner = case.id
    if owner != case.id:
        raise UsageError(
            f"{case.id} and {owner} would both be written to {names.folder.name}.", "Rename one of them."
        )
    if not overwrite:
        raise UsageError(
            f"{names.folder.name} holds the outputs of an earlier run.",
            "Add --overwrite, or --resume to keep them.",
        )


def write(
    work: Work, images: dict[Contrast, Volume], mask: Volume | None, lesion: Volume | None
) -> Preprocessed:
    """Write images, masks, transforms, sidecars and picture, the record last."""
    record, names, case = work.record, work.names, work.case
    names.record().unlink(missing_ok=True)  # from now on the folder is incomplete
    for contrast, image in images.items():
        _image(
            work,
            image,
            names.image(contrast),
            naming.copied(case.images[contrast]) | _about(work, mask, contrast),
        )
        for inverse, path in (
            (False, names.transform(contrast)),
            (True, names.transform(contrast, inverse=True)),
        ):
            forward = work.to_scan[contrast]
            register.write_itk(np.linalg.inv(forward) if inverse else forward, path)
            record.add_output(path)
    masks = {"Brain": (mask, names.brain()), "Lesion": (lesion, names.lesion())}
    for kind, (content, path) in masks.items():
        if content is None:
            path.unlink(missing_ok=True)
        else:
            _image(work, content, path, {"Type": kind} | _about(work, None, work.reference))
    if work.config.keep_intermediates:
        keep_heads(work)
    picture.draw(work, images, mask, lesion, names.picture())
    record.add_output(names.picture())
    record.facts |= {
        "reference": str(work.reference),
        "space": names.space,
        "qc": work.figures,
        "transforms": {str(contrast): matrix.tolist() for contrast, matrix in work.to_scan.items()},
        "has_brain": mask is not None,
        "has_lesion": lesion is not None,
    }
    record.write(names.record())
    return _result(
        case, names, record.facts, {c: grid_only(s) for c, s in work.scans.items()}, record.warnings
    )


def keep_heads(work: Work) -> None:
    """Write the interpolated images with skull, before N4 and normalisation (they show the face)."""
    from braincli.preprocess.chain import into_space

    for contrast, scan in work.scans.items():
        path = work.names.image(contrast, "head")
        volume.save(into_space(work, scan, contrast), path, overwrite=True)


def restore(case: Case, names: naming.Names) -> Preprocessed:
    """What an earlier, complete run of the same case left."""
    record = json.loads(names.record().read_text(encoding="utf-8"))
    grids = {contrast: grid_only(volume.load(path)) for contrast, path in case.images.items()}
    return _result(case, names, record["facts"], grids, record["warnings"], resumed=True)


def _result(
    case: Case,
    names: naming.Names,
    facts: dict[str, Any],
    grids: dict[Contrast, Volume],
    warnings: list[str],
    *,
    resumed: bool = False,
) -> Preprocessed:
    transforms = {Contrast(name): np.asarray(matrix) for name, matrix in facts["transforms"].items()}
    return Preprocessed(
        case,
        names.folder,
        names.space,
        Contrast(facts["reference"]),
        {contrast: names.image(contrast) for contrast in transforms},
        names.brain() if facts["has_brain"] else None,
        names.lesion() if facts["has_lesion"] else None,
        transforms,
        grids,
        facts["qc"],
        warnings,
        resumed,
    )


def _about(work: Work, mask: Volume | None, contrast: Contrast) -> dict[str, Any]:
    """What every sidecar says; ``SkullStripped`` for images."""
    source = work.case.images[contrast]
    about: dict[str, Any] = {
        "SpatialReference": naming.spatial_reference(work.names.space, work.case.images[work.reference]),
        "Sources": [source.name],
    }
    return (
        about
        if mask is None and "brain" not in work.config.skip
        else about | {"SkullStripped": mask is not None}
    )


def _image(work: Work, image: Volume, path: Path, about: dict[str, Any]) -> None:
    volume.save(image, path, overwrite=True, inputs=work.case.images.values())
    work.record.add_output(path)
    files.write_json(naming.sidecar(path), about)
    work.record.add_output(naming.sidecar(path))
