"""IterMask2: iterative masking in space and frequency (Liang, Guo, Noble & Kamnitsas 2024, "IterMask2: Iterative
unsupervised anomaly segmentation via spatial and frequency masking for brain lesions in MRI", MICCAI,
arXiv:2406.02422; in 3-D: Liang et al. 2026, "IterMask3D", Medical Image Analysis 107:103763, arXiv:2504.04911).

A network learns from healthy slices to inpaint hidden regions M of a slice x, guided by the edges h(x) of the whole of
it: the frequencies under a cutoff keep their phase and lose their amplitude, A(f) -> 1 for \\|f\\| < r. It sees
(1 - M) x + M n with noise n ~ N(0, 1), beside h(x), and learns by E || x - f((1 - M) x + M n, h(x)) ||^2. At test
time the brain is hidden as a whole at first, and a network of its own reconstructs it from h(x) alone. Where the error
e = (x - f)^2 is small, tissue is normal as far as the model knows: it is uncovered, M <- {e > t} within M, and guides
the next reconstruction of the rest, until M shrinks by less than 1 % of itself. What stays hidden is the anomaly.

The threshold t of the first step is the slice's own: the 60 % of its brain with the largest error stay hidden. Those
that follow have one t: the error that 20 % of hidden pixels of healthy slices exceed.

What could be read of the publication is its abstract; the formulas above and all numbers are those of the published
code (github.com/ZiyunLiang/IterMask2), which may differ from the text of the paper. The code takes the errors of
healthy validation slices for t, ranks its results by the best threshold on the test set, and works on slices 70 to 90
of BraTS, 128 x 128, of one contrast, whose 2nd to 90th percentile is scaled to [-3, 3].

Where this differs from that code, in every preset:
- t is learnt beside the weights (:class:`HealthyError`: running averages over the healthy tissue that training hides),
  so that a model needs no cohort of its own to predict;
- regions to hide are those of :mod:`braincli.anomalies.hiding` instead of squares scattered by a Gaussian;
- both networks are trained in one run; group instead of batch normalisation; time embeddings, which the code builds
  and never uses, get the constant 0;
- the iteration ends after ``steps`` reconstructions at the latest, those that ended before wait for the others;
- the restoration is the scan where nothing is hidden in the end, and the last reconstruction where something is: its
  residual is the anomaly map, which calibration thresholds;
- intensities are scaled as everywhere here (1st to 99th percentile, to [-1, 1] for the network).

IterMask3D's own threshold for each scan (1 % of the brain is uncovered at a time, and the curve of the 100 thresholds,
fitted by a tangent, tells where healthy tissue ends) takes 100 network calls and is left out.

Preset ``paper``: 128 x 128 pixels of 1.875 mm, slices 70 to 90; the code's options; 90,000 steps, of which the
published test takes the raw weights.

Preset ``compact`` deviates deliberately:
- all contrasts in one stack with one mask, contrasts dropped at random in training; errors are averaged over the
  contrasts that are there, each in units of its own healthy error, and over 9 x 9 pixels, because lesions are not
  single pixels;
- one network for all steps: what is hidden is grey and flagged by a channel of its own instead of noise (nothing is
  random in prediction), and some training slices are hidden wholly;
- it learns in the hidden pixels alone, from every labelled slice with lesions left out of the loss; a share of the
  inputs holds synthetic or transplanted lesions that are not in the target: a lesion whose edges are seen, or which is
  uncovered in part, is not to be continued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.anomalies import hiding
from braincli.diffusion import draws
from braincli.diffusion import noise as noises
from braincli.methods.base import Losses, Prediction, Task, Tick, healthy_tissue, masked_mean, no_tick, present
from braincli.methods.families.denoising import centred
from braincli.methods.families.reconstruction import ReconstructionConfig, Restoring
from braincli.methods.lengths import Length
from braincli.methods.presets import COMPACT_MAP, LEFT_OUT, STACKED, WHOLE_128, Preset
from braincli.networks.unet import UNet


class IterMaskConfig(ReconstructionConfig):
    """Options of networks, masks and iteration; the defaults are the published code's.

    Attributes:
        first: a network of its own reconstructs the wholly hidden brain from edges alone.
        hidden: what stands for hidden pixels: noise, or grey and a channel that says so.
        cutoff: frequency below which amplitudes are taken away, in cycles per pixel (code: 15 of 128).
        share: smallest and largest part of the brain that training hides.
        whole: chance of a training slice to be hidden wholly.
        inside: the loss counts in hidden pixels alone.
        keep: part of the brain that stays hidden after the first reconstruction.
        exceed: part of hidden healthy pixels whose error is above the threshold.
        least: the iteration ends when the mask shrinks by less than this part of itself.
        steps: most reconstructions after the first.
        window: width in pixels of the square over which errors are averaged.
    """

    train_steps: dict[str, Length] = Field(default={"main": 90_000})
    train_batch: int = 32
    rate: float = 1e-4
    # networks
    width: int = 32
    multipliers: tuple[int, ...] = (1, 1, 2, 3, 4)
    blocks: int = 2
    attention: tuple[int, ...] = (2, 3, 4)
    dropout: float = 0.1
    patch: int = 1
    first: bool = True
    hidden: Literal["noise", "grey"] = "noise"
    cutoff: float = Field(default=15 / 128, ge=0, lt=0.5)
    # training
    share: tuple[float, float] = (0.01, 0.6)
    whole: float = Field(default=0.0, ge=0, le=1)
    inside: bool = False
    loss: Literal["l1", "l2"] = "l2"
    # iteration
    keep: float = Field(default=0.6, gt=0, le=1)
    exceed: float = Field(default=0.2, gt=0, lt=1)
    least: float = Field(default=0.01, ge=0, lt=1)
    steps: int = Field(default=20, ge=1)
    window: int = Field(default=1, ge=1)

    @property
    def stochastic(self) -> bool:
        return self.hidden == "noise"

    @model_validator(mode="after")
    def _fits(self) -> IterMaskConfig:
        if self.window % 2 == 0:
            raise ValueError("the width of the window is odd")
        if not 0 < self.share[0] <= self.share[1] <= 1:
            raise ValueError("shares of the brain rise, from above 0 to 1")
        return self


COMPACT: Preset = STACKED | {
    "lesson": LEFT_OUT | {"plant": 0.7, "transplant": 0.6},
    "width": 32, "multipliers": (1, 2, 3), "blocks": 1, "attention": (), "dropout": 0.0, "patch": 2,
    "first": False, "hidden": "grey", "whole": 0.2, "inside": True, "loss": "l1", "window": 9,
    "steps": 5, "rate": 1e-3, "train_batch": 16, "train_steps": {"main": 2000}, "warmup": 50, "decay": "cosine",
    "map": COMPACT_MAP,
}  # fmt: skip


class IterMask(Restoring):
    """Hides the brain, uncovers step by step what it reconstructs well, and restores the rest."""

    config: IterMaskConfig
    Config = IterMaskConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_128 | {"range": (70, 90)}, "map": {"residual": "squared"}},
        "compact": COMPACT,
        "tiny": COMPACT | {
            "width": 8, "multipliers": (1, 2), "steps": 2, "train_steps": {"main": 4}, "train_batch": 4, "warmup": 2,
        },
    }  # fmt: skip

    def __init__(self, config: IterMaskConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        flag = int(config.hidden == "grey")
        self.net = self._network(2 * self.folded + flag)
        self.first = self._network(self.folded) if config.first else None
        self.healthy = HealthyError(channels, channels // self.folded, config.exceed)
        self.stride = self.net.stride

    def _network(self, inputs: int) -> UNet:
        c = self.config
        return UNet(
            inputs, self.folded, width=c.width, multipliers=c.multipliers, blocks=c.blocks, attention=c.attention,
            injection="scale-shift", resampling="residual", dropout=c.dropout, patch=c.patch,
        )  # fmt: skip

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        networks = {"net": self.net, "first": self.first}
        return {
            name: torch.optim.AdamW(network.parameters(), lr=self.config.rate, weight_decay=0.0)
            for name, network in networks.items()
            if network is not None
        }

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        """Error of the inpainted slice, and of the one that is made of edges alone."""
        c = self.config
        rows, target, counts = batch.image, batch.target, batch.counts
        seen = edges(rows, c.cutoff)
        if self.first is not None:
            loss = self._error(self._reconstructed(self.first, seen), target, counts)
            yield "first", loss, {"edges": loss.detach()}
        mask = hiding.apply(batch.brain, hiding.draw(tuple(rows.shape), generator, share=c.share, whole=c.whole))
        noise = draws.randn(generator, *rows.shape).to(rows) if c.stochastic else None
        restored = self._inpainted(rows, mask, seen, noise)
        loss = self._error(restored, target, counts & mask if c.inside else counts)
        tissue = healthy_tissue(batch) & mask & (batch.planted == 0)
        image, given, where = (
            self._by_contrast(part, batch.contrast) for part in (target, restored.detach(), tissue)
        )  # fmt: skip
        self.healthy.update(image, given, where, self.misfit)
        yield "net", loss, {c.loss: loss.detach()}

    def _by_contrast(self, rows: Tensor, contrast: Tensor | None) -> Tensor:
        """Rows (R, 1, H, W) of single contrasts as (R, C, H, W), 0 in the others; of stacks as they are."""
        if contrast is None:
            return rows
        return rows * (contrast[:, None] == torch.arange(self.channels, device=rows.device))[:, :, None, None]

    def _error(self, restored: Tensor, target: Tensor, counts: Tensor) -> Tensor:
        error = restored - target
        return masked_mean(error.abs() if self.config.loss == "l1" else error**2, counts)

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        restored, _ = self.uncover(image, brain, generators, tick)
        return self.prediction(restored, image, brain)

    def uncover(
        self, image: Tensor, brain: Tensor, generators: Sequence[torch.Generator], tick: Tick = no_tick
    ) -> tuple[Tensor, Tensor]:
        """Shrink the mask as far as it goes.

        Returns:
            The last reconstruction (B, C, H, W), which is ``image`` where nothing is hidden any more, and what still is
            (B, C, H, W; bool; all contrasts of a stack have one mask).
        """
        c = self.config
        rows, mask = self.fold(image), self.per_row(brain)
        seen = edges(rows, c.cutoff)

        def inpainted() -> Tensor:
            noise = self.fold(noises.gaussian(image, generators)) if c.stochastic else None
            restored = self._inpainted(rows, mask, seen, noise)
            tick()
            return restored

        if self.first is None:
            restored = inpainted()
        else:
            restored = self._reconstructed(self.first, seen)
            tick()
        misfit = self.misfit(image, self.unfold(restored), mask)
        mask = mask & (misfit > hiding.quantile(misfit, mask, 1 - c.keep))
        goes_on = torch.ones(len(rows), 1, 1, 1, dtype=torch.bool, device=image.device)
        for _ in range(c.steps):
            restored = torch.where(goes_on, torch.where(mask, inpainted(), rows), restored)
            smaller = mask & (self.misfit(image, self.unfold(restored), mask) > self.healthy.limits(len(image)))
            before, after = (m.sum(dim=(1, 2, 3), keepdim=True) for m in (mask, smaller))
            goes_on = goes_on & (before - after >= c.least * before) & (before > 0)
            mask = torch.where(goes_on, smaller, mask)
        return self.unfold(torch.where(mask, restored, rows)), self.unfold(mask.expand_as(rows))

    def calls(self) -> int:
        return 1 + self.config.steps

    def misfit(self, image: Tensor, restored: Tensor, mask: Tensor) -> Tensor:
        """(R, 1, H, W) squared error in units of healthy tissue's, averaged over the contrasts of a row and ``window``.

        Args:
            image, restored: (B, C, H, W).
            mask: (R, 1, H, W) bool, pixels that the averages are taken over; elsewhere it is 0.
        """
        there = present(image)
        error = (image - restored.float()) ** 2 / self.healthy.scale[:, None, None] * there
        count = self.fold(there).sum(dim=1, keepdim=True).clamp_min(1)
        error = self.fold(error).sum(dim=1, keepdim=True) / count * mask
        width = self.config.window
        if width == 1:
            return error
        shares = (F.avg_pool2d(part, width, stride=1, padding=width // 2) for part in (error, mask.float()))
        total, share = shares
        return torch.where(mask, total / share.clamp_min(1e-6), 0)

    def _inpainted(self, rows: Tensor, mask: Tensor, seen: Tensor, noise: Tensor | None) -> Tensor:
        """Reconstruction of ``rows`` (R, C, H, W) in [0, 1] with the pixels of ``mask`` (R, 1, H, W) hidden."""
        if noise is None:
            parts = [torch.where(mask, 0, centred(rows)), seen, mask.to(rows)]
        else:
            parts = [torch.where(mask, noise, centred(rows)), seen]
        return self._reconstructed(self.net, torch.cat(parts, dim=1))

    def _reconstructed(self, network: UNet, given: Tensor) -> Tensor:
        output: Tensor = network(given, torch.zeros(len(given), device=given.device))
        return (output + 1) / 2


class HealthyError(nn.Module):
    """The error that hidden healthy tissue has, by running averages over training.

    Attributes:
        scale: (C,) mean squared error of each contrast.
        limit: (groups,) misfit (squared error over ``scale``) that the part ``exceed`` of it exceeds, for each contrast
            where the network has single ones, else one for all.
        seen: (C,) batches that held each contrast, as far as the averages' memory goes.
    """

    scale: Tensor
    limit: Tensor
    seen: Tensor

    def __init__(self, channels: int, groups: int, exceed: float, momentum: float = 0.02) -> None:
        super().__init__()
        self.exceed, self.momentum = exceed, momentum
        self.register_buffer("scale", torch.full((channels,), 0.01))
        self.register_buffer("limit", torch.full((groups,), 1.5))
        self.register_buffer("seen", torch.zeros(channels))

    def limits(self, slices: int) -> Tensor:
        """(R, 1, 1, 1): the limit of every row of so many slices."""
        return self.limit.repeat(slices)[:, None, None, None]

    @torch.no_grad()
    def update(
        self, image: Tensor, restored: Tensor, tissue: Tensor, misfit: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> None:
        """Take in a batch: what it hid of healthy ``tissue`` (B, C, H, W; bool), and what was put there."""
        pixels = tissue.sum(dim=(0, 2, 3))
        self.seen.add_(pixels > 0).clamp_max_(1 / self.momentum)
        rate = (pixels > 0) / self.seen.clamp_min(1)
        error = ((image - restored.float()) ** 2 * tissue).sum(dim=(0, 2, 3)) / pixels.clamp_min(1)
        self.scale.lerp_(torch.where(pixels > 0, error, self.scale), rate).clamp_min_(1e-4)
        groups = len(self.limit)
        where = tissue if groups > 1 else tissue.any(dim=1, keepdim=True)
        found = misfit(image, restored, where.reshape(-1, 1, *where.shape[2:])).reshape(where.shape)
        limit = hiding.quantile(found.transpose(0, 1), where.transpose(0, 1), 1 - self.exceed).flatten()
        rate = rate if groups > 1 else rate.amax(keepdim=True)
        self.limit.lerp_(torch.where(limit.isfinite(), limit, self.limit), rate)


def edges(image: Tensor, cutoff: float) -> Tensor:
    """High frequencies of ``image`` (R, C, H, W) in [0, 1], scaled to [-1, 1] before: Re F^-1(A' exp(i phi)).

    Args:
        cutoff: in cycles per pixel; below it the amplitude A' is 1 (of the unnormalised transform), above it it stays.
    """
    h, w = image.shape[2:]
    spectrum = torch.fft.rfft2(centred(image.float()))
    y = torch.fft.fftfreq(h, device=image.device)[:, None]
    x = torch.fft.rfftfreq(w, device=image.device)[None, :]
    phase = spectrum / spectrum.abs().clamp_min(1e-12)
    return torch.fft.irfft2(torch.where(y**2 + x**2 < cutoff**2, phase, spectrum), s=(h, w))
