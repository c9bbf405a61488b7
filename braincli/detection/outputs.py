"""Names and writing of what ``detect`` leaves behind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from braincli.config import DetectConfig
from braincli.detection.find import Findings
from braincli.detection.lesions import table_json, table_tsv
from braincli.detection.page import case_page
from braincli.errors import BraincliError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast, stem
from braincli.imaging.names import legible
from braincli.imaging.results import ResultFiles, kind_in
from braincli.imaging.volume import Volume
from braincli.model.info import ModelInfo
from braincli.preprocessing.result import Preprocessed
from braincli.reporting import board
from braincli.reporting.figures import Shown, draw_case, thumbnail
from braincli.reporting.pages import inline
from braincli.runtime import files
from braincli.runtime.locks import locked
from braincli.runtime.provenance import RunRecord
from braincli.runtime.transaction import Transaction

ATLAS_SPACE = "SRI24"


@dataclass(frozen=True)
class Names:
    """Where the outputs of one case go: a folder of its own, or beside one mask file that the user named.

    Attributes:
        target: ``OUT/<case>/<case>`` (a prefix) or the mask file.
        single: ``target`` is the mask file.
    """

    target: Path
    single: bool

    @classmethod
    def of(cls, case_id: str, output: Path) -> Names:
        """Names for ``case_id`` below the folder ``output``, or of the file ``output`` (.nii, .nii.gz)."""
        if is_file(output):
            return cls(output, True)
        safe = re.sub(r"[^\w.\-]+", "_", case_id).lstrip(".") or "case"
        return cls(output / safe / safe, False)

    def volume(self, kind: str, space: str = "") -> Path:
        """A volume: ``mask``, ``anomaly``, ``restored-flair`` ...; ``space`` for raw cases."""
        if self.single:
            if kind == "mask":
                return self.target
            return self.target.with_name(f"{stem(self.target)}_{kind}{self.target.name[len(stem(self.target)) :]}")
        entity = f"_space-{space}" if space else ""
        return self.target.with_name(f"{self.target.name}{entity}_{kind}.nii.gz")

    def segmentation(self, space: str) -> Path:
        """The DICOM SEG of the mask in ``space``."""
        entity = f"_space-{space}" if space else ""
        return self.target.with_name(f"{stem(self.target) if self.single else self.target.name}{entity}_seg.dcm")

    def space(self, mask: str) -> str | None:
        """The space of a mask by its base name, ``""`` for the input's own grid; None where it is no mask."""
        if self.single:
            return "" if mask == self.target.name else None
        match = re.fullmatch(rf"{re.escape(self.target.name)}(?:_space-(.+))?_mask\.nii\.gz", mask)
        return (match[1] or "") if match else None

    def locked(self) -> AbstractContextManager[None]:
        """Keep others from writing there: to the case's folder, or to the mask file."""
        folder = self.target.parent
        if self.single:
            return locked(folder, self.target.name, name=f".{self.target.name}.lock")
        return locked(folder, f"{folder.parent.name}/{folder.name}")

    def record(self) -> Path:
        """The run record, written last."""
        if self.single:
            return self.target.with_name(f"{stem(self.target)}.json")
        return self.target.with_name(f"{self.target.name}_record.json")

    def table(self, suffix: str) -> Path:
        """The lesion table, ``.json`` or ``.tsv``."""
        return self.target.with_name(f"{self.target.name}_lesions{suffix}")

    def picture(self) -> Path:
        """The picture."""
        return self.target.with_name(f"{self.target.name}_figure.png")

    def report(self) -> Path:
        """The page."""
        return self.target.with_name(f"{self.target.name}_report.html")

    def thumbnail(self) -> Path:
        """The small picture of the cohort's page."""
        return self.target.with_name(f"{self.target.name}_thumbnail.jpg")


def files_beside(record: Path, kinds: Mapping[str, str]) -> ResultFiles:
    """The files of a case, and the record that they lie beside."""
    return ResultFiles(record.parent.absolute(), {**kinds, "record": record.name})


