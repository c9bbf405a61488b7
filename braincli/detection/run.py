"""Cases in, masks out: one case or a cohort, prepared or raw, with resume."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from braincli.config import DetectConfig, PreprocessConfig
from braincli.detection.find import Findings, find_lesions, refuse_samples
from braincli.detection.outputs import ATLAS_SPACE, Names, Writer, is_file
from braincli.detection.stripped import judge_skull, refuse_skull
from braincli.errors import InputError, UsageError
from braincli.imaging import volume
from braincli.imaging.case import left_aside
from braincli.imaging.cases import CONTRASTS, Case, Contrast, gather_cases, read_name, stem
from braincli.imaging.reading import load_images
from braincli.imaging.volume import Volume
from braincli.methods import registry
from braincli.model.folder import LoadedModel, load_model, read_info
from braincli.model.info import ModelInfo
from braincli.model.search import locate
from braincli.runtime import cohort, device, files, provenance
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import RunRecord


@dataclass(frozen=True)
class CaseResult:
    """What came of one case.

    Attributes:
        status: ``done``, ``skipped`` (complete already) or ``failed``.
        masks: base names of the masks by space (``""``: the input's own grid).
        lesions, volume_ml: of the mask; None where the case failed.
        error, exit_code: why it failed.
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


@dataclass(frozen=True)
class DetectReport:
    """What came of all cases, in order of id."""

    model: str
    cases: list[CaseResult]

    @property
    def failures(self) -> list[CaseResult]:
        """The cases that failed."""
        return [case for case in self.cases if case.status == "failed"]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return {"model": self.model, "cases": [asdict(case) for case in self.cases]}

    def table(self) -> str:
        """One line per case, for people."""
        width = max(len(case.case) for case in self.cases)
        lines = [f"{'case':{width}}  status   lesions  volume"]
        for case in self.cases:
            figures = case.error.partition("\n")[0]
            if case.status != "failed":
                figures = f"{case.lesions:7d}  {case.volume_ml:.1f} ml"
            lines.append(f"{case.case:{width}}  {case.status:7}  {figures}")
        return "\n".join(lines)


@dataclass
class Detector:
    """A model with options, ready for any number of cases. The weights are read when the first case needs them."""

    config: DetectConfig
    reporter: Reporter

    @cached_property
    def folder(self) -> Path:
        """The model's folder."""
        return locate(self.config.model)

    @cached_property
    def info(self) -> ModelInfo:
        """The model's description."""
        return read_info(self.folder)

    @cached_property
    def model(self) -> LoadedModel:
        """The model on its device."""
        return load_model(str(self.folder), device.prepare(self.config.device, self.config.threads))

    def new_record(self, case: Case) -> RunRecord:
        """The record of ``case`` with what identifies the run.

        Raises:
            InputError: a file is missing.
        """
        inputs = {}
        for path in [*case.images.values(), *([case.brain] if case.brain else [])]:
            if not path.is_file():
                raise InputError(f"{path.name}: no such file.", "Check the path.")
            inputs[path.name] = files.sha256(path)
        options = self.config.model_dump(mode="json", exclude={"model", "uncertainty"})
        return RunRecord(
            "detect", case.id, {"model": self.info.name, **options}, inputs,
            weights=files.sha256(self.folder / "model.json"),
        )  # fmt: skip

    def writer(self, case: Case, output: Path) -> Writer:
        """Where the results of ``case`` go."""
        inputs = [*case.images.values(), *(path for path in (case.brain, case.lesion) if path)]
        return Writer(Names.of(case.id, output), self.config, self.new_record(case), inputs)

    def run(self, case: Case, output: Path) -> CaseResult:
        """Detect one case, or skip it where ``resume`` finds it complete.

        Raises:
            BraincliError: any of its kinds; no done-record is left then.
        """
        begin = time.perf_counter()
        writer = self.writer(case, output)
        named = self.config.uncertainty
        complete = named is None or named.is_file()
        if self.config.resume and complete and provenance.is_done(writer.names.record(), writer.record):
            return _skipped(case, writer.names.record())
        writer.refuse(tuple(case.images), raw=self.config.preprocess)
        masks, found = (self._raw if self.config.preprocess else self._prepared)(case, writer)
        seconds = round(time.perf_counter() - begin, 2)
        for text in writer.record.warnings:
            self.reporter.warn(f"{case.id}: {text}")
        return CaseResult(
            case.id, "done", {space: path.name for space, path in masks.items()}, len(found.lesions),
            round(found.volume_ml, 3), seconds, list(writer.record.warnings),
        )  # fmt: skip

    def _prepared(self, case: Case, writer: Writer) -> tuple[dict[str, Path], Findings]:
        """A case that is skull-stripped and on one grid."""
        with writer.record.timed("read"):
            images = load_images(case, volume=self.config.volume, prefer=self.config.prefer)
            mask = volume.load(case.brain, labels=True) if case.brain else None
            writer.record.facts["skull"] = refuse_skull(images, self.config, masked=mask is not None)
        found = self._find(case.id, images, mask, writer)
        writer.begin()
        with writer.record.timed("write"):
            masks = {"": writer.volume(found.mask, "mask")}
            writer.maps(found)
            writer.summary(found, self._title(case.id), reference_of(case, found.mask))
        writer.finish()
        return masks, found

    def _raw(self, case: Case, writer: Writer) -> tuple[dict[str, Path], Findings]:
        """A case as it left the scanner: preprocess, detect in SRI24, take the masks back to every native grid."""
        from braincli.preprocessing.chain import preprocess_case

        names, record = writer.names, writer.record
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
        scans = load_images(case, volume=self.config.volume, prefer=self.config.prefer)
        record.facts["skull"] = judge_skull(scans, self.config, masked=case.brain is not None)
        stripped = not record.facts["skull"]["shown"] and case.brain is None
        config = PreprocessConfig(
            already_stripped=stripped, assume_skull=self.config.assume_skull, brain_mask=case.brain,
            seed=self.config.seed, threads=self.config.threads, device=self.config.device,
        )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="braincli-") as folder:
            with record.timed("preprocess"):
                ready = preprocess_case(case, Path(folder), config, self.reporter)
            prepared = ready.prepared()
            record.warnings += ready.warnings
            record.facts["preprocess"] = {"reference": str(ready.reference), "qc": ready.qc}
            with record.timed("read"):
                images = load_images(prepared)
                mask = volume.load(prepared.brain, labels=True) if prepared.brain else None
            found = self._find(case.id, images, mask, writer)
            writer.begin()
            with record.timed("write"):
                masks = {}
                if not names.single:
                    masks[ATLAS_SPACE] = writer.volume(found.mask, "mask", ATLAS_SPACE)
                    writer.maps(found, ATLAS_SPACE)
                for contrast in case.images:
                    space = "" if names.single else str(contrast)
                    masks[space] = writer.volume(ready.to_native(found.mask, contrast), "mask", space)
                    if self.config.anomaly_map:
                        writer.volume(ready.to_native(found.anomaly, contrast), "anomaly", space)
                    if found.uncertainty is not None:
                        writer.uncertainty(ready.to_native(found.uncertainty, contrast), space)
                writer.summary(found, self._title(case.id), reference_of(prepared, found.mask))
        writer.finish()
        return masks, found

    def _find(self, case_id: str, images: dict[Contrast, Volume], mask: Volume | None, writer: Writer) -> Findings:
        record = writer.record
        with record.timed("load model"):
            model = self.model
        found = find_lesions(
            case_id, images, model, self.config, brain=mask, reporter=self.reporter, timed=record.timed
        )  # fmt: skip
        record.warnings += found.warnings
        record.facts |= {
            "model": {"name": self.info.name, "method": self.info.method, "preset": self.info.preset},
            "map": "score" if found.restoration.score is not None else f"{self.info.map.residual} residual",
            "contrasts": [str(contrast) for contrast in found.images],
            "missing": [str(contrast) for contrast in CONTRASTS if contrast not in images],
            "not looked at": [str(contrast) for contrast in images if contrast not in found.images],
            "weights": {str(contrast): round(weight, 4) for contrast, weight in found.weights.items()},
            "threshold": found.threshold,
            "min_lesion_mm3": found.min_lesion_mm3,
            "brain_ml": round(float(found.brain.data.sum() * found.brain.voxel_ml), 1),
            "mask_ml": round(found.volume_ml, 3),
            "samples": self.config.samples,
            "device": found.device,
            "units": "residual: share of the 1st..99th percentile range; restored: units of the input",
        }
        return found

    def _title(self, case_id: str) -> str:
        return f"{case_id}  (model {self.info.name})"


