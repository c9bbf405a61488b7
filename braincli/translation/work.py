"""What translating and explaining have in common: the model, a prepared case on its canvas, where outputs go."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from braincli.errors import InputError, ModelError, UsageError
from braincli.imaging import volume
from braincli.imaging.brain import refuse_head
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.reading import load_images
from braincli.imaging.slices import Slices, from_volumes
from braincli.imaging.volume import Volume, view_onto
from braincli.model.folder import LoadedModel, load_model
from braincli.reporting import board
from braincli.runtime import device, files, provenance
from braincli.runtime.locks import locked
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import RunRecord
from braincli.runtime.transaction import Transaction
from braincli.translation.options import ExplainConfig, TranslateConfig

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from braincli.classification.info import LoadedClassifier

M = TypeVar("M", bound="LoadedModel | LoadedClassifier")


@dataclass(frozen=True)
class Ready:
    """A prepared case as the model sees it.

    Attributes:
        images: as given, on one grid.
        brain: bool, on that grid.
        slices: those that are looked at.
        warnings: what the user should know, in words.
    """

    images: dict[Contrast, Volume]
    brain: Volume
    slices: Slices
    warnings: list[str]


@dataclass(frozen=True)
class Done:
    """What came of one case.

    Attributes:
        status: ``done``, or ``skipped`` where ``resume`` found it complete.
        folder: where its files lie.
        readings: what the model's own network says, by goal or name.
    """

    case: str
    status: str
    folder: Path
    readings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content; the folder by its base name."""
        return {**asdict(self), "folder": self.folder.name}


@dataclass
class Job(ABC, Generic[M]):
    """A model with options, ready for any number of cases; a command is one of its kinds."""

    config: TranslateConfig | ExplainConfig
    reporter: Reporter
    loaded: M | None = None  # instead of the one that the options name

    @cached_property
    def model(self) -> M:
        """The model on its device.

        Raises:
            UsageError: none is named. ModelError: it is missing or damaged.
        """
        if self.loaded is not None:
            return self.loaded
        return self.load(named(self.config), device.prepare(self.config.device, self.config.threads))

    @abstractmethod
    def load(self, name: str, device: torch.device) -> M:
        """The model ``name``.

        Raises:
            ModelError: it is missing or damaged.
        """

    def record(self, command: str, case: Case, more: Mapping[str, Path] | None = None) -> RunRecord:
        """The record of ``case`` with what identifies the run; ``more``: inputs by role beside the case's own."""
        roles: dict[str, Path] = {str(contrast): path for contrast, path in case.images.items()} | dict(more or {})
        if case.brain is not None:
            roles["brain"] = case.brain
        options = self.config.model_dump(mode="json", exclude={"model"})
        return RunRecord(
            command, case.id, {"model": self.model.info.name, **options}, provenance.hashes(roles),
            weights=files.sha256(self.model.folder / "model.json"),
        )  # fmt: skip

    def outputs(self, record: RunRecord, case: Case, out: Path, kinds: list[str], inputs: list[Path]) -> Outputs:
        """Where the results of ``case`` go, below the folder ``out``."""
        if not self.config.figure:
            kinds = [kind for kind in kinds if not kind.endswith(".png")]
        safe = re.sub(r"[^\w.\-]+", "_", case.id).lstrip(".") or "case"
        folder = out / safe
        transaction = Transaction(
            folder / f"{safe}_{record.command}_record.json", record, [folder / f"{safe}_{kind}" for kind in kinds],
            inputs, overwrite=self.config.overwrite, resume=self.config.resume, readable=volume.is_readable,
        )  # fmt: skip
        return Outputs(folder, safe, transaction, inputs)


@dataclass
class SliceJob(Job[LoadedModel]):
    """A model of slices with options."""

    def load(self, name: str, device: torch.device) -> LoadedModel:
        return load_model(name, device)

    def sliced(self, case: Case) -> Ready:
        """The case on the model's canvas.

        Raises:
            InputError: it is unusable, shows the head, or holds no slice that is looked at.
        """
        config, spec = self.config, self.model.info.slices
        images = load_images(case, volume=config.volume, prefer=config.prefer)
        mask = volume.load(case.brain, labels=True, prefer=config.prefer) if case.brain else None
        if not config.already_stripped and mask is None:
            refuse_head(case.id, images)
        slices = from_volumes(images, spec, brain=mask, stride=self.model.method.stride)
        brain = view_onto(slices.ras.with_data(slices.brain_volume), slices.grid)
        warnings = [*volume.warned(*images.values(), *([mask] if mask else [])), *slices.warnings]
        return Ready(images, brain, self._chosen(slices), warnings)

    def _chosen(self, slices: Slices) -> Slices:
        if self.config.slices is None:
            return slices
        first, last = self.config.slices
        chosen = np.flatnonzero((slices.index >= first) & (slices.index <= last))
        if not len(chosen):
            raise InputError(
                f"No slice of {first} to {last} is looked at: those are {slices.index[0]} to {slices.index[-1]}.",
                "Choose others with --slices; they are counted from 0 at the bottom of the scan.",
            )
        return slices.rows_of(chosen)


@dataclass(frozen=True)
class Outputs:
    """Writes the outputs of one case into ``folder``."""

    folder: Path
    name: str
    transaction: Transaction
    inputs: list[Path]

    def locked(self) -> Any:
        """Keep others from writing there."""
        return locked(self.folder, f"{self.folder.parent.name}/{self.folder.name}")

    def volume(self, content: Volume, kind: str) -> None:
        """Write one volume as ``<case>_<kind>``."""
        path = self._path(kind)
        volume.save(content, path, overwrite=True, inputs=self.inputs)  # the transaction has refused what may not go
        self.transaction.add(path)

    def picture(self, content: Image, kind: str) -> None:
        """Write a picture."""
        board.save(content, self._path(kind))
        self.transaction.add(self._path(kind))

    def table(self, text: str, kind: str) -> None:
        """Write a table."""
        files.write_text(self._path(kind), text)
        self.transaction.add(self._path(kind))

    def _path(self, kind: str) -> Path:
        return self.folder / f"{self.name}_{kind}"


def inputs_of(case: Case) -> list[Path]:
    """Files of ``case`` that nothing may replace."""
    return [*case.images.values(), *(path for path in (case.brain, case.lesion) if path)]


def named(config: TranslateConfig | ExplainConfig) -> str:
    """Name or folder of the model.

    Raises:
        UsageError: there is none.
    """
    if config.model is None:
        raise UsageError("Which model?", "Add --model NAME; braincli models lists them.")
    return config.model


def refuse_model(model: LoadedModel, cannot: str, able: list[str]) -> ModelError:
    """The error that a model ``cannot`` do what is asked; ``able``: methods that can."""
    return ModelError(
        f"{model.info.name} is a model of {model.info.method}, which {cannot}.", f"Methods that do: {', '.join(able)}."
    )
