"""A .zip, as an archive of images or a hospital hands out a study -> a folder with what is in it."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from braincli.errors import InputError, ResourceError
from braincli.imaging.names import legible

SUFFIX = ".zip"
ENCRYPTED = 0x1  # of a member's flags (APPNOTE.TXT, 4.4.4)
MOST_GB, MOST_FILES = 32.0, 200_000  # of one study; more is a mistake, or a bomb
BLOCK = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether ``path`` is called like a .zip, and is a file."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack ``archive`` into a new folder of its name in ``folder``, and return that.

    Nothing is written outside of it: a name that leads elsewhere is refused, and links become no links. No more is
    written than the archive says that it holds.

    Raises:
        InputError: it is damaged, encrypted, too large, or no archive.
        ResourceError: the disk has no room.
    """
    name, target = legible(archive.name), folder / archive.stem
    target.mkdir()
    try:
        with ZipFile(archive) as content:
            members = [member for member in content.infolist() if not member.is_dir()]
            places = _places(members, name)
            _refuse_size(members, target, name)
            for member, place in zip(members, places, strict=True):
                _write(content, member, target / place)
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        text = "is compressed in a way that cannot be read" if isinstance(error, NotImplementedError) else "is damaged"
        raise InputError(f"{name} {text}.", "Copy or export it again, or unpack it, and name the folder.") from None
    except OSError as error:
        if isinstance(error, PermissionError):
            raise InputError(f"{name} cannot be read ({error.strerror}).", "Check its permissions.") from None
        raise ResourceError(f"{name} cannot be unpacked ({error.strerror}).", "Make room, or set TMPDIR.") from None
    return target


def _places(members: list[ZipInfo], name: str) -> list[Path]:
    """Where each member goes, relative to the folder.

    Raises:
        InputError: a member is encrypted, or two go to one place, or one elsewhere.
    """
    if any(member.flag_bits & ENCRYPTED for member in members):
        raise InputError(f"{name} is encrypted.", "Unpack it with its password, and name the folder.")
    parts = [PurePosixPath(member.filename.replace("\\", "/")) for member in members]
    astray = any(part.is_absolute() or ".." in part.parts or ":" in part.parts[0] for part in parts if part.parts)
    if astray or len(set(parts)) < len(parts) or not all(part.parts for part in parts):
        raise InputError(
            f"{name} holds names that lead out of it, or one name twice.", "Unpack it yourself, and name the folder."
        )
    return [Path(*part.parts) for part in parts]


def _refuse_size(members: list[ZipInfo], target: Path, name: str) -> None:
    size = sum(member.file_size for member in members)
    if size > MOST_GB * 1e9 or len(members) > MOST_FILES:
        raise InputError(
            f"{name} holds {size / 1e9:.0f} GB in {len(members):,} files.", "Unpack it yourself, and name the folder."
        )
    free = shutil.disk_usage(target).free
    if size > free:
        raise ResourceError(
            f"{name} holds {size / 1e9:.1f} GB, and there is room for {free / 1e9:.1f} GB.", "Make room, or set TMPDIR."
        )


def _write(content: ZipFile, member: ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with content.open(member) as source, place.open("xb") as target:
        while block := source.read(BLOCK):  # never more than the member's size, and its checksum is compared
            target.write(block)
