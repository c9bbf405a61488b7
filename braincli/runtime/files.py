"""Writing and hashing files so that nothing is ever half-written, overwritten by accident, or an input.

Every file that braincli leaves behind goes through :func:`atomic_path`.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from braincli.errors import InputError, ResourceError, UsageError


def sha256(path: Path) -> str:
    """SHA-256 of a file as 64 hex digits, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def refuse_overwrite(path: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise before any work is done if ``path`` may not be written.

    Raises:
        InputError: ``path`` is one of ``inputs`` (the same file, also through links).
        UsageError: ``path`` exists and ``overwrite`` is false, or is a folder.
    """
    if not path.exists():
        return
    for source in inputs:
        if source.exists() and path.samefile(source):
            raise InputError(
                f"The output {path.name} is an input.", "Choose another output; inputs are never overwritten."
            )
    if path.is_dir():
        raise UsageError(f"The output {path.name} is a folder.", "Name a file, e.g. mask.nii.gz.")
    if not overwrite:
        raise UsageError(f"The output {path.name} exists.", "Add --overwrite to replace it, or choose another name.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (with the same suffixes); move it into place on success.

    The temporary file is flushed to disk and renamed with ``os.replace``; on any exception it is removed.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    temporary = path.parent / f".{uuid.uuid4().hex[:12]}.tmp{suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ResourceError(
            f"Cannot write {path.name}: {error.strerror or error}.", "Check free space and permissions of the folder."
        ) from error
    finally:
        with suppress(OSError):  # not there: moved into place, or never made
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically; non-finite numbers are refused, paths become strings."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")
