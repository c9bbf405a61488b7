"""The loop over cases: one that fails stays alone, and what the others gave is kept."""

from __future__ import annotations

import pytest
from items import Item, Listener, Result, items, work

from braincli.errors import CohortError, InputError, InternalError, QualityError, ResourceError
from braincli.runtime.cohort import Outcome, each, finished, part, planned, results, rows
from braincli.runtime.progress import Reporter, Step


def test_every_case_is_tried_in_order_and_what_fails_is_its_own() -> None:
    listener = Listener()
    outcomes = each([*items("a", "bad", "bug", "big"), Item("x", InputError("two files")), Item("z")], work, listener)
    assert [outcome.id for outcome in outcomes] == ["a", "bad", "bug", "big", "x", "z"]
    assert [outcome.result for outcome in outcomes] == [Result("a"), None, None, None, None, Result("z")]
    kinds = [type(outcome.error) for outcome in outcomes[1:5]]
    assert kinds == [InputError, InternalError, ResourceError, InputError]
    assert [outcome.error.exit_code for outcome in outcomes[1:5] if outcome.error] == [3, 1, 5, 3]
    assert listener.warnings[0] == "bad failed: bad.nii is truncated." and "IndexError" in listener.warnings[1]
    assert listener.warnings[3] == "x failed: two files"
    assert all(outcome.seconds >= 0 for outcome in outcomes)


@pytest.mark.parametrize(
    ("item", "error"),
    [(Item("bad"), InputError), (Item("bug"), IndexError), (Item("x", InputError("two files")), InputError)],
)
def test_what_goes_wrong_with_the_only_case_is_raised_as_it_is(item: Item, error: type[Exception]) -> None:
    with pytest.raises(error):
        each([item], work, Reporter())


def test_one_case_of_a_larger_cohort_fails_as_its_part() -> None:
    """A part of a job array that is one case: its outcome is kept, too, for tables and pages."""
    (outcome,) = each(items("bad"), work, Reporter(), of=4)
    assert isinstance(outcome.error, InputError)
    with pytest.raises(CohortError, match="1 of 1 case failed") as raised:
        results([outcome])
    assert raised.value.hint == "Mend them and run again with --resume.", "there are no others"
    with pytest.raises(CohortError) as raised:
        results(each(items("a", "bad"), work, Reporter()), again="Mend them")
    assert raised.value.hint == "Mend them; the others are complete."


def test_a_plan_names_the_cases_and_begins_none() -> None:
    begun: list[str] = []

    def run() -> None:
        begun.append("refusals")
        try:
            part(items("c", "a", "b"), None, None, Reporter())
        except Exception:
            begun.append("caught")
        begun.append("cases")

    assert planned(run) == ["a", "b", "c"] and begun == ["refusals"]
    assert part(items("a"), None, None, Reporter()) == items("a"), "the plan is over"
    with pytest.raises(InputError):
        planned(lambda: work(Item("bad")))
    with pytest.raises(InternalError, match="does not part"):
        planned(lambda: None)


def test_no_case_and_one_case_give_what_there_is() -> None:
    assert each([], work, Reporter()) == []
    (outcome,) = each(items("a"), work, Reporter())
    assert (outcome.id, outcome.result, outcome.error) == ("a", Result("a"), None)


def test_an_interruption_is_no_failure_of_a_case() -> None:
    def stop(item: Item) -> Result:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each(items("a", "b"), stop, Reporter())


def test_results_of_sound_cases_or_an_error_that_keeps_them() -> None:
    assert results(each(items("a", "b"), work, Reporter())) == [Result("a"), Result("b")]
    with pytest.raises(CohortError) as raised:
        results(each(items("a", "bad", "poor", "b"), work, Reporter()))
    assert raised.value.exit_code == 6
    assert raised.value.message == ("2 of 4 cases failed:\n  bad\tbad.nii is truncated.\n  poor\tpoor: brain of 3 ml.")
    assert [outcome.result for outcome in raised.value.outcomes] == [Result("a"), None, None, Result("b")]


def test_where_only_quality_fell_short_the_code_says_so() -> None:
    with pytest.raises(QualityError) as raised:
        results(each(items("a", "poor"), work, Reporter()))
    assert raised.value.exit_code == 7 and raised.value.outcomes[0].result == Result("a")


def test_finished_gives_outcomes_whether_all_went_well_or_not() -> None:
    outcomes, failure = finished(lambda: results(each(items("a", "b"), work, Reporter())))
    assert failure is None and rows(outcomes) == [{"case": "a"}, {"case": "b"}]
    outcomes, failure = finished(lambda: results(each(items("a", "bad"), work, Reporter())))
    assert isinstance(failure, CohortError)
    assert rows(outcomes) == [
        {"case": "a"},
        {"case": "bad", "error": "bad.nii is\ntruncated.", "hint": "Copy it again.", "exit_code": 3},
    ]
    with pytest.raises(InputError):  # before any case, or of the only one: nothing is kept
        finished(lambda: results(each(items("bad"), work, Reporter())))


def test_progress_names_the_cases() -> None:
    notes: list[str] = []

    class Noting(Step):
        def advance(self, count: int = 1, note: str = "") -> None:
            notes.append(note)

    class Stepping(Reporter):
        def step(self, name: str, total: int | None = None):  # type: ignore[no-untyped-def]
            from contextlib import nullcontext

            assert (name, total) == ("cases", 2)
            return nullcontext(Noting())

    outcomes = each(items("a", "bad"), work, Stepping())
    assert notes == ["a", "bad"] and isinstance(outcomes[0], Outcome)
