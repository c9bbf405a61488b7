"""All methods by name. Plain data: importing this loads no torch, so that the command line can list it instantly."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from braincli.errors import UsageError

if TYPE_CHECKING:
    from braincli.methods.base import Method, MethodConfig


@dataclass(frozen=True)
class MethodSpec:
    """One method: where its class is, what it does, where it comes from, what it must be told to learn."""

    target: str  # module:class below braincli.methods
    summary: str
    paper: str
    supervision: str
    presets: tuple[str, ...] = ("paper", "compact", "tiny")


METHODS: dict[str, MethodSpec] = {
    "threshold": MethodSpec(
        "threshold:Threshold", "histogram-equalised intensity, thresholded", "Meissen et al. 2022", "none"
    ),
    "ae": MethodSpec(
        "ae:AE",
        "autoencoder: what does not fit through the latent is not restored",
        "Baur et al. 2021",
        "healthy slices (compact: lesion masks, to leave lesions out)",
        ("paper", "baur", "spatial", "compact", "tiny"),
    ),
    "vae": MethodSpec(
        "vae:VAE",
        "variational autoencoder",
        "Baur et al. 2021",
        "healthy slices (compact: lesion masks, to leave lesions out)",
        ("paper", "baur", "wang", "compact", "tiny"),
    ),
    "svae": MethodSpec(
        "svae:SVAE",
        "VAE whose slices know their neighbours, linked by a recurrent network",
        "Behrendt et al. 2022 (MIDL)",
        "healthy volumes (compact: lesion masks, to leave lesions out)",
    ),
    "gmvae": MethodSpec(
        "gmvae:GMVAE",
        "Gaussian-mixture VAE; the slice is changed until it is likely (MAP restoration)",
        "You et al. 2019 (MIDL)",
        "healthy slices (compact: lesion masks, to leave lesions out)",
    ),
    "dae": MethodSpec(
        "dae:DAE",
        "denoising autoencoder: removes coarse noise, and what looks like it",
        "Kascenas et al. 2022 (MIDL)",
        "healthy slices (compact: lesion masks, to leave lesions out)",
        ("paper", "behrendt", "compact", "tiny"),
    ),
    "fanogan": MethodSpec(
        "fanogan:FAnoGAN",
        "GAN of healthy slices, and an encoder that finds the nearest one",
        "Schlegl et al. 2019",
        "healthy slices (compact: lesion masks, to leave lesions out)",
        ("paper", "wang", "compact", "tiny"),
    ),
    "cyclegan": MethodSpec(
        "cyclegan:CycleGAN",
        "translates diseased slices to healthy ones, learnt unpaired; the change is the finding",
        "Zhu et al. 2017, arXiv:1703.10593",
        "slice labels (compact: lesion masks, to keep the rest as it is)",
    ),
    "fae": MethodSpec(
        "fae:FAE",
        "autoencoder of frozen ImageNet features, compared by SSIM",
        "Meissen et al. 2022, arXiv:2208.10992",
        "healthy slices, ImageNet weights (compact: lesion masks, to leave lesions out)",
    ),
    "rd": MethodSpec(
        "rd:RD",
        "a student draws a frozen teacher's ImageNet features from a narrow code; their cosine distance is the score",
        "Deng & Li 2022, arXiv:2201.10703",
        "healthy slices, ImageNet weights (compact: lesion masks, to leave lesions out)",
    ),
    "pii": MethodSpec(
        "pii:PII",
        "segments patches of other slices that were blended in without a seam",
        "Tan et al. 2021, arXiv:2107.02622",
        "healthy slices (compact: lesion masks, to leave lesions out)",
    ),
    "draem": MethodSpec(
        "draem:DRAEM",
        "one network restores, another one compares; both learn from synthetic anomalies",
        "Zavrtanik et al. 2021, arXiv:2108.07610",
        "healthy slices (compact: lesion masks, to leave lesions out)",
    ),
    "unet": MethodSpec(
        "unet:UNet",
        "supervised U-Net on real or synthetic masks: the reference from above",
        "Behrendt et al. 2024 (MIDL)",
        "lesion masks (masks=synthetic: healthy slices)",
    ),
    "isct": MethodSpec(
        "isct:ISCT",
        "resynthesises the slice from its own grey matter, white matter and fluid; lesions have no such code",
        "Li et al. 2021, arXiv:2103.09094",
        "healthy slices and tissue maps, fitted or given (compact: lesion masks, to leave lesions out)",
    ),
    "anoddpm": MethodSpec(
        "anoddpm:AnoDDPM",
        "diffusion model of healthy slices redraws noised ones; Gaussian, coarse or simplex noise, one step or many",
        "Wyatt et al. 2022; Behrendt et al. 2023, arXiv:2303.03758",
        "healthy slices (compact: lesion masks, to leave lesions out)",
        presets=("paper", "reference", "original", "compact", "tiny"),
    ),
    "pddpm": MethodSpec(
        "pddpm:PDDPM",
        "as anoddpm, but one patch of the slice at a time is noised and redrawn among its surroundings",
        "Behrendt et al. 2023, arXiv:2303.03758",
        "healthy slices (compact: lesion masks, to leave lesions out)",
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "cddpm": MethodSpec(
        "cddpm:CDDPM",
        "as anoddpm, guided by features of the clean slice that a pre-trained encoder gives",
        "Behrendt et al. 2023, arXiv:2312.04215",
        "healthy slices (compact: lesion masks, to leave lesions out)",
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "sadm": MethodSpec(
        "sadm:SADM",
        "cddpm's error added to what a U-Net says that learnt from synthetic anomalies or a few masks",
        "Behrendt et al. 2024 (MIDL)",
        "healthy slices (compact: lesion masks, left out here and planted there); masks=real: a few masks as well",
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "sadm-res": MethodSpec(
        "sadm:SADMRes",
        "as sadm, but the U-Net also sees the residual of cddpm's restoration",
        "Behrendt et al. 2024 (MIDL)",
        "healthy slices (compact: lesion masks, left out here and planted there); masks=real: a few masks as well",
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "unet-res": MethodSpec(
        "sadm:UNetRes",
        "the U-Net of sadm-res by itself",
        "Behrendt et al. 2024 (MIDL)",
        "healthy slices (compact: lesion masks, left out here and planted there); masks=real: a few masks as well",
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "dpm-classifier": MethodSpec(
        "dpm_classifier:DPMClassifier",
        "encodes the slice into noise by DDIM, decodes it while a classifier's gradient leads to healthy",
        "Wolleb et al. 2022, arXiv:2203.04306",
        "slice labels (compact: lesion masks, left out here and planted there)",
    ),
    "dpm-classifier-free": MethodSpec(
        "dpm_classifier_free:DPMClassifierFree",
        "as dpm-classifier, but led by the difference that the class makes to one conditional model",
        "Sanchez et al. 2022, arXiv:2207.12268",
        "slice labels (compact: lesion masks, left out here and planted there)",
    ),
    "diffseg": MethodSpec(
        "diffseg:DiffSeg",
        "supervised: draws masks from noise, given the slice; where several draws differ it is unsure",
        "Wolleb et al. 2022, arXiv:2112.03145",
        "lesion masks",
    ),
    "tsgm": MethodSpec(
        "tsgm:TSGM",
        "CycleGAN makes diseased partners, a joint VE diffusion model restores the healthy slice",
        "Wang et al. 2023, arXiv:2311.03074",
        "slice labels (compact: masks of lesions or suspects, left out here and planted there)",
        presets=("paper", "reference", "compact", "tiny"),
    ),
}


def spec(name: str) -> MethodSpec:
    """The entry of ``name``.

    Raises:
        UsageError: no such method; the valid names are listed.
    """
    try:
        return METHODS[name]
    except KeyError:
        raise UsageError(f"There is no method {name!r}.", f"Methods: {', '.join(METHODS)}.") from None


def table() -> str:
    """All methods as a Markdown table (the README holds exactly this; a test checks it)."""
    rows = ["| method | what it does | paper | learns from |", "|---|---|---|---|"]
    rows += [f"| `{name}` | {s.summary} | {s.paper} | {s.supervision} |" for name, s in METHODS.items()]
    return "\n".join(rows)


def method_class(name: str) -> type[Method]:
    """Import the class of ``name`` (this loads torch)."""
    module, _, attribute = spec(name).target.partition(":")
    found: type[Method] = getattr(import_module(f"braincli.methods.{module}"), attribute)
    return found


def build(
    name: str,
    *,
    preset: str = "compact",
    settings: dict[str, Any] | None = None,
    channels: int = 4,
    size: tuple[int, int] = (96, 80),
) -> Method:
    """A fresh method with :func:`options`.

    Raises:
        UsageError: unknown method, preset or option.
    """
    return method_class(name)(options(name, preset, settings), channels=channels, size=size)


def options(name: str, preset: str = "compact", settings: dict[str, Any] | None = None) -> MethodConfig:
    """The preset's options, overridden by ``settings``.

    Raises:
        UsageError: unknown method, preset or option.
    """
    from braincli import config

    kind = method_class(name)
    if preset not in kind.PRESETS:
        raise UsageError(f"{name} has no preset {preset!r}.", f"Presets: {', '.join(kind.PRESETS)}.")
    return config.parse(kind.Config, {**kind.PRESETS[preset], **(settings or {})})
