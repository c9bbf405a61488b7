"""Restore (or score) all brain slices of a case with a trained model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from braincli.detection.suspicion import beyond_normal
from braincli.errors import ModelError, ResourceError, UsageError
from braincli.imaging.slices import Slices
from braincli.methods.base import Method, Tick, beside
from braincli.model.folder import LoadedModel
from braincli.model.info import subset
from braincli.runtime.progress import Reporter
from braincli.wording import counted

NEAR_MM = 2.0  # from a slice to the neighbour that is looked at beside it, in scans whose slices are thin enough
ROWS = 16  # slices per network call
PIXELS = ROWS * 192**2  # on a GPU, which small slices keep busy in larger numbers only

M = TypeVar("M", bound=torch.nn.Module)
Given = dict[str, Tensor]
Parts = Mapping[str, Tensor | None]
Ask = Callable[[Given, np.ndarray, Tick], Parts]  # slices on the device, their numbers, what to call after a call


@dataclass(frozen=True)
class Restoration:
    """What a model made of a case: a restoration, a score, or both.

    Attributes:
        slices: the input.
        restored: (S, C, H, W) float32 in [0, 1], pseudo-healthy, 0 in absent contrasts and where a contrast shows
            nothing; None where the method gives none.
        score: (S, 1, H, W) float32 >= 0; None where the method gives none.
        device: where it was computed in the end.
        suspicion: (S, 1, H, W) float32 in [0, 1], beyond what is normal there (:mod:`.suspicion`): what residuals are
            multiplied by; None where the method gives none.
        diseased: (S,) float32 in [0, 1], how likely each slice as a whole is diseased; None where the method does not
            tell.
        restores: ``restored`` shows tissue; of some methods it is what values are compared with, and no picture.
    """

    slices: Slices
    restored: np.ndarray | None
    score: np.ndarray | None
    device: str
    suspicion: np.ndarray | None = None
    restores: bool = True
    diseased: np.ndarray | None = None

    @property
    def inside(self) -> np.ndarray:
        """(S, C, H, W) bool: the brain, in contrasts that are present and show it."""
        there = self.slices.brain & (self.slices.image != 0).any(axis=(2, 3), keepdims=True)
        return there if self.slices.shown is None else there & self.slices.shown

    @property
    def slice_classes(self) -> dict[str, Any]:
        """For records: how likely each slice, counted from 0 at the bottom, is diseased, where the method tells.

        It is what the classifier says: no threshold is fitted for it.
        """
        if self.diseased is None:
            return {}
        each = zip(self.slices.index.tolist(), self.diseased.tolist(), strict=True)
        return {"slices_diseased": [{"slice": number, "probability": round(p, 4)} for number, p in each]}


def generator(seed: int, case_id: str, height: int, sample: int = 0) -> torch.Generator:
    """The CPU generator of one slice: it depends on nothing but these four, so batches and shards change no result."""
    digest = hashlib.sha256(f"{seed}/{case_id}/{height}/{sample}".encode(errors="surrogateescape")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def restore(
    slices: Slices,
    model: LoadedModel,
    *,
    case_id: str,
    seed: int = 0,
    sample: int = 0,
    samples: int = 1,
    batch: int | None = None,
    on_oom: str = "halve",
    dtype: torch.dtype | None = None,
    needs_restored: bool = False,
    reporter: Reporter | None = None,
) -> Restoration:
    """Run ``model`` over all slices.

    Args:
        case_id: part of the noise seed.
        sample: which of several restorations of a stochastic method; part of the noise seed.
        samples: how many there will be, for the eyes.
        batch, on_oom, dtype, reporter: see :func:`over_slices`. Sequence models get whole runs of slices.
        needs_restored: a restoration was asked for.

    Raises:
        ModelError: the network's output is not finite.
        ResourceError: out of memory.
        UsageError: a restoration was asked for and the method gives none.
    """
    method = model.method
    height = slices.index - slices.index[0]  # above the lowest slice with brain: cropping the scan changes no noise

    def predict(given: Given, rows: np.ndarray, tick: Tick) -> Parts:
        noise = [generator(seed, case_id, int(i), sample) for i in height[rows]]
        parts = method.predict_among(given.get("around"), given["image"], given["brain"], noise, tick)._asdict()
        if needs_restored and not (method.restores and parts["restored"] is not None):
            raise UsageError(
                f"The method {model.info.method} gives a score and no restoration.",
                "Leave out --restored and --residual; --anomaly-map writes the score.",
            )
        return parts

    title = f"restore {case_id}" + (f", sample {sample + 1} of {samples}" if samples > 1 else "")
    parts, device = over_slices(
        slices, model, predict, title=title, calls=method.calls(), batch=batch, on_oom=on_oom,
        dtype=dtype, reporter=reporter,
    )  # fmt: skip
    restored, suspicion = parts.get("restored"), parts.get("suspicion")
    normal = model.normal.get(subset(slices.contrasts))
    if suspicion is not None and normal is not None:
        suspicion = beyond_normal(suspicion, slices.brain, normal)
    return Restoration(
        slices, None if restored is None else where_shown(slices, restored), parts.get("score"), device,
        suspicion, method.restores, parts.get("diseased"),
    )  # fmt: skip


def over_slices(
    slices: Slices,
    model: LoadedModel,
    ask: Ask,
    *,
    title: str,
    calls: int = 1,
    more: Mapping[str, np.ndarray] | None = None,
    batch: int | None = None,
    on_oom: str = "halve",
    dtype: torch.dtype | None = None,
    reporter: Reporter | None = None,
) -> tuple[dict[str, np.ndarray], str]:
    """What ``ask`` gives for all slices, part by part, and the device that it was computed on in the end.

    Args:
        ask: gets slices on the device (``image``, ``brain`` and whatever ``more`` holds), their numbers, and what to
            call after each network call; eval mode, no gradient. Slices are asked for again where memory ran out.
        title: of the progress. calls: network calls for a slice.
        more: (S, ...) for all slices.
        batch: slices per network call; no result depends on it. None: what :func:`suited` says.
        on_oom: when memory runs out, ``halve`` the batch (then fail), go on with the ``cpu``, or ``fail``.
        dtype: autocast type or None for float32.

    Raises:
        ModelError: a part is not finite.
        ResourceError: out of memory.
    """
    reporter = reporter or Reporter()
    method = channels_last(model.method)
    device = next((p.device for p in method.parameters()), model.device)  # an earlier case may have fled to the CPU
    order = in_runs(len(slices.index), method.sequence)
    batch = whole_runs(batch or suited(device, slices.image.shape[2:]), method.sequence)
    arrays = {"image": slices.image, "brain": slices.brain, **(more or {})}
    given = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    near = torch.from_numpy(around(slices, method.neighbours)).to(device)
    places = torch.from_numpy(order).to(device)
    stacks: dict[str, Tensor] = {}  # stay on the device until the end: nothing waits for it inside the loop
    done = 0
    with reporter.step(title, total=len(order) * calls) as bar:

        def work(rows: np.ndarray, chosen: Tensor) -> None:
            those = {name: part[chosen] for name, part in given.items()}
            if method.neighbours:
                those["around"] = given["image"][near[chosen]]
            with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                for name, part in ask(those, rows, lambda: bar.advance(len(rows))).items():
                    if part is not None:
                        if name not in stacks:
                            stacks[name] = part.new_zeros((len(slices.index), *part.shape[1:]), dtype=torch.float32)
                        stacks[name][chosen] = part.float()

        while done < len(order):
            rows = order[done : done + batch]
            try:
                work(rows, places[done : done + batch])
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                batch, device = _retreat(batch, device, on_oom, reporter, method)
                given, stacks = ({k: v.to(device) for k, v in d.items()} for d in (given, stacks))
                places, near = places.to(device), near.to(device)
                continue
            done += len(rows)
    parts = {name: stack.cpu().numpy() for name, stack in stacks.items()}
    if not all(np.isfinite(part).all() for part in parts.values()):
        raise ModelError(
            f"The network of {model.info.name} gave values that are not finite: {title}.",
            "Try --precision fp32; if that does not help, its weights are damaged: train or fetch the model again.",
        )
    return parts, str(device)


def where_shown(slices: Slices, restored: np.ndarray) -> np.ndarray:
    """``restored`` (S, C, H, W), 0 in the brain where a contrast shows nothing."""
    return restored if slices.shown is None else np.where(slices.shown | ~slices.brain, restored, np.float32(0))


def channels_last(method: M) -> M:
    """``method`` with the weights of its 2-D convolutions laid out channels last, in place.

    Activations follow the weights; on a CPU with AVX2 that is a fifth faster, and results differ by rounding only.
    """
    for layer in method.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    return method


def in_runs(count: int, run: int) -> np.ndarray:
    """Slice numbers in the order of prediction: whole runs of ``run`` adjacent slices that cover all ``count``.

    The last run is moved back to end with the stack; its slices that an earlier run holds too are predicted again and
    the later result stands. Fewer slices than a run: the last one is repeated.
    """
    first = np.minimum(np.arange(0, count, run), max(count - run, 0))
    return np.minimum((first[:, None] + np.arange(run)).ravel(), count - 1)


def suited(device: torch.device, size: tuple[int, ...]) -> int:
    """Slices of ``size`` (H, W) per network call: :data:`ROWS`, and on a GPU at least :data:`PIXELS`."""
    return max(ROWS, PIXELS // math.prod(size)) if device.type == "cuda" else ROWS


def around(slices: Slices, neighbours: int) -> np.ndarray:
    """(S, 2 ``neighbours``) numbers of the slices around each, from below to above, about :data:`NEAR_MM` apart.

    Where the stack ends its last slice stands for those beyond it.
    """
    stride = max(1, round(NEAR_MM / slices.spacing[0]))
    steps, count = np.array(beside(neighbours), int), len(slices.index)
    return (np.arange(count)[:, None] + stride * steps).clip(0, count - 1)


def whole_runs(batch: int, run: int) -> int:
    """``batch`` as a multiple of ``run``, at least one."""
    return max(batch // run, 1) * run


def _out_of_memory(error: BaseException) -> bool:
    return not isinstance(error, RuntimeError) or "memory" in str(error).lower()


def _retreat(
    batch: int, device: torch.device, on_oom: str, reporter: Reporter, method: Method
) -> tuple[int, torch.device]:
    """A smaller batch or another device, as the user allows."""
    if on_oom == "halve" and batch > method.sequence:
        less = whole_runs(batch // 2, method.sequence)
        reporter.warn(f"out of memory; batch {batch} -> {less}")
        return less, device
    if on_oom == "cpu" and device.type != "cpu":
        reporter.warn(f"out of memory on {device}; going on with the CPU")
        method.to(torch.device("cpu"))
        return whole_runs(min(batch, ROWS), method.sequence), torch.device("cpu")
    raise ResourceError(
        f"Out of memory with {counted(batch, 'slice')} at a time on {device}.",
        "Use a smaller --batch, --on-oom halve, or --device cpu.",
    )
