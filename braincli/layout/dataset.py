"""What makes a folder a BIDS derivative: its description, what validators pass over, and where its sources lie."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import quote

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.errors import UsageError
from braincli.layout.bids import IGNORED
from braincli.runtime import files
from braincli.runtime.locks import waiting

BIDS_VERSION = "1.11.0"
DESCRIPTION, IGNORE, README = "dataset_description.json", ".bidsignore", "README.md"
TEXT = Path(__file__).with_name("derivatives.md")  # of the README


@dataclass(frozen=True)
class Dataset:
    """A data set of derivatives, and the names of those that it was made from.

    Attributes:
        links: name -> folder of a data set (real path); the empty name is this one.
    """

    root: Path
    links: Mapping[str, Path]

    def uri(self, path: Path) -> str:
        """``bids:<data set>:<path in it>`` of a file; its name alone where it lies in none of them."""
        for name, folder in self.links.items():
            if (inside := _inside(path, folder)) is not None:
                return f"bids:{name}:{quote(os.fsencode(inside))}"
        return quote(os.fsencode(path.name))


def open_dataset(root: Path, sources: Iterable[Path]) -> Dataset:
    """Make ``root`` a data set of derivatives, if it is none yet, with a link to where each of ``sources`` lies.

    What lies in a temporary folder of ours (scans in memory, of a study of DICOM) gets none: its name is told alone.
    Descriptions, lists and texts of others stay as they are; several processes may do this at once.

    Raises:
        UsageError: ``root`` is a data set of raw scans.
        ResourceError: it cannot be written to.
    """
    sources = [path for path in sources if not _is_passing(path)]
    found = _missing(root, sources)
    if found is None:
        with waiting(root, f"{root.name}/{DESCRIPTION}", name=".dataset.lock"):
            files.sweep(root)
            if (found := _missing(root, sources)) is None:
                _write(root, sources)
                found = _links(root)
    return Dataset(root, found)


def _is_passing(path: Path) -> bool:
    """Whether a file lies in a temporary folder of ours."""
    real, temporary = path.parent.resolve(), Path(gettempdir()).resolve()
    return real.is_relative_to(temporary) and real.relative_to(temporary).as_posix().startswith("braincli-")


def _missing(root: Path, sources: list[Path]) -> dict[str, Path] | None:
    """The links, where all is there; None where something is to be written.

    Raises:
        UsageError: ``root`` is a data set of raw scans.
    """
    content = _read(root)
    if content and content.get("DatasetType", "raw") != "derivative":
        raise UsageError(
            f"{root.resolve().name} is a data set of raw scans ({DESCRIPTION}).",
            "Derivatives go elsewhere: name another folder, such as derivatives/braincli below it.",
        )
    if not all((root / name).is_file() for name in (DESCRIPTION, IGNORE, README)):
        return None
    links = _links(root)
    known = all(any(_inside(path, folder) for folder in links.values()) for path in sources)
    return links if known or not _is_ours(content) else None


def _write(root: Path, sources: list[Path]) -> None:
    content = _read(root)
    if not content or _is_ours(content):
        files.write_json(root / DESCRIPTION, _linked(root, content or _new(), sources))
    for name, text in ((IGNORE, "".join(f"{line}\n" for line in IGNORED)), (README, _readme())):
        if not os.path.lexists(root / name):
            files.write_text(root / name, text)


def _new() -> dict[str, Any]:
    return {
        "Name": "braincli derivatives",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "braincli", "Version": __version__, "Description": RESEARCH_USE_ONLY}],
    }


def _readme() -> str:
    text = TEXT.read_text(encoding="utf-8")
    return text.replace("{version}", __version__).replace("{notice}", f"{RESEARCH_USE_ONLY.rstrip('.')}.")


def _linked(root: Path, content: dict[str, Any], sources: list[Path]) -> dict[str, Any]:
    """``content`` with a link, and an entry among the sources, for every data set that it has none for."""
    links = dict(_mapping(content, "DatasetLinks"))
    origins = list(content.get("SourceDatasets", []))
    for path in sources:
        if any(_inside(path, folder) for folder in _folders(root, links).values()):
            continue
        folder = _home(path)
        about = _read(folder)
        kind = "derivative" if about.get("DatasetType") == "derivative" else "raw"
        number = sum(name.startswith(kind) for name in links)
        links[f"{kind}{number + 1 if number else ''}"] = where = _relative(folder, root)
        origins.append({"URL": where} | ({"DOI": about["DatasetDOI"]} if about.get("DatasetDOI") else {}))
    return content | ({"DatasetLinks": links, "SourceDatasets": origins} if links else {})


def _home(path: Path) -> Path:
    """The data set that a file lies in: where the description is, or above ``sub-*``, or else its folder."""
    folders = path.absolute().parents
    described = (folder for folder in folders if (folder / DESCRIPTION).is_file())
    subjects = (folder.parent for folder in folders if folder.name.startswith("sub-"))
    return next(described, next(subjects, folders[0])).resolve()


def _links(root: Path) -> dict[str, Path]:
    return {"": root.resolve()} | _folders(root, _mapping(_read(root), "DatasetLinks"))


def _folders(root: Path, links: Mapping[str, Any]) -> dict[str, Path]:
    """Folders of links that are paths; others (``doi:``, ``https:``) are left out."""
    local = {name: link for name, link in links.items() if isinstance(link, str) and ":" not in link}
    return {name: Path(os.path.normpath(root.resolve() / unquoted(link))) for name, link in local.items()}


def _relative(folder: Path, root: Path) -> str:
    return quote(os.fsencode(os.path.relpath(folder, root.resolve())))


def unquoted(link: str) -> str:
    """A path out of a link."""
    from urllib.parse import unquote_to_bytes

    return os.fsdecode(unquote_to_bytes(link))


def _inside(path: Path, folder: Path) -> str | None:
    """``path`` relative to ``folder``, with slashes, where it lies in it; the file itself may be a link."""
    real = path.parent.resolve() / path.name
    return real.relative_to(folder).as_posix() if real.is_relative_to(folder) else None


def _is_ours(content: Mapping[str, Any]) -> bool:
    makers = content.get("GeneratedBy")
    known = [each for each in makers if isinstance(each, dict)] if isinstance(makers, list) else []
    return any(each.get("Name") == "braincli" for each in known)


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _read(root: Path) -> dict[str, Any]:
    try:
        content = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
