"""Writing what the chain made, and finding it again with ``--resume``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.reading import load_images
from braincli.imaging.volume import Volume
from braincli.preprocessing import naming, picture, register
from braincli.preprocessing.result import Preprocessed, grid_only
from braincli.runtime import files

if TYPE_CHECKING:
    from braincli.preprocessing.work import Images, Work


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
        raise UsageError(f"{case.id} and {owner} would both be written to {names.folder.name}.", "Rename one of them.")
    if not overwrite:
        raise UsageError(
            f"{names.folder.name} holds the outputs of an earlier run.",
            "Add --overwrite, or --resume to keep them.",
        )


def write(work: Work, images: Images) -> Preprocessed:
    """Write images, masks, transforms, sidecars and picture, the record last."""
    record, names, case = work.record, work.names, work.case
    names.record().unlink(missing_ok=True)  # from now on the folder is incomplete
    for contrast, image in images.finished.items():
        about = naming.copied(case.images[contrast]) | _about(work, contrast)
        _image(work, image, names.image(contrast), about | {"SkullStripped": images.brain is not None})
        forward = work.to_scan[contrast]
        for matrix, inverse in ((forward, False), (np.linalg.inv(forward), True)):
            path = names.transform(contrast, inverse=inverse)
            register.write_itk(matrix, path)
            record.add_output(path)
        if work.config.keep_intermediates:  # not part of the done-record: the user may delete them
            volume.save(images.heads[contrast], names.image(contrast, "head"), overwrite=True)
    for kind, content, path in (("Brain", images.brain, names.brain()), ("Lesion", images.lesion, names.lesion())):
        if content is not None:
            _image(work, content, path, {"Type": kind} | _about(work, work.reference))
        else:
            path.unlink(missing_ok=True)
    picture.draw(work, images, names.picture())
    record.add_output(names.picture())
    record.facts |= {
        "reference": str(work.reference),
        "space": names.space,
        "qc": work.figures,
        "transforms": {str(contrast): matrix.tolist() for contrast, matrix in work.to_scan.items()},
        "has_brain": images.brain is not None,
        "has_lesion": images.lesion is not None,
    }
    record.write(names.record())
    return _result(case, names, record.facts, {c: grid_only(s) for c, s in work.scans.items()}, record.warnings)


def restore(case: Case, names: naming.Names) -> Preprocessed:
    """What an earlier, complete run of the same case left."""
    record = json.loads(names.record().read_text(encoding="utf-8"))
    config = record["config"]
    images = load_images(case, volume=config.get("volume"), prefer=config.get("prefer", "sform"))
    grids = {contrast: grid_only(image) for contrast, image in images.items()}
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


def _about(work: Work, contrast: Contrast) -> dict[str, Any]:
    """What every sidecar says."""
    space = naming.spatial_reference(work.names.space, work.case.images[work.reference])
    return {"SpatialReference": space, "Sources": [work.case.images[contrast].name]}


def _image(work: Work, image: Volume, path: Path, about: dict[str, Any]) -> None:
    volume.save(image, path, overwrite=True, inputs=work.case.images.values())
    work.record.add_output(path)
    files.write_json(naming.sidecar(path), about)
    work.record.add_output(naming.sidecar(path))
