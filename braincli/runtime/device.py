"""Which device computes, with how many threads and at which precision."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from braincli.errors import ResourceError, UsageError

if TYPE_CHECKING:
    import torch

ALIASES = {"gpu": "cuda", "0": "cuda:0"}


def available_threads() -> int:
    """CPUs that this process may use (affinity, SLURM and cgroup quota; a share of them under torchrun)."""
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    if slurm := os.environ.get("SLURM_CPUS_PER_TASK"):
        counts.append(int(slurm))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as quota:  # noqa: PTH123 - not a user's file
            limit, period = quota.read().split()
        if limit != "max":
            counts.append(max(1, int(limit) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, min(counts) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def prepare(name: str = "auto", threads: int | None = None) -> torch.device:
    """Import torch, set its threads, and give the device.

    Args:
        name: ``auto`` (cuda if there is one, else cpu), ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or ``gpu`` / ``0``.
        threads: CPU threads; None takes :func:`available_threads`.

    Raises:
        UsageError: no such device name.
        ResourceError: the device is not on this machine.
    """
    import torch

    torch.set_num_threads(threads or available_threads())
    name = ALIASES.get(name.lower(), name.lower())
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise UsageError(f"There is no device {name!r}.", "Use auto, cpu, cuda, cuda:N or mps.")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ResourceError(f"The device {name!r} is not available on this machine.", "Use --device cpu or auto.")
    return torch.device(name)


def precision(device: torch.device, wanted: str = "auto") -> torch.dtype | None:
    """The autocast type: bfloat16 where the hardware multiplies it natively, None (float32) elsewhere.

    A CPU without bf16 instructions emulates it at a tenth of float32's speed.
    """
    import torch

    if wanted == "fp32":
        return None
    if wanted in ("bf16", "fp16"):
        return torch.bfloat16 if wanted == "bf16" else torch.float16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    native = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if native and "avx512" in torch.backends.cpu.get_cpu_capability().lower() else None
