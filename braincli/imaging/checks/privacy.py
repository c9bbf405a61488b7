"""What a NIfTI header may tell about a patient: text fields and extensions. Outputs carry none of them."""

from __future__ import annotations

import struct

import numpy as np

from braincli.imaging.checks.header import Header

TEXT_FIELDS = ("descrip", "aux_file", "db_name", "intent_name")
EXTENSIONS = {2: "DICOM", 4: "AFNI", 6: "comment", 14: "FreeSurfer", 16: "Python pickle", 40: "MATLAB"}


def private_content(header: Header, head: bytes) -> dict[str, str]:
    """Non-empty text fields with their content, and extensions by kind and size (their content is never
    read).

    Args:
        header: the parsed header.
        head: the file's bytes before the voxels.
    """
    content = {}
    for name in TEXT_FIELDS:
        if name in header:
            text = np.asarray(header[name]).tobytes().split(b"\0")[0].decode("latin-1").strip()
            if text:
                content[name] = "".join(letter if letter.isprintable() else "?" for letter in text)
    for number, (code, size) in enumerate(_extensions(head, int(header["sizeof_hdr"]), header.endianness), 1):
        content[f"extension {number}"] = f"{EXTENSIONS.get(code, f'code {code}')}, {size} bytes"
    return content


def _extensions(head: bytes, start: int, order: str) -> list[tuple[int, int]]:
    """``(ecode, esize)`` of the extensions behind the header, as far as their sizes make sense."""
    extensions: list[tuple[int, int]] = []
    position = start + 4
    if head[start : start + 1] in (b"", b"\0"):
        return extensions
    while position + 8 <= len(head):
        size, code = struct.unpack(order + "ii", head[position : position + 8])
        if size < 8 or position + size > len(head):
            break
        extensions.append((code, size))
        position += size
    return extensions
