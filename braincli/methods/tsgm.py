"""TSGM: Two-Stage Generative Model with CycleGAN and joint diffusion (Wang et al. 2023, arXiv:2311.03074).

Stage 1 ``translate``: a CycleGAN learns healthy <-> diseased slices, unpaired. Its healthy -> diseased generator G
gives every healthy slice x a diseased partner y = G(x).
Stage 2 ``restore``: a variance-exploding diffusion model learns p(x | y) from those pairs; at test time y is the real
slice, and the sample is its pseudo-healthy restoration. The residual |y - x| shows the lesion.

Misprints of the paper that are mended here: the noise level is a standard deviation with exponent t in (0, 1], not an
integer index (Eq. 5, 7); the residual is absolute (Eq. 8); the sampler begins at N(0, sigma_max^2) and the condition
is the real slice (Alg. 2). The weights that predict are the averaged (EMA) ones.

Preset ``paper``: 256 x 256 pixels of 1 mm, slices 80 to 128; one network for single contrasts, NCSN++ with 65.56 M
parameters, predictor-corrector with 2,000 calls (K of Alg. 2, which has no value there, is 1 as in its code:
``corrector_steps``). The CycleGAN learns for the library's 100 + 100 epochs at 2e-4, of which the second hundred falls
to 0, the diffusion model for 50 epochs at 1e-4 after 5,000 steps of rise. A step takes a slice of each contrast (their
batch is one image of one contrast). Intensities are normalised per volume inside the brain instead of per slice.

Preset ``reference`` is what the published code does where it differs: sigma_min 0.01, learning rate 2e-4, the corrector
before the predictor at the same level, a sampler that begins at N(0, 1) instead of N(0, sigma_max^2) (the network gets
inputs too small for their sigma until the injected noise has caught up), gradients clipped to norm 1, the raw weights
instead of the averaged ones, and both stages' weights after 30 epochs. Its normalisation of each image on its own is
not followed: a bright lesion would darken the rest of its image.

Preset ``compact`` runs on a laptop CPU and deviates deliberately:
- all contrasts in one stack, with contrasts dropped at random in training, so that any subset can be restored;
- preconditioning centred on the condition (:class:`braincli.diffusion.preconditioning.Centred`), sigma_max 20;
- the partner y comes from G for a tenth of the pairs only, for the others from the lesson
  (:mod:`braincli.methods.lesson`: synthetic growth and lesions of other slices), because few patients do not teach a
  CycleGAN enough lesions;
- slices with a known lesion take part as well: their lesion is left out of the loss, the tissue around it counts;
- geometry and intensity of each pair vary, both partners alike;
- few-step sampling;
- two passes (``redraw``). The score network also sees the slice's mirror image and tells where the partner was
  diseased: a logit per pixel, learnt by cross-entropy and Dice from planted and known lesions. At test time a few calls
  of it, at sigma_max, give the map of suspicion. A stage 3 ``redraw`` learns to draw healthy tissue into hidden regions
  of lesion-like shape from what lies around them (:mod:`braincli.anomalies.hiding`); there the prior is centred on the
  smooth mean of the surroundings, since the slice itself is not shown. What is suspicious is hidden with a margin and
  redrawn by the sampler, everything else stays as it is to the bit, and the residual is weighed by the suspicion. Close
  to it are IterMask2 (Liang et al. 2024, arXiv:2406.02422) and MAD-AD (Beizaee et al. 2025, arXiv:2502.16943), which
  hide what is suspected, too; networks, training and order are ours;
- a network of its own that suspects (``suspect``, :mod:`braincli.methods.families.suspecting`), stage 4: it sees
  each contrast alone, with the neighbouring slices; its logit is averaged with the score network's (``redraw.looks``).

Deviations that remain, beside those named: the fusion's weights are those that the paper found, until calibration finds
others (its search on training cases is not repeated); thresholds are calibrated (its code: Otsu's per slice); slices
with less than 150 mm2 of brain are left out (its: with no pixel above 15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from braincli.anomalies.filling import fill
from braincli.diffusion import draws, levels, samplers
from braincli.diffusion.noise import noised
from braincli.diffusion.preconditioning import VE, Centred
from braincli.errors import UsageError
from braincli.methods.base import (
    Batch,
    Lesson,
    Losses,
    Prediction,
    Sampling,
    Task,
    Tick,
    masked_mean,
    no_tick,
    present,
)
from braincli.methods.families.secondpass import Redraw, Redrawer, doubted, hide, suspected
from braincli.methods.families.segmenter import segmentation_loss
from braincli.methods.families.suspecting import RARE, Suspect, Suspector
from braincli.methods.families.translation import Translation, TranslationConfig
from braincli.methods.lengths import Decay, Epochs, Length
from braincli.methods.presets import (
    BRATS_256,
    COMPACT_MAP,
    CYCLEGAN_COMPACT,
    CYCLEGAN_TINY,
    LEFT_OUT,
    TSGM_WEIGHTS,
    Preset,
)
from braincli.networks.ncsnpp import NCSNpp

SUSPICION, DICE = 0.5, 0.1  # weights of suspicion's loss beside score matching, and of Dice in it


class TSGMConfig(TranslationConfig):
    """Options of stage 2, beside those of stage 1 (:class:`TranslationConfig`); the defaults are the paper's."""

    train_steps: dict[str, Length] = Field(default={"translate": Epochs(number=200), "restore": Epochs(number=50)})
    train_batch: int = 1
    decay: Decay = Field(default={"translate": "half-linear"})
    ema: float = 0.999
    warmup: int | dict[str, int] = Field(default={"restore": 5000})

    # stage 2
    width: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (4,)
    fir: bool = True
    pyramids: bool = True
    sigma_min: float = Field(default=0.1, gt=0)
    sigma_max: float = Field(default=348.0, gt=0)
    centred: bool = False
    spread: float = 0.1
    restore_rate: float = 1e-4
    redraw: Redraw | None = None  # a second pass redraws what the first one suspects (ours)
    suspect: Suspect | None = None  # a network that suspects and does nothing else (ours)
    # sampling
    sampler: samplers.SamplerName = "predictor-corrector"
    steps: int = Field(default=1000, ge=1)  # levels between sigma_min and the start
    snr: float = 0.075
    corrector_steps: int = Field(default=1, ge=0)  # K of Algorithm 2: Langevin steps per level
    corrector_first: bool = False
    prior: float = Field(default=0.0, ge=0)  # standard deviation of the start; 0 is its sigma
    sigma_start: float = Field(default=0.0, ge=0)  # warm start: the scan itself, noised to this; 0 begins at sigma_max

    @model_validator(mode="after")
    def _stacked(self) -> Self:
        if self.redraw and self.contrasts != "stacked":
            raise ValueError("redraw needs contrasts = stacked")
        if self.suspect and not self.redraw:
            raise ValueError("suspect needs redraw")
        if self.redraw and not self.redraw.looks and not self.suspect:
            raise ValueError("redraw.looks = 0 needs suspect")
        return self

    @property
    def stochastic(self) -> bool:
        return True


