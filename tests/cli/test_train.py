"""braincli train, calibrate and models through the shell's door."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import phantoms
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from braincli.cli import app
from braincli.model.folder import load_model, read_info

pytestmark = pytest.mark.slow  # processes of their own, minutes in all

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (48, 56, 14)
TINY = [
    "--preset", "tiny", "--steps", "translate=1", "--steps", "restore=2", "--steps", "redraw=1", "--steps", "suspect=1",
    "--device", "cpu", "--batch", "2",
]  # fmt: skip


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "weights.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases for training, two for validation: a bright ball on FLAIR."""
    root = tmp_path_factory.mktemp("data")
    matrix = phantoms.affine("LPS", (3.0, 3.0, 6.0))
    for seed, name in enumerate(("train/a", "train/b", "val/c", "val/d")):
        folder = root / name
        folder.mkdir(parents=True)
        data = phantoms.brain(SHAPE, seed)
        sick = phantoms.lesion(SHAPE) > 0
        phantoms.write(folder / f"{folder.name}_t1.nii.gz", data, matrix)
        phantoms.write(folder / f"{folder.name}_flair.nii.gz", np.where(sick, 190, data).astype(np.float32), matrix)
        phantoms.write(folder / f"{folder.name}_seg.nii.gz", sick.astype(np.uint8), matrix)
    return root


