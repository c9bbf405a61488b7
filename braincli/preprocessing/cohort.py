"""Several cases, one after the other; a failed case never stops the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from braincli.config import PreprocessConfig
from braincli.errors import BraincliError, CohortError, QualityError, UsageError
from braincli.imaging.cases import Case
from braincli.preprocessing import naming
from braincli.preprocessing.chain import preprocess_case
from braincli.preprocessing.result import Preprocessed
from braincli.runtime.progress import Reporter


def preprocess_cases(
    cases: Sequence[Case], out: Path, config: PreprocessConfig, reporter: Reporter
) -> list[Preprocessed]:
    """Preprocess ``cases`` into ``out``.

    Raises:
        UsageError: two cases would be written to the same folder, or one brain mask is given for several cases.
        CohortError: all cases were tried and some failed; the message is a table of them.
        QualityError: all cases were done, but some lie outside the limits and ``strict_qc`` is on.
        BraincliError: there is only one case, and this went wrong.
    """
    _refuse_clashes(cases, config)
    naming.write_dataset_description(out)
    if len(cases) == 1:
        return [preprocess_case(cases[0], out, config, reporter)]
    done: list[Preprocessed] = []
    failed: dict[str, Exception] = {}
    with reporter.step("Cases", len(cases)) as step:
        for case in cases:
            try:
                done.append(preprocess_case(case, out, config, reporter))
            except Exception as error:  # an internal error of one case must not stop the others either
                failed[case.id] = error
                reporter.warn(f"{case.id} failed: {_short(error)}")
            step.advance(note=case.id)
    if not failed:
        return done
    table = "\n".join(f"  {name}\t{_short(error)}" for name, error in failed.items())
    kind = QualityError if all(isinstance(error, QualityError) for error in failed.values()) else CohortError
    raise kind(f"{len(failed)} of {len(cases)} cases failed:\n{table}", "Mend them and run again with --resume.")


def _refuse_clashes(cases: Sequence[Case], config: PreprocessConfig) -> None:
    if config.brain_mask is not None and len(cases) > 1:
        raise UsageError("One --brain-mask for several cases.", "Put each mask beside its scans (id_brainmask.nii.gz).")
    counts = Counter(naming.prefix(case.id) for case in cases)
    for name, count in counts.items():
        if count > 1:
            both = ", ".join(case.id for case in cases if naming.prefix(case.id) == name)
            raise UsageError(f"{both} would all be written to {name}.", "Rename them, e.g. in a .tsv manifest.")


def _short(error: Exception) -> str:
    text = error.message if isinstance(error, BraincliError) else f"internal error: {type(error).__name__}: {error}"
    return " ".join(text.split())
