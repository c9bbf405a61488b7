"""``classify predict``: prepared cases in, the class of each out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.classification import volumes
from braincli.classification.cohort import fact
from braincli.classification.figures import Classified, as_csv, as_table, by_site
from braincli.classification.info import ClassifierInfo, LoadedClassifier
from braincli.classification.options import ClassifyConfig
from braincli.errors import BraincliError, InputError
from braincli.imaging.case import Case
from braincli.runtime import cohort, device, files
from braincli.runtime.cohort import Outcome
from braincli.runtime.files import safe_cell
from braincli.runtime.progress import Reporter
from braincli.wording import counted


@dataclass(frozen=True)
class Said:
    """What was said of one case: the probability of each class; what the manifest says, where it does."""

    case: str
    probability: dict[str, float]
    label: str | None = None
    site: str | None = None

    @property
    def likeliest(self) -> str:
        """The class."""
        return max(self.probability, key=lambda name: self.probability[name])

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return {
            "case": self.case, "said": self.likeliest, "probability": self.probability, "class": self.label,
            "site": self.site,
        }  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """What was said of a cohort.

    Attributes:
        cases: those that could be classified; failures: why the others could not, by case.
        tables: figures by site, where the manifest tells the classes; empty where it does not.
        notes: what the user should know.
    """

    model: str
    classes: tuple[str, ...]
    cases: list[Said]
    tables: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, BraincliError] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return {
            "braincli": __version__, "model": self.model, "cases": [said.as_dict() for said in self.cases],
            "figures": next(iter(self.tables.values()), {}), "notes": list(self.notes),
            "failures": {name: error.message for name, error in self.failures.items()}, "notice": RESEARCH_USE_ONLY,
        }  # fmt: skip

    def as_table(self) -> str:
        """Plain text for a terminal: every case, and the figures where there are some."""
        lines = [
            f"{said.case}: {said.likeliest} ({', '.join(f'{k} {v:.3f}' for k, v in said.probability.items())})"
            for said in self.cases
        ]
        lines += ["", as_table(self.tables, self.classes)] if self.tables else []
        return "\n".join([*lines, *self.notes])

    def predictions(self) -> str:
        """A line per case, as TSV."""
        lines = [["id", "site", "class", "said", *(f"p_{name}" for name in self.classes)]]
        for said in self.cases:
            told = [said.case, said.site or "n/a", said.label or "n/a", said.likeliest]
            lines.append([*map(safe_cell, told), *(f"{said.probability[name]:.4f}" for name in self.classes)])
        return "".join("\t".join(line) + "\n" for line in lines)

    def write(self, folder: Path) -> None:
        """Write ``predictions.tsv`` and, where there are figures, those."""
        files.write_text(folder / "predictions.tsv", self.predictions())
        if self.tables:
            files.write_text(folder / "figures.csv", as_csv(self.tables, self.classes))
            files.write_json(folder / "figures.json", self.as_dict())


def classify_cases(
    cases: Sequence[Case], model: LoadedClassifier, config: ClassifyConfig, reporter: Reporter
) -> Predictions:
    """Classify ``cases``.

    Raises:
        BraincliError: the only case cannot be used. InputError: none can be.
    """
    job = _Job(model, config)
    outcomes = cohort.each(sorted(cases, key=lambda case: case.id), job.run, reporter)
    told = [outcome.result for outcome in outcomes if outcome.result is not None]
    failures = {outcome.id: outcome.error for outcome in outcomes if outcome.error is not None}
    if not told:
        raise InputError(
            f"None of {counted(len(cases), 'case')} can be classified.", str(next(iter(failures.values())))
        )
    known = [said for said in told if said.label in model.info.classes]
    tables = {model.info.name: by_site(_judged(known, model.info), model.info.training.target)} if known else {}
    return Predictions(
        model.info.name, model.info.classes, told, tables, failures, tuple(_notes(outcomes, known, model.info))
    )  # fmt: skip


@dataclass
class _Job:
    model: LoadedClassifier
    config: ClassifyConfig

    def run(self, case: Case) -> Said:
        """One case.

        Raises:
            InputError: it cannot be used, or lies on another grid than what was learnt from.
        """
        from braincli.classification.learn import judged

        info, config = self.model.info, self.config
        how = volumes.Reading(info.contrast, config.volume, config.prefer, config.already_stripped)
        image = volumes.on_grid(case.id, scan_of(case, info, how), info.grid)
        precision = device.precision(self.model.device, config.precision)
        row = judged(self.model.approach, image[None], self.model.device, precision)[0]
        told = {name: round(float(value), 6) for name, value in zip(info.classes, row, strict=True)}
        return Said(case.id, told, fact(case, info.label), fact(case, info.site))


def scan_of(case: Case, info: ClassifierInfo, how: volumes.Reading) -> volumes.Head:
    """What of ``case`` is classified.

    Raises:
        InputError: it cannot be used, or lacks the contrast.
    """
    if info.contrast not in case.images:
        raise InputError(f"{case.id} has no {info.contrast}.", f"{info.name} classifies by it.")
    return volumes.read(case, how)


def _judged(known: Sequence[Said], info: ClassifierInfo) -> Classified:
    return Classified(
        tuple(said.case for said in known), tuple(said.site or "unknown" for said in known), info.classes,
        np.array([info.classes.index(str(said.label)) for said in known]),
        np.array([[said.probability[name] for name in info.classes] for said in known]),
    )  # fmt: skip


def _notes(outcomes: Sequence[Outcome[Said]], known: Sequence[Said], info: ClassifierInfo) -> list[str]:
    """What the user should know."""
    told = [outcome.result for outcome in outcomes if outcome.result is not None]
    notes = []
    if learnt := [said.case for said in told if said.case in info.training.cases]:
        notes.append(f"{len(learnt)} of these cases were learnt from: their figures say nothing about others.")
    if strange := sorted({said.label for said in told if said.label} - set(info.classes)):
        notes.append(f"{info.name} does not know the class {strange[0]}: such cases count in no figure.")
    if known and info.training.cautions:
        notes.append(f"{info.name}: {info.training.cautions[0]}")
    return notes
