"""Several cases, one after the other; a failed case never stops the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from braincli.config import PreprocessConfig
from braincli.errors import UsageError
from braincli.imaging.case import Case, left_aside
from braincli.preprocessing import naming
from braincli.preprocessing.chain import preprocess_case
from braincli.preprocessing.result import Preprocessed
from braincli.runtime import cohort
from braincli.runtime.progress import Reporter


def preprocess_cases(
    cases: Sequence[Case], out: Path, config: PreprocessConfig, reporter: Reporter
) -> list[Preprocessed]:
    """Preprocess ``cases`` into ``out``.

    Raises:
        UsageError: two cases would be written to the same folder, or one brain mask is given for several cases.
        CohortError: all cases were tried and some failed; it lists them, ``outcomes`` holds what came of each.
        QualityError: the same, where nothing but quality limits was exceeded (with ``strict_qc``).
        BraincliError: there is only one case, and this went wrong.
    """
    _refuse_clashes(cases, config)
    naming.write_dataset_description(out)
    for text in left_aside(cases):
        reporter.say(text)
    return cohort.results(cohort.each(cases, lambda case: preprocess_case(case, out, config, reporter), reporter))


def _refuse_clashes(cases: Sequence[Case], config: PreprocessConfig) -> None:
    if config.brain_mask is not None and len(cases) > 1:
        raise UsageError("One --brain-mask for several cases.", "Put each mask beside its scans (id_brainmask.nii.gz).")
    counts = Counter(naming.prefix(case.id) for case in cases)
    for name, count in counts.items():
        if count > 1:
            both = ", ".join(case.id for case in cases if naming.prefix(case.id) == name)
            raise UsageError(f"{both} would all be written to {name}.", "Rename them, e.g. in a .tsv manifest.")
