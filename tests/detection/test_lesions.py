"""The lesion table against counts done by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from phantoms import affine

from braincli.detection.lesions import TSV_COLUMNS, lesion_table, table_json, table_tsv
from braincli.imaging.volume import Volume

GRID = affine("PIR", (1.0, 2.0, 3.0), (5.0, -6.0, 7.0), (10.0, -15.0))


def make(score: float = 1.0) -> tuple[Volume, Volume]:
    mask = np.zeros((12, 10, 8), bool)
    mask[1:4, 1:4, 1:3] = True  # 18 voxels
    mask[8, 8, 6] = mask[9, 9, 7] = True  # two voxels that touch at a corner
    values = np.zeros(mask.shape, np.float32)
    values[1:4, 1:4, 1:3] = score
    values[8, 8, 6], values[9, 9, 7] = 2.0, 4.0
    return Volume(mask, GRID), Volume(values, GRID)


def test_pieces_are_counted_measured_and_ranked() -> None:
    mask, score = make()
    first, second = lesion_table(mask, score)
    assert (first.lesion, first.voxels, first.volume_ml) == (1, 18, pytest.approx(0.108))
    assert (second.lesion, second.voxels, second.volume_ml) == (2, 2, pytest.approx(0.012))
    assert (first.mean_score, first.max_score) == (1.0, 1.0)
    assert (second.mean_score, second.max_score) == (3.0, 4.0)


def test_centroids_are_world_positions_in_ras() -> None:
    first, second = lesion_table(*make())
    assert first.centroid_mm == pytest.approx((GRID @ [2, 2, 1.5, 1])[:3], abs=0.01)
    assert second.centroid_mm == pytest.approx((GRID @ [8.5, 8.5, 6.5, 1])[:3], abs=0.01)


def test_without_map_scores_are_unknown() -> None:
    lesions = lesion_table(make()[0])
    assert {lesion.mean_score for lesion in lesions} == {None}
    assert table_tsv(lesions).splitlines()[1].endswith("n/a\tn/a")


def test_empty_mask_gives_an_empty_table() -> None:
    empty = Volume(np.zeros((4, 4, 4), bool), np.eye(4))
    assert lesion_table(empty, empty) == []
    assert table_json([]) == {"count": 0, "volume_ml": 0, "lesions": []}
    assert table_tsv([]) == "\t".join(TSV_COLUMNS) + "\n"


def test_tables_agree_and_are_plain_json() -> None:
    lesions = lesion_table(*make())
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
    lesions = lesion_table(mask, score)
    assert count == len(lesions) > 5
    numbers = range(1, count + 1)
    centres = np.array(ndimage.center_of_mass(mask.data, labels, numbers)) @ GRID[:3, :3].T + GRID[:3, 3]
    means, peaks = (measure(score.data, labels, numbers) for measure in (ndimage.mean, ndimage.maximum))
    wanted = sorted(map(tuple, np.column_stack([centres.round(2), np.round(means, 5), np.round(peaks, 5)])))
    table = np.array(sorted((*x.centroid_mm, x.mean_score, x.max_score) for x in lesions))
    assert table == pytest.approx(np.array(wanted), abs=2e-5)
