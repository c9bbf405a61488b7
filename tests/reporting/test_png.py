"""Pictures as PNG: every pixel comes back, whatever compresses them, and the same ones give the same bytes."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from braincli.reporting.png import encoded


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (40, 33)])
def test_every_pixel_comes_back(shape: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setitem(sys.modules, "isal", None)
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)  # differences of rows run over
    once = encoded(Image.fromarray(pixels), 130)
    assert once == encoded(Image.fromarray(pixels), 130)
    with Image.open(io.BytesIO(once)) as picture:
        picture.verify()  # the checksums
    with Image.open(io.BytesIO(once)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(picture), pixels)
        assert picture.info["dpi"] == pytest.approx((130, 130), abs=0.01)
