"""``braincli slurm``: a cohort as a job array, what came of it, and again what is missing.

Every command that takes ``--part-id`` and ``--num-parts`` comes as ``braincli slurm COMMAND``, with all its options.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from braincli.cli.common import COMMANDS, guarded, show, show_json
from braincli.cli.options import AsJson, Debug, Quiet, option
from braincli.errors import BraincliError, UsageError
from braincli.wording import counted

if TYPE_CHECKING:
    from braincli.runtime.fates import Fate
    from braincli.runtime.progress import Reporter
    from braincli.runtime.rounds import Round

app = typer.Typer(
    help="A cohort on a SLURM cluster: submit it in parts, gather what came of them, submit again what is missing.\n\n"
    "Example: braincli slurm detect COHORT -o OUT --array 32 --cpus 8 --mem 48G --time 4:00:00",
    no_args_is_help=True,
    rich_markup_mode=None,
)

OURS = ("part_id", "num_parts", "as_json", "quiet", "debug")  # of a command's options: the array says them, or we do

Output = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of a cohort that was submitted.")]


def _shared(
    partition: Annotated[str | None, option("Partition of the cluster.", metavar="NAME")] = None,
    time: Annotated[str | None, option("Time limit of each task.", metavar="HH:MM:SS")] = None,
    mem: Annotated[str | None, option("Memory of each task, e.g. 48G.", metavar="SIZE")] = None,
    cpus: Annotated[str | None, option("CPUs of each task: for its threads, and its --jobs.", metavar="INT")] = None,
    gpus: Annotated[str | None, option("GPUs of each task.", metavar="[TYPE:]INT")] = None,
    account: Annotated[str | None, option("Account that pays.", metavar="NAME")] = None,
    sbatch_extra: Annotated[
        list[str] | None,
        option("Another option of sbatch, e.g. --sbatch-extra=--qos=long (repeatable).", metavar="OPTION"),
    ] = None,
    setup: Annotated[
        list[str] | None,
        option("Shell line before the work, e.g. 'module load apptainer' (repeatable).", metavar="LINE"),
    ] = None,
    command: Annotated[
        str | None,
        option(
            "How the nodes call braincli, e.g. 'apptainer run braincli.sif'.", default="this one", metavar="COMMAND"
        ),
    ] = None,
    wait: Annotated[bool, option("Stay until all parts have ended, then gather.", "--wait")] = False,
    dry_run: Annotated[bool, option("Print the script; submit and write nothing.", "--dry-run")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """The options that all submissions share."""


def _array(default: Any) -> Parameter:
    """Needed once (no default); later it is as before (None)."""
    before = "as before" if default is None else ""
    text = "Parts of the cohort, one a task; N%M: at most M tasks at a time."
    kind = Annotated[str | None, option(text, "--array", default=before, metavar="N[%M]")]
    return Parameter("array", Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _taking(function: Callable[..., None], *own: Parameter) -> Callable[..., None]:
    """``function`` as a command with its ``own`` parameters, and those that all submissions share."""
    every = [*own, *signature(_shared, eval_str=True).parameters.values()]
    keywords = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in every]
    function.__signature__ = Signature(keywords)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in keywords}
    return guarded(function)


def _submission(verb: str, command: Callable[..., None]) -> Callable[..., None]:
    """``braincli slurm VERB``, with the options of ``command``."""

    def submit(ctx: typer.Context, **given: Any) -> None:
        from braincli.runtime.progress import reporter
        from braincli.runtime.rounds import refuse_going

        if given["output"] is None:
            raise UsageError("Where should the results go?", "Add -o OUT/, a folder that all nodes reach.")
        words = _words([each for each in ctx.command.params if each.name in own], given)
        words += [] if given["resume"] else ["--resume"]
        reporting = reporter(quiet=given["quiet"])
        plan = _plan(verb, words, given["output"].absolute(), given, reporting)
        refuse_going(plan.output)
        _go(plan, given, reporting)

    own = {name: each for name, each in signature(command, eval_str=True).parameters.items() if name not in OURS}
    submit.__doc__ = f"""Submit braincli {verb} of a cohort as a job array; --wait gathers what came of it.

    Takes all options of braincli {verb}. Complete cases are skipped.

    Example: braincli slurm {verb} COHORT -o OUT --array 32 --cpus 8 --mem 48G --time 4:00:00
    """
    context = Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=typer.Context)
    return _taking(submit, context, *own.values(), _array(Parameter.empty))


def _resume(output: Path, **given: Any) -> None:
    """Submit again the parts with cases that failed or were lost; complete ones are skipped.

    Options given here replace those of the submission before, e.g. --mem 96G for parts that ran out of memory.

    Example: braincli slurm resume OUT --time 8:00:00 --wait
    """
    from braincli.runtime.fates import fates
    from braincli.runtime.progress import reporter
    from braincli.runtime.rounds import refuse_going, rounds

    reporting = reporter(quiet=given["quiet"])
    refuse_going(output)
    before = rounds(output)
    last, done = before[-1], {fate.case for fate in fates(before) if fate.status == "done"}
    if not last.cwd.is_dir():
        raise UsageError(f"{last.cwd}, from where it was submitted, is gone.", "Submit the cohort anew.")
    with contextlib.chdir(last.cwd):
        plan = _plan(last.verb, last.words, last.output, given, reporting, last)
    missing = tuple(part for part, cases in enumerate(plan.parts) if not done.issuperset(cases))
    if missing:
        _go(replace(plan, submitted=missing, fresh=False), given, reporting)
    else:
        reporting.say(f"{counted(len(done), 'case')} done, none is missing.")
        _gather(output, given["as_json"], reporting)


def _register() -> None:
    """Add a command for every one that can work on a part of a cohort."""
    for verb in COMMANDS:
        command = getattr(import_module(f"braincli.cli.{verb}"), "command", None)
        if command is not None and "part_id" in signature(command).parameters:
            app.command(verb)(_submission(verb, command))
    out = Parameter("output", Parameter.KEYWORD_ONLY, annotation=Output)
    app.command("resume")(_taking(_resume, out, _array(None)))


@app.command("status")
@guarded
def status(output: Output, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """What came of a submitted cohort so far: done, failed, lost, running, pending. Gathers nothing.

    Exit code 6 if cases failed or were lost. Example: braincli slurm status OUT
    """
    from braincli.runtime.fates import failure, fates
    from braincli.runtime.rounds import rounds

    found = fates(rounds(output))
    _show(found, as_json)
    error = failure(found, output)
    if error is not None and not all(fate.going or fate.status == "done" for fate in found):
        raise error


@app.command("gather")
@guarded
def gather(
    output: Output,
    wait: Annotated[bool, option("Until all parts have ended.", "--wait")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Merge what the parts left: outcomes.tsv and the cohort's page; name the cases that failed or were lost.

    Exit code 6 unless all cases are done. Example: braincli slurm gather OUT --wait
    """
    from braincli.runtime import fates
    from braincli.runtime.progress import reporter
    from braincli.runtime.rounds import rounds

    reporting = reporter(quiet=quiet)
    if wait:
        fates.wait(rounds(output)[-1], reporting)
    _gather(output, as_json, reporting)


