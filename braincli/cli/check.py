"""``braincli check``: what the gatekeeper finds in scans, before anything is computed from them."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braincli.cli.common import AsJson, Debug, Quiet
from braincli.errors import InputError

if TYPE_CHECKING:
    from braincli.imaging.checks import Problem
    from braincli.imaging.checks.survey import CheckReport, FileReport


class Form(StrEnum):
    """Which affine counts where both are set and disagree."""

    SFORM = "sform"
    QFORM = "qform"


def command(
    paths: Annotated[list[Path], typer.Argument(help="Scans, case or cohort folders, .tsv manifests.")],
    volume: Annotated[int | None, typer.Option(help="Which volume of a 4-D file, from 0.", min=0)] = None,
    prefer: Annotated[Form, typer.Option(help="Where qform and sform disagree.")] = Form.SFORM,
    phi: Annotated[bool, typer.Option("--phi", help="List what headers tell about the patient.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check scans: damage, geometry, values, and whether the files of a case fit together.

    Exit code 3 if anything is unusable. Example: braincli check sub01/ --phi
    """
    from braincli import api
    from braincli.runtime import progress

    words = progress.reporter(quiet=quiet)
    report = api.check(paths, volume=volume, prefer=prefer.value, phi=phi, reporter=words)
    typer.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False) if as_json else _table(report))
    if count := len(report.errors):
        raise InputError(f"{count} problem{'s' if count > 1 else ''} to mend before use (see above).")


def _table(report: CheckReport) -> str:
    lines = [line for problem in report.problems for line in _problem(problem, "")]
    for case in report.cases:
        lines.append(case.id)
        for file in case.files:
            lines.append(f"  {file.role:7}{'ok      ' if file.usable else 'UNUSABLE'}  {_facts(file)}")
            lines += [line for problem in file.problems for line in _problem(problem, f"{file.file} ")]
            if file.private is not None:
                lines += [f"    private: {key} = {value}" for key, value in file.private.items()]
        lines += [line.removeprefix("  ") for problem in case.problems for line in _problem(problem, "")]
    return "\n".join(lines)


def _facts(file: FileReport) -> str:
    if file.shape is None or file.spacing_mm is None:
        return file.file
    size = " x ".join(map(str, file.shape))
    spacing = " x ".join(f"{value:.2f}" for value in file.spacing_mm)
    return f"{size}  {spacing} mm  {file.axes}  {file.file}"


def _problem(problem: Problem, name: str) -> list[str]:
    text = problem.message.removeprefix(name)
    return [f"    {problem.level.name.lower()}: {text}{' ' + problem.hint if problem.hint else ''}"]
