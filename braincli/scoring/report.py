"""The result of scoring: per case, over cases, pooled, compared; as JSON, CSV and a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.config import ScoreConfig
from braincli.errors import InputError, UsageError
from braincli.reporting.notebook import fragment
from braincli.runtime import files
from braincli.runtime.frames import dataframe
from braincli.scoring import slices, statistics
from braincli.scoring.evaluate import CaseScore, Scored
from braincli.wording import aligned

if TYPE_CHECKING:
    import pandas as pd

METRICS: dict[str, str] = {  # name in files -> heading of the table
    "dsc": "DSC",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "hd95_mm": "HD95/mm",
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "best_dsc": "best DSC",
    "volume_error_ml": "error/ml",
    "volume_error": "error/ref",
    "lesion_recall": "lesion R",
    "lesion_precision": "lesion P",
    "l1": "L1",
    "l1_volume": "L1 volume",
}

FILES = ("scores.csv", "scores.json")
FACTS = (
    "reference_ml",
    "prediction_ml",
    "reference_lesions",
    "predicted_lesions",
    "best_dsc_threshold",
    "tp",
    "fp",
    "fn",
)
WORDS = ("case", "error", "empty", "domain")
COLUMNS = (*WORDS, *METRICS, *FACTS)


def definitions(config: ScoreConfig) -> dict[str, str]:
    """What every figure means, in words, for the JSON."""
    lesion = "every label above 0"
    if config.labels is not None:
        lesion = f"labels {', '.join(map(str, config.labels))}; predictions that know one value only mean it as lesion"
    hausdorff = {
        "max-directed": "the larger of the two directed 95th percentiles",
        "pooled": "the 95th percentile of both directions together",
    }
    component = f"{config.connectivity}-connected components"
    rule = {
        "penalty": "is shown, and counts in every mean, as 0, HD95 as the image diagonal",
        "null": "is left empty, and counts in no mean",
    }
    return {
        "lesion": lesion,
        "dsc": "2TP / (2TP + FP + FN), whole volume; 1 if both masks are empty",
        "iou": "TP / (TP + FP + FN), whole volume; 1 if both masks are empty",
        "precision": "TP / (TP + FP); 1 if both masks are empty, undefined if only the prediction is",
        "recall": "TP / (TP + FN); 1 if both masks are empty, undefined if only the reference is",
        "specificity": "TN / (TN + FP) inside the domain",
        "hd95_mm": f"{config.hd_definition}: {hausdorff[config.hd_definition]} of distances in mm between "
        "boundary voxels (a face neighbour lies outside); 0 if both masks are empty, undefined if one is",
        "auprc": "average precision of the anomaly map inside the domain; undefined without reference voxels",
        "auroc": "area under the ROC curve of the anomaly map inside the domain, ties half",
        "best_dsc": "best-possible DSC inside the domain: threshold chosen on the case's own reference",
        "volume_error_ml": "predicted - reference volume in ml",
        "volume_error": "(predicted - reference) / reference volume; undefined if the reference is empty",
        "lesion_recall": f"share of the reference's {component} with a predicted voxel; empties as recall",
        "lesion_precision": f"share of predicted {component} with a reference voxel; empties as precision",
        "l1": "of healthy cases (--healthy): mean |restoration - scan| inside the brain, in shares of the scan's 1st "
        "to 99th percentile there, clipped; mean over contrasts",
        "l1_volume": "the same, over all voxels of the volume (Behrendt et al. 2023); 0 outside the brain",
        "domain": "specificity and the figures of anomaly maps count the brain mask's voxels where given, "
        "else of the whole volume (said per case)",
        "empty": f"{config.empty}: DSC, IoU, precision, recall, HD95 and the lesion-wise figures where the data do not "
        f"define them, or where a case has no usable prediction: each {rule[config.empty]}; one rule for table, CSV, "
        "mean, interval and comparison. Other figures have no penalty and are left empty",
        "mean": "over what table and CSV show (n cases); undefined counts the cases that do not define the figure",
        "mean_defined": "over the cases that define the figure",
        "mean_with_penalty": "undefined figures and failed cases count as 0, HD95 as the image diagonal",
        "ci95": f"percentile bootstrap of the mean over cases, {config.bootstrap} rounds, seed {config.seed}",
        "pooled": "over the voxels of all cases together; thresholds of anomaly maps to 0.05 %",
        "best_mean_dsc_one_threshold": "best mean DSC with one threshold for all, chosen on the references",
        "slices": "axial slices whose reference shows a lesion; empty: the prediction shows none there (DSC and IoU 0, "
        "no HD95); mean_non_empty leaves these out; HD95 in the plane",
        "comparison": "paired two-sided sign-flip permutation test of the mean difference, "
        f"{config.permutations} rounds (all patterns where fewer), seed {config.seed}; not "
        "corrected for several metrics",
    }


@dataclass(frozen=True, repr=False)
class ScoreReport:
    """What ``braincli score`` finds.

    Attributes:
        cases: figures by name (``values``), an ``error`` where a case could not be scored.
        aggregate: by figure mean, 95 % interval and the like over the cases.
        pooled: figures over the voxels of all cases together.
        unmatched: predictions that no reference claims.
        comparison: paired with another run.
    """

    cases: tuple[CaseScore, ...]
    aggregate: dict[str, dict[str, Any]]
    pooled: dict[str, float | None]
    config: ScoreConfig
    unmatched: tuple[str, ...] = ()
    comparison: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return f"<scores, cases: {len(self.cases)}, mean DSC: {_text(self.aggregate['dsc']['mean'])}>"

    @property
    def failed(self) -> tuple[CaseScore, ...]:
        """Cases that could not be scored."""
        return tuple(case for case in self.cases if case.error)

    @property
    def by_slice(self) -> dict[str, Any] | None:
        """Figures over all axial slices with lesion, where they were asked for."""
        return slices.summary([one for case in self.cases for one in case.slices]) if self.config.slices else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content of ``scores.json``."""
        return {
            "braincli": __version__,
            "config": self.config.model_dump(mode="json", exclude={"jobs"}),
            "definitions": definitions(self.config),
            "domain": sorted({case.domain for case in self.cases if case.domain}),
            "cases": [asdict(case) for case in self.cases],
            "failed": [case.case for case in self.failed],
            "unmatched_predictions": list(self.unmatched),
            "aggregate": self.aggregate,
            "pooled": self.pooled,
            **({"slices": self.by_slice} if self.by_slice else {}),
            "comparison": self.comparison,
            "notice": RESEARCH_USE_ONLY,
        }

    def rows(self) -> list[dict[str, Any]]:
        """What table and data frame say of each case by COLUMNS; figures under the empty policy, None: undefined."""
        return [
            {name: getattr(case, name) for name in WORDS}
            | {name: _shown(case, name, self.config) for name in METRICS}
            | {name: case.facts.get(name) for name in FACTS}
            for case in self.cases
        ]

    def as_csv(self) -> str:
        """One line per case, figures under the empty policy; empty cells are undefined."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in self.rows():
            words = [files.safe_cell(row[name]) for name in WORDS]
            writer.writerow([*words, *(_cell(row[name]) for name in COLUMNS[len(WORDS) :])])
        return stream.getvalue()

    def to_dataframe(self) -> pd.DataFrame:
        """The columns of ``scores.csv``, one line per case: volumes in ml, distances in mm, NaN: undefined.

        Raises:
            UsageError: pandas is not installed.

        Example:
            >>> braincli.score("out/", "cohort/").to_dataframe()["dsc"].describe()
        """
        return dataframe(self.rows(), COLUMNS)

    def _repr_html_(self) -> str:
        known = [name for name in METRICS if any(row[name] is not None for row in self.rows())]
        rows = [{"case": row["case"]} | {METRICS[name]: row[name] for name in known} for row in self.rows()]
        if len(rows) > 1:
            rows.append({"case": "mean"} | {METRICS[name]: self.aggregate[name]["mean"] for name in known})
        return fragment("", rows, notes=[f"{case.case}: {case.error}" for case in self.failed])

    def as_table(self) -> str:
        """Plain text for a terminal: cases, mean with interval, the mean by the other rule, pooled, comparison."""
        names = [name for name in METRICS if any(name in case.values for case in self.cases)] or ["dsc"]
        other = {"penalty": "mean_defined", "null": "mean_with_penalty"}[self.config.empty]
        rows = [[case.case, *(_text(_shown(case, name, self.config)) for name in names)] for case in self.cases]
        if len(self.cases) > 1:
            aggregate = [self.aggregate[name] for name in names]
            rows += [
                [""] * (len(names) + 1),
                ["mean", *(_text(each["mean"]) for each in aggregate)],
                ["95 % from", *(_text((each["ci95"] or [None])[0]) for each in aggregate)],
                ["95 % to", *(_text((each["ci95"] or [None, None])[1]) for each in aggregate)],
                ["undefined", *(str(each["undefined"]) for each in aggregate)],
                [other.removeprefix("mean_").replace("_", " "), *(_text(each[other]) for each in aggregate)],
                ["pooled", *(_text(self.pooled.get(name)) for name in names)],
            ]
        lines = aligned([["case", *(METRICS[name] for name in names)], *rows])
        lines += [slices.line(self.by_slice)] if self.by_slice else []
        lines += [f"{case.case}: {case.error}" for case in self.failed]
        if self.unmatched:
            lines.append(f"predictions without reference: {', '.join(self.unmatched)}")
        if self.comparison:
            lines += ["", *_comparison_lines(self.comparison)]
        return "\n".join(lines)

    def write(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write ``scores.csv`` and ``scores.json``.

        Raises:
            UsageError: one of them exists and ``overwrite`` is false.
        """
        for name in FILES:
            files.refuse_overwrite(folder / name, overwrite=overwrite)
        files.write_text(folder / "scores.csv", self.as_csv())
        files.write_json(folder / "scores.json", self.as_dict())


