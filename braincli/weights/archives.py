"""Weights that others publish on the web: what they are, how they are downloaded and put in place."""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from braincli.errors import ModelError, ResourceError
from braincli.runtime import files
from braincli.runtime.progress import Reporter, Step
from braincli.weights import checkpoints

LARGEST_MB = {".pth": 2048, ".json": 64}  # of one file; published ones have a tenth of that
ASIDE = "old"  # in a scratch folder: the weights that are being replaced
RECORD = "weights.json"  # beside fetched weights: source and the SHA-256 of every file


@dataclass(frozen=True)
class Archive:
    """Weights that can be fetched or imported: one zip file, or one plain file.

    ``members`` are the files that are needed, wherever they lie inside the zip; nothing else is unpacked. A plain file
    (``packed`` false) is stored under the name of its only member.
    ``sha256`` is the beginning of the hash as far as the publisher gives it; the whole hash of the first copy is
    recorded. ``check`` raises ModelError where the members in a folder are not what they should be.
    """

    name: str
    url: str
    members: tuple[str, ...]
    licence: str
    summary: str
    sha256: str = ""
    packed: bool = True
    check: Callable[[Path], None] = lambda folder: None

    @property
    def import_command(self) -> str:
        """What to type when the file was downloaded by other means."""
        return f"braincli weights import FILE --name {self.name}"


def _check_nnunet(folder: Path) -> None:
    checkpoints.read_description(folder / "dataset.json", ("channel_names", "labels"))
    checkpoints.read_description(folder / "plans.json", ("configurations",))
    checkpoints.read_nnunet(folder / "fold_all" / "checkpoint_final.pth")


HD_BET_2 = Archive(
    name="hd-bet",
    url="https://zenodo.org/records/14445620/files/release_v1.5.0.zip?download=1",
    members=("fold_all/checkpoint_final.pth", "dataset.json", "plans.json"),
    licence="Apache-2.0",
    summary="HD-BET 2.x brain extraction (preprocess --bet-backend hd-bet)",
    check=_check_nnunet,
)


def _torchvision(name: str, sha256: str, use: str, features: int) -> Archive:
    """ImageNet weights of torchvision (version IMAGENET1K_V1); their file names end in the beginning of their hash."""

    def check(folder: Path) -> None:
        checkpoints.read_state(folder / f"{name}.pth", {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, features)})

    return Archive(
        name=name,
        url=f"https://download.pytorch.org/models/{name}-{sha256}.pth",
        members=(f"{name}.pth",),
        licence="BSD-3-Clause",
        summary=f"{name}, ImageNet ({use})",
        sha256=sha256,
        packed=False,
        check=check,
    )


RESNET18 = _torchvision("resnet18", "f37072fd", "train --method fae --preset paper", 512)
WIDE_RESNET50_2 = _torchvision("wide_resnet50_2", "95faca4d", "train --method rd --preset paper", 2048)
ARCHIVES: dict[str, Archive] = {archive.name: archive for archive in (HD_BET_2, RESNET18, WIDE_RESNET50_2)}


def download(archive: Archive, folder: Path, sha256: str, reporter: Reporter) -> Path:
    """Fetch ``archive`` into ``folder``; a broken connection leaves nothing behind.

    Raises:
        ModelError: no network, or a hash that does not begin with ``sha256``.
        ResourceError: the disk is full.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # the reporter speaks
    with reporter.step(f"fetch {archive.name} (MB)") as step:
        downloader = pooch.HTTPDownloader(progressbar=_Bar(step), chunk_size=1 << 20, timeout=60)
        try:
            fetched = Path(
                pooch.retrieve(archive.url, known_hash=None, fname="download", path=folder, downloader=downloader)
            )
        except requests.RequestException as error:
            raise ModelError(
                f"{archive.name} cannot be downloaded ({type(error).__name__}): no network, or no proxy.",
                f"Set HTTPS_PROXY, or download {archive.url} elsewhere, then: {archive.import_command}.",
            ) from None
        except OSError as error:
            raise ResourceError(f"{archive.name} cannot be stored: {error.strerror or error}.") from None
    if not (digest := files.sha256(fetched)).startswith(sha256):
        raise ModelError(
            f"{archive.name} was downloaded with another SHA-256.", f"It is {digest}; expected {sha256}. Try again."
        )
    return fetched


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


def install(archive: Archive, given: Path, target: Path, scratch: Path, *, source: str) -> None:
    """Put the needed files of ``given`` into place as folder ``target``, with a record of their hashes.

    Raises:
        ModelError: it is no zip file, damaged, or holds something else: links, more bytes than such weights have, no
            weights, those of another network.
        ResourceError: the disk is full.
    """
    fresh = scratch / "fresh"
    try:
        if archive.packed:
            _unpack(archive, given, fresh)
        else:
            fresh.mkdir()
            if (size := given.stat().st_size >> 20) > LARGEST_MB[".pth"]:
                raise ModelError(f"{given.name} has {size} MB, more than such weights have.", f"See {archive.url}.")
            shutil.copyfile(given, fresh / archive.members[0])
        archive.check(fresh)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError):
        # RuntimeError: encrypted; NotImplementedError: packed in a way that Python does not know
        raise ModelError(f"{given.name} is no zip file, or is damaged.", f"Download {archive.url} again.") from None
    except OSError as error:
        raise ResourceError(f"{archive.name} cannot be stored: {error.strerror or error}.") from None
    hashes = {member: files.sha256(fresh / member) for member in archive.members}
    record = {"name": archive.name, "source": source, "zip_sha256": files.sha256(given), "sha256": hashes}
    files.write_json(fresh / RECORD, record)
    if target.exists():
        target.replace(scratch / ASIDE)
    fresh.replace(target)


def _unpack(archive: Archive, zipped: Path, folder: Path) -> None:
    with zipfile.ZipFile(zipped) as content:
        for member, info in _members(archive, content).items():
            (folder / member).parent.mkdir(parents=True, exist_ok=True)
            with content.open(info) as packed, (folder / member).open("wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)  # to the end: the CRC is checked; never beyond file_size


def _members(archive: Archive, content: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The needed files, whatever folder of the zip they are in; its paths are never written to.

    Raises:
        ModelError: one is missing, a link, or larger than such a file can be.
    """
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in content.infolist():
        parts = PurePosixPath(info.filename).parts
        for member in archive.members:
            wanted = PurePosixPath(member).parts
            if parts[-len(wanted) :] == wanted and "__MACOSX" not in parts:
                entries.setdefault(member, info)
    advice = f"Is it the file from {archive.url}?"
    if missing := [member for member in archive.members if member not in entries]:
        raise ModelError(f"The zip does not hold {missing[0]}.", advice)
    for member, info in entries.items():
        if info.is_dir() or stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ModelError(f"{member} in the zip is no plain file.", advice)
        largest = LARGEST_MB[PurePosixPath(member).suffix]
        if info.file_size > largest << 20:
            raise ModelError(f"{member} in the zip has {info.file_size >> 20} MB, more than {largest}.", advice)
    return entries
