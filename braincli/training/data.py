"""Batches from the slice store. The whole store lies on the GPU where it fits, so that no step waits for the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from braincli.errors import InputError
from braincli.methods.base import Batch, Sampling, beside
from braincli.training.store import OPTIONAL, SliceStore

PARTS = ("image", "brain", "label", "lesion", "position")
STRIDES = (1, 5)  # slices from a neighbour to the next one, from and below
SHARE = 0.5  # of the GPU's free memory that the store may take


class Source:
    """The store's arrays as tensors: on the GPU as they are (bytes) if they fit, else memory maps read per batch."""

    def __init__(self, store: SliceStore, device: torch.device) -> None:
        self.store, self.device = store, device
        self.parts = (*PARTS, *(name for name in OPTIONAL if getattr(store, name) is not None))
        size = sum(getattr(store, name).nbytes for name in self.parts)
        self.resident = device.type == "cuda" and size < SHARE * torch.cuda.mem_get_info(device)[0]
        self.whole = {n: torch.from_numpy(np.array(getattr(store, n))).to(device) for n in self.parts if self.resident}

    def batch(self, rows: np.ndarray, around: np.ndarray | None = None) -> Batch:
        """Slices ``rows`` on the device, with their neighbours ``around`` (B, 2 K), where these are wanted."""
        parts = self._read(self.parts, rows)
        image = parts["image"].float() / 255 * parts["brain"]
        near: Tensor | None = None
        if around is not None and around.size:
            seen = self._read(("image", "brain"), around.ravel())
            near = (seen["image"].float() / 255 * seen["brain"]).unflatten(0, around.shape)
        tissue = parts["tissue"].float() / 255 if "tissue" in parts else None
        given = parts["brain"], parts["label"].long(), parts["lesion"], parts["position"]
        return Batch(image, *given, tissue, parts.get("unsure"), parts.get("number"), near)

    def _read(self, names: Sequence[str], rows: np.ndarray) -> dict[str, Tensor]:
        if self.resident:
            index = self._sent(rows)
            return {name: self.whole[name][index] for name in names}
        return {name: self._sent(getattr(self.store, name)[rows]) for name in names}

    def _sent(self, array: np.ndarray) -> Tensor:
        """On the device; by pinned memory, from which a copy waits for nothing."""
        part = torch.from_numpy(np.ascontiguousarray(array))
        pinned = part.pin_memory() if self.device.type == "cuda" else part
        return pinned.to(self.device, non_blocking=True)


class Draw(NamedTuple):
    """One shard of one step, and the generator, on the same device, of everything random that is done with it."""

    batch: Batch
    generator: torch.Generator


class Feed:
    """The shards of any step; where the store is not on the device, the next step is read while this one is computed.

    Args:
        pools: what to draw from, see :func:`pools`.
        size: slices per shard, in runs of ``run`` adjacent ones. neighbours: of each slice, see :func:`around`.
        seeds: one seed per shard of a step.

    Attributes:
        waited: seconds that :meth:`step` took in all.
    """

    def __init__(
        self,
        source: Source,
        pools: list[np.ndarray],
        size: int,
        run: int,
        seeds: Callable[[int], list[int]],
        neighbours: int = 0,
    ) -> None:
        self.source, self.pools, self.size, self.run, self.seeds = source, pools, size, run, seeds
        self.neighbours = neighbours
        self.waited = 0.0
        ahead = source.device.type != "cpu" and not source.resident
        self._reader = ThreadPoolExecutor(1) if ahead else None
        self._next: tuple[int, Future[list[Draw]]] | None = None

    def step(self, number: int) -> list[Draw]:
        """The shards of step ``number``; depends on nothing that went before."""
        begin = time.perf_counter()
        ready = self._next is not None and self._next[0] == number
        drawn = self._next[1].result() if self._next is not None and ready else self._draw(number)
        if self._reader is not None:
            self._next = (number + 1, self._reader.submit(self._draw, number + 1))
        self.waited += time.perf_counter() - begin
        return drawn

    def close(self) -> None:
        """Stop reading ahead."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)

    def _draw(self, number: int) -> list[Draw]:
        return [self._shard(seed) for seed in self.seeds(number)]

    def _shard(self, seed: int) -> Draw:
        """Slices are chosen on the CPU, which reads them; all else is drawn where it is needed."""
        generator = torch.Generator().manual_seed(seed)
        rows = choose(self.pools, self.size, generator, self.run)
        batch = self.source.batch(rows, around(self.source.store, rows, self.neighbours, generator))
        if self.source.device.type != "cpu":
            generator = torch.Generator(self.source.device).manual_seed(seed)
        return Draw(batch, generator)


def pools(store: SliceStore, sampling: Sampling, stage: str) -> list[np.ndarray]:
    """Indices to draw from: one pool, or two of which each gives half of a batch.

    Raises:
        InputError: the store holds none of the kind that ``sampling`` asks for.
    """
    if sampling == "all":
        return [np.arange(len(store))]
    labels: dict[Sampling, list[int | None]] = {"healthy": [0], "balanced": [0, 1], "any": [None]}
    words = {"healthy": "healthy slices", "balanced": "healthy and diseased slices", "any": "labelled slices"}
    label = np.asarray(store.label)
    known = label >= 0  # what may be a lesion is left out: the rest of such a slice is as good
    if store.unsure is not None:
        known = known | store.unsure.any(axis=(1, 2, 3))
    drawn_from = [np.flatnonzero(known if kind is None else label == kind) for kind in labels[sampling]]
    if any(len(pool) == 0 for pool in drawn_from):
        raise InputError(
            f"The cohort has no {words[sampling]}, which stage {stage} needs.",
            "Put lesion masks (*_seg.nii.gz) beside the scans, or mark healthy cases in a manifest (group = healthy).",
        )
    return drawn_from


def around(store: SliceStore, rows: np.ndarray, neighbours: int, generator: torch.Generator) -> np.ndarray:
    """(B, 2 ``neighbours``) indices of the slices below and above ``rows``, from below to above.

    Each row has another distance between them, of :data:`STRIDES` slices, as scans have slices of other thickness.
    Where a case ends its last slice stands for those beyond it.
    """
    if not neighbours:
        return np.empty((len(rows), 0), int)
    strides = torch.randint(*STRIDES, (len(rows),), generator=generator).numpy()
    case = np.asarray(store.case)  # in order
    first, last = (np.searchsorted(case, case[rows], side)[:, None] for side in ("left", "right"))
    return (rows[:, None] + strides[:, None] * beside(neighbours)).clip(first, last - 1)


def spread(store: SliceStore, count: int) -> np.ndarray:
    """At most ``count`` slice indices, evenly over the whole store."""
    return np.unique(np.linspace(0, len(store) - 1, min(count, len(store))).round().astype(int))


def choose(pools: list[np.ndarray], size: int, generator: torch.Generator, run: int = 1) -> np.ndarray:
    """``size`` slice indices with replacement, an equal share from each pool (at least one).

    With ``run`` > 1 they come in runs of adjacent entries of the pool: one case's slices, in order.
    """
    share = max(1, size // len(pools) // run)
    first = [torch.randint(max(1, len(pool) - run + 1), (share,), generator=generator).numpy() for pool in pools]
    steps = np.arange(run)
    parts = [pool[(f[:, None] + steps).clip(max=len(pool) - 1).ravel()] for pool, f in zip(pools, first, strict=True)]
    return np.concatenate(parts)
