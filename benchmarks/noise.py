"""Milliseconds for 32 fields of fractal simplex noise, 256 x 256, six octaves, against the limit of 50 ms on two cores,
and the ratio to the package ``opensimplex`` where that is installed.

python benchmarks/noise.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from measuring import Figure, best_of, compared, limited, show

from braincli.diffusion.noise import simplex

LIMIT_MS, SHAPE, OCTAVES, PERSISTENCE, FREQUENCY = 50.0, (32, 1, 256, 256), 6, 0.8, 64.0


def peer() -> float | None:
    """Seconds of ``opensimplex`` for one field; None where it is not installed."""
    try:
        import opensimplex
    except ImportError:
        return None

    def field() -> None:
        opensimplex.seed(0)
        for octave in range(OCTAVES):
            grid = np.arange(SHAPE[-1]) * 2**octave / FREQUENCY
            opensimplex.noise2array(grid, grid) * PERSISTENCE**octave

    return best_of(field, 1)


def figures() -> Iterator[Figure]:
    """The first call plans for the image's size; later ones keep the plan."""
    like, generator = torch.empty(SHAPE), torch.Generator().manual_seed(0)

    def noise() -> None:
        simplex(like, generator)

    yield Figure("first call", 1000 * best_of(noise, 1), "ms")
    ours = best_of(noise, 20)
    yield limited("32 fields", 1000 * ours, "ms", LIMIT_MS)
    yield Figure("32 fields, CPU time", 1000 * best_of(noise, 5, time.process_time), "ms")
    if (theirs := peer()) is not None:
        yield compared("32 fields", 1000 * ours, "ms", "opensimplex", 1000 * theirs * SHAPE[0])


if __name__ == "__main__":
    show(figures())
