"""Work in three parts, so that the cases of one process overlap: while one is in the middle (a network computes), the
next is begun (read) and the last is ended (written), each by a thread of its own.

Such work is a generator that yields where another thread may go on. What it holds (locks, temporary folders) it holds
by ``with``: a generator that is closed early lets go of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Steps = Generator[None, None, R]


def drained(steps: Steps[R]) -> R:
    """The result of ``steps``, part after part in this thread."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: R = end.value
            return result


def in_one_go(parts: Callable[P, Steps[R]]) -> Callable[P, R]:
    """The function that does all ``parts`` of its work, one after the other in this thread."""

    @wraps(parts)
    def work(*args: P.args, **kwargs: P.kwargs) -> R:
        return drained(parts(*args, **kwargs))

    return work


def overlapped(hands: Iterable[T], parts: Sequence[Callable[[T], Any]], close: Callable[[T], None]) -> Iterator[T]:
    """Pass every one of ``hands`` through three ``parts``; each comes out as soon as it is through, in order.

    The first part runs one ahead in a thread, the second one here, the third one in another thread: at any time three
    are on their way, whichever part is the slowest. Nothing runs any more when this generator has ended, by an
    interruption too; those that were on their way are closed.

    Args:
        parts: raise nothing (but interruptions).
        close: called with each, at its end.
    """
    first, second, third = parts
    waiting, under_way = iter(hands), deque[T]()
    with ThreadPoolExecutor(1, "braincli-ahead") as ahead, ThreadPoolExecutor(1, "braincli-behind") as behind:

        def begun() -> Future[Any] | None:
            for hand in waiting:
                under_way.append(hand)
                return ahead.submit(first, hand)
            return None

        def out(last: Future[Any]) -> T:
            last.result()
            close(under_way[0])
            return under_way.popleft()

        try:
            reading, writing = begun(), None
            while reading is not None:
                reading.result()
                hand, reading = under_way[-1], begun()
                second(hand)
                if writing is not None:
                    yield out(writing)
                writing = behind.submit(third, hand)
            if writing is not None:
                yield out(writing)
        finally:
            for pool in (ahead, behind):
                pool.shutdown(cancel_futures=True)
            for hand in under_way:
                close(hand)
