"""Tissue maps: fitted to intensities, or taken from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from braincli.errors import InputError
from braincli.imaging.cases import TISSUES, Case, Contrast, find_cases, read_name
from braincli.imaging.slices import SliceSpec
from braincli.imaging.tissue import mixture
from braincli.imaging.volume import Volume, save
from braincli.training.store import build_store, open_store

SPEC = SliceSpec(pixel_mm=2.0, size=(32, 24), min_brain_mm2=20)
MEANS = {"gm": (0.55, 0.45), "wm": (0.8, 0.3), "csf": (0.15, 0.9)}  # on T1 and T2


def shells(shape: tuple[int, int, int] = (24, 32, 16)) -> np.ndarray:
    """White core, grey shell, fluid around: index into TISSUES, -1 outside."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    return np.select([radius < 0.68, radius < 0.86, radius < 0.93], [1, 0, 2], -1)


def images(kind: np.ndarray) -> dict[Contrast, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for number, contrast in enumerate((Contrast.T1, Contrast.T2)):
        levels = np.array([*(MEANS[name][number] for name in TISSUES), 0.0])
        noisy = levels[kind] + 0.07 * rng.standard_normal(kind.shape)
        found[contrast] = (noisy.clip(0.01, 1) * (kind >= 0)).astype(np.float32)
    return found


@pytest.mark.parametrize("contrasts", [("t1", "t2"), ("t1",), ("t2",)])
def test_mixture_finds_the_tissues(contrasts: tuple[str, ...]) -> None:
    kind = shells()
    given = {contrast: image for contrast, image in images(kind).items() if contrast in contrasts}
    found = mixture(given, kind >= 0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=0), kind >= 0, atol=1e-5)
    right = (found.argmax(axis=0) == kind)[kind >= 0].mean()
    assert right > 0.93


def test_mixture_without_anything_to_tell_is_undecided() -> None:
    inside = shells() >= 0
    found = mixture({Contrast.T1: np.where(inside, 0.5, 0).astype(np.float32)}, inside)
    np.testing.assert_allclose(found[:, inside], 1 / 3)
    assert not mixture({Contrast.T1: np.zeros(inside.shape, np.float32)}, np.zeros_like(inside)).any()


def write_case(folder: Path, maps: tuple[str, ...] = ()) -> tuple[Case, np.ndarray]:
    kind = shells()
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    folder.mkdir()
    for contrast, image in images(kind).items():
        save(Volume(100 * image, affine), folder / f"a_{contrast}.nii.gz")
    for name in maps:
        save(Volume(90.0 * (kind == TISSUES.index(name)).astype(np.float32), affine), folder / f"a_{name}.nii.gz")
    (case,) = find_cases(folder)
    return case, kind


def test_maps_beside_the_scan_are_taken_as_they_are(tmp_path: Path) -> None:
    case, kind = write_case(tmp_path / "a", TISSUES)
    assert set(case.tissue) == set(TISSUES)
    assert set(case.images) == {Contrast.T1, Contrast.T2}
    store = build_store([case], SPEC, tmp_path / "store", tissue=True)
    assert store.tissue is not None
    middle = kind[:, :, store.case.size // 2 + (kind.shape[2] - store.case.size) // 2]
    slice_ = store.tissue[store.case.size // 2]
    for number in range(3):  # rows run from anterior to posterior
        np.testing.assert_array_equal(slice_[number] > 127, (middle == number).T[::-1])
    inside = np.asarray(store.brain[:, 0])
    assert np.abs(store.tissue.astype(int).sum(axis=1)[inside] - 255).max() <= 2
    assert not store.tissue.transpose(0, 2, 3, 1)[~inside].any()


def test_store_keeps_tissue_only_when_asked(tmp_path: Path) -> None:
    case, kind = write_case(tmp_path / "a")
    assert build_store([case], SPEC, tmp_path / "without").tissue is None
    build_store([case], SPEC, tmp_path / "with", tissue=True)
    tissue = open_store(tmp_path / "with").tissue
    assert tissue is not None
    shares = tissue.sum(axis=(0, 2, 3)) / tissue.sum()
    truth = np.array([(kind == number).sum() for number in range(3)]) / (kind >= 0).sum()
    np.testing.assert_allclose(shares, truth, atol=0.05)


def test_a_missing_map_is_named(tmp_path: Path) -> None:
    case, _ = write_case(tmp_path / "a", ("gm", "wm"))
    with pytest.raises(InputError, match="none of csf"):
        build_store([case], SPEC, tmp_path / "store", tissue=True)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("p1_gm", "gm"), ("p1_WM", "wm"), ("p1_csf", "csf"), ("p1_pve_0", "csf"), ("p1_pve_1", "gm"),
        ("p1_pve_2", "wm"), ("sub-1_label-GM_probseg", "gm"), ("sub-1_label-CSF_probseg", "csf"),
        ("sub-1_desc-brain_mask", "brain"),
    ],
)  # fmt: skip
def test_names_of_maps(name: str, role: str) -> None:
    named = read_name(Path(f"{name}.nii.gz"))
    assert named is not None
    assert named.role == role


def test_manifest_names_maps(tmp_path: Path) -> None:
    write_case(tmp_path / "a", TISSUES)
    columns = ["id", "t1", "gm", "wm", "csf"]
    cells = ["p", "a/a_t1.nii.gz", *(f"a/a_{name}.nii.gz" for name in TISSUES)]
    (tmp_path / "cases.tsv").write_text("\t".join(columns) + "\n" + "\t".join(cells) + "\n")
    (case,) = find_cases(tmp_path / "cases.tsv")
    assert set(case.tissue) == set(TISSUES)
