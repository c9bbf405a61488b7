"""``braincli bids``: the positional arguments and the options of a BIDS-App."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from braincli.cli.common import Command, show_json
from braincli.cli.options import (
    AlreadyStripped,
    AsJson,
    AssumeSkull,
    Batch,
    ConfigFile,
    Debug,
    DeviceName,
    Jobs,
    Model,
    Overwrite,
    PrecisionName,
    Prefer,
    Quiet,
    Resume,
    Run,
    Seed,
    Threads,
    option,
    read,
)
from braincli.errors import CohortError
from braincli.wording import counted

LISTS = ("--participant-label", "--participant_label", "--session-label", "--session_label")


class WithLabels(Command):
    """A command whose labels may follow their option one after the other, as BIDS-Apps take them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option in front of every label: click's take one value each."""
        return super().parse_args(ctx, list(_repeated(args)))


COMMAND = WithLabels


def _repeated(args: list[str]) -> list[str]:
    """``--participant-label 01 02`` as ``--participant-label 01 --participant-label 02``."""
    found: list[str] = []
    current = ""
    for word in args:
        if word.startswith("-"):
            current = word if word in LISTS else ""
            found += [] if current else [word]
        else:
            found += [current, word] if current else [word]
    return found


def command(
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="Root of a BIDS data set of raw scans.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the results, a BIDS derivative.")],
    level: Annotated[
        str,
        typer.Argument(
            metavar="[participant|group]",
            help="participant: preprocess and detect; group: page and table of what that left.",
        ),
    ],
    participant_label: Annotated[
        list[str] | None,
        option(
            "Participants, with or without sub-: one or several.",
            "--participant-label",
            "--participant_label",
            default="all",
            metavar="LABEL ...",
        ),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        option(
            "Sessions, with or without ses-: one or several.",
            "--session-label",
            "--session_label",
            default="all",
            metavar="LABEL ...",
        ),
    ] = None,
    bids_filter_file: Annotated[
        Path | None,
        option(
            'Which scans count, as JSON by t1w, t1ce, t2w, flair: {"t1w": {"acquisition": "mprage"}}.',
            "--bids-filter-file",
            metavar="PATH",
        ),
    ] = None,
    model: Model = None,
    run: Run = None,
    prefer: Prefer = None,
    already_stripped: AlreadyStripped = None,
    assume_skull: AssumeSkull = None,
    uncalibrated: Annotated[
        bool | None, option("Go on with contrasts that the model was not calibrated for.", "--uncalibrated")
    ] = None,
    anomaly_map: Annotated[bool | None, option("Write the anomaly map.", "--anomaly-map")] = None,
    restored: Annotated[bool | None, option("Write the pseudo-healthy restorations.", "--restored")] = None,
    residual: Annotated[bool | None, option("Write |input - restoration| per contrast.", "--residual")] = None,
    report: Annotated[
        bool | None,
        option("Write a page per case, and one of the cohort.", "--report/--no-report", default="report"),
    ] = None,
    batch: Batch = None,
    precision: PrecisionName = None,
    device: DeviceName = None,
    threads: Threads = None,
    jobs: Jobs = None,
    seed: Seed = None,
    config_file: ConfigFile = None,
    resume: Resume = None,
    overwrite: Overwrite = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """A BIDS-App: work through a BIDS data set of raw scans, and leave a BIDS derivative.

    A participant that fails is listed and the others go on (exit code 6; its own code where it is the only one).

    Example: braincli bids data/ data/derivatives/braincli participant --participant-label 01 02
    """
    given = locals()
    from braincli import api
    from braincli.config import DetectConfig
    from braincli.runtime.progress import reporter

    config = read(DetectConfig, given, config_file)
    words = reporter(quiet=quiet)
    done = api.bids(
        bids_dir, output, config, words, level=level, participant_label=participant_label or (),
        session_label=session_label or (), bids_filter_file=bids_filter_file,
    )  # fmt: skip
    if as_json:
        show_json(done.as_dict())
    elif done.cases:
        words.say(done.table())
    if level == "participant" and (failed := done.failures):
        raise CohortError(
            f"{len(failed)} of {counted(len(done.cases), 'case')} failed: {', '.join(case.case for case in failed)}.",
            "Mend them and run again with --resume; the others are complete.",
        )
