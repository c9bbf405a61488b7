"""The file itself and its bytes: decompressed to the end of the stream, under a cap, hashed on the way.

ITK and ANTs read a truncated ``.nii.gz`` as if it were whole, with zeros for the missing slices. Here the
stream is read to its end, so that its length and CRC-32 are checked, and never beyond what the header claims.
"""

from __future__ import annotations

import hashlib
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from braincli.imaging.checks.problem import Refused

BLOCK = 1 << 20
GZIP = b"\x1f\x8b"
NOT_NIFTI = (  # how files begin that are often saved under a NIfTI name
    (
        b"version https://git-lfs",
        "git-lfs",
        "a git-LFS pointer, not the scan",
        "Fetch the content with `git lfs pull`.",
    ),
    (b"<!doctype", "web-page", "a web page, not a scan", "The download failed; fetch the file again."),
    (b"<html", "web-page", "a web page, not a scan", "The download failed; fetch the file again."),
    (b"<?xml", "web-page", "an XML document, not a scan", "The download failed; fetch the file again."),
    (b"nrrd", "not-nifti", "an NRRD file", "Convert it to NIfTI."),
    (b"pk\x03\x04", "not-nifti", "a ZIP archive", "Unpack it first."),
)
OTHER_FORMATS = {
    ".img": "an Analyze or NIfTI pair", ".hdr": "an Analyze or NIfTI pair", ".mgz": "a FreeSurfer volume",
    ".mgh": "a FreeSurfer volume", ".nrrd": "an NRRD file", ".mha": "a MetaImage", ".dcm": "a DICOM file",
}  # fmt: skip


def is_nifti(path: Path) -> bool:
    """Whether the name ends in ``.nii`` or ``.nii.gz`` (any case)."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def check_path(path: Path) -> None:
    """Refuse what is not a readable, regular file with a NIfTI name."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        raise Refused("missing", "no such file.", "Check the path.") from None
    except OSError as error:
        raise Refused("unreadable", f"cannot be opened ({error.strerror or error}).", "Check the path.") from None
    if stat.S_ISDIR(facts.st_mode):
        raise Refused("directory", "is a folder, not a file.", "Name a .nii or .nii.gz file.")
    if not stat.S_ISREG(facts.st_mode):
        raise Refused("not-regular", "is not a regular file.", "Copy the scan to a file first.")
    if facts.st_size == 0:
        raise Refused("empty", "is empty (0 bytes).", "Fetch or convert it again.")
    if not is_nifti(path):
        what = OTHER_FORMATS.get(path.suffix.lower(), "not a NIfTI name")
        raise Refused(
            "not-nifti", f"is {what}; only .nii and .nii.gz are read.", "Convert it, e.g. with `nib-convert`."
        )


def check_content(start: bytes) -> None:
    """Refuse content that is recognisably something else; ``start`` is the first (decompressed) bytes."""
    for signature, code, what, hint in NOT_NIFTI:
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(signature):
            raise Refused(code, f"is {what}.", hint)
    if start[128:132] == b"DICM":
        raise Refused("not-nifti", "is a DICOM file.", "Convert the series with dcm2niix.")


class Stream:
    """Bytes of an open file, decompressed if it begins with the gzip magic.

    Attributes:
        compressed: whether the file is gzip.
        start: the first raw bytes of the file.
        trailing: bytes after the end of the gzip stream that belong to nothing.
        failure: why the stream broke off (``truncated`` or ``damaged``), empty while all is well.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self._digest = hashlib.sha256()
        self._pending = self._raw()
        self.start = self._pending[:512]
        self.compressed = self.start.startswith(GZIP)
        self._inflater = zlib.decompressobj(31)
        self.trailing = 0
        self.failure = ""

    def fill(self, view: memoryview) -> int:
        """Fill ``view`` as far as the stream goes; the number of bytes written."""
        done = 0
        while done < len(view) and (part := self._next(min(len(view) - done, BLOCK))):
            view[done : done + len(part)] = part
            done += len(part)
        return done

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes; fewer only where the stream ends or breaks."""
        buffer = bytearray(count)
        return bytes(buffer[: self.fill(memoryview(buffer))])

    def skip(self, count: int) -> int:
        """Pass over ``count`` bytes; the number that were there."""
        done = 0
        while done < count and (part := self._next(min(count - done, BLOCK))):
            done += len(part)
        return done

    def sha256(self) -> str:
        """Hash of the whole file; reads what is left of it."""
        while self._raw():
            pass
        return self._digest.hexdigest()

    def _raw(self) -> bytes:
        block = self._handle.read(BLOCK)
        self._digest.update(block)
        return block

    def _next(self, limit: int) -> bytes:
        """Between 1 and ``limit`` bytes, or none at the end."""
        if not self.compressed:
            self._pending = self._pending or self._raw()
            part, self._pending = self._pending[:limit], self._pending[limit:]
            return part
        while not self.failure and not self.trailing:
            if self._inflater.eof and not self._next_member():
                return b""
            if not (self._pending or self._fetch()):
                self.failure = "truncated"
                return b""
            try:
                part = self._inflater.decompress(self._pending, limit)
            except zlib.error as error:
                crc = any(word in str(error) for word in ("data check", "length check"))
                self.failure = "damaged: checksum (CRC-32) wrong" if crc else "damaged: compressed data invalid"
                return b""
            self._pending = self._inflater.unconsumed_tail
            if part:
                return part
        return b""

    def _fetch(self) -> bytes:
        self._pending = self._raw()
        return self._pending

    def _next_member(self) -> bool:
        """gzip allows several members in a row, and zero padding after the last."""
        rest = self._inflater.unused_data or self._fetch()
        self._pending = b""
        while rest and not rest.strip(b"\0"):
            rest = self._raw()
        if rest.startswith(GZIP):
            self._inflater, self._pending = zlib.decompressobj(31), rest
            return True
        while rest:
            self.trailing += len(rest)
            rest = self._raw()
        return False