def build(scored: Scored, config: ScoreConfig, comparison: dict[str, Any] | None = None) -> ScoreReport:
    """Add the figures over cases to the scored cases."""
    aggregate = {name: _aggregate(scored.cases, name, config) for name in METRICS}
    return ScoreReport(scored.cases, aggregate, scored.pooled, config, scored.unmatched, comparison)


def compare(cases: Sequence[CaseScore], others: Sequence[CaseScore], config: ScoreConfig) -> dict[str, Any]:
    """Paired comparison of two runs on their common cases, per metric.

    Raises:
        UsageError: no case is in both runs.
    """
    by_case = {case.case: case for case in others}
    pairs = [(case, by_case[case.case]) for case in cases if case.case in by_case]
    if not pairs:
        raise UsageError("The two runs have no case in common.", "Case ids come from the names of the references.")
    tests: dict[str, Any] = {}
    for name in METRICS:
        figures = [(_shown(a, name, config), _shown(b, name, config)) for a, b in pairs]
        both = np.array([pair for pair in figures if None not in pair], float).reshape(-1, 2)
        test = statistics.sign_flip_test(both[:, 0], both[:, 1], rounds=config.permutations, seed=config.seed)
        if test is None:
            continue
        interval = statistics.bootstrap_interval(both[:, 0] - both[:, 1], rounds=config.bootstrap, seed=config.seed)
        tests[name] = {
            "mean": float(both[:, 0].mean()), "other_mean": float(both[:, 1].mean()),
            "difference": test.difference, "ci95": interval,
            "p": test.p, "pairs": test.pairs, "exact": test.exact,
        }  # fmt: skip
    return {"cases": [case.case for case, _ in pairs], "metrics": tests}


