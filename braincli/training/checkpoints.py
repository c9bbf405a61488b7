"""Checkpoints on disk: written whole, the newest few kept, a damaged one passed over."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from braincli.errors import ModelError
from braincli.runtime import files
from braincli.runtime.progress import Reporter


class Checkpoints:
    """The checkpoints of one training, named ``<stage index>-<step>-<SHA-256, 16 digits>.pt``.

    Args:
        folder: where they lie; made when the first is written.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def paths(self) -> list[Path]:
        """All of them, oldest first; what a killed run was still writing is hidden and none of them."""
        return sorted(path for path in self.folder.glob("*-*-*.pt") if not path.name.startswith("."))

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` (it names its ``stage`` and ``step``), then drop the oldest beyond ``keep``.

        Raises:
            ResourceError: the disk is full; the checkpoints before are untouched.
        """
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        name = f"{state['stage']:02d}-{state['step']:09d}"
        path = self.folder / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.pt"
        with files.atomic_path(path) as temporary:
            temporary.write_bytes(content)
        for old in self.paths():
            if old != path and old.name.startswith(name):  # of the same step, of an earlier attempt
                old.unlink()
        for old in self.paths()[: -self.keep]:
            old.unlink()

    def load(self, device: torch.device, reporter: Reporter) -> dict[str, Any] | None:
        """The newest whole one, or None where there is none yet; damaged ones are passed over with a warning.

        Raises:
            ModelError: there are some, but all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest()[:16] == path.stem.rpartition("-")[2]:
                state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
                return state
            reporter.warn(f"the checkpoint {path.name} is damaged; going back to the one before")
        if paths:
            raise ModelError("Every checkpoint of this training is damaged.", "Add --overwrite to start again.")
        return None
