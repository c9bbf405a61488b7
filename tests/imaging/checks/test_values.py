"""Voxels: overflow, CT, ranges that 32 bits cannot hold, and the memory that a mask takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from phantoms import affine, brain, write

from braincli.imaging import volume
from braincli.imaging.brain import foreground, has_skull
from braincli.imaging.checks import Level, inspect_file
from braincli.imaging.volume import Volume


def codes(path: Path) -> list[str]:
    return [problem.code for problem in inspect_file(path)]


def test_wrapped_and_cut_off_16_bits_are_warned_of(tmp_path: Path) -> None:
    bright = brain() * 290  # up to 36,000
    [wrapped] = inspect_file(write(tmp_path / "a.nii", bright.astype(np.int32).astype(np.int16)))
    assert (wrapped.level, wrapped.code) == (Level.WARNING, "overflow")
    assert "run over its 16 bits" in wrapped.message and "wider data type" in wrapped.hint
    [cut] = inspect_file(write(tmp_path / "b.nii", bright.clip(0, 32767).astype(np.int16)))
    assert cut.code == "overflow" and "cut off at 32767" in cut.message


def test_full_16_bits_with_a_scaling_or_padding_are_no_overflow(tmp_path: Path) -> None:
    whole = np.interp(brain(), (0, brain().max()), (-32768, 32767)).astype(np.int16)
    assert codes(write(tmp_path / "a.nii", whole, slope=(0.01, 5.0))) == []
    padded = np.where(brain() > 0, 200 * brain(), -32768).clip(-32768, 32766).astype(np.int16)
    assert codes(write(tmp_path / "b.nii", padded)) == []


@pytest.mark.parametrize("air", [-1000, -1024])
def test_ct_is_named_whether_stored_with_an_intercept_or_not(air: int, tmp_path: Path) -> None:
    ct = np.where(brain() > 0, brain() - 70, air)
    ct[8, 9, 2:5] = 1400
    [direct] = inspect_file(write(tmp_path / "a.nii", ct.astype(np.int16)))
    [shifted] = inspect_file(write(tmp_path / "b.nii", (ct + 1024).astype(np.uint16), slope=(1, -1024)))
    for problem in (direct, shifted):
        assert (problem.level, problem.code) == (Level.WARNING, "ct") and "1400" in problem.message
    zscored = (brain() - brain().mean()) / brain().std()
    assert codes(write(tmp_path / "c.nii", zscored.astype(np.float32))) == []


@pytest.mark.parametrize("scale", [1e-40, 1e-35, 1e36])
def test_values_that_32_bits_cannot_square_are_refused(scale: float, tmp_path: Path) -> None:
    assert codes(write(tmp_path / "a.nii", brain().astype(np.float64) * scale)) == ["value-range"]


def test_labels_keep_a_small_integer_type(tmp_path: Path) -> None:
    spot = (brain() > 100).astype(np.uint8) * 4
    for kind, kept in {
        np.uint8: np.uint8, np.int16: np.int16, np.int32: np.int32, np.uint32: np.int32, np.int64: np.int32,
        np.float32: np.int32, np.float64: np.int32,
    }.items():  # fmt: skip
        loaded = volume.load(write(tmp_path / "m.nii", spot.astype(kind), big_endian=kind is np.int16), labels=True)
        assert loaded.data.dtype == kept and loaded.data.dtype.isnative
        assert loaded.problems == () and np.array_equal(loaded.data, spot)


def test_labels_lost_by_their_scaling_are_warned_of(tmp_path: Path) -> None:
    loaded = volume.load(write(tmp_path / "m.nii", 4 * (brain() > 100).astype(np.int16), slope=(1e-5, 0)), labels=True)
    assert [problem.code for problem in loaded.problems] == ["fractional-labels"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "limit"), [("u1", 65), ("f4", 200), ("f8", 275)])
def test_a_mask_takes_little_more_than_its_voxels(kind: str, limit: int, tmp_path: Path) -> None:
    """64 x 512 x 512 voxels, 16 MiB as bytes: 5.4 GB went to a mask of eight times the size."""
    mask = np.zeros((64, 512, 512), kind)
    mask[9:20] = 1
    write(tmp_path / "m.nii.gz", mask)
    program = (
        "import resource, sys\nfrom pathlib import Path\nfrom braincli.imaging.volume import load\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\nload(Path(sys.argv[1]), labels=True)\nprint(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "m.nii.gz"], capture_output=True, check=True)
    assert int(done.stdout) < limit  # MiB


@pytest.mark.parametrize("spacing", [(0.2, 0.2, 0.2), (1.0, 1.0, 1.0), (4.0, 4.0, 4.0)])
@pytest.mark.parametrize("shape", [(2, 64, 64), (64, 2, 64), (64, 64, 2), (2, 2, 2), (3, 2, 2)])
def test_flat_and_tiny_volumes_have_a_foreground_and_an_answer(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    data = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    scan = Volume(data, affine(spacing=spacing))
    assert has_skull(scan) in (True, False)
    assert foreground(scan).shape == shape


def test_a_scan_of_whole_numbers_is_no_mask(tmp_path: Path) -> None:
    grey = np.round(brain() * 20).astype(np.uint8)
    numbered = np.add.outer(np.add.outer(np.arange(24) // 4, np.arange(26) // 4 * 6), np.arange(18) // 4 * 42)
    for name, data, found in (
        ("grey", grey, ["scan-as-labels"]),
        ("grey-floats", grey.astype(np.float32), ["scan-as-labels"]),
        ("parcels", numbered.astype(np.uint8) + 1, []),
        ("mask255", (grey > 0).astype(np.uint8) * 255, []),
        ("empty", grey * 0, []),
    ):
        path = write(tmp_path / f"{name}.nii", data)
        assert [problem.code for problem in volume.load(path, labels=True).problems] == found, name


def test_a_mask_that_is_given_as_a_scan_is_warned_of(tmp_path: Path) -> None:
    """It would be searched, and found healthy."""
    for name, data in (("binary", brain() > 0), ("labels", np.digitize(brain(), (1, 50, 90)) + (brain() > 90))):
        [problem] = volume.load(write(tmp_path / f"{name}.nii", data.astype(np.uint8))).problems
        assert (problem.level, problem.code) == (Level.WARNING, "labels-as-scan")
        assert "different values only (0, " in problem.message and problem.hint == "Is it the scan?"
    grey = write(tmp_path / "grey.nii", (brain() / brain().max() * 60).astype(np.uint8))  # poor, and a scan
    assert "labels-as-scan" not in codes(grey)
