"""Cases in, the same cases with planted anomalies and their masks out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli.config import SynthConfig
from braincli.errors import InputError, UsageError
from braincli.imaging import brain as brains
from braincli.imaging import volume
from braincli.imaging.case import taken
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.imaging.given import Scratch
from braincli.imaging.reading import load_images
from braincli.imaging.results import ResultFiles, voxels
from braincli.imaging.slices import Slices, SliceSpec, from_volumes
from braincli.imaging.volume import Volume
from braincli.reporting.notebook import fragment
from braincli.runtime import cohort, device, files, provenance
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import RunRecord
from braincli.synthesis.plant import Anomaly, plant

if TYPE_CHECKING:
    import nibabel as nib

PLANTED, KNOWN = 1, 2  # labels of the mask that is written
APART_MM = 6.0  # between anomalies


@dataclass(frozen=True, repr=False)
class Synthetic:
    """What came of one case.

    Images are nibabel's, (X, Y, Z) on the grid of the scans; of files the voxels are read when they are asked for.

    Attributes:
        folder: where its files lie; of a result in memory only the name.
        planted_ml: volume of each planted anomaly.
        known_ml: volume of lesions that the case already had (label 2 of the mask).
        warnings: what the user should know of the host.
        files: the scans by contrast, ``seg`` (1 planted, 2 known), and ``brainmask`` where the case had one.

    Example:
        >>> planted = braincli.synth({"flair": image}, kind="sink")[0]
        >>> braincli.detect(planted).cases[0].lesions
    """

    case: str
    folder: Path
    planted_ml: list[float]
    known_ml: float
    warnings: list[str]
    files: ResultFiles = field(default_factory=ResultFiles, repr=False)

    def __repr__(self) -> str:
        return f"<synthetic {self.case}, anomalies: {len(self.planted_ml)}, of {sum(self.planted_ml):.1f} ml>"

    @property
    def paths(self) -> dict[str, Path]:
        """Where the scans (by contrast), ``seg`` and ``brainmask`` lie; empty where they are in memory."""
        return self.files.paths

    def image(self, kind: str = "seg") -> nib.Nifti1Image:
        """A scan in its own units (float32), or the mask ``seg`` (uint8: 1 planted, 2 known).

        Raises:
            UsageError: there is none.
            InputError: its file is gone.

        Example:
            >>> planted.image("flair").get_fdata()
        """
        return self.files.image(str(kind))

    def array(self, kind: str = "seg") -> np.ndarray:
        """The voxels of :meth:`image`, (X, Y, Z).

        Raises:
            UsageError, InputError: see :meth:`image`.

        Example:
            >>> planted.array("flair")[planted.array("seg") == 1].mean()
        """
        return voxels(self.image(kind))

    def as_case(self, scratch: Scratch) -> Case:
        """The scans with what was planted, and their masks."""
        there = {kind: self.files.place(kind, scratch) for kind in self.files.names}
        images = {contrast: there[contrast] for contrast in CONTRASTS if contrast in there}
        return Case(self.case, images, there.get("brainmask"), there.get("seg"))

    def in_memory(self) -> Synthetic:
        """The same, of which no file is needed any more."""
        return replace(self, folder=Path(self.folder.name), files=self.files.in_memory())

    def png(self) -> None:
        """No figure is drawn."""

    def as_row(self) -> dict[str, Any]:
        """What the table of several cases says of this one."""
        return {
            "case": self.case, "anomalies": len(self.planted_ml), "planted_ml": round(sum(self.planted_ml), 3),
            "known_ml": self.known_ml, "warnings": "; ".join(self.warnings),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        row = {name: value for name, value in self.as_row().items() if name not in ("case", "warnings")}
        return fragment(self.case, [row], notes=self.warnings)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content; the folder by its base name."""
        content = asdict(replace(self, files=ResultFiles()))
        del content["files"]
        return {**content, "folder": self.folder.name}


