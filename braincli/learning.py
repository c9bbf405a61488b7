"""The half of the Python door that makes models and uses cohorts whole; :mod:`braincli.api` is the other, and says
what ``inputs``, ``output``, ``config`` and options are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli.config import CalibrateConfig, SplitConfig, TrainConfig
from braincli.keywords import Paths, configured, paths, takes

if TYPE_CHECKING:
    from braincli.imaging.cases import Case
    from braincli.imaging.given import Inputs, Scratch
    from braincli.imaging.splitting import Split
    from braincli.model.folder import LoadedModel
    from braincli.model.info import Calibration, ModelInfo
    from braincli.runtime.progress import Reporter


def load_model(model: str | Path = "tsgm", *, device: str = "auto", threads: int | None = None) -> LoadedModel:
    """A trained model with its weights in memory, which every function takes where it takes a model's name.

    Args:
        model: name of a shipped model or of one in ``$BRAINCLI_MODELS``, or a model folder.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        threads: CPU threads; None takes all that this process may use.

    Returns:
        The model; ``info`` describes it (contrasts, slices, calibration, training).

    Raises:
        ModelError: there is no such model, or its weights are damaged.
        ResourceError: the device is not on this machine.

    Example:
        >>> tsgm = braincli.load_model("tsgm")
        >>> masks = {id: braincli.detect(scans, model=tsgm)[0].mask for id, scans in cohort.items()}
    """
    from braincli.model import folder
    from braincli.runtime import device as devices

    return folder.load_model(str(model), devices.prepare(device, threads))


@takes(TrainConfig)
def train(
    inputs: Inputs,
    output: Path | str,
    config: TrainConfig | None = None,
    reporter: Reporter | None = None,
    *,
    validation: Inputs | None = None,
    **options: Any,
) -> ModelInfo | None:
    """Train a method on prepared cases.

    Args:
        inputs: see :mod:`braincli.api`; skull-stripped, on one grid per case, with lesion masks where known.
        output: folder of the new model.
        validation: the same, of cases that judge the weights on the way, by the method's own criterion; the best ones
            become the model.
        options: of :class:`braincli.config.TrainConfig`; ``settings`` holds those of the method.

    Returns:
        The model's description, or None if ``max_time`` ran out (call again with ``resume=True``; in its last stage a
        training leaves a model that can be used as it is).

    Raises:
        InputError, UsageError, ResourceError: see :func:`braincli.training.run.train_cases`.

    Example:
        >>> braincli.train("healthy/", "models/mine", method="dae", steps={"train": 2000})
        >>> braincli.detect("sub01/", "out/", model="models/mine", threshold=0.2)
    """
    from braincli.imaging.cases import sound
    from braincli.imaging.given import Scratch, given_cases
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter
    from braincli.training.run import train_cases

    config, _ = configured(TrainConfig, config, options)
    with Scratch() as scratch:
        cases, judging = (
            [] if given is None else sound(given_cases(given, scratch, run=config.run))
            for given in (inputs, validation)
        )
        refuse_folder(Path(output))
        return train_cases(cases, config, Path(output), reporter or Reporter(), validation=judging)


@takes(SplitConfig)
def split(
    inputs: Paths,
    output: Path | str | None = None,
    config: SplitConfig | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Split:
    """Part a cohort by patient, and write a TSV manifest for each part.

    Args:
        inputs: cohort folders or TSV manifests.
        output: gets ``train.tsv``, ``validation.tsv`` and ``test.tsv``, with folds ``fold-0/train.tsv`` and so on, and
            ``splits.json``, the folds' ids as nnU-Net writes them (``train`` and ``val``). None: nothing is written.
        options: of :class:`braincli.config.SplitConfig`.

    Returns:
        The cases of each fold and of the test part, sorted by id.

    Raises:
        InputError: a case cannot be used, or has none of the contrasts.
        UsageError: an output exists, or there are too few patients.

    Example:
        >>> parts = braincli.split("cohort/", "parts/", test=0.2, validation=0.1)
        >>> [case.id for case in parts.test]
    """
    from braincli.imaging.cases import find_cases, sound
    from braincli.imaging.splitting import narrowed, split, write_split
    from braincli.runtime.files import refuse_folder
    from braincli.runtime.progress import Reporter

    config, _ = configured(SplitConfig, config, options)
    cases = sound([case for path in paths(inputs) for case in find_cases(path, run=config.run)])
    if output is not None:
        refuse_folder(Path(output))
    parts = split(
        narrowed(cases, config.contrasts, config.group), folds=config.folds, validation=config.validation,
        test=config.test, seed=config.seed, pattern=config.patient,
    )  # fmt: skip
    if output is not None:
        for line in write_split(parts, Path(output), overwrite=config.overwrite):
            (reporter or Reporter()).say(line)
    return parts


@takes(CalibrateConfig)
def calibrate(
    inputs: Inputs,
    config: CalibrateConfig | None = None,
    reporter: Reporter | None = None,
    *,
    healthy: Inputs | None = None,
    normal: Inputs | None = None,
    **options: Any,
) -> Calibration:
    """Fit contrast weights, threshold and smallest lesion of a model, and store them in its ``model.json``.

    Args:
        inputs: see :mod:`braincli.api`; disjoint from training; with lesion masks, except for
            ``objective="healthy-quantile"``.
        healthy: prepared cases of healthy people, in which at most ``healthy_ml`` are marked, as a mean.
        normal: cases of which the tissue away from lesions says what is normal where in a brain, for methods that
            suspect (tsgm); cases of training may be among them, and those without a mask count as healthy.
        options: of :class:`braincli.config.CalibrateConfig`; ``model`` is a name, a folder, or a loaded model.

    Returns:
        The weights (they sum to 1), the threshold of the anomaly map, the smallest lesion in mm3, and how they came
        about.

    Raises:
        InputError: no lesion, a case that was trained on, or one that lies in both cohorts.
        CohortError: none of several cases can be used; where some can, ``provenance["left_out"]`` tells of the others.
        UsageError: cross-fitting without masks.
        ModelError: no such model.

    Example:
        >>> braincli.calibrate("validation/", model="models/mine", cross_fit=True).threshold
    """
    from braincli.calibration.run import calibrate_model
    from braincli.imaging.given import Scratch
    from braincli.runtime.progress import Reporter

    config, loaded = configured(CalibrateConfig, config, options)
    with Scratch() as scratch:
        model, cases, well, usual = _to_calibrate(inputs, config, healthy, normal, loaded, scratch)
        return calibrate_model(model, cases, config, reporter or Reporter(), healthy=well, normal=usual)


@takes(CalibrateConfig)
def calibrate_all(
    inputs: Inputs,
    config: CalibrateConfig | None = None,
    reporter: Reporter | None = None,
    *,
    healthy: Inputs | None = None,
    normal: Inputs | None = None,
    **options: Any,
) -> dict[str, Calibration]:
    """:func:`calibrate` for every set of contrasts that cases have, as scans that have no others are judged.

    Returns:
        The calibrations by their contrasts (``t1+flair``), those of most contrasts first.

    Raises:
        UsageError: ``contrasts`` names some.
        BraincliError: see :func:`calibrate`.

    Example:
        >>> braincli.calibrate_all("validation/", model="models/mine")["flair"].threshold
    """
    from braincli.calibration.subsets import calibrate_subsets
    from braincli.imaging.given import Scratch
    from braincli.runtime.progress import Reporter

    config, loaded = configured(CalibrateConfig, config, options)
    with Scratch() as scratch:
        model, cases, well, usual = _to_calibrate(inputs, config, healthy, normal, loaded, scratch)
        return calibrate_subsets(model, cases, config, reporter or Reporter(), healthy=well, normal=usual)


def _to_calibrate(
    inputs: Inputs,
    config: CalibrateConfig,
    healthy: Inputs | None,
    normal: Inputs | None,
    loaded: LoadedModel | None,
    scratch: Scratch,
) -> tuple[LoadedModel, list[Case], list[Case], list[Case]]:
    """The model on its device, the cases, the healthy ones, and those that say what is normal."""
    from braincli.imaging.given import given_cases

    model = load_model(config.model, device=config.device, threads=config.threads) if loaded is None else loaded
    cases = given_cases(inputs, scratch, run=config.run)
    well, usual = (given_cases(part, scratch, run=config.run) if part else [] for part in (healthy, normal))
    return model.current(), cases, well, usual
