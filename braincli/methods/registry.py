"""All methods by name. Plain data: importing this loads no torch, so that the command line can list it instantly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from braincli.errors import UsageError

if TYPE_CHECKING:
    from braincli.methods.base import Method, PlainConfig


class Need(StrEnum):
    """Something that a training needs."""

    HEALTHY_SLICES = "healthy slices"
    HEALTHY_VOLUMES = "healthy volumes"
    SLICE_LABELS = "slice labels"
    LESION_MASKS = "lesion masks"
    FEW_MASKS = "a few lesion masks"
    TISSUE_MAPS = "tissue maps"
    IMAGENET = "ImageNet weights"
    NUMBERS = "a number per case"


class MaskUse(StrEnum):
    """What lesion masks are for where lesions are not what is learnt."""

    LEFT_OUT = "to leave lesions out"
    KEEP_THE_REST = "to keep the rest as it is"
    TRANSPLANTED = "left out here and planted there"


@dataclass(frozen=True)
class Supervision:
    """What a method learns from; ``str()`` puts it into words.

    Attributes:
        needs: what the paper's way of training needs; empty where nothing is trained.
        compact_masks: what preset ``compact`` takes lesion masks for, too.
        outlines: the outlines of lesions are what is learnt, hence they have to be an expert's.
        option: a setting that changes the needs, and what they are then.
    """

    needs: tuple[Need, ...] = ()
    compact_masks: MaskUse | None = None
    outlines: bool = False
    option: tuple[str, tuple[Need, ...]] | None = None

    def __str__(self) -> str:
        words = ", ".join(self.needs) or "none"
        if self.compact_masks:
            words += f" (compact: {Need.LESION_MASKS}, {self.compact_masks})"
        if self.option:
            words += f"; {self.option[0]}: {', '.join(self.option[1])}"
        return words


HEALTHY = Supervision((Need.HEALTHY_SLICES,), MaskUse.LEFT_OUT)
PRETRAINED = Supervision((Need.HEALTHY_SLICES, Need.IMAGENET), MaskUse.LEFT_OUT)
LABELS = Supervision((Need.SLICE_LABELS,), MaskUse.TRANSPLANTED)
SEMI = Supervision(
    (Need.HEALTHY_SLICES,), MaskUse.TRANSPLANTED, option=("masks=real", (Need.HEALTHY_SLICES, Need.FEW_MASKS))
)


@dataclass(frozen=True)
class MethodSpec:
    """One method: where its class is, what it does, where it comes from, what it learns from."""

    target: str  # module:class below braincli.methods
    summary: str
    paper: str
    supervision: Supervision
    presets: tuple[str, ...] = ("paper", "compact", "tiny")


METHODS: dict[str, MethodSpec] = {
    "threshold": MethodSpec(
        "threshold:Threshold", "histogram-equalised intensity, thresholded", "Meissen et al. 2022", Supervision()
    ),
    "ae": MethodSpec(
        "ae:AE",
        "autoencoder: what does not fit through the latent is not restored",
        "Baur et al. 2021",
        HEALTHY,
        presets=("paper", "behrendt2024", "baur", "spatial", "compact", "tiny"),
    ),
    "vae": MethodSpec(
        "vae:VAE",
        "variational autoencoder",
        "Baur et al. 2021",
        HEALTHY,
        presets=("paper", "behrendt2024", "baur", "wang", "compact", "tiny"),
    ),
    "svae": MethodSpec(
        "svae:SVAE",
        "VAE whose slices know their neighbours, linked by a recurrent network",
        "Behrendt et al. 2022 (MIDL)",
        Supervision((Need.HEALTHY_VOLUMES,), MaskUse.LEFT_OUT),
    ),
    "gmvae": MethodSpec(
        "gmvae:GMVAE",
        "Gaussian-mixture VAE; the slice is changed until it is likely (MAP restoration)",
        "You et al. 2019 (MIDL)",
        HEALTHY,
    ),
    "dae": MethodSpec(
        "dae:DAE",
        "denoising autoencoder: removes coarse noise, and what looks like it",
        "Kascenas et al. 2022 (MIDL)",
        HEALTHY,
        presets=("paper", "behrendt", "behrendt2024", "compact", "tiny"),
    ),
    "fanogan": MethodSpec(
        "fanogan:FAnoGAN",
        "GAN of healthy slices, and an encoder that finds the nearest one",
        "Schlegl et al. 2019",
        HEALTHY,
        ("paper", "wang", "compact", "tiny"),
    ),
    "cyclegan": MethodSpec(
        "cyclegan:CycleGAN",
        "translates diseased slices to healthy ones, learnt unpaired; the change is the finding",
        "Zhu et al. 2017, arXiv:1703.10593",
        Supervision((Need.SLICE_LABELS,), MaskUse.KEEP_THE_REST),
    ),
    "descargan": MethodSpec(
        "descargan:DeScarGAN",
        "as cyclegan, with a branch for each class, for lesions that deform; also tells how likely a slice is diseased",
        "Wolleb et al. 2020, arXiv:2007.14118",
        Supervision((Need.SLICE_LABELS,)),
    ),
    "stargan": MethodSpec(
        "stargan:StarGAN",
        "one generator for both directions, given the class; its discriminator also tells how likely it is diseased",
        "Choi et al. 2018, arXiv:1711.09020",
        Supervision((Need.SLICE_LABELS,)),
    ),
    "fp-gan": MethodSpec(
        "fp_gan:FPGAN",
        "as stargan, but it learns a change, and to leave slices alone that are of the wanted class",
        "Siddiquee et al. 2019, arXiv:1908.06965",
        Supervision((Need.SLICE_LABELS,)),
    ),
    "vagan": MethodSpec(
        "vagan:VAGAN",
        "the smallest change that makes diseased slices look healthy to a critic",
        "Baumgartner et al. 2018, arXiv:1711.08998",
        Supervision((Need.SLICE_LABELS,)),
    ),
    "vae-chen": MethodSpec(
        "vae_chen:VAEChen",
        "variational autoencoder with the norm of a whole image as its error",
        "Chen & Konukoglu 2018, arXiv:1806.04972",
        HEALTHY,
    ),
    "densenet169": MethodSpec(
        "densenet169:DenseNet169",
        "classifier of slices; its class activation map hints at where the lesion is",
        "Huang et al. 2017, arXiv:1608.06993",
        Supervision((Need.SLICE_LABELS,)),
    ),
    "descargan-classifier": MethodSpec(
        "descargan_classifier:DeScarGANClassifier",
        "as densenet169, with the classifier of descargan, without its translation",
        "Wolleb et al. 2020, arXiv:2007.14118",
        Supervision((Need.SLICE_LABELS,)),
    ),
    "fae": MethodSpec(
        "fae:FAE",
        "autoencoder of frozen ImageNet features, compared by SSIM",
        "Meissen et al. 2022, arXiv:2208.10992",
        PRETRAINED,
        presets=("paper", "behrendt2024", "compact", "tiny"),
    ),
    "rd": MethodSpec(
        "rd:RD",
        "a student decodes a frozen teacher's ImageNet features from a narrow code; their cosine distance is the score",
        "Deng & Li 2022, arXiv:2201.10703",
        PRETRAINED,
        presets=("paper", "behrendt2024", "compact", "tiny"),
    ),
    "pii": MethodSpec(
        "pii:PII",
        "segments patches of other slices that were blended in without a seam",
        "Tan et al. 2021, arXiv:2107.02622",
        HEALTHY,
        presets=("paper", "behrendt2024", "compact", "tiny"),
    ),
    "draem": MethodSpec(
        "draem:DRAEM",
        "one network restores, another one compares; both learn from synthetic anomalies",
        "Zavrtanik et al. 2021, arXiv:2108.07610",
        HEALTHY,
        presets=("paper", "behrendt2024", "compact", "tiny"),
    ),
    "unet": MethodSpec(
        "unet:UNet",
        "supervised U-Net on real or synthetic masks: the reference from above",
        "Behrendt et al. 2024 (MIDL)",
        Supervision((Need.LESION_MASKS,), outlines=True, option=("masks=synthetic", (Need.HEALTHY_SLICES,))),
    ),
    "isct": MethodSpec(
        "isct:ISCT",
        "resynthesises the slice from its own grey matter, white matter and fluid; lesions have no such code",
        "Li et al. 2021, arXiv:2103.09094",
        Supervision((Need.HEALTHY_SLICES, Need.TISSUE_MAPS), MaskUse.LEFT_OUT),
    ),
    "anoddpm": MethodSpec(
        "anoddpm:AnoDDPM",
        "diffusion model of healthy slices denoises noised ones; Gaussian, coarse or simplex noise, one step or many",
        "Wyatt et al. 2022; Behrendt et al. 2023, arXiv:2303.03758",
        HEALTHY,
        presets=("paper", "behrendt2024", "reference", "original", "compact", "tiny"),
    ),
    "pddpm": MethodSpec(
        "pddpm:PDDPM",
        "as anoddpm, but one patch of the slice at a time is noised and inpainted among its surroundings",
        "Behrendt et al. 2023, arXiv:2303.03758",
        HEALTHY,
        presets=("paper", "behrendt2024", "reference", "compact", "tiny"),
    ),
    "cddpm": MethodSpec(
        "cddpm:CDDPM",
        "as anoddpm, guided by features of the clean slice that a pre-trained encoder gives",
        "Behrendt et al. 2023, arXiv:2312.04215",
        HEALTHY,
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "sadm": MethodSpec(
        "sadm:SADM",
        "cddpm's error added to the score of a U-Net that learnt from synthetic anomalies or a few masks",
        "Behrendt et al. 2024 (MIDL)",
        SEMI,
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "sadm-res": MethodSpec(
        "sadm:SADMRes",
        "as sadm, but the U-Net also gets the residual of cddpm's restoration",
        "Behrendt et al. 2024 (MIDL)",
        SEMI,
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "unet-res": MethodSpec(
        "sadm:UNetRes",
        "the U-Net of sadm-res by itself",
        "Behrendt et al. 2024 (MIDL)",
        SEMI,
        presets=("paper", "reference", "compact", "tiny"),
    ),
    "dpm-classifier": MethodSpec(
        "dpm_classifier:DPMClassifier",
        "encodes the slice into noise by DDIM, decodes it while a classifier's gradient leads to healthy",
        "Wolleb et al. 2022, arXiv:2203.04306",
        LABELS,
    ),
    "dpm-classifier-free": MethodSpec(
        "dpm_classifier_free:DPMClassifierFree",
        "as dpm-classifier, but led by the difference that the class makes to one conditional model",
        "Sanchez et al. 2022, arXiv:2207.12268",
        LABELS,
        ("paper", "wang", "compact", "tiny"),
    ),
    "regression-guided": MethodSpec(
        "regression_guided:RegressionGuided",
        "translates slices to another age, lesion size or other number, led by a regressor's gradient",
        "Wolleb et al. 2022, arXiv:2204.02641",
        Supervision((Need.LESION_MASKS,), option=("number=age", (Need.NUMBERS,))),
    ),
    "segmentation-guided": MethodSpec(
        "segmentation_guided:SegmentationGuided",
        "translates slices to a lesion inside a given mask, led by a segmenter's gradient",
        "Wolleb et al. 2022, arXiv:2204.02641",
        Supervision((Need.LESION_MASKS,), outlines=True),
    ),
    "diffseg": MethodSpec(
        "diffseg:DiffSeg",
        "supervised: samples masks from noise, given the slice; where several samples differ it is unsure",
        "Wolleb et al. 2022, arXiv:2112.03145",
        Supervision((Need.LESION_MASKS,), outlines=True),
    ),
    "segnet": MethodSpec(
        "segnet:SegNet",
        "supervised SegNet",
        "Badrinarayanan et al. 2017, arXiv:1511.00561",
        Supervision((Need.LESION_MASKS,), outlines=True),
    ),
    "segnet-bayesian": MethodSpec(
        "segnet_bayesian:BayesianSegNet",
        "as segnet, with dropout at test time, too; where several passes differ it is unsure",
        "Kendall et al. 2017, arXiv:1511.02680",
        Supervision((Need.LESION_MASKS,), outlines=True),
    ),
    "segnet-aleatoric": MethodSpec(
        "segnet_aleatoric:AleatoricSegNet",
        "as segnet, but gives the spread of its logits, too, and samples them",
        "Kendall & Gal 2017, arXiv:1703.04977",
        Supervision((Need.LESION_MASKS,), outlines=True),
    ),
    "itermask": MethodSpec(
        "itermask:IterMask",
        "inpaints the hidden brain, guided by edges; what it reconstructs well is uncovered, step by step",
        "Liang et al. 2024, arXiv:2406.02422",
        Supervision((Need.HEALTHY_SLICES,), MaskUse.TRANSPLANTED),
    ),
    "tsgm": MethodSpec(
        "tsgm:TSGM",
        "CycleGAN makes diseased partners, a joint VE diffusion model restores the healthy slice",
        "Wang et al. 2023, arXiv:2311.03074",
        LABELS,
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
    kind: type[Method] = getattr(import_module(f"braincli.methods.{module}"), attribute)
    return kind


def build(
    name: str,
    *,
    preset: str = "compact",
    settings: dict[str, Any] | None = None,
    channels: int = 4,
    size: tuple[int, int] | None = None,
    names: Mapping[str, str] | None = None,
) -> Method:
    """A fresh method with :func:`options`.

    Args:
        size: (H, W) of the canvas, instead of the options'.
        names: see :func:`options`.

    Raises:
        UsageError: unknown method, preset or option.
    """
    chosen = options(name, preset, settings, names=names)
    if size is not None:
        chosen = chosen.model_copy(update={"slices": chosen.slices.model_copy(update={"size": size})})
    return method_class(name)(chosen, channels=channels, size=chosen.slices.size)


def options(
    name: str,
    preset: str = "compact",
    settings: dict[str, Any] | None = None,
    *,
    names: Mapping[str, str] | None = None,
) -> PlainConfig:
    """The preset's options, overridden by ``settings``, table by table.

    Args:
        names: how a user called options that are not called ``--set KEY``; None: no user is addressed.

    Raises:
        UsageError: unknown method, preset or option.
    """
    from braincli import parsing

    kind = method_class(name)
    if preset not in kind.PRESETS:
        called = "" if names is None else "--preset: "
        raise UsageError(f"{called}{name} has no preset {preset!r}.", f"Presets: {', '.join(kind.PRESETS)}.")
    prefix = "" if names is None else "--set "
    return parsing.parse(kind.Config, merged(kind.PRESETS[preset], settings or {}), names, prefix=prefix)


def merged(preset: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """``preset``, overridden by ``settings``; of tables, the entries that ``settings`` does not name stay."""
    both = {n for n, value in settings.items() if isinstance(value, Mapping) and isinstance(preset.get(n), Mapping)}
    return {**preset, **settings, **{name: merged(preset[name], settings[name]) for name in both}}
