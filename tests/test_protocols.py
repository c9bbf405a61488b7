"""The papers' protocols run from a data set's download to their table, with tiny presets on generated heads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import warm
from phantoms import affine, brain, lesion, write

pytestmark = [pytest.mark.slow, pytest.mark.long]  # dozens of commands each

ROOT = Path(__file__).resolve().parents[1]
PROTOCOLS = ROOT / "examples" / "protocols"
SHAPE = (40, 48, 16)
GRID = affine("LPS", (3.0, 3.0, 4.0))


def write_cohort(folder: Path, names: list[str], contrasts: tuple[str, ...], *, sick: bool) -> Path:
    """Cases as BraTS distributes them; of healthy ones single files, as IXI does."""
    spot = lesion(SHAPE) > 0
    for name in names:
        seed = crc32(name.encode())  # no two heads alike: a model knows the images that it has seen
        place = folder / name if sick else folder
        for contrast in contrasts:
            image = np.where(spot & sick, 190, brain(SHAPE, seed)).astype(np.float32)
            write(place / f"{name}{'_' if sick else '-'}{contrast}.nii.gz", image, GRID)
        if sick:
            write(place / f"{name}_seg.nii.gz", spot.astype(np.uint8), GRID)
    return folder


def brats(folder: Path, count: int = 5, contrasts: tuple[str, ...] = ("t1", "t1ce", "t2", "flair")) -> Path:
    return write_cohort(folder, [f"BraTS20_Training_{n:03d}" for n in range(count)], contrasts, sick=True)


def run(script: str, out: Path, **settings: object) -> str:
    """The table that ``script`` prints; run twice, the second time finds everything done."""
    environment = os.environ | {
        "BRAINCLI": warm.command(), "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "OUT": str(out),
        "BRAINCLI_DEVICE": "cpu", "BRAINCLI_NUM_THREADS": "1", "PREPARED": "1", "PRESET": "tiny", "FOLDS": "1",
    }  # fmt: skip
    environment |= {key: str(value) for key, value in settings.items()}
    tables = []
    for _ in range(2):
        done = subprocess.run([PROTOCOLS / f"{script}.sh"], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        tables.append(done.stdout)
    assert tables[0] == tables[1] == (out / "table.md").read_text()
    assert "== train" not in done.stderr and "== preprocess" not in done.stderr, "nothing is made twice"
    return tables[0]


def rows(table: str) -> set[tuple[str, str]]:
    """(data, model) of each row."""
    cells = [line.split("|") for line in table.splitlines()[2:]]
    assert all(row[4] == " - " or 0 <= float(row[4].split("±")[0]) <= 1 for row in cells)
    return {(row[1].strip(), row[2].strip()) for row in cells}


def test_tsgm(tmp_path: Path) -> None:
    icts = write_cohort(tmp_path / "icts", ["icts1", "icts2"], ("t1ce",), sick=True)
    table = run("tsgm", tmp_path / "out", BRATS2020=brats(tmp_path / "brats", 6), ICTS=icts, METHODS="tsgm vae", TEST=2)
    assert rows(table) == {("brats2020", "tsgm"), ("brats2020", "vae"), ("icts", "tsgm")}


def test_pddpm_on_t2(tmp_path: Path) -> None:
    ixi = write_cohort(tmp_path / "ixi", [f"IXI{n:03d}-Guys-0828" for n in range(5)], ("T2",), sick=False)
    ms = write_cohort(tmp_path / "ms", ["patient01", "patient02", "patient03"], ("t2",), sick=True)
    table = run(
        "pddpm-t2", tmp_path / "out", IXI_T2=ixi, BRATS21=brats(tmp_path / "brats", 3), MSLUB=ms,
        METHODS="threshold ae", FOLDS=2, IXI_TEST=1, BRATS_VALIDATION=1, BRATS_TEST=2, MS_VALIDATION=1, MS_TEST=2,
    )  # fmt: skip
    assert rows(table) >= {("brats21", "ae"), ("brats21", "threshold"), ("mslub", "ae")}
    assert "| brats21 | ae | 2 |" in table and "L1 of healthy" in table and "± " in table


def test_sadm_on_t1(tmp_path: Path) -> None:
    ixi = write_cohort(tmp_path / "ixi", [f"IXI{n:03d}-HH-1234" for n in range(5)], ("T1",), sick=False)
    atlas = write_cohort(tmp_path / "atlas", ["r001s001", "r001s002", "r001s003", "r001s004"], ("t1",), sick=True)
    table = run(
        "sadm-t1", tmp_path / "out", IXI_T1=ixi, BRATS21=brats(tmp_path / "brats", 4, ("t1", "flair")), ATLAS=atlas,
        METHODS="sadm-res", WEAK="unet", IXI_TEST=2, IXI_VALIDATION=1, BRATS_LABELLED=2,
        BRATS_TEST=2, ATLAS_LABELLED=2, ATLAS_TEST=2,
    )  # fmt: skip
    weak = {(data, f"unet-{lender}") for data in ("brats21", "atlas") for lender in ("brats21", "atlas")}
    unsupervised = {(data, "sadm-res") for data in ("brats21", "atlas", "synthetic")}
    assert rows(table) == weak | unsupervised


def test_isct_on_isles(tmp_path: Path) -> None:
    data = tmp_path / "brats"
    brats(data / "HGG", 5, ("t2", "flair"))
    write_cohort(data / "LGG", ["BraTS19_LGG_1", "BraTS19_LGG_2"], ("t2",), sick=True)
    isles = write_cohort(tmp_path / "isles", ["isles1", "isles2"], ("t2",), sick=True)
    table = run("isct-isles", tmp_path / "out", BRATS2019=data, ISLES=isles, METHODS="ae", HGG_TEST=2)
    assert rows(table) == {("brats2019-hgg", "ae"), ("brats2019-lgg", "ae"), ("isles", "ae")}


def test_the_chapters_of_the_thesis(tmp_path: Path) -> None:
    table = run(
        "diffusion-thesis", tmp_path / "out", BRATS2020=brats(tmp_path / "brats", 5), TEST=2, ENSEMBLES="1 2",
        SCALES="10 50", LEVELS="250", STEPS=2,
    )  # fmt: skip
    assert rows(table) == {
        ("brats2020", "diffseg-of-1"), ("brats2020", "diffseg-of-2"), ("brats2020", "dpm-classifier-s10-L250"),
        ("brats2020", "dpm-classifier-s50-L250"),
    }  # fmt: skip
