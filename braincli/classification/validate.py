"""``classify validate``: how well methods classify sites, or cases, that they were not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli import RESEARCH_USE_ONLY, __version__
from braincli.classification import cohort as cohorts
from braincli.classification import registry, volumes
from braincli.classification.cohort import Cohort
from braincli.classification.figures import Classified, as_csv, as_table, by_site
from braincli.classification.options import ValidateClassifierConfig
from braincli.errors import InputError, UsageError
from braincli.imaging.case import Case
from braincli.imaging.names import Contrast
from braincli.runtime import device as devices
from braincli.runtime import files
from braincli.runtime.files import safe_cell
from braincli.runtime.progress import Reporter
from braincli.wording import counted

if TYPE_CHECKING:
    from braincli.classification.learn import Lesson


@dataclass(frozen=True)
class Fold:
    """What is left out of one training: its name, and the rows that are trained on and that are tested."""

    name: str
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Validation:
    """What came of a cross-validation.

    Attributes:
        classes: names; target: names of the target sites, none where no site has every class.
        results: by method, the held-out cases.
        held_out: by method, the fold that held out each case, in the order of its results.
        notes: what was not tested, or means less than it seems, in sentences.
    """

    classes: tuple[str, ...]
    target: tuple[str, ...]
    results: dict[str, Classified]
    held_out: dict[str, tuple[str, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def tables(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The figures, by method and site; of all held-out cases together under ``all``."""
        return {name: by_site(result, self.target) for name, result in self.results.items()}

    def as_table(self) -> str:
        """Plain text for a terminal."""
        return "\n".join([as_table(self.tables, self.classes), *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content."""
        return {
            "braincli": __version__, "classes": list(self.classes), "target": list(self.target),
            "figures": self.tables, "notes": list(self.notes), "options": self.options, "notice": RESEARCH_USE_ONLY,
        }  # fmt: skip

    def predictions(self) -> str:
        """A line per method and case, as TSV."""
        lines = [["method", "id", "site", "held_out", "class", "said", *(f"p_{name}" for name in self.classes)]]
        for method, result in self.results.items():
            rows = zip(result.ids, result.site, self.held_out[method], result.label, result.said, strict=True)
            for (id, site, fold, label, said), p in zip(rows, result.probability, strict=True):
                told = [method, id, site, fold, self.classes[label], self.classes[said]]
                lines.append([*map(safe_cell, told), *(f"{value:.4f}" for value in p)])
        return "".join("\t".join(line) + "\n" for line in lines)

    def write(self, folder: Path) -> None:
        """Write :data:`braincli.classification.figures.FILES` into ``folder``."""
        files.write_text(folder / "predictions.tsv", self.predictions())
        files.write_text(folder / "figures.csv", as_csv(self.tables, self.classes))
        files.write_json(folder / "figures.json", self.as_dict())


def validate_classifiers(cases: Sequence[Case], config: ValidateClassifierConfig, reporter: Reporter) -> Validation:
    """Train every method of ``config`` without each site in turn (or without each of ``folds`` parts), and test there.

    Raises:
        UsageError: an unknown method, preset, option or site, one site only, or no method that can learn from what is
            left.
        InputError: a case cannot be used, or has no class or site; one class only; scans on different grids.
    """
    contrast = Contrast(config.contrast)
    if not config.method:
        raise UsageError("Which method?", f"Choose some of: {', '.join(registry.CLASSIFIERS)}.")
    chosen = {
        name: registry.options(name, config.preset, _fitting(name, config.settings, config.method), prefix="--set ")
        for name in dict.fromkeys(config.method)
    }
    cohort = cohorts.labelled(cases, contrast, config.label, config.site)
    target = cohorts.targets(cohort, config.target)
    folds = list(_by_site(cohort) if config.folds is None else _in_parts(cohort, config.folds, config.seed))
    names = tuple(config.target) or cohort.whole()
    notes = [text[0].upper() + text[1:] for text in cohorts.cautions(cohort, target)]
    device = devices.prepare(config.device, config.threads)
    from braincli.classification.learn import Lesson

    how = volumes.Reading(contrast, config.volume, config.prefer, config.already_stripped)
    precision = devices.precision(device, config.precision)
    cut: dict[Any, volumes.Stack] = {}
    results: dict[str, Classified] = {}
    held_out: dict[str, tuple[str, ...]] = {}
    for name, options in chosen.items():
        spec = (options.mm, options.shape, options.percentiles)
        if spec not in cut:
            cut[spec] = volumes.read_all(cohort.cases, how, None, *spec, reporter)
        lesson = Lesson(name, options, config.seed, config.steps, device, precision)
        done, where, told = _method(lesson, cohort, cut[spec].image, folds, config.target, reporter)
        notes += [text for text in told if text not in notes]
        if done is not None:
            results[name], held_out[name] = done, where
    if not results:
        raise UsageError("No method could be tested.", " ".join(notes))
    return Validation(
        cohort.classes, names, results, held_out, config.model_dump(mode="json"), tuple(notes)
    )  # fmt: skip


def _fitting(name: str, settings: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """Of ``settings`` those that ``name`` has: of several methods each takes its own.

    Raises:
        UsageError: none of ``methods`` has one of them.
    """
    known = {each: registry.approach_class(each).Config.model_fields for each in methods}
    for key in settings:
        if not any(key in fields for fields in known.values()):
            return dict(settings)  # is refused, in words of its own
    return {key: value for key, value in settings.items() if key in known[name]}


def _method(
    lesson: Lesson,
    cohort: Cohort,
    images: np.ndarray,
    folds: Sequence[Fold],
    wanted: Sequence[str],
    reporter: Reporter,
) -> tuple[Classified | None, tuple[str, ...], list[str]]:
    """What one method says of what is held out, the fold of each case, and what could not be done."""
    from braincli.classification.learn import judged, teach

    rows: list[np.ndarray] = []
    said: list[np.ndarray] = []
    where: list[str] = []
    notes: list[str] = []
    with reporter.step(lesson.method, total=len(folds)) as bar:
        for fold in folds:
            rest = cohort.rows(fold.train)
            try:
                target = _targets(rest, wanted, lesson)
            except (InputError, UsageError) as error:
                notes.append(f"{lesson.method} without {fold.name}: not tested. {error.message}")
                continue
            taught = teach(lesson, rest, images[fold.train], target, Reporter())
            assert taught is not None  # nothing stops it
            said.append(judged(taught.approach, images[fold.test], lesson.device, lesson.precision))
            rows.append(fold.test)
            where += [fold.name] * len(fold.test)
            bar.advance(note=fold.name)
    if not rows:
        return None, (), notes
    tested = cohort.rows(np.concatenate(rows))
    site = tuple(cohort.sites[k] for k in tested.site)
    ids = tuple(case.id for case in tested.cases)
    return Classified(ids, site, cohort.classes, tested.label, np.concatenate(said)), tuple(where), notes


def _targets(rest: Cohort, wanted: Sequence[str], lesson: Lesson) -> np.ndarray:
    """Target cases of what is left; wanted sites that are held out do not count.

    Raises:
        InputError: a class is gone. UsageError: the method cannot learn from what is left.
    """
    if gone := [name for k, name in enumerate(rest.classes) if not (rest.label == k).any()]:
        raise InputError(f"What is left has no case of class {gone[0]}.")
    there = {rest.sites[k] for k in rest.present()}
    return lesson.targets(rest, [name for name in wanted if name in there])


def _by_site(cohort: Cohort) -> Iterator[Fold]:
    """Every site in turn.

    Raises:
        UsageError: there is one alone.
    """
    if len(cohort.sites) < 2:
        raise UsageError(
            f"All cases are of the site {cohort.sites[0]}: none can be left out.", "Use --folds, or name the column."
        )
    for k, name in enumerate(cohort.sites):
        yield Fold(name, np.flatnonzero(cohort.site != k), np.flatnonzero(cohort.site == k))


def _in_parts(cohort: Cohort, folds: int, seed: int) -> Iterator[Fold]:
    """Every class of every site dealt out to ``folds`` parts, which take turns.

    Raises:
        UsageError: there are fewer cases than parts.
    """
    from braincli.classification.learn import strata

    if len(cohort.cases) < folds:
        raise UsageError(
            f"{counted(len(cohort.cases), 'case')} cannot be dealt out to {folds} folds.", "Ask for fewer."
        )
    generator, part = np.random.default_rng(seed), np.zeros(len(cohort.cases), int)
    dealt = 0
    for rows in strata(cohort):
        part[generator.permutation(rows)] = (dealt + np.arange(len(rows))) % folds
        dealt += len(rows)
    for number in range(folds):
        if (part == number).any():
            yield Fold(f"fold-{number}", np.flatnonzero(part != number), np.flatnonzero(part == number))
