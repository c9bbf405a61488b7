"""Processes that work through items side by side.

Each starts afresh (``spawn``: no lock or thread of the parent is copied), is given the task once, and speaks through
one pipe, so that neither shared memory nor semaphores are needed. What one of them says reaches the parent's reporter.
One that is killed or crashes costs the item that it had in hand, and nothing else.
"""

from __future__ import annotations

import io
import logging
import multiprocessing
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from braincli.errors import BraincliError, InternalError, ResourceError, UsageError
from braincli.runtime import device, logs
from braincli.runtime.progress import Reporter, Step
from braincli.runtime.provenance import peak_memory_gb

GRACE_S = 60.0  # for a worker to leave its C++ code and remove its temporary files
REPORTER = "reporter"


def spread(
    items: Sequence[Any], task: Callable[[Any], Any], reporter: Reporter, *, jobs: int, memory_gb: float
) -> Iterator[tuple[int, Any]]:
    """Index and ``task(item)`` of every item, as they are done by ``jobs`` processes.

    Where a process was lost, the error takes the place of its item's result. No process outlives this generator.

    Args:
        task: can be pickled, and raises nothing. A reporter within it becomes one that reaches ``reporter``.
        memory_gb: of all processes together. Where their peaks add up to more, one of them gets no further item.

    Raises:
        UsageError: the processes do not start.
    """
    crew = _Crew(_pack(task), reporter, jobs)
    waiting = deque(range(len(items)))
    try:
        for _ in range(jobs):
            crew.start().give(waiting.popleft(), items)
        while crew.workers:
            for worker in crew.ready():
                try:
                    kind, *content = worker.connection.recv()
                except (EOFError, OSError):
                    crew.leave(worker)
                    if worker.index is not None:
                        yield worker.index, worker.lost()
                    if waiting and not crew.workers:  # else the others go on, with more memory for each
                        crew.start().give(waiting.popleft(), items)
                    continue
                if kind != "done":
                    crew.pass_on(worker, items, kind, content)
                    continue
                (result, worker.peak_gb), index, worker.index = content, worker.index, None
                if waiting and crew.fits(worker, memory_gb):
                    worker.give(waiting.popleft(), items)
                else:
                    worker.dismiss()
                assert index is not None
                yield index, result
    finally:
        crew.end()


@dataclass(eq=False)
class _Worker:
    """The parent's view of one process; ``index`` is of the item in its hands."""

    process: BaseProcess
    connection: Connection
    index: int | None = None
    begun: bool = False
    peak_gb: float = 0.0
    steps: dict[int, tuple[AbstractContextManager[Step], Step]] = field(default_factory=dict)

    def give(self, index: int, items: Sequence[Any]) -> None:
        self.index = index
        with suppress(OSError):  # it has just died; its end of the pipe tells
            self.connection.send(items[index])

    def dismiss(self) -> None:
        with suppress(OSError):
            self.connection.send(None)

    def lost(self) -> BraincliError:
        """Why it ended before its item was done.

        Raises:
            UsageError: it has not even begun.
        """
        code = self.process.exitcode or 0
        if code == -signal.SIGKILL:
            hint = "Give each more memory: fewer --jobs, or a larger machine. --resume goes on where this ended."
            return ResourceError("A worker was killed; out of memory?", hint)
        if code > 0 and not self.begun:
            hint = 'In a script of your own, call braincli below: if __name__ == "__main__":'
            raise UsageError("The processes for --jobs did not start.", hint)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return InternalError(f"A worker crashed ({how}).")


