"""The one loop over cases: what goes wrong with one stays with it, and what the others gave is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from braincli.errors import BraincliError, CohortError, InternalError, QualityError, ResourceError, UsageError
from braincli.runtime import device
from braincli.runtime.overlap import Steps, overlapped
from braincli.runtime.progress import Reporter
from braincli.wording import counted

R = TypeVar("R")
T = TypeVar("T")


class _Planned(BaseException):
    """The plan is made; nothing on the way out may take this for a case's failure."""


_plan: ContextVar[list[str] | None] = ContextVar("plan", default=None)  # to be filled, where one is asked for


class Item(Protocol):
    """What is worked through: anything with an id, and what was wrong with it from the start, if anything was."""

    @property
    def id(self) -> str:
        """Unique in its cohort."""

    @property
    def problem(self) -> BraincliError | None:
        """Why it cannot be used at all."""


I = TypeVar("I", bound=Item)  # noqa: E741


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What came of one case: ``result``, or ``error`` where it failed."""

    id: str
    result: R | None = None
    error: BraincliError | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Jobs:
    """How many processes work through the cases.

    Attributes:
        wanted: at most so many; 1: this process does the work, and starts no other.
        need_gb: memory that one of them takes with a case of usual size; where it proves to be more, fewer go on.
    """

    wanted: int = 1
    need_gb: float = 1.0

    def fitting(self, cases: int, memory_gb: float, reporter: Reporter) -> int:
        """How many are started for so many cases; fewer than wanted is said."""
        fit = max(1, int(memory_gb / self.need_gb))
        if fit < min(self.wanted, cases):
            reporter.say(
                f"{fit} of {counted(self.wanted, 'job')}: memory ({memory_gb:.1f} GB available, "
                f"{self.need_gb:.1f} GB for each)."
            )
        return min(self.wanted, cases, fit)


def part(cases: Sequence[I], part_id: int | None, num_parts: int | None, reporter: Reporter) -> list[I]:
    """One of ``num_parts`` parts of ``cases``, from 0; all of them where no part is named.

    Every ``num_parts``-th of the ids in their order: the parts are disjoint, together they hold every case, and they
    differ by one case at most.

    Raises:
        UsageError: one of the numbers without the other, or no such part.
    """
    if (plan := _plan.get()) is not None:
        plan[:] = sorted(case.id for case in cases)
        raise _Planned
    if part_id is None and num_parts is None:
        return list(cases)
    if part_id is None or num_parts is None:
        raise UsageError(
            "--part-id and --num-parts belong together.", "For example: --part-id $SLURM_ARRAY_TASK_ID --num-parts 8."
        )
    if part_id >= num_parts:
        raise UsageError(
            f"--part-id: {part_id} is not below --num-parts {num_parts}.", f"Parts are 0 to {num_parts - 1}."
        )
    chosen = shares(sorted(cases, key=lambda case: case.id), num_parts)[part_id]
    nothing = "" if chosen else "; nothing to do"
    reporter.say(f"part {part_id} of {num_parts}: {len(chosen)} of {counted(len(cases), 'case')}{nothing}")
    return chosen


def shares(ordered: Sequence[T], num_parts: int) -> list[list[T]]:
    """What each of ``num_parts`` parts holds of what is in order."""
    return [list(ordered[number::num_parts]) for number in range(num_parts)]


def planned(run: Callable[[], object]) -> list[str]:
    """Ids, in order, of the cases that ``run`` would part: it runs as far as to :func:`part`, and no case is begun.

    Whatever ``run`` refuses before it looks at cases (options, a missing model, an output that cannot be written) is
    raised, so that it is found before a cluster is asked for anything.
    """
    plan: list[str] = []
    token = _plan.set(plan)
    try:
        run()
    except _Planned:
        return plan
    finally:
        _plan.reset(token)
    raise InternalError("This command does not part its cases.")


def each(
    cases: Sequence[I],
    work: Callable[[I], R],
    reporter: Reporter,
    *,
    title: str = "cases",
    jobs: Jobs | None = None,
    steps: Callable[[I], Steps[R]] | None = None,
    of: int = 1,
) -> list[Outcome[R]]:
    """Run ``work`` on every case; whatever goes wrong with one becomes its outcome. The order is that of the cases.

    Args:
        work: with several jobs it and its results travel to other processes: a function or object that can be pickled
            and holds its ``reporter`` as such.
        steps: the same work in three parts. Where this process does it all, the cases overlap: the next is begun and
            the last ended in other threads, see :mod:`braincli.runtime.overlap`.
        of: how many cases the cohort has of which ``cases`` are a part.

    Raises:
        BraincliError: the cohort is one case, and this went wrong.
    """
    return list(stream(cases, work, reporter, title=title, jobs=jobs, steps=steps, of=of))


def stream(
    cases: Sequence[I],
    work: Callable[[I], R],
    reporter: Reporter,
    *,
    title: str = "cases",
    jobs: Jobs | None = None,
    steps: Callable[[I], Steps[R]] | None = None,
    of: int = 1,
) -> Iterator[Outcome[R]]:
    """What :func:`each` gives, one by one, as soon as those before it are there."""
    if len(cases) == 1 and of <= 1:
        yield _done(cases[0], work)
        return
    early: dict[int, Outcome[R]] = {}
    following = 0
    with reporter.step(title, total=len(cases)) as step:
        for index, outcome in _as_done(cases, work, reporter, jobs or Jobs(), steps):
            if outcome.error is not None:
                reporter.warn(f"{outcome.id} failed: {short(outcome.error)}")
            step.advance(note=outcome.id)
            early[index] = outcome
            while following in early:
                yield early.pop(following)
                following += 1


def _as_done(
    cases: Sequence[I],
    work: Callable[[I], R],
    reporter: Reporter,
    jobs: Jobs,
    steps: Callable[[I], Steps[R]] | None,
) -> Iterator[tuple[int, Outcome[R]]]:
    """Index and outcome of every case, in the order in which they come to their end."""
    memory_gb = device.available_memory_gb()
    processes = jobs.fitting(len(cases), memory_gb, reporter)
    task = partial(_guarded, work=work)
    if processes <= 1:
        yield from enumerate(map(task, cases) if steps is None else _in_parts(cases, steps))
        return
    from braincli.runtime import workers  # a run of one process goes without

    for index, outcome in workers.spread(cases, task, reporter, jobs=processes, memory_gb=memory_gb):
        lost = isinstance(outcome, BraincliError)
        yield index, Outcome(cases[index].id, error=outcome) if lost else outcome


@dataclass(eq=False)
class _Hand(Generic[R]):
    """A case on its way through the parts of its work; ``outcome`` is what it has come to so far."""

    case: Item
    steps: Steps[R]
    outcome: Outcome[R]
    ended: bool = False

    def go_on(self) -> None:
        """Do the next part, if one is left."""
        if self.ended:
            return
        part: Outcome[Any] = _guarded(self.case, self._next)  # of None until the end
        self.ended |= part.error is not None
        self.outcome = replace(part, seconds=round(self.outcome.seconds + part.seconds, 3))

    def finish(self) -> None:
        """Do all parts that are left."""
        while not self.ended:
            self.go_on()

    def _next(self, case: Item) -> R | None:
        try:
            next(self.steps)
        except StopIteration as end:
            self.ended = True
            result: R = end.value
            return result
        return None


def _in_parts(cases: Sequence[I], steps: Callable[[I], Steps[R]]) -> Iterator[Outcome[R]]:
    """Outcome after outcome, in order, while the next cases are on their way."""
    hands = (_Hand(case, steps(case), Outcome[R](case.id)) for case in cases)
    for hand in overlapped(hands, (_Hand.go_on, _Hand.go_on, _Hand.finish), lambda hand: hand.steps.close()):
        yield hand.outcome


def results(outcomes: Sequence[Outcome[R]], *, again: str = "Mend them and run again with --resume") -> list[R]:
    """What the cases gave that did not fail.

    Args:
        again: what to do about those that failed, as the command at hand can.

    Raises:
        CohortError: some failed; it lists them, and ``outcomes`` holds what the others gave.
        QualityError: the same, where nothing but quality limits was exceeded.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        table = "\n".join(f"  {outcome.id}\t{short(outcome.error)}" for outcome in failed if outcome.error)
        kind = QualityError if all(isinstance(outcome.error, QualityError) for outcome in failed) else CohortError
        error = kind(
            f"{len(failed)} of {counted(len(outcomes), 'case')} failed:\n{table}",
            f"{again}{'; the others are complete' if len(failed) < len(outcomes) else ''}.",
        )
        error.outcomes = list(outcomes)
        raise error
    return [outcome.result for outcome in outcomes if outcome.result is not None]


