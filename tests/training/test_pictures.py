"""Scalars and restored slices for TensorBoard, where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toymethod

from braincli.methods.base import Prediction
from braincli.training import log as logs
from braincli.training.pictures import as_one, fixed_rows, restored_slices


class Board:
    """Notes what TensorBoard would write."""

    def __init__(self, folder: str) -> None:
        self.scalars: list[tuple[str, float, int]] = []
        self.images: dict[str, torch.Tensor] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def add_image(self, name: str, image: torch.Tensor, step: int) -> None:
        self.images[name] = image

    def flush(self) -> None: ...


def test_scalars_and_pictures_go_to_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "find_spec", lambda name: name == "tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Board))
    log = logs.Log(tmp_path / "metrics.jsonl", tmp_path / "board")
    log.scalars("clean", 20, {"loss": 0.5})
    log.picture("clean/slice-3", 20, torch.full((1, 4, 4), 2.0))
    assert log.board.scalars == [("clean/loss", 0.5, 20)]
    assert log.board.images["clean/slice-3"].max() == 1
    assert next(logs.iterate_metrics(log.metrics)) == {"stage": "clean", "step": 20, "loss": 0.5}


def test_without_tensorboard_only_the_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "find_spec", lambda name: None)
    log = logs.Log(tmp_path / "metrics.jsonl", tmp_path / "board")
    log.scalars("clean", 20, {"loss": 0.5})
    log.picture("clean/slice-3", 20, torch.zeros(1, 4, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_same_diseased_slices_each_time() -> None:
    store, method = toymethod.store(), toymethod.fresh().eval()
    assert list(fixed_rows(store)) == [1, 13, 27, 39] and (store.label[fixed_rows(store)] == 1).all()
    assert len(fixed_rows(toymethod.store(labels=(0,)))) == 4
    first, again = (dict(restored_slices(method, store)) for _ in range(2))
    assert list(first) == ["slice-1", "slice-13", "slice-27", "slice-39"]
    height, width = toymethod.SIZE
    for name, picture in first.items():
        assert picture.shape == (1, 3 * height, 4 * width) and picture.min() >= 0 and picture.max() <= 1
        assert torch.equal(picture, again[name])
    given = torch.from_numpy(store.image[13] / 255.0)
    torch.testing.assert_close(first["slice-13"][0, :height, width : 2 * width], given[1].float())


def test_methods_that_only_score_show_slice_and_score(monkeypatch: pytest.MonkeyPatch) -> None:
    method = toymethod.fresh().eval()
    monkeypatch.setattr(method, "predict", lambda image, brain, *rest: Prediction(None, 0.5 * brain))
    picture = dict(restored_slices(method, toymethod.store()))["slice-1"]
    height, width = toymethod.SIZE
    assert picture.shape == (1, 2 * height, 4 * width) and picture[0, height:].max() == 0.5


def test_pictures_become_one() -> None:
    one = as_one([torch.zeros(1, 3, 4), torch.ones(1, 3, 4), torch.full((1, 3, 4), 0.5)])
    assert one.shape == (3 * 5 - 2, 4) and one.dtype == np.uint8
    assert (one[5:8] == 255).all() and (one[10:] == 128).all() and not one[:5].any()
