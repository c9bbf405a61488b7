"""N4 flattens a known field and keeps the mean; normalisation gives [0, 1] with an exact background."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.preprocessing import intensity


@pytest.fixture(scope="module")
def ball() -> tuple[np.ndarray, np.ndarray]:
    """Two tissues in a ball (24^3, 5 mm voxels), and the ball."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij"))
    inside = (grid**2).sum(0) < 0.8
    tissue = np.where(np.sin(7 * grid).sum(0) > 0, 100.0, 150.0)
    noise = np.random.default_rng(0).normal(0, 2, inside.shape)
    return np.where(inside, tissue + noise, 0).astype(np.float32), inside


def test_known_field_is_removed_and_the_mean_kept(ball: tuple[np.ndarray, np.ndarray]) -> None:
    clean, inside = ball
    field = np.exp(np.linspace(-0.4, 0.4, 24))[:, None, None].astype(np.float32)
    found = intensity.n4(clean * field, inside, (5.0, 5.0, 5.0))
    ratio = (found / np.maximum(clean, 1))[inside]
    assert ratio.std() / ratio.mean() < 0.25 * field[:, 0, 0].std()
    assert found[inside].mean() == pytest.approx((clean * field)[inside].mean(), rel=1e-5)
    assert found.tobytes() == intensity.n4(clean * field, inside, (5.0, 5.0, 5.0)).tobytes()


def test_degenerate_images_come_back_unchanged(ball: tuple[np.ndarray, np.ndarray]) -> None:
    clean, inside = ball
    nothing = np.zeros_like(inside)
    assert intensity.n4(clean, nothing, (5.0, 5.0, 5.0)) is clean
    flat = np.full_like(clean, 7)
    assert intensity.n4(flat, inside, (5.0, 5.0, 5.0)) is flat
    assert not intensity.normalise(clean, nothing, (1, 99)).any()
    assert not intensity.normalise(flat, inside, (1, 99)).any()


def test_normalised_range(ball: tuple[np.ndarray, np.ndarray]) -> None:
    clean, inside = ball
    found = intensity.normalise(clean, inside, (1, 99))
    assert found.dtype == np.float32 and found.min() == 0 and found.max() == 1
    assert not found[~inside].any()
    low, high = np.percentile(clean[inside], [1, 99])
    middle = inside & (clean > low) & (clean < high)
    np.testing.assert_allclose(found[middle], (clean[middle] - low) / (high - low), atol=1e-5)


def test_z_scores(ball: tuple[np.ndarray, np.ndarray]) -> None:
    clean, inside = ball
    found = intensity.zscore(clean, inside)
    assert found.dtype == np.float32 and not found[~inside].any()
    assert found[inside].mean() == pytest.approx(0, abs=1e-5) and found[inside].std() == pytest.approx(1, abs=1e-5)
    seen = inside & (np.arange(24) < 12)
    kept = intensity.zscore(clean, seen, inside)
    assert kept[seen].mean() == pytest.approx(0, abs=1e-5) and kept[inside & ~seen].any(), "the brain is kept"
    nothing = np.zeros_like(inside)
    assert not intensity.zscore(clean, nothing).any() and not intensity.zscore(np.full_like(clean, 7), inside).any()


def test_negative_values_are_shifted() -> None:
    image = np.array([[[-2.0, 0.0, 3.0]]], np.float32)
    np.testing.assert_array_equal(intensity.positive(image).ravel(), [0, 2, 5])
    np.testing.assert_array_equal(intensity.positive(image, image == 0).ravel(), [0, 0, 5])
    assert intensity.positive(image + 5) is not None and (intensity.positive(image + 5) == image + 5).all()


def test_a_large_lesion_is_not_taken_for_bias(ball: tuple[np.ndarray, np.ndarray]) -> None:
    clean, inside = ball
    x = np.linspace(-1, 1, 24)
    grid = np.stack(np.meshgrid(x, x, x, indexing="ij")) - np.array([0.35, 0.2, 0.0])[:, None, None, None]
    lesion = ((grid**2).sum(0) < 0.1) & inside
    image = np.where(lesion, clean * 1.8, clean).astype(np.float32)
    found = intensity.n4(image, inside, (7.0, 7.0, 7.0))
    before, after = (a[lesion].mean() / a[inside & ~lesion].mean() for a in (image, found))
    assert after > 1 + 0.75 * (before - 1)


def test_z_scores_have_no_bias_field() -> None:
    scores = np.random.default_rng(0).normal(size=(8, 8, 8))
    assert intensity.has_bias(scores + 10) and not intensity.has_bias(scores)


def test_the_bias_field_does_not_depend_on_itks_threads(ball: tuple[np.ndarray, np.ndarray]) -> None:
    import SimpleITK as sitk

    clean, inside = ball
    image = clean * np.exp(np.linspace(-0.4, 0.4, 24))[:, None, None].astype(np.float32)
    results = set()
    for threads in (1, 2, 7):
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        results.add(intensity.n4(image, inside, (5.0, 5.0, 5.0)).tobytes())
    assert len(results) == 1


def test_normalisation_leaves_what_is_outside_of_the_field_of_view_but_inside_the_brain() -> None:
    image = np.linspace(0, 10, 1000, dtype=np.float32).reshape(10, 10, 10)
    seen, brain = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
    seen[2:6], brain[2:8] = True, True
    scaled = intensity.normalise(image, seen, (0, 100), brain)
    assert scaled[2, 0, 0] == 0 and scaled[5, 9, 9] == 1 and (scaled[6:8] == 1).all()
    assert not scaled[:2].any() and not scaled[8:].any()
