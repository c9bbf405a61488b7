"""What a training was asked for: the method with its options, all of them spelled out, and what differs from before."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli.config import TrainConfig, to_toml
from braincli.errors import ModelError, UsageError
from braincli.imaging.cases import CONTRASTS, Case
from braincli.methods import registry
from braincli.model import earlier
from braincli.model.folder import LoadedModel, load_model

if TYPE_CHECKING:
    import torch

    from braincli.methods.base import Method

# options that say how a training runs, not what comes of it
HOW = {"resume", "overwrite", "dry_run", "device", "threads", "max_time", "store"} | {
    "checkpoint_minutes", "keep_checkpoints"
}  # fmt: skip
GEOMETRY = {"pixel_mm": "pixel_mm", "size": "canvas", "slice_mm": "slice_mm", "range": "slices"}  # of slices: option


def asked(config: TrainConfig, device: torch.device) -> tuple[Method, TrainConfig, LoadedModel | None]:
    """The fresh method, its options spelled out, and the model to begin with, whose weights it has not taken over.

    Raises:
        UsageError: an option that there is not, or that does not fit.
        ModelError: no such model to begin with, or it is damaged.
    """
    trained = registry.method_class(config.method).trained
    given = earlier.settings_of(config.method, config.settings) if trained else config.settings
    own = registry.merged(given, _geometry(config))
    init = _begun(config, device) if config.init else None
    if init:
        config = config.model_copy(update={"preset": init.info.preset})
        own = registry.merged(init.info.options.model_dump(), own)
    method = registry.build(
        config.method, preset=config.preset, settings=own, channels=len(CONTRASTS), names=_flags(config)
    )  # fmt: skip
    _refuse_canvas(method)
    return method, _resolved(config, method) if trained else config, init


def unheeded(config: TrainConfig, file: Path) -> list[str]:
    """:func:`changes` of a training that is complete; none where the model that it began with is gone."""
    if not file.exists():
        return []
    import torch

    try:
        _, config, _ = asked(config, torch.device("cpu"))
    except ModelError:
        return []
    return changes(file, config)


def changes(file: Path, config: TrainConfig) -> list[str]:
    """Options that differ from those in ``file``, as ``name: before -> now``; none where there is no file."""
    if not file.exists():
        return []
    before = _flat(tomllib.loads(file.read_text(encoding="utf-8")))
    given = config.model_dump(mode="json") | {"init": config.init and Path(config.init).name}
    now = _flat(tomllib.loads(to_toml(given)))
    names = sorted(name for name in {*before, *now} if name not in HOW)
    return [f"{n}: {before.get(n)} -> {now.get(n)}" for n in names if before.get(n) != now.get(n)]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def refuse_training(config: TrainConfig, validation: Sequence[Case]) -> None:
    """Raise where an option is given that a method ignores of which nothing is trained.

    Raises:
        UsageError: the option is named.
    """
    decided = {"method", "preset", "run", "settings", "seed", "pixel_mm", "canvas", "slice_mm", "slices"}
    defaults = TrainConfig()
    given = [n for n in type(config).model_fields if getattr(config, n) != getattr(defaults, n)]
    ignored = [name for name in given if name not in decided | HOW] + (["validation"] if validation else [])
    if ignored:
        raise UsageError(
            f"--{ignored[0].replace('_', '-')}: {config.method} has nothing to train, so that this changes nothing.",
            "Leave it out.",
        )


def _geometry(config: TrainConfig) -> dict[str, Any]:
    """Settings that the options of the slices stand for."""
    slices = {name: value for name, option in GEOMETRY.items() if (value := getattr(config, option)) is not None}
    return {"slices": slices} if slices else {}


def _flags(config: TrainConfig) -> dict[str, str]:
    """How settings are called that :func:`_geometry` gives."""
    given = _geometry(config).get("slices", {})
    return {f"slices.{name}": f"--{GEOMETRY[name].replace('_', '-')}" for name in given}


def _refuse_canvas(method: Method) -> None:
    """Raise where the canvas is no multiple of the method's stride: its networks could not be run.

    Raises:
        UsageError: it is not.
    """
    size, stride = method.config.slices.size, method.stride
    if not method.config.slices.fits(stride):
        above, below = ("x".join(str(max(1, (s + more) // stride) * stride) for s in size) for more in (stride - 1, 0))
        raise UsageError(
            f"A canvas of {size[0]}x{size[1]} pixels does not fit these networks: both sides have to be multiples of "
            f"{stride}.",
            f"Choose --canvas {above}" + (f" or {below}." if below != above else "."),
        )


def _begun(config: TrainConfig, device: torch.device) -> LoadedModel:
    """The model to begin with.

    Raises:
        ModelError: there is none, or it is damaged.
        UsageError: it is of another method.
    """
    assert config.init is not None
    model = load_model(config.init, device)
    if model.info.method != config.method:
        raise UsageError(f"{model.info.name} is a {model.info.method}.", f"Add --method {model.info.method}.")
    return model


def take_over(method: Method, begun: LoadedModel) -> None:
    """Give ``method`` the weights of ``begun``; parts that a model folder does not hold stay fresh, and so does a
    network that ``begun`` does not have.

    Raises:
        UsageError: a network has another shape.
    """
    from braincli.model.tensors import needed

    held = needed(method).keys()
    weights = {name: value for name, value in begun.method.state_dict().items() if name in held}
    try:
        method.load_state_dict(weights, strict=False)
    except RuntimeError:
        raise UsageError(
            f"The options given do not fit the networks of {begun.info.name}.",
            "With --init, leave widths, patches and the like as they are.",
        ) from None
    begun_with = {_part(name) for name in weights}
    if missing := {name for name in held - set(weights) if _part(name) in begun_with}:
        raise UsageError(f"{begun.info.name} lacks {sorted(missing)[0]}.", "Leave such options as they are.")


def _part(parameter: str) -> str:
    """The network that a parameter belongs to."""
    return parameter.partition(".")[0]


def _resolved(config: TrainConfig, method: Method) -> TrainConfig:
    """``config`` with everything spelled out that the preset decides (what epochs come to, the slices tell).

    Raises:
        UsageError: a stage that the method does not have.
    """
    stages = method.stages
    if unknown := set(config.steps) - set(stages):
        raise UsageError(f"No stage {sorted(unknown)[0]!r}.", f"Stages of this method: {', '.join(stages)}.")
    own = method.config
    fixed = {stage: length for stage, length in own.train_steps.items() if isinstance(length, int)}
    steps = {stage: count for stage in stages if (count := (fixed | config.steps).get(stage)) is not None}
    settings = own.model_dump(mode="json")
    resolved = {"steps": steps, "batch": config.batch or own.train_batch, "settings": settings}
    return config.model_copy(update=resolved | dict.fromkeys(("pixel_mm", "canvas", "slice_mm", "slices")))
