"""``translate``: prepared cases in, counterfactual scans on their own grids out (Wolleb et al. 2022,
arXiv:2204.02641)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from braincli.detection.ongrid import OnGrid
from braincli.detection.restore import Given, Restoration, over_slices, where_shown
from braincli.errors import InputError, UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case, Contrast, stem
from braincli.imaging.slices import SliceSpec
from braincli.imaging.volume import Volume
from braincli.methods import registry
from braincli.methods.base import Tick
from braincli.model.folder import LoadedModel
from braincli.runtime import cohort
from braincli.runtime.device import precision
from braincli.runtime.progress import Reporter
from braincli.translation.options import TranslateConfig
from braincli.translation.pictures import Column, series, shown_on
from braincli.translation.work import Done, Ready, SliceJob, inputs_of, refuse_model

SURE = 0.5  # probability above which the guide sees a lesion
OUTSIDE = 0.1  # share of a mask outside the brain that is worth a word


@dataclass(frozen=True)
class Goal:
    """What a case is translated to.

    Attributes:
        name: part of the names of files.
        values: (S,) numbers, or (S, 1, H, W) masks of 0 and 1; float32.
        mask: of masks, on the scan's grid, bool.
    """

    name: str
    values: np.ndarray
    mask: Volume | None = None


@dataclass(frozen=True)
class Translation(OnGrid):
    """A case at one goal, on its own grid.

    Attributes:
        reading: what the guide says of the case before and after: the mean number over slices, or the Dice of what it
            takes for a lesion and the mask.
    """

    goal: Goal
    images: Mapping[Contrast, Volume]
    brain: Volume
    restoration: Restoration
    spec: SliceSpec
    reading: tuple[float, float]

    @cached_property
    def difference(self) -> Volume:
        """Sum over contrasts of |scan - translation|, in shares of their intensity ranges (a of the paper)."""
        slices, restored = self.restoration.slices, self.restoration.restored
        assert restored is not None
        return slices.to_volume(np.abs(slices.image - restored).sum(axis=1) * slices.brain[:, 0])


def translate_cases(
    cases: Sequence[Case],
    out: Path,
    config: TranslateConfig,
    reporter: Reporter,
    *,
    masks: Sequence[Path] = (),
    model: LoadedModel | None = None,
) -> list[Done]:
    """Translate ``cases`` to every goal; each gets a folder below ``out``.

    Args:
        masks: of the only case, on its grid: one translation for each, all of the scan as it is.
        model: in memory, instead of the one that ``config`` names; it is left as it is.

    Raises:
        UsageError: no goal, one of another kind than the model's, masks for several cases, or an output exists.
        ModelError: no such model, or one that translates nothing.
        CohortError: several cases, some of which failed; it lists them, ``outcomes`` holds what came of each.
    """
    job = TranslateJob(config, reporter, model, tuple(masks))
    job.refuse(len(cases))
    with job.own_strength():
        return cohort.results(cohort.each(cases, lambda case: job.run(case, out), reporter))


@dataclass
class TranslateJob(SliceJob):
    """Translates case by case."""

    config: TranslateConfig
    masks: tuple[Path, ...] = ()

    def refuse(self, cases: int) -> None:
        """Raise where no case could be translated: see :func:`translate_cases`."""
        numbers, wanted = self.config.to, type(self.model.method).steered_by
        if wanted is None:
            able = [name for name in registry.METHODS if registry.method_class(name).steered_by]
            raise refuse_model(self.model, "translates nothing", able)
        if not (numbers or self.masks) or (numbers and self.masks):
            raise UsageError("Translate to what?", "Add --to VALUE or --mask FILE (each repeatable).")
        if (wanted == "number") != bool(numbers):
            right, what = ("--to VALUE", "a number") if wanted == "number" else ("--mask FILE", "a mask")
            raise UsageError(f"{self.model.info.name} translates to {what}.", f"Say which: {right}.")
        if self.masks and cases > 1:
            raise UsageError(f"Masks lie on one case's grid; there are {cases} cases.", "Name one case.")

    @contextmanager
    def own_strength(self) -> Iterator[None]:
        """The model noises as far and pulls as hard as the options say, meanwhile."""
        method, changed = self.model.method, {"level": self.config.level, "scale": self.config.scale}
        before = method.config
        method.config = before.model_copy(update={k: v for k, v in changed.items() if v is not None})
        try:
            yield
        finally:
            method.config = before

    def run(self, case: Case, out: Path) -> Done:
        """Translate one case, or skip it where ``resume`` finds it complete."""
        record = self.record("translate", case, {f"mask-{i}": path for i, path in enumerate(self.masks, 1)})
        names = [*self.config.to, *(_safe(stem(path)) for path in self.masks)]
        kinds = [f"to-{name}_{role}.nii.gz" for name in names for role in (*case.images, "difference")]
        outputs = self.outputs(record, case, out, [*kinds, "translate.png"], [*inputs_of(case), *self.masks])
        with outputs.locked():
            if self.config.resume and outputs.transaction.is_done():
                return Done(case.id, "skipped", outputs.folder)
            outputs.transaction.refuse()
            with record.timed("read"):
                ready = self.sliced(case)
                goals, doubts = self._goals(ready)
            record.warnings += [*ready.warnings, *doubts]
            for text in record.warnings:
                self.reporter.warn(f"{case.id}: {text}")
            with record.timed("translate"):
                made = [self._translated(case, ready, goal) for goal in goals]
            readings = {one.goal.name: dict(zip(("before", "after"), one.reading, strict=True)) for one in made}
            record.facts |= {
                "method": self.model.info.method, "readings": readings, "of": self._measure,
                "slices": [int(ready.slices.index[0]), int(ready.slices.index[-1])],
                "units": "translations: units of the input; difference: sum over contrasts of shares of their ranges",
            }  # fmt: skip
            outputs.transaction.begin()
            with record.timed("write"):
                for one in made:
                    for contrast in ready.images:
                        outputs.volume(one.restored_like_input(contrast), f"to-{one.goal.name}_{contrast}.nii.gz")
                    outputs.volume(one.difference, f"to-{one.goal.name}_difference.nii.gz")
                if self.config.figure:
                    title = f"{case.id}  (model {self.model.info.name})"
                    outputs.picture(
                        series(ready.images, ready.brain, _columns(made), title, self._measure), "translate.png"
                    )
            outputs.transaction.finish()
        return Done(case.id, "done", outputs.folder, readings, list(record.warnings))

    @property
    def _measure(self) -> str:
        """What readings are."""
        painted = type(self.model.method).steered_by == "mask"
        return "Dice of the guide's own segmentation" if painted else "mean over slices of the guide's own estimate"

    def _goals(self, ready: Ready) -> tuple[list[Goal], list[str]]:
        """All goals of a case, and what speaks against them."""
        count, doubts = len(ready.slices.index), []
        goals = [Goal(text, np.full(count, value, np.float32)) for text, value in self.config.numbers.items()]
        doubts += [text for value in self.config.numbers.values() if (text := self.model.method.doubts(value))]
        for path in self.masks:
            goal, notes = self._painted(path, ready)
            goals, doubts = [*goals, goal], [*doubts, *notes]
        return goals, doubts

    def _painted(self, path: Path, ready: Ready) -> tuple[Goal, list[str]]:
        """The mask ``path`` as a goal.

        Raises:
            InputError: it is unusable, on another grid, or beside the brain.
        """
        mask, problem = volume.mask_on_grid_of(volume.load(path, labels=True), ready.slices.grid)
        mask = mask.with_data(mask.data > 0)
        share = ready.slices.to_canvas(volume.reorient(mask).data, self.model.info.slices)
        values = (share[:, None] >= 0.5) & ready.slices.brain
        notes = [problem.message] if problem else []
        if mask.data.any():
            if not values.any():
                raise InputError(
                    f"{path.name} marks nothing of the brain in the slices that are looked at.",
                    "Draw it inside the brain, or widen --slices.",
                )
            outside = 1 - float((mask.data & ready.brain.data).sum() / mask.data.sum())
            if outside > OUTSIDE:
                notes.append(f"{outside:.0%} of {path.name} lie outside the brain, and are left out")
        return Goal(_safe(stem(path)), values.astype(np.float32), mask), notes

    def _translated(self, case: Case, ready: Ready, goal: Goal) -> Translation:
        config, model, slices = self.config, self.model, ready.slices
        method = model.method

        def ask(given: Given, rows: np.ndarray, tick: Tick) -> dict[str, Tensor | None]:
            restored = method.steer(given["image"], given["brain"], given["goal"], tick)
            return {"restored": restored, "before": method.reading(given["image"]), "after": method.reading(restored)}

        parts, where = over_slices(
            slices, model, ask, title=f"translate {case.id} to {goal.name}", calls=method.calls(),
            more={"goal": goal.values}, batch=config.batch, on_oom=config.on_oom,
            dtype=precision(model.device, config.precision), reporter=self.reporter,
        )  # fmt: skip
        restoration = Restoration(slices, where_shown(slices, parts["restored"]), None, where)
        seen = [parts[name] if goal.mask is None else _dice(parts[name], goal, slices.brain) for name in STAGES]
        before, after = (round(float(np.mean(each)), 4) for each in seen)
        return Translation(goal, ready.images, ready.brain, restoration, model.info.slices, (before, after))


STAGES = ("before", "after")


def _columns(made: Sequence[Translation]) -> list[Column]:
    """What the picture shows of each translation."""
    base = shown_on(made[0].images)
    return [
        Column(f"to {one.goal.name}", one.restored(base), one.difference, one.goal.mask, one.reading) for one in made
    ]


def _dice(probability: np.ndarray, goal: Goal, brain: np.ndarray) -> float:
    """Dice of what the guide takes for a lesion and of the mask; 1 where both are empty."""
    found, wanted = (probability > SURE) & brain, goal.values > 0
    total = float(found.sum() + wanted.sum())
    return 2 * float((found & wanted).sum()) / total if total else 1.0


def _safe(name: str) -> str:
    return re.sub(r"[^\w.\-]+", "_", name)
