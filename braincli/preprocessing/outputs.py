"""Writing what the chain made, and finding it again with ``--resume``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from braincli.config import PreprocessConfig
from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.reading import load_images
from braincli.imaging.volume import Volume
from braincli.preprocessing import naming, picture, register, spaces
from braincli.preprocessing.result import Preprocessed, grid_only
from braincli.preprocessing.work import Alignment, Images, Report, Scans
from braincli.runtime import files
from braincli.runtime.provenance import RunRecord
from braincli.runtime.transaction import Transaction


def transaction(names: naming.Names, case: Case, record: RunRecord, config: PreprocessConfig) -> Transaction:
    """Everything that a run is going to write, and whether it may."""
    inputs = [*case.images.values(), config.brain_mask, case.brain, case.lesion]
    return Transaction(
        names.record(), record, list(_planned(names, case, config)), [path for path in inputs if path is not None],
        overwrite=config.overwrite, own_only=True, resume=config.resume, readable=volume.is_readable,
    )  # fmt: skip


def _planned(names: naming.Names, case: Case, config: PreprocessConfig) -> Iterator[Path]:
    images = [names.image(contrast) for contrast in case.images]
    if "brain" not in config.skip:
        images.append(names.brain())
    if case.lesion is not None:
        images.append(names.lesion())
    for image in images:
        yield from (image, naming.sidecar(image))
    for contrast in case.images:
        yield from (names.transform(contrast), names.transform(contrast, inverse=True))
        if config.keep_intermediates:
            yield names.image(contrast, "head")
    yield names.picture()


def refuse_existing(plan: Transaction, names: naming.Names, case: Case) -> None:
    """Raise before any work where a finished run, another case's, or files of the user lie in the way.

    Raises:
        UsageError, InputError, ResourceError: see above.
    """
    owner = plan.earlier.content.get("case", case.id)
    if owner != case.id:
        raise UsageError(f"{case.id} and {owner} would both be written to {names.folder.name}.", "Rename one of them.")
    if plan.earlier.complete and not (plan.overwrite or plan.resume):
        raise UsageError(
            f"{names.folder.name} holds the outputs of an earlier run.",
            "Add --overwrite, or --resume to keep them.",
        )
    plan.refuse()


def write(
    plan: Transaction,
    names: naming.Names,
    case: Case,
    scans: Scans,
    alignment: Alignment,
    images: Images,
    report: Report,
) -> Preprocessed:
    """Write images, masks, transforms, sidecars and picture; the record says that they are complete, last."""
    plan.begin()
    space = naming.spatial_reference(names.space, case.images[scans.reference])

    def about(contrast: Contrast) -> dict[str, Any]:
        return {"SpatialReference": space, "Sources": [case.images[contrast].name]}

    for contrast, image in images.finished.items():
        told = naming.copied(case.images[contrast]) | about(contrast) | {"SkullStripped": images.brain is not None}
        _image(plan, image, names.image(contrast), told)
        forward = alignment.to_scan[contrast]
        for matrix, inverse in ((forward, False), (np.linalg.inv(forward), True)):
            path = names.transform(contrast, inverse=inverse)
            register.write_itk(matrix, path)
            plan.add(path)
        if (head := names.image(contrast, "head")) in plan.planned:
            volume.save(images.heads[contrast], head, overwrite=True, inputs=plan.inputs)
            plan.add(head, optional=True)
    for kind, content, path in (("Brain", images.brain, names.brain()), ("Lesion", images.lesion, names.lesion())):
        if content is not None:
            _image(plan, content, path, {"Type": kind} | about(scans.reference))
    picture.draw(
        images, scans.reference, names.picture(), case=case.id, figures=report.figures,
        template=spaces.labelled(names.space),
    )  # fmt: skip
    plan.add(names.picture())
    report.record.facts |= {
        "reference": str(scans.reference),
        "space": names.space,
        "qc": report.figures,
        "transforms": {str(contrast): matrix.tolist() for contrast, matrix in alignment.to_scan.items()},
        "has_brain": images.brain is not None,
        "has_lesion": images.lesion is not None,
    }
    plan.finish()
    grids = {contrast: grid_only(scan) for contrast, scan in scans.images.items()}
    return _result(case, names, report.record.facts, grids, report.record.warnings)


def restore(case: Case, names: naming.Names, config: PreprocessConfig) -> Preprocessed:
    """What an earlier, complete run of the same case left."""
    record = json.loads(names.record().read_text(encoding="utf-8"))
    scans = load_images(case, volume=config.volume, prefer=config.prefer)
    grids = {contrast: grid_only(scan) for contrast, scan in scans.items()}
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
        names.picture(),
    )


def _image(plan: Transaction, image: Volume, path: Path, about: dict[str, Any]) -> None:
    volume.save(image, path, overwrite=True, inputs=plan.inputs)
    plan.add(path)
    files.write_json(naming.sidecar(path), about)
    plan.add(naming.sidecar(path))
