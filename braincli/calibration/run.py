"""One calibration of a model: cases in, values and their figures into its ``model.json``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from braincli.calibration.aims import AIMS
from braincli.calibration.crossfit import REPORTED, reported
from braincli.calibration.evidence import Evidence, gather
from braincli.calibration.fit import Recipe, cross_calibrate, crossed, false_positives, healthy_quantile
from braincli.calibration.normal import with_normal
from braincli.calibration.rules import by_rule
from braincli.config import CalibrateConfig
from braincli.detection.maps import renormalise
from braincli.errors import InputError, UsageError
from braincli.imaging.case import taken
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.model.folder import LoadedModel, write_info
from braincli.model.info import Calibration, ModelInfo, subset
from braincli.model.normal import write as write_normal
from braincli.runtime import device
from braincli.runtime.cohort import short
from braincli.runtime.progress import Reporter


def calibrate_model(
    model: LoadedModel,
    cases: Sequence[Case],
    config: CalibrateConfig,
    reporter: Reporter,
    *,
    healthy: Sequence[Case] = (),
    normal: Sequence[Case] = (),
) -> Calibration:
    """Fit ``model`` on ``cases``, count what it then marks in healthy tissue, and store both in its ``model.json``.

    With ``config.contrasts``, what is fitted is for scans that have no others, and is stored beside the rest.

    Args:
        healthy: cases of healthy people, in which ``config.healthy_ml`` are marked at most, as a mean (not for
            ``healthy-quantile``). One that lacks a contrast of the cases bounds nothing: it is left aside, and named.
        normal: cases that say first what is normal, see :func:`braincli.calibration.normal.with_normal`.

    Raises:
        InputError: see :func:`braincli.calibration.evidence.gather`; or a case lies in both cohorts.
        UsageError: cross-fitting without masks, or ``normal`` where the cases have different contrasts.
    """
    refuse(cases, healthy, config)
    cases = [case if case.problem else only(case, config.contrasts) for case in cases]
    model = taught(model, cases, normal, config, reporter)
    evidence, left_out = restored(cases, model, config, reporter, masks=config.objective != "healthy-quantile")
    judged = shared_contrasts(evidence) or CONTRASTS
    fitting, lacking = serving(healthy, judged)
    if lacking:
        reporter.warn(f"healthy cases without {subset(judged)} bound nothing: {', '.join(case.id for case in lacking)}")
    well, failed = restored(fitting, model, config, reporter)
    fit = conclude(model, evidence, config, healthy=well, left_out=left_out | failed)
    if not config.dry_run:
        write_normal(model.folder, model.normal)
        write_info(model.folder, stored(model.info, {subset(config.contrasts): fit}))
    return fit


def refuse(cases: Sequence[Case], healthy: Sequence[Case], config: CalibrateConfig) -> None:
    """Raise where nothing can come of it.

    Raises:
        InputError: a case lies in both cohorts.
        UsageError: cross-fitting without masks.
    """
    if config.cross_fit and config.fusion != "fitted":
        raise UsageError("Cross-fitting fits weights.", "Leave out --cross-fit, or --fusion.")
    if config.cross_fit and config.objective not in AIMS:
        raise UsageError("Cross-fitting compares with masks.", "Leave out --cross-fit, or use --objective dsc.")
    if twice := sorted({case.id for case in cases} & {case.id for case in healthy}):
        raise InputError(f"{twice[0]} lies in both cohorts.", "False positives are counted on cases of their own.")


def only(case: Case, contrasts: Collection[Contrast]) -> Case:
    """``case`` with these contrasts alone (all of its own if none are named).

    Raises:
        InputError: it lacks one of them.
    """
    if lacking := [c.upper() for c in contrasts if c not in case.images]:
        raise InputError(f"{case.id} has no {lacking[0]}.", "Name --contrasts that every case has.")
    return replace(case, images={c: path for c, path in case.images.items() if c in contrasts or not contrasts})


def serving(cases: Sequence[Case], contrasts: Collection[Contrast]) -> tuple[list[Case], list[Case]]:
    """The cases that have all of ``contrasts``, cut down to them, and those that lack one.

    A case with a problem is among the first: what is wrong with it is told when it is restored.
    """
    there = [case.problem is not None or set(contrasts) <= set(case.images) for case in cases]
    fitting = [case for case, fits in zip(cases, there, strict=True) if fits]
    lacking = [case for case, fits in zip(cases, there, strict=True) if not fits]
    return [case if case.problem else only(case, contrasts) for case in fitting], lacking


def taught(
    model: LoadedModel, cases: Sequence[Case], normal: Sequence[Case], config: CalibrateConfig, reporter: Reporter
) -> LoadedModel:
    """``model`` with a normal map for the contrasts of ``cases``, fitted on those of ``normal`` that have them.

    Where none has, it is what it was.

    Raises:
        UsageError: the cases have different contrasts, or the method suspects nothing.
        BraincliError: see :func:`braincli.calibration.normal.with_normal`.
    """
    sets = {tuple(c for c in CONTRASTS if c in case.images) for case in cases if case.problem is None}
    if not normal or not sets:
        return model
    if len(sets) > 1:
        raise UsageError("The cases have different contrasts, and each set has a normal map.", "Use --all-contrasts.")
    contrasts = sets.pop()
    fitting = serving(normal, contrasts)[0]
    if not any(case.problem is None for case in fitting):
        reporter.warn(f"no case says what is normal with {subset(contrasts)}")
        return model
    return with_normal(
        model, fitting, seed=config.seed, batch=config.batch, reporter=reporter,
        dtype=device.precision(model.device, config.precision),
    )  # fmt: skip


def restored(
    cases: Sequence[Case], model: LoadedModel, config: CalibrateConfig, reporter: Reporter, *, masks: bool = False
) -> tuple[list[Evidence], dict[str, str]]:
    """The evidence of the cases that can be used, and why others cannot, by id.

    Raises:
        BraincliError: see :func:`braincli.calibration.evidence.gather`.
    """
    for text in taken(cases):
        reporter.say(text)
    outcomes = gather(
        cases, model, seed=config.seed, batch=config.batch, reporter=reporter, masks=masks,
        dtype=device.precision(model.device, config.precision),
    )  # fmt: skip
    left_out = {outcome.id: short(outcome.error) for outcome in outcomes if outcome.error is not None}
    return [outcome.result for outcome in outcomes if outcome.result is not None], left_out


def conclude(
    model: LoadedModel,
    evidence: Sequence[Evidence],
    config: CalibrateConfig,
    *,
    healthy: Sequence[Evidence] = (),
    left_out: Mapping[str, str] | None = None,
) -> Calibration:
    """The calibration on restored cases, with its figures; nothing is stored.

    Args:
        healthy: healthy people, restored with the contrasts of the cases.
        left_out: why others could not be used.
    """
    shared = shared_contrasts(evidence)
    more: dict[str, Any] = {}
    if config.objective in AIMS:
        fitted = config.fusion == "fitted"  # else weights are asked for
        recipe = Recipe(AIMS[config.objective], tuple(healthy), config.healthy_ml, config.rising, fitted)
        fit = recipe.fit(evidence)
        if config.cross_fit:
            fits = cross_calibrate(evidence, recipe)
            more |= crossed(evidence, recipe, fit, fits)
            if set(config.contrasts) in (set(), {*model.info.contrasts}):
                more["figures"] = reported(evidence, fits)
        if not fitted:
            fit = by_rule(evidence, fit, config)
    elif config.objective == "otsu":
        fit = by_rule(evidence, Recipe(suspicion=False).fit(evidence), config)
    else:
        known = model.info.calibration_for(shared) or model.info.calibration
        fit = healthy_quantile(evidence, config.false_positive_rate, known)
    if shared and shared != model.info.contrasts:
        more["contrasts"] = list(shared)
    if left_out:
        more["left_out"] = dict(left_out)
    marked = {e.case.id: false_positives(e, e.anomaly(fit.weights), e.mask(fit)) for e in [*evidence, *healthy]}
    more["healthy"] = {case: facts for case, facts in marked.items() if facts}
    fit = fit.model_copy(update={"provenance": fit.provenance.model_copy(update=more)})
    if config.contrasts and fit.weights:
        fit = fit.model_copy(update={"weights": renormalise(fit.weights, config.contrasts)})
    return fit


def shared_contrasts(evidence: Sequence[Evidence]) -> tuple[Contrast, ...]:
    """The contrasts of the cases, where all have the same; else none."""
    kinds = {e.slices.contrasts for e in evidence}
    return kinds.pop() if len(kinds) == 1 else ()


def stored(info: ModelInfo, fits: Mapping[str, Calibration]) -> ModelInfo:
    """``info`` with ``fits``, by their contrasts; the one of all, or without any (``""``), is the model's own."""
    own = subset(info.contrasts)
    parts = {name: fit for name, fit in fits.items() if name not in ("", own)}
    info = info.model_copy(update={"subsets": info.subsets | parts})
    fit = fits.get(own) or fits.get("")
    if fit is None:
        return info
    replaced = {"DSC (cross-fitted)", *REPORTED}
    own_figures = {name: value for name, value in info.figures.items() if name not in replaced}
    dsc = fit.provenance.dsc_cross_fit
    figures = ({} if dsc is None else {"DSC (cross-fitted)": dsc}) | fit.provenance.figures | own_figures
    return info.model_copy(update={"calibration": fit, "figures": figures})
