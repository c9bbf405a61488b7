"""Writing and hashing files so that nothing is ever half-written, overwritten by accident, or an input.

Every file that braincli leaves behind goes through :func:`atomic_path`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENAMETOOLONG, ENOSYS, ENOTSUP
from functools import cache
from pathlib import Path
from socket import gethostname
from tempfile import TemporaryFile
from typing import Any

from braincli.errors import InputError, ResourceError, UsageError

TEMPORARY = re.compile(r"\.braincli-(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]+)-[0-9a-f]{8}\.tmp(\..*)?")
STALE_S = 7 * 24 * 3600.0  # of a machine whose processes cannot be asked for, or where the process id is in use again
FILES = (  # of what people expect a file, where braincli would make a folder
    ".nii", ".gz", ".bz2", ".zip", ".mgz", ".mgh", ".nrrd", ".mha", ".mhd", ".img", ".hdr", ".png", ".jpg",
    ".csv", ".tsv", ".json", ".html", ".pdf", ".pt", ".pth", ".safetensors",
)  # fmt: skip


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
        UsageError: ``path`` exists and ``overwrite`` is false, or is a folder, or its name is too long.
    """
    if len(os.fsencode(path.name)) > 255:
        raise UsageError(f"The name {path.name[:40]}... is too long.", "Choose a shorter one.")
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


def refuse_folder(folder: Path) -> None:
    """Raise before any work is done if ``folder`` cannot be written, or made; it is not made yet.

    Raises:
        UsageError: it, or a folder above it, is a file, or it is called like one, or its name is too long.
        ResourceError: no permission, a read-only or full file system.
    """
    if folder.suffix.lower() in FILES and not os.path.lexists(folder):
        raise UsageError(
            f"The output {folder.name} is called like a file, and is to be a folder.",
            "Name a folder; detect alone also writes one file: a mask, .nii or .nii.gz.",
        )
    try:
        above = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
        if not above.is_dir():
            raise UsageError(f"The output {folder.name} cannot be a folder: {above.name} is a file.", "Name another.")
        longest = max((len(os.fsencode(part)) for part in folder.absolute().relative_to(above).parts), default=0)
        if longest > os.pathconf(above, "PC_NAME_MAX"):
            raise OSError(ENAMETOOLONG, os.strerror(ENAMETOOLONG))
        with TemporaryFile(dir=above):  # the only sure way to find out
            pass
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            raise UsageError(f"The name {folder.name[:40]}... is too long.", "Choose a shorter one.") from None
        raise ResourceError(
            f"The output {folder.name} cannot be written: {error.strerror or error}.",
            "Check free space and permissions, or choose another folder.",
        ) from None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` (with the same suffixes); move it into place on success.

    The temporary file is flushed to disk and renamed with ``os.replace``; on any exception it is removed. Its name
    tells which process it belongs to, so that :func:`sweep` can remove what a killed one left.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    suffix = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    temporary = path.parent / f".braincli-{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp{suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            raise UsageError(f"The name {path.name[:40]}... is too long.", "Choose a shorter one.") from None
        raise ResourceError(
            f"Cannot write {path.name}: {error.strerror or error}.", "Check free space and permissions of the folder."
        ) from error
    finally:
        with suppress(OSError):  # not there: moved into place, or never made
            temporary.unlink()


def sweep(folder: Path) -> list[Path]:
    """Remove the temporary files that dead runs (``kill -9``, power) have left in ``folder``, not below it.

    Those of runs that live, here or on another machine that shares the folder, stay; so does anything that
    :func:`atomic_path` did not name.

    Returns:
        What was removed.
    """
    removed = []
    for path in folder.glob(".braincli-*.tmp*"):
        name = TEMPORARY.fullmatch(path.name)
        if name and not path.is_symlink() and _is_left_behind(path, name["machine"], int(name["pid"])):
            with suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


def _is_left_behind(path: Path, machine: str, pid: int) -> bool:
    """Whether the run that wrote ``path`` is dead: no such process here or, of others, no sign of it for a week."""
    try:
        if machine == _machine():
            os.kill(pid, 0)
        return time.time() - path.stat().st_mtime > STALE_S
    except ProcessLookupError:
        return True
    except OSError:  # another user's process, or the file is gone
        return False


@cache
def _machine() -> str:
    """What process ids are valid in: the host and, in containers, their own name space."""
    with suppress(OSError):
        return hashlib.sha256(f"{gethostname()} {Path('/proc/self/ns/pid').readlink()}".encode()).hexdigest()[:8]
    return hashlib.sha256(gethostname().encode()).hexdigest()[:8]


def _flush(path: Path) -> None:
    """Bring ``path`` to the disk, where its file system can be asked to."""
    with path.open("rb+") as handle:
        try:
            os.fsync(handle.fileno())
        except OSError as error:
            if error.errno not in (EINVAL, ENOSYS, ENOTSUP):
                raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically; file names in it that are no text come as ``\\udcff``."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically; non-finite numbers are refused, paths become strings."""
    write_text(path, as_json(content) + "\n")


def as_json(content: Any) -> str:
    """``content`` as indented JSON; non-finite numbers are refused, paths become strings.

    A file name that is no text is written as JSON's own escape, ``\\udcff``, and is read back as it was.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_cell(text: str) -> str:
    """``text`` for a cell of CSV or TSV: what a spreadsheet would run as a formula gets an apostrophe before it.

    Numbers (``-1.5``, ``+3``, ``-inf``) stay as they are.
    """
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
