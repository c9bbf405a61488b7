"""Signals become notes while training runs, and what they were afterwards."""

from __future__ import annotations

import os
import signal
import threading

from braincli.training import signals


def test_a_signal_leaves_a_note_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        with signals.noted() as note:
            assert note() is None
            os.kill(os.getpid(), number)
            assert note() == number.name
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_a_thread_nothing_is_touched() -> None:
    found = []

    def work() -> None:
        with signals.noted() as note:
            found.append(note())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
