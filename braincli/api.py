"""The Python door: one typed function per subcommand. The command line calls nothing else.

Each function imports what it needs when it is called, so that importing this module stays cheap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from braincli.config import CalibrateConfig, DetectConfig, PreprocessConfig, ScoreConfig, SynthConfig, TrainConfig
    from braincli.detection.run import DetectReport
    from braincli.imaging.cases import Case, Contrast
    from braincli.imaging.checks.survey import CheckReport
    from braincli.model.info import Calibration, ModelInfo
    from braincli.preprocessing.result import Preprocessed
    from braincli.runtime.progress import Reporter
    from braincli.scoring.report import ScoreReport
    from braincli.synthesis.run import Synthetic


def preprocess(
    paths: Path | Sequence[Path],
    out: Path,
    config: PreprocessConfig | None = None,
    reporter: Reporter | None = None,
    *,
    contrast: str | Sequence[str] | None = None,
) -> list[Preprocessed]:
    """Turn raw scans into aligned, skull-stripped, bias-corrected images in [0, 1] on the SRI24 grid.

    Args:
        paths: scans, case folders, BIDS subjects, cohorts or TSV manifests.
        out: derivative folder; each case gets ``sub-<id>/`` below it.
        contrast: what a single file shows, where its name does not tell; several: what the volumes of a 4-D file show,
            in their order.

    Returns:
        One result per case, with the way back to its native grids.

    Raises:
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.
    """
    from braincli.config import PreprocessConfig
    from braincli.errors import UsageError
    from braincli.imaging.cases import Contrast, gather_cases
    from braincli.preprocessing.cohort import preprocess_cases
    from braincli.runtime.progress import Reporter

    shown = [contrast] if isinstance(contrast, str) else list(contrast or ())
    if unknown := [name for name in shown if name not in list(Contrast)]:
        raise UsageError(f"There is no contrast {unknown[0]!r}.", f"Use one of: {', '.join(Contrast)}.")
    config = config or PreprocessConfig()
    given = [paths] if isinstance(paths, (str, Path)) else paths
    shows = tuple(Contrast(name) for name in shown) or None
    cases = gather_cases([Path(path) for path in given], contrast=shows, run=config.run)
    return preprocess_cases(cases, Path(out), config, reporter or Reporter())


def score(
    prediction: Path,
    reference: Path,
    *,
    output: Path | None = None,
    anomaly: Path | None = None,
    brain: Path | None = None,
    compare: Path | None = None,
    config: ScoreConfig | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
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
    for path in [output / name for name in report.FILES] if output else []:
        files.refuse_overwrite(path, overwrite=overwrite)
    pairs = matching.match(prediction, reference, anomaly=anomaly, brain=brain)
    scored = evaluate.score_all(pairs, config, reporter)
    comparison = None
    if compare is not None:
        if compare.suffix == ".json":
            others = report.read(compare, config)
        else:
            other_pairs = matching.match(compare, reference, brain=brain)
            others = evaluate.score_all(other_pairs, config, reporter).cases
        comparison = {"other": compare.name, **report.compare(scored.cases, others, config)}
    found = report.build(scored, config, comparison)
    if output is not None:
        found.write(output, overwrite=overwrite)
    return found


def train(data: Sequence[Path], out: Path, config: TrainConfig, reporter: Reporter | None = None) -> ModelInfo | None:
    """Train a method on prepared cases.

    Args:
        data: cohort folders or TSV manifests.
        out: folder of the new model.

    Returns:
        The model's description, or None if ``config.max_time`` ran out (call again with ``resume=True``).

    Raises:
        InputError, UsageError, ResourceError: see :func:`braincli.training.run.train_cases`.
    """
    from braincli.imaging.cases import find_cases, sound
    from braincli.runtime.progress import Reporter as Silent
    from braincli.training.run import train_cases

    cases = sound([case for path in data for case in find_cases(Path(path))])
    return train_cases(cases, config, Path(out), reporter or Silent())


def synth(
    paths: Path | Sequence[Path], out: Path, config: SynthConfig | None = None, reporter: Reporter | None = None
) -> list[Synthetic]:
    """Plant synthetic anomalies into prepared scans, and write both with their masks, for testing detectors.

    Args:
        paths: case folders, cohorts or TSV manifests; skull-stripped, on one grid per case.
        out: each case gets a folder below it.

    Returns:
        One result per case.

    Raises:
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.
    """
    from braincli.config import SynthConfig as Config
    from braincli.imaging.cases import gather_cases
    from braincli.runtime.progress import Reporter as Silent
    from braincli.synthesis.run import synthesise

    given = [paths] if isinstance(paths, (str, Path)) else paths
    cases = gather_cases([Path(path) for path in given])
    return synthesise(cases, Path(out), config or Config(), reporter or Silent())


def check(
    paths: Sequence[Path],
    *,
    volume: int | None = None,
    prefer: str = "sform",
    phi: bool = False,
    reporter: Reporter | None = None,
) -> CheckReport:
    """Put scans, cases or cohorts through the gatekeeper; bad input is reported, never raised.

    Args:
        paths: NIfTI files, case or cohort folders, TSV manifests.
        volume: which volume of a 4-D file (0-based).
        prefer: ``sform`` or ``qform``, where both are set and disagree.
        phi: also list header fields and extensions that may tell about the patient.
    """
    from braincli.imaging.checks.survey import survey

    return survey([Path(path) for path in paths], volume=volume, prefer=prefer, phi=phi, reporter=reporter)


def calibrate(
    data: Sequence[Path],
    config: CalibrateConfig,
    reporter: Reporter | None = None,
    *,
    healthy: Sequence[Path] = (),
) -> Calibration:
    """Fit contrast weights, threshold and smallest lesion of a model, and store them in its ``model.json``.

    Args:
        data: cohort folders or manifests, disjoint from training; with lesion masks for ``objective="dsc"``.
        healthy: prepared cases of healthy people, to count false positives in.

    Raises:
        InputError: no lesion, a case that was trained on, or one that lies in both cohorts.
        CohortError: none of several cases can be used; where some can, ``provenance["left_out"]`` tells of the others.
        UsageError: cross-fitting without masks.
        ModelError: no such model.
    """
    from braincli.imaging.cases import gather_cases
    from braincli.model.folder import load_model
    from braincli.runtime import device
    from braincli.runtime.progress import Reporter as Silent

    chosen = device.prepare(config.device, config.threads)
    from braincli.calibration.fit import calibrate_model

    model = load_model(config.model, chosen)
    cases, well = (gather_cases([Path(path) for path in paths]) for paths in (data, healthy))
    return calibrate_model(model, cases, config, reporter or Silent(), healthy=well)


def detect(
    inputs: Path | str | Case | Sequence[Path | str | Case],
    output: Path | str,
    *,
    scans: Mapping[Contrast, Path] | None = None,
    contrast: Contrast | tuple[Contrast, ...] | None = None,
    brain_mask: Path | None = None,
    config: DetectConfig | None = None,
    reporter: Reporter | None = None,
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

    config = config or DetectConfig()
    cases = collect_cases(inputs, scans=scans or {}, contrast=contrast, run=config.run, brain_mask=brain_mask)
    return detect_cases(cases, Path(output), config, reporter)
