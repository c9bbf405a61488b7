"""Stand-ins for commands of a cluster: scripts that come first on the PATH."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def standin(patch: pytest.MonkeyPatch, folder: Path, **bodies: str) -> None:
    """Let each command be a shell script of this body, until the test ends."""
    place = folder / "bin"
    place.mkdir(exist_ok=True)
    for name, body in bodies.items():
        (place / name).write_text(f"#!/bin/sh\n{body}\n")
        (place / name).chmod(0o755)
    if not os.environ["PATH"].startswith(f"{place}{os.pathsep}"):
        patch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
