"""What a training is about to do, in words that are also its configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from braincli.config import TrainConfig, to_toml
from braincli.methods.base import Method
from braincli.training.lengths import steps_of
from braincli.training.store import SliceStore
from braincli.training.validation import TIMES
from braincli.wording import counted

LABELS = {"healthy": 0, "diseased": 1, "unknown": -1}


def describe(method: Method, config: TrainConfig, store: SliceStore, judging: SliceStore | None = None) -> str:
    """The resolved options as TOML (``train --config`` takes them back), below comments with counts.

    The comments give slices per label, parameters per network, the steps of each stage and who judges the weights.
    """
    networks = {name: sum(p.numel() for p in part.parameters()) for name, part in method.named_children()}
    loose = sum(p.numel() for p in method.parameters(recurse=False))
    networks |= {"itself": loose} if loose else {}
    lines = [
        _slices(store),
        "parameters: " + ", ".join(f"{name} {count:,}" for name, count in networks.items() if count),
        f"steps of {counted(config.batch or method.config.train_batch, 'slice')}: "
        + ", ".join(_length(method, stage, config, store) for stage in method.stages),
    ]
    if judging is not None:
        every = f"every {counted(config.validate_every, 'step')}" if config.validate_every else f"{TIMES} times a stage"
        lines.append(f"validation: {_slices(judging)}; weights are judged {every}, the best are kept")
    # where the slices lie says nothing about the model, and a path may name people
    options = config.model_dump(mode="json", exclude={"resume", "overwrite", "dry_run", "store"})
    options["init"] = config.init and Path(config.init).name
    return "".join(f"# {line}\n" for line in lines) + to_toml(options)


def _slices(store: SliceStore) -> str:
    """``80 slices of 2 cases: 50 healthy, 30 diseased``."""
    label = np.asarray(store.label)
    counts = {name: int((label == code).sum()) for name, code in LABELS.items()}
    kinds = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{counted(len(store), 'slice')} of {counted(len(store.cases), 'case')}: {kinds}"


def _length(method: Method, stage: str, config: TrainConfig, store: SliceStore) -> str:
    """``restore 1000 (50 epochs of all slices)``."""
    steps = steps_of(method, stage, store, config.batch or method.config.train_batch, config.steps)
    own = method.config.train_steps.get(stage, 0)
    return f"{stage} {steps}" + ("" if stage in config.steps or isinstance(own, int) else f" ({own})")
