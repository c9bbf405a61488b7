"""The slice store: the slices of a whole cohort on disk, memory-mapped, which training reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from braincli.errors import InputError, UsageError
from braincli.imaging.cases import CONTRASTS, Case
from braincli.imaging.slices import Slices, SliceSpec, load_case
from braincli.imaging.tissue import of_case
from braincli.imaging.volume import load, mask_on_grid_of, reorient
from braincli.runtime import files
from braincli.runtime.locks import NAME as LOCK
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import fingerprint

DONE = "store.json"  # written last
BEGUN = ".braincli-store.json"  # written first, removed at the end: what lies beside it is braincli's
ARRAYS = ("image", "brain", "lesion", "label", "case", "position")  # of a slice store, one .npy each
OPTIONAL = ("tissue", "unsure", "number")  # those that not every store has


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
        unsure: (N, 1, H, W) bool, what may be a lesion or not (``Case.unsure``); None where no case has such a mask.
        number: (N,) float32, what the manifest says of each slice's case under ``column``; None where not asked for.
        sources: what the slices depend on, see :func:`identity`.
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
    unsure: np.ndarray | None = None
    number: np.ndarray | None = None
    column: str = ""
    sources: dict[str, dict[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def held(self) -> tuple[int, ...] | None:
        """Channels that the cases hold, where all of them hold the same."""
        each = {tuple(i for i, c in enumerate(CONTRASTS) if c in roles) for roles in self.sources.values()}
        return each.pop() if len(each) == 1 else None

    @property
    def fingerprint(self) -> str:
        """What the slices depend on, as one SHA-256."""
        return fingerprint({"sources": self.sources, "spec": self.spec.model_dump(mode="json")})


def build_store(
    cases: Sequence[Case],
    spec: SliceSpec,
    folder: Path,
    *,
    stride: int = 1,
    tissue: bool = False,
    column: str = "",
    reporter: Reporter | None = None,
) -> SliceStore:
    """Write the store of ``cases`` to ``folder`` and open it.

    ``folder`` is new, empty, or holds a store that was begun and not finished.

    Args:
        tissue: keep tissue probabilities, too; some seconds per case without maps of its own.
        column: keep this number of each case, too, from the manifest.
        reporter: is told what is odd about the scans.

    Raises:
        UsageError: the folder holds anything else.
        InputError: a file is unusable, the grids differ, or a case has no such number.
    """
    numbers = [case.number(column) if column else 0.0 for case in cases]
    _claim(folder)
    kept = {"tissue": tissue, "unsure": any(case.unsure for case in cases), "number": bool(column)}
    names = (*ARRAYS, *(name for name in OPTIONAL if kept[name]))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    sources = identity(cases, column)  # before they are read: what changes meanwhile is noticed the next time
    for number, case in enumerate(cases):
        try:
            slices, lesion = load_case(case, spec, stride=stride)
        except InputError as error:
            raise InputError(f"{case.id}: {error.message}", error.hint) from None
        for text in slices.warnings:
            (reporter or Reporter()).warn(f"{case.id}: {text}")
        rows = _rows(case, number, slices, lesion, spec)
        if tissue:
            rows["tissue"] = np.rint(_fit(of_case(case, slices, spec, lesion), spec.size) * 255).astype(np.uint8)
        if column:
            rows["number"] = np.full(len(slices.index), numbers[number], np.float32)
        if kept["unsure"]:
            rows |= _unsure(case, rows, slices, spec)
        for name in names:
            parts[name].append(rows[name])
    for name, stacks in parts.items():
        with files.atomic_path(folder / f"{name}.npy") as temporary:
            np.save(temporary, np.concatenate(stacks))
    hashes = {case.id: [sources[case.id][contrast] for contrast in case.images] for case in cases}
    content = {"cases": hashes, "spec": spec.model_dump(), "arrays": names, "sources": sources, "column": column}
    files.write_json(folder / DONE, content)
    (folder / BEGUN).unlink()
    return open_store(folder)


def identity(cases: Sequence[Case], column: str = "") -> dict[str, dict[str, str]]:
    """What the slices of ``cases`` depend on: by id, SHA-256 by role (contrast, ``brain``, ``lesion``, ``unsure``,
    tissue maps), the group, and the number under ``column``."""
    known: dict[str, dict[str, str]] = {}
    for case in cases:
        paths: dict[str, Path | None] = {str(contrast): path for contrast, path in case.images.items()}
        paths |= {"brain": case.brain, "lesion": case.lesion, "unsure": case.unsure, **case.tissue}
        try:
            known[case.id] = {role: files.sha256(path) for role, path in paths.items() if path is not None}
        except OSError as error:
            raise InputError(f"A file of {case.id} cannot be read: {error.strerror}.") from None
        known[case.id] |= {"group": case.group or "", **({column: case.facts.get(column, "")} if column else {})}
    return known


def refuse_common(learnt: Mapping[str, Sequence[str]], judging: Mapping[str, Sequence[str]]) -> None:
    """Raise if a case of a validation is learnt from.

    Args:
        learnt, judging: cases by id with the SHA-256 of their images, as far as these are known.

    Raises:
        UsageError: an id or an image is among both.
    """
    known = {digest for images in learnt.values() for digest in images}
    for case, images in judging.items():
        if case in learnt or known.intersection(images):
            raise UsageError(
                f"{case} is among the cases to learn from and among those of --validation.",
                "Whoever judges may not have taught: split the cohort by patient, for example with braincli split.",
            )


def is_built(folder: Path) -> bool:
    """Whether ``folder`` holds a whole store."""
    return (folder / DONE).exists()


def open_store(folder: Path) -> SliceStore:
    """Open a store written by :func:`build_store`.

    Raises:
        UsageError: it is damaged, or of an older version.
    """
    try:
        content = json.loads((folder / DONE).read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in content["arrays"]}
        spec = SliceSpec.model_validate(content["spec"])
        told = {"cases": content["cases"], "sources": content["sources"], "column": content.get("column", "")}
        return SliceStore(**arrays, spec=spec, **told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"The slices in {folder.name} cannot be used ({type(error).__name__}: {error}).",
            "They are damaged or of an older version: remove them or name another --store.",
        ) from None


def _claim(folder: Path) -> None:
    """Mark ``folder`` as that of a store that is being written.

    Raises:
        UsageError: there is something that no unfinished store left there.
    """
    if not (folder / BEGUN).exists():
        strangers = [path.name for path in folder.iterdir() if path.name != LOCK] if folder.exists() else []
        if strangers:
            raise UsageError(
                f"{folder.name} is no folder of slices: it holds {sorted(strangers)[0]}.",
                "Name an empty or a new folder with --store.",
            )
        files.write_json(folder / BEGUN, {"arrays": [*ARRAYS, *OPTIONAL]})
    files.sweep(folder)


def _rows(case: Case, number: int, slices: Slices, lesion: np.ndarray | None, spec: SliceSpec) -> dict[str, np.ndarray]:
    """The slices of one case, by the names of :data:`ARRAYS`."""
    image, brain = (_fit(part, spec.size) for part in (slices.image, slices.brain))
    label: np.ndarray
    if lesion is None:
        label = np.full(len(slices.index), 0 if case.group == "healthy" else -1, dtype=np.int8)
        sick = np.zeros_like(brain)
    else:
        sick = _fit(lesion[:, None] > 0, spec.size)
        label = np.asarray(sick.any(axis=(1, 2, 3)), np.int8)
    return {
        "image": np.rint(image * 255).astype(np.uint8), "brain": brain, "lesion": sick, "label": label,
        "case": np.full(len(label), number, np.int32), "position": np.linspace(0, 1, len(label), dtype=np.float32),
    }  # fmt: skip


def _unsure(case: Case, rows: dict[str, np.ndarray], slices: Slices, spec: SliceSpec) -> dict[str, np.ndarray]:
    """What may be a lesion, and labels that know it: such a slice is not healthy, though all else of it may be."""
    if case.unsure is None:
        return {"unsure": np.zeros_like(rows["brain"])}
    placed, _ = mask_on_grid_of(load(case.unsure, labels=True), slices.grid)
    unsure = _fit(slices.to_canvas(reorient(placed).data > 0, spec)[:, None] > 0, spec.size)
    doubtful = unsure.any(axis=(1, 2, 3))
    label = rows["label"]
    if case.lesion is None and case.group is None:
        label = np.where(doubtful, label, 0).astype(np.int8)
    return {"unsure": unsure, "label": np.where((label == 0) & doubtful, np.int8(-1), label)}


def _fit(stack: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop a larger canvas (S, C, H, W) to the central ``size``."""
    top, left = (stack.shape[2] - size[0]) // 2, (stack.shape[3] - size[1]) // 2
    return stack[:, :, top : top + size[0], left : left + size[1]]
