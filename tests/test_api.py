"""The Python door: its verbs, in any order and any number of times, and what they take."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest
from phantoms import affine, write_case
from tinymodels import write_models

import braincli
import braincli.phantom.run
from braincli import api
from braincli.config import CalibrateConfig, DetectConfig, ScoreConfig, SynthConfig, TrainConfig
from braincli.errors import InputError, UsageError

ROOT = Path(__file__).resolve().parents[1]
VERBS = [
    "bids", "calibrate", "check", "classify", "demo", "detect", "explain", "load_model", "preprocess", "score", "split",
    "synth", "train", "train_classifier", "translate", "validate_classifier",
]  # fmt: skip
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


def test_no_import_of_a_part_of_braincli_hides_a_verb() -> None:
    """A submodule becomes an attribute of the package when it is imported, and would take a verb's place."""
    known = {verb: getattr(braincli, verb) for verb in VERBS}
    names = [each.name for each in pkgutil.walk_packages(braincli.__path__, "braincli.")]
    for name in [name for name in names if not name.endswith("__main__")]:
        importlib.import_module(name)
        hidden = [verb for verb, function in known.items() if getattr(braincli, verb) is not function]
        assert not hidden, f"import {name} hides {hidden}"
    assert len(names) > 150 and set(VERBS) <= set(dir(braincli))


def test_every_verb_takes_inputs_output_config_and_its_options_in_this_order() -> None:
    first = {"demo": ["output"], "check": ["inputs"], "calibrate": ["inputs"], "load_model": ["model"]}
    for verb in VERBS:
        shown = inspect.signature(getattr(braincli, verb)).parameters
        asked = ["reference"] if verb == "score" else []
        usual = first.get(verb, ["inputs", *asked, "output"]) + (["config", "reporter"] if verb != "load_model" else [])
        by_place = [name for name, each in shown.items() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert by_place == usual, verb
        assert all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in shown.values()), verb
    assert inspect.signature(braincli.detect).parameters["samples"].default == 1


@pytest.mark.parametrize("verb", [*VERBS, "calibrate_all"])
def test_every_verb_is_documented(verb: str) -> None:
    words = inspect.getdoc(braincli.phantom.run.run if verb == "demo" else getattr(api, verb)) or ""
    assert all(f"{part}:\n" in words for part in ("Raises", "Example")), verb
    assert verb == "calibrate_all" or "Args:\n" in words, verb
    assert ">>> " in words and f"braincli.{verb}(" in words, verb


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


def test_options_are_keywords_that_go_before_the_configuration(tmp_path: Path, models: Path) -> None:
    case = write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID)
    kept = DetectConfig(model=str(models / "threshold"), figure=False, report=False, threshold=0.2)
    report = braincli.detect(case, tmp_path / "out", kept, threshold=0.7)
    assert report[0].record["facts"]["threshold"] == 0.7 and report[0].record["config"]["figure"] is False
    with pytest.raises(UsageError, match="Unknown option 'treshold'") as caught:
        braincli.detect(case, treshold=1)
    assert "Did you mean threshold?" in caught.value.hint
    with pytest.raises(UsageError, match="threshold: -1 is below 0"):
        braincli.detect(case, threshold=-1)
    with pytest.raises(UsageError, match="config is of type ScoreConfig") as caught:
        braincli.detect(case, config=ScoreConfig())  # type: ignore[arg-type]
    assert "DetectConfig" in caught.value.hint
    parts = braincli.split(tmp_path, test=1)  # nothing is written
    assert [each.id for each in parts.test] == ["p01"] and not list(tmp_path.glob("*.tsv"))
