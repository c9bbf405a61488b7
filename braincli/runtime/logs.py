"""What is said, and what libraries log, kept in a file (``--log-file``) or shown (``--verbose``).

Words for the user are records of the logger ``braincli``; details of ours are those of loggers below it. Both go to the
file with the time and the name of the logger, as does what other libraries log or warn of. Processes of ``--jobs`` send
their records to the one that writes (:mod:`braincli.runtime.workers`).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from braincli.errors import ResourceError, UsageError

FORMAT = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
TIMES = "%Y-%m-%d %H:%M:%S"
BEGINS = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Z]+ ")  # a line of such a file
WORDS = logging.getLogger("braincli")
DETAILS = logging.getLogger("braincli.details")


def is_kept() -> bool:
    """Whether words are written to a file."""
    return any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers)


def is_on() -> bool:
    """Whether anybody wants to know what is logged."""
    return any(getattr(handler, "is_ours", False) for handler in logging.getLogger().handlers)


@contextmanager
def listening(file: Path | None, *, verbose: bool = False, quiet: bool = False) -> Iterator[None]:
    """Meanwhile records go to ``file`` (appended), and to stderr from a level that ``verbose`` and ``quiet`` decide.

    Raises:
        UsageError: the file is a folder, or something else than such a log.
        ResourceError: it cannot be written.
    """
    if file is None and not verbose:
        yield
        return
    handlers: list[logging.Handler] = [
        _Shown(logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING)
    ]
    if file is not None:
        handlers.append(_opened(file))
    root, levels = logging.getLogger(), {name: logging.getLogger(name).level for name in ("", "braincli")}
    for handler in handlers:
        handler.is_ours = True  # type: ignore[attr-defined]
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    WORDS.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            with suppress(OSError):  # a full disk: what could not be written costs no result
                handler.close()


class _Lines(logging.Formatter):
    """Whose records begin where lines do, and nowhere else."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n  ".join(line.rstrip() for line in super().format(record).rstrip().splitlines())


class _Shown(logging.Handler):
    """Records on stderr, wherever that leads at the moment, but for words: a reporter has said these."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.setFormatter(_Lines("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != WORDS.name and sys.stderr is not None:
            with suppress(OSError, ValueError):
                sys.stderr.write(self.format(record) + "\n")


class _Kept(logging.FileHandler):
    """Records in a file; where it is full, the work goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def _opened(file: Path) -> logging.FileHandler:
    _refuse_other(file)
    try:
        handler = _Kept(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ResourceError(
            f"--log-file: {file.name} cannot be written: {error.strerror or error}.", "Name a file in another folder."
        ) from None
    handler.setFormatter(_Lines(FORMAT, TIMES))
    return handler


def _refuse_other(file: Path) -> None:
    """Raise where appending would spoil what is there: a scan, say.

    Raises:
        UsageError: it is a folder, or holds something else than a log.
    """
    if file.is_dir():
        raise UsageError(f"--log-file: {file.name} is a folder.", "Name a file, e.g. braincli.log.")
    with suppress(OSError):
        if file.is_file() and file.stat().st_size:
            with file.open("rb") as content:
                if not BEGINS.match(content.read(64).decode("utf-8", errors="replace")):
                    raise UsageError(f"--log-file: {file.name} is no log of braincli.", "Name another file.")
