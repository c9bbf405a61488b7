"""How many threads a process may use, whatever the environment says, and at which precision it computes."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

import pytest
import torch
from threadpoolctl import ThreadpoolController

from braincli.errors import UsageError
from braincli.runtime import device


@pytest.mark.parametrize(
    ("text", "threads"),
    [("2", 2), ("2(x3)", 2), ("4,2", 4), (" 3 ", 3), ("many", 8), ("", 8), ("0", 8), ("-2", 8), ("9" * 30, 8)],
)
def test_slurm_may_say_what_it_likes(text: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("builtins.open", lambda *a, **k: (_ for _ in ()).throw(OSError()))  # no quota
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", text)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert device.available_threads() == threads


@pytest.mark.parametrize(("processes", "threads"), [("2", 4), ("garbage", 8), ("0", 8), ("100", 1)])
def test_processes_share_them(processes: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("builtins.open", lambda *a, **k: (_ for _ in ()).throw(OSError()))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert device.available_threads() == threads


@pytest.mark.parametrize("name", ["tpu", "", "cuda:x", "cuda:", "cpu:1"])
def test_unknown_devices_are_named(name: str) -> None:
    with pytest.raises(UsageError, match="There is no device"):
        device.prepare(name)


GB = 10**9
V1, V2 = (("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
          ("memory.max", "memory.current", "inactive_file"))  # fmt: skip


def limited(folder: Path, names: tuple[str, str, str], limit: str | int, usage: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip((*names[:2], "memory.stat"), (limit, usage, f"anon 5\n{names[2]} {cache}"), strict=True):
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize(("names", "root"), [(V2, ""), (V1, "memory")], ids=["cgroup 2", "cgroup 1"])
def test_memory_is_what_the_tightest_of_all_limits_leaves(
    names: tuple[str, str, str], root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / root / "job" / "step"
    limited(inner, names, "max", 2 * GB, 0)
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    monkeypatch.setattr(device, "_free_of_machine", lambda: 60 * GB)
    monkeypatch.setattr(device, "_cgroups", lambda: [inner, inner.parent])
    assert device.available_memory_gb() == 60
    limited(inner.parent, names, 10 * GB, 5 * GB, 3 * GB)  # the cache is given back when memory is short
    assert device.available_memory_gb() == 8
    limited(inner, names, 6 * GB, 5 * GB, 0)
    assert device.available_memory_gb() == 1
    limited(inner, names, "rubbish", 5 * GB, 0)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4000")
    assert device.available_memory_gb() == pytest.approx(4000 * 2**20 / GB)


def test_memory_of_this_machine() -> None:
    assert 0 < device.available_memory_gb() < 10**5
    assert all(folder.is_absolute() for folder in device._cgroups())


@pytest.mark.parametrize(("gain", "wanted"), [(5.0, torch.bfloat16), (1.2, None), (0.1, None)])
def test_a_cpu_computes_in_bf16_where_that_is_faster(
    gain: float, wanted: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(device, "bf16_gain", lambda: gain)
    assert device.precision(cpu) is device.precision(cpu, "auto") is wanted
    assert device.precision(cpu, "fp32") is None and device.precision(cpu, "bf16") is torch.bfloat16
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert device.precision(cpu) is None


def test_the_gain_is_measured_once_and_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    device.bf16_gain.cache_clear()
    gain = device.bf16_gain()
    assert gain > 0 and device.bf16_gain() == gain and device.bf16_gain.cache_info().misses == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_precisions_are_called_as_the_option_calls_them() -> None:
    names = [device.precision_name(device.precision(torch.device("cpu"), name)) for name in ("fp32", "bf16", "fp16")]
    assert names == ["fp32", "bf16", "fp16"]


@pytest.mark.parametrize("users", [None, "2"])
def test_products_of_numpy_have_one_thread_unless_the_user_says_more(
    users: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    blas = ThreadpoolController().select(internal_api="openblas")
    assert blas.lib_controllers
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", users or "")
    if users is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    with blas.limit(limits=2):
        device.one_thread_for_products.__wrapped__()
        found = {library["num_threads"] for library in blas.info()}
    assert found == {2 if users else 1} and os.environ["OPENBLAS_NUM_THREADS"] == (users or "1")


def set_anew(monkeypatch: pytest.MonkeyPatch, **environment: str) -> bool:
    for name in device.KEPT_BY_USER:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return device.keep_freed_memory.__wrapped__()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_of_freed_tensors_is_reused_without_page_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set_anew(monkeypatch)

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(2**20) for _ in range(16)]  # 64 MiB
        del tensors
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert min(faults() for _ in range(3)) < 2000  # of 16,384 pages


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_large_network_leaves_memory_as_it_found_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brain extraction before a search must not cost the search what it was given."""
    assert set_anew(monkeypatch)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(device, "_mallopt", lambda: lambda *setting: told.append(setting) or 1)
    with device.all_freed_memory_kept():
        assert told == list(device.ALL_KEPT)
    assert told == [*device.ALL_KEPT, *device.KEPT]


def test_what_the_user_says_of_memory_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: pytest.fail("the C library was told otherwise"))
    assert not set_anew(monkeypatch, MALLOC_TRIM_THRESHOLD_="1000000")


@pytest.mark.parametrize("library", [object(), None])
def test_another_c_library_is_left_alone(library: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: library)
    assert not set_anew(monkeypatch)
