"""Whether a name on disk tells who the patient is; then the outputs are called otherwise."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

NAMES = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "PerformingPhysicianName", "OperatorsName", "RequestingPhysician", "InstitutionName",
)  # fmt: skip
NUMBERS = ("PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID")
DATES = (
    "PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate",
    "PerformedProcedureStepStartDate",
)  # fmt: skip
TAGS = [*NAMES, *NUMBERS, *DATES, "PatientIdentityRemoved", "StudyInstanceUID", "Modality", "SOPClassUID", "Rows"]
SEPARATED = re.compile(r"[\W_]+")  # what is between words, in any script
SHORTEST = 3  # characters that tell something; shorter than LONG they count as a word of their own only
LONG = 6


def tells_identity(name: str, header: Dataset) -> bool:
    """Whether ``name`` holds the patient's or a doctor's name, a number, or a date of ``header``.

    Where the header says that identity was removed, its names and numbers are pseudonyms, and only dates count.
    """
    words = {word for word in SEPARATED.split(name.lower()) if word}
    squeezed = _squeezed(name)
    return any(
        part in squeezed if len(part) >= LONG else part in words
        for part in _parts(header)
        if len(part) >= SHORTEST or (len(part) > 1 and not part.isascii())
    )


def pseudonym(uid: str) -> str:
    """What a study is called instead: the same for the same study, and nothing about the patient."""
    return f"study-{sha256(uid.encode()).hexdigest()[:8]}"


def _parts(header: Dataset) -> set[str]:
    """What must not occur in a name, in lower case."""
    parts: set[str] = set()
    if str(header.get("PatientIdentityRemoved", "")).upper() != "YES":
        for tag in NAMES:
            value = str(header.get(tag, "")).lower()
            parts |= {*SEPARATED.split(value), *map(_squeezed, value.split("="))}  # 王^小明: one name in two parts
        for tag in NUMBERS:
            value = header.get(tag, "")
            parts |= {_squeezed(str(one)) for one in ([value] if isinstance(value, str) else value or [])}
    for tag in DATES:
        day = str(header.get(tag, "") or "")
        if re.fullmatch(r"\d{8}", day):
            year, month, date = day[:4], day[4:6], day[6:]
            parts |= {day, f"{date}{month}{year}", f"{month}{date}{year}", f"{day[2:]}"}
    return parts - {"", "anonymous", "anonymized", "anonymised", "anon", "none", "unknown", "patient", "test"}


def _squeezed(text: str) -> str:
    return SEPARATED.sub("", text.lower())
