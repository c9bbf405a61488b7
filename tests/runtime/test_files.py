"""Atomic writing, what killed runs leave behind, and cells that a spreadsheet would run."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from braincli.errors import ResourceError, UsageError
from braincli.runtime import files

WRITER = """
import sys, time
from pathlib import Path
from braincli.runtime.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    time.sleep(60)
"""


def test_a_killed_run_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "mask.nii.gz")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        left = tmp_path / process.stdout.readline().strip()
        assert left.exists() and files.sweep(tmp_path) == []  # it lives
        process.send_signal(signal.SIGKILL)
    assert files.sweep(tmp_path) == [left] and list(tmp_path.iterdir()) == []


def test_sweep_takes_nothing_else(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "a.csv") as own:
        own.touch()
        foreign = tmp_path / ".braincli-00000000-1-00000000.tmp.nii.gz"  # another machine, and it may live
        for path in (foreign, tmp_path / ".hidden.tmp", tmp_path / ".braincli-notes.tmp", tmp_path / "mask.nii.gz"):
            path.touch()
        linked = tmp_path / f".braincli-{files._machine()}-4194999-00000000.tmp"
        linked.symlink_to(tmp_path / "mask.nii.gz")
        assert files.sweep(tmp_path) == []
        old = time.time() - files.STALE_S - 60
        os.utime(foreign, (old, old))
        assert files.sweep(tmp_path) == [foreign]
    assert files.sweep(tmp_path / "not there") == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_refuses_fsync_is_written_to(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    files.write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_on_fsync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"Cannot write a\.txt: No space left"):
        files.write_text(tmp_path / "a.txt", "half")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-"])
def test_formulas_are_made_text(text: str) -> None:
    assert files.safe_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["", "sub-01", "-1.5", "+3", "-inf", "-1e-3", "0.9", "'=x"])
def test_other_cells_stay(text: str) -> None:
    assert files.safe_cell(text) == text


@pytest.mark.parametrize("name", ["out.nii.gz", "mask.mgz", "scores.csv", "report.HTML", "a.zip"])
def test_a_folder_is_not_called_like_a_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is called like a file, and is to be a folder"):
        files.refuse_folder(tmp_path / name)
    (tmp_path / name).mkdir()
    files.refuse_folder(tmp_path / name)  # somebody wants it so
    files.refuse_folder(tmp_path / "v1.2")
