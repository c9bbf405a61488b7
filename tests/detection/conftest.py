"""A generated case."""

from __future__ import annotations

from pathlib import Path

import pytest
from phantoms import affine, write_case


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return write_case(tmp_path / "in" / "p01", shape=(40, 48, 16), matrix=affine("LPS", (3.0, 3.0, 4.0)))
