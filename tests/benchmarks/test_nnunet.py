"""nnU-Net's row: cohorts become its data set, its predictions come back to the scans, and its figures are right.

nnU-Net itself is a stand-in: scripts of its commands' names, which read and write where it does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import leaderboard
import nibabel as nib
import nnunet
import nnunet_data
import numpy as np
import pytest
import standings
from phantoms import affine, brain, lesion, write
from standins import standin

from braincli.imaging.cases import Case, find_cases
from braincli.imaging.volume import Volume, load, resample
from braincli.runtime.progress import PlainReporter

SHAPE = (26, 30, 22)
GRIDS = {  # how awkward a scan may lie: flipped, permuted, oblique, anisotropic
    "a 1": affine("LPS", (4.0, 4.0, 4.0)),
    "a2": affine("PIR", (4.0, 5.0, 4.0), origin=(70.0, -20.0, 3.0)),
    "v1": affine("SAL", (5.0, 4.0, 4.0), degrees=(9.0, 0.0)),
    "v2": affine("LAS", (4.0, 4.0, 5.0), degrees=(5.0, -7.0)),
}

TRAIN = r"""
folder="$nnUNet_results/Dataset501_braincli/${5}__${7}__$2/fold_$3"
mkdir -p "$folder"
cat > "$folder/facts.json" <<JSON
{"version": "2.0", "iterations": 7, "minutes": $BRAINCLI_MINUTES, "batch": 3, "patch": [32, 16], "parameters": 1234,
 "device": "cpu"}
JSON
"""
PREDICT = f"""
exec {sys.executable} - "$2" "$4" <<'PYTHON'
import sys
from pathlib import Path
import nibabel as nib, numpy as np
images, out = map(Path, sys.argv[1:])
out.mkdir()
for flair in images.glob("*_0001.nii.gz"):
    likely = (np.asarray(nib.load(flair).dataobj) > 170).T * 0.9  # as nnU-Net has it: (Z, Y, X)
    np.savez(out / flair.name.replace("_0001.nii.gz", ".npz"), probabilities=np.stack([1 - likely, likely]))
PYTHON
"""


def write_sick(folder: Path, seed: int) -> None:
    sick, grid = lesion(SHAPE) > 0, GRIDS[folder.name]
    for contrast, bright in (("t1", 100), ("flair", 190)):
        image = np.where(sick, bright, brain(SHAPE, seed))
        write(folder / f"{folder.name}_{contrast}.nii.gz", image.astype(np.float32), grid)
    write(folder / f"{folder.name}_seg.nii.gz", np.where(sick, 4, 0).astype(np.uint8), grid)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("train/a 1", "train/a2", "val/v1", "val/v2")):
        write_sick(root / name, seed)
    return root


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nnU-Net's commands; each also leaves its arguments in a file."""
    note = f'echo "$@" >> {tmp_path}/$(basename "$0").called\n'
    bodies = {"nnUNetv2_plan_and_preprocess": "", "nnUNetv2_train": TRAIN, "nnUNetv2_predict": PREDICT}
    standin(monkeypatch, tmp_path, **{name: note + body for name, body in bodies.items()})
    return tmp_path


def convert(data: Path, out: Path, *more: str) -> None:
    nnunet.main(["convert", str(data / "train"), "--val", str(data / "val"), "--out", str(out), *more])


def case(data: Path, name: str) -> Case:
    (found,) = find_cases(data / name)
    return found


def scan_of(one: Case) -> Volume:
    return load(next(iter(one.images.values())))


