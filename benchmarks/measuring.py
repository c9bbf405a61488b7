"""What all benchmarks share: a figure beside its peer or limit of the same run, the clock, and the machine's name."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

NATIVE_BF16 = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512"}  # as Linux names what a processor can do


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        what: was measured.
        value: in ``unit``.
        against: the peer or limit, in words; empty where there is none.
        ratio: ``value`` by that of the peer or limit.
        within: whether ``ratio`` is as it should be; None where nothing is promised.
    """

    what: str
    value: float
    unit: str
    against: str = ""
    ratio: float | None = None
    within: bool | None = None


def limited(what: str, value: float, unit: str, limit: float) -> Figure:
    """A figure that should not exceed ``limit``."""
    return Figure(what, value, unit, f"limit of {limit:g} {unit}", value / limit, value <= limit)


def compared(what: str, value: float, unit: str, peer: str, theirs: float) -> Figure:
    """A figure beside that of a ``peer``."""
    return Figure(what, value, unit, f"{peer} ({theirs:.3g} {unit})", value / theirs)


def show(figures: Iterable[Figure], name: str = "") -> bool:
    """Print one line per figure; whether all that is promised holds."""
    held = True
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:8.2f} of {figure.against}"
        missed = "   MISSED" if figure.within is False else ""
        print(f"{name:11}{figure.what:26} {figure.value:9.3f} {figure.unit:10}{ratio}{missed}", flush=True)
        held &= figure.within is not False
    return held


def best_of(function: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Least seconds of ``rounds`` calls."""
    took = []
    for _ in range(rounds):
        begin = clock()
        function()
        took.append(clock() - begin)
    return min(took)


def convolution_peak(device: Any, dtype: Any = None) -> float:
    """FLOP/s of a 3 x 3 convolution as a large network has them, channels last, in ``dtype`` (None: float32)."""
    import torch

    gpu = device.type == "cuda"
    rows, channels, side = (64, 256, 96) if gpu else (16, 64, 48)
    layout = {"device": device, "dtype": dtype or torch.float32}
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False, **layout)
    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    x = torch.randn(rows, channels, side, side, **layout).contiguous(memory_format=torch.channels_last)

    def work() -> None:
        for _ in range(10 if gpu else 1):
            layer(x)
        if gpu:
            torch.cuda.synchronize()

    with torch.inference_mode():
        work()
        return (10 if gpu else 1) * 2 * 9 * rows * channels**2 * side**2 / best_of(work, 5)


def processor() -> str:
    """The name of this machine's processor."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def machine() -> str:
    """Processor, cores, torch, whether bfloat16 is native, and the load that others put on it."""
    import torch

    flags = _cpuinfo("flags").split()
    native = next((name for flag, name in NATIVE_BF16.items() if flag in flags), "")
    if torch.cuda.is_available():
        native = torch.cuda.get_device_name()
    bf16 = f"bf16 native ({native})" if native else "bf16 not native"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{processor()}, {cores} cores, torch {torch.__version__}, {bf16}{load}"


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def measured(name: str) -> list[Figure]:
    """What the benchmark ``name`` measures; here, where a process that starts anew finds it."""
    return list(import_module(name).figures())
