"""Seconds per figure of one 240 x 240 x 155 pair, and the ratio to MONAI and scikit-learn in the same run.

python benchmarks/score.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from measuring import Figure, best_of, compared, show

from braincli.scoring import curves, metrics

SHAPE = (240, 240, 155)  # BraTS


def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An anomaly map that finds a lesion of 100 ml among noise, its mask with specks, and the reference."""
    from scipy.ndimage import gaussian_filter

    generator = np.random.default_rng(0)
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    brain = ((x - 120) / 68) ** 2 + ((y - 120) / 85) ** 2 + ((z - 75) / 66) ** 2 < 1
    rough = 6 * gaussian_filter(generator.normal(size=SHAPE).astype(np.float32), 4)
    ref = (((x - 90) / 28) ** 2 + ((y - 110) / 34) ** 2 + ((z - 85) / 26) ** 2 + rough < 1) & brain
    noise = gaussian_filter(generator.normal(size=SHAPE).astype(np.float32), 1.5)
    score = (np.clip(0.4 * ref + 1.5 * np.abs(noise), 0, 1) * brain).astype(np.float32)
    return score, score > 0.35, ref


def figures() -> Iterator[Figure]:
    """One per figure of the scores; HD95, AUPRC and AUROC beside their peers, whose values must agree."""
    import torch
    from monai.metrics import compute_hausdorff_distance
    from sklearn.metrics import average_precision_score, roc_auc_score

    score, pred, ref = pair()
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (pred, ref)]
    flat_ref, flat_score = ref.ravel(), score.ravel()
    curve = curves.curve(score=score, ref=ref)
    rows: list[tuple[str, Callable[[], float | None], str, Callable[[], float] | None]] = [
        ("DSC", lambda: metrics.dice(metrics.confusion(pred=pred, ref=ref)), "", None),
        (
            "HD95",
            lambda: metrics.hd95(pred=pred, ref=ref),
            "MONAI",
            lambda: compute_hausdorff_distance(tensors[0], tensors[1], include_background=True, percentile=95).item(),
        ),
        (
            "AUPRC",
            lambda: curves.curve(score=score, ref=ref).auprc(),
            "scikit-learn",
            lambda: average_precision_score(flat_ref, flat_score),
        ),
        (
            "AUROC",
            lambda: curves.curve(score=score, ref=ref).auroc(),
            "scikit-learn",
            lambda: roc_auc_score(flat_ref, flat_score),
        ),
        ("best DSC", lambda: (curve.best_dice() or (None,))[0], "", None),
        ("lesions", lambda: metrics.lesions(pred=pred, ref=ref).recall, "", None),
    ]
    for name, ours, library, theirs in rows:
        took = best_of(ours, 5)
        if theirs is None:
            yield Figure(name, took, "s")
            continue
        yield compared(name, took, "s", library, best_of(theirs, 2))
        value, other = ours(), theirs()
        if value is None or not np.isclose(value, other, rtol=1e-3):
            yield Figure(
                f"{name}: value", value or np.nan, "", f"{library}'s {other:.6f}", (value or np.nan) / other, False
            )


if __name__ == "__main__":
    show(figures())
