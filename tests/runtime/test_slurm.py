"""The script of an array, and what is asked of SLURM: of stand-ins for its commands, which answer as they do."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from standins import standin

from braincli.errors import ResourceError, UsageError
from braincli.runtime import slurm
from braincli.runtime.slurm import Resources, State


def script(folder: Path, *parts: int, words: tuple[str, ...] = ("in", "-o", "out"), **resources: object) -> str:
    return slurm.script("detect", words, folder, parts, 8, Resources(**resources), folder.parent)  # type: ignore[arg-type]


def directives(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def test_every_resource_has_its_line(tmp_path: Path) -> None:
    text = script(
        tmp_path / "r", 0, 1, 2, 5, partition="short", time="4:00:00", mem="48G", cpus="8", gpus="a100:1",
        account="my lab", at_once=2, extra=("--qos=long",), setup=("module load x",),
    )  # fmt: skip
    assert directives(text) == [
        "--job-name=braincli-detect", "--array=0-2,5%2", f"--output={tmp_path}/r/part-%a.log", "--open-mode=append",
        "--requeue", "--partition=short", "--time=4:00:00", "--mem=48G", "--cpus-per-task=8", "--gpus=a100:1",
        '--account="my lab"', "--qos=long",
    ]  # fmt: skip
    assert "\nmodule load x\n" in text and "--num-parts 8 --json" in text
    assert len(directives(script(tmp_path / "r", 0))) == 5, "what is not asked for is left to the cluster"


def test_paths_with_blanks_percents_and_quotes(tmp_path: Path) -> None:
    """% stands for something in the name of a log, and both shells and sbatch part words at blanks."""
    folder = tmp_path / "50% of 'it' \"\\" / "round-1"
    text = script(folder, 0, words=("a b", "-o", "it's"))
    escaped = str(folder).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    assert f'--output="{escaped}/part-%a.log"' in directives(text)
    assert shlex.join(["detect", "a b", "-o", "it's"]) in text


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"partition": "x\n#SBATCH --uid=root"}, "line break"),
        ({"setup": ("a\nb",)}, "line break"),
        ({"extra": ("qos=long",)}, "--sbatch-extra: qos=long is no option."),
    ],
)
def test_what_does_not_stay_on_its_line_is_refused(resources: dict[str, object], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        script(tmp_path / "r", 0, **resources)
    with pytest.raises(UsageError, match="line break"):
        script(tmp_path / "a\nb", 0)
    with pytest.raises(UsageError, match="no text"):
        script(tmp_path / "r", 0, words=("\udcff",))


@pytest.mark.parametrize(("inner", "code"), [("exit 6", 6), ("kill -TERM $$", 143), ("kill -9 $$", 137)])
def test_a_task_leaves_outcomes_and_exit_code(inner: str, code: int, tmp_path: Path) -> None:
    """Run by bash, as SLURM does; the command is a stand-in that ends in this or that way."""
    folder = tmp_path / "round-1"
    folder.mkdir()
    (folder / "part-3.exit").write_text("0\n")  # of an attempt that SLURM sent to another node
    command = shlex.join(["bash", "-c", f'echo "$PWD $*"; {inner}', "braincli"])
    path = tmp_path / "array.sh"
    path.write_text(script(folder, 3, command=command, setup=(f"[ ! -e {folder}/part-3.exit ] && export SEEN=1",)))
    done = subprocess.run(["bash", path], env=os.environ | {"SLURM_ARRAY_TASK_ID": "3"}, check=False)
    assert done.returncode == code and (folder / "part-3.exit").read_text() == f"{code}\n"
    assert (folder / "part-3.json").read_text() == f"{tmp_path} detect in -o out --part-id 3 --num-parts 8 --json\n"


def test_without_a_command_this_python_is_called(tmp_path: Path) -> None:
    assert f"\n{shlex.quote(sys.executable)} -m braincli detect in -o out \\\n" in script(tmp_path / "r", 0)


def test_ranges() -> None:
    assert slurm.ranges([7, 0, 1, 2, 4, 9, 8]) == "0-2,4,7-9" and slurm.ranges([5]) == "5"


def test_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standin(monkeypatch, tmp_path, sbatch='echo "12;cluster"')
    assert slurm.submit(tmp_path / "array.sh") == "12"
    standin(
        monkeypatch, tmp_path, sbatch="echo 'sbatch: error: x' >&2; echo 'sbatch: error: Invalid job array' >&2; exit 1"
    )
    with pytest.raises(UsageError, match="sbatch refused the job: sbatch: error: Invalid job array"):
        slurm.submit(tmp_path / "array.sh")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="no such command"):
        slurm.submit(tmp_path / "array.sh")
    assert slurm.states("12") == {}


def test_states_come_from_queue_and_accounting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = r"printf '0|RUNNING|n1|None\n1|PENDING||Resources\n2|FAILED|n1|NonZeroExitCode\n'"
    accounting = r"printf '12_2|RUNNING|n1\n12_3|CANCELLED by 0|None assigned\n12_[4-9]|PENDING|\n'"
    standin(monkeypatch, tmp_path, squeue=queue, sacct=accounting)
    known = slurm.states("12")
    assert known[0] == State("RUNNING", "n1") and known[1] == State("PENDING", "", "Resources")
    assert known[2] == State("FAILED", "n1", "NonZeroExitCode"), "the queue is newer than the accounting"
    assert known[3] == State("CANCELLED") and set(known) == {0, 1, 2, 3}
    assert [known[part].going for part in range(4)] == [True, True, False, False]
    standin(
        monkeypatch,
        tmp_path,
        squeue="echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1",
        sacct="exit 1",
    )
    assert slurm.states("12") == {}
    standin(monkeypatch, tmp_path, squeue="echo 'Unable to contact slurm controller' >&2; exit 1", sacct="exit 1")
    with pytest.raises(ResourceError, match="SLURM does not answer: Unable to contact slurm controller"):
        slurm.states("12")
