"""A trained classifier on disk: ``model.json`` (everything but the weights) and ``weights.safetensors``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError, field_validator, model_validator

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.classification import registry
from braincli.classification.approaches.base import Approach, ApproachConfig, World
from braincli.errors import ModelError, UsageError
from braincli.imaging.names import Contrast
from braincli.model.facts import Count, Line, NotNegative, Sha256
from braincli.model.search import locate, read_content, refuse_newer, title
from braincli.model.stored import CLASSIFIER as KIND
from braincli.model.stored import unfit
from braincli.runtime import files

if TYPE_CHECKING:
    import torch

FORMAT = 1
WEIGHTS = "weights.safetensors"
Row = tuple[float, float, float, float]
Side = Annotated[int, Field(ge=1, le=4096)]
Sides = tuple[Side, Side, Side]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Grid(_Part):
    """Where volumes are cut from scans.

    Attributes:
        mm, shape: voxel size and size (X, Y, Z) of the volumes, in RAS order.
        centre: their middle, RAS mm.
        percentiles: of the intensities inside the brain, which become 0 and 1.
        scan_shape, scan_affine: the grid that every scan lies on, in RAS order.
    """

    mm: Annotated[float, Field(gt=0)]
    shape: Sides
    centre: tuple[float, float, float]
    percentiles: tuple[float, float]
    scan_shape: Sides
    scan_affine: tuple[Row, Row, Row, Row]

    @field_validator("scan_affine")
    @classmethod
    def _turns_back(cls, affine: tuple[Row, Row, Row, Row]) -> tuple[Row, Row, Row, Row]:
        import numpy as np

        if affine[3] != (0, 0, 0, 1) or abs(float(np.linalg.det(np.array(affine)))) < 1e-6:
            raise ValueError("is no affine")
        return affine


class Learnt(_Part):
    """What a classifier has learnt from.

    Attributes:
        cases: by id the SHA-256 of its scan.
        validation: ids of those that chose among the weights.
        counts: cases of each class, by site.
        target: the target sites; empty: no site had every class, and all counted as one.
        steps: how many; best: the step whose weights were taken, None: the last.
        minutes: wall time of the last run.
        seed: of everything random.
        cautions: what could not be learnt, in sentences.
    """

    cases: dict[str, Sha256] = {}
    validation: list[str] = []
    counts: dict[str, dict[str, Count]] = {}
    target: list[str] = []
    steps: Count = 0
    best: Count | None = None
    minutes: NotNegative = 0.0
    seed: Count = 0
    cautions: list[str] = []


class ClassifierInfo(BaseModel):
    """Contents of ``model.json``; ``options`` are an instance of the method's own ``Config``."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["classifier"] = "classifier"
    format: int = Field(default=FORMAT, ge=1, le=FORMAT)
    braincli: Line = __version__
    name: Line
    method: Line
    preset: Line
    contrast: Contrast
    label: Line
    site: Line
    classes: tuple[Line, ...] = Field(min_length=2)
    sites: tuple[Line, ...] = Field(min_length=1)
    grid: Grid
    options: SerializeAsAny[ApproachConfig]
    training: Learnt = Learnt()
    weights: dict[str, Sha256] = {}
    parameters: Count = 0
    licence: Line = "Apache-2.0"
    notice: Line = RESEARCH_USE_ONLY

    @model_validator(mode="before")
    @classmethod
    def _with_options(cls, content: Any) -> Any:
        if not isinstance(content, dict) or isinstance(content.get("options"), ApproachConfig):
            return content
        settings = content.get("options")
        if not isinstance(settings, dict) or not {"method", "preset"} <= set(content):
            return content
        own = registry.spec(str(content["method"])).settings
        given = {key: value for key, value in settings.items() if key not in own or value != own[key]}
        return content | {"options": registry.options(str(content["method"]), str(content["preset"]), given)}

    @field_validator("weights")
    @classmethod
    def _inside_the_folder(cls, weights: dict[str, str]) -> dict[str, str]:
        if strange := [name for name in weights if name != WEIGHTS]:
            raise ValueError(f"{strange[0]!r} is not {WEIGHTS}")
        return weights


@dataclass(frozen=True, repr=False)
class LoadedClassifier:
    """A classifier ready to predict."""

    info: ClassifierInfo
    approach: Approach
    folder: Path
    device: torch.device

    def __repr__(self) -> str:
        about = f"{self.info.method}, {' or '.join(self.info.classes)} by {self.info.contrast}"
        return f"<classifier {self.info.name}: {about}, {self.info.parameters:,} weights on {self.device}>"


def read_info(folder: Path) -> ClassifierInfo:
    """``model.json`` of ``folder``, without touching the weights.

    Raises:
        ModelError: it is damaged, of a newer format or another kind of model, or this version has no such method.
    """
    content = read_content(folder)
    if content.get("kind") != KIND:
        raise ModelError(
            f"{title(folder)} is no classifier of volumes.",
            "Train one with: braincli classify train.",
        )
    refuse_newer(folder, content, FORMAT)
    try:
        return ClassifierInfo.model_validate(content)
    except UsageError as error:
        raise ModelError(f"The model {title(folder)} does not fit this version: {error.message}", error.hint) from None
    except ValidationError as error:
        raise unfit(folder, error) from None


def load_classifier(name: str, device: torch.device) -> LoadedClassifier:
    """Build the networks and load their weights, after the hash matches.

    Raises:
        ModelError: missing, damaged, or not fitting this version.
    """
    from braincli.model import tensors

    folder = locate(name)
    info = read_info(folder)
    approach = tensors.loaded(folder, info, lambda: _built(info))
    return LoadedClassifier(info, approach.to(device).eval(), folder.absolute(), device)


def _built(info: ClassifierInfo) -> Approach:
    try:
        world = World((1,) * len(info.classes), len(info.sites))
        return registry.approach_class(info.method)(info.options, world)
    except ModelError:  # larger than its weights
        raise
    except UsageError as error:
        raise ModelError(f"The model {info.name} does not fit this version: {error.message}", error.hint) from None


def save(folder: Path, approach: Approach, info: ClassifierInfo) -> ClassifierInfo:
    """Write the weights, then ``model.json``: a folder without the second holds no model.

    Raises:
        ModelError: a weight is not finite.
    """
    import torch
    from safetensors.torch import save as encode

    from braincli.model.tensors import needed

    kept = {key: value.detach().cpu().contiguous() for key, value in needed(approach).items()}
    state = {key: value.float() if value.is_floating_point() else value for key, value in kept.items()}
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise ModelError(f"The weights of {info.name} are not finite; nothing was saved.")
    (folder / "model.json").unlink(missing_ok=True)  # of the model that this one replaces
    with files.atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(encode(state, metadata={"format": "pt"}))
    whole = info.model_copy(
        update={
            "weights": {WEIGHTS: files.sha256(folder / WEIGHTS)},
            "parameters": sum(value.numel() for key, value in approach.named_parameters() if key in state),
        }
    )
    files.write_json(folder / "model.json", json.loads(whole.model_dump_json()))
    return whole
