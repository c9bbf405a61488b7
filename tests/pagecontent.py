"""What pages are filled with in tests: a small case, and a name that would like to be a script."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from braincli.imaging.cases import Contrast
from braincli.imaging.volume import Volume
from braincli.reporting.figures import Shown
from braincli.reporting.pages import CasePage, LesionRow, QualityRow, inline

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"
SHAPE = (40, 50, 30)


def shown(scale: float = 1.0) -> Shown:
    rng = np.random.default_rng(0)
    data = np.zeros(SHAPE, np.float32)
    data[5:-5, 5:-5, 3:-3] = rng.uniform(50, 100, (30, 40, 24))
    image = Volume(data, np.array([[-1, 0, 0, 7.0], [0, 1, 0, -9], [0, 0, scale, 4], [0, 0, 0, 1]]))
    mask = np.zeros(SHAPE, bool)
    mask[10:20, 10:20, 10:15] = True
    score = (0.3 * mask).astype(np.float32)
    score[10, 10, 10] = 0.5
    return Shown(
        {Contrast.FLAIR: image}, image.with_data(mask), anomaly=image.with_data(score), threshold=0.4,
        restored={Contrast.FLAIR: image.with_data((data > 0) * np.float32(0.5))},
        reference=image.with_data(np.roll(mask, 2, axis=0)),
    )  # fmt: skip


def page(**more: Any) -> str:
    texts: dict[str, Any] = {
        "case": EVIL, "subtitle": EVIL, "summary": [(EVIL, EVIL)], "picture": inline(Image.new("RGB", (4, 4))),
        "warnings": [EVIL], "columns": [EVIL], "lesions": [LesionRow(1, (1.0, 2.0, 3.0), [EVIL])], "table_note": EVIL,
        "quality": [QualityRow(EVIL, EVIL, EVIL, False)], "limits": [EVIL], "record": EVIL,
        "citations": [(EVIL, EVIL, "https://doi.org/10.1/x")],
    }  # fmt: skip
    return CasePage(**texts | more).html()


def row(case: str, **more: Any) -> dict[str, Any]:
    empty = {"volume_ml": None, "lesions": None, "largest_ml": None, "qc": None, "seconds": None}
    return {"case": case, "status": "done", "warnings": "", "error": "", "report": "", "thumbnail": "", **empty, **more}
