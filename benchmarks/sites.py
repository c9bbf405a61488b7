"""Classifiers of whole volumes, cross-validated by site: all methods on the same cases, as a table.

    python benchmarks/sites.py 'IXI:healthy:ixi/*/anat/*_T1w.nii.gz' 'BraTS:diseased:brats/*/*_t1.nii.gz' -o out/

Each argument is SITE:CLASS:PATTERN; the scans that the pattern finds (the first ``--most`` by name) are prepared ones,
all on one grid. Writes the manifest and what ``braincli classify validate`` writes, and prints the table in Markdown:
the share of cases of each site that are classified rightly by what was trained on the other sites, and accuracy,
Cohen's kappa and AUROC of all of them together. The scores of one site come from one training and those of another
from another, so that the AUROC of all mixes them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from validation import markdown

from braincli import api
from braincli.classification.registry import CLASSIFIERS
from braincli.imaging.names import stem
from braincli.runtime import files
from braincli.runtime.progress import PlainReporter


def manifest(groups: Sequence[str], most: int) -> str:
    """The table of cases: SITE:CLASS:PATTERN each.

    Raises:
        SystemExit: a pattern finds nothing.
    """
    lines = ["id\tt1\tclass\tsite"]
    for group in groups:
        site, label, pattern = group.split(":", 2)
        path = Path(pattern).absolute()
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))[:most]
        if not found:
            raise SystemExit(f"No scan of {site}: {pattern}")
        lines += [f"{stem(scan)}\t{scan}\t{label}\t{site}" for scan in found]
    return "\n".join(lines) + "\n"


def rows(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[list[str]]:
    """A line per method."""
    made = []
    for method, table in tables.items():
        sites = [f"{table[site]['accuracy']:.2f}" for site in _sites(table)]
        made.append([method, *sites, *(_number(table["all"][name]) for name in ("accuracy", "kappa", "auroc"))])
    return made


def header(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the columns: sites with how many cases of each class they have."""
    told = [
        f"{site} ({', '.join(f'{count} {name}' for name, count in table[site]['counts'].items() if count)})"
        for site in _sites(table)
    ]
    return ["method", *told, "accuracy", "kappa", "AUROC"]


def _sites(table: Mapping[str, Any]) -> list[str]:
    return [name for name in table if name not in ("all", "target sites", "source sites")]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", metavar="SITE:CLASS:PATTERN")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--most", type=int, default=1000, help="scans of each group")
    parser.add_argument("--methods", default=",".join(CLASSIFIERS))
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--folds", type=int)
    parser.add_argument("--target", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    table = given.output / "cohort.tsv"
    files.write_text(table, manifest(given.groups, given.most))
    begin = time.process_time()
    found = api.validate_classifier(
        table, given.output, method=given.methods, preset=given.preset, steps=given.steps, folds=given.folds,
        target=given.target, seed=given.seed, threads=given.threads,
        precision=given.precision, overwrite=True, reporter=PlainReporter(),
    )  # fmt: skip
    print(markdown(header(next(iter(found.tables.values()))), rows(found.tables)))
    print("\n".join(["", *found.notes, f"{(time.process_time() - begin) / 60:.1f} CPU minutes"]))


if __name__ == "__main__":
    main()
