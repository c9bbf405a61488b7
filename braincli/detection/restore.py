"""Restore all brain slices of a case with a trained model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from braincli.errors import ModelError, ResourceError
from braincli.modelfolder import LoadedModel
from braincli.progress import Reporter
from braincli.slices import Slices


@dataclass(frozen=True)
class Restoration:
    """A restored case.

    Attributes:
        slices: the input.
        restored: (S, C, H, W) float32 in [0, 1], pseudo-healthy; absent contrasts 0.
        residual: (S, C, H, W) float32 >= 0, |input - restored| inside the brain.
        device: where it was computed in the end.
    """

    slices: Slices
    restored: np.ndarray
    residual: np.ndarray
    device: str


def generator(seed: int, case_id: str, index: int, sample: int = 0) -> torch.Generator:
    """The CPU generator of one slice: it depends on nothing but these four, so batches and shards change no result."""
    digest = hashlib.sha256(f"{seed}/{case_id}/{index}/{sample}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def restore(
    slices: Slices,
    model: LoadedModel,
    *,
    case_id: str,
    seed: int = 0,
    batch: int = 16,
    on_oom: str = "halve",
    dtype: torch.dtype | None = None,
    reporter: Reporter | None = None,
) -> Restoration:
    """Run ``model`` over all slices.

    Args:
        case_id: part of the noise seed.
        batch: slices per network call; no result depends on it.
        on_oom: when memory runs out, ``halve`` the batch (then fail), go on with the ``cpu``, or ``fail``.
        dtype: autocast type or None for float32.

    Raises:
        ResourceError: out of memory.
        ModelError: the method gives no restoration.
    """
    reporter = reporter or Reporter()
    method, device = model.method, model.device
    restored = np.zeros_like(slices.image)
    done = 0
    with reporter.step(f"restore {case_id}", total=len(slices.index) * method.calls()) as bar:

        def predict(begin: int, end: int) -> np.ndarray:
            image = torch.from_numpy(slices.image[begin:end]).to(device)
            brain = torch.from_numpy(slices.brain[begin:end]).to(device)
            noise = [generator(seed, case_id, int(i)) for i in slices.index[begin:end]]
            with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                found = method.predict(image, brain, noise, lambda *_: bar.advance(end - begin)).restored
            if found is None:
                raise ModelError(f"The method {model.info.method} gives no restoration.")
            return found.float().cpu().numpy()

        while done < len(restored):
            end = min(done + batch, len(restored))
            try:
                restored[done:end] = predict(done, end)
                done = end
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                batch, device = _retreat(batch, device, on_oom, reporter, method.to)
    inside = slices.brain & (slices.image != 0).any(axis=(2, 3), keepdims=True)
    return Restoration(slices, restored, np.abs(slices.image - restored) * inside, str(device))


def _out_of_memory(error: BaseException) -> bool:
    return not isinstance(error, RuntimeError) or "memory" in str(error).lower()


def _retreat(
    batch: int, device: torch.device, on_oom: str, reporter: Reporter, move: Callable[[torch.device], object]
) -> tuple[int, torch.device]:
    """A smaller batch or another device, as the user allows."""
    if on_oom == "halve" and batch > 1:
        reporter.warn(f"out of memory; batch {batch} -> {batch // 2}")
        return batch // 2, device
    if on_oom == "cpu" and device.type != "cpu":
        reporter.warn(f"out of memory on {device}; going on with the CPU")
        move(torch.device("cpu"))
        return batch, torch.device("cpu")
    raise ResourceError(
        f"Out of memory with {batch} slices at a time on {device}.",
        "Use a smaller --batch, --on-oom halve, or --device cpu.",
    )
