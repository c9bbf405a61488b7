"""``explain``: prepared cases in, saliency and class activation maps of a model's classifier out (Simonyan et al. 2014;
Zhou et al. 2016; Selvaraju et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from braincli.imaging.cases import Case
from braincli.model.folder import LoadedModel
from braincli.model.search import locate
from braincli.model.stored import is_classifier
from braincli.runtime import cohort
from braincli.runtime.progress import Reporter
from braincli.translation.explaining import ExplainJob
from braincli.translation.options import ExplainConfig
from braincli.translation.work import Done, named


def explain_cases(
    cases: Sequence[Case], out: Path, config: ExplainConfig, reporter: Reporter, *, model: LoadedModel | None = None
) -> list[Done]:
    """Explain ``cases``; each gets a folder below ``out``.

    Args:
        model: in memory, instead of the one that ``config`` names.

    Raises:
        UsageError: an output exists, or an option means nothing with the model.
        ModelError: no such model, or one that holds no classifier.
        CohortError: several cases, some of which failed; it lists them, ``outcomes`` holds what came of each.
    """
    job = _job(config, reporter, model)
    job.refuse()
    return cohort.results(cohort.each(cases, lambda case: job.run(case, out), reporter))


def _job(config: ExplainConfig, reporter: Reporter, model: LoadedModel | None) -> ExplainJob[Any, Any]:
    """That of the model's kind."""
    if model is None and is_classifier(locate(named(config))):
        from braincli.translation.explainvolumes import ExplainVolumes

        return ExplainVolumes(config, reporter)
    from braincli.translation.explainslices import ExplainSlices

    return ExplainSlices(config, reporter, model)
