"""Masks that callers of the Python door hand over -> pairs: in memory, by case, or as ``detect`` returned them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from braincli.errors import InputError, UsageError
from braincli.imaging.given import Scan, Scratch
from braincli.scoring.matching import Matching, Pair, match
from braincli.scoring.models import of_one_model

Masks: TypeAlias = "Scan | Mapping[str, Scan]"  # a file or folder, an image, or several by case
Files = tuple[Path, ...]


@runtime_checkable
class Detected(Protocol):
    """What ``detect`` returned."""

    def predicted(self, scratch: Scratch) -> Mapping[str, tuple[Files, Files]]:
        """Masks and anomaly maps by case; of several, the reference's grid decides."""


def given_pairs(
    inputs: Masks | Detected,
    reference: Masks,
    scratch: Scratch,
    *,
    anomaly: Masks | None = None,
    brain: Masks | None = None,
    model: str | None = None,
) -> Matching:
    """Pair what was predicted with what is known: by case where cases are named, else see
    :func:`braincli.scoring.matching.match`.

    Args:
        scratch: where images in memory become files.
        model: whose files, where a folder holds those of several.

    Raises:
        InputError: a file is missing, or an object is no image; of several models none is chosen, or one without masks.
        UsageError: only one side names cases, or none has a reference.
    """
    if isinstance(inputs, Detected):
        found = inputs.predicted(scratch)
    elif isinstance(inputs, Mapping):
        found = {id: ((scratch.file(mask, "mask"),), ()) for id, mask in inputs.items()}
    elif isinstance(reference, Mapping):
        raise UsageError("The references are by case; the predictions are not.", "Give both as {case: mask}.")
    else:
        others = {"anomaly": anomaly, "brain": brain}
        extra = {name: None if each is None else _one(each, name, scratch) for name, each in others.items()}
        predicted = scratch.file(inputs, "case_mask")
        matching = match(predicted, scratch.file(reference, "case_seg"), **extra)
        return of_one_model(matching, model, predicted)
    if model is not None:
        raise UsageError("--model chooses among files in a folder.", "Leave it out.")
    known = _by_case(reference, list(found), "case_seg", scratch)
    maps = None if anomaly is None else _by_case(anomaly, list(found), "anomaly", scratch)
    brains = {} if brain is None else _by_case(brain, list(known), "brain", scratch)
    if not known:
        raise UsageError("There is no reference.", "Give them as {case: mask}.")
    pairs = [_pair(id, path, found.get(id, ((), ())), maps, brains) for id, path in sorted(known.items())]
    unclaimed = [path for id in found if id not in known for path in found[id][0]]
    return Matching(tuple(pairs), tuple(unclaimed))


def _pair(
    id: str,
    reference: Path,
    found: tuple[Files, Files],
    maps: Mapping[str, Path] | None,
    brains: Mapping[str, Path],
) -> Pair:
    masks, own_maps = found
    missing = next((path for path in (reference, *masks) if not path.is_file()), None)
    problem = None if missing is None else InputError(f"{missing.name}: no such file.", "Check the path.")
    return Pair(id, reference, masks, own_maps if maps is None else _of(id, maps), _of(id, brains), problem)


def _of(id: str, files: Mapping[str, Path]) -> Files:
    return (files[id],) if id in files else ()


def _by_case(given: Masks, ids: list[str], name: str, scratch: Scratch) -> dict[str, Path]:
    """Files by case; one that names no case belongs to the only one there is.

    Raises:
        UsageError: there are several.
    """
    if isinstance(given, Mapping):
        return {str(id): scratch.file(scan, name) for id, scan in given.items()}
    if len(ids) == 1:
        return {ids[0]: scratch.file(given, name)}
    raise UsageError(f"One file was given for {len(ids)} cases.", "Give one for each: {case: image}.")


def _one(given: Masks, name: str, scratch: Scratch) -> Path:
    if isinstance(given, Mapping):
        raise UsageError(f"{name} is by case; the predictions are not.", "Give all as {case: image}.")
    return scratch.file(given, name)
