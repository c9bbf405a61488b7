"""One writer at a time per folder, by an advisory lock that ends with its process, however it ends.

``flock`` itself and not the ``filelock`` package: that leaves the lock file behind in some versions and removes it in
others, and where a file system knows no locks it falls back to a file that outlives a killed process.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES, EAGAIN
from pathlib import Path

from braincli.errors import UsageError

NAME = ".braincli.lock"
PATIENCE_S = 60.0  # for others, who write for a moment each
TRIES = 100  # each is lost only where another process ends its block at that very moment


@contextmanager
def locked(folder: Path, what: str = "", *, name: str = NAME) -> Iterator[None]:
    """Hold ``folder`` (made if it is not there) against every other braincli, in this process too; never waits.

    Where nothing can be written, or the file system knows no locks, the block runs all the same: a lock is a
    courtesy, and what cannot be written is said by whoever writes. The lock file goes when the block ends, and so do
    folders that were made for it and are still empty.

    Args:
        what: how the error names it, e.g. ``out/sub-01``; the folder's name by default.
        name: of the lock file, where not the whole folder is held.

    Raises:
        UsageError: another process, or another block of this one, holds it.
    """
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    path = folder / name
    handle = _take(path, what or folder.name)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()  # while it is held: who has opened it meanwhile sees that it is gone, and begins anew
            os.close(handle)
        with suppress(OSError):
            for path in made:
                path.rmdir()


@contextmanager
def waiting(folder: Path, what: str = "", *, name: str = NAME) -> Iterator[None]:
    """:func:`locked`, for what is held for a moment only: waits for others, up to a minute.

    Raises:
        UsageError: it was held all the time.
    """
    end = time.monotonic() + PATIENCE_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(folder, what, name=name))
                break
            except UsageError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        yield


def _take(path: Path, what: str) -> int | None:
    """The descriptor of the held lock file; None where there can be no lock."""
    for _ in range(TRIES):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:
            continue  # another process has just removed the folder that it had made
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno in (EACCES, EAGAIN):
                raise UsageError(
                    f"Another braincli is writing to {what}.", "Wait until it has ended, or choose another output."
                ) from None
            return None
        if _is_there(handle, path):
            return handle
        os.close(handle)  # the lock of a file that its last holder has removed guards nothing
    return None


def _is_there(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except OSError:
        return False
