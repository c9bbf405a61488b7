"""Shared fixtures: the real scans beside the checkout (where present), and small generated phantoms."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
import typer.main
import typer.testing

if "PYTEST_XDIST_WORKER" in os.environ:  # as many workers as CPUs: threads of each would only wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import braincli  # noqa: F401 - before torch: its threads are told to sleep while they wait, as tests run side by side

typer.testing._get_command = cache(typer.main.get_command)  # hundreds of commands are run: each built them all anew

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real scans (../shared/data) are not on this machine")
    return SHARED


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models; a module may write into its own."""
    from tinymodels import write_models  # brings torch in, which braincli goes before

    return write_models(tmp_path_factory.mktemp("models"))


@pytest.hookimpl(optionalhook=True)  # xdist may be missing, as beside a borrowed GPU
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Workers of a plain ``pytest``: one per CPU; none for a single file, which is done before they have started."""
    named = [Path(argument.partition("::")[0]) for argument in config.args]
    if len(set(named)) == 1 and named[0].is_file():
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What uses the real scans is marked so, wherever it asks for them; ``-m`` then leaves it to ``.ci/run``.

    Files with slow or long tests go first: workers get file after file, and the last ones shall be short.
    """
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real)
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in slow)
