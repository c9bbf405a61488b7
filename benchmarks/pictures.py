"""Pictures of what each method of the leaderboard does to the same two validation slices, to be looked at.

One row per slice: FLAIR and a second contrast, the restoration (where the method gives one), the anomaly map, and the
cross-fitted mask (red) against the reference (green). A second picture holds all methods, one row each.

    python benchmarks/pictures.py WORK/ -o pictures/

WORK is the folder of ``benchmarks/leaderboard.py``, which keeps the slices of each method in ``WORK/<name>/shown.npz``.
The pictures show patients' scans: mind the licence of the data before passing them on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.slices import load_case
from braincli.imaging.volume import reorient
from braincli.reporting.board import Plane, Row
from braincli.reporting.figures import MASK, NAMES, REFERENCE, SHOWN_BEST_ON, slices_figure
from braincli.reporting.planes import AXIAL, View, brain_box
from braincli.runtime import files

if TYPE_CHECKING:
    from braincli.calibration.crossfit import CrossFitted
    from braincli.model.folder import LoadedModel

SLICES = 2


@dataclass(frozen=True)
class Shown:
    """One slice of one case; the planes are (X, Y) in RAS, cropped to the brain, images in [0, 1].

    Attributes:
        facts: case, height, contrasts, threshold, voxel size and what is measured in the slice.
        images: of each contrast shown; restored: likewise, empty where the method gives no restoration.
    """

    facts: dict[str, Any]
    images: dict[str, np.ndarray]
    restored: dict[str, np.ndarray]
    anomaly: np.ndarray
    mask: np.ndarray
    reference: np.ndarray

    def words(self) -> str:
        """What the slice shows, in numbers."""
        f = self.facts
        text = (
            f"`{f['case']}`, z = {f['z_mm']:+.0f} mm (the slice with most lesion): mask {f['mask_cm2']:.1f} cm2, "
            f"reference {f['reference_cm2']:.1f} cm2, DSC {f['dsc']:.2f} in this slice."
        )
        if "lesion_restored" in f:
            text += (
                f" {f['contrasts'][0]} inside the reference: {f['lesion_before']:.2f} before, "
                f"{f['lesion_restored']:.2f} restored; in the rest of the slice {f['rest_before']:.2f} and "
                f"{f['rest_restored']:.2f}."
            )
        return text


def chosen(results: Sequence[CrossFitted]) -> list[CrossFitted]:
    """The first case of each half: whatever the method, the same ones."""
    ordered = sorted((f for f in results if f.evidence.reference.any()), key=lambda f: f.evidence.case.id)
    return ordered[:: max(1, len(ordered) // SLICES)][:SLICES]


def collect(case_result: CrossFitted, model: LoadedModel, seed: int = 0) -> Shown:
    """Restore the slice with most lesion once more (with the slices that a sequence model needs beside it)."""
    from braincli.detection.restore import in_runs, restore

    e, spec = case_result.evidence, model.info.slices
    slices, _ = load_case(replace(e.case, lesion=None), spec, stride=model.method.stride)
    most = int(e.lesion.sum(axis=(1, 2)).argmax())
    z = int(np.median(slices.shown_planes(np.arange(len(slices.index)) == most)))
    runs = in_runs(len(slices.index), model.method.sequence).reshape(-1, model.method.sequence)
    part = slices.rows_of(runs[(runs == most).any(axis=1)][-1])
    result = restore(part, model, case_id=e.case.id, seed=seed)

    place = (*brain_box(slices.brain_volume, slices.ras.spacing)[:2], z)
    inside = slices.brain_volume[place]

    def plane(stack: np.ndarray, contrast: Contrast) -> np.ndarray:
        return reorient(part.to_volume(stack[:, CONTRASTS.index(contrast)])).data[place]

    shown = [c for c in (*SHOWN_BEST_ON[:1], Contrast.T1CE, *SHOWN_BEST_ON) if c in slices.contrasts]
    shown = list(dict.fromkeys(shown))[:2]
    images = {NAMES[c]: plane(part.image, c) for c in shown}
    restored: dict[str, np.ndarray] = {}
    if result.restored is not None and result.restored.any():
        restored = {NAMES[c]: plane(result.restored * part.brain, c) for c in shown}
    mask, reference = case_result.mask[place], e.reference[place]
    dx, dy, _ = slices.ras.spacing
    total = int(mask.sum() + reference.sum())
    facts: dict[str, Any] = {
        "case": e.case.id, "z_mm": View(AXIAL, z).mm(slices.ras), "contrasts": list(images),
        "threshold": case_result.calibration.threshold * e.rise(case_result.calibration), "pixel_mm": [dx, dy],
        "mask_cm2": float(mask.sum() * dx * dy / 100), "reference_cm2": float(reference.sum() * dx * dy / 100),
        "dsc": 2 * float((mask & reference).sum()) / total if total else 1.0,
    }  # fmt: skip
    name = NAMES[shown[0]]
    if name in restored:
        for where, region in (("lesion", reference & inside), ("rest", inside & ~reference)):
            for when, picture in (("before", images), ("restored", restored)):
                facts[f"{where}_{when}"] = float(picture[name][region].mean()) if region.any() else 0.0
    return Shown(facts, images, restored, case_result.anomaly[place], mask, reference)


def save(shown: Sequence[Shown], path: Path) -> None:
    """Keep ``shown`` in one compressed file of half-precision planes."""
    arrays: dict[str, np.ndarray] = {"facts": np.array(json.dumps([s.facts for s in shown]))}
    for number, s in enumerate(shown):
        planes = {f"image-{name}": plane for name, plane in s.images.items()}
        planes |= {f"restored-{name}": plane for name, plane in s.restored.items()}
        planes |= {"anomaly": s.anomaly}
        arrays |= {f"{number}-{name}": plane.astype(np.float16) for name, plane in planes.items()}
        arrays |= {f"{number}-mask": s.mask, f"{number}-reference": s.reference}
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> list[Shown]:
    """What :func:`save` kept."""
    with np.load(path) as arrays:
        pictures = []
        for number, facts in enumerate(json.loads(str(arrays["facts"]))):

            def planes(kind: str, number: int = number) -> dict[str, np.ndarray]:
                begin = f"{number}-{kind}-"
                return {k.removeprefix(begin): arrays[k].astype(np.float32) for k in arrays if k.startswith(begin)}

            anomaly = arrays[f"{number}-anomaly"].astype(np.float32)
            masks = arrays[f"{number}-mask"], arrays[f"{number}-reference"]
            pictures.append(Shown(facts, planes("image"), planes("restored"), anomaly, *masks))
    return pictures


def _planes(s: Shown) -> list[Plane | None]:
    first, *_ = s.facts["contrasts"]
    cells: list[Plane | None] = [Plane(name, plane) for name, plane in s.images.items()]
    for name in s.images:
        cells.append(Plane(f"{name} restored", s.restored[name]) if name in s.restored else None)
    threshold, highest = s.facts["threshold"], float(s.anomaly.max())
    top = min(2 * threshold, max(highest, 1.2 * threshold)) or 1.0
    outlines = ((s.reference, REFERENCE), (s.mask, MASK))
    cells.append(Plane("anomaly map", s.anomaly, (0.0, top), "inferno"))
    return [*cells, Plane(f"mask, reference on {first}", s.images[first], outlines=outlines)]


def _aspect(s: Shown) -> float:
    dx, dy = s.facts["pixel_mm"]
    return dy / dx


def draw(shown: Sequence[Shown], path: Path, name: str) -> None:
    """The picture of one method."""
    rows = [
        Row(f"{s.facts['case']}\nz {s.facts['z_mm']:+.0f} mm, DSC {s.facts['dsc']:.2f}", _planes(s), _aspect(s))
        for s in shown
    ]
    cells = max(len(row.planes) for row in rows)
    rows = [replace(row, planes=[*row.planes, *[None] * (cells - len(row.planes))]) for row in rows]
    note = "red: cross-fitted mask, green: reference"
    slices_figure(path, rows, title=name, note=note, overwrite=True)


def overview(methods: dict[str, list[Shown]], path: Path) -> None:
    """All methods in one picture: for each slice the restored image, the map and the mask."""
    rows = []
    for name, shown in methods.items():
        cells = [cell for s in shown for cell in _planes(s)[len(s.images) : len(s.images) + 1] + _planes(s)[-2:]]
        rows.append(Row(name, cells, _aspect(shown[0])))
    titled = max(range(len(rows)), key=lambda n: sum(cell is not None for cell in rows[n].planes))
    rows.insert(0, rows.pop(titled))  # the titles are those of the first row
    note = "red: cross-fitted mask, green: reference"
    title = "the same slices, method by method"
    slices_figure(path, rows, title=title, note=note, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder of benchmarks/leaderboard.py")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the pictures")
    arguments = parser.parse_args()
    methods = {path.parent.name: read(path) for path in sorted(arguments.work.glob("*/shown.npz"))}
    if not methods:
        raise SystemExit(f"{arguments.work} holds no shown.npz: run benchmarks/leaderboard.py first.")
    for name, shown in methods.items():
        draw(shown, arguments.output / f"{name}.png", name)
        for s in shown:
            print(f"{name}: {s.words()}")
    overview(methods, arguments.output / "all.png")


if __name__ == "__main__":
    main()
