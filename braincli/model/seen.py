"""Whether a model has met a case before: what it says of such a case says nothing of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from braincli.model.info import ModelInfo


def met(info: ModelInfo, case: str, images: Collection[str]) -> str:
    """In words how ``case`` had a part in the model, by its id or the SHA-256 of one of its ``images``; else empty."""
    calibrations = [*([info.calibration] if info.calibration else []), *info.subsets.values()]
    parts: list[tuple[str, Mapping[str, Sequence[str]]]] = [
        ("was trained on", info.training.cases),
        ("knows what is normal from", info.normal.cases if info.normal else {}),
        ("was chosen by its results on", info.training.validation),
        *(("was calibrated on", {name: [] for name in c.provenance.cases} | c.provenance.images) for c in calibrations),
    ]
    for words, cases in parts:
        if case in cases or {digest for hashes in cases.values() for digest in hashes}.intersection(images):
            return f"the model {words} this case: the result does not tell how good it is on others"
    return ""
