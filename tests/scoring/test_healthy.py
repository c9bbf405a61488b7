"""L1 of restored healthy scans."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from phantoms import affine, brain, write

from braincli import api
from braincli.config import ScoreConfig
from braincli.errors import InputError, UsageError
from braincli.scoring.healthy import find_restorations

SHAPE = (24, 28, 8)
GRID = affine("LPS", (4.0, 4.0, 6.0))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three healthy cases; of two, restorations a tenth (and on T1 of b two tenths) of their range too dark."""
    for seed, case in enumerate(("a", "b", "c")):
        for contrast in ("t1", "flair"):
            scan = brain(SHAPE, seed).astype(np.float32)
            write(tmp_path / "scans" / case / f"{case}_{contrast}.nii.gz", scan, GRID)
            if case == "c":
                continue
            low, high = np.percentile(scan[scan > 0], (1, 99))
            part = 0.2 if (case, contrast) == ("b", "t1") else 0.1
            restored = np.where(scan > 0, np.clip(scan, low, high) - part * (high - low), 0).astype(np.float32)
            write(tmp_path / "out" / case / f"{case}_restored-{contrast}.nii.gz", restored, GRID)
    return tmp_path


def clipped(scan: np.ndarray, part: float) -> float:
    """What is left of ``part`` of the range where the darkest cannot be darker."""
    low, high = np.percentile(scan[scan > 0], (1, 99))
    shares = np.clip((scan[scan > 0] - low) / (high - low), 0, 1)
    return float(np.minimum(shares, part).mean())


def test_l1_is_the_mean_difference_inside_the_brain(cohort: Path) -> None:
    report = api.score(cohort / "out", cohort / "scans", cohort / "scores", ScoreConfig(healthy=True, bootstrap=100))
    a, b, c = report.cases
    scan_a, scan_b = (brain(SHAPE, seed).astype(np.float32) for seed in (0, 1))
    assert a.values["l1"] == pytest.approx(clipped(scan_a, 0.1), abs=1e-5) and 0.05 < a.values["l1"] < 0.1
    assert b.facts["l1_by_contrast"]["t1"] == pytest.approx(clipped(scan_b, 0.2), abs=1e-5)
    assert b.values["l1"] == pytest.approx(np.mean([*b.facts["l1_by_contrast"].values()]))
    assert a.values["l1_volume"] == pytest.approx(a.values["l1"] * (scan_a > 0).mean(), rel=1e-6)
    assert c.error == "No restoration of c." and report.failed == (c,) and c.values == {}
    aggregate = json.loads((cohort / "scores" / "scores.json").read_text())["aggregate"]["l1"]
    assert aggregate["mean"] == pytest.approx(np.mean([a.values["l1"], b.values["l1"]])) and aggregate["undefined"] == 1
    assert "L1" in report.as_table() and "DSC" not in report.as_table()


def test_two_models_are_compared_by_l1(cohort: Path) -> None:
    compared = api.score(
        cohort / "out", cohort / "scans", config=ScoreConfig(healthy=True, bootstrap=0), compare=cohort / "out"
    )
    assert compared.comparison is not None and compared.comparison["metrics"]["l1"]["difference"] == 0


def test_what_does_not_go_together_is_refused(cohort: Path) -> None:
    with pytest.raises(InputError, match="scans holds no restoration"):
        api.score(cohort / "scans", cohort / "scans", config=ScoreConfig(healthy=True))
    with pytest.raises(UsageError, match="--slices: healthy cases have no lesions"):
        api.score(cohort / "out", cohort / "scans", config=ScoreConfig(healthy=True, slices=True))
    write(cohort / "out" / "a_restored-t1.nii.gz", brain(SHAPE, 0), GRID)
    with pytest.raises(InputError, match=r"are of one scan"):
        find_restorations(cohort / "out")


def test_restorations_with_bids_names_are_found_on_the_grid_that_was_searched(tmp_path: Path) -> None:
    stems = (
        "sub-a_ses-1_space-SRI24_desc-tsgmrestored_FLAIR", "sub-a_ses-1_space-FLAIR_desc-tsgmrestored_FLAIR",
        "sub-a_ses-1_ce-gd_space-SRI24_desc-tsgmrestored_T1w", "sub-a_ses-1_space-SRI24_desc-tsgmrestored_T1w",
        "sub-b_desc-tsgmrestored_T2w", "sub-b_space-SRI24_desc-preproc_T1w",
    )  # fmt: skip
    for name in stems:
        (tmp_path / f"{name}.nii.gz").touch()
    found = find_restorations(tmp_path)
    assert {key: path.name.removesuffix(".nii.gz") for key, path in found.items()} == {
        ("sub-a_ses-1", "flair"): stems[0], ("sub-a_ses-1", "t1ce"): stems[2], ("sub-a_ses-1", "t1"): stems[3],
        ("sub-b", "t2"): stems[4],
    }  # fmt: skip