def _words(params: Sequence[Any], given: Mapping[str, Any]) -> list[str]:
    """The command line that gives ``params`` (of click) the values in ``given``: what it works on, then options."""
    places: list[str] = []
    options: list[str] = []
    for param in params:
        value = given[param.name]
        if value is None or value == param.default or value in ((), []):
            continue
        if param.param_type_name == "argument":
            values = value if isinstance(value, list | tuple) else [value]
            places += [f"./{each}" if str(each).startswith("-") else str(each) for each in values]
            continue
        flag = max(param.secondary_opts if value is False else param.opts, key=len)
        if param.is_flag:
            options.append(flag)
        elif param.multiple:
            options += [word for each in value for word in (flag, str(each))]
        else:
            options += [flag, *map(str, value if isinstance(value, tuple) else (value,))]
    return places + options


def _plan(
    verb: str,
    words: Sequence[str],
    output: Path,
    given: Mapping[str, Any],
    reporter: Reporter,
    before: Round | None = None,
) -> Round:
    """The round that works on all parts; what the options leave open is as ``before``."""
    from braincli.runtime.cohort import planned, shares
    from braincli.runtime.rounds import Round, new_folder
    from braincli.runtime.slurm import Resources

    resources = Resources() if before is None else before.resources
    asked = {name: given[name] for name in ("partition", "time", "mem", "cpus", "gpus", "account", "command")}
    asked |= {"extra": tuple(given["sbatch_extra"] or ()), "setup": tuple(given["setup"] or ())}
    parts = 0 if before is None else len(before.parts)
    if given["array"] is not None:
        parts, asked["at_once"] = _parts(given["array"])
    resources = replace(resources, **{name: value for name, value in asked.items() if value})
    resources.refuse()
    cases = planned(lambda: _run(verb, words))
    if len(cases) < parts:
        reporter.say(f"{counted(len(cases), 'part')}: there are no more cases.")
    shared = tuple(map(tuple, shares(cases, min(parts, len(cases)))))
    every = tuple(range(len(shared)))
    return Round(new_folder(output), verb, tuple(words), Path.cwd(), output, shared, every, resources)


