"""Situations that users of such tools reported in public, on small scans of our own, through the shell command."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import phantoms
import pytest

from braincli.imaging.volume import load
from reliability.shell import Ended, braincli

pytestmark = pytest.mark.slow  # processes of their own, minutes in all

SHAPE = (64, 76, 60)
GRID = phantoms.affine("RAS", (2.9, 2.9, 2.9), (-92.0, -110.0, -70.0))
MODEL = ("--model", "threshold", "--no-figure", "--no-report", "--threads", "1")


def tissue(seed: int = 0) -> np.ndarray:
    """(X, Y, Z) float32: a brain of 1.3 l with texture of a few voxels, background 0."""
    from scipy.ndimage import gaussian_filter

    texture = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 1.5)
    return np.where(inside(), 420 + 50 * texture / texture.std(), 0).astype(np.float32)


def inside(scale: float = 1.0) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    radii = np.array([0.74, 0.8, 0.72])[:, None, None, None] * scale
    return ((grid / radii) ** 2).sum(0) < 1


def tumour() -> np.ndarray:
    return phantoms.lesion(SHAPE) > 0


def scan(path: Path, image: np.ndarray | None = None, matrix: np.ndarray = GRID, **options: object) -> Path:
    """A FLAIR with a bright tumour, unless another ``image`` is given."""
    image = tissue() + 380 * tumour() if image is None else image
    return phantoms.write(path, image.astype(np.float32), matrix, **options)  # type: ignore[arg-type]


def detect(source: Path, out: Path, *options: object) -> Ended:
    return braincli("detect", source, "-o", out, *MODEL, *options)


def mask(out: Path, id: str) -> np.ndarray:
    return load(out / id / f"{id}_mask.nii.gz", labels=True).data > 0


def records(out: Path) -> str:
    return "\n".join(path.read_text() for path in out.rglob("*_record.json"))


def overlap(found: np.ndarray, true: np.ndarray) -> float:
    return 2 * float((found & true).sum()) / float(found.sum() + true.sum())


def test_1_an_empty_slice_drops_no_half_of_the_brain(tmp_path: Path) -> None:
    image = tissue() + 380 * tumour()
    scan(tmp_path / "ok" / "ok_flair.nii.gz", image)
    image[:, :, 26] = 0
    scan(tmp_path / "gap" / "gap_flair.nii.gz", image)
    whole, gap = (detect(tmp_path / name, tmp_path / "out") for name in ("ok", "gap"))
    assert (whole.code, gap.code) == (0, 0), gap.words
    assert overlap(mask(tmp_path / "out", "gap"), mask(tmp_path / "out", "ok")) > 0.85
    assert "slice" in gap.words and "26" in gap.words


def test_2_a_background_of_spline_ringing_is_no_brain(tmp_path: Path) -> None:
    from scipy.ndimage import shift

    ringing = shift(tissue() + 380 * tumour(), (0.3, -0.4, 0.2), order=3)
    scan(tmp_path / "c" / "c_flair.nii.gz", ringing)
    ended = detect(tmp_path / "c", tmp_path / "out")
    if ended.code == 0:
        assert overlap(mask(tmp_path / "out", "c"), tumour()) > 0.7
        assert not (mask(tmp_path / "out", "c") & ~inside(1.1)).any()
    else:
        assert ended.code in (3, 7) and "brain" in ended.words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"qform": phantoms.affine("RAS", (2.9,) * 3, (-80.0, -110.0, -70.0))}, "12.0 mm apart"),
        ({"codes": (0, 0)}, "left and right may be flipped"),
    ],
)
def test_3_warnings_reach_screen_and_record(options: dict[str, object], words: str, tmp_path: Path) -> None:
    scan(tmp_path / "f" / "f_flair.nii.gz", **options)
    ended = detect(tmp_path / "f", tmp_path / "out")
    assert ended.code == 0 and words in ended.words
    assert words in records(tmp_path / "out")
    assert words in (checked := braincli("check", tmp_path / "f")).out + checked.words


def test_4_labels_of_references_and_binary_predictions(tmp_path: Path) -> None:
    spot = tumour()
    core = phantoms.lesion(SHAPE) * 0
    core[tuple(axis[: len(axis) // 3] for axis in np.nonzero(spot))] = 1
    labels = np.where(spot, 2, 0)
    labels[core > 0] = 4
    files = {"ref_seg": labels, "et_mask": core, "no_et_seg": 2 * spot, "ref2023_seg": np.where(labels == 4, 3, labels)}
    for name, data in files.items():
        phantoms.write(tmp_path / f"{name}.nii.gz", data.astype(np.uint8), GRID)
    right = braincli("score", tmp_path / "et_mask.nii.gz", tmp_path / "ref_seg.nii.gz", "--labels", "4", "--json")
    assert right.code == 0, right.words
    assert "1.0" in json.dumps(right.report)
    wrong = braincli("score", tmp_path / "no_et_seg.nii.gz", tmp_path / "ref2023_seg.nii.gz", "--labels", "4")
    assert wrong.code in (2, 3) and "4" in wrong.words


@pytest.mark.parametrize("command", ["detect", "preprocess"])
def test_5_two_runs_stop_only_their_own_case(command: str, tmp_path: Path) -> None:
    for subject in "123":
        for run in ("_run-1", "_run-2") if subject == "2" else ("",):
            scan(tmp_path / "in" / f"sub-{subject}" / "anat" / f"sub-{subject}{run}_FLAIR.nii.gz")
    steps = ("--already-stripped", "--space", "native", "--skip", "n4", "--skip", "coregister")
    options = MODEL if command == "detect" else steps
    ended = braincli(command, tmp_path / "in", "-o", tmp_path / "out", *options)
    assert ended.code == 6, ended.words
    assert "run-1" in ended.words and "run-2" in ended.words
    assert {path.name.split("_")[0] for path in (tmp_path / "out").rglob("*.nii.gz")} == {"sub-1", "sub-3"}
    first = braincli(command, tmp_path / "in", "-o", tmp_path / "first", *options, "--run", "first")
    assert first.code == 0, first.words


def test_6_own_outputs_beside_the_scans_are_known(tmp_path: Path) -> None:
    for name in "pq":
        scan(tmp_path / name / f"{name}_flair.nii.gz")
        phantoms.write(tmp_path / name / f"{name}_seg.nii.gz", tumour().astype(np.uint8), GRID)
    assert (one := detect(tmp_path, tmp_path)).code == 0, one.words
    again = detect(tmp_path, tmp_path, "--resume", "--json")
    assert again.code == 0, again.words
    assert [case["status"] for case in again.report["cases"]] == ["skipped", "skipped"]
    assert (scored := braincli("score", tmp_path, tmp_path, "--json")).code == 0, scored.words


def test_7_rounded_affines_are_one_grid(tmp_path: Path) -> None:
    nudged = GRID.copy()
    nudged[0, 3] += 0.05 * 2.9 * 0.9
    scan(tmp_path / "c" / "c_flair.nii.gz")
    scan(tmp_path / "c" / "c_t1.nii.gz", tissue(1), nudged)
    ended = detect(tmp_path / "c", tmp_path / "out")
    assert ended.code == 0, ended.words
    assert "mm apart" in ended.words + records(tmp_path / "out")


def test_8_contrasts_of_one_file_can_be_named(tmp_path: Path) -> None:
    stack = np.stack([tissue() + 380 * tumour(), tissue(1), tissue(2), tissue(3)], -1)
    scan(tmp_path / "BRATS_001.nii.gz", stack)
    refused = detect(tmp_path / "BRATS_001.nii.gz", tmp_path / "a", "--contrast", "flair")
    assert refused.code == 3 and "--volume" in refused.words
    assert detect(tmp_path / "BRATS_001.nii.gz", tmp_path / "a", "--contrast", "flair", "--volume", "0").code == 0
    named = detect(tmp_path / "BRATS_001.nii.gz", tmp_path / "b", "--contrast", "flair,t1,t1ce,t2")
    assert named.code == 0, named.words


def test_9_a_name_in_another_encoding_runs(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/in/Andr\xe9"
    os.makedirs(folder)  # noqa: PTH103
    written = scan(tmp_path / "plain.nii.gz")
    os.link(os.fsencode(written), folder + b"/Andr\xe9_flair.nii.gz")
    assert (ended := detect(tmp_path / "in", tmp_path / "out")).code == 0, ended.words
    assert len(list((tmp_path / "out").rglob("*_mask.nii.gz"))) == 1


def test_10_a_hole_over_the_tumour_is_filled_and_said(tmp_path: Path) -> None:
    scan(tmp_path / "h" / "h_flair.nii.gz")
    phantoms.write(tmp_path / "h" / "h_brainmask.nii.gz", (inside() & ~tumour()).astype(np.uint8), GRID)
    ended = detect(tmp_path / "h", tmp_path / "out")
    assert ended.code == 0 and overlap(mask(tmp_path / "out", "h"), tumour()) > 0.7, ended.words
    assert "hole" in (ended.words + records(tmp_path / "out")).lower()


def test_11_what_a_contrast_does_not_show_is_said_and_counts_nothing(tmp_path: Path) -> None:
    half = tissue(1)
    half[:, :, :24] = 0
    scan(tmp_path / "p" / "p_t1.nii.gz", half)
    scan(tmp_path / "p" / "p_flair.nii.gz")
    scan(tmp_path / "alone" / "alone_flair.nii.gz")
    part, alone = detect(tmp_path / "p", tmp_path / "out"), detect(tmp_path / "alone", tmp_path / "out")
    assert (part.code, alone.code) == (0, 0), part.words
    assert overlap(mask(tmp_path / "out", "p"), mask(tmp_path / "out", "alone")) > 0.85
    assert "%" in part.words and "t1" in part.words.lower()


def test_12_noise_at_the_rim_of_one_contrast_is_no_skull(tmp_path: Path) -> None:
    noise = np.where(~inside() & (np.random.default_rng(5).random(SHAPE) < 0.012), 45, 0)
    scan(tmp_path / "r" / "r_t1.nii.gz", tissue(1) + noise)
    scan(tmp_path / "r" / "r_flair.nii.gz")
    ended = detect(tmp_path / "r", tmp_path / "out")
    assert ended.code == 0 and overlap(mask(tmp_path / "out", "r"), tumour()) > 0.7, ended.words
    assert detect(tmp_path / "r", tmp_path / "told", "--already-stripped").code == 0
