"""What the steps of the chain pass on: everything that is known about a case while it is being preprocessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from braincli.config import PreprocessConfig
from braincli.imaging.cases import Case, Contrast
from braincli.imaging.volume import Volume
from braincli.preprocessing import naming
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import RunRecord


class Images(NamedTuple):
    """Everything on the output grid; ``heads`` show the skull, ``finished`` do not."""

    heads: dict[Contrast, Volume]
    finished: dict[Contrast, Volume]
    brain: Volume | None
    lesion: Volume | None


@dataclass
class Work:
    """What is known about a case while it is being preprocessed."""

    case: Case
    config: PreprocessConfig
    reporter: Reporter
    record: RunRecord
    names: naming.Names
    scans: dict[Contrast, Volume]
    reference: Contrast
    probability: Volume | None = None  # of brain, on the reference's native grid
    to_scan: dict[Contrast, np.ndarray] = field(default_factory=dict)  # output world -> native world
    figures: dict[str, Any] = field(default_factory=dict)
    stripped: bool = False  # HD-BET fails on brains without heads (half of one was lost), so such scans are recognised

    @property
    def fixed(self) -> Volume:
        """The reference scan."""
        return self.scans[self.reference]

    def native_mask(self) -> np.ndarray | None:
        """Brain (X, Y, Z) bool on the reference's native grid."""
        return None if self.probability is None else self.probability.data > 0.5

    def note(self, figure: str, contrast: Contrast, value: float) -> None:
        """Keep a quality figure of one contrast."""
        self.figures.setdefault(figure, {})[str(contrast)] = round(value, 4)

    def warn(self, text: str) -> None:
        """Tell the user, and keep it in the record."""
        self.record.warnings.append(text)
        self.reporter.warn(f"{self.case.id}: {text}")
