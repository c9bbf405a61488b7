"""RD: reverse distillation (Deng & Li 2022, "Anomaly detection via reverse distillation from one-class embedding",
CVPR, arXiv:2201.10703).

A frozen teacher turns a slice into features at three scales; a bottleneck fuses and squeezes them into one code, and a
student, the teacher's mirror image, decodes the three scales from that code. Trained on healthy
slices, it fails where something is not healthy. Loss and score compare teacher and student by cosine distance at
every position (their Eq. 1; the loss, Eq. 2, sums over scales). The published code flattens each whole map to one
vector before the cosine instead: ``flatten`` = true does that in the loss. The paper's score is the sum over scales of
1 - cosine, in [0, 6]; here it is their mean over 2, the same order in [0, 1].

Preset ``paper``: Wide ResNet-50-2 up to layer 3 (24.9 M), bottleneck 58,885,120 and student 24,917,504 parameters; 256
x 256 pixels of 1 mm, one contrast at a time. The published bottleneck holds two more layers that it never uses; they
are left out. Learning rate 5e-3, batch 16 (SADM's comparison: 1e-4). The smoothing of the map (Gaussian, sigma 4 of 256
pixels) is the map's ``smooth_mm`` of 4; ``compact`` has 2.

Preset ``behrendt2024``: as SADM is compared with it: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63, rate 1e-4,
1600 epochs of one slice per case in batches of 32; the score's median of 5.

Preset ``compact`` deviates deliberately:
- EfficientNet-Lite0 (travels with the model), whose features have signs: each scale of the student ends in a 1 x 1
  convolution instead of a ReLU, and features are standardised per channel;
- bottleneck and student get all contrasts side by side and some of them are dropped in training, so that any subset
  can be scored; the contrasts' scores are averaged with TSGM's weights;
- half of the slices get a synthetic growth (:mod:`braincli.anomalies.growth`), of which the student is to give the
  features that the slice had without it (as RD++ does with noise: Tien et al. 2023);
- slices with a known lesion take part, their lesion left out of the loss; geometry and intensity are augmented.
Preset ``tiny`` has a random backbone and is for tests only.

Deviations that remain: the score is a mean over scales, as said, and smoothed in mm of the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from braincli.methods.base import Losses, Prediction, Task, Tick, no_tick
from braincli.methods.families.feature import BackboneName, FeatureConfig, FeatureMethod, cover
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import (
    BEHRENDT_2024_SCORE,
    EPOCHS_1600,
    FEATURE_COMPACT,
    FEATURE_TINY,
    RESTORED,
    WHOLE_256,
    Preset,
)
from braincli.networks.resnet import OneClassBottleneck, Student


class RDConfig(FeatureConfig):
    """Options of bottleneck and student; the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"main": Epochs(number=200)})
    train_batch: int = 16
    backbone: BackboneName = "wide_resnet50_2"
    levels: tuple[int, int, int] = (1, 2, 3)
    rate: float = 5e-3
    code: int = 2048  # channels of the bottleneck
    widen: int = 2
    squeeze: int = 3  # blocks of the bottleneck
    layers: tuple[int, int, int] = (3, 4, 6)  # blocks of the student, coarsest scale first
    signed: bool = False  # the student's features may be negative
    flatten: bool = False  # one cosine per map and scale, as in the published code


COMPACT: Preset = FEATURE_COMPACT | {
    "lesson": RESTORED, "levels": (0, 1, 2), "code": 256, "widen": 1, "squeeze": 1, "layers": (1, 1, 1),
    "signed": True, "rate": 1e-3, "train_steps": {"main": 450},
}  # fmt: skip


class RD(FeatureMethod):
    """Frozen teacher, one-class bottleneck, mirrored student, cosine distance."""

    config: RDConfig
    Config = RDConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_256, "map": {"smooth_mm": 4.0}},
        "behrendt2024": BEHRENDT_2024_SCORE | {"train_steps": EPOCHS_1600, "train_batch": 32, "rate": 1e-4},
        "compact": COMPACT,
        "tiny": COMPACT | FEATURE_TINY | {"code": 16},
    }

    def __init__(self, config: RDConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        widths = [self.width(k) for k in self.backbone.channels]
        self.bottleneck = OneClassBottleneck(widths, c.code, count=c.squeeze, widen=c.widen)
        self.student = Student(c.code, widths, layers=c.layers, widen=c.widen)
        self.heads = nn.ModuleList(nn.Conv2d(k, k, 1) for k in widths if c.signed)

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        trained = [p for p in self.parameters() if p.requires_grad]
        return {"main": torch.optim.Adam(trained, lr=self.config.rate, betas=(0.5, 0.999))}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        """Cosine distance of the student's features to the healthy slice's own (Deng & Li 2022, Eq. 2)."""
        target = self.features(batch.target, batch.counts)
        given = target if batch.image is batch.target else self.features(batch.image)
        loss = torch.zeros((), device=batch.image.device)
        for t, s in zip(target, self._student_features(given), strict=True):
            weight = cover(batch.counts.flatten(0, 1)[:, None], t[0]).view(*t.shape[:2], 1, *t.shape[3:])
            distance = whole_map_distance(t * weight, s * weight) if self.config.flatten else cosine_distance(t, s)
            weight = weight.amax(dim=(2, 3, 4)) if self.config.flatten else weight[:, :, 0]
            loss = loss + (distance * weight).sum() / weight.sum().clamp_min(1e-6)
        yield "main", loss, {"cosine": loss.detach()}

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        teacher = self.features(image)
        maps = [cosine_distance(t, s) / 2 for t, s in zip(teacher, self._student_features(teacher), strict=True)]
        tick()
        return Prediction(None, self.fused(maps, image, brain))

    def _student_features(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The student's features for the teacher's, finest first, (B, C, c, h, w) each."""
        student = self.student(self.bottleneck([self.rows(f) for f in features]))
        if self.config.signed:
            student = [head(f) for head, f in zip(self.heads, student, strict=True)]
        sizes = [f.shape[-2:] for f in features]  # odd ones come back a little larger
        return [f[:, :, :h, :w].reshape(like.shape) for f, like, (h, w) in zip(student, features, sizes, strict=True)]


def whole_map_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """(B, C, c, h, w) twice -> (B, C) cosine distance of whole maps, as the published code has it."""
    return 1 - F.cosine_similarity(teacher.flatten(2).float(), student.flatten(2).float(), dim=2)


def cosine_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """(B, C, c, h, w) twice -> (B, C, h, w) cosine distance in [0, 2] (Deng & Li 2022, Eq. 1)."""
    return 1 - F.cosine_similarity(teacher.float(), student.float(), dim=2).clamp(-1, 1)
