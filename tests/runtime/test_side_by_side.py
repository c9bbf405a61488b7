"""Independent pieces of work: in order, as many at a time as allowed, the first error of the row."""

from __future__ import annotations

import threading
import time

import pytest

from braincli.errors import InputError
from braincli.runtime.side_by_side import mapped, together


def test_results_keep_their_order_and_two_run_at_once() -> None:
    meeting = threading.Barrier(2, timeout=20)  # breaks if they run one after the other

    def work(number: int) -> int:
        meeting.wait()
        return number**2

    assert mapped(work, iter([5, 3]), 2) == [25, 9]


def test_work_of_different_kinds_runs_at_once_too() -> None:
    meeting = threading.Barrier(2, timeout=20)
    assert together([lambda: meeting.wait() >= 0, lambda: str(meeting.wait() >= 0)], 2) == [True, "True"]


def test_one_thread_is_this_one() -> None:
    here = threading.get_ident()
    assert set(mapped(lambda number: threading.get_ident(), range(3), 1)) == {here}
    assert mapped(lambda number: threading.get_ident(), [0], 8) == [here]


@pytest.mark.parametrize("threads", [1, 4])
def test_the_first_error_of_the_row_is_raised_whichever_fails_first(threads: int) -> None:
    def work(number: int) -> int:
        if number == 1:
            time.sleep(0.05)
        if number in (1, 2):
            raise InputError(f"item {number}")
        return number

    with pytest.raises(InputError, match="item 1"):
        mapped(work, range(4), threads)
