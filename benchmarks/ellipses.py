"""Models on the synthetic data set of DeScarGAN, scored as in its paper (Wolleb et al. 2020, Table 1; thesis, ch. 6).

    braincli synth --kind ellipses -o ellipses/
    for method in descargan fp-gan stargan vagan vae-chen densenet169 descargan-classifier; do
        braincli train --method $method --data ellipses/train -o models/$method
    done
    python benchmarks/ellipses.py models/* --data ellipses/test

With d = restored - image of a diseased image, and the truth healthy - diseased, both on the image's range scaled to
[-1, 1]: Dice of |d| > t with |truth| > t, where t is the mean of Otsu's thresholds over the truths; pixel-wise AUROC of
|d| for |truth| > t; mean squared error and SSIM of d and the truth; all per image, then averaged, in brackets the
variance over images. Of healthy images the mean squared change. Pixels are those of the model's canvas. Of methods that
tell the class of an image: accuracy, Cohen's kappa and AUROC over all images. The chapter gives these of chest X-rays
alone (Table 2, CheXpert), as on the ellipses nearly all images are told apart by all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from validation import markdown

from braincli.classification import figures
from braincli.detection.restore import restore
from braincli.errors import UsageError
from braincli.imaging import volume
from braincli.imaging.cases import CONTRASTS, Case, Contrast, find_cases, sound
from braincli.imaging.slices import load_case
from braincli.model.folder import LoadedModel, load_model
from braincli.runtime import device
from braincli.scoring.curves import curve

PLACES = ["model", "Dice", "AUROC_pix", "MSE(d, GT)", "SSIM", "MSE(r_h, a_h)"]
PLACES_PAPER = [
    ["StarGAN (paper)", "0.710", "0.962", "0.0229 (0.128)", "0.888", "0.0025 (0.002)"],
    ["FP-GAN (paper)", "0.766", "0.975", "0.0160 (0.004)", "0.917", "0.0027 (0.003)"],
    ["VAGAN (paper)", "0.442", "0.954", "0.1321 (0.132)", "0.869", "0.0036 (0.002)"],
    ["VAE (paper)", "0.288", "0.809", "0.0734 (0.071)", "0.668", "0.0316 (0.031)"],
    ["DeScarGAN (paper)", "0.853", "0.988", "0.0086 (0.002)", "0.954", "0.0018 (0.001)"],
]
CLASSES = ["model", "accuracy", "kappa", "AUROC_image"]
CLASSES_PAPER = [
    ["StarGAN (paper, X-rays)", "0.853", "0.705", "0.923"],
    ["FP-GAN (paper, X-rays)", "0.875", "0.750", "0.939"],
    ["DenseNet169 (paper, X-rays)", "0.893", "0.785", "0.951"],
    ["D_cls alone (paper, X-rays)", "0.890", "0.780", "0.949"],
    ["DeScarGAN (paper, X-rays)", "0.898", "0.795", "0.953"],
]


@dataclass(frozen=True)
class Images:
    """Images of one class (S, H, W): the change that was made, the truth of it, and which pixels count.

    ``change`` is None where the method restores nothing; ``diseased`` (S,) is how likely each is diseased, None where
    the method does not tell.
    """

    change: np.ndarray | None
    truth: np.ndarray
    inside: np.ndarray
    diseased: np.ndarray | None


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve of ``score`` (N,) for ``positive`` (N,) bool; ties count half."""
    return _or_nan(curve(score=score, ref=positive).auroc())


def kappa(called: np.ndarray, positive: np.ndarray) -> float:
    """Cohen's kappa of two (N,) bool: agreement beyond chance; NaN where both have one class only, and the same."""
    return _or_nan(figures.kappa(called, positive))


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks; 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * float((a & b).sum()) / total if total else 1.0


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM (Gaussian window of 11) of two images, each scaled to [0, 1], as the published evaluation has it."""
    from skimage.metrics import structural_similarity

    a, b = ((image - image.min()) / max(float(np.ptp(image)), 1e-9) for image in (a, b))
    return float(
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    )


def otsu(truth: np.ndarray) -> float:
    """The mean of Otsu's thresholds over the images of |truth| (S, H, W)."""
    from skimage.filters import threshold_otsu

    return float(np.mean([threshold_otsu(image) for image in np.abs(truth)]))


