"""The one loop over cases: what goes wrong with one stays with it, and what the others gave is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from braincli.errors import BraincliError, CohortError, InternalError, QualityError, ResourceError
from braincli.runtime.progress import Reporter

R = TypeVar("R")


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


def each(cases: Sequence[I], work: Callable[[I], R], reporter: Reporter, *, title: str = "cases") -> list[Outcome[R]]:
    """Run ``work`` on every case, in order; whatever goes wrong with one becomes its outcome.

    Raises:
        BraincliError: there is only one case, and this went wrong.
    """
    if len(cases) == 1:
        return [_done(cases[0], work)]
    outcomes: list[Outcome[R]] = []
    with reporter.step(title, total=len(cases)) as step:
        for case in cases:
            outcomes.append(_guarded(case, work))
            if (error := outcomes[-1].error) is not None:
                reporter.warn(f"{case.id} failed: {short(error)}")
            step.advance(note=case.id)
    return outcomes


def results(outcomes: Sequence[Outcome[R]]) -> list[R]:
    """What the cases gave that did not fail.

    Raises:
        CohortError: some failed; it lists them, and ``outcomes`` holds what the others gave.
        QualityError: the same, where nothing but quality limits was exceeded.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        table = "\n".join(f"  {outcome.id}\t{short(outcome.error)}" for outcome in failed if outcome.error)
        kind = QualityError if all(isinstance(outcome.error, QualityError) for outcome in failed) else CohortError
        error = kind(
            f"{len(failed)} of {len(outcomes)} cases failed:\n{table}",
            "Mend them and run again with --resume; the others are complete.",
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
