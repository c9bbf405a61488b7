"""Independent pieces of work, each on arrays or files of its own, in threads: numpy, zlib and Pillow let others run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from braincli.runtime.device import available_threads

T = TypeVar("T")
R = TypeVar("R")


def mapped(work: Callable[[T], R], items: Iterable[T], threads: int | None) -> list[R]:
    """``work`` of every item, in the order of ``items``; so is what it raises: the first of them that fails.

    Args:
        threads: at most so many; one does all in this thread. None takes
            :func:`braincli.runtime.device.available_threads`.
    """
    given = [*items]
    count = min(threads or available_threads(), len(given))
    if count < 2:
        return [work(item) for item in given]
    with ThreadPoolExecutor(count, "braincli-side-by-side") as pool:
        return [*pool.map(work, given)]


def together(work: Iterable[Callable[[], R]], threads: int | None) -> list[R]:
    """What each of ``work`` returns; as :func:`mapped`, for work of different kinds."""
    return mapped(lambda each: each(), work, threads)