@dataclass
class _Crew:
    """The processes that are at work, and what they have to say."""

    payload: bytes
    reporter: Reporter
    jobs: int
    workers: list[_Worker] = field(default_factory=list)
    said: set[str] = field(default_factory=set)  # what holds for every case, each process says once

    def start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, self.payload, self.jobs, logs.is_on()), daemon=True)
        worker = _Worker(process, here)
        self.workers.append(worker)
        resource_tracker.ensure_running()  # a start of its own would let SIGINT through again
        with _no_interrupts():  # Ctrl-C reaches the whole group: the parent alone decides what it means
            process.start()
        there.close()
        return worker

    def ready(self) -> list[_Worker]:
        """Those that have sent something, or have ended."""
        connections = set(wait([worker.connection for worker in self.workers]))
        return [worker for worker in self.workers if worker.connection in connections]

    def leave(self, worker: _Worker) -> None:
        """Take leave of one that has ended."""
        self.workers.remove(worker)
        worker.connection.close()
        worker.process.join(GRACE_S)
        for key in list(worker.steps):
            self._end_step(worker, key)

    def fits(self, worker: _Worker, memory_gb: float) -> bool:
        """Whether one more item for ``worker`` is within the memory, as far as peaks so far tell."""
        busy = [other for other in self.workers if other.index is not None]
        peak = max(other.peak_gb for other in self.workers)
        if not busy or (len(busy) + 1) * peak <= memory_gb:
            return True
        self.reporter.say(f"{len(busy)} of {self.jobs} jobs go on: memory ({peak:.1f} GB each, {memory_gb:.1f} GB).")
        return False

    def pass_on(self, worker: _Worker, items: Sequence[Any], kind: str, content: list[Any]) -> None:
        """What a worker's reporter was told."""
        if kind == "begun":
            worker.begun = True
        elif kind in ("say", "warn"):
            (text,) = content
            if text not in self.said:
                self.said.add(text)
                getattr(self.reporter, kind)(text)
        elif kind == "log":
            name, level, text = content
            logging.getLogger(name).log(level, "%s", text)
        elif kind == "step":
            key, name, total = content
            assert worker.index is not None
            item = items[worker.index].id
            manager = self.reporter.step(name if item in name else f"{item}: {name}", total)
            worker.steps[key] = manager, manager.__enter__()
        elif kind == "end":
            self._end_step(worker, *content)
        else:  # advance, skip
            key, *more = content
            getattr(worker.steps[key][1], kind)(*more)

    def _end_step(self, worker: _Worker, key: int) -> None:
        manager, _ = worker.steps.pop(key)
        manager.__exit__(None, None, None)

    def end(self) -> None:
        """End all that are left: they are asked, and after a while, or at a second Ctrl-C, they are killed."""
        for worker in self.workers:
            worker.process.terminate()
        until = time.monotonic() + GRACE_S
        try:
            for worker in self.workers:
                worker.process.join(max(0.0, until - time.monotonic()))
        finally:
            for worker in self.workers:
                worker.process.kill()
                worker.process.join()
                worker.connection.close()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Meanwhile SIGINT waits, and processes that are started never get it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> str | None:
        return REPORTER if isinstance(obj, Reporter) else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, reporter: Reporter) -> None:
        super().__init__(io.BytesIO(content))
        self.reporter = reporter

    def persistent_load(self, pid: object) -> Reporter:
        return self.reporter


def _pack(task: Callable[[Any], Any]) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(task)
    return buffer.getvalue()


def _serve(connection: Connection, payload: bytes, jobs: int, logged: bool) -> None:
    """A worker's life: one item after the other, until there is none or the parent is gone.

    Args:
        logged: the parent wants to know what is logged.
    """
    signal.signal(signal.SIGTERM, _terminate)
    device.share(jobs)
    relay = _Relay(connection)
    if logged:
        logging.getLogger().addHandler(_Records(relay))
        logging.getLogger().setLevel(logging.INFO)
        logs.WORDS.setLevel(logging.DEBUG)
        logging.captureWarnings(True)
    task = _Unpickler(payload, relay).load()
    relay.send("begun")
    with suppress(EOFError, OSError):
        while (item := connection.recv()) is not None:
            relay.send("done", task(item), peak_memory_gb())


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)  # unwinds the stack, so that temporary files are removed


@dataclass
class _Relay(Reporter):
    """A worker's reporter: the parent speaks for it."""

    connection: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: Iterator[int] = field(default_factory=count)

    def send(self, kind: str, *content: Any) -> None:
        try:
            with self.lock:
                self.connection.send((kind, *content))
        except OSError:  # nobody listens any more: nobody will want the result
            raise SystemExit(1) from None

    def say(self, text: str) -> None:
        self.send("say", text)

    def warn(self, text: str) -> None:
        self.send("warn", text)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        key = next(self.keys)
        self.send("step", key, name, total)
        try:
            yield _RelayedStep(self, key)
        finally:
            self.send("end", key)


class _Records(logging.Handler):
    """What is logged, on its way to the parent."""

    def __init__(self, relay: _Relay) -> None:
        super().__init__()
        self.relay = relay

    def emit(self, record: logging.LogRecord) -> None:
        self.relay.send("log", record.name, record.levelno, self.format(record))


@dataclass
class _RelayedStep(Step):
    relay: _Relay
    key: int

    def advance(self, count: int = 1, note: str = "") -> None:
        self.relay.send("advance", self.key, count, note)

    def skip(self, count: int) -> None:
        self.relay.send("skip", self.key, count)