def dsc(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_the_data_set_is_as_nnunet_wants_it(data: Path, tmp_path: Path) -> None:
    convert(data, tmp_path / "n", "--contrasts", "flair,t1")
    raw = tmp_path / "n" / "raw" / "Dataset501_braincli"
    description = json.loads((raw / "dataset.json").read_text())
    assert description["channel_names"] == {"0": "T1", "1": "FLAIR"} and description["numTraining"] == 2
    assert description["labels"] == {"background": 0, "lesion": 1} and description["file_ending"] == ".nii.gz"
    parts = ("imagesTr", "labelsTr", "imagesTs")
    names = {part: sorted(path.name for path in (raw / part).iterdir()) for part in parts}
    assert names["labelsTr"] == ["001-a-1.nii.gz", "002-a2.nii.gz"]
    assert names["imagesTr"] == [f"{key}_000{n}.nii.gz" for key in ("001-a-1", "002-a2") for n in (0, 1)]
    assert len(names["imagesTs"]) == 4
    for label in (raw / "labelsTr").iterdir():
        mask, image = load(label, labels=True), load(raw / "imagesTr" / label.name.replace(".nii", "_0001.nii"))
        assert nib.aff2axcodes(mask.affine) == ("R", "A", "S")  # type: ignore[attr-defined]
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)
        sick = mask.data == 1
        assert set(np.unique(mask.data)) == {0, 1} and sick.sum() == lesion(SHAPE).sum()
        assert (image.data[sick] == 190).all() and image.data[~sick].max() < 170


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_what_goes_there_comes_back(data: Path, name: str) -> None:
    """On the scan's own grid voxel by voxel; on a coarser one but for the border, and where it was."""
    one, true = case(data, ("train/" if name.startswith("a") else "val/") + name), lesion(SHAPE) > 0
    there, scan = nnunet_data.labels(one, None), scan_of(one)
    likely, mask = nnunet_data.back(there.data * 0.9, one, None)
    assert np.array_equal(mask.data, true) and np.allclose(mask.affine, scan.affine)
    assert np.allclose(likely.data, true * 0.9)
    there = nnunet_data.labels(one, 6.0)
    assert there.shape != SHAPE and max(there.spacing) == pytest.approx(6.0)
    _, mask = nnunet_data.back(there.data, one, 6.0)
    assert mask.data.shape == SHAPE and np.allclose(mask.affine, scan.affine) and dsc(mask.data, true) > 0.75
    middle = [np.mean(np.argwhere(part), axis=0) for part in (mask.data, true)]
    assert np.abs(middle[0] - middle[1]).max() < 0.5


