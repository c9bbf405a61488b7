"""ISCT: unsupervised anomaly segmentation using image-semantic cycle translation (Li et al. 2021, arXiv:2103.09094).

A segmentor S turns a slice into probabilities of grey matter, white matter, fluid and background; a generator G, taught
with a discriminator on the tissue maps of lesion-free slices, turns such probabilities back into an image. A lesion has
no tissue code of its own, so G(S(x)) shows normal tissue there and the residual |x - G(S(x))| shows the lesion.

Stages: ``segment`` (cross-entropy of S with one-hot maps), ``synthesise`` (G and the discriminator: log-likelihood GAN
plus 10 times the mean absolute error, given the probability maps), ``finetune`` (ours, off in ``paper``: G goes on with
the maps that S gives, which it never gets otherwise). Continuous, the default, hands probabilities to G; ``discrete``
one-hot maps. Tissue maps come with the slices (:mod:`braincli.imaging.tissue`): a mixture model, or files beside
the scan.

Mended: the paper's Eq. 2 prints ``1 - log D(G(y))`` for ``log(1 - D(G(y)))``; G minimises the non-saturating form. The
text lists three classes; background is a fourth one here. Left open by the paper and chosen: the classic U-Net widths
64 to 1024 with weight standardisation, six residual blocks (7,834,561 parameters from four maps to one contrast), a
PatchGAN, and, as in the code it is "based on", median filtering.

Preset ``paper``: 128 x 128 pixels of 1.875 mm. All presets take the contrasts as channels of one stack, because tissue
maps do not tell which contrast is meant; a cohort with T2 alone is the paper's case, as absent contrasts take no part
in any loss.

Preset ``compact`` deviates: small networks; contrasts dropped at random, geometry and intensity augmented; slices with
lesions take part, the lesions left out of every loss; fine-tuning; the positive part of the residual, as lesions are
brighter than what stands for them in T2 and FLAIR.

Deviations that remain in ``paper``: what the paper leaves open was chosen, as said; tissue maps come from a mixture
model where none lie beside the scan (theirs: SPM); no prior that keeps bright voxels alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from braincli.errors import InputError
from braincli.methods.base import Losses, Method, MethodConfig, Prediction, Task, Tick, masked_mean, no_tick, present
from braincli.methods.lengths import Epochs, Length
from braincli.methods.presets import COMPACT_MAP, LEFT_OUT, STEADY, WHOLE_128, Preset
from braincli.networks.cyclegan import PatchGAN, ResNetGenerator
from braincli.networks.gan import log_likelihood
from braincli.networks.wsunet import WSUNet

CLASSES = 4  # grey matter, white matter, fluid, background


class ISCTConfig(MethodConfig):
    """The defaults are the paper's, where it has any."""

    contrasts: Literal["stacked"] = "stacked"
    train_steps: dict[str, Length] = Field(
        default={"segment": Epochs(number=30), "synthesise": Epochs(number=15), "finetune": 0}
    )
    train_batch: int = 128

    segmentor_widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    generator_width: int = 64
    generator_blocks: int = 6
    discriminator_width: int = 64
    discriminator_layers: int = 3
    conditional: bool = False  # the discriminator gets the tissue maps, too
    discrete: bool = False
    temperature: float = Field(default=1.0, gt=0)  # of the segmentor's probabilities
    reconstruction_weight: float = 10.0
    rate: float = 2e-4


COMPACT: Preset = STEADY | {
    "lesson": LEFT_OUT,
    "segmentor_widths": (16, 32, 64, 128), "generator_width": 16, "generator_blocks": 4, "discriminator_width": 24,
    "rate": 1e-3, "train_batch": 8,
    "train_steps": {"segment": 400, "synthesise": 450, "finetune": 350}, "warmup": 50, "decay": "cosine", "ema": 0.99,
    "map": COMPACT_MAP | {"residual": "positive", "median": 5},
}  # fmt: skip


