"""SADM: segmentation beside reconstruction (Behrendt et al. 2024, "Combining reconstruction-based unsupervised anomaly
detection with supervised segmentation for brain MRIs", MIDL).

Stages ``pretrain`` and ``main`` are those of :mod:`braincli.methods.cddpm`. What they made is frozen in stage
``segment``: a weight-standardised U-Net learns where anomalies are, from slices and what the cDDPM makes of them from
any noise level. Known kinds of lesion get sharp edges from it, and unknown ones still show in the reconstruction:

    AS = a + p                        (Eq. 3)
    AS = beta a + (1 - beta) p        (Eq. 4; option ``beta``)
    a = median(1 - SSIM(x, rec)),  p = sigmoid(U-Net(...))

rec and p are means over the noise levels. (The text prints SSIM(x - rec), averages rec only, and says three levels of
the U-Net; its code has four and averages both.) Option ``residual``: one encoder gets the signed residual x - rec and
the slice x by turns; else the U-Net gets x alone. Three methods differ in nothing but options:

- ``sadm``: x alone, a + p;
- ``sadm-res``: residual and x, a + p;
- ``unet-res``: residual and x, p alone (beta = 0).

Option ``masks``: ``synthetic`` (self-supervised) plants anomalies of :mod:`braincli.anomalies.kinds`; ``real`` (weakly
supervised) takes the lesion masks of the training cases, of which a few do. As in :mod:`braincli.methods.unet`, they
have to be expert masks, and nothing but training cases is ever read; calibration refuses those.

All presets: a is made slice by slice, in windows of 9 x 9 and 5 x 5 pixels (paper: 9 x 9 x 9 and 5 x 5 x 5 voxels of
the stack), and its mean over the contrasts counts.

- ``paper``: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63; cDDPM as printed, but rate 1e-4; U-Net of 16,736,705
  (without residual 7,701,825) parameters, cross-entropy, rate 5e-5; DRAEM's anomalies in every slice. No erosion, no
  component filter. Deviations: those of cDDPM; blur, bias field, gamma and ghosting are left to the option
  ``lesson.vary``.
- ``reference``: the published code's cDDPM, 44,068,481 + 24,550,848 parameters.
- ``compact``: ours, cDDPM's compact preset and a narrow U-Net on patches of 2 x 2 pixels, Dice beside cross-entropy,
  growths or other slices' lesions in most slices, levels near those of the prediction; slices with a known lesion take
  part, and it is left out of the losses (with real masks: of those before stage ``segment``). Maps are smoothed, and
  the rim is taken off.

Deviations that remain, beside those named: cases that choose the weights are set apart by ``train --validation`` alone
(its code: the first ten labelled ones). Two cohorts take two trainings: the synthetic one on healthy cases first, then
``--init MODEL --steps pretrain=0 --steps main=0 --set masks=real`` on labelled ones, which changes the U-Net alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.diffusion import draws
from braincli.methods.base import Losses, Prediction, Sampling, Task, Tick, no_tick, present
from braincli.methods.cddpm import CDDPM, CDDPMConfig
from braincli.methods.families.denoising import centred
from braincli.methods.families.segmenter import countable, plant, pooled, segmentation_loss
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import EPOCHS_1600, HALF_96, RESTORED, Preset
from braincli.networks.median import median
from braincli.networks.patched import Patched
from braincli.networks.ssim import ssim
from braincli.networks.wsunet import WIDTHS, SiameseWSUNet, WSUNet

WINDOW, SIGMA, MEDIAN = 9, 1.0, 5  # of a, in pixels


class SADMConfig(CDDPMConfig):
    """Options of segmentation and fusion; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(
        default={"pretrain": Epochs(number=1200, of="cases"), **EPOCHS_1600, "segment": Epochs(number=600, of="cases")}
    )
    rate: float = 1e-4
    # segmentation
    residual: bool = False  # the U-Net gets the residual beside the slice
    widths: tuple[int, ...] = WIDTHS
    segment_patch: int = Field(default=1, ge=1)  # pixels per side folded into channels
    segment_rate: float = 5e-5
    segment_levels: tuple[int, int] = (1, 1000)  # that slices are noised to in training
    dice: float = Field(default=0.0, ge=0)  # weight of 1 - soft Dice beside the cross-entropy
    masks: Literal["synthetic", "real"] = "synthetic"
    anomaly: Literal["draem", "pii", "growth", "coarse", "sink", "mixed"] = "draem"  # of synthetic masks
    clean: float = Field(default=0.0, ge=0, le=1)  # share of slices without one, of those without a planted lesion
    whole_slice: bool = True  # synthetic anomalies may lie beside the brain, too
    uniform_threshold: bool = True  # of DRAEM's masks; else 0.5
    balanced: bool = False  # real masks: half of a batch shows a lesion; else any labelled slice
    # fusion
    beta: float | None = Field(default=None, ge=0, le=1)  # share of a; none is the plain sum


