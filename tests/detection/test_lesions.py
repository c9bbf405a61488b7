"""The lesion table against counts done by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from phantoms import affine

from braincli.detection.lesions import TSV_COLUMNS, Lesion, Space, label_lesions, lesion_table, table_json, table_tsv
from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume, reorient

GRID = affine("PIR", (1.0, 2.0, 3.0), (5.0, -6.0, 7.0), (10.0, -15.0))


def make(score: float = 1.0) -> tuple[Volume, Volume]:
    mask = np.zeros((12, 10, 8), bool)
    mask[1:4, 1:4, 1:3] = True  # 18 voxels
    mask[8, 8, 6] = mask[9, 9, 7] = True  # two voxels that touch at a corner
    values = np.zeros(mask.shape, np.float32)
    values[1:4, 1:4, 1:3] = score
    values[8, 8, 6], values[9, 9, 7] = 2.0, 4.0
    return Volume(mask, GRID), Volume(values, GRID)


def described(mask: Volume, score: Volume | None = None) -> list[Lesion]:
    return lesion_table(label_lesions(mask), score)


def test_pieces_are_counted_measured_and_ranked() -> None:
    mask, score = make()
    first, second = lesion_table(label_lesions(mask), score)
    assert (first.lesion, first.voxels, first.volume_ml) == (1, 18, pytest.approx(0.108))
    assert (second.lesion, second.voxels, second.volume_ml) == (2, 2, pytest.approx(0.012))
    assert (first.mean_score, first.max_score) == (1.0, 1.0)
    assert (second.mean_score, second.max_score) == (3.0, 4.0)


def test_centroids_are_world_positions_in_ras() -> None:
    first, second = described(*make())
    assert first.centroid_mm == pytest.approx((GRID @ [2, 2, 1.5, 1])[:3], abs=0.01)
    assert second.centroid_mm == pytest.approx((GRID @ [8.5, 8.5, 6.5, 1])[:3], abs=0.01)


def test_without_map_scores_are_unknown() -> None:
    lesions = described(make()[0])
    assert {lesion.mean_score for lesion in lesions} == {None}
    cells = dict(zip(TSV_COLUMNS, table_tsv(lesions).splitlines()[1].split("\t"), strict=True))
    assert {cells[name] for name in ("mean_score", "max_score", "side", "depth_mm", "flair_z", "native_ml")} == {"n/a"}


def test_empty_mask_gives_an_empty_table() -> None:
    empty = Volume(np.zeros((4, 4, 4), bool), np.eye(4))
    assert described(empty, empty) == []
    assert not label_lesions(empty).data.any()
    assert table_json([]) == {"count": 0, "volume_ml": 0, "lesions": []}
    assert table_tsv([]) == "\t".join(TSV_COLUMNS) + "\n"


def test_tables_agree_and_are_plain_json() -> None:
    lesions = described(*make())
    content = json.loads(json.dumps(table_json(lesions)))
    assert content["count"] == 2
    assert content["volume_ml"] == pytest.approx(0.12)
    rows = [line.split("\t") for line in table_tsv(lesions).splitlines()]
    assert tuple(rows[0]) == TSV_COLUMNS
    assert [float(row[2]) for row in rows[1:]] == [lesion["volume_ml"] for lesion in content["lesions"]]
    assert all(len(row) == len(TSV_COLUMNS) for row in rows)


def test_many_pieces_agree_with_scipy() -> None:
    from scipy import ndimage

    rng = np.random.default_rng(0)
    mask = Volume(np.asfortranarray(ndimage.gaussian_filter(rng.normal(size=(30, 25, 20)), 1) > 0.25), GRID)
    score = mask.with_data(rng.random(mask.shape).astype(np.float32))
    labels, count = ndimage.label(mask.data, np.ones((3, 3, 3)))
    lesions = described(mask, score)
    assert count == len(lesions) > 5
    numbers = range(1, count + 1)
    centres = np.array(ndimage.center_of_mass(mask.data, labels, numbers)) @ GRID[:3, :3].T + GRID[:3, 3]
    means, peaks = (measure(score.data, labels, numbers) for measure in (ndimage.mean, ndimage.maximum))
    wanted = sorted(map(tuple, np.column_stack([centres.round(2), np.round(means, 5), np.round(peaks, 5)])))
    table = np.array(sorted((*x.centroid_mm, x.mean_score, x.max_score) for x in lesions))
    assert table == pytest.approx(np.array(wanted), abs=2e-5)


def test_numbers_of_the_image_are_those_of_the_table() -> None:
    mask, score = make()
    labels = label_lesions(mask)
    assert labels.data.dtype == np.uint8 and np.array_equal(labels.data > 0, mask.data)
    for lesion in lesion_table(labels, score):
        assert (labels.data == lesion.lesion).sum() == lesion.voxels


def test_more_than_a_byte_of_lesions_keep_their_numbers() -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[::4, ::4, ::5] = True
    labels = label_lesions(Volume(mask, np.eye(4)))
    assert labels.data.dtype == np.uint16
    assert sorted(labels.data[mask]) == list(range(1, int(mask.sum()) + 1))


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """In RAS, on voxels of 1 mm."""
    return np.linalg.norm(np.stack(np.indices(shape), -1) - centre, axis=-1) <= radius_mm


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR"])
def test_places_are_the_patients_whatever_the_axes_and_the_worlds_origin(axes: str) -> None:
    shape, middle = (60, 70, 50), (30.0, 35.0, 25.0)
    brain = ball(shape, middle, 22)
    image = np.where(brain, np.random.default_rng(0).normal(100, 10, shape), 0).astype(np.float32)
    spot = ball(shape, (16, 35, 30), 5)
    image[spot] += 50
    whole = Volume(brain, np.array([[1, 0, 0, -400.0], [0, 1, 0, 7], [0, 0, 1, 9], [0, 0, 0, 1]]))
    volumes = [reorient(whole.with_data(data), axes) for data in (brain, spot, image)]
    (lesion,) = lesion_table(
        label_lesions(volumes[1]), brain=volumes[0], images={Contrast.FLAIR: volumes[2]}, space=Space(np.eye(4))
    )
    assert lesion.side == "left" and lesion.centroid_mm == pytest.approx((-384, 42, 39))
    assert lesion.height == pytest.approx((30 - 3) / 44, abs=0.01)
    assert lesion.depth_mm == pytest.approx(22 - np.hypot(14, 5), abs=1.5)
    assert lesion.axial_mm == pytest.approx(11, abs=0.5) and lesion.longest_mm == pytest.approx(11, abs=0.5)
    assert lesion.z["flair"] == pytest.approx(5, abs=0.3)


def test_lengths_and_volume_are_the_patients_where_the_grid_is_scaled() -> None:
    shape = (40, 40, 40)
    brain, spot = (Volume(ball(shape, (20, 20, 20), radius), np.eye(4)) for radius in (18, 5))
    (plain,) = lesion_table(label_lesions(spot), brain=brain)
    (scaled,) = lesion_table(label_lesions(spot), brain=brain, space=Space(np.diag([2.0, 2, 2, 1]), is_atlas=True))
    assert plain.longest_mm and plain.depth_mm and scaled.depth_mm
    assert scaled.longest_mm == pytest.approx(2 * plain.longest_mm) and scaled.side == plain.side == "both"
    assert scaled.depth_mm == pytest.approx(2 * plain.depth_mm, abs=0.1)
    assert scaled.native_ml == pytest.approx(8 * scaled.volume_ml) and scaled.volume_ml == plain.volume_ml
    assert scaled.centroid_native_mm == pytest.approx((40, 40, 40)) and scaled.centroid_atlas_mm == (20, 20, 20)
    assert plain.centroid_native_mm is None and plain.centroid_atlas_mm is None


def test_tissue_of_one_intensity_gives_no_deviation() -> None:
    mask, _ = make()
    brain = mask.with_data(np.ones(mask.shape, bool))
    flat = mask.with_data(np.full(mask.shape, 7, np.float32))
    lesions = lesion_table(label_lesions(mask), brain=brain, images={Contrast.T1: flat})
    assert [lesion.z for lesion in lesions] == [{"t1": None}] * 2
