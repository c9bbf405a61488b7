"""The second pass of TSGM's preset ``compact``: what a first pass suspects is hidden and drawn anew (ours).

Here are its options, its network, what teaches suspicion, and what is hidden in training.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from braincli.anomalies import hiding
from braincli.anomalies.filling import fill
from braincli.diffusion import draws
from braincli.diffusion.noise import noised
from braincli.diffusion.preconditioning import Centred
from braincli.methods.batch import Task, masked_mean, present
from braincli.networks.ncsnpp import NCSNpp


class Redraw(BaseModel):
    """Options of stage 3, ``redraw``, and of the suspicion that it follows.

    Attributes:
        width, multipliers, blocks: of its network (:class:`braincli.networks.ncsnpp.NCSNpp`).
        spread: standard deviation of healthy tissue around the mean of its surroundings.
        sigma_min, sigma_max: noise levels that it learns and is sampled at.
        doubt: what is more suspicious than this is redrawn, and ``margin`` pixels around it.
        own: the lesions that slices hold themselves, as far as these are known, teach suspicion beside planted ones.
        plain: share of the rows without a planted lesion that are seen as they are, not as the CycleGAN's partner.
        looks: draws of noise that the score network's suspicion is the mean of; 0: it is not asked.
        temperature: share of the prior's noise that redrawing begins with; less is smoother.
        caution: lowers its logit, since lesions are rarer in scans than in training; a value for all, or one per
            contrast, of which a slice takes the highest among those that it shows: FLAIR speaks up, T1 whispers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = 48
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 1
    spread: float = Field(default=0.12, gt=0)
    sigma_min: float = Field(default=0.01, gt=0)
    sigma_max: float = Field(default=5.0, gt=0)
    doubt: float = Field(default=0.3, gt=0, lt=1)
    margin: int = Field(default=2, ge=0)
    own: bool = False
    plain: float = Field(default=0.0, ge=0, le=1)
    looks: int = Field(default=1, ge=0)
    caution: float | tuple[float, ...] = 0.0
    temperature: float = Field(default=1.0, ge=0)


class Redrawer(NCSNpp):
    """Healthy tissue for hidden regions: a diffusion model whose prior is the smooth mean of what lies around them."""

    def __init__(self, options: Redraw, channels: int, patch: int) -> None:
        super().__init__(
            3 * channels + 1, channels, width=options.width, multipliers=options.multipliers, blocks=options.blocks,
            attention=(), fir=False, pyramids=False, patch=patch,
        )  # fmt: skip
        self.options, self.channels, self.precondition = options, channels, Centred(options.spread)

    def denoise(self, noisy: Tensor, sigma: Tensor, filled: Tensor, hidden: Tensor) -> Tensor:
        """The healthy slice (B, C, H, W), where ``hidden`` (B, 1, H, W) is known as smooth as in ``filled`` only."""

        def network(joint: Tensor, log_sigma: Tensor) -> Tensor:
            mirrored = joint[:, self.channels :].flip(3)
            return self(torch.cat([joint, mirrored, hidden.to(joint)], dim=1), log_sigma)

        return self.precondition.denoise(network, noisy, sigma, filled)

    def loss(self, batch: Task, generator: torch.Generator) -> Tensor:
        """Denoising score matching of what ``batch`` hides, given what lies around it."""
        assert batch.hidden is not None
        c, hidden = self.options, batch.hidden
        filled = fill(batch.image, batch.brain & ~hidden, hidden)
        noisy, sigma = noised(torch.where(hidden, batch.target, filled), c.sigma_min, c.sigma_max, generator)
        clean = self.denoise(noisy, sigma, filled, hidden)
        error = self.precondition.weight(sigma)[:, None, None, None] * (clean - batch.target) ** 2
        return masked_mean(error, batch.counts)


def doubted(logit: Tensor, image: Tensor, caution: float | tuple[float, ...]) -> Tensor:
    """The ``logit`` of suspicion (B, 1, H, W) less the caution that the contrasts of ``image`` (B, C, H, W) want."""
    if isinstance(caution, float):
        return logit - caution
    each = logit.new_tensor(caution)[None, :, None, None]
    return logit - torch.where(present(image), each, -torch.inf).amax(dim=1, keepdim=True)


def suspected(task: Task, *, own: bool) -> tuple[Tensor, Tensor]:
    """What suspicion is to be: (B, 1, H, W) in [0, 1], how diseased each pixel is, and (B, 1, H, W) bool, where that is
    known: in rows with a planted lesion and in plain ones; partners by the CycleGAN are diseased nobody knows where.

    With ``own`` the lesions that the slices held before count, too, up to their very rim.
    """
    diseased, known = task.planted, task.counts.any(dim=1, keepdim=True)
    if own:
        sure = task.brain if task.unsure is None else task.brain & ~task.unsure
        diseased, known = torch.maximum(diseased, task.lesion.to(diseased)), sure | task.lesion
    plain = (task.image == task.target).flatten(1).all(dim=1)
    return diseased, known & (task.with_planted | plain)[:, None, None, None]


def hide(task: Task, generator: torch.Generator) -> Task:
    """``task`` with a hidden region in every row, which alone counts: the planted lesion with a margin (mostly), a
    region of lesion-like shape anywhere, or both. The lesion's faintest rim may stay visible, as it may in a scan."""
    which, size, level = draws.rand(generator, 3, len(task), 1, 1, 1).to(task.image.device)
    lesion = hiding.widened(task.planted > 0.1 + 0.4 * level, hiding.WIDEST * size)
    elsewhere = hiding.apply(task.brain, hiding.draw(tuple(task.image.shape), generator, share=(0.01, 0.4), frayed=0.1))
    alone = (which < 0.5) & lesion.flatten(1).any(dim=1)[:, None, None, None]
    hidden = (lesion & (which < 0.8)) | (elsewhere & ~alone)
    hidden = hidden & task.brain
    return replace(task, hidden=hidden, counts=task.counts & hidden)
