"""How well models restore: planted lesions against true tissue, real ones against the healthy side, healthy people.

    python benchmarks/restoration.py tsgm svae --data tumour/val --donors tumour/train --healthy healthy/oasis

(a) Lesion-free slices of ``--data`` (two or more away from a lesion), which no model has seen: lesions are planted
(:mod:`braincli.anomalies.growth`) and transplanted from ``--donors`` (:mod:`braincli.anomalies.transplant`), and what
is restored is compared with the tissue that was there: mean absolute error, PSNR and SSIM in the lesion (where it
covers half of the tissue or more) and in the rest of the brain. (b) Real lesions of ``--data``: the share of their
contrast to healthy tissue that is gone, by contrast: 1 all of it, 0 none, below 0 it grew. Healthy is the mirrored
pixel where that is brain and no lesion, else the median of the slice's other tissue; it counts where scan and healthy
tissue differ by VISIBLE or more. (c) Healthy people, and the same lesion-free slices with nothing planted: mean
absolute change in the brain.

Intensities are shares of the scan's range in the brain. Slices are drawn by ``--seed``, the same for all models of one
canvas. A method that reads runs of slices sees neighbours that were drawn with them, not those of the scan; to one that
looks at a slice's neighbours (``Method.neighbours``), each slice stands for its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from planting import Sample, drawn, grown, healthy_rows, lesion_rows, read, samples, transplanted
from validation import markdown

from braincli.detection.residuals import residual
from braincli.detection.restore import restore
from braincli.errors import InputError, UsageError
from braincli.imaging.cases import CONTRASTS, find_cases, sound
from braincli.model.folder import LoadedModel, load_model
from braincli.runtime import device, files

VISIBLE = 0.1  # of the intensity range
COVERED = 0.5  # opacity from which a pixel is lesion
EXACT_DB = 100.0
HALO = 2  # pixels around a lesion that are neither lesion nor healthy tissue


@dataclass(frozen=True)
class Errors:
    """Restored against true tissue: mean absolute error, PSNR in dB, SSIM."""

    mae: float
    psnr: float
    ssim: float

    def cells(self) -> list[str]:
        """For a table."""
        return [f"{self.mae:.4f}", f"{self.psnr:.1f}" if self.psnr < EXACT_DB else "exact", f"{self.ssim:.3f}"]


# --- figures ------------------------------------------------------------------------------------------------------


def restored(model: LoadedModel, sample: Sample, image: np.ndarray) -> np.ndarray:
    """(S, C, H, W) what ``model`` makes of ``image``.

    Raises:
        UsageError: the method restores nothing.
    """
    result = restore(
        replace(sample.slices, image=image), model, case_id=sample.case, needs_restored=True,
        dtype=device.precision(model.device),
    )  # fmt: skip
    assert result.restored is not None
    return result.restored


@dataclass(frozen=True)
class Gaps:
    """Differences between restored and true tissue, and their SSIM, pixel by pixel: (N,) each."""

    gap: np.ndarray
    ssim: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, given: np.ndarray, where: np.ndarray) -> Gaps:
        """Of pixels ``where`` (S, C, H, W) bool of ``given`` against ``truth`` (S, C, H, W)."""
        return cls((given - truth)[where], 1 - residual(truth, given, "ssim")[where])

    @classmethod
    def together(cls, parts: Sequence[Gaps]) -> Gaps:
        """All pixels of ``parts``."""
        return cls(np.concatenate([part.gap for part in parts]), np.concatenate([part.ssim for part in parts]))

    def errors(self) -> Errors:
        """Their means; the PSNR is that of all pixels together."""
        square = float((self.gap.astype(np.float64) ** 2).mean())
        psnr = 10 * float(np.log10(1 / max(square, 1e-12)))
        return Errors(float(np.abs(self.gap).mean()), psnr, float(self.ssim.mean()))


Plant = Callable[[Sample], tuple[np.ndarray, np.ndarray]]
Restore = Callable[[Sample, np.ndarray], np.ndarray]


def planted(hosts: Sequence[Sample], plant: Plant, heal: Restore) -> tuple[Errors, Errors]:
    """Errors in planted lesions, and in the rest of the brain.

    Args:
        heal: (S, C, H, W) tissue from a sample and its diseased slices.

    Raises:
        InputError: nothing could be planted.
    """
    inside, outside = [], []
    for host in hosts:
        truth, (diseased, alpha) = host.slices.image, plant(host)
        there = present(host)
        given = heal(host, diseased)
        inside.append(Gaps.of(truth, given, there & (alpha >= COVERED)[:, None]))
        outside.append(Gaps.of(truth, given, there & (alpha == 0)[:, None]))
    if not sum(len(part.gap) for part in inside):
        raise InputError("No lesion could be planted.", "Are there lesions among the donors?")
    return Gaps.together(inside).errors(), Gaps.together(outside).errors()


def present(sample: Sample) -> np.ndarray:
    """(S, C, H, W) bool: the brain, in contrasts that are there and show it."""
    s = sample.slices
    there = s.brain & (s.image != 0).any(axis=(0, 2, 3), keepdims=True)
    return there if s.shown is None else there & s.shown


def healthy_side(sample: Sample) -> np.ndarray:
    """(S, C, H, W) what tissue would show without the lesion: the mirrored pixel, or else the slice's other tissue.

    The canvas is centred on the brain, so that its columns mirror at the middle; the mirrored slice is smoothed over
    two pixels, as sides are never alike to the pixel.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    s = sample.slices
    sick = binary_dilation(sample.lesion, np.ones((1, 2 * HALO + 1, 2 * HALO + 1), dtype=bool))
    sound_ = s.brain[:, 0] & ~sick
    sigma = (0, 0, 1, 1)
    weight = gaussian_filter(sound_[:, None].astype(np.float32), sigma)
    smooth = gaussian_filter(s.image * sound_[:, None], sigma) / np.maximum(weight, 1e-3)
    mirrored, known = smooth[..., ::-1], (sound_ & s.brain[:, 0])[..., ::-1][:, None]
    rows = [np.median(image[:, mask], axis=1) if mask.any() else np.zeros(len(image)) for image, mask in
            zip(s.image, sound_, strict=True)]  # fmt: skip
    return np.where(known, mirrored, np.array(rows, dtype=np.float32)[:, :, None, None])


