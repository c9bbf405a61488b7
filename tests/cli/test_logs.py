"""``--log-file`` and ``--verbose``: what is said and logged, with times, from every process."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path

import pytest
from phantoms import affine, brain, lesion, write
from typer.testing import CliRunner

from braincli import api
from braincli.cli import app
from braincli.runtime import logs

SHAPE = (24, 28, 8)
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO|WARNING|ERROR) [\w.]+: ")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stderr


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """``check`` says something, warns, and works with a library that logs and warns."""

    def check(inputs: object, config: object, reporter: logs.logging.Logger) -> None:
        reporter.say("100 % done")
        reporter.warn("mind the gap")
        logging.getLogger("somebody").info("a detail")
        logging.getLogger("somebody").warning("a library warns")
        warnings.warn("deprecated", stacklevel=1)
        with reporter.step("count", 2) as step:
            step.advance()
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "check", check)


@pytest.mark.usefixtures("talkative")
def test_a_log_holds_words_library_logs_and_times(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    code, said = run("check", "x", "--log-file", log)
    assert code == 130 and "mind the gap" in said and "a library warns" in said
    assert "a detail" not in said and "options" not in said
    lines = log.read_text().splitlines()
    text = "\n".join(lines)
    assert all(map(LINE.match, [line for line in lines if not line.startswith("  ")]))
    for part in (
        "INFO braincli.details: braincli ", "DEBUG braincli.details: options: {", "INFO braincli: 100 % done",
        "WARNING braincli: mind the gap", "INFO somebody: a detail", "WARNING somebody: a library warns",
        "WARNING py.warnings: ", "INFO braincli: count ...", "INFO braincli: count: ", "ERROR braincli: interrupted",
    ):  # fmt: skip
        assert part in text, part
    run("check", "x", "--log-file", log, "-q")
    assert log.read_text().startswith(text) and log.read_text().count("mind the gap") == 2, "appended, with -q too"


@pytest.mark.usefixtures("talkative")
def test_verbose_shows_what_else_is_hidden_and_says_nothing_twice() -> None:
    code, said = run("check", "x", "-v")
    assert code == 130 and "somebody: a detail" in said and 'braincli.details: options: {"' in said
    assert said.count("mind the gap") == 1
    assert "a detail" not in run("check", "x")[1]
    assert not logs.is_on(), "the next run begins anew"


def test_what_is_no_log_is_not_appended_to(tmp_path: Path) -> None:
    scan = tmp_path / "scan_t1.nii.gz"
    write(scan, brain(SHAPE, 0), affine("LPS", (4.0, 4.0, 6.0)))
    content = scan.read_bytes()
    for log, exit_code, says in (
        (scan, 2, "--log-file: scan_t1.nii.gz is no log of braincli"), (tmp_path, 2, "is a folder"),
        (tmp_path / "no" / "x.log", 5, "--log-file: x.log cannot be written: No such file"),
    ):  # fmt: skip
        code, said = run("check", scan, "--log-file", log)
        assert code == exit_code and says in said
    assert scan.read_bytes() == content


def test_processes_of_a_cohort_are_heard(tmp_path: Path) -> None:
    """Real processes; the prediction of one case is no mask, which one of them says."""
    for name in ("a", "b"):
        for folder in ("reference", "prediction"):
            write(tmp_path / folder / f"{name}_seg.nii.gz", lesion(SHAPE), affine("LPS", (4.0, 4.0, 6.0)))
    (tmp_path / "prediction" / "b_seg.nii.gz").write_bytes(b"no scan")
    log = tmp_path / "run.log"
    code, said = run("score", tmp_path / "prediction", tmp_path / "reference", "--jobs", 2, "--log-file", log)
    assert code == 6 and "b failed" in said
    failed, ended = r"WARNING braincli: b failed: .*\n", "ERROR braincli: error: Not scored: 1 of 2 cases"
    assert re.search(rf"{failed}(.*\n)*.*{ended}", log.read_text())
