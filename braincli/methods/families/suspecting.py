"""Who suspects: a network of TSGM's preset ``compact`` that does nothing but say where a slice is diseased (ours).

The score network tells it, too, while it learns to restore; with one contrast alone, and T1 or T1ce above all, that is
too much to ask of it. This one sees a single contrast at a time, with the neighbouring slices and the mirror image
beside the slice; of several contrasts it says the mean of what it says of each, so that every set of them is served
alike. Half of its rows hold a lesion that the slice itself shows. Where no lesion is known it learns from planted ones
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from braincli.methods.batch import present
from braincli.methods.lesson import Lesson
from braincli.networks.wsunet import WSUNet

RARE = -3.0  # logit at the beginning: lesions are few
LESSON = Lesson(vary=1.5, alone=1.0, leave_out=True, plant=0.3, transplant=0.67)


class Suspect(BaseModel):
    """Options of stage ``suspect``.

    Attributes:
        widths: channels of its network per level (:class:`braincli.networks.wsunet.WSUNet`).
        neighbours: slices that it sees on each side of its own.
        rate, decay: learning rate, and decay of the weights.
        dice: weight of 1 - soft Dice beside the cross-entropy.
        lesson: what is done to the slices that it learns from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = (32, 64, 128, 192)
    neighbours: int = Field(default=2, ge=0)
    rate: float = Field(default=1e-3, gt=0)
    decay: float = Field(default=1e-3, ge=0)
    dice: float = Field(default=0.5, ge=0)
    lesson: Lesson = LESSON

    @field_validator("lesson", mode="before")
    @classmethod
    def _beside_the_default(cls, given: Any) -> Any:
        """What a part of a lesson does not name is as in :data:`LESSON`, not off."""
        return {**LESSON.model_dump(), **given} if isinstance(given, Mapping) else given


class Suspector(nn.Module):
    """Slices and their neighbours (``others`` of each) -> logit of disease."""

    def __init__(self, options: Suspect, channels: int) -> None:
        super().__init__()
        self.others = 2 * options.neighbours
        self.network = WSUNet(channels * (2 + self.others), widths=options.widths, padding="zeros")
        self.stride = 2 * self.network.stride
        nn.init.constant_(self.network.decoder.last.bias, RARE)  # type: ignore[arg-type]

    def forward(self, image: Tensor, around: Tensor | None) -> Tensor:
        """(B, 1, H, W) logit.

        Args:
            image: (B, C, H, W) in [0, 1].
            around: (B, 2 neighbours, C, H, W), from below to above; None: each slice stands for its neighbours, too.
                A contrast that ``image`` lacks is ignored.
        """
        if around is None:
            around = image[:, None].expand(-1, self.others, -1, -1, -1)
        near = (around * present(image)[:, None]).flatten(1, 2)
        logit: Tensor = self.network(torch.cat([image, near, image.flip(3)], dim=1))
        return logit

    def each_alone(self, image: Tensor, around: Tensor | None) -> Tensor:
        """The mean of :meth:`forward` over the contrasts of each slice, seen alone; RARE where a slice shows none."""
        shown = present(image)[:, :, 0, 0]
        row, contrast = shown.nonzero(as_tuple=True)
        alone = torch.zeros_like(image[row])
        alone[torch.arange(len(row), device=row.device), contrast] = image[row, contrast]
        logit = self(alone, None if around is None else around[row])
        count = shown.sum(dim=1).view(-1, 1, 1, 1)
        total = logit.new_zeros(len(image), *logit.shape[1:]).index_add(0, row, logit)
        return torch.where(count > 0, total / count.clamp_min(1), RARE)
