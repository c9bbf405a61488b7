"""A case that is a study of DICOM -> a case of NIfTI files in a working folder, for as long as it is worked on.

What is done already is known by its DICOM files (:func:`identified`), and nothing of it is converted again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from braincli.errors import InputError
from braincli.imaging.case import Case
from braincli.imaging.contrast import Contrast
from braincli.imaging.dicom.choose import Choice, choose
from braincli.imaging.dicom.convert import convert
from braincli.imaging.dicom.find import dicom_files
from braincli.imaging.dicom.headers import read_images
from braincli.imaging.dicom.series import Series, series_of
from braincli.imaging.dicom.study import Study
from braincli.runtime import provenance
from braincli.runtime.files import sha256
from braincli.runtime.progress import Reporter
from braincli.wording import counted


@contextmanager
def opened(
    case: Case, wanted: Mapping[Contrast, str] | None = None, run: str | None = None, reporter: Reporter | None = None
) -> Iterator[Case]:
    """``case`` with its scans: of a study, the series that were chosen, and the NIfTI files that :func:`converted`
    makes of them, which are gone at the end.

    Args:
        wanted: labels of series by contrast, see :func:`braincli.imaging.dicom.choose.choose`.

    Raises:
        InputError: the study holds no scan of a brain, or one that cannot be used.
    """
    if case.study is None or case.images:
        yield case
        return
    reporter = reporter or Reporter()
    with TemporaryDirectory(prefix="braincli-dicom-") as folder:
        choice = look_into(case, case.study, wanted, run, reporter)
        reporter.say(choice.words)
        images = {
            contrast: Path(folder) / f"series{series.label}_{contrast}.nii"
            for contrast, series in choice.series.items()
        }
        yield replace(case, images=images, study=replace(case.study, series=choice.series))


def converted(case: Case, reporter: Reporter | None = None) -> Case:
    """``case``, whose scans can be read from here on: the series of an opened study are NIfTI files now.

    Raises:
        InputError: dcm2niix cannot read a series, or makes something else of it.
    """
    series = {} if case.study is None else case.study.series
    waiting = {contrast: one for contrast, one in series.items() if not case.images[contrast].exists()}
    if waiting:
        with (reporter or Reporter()).step(f"{case.id}: DICOM", len(waiting)) as step:
            for contrast, one in waiting.items():
                convert(one, case.images[contrast], case.id)
                step.advance(note=str(contrast))
    return case


def identified(case: Case, roles: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Name and SHA-256 of every input, by its role; of an opened study's series, the hash of its DICOM files.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    series = {} if case.study is None else {str(contrast): one for contrast, one in case.study.series.items()}
    facts = provenance.hashes({role: path for role, path in roles.items() if role not in series})
    for role, one in series.items():
        try:
            digests = sorted(sha256(path) for path in {image.path for image in one.images})
        except OSError as error:  # whose name may be the patient's
            text = f"{case.id}: a file of series {one.label} cannot be read ({error.strerror})."
            raise InputError(text, "Check its permissions and the disk.") from None
        told = {"series": one.label, "files": digests}
        facts[role] = {"file": roles[role].name, "sha256": provenance.fingerprint(told)}
    return facts


def look_into(
    case: Case,
    study: Study,
    wanted: Mapping[Contrast, str] | None = None,
    run: str | None = None,
    reporter: Reporter | None = None,
) -> Choice:
    """Which series of a study show what.

    Raises:
        InputError: see :func:`opened`.
    """
    return choose(read_series(case, study, reporter or Reporter()), wanted or {}, run, case.id)


def read_series(case: Case, study: Study, reporter: Reporter) -> list[Series]:
    """All series of a study. Files are told by their place among all: their names may be the patient's.

    Raises:
        InputError: it cannot be read, or its folders hold several patients or studies.
    """
    files = [path for folder in study.folders for path in dicom_files(folder)]
    images, damaged = read_images(files)
    mixed = {"studies": {image.study_uid for image in images}, "patients": {image.patient for image in images}}
    if several := [what for what, found in mixed.items() if len(found) > 1]:
        text = f"{case.id}: images of several {several[0]} lie in one folder."
        raise InputError(text, "Give each study a folder of its own.")
    if damaged:
        places = ", ".join(str(files.index(path) + 1) for path in damaged[:4]) + (", ..." if len(damaged) > 4 else "")
        lost = f"{len(damaged)} of {counted(len(files), 'file')}"
        reporter.warn(f"{case.id}: the headers of {lost} cannot be read (no. {places}).")
    if not images:
        text = f"none of its {counted(len(files), 'file')} can be read" if damaged else "it holds no images"
        raise InputError(f"{case.id}: {text}.", "Copy or export the study again.")
    return series_of(images)
