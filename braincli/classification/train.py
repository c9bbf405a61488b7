"""``classify train``: labelled cases in, model folder out."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from braincli import RESEARCH_USE_ONLY
from braincli.classification import cohort as cohorts
from braincli.classification import registry, volumes
from braincli.classification.info import KIND, WEIGHTS, ClassifierInfo, Learnt, read_info, save
from braincli.classification.options import TrainClassifierConfig
from braincli.errors import ModelError, UsageError
from braincli.imaging.case import Case
from braincli.imaging.names import Contrast
from braincli.model.search import read_content
from braincli.runtime import device as devices
from braincli.runtime import files
from braincli.runtime.locks import NAME as LOCK
from braincli.runtime.locks import locked
from braincli.runtime.progress import Reporter
from braincli.runtime.provenance import fingerprint
from braincli.wording import counted

BEGUN = "classifier.json"  # in ``work``: what a training that has not ended learns from
OWN = {"model.json", WEIGHTS, "README.md", "work", LOCK}


def train_classifier(
    cases: Sequence[Case], config: TrainClassifierConfig, out: Path, reporter: Reporter
) -> ClassifierInfo | None:
    """Train ``config.method`` on labelled ``cases`` and write the model folder ``out``.

    Checkpoints lie in ``out/work`` until training is complete; weights and description are written when it is.

    Returns:
        What was written (where ``resume`` finds a complete model: what is there), or None if SIGTERM or SIGUSR1 stopped
        it (run again with ``resume``).

    Raises:
        UsageError: ``out`` holds a model, an unfinished training without ``resume`` or something else; the data or the
            options changed since it began; an option that does not fit.
        InputError: a case cannot be used, or has no class or site; one class only; scans on different grids.
        ModelError: the model that is complete there is damaged.
        ResourceError: a loss is not finite.
    """
    begin = time.monotonic()
    with locked(out):
        if _is_complete(out, resume=config.resume, overwrite=config.overwrite):
            info = read_info(out)
            for line in _unheeded(info, cases, config):
                reporter.warn(f"{out.name} is complete: another option changes nothing: {line}")
            reporter.say(f"{out.name} is complete")
            return info
        contrast = Contrast(config.contrast)
        options = registry.options(config.method, config.preset, config.settings, prefix="--set ")
        cohort = cohorts.labelled(cases, contrast, config.label, config.site)
        device = devices.prepare(config.device, config.threads)
        from braincli.classification.learn import Lesson, teach

        lesson = Lesson(
            config.method, options, config.seed, config.steps, device, devices.precision(device, config.precision)
        )
        target = lesson.targets(cohort, config.target)
        cautions = cohorts.cautions(cohort, target)
        for text in cautions:
            reporter.warn(text)
        how = volumes.Reading(contrast, config.volume, config.prefer, config.already_stripped)
        stack = volumes.read_all(cohort.cases, how, None, options.mm, options.shape, options.percentiles, reporter)
        identity = fingerprint(
            {
                "options": options.model_dump(mode="json"), "method": config.method, "seed": config.seed,
                "steps": config.steps, "scans": stack.sha256, "label": cohort.label.tolist(),
                "site": cohort.site.tolist(), "target": target.tolist(),
            }
        )  # fmt: skip
        from braincli.classification.fit import Keep
        from braincli.training import signals
        from braincli.training.checkpoints import Checkpoints

        saved = _begin(out, identity, config.resume)
        checkpoints = Checkpoints(out / "work" / "checkpoints")
        with signals.noted() as stop:
            taught = teach(
                lesson, cohort, stack.image, target, reporter,
                keep=Keep(checkpoints.save, config.checkpoint_minutes, stop),
                saved=checkpoints.load(device, reporter) if saved else None,
            )  # fmt: skip
        if taught is None:
            reporter.say(f"go on with the same command and --resume ({out.name})")
            return None
        best = taught.progress.best
        whole = config.target or cohort.whole()
        info = ClassifierInfo(
            name=out.name, method=config.method, preset=config.preset, contrast=contrast, label=config.label,
            site=config.site, classes=cohort.classes, sites=cohort.sites, grid=stack.grid, options=options,
            training=Learnt(
                cases=stack.sha256, validation=[cohort.cases[row].id for row in taught.validation],
                counts=cohorts.counts(cohort), target=list(whole), steps=taught.progress.step,
                best=None if best is None else best[1], minutes=round((time.monotonic() - begin) / 60, 2),
                seed=config.seed, cautions=cautions,
            ),
        )  # fmt: skip
        info = save(out, taught.approach, info)
        files.write_text(out / "README.md", card(info))
        shutil.rmtree(out / "work", ignore_errors=True)
        return info


def _is_complete(out: Path, *, resume: bool, overwrite: bool) -> bool:
    """Whether ``out`` holds a whole model already.

    Raises:
        UsageError: it may not be written. ModelError: the model in it is damaged.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"The output {out.name} is a file.", "Name a folder.")
    unfinished = (out / "work" / BEGUN).is_file()
    if (out / "model.json").exists():
        if overwrite:
            _refuse_other_kind(out)
            return False
        if not resume:
            raise UsageError(f"{out.name} holds a model.", "Choose another folder, or add --overwrite.")
        from braincli.model.tensors import verified

        verified(out, read_info(out))
        shutil.rmtree(out / "work", ignore_errors=True)  # killed while it tidied up
        return True
    if unfinished and not (resume or overwrite):
        raise UsageError(f"{out.name} holds an unfinished training.", "Add --resume to go on, or --overwrite.")
    strange = sorted(path.name for path in out.glob("*") if path.name not in OWN) if out.exists() else []
    if not unfinished and strange:
        raise UsageError(f"{out.name} is no training's folder: it holds {strange[0]}.", "Choose a new folder.")
    return False


