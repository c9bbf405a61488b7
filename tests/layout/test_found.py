"""Where what was found goes: beside one file, in a folder per case, or into a BIDS data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from braincli.imaging.cases import CONTRASTS, Contrast
from braincli.imaging.names import read_name
from braincli.layout import bids
from braincli.layout.found import Derivative, Flat, names_of

OUT = Path("out")


def scans(case: str, *, space: str = "") -> dict[Contrast, Path]:
    entities = f"_space-{space}_desc-preproc" if space else ""
    return {Contrast.FLAIR: Path(f"{case}{entities}_FLAIR.nii.gz")}


@pytest.mark.parametrize(
    ("case", "space", "raw", "mask"),
    [
        ("p01", "", False, "p01/p01_mask.nii.gz"),
        ("a b", "", False, "a_b/a_b_mask.nii.gz"),
        ("p 01", "", True, "sub-p01/anat/sub-p01_space-SRI24_label-L_desc-tsgm_mask.nii.gz"),
        ("sub-01", "", False, "sub-01/anat/sub-01_label-L_desc-tsgm_mask.nii.gz"),
        ("sub-01", "SRI24", False, "sub-01/anat/sub-01_space-SRI24_label-L_desc-tsgm_mask.nii.gz"),
        ("sub-01_ses-2", "orig", False, "sub-01/ses-2/anat/sub-01_ses-2_space-orig_label-L_desc-tsgm_mask.nii.gz"),
        ("sub-01_ses-2", "", True, "sub-01/ses-2/anat/sub-01_ses-2_space-SRI24_label-L_desc-tsgm_mask.nii.gz"),
    ],
)
def test_a_bids_id_or_a_raw_case_gets_bids_names(case: str, space: str, raw: bool, mask: str) -> None:
    names = names_of(case, scans(case, space=space), OUT, "tsgm", raw=raw)
    path = names.volume("mask", names.searched)
    assert path == OUT / mask
    assert names.space(path.name) == names.searched and names.space(names.volume("anomaly").name) is None
    assert (names.sidecar(path) is None) == isinstance(names, Flat)


def test_a_named_file_stays_a_file() -> None:
    for raw in (False, True):
        names = names_of("sub-01", scans("sub-01"), Path("x/mask.nii"), "tsgm", raw=raw)
        assert names.single and names.volume("mask") == Path("x/mask.nii")
        assert names.volume("anomaly") == Path("x/mask_anomaly.nii") and names.record() == Path("x/mask.json")


def test_what_was_found_is_never_read_as_a_scan_or_a_reference() -> None:
    """Whatever the model is called: its outputs lie beside prepared scans."""
    for model in ("tsgm", "brain", "preproc", "my-lesion", "a_b.c", "--"):
        names = names_of("sub-01", {}, OUT, model, raw=True)
        assert isinstance(names, Derivative)
        kinds = ("mask", "lesions", "anomaly", "uncertainty", *(f"restored-{c}" for c in CONTRASTS), "residual-t1ce")
        paths = [names.volume(kind, space) for kind in kinds for space in ("SRI24", *CONTRASTS)]
        assert len(set(paths)) == len(paths)
        for path in paths:
            told = read_name(path)
            assert told is not None and (told.id, told.role) == ("sub-01", "other"), path.name


def test_names_of_two_models_differ() -> None:
    first, second = (names_of("sub-01", {}, OUT, model, raw=True) for model in ("tsgm", "threshold"))
    assert not {first.record(), first.report(), *first.tables()} & {second.record(), second.report()}


def test_a_page_lies_above_the_volumes_and_pictures_beside_them() -> None:
    names = names_of("sub-01_ses-2", {}, OUT, "tsgm", raw=True)
    folder = OUT / bids.place("sub-01_ses-2")
    assert names.report() == folder / "sub-01_ses-2_desc-tsgm_report.html"
    assert names.picture() == folder / "figures" / "sub-01_ses-2_desc-tsgm_figure.png"
    assert names.tables() == (folder / "anat" / "sub-01_ses-2_desc-tsgm_dseg.tsv", None)