PAPER: Preset = {"slices": BRATS_256, "map": {"weights": TSGM_WEIGHTS}}
REFERENCE: Preset = {
    "sigma_min": 0.01, "restore_rate": 2e-4, "ema": 0.0, "clip_norm": 1.0, "prior": 1.0, "corrector_first": True,
    "train_steps": {"translate": Epochs(number=30), "restore": Epochs(number=30)}, "decay": "constant",
}  # fmt: skip
COMPACT: Preset = CYCLEGAN_COMPACT | {
    "width": 32, "multipliers": (1, 2, 2), "blocks": 1, "attention": (), "fir": False, "pyramids": False,
    "sigma_min": 0.01, "sigma_max": 20.0, "centred": True, "restore_rate": 6e-4,
    "redraw": {"own": True, "looks": 2, "caution": 1.25, "temperature": 0.3}, "suspect": {},
    "lesson": LEFT_OUT | {"alone": 0.2, "plant": 0.9, "transplant": 0.67}, "sampler": "ddim", "steps": 3,
    "train_steps": {"translate": 450, "restore": 1800, "redraw": 3600, "suspect": 3600}, "train_batch": 16,
    "warmup": 200, "decay": "cosine",
    "map": COMPACT_MAP | {"weights": TSGM_WEIGHTS},
}  # fmt: skip


