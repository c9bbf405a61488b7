"""How well healthy brains are restored: the mean absolute difference L1 of restoration and scan.

Behrendt et al. 2023 (arXiv:2303.03758) give it beside every DSC, over whole volumes: a method that finds lesions
because it restores nothing shows here. Intensities are shares of the scan's 1st to 99th percentile inside the brain,
clipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from braincli.config import ScoreConfig
from braincli.errors import InputError, UsageError
from braincli.imaging import brain, volume
from braincli.imaging.cases import Case, Contrast, gather_cases, refuse_missing
from braincli.imaging.names import is_nifti, legible, stem
from braincli.imaging.own import label
from braincli.imaging.reading import load_images
from braincli.imaging.slices import normalise
from braincli.imaging.volume import Volume
from braincli.layout import bids
from braincli.runtime.cohort import Jobs, stream
from braincli.runtime.progress import Reporter
from braincli.scoring.evaluate import NEED_GB, CaseScore, Scored
from braincli.spec import SliceSpec

RESTORED = re.compile(r"(?P<case>.+?)(?:_space-[A-Za-z0-9]+)?_restored-(?P<contrast>t1ce|t1|t2|flair)")
DERIVED = re.compile(
    r"(?P<case>sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)(?P<ce>_ce-[A-Za-z0-9]+)?(?:_space-(?P<space>[A-Za-z0-9]+))?"
    r"_desc-[A-Za-z0-9]+restored_(?P<suffix>T1w|T2w|FLAIR)"
)


def score_healthy(restorations: Any, scans: Any, config: ScoreConfig, reporter: Reporter) -> Scored:
    """L1 of every case; one that fails becomes an error row and does not stop the others.

    Args:
        restorations: folder of ``<case>_restored-<contrast>.nii.gz``, or of BIDS derivatives, as ``detect --restored``
            writes them, or such a file, on the grids of the scans.
        scans: folder or manifest of the cases, healthy and skull-stripped; the brain is their mask's, or what is not
            background.

    Raises:
        UsageError: one of them is no path.
        InputError: there are no restorations.
        BraincliError: there is only one case, and it fails.
    """
    if not all(isinstance(place, str | Path) for place in (restorations, scans)):
        raise UsageError("Healthy cases are scored from files.", "Name folders: of restorations, and of scans.")
    refuse_missing([Path(restorations)])
    found, cases = find_restorations(Path(restorations)), gather_cases([Path(scans)])
    work = partial(_score, found=found, config=config)
    outcomes = stream(cases, work, reporter, title="score", jobs=Jobs(config.jobs, NEED_GB))
    rows = [
        outcome.result or CaseScore(case=outcome.id, reference="", error=outcome.error.message if outcome.error else "")
        for outcome in outcomes
    ]
    known = {_key(case.id) for case in cases}
    strange = tuple(legible(path.name) for (case, _), path in found.items() if case not in known)
    return Scored(tuple(rows), {}, strange)


def refuse_other(given: Mapping[str, object]) -> None:
    """Raise where options are given that are of lesions.

    Raises:
        UsageError: the option is named.
    """
    if named := next((name for name, value in given.items() if value), ""):
        raise UsageError(f"--{named}: healthy cases have no lesions.", "Leave it out, or leave out --healthy.")


def find_restorations(place: Path) -> dict[tuple[str, Contrast], Path]:
    """The restorations at ``place`` by case and contrast.

    Raises:
        InputError: there are none, or two of one scan.
    """
    paths = sorted(path for path in place.rglob("*") if is_nifti(path)) if place.is_dir() else [place]
    found: dict[tuple[str, Contrast], Path] = {}
    for path in paths:
        if named := _named(stem(path)):
            key = _key(named[0]), named[1]
            if key in found:
                raise InputError(f"{found[key].name} and {path.name} are of one scan.", "Leave one of them.")
            found[key] = path
    if not found:
        raise InputError(
            f"{legible(place.name)} holds no restoration (*_restored-t1.nii.gz, *restored_T1w.nii.gz and the like).",
            "braincli detect --restored writes them.",
        )
    return found


def _named(name: str) -> tuple[str, Contrast] | None:
    """Case and contrast of a restoration by its base name; of raw scans' own grids none, since prepared scans count."""
    if match := RESTORED.fullmatch(name):
        return match["case"], Contrast(match["contrast"])
    match = DERIVED.fullmatch(name)
    if match is None or match["space"] in bids.FROM.values():
        return None
    enhanced = match["ce"] is not None
    told = (c for c, suffix in bids.SUFFIX.items() if suffix == match["suffix"] and (c is Contrast.T1CE) == enhanced)
    return next(((match["case"], contrast) for contrast in told), None)


def _key(case_id: str) -> str:
    """A case's id as files bear it."""
    return re.sub(r"[^\w.\-]+", "_", case_id).lstrip(".") or label(case_id)


def _score(case: Case, found: dict[tuple[str, Contrast], Path], config: ScoreConfig) -> CaseScore:
    """L1 of one case: the mean over its restored contrasts.

    Raises:
        InputError: nothing of it was restored, a file is unusable, or grids differ.
    """
    scans = load_images(case, volume=config.volume, prefer=config.prefer)
    held = {contrast: path for contrast in scans if (path := found.get((_key(case.id), contrast))) is not None}
    if not held:
        raise InputError(
            f"No restoration of {case.id}.",
            f"Its name must be {case.id}_restored-<contrast>.nii.gz, or as BIDS has it.",
        )
    given = None if case.brain is None else volume.load(case.brain, labels=True, prefer=config.prefer)
    inside, whole = {}, {}
    for contrast, path in held.items():
        scan = scans[contrast]
        mask = brain.foreground(scan) if given is None else volume.onto_grid_of(given, scan).data > 0
        restored = volume.onto_grid_of(volume.load(path, prefer=config.prefer), scan)
        inside[contrast], whole[contrast] = l1(scan, restored.data, mask)
    return CaseScore(
        case=case.id,
        reference=", ".join(legible(case.images[contrast].name) for contrast in held),
        prediction=", ".join(legible(path.name) for path in held.values()),
        values={"l1": fmean(inside.values()), "l1_volume": fmean(whole.values())},
        domain="brain mask" if case.brain else "foreground",
        facts={"l1_by_contrast": {str(contrast): value for contrast, value in inside.items()}},
    )


def l1(scan: Volume, restored: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Mean |scan - restored| inside ``mask`` (X, Y, Z) bool, and over the whole volume; it is 0 outside of the mask.

    Raises:
        InputError: there is no brain.
    """
    if not mask.any():
        raise InputError(f"{scan.source.name if scan.source else 'A scan'} shows no brain.", "Give a brain mask.")
    spec = SliceSpec()
    low, high = np.percentile(scan.data[mask], spec.percentiles)
    shares = np.clip((restored[mask] - low) / (high - low), 0, 1) if high > low else np.zeros(int(mask.sum()))
    total = float(np.abs(normalise(scan.data, mask, spec)[mask] - shares).sum(dtype=np.float64))
    return total / int(mask.sum()), total / mask.size
