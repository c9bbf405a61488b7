"""The models in ``models/`` keep predicting what they predicted when they were trained.

``shipped.json`` holds some values of each one's anomaly map of a generated brain, as the version gave them that it was
trained with. Whoever ships another model writes its values there.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from braincli.detection.maps import channels, fuse, renormalise
from braincli.detection.restore import restore
from braincli.imaging.cases import CONTRASTS
from braincli.imaging.slices import Slices, from_volumes
from braincli.imaging.volume import Volume
from braincli.model.folder import load_model

MODELS = Path(__file__).parents[2] / "models"
BEFORE = Path(__file__).with_name("shipped.json")
NAMES = sorted(path.parent.name for path in MODELS.glob("*/model.json"))
SHAPE = (72, 90, 3)
VALUES = 24  # of each map
WITHIN = {"pii": 3e-6, "sadm": 3e-5}  # steep: processors and numbers of threads differ by so much


def volumes() -> dict[str, Volume]:
    """Four contrasts (X, Y, Z) of a lopsided ellipsoid with a bright ball, made of sums and products alone."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = (x / 0.9) ** 2 + (y / 0.92) ** 2 + (z / 1.5) ** 2 < 1
    ball = (x - 0.3) ** 2 + (y + 0.2) ** 2 < 0.04
    affine = np.diag([2.0, 2.0, 4.0, 1.0])
    found = {}
    for number, contrast in enumerate(CONTRASTS):
        tissue = 100 + 20 * x * (1 + number) + 15 * y * z + 30 * (x * y - 0.2 * number * y) + 40 * ball * (number - 1)
        found[contrast] = Volume(np.where(inside, tissue, 0).astype(np.float32), affine)
    return found


def some_values(name: str) -> list[float]:
    """Values of the anomaly map, spread evenly over the brain."""
    model = load_model(str(MODELS / name), torch.device("cpu"))
    slices: Slices = from_volumes(volumes(), model.info.slices, stride=model.method.stride)
    restoration = restore(slices, model, case_id="generated")
    weights = renormalise(model.info.calibration.weights if model.info.calibration else {}, CONTRASTS)
    anomaly = fuse(channels(restoration, model.info.map), weights)[slices.brain[:, 0]]
    return [float(value) for value in anomaly[np.linspace(0, len(anomaly) - 1, VALUES).astype(int)]]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_gives_the_map_that_it_gave(name: str) -> None:
    before, threads = json.loads(BEFORE.read_text())[name], torch.get_num_threads()
    assert max(before) > 0
    torch.set_num_threads(1)
    try:
        now = some_values(name)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(now, before, atol=WITHIN.get(name, 1e-6), rtol=0)
