"""``classify train``, ``validate`` and ``predict`` of the Python door; :mod:`braincli.api` says what ``inputs`` and
options are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli.classification.options import ClassifyConfig, TrainClassifierConfig, ValidateClassifierConfig
from braincli.keywords import configured, takes

if TYPE_CHECKING:
    from braincli.classification.info import ClassifierInfo
    from braincli.classification.predict import Predictions
    from braincli.classification.validate import Validation
    from braincli.imaging.given import Inputs
    from braincli.runtime.progress import Reporter


@takes(TrainClassifierConfig)
def train_classifier(
    inputs: Inputs,
    output: Path | str,
    config: TrainClassifierConfig | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> ClassifierInfo | None:
    """Train a classifier of whole volumes on cases of several sites.

    Args:
        inputs: a manifest (TSV) with a class and a site for every case; skull-stripped scans on one grid.
        output: folder of the new model.
        options: of :class:`braincli.classification.options.TrainClassifierConfig`; ``settings`` holds the method's.

    Returns:
        The model's description, or None if it was stopped (call again with ``resume=True``).

    Raises:
        InputError, UsageError, ModelError, ResourceError: see :mod:`braincli.classification.train`.

    Example:
        >>> braincli.train_classifier("cohort.tsv", "models/ms", method="l2i", target=("basel",))
    """
    from braincli.classification.train import train_classifier as run
    from braincli.imaging.given import Scratch, given_cases
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter

    config, _ = configured(TrainClassifierConfig, config, options)
    with Scratch() as scratch:
        cases = given_cases(inputs, scratch, run=config.run)
        refuse_folder(Path(output))
        return run(cases, config, Path(output), reporter or Reporter())


@takes(ValidateClassifierConfig)
def validate_classifier(
    inputs: Inputs,
    output: Path | str | None = None,
    config: ValidateClassifierConfig | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Validation:
    """Cross-validate methods by site: each site is classified by what was trained on the others.

    Args:
        inputs: as for :func:`train_classifier`.
        output: folder for ``predictions.tsv``, ``figures.csv`` and ``figures.json``. None: nothing is written.
        options: of :class:`braincli.classification.options.ValidateClassifierConfig`.

    Returns:
        Accuracy, Cohen's kappa and AUROC by method and site, and what was said of each case.

    Raises:
        InputError, UsageError, ResourceError: see :mod:`braincli.classification.validate`.

    Example:
        >>> braincli.validate_classifier("cohort.tsv", method=("l2i", "vanilla")).tables["l2i"]["all"]["auroc"]
    """
    from braincli.classification.validate import validate_classifiers
    from braincli.imaging.given import Scratch, given_cases
    from braincli.runtime.progress import Reporter

    config, _ = configured(ValidateClassifierConfig, config, options)
    with Scratch() as scratch:
        cases = given_cases(inputs, scratch, run=config.run)
        _refuse(output, overwrite=config.overwrite)
        found = validate_classifiers(cases, config, reporter or Reporter())
    if output is not None:
        found.write(Path(output))
    return found


@takes(ClassifyConfig)
def classify(
    inputs: Inputs,
    output: Path | str | None = None,
    config: ClassifyConfig | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Predictions:
    """Classify prepared cases by a trained classifier of volumes.

    Args:
        inputs: see :mod:`braincli.api`; skull-stripped, on the grid that the classifier has learnt from.
        output: folder for ``predictions.tsv`` and, where a manifest tells the classes, the figures. None: nothing is
            written.
        options: of :class:`braincli.classification.options.ClassifyConfig`.

    Returns:
        The probability of each class by case; of several cases, those that failed are listed in ``failures``.

    Raises:
        UsageError: no model is named, or an output exists.
        ModelError: no such model, or it is damaged or no classifier.
        InputError: the only case, or every case, cannot be used.

    Example:
        >>> braincli.classify("cohort.tsv", model="models/ms").cases[0].probability
    """
    from braincli.classification.info import load_classifier
    from braincli.classification.predict import classify_cases
    from braincli.errors import UsageError
    from braincli.imaging.given import Scratch, given_cases
    from braincli.runtime import device
    from braincli.runtime.progress import Reporter

    config, _ = configured(ClassifyConfig, config, options)
    if config.model is None:
        raise UsageError("Which model?", "Add --model MODEL, a folder that braincli classify train has written.")
    with Scratch() as scratch:
        cases = given_cases(inputs, scratch, run=config.run)
        _refuse(output, overwrite=config.overwrite)
        model = load_classifier(config.model, device.prepare(config.device, config.threads))
        found = classify_cases(cases, model, config, reporter or Reporter())
    if output is not None:
        found.write(Path(output))
    return found


def _refuse(output: Path | str | None, *, overwrite: bool) -> None:
    """Raise where figures cannot be written into the folder ``output``.

    Raises:
        UsageError: it is no folder, or holds such files.
    """
    from braincli.classification.figures import FILES
    from braincli.runtime.files import refuse_folder, refuse_overwrite

    if output is not None:
        refuse_folder(Path(output))
        for name in FILES:
            refuse_overwrite(Path(output) / name, overwrite=overwrite)
