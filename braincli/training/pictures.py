"""A fixed set of slices and what the method makes of them, to be looked at while it learns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from braincli.methods.base import Method
from braincli.training.data import Source, around
from braincli.training.store import SliceStore

ROWS = 4


def fixed_rows(store: SliceStore, count: int = ROWS) -> np.ndarray:
    """Up to ``count`` slices spread evenly over the diseased ones (over all, where none is known to be diseased)."""
    diseased = np.flatnonzero(np.asarray(store.label) == 1)
    pool = diseased if len(diseased) else np.arange(len(store))
    return pool[np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int)]


def restored_slices(method: Method, store: SliceStore, seed: int = 0) -> Iterator[tuple[str, Tensor]]:
    """For each fixed slice a name and a picture (1, h, w) in [0, 1].

    Columns are contrasts; rows are the slice, its restoration, their absolute difference. Of a method that only scores,
    they are the slice and its score.
    """
    rows = fixed_rows(store)
    if method.sequence > 1:  # whole runs of adjacent slices; the first of each is shown
        rows = (rows[:, None] + np.arange(method.sequence)).clip(max=len(store) - 1).ravel()
    device = next(method.parameters()).device
    near = around(store, rows, method.neighbours, torch.Generator().manual_seed(seed))
    batch = Source(store, torch.device("cpu")).batch(rows, near).to(device)
    generators = [torch.Generator().manual_seed(seed + row) for row in range(len(rows))]
    with torch.inference_mode():
        prediction = method.predict_among(batch.around, batch.image, batch.brain, generators)
    for row in range(0, len(rows), method.sequence):
        image = batch.image[row]
        if prediction.restored is not None:
            parts = [image, prediction.restored[row], (image - prediction.restored[row]).abs()]
        else:
            assert prediction.score is not None
            parts = [image, prediction.score[row].expand_as(image)]
        yield f"slice-{rows[row]}", torch.cat([torch.cat(list(p), dim=1) for p in parts]).cpu()[None].clamp(0, 1)


def as_one(pictures: Iterable[Tensor]) -> np.ndarray:
    """Pictures (1, h, w) in [0, 1] below each other, with a line between them, as (height, w) uint8."""
    parts = [np.pad((picture[0].numpy() * 255).round().astype(np.uint8), ((0, 2), (0, 0))) for picture in pictures]
    return np.concatenate(parts)[:-2]
