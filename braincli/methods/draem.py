"""DRAEM: a network that restores and a network that compares (Zavrtanik et al. 2021, arXiv:2108.07610).

Synthetic anomalies (:mod:`braincli.anomalies.draem`) are planted into half of the slices. The reconstructive network
learns to give back the clean slice (squared error and SSIM), the discriminative one gets restoration and input and
learns where they were planted (focal loss, gamma 2); both are trained together (DRAEM Eq. 4). The prediction is both:
the restoration, and the anomaly channel's softmax as the score.

All presets: where several contrasts are rows of their own, the score is their mean. What of a slice counts in the
losses is the lesson's: all of it in ``paper``.

Preset ``paper``: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63 (as SADM compares with it), single contrasts,
69,043,969 + 28,371,842 parameters, Perlin masks with the reference code's threshold of 0.5 anywhere in the slice; the
learning rate falls to a fifth after 80 % and again after 90 % of the steps, of which the number is ours (the paper: 700
epochs of small cohorts). There is no folder of foreign pictures: half of the textures are other slices, half the mask's
own noise, as SADM's code does it. Slices are not rotated (the paper rotates a part of its pictures).

Preset ``behrendt2024``: as SADM is compared with it: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63, rate 1e-4,
1600 epochs of one slice per case in batches of 32, a drawn threshold, textures of the mask's own noise; the score's
median of 5.

Preset ``compact`` runs on a laptop CPU and deviates deliberately:
- all contrasts in one stack, with contrasts dropped at random, narrow networks on patches of 2 x 2 pixels, group norm;
- most anomalies are tumour-like growth (:mod:`braincli.anomalies.growth`), the rest Perlin masks that cover at least
  1 % of the brain; geometry and intensity are augmented;
- slices with a known lesion take part: it is left out of the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies import draem as anomalies
from braincli.methods.base import Losses, Method, MethodConfig, Prediction, Task, Tick, masked_mean, no_tick, present
from braincli.methods.families.segmenter import other_slices, pooled
from braincli.methods.lengths import Decay, Length
from braincli.methods.presets import BEHRENDT_2024_SCORE, COMPACT_MAP, EPOCHS_1600, HALF_96, LEFT_OUT, STACKED, Preset
from braincli.networks.draem import COMPARE, RESTORE, Comparer, Restorer
from braincli.networks.ssim import ssim


class DRAEMConfig(MethodConfig):
    """The defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"main": 100_000})
    train_batch: int = 8
    decay: Decay = "step"
    # networks
    restore_width: int = 128
    restore_levels: tuple[int, ...] = RESTORE
    compare_width: int = 64
    compare_levels: tuple[int, ...] = COMPARE
    norm: Literal["batch", "group"] = "batch"
    patch: int = Field(default=1, ge=1)
    # losses
    rate: float = 1e-4
    ssim_weight: float = 1.0
    window: int = 11
    focus: float = 2.0  # gamma of the focal loss
    # anomalies
    clean: float = Field(default=0.5, ge=0, le=1)  # share of rows without one, of those that the lesson planted none in
    foreign: float = Field(default=0.5, ge=0, le=1)
    uniform_threshold: bool = False
    whole_slice: bool = True  # anomalies may lie beside the brain, too
    least: float = Field(default=0.0, ge=0, le=1)
    octaves: tuple[int, int] = (0, 6)


COMPACT: Preset = STACKED | {
    "restore_width": 32, "restore_levels": (1, 2, 4, 4), "compare_width": 32,
    "compare_levels": (1, 2, 4, 4), "norm": "group", "patch": 2, "rate": 1e-3, "least": 0.01, "octaves": (1, 5),
    "clean": 0.6, "whole_slice": False, "lesson": LEFT_OUT | {"plant": 0.5},
    "train_steps": {"main": 800}, "train_batch": 16, "warmup": 50, "decay": "cosine", "ema": 0.99,
    "map": COMPACT_MAP,
}  # fmt: skip


class DRAEM(Method):
    """Restores, and compares restoration and input."""

    config: DRAEMConfig
    Config = DRAEMConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": HALF_96},
        "behrendt2024": BEHRENDT_2024_SCORE | {
            "train_steps": EPOCHS_1600, "train_batch": 32, "uniform_threshold": True, "foreign": 0.0,
        },
        "compact": COMPACT,
        "tiny": COMPACT
        | {
            "restore_width": 8, "restore_levels": (1, 2), "compare_width": 8, "compare_levels": (1, 2),
            "train_steps": {"main": 6}, "train_batch": 4, "warmup": 2,
        },
    }  # fmt: skip

    def __init__(self, config: DRAEMConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.restorer = Restorer(
            self.folded, width=c.restore_width, multipliers=c.restore_levels, norm=c.norm, patch=c.patch
        )
        self.comparer = Comparer(
            2 * self.folded, width=c.compare_width, multipliers=c.compare_levels, norm=c.norm, patch=c.patch
        )
        self.stride = max(self.restorer.stride, self.comparer.stride)

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        return {"both": torch.optim.Adam(self.parameters(), lr=self.config.rate)}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        c = self.config
        planted, anomalous = self.planted(batch, generator)
        clean, mask = self.fold(batch.target), self.fold(batch.counts)
        restored, logits = self._networks(self.fold(planted))
        l2 = masked_mean((restored - clean) ** 2, mask)
        dissimilarity = masked_mean(1 - ssim(restored, clean, window=c.window), mask)
        segmentation = focal(logits, self.per_row(anomalous), mask.any(dim=1, keepdim=True), c.focus)
        logs = {"l2": l2.detach(), "ssim": dissimilarity.detach(), "focal": segmentation.detach()}
        yield "both", l2 + c.ssim_weight * dissimilarity + segmentation, logs

    @torch.no_grad()
    def planted(self, batch: Task, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Slices with anomalies (B, C, H, W), and where they are (B, 1, H, W) bool."""
        c = self.config
        shape = tuple(batch.image.shape)
        anomaly = anomalies.draw(
            shape, generator, octaves=c.octaves,  # type: ignore[arg-type]
            uniform_threshold=c.uniform_threshold, foreign=c.foreign,
            clean=c.clean, least=c.least,
        )  # fmt: skip
        where = torch.ones_like(batch.brain) if c.whole_slice else batch.brain
        image, alpha = anomalies.apply(batch.target, where, anomaly, other_slices(batch, generator))
        kept = batch.with_planted[:, None, None, None]
        return torch.where(kept, batch.image, image), torch.where(kept, batch.planted, alpha) > 0.5

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        restored, logits = self._networks(self.fold(image))
        tick()
        score = self.unfold(logits.softmax(dim=1)[:, 1:])
        healthy = self.unfold(restored).clamp(0, 1) * (brain & present(image))
        return Prediction(healthy, pooled(score, image, brain))

    def _networks(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Restoration (R, folded, H, W) and logits (R, 2, H, W), float32."""
        restored = self.restorer(rows)
        return restored.float(), self.comparer(torch.cat([restored, rows], dim=1)).float()


def focal(logits: Tensor, target: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Focal loss (Lin et al. 2017): -(1 - p)^gamma log p of the true class, its mean over ``mask``.

    Args:
        logits: (B, 2, H, W). target: (B, 1, H, W) bool. mask: (B, 1, H, W) bool.
    """
    healthy, anomalous = F.log_softmax(logits, dim=1).chunk(2, dim=1)
    log_p = torch.where(target, anomalous, healthy)
    return masked_mean(-((1 - log_p.exp()) ** gamma) * log_p, mask)
