"""pDDPM: patched DDPM (Behrendt et al. 2023, "Patched diffusion models for unsupervised anomaly detection in brain
MRI", MIDL, arXiv:2303.03758).

Only one patch of a slice is noised at a time, M x_t + (1 - M) x, so that its clean surroundings tell the one-step DDPM
what belongs there. At test time the patches of a fixed grid are restored one by one and put together; where they
overlap they are averaged. All patches of all slices run as one batch.

Misprints that are mended: the grid has ceil(W/w) ceil(H/h) patches (the "+ 2" of the text is lost brackets). The code's
averaging of overlaps divides inside its loop; here it is the mean.

Presets:
- ``paper``: fixed grid of 48 x 48, loss in the patch (L_p), the rest as AnoDDPM's (:mod:`braincli.methods.anoddpm`).
  The other variants: ``--set positions=random``, ``--set inside=false`` (L_rec), ``--set sizes=[60] levels=[400]`` (the
  best of the ablations).
- ``reference``: the published code: 37,513,857 parameters, cosine schedule, rate 1e-4, one unnormalised field.
- ``compact``: ours, as AnoDDPM's; patches of 48 pixels.

Several ``sizes`` and ``levels`` make an ensemble over both, as the paper proposes: all restorations are averaged.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from braincli.methods.ae import BEHRENDT_MAP, COMPACT_MAP
from braincli.methods.base import Callback
from braincli.methods.families.denoising import CODE, COMPACT, TINY, Denoising, DenoisingConfig, Draw
from braincli.networks import patches


class PDDPMConfig(DenoisingConfig):
    """Options of the patches; the defaults are the paper's best variant."""

    sizes: tuple[int, ...] = Field(default=(48,), min_length=1)  # pixels; training draws one of them per row
    step: int = Field(default=0, ge=0)  # largest distance of test patches; 0: as few as cover
    positions: Literal["fixed", "random"] = "fixed"  # in training
    inside: bool = True  # the loss counts in the patch alone (L_p), or in the whole slice (L_rec)


OWN = COMPACT | {"levels": (400,), "train_batch": 16, "train_steps": {"main": 1000}, "map": COMPACT_MAP}


class PDDPM(Denoising):
    """Patches noised and drawn anew among clean surroundings."""

    Config = PDDPMConfig
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "reference": CODE,
        "compact": OWN,
        "tiny": OWN | TINY | {"sizes": (16, 20)},
    }
    map: ClassVar[dict[str, Any]] = BEHRENDT_MAP

    def __init__(self, config: PDDPMConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        self.options = config

    def blend(self, noisy: Tensor, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One patch per row is noised: of the grid, or with a corner anywhere in the slice, cut off at its border."""
        c, shape = self.options, (noisy.shape[2], noisy.shape[3])
        chosen = []
        for size in torch.randint(len(c.sizes), (len(noisy),), generator=generator).tolist():
            size = c.sizes[size]
            if c.positions == "random":
                top, left = (int(torch.randint(length, (1,), generator=generator)) for length in shape)
                chosen.append(patches.window(shape, size, top, left))
            else:
                grid = patches.masks(shape, size, c.step)
                chosen.append(grid[int(torch.randint(len(grid), (1,), generator=generator))])
        mask = torch.stack(chosen).to(noisy.device)
        return torch.where(mask, noisy, clean), mask if c.inside else torch.ones_like(mask)

    def restored(self, x: Tensor, draw: Draw, level: int, context: dict[str, Tensor], tell: Callback) -> Tensor:
        """The mean over patch sizes; each patch is drawn from the same noise."""
        noise = draw()
        found = [self._stitched(x, noise, level, size, tell) for size in self.options.sizes]
        return torch.stack(found).mean(dim=0)

    def _stitched(self, x: Tensor, noise: Tensor, level: int, size: int, tell: Callback) -> Tensor:
        mask = patches.masks((x.shape[2], x.shape[3]), size, self.options.step).to(x.device)
        t = torch.full((len(x),), level, device=x.device)
        noisy = self.process.schedule.noised(x, t, noise)
        seen = torch.where(mask, noisy[:, None], x[:, None]).flatten(0, 1)  # rows of a slice stay together
        times = t.repeat_interleave(len(mask))
        drawn = self.process.clean(self.net(seen, times), seen, times).unflatten(0, (len(x), len(mask)))
        tell(1, 1)
        return patches.stitch(drawn, mask)

    def calls(self) -> int:
        """Passes of the network; each holds all patches of a slice."""
        return len(self.options.sizes) * len(self.options.levels)
