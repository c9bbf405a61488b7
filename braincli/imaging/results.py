"""What a result consists of: files in a folder or, where no folder was named, in memory."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from braincli.errors import InputError, UsageError
from braincli.imaging.given import Scratch, as_nifti
from braincli.imaging.volume import Volume, nifti
from braincli.runtime import files

if TYPE_CHECKING:
    import nibabel as nib
    from nibabel.spatialimages import SpatialImage

NIFTI2 = (540).to_bytes(4, "little"), (540).to_bytes(4, "big")


@dataclass(frozen=True)
class ResultFiles:
    """The files of one case's result, by what they are (``mask``, ``space-flair_mask``, ``restored-t1`` ...).

    Attributes:
        folder: where they lie; None where they are in memory.
        names: what they are -> name in the folder.
        contents: name -> bytes, where they are in memory.
    """

    folder: Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def paths(self) -> dict[str, Path]:
        """Where they lie; empty where they are in memory."""
        return {} if self.folder is None else {kind: self.folder / name for kind, name in self.names.items()}

    def read(self, kind: str, hint: str = "") -> bytes:
        """The content of a file.

        Args:
            hint: how to get it, where there is none.

        Raises:
            UsageError: there is none.
            InputError: it was there, and cannot be read any more.
        """
        name = self._name(kind, hint)
        if self.folder is None:
            return self.contents[name]
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise _lost(name, error) from None

    def image(self, kind: str, hint: str = "") -> nib.Nifti1Image:
        """A volume (X, Y, Z); of a file the header is read now, the voxels when they are asked for.

        Raises:
            UsageError, InputError: see :meth:`read`.
        """
        import nibabel as nib
        from nibabel.filebasedimages import ImageFileError

        name = self._name(kind, hint)
        if self.folder is not None:
            try:
                return nib.load(self.folder / name)
            except (OSError, ImageFileError) as error:
                raise _lost(name, error) from None
        content = self.contents[name]
        content = gzip.decompress(content) if name.endswith(".gz") else content
        return (nib.Nifti2Image if content[:4] in NIFTI2 else nib.Nifti1Image).from_bytes(content)

    def place(self, kind: str, scratch: Scratch) -> Path:
        """A file with this content; of what is in memory one in ``scratch``.

        Raises:
            UsageError, ResourceError: there is no such file, or no room.
        """
        if self.folder is not None:
            return self.folder / self._name(kind, "")
        path = scratch.folder() / Path(self._name(kind, "")).name
        with files.atomic_path(path) as temporary:
            temporary.write_bytes(self.read(kind))
        return path

    def in_memory(self) -> ResultFiles:
        """The same, of which no file is needed any more."""
        contents = {name: self.read(kind) for kind, name in self.names.items()}
        return ResultFiles(None, self.names, contents)

    def _name(self, kind: str, hint: str) -> str:
        if kind not in self.names:
            there = ", ".join(self.names) or "no files"
            raise UsageError(f"The result has no {kind}.", f"{hint} It has: {there}.".strip())
        return self.names[kind]


def kind_in(kind: str, space: str) -> str:
    """What a file is called among those of several grids; ``space`` is empty for the scan's own."""
    return f"space-{space}_{kind}" if space else kind


def voxels(image: SpatialImage, *, mask: bool = False) -> np.ndarray:
    """(X, Y, Z) in the type of the file (bool for masks), in the axis order of ``image.affine``."""
    data: np.ndarray = np.asanyarray(image.dataobj)
    return data > 0 if mask else data


def as_volume(image: SpatialImage | Volume) -> Volume:
    """A nibabel image as the rooms below take it."""
    if isinstance(image, Volume):
        return image
    converted = as_nifti(image, "the image")
    return Volume(np.asanyarray(converted.dataobj), converted.affine)


def as_image(volume: Volume) -> nib.Nifti1Image:
    """A volume as a nibabel image: bool becomes uint8, floats float32; the header's codes stay."""
    image = nifti(volume)
    return type(image)(image.dataobj, volume.affine, image.header)


def _lost(name: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{name} of the result cannot be read: {reason}.", "Was it moved, or removed?")
