"""How many threads a process may use, whatever the environment says."""

from __future__ import annotations

import os

import pytest

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
