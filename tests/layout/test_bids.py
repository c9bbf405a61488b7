"""Names are BIDS derivatives, and are read back as what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from braincli.imaging.cases import Contrast, read_name
from braincli.layout import bids, sidecar


@pytest.mark.parametrize(
    ("case", "prefix"),
    [
        ("sub-01", "sub-01"),
        ("sub-01_ses-2", "sub-01_ses-2"),
        ("TCGA-FG-6692", "sub-TCGAFG6692"),
        ("Ünal 3", "sub-nal3"),
        ("__", "sub-5f5f"),
    ],
)
def test_prefix(case: str, prefix: str) -> None:
    assert bids.prefix(case) == prefix


def test_names_are_read_back_as_what_they_are(tmp_path: Path) -> None:
    names = bids.Names(tmp_path, "sub-01", "SRI24")
    assert names.image(Contrast.T1CE).name == "sub-01_ce-gd_space-SRI24_desc-preproc_T1w.nii.gz"
    assert names.transform(Contrast.T2).name == "sub-01_from-T2w_to-SRI24_mode-image_xfm.mat"
    assert names.transform(Contrast.T2, inverse=True).name == "sub-01_from-SRI24_to-T2w_mode-image_xfm.mat"
    for contrast in Contrast:
        read = read_name(names.image(contrast))
        assert read is not None and (read.role, read.id) == (contrast, "sub-01")
    for path, role in ((names.brain(), "brain"), (names.lesion(), "lesion")):
        read = read_name(path)
        assert read is not None and read.role == role


def test_only_harmless_keys_are_copied(tmp_path: Path) -> None:
    scan = tmp_path / "a_T1w.nii.gz"
    assert sidecar.copied(scan) == {}
    sidecar.sidecar(scan).write_text(json.dumps({"EchoTime": 0.003, "PatientName": "X", "AcquisitionTime": "10:00"}))
    assert sidecar.copied(scan) == {"EchoTime": 0.003}
    sidecar.sidecar(scan).write_text("[broken")
    assert sidecar.copied(scan) == {}


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("EchoTime", [0.003, 0], ["Jane Doe", -1, 1e9, True, None, [0.1], float("nan")]),
        ("FlipAngle", [12, 0.5], ["12", 1e4]),
        ("ScanningSequence", ["GR", "GR\\IR", "GR_IR", ["SE", "EP"]], ["GR Jane", "", [], ["GR", 1], {"a": 1}]),
        ("Modality", ["MR"], ["CT of Jane Doe"]),
        ("ContrastBolusIngredient", ["GADOLINIUM", "gadoterate meglumine"], ["10 ml given to Jane Doe", "Doe", 7]),
    ],
)
def test_values_of_harmless_keys_are_checked_too(tmp_path: Path, key: str, good: list[Any], bad: list[Any]) -> None:
    scan = tmp_path / "a_T1w.nii.gz"
    for values, kept in ((good, True), (bad, False)):
        for value in values:
            sidecar.sidecar(scan).write_text(json.dumps({key: value}))
            assert sidecar.copied(scan) == ({key: value} if kept else {}), value