def looked_at(model: LoadedModel, case: Case) -> Images:
    """What ``model`` makes of the images of ``case``."""
    spec = model.info.slices
    slices, _ = load_case(case, spec, stride=model.method.stride)
    found = restore(slices, model, case_id=case.id, dtype=device.precision(model.device))
    channel, scan = CONTRASTS.index(Contrast.T1), case.images[Contrast.T1]
    change = None if found.restored is None else 2 * (found.restored - slices.image)[:, channel]
    truth = np.zeros_like(slices.image[:, channel])
    path = scan.with_name(f"{case.id}_residual-t1.nii.gz")
    if path.exists():
        low, high = np.percentile(
            volume.load(scan).data[slices.to_volume(slices.brain[:, 0]).data > 0], spec.percentiles
        )
        residual = volume.reorient(volume.load(path)).data
        truth = 2 * slices.to_canvas(residual, spec) / float(high - low)
    return Images(change, truth, slices.brain[:, 0], found.diseased)


def places(name: str, healthy: Sequence[Images], diseased: Sequence[Images]) -> list[str] | None:
    """A model's row of Table 1; None where it restores nothing."""
    threshold = float(np.mean([otsu(one.truth) for one in diseased]))
    pairs = [
        (np.abs(d) * inside, np.abs(t), d * inside, t)
        for one in diseased
        if one.change is not None
        for d, t, inside in zip(one.change, one.truth, one.inside, strict=True)
    ]
    changes = [float((d**2).mean()) for one in healthy if one.change is not None for d in one.change]
    if not pairs or not changes:
        return None
    errors = [float(((d - t) ** 2).mean()) for _, _, d, t in pairs]
    return [
        name,
        f"{np.mean([dice(found > threshold, true > threshold) for found, true, _, _ in pairs]):.3f}",
        f"{np.nanmean([auroc(found.ravel(), true.ravel() > threshold) for found, true, _, _ in pairs]):.3f}",
        f"{np.mean(errors):.4f} ({np.var(errors):.4f})",
        f"{np.mean([similarity(d, t) for _, _, d, t in pairs]):.3f}",
        f"{np.mean(changes):.4f} ({np.var(changes):.4f})",
    ]


def classes(name: str, healthy: Sequence[Images], diseased: Sequence[Images]) -> list[str] | None:
    """A model's row of Table 2; None where it does not tell the class of an image."""
    told = [[one.diseased for one in kind if one.diseased is not None] for kind in (healthy, diseased)]
    if not all(told):
        return None
    positive = np.repeat([False, True], [sum(map(len, kind)) for kind in told])
    score = np.concatenate([part for kind in told for part in kind])
    called = score > 0.5
    return [
        name, f"{(called == positive).mean():.3f}", f"{kappa(called, positive):.3f}", f"{auroc(score, positive):.3f}"
    ]  # fmt: skip


def main(arguments: argparse.Namespace) -> str:
    """Both tables.

    Raises:
        UsageError: the folder does not hold both classes.
    """
    cases = sound(find_cases(arguments.data))
    kinds = [[case for case in cases if f"-{kind}-" in case.id] for kind in ("healthy", "diseased")]
    if not all(kinds):
        raise UsageError(f"{arguments.data.name} does not hold healthy and diseased images.", "Name the set's test/.")
    seen: list[tuple[str, list[Images], list[Images]]] = []
    for name in arguments.models:
        model = load_model(name, device.prepare(arguments.device, arguments.threads))
        healthy, diseased = ([looked_at(model, case) for case in kind] for kind in kinds)
        seen.append((Path(name).name, healthy, diseased))
    tables = ((PLACES, places, PLACES_PAPER), (CLASSES, classes, CLASSES_PAPER))
    return "\n\n".join(
        markdown(header, [*(row for one in seen if (row := made(*one)) is not None), *paper])
        for header, made, paper in tables
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or folders of trained models")
    parser.add_argument("--data", type=Path, required=True, help="test/ of braincli synth --kind ellipses")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    print(main(parser.parse_args()))
