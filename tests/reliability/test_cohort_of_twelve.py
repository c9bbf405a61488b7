"""Twelve subjects, five of them odd: seven are done, exit code 6, and the report keeps the seven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import phantoms
import pytest
import tinymodels

from reliability.shell import GRID, PREPARED, SHAPE, braincli, contents

pytestmark = pytest.mark.slow  # processes of their own, minutes in all

ODD = {"sub-03", "sub-05", "sub-07", "sub-09", "sub-11"}


def write_subjects(root: Path) -> Path:
    """BIDS: a truncated scan, two runs, a dangling annex link, NaN throughout, a web page."""
    for number in range(1, 13):
        name = f"sub-{number:02}"
        scan = root / name / "anat" / f"{name}_FLAIR.nii.gz"
        image = phantoms.brain(SHAPE, number)
        image[phantoms.lesion(SHAPE) > 0] *= 1.7
        phantoms.write(scan, image, GRID)
        if name == "sub-03":
            scan.write_bytes(scan.read_bytes()[:-3000])
        elif name == "sub-05":
            scan.rename(scan.with_name(f"{name}_run-1_FLAIR.nii.gz"))
            phantoms.write(scan.with_name(f"{name}_run-2_FLAIR.nii.gz"), image + (image > 0), GRID)
        elif name == "sub-07":
            scan.unlink()
            scan.symlink_to("../../.git/annex/objects/MD5E-s1.nii.gz")
        elif name == "sub-09":
            phantoms.write(scan, np.full(SHAPE, np.nan, np.float32), GRID)
        elif name == "sub-11":
            scan.write_bytes(b"<!doctype html><html>404</html>")
    return root


@pytest.mark.parametrize("command", ["detect", "preprocess"])
def test_five_odd_subjects_do_not_stop_the_seven(command: str, tmp_path: Path) -> None:
    data, out = write_subjects(tmp_path / "bids"), tmp_path / "out"
    models = tinymodels.write_models(tmp_path / "models")
    options = {"detect": ("-m", "threshold", "--no-figure", "--no-report"), "preprocess": PREPARED}[command]
    ended = braincli(command, data, "-o", out, *options, "--threads", "1", "--json", models=models)
    assert ended.code == 6, ended.words
    assert "5 of 12" in ended.words
    report = ended.report
    cases = report["cases"] if isinstance(report, dict) else report
    done = {case["case"] for case in cases if case.get("status", "done") == "done" and not case.get("error")}
    assert {name.removeprefix("sub-") for name in done} == {f"{n:02}" for n in range(1, 13)} - {n[4:] for n in ODD}
    written = contents(out)
    assert sum("mask" in name for name in written) == 7 if command == "detect" else len(written) >= 7
    assert all(odd in ended.words for odd in (name[4:] for name in ODD))
