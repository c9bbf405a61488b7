"""The slice store: the slices of a whole cohort on disk, memory-mapped, which training reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from braincli.imaging.cases import Case
from braincli.imaging.slices import SliceSpec, load_case
from braincli.imaging.tissue import of_case
from braincli.runtime import files

ARRAYS = ("image", "brain", "lesion", "label", "case", "position")  # of a slice store, one .npy each


@dataclass(frozen=True)
class SliceStore:
    """Slices of a whole cohort on disk, read through memory maps.

    Attributes:
        image: (N, C, H, W) uint8, 255 = 1.0. brain, lesion: (N, 1, H, W) bool.
        label: (N,) int8, 0 healthy, 1 diseased, -1 unknown. case: (N,) index into ``cases``.
        position: (N,) float32 in [0, 1], height between the lowest and the highest slice with brain.
        cases: id -> SHA-256 of its images, in order.
        spec: how the slices were cut.
        tissue: (N, 3, H, W) uint8, 255 = 1.0, tissue probabilities (imaging.tissue); None where not asked for.
    """

    image: np.ndarray
    brain: np.ndarray
    lesion: np.ndarray
    label: np.ndarray
    case: np.ndarray
    position: np.ndarray
    cases: dict[str, list[str]]
    spec: SliceSpec = field(default_factory=SliceSpec)
    tissue: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image)


def build_store(
    cases: Sequence[Case], spec: SliceSpec, folder: Path, *, stride: int = 1, tissue: bool = False
) -> SliceStore:
    """Write the store of ``cases`` to ``folder`` (which must be new or empty) and open it.

    Args:
        tissue: keep tissue probabilities, too; some seconds per case without maps of its own.

    Raises:
        InputError: a file is unusable, or the grids differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*ARRAYS, *(["tissue"] if tissue else []))}
    hashes: dict[str, list[str]] = {}
    label: np.ndarray
    for number, case in enumerate(cases):
        slices, lesion = load_case(case, spec, stride=stride)
        fitted = [_fit(part, spec.size) for part in (slices.image, slices.brain)]
        if lesion is None:
            label = np.full(len(slices.index), 0 if case.group == "healthy" else -1, dtype=np.int8)
            sick = np.zeros_like(fitted[1])
        else:
            sick = _fit(lesion[:, None] > 0, spec.size)
            label = np.asarray(sick.any(axis=(1, 2, 3)), np.int8)
        hashes[case.id] = [files.sha256(path) for path in case.images.values()]
        rows = [
            np.rint(fitted[0] * 255).astype(np.uint8),
            fitted[1],
            sick,
            label,
            np.full(len(label), number, np.int32),
            np.linspace(0, 1, len(label), dtype=np.float32),
        ]
        if tissue:
            found = _fit(of_case(case, slices, spec, lesion), spec.size)
            rows.append(np.rint(found * 255).astype(np.uint8))
        for name, row in zip(parts, rows, strict=True):
            parts[name].append(row)
    for name, rows_ in parts.items():
        with files.atomic_path(folder / f"{name}.npy") as temporary:
            np.save(temporary, np.concatenate(rows_))
    files.write_json(folder / "store.json", {"cases": hashes, "spec": spec.model_dump()})
    return open_store(folder)


def open_store(folder: Path) -> SliceStore:
    """Open a store written by :func:`build_store`."""
    content = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in ARRAYS}
    if (folder / "tissue.npy").exists():
        arrays["tissue"] = np.load(folder / "tissue.npy", mmap_mode="r")
    return SliceStore(**arrays, cases=content["cases"], spec=SliceSpec.model_validate(content["spec"]))


def _fit(stack: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop a larger canvas (S, C, H, W) to the central ``size``."""
    top, left = (stack.shape[2] - size[0]) // 2, (stack.shape[3] - size[1]) // 2
    return stack[:, :, top : top + size[0], left : left + size[1]]
