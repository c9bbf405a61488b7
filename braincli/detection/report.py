"""What came of the cases that ``detect`` worked through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli.detection.lesions import TSV_COLUMNS, Lesion, as_row, from_json
from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.given import Scratch
from braincli.imaging.results import ResultFiles, kind_in, voxels
from braincli.reporting.notebook import Results, fragment
from braincli.runtime.frames import dataframe

if TYPE_CHECKING:
    import nibabel as nib
    import pandas as pd

ASK = {  # kind of file -> the option that asks for it
    "anomaly": "anomaly_map", "restored": "restored", "residual": "residual", "uncertainty": "samples",
    "figure": "figure", "report": "report",
}  # fmt: skip


@dataclass(frozen=True)
class CaseResult:
    """What came of one case.

    Images are nibabel's, (X, Y, Z), in the axis order and on the grid that their affine (voxel index -> RAS mm) says;
    of files the voxels are read when they are asked for.

    Attributes:
        status: ``done``, ``skipped`` (complete already) or ``failed``.
        masks: base names of the masks by space (``""``: the input's own grid).
        lesions, volume_ml: of the mask; None where the case failed.
        error, exit_code: why it failed.
        files: all that was written, in a folder or in memory.

    Example:
        >>> result = braincli.detect("sub01/", anomaly_map=True)[0]
        >>> result.mask.shape, result.array("anomaly").max(), result.lesion_table[0].volume_ml
    """

    case: str
    status: str
    masks: dict[str, str] = field(default_factory=dict)
    lesions: int | None = None
    volume_ml: float | None = None
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    exit_code: int = 0
    files: ResultFiles = field(default_factory=ResultFiles, repr=False)

    @property
    def paths(self) -> dict[str, Path]:
        """Files by what they are (``mask``, ``lesions``, ``anomaly``, ``restored-t1``, ``figure``, ``record`` ...; of
        raw cases ``space-SRI24_mask``, ``space-flair_mask`` ...). Empty where the result is in memory."""
        return self.files.paths

    @property
    def space(self) -> str:
        """The grid that was searched: ``""`` for the input's own, ``SRI24`` for raw cases."""
        return next(iter(self.masks), "")

    @property
    def mask(self) -> nib.Nifti1Image:
        """The lesion mask, uint8: 0 or 1, on the grid of :attr:`space`."""
        return self.image("mask")

    @property
    def labels(self) -> nib.Nifti1Image:
        """The numbered lesions, uint8 or uint16: 0 outside, 1 the largest, as in :attr:`lesion_table`."""
        return self.image("lesions")

    @property
    def anomaly(self) -> nib.Nifti1Image:
        """The anomaly map, float32 >= 0, 0 outside the brain (``anomaly_map=True``)."""
        return self.image("anomaly")

    @property
    def restored(self) -> dict[Contrast, nib.Nifti1Image]:
        """The pseudo-healthy restorations, float32 in the units of the scans (``restored=True``)."""
        there = [c for c in CONTRASTS if kind_in(f"restored-{c}", self.space) in self.files.names]
        if not there:
            self.image("restored")  # says how to get them
        return {c: self.image(f"restored-{c}") for c in there}

    @property
    def lesion_table(self) -> list[Lesion]:
        """The lesions, the largest first; volumes in ml, places in RAS mm."""
        return from_json(self.record["facts"]["lesions"])

    @property
    def record(self) -> dict[str, Any]:
        """The run record: options, threshold, weights of contrasts, versions, seconds, warnings."""
        content: dict[str, Any] = json.loads(self.files.read("record", self._hint("record")))
        return content

    def image(self, kind: str = "mask", space: str | None = None) -> nib.Nifti1Image:
        """One volume (X, Y, Z).

        Args:
            kind: ``mask``, ``lesions``, ``anomaly``, ``uncertainty``, ``restored-flair``, ``residual-flair`` ...
            space: of raw cases: ``SRI24``, or the contrast whose native grid is meant; None for :attr:`space`.

        Raises:
            UsageError: there is no such volume; what asks for it is said.
            InputError: its file is gone.

        Example:
            >>> native = result.image("mask", "flair")
        """
        return self.files.image(kind_in(kind, self.space if space is None else str(space)), self._hint(kind))

    def array(self, kind: str = "mask", space: str | None = None) -> np.ndarray:
        """The voxels of :meth:`image`, (X, Y, Z): bool for masks, else in the type of the volume.

        Raises:
            UsageError, InputError: see :meth:`image`.

        Example:
            >>> result.array("anomaly")[result.array("mask")].mean()
        """
        return voxels(self.image(kind, space), mask=kind == "mask")

    def to_dataframe(self) -> pd.DataFrame:
        """The lesion table: a line per lesion, with the columns of ``<case>_lesions.tsv`` (ml, RAS mm).

        Raises:
            UsageError: pandas is not installed.

        Example:
            >>> result.to_dataframe().query("volume_ml > 1")
        """
        return dataframe([as_row(lesion) for lesion in self.lesion_table], TSV_COLUMNS)

    def as_row(self) -> dict[str, Any]:
        """What the table of several cases says of this one."""
        return {
            "case": self.case, "status": self.status, "lesions": self.lesions, "volume_ml": self.volume_ml,
            "seconds": self.seconds, "warnings": "; ".join(self.warnings), "error": self.error,
        }  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content; base names, no paths."""
        content = asdict(replace(self, files=ResultFiles()))
        del content["files"]
        return content

    def png(self) -> bytes | None:
        """The figure as PNG, if one was drawn."""
        return self.files.read("figure") if "figure" in self.files.names else None

    def in_memory(self) -> CaseResult:
        """The same, of which no file is needed any more."""
        return replace(self, files=self.files.in_memory())

    def _repr_html_(self) -> str:
        row = {name: value for name, value in self.as_row().items() if name not in ("case", "warnings", "error")}
        notes = [*self.warnings, *([self.error] if self.error else [])]
        png = self.png()
        return fragment(self.case, [row], notes=notes, pictures=[(self.case, png)] if png else [])

    def _hint(self, kind: str) -> str:
        if self.status == "failed":
            return f"The case failed: {self.error}"
        option = ASK.get(kind.partition("-")[0])
        value = "5" if option == "samples" else "True"
        return f"Ask for it: detect(..., {option}={value})." if option else ""


@dataclass(frozen=True, repr=False)
class DetectReport:
    """What came of all cases, in order of id: ``report[0]``, ``report["sub01"]``, or one by one in a loop."""

    model: str
    cases: list[CaseResult]

    def __repr__(self) -> str:
        return f"<report of {self.model}, cases: {len(self.cases)}, failed: {len(self.failures)}>"

    @property
    def failures(self) -> list[CaseResult]:
        """The cases that failed."""
        return [case for case in self.cases if case.status == "failed"]

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[CaseResult]:
        return iter(self.cases)

    def __getitem__(self, which: int | str) -> CaseResult:
        """A case by its place or its id."""
        if isinstance(which, int):
            return self.cases[which]
        found = next((case for case in self.cases if case.case == which), None)
        if found is None:
            raise KeyError(f"{which!r} is none of {', '.join(case.case for case in self.cases)}")
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return {"model": self.model, "cases": [case.as_dict() for case in self.cases]}

    def to_dataframe(self) -> pd.DataFrame:
        """One line per case: status, number and volume (ml) of lesions, seconds, warnings, error.

        Raises:
            UsageError: pandas is not installed.

        Example:
            >>> braincli.detect("cohort/", "out/").to_dataframe().to_csv("found.csv")
        """
        return Results(self.cases).to_dataframe()

    def in_memory(self) -> DetectReport:
        """The same, of which no file is needed any more."""
        return replace(self, cases=[case.in_memory() for case in self.cases])

    def predicted(self, scratch: Scratch) -> dict[str, tuple[tuple[Path, ...], tuple[Path, ...]]]:
        """Masks and anomaly maps of every case, on all its grids, for :func:`braincli.score`."""
        found = {}
        for case in self.cases:
            masks, maps = (
                tuple(
                    case.files.place(name, scratch)
                    for space in case.masks
                    if (name := kind_in(kind, space)) in case.files.names
                )
                for kind in ("mask", "anomaly")
            )
            found[case.case] = masks, maps
        return found

    def _repr_html_(self) -> str:
        return self.cases[0]._repr_html_() if len(self.cases) == 1 else Results(self.cases)._repr_html_()

    def table(self) -> str:
        """One line per case, for people."""
        width = max((len(case.case) for case in self.cases), default=0)
        lines = [f"{'case':{width}}  status   lesions  volume"]
        for case in self.cases:
            figures = case.error.partition("\n")[0]
            if case.status != "failed":
                figures = f"{case.lesions:7d}  {case.volume_ml:.1f} ml"
            lines.append(f"{case.case:{width}}  {case.status:7}  {figures}")
        return "\n".join(lines)
