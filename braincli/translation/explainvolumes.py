"""What in a case a classifier of whole volumes looks at (:mod:`braincli.classification`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from braincli.classification import volumes
from braincli.classification.info import LoadedClassifier, load_classifier
from braincli.classification.predict import scan_of
from braincli.errors import ModelError, UsageError
from braincli.imaging import volume
from braincli.imaging.cases import Case
from braincli.networks.attribution import enlarged, places
from braincli.networks.inception3d import Layer
from braincli.translation.explaining import ExplainJob, Explanation, shares
from braincli.translation.pictures import crossing

LEAST = 5  # places along an axis that a map needs to show where something is


@dataclass(frozen=True)
class Whole:
    """A scan and what the network sees of it, (X, Y, Z) float16."""

    head: volumes.Head
    image: np.ndarray
    warnings: list[str]


@dataclass
class ExplainVolumes(ExplainJob[LoadedClassifier, Whole]):
    """Explains one class of each case: that which the classifier says, or the one that was asked for."""

    def load(self, name: str, device: torch.device) -> LoadedClassifier:
        return load_classifier(name, device)

    def refuse(self) -> None:
        info, asked = self.model.info, self.config.of_class
        if self.config.slices is not None:
            raise UsageError(f"{info.name} classifies whole volumes.", "Leave out --slices.")
        if asked is not None and asked not in info.classes:
            raise UsageError(f"{info.name} knows no class {asked!r}.", f"Choose one of: {', '.join(info.classes)}.")

    def given(self, case: Case) -> Whole:
        info, config = self.model.info, self.config
        how = volumes.Reading(info.contrast, config.volume, config.prefer, config.already_stripped)
        head = scan_of(case, info, how)
        return Whole(head, volumes.on_grid(case.id, head, info.grid), list(volume.warned(head.scan)))

    def explained(self, case: Case, given: Whole) -> Explanation:
        model, info, approach = self.model, self.model.info, self.model.approach
        image = torch.from_numpy(given.image).to(model.device).float()[None, None]
        with torch.inference_mode():
            logits = approach(image)[0].double().cpu()
        asked = self.config.of_class
        number = int(logits.argmax()) if asked is None else info.classes.index(asked)
        layer = coarsest(approach.encoder.layers())
        _, saliency, activation = places(
            lambda seen: log_odds(approach(seen).float())[:, number], layer.module, image, averaged=False
        )  # in float32: gradients of bfloat16 are coarse
        found = {"saliency": saliency, "cam": enlarged(activation[0, 0], image.shape[2:], layer.first, layer.pitch)}
        made, largest = {}, {}
        for name, part in found.items():
            if not torch.isfinite(part).all():
                raise ModelError(
                    f"The network of {info.name} gave values that are not finite: {case.id}.",
                    "Its weights are damaged: train or fetch the model again.",
                )
            on_scan = volumes.off_grid(part.reshape(info.grid.shape).cpu().numpy(), given.head, info.grid)
            values, largest[name] = shares(on_scan.data)
            made[name] = on_scan.with_data(values)
        odds, told = log_odds(logits), logits.softmax(0)
        name = f"log-odds of {info.classes[number]}"
        reading = {
            "value": name, "class": info.classes[number], "log-odds": round(float(odds[number]), 4),
            "probability": round(float(told[number]), 6),
        }  # fmt: skip
        shown = {"class activation map": made["cam"], "saliency": made["saliency"]}
        words = f"{name}: {float(odds[number]):.3g}, probability {float(told[number]):.3g}"
        picture = partial(crossing, info.contrast, given.head.image, given.head.brain, shown, words)
        return Explanation(
            made["saliency"], made["cam"], largest, reading, table(info.classes, told, odds), picture
        )  # fmt: skip


def coarsest(layers: Sequence[Layer]) -> Layer:
    """The last map that can still show where something is; of small volumes, the finest."""
    return next((layer for layer in reversed(layers) if min(layer.shape) >= LEAST), layers[0])


def log_odds(logits: Tensor) -> Tensor:
    """(..., classes) logits -> log p / (1 - p) of each class, which no softmax saturates."""
    count = logits.shape[-1]
    others = logits[..., None, :].masked_fill(torch.eye(count, dtype=torch.bool, device=logits.device), -torch.inf)
    return logits - others.logsumexp(dim=-1)


def table(classes: Sequence[str], told: Tensor, odds: Tensor) -> str:
    """What the classifier says of each class, as TSV."""
    lines = ["class\tprobability\tlog-odds"]
    lines += [f"{name}\t{p:.6f}\t{o:.4f}" for name, p, o in zip(classes, told.tolist(), odds.tolist(), strict=True)]
    return "\n".join(lines) + "\n"
