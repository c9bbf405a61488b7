"""SIGTERM and SIGUSR1 as a request: a cluster's notice that the job will end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGTERM", "SIGUSR1")  # the second does not exist on Windows
Request = Callable[[], str | None]  # the signal that came, or None


@contextmanager
def noted() -> Iterator[Request]:
    """Meanwhile these signals only leave a note, which the given function reads.

    In a thread other than the main one, where Python handles no signals, the note stays None.
    """
    came: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number).name)

    main = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)] if main else []
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
