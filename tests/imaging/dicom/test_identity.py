"""Names that tell who the patient is, in any script."""

from __future__ import annotations

import pytest

pytest.importorskip("pydicom")

from pydicom import Dataset

from braincli.imaging.dicom.identity import tells_identity


@pytest.mark.parametrize(
    ("folder", "patient"),
    [
        ("王小明_2", "Wang^XiaoMing=王^小明"),
        ("王小明", "Wang^XiaoMing=王^小明"),
        ("王明", "王明"),
        ("Иванов", "Иванов^Пётр"),
        ("scan Wałęsa", "Wałęsa^Lech"),
        ("Şahin-2", "Şahin^Ayşe"),
        ("Zyxwvuts_2", "Zyxwvuts^Quirinalia"),
    ],
)
def test_a_folder_named_after_the_patient_is_known(folder: str, patient: str) -> None:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName = patient
    assert tells_identity(folder, header)
    assert not tells_identity("case 7", header) and not tells_identity("患者七", header)
