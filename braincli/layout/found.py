"""Names of what ``detect`` leaves: beside a mask that the user named, in a folder per case, or as BIDS derivatives.

A case with a BIDS id (``sub-01_ses-2``) gets BIDS names, and so does every raw case, as its prepared scans have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from braincli.imaging.names import CONTRASTS, Contrast, stem
from braincli.layout import bids
from braincli.layout.sidecar import sidecar
from braincli.runtime.locks import locked


@dataclass(frozen=True)
class Flat:
    """A folder of the case's own, or beside one mask file that the user named.

    Attributes:
        target: ``OUT/<case>/<case>`` (a prefix) or the mask file.
        single: ``target`` is the mask file.
    """

    target: Path
    single: bool
    searched = ""

    @classmethod
    def of(cls, case_id: str, output: Path) -> Flat:
        """Names for ``case_id`` below the folder ``output``, or of the file ``output`` (.nii, .nii.gz)."""
        if is_file(output):
            return cls(output, True)
        safe = re.sub(r"[^\w.\-]+", "_", case_id).lstrip(".") or "case"
        return cls(output / safe / safe, False)

    def volume(self, kind: str, space: str = "") -> Path:
        """A volume: ``mask``, ``lesions`` (numbered), ``anomaly``, ``restored-flair`` ...; they share one grid."""
        if not self.single:
            return self._file(f"{kind}.nii.gz")
        if kind == "mask":
            return self.target
        return self.target.with_name(f"{stem(self.target)}_{kind}{self.target.name[len(stem(self.target)) :]}")

    def segmentation(self, space: str) -> Path:
        """The DICOM SEG of the mask."""
        return self.target.with_name(f"{stem(self.target) if self.single else self.target.name}_seg.dcm")

    def sidecar(self, volume: Path) -> Path | None:
        """None: the record says what there is to say."""
        return None

    def space(self, mask: str) -> str | None:
        """``""``, the grid that was searched, of the mask by its base name; None where it is no mask."""
        return "" if mask == self.volume("mask").name else None

    def locked(self) -> AbstractContextManager[None]:
        """Keep others from writing there: to the case's folder, or to the mask file."""
        folder = self.target.parent
        if self.single:
            return locked(folder, self.target.name, name=f".{self.target.name}.lock")
        return locked(folder, f"{folder.parent.name}/{folder.name}")

    def record(self) -> Path:
        """The run record, written last."""
        return self.target.with_name(f"{stem(self.target)}.json") if self.single else self._file("record.json")

    def tables(self) -> tuple[Path, Path | None]:
        """The lesion table as TSV and as JSON."""
        return self._file("lesions.tsv"), self._file("lesions.json")

    def picture(self) -> Path:
        """The picture."""
        return self._file("figure.png")

    def report(self) -> Path:
        """The page."""
        return self._file("report.html")

    def thumbnail(self) -> Path:
        """The small picture of the cohort's page."""
        return self._file("thumbnail.jpg")

    def _file(self, rest: str) -> Path:
        return self.target.with_name(f"{self.target.name}_{rest}")


