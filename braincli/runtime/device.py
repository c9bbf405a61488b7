"""What this process may use: which device, how many threads, how much memory, at which precision."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from braincli.errors import ResourceError, UsageError

if TYPE_CHECKING:
    import torch

ALIASES = {"gpu": "cuda", "0": "cuda:0"}
LEAST_GAIN = 1.5  # below it bfloat16's rounding buys too little, and which type is faster would be a matter of luck
CGROUPS = Path("/sys/fs/cgroup")
MEMORY_FILES = (  # limit, usage, and which line of memory.stat is cache that the kernel gives back; cgroup 2, then 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
# glibc's mallopt: what is up to 32 MiB (its most) comes from the heap, whose end stays below 256 MiB of what is free
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = ((M_MMAP_THRESHOLD, 2**25), (M_TRIM_THRESHOLD, 2**28))
ALL_KEPT = ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1))
KEPT_BY_USER = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")

_sharers = 1  # processes that work side by side with this one, itself included


def share(processes: int) -> None:
    """Take no more than one of ``processes`` equal shares of the CPUs from now on."""
    global _sharers
    _sharers = processes


def available_threads() -> int:
    """CPUs that this process may use (affinity, SLURM and cgroup quota; a share of them beside other processes)."""
    counts = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    if slurm := _number("SLURM_CPUS_PER_TASK"):
        counts.append(slurm)
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as quota:  # noqa: PTH123 - not a user's file
            limit, period = quota.read().split()
        if limit != "max":
            counts.append(max(1, int(limit) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, min(counts) // (_number("LOCAL_WORLD_SIZE") or 1) // _sharers)


def available_memory_gb() -> float:
    """Memory that processes of this user can still get: of the machine, of every cgroup around them, of a SLURM job."""
    return min([_free_of_machine(), *_free_of_cgroups(), *_granted_by_slurm()]) / 1e9


def _free_of_machine() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as facts:  # noqa: PTH123 - not a user's file
            return next(int(line.split()[1]) * 1024 for line in facts if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):  # not Linux: half of what is there
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _free_of_cgroups() -> Iterator[int]:
    """What each cgroup of this process, and each around it, may still take; caches count as free."""
    for folder in _cgroups():
        for limit, usage, cache in MEMORY_FILES:
            try:
                free = int((folder / limit).read_text()) - int((folder / usage).read_text())
                lines = (folder / "memory.stat").read_text().splitlines()
            except (OSError, ValueError):  # there is none, or "max"
                continue
            yield free + sum(int(line.split()[1]) for line in lines if line.startswith(f"{cache} "))


def _cgroups() -> Iterator[Path]:
    """Folders of the cgroups that can limit the memory of this process, up to the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = CGROUPS / controllers
            inner = root / path.lstrip("/")
            yield from [inner, *(folder for folder in inner.parents if folder.is_relative_to(root))]


def _granted_by_slurm() -> Iterator[int]:
    if megabytes := _number("SLURM_MEM_PER_NODE", digits=9):
        yield megabytes * 2**20


def _number(variable: str, digits: int = 6) -> int:
    """The whole number that an environment variable begins with (SLURM writes ``2(x3)``, too); 0 where it is none."""
    match = re.match(rf"\s*([0-9]{{1,{digits}}})(?![0-9])", os.environ.get(variable, ""))
    return int(match[1]) if match else 0


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
    keep_freed_memory()
    one_thread_for_products()
    name = ALIASES.get(name.lower(), name.lower())
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,3})?", name):
        raise UsageError(f"There is no device {name!r}.", "Use auto, cpu, cuda, cuda:N or mps.")
    kind, _, number = name.partition(":")
    if (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()) or (
        kind == "mps" and not torch.backends.mps.is_available()
    ):
        raise ResourceError(f"The device {name!r} is not available on this machine.", "Use --device cpu or auto.")
    return torch.device(name)


@functools.cache
def one_thread_for_products() -> None:
    """Let NumPy and SciPy multiply matrices in one thread each, unless ``OPENBLAS_NUM_THREADS`` says otherwise.

    Theirs are small here. A thread per core, all of which wait in loops, takes up to twice the CPU time on two cores
    and several times as much on sixteen, and longer. PyTorch has threads of its own.
    """
    if "OPENBLAS_NUM_THREADS" in os.environ:
        return
    from threadpoolctl import ThreadpoolController

    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for a library that is loaded later, and for workers
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process reuse the memory of tensors it has freed; whether its C library can be told so (glibc can).

    By default glibc gives it back to the kernel, which then hands it out again page by page, zeroed: with the tensors
    of a small network on a CPU that is a tenth of the time. What the user set in the environment stays.
    """
    mallopt = _mallopt()
    return mallopt is not None and all(mallopt(*setting) for setting in KEPT)


@contextmanager
def all_freed_memory_kept() -> Iterator[None]:
    """As :func:`keep_freed_memory`, but for any size; at the end all that is free goes back to the kernel.

    For a network whose large blocks are freed and asked for again: mapping and zeroing each anew takes a third of its
    time.
    """
    mallopt = _mallopt()
    if mallopt is None:
        yield
        return
    try:
        for setting in ALL_KEPT:
            mallopt(*setting)
        yield
    finally:
        for setting in KEPT:
            mallopt(*setting)
        ctypes.CDLL(None).malloc_trim(0)


def _mallopt() -> Callable[[int, int], int] | None:
    """glibc's mallopt; None where the user has set what it would set, or the C library is another one."""
    if any(os.environ.get(name) for name in KEPT_BY_USER):
        return None
    try:
        mallopt: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library or system
        return None
    return mallopt


def precision(device: torch.device, wanted: str = "auto") -> torch.dtype | None:
    """The autocast type for ``wanted``; None is float32.

    Args:
        wanted: ``fp32``, ``bf16``, ``fp16``, or ``auto``: bfloat16 where the hardware multiplies it natively. Of a GPU
            its driver tells. A CPU that claims the instructions is timed, too (:func:`bf16_gain`): without them they
            are emulated at a tenth of float32's speed, and not all that have them gain.
    """
    import torch

    if wanted == "fp32":
        return None
    if wanted in ("bf16", "fp16"):
        return torch.bfloat16 if wanted == "bf16" else torch.float16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
    claims = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if claims and bf16_gain() >= LEAST_GAIN else None


def precision_name(dtype: torch.dtype | None) -> str:
    """What the option calls an autocast type."""
    return {"torch.bfloat16": "bf16", "torch.float16": "fp16"}.get(str(dtype), "fp32")


@functools.cache
def bf16_gain() -> float:
    """How many times faster than in float32 this process' CPU convolves in bfloat16; measured once, in some 20 ms.

    The fastest of several short runs counts, so that other programs on the machine do not matter.
    """
    import torch

    seconds = {}
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            image, kernel = torch.ones(2, 64, 32, 32, dtype=dtype), torch.ones(64, 64, 3, 3, dtype=dtype)
            image, kernel = (part.contiguous(memory_format=torch.channels_last) for part in (image, kernel))
            seconds[dtype] = min(_seconds(functools.partial(torch.conv2d, image, kernel, padding=1)) for _ in range(6))
    return seconds[torch.float32] / max(seconds[torch.bfloat16], 1e-9)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
