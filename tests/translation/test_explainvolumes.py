"""``braincli explain`` with classifiers of whole volumes: maps on the scan's grid, which class, what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from manysites import TINY, cohort
from phantoms import affine, brain, write, write_case
from tinymodels import write_model
from torch import Tensor, nn
from torch.nn import functional as F
from typer.testing import CliRunner, Result

from braincli.classification.info import load_classifier, read_info
from braincli.classification.volumes import Reading, grid_of, read
from braincli.cli import app
from braincli.errors import ModelError
from braincli.imaging.case import Case
from braincli.imaging.names import Contrast
from braincli.imaging.volume import load
from braincli.networks.inception3d import InceptionResNet3d, Layer
from braincli.runtime.progress import Reporter
from braincli.translation.explainvolumes import ExplainVolumes, coarsest, log_odds
from braincli.translation.options import ExplainConfig


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("given")
    table = cohort(root)
    trained = run("classify", "train", table, "--steps", 3, *TINY, "-o", root / "models" / "ms")
    assert trained.exit_code == 0, trained.output
    write_model(root / "models" / "slices", "dpm-classifier")
    return root


@pytest.fixture(autouse=True)
def search(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_MODELS", str(given / "models"))
    monkeypatch.chdir(given)


def explain(*words: object, model: str = "ms") -> Result:
    return run("explain", *words, "--model", model, "--threads", 1, "--device", "cpu")


def test_maps_lie_on_the_scan_beside_what_classify_says(given: Path, tmp_path: Path) -> None:
    result = explain("basel-diseased-0_t1.nii.gz", "-o", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    (content,) = json.loads(result.stdout)
    folder, image = tmp_path / "basel-diseased-0", load(given / "basel-diseased-0_t1.nii.gz")
    for kind in ("saliency", "cam"):
        made = load(folder / f"basel-diseased-0_{kind}.nii.gz")
        assert made.shape == image.shape and np.allclose(made.affine, image.affine, atol=1e-5)
        assert made.data.min() >= 0 and made.data.max() == pytest.approx(1) and not made.data[image.data == 0].any()
    told = json.loads(run("classify", "predict", "basel-diseased-0_t1.nii.gz", "--model", "ms", "--json").stdout)
    probability = told["cases"][0]["probability"]
    rows = [line.split("\t") for line in (folder / "basel-diseased-0_explain.tsv").read_text().splitlines()]
    assert rows[0] == ["class", "probability", "log-odds"]
    assert {row[0]: float(row[1]) for row in rows[1:]} == pytest.approx(probability, abs=1e-2)  # that is in bfloat16
    assert float(rows[1][2]) == pytest.approx(-float(rows[2][2]), abs=1e-3)
    said, likeliest = content["readings"], max(rows[1:], key=lambda row: float(row[1]))
    assert said["class"] == likeliest[0] and said["value"] == f"log-odds of {likeliest[0]}"
    assert said["log-odds"] == pytest.approx(float(likeliest[2]), abs=1e-3) and said["log-odds"] >= 0
    assert said["probability"] == pytest.approx(1 / (1 + np.exp(-said["log-odds"])), abs=1e-4)
    assert (folder / "basel-diseased-0_explain.png").is_file()
    record = json.loads((folder / "basel-diseased-0_explain_record.json").read_text())
    assert record["facts"]["reading"] == said and set(record["facts"]["largest"]) == {"saliency", "cam"}
    assert explain("basel-diseased-0_t1.nii.gz", "-o", tmp_path).exit_code == 2, "nothing is overwritten"
    again = explain("basel-diseased-0_t1.nii.gz", "-o", tmp_path, "--resume")
    assert again.exit_code == 0 and "basel-diseased-0: skipped" in again.stderr


def test_the_other_class_has_maps_of_its_own(tmp_path: Path) -> None:
    found = {}
    for name in ("healthy", "diseased"):
        result = explain("london-healthy-0_t1.nii.gz", "-o", tmp_path / name, "--of-class", name, "--no-figure")
        assert result.exit_code == 0 and f"london-healthy-0: log-odds of {name}" in result.stderr
        folder = tmp_path / name / "london-healthy-0"
        found[name] = [load(folder / f"london-healthy-0_{kind}.nii.gz").data for kind in ("saliency", "cam")]
    (slope, cam), (other_slope, other_cam) = found.values()
    np.testing.assert_allclose(slope, other_slope, atol=1e-4)  # of two classes one's log-odds are the other's, negated
    assert not np.allclose(cam, other_cam, atol=0.1)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--of-class", "ms"], 2, "ms knows no class 'ms'. Choose one of: healthy, diseased."),
        (["--slices", "3:8"], 2, "ms classifies whole volumes. Leave out --slices."),
    ],
)
def test_options_that_mean_nothing_are_refused(words: list[str], code: int, message: str, tmp_path: Path) -> None:
    result = explain("london-healthy-0_t1.nii.gz", "-o", tmp_path, *words)
    assert result.exit_code == code and message in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_classifier_of_slices_has_no_classes_to_choose_from(given: Path, tmp_path: Path) -> None:
    write_case(tmp_path / "p01", shape=(40, 48, 16), matrix=affine("LPS", (3.0, 3.0, 4.0)))
    result = explain(tmp_path / "p01", "-o", tmp_path / "out", "--of-class", "diseased", model="slices")
    assert result.exit_code == 2 and "slices knows no classes by name" in result.stderr


def test_scans_that_cannot_be_classified_fail_alone(given: Path, tmp_path: Path) -> None:
    write(tmp_path / "far_t1.nii.gz", brain((20, 24, 20)), affine("RAS", (8.0, 8.0, 8.0), (50.0, 0.0, 0.0)))
    write(tmp_path / "other_flair.nii.gz", brain((20, 24, 20)), affine("RAS", (8.0, 8.0, 8.0)))
    noise = np.abs(np.random.default_rng(0).normal(0, 5, (20, 24, 20))).astype(np.float32)
    write(tmp_path / "raw_t1.nii.gz", brain((20, 24, 20)) + noise, affine("RAS", (8.0, 8.0, 8.0)))
    scans = [tmp_path / "far_t1.nii.gz", tmp_path / "other_flair.nii.gz", tmp_path / "raw_t1.nii.gz"]
    result = explain(*scans, "london-healthy-1_t1.nii.gz", "-o", tmp_path / "out", "--no-figure")
    assert result.exit_code == 6 and "3 of 4 cases failed" in result.stderr
    assert "raw still shows the head" in result.stderr
    assert "far is on another grid than the first scan: it lies elsewhere in space" in result.stderr
    assert "other has no t1" in result.stderr
    assert [path.name for path in sorted((tmp_path / "out").glob("*/*.nii.gz"))] == [
        "london-healthy-1_cam.nii.gz", "london-healthy-1_saliency.nii.gz",
    ]  # fmt: skip


def test_a_damaged_model_is_refused(given: Path, tmp_path: Path) -> None:
    shutil.copytree(given / "models" / "ms", tmp_path / "broken")
    with (tmp_path / "broken" / "weights.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\1\2\3")
    result = explain("london-healthy-0_t1.nii.gz", "-o", tmp_path / "out", model=str(tmp_path / "broken"))
    assert result.exit_code == 4 and "weights.safetensors of the model ms is damaged" in result.stderr


# --- with a network whose answer can be worked out by hand ---------------------------------------------------------

FINE = (40, 48, 36)
BLOBS = {"diseased": (27, 18, 21), "healthy": (12, 30, 15)}  # voxels, in a scan in RAS order


class Bright(nn.Module):
    """Bright places of the right half (of large x) speak for the second class, those of the left for the first."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.features, self.shape = nn.AvgPool3d(3, 3), shape
        self.encoder = self  # whose layers are asked for

    def layers(self) -> list[Layer]:
        return [Layer(self.features, tuple(side // 3 for side in self.shape), 1, 3)]  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        bright = F.relu(self.features(image) - 0.8).sum(dim=(1, 3, 4))
        half = bright.shape[1] // 2
        return torch.stack([bright[:, :half].sum(dim=1), bright[:, half:].sum(dim=1)], dim=1)


@pytest.mark.parametrize("axes", ["RAS", "LPS"])
@pytest.mark.parametrize("name", ["diseased", "healthy"])
def test_the_map_is_highest_where_the_class_is_seen(name: str, axes: str, given: Path, tmp_path: Path) -> None:
    data = brain(FINE)
    for centre in BLOBS.values():
        data[tuple(slice(at - 3, at + 4) for at in centre)] = 220
    if axes == "LPS":
        data = data[::-1, ::-1]
    write(tmp_path / "p01_t1.nii.gz", data, affine(axes, (4.0, 4.0, 4.0), degrees=(6.0, 0.0)))
    case, model = Case("p01", {Contrast.T1: tmp_path / "p01_t1.nii.gz"}), load_classifier("ms", torch.device("cpu"))
    grid = grid_of(read(case, Reading(Contrast.T1)), 4.0, (36, 45, 36), (0.0, 100.0))
    info = model.info.model_copy(update={"grid": grid})
    job = ExplainVolumes(
        ExplainConfig(of_class=name, figure=False), Reporter(),
        replace(model, info=info, approach=Bright(grid.shape)),  # type: ignore[arg-type]
    )  # fmt: skip
    made = job.explained(case, job.given(case))
    x, y, z = BLOBS[name]
    wanted = (x, y, z) if axes == "RAS" else (FINE[0] - 1 - x, FINE[1] - 1 - y, z)
    highest = np.unravel_index(made.activation.data.argmax(), FINE)
    assert np.abs(np.subtract(highest, wanted)).max() <= 3, "a place is three voxels"
    weight = made.activation.data / made.activation.data.sum()
    centre = [(weight * at).sum() for at in np.indices(FINE)]
    np.testing.assert_allclose(centre, wanted, atol=1.5)
    assert made.activation.data.max() == pytest.approx(1) and made.reading["class"] == name
    steep = made.saliency.data > 0.5  # also where the other class is seen: there, too, the odds depend on the scan
    assert steep[wanted] and (data[steep] == 220).mean() > 0.7 and steep.sum() > 100


def test_values_that_are_not_finite_are_refused(given: Path) -> None:
    case = Case("p01", {Contrast.T1: given / "london-healthy-0_t1.nii.gz"})
    job = ExplainVolumes(ExplainConfig(model="ms", device="cpu", threads=1), Reporter())
    next(job.model.approach.encoder.stem.parameters()).data.fill_(torch.nan)
    with pytest.raises(ModelError, match="The network of ms gave values that are not finite: p01"):
        job.explained(case, job.given(case))


def test_log_odds_do_not_saturate() -> None:
    assert log_odds(torch.tensor([[200.0, 0.0]])).tolist() == [[200.0, -200.0]]
    logits = torch.tensor([0.3, -1.0, 2.0])
    p = logits.softmax(0)
    torch.testing.assert_close(log_odds(logits), (p / (1 - p)).log())


def test_the_layer_is_the_last_that_shows_where_something_is(given: Path) -> None:
    """Of the paper's network the second of three maps, of compact's the first, and of tiny's, too: none has more."""
    paper = InceptionResNet3d((124, 120, 172), width=0.05).layers()
    compact = InceptionResNet3d((36, 46, 38), width=0.05, blocks=(1, 2, 1), padding="same").layers()
    tiny = InceptionResNet3d(read_info(given / "models" / "ms").grid.shape, width=0.05, padding="same").layers()
    assert [coarsest(each).shape for each in (paper, compact, tiny)] == [(6, 5, 9), (5, 6, 5), (3, 3, 3)]
    assert coarsest(paper) is paper[1] and coarsest(compact) is compact[0] and coarsest(tiny) is tiny[0]
