"""The leaderboard runs as its readers would run it: two methods, phantoms, resumed, tabulated, shipped, drawn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import contest
import numpy as np
import pytest
import standings as leaderboard
from phantoms import affine, brain, lesion, write

from braincli.errors import UsageError
from braincli.imaging.cases import Case
from braincli.methods import registry
from braincli.model.folder import read_info
from braincli.scoring.statistics import sign_flip_test

pytestmark = pytest.mark.slow  # processes of their own, minutes in all

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0))
FIGURES = ("dsc", "best_dsc", "auprc", "hd95_mm", "healthy_fp_ml")


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks" / script, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("train/a1", "train/a2", "val/v1", "val/v2")):
        folder = root / name
        for contrast, bright in {"t1": 0.8, "flair": 1.7}.items():  # other noise in each: trained-on scans are refused
            image = brain(SHAPE, seed=2 * seed + (contrast == "t1"))
            image[lesion(SHAPE) > 0] *= bright
            write(folder / f"{folder.name}_{contrast}.nii.gz", image, GRID)
        write(folder / f"{folder.name}_seg.nii.gz", lesion(SHAPE), GRID)
    return root


@pytest.fixture(scope="module")
def work(data: Path) -> Path:
    result = run("leaderboard.py", *arguments(data))
    assert result.returncode == 0, result.stderr
    return data / "work"


def arguments(data: Path, models: str = "threshold,tsgm", *more: str | Path) -> list[str | Path]:
    return [
        data / "train", "--val", data / "val", "--out", data / "work", "--models", models, "--minutes", "0.02",
        "--preset", "tiny", "--device", "cpu", "--threads", "1", "--table", data / "L.md", *more,
    ]  # fmt: skip


@pytest.mark.long
def test_every_method_is_trained_within_the_budget_and_scored_by_case(work: Path) -> None:
    for name in ("threshold", "tsgm"):
        result = json.loads((work / name / "result.json").read_text())
        assert result["status"] == "done", result
        assert set(result["cases"]) == {"v1", "v2"}
        assert all(set(FIGURES) <= set(figures) for figures in result["cases"].values())
        assert read_info(work / "models" / name).calibration is not None
    training = result["training"]
    assert sum(training["steps"].values()) > 0 and training["compute_minutes"] <= 0.06
    table = (work.parent / "L.md").read_text()
    assert "| `threshold` | **" in table and "| `tsgm` | **" in table
    assert "no p is below 0.5" in table, "two cases have four sign patterns"


@pytest.mark.long
def test_a_second_run_keeps_what_is_done_and_tells_failures(work: Path, data: Path) -> None:
    before = (work / "tsgm" / "result.json").read_bytes()
    broken = data / "broken"
    broken.mkdir()
    (broken / "model.json").write_text("{}")
    result = run("leaderboard.py", *arguments(data, "threshold,tsgm", "--use", f"tsgm={broken}@7"))
    assert result.returncode == 0, result.stderr
    assert "=== tsgm-shipped" in result.stderr and "=== tsgm\n" not in result.stderr
    assert (work / "tsgm" / "result.json").read_bytes() == before
    row = next(line for line in (data / "L.md").read_text().splitlines() if "7 min of its own" in line)
    assert "failed: model.json of broken cannot be read" in row
    result = run("leaderboard.py", *arguments(data, "tsgm"), "--minutes", "3")
    assert result.returncode == 2 and "--again tsgm" in result.stderr


@pytest.mark.long
def test_only_models_that_beat_the_baseline_are_shipped(work: Path, data: Path) -> None:
    models = data / "shipped"
    common = ["--out", work, "--ship", "--ship-to", models, "--table", data / "L.md"]
    result = run("leaderboard.py", *common)
    assert result.returncode == 2 and "--data-note" in result.stderr
    path = work / "threshold" / "result.json"
    kept = path.read_text()

    def baseline(dsc: float) -> None:
        """What an untrained network beats, or does not, is chance: say it."""
        content = json.loads(kept)
        for figures in content["cases"].values():
            figures["dsc"] = dsc
        path.write_text(json.dumps(content))

    baseline(-1.0)
    result = run("leaderboard.py", *common, "--data-note", "Phantoms, no licence.")
    assert "shipped: tsgm" in result.stderr, result.stderr
    info = read_info(models / "tsgm")
    assert info.name == "tsgm" and info.calibration and "AUPRC" in info.figures
    card = (models / "tsgm" / "README.md").read_text()
    assert "Phantoms, no licence." in card and "DSC" in card and "`v1`, z = " in card
    assert card.startswith("# tsgm") and "Fitted on v1, v2" in card
    baseline(1.0)
    result = run("leaderboard.py", *common, "--data-note", "x")
    path.write_text(kept)
    assert "shipped: none" in result.stderr and "does not beat" in result.stderr


@pytest.mark.long
def test_every_labelled_case_is_judged_once_by_a_model_that_has_not_seen_it(work: Path, data: Path) -> None:
    crossed = data / "crossed"
    options = [*arguments(data, "threshold,tsgm"), "--out", crossed, "--folds", "2", "--table", data / "C.md"]
    result = run("leaderboard.py", *options)
    assert result.returncode == 0, result.stderr
    for name in ("threshold", "tsgm"):
        content = json.loads((crossed / name / "result.json").read_text())
        assert content["status"] == "done", content
        assert set(content["cases"]) == {"a1", "a2", "v1", "v2"}
        assert all(set(FIGURES) <= set(figures) for figures in content["cases"].values())
        for number, fold in enumerate((("a1", "v1"), ("a2", "v2"))):
            trained = set(read_info(crossed / "models" / name / f"fold{number}").training.cases)
            for case in fold:
                fitted = set(content["calibrations"][case]["provenance"]["cases"])
                assert (
                    fitted
                    and bool(trained) == (name == "tsgm")
                    and not {case} & (fitted | trained)
                    and not fitted & trained
                )
    table = (data / "C.md").read_text()
    assert "4 labelled cases, cross-validated in 2 folds" in table and "| `tsgm` | **" in table
    refused = run("leaderboard.py", *options, "--use", f"tsgm={work / 'models' / 'tsgm'}")
    assert "cannot be cross-validated" in (data / "C.md").read_text(), refused.stderr
    shipped = ["--out", work, "--ship", "--ship-to", data / "judged", "--table", data / "L.md", "--data-note", "x"]
    judged = run("leaderboard.py", *shipped, "--judge", crossed)
    contents = [json.loads((crossed / name / "result.json").read_text()) for name in ("tsgm", "threshold")]
    better = leaderboard.mean(contents[0], "dsc") > leaderboard.mean(contents[1], "dsc")
    assert ("shipped: tsgm" in judged.stderr) == better, judged.stderr


def test_folds_share_no_case() -> None:
    cases = [Case(f"c{number:02}") for number in range(13)]
    found = contest.folds(cases, 3)
    assert sorted(case.id for fold in found for case in fold.judge) == [case.id for case in cases]
    for fold in found:
        ids = [case.id for part in (fold.train, fold.calibrate, fold.judge) for case in part]
        assert sorted(ids) == [case.id for case in cases]
        assert len(fold.calibrate) == 3 and len(fold.train) in (5, 6)
    with pytest.raises(UsageError, match="share an id"):
        contest.folds([*cases, Case("c03")], 3)
    for few, count in ((cases[:2], 3), (cases[:3], 2), (cases, 1)):
        with pytest.raises(UsageError, match="make no"):
            contest.folds(few, count)


@pytest.mark.long
def test_pictures_of_each_method_and_of_all(work: Path, tmp_path: Path) -> None:
    result = run("pictures.py", work, "-o", tmp_path)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"threshold.png", "tsgm.png", "all.png"}
    assert "tsgm: `v1`, z = " in result.stdout and "inside the reference" in result.stdout


def result(name: str, dsc: list[float], **more: Any) -> dict[str, Any]:
    cases = {f"c{n}": dict.fromkeys(FIGURES, 0.5) | {"dsc": value} for n, value in enumerate(dsc)}
    return {
        "name": name, "method": name, "shipped": False, "status": "done", "cases": cases, "given": {}, "threads": 2,
        "plan": {"preset": "compact", "minutes": 4.0}, "training": {}, "training_cases": [], "device": "cpu",
        "seconds_per_case": 1.0, "cpu_seconds_per_case": 2.0, "calls": 1, "parameters": 12,
    } | more  # fmt: skip


def test_the_test_against_the_baseline_is_paired() -> None:
    base, other = result("threshold", [0.1, 0.2, 0.3, 0.4]), result("tsgm", [0.2, 0.3, 0.5, 0.6])
    test = sign_flip_test(np.array([0.2, 0.3, 0.5, 0.6]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert test is not None and test.p == 0.125
    assert leaderboard.p_value(other, base) == "0.125 (+0.150)"
    assert leaderboard.p_value(base, base) == "", "nothing to compare"
    fewer = result("tsgm", [0.2, 0.3])
    assert leaderboard.p_value(fewer, base) == "", "other cases are no pairs"
    text = leaderboard.table([other, base])
    assert "no p is below 0.125: no difference can be significant at 5 %" in text


def test_undefined_figures_and_failures_are_shown_as_such() -> None:
    one = result("tsgm", [0.2, 0.4])
    one["cases"]["c0"]["hd95_mm"] = None
    failed = {"name": "threshold", "method": "threshold", "shipped": False, "status": "failed", "reason": "a | b"}
    text = leaderboard.table([one, failed | {"plan": one["plan"]}])
    assert "0.5 (1 undefined)" in text
    assert "| `threshold` | failed: a / b |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("| ") and "c0" not in line}) <= 3
    with pytest.raises(UsageError, match="no result yet"):
        leaderboard.table([])


def test_methods_that_learn_outlines_are_told_apart() -> None:
    assert not leaderboard.learns_outlines("tsgm")
    assert not leaderboard.learns_outlines("threshold")
    outlines = [name for name in registry.METHODS if leaderboard.learns_outlines(name)]
    assert set(outlines) >= {"unet"} & set(registry.METHODS)
