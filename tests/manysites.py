"""A small cohort of three sites, as the thesis has them: one with both classes, one healthy, one diseased."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from phantoms import affine, write

SHAPE = (20, 24, 20)
PLAN = {"basel": ("healthy", "diseased"), "london": ("healthy",), "boston": ("diseased",)}
TINY = ["--preset", "tiny", "--precision", "fp32", "--threads", "1", "--quiet"]


def head(diseased: bool, site: int, seed: int) -> np.ndarray:
    """(X, Y, Z) a brain; the diseased have a dark core, sites differ in their gain and their noise."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    random = np.random.default_rng(seed)
    tissue = 100 + 20 * grid[0] + random.normal(0, 3 + 2 * site, SHAPE)
    centre = random.uniform(-0.1, 0.1, 3)[:, None, None, None]
    core = ((grid - centre) ** 2).sum(0) < 0.4**2
    tissue = np.where(core & diseased, 30.0, tissue) * (1 + site)
    inside = (grid[0] / 0.85) ** 2 + (grid[1] / 0.85) ** 2 + (grid[2] / 0.85) ** 2 < 1
    return np.where(inside, tissue, 0).astype(np.float32)


def cohort(folder: Path, each: int = 3, plan: dict[str, tuple[str, ...]] | None = None) -> Path:
    """A manifest ``cohort.tsv`` with ``each`` cases of every class of every site."""
    lines = ["id\tt1\tclass\tsite"]
    for number, (site, classes) in enumerate((plan or PLAN).items()):
        for name in classes:
            for k in range(each):
                id = f"{site}-{name}-{k}"
                data = head(name == "diseased", number, 100 * number + 10 * k + (name == "diseased"))
                write(folder / f"{id}_t1.nii.gz", data, affine("RAS", (8.0, 8.0, 8.0)))
                lines.append(f"{id}\t{id}_t1.nii.gz\t{name}\t{site}")
    (folder / "cohort.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "cohort.tsv"