def read(path: Path, config: ScoreConfig) -> tuple[CaseScore, ...]:
    """Cases of an earlier ``scores.json``.

    Raises:
        InputError: not such a file.
        UsageError: it was scored with other definitions.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cases = tuple(CaseScore(**case) for case in content["cases"])
        earlier = ScoreConfig.model_validate(content["config"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path.name} is not a scores.json of braincli.", "Give the folder of its predictions."
        ) from None
    for key in ("hd_definition", "labels", "connectivity", "healthy"):
        if getattr(earlier, key) != getattr(config, key):
            raise UsageError(
                f"{path.name} was scored with another {key}: {getattr(earlier, key)}.",
                "Score both runs with the same options.",
            )
    return cases


def _aggregate(cases: Sequence[CaseScore], name: str, config: ScoreConfig) -> dict[str, Any]:
    """Figures of one metric over the cases of a run: mean, interval and the like of what table and CSV show."""
    defined = [value for case in cases if (value := case.values.get(name)) is not None]
    filled = [value for case in cases if (value := _filled(case, name)) is not None]
    shown = np.array([value for case in cases if (value := _shown(case, name, config)) is not None], float)
    return {
        "n": len(shown),
        "undefined": len(cases) - len(defined),
        "mean": float(shown.mean()) if len(shown) else None,
        "ci95": statistics.bootstrap_interval(shown, rounds=config.bootstrap, seed=config.seed),
        "sd": float(shown.std(ddof=1)) if len(shown) > 1 else None,
        "median": float(np.median(shown)) if len(shown) else None,
        "mean_defined": float(np.mean(defined)) if defined else None,
        "mean_with_penalty": float(np.mean(filled)) if len(filled) == len(cases) else None,
    }


def _filled(case: CaseScore, name: str) -> float | None:
    """A figure, or its penalty where the case does not define it."""
    value = case.values.get(name)
    return case.penalties.get(name) if value is None else value


def _shown(case: CaseScore, name: str, config: ScoreConfig) -> float | None:
    """A figure under the empty policy: what table and CSV show and every mean counts."""
    return _filled(case, name) if config.empty == "penalty" else case.values.get(name)


def _comparison_lines(comparison: dict[str, Any]) -> list[str]:
    rows = [["paired", "this", "other", "difference", "95 % from", "95 % to", "p", "n"]]
    for name, test in comparison["metrics"].items():
        low, high = test["ci95"] or (None, None)
        figures = (test["mean"], test["other_mean"], test["difference"], low, high)
        rows.append([METRICS[name], *map(_text, figures), f"{test['p']:.4f}", str(test["pairs"])])
    return aligned(rows)


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
