"""``braincli translate`` as its user sees it: scans on their own grid, series, pictures, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms import affine, brain, lesion, write, write_case
from tinymodels import write_model
from typer.testing import CliRunner, Result

from braincli.cli import app
from braincli.errors import UsageError
from braincli.imaging.volume import load
from braincli.methods import registry

SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0), degrees=(6.0, 0.0))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, a case with all contrasts and one with FLAIR alone, and masks."""
    root = tmp_path_factory.mktemp("given")
    for method in ("regression-guided", "segmentation-guided", "ae"):
        write_model(root / "models" / method, method)
    write_case(root / "p01", shape=SHAPE, matrix=GRID)
    write_case(root / "cohort" / "a", "a", ("flair",), shape=SHAPE, matrix=GRID)
    write_case(root / "cohort" / "b", "b", ("flair",), shape=SHAPE, matrix=GRID)
    grown = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    for name, radius in (("small", 0.2), ("large", 0.4)):
        ball = ((grown - np.array([-0.2, 0.1, 0.0])[:, None, None, None]) ** 2).sum(0) < radius**2
        write(root / f"{name}.nii.gz", ball.astype(np.uint8), GRID)
    return root


@pytest.fixture(autouse=True)
def search(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(given / "models"))
    monkeypatch.chdir(given)


def translate(*words: object, model: str = "regression-guided") -> Result:
    options = ["--model", model] if model else []
    return CliRunner().invoke(app, ["translate", *map(str, words), *options, "--threads", "1", "--device", "cpu"])


def test_a_series_of_numbers(given: Path, tmp_path: Path) -> None:
    result = translate("p01", "-o", tmp_path / "out", "--to", "0.1", "--to", "less", "--json")
    assert result.exit_code == 0, result.output
    (content,) = json.loads(result.stdout)
    assert set(content["readings"]) == {"0.1", "less"} and content["status"] == "done"
    folder, scan = tmp_path / "out" / "p01", load(given / "p01" / "p01_flair.nii.gz")
    kinds = ("t1", "t1ce", "t2", "flair", "difference")
    volumes = {f"p01_to-{goal}_{kind}.nii.gz" for goal in ("0.1", "less") for kind in kinds}
    assert {p.name for p in folder.iterdir()} == volumes | {"p01_translate.png", "p01_translate_record.json"}
    made = load(folder / "p01_to-0.1_flair.nii.gz")
    assert made.shape == scan.shape and np.allclose(made.affine, scan.affine, atol=1e-5)
    assert made.header.qform_code == scan.header.qform_code and made.header.sform_code == scan.header.sform_code
    assert not np.array_equal(made.data, scan.data) and not made.data[scan.data == 0].any(), "background stays"
    difference = load(folder / "p01_to-0.1_difference.nii.gz", labels=False).data
    assert difference.min() >= 0 and difference.max() > 0 and not difference[scan.data == 0].any()
    record = json.loads((folder / "p01_translate_record.json").read_text())
    assert record["facts"]["readings"] == content["readings"] and record["status"] == "done"


def test_no_noise_gives_the_scan_itself(given: Path, tmp_path: Path) -> None:
    result = translate("p01", "-o", tmp_path, "--to", "0.3", "--level", "0", "--no-figure")
    assert result.exit_code == 0, result.output
    for contrast in ("t1", "flair"):
        scan, made = (
            load(path).data
            for path in (
                given / "p01" / f"p01_{contrast}.nii.gz", tmp_path / "p01" / f"p01_to-0.3_{contrast}.nii.gz"
            )
        )  # fmt: skip
        np.testing.assert_allclose(made, scan, atol=1e-3)
    assert not load(tmp_path / "p01" / "p01_to-0.3_difference.nii.gz", labels=True).data.any()
    assert not (tmp_path / "p01" / "p01_translate.png").exists()


def test_growth_over_several_masks_in_one_picture(tmp_path: Path) -> None:
    from PIL import Image

    words = ["p01", "-o", tmp_path, "--mask", "small.nii.gz", "--mask", "large.nii.gz", "--slices", "5:9"]
    result = translate(*words, model="segmentation-guided")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "p01"
    small, large = (load(folder / f"p01_to-{name}_difference.nii.gz").data for name in ("small", "large"))
    looked_at = np.flatnonzero(small.any(axis=(0, 1)))
    assert looked_at.min() >= 5 and looked_at.max() <= 9, "slices are counted from the bottom"
    assert not np.array_equal(small, large)
    wide, tall = Image.open(folder / "p01_translate.png").size
    assert wide > 950 and tall > 300, "the scan, and two columns for each mask"
    assert translate(*words, "--resume", model="segmentation-guided").exit_code == 0
    again = translate(*words, model="segmentation-guided")
    assert again.exit_code == 2 and "exists" in again.stderr


def test_a_cohort_goes_on_past_a_bad_case(tmp_path: Path, given: Path) -> None:
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        content = (given / "cohort" / name / f"{name}_flair.nii.gz").read_bytes() if name == "b" else b"not a scan"
        (tmp_path / "in" / name / f"{name}_flair.nii.gz").write_bytes(content)
    result = translate(tmp_path / "in", "-o", tmp_path / "out", "--to", "0", "--no-figure")
    assert result.exit_code == 6 and "1 of 2 cases failed" in result.stderr
    assert (tmp_path / "out" / "b" / "b_to-0_flair.nii.gz").is_file()