def finished(work: Callable[[], Sequence[R]]) -> tuple[list[Outcome[R]], BraincliError | None]:
    """What ``work`` gave for each case, and the error to end with where some failed (see :func:`results`).

    Raises:
        BraincliError: ``work`` ended before it got to the cases, or the only one failed.
    """
    try:
        return [Outcome("", result) for result in work()], None
    except BraincliError as error:
        if not error.outcomes:
            raise
        return error.outcomes, error


def rows(outcomes: Sequence[Outcome[Any]]) -> list[dict[str, Any]]:
    """What ``--json`` prints: ``as_dict()`` of every result, and of every case that failed why."""
    return [_row(outcome) for outcome in outcomes]


def _row(outcome: Outcome[Any]) -> dict[str, Any]:
    if (error := outcome.error) is not None:
        return {"case": outcome.id, "error": error.message, "hint": error.hint, "exit_code": error.exit_code}
    content: dict[str, Any] = outcome.result.as_dict()  # type: ignore[union-attr]
    return content


def short(error: BraincliError) -> str:
    """The message on one line."""
    return " ".join(error.message.split())


def _done(case: I, work: Callable[[I], R]) -> Outcome[R]:
    begin = time.perf_counter()
    if case.problem is not None:
        raise case.problem
    return Outcome(case.id, work(case), seconds=round(time.perf_counter() - begin, 3))


def _guarded(case: I, work: Callable[[I], R]) -> Outcome[R]:
    begin = time.perf_counter()
    try:
        return _done(case, work)
    except BraincliError as caught:
        error = caught
    except MemoryError:
        error = ResourceError("Out of memory.", "Use a machine with more memory, or smaller input.")
    except Exception as caught:  # a bug must not cost the rest of the cohort
        error = InternalError(f"internal error: {type(caught).__name__}: {caught}")
    return Outcome(case.id, error=error, seconds=round(time.perf_counter() - begin, 3))
