"""One case in memory."""

from __future__ import annotations

import time

import numpy as np

from braincli.detection.find import Findings
from braincli.detection.ongrid import quantiles
from braincli.detection.restore import Restoration
from braincli.imaging.cases import Contrast
from braincli.imaging.slices import from_volumes
from braincli.imaging.volume import Volume
from braincli.spec import SliceSpec


def test_quantiles_are_numpys_and_quick() -> None:
    rng = np.random.default_rng(0)
    values = (1000 * rng.gamma(2.0, size=50_000)).astype(np.float32)
    shares = np.concatenate([rng.uniform(size=500), [0, 1, 0.5]]).astype(np.float32)
    expected = np.quantile(values, shares)
    assert np.abs(quantiles(values, shares) - expected).max() < 1e-5 * np.ptp(values)
    begin = time.process_time()
    quantiles(np.tile(values, 30), rng.uniform(size=1_500_000).astype(np.float32))
    assert time.process_time() - begin < 10
    assert quantiles(np.array([3.0]), np.array([0.0, 1.0])).tolist() == [3, 3]


def test_what_is_redrawn_leaves_no_ghost_of_the_scan() -> None:
    """Fine detail of the scan stays where nothing was redrawn, and goes with the lesion where something was."""
    rng = np.random.default_rng(0)
    grid = Volume(np.zeros((60, 60, 5), np.float32), np.diag([-1.0, -1.0, 2.0, 1.0]))
    inside = np.zeros(grid.shape, bool)
    inside[6:54, 6:54] = True
    scan = grid.with_data(np.where(inside, 100 + 20 * rng.random(grid.shape), 0).astype(np.float32))
    brain = grid.with_data(inside)
    spec = SliceSpec(size=(32, 32), min_brain_mm2=1.0)
    slices = from_volumes({Contrast.FLAIR: scan}, spec, brain=brain)
    square = np.zeros(slices.brain.shape, bool)
    square[:, :, 10:20, 8:18] = True
    made = Restoration(slices, np.where(square, np.float32(0.5), slices.image), None, "cpu", square.astype(np.float32))
    findings = Findings(
        {Contrast.FLAIR: scan}, brain, brain, scan, brain, [], {Contrast.FLAIR: 1.0}, 0.5, 0.0, [], "cpu", made, spec
    )  # fmt: skip
    low, high = np.percentile(scan.data[inside], spec.percentiles)
    share = slices.to_volume(square[:, 0].astype(np.float32)).data
    restored = findings.restored(Contrast.FLAIR).data
    assert (share == 1).sum() > 500 and np.abs(restored[share == 1] - 0.5).max() < 1e-5
    np.testing.assert_allclose(
        findings.restored_like_input(Contrast.FLAIR).data[share == 1], (low + high) / 2, rtol=1e-5
    )
    part = findings.restored_in(Contrast.FLAIR, (slice(2, 57), slice(0, 60), slice(0, 5)))
    assert np.array_equal(part.data, restored[::-1, ::-1][2:57]) and part.affine[:3, 3].tolist() == [-57, -59, 0]
    left = inside & (share == 0)
    np.testing.assert_allclose(restored[left], ((scan.data[left] - low) / (high - low)).clip(0, 1), atol=1e-5)