def detect_cases(
    cases: Sequence[Case], output: Path, config: DetectConfig, reporter: Reporter | None = None
) -> DetectReport:
    """Detect lesions in ``cases``.

    One case: problems are raised. Several: a failed case is reported and the others go on.

    Args:
        output: a folder (``OUT/<case>/<case>_mask.nii.gz`` ...), or a ``.nii(.gz)`` file for one case.

    Raises:
        UsageError: two cases share an id, a file is named for several cases, samples are asked of a deterministic
            method, or (one case) an output exists.
        ModelError: the model is missing or damaged.
        BraincliError: of any kind, where there is one case.
    """
    reporter = reporter or Reporter()
    if is_file(output) and len(cases) > 1:
        raise UsageError(f"{output.name} is one file for {len(cases)} cases.", "Name a folder: -o OUT/.")
    repeated = [
        name for name, count in Counter(Names.of(case.id, output).target for case in cases).items() if count > 1
    ]
    if repeated:
        raise UsageError(f"Two cases are called {repeated[0].name}.", "Run them apart, into two folders.")
    if config.uncertainty is not None and len(cases) > 1:
        raise UsageError(
            f"{config.uncertainty.name} is one file for {len(cases)} cases.",
            "Leave out --uncertainty: with --samples each case's folder gets one.",
        )
    if config.uncertainty is not None and config.samples < 2:
        raise UsageError("Uncertainty is how far samples differ; there is one.", "Add --samples 5, for example.")
    detector = Detector(config, reporter)
    info = detector.info  # a missing or damaged model is no case's fault
    if config.samples > 1:
        refuse_samples(info.method, registry.options(info.method, info.preset, info.settings), config.samples)
    for text in left_aside(cases):
        reporter.say(text)
    outcomes = cohort.each(cases, lambda case: detector.run(case, output), reporter)
    return DetectReport(info.name, [outcome.result or _failed(outcome) for outcome in outcomes])