class ISCT(Method):
    """Segmentor, generator, discriminator."""

    config: ISCTConfig
    Config = ISCTConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": {"slices": WHOLE_128, "map": {"residual": "absolute", "median": 5}},
        "compact": COMPACT,
        "tiny": COMPACT
        | {
            "segmentor_widths": (4, 8), "generator_width": 4, "generator_blocks": 1, "discriminator_width": 4,
            "discriminator_layers": 2, "train_steps": {"segment": 4, "synthesise": 4, "finetune": 2},
            "train_batch": 4, "warmup": 2,
        },
    }  # fmt: skip
    stages = ("segment", "synthesise", "finetune")
    optional_weights = ("discriminator.",)
    renamed_weights: ClassVar[dict[str, str]] = {"painter.": "generator.", "judge.": "discriminator."}
    tissue = True

    def __init__(self, config: ISCTConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        self.segmentor = WSUNet(channels, CLASSES, widths=c.segmentor_widths)
        self.generator = ResNetGenerator(channels, width=c.generator_width, blocks=c.generator_blocks, inputs=CLASSES)
        inputs = channels + CLASSES * c.conditional
        self.discriminator = PatchGAN(inputs, width=c.discriminator_width, layers=c.discriminator_layers)
        self.stride = max(4, self.segmentor.stride)

    def is_judged(self, stage: str) -> bool:
        """The stages of the generator are adversarial."""
        return stage == "segment"

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        parts: dict[str, torch.nn.Module] = {"segmentor": self.segmentor}
        if stage != "segment":
            parts = {"generator": self.generator, "discriminator": self.discriminator}
        rate = self.config.rate
        return {n: torch.optim.Adam(part.parameters(), lr=rate, betas=(0.5, 0.999)) for n, part in parts.items()}

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        if stage == "segment":
            yield from self._segment(batch)
        else:
            with torch.no_grad():
                maps = self.semantics(batch.image) if stage == "finetune" else self._discretised(targets(batch))
            yield from self._synthesise(batch, maps)

    def _segment(self, batch: Task) -> Losses:
        """Cross-entropy with one-hot maps, over the background and all tissue that is known to be healthy."""
        error = F.cross_entropy(self.segmentor(batch.image), targets(batch).argmax(dim=1), reduction="none")[:, None]
        loss = masked_mean(error, batch.counts.any(dim=1, keepdim=True) | ~batch.brain)
        yield "segmentor", loss, {"cross_entropy": loss.detach()}

    def _synthesise(self, batch: Task, maps: Tensor) -> Losses:
        """Log-likelihood GAN and reconstruction; lesions are cut out of all images that count."""
        c = self.config
        inside = batch.counts & batch.brain
        condition = [maps] if c.conditional else []
        real, fake = batch.target * inside, self.generator(maps) * inside

        def likelihood(image: Tensor, real: bool) -> Tensor:
            return log_likelihood(self.discriminator(torch.cat([image, *condition], dim=1)), real=real)

        adversarial = likelihood(fake, True)
        l1 = masked_mean((fake - real).abs(), inside)
        total = adversarial + c.reconstruction_weight * l1
        yield "generator", total, {"adversarial": adversarial.detach(), "l1": l1.detach()}
        discrimination = likelihood(real, True) + likelihood(fake.detach(), False)
        yield "discriminator", discrimination, {"discriminator": discrimination.detach()}

    def semantics(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4, H, W) probabilities of grey matter, white matter, fluid and background, or one-hot."""
        return self._discretised((self.segmentor(image) / self.config.temperature).softmax(dim=1))

    def _discretised(self, maps: Tensor) -> Tensor:
        if not self.config.discrete:
            return maps
        return F.one_hot(maps.argmax(dim=1), CLASSES).permute(0, 3, 1, 2).to(maps)

    def predict(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        maps = self.semantics(image)
        tick()
        restored = self.generator(maps).float().clamp(0, 1) * (brain & present(image))
        tick()
        return Prediction(restored=restored)

    def calls(self) -> int:
        return 2


def targets(batch: Task) -> Tensor:
    """(B, 4, H, W) tissue probabilities and, outside the brain, background.

    Raises:
        InputError: the batch holds no tissue maps.
    """
    if batch.tissue is None:
        raise InputError("These slices hold no tissue maps.", "Cut them anew for this method.")
    return torch.cat([batch.tissue * batch.brain, (~batch.brain).to(batch.tissue)], dim=1)
