"""How many slices a network sees at a time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import phantoms
import pytest
import torch
from tinymodels import write_model
from torch import Tensor

from braincli.detection.restore import _retreat, around, restore, suited
from braincli.imaging.cases import Contrast
from braincli.imaging.slices import SliceSpec, from_volumes
from braincli.imaging.volume import load
from braincli.methods.base import Prediction
from braincli.methods.threshold import Threshold
from braincli.model.folder import load_model
from braincli.runtime.progress import Reporter


@pytest.mark.parametrize(
    ("device", "size", "slices"),
    [
        ("cpu", (96, 96), 16),
        ("cpu", (256, 256), 16),
        ("cuda", (96, 96), 64),
        ("cuda", (192, 192), 16),
        ("cuda", (256, 256), 16),
    ],
)
def test_a_gpu_gets_more_slices_where_they_are_small(device: str, size: tuple[int, int], slices: int) -> None:
    assert suited(torch.device(device), size) == slices


def test_who_flees_to_the_cpu_takes_no_more_slices_than_suit_it() -> None:
    method: Any = torch.nn.Identity()
    method.sequence = 1
    assert _retreat(76, torch.device("cuda"), "cpu", Reporter(), method) == (16, torch.device("cpu"))
    assert _retreat(8, torch.device("cuda"), "cpu", Reporter(), method) == (8, torch.device("cpu"))
    assert _retreat(76, torch.device("cuda"), "halve", Reporter(), method) == (38, torch.device("cuda"))


@pytest.mark.parametrize(("spacing", "stride"), [(0.5, 4), (1.0, 2), (1.4, 1), (2.0, 1), (6.0, 1)])
def test_neighbours_are_two_millimetres_apart_where_slices_are_thin(spacing: float, stride: int) -> None:
    slices: Any = SimpleNamespace(spacing=(spacing, 2.0, 2.0), index=np.arange(7, 47))
    near = around(slices, 2)
    assert near[20].tolist() == [20 - 2 * stride, 20 - stride, 20 + stride, 20 + 2 * stride]
    assert near[0, :2].tolist() == [0, 0] and near[39, 2:].tolist() == [39, 39], "a stack's last stands for more"
    assert around(slices, 0).shape == (40, 0)


def test_the_slices_per_call_change_no_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def above(self: Threshold, near: Tensor, image: Tensor, brain: Tensor, *rest: Any) -> Prediction:
        return Prediction(None, score=near[:, 1, 3:])  # FLAIR of the next slice

    monkeypatch.setattr(Threshold, "neighbours", 1)
    monkeypatch.setattr(Threshold, "predict_among", above)
    model = load_model(str(write_model(tmp_path / "m", "threshold", calibrated=False)), torch.device("cpu"))
    shape = (40, 44, 20)
    phantoms.write(tmp_path / "flair.nii.gz", phantoms.brain(shape), np.diag([2.0, 2.0, 2.0, 1.0]))
    slices = from_volumes({Contrast.FLAIR: load(tmp_path / "flair.nii.gz")}, SliceSpec())
    for batch in (1, 3, 16):
        score = restore(slices, model, case_id="a", batch=batch).score
        assert score is not None and np.array_equal(score[:-1], slices.image[1:, 3:])
        assert np.array_equal(score[-1], slices.image[-1, 3:])