SEGMENTATION: Preset = {
    "widths": (24, 48, 64, 96), "segment_patch": 2, "segment_rate": 1e-3, "segment_levels": (200, 500), "dice": 1.0,
    "anomaly": "growth", "lesson": RESTORED | {"transplant": 0.5}, "clean": 0.6, "balanced": True,
    "whole_slice": False, "uniform_threshold": False,
    "train_steps": {"pretrain": 200, "main": 600, "segment": 700},
}  # fmt: skip
SMALL: Preset = {"widths": (8, 16), "train_steps": {"pretrain": 4, "main": 4, "segment": 4}}
PRESETS: dict[str, Preset] = {
    "paper": {"slices": HALF_96},
    "reference": CDDPM.PRESETS["reference"] | {"map": {}, "uniform_threshold": False},
    "compact": CDDPM.PRESETS["compact"] | SEGMENTATION,
    "tiny": CDDPM.PRESETS["tiny"] | SEGMENTATION | SMALL,
}


class SADM(CDDPM):
    """A cDDPM's error, and the score of a U-Net."""

    config: SADMConfig
    Config = SADMConfig
    PRESETS: ClassVar[dict[str, Preset]] = PRESETS
    stages = ("pretrain", "main", "segment")
    stage_share: ClassVar[dict[str, float]] = {"pretrain": 0.05, "main": 0.45, "segment": 0.5}

    def __init__(self, config: SADMConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        kind, folds = SiameseWSUNet if c.residual else WSUNet, c.segment_patch**2
        self.segmenter = Patched(kind(self.folded * folds, folds, widths=c.widths), c.segment_patch)
        self.stride = math.lcm(self.stride, self.segmenter.stride)

    def sampling(self, stage: str) -> Sampling:
        """Stage ``segment`` with real masks: slices with and without lesion; else what cDDPM learns from."""
        if stage != "segment" or self.config.masks == "synthetic":
            return super().sampling(stage)
        return "balanced" if self.config.balanced else "any"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        if stage != "segment":
            return super().optimizers(stage)
        return {"segmenter": torch.optim.Adam(self.segmenter.parameters(), lr=self.config.segment_rate)}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        if stage != "segment":
            yield from super().losses(batch, stage, generator)
            return
        image, target, mask = self.segmentation_inputs(batch, generator)
        restored = self.restore_rows(image, batch.brain, generator) if self.config.residual else None
        logits = self.logits(self.fold(image), restored)
        mask = mask.any(dim=1, keepdim=True) if self.folded == self.channels else self.fold(mask)
        loss = segmentation_loss(logits, self.per_row(target), mask, self.config.dice)
        yield "segmenter", loss, {"segmentation": loss.detach()}

    def segmentation_inputs(self, batch: Task, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Slices (B, C, H, W), masks of their anomalies (B, 1, H, W), 0.0 or 1.0, and pixels that count (as slices)."""
        c = self.config
        if c.masks == "real":
            return batch.image, batch.sick.float(), countable(batch)
        planted = plant(
            c.anomaly, batch, generator, clean=c.clean, whole_slice=c.whole_slice, uniform_threshold=c.uniform_threshold
        )
        return *planted, batch.counts

    @torch.no_grad()
    def restore_rows(self, image: Tensor, brain: Tensor, generator: torch.Generator) -> Tensor:
        """The frozen cDDPM's rows (R, folded, H, W) of ``image`` (B, C, H, W), each from a random level."""
        self.net.eval()
        self.encoder.eval()  # its batch statistics are frozen as well
        rows = self.fold(image)
        low, high = self.config.segment_levels
        t = draws.randint(generator, low, high + 1, len(rows)).to(rows.device)
        noise = self.fold(self.noise(image, generator))
        return self.restore_from(rows, t, noise, self.context(image)) * self.fold(brain & present(image))

    def restore_from(self, rows: Tensor, t: Tensor, noise: Tensor, context: dict[str, Tensor]) -> Tensor:
        """``rows`` (R, folded, H, W) in [0, 1], noised to levels ``t`` (R,) and denoised in one call."""
        noisy = self.process.schedule.noised(centred(rows), t, noise)
        restored = self.process.clean(self.net(noisy, t, **context), noisy, t)
        return ((restored.float() + 1) / 2).clamp(0, 1)

    def logits(self, rows: Tensor, restored: Tensor | None) -> Tensor:
        """The U-Net's logits (R, 1, H, W), float32, of rows (R, folded, H, W) and, if it gets it, of their residual."""
        inputs = (rows,) if restored is None else (rows - restored, rows)
        logits: Tensor = self.segmenter(*inputs).float()
        return logits

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        c = self.config
        rows, context, inside = self.fold(image), self.context(image), self.fold(brain & present(image))
        restorations: list[Tensor] = []
        probabilities: list[Tensor] = []
        for level in c.levels:
            t = torch.full((len(rows),), level, device=rows.device)
            noise = self.fold(self.noise(image, generators))
            restorations.append(self.restore_from(rows, t, noise, context) * inside)
            if c.residual or not probabilities:  # without residual every level would give the same
                probabilities.append(self.logits(rows, restorations[-1] if c.residual else None).sigmoid())
            tick()
        restored = self.unfold(torch.stack(restorations).mean(dim=0))
        p = pooled(self.unfold(torch.stack(probabilities).mean(dim=0)), image, brain)
        return Prediction(restored, self.fused(image, restored, brain, p))

    def fused(self, image: Tensor, restored: Tensor, brain: Tensor, p: Tensor) -> Tensor:
        """AS (B, 1, H, W) of Eq. 3 or 4, from slices and restorations (B, C, H, W) and ``p`` (B, 1, H, W)."""
        beta = self.config.beta
        if beta == 0:
            return p
        a = reconstruction_error(image, restored, brain)
        return a + p if beta is None else beta * a + (1 - beta) * p


class SADMRes(SADM):
    """SADM whose U-Net gets the residual, too."""

    PRESETS: ClassVar[dict[str, Preset]] = {k: v | {"residual": True} for k, v in PRESETS.items()}


class UNetRes(SADM):
    """The U-Net of SADMRes by itself."""

    PRESETS: ClassVar[dict[str, Preset]] = {k: v | {"residual": True, "beta": 0.0} for k, v in PRESETS.items()}


def reconstruction_error(image: Tensor, restored: Tensor, brain: Tensor) -> Tensor:
    """a = median(1 - SSIM) in [0, 2], (B, 1, H, W), its mean over the contrasts that are there; 0 outside the brain."""
    with torch.autocast(image.device.type, enabled=False):  # variances are small differences of large sums
        change = 1 - ssim(image.float(), restored.float(), window=WINDOW, sigma=SIGMA)
    return pooled(median(change * (brain & present(image)), MEDIAN), image, brain)
