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
from braincli.reporting import board
from braincli.reporting.board import Plane, Row
from braincli.reporting.figures import Shown, colour_top, draw_case, restoration_figure, slices_figure, thumbnail

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


def cells(picture: np.ndarray, shown: Shown) -> list[np.ndarray]:
    """The outlined cells of a drawn case, from the top down, one for each row."""
    x, y, z = (mm * (part.stop - part.start) for mm, part in zip(shown.grid.spacing, shown.box, strict=True))
    columns = len(shown.scans) + len(shown.restored) + (shown.score is not None) + 1
    wide = picture.shape[1] / columns
    heights = [wide * tall for tall in (y / x, z / x, z / y)]
    top, parts = round(board.HEAD_INCH * board.DPI), []
    for height in heights:
        parts.append(picture[round(top) : round(top + height), -round(wide) :])
        top += height + round(board.CAPTION_INCH * board.DPI)
    return parts


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    images, mask = make()
    for name in ("a.png", "b.png"):
        restoration_figure(tmp_path / name, Shown(images, mask, anomaly=mask.with_data(mask.data * 0.5), title="x"))
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
    restoration_figure(path, Shown(images, mask), count=1)
    axial, coronal, sagittal = cells(read(path), Shown(images, mask))
    for cell, left, up in ((axial, True, True), (coronal, True, None), (sagittal, True, None)):
        rows, columns = np.nonzero((cell[..., 0] > 0.8) & (cell[..., 1] < 0.5))
        assert len(rows) > 20
        assert bool(columns.mean() < 0.45 * cell.shape[1]) is left  # the right, and in sagittal slices the front
        assert up is None or bool(rows.mean() < 0.5 * len(cell)) is up


def test_anisotropic_voxels_keep_true_proportions(tmp_path: Path) -> None:
    sizes = []
    for index, axes in enumerate(((1.0, 1.0, 4.0), (1.0, 2.0, 4.0))):
        images, mask = make(axes)
        restoration_figure(tmp_path / f"{index}.png", Shown(images, mask), count=1)
        sizes.append(read(tmp_path / f"{index}.png").shape[0])
    assert sizes[1] > 1.2 * sizes[0]


def test_constant_image_and_empty_mask_are_drawn(tmp_path: Path) -> None:
    images, mask = make()
    flat = {Contrast.T1: images[Contrast.FLAIR].with_data(np.zeros(SHAPE, np.float32))}
    nothing = mask.with_data(np.zeros(SHAPE, bool))
    restoration_figure(tmp_path / "flat.png", Shown(flat, nothing, anomaly=nothing.with_data(np.zeros(SHAPE))))
    assert read(tmp_path / "flat.png").size


def test_existing_figure_is_not_replaced(tmp_path: Path) -> None:
    images, mask = make()
    path = tmp_path / "figure.png"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"figure\.png exists"):
        restoration_figure(path, Shown(images, mask))
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


@pytest.mark.parametrize("label", ["axial, z +12 mm", "one line\nand another"])
def test_a_caption_stands_below_its_row_and_not_on_a_brain_that_reaches_the_edge(label: str) -> None:
    bright = np.ones((36, 30))
    picture = np.asarray(board.paint([Row(label, [Plane("a", bright)], ends=("", ""))] * 2, board.Words("t")))
    white = (picture > 250).all(axis=2)
    shown = white.mean(axis=1) > 0.5
    assert shown.sum() > 1000 and white[shown].all()  # no letter covers a pixel of the pictures
    assert (np.diff(shown.astype(int)) == 1).sum() == 2  # the first caption parts them


@pytest.mark.parametrize("title", ["$\\foo$", "a$b$c", "x_{", "caf\udce9"])
def test_a_title_is_no_formula(tmp_path: Path, title: str) -> None:
    images, mask = make()
    restoration_figure(tmp_path / "f.png", Shown(images, mask, title=title))
    slices_figure(tmp_path / "s.png", [Row(title, [Plane(title, mask.data[:, :, 3] * 1.0)])], title=title, note=title)
    assert read(tmp_path / "f.png").size and read(tmp_path / "s.png").size


def test_drawing_needs_no_matplotlib_whatever_a_notebook_makes_of_it() -> None:
    code = (
        "import sys; from braincli.reporting.board import *\n"
        "plane = Plane('b', np.ones((9, 9)), numbers=(('1', 4, 4),))\n"
        "drawn = paint([Row('a', [plane])], Words('c'), Bar('d', 1, 0.5))\n"
        "print(drawn.size, 'matplotlib' in sys.modules)"
    )
    environment = os.environ | {"MPLBACKEND": "inline-of-a-notebook"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.endswith(") False\n"), run.stderr


def test_each_contrast_stands_beside_its_restoration(tmp_path: Path) -> None:
    images, mask = make()
    images[Contrast.T2] = images[Contrast.FLAIR]
    white = mask.with_data(np.ones(SHAPE, np.float32))
    drawn = {
        n: draw_case(Shown(images, mask, restored=r)).width for n, r in (("none", {}), ("one", {Contrast.T2: white}))
    }
    assert drawn["none"] == round(board.LEAST_INCH * board.DPI) == drawn["one"]  # few columns are made wider
    picture = np.asarray(draw_case(Shown(images, mask, restored=dict.fromkeys(images, white))))
    columns = np.array_split(picture[round(board.HEAD_INCH * board.DPI) :][:200], 5, axis=1)
    bright = [np.median(column) > 200 for column in columns]
    assert bright == [False, True, False, True, False]  # T2, its restoration, FLAIR, its restoration, mask


def test_the_colour_bar_marks_the_threshold() -> None:
    images, mask = make()
    score = mask.with_data(mask.data * 0.8)
    plain, marked = (np.asarray(draw_case(Shown(images, mask, anomaly=score, threshold=t))) for t in (None, 0.5))
    foot = plain.shape[0] - round((board.FOOT_INCH + board.BAR_INCH) * board.DPI)
    assert (plain[foot:] != marked[foot:]).any()
    assert colour_top(score.data, 0.5) == 0.8 and colour_top(score.data, 0.3) == 0.6  # twice the threshold at most
    assert colour_top(score.data, None) == 0.8 and colour_top(0 * score.data, None) == 1


def test_lesions_are_numbered_where_they_are() -> None:
    images, mask = make()
    plain, numbered = (
        np.asarray(draw_case(Shown(images, mask, lesions=labels), count=1)).astype(int)
        for labels in (None, mask.with_data(mask.data.astype(np.uint8)))
    )
    changed = np.abs(plain - numbered).sum(axis=-1) > 100
    shown = Shown(images, mask)
    for cell, outlined in zip(cells(changed, shown), cells(plain, shown), strict=True):
        red = np.argwhere((outlined[..., 0] > 200) & (outlined[..., 1] < 130))
        assert cell.sum() > 20
        assert np.argwhere(cell).mean(axis=0) == pytest.approx(red.mean(axis=0), abs=8)


def test_thumbnails_are_small_and_outlined() -> None:
    images, mask = make()
    small = thumbnail(Shown(images, mask))
    assert max(small.size) == 128 and small.size[0] < small.size[1]
    pixels = np.asarray(small).astype(int)
    rows, columns = np.nonzero(pixels[..., 0] - pixels[..., 1] > 100)
    assert len(rows) > 20 and columns.mean() < 0.5 * small.size[0] and rows.mean() < 0.5 * small.size[1]
    nothing = mask.with_data(np.zeros(SHAPE, bool))
    assert max(thumbnail(Shown({Contrast.T1: nothing.with_data(np.zeros(SHAPE, np.float32))}, nothing)).size) == 128
