"""Whether a case is skull-stripped: what the user says, or else what its scans show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from braincli.config import DetectConfig
from braincli.errors import InputError, UsageError
from braincli.imaging.brain import shows_skull
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.volume import Volume


def judge_skull(images: Mapping[Contrast, Volume], config: DetectConfig, *, masked: bool) -> dict[str, Any]:
    """What is known of the skull, for the record.

    Args:
        masked: whether the case has a brain mask; the scans are not looked at then.

    Returns:
        ``shown``: whether the scans show it; ``guessed``: false where the user, or a brain mask, says so; ``evidence``
        where it was guessed.
    """
    if config.assume_skull or config.already_stripped or masked:
        return {"shown": config.assume_skull, "guessed": False}
    verdict = shows_skull(images, config.threads)
    return {"shown": verdict.skull, "guessed": True, "evidence": str(verdict)}


def refuse_skull(images: Mapping[Contrast, Volume], config: DetectConfig, *, masked: bool) -> dict[str, Any]:
    """:func:`judge_skull` of a case that should have none.

    Raises:
        InputError: it shows the head; the message holds the figures, the hint names the ways out.
    """
    facts = judge_skull(images, config, masked=masked)
    if facts["shown"]:
        figures = f" ({facts['evidence']})" if facts["guessed"] else ""
        names = [image.source.name if image.source else contrast.upper() for contrast, image in images.items()]
        raise InputError(
            f"{' and '.join(names)} still show{'s' if len(names) == 1 else ''} the skull{figures}.",
            "Add --preprocess, which aligns, skull-strips and normalises it, or give --brain-mask; where there is no "
            "skull, say --already-stripped.",
        )
    return facts


def refuse_dicom(case: Case, config: DetectConfig) -> None:
    """Raise where a study of DICOM is to be looked at as it left the scanner, or is asked for and there is none.

    Raises:
        InputError, UsageError: it is.
    """
    if case.study is not None and not config.preprocess:
        raise InputError(f"{case.id} is a study of DICOM, as it left the scanner.", "Add --preprocess.")
    if case.study is None and config.dicom_seg:
        raise UsageError(f"{case.id} is no study of DICOM; --dicom-seg needs one.", "Leave out --dicom-seg.")
