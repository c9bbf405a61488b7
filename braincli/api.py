"""The Python door: one typed function per subcommand. The command line calls nothing else.

All take what they work on first (``inputs``: a path or several, as text or :class:`~pathlib.Path`), then ``output``
where they write, then ``config`` and ``reporter``; what one of them alone takes is named. Whether ``output`` can be
written is found out before anything is computed.

Each function imports what it needs when it is called, so that importing this module stays cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from braincli.config import (
        CalibrateConfig,
        CheckConfig,
        DetectConfig,
        PreprocessConfig,
        ScoreConfig,
        SplitConfig,
        SynthConfig,
        TrainConfig,
    )
    from braincli.detection.run import DetectReport
    from braincli.imaging.cases import Case, Contrast
    from braincli.imaging.checks.survey import CheckReport
    from braincli.imaging.splitting import Split
    from braincli.model.folder import LoadedModel
    from braincli.model.info import Calibration, ModelInfo
    from braincli.preprocessing.result import Preprocessed
    from braincli.runtime.progress import Reporter
    from braincli.scoring.report import ScoreReport
    from braincli.synthesis.run import Synthetic

Paths = Path | str | Sequence[Path | str]


def preprocess(
    inputs: Paths,
    output: Path | str,
    config: PreprocessConfig | None = None,
    reporter: Reporter | None = None,
    *,
    contrast: str | Sequence[str] | None = None,
) -> list[Preprocessed]:
    """Turn raw scans into aligned, skull-stripped, bias-corrected images in [0, 1] on the SRI24 grid.

    Args:
        inputs: scans, case folders, BIDS subjects, cohorts or TSV manifests.
        output: derivative folder; each case gets ``sub-<id>/`` below it.
        contrast: what a single file shows, where its name does not tell; several (or ``t1,flair``): what the volumes
            of a 4-D file show, in their order.

    Returns:
        One result per case, with the way back to its native grids.

    Raises:
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.
    """
    from braincli.config import PreprocessConfig
    from braincli.imaging.cases import gather_cases
    from braincli.preprocessing.cohort import preprocess_cases
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter

    config = config or PreprocessConfig()
    cases = gather_cases(_paths(inputs), contrast=_contrasts(contrast), run=config.run)
    refuse_folder(Path(output))
    return preprocess_cases(cases, Path(output), config, reporter or Reporter())


def score(
    prediction: Path | str,
    reference: Path | str,
    output: Path | str | None = None,
    config: ScoreConfig | None = None,
    reporter: Reporter | None = None,
    *,
    anomaly: Path | str | None = None,
    brain: Path | str | None = None,
    compare: Path | str | None = None,
) -> ScoreReport:
    """Score predicted lesion masks against reference masks.

    Args:
        prediction: a mask, or a folder of masks (flat, or one per case); maps beside them count too.
        reference: a mask, or a folder of masks; their names give the case ids.
        output: folder for ``scores.csv`` and ``scores.json``.
        anomaly: anomaly map, or a folder of them, where they lie elsewhere.
        brain: brain mask, or a folder of them: the voxels of specificity, AUPRC, AUROC and best DSC.
        compare: folder of another run's predictions, or its ``scores.json``, for a paired permutation test.

    Raises:
        InputError: a file is unusable or missing, or the grids differ; in a cohort such a case becomes a
            row with ``error`` set.
        UsageError: an output exists, or the other run shares no case or was scored with other definitions.
    """
    from braincli.config import ScoreConfig
    from braincli.runtime import files
    from braincli.runtime.progress import Reporter
    from braincli.scoring import evaluate, matching, report

    config, reporter = config or ScoreConfig(), reporter or Reporter()
    masks, known = Path(prediction), Path(reference)
    folder, maps, brains, other = (None if path is None else Path(path) for path in (output, anomaly, brain, compare))
    if folder is not None:
        files.refuse_folder(folder)
        for name in report.FILES:
            files.refuse_overwrite(folder / name, overwrite=config.overwrite)
    pairs = matching.match(masks, known, anomaly=maps, brain=brains)
    scored = evaluate.score_all(pairs, config, reporter)
    comparison = None
    if other is not None:
        if other.suffix == ".json":
            others = report.read(other, config)
        else:
            others = evaluate.score_all(matching.match(other, known, brain=brains), config, reporter).cases
        comparison = {"other": other.name, **report.compare(scored.cases, others, config)}
    scores = report.build(scored, config, comparison)
    if folder is not None:
        scores.write(folder, overwrite=config.overwrite)
    return scores


def train(
    inputs: Paths,
    output: Path | str,
    config: TrainConfig | None = None,
    reporter: Reporter | None = None,
    *,
    validation: Paths | None = None,
) -> ModelInfo | None:
    """Train a method on prepared cases.

    Args:
        inputs: cohort folders or TSV manifests.
        output: folder of the new model.
        validation: the same, of cases that judge the weights on the way, by the method's own criterion; the best ones
            become the model.

    Returns:
        The model's description, or None if ``config.max_time`` ran out (call again with ``resume=True``).

    Raises:
        InputError, UsageError, ResourceError: see :func:`braincli.training.run.train_cases`.
    """
    from braincli.config import TrainConfig
    from braincli.imaging.cases import find_cases, sound
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter
    from braincli.training.run import train_cases

    config = config or TrainConfig()
    cases, judging = (
        sound([case for path in _paths(paths) for case in find_cases(path, run=config.run)])
        for paths in (inputs, () if validation is None else validation)
    )
    refuse_folder(Path(output))
    return train_cases(cases, config, Path(output), reporter or Reporter(), validation=judging)


def split(
    inputs: Paths, output: Path | str, config: SplitConfig | None = None, reporter: Reporter | None = None
) -> Split:
    """Part a cohort by patient, and write a TSV manifest for each part.

    Args:
        inputs: cohort folders or TSV manifests.
        output: gets ``train.tsv``, ``validation.tsv`` and ``test.tsv``, with folds ``fold-0/train.tsv`` and so on, and
            ``splits.json``, the folds' ids as nnU-Net writes them (``train`` and ``val``).

    Raises:
        InputError: a case cannot be used, or has none of the contrasts.
        UsageError: an output exists, or there are too few patients.
    """
    from braincli.config import SplitConfig
    from braincli.imaging.cases import find_cases, sound
    from braincli.imaging.splitting import narrowed, split, write_split
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter

    config = config or SplitConfig()
    cases = sound([case for path in _paths(inputs) for case in find_cases(path, run=config.run)])
    refuse_folder(Path(output))
    parts = split(
        narrowed(cases, config.contrasts, config.group), folds=config.folds, validation=config.validation,
        test=config.test, seed=config.seed, pattern=config.patient,
    )  # fmt: skip
    for line in write_split(parts, Path(output), overwrite=config.overwrite):
        (reporter or Reporter()).say(line)
    return parts


def synth(
    inputs: Paths, output: Path | str, config: SynthConfig | None = None, reporter: Reporter | None = None
) -> list[Synthetic]:
    """Plant synthetic anomalies into prepared scans, and write both with their masks, for testing detectors.

    Args:
        inputs: case folders, cohorts or TSV manifests; skull-stripped, on one grid per case.
        output: each case gets a folder below it.

    Returns:
        One result per case.

    Raises:
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.
    """
    from braincli.config import SynthConfig
    from braincli.imaging.cases import gather_cases
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter
    from braincli.synthesis.run import synthesise

    config = config or SynthConfig()
    cases = gather_cases(_paths(inputs), run=config.run)
    refuse_folder(Path(output))
    return synthesise(cases, Path(output), config, reporter or Reporter())


def check(inputs: Paths, config: CheckConfig | None = None, reporter: Reporter | None = None) -> CheckReport:
    """Put scans, cases or cohorts through the gatekeeper; bad input is reported, never raised.

    Args:
        inputs: NIfTI files, case or cohort folders, TSV manifests.
    """
    from braincli.config import CheckConfig
    from braincli.imaging.checks.survey import survey

    config = config or CheckConfig()
    return survey(_paths(inputs), volume=config.volume, prefer=config.prefer, phi=config.phi, reporter=reporter)


def calibrate(
    inputs: Paths,
    config: CalibrateConfig | None = None,
    reporter: Reporter | None = None,
    *,
    healthy: Paths = (),
) -> Calibration:
    """Fit contrast weights, threshold and smallest lesion of a model, and store them in its ``model.json``.

    Args:
        inputs: cohort folders or manifests, disjoint from training; with lesion masks, except for
            ``objective="healthy-quantile"``.
        healthy: prepared cases of healthy people, in which at most ``config.healthy_ml`` are marked, as a mean.

    Raises:
        InputError: no lesion, a case that was trained on, or one that lies in both cohorts.
        CohortError: none of several cases can be used; where some can, ``provenance["left_out"]`` tells of the others.
        UsageError: cross-fitting without masks.
        ModelError: no such model.
    """
    from braincli.calibration.run import calibrate_model
    from braincli.runtime.progress import Reporter

    config = config or CalibrateConfig()
    model, cases, well = _to_calibrate(inputs, config, healthy)
    return calibrate_model(model, cases, config, reporter or Reporter(), healthy=well)


def calibrate_all(
    inputs: Paths,
    config: CalibrateConfig | None = None,
    reporter: Reporter | None = None,
    *,
    healthy: Paths = (),
) -> dict[str, Calibration]:
    """:func:`calibrate` for every set of contrasts that cases have, as scans that have no others are judged.

    Returns:
        The calibrations by their contrasts (``t1+flair``), those of most contrasts first.

    Raises:
        UsageError: ``config.contrasts`` names some.
        BraincliError: see :func:`calibrate`.
    """
    from braincli.calibration.subsets import calibrate_subsets
    from braincli.runtime.progress import Reporter

    config = config or CalibrateConfig()
    model, cases, well = _to_calibrate(inputs, config, healthy)
    return calibrate_subsets(model, cases, config, reporter or Reporter(), healthy=well)


def _to_calibrate(inputs: Paths, config: CalibrateConfig, healthy: Paths) -> tuple[LoadedModel, list[Case], list[Case]]:
    """The model on its device, the cases and the healthy ones."""
    from braincli.imaging.cases import gather_cases
    from braincli.model.folder import load_model
    from braincli.runtime import device

    chosen = device.prepare(config.device, config.threads)
    model = load_model(config.model, chosen)
    cases, well = (gather_cases(_paths(paths), run=config.run) for paths in (inputs, healthy))
    return model, cases, well


def detect(
    inputs: Path | str | Case | Sequence[Path | str | Case],
    output: Path | str,
    config: DetectConfig | None = None,
    reporter: Reporter | None = None,
    *,
    scans: Mapping[str, Path | str] | None = None,
    contrast: str | Sequence[str] | None = None,
    brain_mask: Path | str | None = None,
) -> DetectReport:
    """Find lesions in one case or many.

    Args:
        inputs: scans, case or cohort folders, TSV manifests, or cases.
        output: a folder (one folder per case below it), or a ``.nii(.gz)`` file for the mask of one case.
        scans: the files of one case by contrast, instead of ``inputs``.
        contrast: what a single scan shows, where its name does not tell; several: what the volumes of a 4-D file show,
            in their order.
        brain_mask: of a single case, on its grid.

    Returns:
        What came of each case; of several, those that failed are listed in ``failures``.

    Raises:
        BraincliError: one case: whatever is wrong with it; several: a model, option or id that serves none.
    """
    from braincli.config import DetectConfig
    from braincli.detection.run import collect_cases, detect_cases
    from braincli.imaging.cases import is_nifti
    from braincli.runtime.files import refuse_folder

    config, output = config or DetectConfig(), Path(output)
    cases = collect_cases(
        inputs,
        scans={contrast: Path(path) for names, path in (scans or {}).items() for contrast in _contrasts(names) or ()},
        contrast=_contrasts(contrast),
        run=config.run,
        brain_mask=None if brain_mask is None else Path(brain_mask),
    )
    refuse_folder(output.parent if is_nifti(output) else output)
    return detect_cases(cases, output, config, reporter)


def _paths(given: Paths) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(path) for path in given]


def _contrasts(given: str | Iterable[str] | None) -> tuple[Contrast, ...] | None:
    """The contrasts named, also as ``t1,flair``.

    Raises:
        UsageError: there is no such contrast.
    """
    from braincli.errors import UsageError
    from braincli.imaging.cases import Contrast

    if given is None:
        return None
    names = [name.strip().lower() for name in (given.split(",") if isinstance(given, str) else given)]
    if unknown := [name for name in names if name not in list(Contrast)]:
        raise UsageError(f"There is no contrast {unknown[0]!r}.", f"Use one of: {', '.join(Contrast)}.")
    return tuple(Contrast(name) for name in names)
