"""Shared fixtures: the real scans beside the checkout (where present), and small generated phantoms."""

from __future__ import annotations

from pathlib import Path

import pytest

import braincli  # noqa: F401 - before torch: its threads are told to sleep while they wait, as tests run side by side

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real scans (../shared/data) are not on this machine")
    return SHARED
