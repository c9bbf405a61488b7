"""A trained model on disk: ``model.json`` (everything but the weights), ``weights.safetensors``, ``README.md``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from braincli import __version__
from braincli.errors import BraincliError, ModelError, UsageError
from braincli.model import normal
from braincli.model.card import write_card
from braincli.model.info import ModelInfo
from braincli.model.search import locate
from braincli.model.stored import read_stored
from braincli.runtime import files

if TYPE_CHECKING:
    import numpy as np
    import torch

    from braincli.methods.base import Method


@dataclass(frozen=True, repr=False)
class LoadedModel:
    """A model ready to predict.

    Attributes:
        normal: by set of contrasts (``t1+flair``) what healthy tissue is suspected of, see
            :mod:`braincli.detection.suspicion`.
    """

    info: ModelInfo
    method: Method
    folder: Path
    device: torch.device
    normal: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        about = f"method {self.info.method}, preset {self.info.preset}"
        return f"<model {self.info.name}: {about}, {self.info.parameters:,} weights on {self.device}>"

    def current(self) -> LoadedModel:
        """The same weights with what ``model.json`` says now: it may have been calibrated since.

        Raises:
            ModelError: the folder is gone or damaged, or holds other weights by now.
        """
        info = read_info(self.folder)
        if info == self.info:
            return self
        if info.weights != self.info.weights or info.options != self.info.options:
            raise ModelError(f"The model {self.info.name} was changed since it was loaded.", "Load it again.")
        return replace(self, info=info, normal=normal.read(self.folder, info))


def read_info(folder: Path) -> ModelInfo:
    """``model.json`` of ``folder``, without touching the weights.

    Raises:
        ModelError: see :func:`braincli.model.stored.read_stored`; or this version has no such method, preset or option.
    """
    stored = read_stored(folder)
    try:
        return ModelInfo.of(stored)
    except UsageError as error:
        raise ModelError(f"The model {stored.name} does not fit this version: {error.message}", error.hint) from None


def load_model(name: str, device: torch.device) -> LoadedModel:
    """Build the method and load its weights, after their hashes match.

    Raises:
        ModelError: missing, damaged, or not fitting this version.
    """
    from braincli.methods import registry
    from braincli.model import tensors

    folder = locate(name)
    info = read_info(folder)
    method = tensors.loaded(folder, info, lambda: _built(info), registry.method_class(info.method).current_name)
    return LoadedModel(info, method.to(device).eval(), folder.absolute(), device, normal.read(folder, info))


def _built(info: ModelInfo) -> Method:
    """The method that ``info`` describes, with fresh weights.

    Raises:
        ModelError: its network cannot be built so.
    """
    from braincli.methods import registry

    kind = registry.method_class(info.method)
    try:
        return kind(info.options, channels=len(info.contrasts), size=info.slices.size)  # type: ignore[arg-type]
    except BraincliError as error:
        raise ModelError(f"The model {info.name} does not fit this version: {error.message}", error.hint) from None
    except Exception as error:  # layers refuse numbers that do not go together, each in its own way
        raise ModelError(
            f"The settings of {info.name} make no network: {type(error).__name__}: {error}.", "Train it again."
        ) from None


def save_model(folder: Path, method: Method, info: ModelInfo) -> None:
    """Write the weights as float16, then ``model.json``; ``method`` takes the rounded weights, so that what is saved
    is what predicts.

    Raises:
        ModelError: a weight is not finite.
    """
    import torch
    from safetensors.torch import save as encode

    from braincli.model.tensors import needed

    folder.mkdir(parents=True, exist_ok=True)
    state = needed(method)
    update: dict[str, Any] = {"parameters": sum(v.numel() for v in state.values()), "weights": {}}
    if state:
        # counters stay what they are: float16 ends at 65,504
        halves = {k: (v.half() if v.is_floating_point() else v).detach().cpu().contiguous() for k, v in state.items()}
        if not all(torch.isfinite(v).all() for v in halves.values()):
            raise ModelError(f"The weights of {info.name} are not finite; nothing was saved.")
        with files.atomic_path(folder / "weights.safetensors") as temporary:
            temporary.write_bytes(encode(halves, metadata={"format": "pt", "braincli": __version__}))
        update["weights"] = {"weights.safetensors": files.sha256(folder / "weights.safetensors")}
        method.load_state_dict({k: v.float() for k, v in halves.items()}, strict=False)
    write_info(folder, info.model_copy(update=update))


def write_info(folder: Path, info: ModelInfo) -> None:
    """Replace ``model.json`` and renew the card; normal maps that it does not name go."""
    write_card(folder, info)
    files.write_json(folder / "model.json", info.model_dump(mode="json"))
    normal.sweep(folder, info)