def removed(sample: Sample, given: np.ndarray) -> np.ndarray:
    """(C,) share of the lesion's contrast that is gone in ``given`` (S, C, H, W); NaN where nothing is visible."""
    scan, healthy = sample.slices.image, healthy_side(sample)
    contrast = scan - healthy
    visible = sample.lesion[:, None] & present(sample) & (np.abs(contrast) >= VISIBLE)
    gone = ((scan - given) * np.sign(contrast) * visible).sum(axis=(0, 2, 3))
    total = (np.abs(contrast) * visible).sum(axis=(0, 2, 3))
    return np.where(total > 0, gone / np.where(total > 0, total, 1), np.nan)


def change(hosts: Sequence[Sample], heal: Restore) -> tuple[float, float]:
    """Mean and 99th percentile of the change in the brain, where there is nothing to change."""
    values = [
        np.abs(heal(host, host.slices.image) - host.slices.image)[present(host)].astype(np.float64) for host in hosts
    ]
    together = np.concatenate(values)
    return float(together.mean()), float(np.percentile(together, 99))


# --- the tables ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What was measured of one model; ``planted`` by kind of lesion: errors in it and outside."""

    name: str
    planted: dict[str, tuple[Errors, Errors]]
    removed: np.ndarray
    patients: tuple[float, float]
    people: tuple[float, float] | None


