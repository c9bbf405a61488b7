"""Whose masks a folder holds: several models may write into one, and one of them is scored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from braincli.errors import InputError
from braincli.imaging.names import legible, stem
from braincli.layout.bids import model_label
from braincli.scoring.matching import Matching, Pair

DESC = re.compile(r"_desc-(?P<label>[A-Za-z0-9]+)_")
MAP = re.compile(r"(anomaly(map)?|score)$")  # of a map, some end its label so


def of_one_model(matching: Matching, model: str | None, folder: Path) -> Matching:
    """``matching`` with the masks and maps of ``model``; of all, where the folder holds those of one only.

    Args:
        folder: of the predictions, for messages.

    Raises:
        InputError: several models have a mask of one case and none was chosen, or the chosen one has none at all.
    """
    found = {label for pair in matching.pairs for label in _labels(pair.predictions)}
    if model is None:
        among = [_labels(path for path in pair.predictions if path in matching.own) for pair in matching.pairs]
        if several := sorted(next((labels for labels in among if len(labels) > 1), ())):
            raise InputError(
                f"{legible(folder.name)} holds masks of several models: {', '.join(several)}.",
                f"Choose: --model {several[0]}; as the other run of --compare, name its scores.json.",
            )
        return matching
    chosen = Matching(tuple(_chosen(pair, model_label(model)) for pair in matching.pairs), matching.unmatched)
    if not any(pair.predictions or pair.anomalies for pair in chosen.pairs):
        there = f"; it holds those of {', '.join(sorted(found))}" if found else ""
        raise InputError(f"{legible(folder.name)} holds no mask of the model {model}{there}.", "Check the name.")
    return chosen


def _chosen(pair: Pair, label: str) -> Pair:
    def kept(paths: Iterable[Path]) -> tuple[Path, ...]:
        return tuple(path for path in paths if _label(path) in ("", label))

    return replace(pair, predictions=kept(pair.predictions), anomalies=kept(pair.anomalies))


def _labels(paths: Iterable[Path]) -> set[str]:
    return {label for path in paths if (label := _label(path))}


def _label(path: Path) -> str:
    """The model that a file's name or, where it tells none, its record tells; empty where nothing does."""
    if match := DESC.search(stem(path)):
        return MAP.sub("", match["label"]) or match["label"]
    prefix = re.sub(r"_(mask|anomaly)$", "", stem(path))
    for record in (path.with_name(f"{prefix}_record.json"), path.with_name(f"{prefix}.json")):
        try:
            return model_label(json.loads(record.read_text(encoding="utf-8"))["config"]["model"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return ""
