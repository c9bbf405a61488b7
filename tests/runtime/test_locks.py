"""One writer at a time per folder."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from braincli.errors import UsageError
from braincli.runtime import locks

HOLDER = """
import sys, time
from pathlib import Path
from braincli.runtime.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds ``folder``."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_named_what(tmp_path: Path) -> None:
    with hold(tmp_path / "out") as first:
        with pytest.raises(UsageError, match="Another braincli is writing to out/sub-01"):  # noqa: SIM117
            with locks.locked(tmp_path / "out", "out/sub-01"):
                pytest.fail("both hold it")
        first.send_signal(signal.SIGKILL)
    with locks.locked(tmp_path / "out"):  # ends with its process, even with SIGKILL
        assert (tmp_path / "out" / locks.NAME).exists()


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    with locks.locked(tmp_path / "new" / "case"):
        pass
    assert not (tmp_path / "new" / "case").exists()
    with locks.locked(tmp_path / "kept"):
        (tmp_path / "kept" / "mask.nii.gz").touch()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mask.nii.gz"]


def test_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), locks.locked(tmp_path):
        raise ValueError("inside")
    with locks.locked(tmp_path):
        with pytest.raises(UsageError), locks.locked(tmp_path):
            pass
        with pytest.raises(UsageError), locks.locked(tmp_path):  # the refused one has not removed it
            pass


def test_a_lock_on_a_removed_file_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder removes its file between our open and our flock: we must not hold a file that nobody else sees."""
    real, removed = fcntl.flock, []

    def removing(handle: int, how: int) -> None:
        if not removed:
            removed.append(handle)
            (tmp_path / locks.NAME).unlink()
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", removing)
    with locks.locked(tmp_path):
        assert removed and (tmp_path / locks.NAME).exists()
        with pytest.raises(UsageError), locks.locked(tmp_path):
            pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_goes_on_where_locks_are_not_supported(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locks.locked(tmp_path), locks.locked(tmp_path):
        pass


def test_goes_on_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with locks.locked(tmp_path / "file"), locks.locked(Path("/proc/nothing")):
        pass
    assert (tmp_path / "file").is_file()


def test_a_name_holds_one_file_and_leaves_the_folder_to_others(tmp_path: Path) -> None:
    with locks.locked(tmp_path / "a" / "b", name=".one.lock"):
        with locks.locked(tmp_path / "a" / "b", name=".two.lock"), locks.locked(tmp_path / "a" / "b"):
            pass
        with pytest.raises(UsageError), locks.locked(tmp_path / "a" / "b", "one", name=".one.lock"):
            pass
    assert not (tmp_path / "a").exists(), "what was made for the lock goes with it"


def test_what_is_held_for_a_moment_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hold(tmp_path / "out") as first:
        monkeypatch.setattr(locks, "PATIENCE_S", 0.2)
        with pytest.raises(UsageError, match="Another braincli is writing to out"), locks.waiting(tmp_path / "out"):
            pytest.fail("it is held")
        monkeypatch.setattr(locks, "PATIENCE_S", 60.0)
        monkeypatch.setattr(locks.time, "sleep", lambda seconds: first.kill())
        with locks.waiting(tmp_path / "out"):
            assert first.wait() != 0