def test_half_the_resolution_is_the_mean_of_eight() -> None:
    fine = Volume(np.random.default_rng(0).random((4, 6, 8)).astype(np.float32), affine("RAS", (1.0, 1.0, 1.0)))
    grid = nnunet_data.coarser(fine, 2.0)
    assert grid.shape == (2, 3, 4) and grid.spacing == (2.0, 2.0, 2.0)
    means = fine.data.reshape(2, 2, 3, 2, 4, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(resample(fine, grid).data, means, atol=1e-5)
    thick = Volume(fine.data, affine("RAS", (1.0, 1.0, 5.0)))
    assert nnunet_data.coarser(thick, 2.0).shape == (2, 3, 8), "no axis becomes finer"


def test_a_prediction_of_another_size_is_refused(data: Path) -> None:
    with pytest.raises(nnunet.InputError, match="v1: prediction and converted scan have different sizes: 3 x 3 x 3"):
        nnunet_data.back(np.zeros((3, 3, 3)), case(data, "val/v1"), None)


def test_from_cohort_to_leaderboard(data: Path, tmp_path: Path, commands: Path) -> None:
    out, board = tmp_path / "n", tmp_path / "board"
    convert(data, out, "--contrasts", "t1,flair")
    for step in (["train", "--minutes", "0.5", "--memory", "1.5"], ["predict", "--plain"]):
        nnunet.main([*step, "--out", str(out), "--device", "cpu"])
    nnunet.main(["row", "--out", str(out), "--board", str(board)])
    planned, trained = ((commands / f"nnUNetv2_{name}.called").read_text() for name in ("plan_and_preprocess", "train"))
    plans = "nnUNetPlans_1-5GB"
    assert planned.split() == f"-d 501 -c 2d -np 1 -npfp 1 -gpu_memory_target 1.5 -overwrite_plans_name {plans}".split()
    assert trained.split() == f"501 2d all -tr BudgetTrainer -p {plans} -device cpu".split()
    for name in ("v1", "v2"):
        mask = load(out / "found" / name / f"{name}_mask.nii.gz", labels=True)
        assert np.array_equal(mask.data > 0, lesion(SHAPE) > 0)
        np.testing.assert_allclose(mask.affine, GRIDS[name], atol=1e-4)
    (result,) = standings.results(board)
    assert set(result["cases"]) == {"v1", "v2"} and result["training_cases"] == ["a 1", "a2"]
    for figures in result["cases"].values():
        assert figures["dsc"] == figures["auprc"] == figures["best_dsc"] == figures["precision"] == 1.0
        assert figures["hd95_mm"] == figures["healthy_fp_ml"] == 0.0 and figures["healthy_brain_ml"] > 0
    assert result["calls"] == 1 and result["cpu_seconds_per_case"] > 0
    table = standings.table([result])
    assert "`nnunet` (external: nnU-Net 2.0, 2d, 7 iterations of 3 x (32 x 16); 2 cases, its own threshold)" in table
    assert "| 1,234 | 0.5 | train 7 |" in table and "Rows from outside" in table
    assert "With 2 cases no p is below 0.5" in table and "Nothing was trained for this table" in table
    nnunet.main(["train", "--minutes", "1", "--memory", "1.5", "--out", str(out), "--device", "cpu"])
    assert (commands / "nnUNetv2_plan_and_preprocess.called").read_text() == planned, "plans know no budget"


def test_what_was_trained_outside_is_not_shipped(tmp_path: Path) -> None:
    """However good it is: there is no model folder of it, and its weights are not ours."""
    facts = {"shipped": False, "status": "done"}
    for name, dsc, more in (("threshold", 0.1, {}), ("nnunet", 0.9, {"external": "nnU-Net"})):
        result = facts | {"name": name, "method": name, "cases": {"v1": {"dsc": dsc}}} | more
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    assert leaderboard.ship(tmp_path, tmp_path / "models", "phantoms", []) == []


def test_figures_of_a_mask_with_faults(data: Path) -> None:
    """One slice of the lesion is missed, and two voxels far away are called."""
    one, true = case(data, "val/v2"), lesion(SHAPE) > 0
    found = true.copy()
    found[:, :, np.flatnonzero(true.any(axis=(0, 1)))[0]] = False
    assert not true[:, :, 3:6].any()
    for x, y in np.argwhere(brain(SHAPE, 3)[:, :, 4] > 0)[:2]:
        found[x, y, 4] = True
    scan = scan_of(one)
    figures = nnunet.figures(one, scan.with_data(found), scan.with_data(found.astype(np.float32)))
    assert figures["dsc"] == pytest.approx(dsc(found, true)) and dsc(found, true) < 1
    assert figures["precision"] == pytest.approx((found.sum() - 2) / found.sum())
    assert figures["recall"] == pytest.approx((found.sum() - 2) / true.sum())
    assert figures["healthy_fp_ml"] == pytest.approx(2 * 0.08), "two voxels of 4 x 4 x 5 mm"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        nnunet.main([str(part) for part in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code, capsys.readouterr().err


def test_what_is_wrong_is_said(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nnunet, "SAY", PlainReporter())  # which speaks to where stderr is now
    out = tmp_path / "n"
    code, words = refused(capsys, "convert", data / "train", "--val", data / "val", "--out", out)
    assert code == 3 and "a 1 has no T1CE, T2, and nnU-Net needs every channel" in words
    assert "--contrasts t1,flair" in words
    code, words = refused(capsys, "convert", data / "val", "--val", data / "val", "--out", out)
    assert code == 2 and "v1 would train and judge" in words
    code, words = refused(capsys, "convert", data / "train", "--val", data / "val", "--out", out, "--contrasts", "t3")
    assert code == 2 and "no such contrast" in words
    code, words = refused(capsys, "train", "--minutes", 1, "--out", out)
    assert code == 2 and "Run nnunet.py convert first" in words
    convert(data, out, "--contrasts", "flair")
    code, words = refused(capsys, "convert", data / "train", "--val", data / "val", "--out", out)
    assert code == 2 and "n holds a converted data set" in words
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        code, words = refused(capsys, "train", "--minutes", 1, "--out", out)
        assert code == 2 and "nnU-Net is not installed here" in words and "pip install nnunetv2" in words
    code, words = refused(capsys, "train", "--minutes", 0, "--out", out)
    assert code == 2 and "is no budget" in words
    standin(monkeypatch, tmp_path, nnUNetv2_plan_and_preprocess="echo 'CUDA is gone' >&2; exit 3")
    code, words = refused(capsys, "train", "--minutes", 1, "--out", out, "--nnunet", tmp_path / "bin")
    assert code == 4 and "nnUNetv2_plan_and_preprocess ended with code 3: CUDA is gone" in words
    code, words = refused(capsys, "row", "--out", out, "--board", tmp_path)
    assert code == 2 and "holds no trained.json" in words