@pytest.fixture(scope="module")
def trained(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "mine"
    code, _, words = run("train", "--data", cohort / "train", "-o", out, *TINY)
    assert code == 0, words
    assert "Next: braincli calibrate --data COHORT --model" in words
    return out


def test_train_writes_a_self_describing_folder(trained: Path) -> None:
    assert {p.name for p in trained.iterdir()} >= {"model.json", "weights.safetensors", "README.md", "metrics.jsonl"}
    assert not (trained / "work").exists()
    content = json.loads((trained / "model.json").read_text())
    assert content["method"] == "tsgm" and content["preset"] == "tiny"
    assert set(content["training"]["cases"]) == {"a", "b"}
    assert content["training"]["steps"] == {"translate": 1, "restore": 2, "redraw": 1, "suspect": 1}
    card = (trained / "README.md").read_text()
    assert "Not calibrated yet" in card and "Research use only" in card


def test_train_refuses_to_overwrite_and_names_mistakes(trained: Path, cohort: Path) -> None:
    code, _, words = run("train", "--data", cohort / "train", "-o", trained, *TINY)
    assert (code, "holds a model" in words) == (2, True)
    code, _, words = run("train", "--method", "tsgn", "--data", cohort / "train", "-o", trained.parent / "x")
    assert code == 2 and "no method 'tsgn'" in words and "tsgm" in words
    code, _, words = run("train", "--method", "l2i", "--data", cohort / "train", "-o", trained.parent / "x")
    assert code == 2 and "braincli classify train cohort.tsv --method l2i" in words
    code, _, words = run("train", "--data", cohort / "train", "-o", trained.parent / "x", *TINY, "--set", "widht=3")
    assert code == 2 and "Did you mean width?" in words
    code, _, words = run("train", "--data", cohort / "train", "-o", trained.parent / "x", "--steps", "30")
    assert code == 2 and "'30' is not STAGE=NUMBER" in words and "--steps main=2000" in words
    code, _, words = run("train", "--data", cohort / "nothing", "-o", trained.parent / "x", *TINY)
    assert code == 3 and "nothing" in words


def test_trainings_share_slices_of_the_same_cases_only(trained: Path, cohort: Path, tmp_path: Path) -> None:
    arguments = [*TINY, "--store", tmp_path / "slices"]
    for name in ("one", "two"):
        code, _, words = run("train", "--data", cohort / "train", "-o", tmp_path / name, *arguments)
        assert code == 0 and ("cut slices" in words) == (name == "one"), words
    first, *others = (load_file(path / "weights.safetensors") for path in (trained, tmp_path / "one", tmp_path / "two"))
    assert all(torch.equal(other[key], value) for other in others for key, value in first.items())
    code, _, words = run("train", "--data", cohort / "val", "-o", tmp_path / "three", *arguments)
    assert code == 2 and "are of other cases" in words


def test_out_of_time_then_resume(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "slow"
    arguments = ["train", "--data", cohort / "train", "-o", out, *TINY]
    code, _, words = run(*arguments, "--max-time", "0.00001")
    assert code == 0 and "time is up: checkpoint written at step 0 of translate" in words and "--resume" in words
    assert not (out / "model.json").exists() and "slow is no model yet: stage suspect has not begun" in words
    code, _, words = run(*arguments)
    assert code == 2 and "unfinished training" in words
    code, _, words = run("detect", cohort / "val" / "c", "--model", out, "-o", tmp_path / "found")
    assert code == 4 and "slow holds a training that has not ended" in words and f"-o {out} --resume" in words
    code, _, words = run(*arguments, "--resume", "--set", "restore_rate=0.001", "--max-time", "01:00:00")
    assert code == 0, words
    assert "resumed with another option: settings.restore_rate: 0.0006 -> 0.001" in words
    assert "option: max_time" not in words
    assert (out / "model.json").exists()
    code, _, words = run(*arguments, "--resume")
    assert code == 0 and "slow is complete" in words
    assert "slow is complete: another option changes nothing: settings.restore_rate: 0.001 -> 0.0006" in words
    code, _, words = run(*arguments, "--resume", "--set", "restore_rate=0.001", "--threads", "1", "--max-time", "1")
    assert code == 0 and "slow is complete" in words and "another option" not in words


def test_a_training_that_stops_in_its_last_stage_leaves_a_model(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "short"
    common = ["train", "--method", "vae", "--preset", "tiny", "--data", cohort / "train", "-o", out, "--device", "cpu"]
    code, _, words = run(*common, "--steps", "main=1000000", "--max-time", "0:00:02")
    assert code == 0 and "short can be used as it is, after step" in words and "--resume" in words, words
    info = read_info(out)
    step = info.training.steps["main"]
    assert (
        info.training.left == {"main": 1_000_000 - step}
        and "It stopped before its end" in (out / "README.md").read_text()
    )
    assert list((out / "previews").glob(f"main-{step:07d}.png"))
    found = tmp_path / "found"
    code, _, words = run(
        "detect",
        cohort / "val" / "c",
        "--model",
        out,
        "-o",
        found,
        "--threshold",
        "0.9",
        "--uncalibrated",
        "--no-report",
    )
    assert f"the training of short has not ended: left are {1_000_000 - step:,} steps of main" in words and code in (
        0,
        7,
    )
    code, _, words = run(*common, "--steps", f"main={step + 1}", "--resume")
    assert code == 0 and not read_info(out).training.left and "main: " in words, words


def test_dry_run_then_the_saved_options_make_the_same_model(cohort: Path, tmp_path: Path) -> None:
    common = ["train", "--data", cohort / "train", "--store", tmp_path / "slices", "--device", "cpu"]
    file = tmp_path / "mine.toml"
    file.write_text('preset = "tiny"\nseed = 3\nbatch = 2\n[steps]\ntranslate = 1\n[settings]\nrestore_rate = 1e-3\n')
    one, two = tmp_path / "one", tmp_path / "two"
    few = ["--steps", "restore=2", "--steps", "redraw=1", "--steps", "suspect=1"]
    code, _, words = run(*common, "-o", one, "--config", file, *few, "--dry-run")
    assert code == 0 and "dry run" in words
    assert "healthy" in words and "score " in words
    assert "steps of 2 slices: translate 1, restore 2, redraw 1, suspect 1" in words
    plan = tomllib.loads((one / "work" / "train.toml").read_text())
    assert (plan["seed"], plan["batch"], plan["settings"]["restore_rate"]) == (3, 2, 1e-3)
    assert not (one / "metrics.jsonl").exists() and not (one / "model.json").exists()
    code, _, words = run(*common, "-o", one, "--config", one / "work" / "train.toml", "--resume")
    assert code == 0 and "another option" not in words, words
    code, _, words = run(*common, "-o", two, "--config", one / "train.toml")
    assert code == 0 and "cut slices" not in words, words
    assert same_weights(one, two)
    code, _, words = run("train", "--data", cohort / "val", "--store", tmp_path / "slices", "-o", two, "--overwrite")
    assert code == 2 and "of other cases" in words


def test_mistakes_in_a_configuration_are_named(cohort: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for text, expected in {
        "sede = 3": "Did you mean seed?",
        "[settings]\nwidht = 3": "Did you mean width?",
        "[steps]\nresotre = 3": "Stages of this method: translate, restore, redraw",
        'max_time = "1:00"': "max_time",
        "batch = ": "Cannot read the configuration mine.toml",
    }.items():
        file.write_text(text)
        code, _, words = run("train", "--data", cohort / "train", "-o", tmp_path / "x", "--config", file, "-q")
        assert code == 2 and expected in words, words
    assert not (tmp_path / "x").exists()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.mark.slow
def test_terminated_then_killed_then_resumed_equals_never_stopped(cohort: Path, tmp_path: Path) -> None:
    """Real processes: SIGTERM ends one with a checkpoint and exit code 0, kill -9 the next in the midst of a step."""
    steps = ["--steps", "translate=3", "--steps", "restore=20", "--steps", "redraw=4"]
    many = ["--preset", "tiny", *steps, "--batch", "2", "--threads", "1"]
    common = ["train", "--data", cohort / "train", "--store", tmp_path / "slices", "--device", "cpu", *many]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(*common, "-o", whole)[0] == 0
    work = parts / "work"
    command = [sys.executable, "-m", "braincli", *common, "-o", parts, "--resume", "--checkpoint-minutes", "1e-6"]

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True, cwd=ROOT)

    def saved() -> set[str]:
        return {path.name for path in work.glob("checkpoints/*.pt")}

    process = start()
    wait_for(lambda: bool(saved()), process)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=300)
    assert process.returncode == 0, words
    assert "SIGTERM: checkpoint written at step" in words and "--resume" in words
    before, process = saved(), start()
    wait_for(lambda: bool(saved() - before), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and work.exists()
    assert run(*common, "-o", parts, "--resume")[0] == 0
    assert same_weights(parts, whole)
    one, two = ([json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (whole, parts))
    assert [(e["stage"], e["step"], e.get("restore")) for e in one] == [
        (e["stage"], e["step"], e.get("restore")) for e in two
    ]


def test_a_training_begins_with_the_weights_of_another(trained: Path, cohort: Path, tmp_path: Path) -> None:
    def begin(name: str, *arguments: object) -> tuple[int, str, str]:
        common = ["--data", cohort / "val", "-o", tmp_path / name, "--init", trained, "--steps", "translate=0"]
        return run("train", *common, *arguments, "--device", "cpu")

    code, _, words = begin("same", "--steps", "restore=0", "--steps", "redraw=0", "--steps", "suspect=0")
    assert code == 0, words
    assert same_weights(tmp_path / "same", trained)
    few = ["--steps", "restore=2", "--steps", "suspect=1"]
    code, _, words = begin("further", *few, "--set", "lesson.alone=0.5", "--snapshot-every", 2)
    assert code == 0, words
    before, after = (read_info(folder) for folder in (trained, tmp_path / "further"))
    alone = before.options.lesson.model_copy(update={"alone": 0.5})  # type: ignore[attr-defined]
    assert after.preset == "tiny" and after.options == before.options.model_copy(update={"lesson": alone})
    assert not same_weights(tmp_path / "further", trained)
    for found in (after, read_info(tmp_path / "further" / "snapshots" / "restore-2")):
        assert set(found.training.cases) == {"a", "b", "c", "d"}, "none of them may calibrate it"
        assert found.training.init is not None and found.training.init.weights == before.weights
    assert "began with the weights of `mine`" in (tmp_path / "further" / "README.md").read_text()
    code, _, words = begin("wider", "--set", "width=16")
    assert code == 2 and "do not fit the networks of mine" in words
    code, _, words = begin("other", "--method", "vae")
    assert code == 2 and "mine is a tsgm" in words and "--method tsgm" in words
    assert {path.name for path in tmp_path.iterdir()} == {"same", "further"}


def test_snapshots_are_models(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    code, _, words = run("train", "--data", cohort / "train", "-o", out, *TINY, "--snapshot-every", 1)
    assert code == 0, words
    taken = {"translate-1", "restore-1", "restore-2", "redraw-1", "suspect-1"}
    assert {p.name for p in (out / "snapshots").iterdir()} == taken
    half, same, last = (
        load_model(str(folder), torch.device("cpu")).method.score.state_dict()
        for folder in (out / "snapshots" / "restore-1", out / "snapshots" / "restore-2", out)
    )
    assert any(not torch.equal(value, last[key]) for key, value in half.items())
    assert all(torch.equal(value, last[key]) for key, value in same.items())


def test_calibrate_stores_and_refuses(trained: Path, cohort: Path) -> None:
    code, out, words = run("calibrate", "--model", trained, "--data", cohort / "val", "--cross-fit", "--json", "-q")
    assert code == 0, words
    found = json.loads(out)
    assert set(found["provenance"]["cross_fit"]) == {"c", "d"}
    stored = json.loads((trained / "model.json").read_text())
    assert stored["calibration"] == found
    assert f"{found['provenance']['dsc_cross_fit']:.3f}" in (trained / "README.md").read_text()
    code, _, words = run("calibrate", "--model", trained, "--data", cohort / "train")
    assert code == 3 and "was trained on" in words


def test_models_lists_methods_and_models(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(trained.parent))
    code, out, _ = run("models")
    assert code == 0 and "tsgm" in out and "mine" in out and "Wang et al. 2023" in out
    code, out, _ = run("models", "mine", "--json")
    content = json.loads(out)
    assert content["models"]["mine"]["preset"] == "tiny" and not content["methods"]
    code, _, words = run("models", "nothing")
    assert code == 4 and "no method or model 'nothing'" in words