def synthesise(cases: Sequence[Case], out: Path, config: SynthConfig, reporter: Reporter) -> list[Synthetic]:
    """Plant anomalies into ``cases`` and write them to ``out``.

    Raises:
        UsageError: two cases would be written to the same folder.
        CohortError: all cases were tried and some failed; it lists them, ``outcomes`` holds what came of each.
        BraincliError: there is only one case, and this went wrong.
    """
    counts = Counter(_safe(case.id) for case in cases)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise UsageError(f"Two cases are called {repeated[0]}.", "Run them apart, into two folders.")
    device.prepare("cpu", config.threads)
    for text in taken(cases):
        reporter.say(text)
    outcomes = cohort.each(cases, lambda case: synthesise_case(case, out, config, reporter), reporter)
    return cohort.results(outcomes, again="Mend them and run again on them alone")


def synthesise_case(case: Case, out: Path, config: SynthConfig, reporter: Reporter) -> Synthetic:
    """Plant ``config.count`` anomalies into one case.

    The folder ``out/<case>`` gets ``<case>_<contrast>.nii.gz``, ``<case>_seg.nii.gz`` (1 planted, 2 lesions that the
    case already had) and, written last, ``<case>_synth.json``. Voxels outside of the anomalies keep their value.

    Raises:
        InputError: the case is raw, unusable, or has no room.
        UsageError: an output exists.
    """
    name = _safe(case.id)
    folder = out / name
    inputs = [*case.images.values(), *(path for path in (case.brain, case.lesion) if path)]
    sidecar = folder / f"{name}_synth.json"
    roles = [*case.images, "seg", *(["brainmask"] if case.brain else [])]
    paths = {role: folder / f"{name}_{role}.nii.gz" for role in roles}
    for path in (*paths.values(), sidecar):
        files.refuse_overwrite(path, overwrite=config.overwrite, inputs=inputs)

    host = _read(case, config)
    record = RunRecord("synth", case.id, config.model_dump(mode="json"), _hashes(case), warnings=host.warnings)
    with record.timed("plant"):
        anomalies = _plant_all(case.id, host, config)
    contents: dict[str, Volume] = {**_changed(host, anomalies), "seg": _mask(host, anomalies)}
    if host.mask is not None:
        contents["brainmask"] = host.mask
    sidecar.unlink(missing_ok=True)
    for role, path in paths.items():
        volume.save(contents[role], path, overwrite=config.overwrite, inputs=inputs)
        record.add_output(path)
    voxel_ml = host.slices.grid.voxel_ml
    planted_ml = [round(float(_extent(host, a).sum() * voxel_ml), 3) for a in anomalies]
    known_ml = round(float(host.known.sum() * voxel_ml), 3)
    record.facts |= {
        "kind": config.kind, "seed": config.seed, "labels": {"planted": PLANTED, "known": KNOWN},
        "known_ml": known_ml, "pixel_mm": config.pixel_mm,
        "anomalies": [_facts(host, a, ml) for a, ml in zip(anomalies, planted_ml, strict=True)],
    }  # fmt: skip
    record.write(sidecar)
    for text in host.warnings:
        reporter.warn(f"{case.id}: {text}")
    written = ResultFiles(folder.absolute(), {str(role): path.name for role, path in paths.items()})
    return Synthetic(case.id, folder, planted_ml, known_ml, host.warnings, written)


@dataclass(frozen=True)
class _Host:
    """A case that anomalies are planted into."""

    volumes: dict[Contrast, Volume]
    mask: Volume | None
    slices: Slices
    known: np.ndarray  # (X, Y, Z) bool on the input's grid
    free: np.ndarray  # (S, H, W) bool on the canvas
    warnings: list[str]


