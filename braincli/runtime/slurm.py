"""Job arrays of SLURM: their script, its submission, and what SLURM knows of the tasks.

Plain ``sbatch`` with a script that can be read, changed and submitted by hand. (submitit pickles Python functions, for
the very same environment on every node; a part of a cohort is a command with documented exit codes, also of a
container, so that there is nothing to pickle.)
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from braincli import __version__
from braincli.errors import ResourceError, UsageError

ANSWER_S = 60.0  # for a controller that is busy
GOING = {
    "PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT", "REQUEUED",
    "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "COMPLETING",
}  # fmt: skip
UNKNOWN_JOB = "Invalid job id"  # what squeue says some minutes after a job's end
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
PLAIN = re.compile(r"[\w./:=,%@+\-\[\]]+")


@dataclass(frozen=True)
class Resources:
    """What each task of an array gets, in sbatch's own words; None: what the cluster gives by itself.

    Attributes:
        at_once: tasks at a time, at most.
        extra: further options, as sbatch takes them (``--qos=long``).
        setup: shell lines before the work (``module load apptainer``).
        command: how braincli is called on the nodes; empty: as this process was.
    """

    partition: str | None = None
    time: str | None = None
    mem: str | None = None
    cpus: str | None = None
    gpus: str | None = None
    account: str | None = None
    at_once: int | None = None
    extra: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    command: str = ""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Resources:
        """From JSON."""
        given = {each.name: content[each.name] for each in fields(cls) if each.name in content}
        values: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in given.items()}
        return cls(**values)

    def directives(self) -> list[str]:
        """Options of sbatch, one a line."""
        named = {
            "partition": self.partition, "time": self.time, "mem": self.mem, "cpus-per-task": self.cpus,
            "gpus": self.gpus, "account": self.account,
        }  # fmt: skip
        return [f"--{name}={quoted(value)}" for name, value in named.items() if value is not None] + list(self.extra)

    def refuse(self) -> None:
        """Raise where a value would not stay on its line of the script, or is no option.

        Raises:
            UsageError: names it.
        """
        for line in (*self.directives(), *self.setup, self.command):
            if CONTROL.search(line):
                raise UsageError(f"{line!r} holds a line break or control character.", "One line each.")
        if words := [each for each in self.extra if not re.match(r"--?[A-Za-z]", each)]:
            raise UsageError(f"--sbatch-extra: {words[0]} is no option.", "Write it as sbatch takes it: --qos=long.")


@dataclass(frozen=True)
class State:
    """What SLURM says of one task: ``RUNNING``, ``NODE_FAIL`` ..., where, and (of one that waits) why."""

    word: str
    node: str = ""
    reason: str = ""

    @property
    def going(self) -> bool:
        """Whether it is still to be heard of."""
        return self.word in GOING

    def __str__(self) -> str:
        return f"{self.word} on {self.node}" if self.node else self.word


def quoted(value: str) -> str:
    """A value as sbatch reads it in a ``#SBATCH`` line, where blanks and ``#`` would end it."""
    return value if PLAIN.fullmatch(value) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def script(
    verb: str, words: Sequence[str], folder: Path, parts: Sequence[int], num_parts: int, resources: Resources, cwd: Path
) -> str:
    """The script of an array whose tasks run ``braincli VERB WORDS`` on the ``parts`` of a cohort.

    Task K leaves in ``folder`` what the command prints (``part-K.json``), what it says (``part-K.log``) and, when it
    comes to its end, its exit code (``part-K.exit``).

    Raises:
        UsageError: an option or path that does not fit on a line, or is no text.
    """
    resources.refuse()
    if CONTROL.search(f"{folder}{cwd}"):
        raise UsageError("The folder's path holds a line break or control character.", "Rename it.")
    limit = f"%{resources.at_once}" if resources.at_once else ""
    log = str(folder / "part-%a.log").replace("%", "%%").replace("%%a.log", "%a.log")
    directives = [
        f"--job-name=braincli-{verb}", f"--array={ranges(parts)}{limit}", f"--output={quoted(log)}",
        "--open-mode=append", "--requeue", *resources.directives(),
    ]  # fmt: skip
    command = resources.command or shlex.join([sys.executable, "-m", "braincli"])
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH {directive}" for directive in directives),
        f"# Parts of a cohort, written by braincli {__version__}. Complete cases are skipped: a part may be killed, be",
        "# sent to another node, and be submitted again.",
        "trap : TERM  # goes to all processes of a part: braincli ends, and its exit code is noted below",
        f"part={shlex.quote(str(folder))}/part-$SLURM_ARRAY_TASK_ID",
        'rm -f "$part.exit"  # of an attempt before this one',
        f"cd {shlex.quote(str(cwd))} || exit 2",
        *resources.setup,
        f"{command} {shlex.join([verb, *words])} \\",
        f'    --part-id "$SLURM_ARRAY_TASK_ID" --num-parts {num_parts} --json > "$part.json"',
        "code=$?",
        'echo "$code" > "$part.exit"',
        'exit "$code"',
    ]
    text = "\n".join(lines) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("A path holds bytes that are no text, which a script cannot name.", "Rename it.") from None
    return text


def ranges(numbers: Sequence[int]) -> str:
    """``0-3,7`` for 0, 1, 2, 3 and 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def submit(path: Path) -> str:
    """Hand the script ``path`` to SLURM, and give the number of its job.

    Raises:
        UsageError: there is no SLURM here, or it refuses the job.
    """
    if shutil.which("sbatch") is None:
        raise UsageError(
            "sbatch: no such command.", "Submit on a login node of the cluster; --dry-run prints the script anywhere."
        )
    done = _ask("sbatch", "--parsable", str(path))
    if done.returncode != 0:
        raise UsageError(
            f"sbatch refused the job: {_said(done)}.",
            "Ask for what the cluster has (sinfo shows it), or for fewer parts.",
        )
    return done.stdout.strip().partition(";")[0]


def states(job: str) -> dict[int, State]:
    """What SLURM knows of every task of an array; nothing of tasks that it has forgotten, or where there is no SLURM.

    The queue remembers for some minutes; what it has forgotten, the accounting may know, on clusters that keep one.

    Raises:
        ResourceError: the controller does not answer.
    """
    if shutil.which("squeue") is None:
        return {}
    done = _ask("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%K|%T|%N|%r")
    if done.returncode != 0 and UNKNOWN_JOB not in done.stderr:
        raise ResourceError(f"SLURM does not answer: {_said(done)}.", "Try again later; the array goes on meanwhile.")
    known = dict(_accounted(job))
    for line in done.stdout.splitlines():
        number, word, node, reason = (*line.strip().split("|"), "", "", "")[:4]
        if number.isdigit():
            known[int(number)] = State(word, node, "" if reason == "None" else reason)
    return known


def _accounted(job: str) -> list[tuple[int, State]]:
    """What the accounting says; nothing where there is none."""
    if shutil.which("sacct") is None:
        return []
    done = _ask("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=JobID,State,NodeList")
    known = []
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        name, word, node = (*line.split("|"), "", "")[:3]
        number = name.partition("_")[2]
        if number.isdigit() and word:
            known.append((int(number), State(word.split()[0], "" if node == "None assigned" else node)))
    return known


def _ask(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=ANSWER_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError) as error:
        reason = "no answer" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]}: {reason}")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what a client complained of."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else f"{done.args[0]} ended with {done.returncode}"
