"""Rounds of a cohort on a cluster: each submission is one array, with a folder of its own below the output.

``OUT/code/slurm/round-1`` and so on hold the plan (which case is in which part), the script, and what the tasks leave.
Validators of BIDS leave ``code/`` alone.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from braincli import __version__
from braincli.errors import BraincliError, InputError, UsageError
from braincli.runtime import files, slurm
from braincli.runtime.slurm import Resources, State

FOLDER = Path("code", "slurm")
PLAN, SCRIPT, SEEN = "round.json", "array.sh", "states.json"


@dataclass(frozen=True)
class Round:
    """One submission.

    Attributes:
        folder: what it leaves.
        verb, words: the command, without its parts.
        cwd: where its relative paths begin.
        output: where the cases go, absolute.
        parts: ids of the cases of every part of the cohort.
        submitted: the parts that this round works on.
        fresh: it begins a cohort, and no earlier round counts.
        job: number of the array; empty until it is submitted.
    """

    folder: Path
    verb: str
    words: tuple[str, ...]
    cwd: Path
    output: Path
    parts: tuple[tuple[str, ...], ...]
    submitted: tuple[int, ...]
    resources: Resources = field(default_factory=Resources)
    fresh: bool = True
    job: str = ""

    @property
    def script(self) -> str:
        """What is submitted."""
        return slurm.script(
            self.verb, self.words, self.folder, self.submitted, len(self.parts), self.resources, self.cwd
        )

    def submit(self) -> Round:
        """Write the plan and the script, hand it to SLURM, and give the round with its job.

        Raises:
            UsageError: SLURM refuses it; nothing is left then.
            ResourceError: nothing can be written.
        """
        text = self.script
        plan, path = self.folder / PLAN, self.folder / SCRIPT
        files.write_text(path, text)
        try:
            files.write_json(plan, self.as_dict())
            submitted = replace(self, job=slurm.submit(path))
        except BraincliError:
            for written in (plan, path):
                written.unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()
            raise
        files.write_json(plan, submitted.as_dict())
        return submitted

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content; the folder is where it lies."""
        content = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "folder"}
        return {"braincli": __version__, **content, "resources": asdict(self.resources)}

    @classmethod
    def read(cls, plan: Path) -> Round:
        """The round of a plan.

        Raises:
            InputError: it cannot be read.
        """
        try:
            content = json.loads(plan.read_text(encoding="utf-8"))
            return cls(
                plan.parent, str(content["verb"]), tuple(content["words"]), Path(content["cwd"]),
                Path(content["output"]), tuple(tuple(ids) for ids in content["parts"]), tuple(content["submitted"]),
                Resources.of(content["resources"]), bool(content["fresh"]), str(content["job"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError(
                f"{plan.parent.name}/{plan.name} cannot be read.", "Submit the cohort anew; complete cases are skipped."
            ) from None

    @property
    def begun_at(self) -> float:
        """When it was submitted, by the clock of the file system that dates the cases' records, too."""
        return min(path.stat().st_mtime for path in (self.folder / SCRIPT, self.folder / PLAN) if path.exists())

    def log(self, part: int) -> Path:
        """What the task of ``part`` said."""
        return self.folder / f"part-{part}.log"

    def code(self, part: int) -> int | None:
        """Exit code of a task that came to its end."""
        try:
            return int((self.folder / f"part-{part}.exit").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def rows(self, part: int) -> list[dict[str, Any]]:
        """What the task of ``part`` printed of its cases; nothing where it did not get that far."""
        try:
            content = json.loads((self.folder / f"part-{part}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return []
        rows = content.get("cases", []) if isinstance(content, dict) else content
        return [row for row in rows if isinstance(row, dict) and "case" in row]

    def states(self) -> dict[int, State]:
        """What SLURM says of the tasks now, and has said of those that had ended when it was asked before.

        Raises:
            ResourceError: the controller does not answer.
        """
        seen = self.seen()
        now = slurm.states(self.job) if self.job else {}
        known = {part: state for part, state in seen.items() if not state.going} | now
        if known != seen:
            with suppress(BraincliError):  # somebody else's folder: only memory is lost
                files.write_json(
                    self.folder / SEEN, {part: list(asdict(each).values()) for part, each in known.items()}
                )
        return known

    def seen(self) -> dict[int, State]:
        """What SLURM said when it was asked last; it forgets jobs within minutes where there is no accounting."""
        try:
            content = json.loads((self.folder / SEEN).read_text(encoding="utf-8"))
            return {int(part): State(*words) for part, words in content.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}


def rounds(output: Path) -> list[Round]:
    """The submissions of the cohort that ``output`` was given last, in order.

    Raises:
        UsageError: nothing was submitted, or the folder was moved since.
        InputError: a plan cannot be read.
    """
    found: list[Round] = []
    for plan in _plans(output):
        each = Round.read(plan)
        if each.job:  # else its submission was interrupted
            found.insert(0, each)
            if each.fresh:
                break
    if not found:
        raise UsageError(
            f"Nothing was submitted for {output.name or output}.",
            "Begin with: braincli slurm detect COHORT -o OUT --array 8.",
        )
    place = found[-1].output
    if not place.exists() or not place.samefile(output):
        raise UsageError(f"{output.name} was submitted as {place}.", "Move it back, or submit the cohort anew.")
    return found


def refuse_going(output: Path) -> None:
    """Raise where tasks of an earlier submission may still write.

    Raises:
        UsageError: names their job.
        ResourceError: SLURM does not answer.
    """
    last = None
    with suppress(InputError):  # what cannot be read does not stand in the way of a new submission
        last = next((each for each in map(Round.read, _plans(output)) if each.job), None)
    if last is not None and any(state.going for state in last.states().values()):
        raise UsageError(
            f"Job {last.job} is still at work on {output.name}.", f"Wait for it, or end it: scancel {last.job}."
        )


def new_folder(output: Path) -> Path:
    """Where the next round goes."""
    numbers = [int(path.name[6:]) for path in (output / FOLDER).glob("round-*") if path.name[6:].isdigit()]
    return output.absolute() / FOLDER / f"round-{max(numbers, default=0) + 1}"


def _plans(output: Path) -> list[Path]:
    """Where the rounds' plans lie, the last one first."""
    found = (output.absolute() / FOLDER).glob(f"round-*/{PLAN}")
    numbered = {int(plan.parent.name[6:]): plan for plan in found if plan.parent.name[6:].isdigit()}
    return [numbered[number] for number in sorted(numbered, reverse=True)]
