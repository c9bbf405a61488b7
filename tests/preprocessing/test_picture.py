"""The quality picture: which way up, what is outlined, what is said, and no face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume, reorient
from braincli.preprocessing import picture, quality
from braincli.preprocessing.work import Images
from braincli.reporting import board

SHAPE = (60, 70, 50)
FIGURES = {"brain_ml": 1500.0, "atlas_dsc": 0.5, "coverage": {"t1": 1.0, "flair": 0.97}}


def read(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    return np.asarray(imread(path))[..., :3]


def images(axes: str = "LPS", *, fat: float = 1000.0) -> Images:
    """A brain of 100, a brighter spot in its right front, fat around the head and a nose far from the brain."""
    x, y, z = np.indices(SHAPE)
    distance = np.sqrt(((x - 30) / 18) ** 2 + ((y - 28) / 22) ** 2 + ((z - 24) / 16) ** 2)
    brain = distance <= 1
    head = np.where(distance <= 1.3, fat, 0).astype(np.float32)
    head[brain] = 100 + np.random.default_rng(0).normal(0, 5, int(brain.sum()))
    spot = np.zeros(SHAPE, bool)
    spot[38:42, 36:40, 15:33] = True
    head[spot] = 150
    head[29:31, 69, 20:30] = fat  # 15 mm and more from the brain
    whole = Volume(head, np.eye(4))
    head_, brain_, spot_, finished = (
        reorient(whole.with_data(data), axes) for data in (head, brain, spot, np.where(brain, head / 150, 0))
    )
    return Images({Contrast.T1: head_}, {Contrast.T1: finished}, brain_, spot_)


def drawn(path: Path, made: Images, *, case: str = "p01") -> np.ndarray:
    picture.draw(made, Contrast.T1, path, case=case, figures=FIGURES)
    return read(path)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR"])
def test_it_is_radiological_as_every_picture_and_whatever_the_axes(tmp_path: Path, axes: str) -> None:
    pixels = drawn(tmp_path / "qc.png", images(axes))
    assert np.array_equal(pixels, drawn(tmp_path / "other.png", images("RAS")))
    column = pixels[round(board.HEAD_INCH * board.DPI) :, : pixels.shape[1] // 2]
    axial = column[: round(0.25 * len(column))]
    yellow = np.argwhere((axial[..., 0] > 0.9) & (axial[..., 2] < 0.4) & (axial[..., 1] > 0.6))
    red = np.argwhere((axial[..., 0] > 0.9) & (axial[..., 1] < 0.5))
    assert len(yellow) > 20 and len(red) > 100
    assert (yellow.mean(axis=0) < red.mean(axis=0) - 10).all()  # the right is on the left, the front on top


def test_grey_values_are_those_of_the_brain_and_no_fat_darkens_them(tmp_path: Path) -> None:
    plain, bright = (drawn(tmp_path / f"{fat}.png", images(fat=fat)) for fat in (300.0, 30000.0))
    assert np.abs(plain - bright).max() < 0.02


def test_what_lies_far_from_the_brain_is_blank() -> None:
    made = images("RAS")
    assert made.brain is not None
    near = picture._near(made.brain.data, (1, 1, 1))
    assert near[30, 28, 24] and near[30, 60, 24] and not near[29:31, 69, 20:30].any()


def test_figures_beyond_their_limits_stand_out(tmp_path: Path) -> None:
    told = list(picture._told(FIGURES))
    assert told[0] == ("outside its limits: atlas dsc 0.5 (0.88 to 1)", picture.OUTSIDE)
    assert told[1][0].startswith("brain ml 1500") and "coverage of FLAIR 0.97" in told[1][0]
    assert quality.outside(FIGURES) == ["atlas_dsc"]
    assert quality.outside({"coverage": {"t1": 0.2, "t2": None}}) == ["coverage of t1"]
    pixels = drawn(tmp_path / "qc.png", images())
    orange = (pixels[..., 0] > 0.9) & (abs(pixels[..., 1] - 0.69) < 0.1) & (pixels[..., 2] < 0.1)
    assert orange[-100:].any()


def test_without_a_brain_mask_and_with_a_strange_name_it_is_drawn(tmp_path: Path) -> None:
    made = images()._replace(brain=None, lesion=None)
    assert drawn(tmp_path / "qc.png", made, case="caf\udce9 $x^2$").std() > 0.1


def test_the_atlas_and_its_edges_come_where_the_space_is_its(tmp_path: Path) -> None:
    from braincli.preprocessing import atlas

    brain = atlas.load_atlas(stripped=True)
    mask = brain.with_data(brain.data > 0)
    made = Images({Contrast.T1: brain}, {Contrast.T1: brain}, mask, None)
    picture.draw(made, Contrast.T1, tmp_path / "a.png", case="p", figures={}, template=atlas)
    pixels = read(tmp_path / "a.png")
    third = pixels[:, pixels.shape[1] // 2 : 3 * pixels.shape[1] // 4]
    assert ((third[..., 2] > third[..., 0] + 0.3) & (third[..., 1] > 0.4)).sum() > 1000