def _read(case: Case, config: SynthConfig) -> _Host:
    volumes = load_images(case)
    mask = volume.load(case.brain, labels=True) if case.brain else None
    if mask is None and (verdict := brains.shows_skull(volumes)).skull:
        raise InputError(f"{case.id} still shows the head ({verdict}).", "Prepare it first: braincli preprocess.")
    spec = SliceSpec(pixel_mm=config.pixel_mm, size=(16, 16))
    slices = from_volumes(volumes, spec, brain=mask)
    known, free = np.zeros(slices.grid.shape, bool), slices.brain[:, 0]
    if slices.shown is not None:  # nothing can be planted into what a contrast does not show
        free = free & slices.shown[:, [CONTRASTS.index(c) for c in slices.contrasts]].all(axis=1)
    warnings = volume.warned(*volumes.values(), *([mask] if mask else []))
    warnings += [f"{text}." for text in slices.warnings]
    if case.lesion is not None:
        lesion, problem = volume.mask_on_grid_of(volume.load(case.lesion, labels=True), slices.grid)
        known = lesion.data > 0
        share = slices.to_canvas(volume.reorient(lesion).data > 0, spec) > 0
        free = free & ~_grown(share, slices.spacing, config.margin_mm)
        warnings += [problem.message] if problem else []
    elif case.group != "healthy":
        warnings.append("no lesion mask says whether it is healthy; lesions that it may have are not in the mask.")
    if known.any():
        ml = known.sum() * slices.grid.voxel_ml
        warnings.append(f"not healthy: {ml:.1f} ml of lesions, label {KNOWN} of the mask; planted away from them.")
    return _Host(volumes, mask, slices, known, free, warnings)


def _plant_all(case_id: str, host: _Host, config: SynthConfig) -> list[Anomaly]:
    image, free, anomalies = host.slices.image, host.free, list[Anomaly]()
    for number in range(config.count):
        anomaly = plant(
            image, free, config.kind, spacing=host.slices.spacing, radius_mm=config.radius_mm, case_id=case_id,
            seed=config.seed, number=number,
        )  # fmt: skip
        image = anomaly.image
        free = free & ~_grown(anomaly.extent > 0, host.slices.spacing, APART_MM)
        anomalies.append(anomaly)
    return anomalies


def _grown(mask: np.ndarray, spacing: Sequence[float], margin_mm: float) -> np.ndarray:
    """``mask`` (S, H, W) with everything nearer to it than ``margin_mm``."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~mask, sampling=spacing) <= margin_mm if mask.any() else mask


def _changed(host: _Host, anomalies: list[Anomaly]) -> dict[str, Volume]:
    """The scans with what was planted: the canvas' change is added to the voxels, in units of the input."""
    slices, changed = host.slices, dict[str, Volume]()
    brain = volume.onto_grid_of(slices.ras.with_data(slices.brain_volume), slices.grid).data
    for contrast, original in host.volumes.items():
        channel = CONTRASTS.index(contrast)
        step = slices.to_volume(anomalies[-1].image[:, channel] - slices.image[:, channel]).data
        inside = original.data[brain]
        low, high = np.percentile(inside, SliceSpec().percentiles)
        data = original.data + step * float(high - low)
        if np.array_equal(original.data, np.rint(original.data)):
            data = np.rint(data)  # fractions would give the planted voxels away
        data = data.clip(inside.min(), inside.max())
        changed[contrast] = original.with_data(np.where(step != 0, data, original.data).astype(np.float32))
    return changed


def _extent(host: _Host, anomaly: Anomaly) -> np.ndarray:
    return host.slices.to_volume(anomaly.extent).data > 0.5


def _mask(host: _Host, anomalies: list[Anomaly]) -> Volume:
    label = np.where(host.known, np.uint8(KNOWN), np.uint8(0))
    for anomaly in anomalies:
        label[_extent(host, anomaly)] = PLANTED
    return host.slices.grid.with_data(label)


def _facts(host: _Host, anomaly: Anomaly, planted_ml: float) -> dict[str, Any]:
    where = np.argwhere(_extent(host, anomaly))
    centre = host.slices.grid.affine @ [*where.mean(axis=0), 1] if len(where) else np.full(4, np.nan)
    return {
        "volume_ml": planted_ml,
        "centre_mm_ras": [round(float(value), 2) for value in centre[:3]],
        "height_mm": round(2 * anomaly.half_mm, 2),
        "parameters": anomaly.parameters,
    }


def _hashes(case: Case) -> dict[str, dict[str, str]]:
    roles = {
        **{str(contrast): path for contrast, path in case.images.items()},
        "brain": case.brain,
        "lesion": case.lesion,
    }
    return provenance.hashes({role: path for role, path in roles.items() if path is not None})


def _safe(case_id: str) -> str:
    return re.sub(r"[^\w.\-]+", "_", case_id).lstrip(".") or "case"