@dataclass(frozen=True)
class Derivative:
    """In a BIDS data set, beside what ``preprocess`` leaves there; several models may write to one.

    Attributes:
        names: of the data set; their space is that of the grid that is searched.
        model: its name.
        raw: the case was preprocessed: its scans have grids of their own.
    """

    names: bids.Names
    model: str
    raw: bool = False
    single = False

    @property
    def searched(self) -> str:
        """How :meth:`volume` is told the grid that is searched."""
        return self.names.space if self.raw else ""

    @property
    def label(self) -> str:
        """The model's, which all names hold."""
        return bids.model_label(self.model)

    def space_of(self, space: str) -> str:
        """The entity ``space`` of a grid: ``""`` the one that was searched, a contrast its raw scan's."""
        return bids.FROM[Contrast(space)] if space in CONTRASTS else space or self.names.space

    def volume(self, kind: str, space: str = "") -> Path:
        """A volume on the grid that was searched, or (``space``: a contrast) on that of a raw scan; kinds as
        :meth:`Flat.volume` has them.
        """
        there = self.space_of(space)
        what, _, contrast = kind.partition("-")
        if contrast:
            return self.names.image(Contrast(contrast), f"{self.label}{what}", there)
        suffix, label = {"mask": ("mask", "L"), "lesions": ("dseg", "")}.get(kind, (kind, ""))
        return self.names.anat / f"{self.names.name(suffix, space=there, label=label, desc=self.label)}.nii.gz"

    def segmentation(self, space: str) -> Path:
        """The DICOM SEG of the mask in ``space``."""
        mask = self.volume("mask", space)
        return mask.with_name(f"{stem(mask).removesuffix('_mask')}_seg.dcm")

    def sidecar(self, volume: Path) -> Path | None:
        """The JSON file of a volume, or of the table."""
        return sidecar(volume)

    def space(self, mask: str) -> str | None:
        """The space of a mask by its base name, as :meth:`volume` takes it; None where it is no mask."""
        return next((space for space in (self.searched, *CONTRASTS) if self.volume("mask", space).name == mask), None)

    def locked(self) -> AbstractContextManager[None]:
        """Keep others from writing what this model finds; ``preprocess`` holds the folder itself."""
        place = f"{self.names.out.name}/{bids.place(self.names.case_id)}"
        return locked(self.names.folder, place, name=f".braincli-{self.label}.lock")

    def record(self) -> Path:
        """The run record, written last."""
        return self.names.folder / f"{self._name('record')}.json"

    def tables(self) -> tuple[Path, Path | None]:
        """The lesion table: what the numbers of ``dseg`` mean, in all spaces."""
        return self.names.anat / f"{self._name('dseg')}.tsv", None

    def picture(self) -> Path:
        """The picture."""
        return self.names.folder / "figures" / f"{self._name('figure')}.png"

    def report(self) -> Path:
        """The page."""
        return self.names.folder / f"{self._name('report')}.html"

    def thumbnail(self) -> Path:
        """The small picture of the cohort's page."""
        return self.names.folder / "figures" / f"{self._name('thumbnail')}.jpg"

    def _name(self, suffix: str) -> str:
        return self.names.name(suffix, space="", desc=self.label)


FoundNames = Flat | Derivative


def names_of(case_id: str, images: Mapping[Contrast, Path], output: Path, model: str, *, raw: bool) -> FoundNames:
    """Where what is found in a case goes.

    Args:
        images: the scans of the case; of prepared ones the names tell the space.
        output: a folder, or the mask file of one case.
        raw: it is preprocessed on the way.
    """
    if is_file(output) or not (raw or bids.BIDS_ID.fullmatch(case_id)):
        return Flat.of(case_id, output)
    space = bids.ATLAS if raw else _space(images.values())
    return Derivative(bids.Names(output, case_id, space), model, raw)


def records(output: Path) -> list[Path]:
    """The records that ``detect`` may have left in the folder ``output``, by their names; sorted."""
    flat = [path for path in output.glob("*/*_record.json") if path.name == f"{path.parent.name}_record.json"]
    deep = [path for depth in ("sub-*", "sub-*/ses-*") for path in output.glob(f"{depth}/sub-*_desc-*_record.json")]
    return sorted(flat) + sorted(deep)


def is_file(output: Path) -> bool:
    """Whether the user named a mask file rather than a folder."""
    return output.name.lower().endswith((".nii", ".nii.gz"))


def _space(images: Iterable[Path]) -> str:
    """The entity ``space`` of prepared images, empty where their names have none."""
    found = (re.search(r"_space-([A-Za-z0-9]+)_", path.name) for path in images)
    return next((match[1] for match in found if match), "")
