"""A trained model on disk: ``model.json`` (everything but the weights), ``weights.safetensors``, ``README.md``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from braincli import __version__
from braincli.errors import ModelError
from braincli.model.card import write_card
from braincli.model.info import FORMAT, ModelInfo
from braincli.model.search import locate
from braincli.runtime import files

if TYPE_CHECKING:
    import torch

    from braincli.methods.base import Method


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to predict."""

    info: ModelInfo
    method: Method
    folder: Path
    device: torch.device


def read_info(folder: Path) -> ModelInfo:
    """``model.json`` of ``folder``, without touching the weights.

    Raises:
        ModelError: it is damaged or of a newer format.
    """
    try:
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if content.get("format", 0) > FORMAT:
            raise ModelError(f"The model {folder.name} has format {content['format']}.", "Update braincli.")
        return ModelInfo.model_validate(content)
    except (OSError, ValueError, ValidationError) as error:
        raise ModelError(f"model.json of {folder.name} cannot be read: {error}") from None


def load_model(name: str, device: torch.device) -> LoadedModel:
    """Build the method and load its weights, after their hashes match.

    Raises:
        ModelError: missing, damaged, or not fitting this version.
    """
    from safetensors.torch import load_file

    from braincli.imaging.slices import SliceSpec
    from braincli.methods import registry

    folder = locate(name)
    info = read_info(folder)
    spec = SliceSpec.model_validate(info.slices)
    method = registry.build(
        info.method, preset=info.preset, settings=info.settings, channels=len(info.contrasts), size=spec.size
    )
    tensors: dict[str, torch.Tensor] = {}
    for file, digest in info.weights.items():
        path = folder / file
        if not path.is_file():
            raise ModelError(f"{file} of the model {info.name} is missing.", "Install braincli again, or train again.")
        if files.sha256(path) != digest:
            raise ModelError(f"{file} of the model {info.name} is damaged (its SHA-256 differs).", "Fetch it again.")
        tensors |= load_file(path)
    if strange := sorted(set(_needed(method)).symmetric_difference(tensors)):
        raise ModelError(f"The weights of {info.name} do not fit this version ({strange[0]}).", "Train it again.")
    method.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=False)
    return LoadedModel(info, method.to(device).eval(), folder, device)


def save_model(folder: Path, method: Method, info: ModelInfo) -> None:
    """Write the weights as float16, then ``model.json``; ``method`` takes the rounded weights, so that what is saved
    is what predicts.

    Raises:
        ModelError: a weight is not finite.
    """
    import torch
    from safetensors.torch import save as encode

    folder.mkdir(parents=True, exist_ok=True)
    state = _needed(method)
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
    """Replace ``model.json`` and renew the card."""
    write_card(folder, info)
    files.write_json(folder / "model.json", info.model_dump(mode="json"))


def _needed(method: Method) -> dict[str, torch.Tensor]:
    """The weights that prediction needs, by name."""
    return {k: v for k, v in method.state_dict().items() if not k.startswith(method.optional_weights)}
