"""Writing what ``detect`` leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
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
from braincli.imaging.volume import Volume, view_along
from braincli.layout.found import FoundNames
from braincli.model.info import ModelInfo
from braincli.preprocessing.result import Preprocessed
from braincli.reporting import board, viewer
from braincli.reporting.figures import Shown, draw_case, thumbnail
from braincli.reporting.pages import inline
from braincli.reporting.planes import brain_box
from braincli.runtime import files
from braincli.runtime.device import available_threads
from braincli.runtime.provenance import RunRecord
from braincli.runtime.side_by_side import mapped, together
from braincli.runtime.transaction import Transaction

Bring = Callable[[Volume], Volume]
AT_ONCE = 4  # volumes that are written side by side: each takes twice its own memory


def as_it_is(image: Volume) -> Volume:
    """For the grid that it lies on already."""
    return image


def files_beside(record: Path, kinds: Mapping[str, str]) -> ResultFiles:
    """The files of a case, and the record that they lie beside."""
    return ResultFiles(record.parent.absolute(), {**kinds, "record": record.name})


@dataclass(frozen=True)
class _Piece:
    """A volume on the grid that was searched, by what it is, and the grids that it is written on.

    Attributes:
        path: where the user wants it, instead of beside the record.
    """

    kind: str
    make: Callable[[], Volume]
    grids: Mapping[str, Bring]
    path: Path | None = None


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

    @property
    def threads(self) -> int:
        """How many may work for this case."""
        return self.config.threads or available_threads()

    def volume(self, content: Volume, kind: str) -> Path:
        """Write one volume, on the grid that was searched."""
        (written,) = self._write([_Piece(kind, lambda: content, {"": as_it_is})])
        return written[""]

    def _write(self, pieces: Sequence[_Piece]) -> list[dict[str, Path]]:
        """Write volumes side by side and note them in the order of ``pieces``; the files of each by space."""
        paths = [
            {space: piece.path or self.names.volume(piece.kind, space) for space in piece.grids} for piece in pieces
        ]

        def save(piece: _Piece, places: Mapping[str, Path]) -> None:
            content = piece.make()
            for space, path in places.items():
                volume.save(piece.grids[space](content), path, overwrite=self.begun, inputs=self.inputs)

        given = [*zip(pieces, paths, strict=True)]
        mapped(lambda each: save(*each), given, min(self.threads, AT_ONCE))
        for piece, places in given:
            for space, path in places.items():
                about = None if self.told is None or piece.path else self.told.about(piece.kind, space)
                self._described(path, about)
                if piece.path is None:
                    self._keep(path, kind_in(piece.kind, space))
        return paths

    def _keep(self, path: Path, kind: str) -> Path:
        self.kinds[kind] = Path(os.path.relpath(path, self.names.record().parent)).as_posix()
        return path

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
        masks, *_ = self._write([*self._pieces(findings, grids)])
        return masks

    def _pieces(self, findings: Findings, grids: Mapping[str, Bring]) -> Iterator[_Piece]:
        """What was asked for, the mask first."""
        yield _Piece("mask", lambda: findings.mask, grids)
        if not self.names.single:
            yield _Piece("lesions", lambda: findings.labels, grids)
        if self.config.anomaly_map:
            yield _Piece("anomaly", lambda: findings.anomaly, grids)
        if (uncertainty := findings.uncertainty) is not None:
            if self.uncertain:
                yield _Piece("uncertainty", lambda: uncertainty, grids)
            if self.config.uncertainty is not None:
                last = dict([[*grids.items()][-1]])
                yield _Piece("uncertainty", lambda: uncertainty, last, self.config.uncertainty)
        for contrast in findings.images:
            own = {space: grids[space] for space in _showing(contrast, grids)}
            if self.config.restored:
                yield _Piece(f"restored-{contrast}", partial(findings.restored_like_input, contrast), own)
            if self.config.residual:
                yield _Piece(f"residual-{contrast}", partial(findings.residual, contrast), own)

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
        shown = self._shown(findings, info, reference)
        work: list[Callable[[], Any]] = [partial(draw_case, shown)]
        if self.config.report:
            place = findings.lesions[0].centroid_mm if findings.lesions else None
            work.append(partial(viewer.content, shown, place, max(1, self.threads - 1)))
        drawn, *content = together(work, self.threads)

        def page(path: Path) -> None:
            of_quality = inline(ready.picture) if ready and ready.picture else ""
            picture = inline(drawn.copy())  # a picture that is saved twice at a time mixes both formats' options
            text = case_page(findings, picture, content[0], self.record, info, ready, of_quality)
            files.write_text(path, text)

        writing: dict[str, tuple[Path, Callable[[Path], None]]] = {}
        if self.config.figure:
            writing["figure"] = self.names.picture(), partial(board.save, drawn)
        if self.config.report:
            writing["report"] = self.names.report(), page
            writing["thumbnail"] = self.names.thumbnail(), lambda path: board.save(thumbnail(shown), path)
        together([partial(write, path) for path, write in writing.values()], self.threads)
        for kind, (path, _) in writing.items():
            self._add(path, kind)

    def _shown(self, findings: Findings, info: ModelInfo, reference: Volume | None) -> Shown:
        """What pictures are made of, cut to what holds the brain and the reference: the rest is background."""
        brain = view_along(findings.brain)
        marked = brain.data if reference is None else brain.data | view_along(reference).data
        around = brain_box(marked, brain.spacing)
        box = tuple(slice(part.start - part.start % 2, part.stop) for part in around)  # windows look at every second

        def cut(image: Volume) -> Volume:
            return view_along(image).cut(box)

        there = [*findings.images] if findings.has_restoration else []
        restored = mapped(lambda contrast: findings.restored_in(contrast, box), there, self.threads)
        return Shown(
            {c: cut(image) for c, image in findings.images.items()}, cut(findings.mask), brain.data[box],
            {c: image for c, image in zip(there, restored, strict=True) if image.data.any()},
            cut(findings.anomaly), findings.threshold, cut(findings.labels),
            None if reference is None else cut(reference), f"{legible(self.record.case)}  (model {info.name})",
        )  # fmt: skip

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
        self._write([_Piece("anomaly", partial(as_it_is, anomaly), {s: as_it_is}) for s, anomaly in anomalies.items()])
        self.transaction.finish(error)


def _showing(contrast: Contrast, spaces: Iterable[str]) -> Iterator[str]:
    """The grids that a contrast lies on: the one that was searched, and its own."""
    return (space for space in spaces if space not in CONTRASTS or space == contrast)
