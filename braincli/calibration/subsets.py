"""A calibration for every set of contrasts that a scan may have: fifteen of four contrasts.

Contrasts that are absent change what a network makes of the others, so that every set has restorations of its own. They
are made set by set, and of one set alone there is evidence in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from braincli.calibration.aims import AIMS
from braincli.calibration.fit import has_halves
from braincli.calibration.run import conclude, refuse, restored, serving, stored, taught
from braincli.config import CalibrateConfig
from braincli.errors import InputError, UsageError
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.model.folder import LoadedModel, write_info
from braincli.model.info import Calibration, subset
from braincli.model.normal import write as write_normal
from braincli.runtime.progress import Reporter


def every_set() -> list[tuple[Contrast, ...]]:
    """All sets of contrasts, the largest first."""
    return [those for count in range(len(CONTRASTS), 0, -1) for those in combinations(CONTRASTS, count)]


def calibrate_subsets(
    model: LoadedModel,
    cases: Sequence[Case],
    config: CalibrateConfig,
    reporter: Reporter,
    *,
    healthy: Sequence[Case] = (),
    normal: Sequence[Case] = (),
) -> dict[str, Calibration]:
    """Fit ``model`` for each set of contrasts that a case has, and store all of it in its ``model.json``.

    Each set is fitted on the cases that have these contrasts, cut down to them, and bounded by the healthy people who
    have them; those of ``normal`` who have them say first what is normal. What was fitted before for sets that no case
    has stays.

    Returns:
        The calibrations by set (``t1+flair``), the largest sets first.

    Raises:
        UsageError: ``config.contrasts`` names a set, or cross-fitting without masks.
        InputError, CohortError: see :func:`braincli.calibration.run.calibrate_model`; no case can be used.
    """
    if config.contrasts:
        raise UsageError("--all-contrasts fits every set of contrasts.", "Leave out --contrasts.")
    refuse(cases, healthy, config)
    fits: dict[str, Calibration] = {}
    problems: list[InputError] = []
    for number, contrasts in enumerate(every_set(), start=1):
        these, well = (serving(part, contrasts)[0] for part in (cases, healthy))
        if not any(case.problem is None for case in these):
            continue
        reporter.say(f"{subset(contrasts)} ({number} of {len(every_set())})")
        try:
            model = taught(model, these, normal, config, reporter)
            fits[subset(contrasts)] = _fit(model, these, well, config, contrasts, reporter)
        except InputError as error:  # what is wrong with the cases of one set is nothing to the others
            reporter.warn(f"{subset(contrasts)} is left out: {error.message}")
            problems.append(error)
    if not fits:
        raise problems[0] if problems else InputError("No case can be used.", "Look at them with braincli check.")
    if not config.dry_run:
        write_normal(model.folder, model.normal)
        write_info(model.folder, stored(model.info, fits))
    return fits


def _fit(
    model: LoadedModel,
    cases: Sequence[Case],
    healthy: Sequence[Case],
    config: CalibrateConfig,
    contrasts: tuple[Contrast, ...],
    reporter: Reporter,
) -> Calibration:
    """The calibration of one set, cross-fitted where each half of the cases has a lesion."""
    config = config.model_copy(update={"contrasts": contrasts})
    evidence, left_out = restored(cases, model, config, reporter, masks=config.objective in AIMS)
    well, failed = restored(healthy, model, config, reporter)
    if config.cross_fit and not has_halves(evidence):
        reporter.warn(f"{subset(contrasts)} is not cross-fitted: each half of its cases needs a lesion")
        config = config.model_copy(update={"cross_fit": False})
    return conclude(model, evidence, config, healthy=well, left_out=left_out | failed)
