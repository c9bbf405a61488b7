"""What the papers do not have and every compact preset wants, as one set of options: the lesson.

A lesson turns a batch of slices into a task: what the network sees, what it should give and which pixels count. The
training loop does so before it asks a method for its losses, which therefore hold the paper's formula and nothing else.
With all options off (every paper's lesson) the network sees the slice, gives the slice, and all of it counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from braincli.anomalies import augment, lesions
from braincli.diffusion import draws
from braincli.methods.batch import Batch, Task, healthy_tissue, present

MOVED = ("target", "image", "planted", "tissue", "brain", "lesion", "unsure")  # what lies on a slice
Parameters = TypeVar("Parameters", bound=Any)


class Lesson(BaseModel):
    """What is done to slices before a method learns from them, in this order: plant, vary, leave out.

    Attributes:
        vary: strength of the geometry and intensities of other heads and scanners (:mod:`braincli.anomalies.augment`),
            the same for what is seen and what is to be given.
        drop: chance of each contrast to be taken away. alone: share of rows that keep one contrast only.
        leave_out: known lesions, with a margin, and the background do not count: learn from diseased slices, too.
        plant: share of rows that are seen with a lesion which is not to be given back
            (:mod:`braincli.anomalies.lesions`). transplant: share of these lesions that are other slices' own. twins:
            share of them that have a twin on the other side, as lesions of white matter often do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vary: float = Field(default=0.0, ge=0)
    drop: float = Field(default=0.0, ge=0, lt=1)
    alone: float = Field(default=0.0, ge=0, le=1)
    leave_out: bool = False
    plant: float = Field(default=0.0, ge=0, le=1)
    transplant: float = Field(default=0.0, ge=0, le=1)
    twins: float = Field(default=0.0, ge=0, le=1)

    def task(self, batch: Batch, generator: torch.Generator, *, run: int = 1) -> Task:
        """The task that ``batch`` becomes.

        Args:
            generator: of everything random.
            run: adjacent slices of one case, which get the same lesion and vary alike.
        """
        return self.varied(self.planted(batch, generator, run=run), generator, run=run)

    @torch.no_grad()
    def planted(self, batch: Batch, generator: torch.Generator, *, run: int = 1) -> Task:
        """The first step: ``batch`` with lesions in a share of its rows. What counts is for the last step to say."""
        image, alpha = batch.image, torch.zeros_like(batch.image[:, :1])
        if self.plant:
            runs = -(-len(batch) // run)
            lesion = repeat_rows(lesions.draw((runs, *image.shape[1:]), generator), run, len(batch))
            diseased, where = lesions.apply(
                image, batch.brain, batch.lesion, lesion, transplanted=self.transplant
            )  # fmt: skip
            if self.twins:
                both = (draws.rand(generator, runs).to(image.device) < self.twins).repeat_interleave(run)[: len(batch)]
                diseased, where = lesions.twinned(diseased, batch.brain, where, both)
            drawn = draws.rand(generator, runs).to(image.device)
            chosen = (drawn < self.plant).repeat_interleave(run)[: len(batch), None, None, None]
            image, alpha = torch.where(chosen, diseased, image), where * chosen
        parts: dict[str, Any] = vars(batch) | {"image": image}
        if batch.around is not None and self.plant:  # a lesion reaches into the neighbours
            change = (image - batch.image)[:, None]
            parts["around"] = (batch.around + change).clamp(0, 1) * batch.around.ne(0)
        task = Task(**parts, target=batch.image, counts=batch.brain.expand_as(image), planted=alpha)
        return task if self.varies else replace(task, counts=self.counted(task))

    @torch.no_grad()
    def varied(self, task: Task, generator: torch.Generator, *, run: int = 1) -> Task:
        """The second step: other heads, other scanners, fewer contrasts."""
        if not self.varies:
            return task
        shape = (-(-len(task) // run), *task.image.shape[1:])
        drawn = augment.draw(shape, generator, strength=self.vary, drop=self.drop, alone=self.alone)  # type: ignore[arg-type]
        variation = repeat_rows(drawn, run, len(task)).to(task.image.device)
        parts = {name: getattr(task, name) for name in MOVED if getattr(task, name) is not None}
        if task.around is not None:
            parts |= {"around": task.around.flatten(1, 2), "shown": task.around.ne(0).any(dim=2)}
        if task.image is task.target:
            del parts["image"]
        moved: dict[str, Tensor] = {}
        for masks in (True, False):
            alike = {name: part for name, part in parts.items() if (part.dtype == torch.bool) is masks}
            moved |= zip(alike, augment.move_all(list(alike.values()), variation), strict=True)
        images = [moved["target"], *([moved["image"]] if "image" in moved else [])]
        target, *image = augment.recolour(torch.stack(images), moved["brain"], variation)
        changes: dict[str, Any] = moved | {"target": target, "image": image[0] if image else target}
        if task.around is not None:
            near = moved["around"].unflatten(1, task.around.shape[1:3]).transpose(0, 1)  # (2 K, B, C, H, W)
            shown = changes.pop("shown").transpose(0, 1)[:, :, None]
            changes["around"] = augment.recolour(near, shown, variation).transpose(0, 1)
        varied = replace(task, **changes)
        return replace(varied, counts=self.counted(varied))

    @property
    def varies(self) -> bool:
        """Whether the second step does anything."""
        return bool(self.vary or self.drop or self.alone)

    def counted(self, task: Task) -> Tensor:
        """(B, C, H, W) bool: pixels that count; those of absent contrasts never do."""
        if self.leave_out:
            return healthy_tissue(task.with_image(task.target))
        return present(task.target).expand_as(task.target)


def repeat_rows(parameters: Parameters, times: int, rows: int) -> Parameters:
    """Parameters of an anomaly or augmentation (dataclasses of tensors), each row ``times`` times, cut to ``rows``."""
    if times == 1:
        return parameters

    def repeated(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.repeat_interleave(times, dim=0)[:rows]
        return replace(value, **{name: repeated(part) for name, part in vars(value).items()})

    return cast(Parameters, repeated(parameters))
