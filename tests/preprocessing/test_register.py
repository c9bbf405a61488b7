"""Registration finds known transforms, the same ones every time, without noise or traces."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from heads import turned

from braincli.imaging.volume import Volume
from braincli.preprocessing import register


def error_mm(found: np.ndarray, true: np.ndarray, image: Volume) -> float:
    """Largest distance between the two images of the brain's voxels."""
    points = np.argwhere(image.data > 0)[::50]
    world = image.affine @ np.c_[points, np.ones(len(points))].T
    return float(np.linalg.norm(((found - true) @ world)[:3], axis=0).max())


@pytest.mark.parametrize("kind", ["rigid", "affine"])
def test_known_transform_is_found_bit_identically(
    heads: dict[str, Volume], kind: str, capfd: pytest.CaptureFixture
) -> None:
    fixed, true = heads["brain"], turned(8.0, (10.0, -6.0, 5.0))
    if kind == "affine":
        true = true @ np.diag([1.08, 0.95, 1.03, 1.0])
    moving = Volume(fixed.data, true @ fixed.affine)
    first, again = (register.register(fixed, moving, kind=kind, seed=7) for _ in range(2))
    assert error_mm(first, true, fixed) < 1.25  # a quarter of a voxel
    assert first.tobytes() == again.tobytes()
    assert capfd.readouterr().out == ""
    if kind == "rigid":
        np.testing.assert_allclose(first[:3, :3] @ first[:3, :3].T, np.eye(3), atol=1e-6)


def test_thread_setting_of_the_caller_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(register.ITK_THREADS, "3")
    with register.one_itk_thread():
        assert os.environ[register.ITK_THREADS] == "1"
    assert os.environ[register.ITK_THREADS] == "3"
    monkeypatch.delenv(register.ITK_THREADS)
    with register.one_itk_thread():
        pass
    assert register.ITK_THREADS not in os.environ


def test_transform_file_is_read_by_ants_and_by_us(tmp_path: Path) -> None:
    import ants

    matrix = turned(12.0, (4.0, 5.0, 6.0)) @ np.diag([1.1, 0.9, 1.0, 1.0])
    path = tmp_path / "x.mat"
    register.write_itk(matrix, path)
    np.testing.assert_allclose(register.read_itk(path), matrix, atol=1e-9)
    point = np.array([10.0, -20.0, 30.0])
    lps = ants.read_transform(str(path)).apply_to_point(point * [-1, -1, 1])
    np.testing.assert_allclose(np.asarray(lps) * [-1, -1, 1], (matrix @ [*point, 1.0])[:3], atol=1e-4)


def test_blocks_keep_their_place(heads: dict[str, Volume]) -> None:
    fine = Volume(np.zeros((12, 10, 9), np.float32), np.diag([1.0, 1.0, 2.0, 1.0]))
    fine.data[4:6, 2:4, 3] = 1
    small = register.coarse(fine, 2.0)
    assert small.shape == (6, 5, 9) and small.spacing == (2.0, 2.0, 2.0)
    np.testing.assert_allclose(register.centre_of_mass(small), register.centre_of_mass(fine))
    even = register.isotropic(Volume(fine.data, np.diag([1.0, 1.0, 5.0, 1.0])), 2.0)
    assert even.spacing == pytest.approx((2.0, 2.0, 2.0))


def test_crop_of_an_empty_mask_is_everything(heads: dict[str, Volume]) -> None:
    head = heads["head"]
    assert register.crop(head, np.zeros(head.shape, bool), 5) is head
    box = register.crop(head, heads["brain"].data > 0, 4)
    assert box.data.size < head.data.size / 2
    assert register.centre_of_mass(Volume(box.data * 0 + 1, box.affine)) == pytest.approx(
        register.centre_of_mass(heads["brain"]), abs=12
    )


def test_mutual_information_drops_with_misalignment(heads: dict[str, Volume]) -> None:
    head = heads["head"]
    aligned, moved = (register.mutual_information(head, head, turned(a, (0, 0, 0))) for a in (0.0, 15.0))
    assert aligned > 2 * moved > 0
    flat = head.with_data(np.ones_like(head.data))
    assert register.mutual_information(head, flat, np.eye(4)) == pytest.approx(0, abs=1e-9)
