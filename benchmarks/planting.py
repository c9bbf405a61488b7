"""Slices of unseen cases to measure on, and lesions planted into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from braincli.calibration.evidence import MARGIN, refuse_trained
from braincli.errors import InputError
from braincli.imaging.cases import Case, find_cases, sound
from braincli.imaging.slices import Slices, load_case
from braincli.imaging.volume import load, mask_on_grid_of, reorient
from braincli.model.folder import LoadedModel

LEAST_BRAIN = 0.5  # of the case's largest slice: the others are too small to plant into
RADIUS_MM = (6.0, 30.0)


@dataclass(frozen=True)
class Sample:
    """Some slices of a case. ``lesion`` (S, H, W) bool is the real one."""

    case: str
    slices: Slices
    lesion: np.ndarray


# --- slices -------------------------------------------------------------------------------------------------------


def read(model: LoadedModel, case: Case) -> Sample:
    """All slices of ``case`` as ``model`` wants them, with the lesion that lies beside them (none: healthy)."""
    slices, _ = load_case(replace(case, lesion=None), model.info.slices, stride=model.method.stride)
    reference = np.zeros(slices.brain_volume.shape, dtype=bool)
    if case.lesion is not None:
        labels = load(case.lesion, labels=True)
        reference = reorient(mask_on_grid_of(labels.with_data(labels.data > 0), slices.grid)[0]).data > 0
        reference &= slices.looked_at(model.info.slices)
    return Sample(case.id, slices, slices.to_canvas(reference, model.info.slices) > 0.5)


def healthy_rows(sample: Sample) -> np.ndarray:
    """Rows of slices that are MARGIN or more away from every lesion, and not small."""
    slices, sick = sample.slices, sample.slices.index[sample.lesion.any(axis=(1, 2))]
    area = slices.brain.sum(axis=(1, 2, 3))
    distance = np.abs(slices.index[:, None] - sick).min(axis=1) if len(sick) else np.full(len(area), MARGIN)
    return np.flatnonzero((distance >= MARGIN) & (area >= LEAST_BRAIN * area.max()))


def lesion_rows(sample: Sample) -> np.ndarray:
    """Rows of slices with a lesion."""
    return np.flatnonzero(sample.lesion.any(axis=(1, 2)))


def drawn(sample: Sample, rows: np.ndarray, count: int, seed: int) -> Sample:
    """``count`` of ``rows`` (all, where there are fewer), the same for one ``seed``."""
    rng = np.random.default_rng([seed, *sample.case.encode()])
    kept = np.sort(rng.choice(rows, size=min(count, len(rows)), replace=False))
    s = sample.slices
    shown = None if s.shown is None else s.shown[kept]
    slices = replace(s, image=s.image[kept], brain=s.brain[kept], index=s.index[kept], shown=shown)
    return Sample(sample.case, slices, sample.lesion[kept])


def samples(
    model: LoadedModel, folder: Path, rows: Callable[[Sample], np.ndarray], count: int, seed: int
) -> list[Sample]:
    """``count`` slices of each case of ``folder`` that has such slices; one case at a time is in memory as a whole.

    Raises:
        InputError: no case has one, or one was trained on.
    """
    cases = sound(find_cases(folder))
    refuse_trained(cases, model.info)
    chosen = [drawn(sample, rows(sample), count, seed) for sample in (read(model, case) for case in cases)]
    if kept := [sample for sample in chosen if len(sample.slices.index)]:
        return kept
    raise InputError(f"{folder.name} has no slice to measure on.", "Lesion-free slices and slices with lesions count.")


# --- planting -----------------------------------------------------------------------------------------------------


def grown(sample: Sample, model: LoadedModel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices with a growth planted in each, and its opacity: (S, C, H, W) and (S, H, W)."""
    import torch

    from braincli.anomalies import growth

    image, brain = (torch.from_numpy(part) for part in (sample.slices.image, sample.slices.brain))
    low, high = (mm / model.info.slices.pixel_mm for mm in RADIUS_MM)
    shape = (image.shape[0], image.shape[1], image.shape[2], image.shape[3])
    drawn = growth.draw(shape, torch.Generator().manual_seed(seed), radius=(low, high), arbitrary=0.0)
    diseased, alpha = growth.apply(image, brain, drawn)
    return diseased.numpy(), alpha[:, 0].numpy()


def transplanted(sample: Sample, donors: Sequence[Sample], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices with a lesion of ``donors`` in each, and its opacity; as :func:`grown`."""
    import torch

    from braincli.anomalies import transplant

    canvas = sample.slices.image.shape[2:]
    fitting = [donor for donor in donors if donor.slices.image.shape[2:] == canvas] or [
        _fitted(d, canvas) for d in donors
    ]

    def rows(parts: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(parts))

    image = rows([sample.slices.image, *(donor.slices.image for donor in fitting)])
    brain = rows([sample.slices.brain, *(donor.slices.brain for donor in fitting)])
    lesion = rows([np.zeros_like(sample.slices.brain), *(donor.lesion[:, None] for donor in fitting)])
    shape = (image.shape[0], image.shape[1], image.shape[2], image.shape[3])
    drawn = transplant.draw(shape, torch.Generator().manual_seed(seed))
    diseased, alpha = transplant.apply(image, brain, lesion, drawn)
    count = len(sample.slices.index)
    return diseased[:count].numpy(), alpha[:count, 0].numpy()


def _fitted(sample: Sample, canvas: tuple[int, ...]) -> Sample:
    """``sample`` on another canvas, cut or padded around the middle."""

    def on(values: np.ndarray) -> np.ndarray:
        result = np.zeros((*values.shape[:-2], *canvas), dtype=values.dtype)
        old, new = [], []
        for have, want in zip(values.shape[-2:], canvas, strict=True):
            length, before, after = min(have, want), (have - want) // 2, (want - have) // 2
            old.append(slice(max(before, 0), max(before, 0) + length))
            new.append(slice(max(after, 0), max(after, 0) + length))
        result[..., new[0], new[1]] = values[..., old[0], old[1]]
        return result

    s = sample.slices
    return replace(
        sample, slices=replace(s, image=on(s.image), brain=on(s.brain), shown=None), lesion=on(sample.lesion)
    )
