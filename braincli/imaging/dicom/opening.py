"""A case that is a study of DICOM -> a case of NIfTI files in a working folder, for as long as it is worked on."""

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
from braincli.runtime.progress import Reporter


@contextmanager
def opened(
    case: Case, wanted: Mapping[Contrast, str] | None = None, run: str | None = None, reporter: Reporter | None = None
) -> Iterator[Case]:
    """``case`` with scans that can be read: of a study, its series as NIfTI files, which are gone at the end.

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
        with reporter.step(f"{case.id}: DICOM") as step:
            choice = look_into(case, case.study, wanted, run, reporter)
            reporter.say(choice.words)
            images = {}
            for contrast, series in choice.series.items():
                target = Path(folder) / f"series{series.label}_{contrast}.nii"
                images[contrast] = convert(series, target, case.id)
                step.advance(note=str(contrast))
        yield replace(case, images=images, study=replace(case.study, series=choice.series))


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
        reporter.warn(f"{case.id}: the headers of {len(damaged)} of {len(files)} files cannot be read (no. {places}).")
    if not images:
        text = f"none of its {len(files)} files can be read" if damaged else "it holds no images"
        raise InputError(f"{case.id}: {text}.", "Copy or export the study again.")
    return series_of(images)
