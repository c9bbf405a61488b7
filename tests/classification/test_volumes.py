"""Scans on the classifier's grid, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from phantoms import affine, brain, write

from braincli.classification.volumes import Reading, grid_of, off_grid, on_grid, read
from braincli.imaging.case import Case
from braincli.imaging.names import Contrast

SHAPE = (40, 48, 36)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("mm", [3.0, 7.0])
def test_what_lies_on_the_grid_comes_back_to_where_it_was(axes: str, mm: float, tmp_path: Path) -> None:
    """A blob, cut onto the grid and put back, is where it is in the scan, whatever the scan's axes."""
    data = np.where(brain(SHAPE) > 0, 10.0, 0.0).astype(np.float32)
    data[22:27, 16:21, 20:25] = 100.0
    path = write(tmp_path / "a_t1.nii.gz", data, affine(axes, (4.0, 4.5, 5.0), degrees=(8.0, 3.0)))
    head = read(Case("a", {Contrast.T1: path}), Reading(Contrast.T1))
    shape = {3.0: (72, 72, 72), 7.0: (32, 32, 32)}[mm]
    grid = grid_of(head, mm, shape, (0.0, 100.0))  # type: ignore[arg-type]
    back = off_grid(on_grid("a", head, grid).astype(np.float32), head, grid)
    assert back.shape == head.scan.shape and np.array_equal(back.affine, head.scan.affine)
    assert back.data.dtype == np.float32 and not back.data[data == 0].any()
    weight = np.where(back.data > 0.4, back.data, 0)
    centre = [float((weight.sum(axis=other) * np.arange(size)).sum() / weight.sum()) for other, size in zip(
        [(1, 2), (0, 2), (0, 1)], SHAPE, strict=True)]  # fmt: skip
    np.testing.assert_allclose(centre, (24, 18, 22), atol=0.15)
    assert back.data[24, 18, 22] > 0.9


def test_what_the_grid_leaves_out_is_0(tmp_path: Path) -> None:
    path = write(tmp_path / "a_t1.nii.gz", brain(SHAPE), affine("RAS", (4.0, 4.0, 4.0)))
    head = read(Case("a", {Contrast.T1: path}), Reading(Contrast.T1))
    grid = grid_of(head, 4.0, (10, 10, 10), (0.0, 100.0))
    there = off_grid(np.ones((10, 10, 10), np.float32), head, grid).data
    assert there.max() == pytest.approx(1) and 8**3 <= (there > 0.5).sum() <= 11**3
