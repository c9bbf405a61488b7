"""Planted anomalies: continuous through the plane, only where they may be, on the input's grid, repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine, write, write_case
from typer.testing import CliRunner

from braincli import api
from braincli.anomalies.kinds import KINDS
from braincli.cli import app
from braincli.config import SynthConfig, parse
from braincli.errors import CohortError, InputError, UsageError
from braincli.imaging.cases import find_cases
from braincli.synthesis.plant import plant

SHAPE = (40, 48, 24)
GRID = affine("LPS", (3.0, 3.0, 4.0))
SMALL = {"radius_mm": (8.0, 14.0), "pixel_mm": 3.0}
run = CliRunner().invoke


def stack() -> tuple[np.ndarray, np.ndarray]:
    """(20, 4, 64, 48) smooth slices and their (20, 64, 48) free tissue."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 64, 48)), indexing="ij")
    free = x**2 + y**2 + z**2 < 0.9
    tissue = 0.5 + 0.1 * np.sin(9 * x) * np.cos(7 * y)
    return (np.stack([tissue, 0.9 * tissue, 1.1 * tissue, tissue**2], axis=1) * free[:, None]).astype(np.float32), free


def plant_one(kind: str, seed: int = 0, free: np.ndarray | None = None):  # type: ignore[no-untyped-def]
    image, inside = stack()
    return plant(
        image, inside if free is None else free, kind, spacing=(2.0, 1.0, 1.0), radius_mm=(4.0, 9.0), case_id="p",
        seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_an_anomaly_is_one_body_that_lies_in_free_tissue(kind: str) -> None:
    image, free = stack()
    free = free.copy()
    free[:, :, :24] = False
    for seed in range(2):
        found = plant_one(kind, seed, free)
        mask = found.extent > 0.5
        heights = np.flatnonzero(mask.any(axis=(1, 2)))
        assert len(heights) >= 3 and (np.diff(heights) == 1).all(), "adjacent slices, without a gap"
        overlap = [(mask[z] & mask[z + 1]).sum() for z in heights[:-1]]
        assert min(overlap) > 0, "slices continue each other"
        share = found.extent.sum(axis=(1, 2))
        ends = share[heights[[0, -1]]]  # the middle may be one of them where the tissue beyond is not free
        assert ends.min() < share[found.centre[0]] and ends.max() < share.max(), "it closes towards its ends"
        changed = np.abs(found.image - image).max(axis=1) > 1e-6
        assert changed.any() and not changed[~free].any() and not mask[~free].any()
        assert 0 <= found.image.min() <= found.image.max() <= 1
        assert found.image.dtype == found.extent.dtype == np.float32


def test_an_anomaly_repeats_and_depends_on_its_seed() -> None:
    first, again, other = plant_one("growth"), plant_one("growth"), plant_one("growth", seed=1)
    assert np.array_equal(first.image, again.image) and first.parameters == again.parameters
    assert not np.array_equal(first.image, other.image)
    assert "radius" in first.parameters and "texture" not in first.parameters
    json.dumps(first.parameters)


def test_no_room_is_said() -> None:
    with pytest.raises(InputError, match="no room"):
        plant_one("sink", free=np.zeros((20, 64, 48), bool))


def scans(folder: Path) -> dict[str, nib.Nifti1Image]:
    return {path.name.split(".")[0].rpartition("_")[2]: nib.load(path) for path in folder.glob("*.nii.gz")}


def test_a_case_keeps_its_grid_and_its_voxels_elsewhere(tmp_path: Path) -> None:
    source = write_case(tmp_path / "in" / "p01", shape=SHAPE, matrix=GRID, seg=False)
    for path in source.glob("*.nii.gz"):  # whole numbers, another code
        image = nib.load(path)
        write(path, np.rint(np.asarray(image.dataobj)).astype(np.float32), GRID, codes=(0, 2))
    (result,) = api.synth(source, tmp_path / "out", parse(SynthConfig, {**SMALL, "count": 2}))
    assert result.folder == tmp_path / "out" / "p01" and len(result.planted_ml) == 2
    assert any("no lesion mask" in text for text in result.warnings)
    before, after = scans(source), scans(result.folder)
    assert set(after) == {*before, "seg"}
    mask = np.asarray(after["seg"].dataobj)
    assert set(np.unique(mask)) == {0, 1} and mask.dtype == np.uint8
    voxel_ml = 3 * 3 * 4 / 1000
    assert sum(result.planted_ml) == pytest.approx(mask.sum() * voxel_ml, abs=0.01) and min(result.planted_ml) > 0.3
    for name, image in before.items():
        old, new = np.asarray(image.dataobj), np.asarray(after[name].dataobj)
        assert np.array_equal(after[name].affine, image.affine)
        assert int(after[name].header["sform_code"]) == 2 and int(after[name].header["qform_code"]) == 0
        assert np.array_equal(new, np.rint(new)), "whole numbers stay whole"
        assert not new[old == 0].any() and (new != old).any()
        assert (new == old).mean() > 0.8
    record = json.loads((result.folder / "p01_synth.json").read_text())
    assert record["status"] == "done" and record["facts"]["seed"] == 0 and len(record["facts"]["anomalies"]) == 2
    assert record["facts"]["anomalies"][0]["parameters"]
    assert record["outputs"].keys() == {f"p01_{name}.nii.gz" for name in after}
    centre = np.linalg.inv(GRID) @ [*record["facts"]["anomalies"][0]["centre_mm_ras"], 1]
    assert (centre[:3] >= 0).all() and (centre[:3] < SHAPE).all()


def test_known_lesions_are_kept_away_from_and_stay_in_the_mask(tmp_path: Path) -> None:
    source = write_case(tmp_path / "in", shape=SHAPE, matrix=GRID)
    (result,) = api.synth(source, tmp_path / "out", parse(SynthConfig, {**SMALL, "kind": "sink", "margin_mm": 6.0}))
    known = np.asarray(nib.load(source / "p01_seg.nii.gz").dataobj) > 0
    mask = np.asarray(nib.load(result.folder / "p01_seg.nii.gz").dataobj)
    assert (mask[known] == 2).all() and (mask == 1).any()
    assert any("not healthy" in text for text in result.warnings)
    assert result.known_ml == pytest.approx(known.sum() * 36 / 1000, abs=0.01)
    for name in ("t1", "flair"):
        old, new = (np.asarray(nib.load(f / f"p01_{name}.nii.gz").dataobj) for f in (source, result.folder))
        assert np.array_equal(old[known], new[known])
    (case,) = find_cases(tmp_path / "out")
    assert len(case.images) == 4 and case.lesion is not None


def test_the_command_says_what_it_planted_and_refuses_to_overwrite(tmp_path: Path) -> None:
    source = write_case(tmp_path / "in" / "p01", contrasts=("flair",), shape=SHAPE, matrix=GRID, seg=False)
    words = ["synth", str(source), "-o", str(tmp_path / "out"), "--kind", "coarse", "--radius-mm", "8", "14", "--json"]
    result = run(app, words)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)[0]["case"] == "p01"
    before = (tmp_path / "out" / "p01" / "p01_flair.nii.gz").read_bytes()
    again = run(app, words)
    assert again.exit_code == 2 and "--overwrite" in again.stderr
    assert run(app, [*words, "--overwrite"]).exit_code == 0
    assert (tmp_path / "out" / "p01" / "p01_flair.nii.gz").read_bytes() == before, "same seed, same bytes"
    into_input = run(app, ["synth", str(source), "-o", str(tmp_path / "in"), "--overwrite"])
    assert into_input.exit_code == 3 and "is an input" in into_input.stderr
    assert run(app, ["synth", str(source), "-o", "x", "--radius-mm", "9", "3"]).exit_code == 2


