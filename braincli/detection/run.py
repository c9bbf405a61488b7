"""Cases in, masks out: one case or a cohort, prepared or raw, with resume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from braincli.config import DetectConfig
from braincli.detection import cohort_page
from braincli.detection.detector import Detector
from braincli.detection.find import refuse_samples
from braincli.detection.report import CaseResult, DetectReport
from braincli.errors import BraincliError, UsageError
from braincli.imaging.case import remarks
from braincli.imaging.cases import Case
from braincli.layout.dataset import open_dataset
from braincli.layout.found import Derivative, is_file
from braincli.model.folder import LoadedModel
from braincli.runtime import cohort
from braincli.runtime.device import available_threads
from braincli.runtime.progress import Reporter

NEED_GB = {False: 1.5, True: 5.0}  # of one process, by --preprocess; measured: docs/cohorts.md

__all__ = ["CaseResult", "DetectReport", "Detector", "detect_cases"]


def detect_cases(
    cases: Sequence[Case],
    output: Path,
    config: DetectConfig,
    reporter: Reporter | None = None,
    model: LoadedModel | None = None,
) -> DetectReport:
    """Detect lesions in ``cases``, or in the part of them that ``config`` names.

    One case: problems are raised. Several: a failed case is reported and the others go on.

    Args:
        output: a folder (``OUT/<case>/<case>_mask.nii.gz`` ...), or a ``.nii(.gz)`` file for one case.
        model: instead of the one that ``config`` names, which is read.

    Raises:
        UsageError: there is no such part, two cases share an id, a file is named for several cases, samples are asked
            of a deterministic method, or (one case) an output exists.
        ModelError: the model is missing or damaged.
        BraincliError: of any kind, where there is one case.
    """
    reporter = reporter or Reporter()
    if output.suffix.lower() == ".dcm":
        raise UsageError(f"{output.name}: a DICOM SEG comes beside masks.", "Name a folder: -o OUT/ --dicom-seg.")
    if config.dicom_seg and not config.preprocess:
        raise UsageError("--dicom-seg marks the series of a study, which are raw.", "Add --preprocess.")
    if is_file(output) and len(cases) > 1:
        raise UsageError(f"{output.name} is one file for {len(cases)} cases.", "Name a folder: -o OUT/.")
    if config.uncertainty is not None and len(cases) > 1:
        raise UsageError(
            f"{config.uncertainty.name} is one file for {len(cases)} cases.",
            "Leave out --uncertainty: with --samples each case's folder gets one.",
        )
    if config.uncertainty is not None and config.samples < 2:
        raise UsageError("Uncertainty is how far samples differ; there is one.", "Add --samples 5, for example.")
    detector = Detector(config, reporter, model)
    info = detector.info  # a missing or damaged model is no case's fault
    names = [detector.names(case, output) for case in cases]
    repeated = [path.parent for path, count in Counter(each.record() for each in names).items() if count > 1]
    if repeated:
        raise UsageError(f"Two cases are called {repeated[0].name}.", "Run them apart, into two folders.")
    if config.samples > 1:
        refuse_samples(info.method, info.options, config.samples)
    everyone, sources = len(cases), [path for case in cases for path in case.images.values()]
    cases = cohort.part(cases, config.part_id, config.num_parts, reporter)
    for text in remarks(cases):
        reporter.say(text)
    paged = config.report and not is_file(output) and cohort_page.wanted(output, everyone)
    if paged:
        cohort_page.plan(output).refuse()
    if any(isinstance(each, Derivative) for each in names):
        open_dataset(output, sources)
    jobs = cohort.Jobs(config.jobs, NEED_GB[config.preprocess])
    run, steps = partial(detector.run, output=output), partial(detector.steps, output=output)
    alone = config.preprocess or (config.threads or available_threads()) < 2  # preprocessing takes all threads itself
    outcomes = cohort.each(cases, run, reporter, jobs=jobs, steps=None if alone else steps, of=everyone)
    results = [outcome.result or _failed(outcome) for outcome in outcomes]
    if paged and results:
        try:
            cohort_page.write(output, results)
        except BraincliError as error:  # the cases are done: they are not lost for a page
            reporter.warn(f"The cohort's page was not written: {error}")
    return DetectReport(info.name, results)


def _failed(outcome: cohort.Outcome[CaseResult]) -> CaseResult:
    """What is reported of a case of a cohort that failed."""
    assert outcome.error is not None
    error, code = str(outcome.error), outcome.error.exit_code
    return CaseResult(outcome.id, "failed", seconds=outcome.seconds, error=error, exit_code=code)
