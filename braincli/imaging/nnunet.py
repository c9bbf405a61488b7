"""The layout of nnU-Net: ``<case>_0000.nii.gz`` is channel 0, and ``dataset.json`` says what the channels show.

Raw data sets (``Dataset001_X/``) keep scans in ``imagesTr`` and ``imagesTs``, references in ``labelsTr``. See Isensee
et al. 2021, Nat Methods 18:203, and nnU-Net's page on the format of data sets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from braincli.errors import InputError
from braincli.imaging.contrast import CONTRASTS, Contrast
from braincli.imaging.names import Named, is_nifti, legible, stem
from braincli.imaging.words import contrast_of, words_of

CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")
DESCRIPTION = "dataset.json"
EXAMPLE = '{"channel_names": {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"}}'


def is_channel(path: Path) -> bool:
    """Whether a file is named as nnU-Net names the channels of a case."""
    return CHANNEL.fullmatch(stem(path)) is not None


def is_dataset(folder: Path) -> bool:
    """Whether ``folder`` is the root of a data set: its scans lie in ``images*``, and nothing else is a scan."""
    return (folder / DESCRIPTION).is_file() and any(folder.glob("images*/"))


def read_channels(folder: Path, paths: Iterable[Path]) -> dict[Path, Named]:
    """What the channels among ``paths``, files in ``folder``, show; empty where no ``dataset.json`` tells.

    It lies beside them or one folder above. Channels that are known to be none of the four contrasts are ``other``.

    Raises:
        InputError: ``dataset.json`` is damaged, lacks a channel, or calls one by a name that tells no contrast.
    """
    files = {path: match for path in paths if (match := CHANNEL.fullmatch(stem(path)))}
    description = next((f for f in (folder / DESCRIPTION, folder.parent / DESCRIPTION) if f.is_file()), None)
    if not files or description is None:
        return {}
    names = _channel_names(description)
    return {path: _named(path, match["id"], int(match["channel"]), names) for path, match in files.items()}


def labels_of(folder: Path, id: str) -> Path | None:
    """The reference of a case in ``imagesTr``, where there is one."""
    there = folder.parent / "labelsTr"
    if folder.name != "imagesTr" or not there.is_dir():
        return None
    return next((path for path in (there / f"{id}.nii.gz", there / f"{id}.nii") if path.is_file()), None)


def untold(paths: Iterable[Path]) -> InputError | None:
    """What is wrong with channels that no ``dataset.json`` explains."""
    for path in paths:
        if is_nifti(path) and is_channel(path):
            return InputError(
                f"{legible(path.name)} is a channel as nnU-Net names them, and there is no {DESCRIPTION} that says "
                "which contrast it is.",
                f"Put a {DESCRIPTION} beside the scans or one folder above, with {EXAMPLE}; or use a .tsv manifest.",
            )
    return None


def _named(path: Path, id: str, channel: int, names: dict[int, str]) -> Named:
    if channel not in names:
        raise InputError(
            f"{legible(path.name)}: {DESCRIPTION} names no channel {channel}.", f"Add it to channel_names: {EXAMPLE}."
        )
    role = contrast_of(words_of(names[channel].replace("weighted", "w")))
    if role is None:
        known = ", ".join(contrast.upper() for contrast in CONTRASTS)
        raise InputError(
            f"{DESCRIPTION} calls channel {channel} {names[channel]!r}, which tells no contrast.",
            f"Call it by one of: {known}.",
        )
    return Named(path, legible(id), role, base=legible(id), usual=not isinstance(role, Contrast))


def _channel_names(description: Path) -> dict[int, str]:
    """Channel -> name, of nnU-Net 2 (``channel_names``) or 1 (``modality``)."""
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        names = content.get("channel_names") or content["modality"]
        return {int(channel): str(name) for channel, name in names.items()}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{DESCRIPTION} in {legible(description.parent.resolve().name)} does not say what the channels show.",
            f"It should hold {EXAMPLE}.",
        ) from None
