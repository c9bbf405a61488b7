"""The examples run as their readers would run them, with a tiny model."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import warm
from phantoms import affine, brain, lesion, write, write_case
from tinymodels import write_models
from typer.testing import CliRunner

from braincli.cli import app
from braincli.config import TrainConfig, load, parse
from braincli.imaging.cases import find_cases
from braincli.methods import registry

pytestmark = pytest.mark.slow  # processes of their own, minutes in all

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    models = write_models(tmp_path_factory.mktemp("models"))
    return os.environ | {"BRAINCLI_MODELS": str(models), "BRAINCLI": warm.command(), "PYTHONPATH": str(ROOT)}


def run(environment: dict[str, str], *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)


def test_python_api(environment: dict[str, str], tmp_path: Path) -> None:
    case = write_case(tmp_path / "p01", shape=SHAPE, matrix=GRID)
    result = run(
        environment, sys.executable, ROOT / "examples" / "python_api.py", case, tmp_path / "out",
        "--model", "threshold", "--reference", case / "p01_seg.nii.gz",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "p01_mask.nii.gz:" in result.stdout and "lesion 1:" in result.stdout and "DSC" in result.stdout


@pytest.mark.slow
def test_cohort_loop(environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("a a", "b"):  # a blank in a name must not break the loop
        write_case(tmp_path / "cohort" / name, name.replace(" ", ""), ("flair",), shape=SHAPE, matrix=GRID)
    broken = tmp_path / "cohort" / "c"
    broken.mkdir()
    (broken / "c_flair.nii.gz").write_bytes(b"not a scan")
    script = ROOT / "examples" / "cohort.sh"
    result = run(
        environment, "bash", script, tmp_path / "cohort", tmp_path / "out", "threshold", "--no-figure", "--no-report"
    )
    assert result.returncode == 6, result.stderr
    assert "failed: c" in result.stderr and "DSC" in result.stderr
    assert (tmp_path / "out" / "scores" / "scores.csv").is_file()
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"aa", "b", "scores"}


@pytest.mark.long
def test_slurm_array_without_slurm(environment: dict[str, str], tmp_path: Path) -> None:
    """Two tasks of an array, one after the other: each its part, together the cohort; a second round skips all."""
    for name in ("a", "b", "c"):
        write_case(tmp_path / "cohort" / name, name, ("flair",), shape=SHAPE, matrix=GRID)
    script, out = ROOT / "examples" / "slurm_array.sh", tmp_path / "out"
    options = ["-m", "threshold", "--no-figure", "--no-report", "--already-stripped", "--threads", "1"]
    environment = environment | {"SLURM_ARRAY_TASK_COUNT": "2", "JOBS": "1"}
    for task, (share, written) in enumerate([("2 of 3", "ac"), ("1 of 3", "abc")]):
        done = run(environment | {"SLURM_ARRAY_TASK_ID": str(task)}, "bash", script, tmp_path / "cohort", out, *options)
        assert done.returncode == 0 and f"part {task} of 2: {share} cases" in done.stderr, done.stderr
        assert sorted(path.name for path in out.glob("sub-*")) == [f"sub-{name}" for name in written]
    again = environment | {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1"}
    done = run(again, "bash", script, tmp_path / "cohort", out, *options)
    assert done.returncode == 0 and done.stderr.count("skipped") == 3, done.stderr
    environment.pop("SLURM_ARRAY_TASK_ID", None)
    alone = run(environment, "bash", script, tmp_path / "cohort", out)
    assert alone.returncode != 0 and "set SLURM_ARRAY_TASK_ID" in alone.stderr


def test_self_training(environment: dict[str, str], tmp_path: Path) -> None:
    """What a model marked becomes lesions, what is bright as well is unsure; both are what train reads."""
    write_case(tmp_path / "cohort" / "a", "a", shape=SHAPE, matrix=GRID, seg=False)
    marked = tmp_path / "found" / "a" / "a_mask.nii.gz"
    write(marked, lesion(SHAPE), GRID)
    script, out = ROOT / "examples" / "exclude_suspects.py", tmp_path / "suspects"
    out.mkdir()
    done = run(environment, sys.executable, script, tmp_path / "cohort", out, tmp_path / "found")
    assert done.returncode == 0 and "of the brain left out" in done.stdout, done.stderr
    (case,) = find_cases(out / "manifest.tsv")
    assert case.lesion is not None and case.unsure is not None and len(case.images) == 4
    sick, unsure = (np.asarray(nib.load(path).dataobj) > 0 for path in (case.lesion, case.unsure))  # type: ignore[attr-defined]
    assert np.array_equal(sick, lesion(SHAPE) > 0) and unsure[sick].all() and unsure.sum() > sick.sum()


@pytest.mark.slow
def test_train_on_brats(environment: dict[str, str], tmp_path: Path) -> None:
    """Two naming schemes, two time points of one patient; a run that is stopped, then the whole way."""
    names = ["BraTS2021_00001", "BraTS2021_00002", "BraTS2021_00003", "BraTS-GLI-00004-000", "BraTS-GLI-00004-001"]
    for seed, name in enumerate(names):
        stem, sick = tmp_path / "data" / name / name, lesion(SHAPE)
        image = np.where(sick, 190, brain(SHAPE, seed)).astype(np.float32)
        write(Path(f"{stem}-t2f.nii.gz" if "GLI" in name else f"{stem}_flair.nii.gz"), image, GRID)
        write(Path(f"{stem}-seg.nii.gz" if "GLI" in name else f"{stem}_seg.nii.gz"), sick, GRID)
    (tmp_path / "tiny.toml").write_text('method = "unet"\npreset = "tiny"\n[steps]\nmain = 20\n')
    out = tmp_path / "out"
    folders = {"DATA": tmp_path / "data", "OUT": out, "CONFIG": tmp_path / "tiny.toml"}
    environment = environment | {key: str(path) for key, path in folders.items()} | {"BRAINCLI_DEVICE": "cpu"}
    script = ROOT / "examples" / "train_on_brats.sh"
    result = run(environment, "bash", script, "--max-time", "0.0001")
    assert result.returncode == 0 and "run this again" in result.stderr, result.stderr
    assert not (out / "model" / "model.json").exists()
    split = {part.name: sorted(case.name for case in part.iterdir()) for part in (out / "split").iterdir()}
    assert sorted(name for cases in split.values() for name in cases) == sorted(names)
    assert sorted(len({name[:15] for name in cases}) for cases in split.values()) == [1, 1, 2]
    assert len({part for part, cases in split.items() for name in cases if "GLI" in name}) == 1
    result = run(environment, "bash", script)
    assert result.returncode == 0, result.stderr
    model = json.loads((out / "model" / "model.json").read_text())
    assert sorted(model["training"]["cases"]) == split["train"]
    assert sorted(model["calibration"]["provenance"]["cross_fit"]) == split["validation"]
    scores = (out / "scores" / "scores.csv").read_text()
    assert all(name in scores for name in split["test"]) and "dsc" in scores.lower()


@pytest.mark.parametrize("preset", ["paper", "compact"])
def test_configurations_fit_their_preset(preset: str) -> None:
    options = load(TrainConfig, ROOT / "examples" / "configs" / f"tsgm-{preset}.toml")
    assert (options.method, options.preset) == ("tsgm", preset)
    kind = registry.method_class("tsgm")
    given = registry.options("tsgm", preset, options.settings)
    assert given == parse(kind.Config, kind.PRESETS[preset]), "the file says what the preset does"
    assert {**given.train_steps, **options.steps} == given.train_steps


GUIDE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
TOY = ROOT / "examples" / "toy_method.py"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)


def test_the_guide_to_methods_quotes_the_example() -> None:
    *quotes, line = python_blocks()
    code = TOY.read_text(encoding="utf-8")
    assert len(quotes) == 5 and all(quote in code for quote in quotes)
    assert "MethodSpec" in line


@pytest.fixture
def mean_image(monkeypatch: pytest.MonkeyPatch) -> str:
    """The toy method as it is after the two steps of the guide: the file in braincli/methods, the line in METHODS."""
    spec = importlib.util.spec_from_file_location("braincli.methods.toy_method", TOY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    ((name, entry),) = eval("{" + python_blocks()[-1] + "}", vars(registry)).items()
    monkeypatch.setitem(registry.METHODS, name, entry)
    return str(name)


def test_a_toy_method_goes_all_the_way(mean_image: str, tmp_path: Path) -> None:
    """Train, calibrate, detect, by the command line."""
    for seed, name in enumerate(("train/a", "train/b", "val/c", "val/d", "test/e")):
        write_sick(tmp_path / name, seed)
    model, out = tmp_path / "model", tmp_path / "out"

    def run(*arguments: str | Path) -> str:
        result = CliRunner().invoke(app, [str(part) for part in arguments])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    run(
        "train",
        "--method",
        mean_image,
        "--preset",
        "tiny",
        "--data",
        tmp_path / "train",
        "-o",
        model,
        "--device",
        "cpu",
    )
    run("calibrate", "--model", model, "--data", tmp_path / "val", "--device", "cpu")
    run("detect", tmp_path / "test" / "e", "-o", out, "--model", model, "--device", "cpu", "--no-figure", "--no-report")
    mask = np.asarray(nib.load(out / "e" / "e_mask.nii.gz").dataobj) > 0
    sick = lesion(SHAPE) > 0
    assert 2 * (mask & sick).sum() / (mask.sum() + sick.sum()) > 0.6
    assert json.loads(run("models", "--json"))["methods"][mean_image]["supervision"].startswith("healthy slices")
    assert f"| `{mean_image}` |" in registry.table()


def write_sick(folder: Path, seed: int) -> None:
    """A case with T1 and FLAIR, where the lesion is bright."""
    sick, healthy = lesion(SHAPE) > 0, brain(SHAPE, seed)
    write(folder / f"{folder.name}_t1.nii.gz", healthy, GRID)
    write(folder / f"{folder.name}_flair.nii.gz", np.where(sick, 190, healthy).astype(np.float32), GRID)
    write(folder / f"{folder.name}_seg.nii.gz", sick.astype(np.uint8), GRID)
