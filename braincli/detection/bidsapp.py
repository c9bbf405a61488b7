"""The two levels of a BIDS-App: every participant by itself, and what they all gave."""

from __future__ import annotations

from pathlib import Path

from braincli.config import DetectConfig
from braincli.detection import cohort_page
from braincli.detection.report import CaseResult, DetectReport
from braincli.detection.run import detect_cases
from braincli.errors import InputError, UsageError
from braincli.imaging.case import folder_name
from braincli.layout.dataset import DESCRIPTION
from braincli.layout.participants import Selection, find_participants
from braincli.model.folder import LoadedModel
from braincli.runtime.progress import Reporter


def participant_level(
    root: Path,
    output: Path,
    config: DetectConfig,
    reporter: Reporter,
    wanted: Selection,
    model: LoadedModel | None = None,
) -> DetectReport:
    """Preprocess and search the chosen participants and sessions of ``root``; one that fails never stops the others.

    Raises:
        InputError: ``root`` is no BIDS data set.
        UsageError: it has no such label, or ``output`` is ``root`` itself.
        BraincliError: one case is chosen, and this cannot be worked through; or see
            :func:`braincli.detection.run.detect_cases`.
    """
    _refuse_same(root, output)
    cases = find_participants(root, wanted)
    if not (root / DESCRIPTION).is_file():
        reporter.warn(f"{folder_name(root)} has no {DESCRIPTION}, which BIDS asks for.")
    if not cases:
        raise InputError(f"{folder_name(root)}: no participant has such a session.", "Leave out --session-label.")
    return detect_cases(cases, output, config.model_copy(update={"preprocess": True}), reporter, model)


def group_level(root: Path, output: Path, reporter: Reporter) -> DetectReport:
    """Page and table of what the participant level left in ``output``; nothing is computed again.

    Returns:
        What came of the cases, by their records and the earlier table.

    Raises:
        InputError: nothing lies there, or ``root`` is no BIDS data set.
        UsageError: a file of the user's is where the page goes.
    """
    _refuse_same(root, output)
    rows = cohort_page.lines(output)
    if not rows:
        raise InputError(
            f"{folder_name(output)} holds no results.", "Run the participant level first, with the same folders."
        )
    known = {row.case for row in rows}
    if missing := [case.id for case in find_participants(root) if case.id not in known]:
        reporter.warn(f"No results yet of {len(missing)}: {', '.join(missing)}.")
    cohort_page.plan(output).refuse()
    cohort_page.write(output, [])
    reporter.say(f"{output / cohort_page.PAGE}")
    models = sorted({row.model for row in rows if row.model})
    return DetectReport(", ".join(models), [_result(row) for row in rows])


def _result(row: cohort_page.Row) -> CaseResult:
    warnings = [row.warnings] if row.warnings else []
    return CaseResult(
        row.case, row.status, {}, row.lesions, row.volume_ml, row.seconds or 0.0, warnings, error=row.error
    )  # fmt: skip


def _refuse_same(root: Path, output: Path) -> None:
    if not root.is_dir():
        raise InputError(f"{root.name or root}: no such folder.", "Name the root of a BIDS data set.")
    if output.resolve() == root.resolve():
        raise UsageError(
            "The results cannot lie among the raw scans.", "Name another folder, such as derivatives/braincli below."
        )
