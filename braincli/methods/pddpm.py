"""pDDPM: patched DDPM (Behrendt et al. 2023, "Patched diffusion models for unsupervised anomaly detection in brain
MRI", MIDL, arXiv:2303.03758).

Only one patch of a slice is noised at a time, M x_t + (1 - M) x, so that its clean surroundings tell the one-step DDPM
what belongs there. At test time the patches of a fixed grid are restored one by one and put together; where they
overlap they are averaged. All patches of all slices run as one batch.

Misprints that are mended: the grid has ceil(W/w) ceil(H/h) patches (the "+ 2" of the text is lost brackets). The code's
averaging of overlaps divides inside its loop; here it is the mean.

Presets:
- ``paper``: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63; fixed grid of 48 x 48, loss in the patch (L_p), the
  rest as AnoDDPM's (:mod:`braincli.methods.anoddpm`). The other variants: ``--set positions=random``, ``--set
  inside=false`` (L_rec), ``--set sizes=[60] levels=[400]`` (the best of the ablations).
- ``behrendt2024``: as SADM is compared with it: 96 x 96 pixels of 2 mm, 2 mm apart, slices 14 to 63; the mean of t =
  250, 500 and 750, maps of 1 - SSIM.
- ``reference``: the published code: 37,513,857 parameters, cosine schedule, rate 1e-4, one unnormalised field.
- ``compact``: ours, as AnoDDPM's; patches of 48 pixels.

Several ``sizes`` and ``levels`` make an ensemble over both, as the paper proposes: all restorations are averaged.

Deviations that remain are those of :mod:`braincli.methods.anoddpm`; the loss in the patch is a mean over its pixels, in
the code over those of the slice, which Adam does not notice.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.diffusion import draws
from braincli.methods.base import Tick
from braincli.methods.families.denoising import Denoising, DenoisingConfig, NoiseSource
from braincli.methods.presets import (
    BEHRENDT,
    BEHRENDT_2024,
    COMPACT_MAP,
    DENOISING_COMPACT,
    DENOISING_REFERENCE,
    DENOISING_TINY,
    Preset,
)
from braincli.networks import patches


class PDDPMConfig(DenoisingConfig):
    """Options of the patches; the defaults are the paper's best variant."""

    sizes: tuple[int, ...] = Field(default=(48,), min_length=1)  # pixels; training takes a random one per row
    step: int = Field(default=0, ge=0)  # largest distance of test patches; 0: as few as cover
    positions: Literal["fixed", "random"] = "fixed"  # in training
    inside: bool = True  # the loss counts in the patch alone (L_p), or in the whole slice (L_rec)


COMPACT: Preset = DENOISING_COMPACT | {
    "levels": (400,), "train_batch": 16, "train_steps": {"main": 1000}, "map": COMPACT_MAP,
}  # fmt: skip


class PDDPM(Denoising):
    """Patches noised and inpainted among clean surroundings."""

    config: PDDPMConfig
    Config = PDDPMConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": BEHRENDT,
        "behrendt2024": BEHRENDT_2024 | {"levels": (250, 500, 750)},
        "reference": BEHRENDT | DENOISING_REFERENCE,
        "compact": COMPACT,
        "tiny": COMPACT | DENOISING_TINY | {"sizes": (16, 20)},
    }

    def noised_part(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One patch per row is noised: of the grid, or with a corner anywhere in the slice, cut off at its border."""
        c, shape, rows = self.config, (noisy.shape[2], noisy.shape[3]), len(noisy)
        chosen = draws.randint(generator, 0, len(c.sizes), rows).to(noisy.device)
        share = draws.rand(generator, rows, 2).to(noisy.device)
        masks = []  # of every size, for each row
        for size in c.sizes:
            if c.positions == "random":
                corner = torch.stack([part * length for part, length in zip(share.unbind(1), shape, strict=True)], 1)
                masks.append(patches.windows(shape, size, corner.long()))
            else:
                grid = patches.masks(shape, size, c.step, noisy.device)
                masks.append(grid[(share[:, 0] * len(grid)).long().clamp_max(len(grid) - 1)])
        mask = torch.stack(masks)[chosen, torch.arange(rows, device=noisy.device)]
        return torch.where(mask, noisy, clean), mask if c.inside else torch.ones_like(mask)

    def restore(self, x: Tensor, noise: NoiseSource, level: int, context: dict[str, Tensor], tick: Tick) -> Tensor:
        """The mean over patch sizes; all patches get the same noise."""
        field = noise()
        restored = [self._inpaint(x, field, level, size, tick) for size in self.config.sizes]
        return torch.stack(restored).mean(dim=0)

    def _inpaint(self, x: Tensor, noise: Tensor, level: int, size: int, tick: Tick) -> Tensor:
        mask = patches.masks((x.shape[2], x.shape[3]), size, self.config.step, x.device)
        t = torch.full((len(x),), level, device=x.device)
        noisy = self.process.schedule.noised(x, t, noise)
        rows = torch.where(mask, noisy[:, None], x[:, None]).flatten(0, 1)  # rows of a slice stay together
        times = t.repeat_interleave(len(mask))
        restored = self.process.clean(self.net(rows, times), rows, times).unflatten(0, (len(x), len(mask)))
        tick()
        return patches.stitch(restored, mask)

    def calls(self) -> int:
        """Passes of the network; each holds all patches of a slice."""
        return len(self.config.sizes) * len(self.config.levels)
