"""Several cases, one after the other or side by side; a failed case never stops the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from braincli.config import PreprocessConfig
from braincli.errors import UsageError
from braincli.imaging.case import Case, remarks
from braincli.layout import bids
from braincli.layout.dataset import open_dataset
from braincli.preprocessing.chain import preprocess_case
from braincli.preprocessing.result import Preprocessed
from braincli.runtime import cohort
from braincli.runtime.progress import Reporter

NEED_GB = 5.0  # of one process; measured: docs/cohorts.md


def preprocess_cases(
    cases: Sequence[Case], out: Path, config: PreprocessConfig, reporter: Reporter
) -> list[Preprocessed]:
    """Preprocess ``cases`` into ``out``, or the part of them that ``config`` names.

    Raises:
        UsageError: there is no such part, two cases would be written to the same folder, or one brain mask is given
            for several cases.
        CohortError: all cases were tried and some failed; it lists them, ``outcomes`` holds what came of each.
        QualityError: the same, where nothing but quality limits was exceeded (with ``strict_qc``).
        BraincliError: the cohort is one case, and this went wrong.
    """
    _refuse_clashes(cases, config)
    everyone = len(cases)
    cases = cohort.part(cases, config.part_id, config.num_parts, reporter)
    open_dataset(out, [path for case in cases for path in case.images.values()])
    for text in remarks(cases):
        reporter.say(text)
    work = partial(preprocess_case, out=out, config=config, reporter=reporter)
    return cohort.results(cohort.each(cases, work, reporter, jobs=cohort.Jobs(config.jobs, NEED_GB), of=everyone))


def _refuse_clashes(cases: Sequence[Case], config: PreprocessConfig) -> None:
    if config.brain_mask is not None and len(cases) > 1:
        raise UsageError("One --brain-mask for several cases.", "Put each mask beside its scans (id_brainmask.nii.gz).")
    counts = Counter(bids.prefix(case.id) for case in cases)
    for name, count in counts.items():
        if count > 1:
            both = ", ".join(case.id for case in cases if bids.prefix(case.id) == name)
            raise UsageError(f"{both} would all be written to {name}.", "Rename them, e.g. in a .tsv manifest.")
