"""Progress for whatever takes longer than two seconds.

Rich bars with an ETA on a terminal, plain lines in a log, nothing with ``-q``. Words go to stderr;
stdout is left to data. Library code takes a :class:`Reporter` and never prints by itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

from braincli.runtime import logs

LOG_INTERVAL_S = 5.0  # how often a plain log gets a line while one step runs


class Reporter:
    """Silent reporter, and the base of the two that speak. Safe to pass anywhere."""

    def say(self, text: str) -> None:
        """One line for the user."""

    def warn(self, text: str) -> None:
        """One line that the user should not miss."""

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        """A stretch of work; call ``step.advance()`` as its parts finish (``total`` of them, if known)."""
        yield Step()


class Step:
    """Handle given by :meth:`Reporter.step`."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """``count`` more parts are done; ``note`` (a loss, a file) is shown beside the bar."""

    def skip(self, count: int) -> None:
        """``count`` parts were done in an earlier run: they count, but not for the estimate of the time left."""
        self.advance(count)


@dataclass
class PlainReporter(Reporter):
    """Plain lines, at most one every five seconds while a step runs."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)

    def say(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):  # closed, full, not there: words cost no result
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        begin = time.monotonic()
        self.say(f"{name} ...")
        yield _PlainStep(self, name, total, begin)
        self.say(f"{name}: {time.monotonic() - begin:.1f} s")


@dataclass
class _PlainStep(Step):
    reporter: PlainReporter
    name: str
    total: int | None
    begin: float
    done: int = 0
    skipped: int = 0
    last: float = 0.0

    def skip(self, count: int) -> None:
        self.done += count
        self.skipped += count

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        now = time.monotonic()
        if now - max(self.last, self.begin) < LOG_INTERVAL_S:
            return
        self.last = now
        of = f"/{self.total}" if self.total else ""
        left = (
            f", {(now - self.begin) / (self.done - self.skipped) * (self.total - self.done):.0f} s left"
            if self.total
            else ""
        )
        self.reporter.say(f"{self.name}: {self.done}{of}{left}{'  ' + note if note else ''}")


class RichReporter(Reporter):
    """Rich bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self._live: Any = None

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, emoji=False, highlight=False)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow", markup=False, emoji=False, highlight=False)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        if self._live is not None:  # nested steps share one display
            task = self._live.add_task(name, total=total, note="")
            yield _RichStep(self._live, task)
            self._live.update(task, visible=False)
            return
        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
        )  # fmt: skip
        with Progress(*columns, console=self.console) as progress:
            self._live = progress
            try:
                yield _RichStep(progress, progress.add_task(name, total=total, note=""))
            finally:
                self._live = None


@dataclass
class _RichStep(Step):
    progress: Any
    task: Any

    def advance(self, count: int = 1, note: str = "") -> None:
        self.progress.update(self.task, advance=count, note=note)

    def skip(self, count: int) -> None:
        self.progress.reset(self.task, completed=count)


class LoggedReporter(PlainReporter):
    """Plain lines as records of the log (:mod:`braincli.runtime.logs`)."""

    def say(self, text: str) -> None:
        logs.WORDS.info(text)

    def warn(self, text: str) -> None:
        logs.WORDS.warning(text)


@dataclass
class Both(Reporter):
    """Tells two reporters the same."""

    one: Reporter
    other: Reporter

    def say(self, text: str) -> None:
        self.one.say(text)
        self.other.say(text)

    def warn(self, text: str) -> None:
        self.one.warn(text)
        self.other.warn(text)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        with ExitStack() as stack:
            yield _BothSteps(*(stack.enter_context(each.step(name, total)) for each in (self.one, self.other)))


@dataclass
class _BothSteps(Step):
    one: Step
    other: Step

    def advance(self, count: int = 1, note: str = "") -> None:
        self.one.advance(count, note)
        self.other.advance(count, note)

    def skip(self, count: int) -> None:
        self.one.skip(count)
        self.other.skip(count)


def reporter(*, quiet: bool = False) -> Reporter:
    """The reporter that fits: silent, rich on a terminal, plain lines otherwise; a log gets everything, too."""
    voice = (
        Reporter() if quiet else RichReporter() if sys.stderr is not None and sys.stderr.isatty() else PlainReporter()
    )
    return Both(voice, LoggedReporter()) if logs.is_kept() else voice
