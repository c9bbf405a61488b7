"""The generated patient: its parts on a small head, the whole of it once (slow)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from braincli.imaging.brain import has_skull
from braincli.imaging.cases import CONTRASTS, Contrast, find_cases
from braincli.imaging.volume import load, resample
from braincli.phantom import anatomy, patient, scanner, tumour
from braincli.phantom.fields import smooth_noise

SHAPE = (120, 130, 100)


@pytest.fixture(scope="module")
def templates() -> tuple[np.ndarray, np.ndarray]:
    """A head of nested ellipsoids, with skull and brain only."""
    offset = (np.indices(SHAPE) - np.array([60, 65, 50]).reshape(3, 1, 1, 1)) / np.array([50, 55, 45]).reshape(
        3, 1, 1, 1
    )
    radius = np.sqrt((offset**2).sum(axis=0))
    rng = np.random.default_rng(0)
    brain = np.select([radius < 0.1, radius < 0.8, radius < 0.95, radius < 1], [60, 220, 150, 70], 0)
    brain = np.where(brain > 0, brain + rng.normal(0, 4, SHAPE), 0).astype(np.float32)
    scalp = np.where((radius > 1.08) & (radius < 1.18), 300, 0) + brain
    return scalp.astype(np.float32), brain


@pytest.fixture(scope="module")
def head(templates: tuple[np.ndarray, np.ndarray]) -> anatomy.Head:
    return anatomy.grow_head(*templates, np.random.default_rng(3))


def test_noise_is_standardised_smooth_and_seeded() -> None:
    first, again = (smooth_noise((40, 50, 60), 10.0, np.random.default_rng(1)) for _ in range(2))
    assert first.shape == (40, 50, 60)
    assert np.array_equal(first, again)
    assert abs(first.mean()) < 1e-4
    assert first.std() == pytest.approx(1, abs=1e-4)
    for axis in range(3):
        near = np.corrcoef(np.delete(first, 0, axis).ravel(), np.delete(first, -1, axis).ravel())[0, 1]
        assert near > 0.97


def test_tissue_fractions_sum_to_the_brain(head: anatomy.Head) -> None:
    total = head.csf + head.gm + head.wm
    assert set(np.unique(np.round(total, 5))) == {0.0, 1.0}
    assert min(part.min() for part in (head.csf, head.gm, head.wm)) >= 0


def test_class_means_find_three_tissues(templates: tuple[np.ndarray, np.ndarray]) -> None:
    brain = templates[1]
    assert anatomy.class_means(brain[brain > 0]) == pytest.approx([65, 150, 220], abs=8)


def test_tumour_is_one_piece_inside_the_brain_with_rim_around_necrosis(head: anatomy.Head) -> None:
    from scipy.ndimage import binary_dilation, label

    parts = head.tumour
    assert parts.whole.max() <= 1 + 1e-5
    assert min(part.min() for part in (parts.oedema, parts.rim, parts.necrosis)) >= 0
    mask = parts.whole > 0.5
    assert label(mask)[1] == 1
    assert not mask[head.csf + head.gm + head.wm == 0].any()
    necrosis, rim = parts.necrosis > 0.5, parts.rim > 0.5
    around = binary_dilation(necrosis, iterations=2) & ~necrosis & mask
    assert rim[around].mean() > 0.6
    assert 2_000 < mask.sum() < 150_000


def test_same_seed_same_head_other_seed_other_head(
    templates: tuple[np.ndarray, np.ndarray], head: anatomy.Head
) -> None:
    again = anatomy.grow_head(*templates, np.random.default_rng(3))
    other = anatomy.grow_head(*templates, np.random.default_rng(4))
    assert np.array_equal(head.tumour.whole, again.tumour.whole)
    assert np.array_equal(head.vessel, again.vessel)
    assert not np.array_equal(head.tumour.whole, other.tumour.whole)


@pytest.mark.parametrize(
    ("contrast", "brightest", "darkest"),
    [
        (Contrast.T1, "wm", "csf"),
        (Contrast.T1CE, "rim", "csf"),
        (Contrast.T2, "csf", "wm"),
        (Contrast.FLAIR, "oedema", "csf"),
    ],
)
def test_tissues_look_as_they_do_on_each_contrast(
    head: anatomy.Head, contrast: Contrast, brightest: str, darkest: str
) -> None:
    image = scanner.signal(head, contrast, np.random.default_rng(0))
    clear = (head.vessel < 0.05) & (head.tumour.whole < 0.05)
    regions = {name: (getattr(head, name) > 0.9) & clear for name in ("csf", "gm", "wm")}
    regions |= {name: getattr(head.tumour, name) > 0.9 for name in ("oedema", "rim")}
    means = {name: image[region].mean() for name, region in regions.items()}
    assert max(means, key=means.__getitem__) == brightest
    assert min(means, key=means.__getitem__) == darkest


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_grids_are_oriented_spaced_and_centred_as_planned(contrast: Contrast) -> None:
    protocol = scanner.PROTOCOLS[contrast]
    affine = scanner.grid_of(protocol)
    assert "".join(nib.aff2axcodes(affine)) == protocol.axes
    assert np.linalg.norm(affine[:3, :3], axis=0) == pytest.approx(protocol.spacing)
    assert affine @ [*((np.array(protocol.shape) - 1) / 2), 1] == pytest.approx([0, 0, 0, 1])


def test_rotation_is_proper_and_turns_the_named_axis() -> None:
    turn = scanner.rotation(10, -20, 30)
    assert turn @ turn.T == pytest.approx(np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)
    assert scanner.rotation(0, 0, 90) @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_thick_slices_average_over_their_thickness() -> None:
    image = np.zeros((20, 20, 40), np.float32)
    image[:, :, 20] = 1.0
    to_scanner = np.eye(4)
    to_scanner[:3, 3] = [-10, -10, -20]
    protocol = scanner.Protocol("RAS", (9, 9, 5), (1, 1, 5), (0, 0, 0), 0, 0)
    profile = scanner.sample(image, to_scanner, protocol)[4, 4]
    assert profile == pytest.approx([0, 0, 0.2, 0, 0], abs=1e-5)


def test_air_has_rician_noise_not_zero() -> None:
    protocol = scanner.Protocol("RAS", (16, 16, 8), (1, 1, 1), (0, 0, 0), 0.02, 0.1)
    air = scanner.acquire(np.zeros((16, 16, 8), np.float32), np.eye(4), protocol, np.random.default_rng(0))
    assert air.data.dtype == np.int16
    rayleigh_mean = 0.02 * np.sqrt(np.pi / 2) * scanner.UNIT
    assert air.data.mean() == pytest.approx(rayleigh_mean, rel=0.05)


def test_tumour_lies_deep_in_one_hemisphere(templates: tuple[np.ndarray, np.ndarray]) -> None:
    brain = templates[1]
    wm = anatomy.tissue_fractions(brain, anatomy.class_means(brain[brain > 0]))[2]
    for seed in range(5):
        x, y, z = tumour.place_tumour(wm, brain > 0, np.random.default_rng(seed)).astype(int)
        assert abs(x - 60) >= tumour.DEPTH_MM - 1
        assert brain[x, y, z] > 0


@pytest.mark.slow
@pytest.mark.long
def test_whole_patient_can_be_found_read_and_overlays(tmp_path: Path) -> None:
    made = patient.generate(tmp_path, seed=1)
    (case,) = find_cases(made.folder)
    assert set(case.images) == set(CONTRASTS)
    scans = {contrast: load(path) for contrast, path in made.scans.items()}
    assert all(has_skull(scan) for scan in scans.values())
    assert len({scan.shape for scan in scans.values()}) == 4
    lesion, flair = load(made.lesion, labels=True), scans[Contrast.FLAIR]
    assert np.array_equal(lesion.affine, flair.affine)
    assert lesion.data.sum() * lesion.voxel_ml == pytest.approx(made.volume_ml, rel=0.15)
    bright = flair.data[lesion.data > 0].mean() / flair.data[(flair.data > 300)].mean()
    assert bright > 1.2
    t2 = resample(scans[Contrast.T2], flair)  # despite the motion between scans, the lesion is bright there too
    assert t2.data[lesion.data > 0].mean() > 1.2 * np.median(t2.data[flair.data > 300])
    assert load(made.lesion_sri24, labels=True).shape == (240, 240, 155)
