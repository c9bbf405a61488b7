"""Milliseconds for 32 fields of fractal simplex noise, 256 x 256, six octaves, against the limit of 50 ms on two cores,
and the ratio to the package ``opensimplex`` where that is installed.

python benchmarks/noise.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from braincli.diffusion.noise import simplex

LIMIT_MS, SHAPE, OCTAVES, PERSISTENCE, FREQUENCY = 50.0, (32, 1, 256, 256), 6, 0.8, 64.0


def seconds(function: Callable[[], object], rounds: int) -> float:
    """Best of ``rounds``."""
    best = np.inf
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - begin)
    return best


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

    return seconds(field, 1)


if __name__ == "__main__":
    like, generator = torch.empty(SHAPE), torch.Generator().manual_seed(0)
    first = seconds(lambda: simplex(like, generator), 1)
    ours = seconds(lambda: simplex(like, generator), 20)
    milliseconds, threads = 1000 * ours, torch.get_num_threads()
    computing = time.process_time()
    simplex(like, generator)
    computing = 1000 * (time.process_time() - computing)
    print(f"braincli     {milliseconds:9.1f} ms   {milliseconds / LIMIT_MS:.2f} of the limit, {threads} threads")
    print(f"of CPU time  {computing:9.1f} ms   (what a quiet machine shares out over its cores)")
    print(f"first call   {1000 * first:9.1f} ms   (the plan for an image size is kept)")
    theirs = peer()
    if theirs is None:
        print("opensimplex  not installed")
    else:
        print(f"opensimplex  {1000 * theirs * SHAPE[0]:9.1f} ms   {theirs * SHAPE[0] / ours:.0f} times as long")
