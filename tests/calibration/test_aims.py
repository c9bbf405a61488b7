"""Figures by smallest lesion are those of the mask without its smaller pieces."""

from __future__ import annotations

import numpy as np
from evidences import evidence

from braincli.calibration.aims import DSC, LESION_F1, SHARE, healthy_ml
from braincli.detection.maps import segment
from braincli.scoring import metrics


def scattered(seed: int) -> np.ndarray:
    """A map with pieces of many sizes, some of which touch the lesion."""
    from scipy.ndimage import gaussian_filter

    e = evidence("a")
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=e.reference.shape), 1.0)
    return np.asarray(noise + 0.2 * e.reference, np.float32)


def one_by_one(mask: np.ndarray, reference: np.ndarray) -> float:
    """Lesion-wise F1, piece by piece."""
    from scipy.ndimage import label

    (predicted, count), (known, lesions) = (label(part, np.ones((3, 3, 3))) for part in (mask, reference))
    true = [n for n in range(1, count + 1) if reference[predicted == n].mean() >= SHARE]
    found = [n for n in range(1, lesions + 1) if np.isin(predicted[known == n], true).any()]
    p, r = (len(true) / count if count else 0.0), len(found) / lesions
    return 2 * p * r / (p + r) if p + r else 0.0


def test_a_piece_that_fills_the_brain_finds_no_lesion() -> None:
    e = evidence("a")
    everything = e.slices.brain_volume
    assert e.reference[everything].mean() < SHARE
    assert LESION_F1.by_size(e, everything)[0] == 0
    assert metrics.lesions(pred=everything, ref=e.reference).precision == 1.0
    assert LESION_F1.by_size(e, e.reference)[0] == 1


def test_every_size_gives_the_figures_of_its_own_mask() -> None:
    e = evidence("a")
    e.reference[12:15, 30:34, 3:6] = e.reference[26:28, 12:14, 12:14] = True  # three lesions
    for seed in range(3):
        anomaly = scattered(seed)
        dsc, f1 = (aim.by_size(e, anomaly > 0.25) for aim in (DSC, LESION_F1))
        assert len(set(f1.tolist())) > 2 and len(set(dsc.tolist())) > 1, "sizes matter here"
        for aim, figures in ((DSC, dsc), (LESION_F1, f1)):
            for size, figure in zip(aim.sizes, figures, strict=True):
                mask = segment(anomaly, 0.25, e.voxel_mm3, size)
                expected = metrics.dice(metrics.confusion(pred=mask, ref=e.reference))
                if aim is LESION_F1:
                    expected = one_by_one(mask, e.reference)
                assert abs(figure - expected) < 1e-9, (aim.name, size)


def test_empty_masks_have_defined_figures() -> None:
    e = evidence("a")
    nothing = np.zeros_like(e.reference)
    assert not DSC.by_size(e, nothing).any() and not LESION_F1.by_size(e, nothing).any()
    e.reference[:] = False
    assert (DSC.by_size(e, nothing) == 1).all() and (LESION_F1.by_size(e, nothing) == 1).all()
    something = nothing.copy()
    something[20, 20, 8] = True
    assert LESION_F1.by_size(e, something)[0] == 0


def test_what_is_marked_near_a_lesion_is_not_marked_in_healthy_tissue() -> None:
    e = evidence("a")
    everything = np.ones_like(e.reference)
    healthy = e.slices.index[e.healthy_slices()]
    slice_ml = everything[:, :, 0].sum() * e.voxel_mm3 / 1000
    np.testing.assert_allclose(healthy_ml(e, everything, (0.0, 1e9)), [len(healthy) * slice_ml, 0])
