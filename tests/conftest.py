"""Shared fixtures: the real scans beside the checkout (where present), and small generated phantoms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# as braincli.runtime.device.prepare does, before torch is imported: tests run side by side
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real scans (../shared/data) are not on this machine")
    return SHARED
