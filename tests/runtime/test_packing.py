"""Compressed files: the same bytes for the same content, with isal and without it."""

from __future__ import annotations

import gzip
import io
import sys

import numpy as np
import pytest

from braincli.runtime.packing import packed

CONTENT = np.random.default_rng(0).normal(size=100_000).astype(np.float32).tobytes() + bytes(100_000)


def compressed() -> bytes:
    raw = io.BytesIO()
    with packed(raw) as stream:
        for start in range(0, len(CONTENT), 70_001):
            stream.write(CONTENT[start : start + 70_001])
    return raw.getvalue()


@pytest.mark.parametrize("fast", [True, False])
def test_the_same_content_gives_the_same_bytes_and_comes_back(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setitem(sys.modules, "isal", None)
    once = compressed()
    assert once == compressed()
    assert gzip.decompress(once) == CONTENT
    assert len(once) < 0.95 * len(CONTENT[:400_000])
    assert once[3] == 0 and once[4:8] == bytes(4)  # neither name nor time