def is_file(output: Path) -> bool:
    """Whether the user named a mask file rather than a folder."""
    return output.name.lower().endswith((".nii", ".nii.gz"))


@dataclass
class Writer:
    """Writes the outputs of one case and notes them in the record; the transaction guards what they replace.

    Attributes:
        inputs: never overwritten, whatever the options say.
        contrasts: of the case.
        raw: the case is preprocessed, and has outputs on several grids.
        begun: what is in the way may be replaced.
        kinds: name beside the record, of what was written, by what it is.
    """

    names: Names
    config: DetectConfig
    record: RunRecord
    inputs: list[Path] = field(default_factory=list)
    contrasts: tuple[Contrast, ...] = ()
    raw: bool = False
    begun: bool = False
    kinds: dict[str, str] = field(default_factory=dict)

    @cached_property
    def transaction(self) -> Transaction:
        """All outputs, and whether they may be written."""
        named = self.config.uncertainty
        return Transaction(
            self.names.record(), self.record, list(self._planned()), self.inputs,
            elsewhere={} if named is None else {"uncertainty": named},
            overwrite=self.config.overwrite, resume=self.config.resume, readable=volume.is_readable,
        )  # fmt: skip

    def _planned(self) -> Iterator[Path]:
        """Every file that will be written, without the record and what the user named."""
        space = ATLAS_SPACE if self.raw and not self.names.single else ""
        yield self.names.volume("mask", space)
        if self.config.anomaly_map:
            yield self.names.volume("anomaly", space)
        if self.uncertain:
            yield self.names.volume("uncertainty", space)
        for contrast in self.contrasts:
            if self.config.restored:
                yield self.names.volume(f"restored-{contrast}", space)
                if space:
                    yield self.names.volume(str(contrast), space)
            if self.config.residual:
                yield self.names.volume(f"residual-{contrast}", space)
            if space:
                yield self.names.volume("mask", contrast)
                if self.config.dicom_seg:
                    yield self.names.segmentation(contrast)
                if self.config.anomaly_map:
                    yield self.names.volume("anomaly", contrast)
                if self.uncertain:
                    yield self.names.volume("uncertainty", contrast)
        if self.config.dicom_seg and self.names.single:
            yield self.names.segmentation("")
        if not self.names.single:
            yield from (self.names.volume("lesions", each) for each in ([space, *self.contrasts] if space else [""]))
            yield from (self.names.table(".json"), self.names.table(".tsv"))
            if self.config.figure:
                yield self.names.picture()
            if self.config.report:
                yield from (self.names.report(), self.names.thumbnail())

    def begin(self) -> None:
        """From here on the outputs are not complete, and may be replaced.

        Raises:
            UsageError, InputError, ResourceError: see :meth:`braincli.runtime.transaction.Transaction.refuse`.
        """
        self.transaction.begin()
        self.begun = True

    def volume(self, content: Volume, kind: str, space: str = "") -> Path:
        """Write one volume."""
        path = self._save(content, self.names.volume(kind, space))
        return self._keep(path, kind_in(kind, space))

    def _keep(self, path: Path, kind: str) -> Path:
        self.kinds[kind] = Path(os.path.relpath(path, self.names.record().parent)).as_posix()
        return path

    def _save(self, content: Volume, path: Path) -> Path:
        volume.save(content, path, overwrite=self.begun, inputs=self.inputs)
        return self.transaction.add(path)

    @property
    def uncertain(self) -> bool:
        """Whether uncertainty goes to the case's folder: there are samples, and no file was named."""
        return self.config.samples > 1 and self.config.uncertainty is None and not self.names.single

    def uncertainty(self, content: Volume | None, space: str = "") -> None:
        """Write the uncertainty to where it was asked for; a file that the user named lies anywhere."""
        path = self.config.uncertainty
        if content is not None and self.uncertain:
            self.volume(content, "uncertainty", space)
        elif content is not None and path is not None and space != ATLAS_SPACE:
            self._save(content, path)

    def maps(self, findings: Findings, space: str = "") -> None:
        """The volumes that were asked for, on the grid that was searched."""
        if self.config.anomaly_map:
            self.volume(findings.anomaly, "anomaly", space)
        self.uncertainty(findings.uncertainty, space)
        for contrast, image in findings.images.items():
            if self.config.restored:
                self.volume(findings.restored_like_input(contrast), f"restored-{contrast}", space)
                if space:
                    self.volume(image, str(contrast), space)
            if self.config.residual:
                self.volume(findings.residual(contrast), f"residual-{contrast}", space)

    def segmentation(self, mask: Volume, case: Case, contrast: Contrast, space: str) -> None:
        """The DICOM SEG of ``mask``, on the grid of the series of ``contrast``, where it was asked for."""
        if not self.config.dicom_seg or case.study is None:
            return
        from braincli.imaging.dicom.segmentation import write_segmentation

        path, model = self.names.segmentation(space), str(self.record.config["model"])
        write_segmentation(
            mask, case.study.series[contrast], path, model=model, weights=self.record.weights, study=case.id
        )  # fmt: skip
        self.transaction.add(path)

    def lesions(self, labels: Volume, space: str = "") -> None:
        """The labelled image, in folders only."""
        if not self.names.single:
            self.volume(labels, "lesions", space)

    def summary(
        self, findings: Findings, info: ModelInfo, reference: Volume | None = None, ready: Preprocessed | None = None
    ) -> None:
        """Lesion table, picture and page, in folders only: beside a single mask the record holds the table.

        Args:
            ready: what preprocessing left, of a raw case.
        """
        content = table_json(findings.lesions)
        self.record.facts["lesions"] = content
        if self.names.single:
            return
        files.write_text(self.names.table(".tsv"), table_tsv(findings.lesions))
        files.write_json(self.names.table(".json"), {"case": self.record.case, **content})
        for suffix in (".json", ".tsv"):
            self._add(self.names.table(suffix), f"lesions{suffix}")
        if self.config.figure or self.config.report:
            self._pictures(findings, info, reference, ready)

    def _pictures(
        self, findings: Findings, info: ModelInfo, reference: Volume | None, ready: Preprocessed | None
    ) -> None:
        """What is looked at: drawn once, for the picture and for the page."""
        restored = {c: findings.restored(c) for c in findings.images if findings.has_restoration}
        shown = Shown(
            findings.images, findings.mask, findings.brain.data, {c: v for c, v in restored.items() if v.data.any()},
            findings.anomaly, findings.threshold, findings.labels, reference,
            f"{legible(self.record.case)}  (model {info.name})",
        )  # fmt: skip
        drawn = draw_case(shown)
        if self.config.figure:
            board.save(drawn, self.names.picture())
            self._add(self.names.picture(), "figure")
        if self.config.report:
            of_quality = inline(ready.picture) if ready and ready.picture else ""
            page = case_page(findings, shown, inline(drawn), self.record, info, ready, of_quality)
            files.write_text(self.names.report(), page)
            board.save(thumbnail(shown), self.names.thumbnail())
            self._add(self.names.report(), "report")
            self._add(self.names.thumbnail(), "thumbnail")

    def _add(self, path: Path, kind: str) -> None:
        self.transaction.add(path)
        self._keep(path, kind)

    def finish(self) -> Path:
        """Write the record, with what each file is: the case is complete."""
        self.record.facts["files"] = self.kinds
        return self.transaction.finish()

    def files(self) -> ResultFiles:
        """What was written."""
        return files_beside(self.names.record(), self.kinds)

    def give_up(self, anomalies: Mapping[str, Volume], error: BraincliError) -> None:
        """Write the anomaly maps (by space) alone, and a record that says why there is no mask.

        Raises:
            UsageError: a map is in the way.
        """
        self.transaction.planned = [self.names.volume("anomaly", space) for space in anomalies]
        self.transaction.elsewhere = {}
        self.begin()
        for space, anomaly in anomalies.items():
            self.volume(anomaly, "anomaly", space)
        self.transaction.finish(error)
