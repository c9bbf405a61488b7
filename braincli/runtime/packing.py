"""gzip as files are written: with Intel's isal where it is installed, ten times faster than zlib for the same size."""

from __future__ import annotations

import gzip
from typing import IO, BinaryIO, cast

ISAL_LEVEL = 2  # of 0..3; floats become 1.5 % larger than with zlib's level 4, in a tenth of its time
ZLIB_LEVEL = 4


def packed(raw: BinaryIO) -> IO[bytes]:
    """A stream that compresses into ``raw``, without name and time.

    On one machine the same content gives the same bytes. Between machines bytes may differ (isal is there or not, and
    works differently on other processors), content never.
    """
    try:
        from isal import igzip
    except ImportError:
        return cast("IO[bytes]", gzip.GzipFile("", "wb", compresslevel=ZLIB_LEVEL, fileobj=raw, mtime=0))
    return cast("IO[bytes]", igzip.IGzipFile("", "wb", compresslevel=ISAL_LEVEL, fileobj=raw, mtime=0))
