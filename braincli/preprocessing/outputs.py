"""Writing what the chain made, and finding it again with ``--resume``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from braincli.config import PreprocessConfig
from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.own import is_prepared
from braincli.imaging.reading import load_images
from braincli.imaging.volume import Volume
from braincli.layout.bids import FROM, Names, place
from braincli.layout.dataset import Dataset
from braincli.layout.sidecar import copied, sidecar
from braincli.preprocessing import picture, register, spaces
from braincli.preprocessing.result import Preprocessed, grid_of, grid_only
from braincli.preprocessing.work import Alignment, Images, Report, Scans
from braincli.runtime import files
from braincli.runtime.provenance import RunRecord
from braincli.runtime.transaction import Transaction


def transaction(names: Names, case: Case, record: RunRecord, config: PreprocessConfig) -> Transaction:
    """Everything that a run is going to write, and whether it may."""
    inputs = [*case.images.values(), config.brain_mask, case.brain, case.lesion]
    return Transaction(
        names.record(), record, list(_planned(names, case, config)), [path for path in inputs if path is not None],
        overwrite=config.overwrite, own_only=True, resume=config.resume, readable=volume.is_readable,
    )  # fmt: skip


def _planned(names: Names, case: Case, config: PreprocessConfig) -> Iterator[Path]:
    images = [names.image(contrast) for contrast in case.images]
    if "brain" not in config.skip:
        images.append(names.brain())
    if case.lesion is not None:
        images.append(names.lesion())
    if config.keep_intermediates:
        images += [names.image(contrast, "head") for contrast in case.images]
    images += [names.transform(contrast, inverse=inverse) for contrast in case.images for inverse in (False, True)]
    for image in images:
        yield from (image, sidecar(image))
    yield names.picture()


def refuse_existing(plan: Transaction, names: Names, case: Case) -> None:
    """Raise before any work where a finished run, another case's, or files of the user lie in the way.

    Raises:
        UsageError, InputError, ResourceError: see above.
    """
    owner = plan.earlier.content.get("case", case.id)
    here = place(case.id)
    if owner != case.id:
        raise UsageError(f"{case.id} and {owner} would both be written to {here}.", "Rename one of them.")
    if any(_lies_in(path, names.anat) for path in case.images.values() if not is_prepared(path)):
        raise UsageError(
            f"The scans of {case.id} lie in {here}/anat, where its outputs go.",
            "Name another folder: -o OUT/.",
        )
    if plan.earlier.complete and not (plan.overwrite or plan.resume):
        raise UsageError(
            f"{here} holds the outputs of an earlier run.",
            "Add --overwrite, or --resume to keep them.",
        )
    plan.refuse()


def _lies_in(path: Path, folder: Path) -> bool:
    return path.parent.resolve() == folder.resolve()


def write(
    plan: Transaction,
    dataset: Dataset,
    names: Names,
    case: Case,
    scans: Scans,
    alignment: Alignment,
    images: Images,
    report: Report,
) -> Preprocessed:
    """Write images, masks, transforms, sidecars and picture; the record says that they are complete, last."""
    plan.begin()
    told = _Told(dataset, names, case, scans, images.brain is not None)
    for contrast, image in images.finished.items():
        _image(plan, image, names.image(contrast), told.image(contrast))
        forward = alignment.to_scan[contrast]
        for matrix, inverse in ((forward, False), (np.linalg.inv(forward), True)):
            path = names.transform(contrast, inverse=inverse)
            register.write_itk(matrix, path)
            _described(plan, path, told.transform(contrast, inverse))
        if (head := names.image(contrast, "head")) in plan.planned:
            _image(plan, images.heads[contrast], head, told.image(contrast, head=True), optional=True)
    for kind, content, path in (("Brain", images.brain, names.brain()), ("Lesion", images.lesion, names.lesion())):
        if content is not None:
            _image(plan, content, path, told.mask(kind))
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
    grids = {contrast: grid_only(scan) for contrast, scan in scans.images.items()}
    if case.study is not None:
        report.record.facts["grids"] = {
            str(contrast): {"shape": grid.shape, "affine": grid.affine.tolist()} for contrast, grid in grids.items()
        }
    plan.finish()
    return _result(case, names, report.record.facts, grids, report.record.warnings)


def restore(case: Case, names: Names, config: PreprocessConfig) -> Preprocessed:
    """What an earlier, complete run of the same case left."""
    record = json.loads(names.record().read_text(encoding="utf-8"))
    if case.study is not None and (known := record["facts"].get("grids")):  # it need not be converted again
        grids = {Contrast(name): grid_of(told["shape"], told["affine"]) for name, told in known.items()}
    else:
        scans = load_images(case, volume=config.volume, prefer=config.prefer)
        grids = {contrast: grid_only(scan) for contrast, scan in scans.items()}
    return _result(case, names, record["facts"], grids, record["warnings"], resumed=True)


def _result(
    case: Case,
    names: Names,
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


@dataclass(frozen=True)
class _Told:
    """What the JSON files of a case say."""

    dataset: Dataset
    names: Names
    case: Case
    scans: Scans
    stripped: bool

    def image(self, contrast: Contrast, *, head: bool = False) -> dict[str, Any]:
        """Of a preprocessed image, or of the aligned one that shows the head."""
        what = "Aligned scan with skull" if head else "Scan aligned, bias field corrected and normalised in the brain"
        return copied(self._scan(contrast)) | {
            "Description": f"{what}.",
            "SkullStripped": self.stripped and not head,
            **self._about([self._scan(contrast)]),
        }

    def mask(self, kind: str) -> dict[str, Any]:
        """Of a mask, of the kind ``Brain`` or ``Lesion``."""
        lesion = self.case.lesion if kind == "Lesion" else None
        what = "Brain mask." if kind == "Brain" else "The lesion mask that lay beside the scans."
        return {"Type": kind, "Description": what, **self._about([lesion or self._scan(self.scans.reference)])}

    def transform(self, contrast: Contrast, inverse: bool) -> dict[str, Any]:
        """Of an ITK transform."""
        ends = (FROM[contrast], self.names.space)
        source, target = reversed(ends) if inverse else ends
        return {
            "Description": f"ITK affine transform that resamples images of {source} into {target}: "
            f"it takes points of {target} to points of {source}, in LPS mm.",
            "From": source,
            "To": target,
            "Spaces": {
                FROM[contrast]: self.dataset.uri(self._scan(contrast)),
                self.names.space: self._spatial(),
            },
        }

    def _about(self, sources: list[Path]) -> dict[str, Any]:
        return {
            "Sources": [self.dataset.uri(path) for path in sources],
            "SpatialReference": self._spatial(),
        }

    def _spatial(self) -> str:
        """The atlas with its hash, or the scan whose grid it is."""
        if (template := spaces.labelled(self.names.space)) is not None:
            return template.spatial_reference()
        return self.dataset.uri(self._scan(self.scans.reference))

    def _scan(self, contrast: Contrast) -> Path:
        return self.case.images[contrast]


def _image(plan: Transaction, image: Volume, path: Path, about: dict[str, Any], *, optional: bool = False) -> None:
    volume.save(image, path, overwrite=True, inputs=plan.inputs)
    _described(plan, path, about, optional=optional)


def _described(plan: Transaction, path: Path, about: dict[str, Any], *, optional: bool = False) -> None:
    """Note a written file, with a JSON file beside it."""
    plan.add(path, optional=optional)
    files.write_json(sidecar(path), about)
    plan.add(sidecar(path), optional=optional)
