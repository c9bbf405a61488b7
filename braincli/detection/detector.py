"""One case: read or preprocess it, find lesions, write what was asked for, skip what is done."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli.config import DetectConfig, PreprocessConfig
from braincli.detection.find import Findings, search
from braincli.detection.lesions import Space, sphere_mm
from braincli.detection.outputs import Bring, Writer, as_it_is, files_beside
from braincli.detection.report import CaseResult
from braincli.detection.stripped import judge_skull, refuse_dicom, refuse_skull
from braincli.detection.told import Told
from braincli.errors import InputError, QualityError, UsageError
from braincli.imaging import volume as volumes
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.imaging.dicom.opening import converted, identified, opened
from braincli.imaging.reading import load_images
from braincli.imaging.volume import Volume
from braincli.layout.dataset import open_dataset
from braincli.layout.found import Derivative, FoundNames, names_of
from braincli.model.folder import LoadedModel, load_model, read_info
from braincli.model.info import ModelInfo
from braincli.model.search import locate
from braincli.model.seen import met
from braincli.runtime import device, files
from braincli.runtime.overlap import Steps, drained
from braincli.runtime.progress import Reporter, Step
from braincli.runtime.provenance import RunRecord

if TYPE_CHECKING:
    from braincli.preprocessing.result import Preprocessed

TOO_MUCH = 0.5  # share of the brain above which a mask is no finding


@dataclass
class Detector:
    """A model with options, ready for any number of cases. The weights are read when the first case needs them.

    Attributes:
        loaded: the model with its weights, where they are in memory already.
        told: what was said once and holds for every case.
    """

    config: DetectConfig
    reporter: Reporter
    loaded: LoadedModel | None = None
    told: set[str] = field(default_factory=set)

    def __getstate__(self) -> dict[str, Any]:
        """Without the weights: other processes read them from the model's folder."""
        return {name: value for name, value in self.__dict__.items() if name != "model"} | {"loaded": None}

    @cached_property
    def folder(self) -> Path:
        """The model's folder."""
        return locate(self.config.model) if self.loaded is None else self.loaded.folder

    @cached_property
    def info(self) -> ModelInfo:
        """The model's description."""
        return read_info(self.folder)

    @cached_property
    def model(self) -> LoadedModel:
        """The model on its device."""
        if self.loaded is not None:
            return self.loaded.current()
        return load_model(str(self.folder), device.prepare(self.config.device, self.config.threads))

    def new_record(self, case: Case) -> RunRecord:
        """The record of ``case`` with what identifies the run.

        Raises:
            InputError: a file is missing.
        """
        roles = {str(contrast): path for contrast, path in case.images.items()}
        if case.brain is not None:
            roles["brain"] = case.brain
        if case.lesion is not None and (self.config.figure or self.config.report):
            roles["lesion"] = case.lesion
        inputs = identified(case, roles)
        options = self.config.model_dump(mode="json", exclude={"model", "uncertainty"})
        if case.volumes:
            options["volumes"] = {str(contrast): number for contrast, number in case.volumes.items()}
        known = met(self.info, case.id, [facts["sha256"] for role, facts in inputs.items() if role in case.images])
        return RunRecord(
            "detect", case.id, {"model": self.info.name, **options}, inputs,
            weights=files.sha256(self.folder / "model.json"), warnings=[*filter(None, (known, self.info.unfinished))],
            facts={} if case.study is None else {"dicom": case.study.labels},
        )  # fmt: skip

    def names(self, case: Case, output: Path) -> FoundNames:
        """Where the results of ``case`` go."""
        return names_of(case.id, case.images, output, self.info.name, raw=self.config.preprocess)

    def writer(self, case: Case, names: FoundNames) -> Writer:
        """What writes the results of ``case``."""
        inputs = [*case.images.values(), *(path for path in (case.brain, case.lesion) if path)]
        return Writer(names, self.config, self.new_record(case), inputs, tuple(case.images), self.config.preprocess)

    def run(self, case: Case, output: Path) -> CaseResult:
        """:meth:`steps` in one go."""
        return drained(self.steps(case, output))

    def steps(self, case: Case, output: Path) -> Steps[CaseResult]:
        """Detect one case, or skip it where ``resume`` finds it complete; in parts that end around the network.

        Raises:
            UsageError: an output exists, or another process writes there.
            QualityError: more than half of the brain would be marked; the anomaly map is written, a mask is not.
            BraincliError: any other of its kinds; no done-record is left then.
        """
        begin = time.perf_counter()
        names = self.names(case, output)
        refuse_dicom(case, self.config)
        with names.locked(), opened(case, self.config.series, self.config.run, self.reporter) as case:
            writer = self.writer(case, names)
            if self.config.resume and writer.transaction.is_done():
                return _skipped(case, names)
            writer.transaction.refuse()
            converted(case, self.reporter)
            try:
                masks, findings = yield from (self._raw if self.config.preprocess else self._prepared)(case, writer)
            finally:
                for text in writer.record.warnings:
                    self.reporter.warn(f"{case.id}: {text}")
        return CaseResult(
            case.id, "done", {space: path.name for space, path in masks.items()}, len(findings.lesions),
            round(findings.volume_ml, 3), round(time.perf_counter() - begin, 2), list(writer.record.warnings),
            files=writer.files(),
        )  # fmt: skip

    def _prepared(self, case: Case, writer: Writer) -> Steps[tuple[dict[str, Path], Findings]]:
        """A case that is skull-stripped and on one grid."""
        images, mask = self._read(case, writer.record)
        space_of = _space_of(next(iter(images.values())))
        findings = yield from self._find(case.id, images, mask, writer, space_of)
        writer.told = _told(writer, case)
        self._refuse_too_much(findings, writer, {"": as_it_is})
        writer.begin()
        with writer.record.timed("write"):
            masks = writer.volumes(findings, {"": as_it_is})
            writer.summary(findings, self.info, reference_of(case, findings.mask))
        writer.finish()
        return masks, findings

    def _read(self, case: Case, record: RunRecord) -> tuple[dict[Contrast, Volume], Volume | None]:
        """Images and brain mask of a prepared case, as the user has it."""
        config = self.config
        with record.timed("read"):
            images = load_images(case, volume=config.volume, prefer=config.prefer, threads=config.threads)
            mask = volumes.load(case.brain, labels=True, prefer=config.prefer) if case.brain else None
        record.warnings += volumes.warned(*images.values(), *([mask] if mask else []))
        record.facts["skull"] = refuse_skull(images, config, masked=mask is not None)
        return images, mask

    def _raw(self, case: Case, writer: Writer) -> Steps[tuple[dict[str, Path], Findings]]:
        """A case as it left the scanner: preprocess, detect in SRI24, take the masks back to every native grid."""
        self._refuse_one_file(case, writer.names)
        record, names = writer.record, writer.names
        with ExitStack() as kept:
            if isinstance(names, Derivative):
                folder = names.names.out
            else:
                folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="braincli-")))
            ready = self._preprocess(case, folder, record)
            prepared = ready.prepared()
            with record.timed("read"):
                images = load_images(prepared, threads=self.config.threads)
                mask = volumes.load(prepared.brain, labels=True) if prepared.brain else None
            space_of = Space(ready.transforms[ready.reference], is_atlas=True)
            findings = yield from self._find(case.id, images, mask, writer, space_of)
            grids = _grids(ready, names)
            writer.told = _told(writer, prepared, case)
            self._refuse_too_much(findings, writer, grids)
            writer.begin()
            with record.timed("write"):
                masks = writer.volumes(findings, grids)
                for contrast in case.images if self.config.dicom_seg else ():
                    space = "" if names.single else str(contrast)
                    writer.segmentation(grids[space](findings.mask), case, contrast, space)
                writer.summary(findings, self.info, reference_of(prepared, findings.mask), ready)
        writer.finish()
        return masks, findings

    def _refuse_one_file(self, case: Case, names: FoundNames) -> None:
        if names.single and len(case.images) > 1:
            raise UsageError(
                "Several raw scans lie on several grids; one mask file cannot serve them all.",
                "Name a folder: -o OUT/.",
            )
        if self.config.uncertainty is not None and len(case.images) > 1:
            raise UsageError(
                "Several raw scans lie on several grids; one uncertainty file cannot serve them all.",
                "Leave out --uncertainty: a folder (-o OUT/) gets one per grid.",
            )

    def _preprocess(self, case: Case, folder: Path, record: RunRecord) -> Preprocessed:
        """The case on the atlas' grid; what the chain warns of goes to ``record``, and is said with the rest."""
        from braincli.preprocessing.chain import preprocess_case

        config = self.config
        scans = load_images(case, volume=config.volume, prefer=config.prefer)
        record.facts["skull"] = judge_skull(scans, config, masked=case.brain is not None)
        options = PreprocessConfig(
            already_stripped=config.already_stripped, assume_skull=config.assume_skull,
            volume=config.volume, prefer=config.prefer,
            seed=config.seed, threads=config.threads, device=config.device, precision=config.precision,
            resume=True, overwrite=config.overwrite,  # what is there of the same inputs and options is taken as it is
        )  # fmt: skip
        with record.timed("preprocess"):
            ready = preprocess_case(case, folder, options, _StepsOnly(self.reporter))
        record.warnings += ready.warnings
        record.facts["preprocess"] = {"reference": str(ready.reference), "qc": ready.qc}
        return ready

    def _find(
        self, case_id: str, images: dict[Contrast, Volume], mask: Volume | None, writer: Writer, space: Space
    ) -> Steps[Findings]:
        record = writer.record
        with record.timed("load model"):
            model = self.model
        parts = search(
            case_id, images, model, self.config, brain=mask, space=space, reporter=self.reporter, timed=record.timed
        )
        next(parts)  # the slices
        yield
        device.prepare(self.config.device, self.config.threads)  # each thread has its own number of torch's threads
        findings = yield from parts
        record.warnings += findings.warnings
        record.facts |= {
            "model": {"name": self.info.name, "method": self.info.method, "preset": self.info.preset},
            "map": "score" if findings.restoration.score is not None else f"{self.info.map.residual} residual",
            "contrasts": [str(contrast) for contrast in findings.images],
            "missing": [str(contrast) for contrast in CONTRASTS if contrast not in images],
            "not looked at": [str(contrast) for contrast in images if contrast not in findings.images],
            "weights": {str(contrast): round(weight, 4) for contrast, weight in findings.weights.items()},
            "threshold": findings.threshold,
            "min_lesion_mm3": findings.min_lesion_mm3,
            "brain_ml": round(np.count_nonzero(findings.brain.data) * findings.brain.voxel_ml, 1),
            "mask_ml": round(findings.volume_ml, 3),
            "samples": self.config.samples,
            "device": findings.device,
            "units": "residual: share of the 1st..99th percentile range; restored: units of the input",
        }
        record.facts |= findings.restoration.slice_classes
        self._tell_smallest(findings.min_lesion_mm3, record)
        return findings

    def _tell_smallest(self, mm3: float, record: RunRecord) -> None:
        """Say once, and in every record, what the calibration cannot report."""
        if self.config.min_lesion_mm3 is not None or mm3 == 0:
            return
        text = (
            f"Regions under {mm3:g} mm3 (a sphere of {sphere_mm(mm3):.0f} mm) are not reported: "
            "the smallest lesion that the calibration allows (--min-lesion-mm3)."
        )
        record.facts["smallest_lesion"] = text
        if text not in self.told:
            self.told.add(text)
            self.reporter.say(text)

    def _refuse_too_much(self, findings: Findings, writer: Writer, grids: Mapping[str, Bring]) -> None:
        """Hand over the anomaly maps, and no mask, where the mask covers more than half of the brain.

        Raises:
            QualityError: it does.
        """
        if findings.share <= TOO_MUCH:
            return
        error = QualityError(
            f"{writer.record.case}: {findings.share:.0%} of the brain would be marked; that is no finding, "
            "and no mask was written.",
            "The anomaly map was: look at it, at the contrasts and at the preparation of the scan.",
        )
        writer.give_up({space: bring(findings.anomaly) for space, bring in grids.items()}, error)
        raise error