def _unheeded(info: ClassifierInfo, cases: Sequence[Case], config: TrainClassifierConfig) -> list[str]:
    """What a complete model was not trained with, as ``name: before -> now``.

    Raises:
        UsageError: an option that there is not.
    """
    learnt = info.training
    options = registry.options(config.method, config.preset, config.settings, prefix="--set ")
    before, now = (each.model_dump(mode="json") for each in (info.options, options))
    steps = config.steps or options.steps
    ended = learnt.steps < steps and learnt.best is not None  # by patience
    both = {
        "method": (info.method, config.method), "preset": (info.preset, config.preset),
        "contrast": (str(info.contrast), config.contrast), "label": (info.label, config.label),
        "site": (info.site, config.site), "seed": (learnt.seed, config.seed),
        "steps": (learnt.steps, learnt.steps if ended else steps),
        "target": (sorted(learnt.target), sorted(config.target or learnt.target)),
        "cases": (len(learnt.cases), len(cases)),
    }  # fmt: skip
    both |= {f"settings.{name}": (before.get(name), now.get(name)) for name in sorted({*before, *now} - {"steps"})}
    return [f"{name}: {old} -> {new}" for name, (old, new) in both.items() if old != new]


def _refuse_other_kind(out: Path) -> None:
    """Raise where the model that would be replaced is no classifier of volumes.

    Raises:
        UsageError: it is not.
    """
    try:
        kind = read_content(out).get("kind")
    except ModelError:
        kind = KIND  # damaged: whatever it was, it is of no use
    if kind != KIND:
        raise UsageError(f"{out.name} holds a model of another kind.", "Choose another folder.")


def _begin(out: Path, identity: str, resume: bool) -> bool:
    """Mark the folder; whether checkpoints of the same training may be there.

    Raises:
        UsageError: ``resume`` finds a training of other data or options.
    """
    marker = out / "work" / BEGUN
    if resume and marker.is_file():
        try:
            same = json.loads(marker.read_text(encoding="utf-8")).get("identity") == identity
        except (ValueError, AttributeError):
            same = False
        if not same:
            raise UsageError(
                f"The cases or the options of {out.name} changed since its training began.",
                "Give what it was begun with, or add --overwrite.",
            )
        return True
    shutil.rmtree(out / "work", ignore_errors=True)
    marker.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(marker, {"identity": identity})
    return False


def card(info: ClassifierInfo) -> str:
    """``README.md`` of a model folder."""
    entry, learnt = registry.spec(info.method), info.training
    rows = [[site, *(str(found.get(name, 0)) for name in info.classes)] for site, found in learnt.counts.items()]
    lines = [
        f"# {info.name}\n",
        f"{' or '.join(info.classes)}, by the {info.contrast} scan of a whole brain. {entry.summary[0].upper()}"
        f"{entry.summary[1:]} ({entry.paper}). {RESEARCH_USE_ONLY}\n",
        f"Method `{info.method}`, preset `{info.preset}`, {info.parameters:,} parameters, "
        f"{counted(learnt.steps, 'step')}, seed {learnt.seed}; "
        f"volumes of {' x '.join(map(str, info.grid.shape))} voxels of {info.grid.mm:g} mm.\n",
        "## Learnt from\n",
        _row(["site", *info.classes]),
        _row(["---"] * (len(info.classes) + 1)),
        *map(_row, rows),
        "",
        *(f"- {text[0].upper()}{text[1:]}" for text in learnt.cautions),
        "\nHow well it does on other sites, `braincli classify validate` tells.",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(cells)} |"
