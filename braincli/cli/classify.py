"""``braincli classify``: classifiers of whole volumes from several sites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli import choices
from braincli.cli.common import guarded, show, show_json
from braincli.cli.options import (
    AlreadyStripped,
    AsJson,
    CheckpointMinutes,
    ConfigFile,
    Debug,
    DeviceName,
    GoOn,
    Overwrite,
    Prefer,
    Quiet,
    Run,
    Seed,
    Threads,
    Trained,
    TrainingPrecision,
    VolumeNumber,
    one_of,
    option,
    read,
)
from braincli.errors import CohortError
from braincli.wording import counted

app = typer.Typer(
    help="Classify whole volumes of several sites: train, validate by site, predict.\n\n"
    "Example: braincli classify train cohort.tsv -o models/ms",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def classifiers(incomplete: str) -> list[str]:
    """Completes the last of several classifiers, with those before it."""
    from braincli.classification.registry import CLASSIFIERS

    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in CLASSIFIERS if name.startswith(begun)]


Labelled = Annotated[
    list[Path],
    typer.Argument(metavar="INPUTS", help="Prepared cases: .tsv manifests with a class and a site for every case."),
]
Preset = Annotated[
    str | None,
    option(
        "paper, compact or tiny.",
        default="compact",
        metavar="PRESET",
        autocompletion=one_of("paper", "compact", "tiny"),
    ),
]
Shown = Annotated[
    str | None, option("The scan that is classified.", "--contrast", default="t1", choices=choices.ContrastName)
]
Label = Annotated[
    str | None,
    option("Column of the manifest with the classes; group: healthy or diseased.", default="class", metavar="COLUMN"),
]
Site = Annotated[str | None, option("Column of the manifest with the sites.", default="site", metavar="COLUMN")]
Target = Annotated[
    str | None,
    option("Target sites, which l2i learns the classes from.", default="those with every class", metavar="SITE[,...]"),
]
Steps = Annotated[str | None, option("Steps of a training.", default="the preset's", metavar="INT")]
Settings = Annotated[
    list[str] | None, option("Option of the method, e.g. width=0.5 (repeatable).", "--set", metavar="KEY=VALUE")
]


@app.command("train")
@guarded
def train(
    inputs: Labelled,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model.", metavar="PATH")],
    method: Annotated[
        str | None,
        option("Which method; see: braincli models.", default="l2i", metavar="METHOD", autocompletion=classifiers),
    ] = None,
    preset: Preset = None,
    contrast: Shown = None,
    label: Label = None,
    site: Site = None,
    target: Target = None,
    steps: Steps = None,
    settings: Settings = None,
    checkpoint_minutes: CheckpointMinutes = None,
    run: Run = None,
    volume: VolumeNumber = None,
    prefer: Prefer = None,
    already_stripped: AlreadyStripped = None,
    precision: TrainingPrecision = None,
    seed: Seed = None,
    threads: Threads = None,
    device: DeviceName = None,
    config_file: ConfigFile = None,
    resume: GoOn = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a classifier on cases of several sites, of which some may have one class only.

    SIGTERM and SIGUSR1 write a checkpoint and end with exit code 0; the same command with --resume goes on.

    Example: braincli classify train cohort.tsv --method l2i -o models/ms
    """
    given = {**locals(), "settings": None}
    from braincli import api
    from braincli.classification.options import TrainClassifierConfig
    from braincli.runtime.progress import reporter

    config = read(TrainClassifierConfig, given, config_file, [f"settings.{text}" for text in settings or []])
    words = reporter(quiet=quiet)
    info = api.train_classifier(inputs, output, config, words)
    if as_json:
        show_json(info and info.model_dump(mode="json"))
    if info is not None:
        told = f"{info.parameters / 1e6:.2f} M parameters, {counted(info.training.steps, 'step')}, saved"
        words.say(f"{info.name}: {told}. Next: braincli classify predict CASES --model {output}")


@app.command("validate")
@guarded
def validate(
    inputs: Labelled,
    output: Annotated[
        Path | None,
        option("Folder for predictions.tsv, figures.csv and figures.json.", "--output", "-o", metavar="PATH"),
    ] = None,
    method: Annotated[
        str | None,
        option(
            "Methods to compare; see: braincli models.",
            default="l2i",
            metavar="METHOD[,...]",
            autocompletion=classifiers,
        ),
    ] = None,
    preset: Preset = None,
    contrast: Shown = None,
    label: Label = None,
    site: Site = None,
    target: Target = None,
    folds: Annotated[
        str | None,
        option("Leave out a part of every class of every site in turn.", default="whole sites in turn", metavar="INT"),
    ] = None,
    steps: Steps = None,
    settings: Settings = None,
    run: Run = None,
    volume: VolumeNumber = None,
    prefer: Prefer = None,
    already_stripped: AlreadyStripped = None,
    precision: TrainingPrecision = None,
    seed: Seed = None,
    threads: Threads = None,
    device: DeviceName = None,
    config_file: ConfigFile = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Cross-validate by site: each is classified by what was trained on the others.

    Accuracy, Cohen's kappa and AUROC, by method and site. A site with one class has an accuracy alone.

    Example: braincli classify validate cohort.tsv --method l2i,vanilla,dann -o validation/
    """
    given = {**locals(), "settings": None}
    from braincli import api
    from braincli.classification.options import ValidateClassifierConfig
    from braincli.runtime.progress import reporter

    config = read(ValidateClassifierConfig, given, config_file, [f"settings.{text}" for text in settings or []])
    words = reporter(quiet=quiet)
    found = api.validate_classifier(inputs, output, config, words)
    if as_json:
        show_json(found.as_dict())
    elif output is None:
        show(found.as_table())
    else:
        words.say(f"{found.as_table()}\nWrote predictions.tsv, figures.csv and figures.json to {output.name}.")


@app.command("predict")
@guarded
def predict(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUTS", help="Prepared cases: folders, cohorts, scans or .tsv manifests.")
    ],
    output: Annotated[
        Path | None,
        option(
            "Folder for predictions.tsv and, where a manifest tells classes, figures.csv and figures.json.",
            "--output",
            "-o",
            metavar="PATH",
        ),
    ] = None,
    model: Trained = None,
    run: Run = None,
    volume: VolumeNumber = None,
    prefer: Prefer = None,
    already_stripped: AlreadyStripped = None,
    precision: TrainingPrecision = None,
    threads: Threads = None,
    device: DeviceName = None,
    config_file: ConfigFile = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Tell the class of prepared cases.

    Cases that fail are listed and the others go on (exit code 6).

    Example: braincli classify predict cohort.tsv --model models/ms -o out/
    """  # fmt: skip
    given = locals()
    from braincli import api
    from braincli.classification.options import ClassifyConfig
    from braincli.runtime.progress import reporter

    config = read(ClassifyConfig, given, config_file)
    words = reporter(quiet=quiet)
    found = api.classify(inputs, output, config, words)
    if as_json:
        show_json(found.as_dict())
    elif output is None:
        show(found.as_table())
    else:
        wrote = "predictions.tsv, figures.csv and figures.json" if found.tables else "predictions.tsv"
        words.say(f"{found.as_table()}\nWrote {wrote} to {output.name}.")
    if found.failures:
        told = "\n".join(f"  {name}\t{' '.join(error.message.split())}" for name, error in found.failures.items())
        raise CohortError(
            f"{len(found.failures)} of {counted(len(found.failures) + len(found.cases), 'case')} failed:\n{told}",
            "Mend them and run again.",
        )
