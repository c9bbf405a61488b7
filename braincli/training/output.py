"""The folder that a training writes: what in it is the training's own, whether it is complete, what may be removed.

A marker, written before anything else, names what the training makes; nothing else is ever replaced or removed. It
becomes the done-record, with the hashes of the weights, once everything is in place; only then is ``work`` removed, so
that a training which is killed while it tidies up is complete all the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from braincli import __version__
from braincli.errors import UsageError
from braincli.model.folder import read_info
from braincli.model.info import ModelInfo
from braincli.model.search import CONFIG as CONFIG
from braincli.model.search import MARKER as MARKER
from braincli.runtime import files
from braincli.runtime.locks import NAME as LOCK

FOLDERS = ("work", "snapshots", "previews", "tensorboard")
FILES = ("model.json", "weights.safetensors", "README.md", "metrics.jsonl", CONFIG)
# what lies in FOLDERS; whatever else somebody put there stays
CONTENTS = (
    *FILES,
    "store.json",
    "*.npy",
    "[0-9]*-*.pt",
    "events.out.tfevents.*",
    "*-[0-9]*.png",
    ".braincli-store.json",
)


class Marker(BaseModel):
    """What :data:`MARKER` says.

    Attributes:
        status: ``done`` once the model is in place.
        made: names in the folder that are the training's.
        data: fingerprint of what is learnt from (:attr:`braincli.training.store.SliceStore.fingerprint`).
        weights: the model's weight files with their SHA-256, once it is done.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    braincli: str = __version__
    status: Literal["running", "done"] = "running"
    made: tuple[str, ...] = ()
    data: str | None = None
    weights: dict[str, str] = {}


class Output:
    """The folder ``folder`` as a training finds and leaves it.

    Raises:
        UsageError: it is a file, or its marker is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"The output {folder.name} is a file.", "Name a folder.")
        self.marker = _read_marker(folder)

    def is_complete(self, *, resume: bool, overwrite: bool) -> bool:
        """Whether nothing is left to do; what a killed training left to tidy up is tidied up.

        Raises:
            UsageError: the folder may not be written.
            ModelError: the model in it is damaged.
        """
        name = self.folder.name
        if self.marker is not None and self.marker.status == "running":
            if not (resume or overwrite):
                raise UsageError(f"{name} holds an unfinished training.", "Add --resume to go on, or --overwrite.")
            return False
        if (self.folder / "model.json").exists():
            if overwrite:
                return False
            if not resume:
                raise UsageError(f"{name} holds a model.", "Choose another folder, or add --overwrite.")
            self._check()
            return True
        if self.marker is None and (strangers := _visible(self.folder)):
            raise UsageError(
                f"{name} is no training's folder: it holds {strangers[0]}.", "Choose an empty or a new folder."
            )
        return False

    def begin(self, makes: Collection[str], *, resume: bool) -> None:
        """Mark the folder as a training's that will make ``makes``; without ``resume``, drop what an earlier one made.

        Raises:
            UsageError: something of that name is there and no training made it.
        """
        made = set(self.marker.made) if self.marker else set()
        model = {*FILES} if (self.folder / "model.json").exists() else set()  # of a model folder they are known
        for name in sorted({*makes} - made - model):
            if os.path.lexists(self.folder / name):
                raise UsageError(
                    f"{self.folder.name} holds {name}, which no training made.", "Move it, or choose another folder."
                )
        going_on = resume and self.marker is not None and self.marker.status == "running"
        data = self.marker.data if self.marker and going_on else None
        self._mark(Marker(made=tuple(sorted(made | {*makes})), data=data))
        if not going_on:
            self._drop(FOLDERS)
        self._sweep()

    def learns_from(self, fingerprint: str) -> None:
        """Note what the training learns from.

        Raises:
            UsageError: it began with other data.
        """
        assert self.marker is not None
        if self.marker.data not in (None, fingerprint):
            raise UsageError(
                f"The cases of {self.folder.name} have changed since its training began.",
                "Resume with the scans and masks that it was begun with, or add --overwrite to start again.",
            )
        self._mark(self.marker.model_copy(update={"data": fingerprint}))

    def finish(self, info: ModelInfo) -> None:
        """Put figures and options of ``work`` beside the model, make the marker the done-record, remove ``work``."""
        assert self.marker is not None
        for name in ("metrics.jsonl", CONFIG):
            if (self.work / name).is_file():
                files.write_text(self.folder / name, (self.work / name).read_text(encoding="utf-8"))
        self._mark(self.marker.model_copy(update={"status": "done", "weights": info.weights}))
        self.tidy()

    def tidy(self) -> None:
        """Remove ``work`` and temporary files of dead runs from the folder of a complete training."""
        if self.marker is not None and self.marker.status == "done":
            self._drop(("work",))
            self._sweep()

    def _check(self) -> None:
        from braincli.model.tensors import verified

        info = read_info(self.folder)
        verified(self.folder, info)
        if self.marker is not None and self.marker.weights != info.weights:
            raise UsageError(
                f"The model in {self.folder.name} is not the one that was trained there.",
                "Choose another folder, or add --overwrite.",
            )

    def _mark(self, marker: Marker) -> None:
        files.write_json(self.folder / MARKER, marker.model_dump(mode="json"))
        self.marker = marker

    def _drop(self, names: Collection[str]) -> None:
        for name in names:
            if self.marker is not None and name in self.marker.made:
                _remove(self.folder / name)

    def _sweep(self) -> None:
        for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
            for below in (folder, *_folders_below(folder)):
                files.sweep(below)


def _read_marker(folder: Path) -> Marker | None:
    path = folder / MARKER
    try:
        return Marker.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError, ValidationError):
        raise UsageError(
            f"{MARKER} of {folder.name} cannot be read: what is the training's own there is not known.",
            "Choose another folder, or empty this one.",
        ) from None


def _visible(folder: Path) -> list[str]:
    """What lies in ``folder`` but for hidden files, which no training touches."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def _folders_below(folder: Path) -> list[Path]:
    if folder.is_symlink():
        return []
    return [Path(place) for place, _, _ in os.walk(folder)]  # follows no links


def _remove(path: Path) -> None:
    """Remove a file, a link (never what it leads to) or, of a folder, :data:`CONTENTS`; a folder that is empty goes."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    for place, _, names in os.walk(path, topdown=False):
        for name in names:
            known = any(fnmatch(name, pattern) for pattern in CONTENTS)
            if known or files.TEMPORARY.fullmatch(name) or name == LOCK:  # of a dead run: this one holds the folder
                (Path(place) / name).unlink()
        with suppress(OSError):  # not empty
            Path(place).rmdir()
