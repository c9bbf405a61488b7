"""``braincli split``: manifests of the parts of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from braincli import choices
from braincli.cli.common import show_json
from braincli.cli.options import AsJson, ConfigFile, Debug, Overwrite, Quiet, Run, Seed, option, read, wanted
from braincli.cli.options import contrasts as completed_contrasts


def command(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS", help="Cohort folders or .tsv manifests.")],
    output: Annotated[
        Path | None, option("Folder of the manifests (needed).", "--output", "-o", metavar="PATH")
    ] = None,
    folds: Annotated[
        str | None, option("Parts that take turns as the validation.", default="one validation", metavar="INT")
    ] = None,
    validation: Annotated[
        str | None, option("Patients that choose: a share below 1, or a number.", default="0", metavar="FLOAT")
    ] = None,
    test: Annotated[str | None, option("Patients to test on, likewise.", default="0", metavar="FLOAT")] = None,
    contrasts: Annotated[
        str | None,
        option(
            "Contrasts that the parts keep, e.g. t1.",
            metavar="CONTRAST[,...]",
            default="all",
            autocompletion=completed_contrasts,
        ),
    ] = None,
    group: Annotated[str | None, option("What all cases are, where nothing says so.", choices=choices.Group)] = None,
    patient: Annotated[
        str | None,
        option(
            "Regular expression: its first group in a case's id is the patient.",
            default="BIDS sessions, BraTS time points",
            metavar="REGEX",
        ),
    ] = None,
    run: Run = None,
    config_file: ConfigFile = None,
    seed: Seed = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Part a cohort by patient: train, validation and test, or folds of a cross-validation, as TSV manifests.

    Every command takes a manifest where it takes a cohort. The same seed gives the same parts; kinds of cases (healthy,
    with a mask, unknown) are spread evenly. splits.json lists the folds as nnU-Net does.

    Example: braincli split BraTS/ -o parts/ --test 0.1 --folds 5 &&
    braincli train --data parts/fold-0/train.tsv --validation parts/fold-0/validation.tsv -o models/fold-0
    """
    given = locals()
    from braincli import api
    from braincli.config import SplitConfig
    from braincli.runtime.progress import reporter

    config = read(SplitConfig, given, config_file)
    output = wanted(output, inputs, "-o PARTS/, the folder of the manifests")
    parts = api.split(inputs, output, config, reporter(quiet=quiet))
    if as_json:
        ids = [{"train": [c.id for c in f.train], "val": [c.id for c in f.validation]} for f in parts.folds]
        show_json({"folds": ids, "test": [case.id for case in parts.test]})