def collect_cases(
    inputs: Path | str | Case | Sequence[Path | str | Case],
    *,
    scans: Mapping[Contrast, Path] | None = None,
    contrast: Contrast | tuple[Contrast, ...] | None = None,
    run: str | None = None,
    brain_mask: Path | None = None,
) -> list[Case]:
    """The cases that a user named, sorted by id; of several, one that cannot be used has a ``problem``.

    Args:
        inputs: paths for :func:`braincli.imaging.cases.find_cases`, or cases.
        scans: one case by contrast, instead of ``inputs``.
        contrast: what a single scan shows; several: what the volumes of a 4-D file show, in their order.
        run: which of several runs of one scan.
        brain_mask: of a single case.

    Raises:
        UsageError: both or neither of ``inputs`` and ``scans``, or ``brain_mask`` for several cases.
        InputError: nothing usable.
    """
    given = [inputs] if isinstance(inputs, str | Path | Case) else list(inputs)
    if bool(given) == bool(scans):
        raise UsageError(
            "Give either paths or --t1 / --t1ce / --t2 / --flair." if given else "No scan was given.",
            "For example: braincli detect sub01/ -o out/, or braincli detect --flair scan.nii.gz -o mask.nii.gz.",
        )
    cases = [_case_of(scans)] if scans else [item for item in given if isinstance(item, Case)]
    if paths := [Path(item) for item in given if not isinstance(item, Case)]:
        cases += gather_cases(paths, contrast=contrast, run=run)
    if brain_mask is not None:
        if len(cases) > 1:
            raise UsageError(f"One brain mask was given for {len(cases)} cases.", "Put one beside each case's scans.")
        cases = [replace(cases[0], brain=brain_mask)]
    return sorted(cases, key=lambda case: case.id)


def _case_of(scans: Mapping[Contrast, Path]) -> Case:
    """A case of named files; its id is what their names agree on, or the first one's name."""
    paths = {contrast: Path(scans[contrast]) for contrast in CONTRASTS if contrast in scans}
    if len({path.resolve() for path in paths.values()}) < len(paths):
        raise InputError("The same file was given for two contrasts.", "Each contrast is a scan of its own.")
    first = next(iter(paths.values()))
    named = read_name(first)
    return Case((named.id if named else "") or stem(first), paths)


def _failed(outcome: cohort.Outcome[CaseResult]) -> CaseResult:
    """What is reported of a case of a cohort that failed."""
    assert outcome.error is not None
    error, code = str(outcome.error), outcome.error.exit_code
    return CaseResult(outcome.id, "failed", seconds=outcome.seconds, error=error, exit_code=code)


def _skipped(case: Case, record: Path) -> CaseResult:
    content = json.loads(record.read_text(encoding="utf-8"))
    lesions = content["facts"]["lesions"]
    masks = [name for name in content["outputs"] if "mask" in name]
    return CaseResult(
        case.id, "skipped", {_space(name): name for name in masks}, lesions["count"], lesions["volume_ml"],
        warnings=content["warnings"],
    )  # fmt: skip


def _space(name: str) -> str:
    _, found, rest = name.rpartition("_space-")
    return rest.partition("_")[0] if found else ""


def reference_of(case: Case, grid: Volume) -> Volume | None:
    """The known lesion of ``case`` on ``grid``, for the picture; None where there is none that fits."""
    if case.lesion is None:
        return None
    try:
        mask, _ = volume.mask_on_grid_of(volume.load(case.lesion, labels=True), grid)
    except InputError:
        return None
    return grid.with_data(mask.data > 0)
