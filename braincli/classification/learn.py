"""One training, in memory: from volumes and labels to an approach that has learnt from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from braincli.classification import registry
from braincli.classification.approaches.base import Approach, ApproachConfig, World
from braincli.classification.cohort import Cohort, refuse_targets, targets
from braincli.classification.draw import Data
from braincli.classification.fit import Keep, Progress, fit, probabilities
from braincli.runtime.progress import Reporter


@dataclass(frozen=True)
class Lesson:
    """What a training is: a method with its options, and how it runs.

    Attributes:
        steps: None: as many as the options say.
        precision: see :func:`braincli.runtime.device.precision`.
    """

    method: str
    options: ApproachConfig
    seed: int
    steps: int | None
    device: torch.device
    precision: torch.dtype | None

    def targets(self, cohort: Cohort, wanted: Sequence[str]) -> np.ndarray:
        """(N,) bool: the target cases, see :func:`braincli.classification.cohort.targets`.

        Raises:
            UsageError: no such site, or the method cannot learn from them.
        """
        kind, chosen = registry.approach_class(self.method), targets(cohort, wanted)
        refuse_targets(cohort, chosen, self.method, pairs=kind.pairs, adapts=kind.sampling == "halves")
        return chosen


@dataclass(frozen=True)
class Taught:
    """An approach after its training; ``validation`` are the rows that judged it."""

    approach: Approach
    progress: Progress
    validation: np.ndarray


def teach(
    lesson: Lesson,
    cohort: Cohort,
    images: np.ndarray,
    target: np.ndarray,
    reporter: Reporter,
    *,
    keep: Keep | None = None,
    saved: Mapping[str, Any] | None = None,
) -> Taught | None:
    """Train on all of ``cohort``.

    Args:
        images: (N, X, Y, Z) float16; target: (N,) bool.
        keep, saved: see :func:`braincli.classification.fit.fit`.

    Returns:
        None where ``keep`` stopped it.

    Raises:
        UsageError: options that make no network. ResourceError: a loss is not finite.
    """
    torch.manual_seed(lesson.seed)
    train, judging = apart(cohort, lesson.options.validation, lesson.seed)
    present, site = np.unique(cohort.site, return_inverse=True)
    counts = np.bincount(cohort.label[train], minlength=len(cohort.classes))
    approach = registry.approach_class(lesson.method)(
        lesson.options, World(tuple(map(int, counts)), len(present))
    )  # fmt: skip
    approach.to(lesson.device)
    if (target[judging]).any():
        judging = judging[target[judging]]  # early stopping on the target's loss, as the thesis has it
    data = on_device(images, cohort.label, site, target, lesson.device)
    progress = fit(
        approach, data, torch.from_numpy(train), torch.from_numpy(judging), seed=lesson.seed,
        steps=lesson.steps or lesson.options.steps, precision=lesson.precision, reporter=reporter, keep=keep,
        saved=saved,
    )  # fmt: skip
    return None if progress is None else Taught(approach, progress, judging)


def apart(cohort: Cohort, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and rows that judge: ``share`` of every class at every site, rounded down; both sorted."""
    judging: list[int] = []
    generator = np.random.default_rng(seed)
    for rows in strata(cohort):
        judging += generator.permutation(rows)[: int(share * len(rows))].tolist()
    rest = np.setdiff1d(np.arange(len(cohort.cases)), judging)
    return rest, np.array(sorted(judging), dtype=np.int64)


def strata(cohort: Cohort) -> list[np.ndarray]:
    """The rows of every class at every site."""
    pairs = sorted(set(zip(cohort.site.tolist(), cohort.label.tolist(), strict=True)))
    return [np.flatnonzero((cohort.site == site) & (cohort.label == label)) for site, label in pairs]


def on_device(
    images: np.ndarray, label: np.ndarray, site: np.ndarray, target: np.ndarray, device: torch.device
) -> Data:
    """The arrays as tensors."""
    arrays = (images, label.astype(np.int64), site.astype(np.int64), target)
    image, *rest = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)
    return Data(image, *rest)


def judged(
    approach: Approach, images: np.ndarray, device: torch.device, precision: torch.dtype | None
) -> np.ndarray:  # fmt: skip
    """(N, classes) probabilities of (N, X, Y, Z) volumes."""
    nothing = np.zeros(len(images), np.int64)
    data = on_device(images, nothing, nothing, nothing.astype(bool), device)
    return np.asarray(probabilities(approach, data, torch.arange(len(images)), precision).double())