class TSGM(Translation):
    """CycleGAN partners, then joint diffusion."""

    config: TSGMConfig
    Config = TSGMConfig
    PRESETS: ClassVar[dict[str, Preset]] = {
        "paper": PAPER,
        "reference": PAPER | REFERENCE,
        "compact": COMPACT,
        "tiny": COMPACT | CYCLEGAN_TINY | {
            "width": 8, "multipliers": (1, 2), "steps": 2, "redraw": {"width": 8, "multipliers": (1, 2)},
            "suspect": {"widths": (8, 16), "neighbours": 1},
            "train_steps": {"translate": 4, "restore": 6, "redraw": 6, "suspect": 6},
        },
    }  # fmt: skip

    def __init__(self, config: TSGMConfig, *, channels: int, size: tuple[int, int]) -> None:
        super().__init__(config, channels=channels, size=size)
        c = config
        more = {"redraw": c.redraw, "suspect": c.suspect}
        self.stages = ("translate", "restore", *(name for name, options in more.items() if options))
        mirrored, suspicion = (self.folded, 1) if c.redraw else (0, 0)
        self.score = NCSNpp(
            2 * self.folded + mirrored, self.folded + suspicion, width=c.width, multipliers=c.multipliers,
            blocks=c.blocks, attention=c.attention, fir=c.fir, pyramids=c.pyramids, patch=c.patch,
        )  # fmt: skip
        self.stride = max(self.score.stride, 4 * c.patch)
        self.precondition = Centred(c.spread) if c.centred else VE()
        if c.redraw:
            if isinstance(c.redraw.caution, tuple) and len(c.redraw.caution) != self.folded:
                raise UsageError(
                    f"redraw.caution has {len(c.redraw.caution)} values for {self.folded} contrasts.",
                    "Give one, or one for each.",
                )
            with torch.no_grad():  # before it has learnt anything, it suspects little
                assert self.score.out.bias is not None
                self.score.out.bias[-(c.patch**2) :] = RARE
            self.redraw = Redrawer(c.redraw, self.folded, c.patch)
            self.stride = max(self.stride, self.redraw.stride)
        if c.suspect:
            self.suspect = Suspector(c.suspect, self.folded)
            self.neighbours = c.suspect.neighbours
            self.stride = max(self.stride, self.suspect.stride)

    def sampling(self, stage: str) -> Sampling:
        """Stage 1 needs both kinds of slices, and so does suspicion that known lesions teach; the others any tissue
        that is known to be free of lesions."""
        if stage == "translate" or (stage == "suspect" and self.config.redraw and self.config.redraw.own):
            return super().sampling(stage)
        return "any" if self.config.lesson.leave_out else "healthy"

    def neighbours_in(self, stage: str) -> int:
        """Suspicion alone looks at them."""
        return self.neighbours if stage == "suspect" else 0

    def optimizers(self, stage: str) -> dict[str, torch.optim.Optimizer]:
        if stage == "translate":
            return super().optimizers(stage)
        if stage == "suspect":
            assert self.config.suspect is not None
            c = self.config.suspect
            return {stage: torch.optim.AdamW(self.suspect.parameters(), lr=c.rate, weight_decay=c.decay)}
        network = self.redraw if stage == "redraw" else self.score
        return {stage: torch.optim.Adam(network.parameters(), lr=self.config.restore_rate)}

    @torch.no_grad()
    def task(self, batch: Batch, stage: str, generator: torch.Generator) -> Task:
        """Stage 1 learns from slices as they are. Later the network sees diseased partners y of healthy slices x:
        y = G(x) but for the rows that the lesson plants a lesion into; stage 3 hides parts of them."""
        if stage == "translate":
            return self.split(Lesson().task(batch, generator))
        if stage == "suspect":
            assert self.config.suspect is not None
            return self.config.suspect.lesson.task(batch, generator)
        lesson = self.config.lesson
        task = self.split(lesson.planted(batch, generator))
        if lesson.plant < 1:
            partner = self.translate(self.to_diseased, task.target, task.brain & present(task.target))
            kept = task.with_planted
            if self.config.redraw and self.config.redraw.plain:
                kept = kept | (draws.rand(generator, len(task)).to(kept.device) < self.config.redraw.plain)
            task = task.with_image(torch.where(kept[:, None, None, None], task.image, partner))
        task = lesson.varied(task, generator)
        return hide(task, generator) if stage == "redraw" else task

    def losses(self, batch: Task, stage: str, generator: torch.Generator) -> Losses:
        if stage == "translate":
            yield from self.translation_losses(batch, generator)
        elif stage == "restore":
            yield from self._restoration_losses(batch, generator)
        else:
            loss = self.redraw.loss(batch, generator) if stage == "redraw" else self._suspicion_loss(batch)
            yield stage, loss, {stage: loss.detach()}

    def _restoration_losses(self, batch: Task, generator: torch.Generator) -> Losses:
        """Denoising score matching of the healthy slice given its diseased partner (TSGM Eq. 7, corrected)."""
        c = self.config
        healthy, diseased = batch.target, batch.image
        noisy, sigma = noised(healthy, c.sigma_min, c.sigma_max, generator)
        clean, logit = self._denoise(noisy, sigma, diseased)
        error = self.precondition.weight(sigma)[:, None, None, None] * (clean - healthy) ** 2
        loss = masked_mean(error, batch.counts)
        logs = {"score_matching": loss.detach()}
        if c.redraw:
            suspicion = segmentation_loss(logit.float(), *suspected(batch, own=c.redraw.own), DICE)
            loss, logs["suspicion"] = loss + SUSPICION * suspicion, suspicion.detach()
        yield "restore", loss, logs

    def _suspicion_loss(self, batch: Task) -> Tensor:
        """Cross-entropy and Dice of where slices are diseased."""
        assert self.config.redraw is not None and self.config.suspect is not None
        logit = self.suspect(batch.image, batch.around).float()
        return segmentation_loss(logit, *suspected(batch, own=self.config.redraw.own), self.config.suspect.dice)

    def predict(
        self, image: Tensor, brain: Tensor, generators: Sequence[torch.Generator], tick: Tick = no_tick
    ) -> Prediction:
        return self.predict_among(None, image, brain, generators, tick)

    def predict_among(
        self,
        around: Tensor | None,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick = no_tick,
    ) -> Prediction:
        c = self.config
        if c.redraw:
            return self._in_two_passes(image, brain, generators, tick, around)
        highest = c.sigma_start or c.sigma_max
        centre = image if c.centred or c.sigma_start else torch.zeros_like(image)
        x = samplers.start(centre, c.prior or highest, generators)

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            return self._denoise(noisy, sigma[:1], image)[0]  # of all rows

        x = self._sample(denoise, x, c.sigma_min, highest, generators, tick)
        return Prediction(restored=x.float().clamp(0, 1) * (brain & present(image)))

    def _in_two_passes(
        self,
        image: Tensor,
        brain: Tensor,
        generators: Sequence[torch.Generator],
        tick: Tick,
        around: Tensor | None,
    ) -> Prediction:
        """What is suspected is drawn anew from what lies around; the rest stays as it is."""
        assert self.config.redraw is not None
        c = self.config.redraw
        suspicion = self._suspicion(image, generators, tick, around).sigmoid() * brain
        hidden = (F.max_pool2d(suspicion, 2 * c.margin + 1, stride=1, padding=c.margin) > c.doubt) & brain
        rows, restored = hidden.flatten(1).any(dim=1).nonzero()[:, 0], image.clone()
        if len(rows) == 0:
            for _ in range(self._calls_to_suspect(), self.calls()):
                tick()
            return Prediction(restored, suspicion=suspicion)
        chosen = [generators[row] for row in rows.tolist()]
        hole, seen = hidden[rows], image[rows]
        filled = fill(seen, brain[rows] & ~hole, hole)

        def denoise(noisy: Tensor, sigma: Tensor) -> Tensor:
            return self.redraw.denoise(noisy, sigma[:1], filled, hole)

        x = samplers.start(filled, c.temperature * c.sigma_max, chosen)
        drawn = self._sample(denoise, x, c.sigma_min, c.sigma_max, chosen, tick).float().clamp(0, 1)
        restored[rows] = torch.where(hole, drawn * present(seen), seen)
        return Prediction(restored, suspicion=suspicion)

    def _suspicion(
        self, image: Tensor, generators: Sequence[torch.Generator], tick: Tick, around: Tensor | None
    ) -> Tensor:
        """(B, 1, H, W) logit: the mean of what the score network and the one that does nothing else say."""
        assert self.config.redraw is not None
        c, sigma, said = self.config.redraw, self.config.sigma_max, []
        if c.looks:
            logit = image.new_zeros(())
            for _ in range(c.looks):
                x = samplers.start(image, sigma, generators)
                logit = logit + self._denoise(x, x.new_full((1,), sigma), image)[1].float() / c.looks
                tick()
            said.append(doubted(logit, image, c.caution))
        if self.config.suspect:
            said.append(self.suspect.each_alone(image, around).float())
            tick()
        return torch.stack(said).mean(dim=0)

    def _sample(
        self,
        denoise: samplers.Denoise,
        x: Tensor,
        low: float,
        high: float,
        generators: Sequence[torch.Generator],
        tick: Tick,
    ) -> Tensor:
        """Follow the chosen sampler from ``high`` to ``low`` and to 0."""
        c = self.config
        spaced = levels.geometric if c.sampler in samplers.STOCHASTIC else levels.karras
        langevin = {"snr": c.snr, "corrector_steps": c.corrector_steps, "corrector_first": c.corrector_first}
        extra = langevin if c.sampler == "predictor-corrector" else {}
        sigmas = spaced(c.steps, low, high)
        return samplers.SAMPLERS[c.sampler](denoise, x, sigmas, generators=generators, tick=tick, **extra)

    def calls(self) -> int:
        c = self.config
        sampled = samplers.calls(c.sampler, c.steps, c.corrector_steps, corrector_first=c.corrector_first)
        return sampled + self._calls_to_suspect()

    def _calls_to_suspect(self) -> int:
        return (self.config.redraw.looks if self.config.redraw else 0) + (self.config.suspect is not None)

    def _denoise(self, noisy: Tensor, sigma: Tensor, diseased: Tensor) -> tuple[Tensor, Tensor]:
        """The healthy slice (B, C, H, W), and the logit of suspicion (B, 1, H, W); without redraw the latter is empty.

        With redraw the network sees the mirror image of the slice as well: what differs between the sides is suspect.
        """
        c, more = diseased.shape[1], []

        def network(joint: Tensor, log_sigma: Tensor) -> Tensor:
            if self.config.redraw:
                joint = torch.cat([joint, joint[:, c:].flip(3)], dim=1)
            out = self._network(joint, log_sigma)
            more.append(out[:, c:])
            return out[:, :c]

        clean = self.precondition.denoise(network, noisy, sigma, diseased)
        return clean, more[0]

    def _network(self, joint: Tensor, log_sigma: Tensor) -> Tensor:
        """The score network on (B, 2 C, H, W) at (B,) or (1,); single-contrast models get every contrast as a row."""
        c = joint.shape[1] // 2
        if self.config.contrasts == "stacked" or c == 1:
            return self.score(joint, log_sigma)
        pairs = torch.stack([joint[:, :c], joint[:, c:]], dim=2).flatten(0, 1)
        rows: Tensor = self.score(pairs, log_sigma.repeat_interleave(c) if len(log_sigma) > 1 else log_sigma)
        return rows.reshape(-1, c, *rows.shape[2:])