def _parts(array: str) -> tuple[int, int | None]:
    """Number of parts, and of tasks at a time, from ``32`` or ``32%8``."""
    match = re.fullmatch(r"([1-9]\d*)(?:%([1-9]\d*))?", array)
    if not match:
        raise UsageError(f"--array: {array} is no number of parts.", "For example 32, or 32%8: eight tasks at a time.")
    return int(match[1]), int(match[2]) if match[2] else None


def _run(verb: str, words: Sequence[str]) -> None:
    """A command as the nodes are going to call it, with errors raised."""
    alone = typer.Typer(rich_markup_mode=None)
    alone.command(verb)(import_module(f"braincli.cli.{verb}").command)
    typer.main.get_command(alone).main(args=list(words), prog_name=f"braincli {verb}", standalone_mode=False)


def _go(plan: Round, given: Mapping[str, Any], reporter: Reporter) -> None:
    from braincli.runtime import fates

    if given["dry_run"]:
        show(plan.script.rstrip())
        return
    sent = plan.submit()
    cases = sum(len(sent.parts[part]) for part in sent.submitted)
    parts = f"{len(sent.submitted)} of {counted(len(sent.parts), 'part')}, {counted(cases, 'case')}"
    reporter.say(f"job {sent.job}: {parts}; braincli slurm status {sent.output}")
    if given["wait"]:
        fates.wait(sent, reporter)
        _gather(sent.output, given["as_json"], reporter)
    elif given["as_json"]:
        show_json({"job": sent.job, "parts": list(sent.submitted), "cases": cases, "folder": str(sent.folder)})


def _gather(output: Path, as_json: bool, reporter: Reporter) -> None:
    from braincli.runtime.fates import failure, fates, write_table
    from braincli.runtime.rounds import rounds

    before = rounds(output)
    found = fates(before)
    write_table(output, found)
    if before[-1].verb == "detect":
        _page(output, found, reporter)
    _show(found, as_json)
    if (error := failure(found, output)) is not None:
        raise error


def _show(found: Sequence[Fate], as_json: bool) -> None:
    from braincli.runtime.fates import told

    if as_json:
        show_json([asdict(fate) for fate in found])
    else:
        show(told(found))


def _page(output: Path, found: Sequence[Fate], reporter: Reporter) -> None:
    """The cohort's page with the cases that were lost, which no part could tell of; none for a run without pages."""
    from braincli.detection import cohort_page
    from braincli.detection.report import CaseResult

    if not cohort_page.wanted(output, len(found)) or next(output.rglob("*_report.html"), None) is None:
        return
    short = [fate for fate in found if fate.status in ("failed", "lost")]
    try:
        cohort_page.write(output, [CaseResult(fate.case, "failed", error=fate.error) for fate in short])
    except BraincliError as error:
        reporter.warn(f"The cohort's page was not written: {error}")


_register()
