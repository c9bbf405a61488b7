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
FIRST_BITE = 512  # of a gzip member; doubled while it lasts, so that many tiny members cost no more than they hold
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
    (b"{", "not-nifti", "a JSON document, not a scan", "Name the scan; a sidecar lies beside it."),
    (b"/annex/objects/", "annex", "a git-annex pointer, not the scan", "Fetch the content with `datalad get`."),
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
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise Refused("unreadable", f"cannot be opened ({reason}).", "Check the path.") from None
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
        self._raw, self._at = b"", 0  # the block that was read last, and how much of it is used up
        self._more()
        self.start = self._raw[:512]
        self.compressed = self.start.startswith(GZIP)
        self._inflater, self._bite = zlib.decompressobj(31), FIRST_BITE
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
        self._drain()
        return self._digest.hexdigest()

    def _more(self) -> bool:
        """Read on, keeping what is not used up; False at the end of the file."""
        block = self._handle.read(BLOCK)
        self._digest.update(block)
        self._raw, self._at = self._raw[self._at :] + block, 0
        return bool(block)

    def _drain(self) -> int:
        """Read to the end of the file; the number of raw bytes passed over."""
        passed = len(self._raw) - self._at
        self._at = len(self._raw)
        while self._more():
            passed += len(self._raw)
            self._at = len(self._raw)
        return passed

    def _next(self, limit: int) -> bytes:
        """Between 1 and ``limit`` bytes, or none at the end."""
        while not self.failure and not self.trailing:
            if self.compressed and self._inflater.eof and not self._next_member():
                return b""
            if self._at == len(self._raw) and not self._more():
                self.failure = "truncated" if self.compressed else ""
                return b""
            if part := self._inflate(limit) if self.compressed else self._plain(limit):
                return part
        return b""

    def _plain(self, limit: int) -> bytes:
        part = self._raw[self._at : self._at + limit]
        self._at += len(part)
        return part

    def _inflate(self, limit: int) -> bytes:
        """At most ``limit`` bytes out of the next bite; none is no end (headers give none)."""
        bite = self._raw[self._at : self._at + self._bite]
        try:
            part = self._inflater.decompress(bite, limit)
        except zlib.error as error:
            crc = any(word in str(error) for word in ("data check", "length check"))
            self.failure = "damaged: checksum (CRC-32) wrong" if crc else "damaged: compressed data invalid"
            return b""
        left = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
        self._at += len(bite) - len(left)
        self._bite = min(2 * self._bite, BLOCK)
        return part

    def _next_member(self) -> bool:
        """gzip allows several members in a row, and zero padding after the last."""
        while not self._raw.startswith(GZIP, self._at):
            rest = self._raw[self._at :].lstrip(b"\0")
            self._at = len(self._raw) - len(rest)
            if len(rest) < len(GZIP) and self._more():
                continue  # the magic may lie across two blocks
            if not rest.startswith(GZIP):
                self.trailing = self._drain()
                return False
        self._inflater, self._bite = zlib.decompressobj(31), FIRST_BITE
        return True
