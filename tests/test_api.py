"""The Python door: its verbs, in any order and any number of times, and what they take."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest
from phantoms import affine, write_case
from tinymodels import write_models

import braincli
from braincli import api
from braincli.config import CalibrateConfig, DetectConfig, ScoreConfig, SynthConfig, TrainConfig
from braincli.errors import InputError, UsageError

ROOT = Path(__file__).resolve().parents[1]
VERBS = ["calibrate", "check", "demo", "detect", "preprocess", "score", "split", "synth", "train"]
SHAPE, GRID = (24, 28, 12), affine("LPS", (5.0, 5.0, 6.0))


def test_the_verbs_are_listed_and_nothing_else() -> None:
    assert [name for name in dir(braincli) if not name.startswith("_")] == VERBS
    assert all(callable(getattr(braincli, verb)) for verb in VERBS)
    assert braincli.detect is api.detect
    with pytest.raises(AttributeError, match="no attribute 'detekt'"):
        _ = braincli.detekt  # type: ignore[attr-defined]


def test_all_can_be_imported_by_star() -> None:
    code = f"from braincli import *; print([callable(f) for f in ({', '.join(VERBS)})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.count("True") == len(VERBS)


def test_its_types_are_for_others_too(tmp_path: Path) -> None:
    assert (resources.files("braincli") / "py.typed").is_file()
    builder = pytest.importorskip("hatchling.builders.wheel")
    wheel = next(builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(wheel) as archive:
        assert "braincli/py.typed" in archive.namelist()


def test_verbs_work_any_number_of_times_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing a package of a verb's name would hide the verb; text, paths and sequences of both are taken."""
    monkeypatch.setenv("BRAINCLI_MODELS", str(write_models(tmp_path / "models")))
    case = write_case(tmp_path / "in" / "p01", shape=SHAPE, matrix=GRID)
    for attempt in ("a", "b"):
        import braincli.detection.run
        import braincli.preprocessing.cohort
        import braincli.scoring.evaluate

        out = tmp_path / attempt
        small = SynthConfig(radius_mm=(10.0, 12.0), kind="sink", margin_mm=0.0)
        assert not braincli.check(str(case)).errors
        assert not braincli.check([str(case), case]).errors
        config = DetectConfig(model="threshold", figure=False, report=False)
        assert braincli.detect(str(case), str(out / "detect"), config).cases[0].status == "done"
        assert braincli.detect([case], out / "again", config=config).cases[0].status == "done"
        assert braincli.train(str(case), str(out / "model"), TrainConfig(method="threshold")) is not None
        import braincli.calibration.fit
        import braincli.phantom.run
        import braincli.synthesis.run
        import braincli.training.run

        (planted,) = braincli.synth(str(case), str(out / "synth"), small)
        known = next(planted.folder.glob("*_seg.nii.gz"))
        assert braincli.score(str(known), known, str(out / "scores")).cases[0].values["dsc"] == 1.0
        calibration = CalibrateConfig(model="threshold", dry_run=True)
        assert braincli.calibrate(planted.folder, calibration).threshold > 0


@pytest.mark.parametrize("verb", ["preprocess", "detect"])
def test_contrasts_are_named_in_many_ways(verb: str, tmp_path: Path) -> None:
    function = getattr(braincli, verb)
    with pytest.raises(UsageError, match="There is no contrast 'pd'"):
        function(tmp_path / "x.nii.gz", tmp_path / "out", contrast="flair,pd")
    with pytest.raises(UsageError, match="There is no contrast 'pd'"):
        function(tmp_path / "x.nii.gz", tmp_path / "out", contrast=["pd"])
    with pytest.raises(InputError, match="no such file"):
        function(str(tmp_path / "x.nii.gz"), str(tmp_path / "out"), contrast="T1, t1ce,t2,flair")


def test_scores_are_not_overwritten_unasked(tmp_path: Path) -> None:
    mask = write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID) / "p01_seg.nii.gz"
    braincli.score(mask, mask, tmp_path / "scores")
    with pytest.raises(UsageError, match="exists"):
        braincli.score(mask, mask, tmp_path / "scores")
    braincli.score(mask, mask, tmp_path / "scores", ScoreConfig(overwrite=True))
