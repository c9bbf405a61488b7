"""One case explained, whatever the classifier sees of it: what is written, and where."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from braincli.imaging.cases import Case
from braincli.imaging.volume import Volume
from braincli.translation.options import ExplainConfig
from braincli.translation.work import Done, Job, M, inputs_of

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = ["saliency.nii.gz", "cam.nii.gz", "explain.tsv", "explain.png"]


class Given(Protocol):
    """A case as a classifier sees it."""

    @property
    def warnings(self) -> list[str]:
        """What the user should know, in words."""


G = TypeVar("G", bound=Given)


@dataclass(frozen=True)
class Explanation:
    """What in a case a classifier looks at.

    Attributes:
        saliency, activation: float32 in [0, 1] on the scan's own grid: shares of the case's largest value, which
            ``largest`` holds.
        reading: what the classifier says, for records; ``table``: all of it, as TSV.
        picture: draws it, below a title.
    """

    saliency: Volume
    activation: Volume
    largest: dict[str, float]
    reading: dict[str, Any]
    table: str
    picture: Callable[[str], Image]


@dataclass
class ExplainJob(Job[M], Generic[M, G]):
    """Explains case by case."""

    config: ExplainConfig

    @abstractmethod
    def refuse(self) -> None:
        """Raise where no case can be explained.

        Raises:
            ModelError: the model holds no classifier. UsageError: an option that means nothing with it.
        """

    @abstractmethod
    def given(self, case: Case) -> G:
        """The case as the classifier sees it.

        Raises:
            InputError: it cannot be used.
        """

    @abstractmethod
    def explained(self, case: Case, given: G) -> Explanation:
        """What the classifier looks at."""

    def run(self, case: Case, out: Path) -> Done:
        """Explain one case, or skip it where ``resume`` finds it complete."""
        record = self.record("explain", case)
        outputs = self.outputs(record, case, out, KINDS, inputs_of(case))
        with outputs.locked():
            if self.config.resume and outputs.transaction.is_done():
                return Done(case.id, "skipped", outputs.folder)
            outputs.transaction.refuse()
            with record.timed("read"):
                given = self.given(case)
            record.warnings += given.warnings
            for text in record.warnings:
                self.reporter.warn(f"{case.id}: {text}")
            with record.timed("explain"):
                made = self.explained(case, given)
            facts = {"method": self.model.info.method, "reading": made.reading, "largest": made.largest}
            record.facts |= facts
            outputs.transaction.begin()
            with record.timed("write"):
                outputs.volume(made.saliency, "saliency.nii.gz")
                outputs.volume(made.activation, "cam.nii.gz")
                outputs.table(made.table, "explain.tsv")
                if self.config.figure:
                    outputs.picture(made.picture(f"{case.id}  (model {self.model.info.name})"), "explain.png")
            outputs.transaction.finish()
        return Done(case.id, "done", outputs.folder, made.reading, list(record.warnings))


def shares(values: np.ndarray) -> tuple[np.ndarray, float]:
    """``values`` >= 0 as shares of the largest, and that; where it is 0 they stay 0."""
    largest = float(values.max())
    return values / (largest or 1.0), largest
