"""Cases overlap in one process: side by side, in order, one ahead at most, errors their own, nothing left running."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import pytest
from items import Item, Listener, Result, items, work

from braincli.errors import InputError
from braincli.runtime.cohort import each, stream
from braincli.runtime.overlap import Steps, drained
from braincli.runtime.progress import Reporter

PARTS = ("read", "compute", "write")


class Log:
    """What was done, in order, by which thread; ``opened`` are those that hold something."""

    def __init__(self, act: Callable[[str, str], None] = lambda case, part: None) -> None:
        self.done: list[tuple[str, str]] = []
        self.threads: dict[str, set[int]] = {part: set() for part in PARTS}
        self.opened: set[str] = set()
        self.most = 0
        self.act = act

    def part(self, case: str, part: str) -> None:
        self.act(case, part)
        self.done.append((case, part))
        self.threads[part].add(threading.get_ident())

    def steps(self, item: Item) -> Steps[Result]:
        self.opened.add(item.id)
        self.most = max(self.most, len(self.opened))
        try:
            self.part(item.id, "read")
            yield
            self.part(item.id, "compute")
            yield
            self.part(item.id, "write")
        finally:
            self.opened.discard(item.id)
        return work(item)

    def run(self, item: Item) -> Result:
        return drained(self.steps(item))


def others() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("braincli")]


def test_outcomes_are_those_of_one_case_after_the_other() -> None:
    cases = [*items("a", "bad", "bug", "big"), Item("x", InputError("two files")), *items("z", "y")]
    alone, listeners = Log(), (Listener(), Listener())
    plain = each(cases, alone.run, listeners[0])
    log = Log()
    beside = each(cases, log.run, listeners[1], steps=log.steps)
    assert [(o.id, o.result, str(o.error), type(o.error)) for o in beside] == [
        (o.id, o.result, str(o.error), type(o.error)) for o in plain
    ]
    assert listeners[0].warnings == listeners[1].warnings
    assert ("x", "read") not in log.done, "what cannot be used is not begun"
    assert not log.opened and not others()


@pytest.mark.parametrize("part", PARTS)
def test_what_fails_in_any_part_is_the_cases_own(part: str) -> None:
    def act(case: str, at: str) -> None:
        if (case, at) == ("b", part):
            raise InputError("b.nii is truncated.", "Copy it again.")

    log = Log(act)
    outcomes = each(items("a", "b", "c", "d"), log.run, Reporter(), steps=log.steps)
    assert [o.error.message if o.error else "" for o in outcomes] == ["", "b.nii is truncated.", "", ""]
    assert [o.result for o in outcomes] == [Result("a"), None, Result("c"), Result("d")]
    assert [case for case, at in log.done if at == "write"] == ["a", "c", "d"]
    assert not log.opened and not others()


def test_three_cases_are_in_work_at_once_and_never_more() -> None:
    """The middle of b goes on only while c is read and a is written."""
    meeting = threading.Barrier(3, timeout=20)

    def act(case: str, at: str) -> None:
        if (case, at) in (("b", "compute"), ("c", "read"), ("a", "write")):
            meeting.wait()

    log = Log(act)
    outcomes = each(items(*"abcdefgh"), log.run, Reporter(), steps=log.steps)
    assert all(o.error is None for o in outcomes)
    assert log.most == 3
    assert log.threads["compute"] == {threading.get_ident()}, "networks run where the caller is"
    assert len(set.union(*log.threads.values())) == 3


def test_a_slow_end_holds_back_the_beginning() -> None:
    """While a is written, b is computed and c read, but d waits: memory is bounded whichever part is the slowest."""
    log, free = Log(), threading.Event()

    def act(case: str, at: str) -> None:
        if (case, at) == ("a", "write"):
            assert not free.wait(0.3), "d was read meanwhile"
        if (case, at) == ("d", "read"):
            free.set()

    log.act = act
    outcomes = each(items(*"abcde"), log.run, Reporter(), steps=log.steps)
    assert all(o.error is None for o in outcomes) and free.is_set()


def test_an_interruption_lets_go_of_everything() -> None:
    def act(case: str, at: str) -> None:
        if (case, at) == ("b", "compute"):
            raise KeyboardInterrupt

    log = Log(act)
    with pytest.raises(KeyboardInterrupt):
        each(items(*"abcdef"), log.run, Reporter(), steps=log.steps)
    assert not log.opened, "locks and temporary folders are gone"
    assert not others()
    assert ("a", "write") in log.done, "what was being written is complete"
    assert not any(case in "def" for case, _ in log.done)


def test_a_stream_that_is_left_early_ends_the_rest() -> None:
    log = Log()
    outcomes = stream(items(*"abcdef"), log.run, Reporter(), steps=log.steps)
    assert next(outcomes).id == "a"
    outcomes.close()  # type: ignore[attr-defined]
    assert not log.opened and not others()
    assert not any(case == "f" for case, _ in log.done)


def test_what_a_case_held_is_freed_when_it_is_through() -> None:
    class Large:
        pass

    alive: list[weakref.ref[Large]] = []

    def steps(item: Item) -> Steps[Result]:
        held = Large()
        alive.append(weakref.ref(held))
        yield
        yield
        assert held is not None
        return work(item)

    for count, _ in enumerate(stream(items(*"abcdefgh"), work, Reporter(), steps=steps), start=1):
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 3, count
    gc.collect()
    assert not any(ref() for ref in alive)


def test_one_case_is_done_in_this_thread_and_raises_as_it_is() -> None:
    log = Log()
    assert each(items("a"), log.run, Reporter(), steps=log.steps)[0].result == Result("a")
    assert set.union(*log.threads.values()) == {threading.get_ident()}
    with pytest.raises(InputError):
        each(items("bad"), log.run, Reporter(), steps=log.steps)
