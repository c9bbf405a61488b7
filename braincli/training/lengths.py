"""How many steps a stage has, where its method gives epochs, and how the learning rate falls over them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from braincli.methods.base import Method
from braincli.methods.lengths import DecayName, Epochs
from braincli.training import data
from braincli.training.store import SliceStore

DROPS = (0.8, 0.9)  # where a decay in steps falls to a fifth (Zavrtanik et al. 2021)
LEAST = 0.02  # of the rate is left at the end of a cosine


def steps_of(method: Method, stage: str, store: SliceStore, batch: int, given: Mapping[str, int]) -> int:
    """Steps of ``stage`` with ``batch`` slices each: those ``given`` for it, else the method's own.

    An epoch goes through the kind of slices that the stage has most of (CycleGAN: healthy or diseased ones).

    Raises:
        InputError: the store holds none of the slices that the stage's epochs go through.
    """
    length = given.get(stage, method.config.train_steps.get(stage, 0))
    if not isinstance(length, Epochs):
        return length
    pools = data.pools(store, method.sampling(stage), stage)
    largest = max(pools, key=len)
    cases = len(np.unique(np.asarray(store.case)[largest]))
    return length.steps(len(largest), cases, max(1, batch // len(pools)))


def rate(step: int, progress: float, warmup: int, decay: DecayName) -> float:
    """Factor of the learning rate: a linear rise over ``warmup`` steps, times the decay as ``progress`` goes to 1.

    ``constant``; ``cosine``: down to 2 %; ``linear``: down to 0; ``step``: to a fifth after 80 % and again after 90 %
    (DRAEM); ``half-linear``: constant for the first half, then linear down to 0 (CycleGAN's 100 + 100 epochs).
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    left = 1 - progress
    factors = {
        "constant": 1.0,
        "cosine": LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": left,
        "step": 0.2 ** sum(progress >= drop for drop in DROPS),
        "half-linear": min(1.0, 2 * left),
    }
    return rise * factors[decay]
