"""Writing what ``detect`` leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from braincli.config import DetectConfig
from braincli.detection.find import Findings
from braincli.detection.lesions import table_json, table_tsv
from braincli.detection.page import case_page
from braincli.detection.told import Told
from braincli.errors import BraincliError
from braincli.imaging import volume
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.imaging.names import legible
from braincli.imaging.results import ResultFiles, kind_in
from braincli.imaging.volume import Volume
from braincli.layout.found import FoundNames
from braincli.model.info import ModelInfo
from braincli.preprocessing.result import Preprocessed
from braincli.reporting import board
from braincli.reporting.figures import Shown, draw_case, thumbnail
from braincli.reporting.pages import inline
from braincli.runtime import files
from braincli.runtime.provenance import RunRecord
from braincli.runtime.side_by_side import mapped
from braincli.runtime.transaction import Transaction


def files_beside(record: Path, kinds: Mapping[str, str]) -> ResultFiles:
    """The files of a case, and the record that they lie beside."""
    return ResultFiles(record.parent.absolute(), {**kinds, "record": record.name})


Bring = Callable[[Volume], Volume]


@dataclass
class Writer:
    """Writes the outputs of one case and notes them in the record; the transaction guards what they replace.

    Attributes:
        inputs: never overwritten, whatever the options say.
        contrasts: of the case.
        raw: the case is preprocessed, and has outputs on several grids.
        told: what JSON files beside the volumes say, where the names have such files.
        begun: what is in the way may be replaced.
        kinds: name beside the record, of what was written, by what it is.
    """

    names: FoundNames
    config: DetectConfig
    record: RunRecord
    inputs: list[Path] = field(default_factory=list)
    contrasts: tuple[Contrast, ...] = ()
    raw: bool = False
    told: Told | None = None
    begun: bool = False
    kinds: dict[str, str] = field(default_factory=dict)

    @cached_property
    def transaction(self) -> Transaction:
        """All outputs, and whether they may be written."""
        named = self.config.uncertainty
        return Transaction(
            self.names.record(), self.record, [*dict.fromkeys(self._planned())], self.inputs,
            elsewhere={} if named is None else {"uncertainty": named},
            overwrite=self.config.overwrite, resume=self.config.resume, readable=volume.is_readable,
        )  # fmt: skip

    def _planned(self) -> Iterator[Path]:
        """Every file that will be written, without the record and what the user named.

        Numbered lesions on a grid without a name and their table share a JSON file, which then comes twice.
        """
        tables = [] if self.names.single else [path for path in self.names.tables() if path is not None]
        for path in (*self._volumes(), *tables):
            yield path
            if (beside := self.names.sidecar(path)) is not None:
                yield beside
        if self.config.dicom_seg:
            yield from map(self.names.segmentation, [""] if self.names.single else self.contrasts)
        if not self.names.single:
            if self.config.figure:
                yield self.names.picture()
            if self.config.report:
                yield from (self.names.report(), self.names.thumbnail())

    def _volumes(self) -> Iterator[Path]:
        names, grids = self.names, self._spaces()
        options = {"anomaly": self.config.anomaly_map, "uncertainty": self.uncertain, "lesions": not names.single}
        for kind in ("mask", *(kind for kind, wanted in options.items() if wanted)):
            yield from (names.volume(kind, space) for space in grids)
        for kind, wanted in (("restored", self.config.restored), ("residual", self.config.residual)):
            for contrast in self.contrasts if wanted else ():
                yield from (names.volume(f"{kind}-{contrast}", space) for space in _showing(contrast, grids))

    def _spaces(self) -> list[str]:
        """The grid that is searched and, of a raw case, those of its scans."""
        native = map(str, self.contrasts) if self.raw and not self.names.single else ()
        return [self.names.searched, *native]

    def begin(self) -> None:
        """From here on the outputs are not complete, and may be replaced.

        Raises:
            UsageError, InputError, ResourceError: see :meth:`braincli.runtime.transaction.Transaction.refuse`.
        """
        self.transaction.begin()
        self.begun = True

    def volume(self, content: Volume, kind: str, space: str = "") -> Path:
        """Write one volume."""
        about = None if self.told is None else self.told.about(kind, space)
        path = self._save(content, self.names.volume(kind, space), about)
        return self._keep(path, kind_in(kind, space))

    def _keep(self, path: Path, kind: str) -> Path:
        self.kinds[kind] = Path(os.path.relpath(path, self.names.record().parent)).as_posix()
        return path

    def _save(self, content: Volume, path: Path, about: dict[str, Any] | None = None) -> Path:
        volume.save(content, path, overwrite=self.begun, inputs=self.inputs)
        return self._described(path, about)

    def _described(self, path: Path, about: dict[str, Any] | None) -> Path:
        """Note a written file, with a JSON file beside it where the names have one."""
        self.transaction.add(path)
        if about is not None and (beside := self.names.sidecar(path)) is not None:
            files.write_json(beside, about)
            self.transaction.add(beside)
        return path

    @property
    def uncertain(self) -> bool:
        """Whether uncertainty goes to the case's folder: there are samples, and no file was named."""
        return self.config.samples > 1 and self.config.uncertainty is None and not self.names.single

    def volumes(self, findings: Findings, grids: Mapping[str, Bring]) -> dict[str, Path]:
        """All volumes that were asked for, on every grid; the paths of the masks by space.

        Args:
            grids: by space, what brings there a volume that lies on the grid that was searched; a file for the
                uncertainty that the user named lies on the last.
        """
        masks = {}
        for space, bring in grids.items():
            masks[space] = self.volume(bring(findings.mask), "mask", space)
            if not self.names.single:
                self.volume(bring(findings.labels), "lesions", space)
            if self.config.anomaly_map:
                self.volume(bring(findings.anomaly), "anomaly", space)
            if self.uncertain and findings.uncertainty is not None:
                self.volume(bring(findings.uncertainty), "uncertainty", space)
        if self.config.uncertainty is not None and findings.uncertainty is not None:
            self._save(bring(findings.uncertainty), self.config.uncertainty)
        for contrast in findings.images:
            for kind, content in self._of_contrast(findings, contrast):
                for space in _showing(contrast, grids):
                    self.volume(grids[space](content), f"{kind}-{contrast}", space)
        return masks

    def _of_contrast(self, findings: Findings, contrast: Contrast) -> Iterator[tuple[str, Volume]]:
        if self.config.restored:
            yield "restored", findings.restored_like_input(contrast)
        if self.config.residual:
            yield "residual", findings.residual(contrast)

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
        as_tsv, as_json = self.names.tables()
        files.write_text(as_tsv, table_tsv(findings.lesions, indexed=as_json is None))
        self._keep(self._described(as_tsv, None if self.told is None else self.told.table()), "lesions.tsv")
        if as_json is not None:
            files.write_json(as_json, {"case": self.record.case, **content})
            self._add(as_json, "lesions.json")
        if self.config.figure or self.config.report:
            self._pictures(findings, info, reference, ready)

    def _pictures(
        self, findings: Findings, info: ModelInfo, reference: Volume | None, ready: Preprocessed | None
    ) -> None:
        """What is looked at: drawn once, for the picture and for the page."""
        there = [*findings.images] if findings.has_restoration else []
        restored = dict(zip(there, mapped(findings.restored, there, self.config.threads), strict=True))
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
            page = case_page(findings, shown, inline(drawn), self.record, info, ready, of_quality, self.config.threads)
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
        maps = [self.names.volume("anomaly", space) for space in anomalies]
        beside = [self.names.sidecar(path) for path in maps] if self.told is not None else []
        self.transaction.planned = [*maps, *(path for path in beside if path is not None)]
        self.transaction.elsewhere = {}
        self.begin()
        for space, anomaly in anomalies.items():
            self.volume(anomaly, "anomaly", space)
        self.transaction.finish(error)


def _showing(contrast: Contrast, spaces: Iterable[str]) -> Iterator[str]:
    """The grids that a contrast lies on: the one that was searched, and its own."""
    return (space for space in spaces if space not in CONTRASTS or space == contrast)
