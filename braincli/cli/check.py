"""``braincli check``: what the gatekeeper finds in scans, before anything is computed from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from braincli.cli.common import show, show_json
from braincli.cli.options import AsJson, ConfigFile, Debug, Prefer, Quiet, VolumeNumber, option, read
from braincli.errors import InputError

if TYPE_CHECKING:
    from braincli.imaging.checks import Problem
    from braincli.imaging.checks.survey import CheckReport, FileReport


def command(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUTS", help="Scans, case or cohort folders, .tsv manifests.")
    ],
    volume: VolumeNumber = None,
    prefer: Prefer = None,
    phi: Annotated[bool | None, option("List what headers tell about the patient.", "--phi")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check scans: damage, geometry, values, and whether the files of a case fit together.

    Exit code 3 if anything is unusable. Example: braincli check sub01/ --phi
    """
    given = locals()
    from braincli import api
    from braincli.config import CheckConfig
    from braincli.runtime.progress import reporter

    config = read(CheckConfig, given, config_file)
    report = api.check(inputs, config, reporter(quiet=quiet))
    if as_json:
        show_json(report.as_dict())
    else:
        show(_table(report))
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
