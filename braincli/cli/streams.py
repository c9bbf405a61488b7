"""What the command is joined to: stdin, stdout and stderr may be closed, full, or read by somebody who leaves.

Words that nobody reads (stderr) cost no result. Data whose reader has seen enough (``| head``) ends quietly; data that
cannot be written (``> /dev/full``) is an error.
"""

from __future__ import annotations

import io
import os
import sys
from errno import EPIPE
from typing import Any


class Stream(io.TextIOWrapper):
    """A standard stream that after an error leads nowhere; tolerable errors are not raised.

    Characters that it cannot encode (file names that are no text) come as ``\\udcff``, as JSON writes them, too.
    """

    def __init__(self, stream: Any, tolerated: frozenset[int] | None) -> None:
        super().__init__(
            stream.buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=stream.isatty()
        )
        self._tolerated = tolerated  # None: every error

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._lead_nowhere(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lead_nowhere(error)

    def _lead_nowhere(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is still in the buffer goes there, at exit at the latest
        os.close(nowhere)
        if self._tolerated is not None and error.errno not in self._tolerated:
            raise OSError(error.errno, error.strerror, self.name) from None


def prepare() -> None:
    """Make the standard streams safe to write to; call once, before any file is opened."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        _fill(number)
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif mode == "w":
            setattr(sys, name, Stream(stream, frozenset({EPIPE}) if name == "stdout" else None))


def _fill(number: int) -> None:
    """Lead a closed descriptor nowhere: else the next file that is opened gets its number, and what others print."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        os.set_inheritable(nowhere, True)  # processes of --jobs would fill the gap with a file of theirs
