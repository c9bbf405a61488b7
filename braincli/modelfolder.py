"""A trained model on disk: ``model.json`` (everything but the weights), ``weights.safetensors``, ``README.md``."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from braincli import RESEARCH_USE_ONLY, __version__, files, modelcard
from braincli.cases import CONTRASTS, Contrast
from braincli.errors import ModelError
from braincli.modelsearch import locate

if TYPE_CHECKING:
    import torch

    from braincli.methods.base import Method

FORMAT = 1
# of TSGM (Wang et al. 2023, Sec. III): what a model without calibration takes
PAPER_WEIGHTS = {Contrast.T1: 0.07, Contrast.T1CE: 0.19, Contrast.T2: 0.30, Contrast.FLAIR: 0.44}


class Calibration(BaseModel):
    """What turns residuals into a mask, and where it comes from.

    ``weights`` over contrasts sum to 1 (none for methods that give a score instead of a restoration); ``threshold`` is
    in units of the anomaly map; ``provenance`` names objective, cases and figures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[Contrast, float]
    threshold: float = Field(ge=0)
    min_lesion_mm3: float = Field(default=0.0, ge=0)
    provenance: dict[str, Any] = {}


class MapOptions(BaseModel):
    """How residuals (or a method's scores) become the anomaly map, in this order.

    Attributes:
        residual: from input and restoration, see :func:`braincli.detection.residuals.residual`.
        median: median filter of each contrast, odd width in pixels and slices (papers: 5); 0 or 1 is none.
        smooth_mm: Gaussian smoothing, as one standard deviation.
        erode_mm: what is taken off the brain's rim.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    residual: Literal["absolute", "squared", "positive", "ssim", "ssim3d"] = "absolute"
    median: int = Field(default=0, ge=0)
    smooth_mm: float = Field(default=2.0, ge=0)
    erode_mm: float = Field(default=2.0, ge=0)

    @field_validator("median")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width > 1 and width % 2 == 0:
            raise ValueError("the width of a median filter is odd")
        return width


class ModelInfo(BaseModel):
    """Contents of ``model.json``."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    braincli: str = __version__
    name: str
    method: str
    preset: str
    settings: dict[str, Any] = {}  # the method's full configuration
    contrasts: tuple[Contrast, ...] = CONTRASTS
    slices: dict[str, Any] = {}  # a slices.SliceSpec
    map: MapOptions = MapOptions()
    calibration: Calibration | None = None
    subsets: dict[str, Calibration] = {}  # for scans that lack contrasts, by those that they have (``t1+flair``)
    training: dict[str, Any] = {}  # case ids, image hashes, steps, minutes, data and licences
    figures: dict[str, Any] = {}  # what the card reports
    weights: dict[str, str] = {}  # file name -> SHA-256
    parameters: int = 0
    licence: str = "Apache-2.0"
    notice: str = RESEARCH_USE_ONLY

    def calibration_for(self, contrasts: Collection[Contrast]) -> Calibration | None:
        """The calibration for scans with just these contrasts, or else the one for all."""
        return self.subsets.get(subset(contrasts), self.calibration)


def subset(contrasts: Collection[Contrast]) -> str:
    """The key of ``contrasts`` in :attr:`ModelInfo.subsets`."""
    return "+".join(c for c in CONTRASTS if c in contrasts)


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


def load(name: str, device: torch.device) -> LoadedModel:
    """Build the method and load its weights, after their hashes match.

    Raises:
        ModelError: missing, damaged, or not fitting this version.
    """
    from safetensors.torch import load_file

    from braincli.methods import registry
    from braincli.slices import SliceSpec

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


def save(folder: Path, method: Method, info: ModelInfo) -> None:
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
    modelcard.write(folder, info)
    files.write_json(folder / "model.json", info.model_dump(mode="json"))


def _needed(method: Method) -> dict[str, torch.Tensor]:
    """The weights that prediction needs, by name."""
    return {k: v for k, v in method.state_dict().items() if not k.startswith(method.optional_weights)}
