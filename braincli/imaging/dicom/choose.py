"""Which series of a study becomes which contrast, and how that is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from braincli.errors import InputError
from braincli.imaging.contrast import CONTRASTS, Contrast
from braincli.imaging.dicom.recognise import Verdict, recognise
from braincli.imaging.dicom.series import Series

CLEARLY = 1.1  # how much finer a series must be to be preferred
NONE = "none"  # instead of a number: leave the contrast out


@dataclass(frozen=True)
class Choice:
    """What was chosen, and one sentence about everything in the study."""

    series: dict[Contrast, Series]
    words: str


def choose(series: Sequence[Series], wanted: Mapping[Contrast, str], run: str | None, study: str) -> Choice:
    """One series for every contrast that the study has.

    Of several, those that are original and whole come first, of T2 and FLAIR those before a contrast agent, then the
    one with the shortest longest voxel edge (three-dimensional scans, as a rule), then those that the scanner has
    corrected. What this does not part is left to the user.

    Args:
        wanted: labels by contrast, which nothing overrules; ``none`` leaves the contrast out.
        run: ``first``, ``last`` or a number, of series that nothing else parts.
        study: its case, for messages.

    Raises:
        InputError: there is no scan of a brain, a chosen series is not there or not whole, or several are alike.
    """
    verdicts = {one.label: recognise(one) for one in series}
    chosen, over = {}, {}
    for contrast in CONTRASTS:
        if contrast in wanted:
            if wanted[contrast] != NONE:
                chosen[contrast] = _named(series, wanted[contrast], contrast, study)
            continue
        free = [one for one in series if verdicts[one.label].contrast is contrast and one.label not in wanted.values()]
        if free:
            chosen[contrast] = _best(free, verdicts, contrast, run, study)
            over[contrast] = [one for one in free if one is not chosen[contrast]]
    if not chosen:
        raise InputError(
            f"{study}: no scan of a brain among its {len(series)} series ({_left_out(series, verdicts, ())}).",
            "Wanted are T1, T2 or FLAIR images of MR; what is not recognised can be chosen: --series t1=N.",
        )
    return Choice(chosen, _told(study, series, verdicts, chosen, over))


def whole(one: Series, contrast: Contrast, study: str) -> Series:
    """``one``, if it is a whole scan.

    Raises:
        InputError: it is not.
    """
    if one.flaw:
        raise InputError(
            f"{study}: series {one.label} ({contrast}): {one.flaw}.",
            f"Copy or export it again, choose another one (--series {contrast}=N), or do without: "
            f"--series {contrast}={NONE}.",
        )
    return one


def _named(series: Sequence[Series], label: str, contrast: Contrast, study: str) -> Series:
    found = next((one for one in series if one.label == label), None)
    if found is None:
        several = [one for one in series if one.label.rstrip("abcdefghijklmnopqrstuvwxyz") == label]
        listed = "; ".join(f"{one.label}: {one.looks}" for one in several or [one for one in series if not one.unfit])
        raise InputError(
            f"{study} has {'several series' if several else 'no series'} {label}.",
            f"Choose for {contrast} one of: {listed}.",
        )
    if found.affine is None or found.unfit:
        raise InputError(f"{study}: series {label} is no scan: {found.unfit}.", "Choose another one.")
    return whole(found, contrast, study)


def _best(
    free: Sequence[Series], verdicts: Mapping[str, Verdict], contrast: Contrast, run: str | None, study: str
) -> Series:
    def rank(one: Series) -> tuple[bool, bool, bool]:
        verdict = verdicts[one.label]
        return bool(one.flaw), verdict.derived, verdict.agent and contrast is not Contrast.T1CE

    best = [one for one in free if rank(one) == min(map(rank, free))]
    finest = min(max(one.spacing) for one in best)
    best = [one for one in best if max(one.spacing) <= CLEARLY * finest]
    best = [one for one in best if verdicts[one.label].corrected] or best
    if len(best) > 1 and run is not None:
        index = {"first": 0, "last": -1}.get(run, int(run) - 1 if run.isdecimal() else 0)
        if index >= len(best):
            raise InputError(
                f"{study}: {len(best)} series for {contrast}, and none is run {run}.", "Choose another --run."
            )
        best = [best[index]]
    if len(best) > 1:
        listed = "; ".join(f"{one.label}: {one.looks}" for one in best)
        raise InputError(
            f"{study}: {len(best)} series could be {contrast} ({listed}).",
            f"Choose: --series {contrast}={best[-1].label}; or --run first or last, of scans that were repeated.",
        )
    return whole(best[0], contrast, study)


def _told(
    study: str,
    series: Sequence[Series],
    verdicts: Mapping[str, Verdict],
    chosen: Mapping[Contrast, Series],
    over: Mapping[Contrast, Sequence[Series]],
) -> str:
    parts = []
    for contrast, one in chosen.items():
        others = ", ".join(other.label for other in over.get(contrast, ()))
        parts.append(f"{contrast} is series {one.label} ({one.looks}{f'; preferred to {others}' if others else ''})")
    used = [one.label for one in (*chosen.values(), *(one for several in over.values() for one in several))]
    left = _left_out(series, verdicts, used)
    return f"{study}: {'; '.join(parts)}.{f' Left out: {left}.' if left else ''}"


def _left_out(series: Sequence[Series], verdicts: Mapping[str, Verdict], used: Sequence[str]) -> str:
    """Labels by the reason why they were left out."""
    reasons: dict[str, list[str]] = {}
    for one in series:
        if one.label not in used:
            verdict = verdicts[one.label]
            reasons.setdefault(verdict.reason or f"{verdict.contrast}, not asked for", []).append(one.label)
    return "; ".join(f"{', '.join(labels)} ({reason})" for reason, labels in reasons.items())
