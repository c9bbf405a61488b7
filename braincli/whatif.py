"""``translate`` and ``explain`` of the Python door (:mod:`braincli.api`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from braincli.imaging.cases import Contrast
    from braincli.runtime.progress import Reporter
    from braincli.translation.options import ExplainConfig, TranslateConfig
    from braincli.translation.work import Done

Paths = Path | str | Sequence[Path | str]


def translate(
    inputs: Paths,
    output: Path | str,
    config: TranslateConfig | None = None,
    reporter: Reporter | None = None,
    *,
    masks: Paths = (),
    contrast: str | None = None,
) -> list[Done]:
    """Show what prepared cases would look like at another number, or with a lesion in a mask.

    Args:
        inputs: skull-stripped scans on one grid per case: files, case folders, cohorts or TSV manifests.
        output: each case gets a folder below it, with scans on its own grid.
        masks: of the only case, on its grid: a translation for each.
        contrast: what a single file shows, where its name does not tell; of a 4-D file what its volumes show.

    Returns:
        One result per case, with what the model's guide says before and after.

    Raises:
        UsageError: no goal, one of another kind than the model's, masks for several cases, or an output exists.
        ModelError: no such model, or one that translates nothing.
        InputError: the only case, or a mask, cannot be used.
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.
    """
    from braincli.imaging.cases import gather_cases
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter
    from braincli.translation.options import TranslateConfig
    from braincli.translation.translate import translate_cases

    config = config or TranslateConfig()
    cases = gather_cases(_paths(inputs), contrast=_contrasts(contrast), run=config.run)
    refuse_folder(Path(output))
    return translate_cases(cases, Path(output), config, reporter or Reporter(), masks=_paths(masks))


def explain(
    inputs: Paths,
    output: Path | str,
    config: ExplainConfig | None = None,
    reporter: Reporter | None = None,
    *,
    contrast: str | None = None,
) -> list[Done]:
    """Map what a model's classifier (or regressor) of slices rests on: saliency and class activation.

    Args:
        inputs, output, contrast: as for :func:`translate`.

    Returns:
        One result per case, with what the classifier says.

    Raises:
        UsageError: an output exists.
        ModelError: no such model, or one that holds no classifier.
        InputError: the only case cannot be used.
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.
    """
    from braincli.imaging.cases import gather_cases
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter
    from braincli.translation.explain import explain_cases
    from braincli.translation.options import ExplainConfig

    config = config or ExplainConfig()
    cases = gather_cases(_paths(inputs), contrast=_contrasts(contrast), run=config.run)
    refuse_folder(Path(output))
    return explain_cases(cases, Path(output), config, reporter or Reporter())


def _paths(given: Paths) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(path) for path in given]


def _contrasts(given: str | None) -> tuple[Contrast, ...] | None:
    """The contrasts named, also as ``t1,flair``.

    Raises:
        UsageError: there is no such contrast.
    """
    from braincli.errors import UsageError
    from braincli.imaging.cases import Contrast

    names = [] if given is None else [name.strip().lower() for name in given.split(",")]
    if unknown := [name for name in names if name not in list(Contrast)]:
        raise UsageError(f"There is no contrast {unknown[0]!r}.", f"Use one of: {', '.join(Contrast)}.")
    return tuple(Contrast(name) for name in names) or None