def test_a_bad_case_does_not_stop_the_others(tmp_path: Path) -> None:
    write_case(tmp_path / "in" / "a", "a", ("t2",), shape=SHAPE, matrix=GRID)
    (tmp_path / "in" / "b").mkdir()
    (tmp_path / "in" / "b" / "b_t2.nii.gz").write_bytes(b"not a scan")
    with pytest.raises(CohortError, match="1 of 2 cases failed") as error:
        api.synth(tmp_path / "in", tmp_path / "out", parse(SynthConfig, {**SMALL, "kind": "sink"}))
    assert "b\t" in str(error.value)
    a, b = error.value.outcomes
    assert a.result.case == "a" and b.result is None and b.error.exit_code == 3
    words = ["synth", str(tmp_path / "in"), "-o", str(tmp_path / "json"), "--radius-mm", "8", "14", "--json", "-q"]
    result = run(app, [*words, "--kind", "coarse"])
    assert result.exit_code == 6
    assert [(row["case"], "error" in row) for row in json.loads(result.stdout)] == [("a", False), ("b", True)]
    assert (tmp_path / "out" / "a" / "a_synth.json").exists() and not (tmp_path / "out" / "b").exists()
    with pytest.raises(UsageError, match="Two cases"):
        api.synth([tmp_path / "in" / "a"] * 2, tmp_path / "two")


def test_every_door_knows_every_kind() -> None:
    from typing import get_args

    from braincli import choices
    from braincli.methods.unet import UNetConfig

    asked_for = {*KINDS, "ellipses"}  # which are drawn, not planted
    assert set(get_args(SynthConfig.model_fields["kind"].annotation)) == asked_for == set(get_args(choices.Kind))
    assert set(get_args(UNetConfig.model_fields["anomaly"].annotation)) == {*KINDS, "mixed"}
