"""What braincli itself left beside scans: known by its records, never taken for a scan, a mask or something unknown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from braincli.imaging.names import CONTRASTS, is_nifti, stem

RECORD = "_record.json"
KINDS = (  # of volumes that detect writes; scans and restorations in another space come with --preprocess
    r"(?:_space-[A-Za-z0-9]+)?_(?:mask|labels|lesions|anomaly|uncertainty|(?:restored|residual)-[a-z0-9]+)"
    rf"|_space-[A-Za-z0-9]+_(?:{'|'.join(CONTRASTS)})"
)


MAPS = {  # of other commands: what is no scan; translations are scans like others
    "translate": r"_to-.+_difference", "explain": r"_(?:saliency|cam)",
}  # fmt: skip


def own_outputs(folder: Path) -> set[Path]:
    """The volumes in ``folder`` that ``detect`` wrote, and the maps of ``translate`` and ``explain``, by the records
    beside them (an incomplete one counts, too).

    Of BIDS derivatives, in ``anat``, by the records of the folder above, which list them.

    Raises:
        OSError: the folder cannot be read.
    """
    paths = list(folder.iterdir())
    records = [path for path in paths if path.name.endswith(".json")]
    volumes = [path for path in paths if is_nifti(path)]
    named = {stem(path): path for path in volumes}
    own = _derivatives(folder) & set(volumes) if folder.name == "anat" else set()
    kinds: str | None
    for record in records:
        prefix, kinds = record.name.removesuffix(RECORD), None
        command = next((name for name in MAPS if record.name.endswith(f"_{name}{RECORD}")), "")
        if command and _command(record) in (command, ""):
            prefix, kinds = prefix.removesuffix(f"_{command}"), MAPS[command]
        elif record.name.endswith(RECORD):
            kinds = KINDS if _command(record) in ("detect", "") else None
        else:  # of a mask that was named: its own name, and maps called after it
            prefix = record.name.removesuffix(".json")
            kinds = f"|{KINDS}" if prefix in named and _command(record) == "detect" else None
        if kinds is not None:
            own |= {path for path in volumes if re.fullmatch(f"{re.escape(prefix)}(?:{kinds})", stem(path))}
    return own


def _derivatives(anat: Path) -> set[Path]:
    """What records of ``detect`` in the folder above list."""
    listed: set[str] = set()
    for record in anat.parent.glob(f"sub-*_desc-*{RECORD}"):
        content = _read(record)
        for key in ("outputs", "stale") if content.get("command") == "detect" else ():
            listed |= set(content.get(key) or ())
    return {anat.parent / name for name in listed}


def is_prepared(path: Path) -> bool:
    """Whether a volume is named as ``preprocess`` names its images."""
    return re.search(r"_space-[A-Za-z0-9]+_desc-preproc_", path.name) is not None


def holds_prepared(folder: Path) -> bool:
    """Whether images of ``preprocess`` lie in ``folder`` itself, or in ``anat`` of it or of its sessions."""
    places = ("", "anat/", "ses-*/anat/")
    return any(is_prepared(path) for place in places for path in folder.glob(f"{place}*_desc-preproc_*.nii*"))


def label(case_id: str) -> str:
    """What is the same in the id of a raw case and of what was prepared from it (``p_1`` and ``sub-p1``)."""
    return re.sub(r"[^A-Za-z0-9]", "", case_id.removeprefix("sub-")) or case_id.encode().hex()


def folders_below(folder: Path) -> Iterator[Path]:
    """``folder`` and all below it, sorted; hidden ones are left out, links are followed, each folder comes once."""
    seen: set[Path] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if (real := here.resolve()) in seen:
            continue
        seen.add(real)
        yield here
        try:
            below = sorted(path for path in here.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:
            continue
        waiting += reversed(below)


def _command(record: Path) -> str | None:
    """Which command wrote a record; empty where it is damaged, None where it is no record of ours."""
    content = _read(record)
    return str(content["command"]) if {"braincli", "command"} <= set(content) else None if content else ""


def _read(record: Path) -> dict[str, Any]:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