@dataclass
class _StepsOnly(Reporter):
    """Shows how far the work is and says nothing else."""

    reporter: Reporter

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        with self.reporter.step(name, total) as step:
            yield step


def _space_of(image: Volume) -> Space:
    """Where a prepared case lies: in SRI24, or where it was scanned."""
    from braincli.preprocessing.atlas import lies_on_grid

    return Space(is_atlas=True) if lies_on_grid(image) else Space(to_native=np.eye(4))


def _grids(ready: Preprocessed, names: FoundNames) -> dict[str, Bring]:
    """What brings a volume to each grid of a raw case's outputs: of a single mask to that of the only scan."""
    native = {str(contrast): partial(ready.to_native, contrast=contrast) for contrast in ready.grids}
    return {"": next(iter(native.values()))} if names.single else {names.searched: as_it_is, **native}


def _told(writer: Writer, searched: Case, raw: Case | None = None) -> Told | None:
    """What JSON files beside the volumes of a BIDS data set say; None where there are no such files.

    Raises:
        UsageError: it is a data set of raw scans.
    """
    names = writer.names
    if not isinstance(names, Derivative):
        return None
    dataset = open_dataset(names.names.out, writer.inputs)
    return Told(dataset, names, searched, raw.images if raw else {})


def _skipped(case: Case, names: FoundNames) -> CaseResult:
    content = json.loads(names.record().read_text(encoding="utf-8"))
    lesions = content["facts"]["lesions"]
    spaces = {(base := PurePosixPath(name).name): names.space(base) for name in content["outputs"]}
    return CaseResult(
        case.id, "skipped", {space: name for name, space in spaces.items() if space is not None}, lesions["count"],
        lesions["volume_ml"], warnings=content["warnings"],
        files=files_beside(names.record(), content["facts"].get("files", {})),
    )  # fmt: skip


def reference_of(case: Case, grid: Volume) -> Volume | None:
    """The known lesion of ``case`` on ``grid``, for the picture; None where there is none that fits."""
    if case.lesion is None:
        return None
    try:
        mask, _ = volumes.mask_on_grid_of(volumes.load(case.lesion, labels=True), grid)
    except InputError:
        return None
    return grid.with_data(mask.data > 0)
