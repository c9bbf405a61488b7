"""``translate`` and ``explain`` of the Python door; :mod:`braincli.api` says what ``inputs`` and options are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli.keywords import configured, contrasts, takes
from braincli.translation.options import ExplainConfig, TranslateConfig

if TYPE_CHECKING:
    from braincli.imaging.given import Inputs, Scan
    from braincli.runtime.progress import Reporter
    from braincli.translation.work import Done


@takes(TranslateConfig)
def translate(
    inputs: Inputs,
    output: Path | str,
    config: TranslateConfig | None = None,
    reporter: Reporter | None = None,
    *,
    masks: Path | str | Sequence[Scan] = (),
    contrast: str | Sequence[str] | None = None,
    **options: Any,
) -> list[Done]:
    """Show what prepared cases would look like at another number, or with a lesion in a mask.

    Args:
        inputs: see :mod:`braincli.api`; skull-stripped, on one grid per case.
        output: each case gets a folder below it, with scans on its own grid.
        masks: of the only case, on its grid: a translation for each.
        contrast: what a single file shows, where its name does not tell; of a 4-D file what its volumes show.
        options: of :class:`braincli.translation.options.TranslateConfig`.

    Returns:
        One result per case, with what the model's guide says before and after.

    Raises:
        UsageError: no goal, one of another kind than the model's, masks for several cases, or an output exists.
        ModelError: no such model, or one that translates nothing.
        InputError: the only case, or a mask, cannot be used.
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.

    Example:
        >>> braincli.translate("sub01/", "out/", model="models/age", to=("40", "80"))
    """
    from braincli.imaging.given import Scratch, given_cases
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter
    from braincli.translation.translate import translate_cases

    config, loaded = configured(TranslateConfig, config, options)
    with Scratch() as scratch:
        cases = given_cases(inputs, scratch, contrast=contrasts(contrast), run=config.run)
        asked = [masks] if isinstance(masks, str | Path) else masks
        goals = [scratch.file(mask, f"mask-{number}") for number, mask in enumerate(asked, 1)]
        refuse_folder(Path(output))
        return translate_cases(cases, Path(output), config, reporter or Reporter(), masks=goals, model=loaded)


@takes(ExplainConfig)
def explain(
    inputs: Inputs,
    output: Path | str,
    config: ExplainConfig | None = None,
    reporter: Reporter | None = None,
    *,
    contrast: str | Sequence[str] | None = None,
    **options: Any,
) -> list[Done]:
    """Map what a classifier (or regressor), of slices or of whole volumes, rests on: saliency and class activation.

    Args:
        inputs, output, contrast: as for :func:`translate`.
        options: of :class:`braincli.translation.options.ExplainConfig`.

    Returns:
        One result per case, with what the classifier says.

    Raises:
        UsageError: an output exists, or an option means nothing with the model.
        ModelError: no such model, or one that holds no classifier.
        InputError: the only case cannot be used.
        CohortError: several cases, some of which failed; its ``outcomes`` hold what came of each, the others too.

    Example:
        >>> braincli.explain("sub01/", "out/", model="models/classifier")
    """
    from braincli.imaging.given import Scratch, given_cases
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter
    from braincli.translation.explain import explain_cases

    config, loaded = configured(ExplainConfig, config, options)
    with Scratch() as scratch:
        cases = given_cases(inputs, scratch, contrast=contrasts(contrast), run=config.run)
        refuse_folder(Path(output))
        return explain_cases(cases, Path(output), config, reporter or Reporter(), model=loaded)