def measure(model: LoadedModel, options: argparse.Namespace, *, untouched: bool = False) -> Measured:
    """All figures of ``model``; ``untouched``: of the slices as they are, which is what doing nothing gives.

    Raises:
        InputError: see :func:`samples`.
        UsageError: the method restores nothing.
    """
    count, seed = options.slices, options.seed

    def heal(sample: Sample, image: np.ndarray) -> np.ndarray:
        return image if untouched else restored(model, sample, image)

    hosts = samples(model, options.data, healthy_rows, count, seed)
    sick = samples(model, options.data, lesion_rows, count, seed)
    donors = [
        drawn(s, lesion_rows(s), count, seed) for s in (read(model, c) for c in sound(find_cases(options.donors)))
    ]
    well = samples(model, options.healthy, healthy_rows, count, seed) if options.healthy else []
    kinds: dict[str, Plant] = {
        "planted": lambda host: grown(host, model, seed),
        "transplanted": lambda host: transplanted(host, donors, seed),
    }
    gone = np.stack([removed(sample, heal(sample, sample.slices.image)) for sample in sick])
    return Measured(
        "nothing done" if untouched else model.info.name,
        {kind: planted(hosts, plant, heal) for kind, plant in kinds.items()},
        np.array([column[~np.isnan(column)].mean() if (~np.isnan(column)).any() else np.nan for column in gone.T]),
        change(hosts, heal),
        change(well, heal) if well else None,
    )


def tables(rows: Sequence[Measured], notes: Sequence[str] = ()) -> str:
    """The three tables as Markdown."""
    lesions = [
        [row.name, kind, *inside.cells(), *outside.cells()]
        for kind in rows[0].planted
        for row in rows
        for inside, outside in [row.planted[kind]]
    ]
    shares = [[row.name, *("n/a" if np.isnan(share) else f"{share:.2f}" for share in row.removed)] for row in rows]
    still = [
        [row.name, *(f"{value:.4f}" for value in row.patients), *(
            ("n/a", "n/a") if row.people is None else (f"{value:.4f}" for value in row.people)
        )]
        for row in rows
    ]  # fmt: skip
    return "\n".join(
        [
            "Planted and transplanted lesions on healthy slices of unseen subjects, against the true tissue:\n",
            markdown(("", "lesion", "MAE in it", "PSNR", "SSIM", "MAE outside", "PSNR", "SSIM"), lesions),
            "\nReal lesions, share of the contrast to healthy tissue that is gone (1 all of it, 0 none):\n",
            markdown(("", *(c.upper() for c in CONTRASTS)), shares),
            "\nChange where nothing is to be changed (mean, and 99th percentile):\n",
            markdown(("", "lesion-free slices", "99th", "healthy people", "99th"), still),
            *notes,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="names or folders; those that restore nothing are left out")
    add("--data", type=Path, required=True, help="cases with lesion masks that no model has seen")
    add("--donors", type=Path, required=True, help="cases with lesion masks, to transplant from")
    add("--healthy", type=Path, help="cases of healthy people")
    add("--slices", type=int, default=8, help="of each case and kind (default 8)")
    add("--seed", type=int, default=0)
    add("--device", default="auto")
    add("--threads", type=int)
    add("-o", "--output", type=Path, help="write the tables there, too")
    options = parser.parse_args(arguments)
    chosen = device.prepare(options.device, options.threads)
    rows: list[Measured] = []
    notes: list[str] = []
    for name in options.models:
        model = load_model(name, chosen)
        model.method.neighbours = 0  # drawn slices have none
        try:
            measured = measure(model, options)
        except UsageError as error:
            notes.append(f"\n{model.info.name} is left out: {error.message}")
            continue
        rows += [measured] if rows else [measure(model, options, untouched=True), measured]
    text = tables(rows, notes) if rows else "\n".join(notes).lstrip()
    print(text)
    if options.output:
        files.write_text(options.output, text + "\n")


if __name__ == "__main__":
    main()