@pytest.mark.parametrize(
    ("words", "model", "code", "says"),
    [
        (["p01", "--to", "1"], "", 2, "Which model?"),
        (["p01", "--to", "1"], "none", 4, "There is no model 'none'"),
        (["p01", "--to", "1"], "ae", 4, "ae is a model of ae, which translates nothing"),
        (["p01"], "regression-guided", 2, "Translate to what?"),
        (["p01", "--to", "1", "--mask", "small.nii.gz"], "regression-guided", 2, "Translate to what?"),
        (["p01", "--mask", "small.nii.gz"], "regression-guided", 2, "regression-guided translates to a number"),
        (["p01", "--to", "1"], "segmentation-guided", 2, "segmentation-guided translates to a mask"),
        (["p01", "--to", "old"], "regression-guided", 2, "--to: old is neither a number nor more nor less"),
        (["p01", "--to", "nan"], "regression-guided", 2, "--to: nan is neither a number"),
        (["cohort", "--mask", "small.nii.gz"], "segmentation-guided", 2, "there are 2 cases"),
        (["p01", "--mask", "other.nii.gz"], "segmentation-guided", 3, "have different sizes"),
        (["p01", "--mask", "away.nii.gz"], "segmentation-guided", 3, "away.nii.gz marks nothing of the brain"),
        (["p01", "--mask", "gone.nii.gz"], "segmentation-guided", 3, "gone.nii.gz: no such file"),
        (["p01", "--to", "1", "--slices", "90:99"], "regression-guided", 3, "No slice of 90 to 99 is looked at"),
        (["p01", "--to", "1", "--level", "1001"], "regression-guided", 2, "--level: 1001 is above 1000"),
        (["raw_flair.nii.gz", "--to", "1"], "regression-guided", 3, "raw_flair still shows the head"),
    ],
)
def test_mistakes_have_their_exit_code_and_one_message(
    given: Path, tmp_path: Path, words: list[str], model: str, code: int, says: str
) -> None:
    if "other.nii.gz" in words:
        write(given / "other.nii.gz", lesion((20, 20, 20)), GRID)
    if "away.nii.gz" in words:
        corner = np.zeros(SHAPE, np.uint8)
        corner[:2, :2, :2] = 1
        write(given / "away.nii.gz", corner, GRID)
    if "raw_flair.nii.gz" in words:
        noise = np.random.default_rng(0).uniform(1, 9, (64, 64, 40)).astype(np.float32)
        write(given / "raw_flair.nii.gz", brain((64, 64, 40)) + noise, affine(spacing=(4.0, 4.0, 5.0)))
    result = translate(*words, "-o", tmp_path / "out", model=model)
    said = " ".join(result.stderr.split())
    assert result.exit_code == code and says.replace("raw_flair still", "still") in said, result.output
    assert "Traceback" not in result.output and not list((tmp_path / "out").rglob("*.nii.gz"))


def test_who_can_translate_is_asked_from_the_methods(tmp_path: Path) -> None:
    hint = translate("p01", "-o", tmp_path, "--to", "1", model="ae").stderr
    named = set(hint.rpartition("Methods that do: ")[2].strip().rstrip(".").split(", "))
    assert named == {name for name in registry.METHODS if registry.method_class(name).steered_by}
    for name in named:
        kind = registry.method_class(name)
        method = registry.build(name, preset="tiny", size=(32, 32)).eval()
        image, inside = torch.rand(1, 4, 32, 32), torch.ones(1, 1, 32, 32, dtype=torch.bool)
        goal = torch.zeros(1) if kind.steered_by == "number" else torch.zeros(1, 1, 32, 32)
        with torch.inference_mode():
            assert method.steer(image, inside, goal).shape == image.shape
            assert method.reading(image).shape == goal.shape


def test_what_lies_beyond_the_cohort_is_said(given: Path, tmp_path: Path) -> None:
    from braincli.model.folder import load_model, save_model

    model = load_model(str(given / "models" / "regression-guided"), torch.device("cpu"))
    model.method.get_buffer("extent").copy_(torch.tensor([0.0, 0.2]))
    save_model(tmp_path / "known", model.method, model.info.model_copy(update={"name": "known"}))
    result = translate("p01", "-o", tmp_path / "out", "--to", "0.9", "--no-figure", model=str(tmp_path / "known"))
    assert result.exit_code == 0 and "was 0 to 0.2 in training: what 0.9 looks like was never seen" in result.stderr


def test_in_python_scans_masks_and_the_model_may_lie_in_memory(given: Path, tmp_path: Path) -> None:
    import nibabel as nib

    import braincli
    from braincli import api

    model = braincli.load_model(str(given / "models" / "segmentation-guided"), device="cpu", threads=1)
    before = model.method.config
    scan = nib.load(given / "p01" / "p01_flair.nii.gz")
    mask = (np.asarray(nib.load(given / "large.nii.gz").dataobj) > 0, scan.affine)
    (done,) = api.translate(
        {"flair": scan}, tmp_path, model=model, masks=[mask, given / "small.nii.gz"], scale=2.0, slices="6:8",
        figure=False,
    )  # fmt: skip
    assert set(done.readings) == {"mask-1", "small"} and len(list(done.folder.glob("*_to-mask-1_*.nii.gz"))) == 2
    assert model.method.config == before, "a model that was lent is left as it was"
    with pytest.raises(UsageError, match="Unknown option"):
        api.translate("p01", tmp_path / "x", model=model, strength=3)
