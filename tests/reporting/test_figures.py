"""The picture of a case."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from braincli.errors import UsageError
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume
from braincli.reporting.figures import Plane, Row, pick_slices, restoration_figure, slices_figure

SHAPE = (30, 36, 8)


def make(axes: tuple[float, float, float] = (1.0, 1.0, 4.0)) -> tuple[dict[Contrast, Volume], Volume]:
    rng = np.random.default_rng(0)
    data = np.zeros(SHAPE, np.float32)
    data[3:-3, 3:-3] = rng.uniform(50, 100, (24, 30, 8))
    image = Volume(data, np.diag([*axes, 1.0]))
    mask = np.zeros(SHAPE, bool)
    mask[22:27, 25:32, 3:5] = True  # RAS: the patient's right, anterior
    return {Contrast.FLAIR: image}, image.with_data(mask)


def read(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(path))[..., :3]


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    images, mask = make()
    for name in ("a.png", "b.png"):
        restoration_figure(tmp_path / name, images, mask=mask, anomaly=mask.with_data(mask.data * 0.5), title="x")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("flip", [1, -1])
def test_patients_right_is_on_the_left_of_the_picture(tmp_path: Path, flip: int) -> None:
    images, mask = make()
    if flip < 0:  # the same patient, stored from right to left
        affine = mask.affine @ np.diag([-1, 1, 1, 1])
        affine[0, 3] = SHAPE[0] - 1
        images = {c: Volume(v.data[::-1], affine) for c, v in images.items()}
        mask = Volume(mask.data[::-1], affine)
    path = tmp_path / "figure.png"
    restoration_figure(path, images, mask=mask, rows=1)
    picture = read(path)
    panel = picture[:, picture.shape[1] // 2 :]  # the last of two panels has the contour
    body = panel[int(0.3 * len(panel)) : int(0.9 * len(panel))]
    red = (body[..., 0] > 0.8) & (body[..., 1] < 0.5)
    rows, columns = np.nonzero(red)
    assert len(rows) > 20
    assert columns.mean() < 0.5 * panel.shape[1]
    assert rows.mean() < 0.5 * len(body)  # anterior is up


def test_anisotropic_voxels_keep_true_proportions(tmp_path: Path) -> None:
    sizes = []
    for index, axes in enumerate(((1.0, 1.0, 4.0), (1.0, 2.0, 4.0))):
        images, mask = make(axes)
        restoration_figure(tmp_path / f"{index}.png", images, mask=mask, rows=1)
        sizes.append(read(tmp_path / f"{index}.png").shape[0])
    assert sizes[1] > 1.4 * sizes[0]


def test_slices_hold_most_mask_and_lie_apart() -> None:
    mask = np.zeros((10, 10, 60), bool)
    mask[:8, :8, 30] = mask[:7, :7, 31] = mask[:6, :6, 40] = mask[:2, :2, 50] = True
    assert pick_slices(mask, None, 1.0, 3) == [50, 40, 30]
    assert pick_slices(mask, None, 1.0, 2) == [40, 30]


def test_empty_mask_falls_back_to_the_score_then_to_the_middle() -> None:
    empty = np.zeros((4, 4, 21), bool)
    score = np.zeros(empty.shape)
    score[..., 5] = 1
    assert pick_slices(empty, score, 1.0, 3) == [5]
    assert pick_slices(empty, None, 1.0, 3) == [10]
    assert pick_slices(empty, 0 * score, 1.0, 3) == [10]


def test_constant_image_and_empty_mask_are_drawn(tmp_path: Path) -> None:
    images, mask = make()
    flat = {Contrast.T1: images[Contrast.FLAIR].with_data(np.zeros(SHAPE, np.float32))}
    nothing = mask.with_data(np.zeros(SHAPE, bool))
    restoration_figure(tmp_path / "flat.png", flat, mask=nothing, anomaly=nothing.with_data(np.zeros(SHAPE)))
    assert read(tmp_path / "flat.png").size


def test_existing_figure_is_not_replaced(tmp_path: Path) -> None:
    images, mask = make()
    path = tmp_path / "figure.png"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"figure\.png exists"):
        restoration_figure(path, images, mask=mask)
    assert path.read_bytes() == b"mine"


def test_slices_stand_side_by_side_and_a_missing_one_stays_dark(tmp_path: Path) -> None:
    bright = np.ones((30, 36))
    mask = np.zeros((30, 36), bool)
    mask[10:20, 10:20] = True
    planes = [Plane("a", bright), None, Plane("b", 0.5 * bright, outlines=((mask, "#ff0000"),))]
    slices_figure(tmp_path / "s.png", [Row("one", planes), Row("two", planes)], title="t", note="n")
    picture = read(tmp_path / "s.png")
    left, middle, right = (part[len(part) // 2 :] for part in np.array_split(picture, 3, axis=1))
    assert np.median(left) > 0.9
    assert np.median(middle) < 0.1
    assert ((right[..., 0] > 0.8) & (right[..., 1] < 0.3)).sum() > 20
    with pytest.raises(UsageError, match=r"s\.png exists"):
        slices_figure(tmp_path / "s.png", [Row("one", planes)], title="t")


@pytest.mark.parametrize("title", ["$\\foo$", "a$b$c", "x_{", "caf\udce9"])
def test_a_title_is_no_formula(tmp_path: Path, title: str) -> None:
    images, mask = make()
    restoration_figure(tmp_path / "f.png", images, mask=mask, title=title)
    slices_figure(tmp_path / "s.png", [Row(title, [Plane(title, mask.data[:, :, 3] * 1.0)])], title=title, note=title)
    assert read(tmp_path / "f.png").size and read(tmp_path / "s.png").size


def test_a_notebooks_backend_does_not_matter() -> None:
    code = "from braincli.reporting.figures import new_figure; print(type(new_figure().canvas).__name__)"
    environment = os.environ | {"MPLBACKEND": "inline-of-a-notebook"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "FigureCanvasAgg", run.stderr
