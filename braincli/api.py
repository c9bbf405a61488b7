"""The Python door: one typed function per subcommand. The command line calls nothing else.

All take what they work on first (``inputs``), then ``output`` where they write, then ``config`` and ``reporter``. Every
option of the command line is a keyword argument under its own name (``threshold=0.3``); ``config`` holds them together
(a model of :mod:`braincli.config`), and keywords go before it. What one function alone takes beside them is named.

``inputs`` are paths (text or :class:`~pathlib.Path`): scans, case folders, BIDS subjects, cohorts, TSV manifests. Or
scans in memory: a mapping of one case's contrasts (``t1``, ``t1ce``, ``t2``, ``flair``; beside them ``brain``,
``lesion``, ``group``) to nibabel images, to (array, affine), or to paths; or a mapping of such cases by their ids; or
what another function returned. Arrays have the axes (X, Y, Z); an affine (4, 4) leads from voxel indices to RAS mm.
They go through the same gatekeeper as files, and the same scans under the same id give the same result.

``output=None`` leaves nothing on disk: the result holds its files in memory (in between they lie in a temporary folder
that only the user can read). Whether an ``output`` can be written is found out before anything is computed.

Each function imports what it needs when it is called, so that importing this module stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from braincli.classifying import classify as classify
from braincli.classifying import train_classifier as train_classifier
from braincli.classifying import validate_classifier as validate_classifier
from braincli.config import CheckConfig, DetectConfig, PreprocessConfig, ScoreConfig, SynthConfig
from braincli.keywords import configured, contrasts, kept, takes
from braincli.learning import calibrate, calibrate_all, load_model, split, train
from braincli.whatif import explain as explain
from braincli.whatif import translate as translate

if TYPE_CHECKING:
    from braincli.detection.report import DetectReport
    from braincli.imaging.checks.survey import CheckReport
    from braincli.imaging.given import Inputs, Scan
    from braincli.preprocessing.result import Preprocessed
    from braincli.reporting.notebook import Results
    from braincli.runtime.progress import Reporter
    from braincli.scoring.evaluate import Scored
    from braincli.scoring.given import Detected, Masks
    from braincli.scoring.report import ScoreReport
    from braincli.synthesis.run import Synthetic

__all__ = [
    "calibrate", "calibrate_all", "check", "classify", "detect", "explain", "load_model", "preprocess", "score",
    "split", "synth", "train", "train_classifier", "translate", "validate_classifier",
]  # fmt: skip


@takes(PreprocessConfig)
def preprocess(
    inputs: Inputs,
    output: Path | str | None = None,
    config: PreprocessConfig | None = None,
    reporter: Reporter | None = None,
    *,
    contrast: str | Sequence[str] | None = None,
    brain_mask: Scan | None = None,
    **options: Any,
) -> Results[Preprocessed]:
    """Turn raw scans into aligned, skull-stripped, bias-corrected images in [0, 1] on the SRI24 grid.

    Args:
        inputs: see :mod:`braincli.api`; the scans of a case may lie on different grids.
        output: derivative folder; each case gets ``sub-<id>/`` below it. None: results in memory.
        contrast: what a single file shows, where its name does not tell; several (or ``t1,flair``): what the volumes
            of a 4-D file show, in their order.
        brain_mask: of a single case, on the grid of its reference scan.
        options: of :class:`braincli.config.PreprocessConfig`.

    Returns:
        One result per case: images (240, 240, 155) of 1 mm in LPS order, float32 in [0, 1], 0 outside the brain; with
        the way back to its native grids.

    Raises:
        InputError, UsageError, ModelError, ResourceError: the only case cannot be prepared, or nothing can be.
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.

    Example:
        >>> prepared = braincli.preprocess({"t1": nib.load("t1.nii.gz"), "flair": nib.load("flair.nii.gz")})
        >>> prepared[0].image("flair").affine
    """
    from braincli.imaging.given import Scratch, given_cases
    from braincli.preprocessing.cohort import preprocess_cases
    from braincli.reporting.notebook import Results
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter

    config, _ = configured(PreprocessConfig, config, options)
    with Scratch() as scratch:
        cases = given_cases(inputs, scratch, contrast=contrasts(contrast), run=config.run, dicom=True)
        if brain_mask is not None:
            config = config.model_copy(update={"brain_mask": scratch.file(brain_mask, "brain")})
        if output is not None:
            refuse_folder(Path(output))
            return Results(preprocess_cases(cases, Path(output), config, reporter or Reporter()))
        with kept():
            done = preprocess_cases(cases, scratch.folder(), config, reporter or Reporter())
        return Results([each.in_memory() for each in done])


@takes(ScoreConfig)
def score(
    inputs: Masks | Detected,
    reference: Masks,
    output: Path | str | None = None,
    config: ScoreConfig | None = None,
    reporter: Reporter | None = None,
    *,
    anomaly: Masks | None = None,
    brain: Masks | None = None,
    compare: Path | str | None = None,
    **options: Any,
) -> ScoreReport:
    """Score predicted lesion masks against reference masks.

    Args:
        inputs: a mask, or a folder of masks (flat, or one per case); maps beside them count too. Or a nibabel image,
            (array, affine), a mapping of such by case, or what :func:`detect` returned, with its anomaly maps. With
            ``healthy``: a folder of restorations.
        reference: as ``inputs``; names of files, or the mapping's keys, give the case ids. On the grids of ``inputs``.
            With ``healthy``: a folder or manifest of healthy scans.
        output: folder for ``scores.csv`` and ``scores.json``.
        anomaly: anomaly maps, where they lie elsewhere.
        brain: brain mask, or several: the voxels of specificity, AUPRC, AUROC and best DSC.
        compare: folder of another run's predictions, or its ``scores.json``, for a paired permutation test.
        options: of :class:`braincli.config.ScoreConfig`.

    Returns:
        Figures per case, over cases and pooled: volumes in ml, distances in mm, everything else in shares of 1.

    Raises:
        InputError: a file is unusable or missing, or the grids differ; in a cohort such a case becomes a
            row with ``error`` set.
        UsageError: an output exists, or the other run shares no case or was scored with other definitions.

    Example:
        >>> found = braincli.detect({"p01": {"flair": image}})
        >>> braincli.score(found, {"p01": nib.load("p01_seg.nii.gz")}).cases[0].values["dsc"]
    """
    from braincli.imaging.given import Scratch
    from braincli.runtime import files
    from braincli.runtime.progress import Reporter
    from braincli.scoring import evaluate, given, healthy, report

    config, _ = configured(ScoreConfig, config, options)
    reporter = reporter or Reporter()
    folder, other = (None if path is None else Path(path) for path in (output, compare))
    if folder is not None:
        files.refuse_folder(folder)
        for name in report.FILES:
            files.refuse_overwrite(folder / name, overwrite=config.overwrite)
    if config.healthy:
        healthy.refuse_other(
            {"anomaly-map": anomaly, "brain-mask": brain, "labels": config.labels, "slices": config.slices}
            | {"model": config.model}
        )
    with Scratch() as scratch:

        def scored_of(run: Any, model: str | None = None, **maps: Any) -> Scored:
            if config.healthy:
                return healthy.score_healthy(run, reference, config, reporter)
            pairs = given.given_pairs(run, reference, scratch, brain=brain, model=model, **maps)
            return evaluate.score_all(pairs, config, reporter)

        scored = scored_of(inputs, config.model, anomaly=anomaly)
        comparison = None
        if other is not None:
            others = report.read(other, config) if other.suffix == ".json" else scored_of(other).cases
            comparison = {"other": other.name, **report.compare(scored.cases, others, config)}
    scores = report.build(scored, config, comparison)
    if folder is not None:
        scores.write(folder, overwrite=config.overwrite)
    return scores


@takes(SynthConfig)
def synth(
    inputs: Inputs,
    output: Path | str | None = None,
    config: SynthConfig | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Results[Synthetic]:
    """Plant synthetic anomalies into prepared scans, and give both with their masks, for testing detectors.

    Kind ``ellipses`` plants nothing: it draws the synthetic data set of DeScarGAN, which needs no scans.

    Args:
        inputs: see :mod:`braincli.api`; skull-stripped, on one grid per case. None (``[]``) for ``ellipses``.
        output: each case gets a folder below it. None: results in memory.
        options: of :class:`braincli.config.SynthConfig`; lengths in mm.

    Returns:
        One result per case, on the grid and in the units of its scans.

    Raises:
        InputError: the only case is raw or unusable, or has no room.
        UsageError: an output exists, or two cases have one id; scans are missing, or given to ``ellipses``; an option
            that means nothing with the kind.
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.

    Example:
        >>> planted = braincli.synth({"flair": image}, kind="sink", radius_mm=(8, 12))
        >>> braincli.score(braincli.detect(planted), planted[0].image("seg"), labels=(1,))
    """
    from braincli.imaging.given import Scratch, given_cases
    from braincli.reporting.notebook import Results
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter
    from braincli.synthesis.drawn import draw_set, refuse_strange
    from braincli.synthesis.run import synthesise

    config, _ = configured(SynthConfig, config, options)
    refuse_strange(config, scans=not (isinstance(inputs, list | tuple) and not inputs))
    with Scratch() as scratch:
        drawn = config.kind == "ellipses"
        cases = [] if drawn else given_cases(inputs, scratch, run=config.run)

        def made(folder: Path) -> list[Synthetic]:
            words = reporter or Reporter()
            return draw_set(folder, config, words) if drawn else synthesise(cases, folder, config, words)

        if output is not None:
            refuse_folder(Path(output))
            return Results(made(Path(output)))
        with kept():
            done = made(scratch.folder())
        return Results([each.in_memory() for each in done])


@takes(CheckConfig)
def check(
    inputs: Inputs, config: CheckConfig | None = None, reporter: Reporter | None = None, **options: Any
) -> CheckReport:
    """Put scans, cases or cohorts through the gatekeeper; bad input is reported, never raised.

    Args:
        inputs: see :mod:`braincli.api`; of paths every file counts, whatever its name.
        options: of :class:`braincli.config.CheckConfig`.

    Returns:
        For every file its size in voxels, spacing in mm, axes, and what was found.

    Raises:
        InputError, UsageError: an object that is no scan.

    Example:
        >>> braincli.check({"flair": (array, affine)}).errors
    """
    from braincli.imaging.checks.survey import survey
    from braincli.imaging.given import Scratch, found_or_given

    config, _ = configured(CheckConfig, config, options)
    with Scratch() as scratch:
        return survey(
            found_or_given(inputs, scratch), volume=config.volume, prefer=config.prefer, phi=config.phi,
            reporter=reporter,
        )  # fmt: skip


@takes(DetectConfig)
def detect(
    inputs: Inputs,
    output: Path | str | None = None,
    config: DetectConfig | None = None,
    reporter: Reporter | None = None,
    *,
    contrast: str | Sequence[str] | None = None,
    brain_mask: Scan | None = None,
    **options: Any,
) -> DetectReport:
    """Find lesions in one case or many.

    Args:
        inputs: see :mod:`braincli.api`; skull-stripped and on one grid per case, or raw with ``preprocess=True``.
        output: a folder (one folder per case below it), or a ``.nii(.gz)`` file for the mask of one case. None:
            results in memory, pages (``report``) only if asked for.
        contrast: what a single scan shows, where its name does not tell; several: what the volumes of a 4-D file show,
            in their order.
        brain_mask: of a single case, on its grid.
        options: of :class:`braincli.config.DetectConfig`; ``model`` is a name, a folder, or a loaded model.

    Returns:
        What came of each case; of several, those that failed are listed in ``failures``. Masks (X, Y, Z) lie on the
        scans' own grid, of raw cases on SRI24 and every native grid; volumes in ml, places in RAS mm.

    Raises:
        BraincliError: one case: whatever is wrong with it; several: a model, option or id that serves none.

    Example:
        >>> report = braincli.detect({"flair": flair, "t1": t1}, model="tsgm", anomaly_map=True)
        >>> report[0].mask, report[0].array("anomaly"), report[0].to_dataframe()
    """
    from braincli.detection.run import detect_cases
    from braincli.errors import QualityError, UsageError
    from braincli.imaging.cases import is_nifti
    from braincli.imaging.given import Scratch, given_cases
    from braincli.runtime.files import refuse_folder

    config, model = configured(DetectConfig, config, options)
    with Scratch() as scratch:
        cases = given_cases(inputs, scratch, contrast=contrasts(contrast), run=config.run, dicom=True)
        if brain_mask is not None:
            if len(cases) > 1:
                text = f"One brain mask was given for {len(cases)} cases."
                raise UsageError(text, "Put one beside each case's scans.")
            cases = [replace(cases[0], brain=scratch.file(brain_mask, "brain"))]
        cases = sorted(cases, key=lambda case: case.id)
        if output is not None:
            output = Path(output)
            refuse_folder(output.parent if is_nifti(output) else output)
            return detect_cases(cases, output, config, reporter, model)
        if "report" not in config.model_fields_set:
            config = config.model_copy(update={"report": False})
        try:
            return detect_cases(cases, scratch.folder(), config, reporter, model).in_memory()
        except QualityError as error:  # whose anomaly map goes with the folder
            raise QualityError(error.message, "Name an output folder: the anomaly map is written there.") from None


@takes(DetectConfig)
def bids(
    inputs: Path | str,
    output: Path | str,
    config: DetectConfig | None = None,
    reporter: Reporter | None = None,
    *,
    level: str = "participant",
    participant_label: str | Sequence[str] = (),
    session_label: str | Sequence[str] = (),
    bids_filter_file: Path | str | None = None,
    **options: Any,
) -> DetectReport:
    """Work through a BIDS data set of raw scans, as BIDS-Apps do; the outputs are a BIDS derivative.

    Args:
        inputs: root of the data set.
        output: folder of the derivative.
        level: ``participant``: preprocess and search every participant and session; ``group``: page and table of what
            that left, without computing anything again.
        participant_label, session_label: those alone, with or without ``sub-`` and ``ses-``.
        bids_filter_file: JSON, see :mod:`braincli.layout.participants`.
        options: of :class:`braincli.config.DetectConfig`; ``model`` is a name, a folder, or a loaded model.

    Returns:
        What came of each case, those that failed too.

    Raises:
        InputError: ``inputs`` is no BIDS data set; ``group``: nothing lies in ``output``.
        UsageError: a label, level, contrast or entity that there is not.
        BraincliError: one participant was chosen, and failed.

    Example:
        >>> braincli.bids("data/", "data/derivatives/braincli", participant_label=["01", "02"])
    """
    from braincli.choices import Level
    from braincli.detection.bidsapp import group_level, participant_level
    from braincli.errors import UsageError
    from braincli.layout.participants import Selection, read_filters
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter

    config, model = configured(DetectConfig, config, options)
    root, folder, reporter = Path(inputs), Path(output), reporter or Reporter()
    participants, sessions = (
        [each] if isinstance(each, str) else list(each) for each in (participant_label, session_label)
    )
    if level not in get_args(Level):
        raise UsageError(f"There is no level {level!r}.", f"It is {' or '.join(get_args(Level))}.")
    refuse_folder(folder)
    if level == "participant":
        filters = {} if bids_filter_file is None else read_filters(Path(bids_filter_file))
        wanted = Selection(participants, sessions, filters, config.run)
        return participant_level(root, folder, config, reporter, wanted, model)
    if participants or sessions or bids_filter_file is not None:
        raise UsageError("The group level takes all that lies in the output.", "Leave labels and filters out.")
    return group_level(root, folder, reporter)
