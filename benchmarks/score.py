"""Seconds per figure of one 240 x 240 x 155 pair, and the ratio to MONAI and scikit-learn in the same run.

python benchmarks/score.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

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


def seconds(function: Callable[[], object], rounds: int) -> float:
    """Best of ``rounds``."""
    best = np.inf
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return best


def main() -> None:
    """Print one line per figure."""
    import torch
    from monai.metrics import compute_hausdorff_distance
    from sklearn.metrics import average_precision_score, roc_auc_score

    score, pred, ref = pair()
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (pred, ref)]
    flat_ref, flat_score = ref.ravel(), score.ravel()
    curve = curves.curve(score=score, ref=ref)
    rows = [
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
    print(f"pair of {SHAPE}: reference {ref.sum() / 1000:.0f} ml, prediction {pred.sum() / 1000:.0f} ml")
    for name, ours, library, theirs in rows:
        took = seconds(ours, 5)
        line = f"{name:9} {took:7.3f} s   value {ours():.6f}"
        if theirs is not None:
            other = seconds(theirs, 2)
            line += f"   {library} {other:7.3f} s   value {theirs():.6f}   ratio {other / took:.1f}"
        print(line)


if __name__ == "__main__":
    main()
