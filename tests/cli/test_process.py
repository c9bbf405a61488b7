"""braincli as a process among others: pipes that break, disks that are full, odd names and environments.

Every end is one of the table of exit codes, and none is an internal error.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import warm
from phantoms import affine, write_case
from tinymodels import write_models

pytestmark = pytest.mark.slow  # processes of their own, minutes in all

BRAINCLI = f"{sys.executable} -m braincli"
SHAPE, GRID = (24, 28, 12), affine("LPS", (5.0, 5.0, 6.0))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case ``p01`` and the tiny models."""
    folder = tmp_path_factory.mktemp("place")
    write_models(folder / "models")
    write_case(folder / "p01", shape=SHAPE, matrix=GRID)
    return folder


def shell(command: str, place: Path, start: str = BRAINCLI, **environment: str | None) -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr of a bash command in ``place``; ``braincli`` is the command under test.

    Args:
        start: what ``braincli`` is: a process of its own, or :func:`warm.command` where its start is not looked at.
    """
    variables: dict[str, str | None] = {
        **os.environ, "PYTHONPATH": str(ROOT), "BRAINCLI_MODELS": str(place / "models"), **environment,
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", f'braincli() {{ {start} "$@"; }}; {command}'],
        cwd=place, capture_output=True, check=False, timeout=120,
        env={key: value for key, value in variables.items() if value is not None},
    )  # fmt: skip
    said = done.stderr.decode("utf-8", "backslashreplace")
    assert "Traceback" not in said and "internal error" not in said and "Exception ignored" not in said, said
    return done.returncode, done.stdout, said


@pytest.fixture
def out(place: Path) -> Path:
    shutil.rmtree(place / "out", ignore_errors=True)
    return place / "out"


DETECT = "braincli detect p01 -o out -m threshold --no-figure --no-report"
COMPLETE = "out/p01/p01_record.json"


@pytest.mark.parametrize(
    "command",
    [
        f"set -o pipefail; {DETECT} 2>&1 | head -1",  # the reader of words leaves
        f"set -o pipefail; {DETECT} --json | true",  # the reader of data leaves: what was to be done is done
        f"{DETECT} 2>/dev/full",
        f"{DETECT} --json >&-",
        f"{DETECT} --json >&- 2>&- <&-",
    ],
)
def test_words_that_nobody_reads_cost_no_result(command: str, place: Path, out: Path) -> None:
    code, _, said = shell(command, place)
    assert code == 0 and (place / COMPLETE).is_file(), said


def test_a_true_exit_code_reaches_who_reads_nothing(place: Path, out: Path) -> None:
    assert shell("set -o pipefail; braincli detect nowhere -o out -m threshold 2>&1 | true", place)[0] == 3
    assert shell("braincli detect p01 -o out -m nothing 2>/dev/full", place)[0] == 4
    assert shell("braincli nonsense 2>&-", place)[0] == 2


def test_closed_streams_do_not_end_in_files(place: Path, out: Path) -> None:
    """The first file that is opened gets the number of a closed stdout."""
    assert shell(f"{DETECT} --json >&- 2>&-", place)[0] == 0
    assert json.loads((place / COMPLETE).read_text())["status"] == "done"


@pytest.mark.parametrize("command", ["models", "--help", "cite --json"])
def test_data_that_cannot_be_written_is_an_error(command: str, place: Path) -> None:
    code, _, said = shell(f"braincli {command} >/dev/full", place)
    assert code == 5 and "No space left" in said


@pytest.mark.parametrize("command", ["models", "--help"])
def test_readers_of_data_may_leave_or_never_come(command: str, place: Path) -> None:
    assert shell(f"set -o pipefail; braincli {command} | true", place)[0] == 0
    assert shell(f"braincli {command} >&-", place)[0] == 0


NAMES = [b"x\xff1", b"$\\foo$ [red]:smile:", "='a\"\u200bé漢".encode()]
UNREADABLE, *_ = NAMES  # what Python makes of it is decided when it starts


@pytest.mark.parametrize("name", NAMES, ids=map(ascii, NAMES))
def test_odd_names(name: bytes, place: Path, out: Path) -> None:
    start = BRAINCLI if name is UNREADABLE else warm.command()
    folder = os.path.join(os.fsencode(place), name)  # noqa: PTH118 - bytes
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    scan = os.path.join(folder, name + b"_flair.nii.gz")  # noqa: PTH118
    shutil.copy(place / "p01" / "p01_flair.nii.gz", scan)
    environment = {"NAME": os.fsdecode(name)}
    code, data, said = shell('braincli detect "$NAME" -o out -m threshold --json', place, start, **environment)
    assert code == 0, said
    (case,) = json.loads(data)["cases"]
    assert case["masks"] and (out / case["case"]).is_dir() | any(out.iterdir())
    for record in out.rglob("*.json"):
        json.loads(record.read_text(encoding="utf-8"))
    code, data, _ = shell('braincli check "$NAME" --json', place, start, **environment)
    assert code == 0 and json.loads(data)


ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "from a notebook, in a job, without a home": {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline", "SLURM_CPUS_PER_TASK": "2(x3)",
        "LOCAL_WORLD_SIZE": "garbage", "HOME": None,
    },
    "with a home that cannot be written, in the C locale": {
        "MPLBACKEND": "nonsense", "SLURM_CPUS_PER_TASK": "many", "LOCAL_WORLD_SIZE": "0", "HOME": "/proc/nowhere",
        "XDG_CACHE_HOME": None, "MPLCONFIGDIR": None, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_odd_environments(kind: str, place: Path, out: Path) -> None:
    code, _, said = shell("braincli detect p01 -o out -m threshold", place, **ENVIRONMENTS[kind])
    assert code == 0 and (out / "p01" / "p01_figure.png").is_file(), said


def test_bad_environment_of_options_names_the_variable(place: Path, out: Path) -> None:
    code, _, said = shell(DETECT, place, warm.command(), BRAINCLI_NUM_THREADS="two")
    assert code == 2 and "BRAINCLI_NUM_THREADS" in said
    code, _, said = shell(DETECT, place, warm.command(), BRAINCLI_DEVICE="tpu")
    assert code == 2 and "no device 'tpu'" in said


CONFIGURATIONS = {
    "damaged": (b"model = 'thr", "Cannot read the configuration c.toml"),
    "latin-1": ("model = 'é'".encode("latin-1"), "c.toml is not UTF-8"),
    "utf-16": ("model = 'x'".encode("utf-16"), "c.toml is not UTF-8"),
    "binary": (bytes(range(256)), "c.toml"),
    "unknown": (b"modell = 'x'", "Did you mean model?"),
    "seed": (b"seed = -5", "seed in c.toml: -5 is below 0."),
    "type": (b"samples = 'many'", "samples in c.toml: many is not a whole number."),
    "table": (b"[samples]\nn = 1", "samples in c.toml"),
    "deep": (b"a = " + b"[" * 5000, "c.toml"),
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_bad_configuration_files(kind: str, place: Path, out: Path) -> None:
    content, says = CONFIGURATIONS[kind]
    (place / "c.toml").write_bytes(content)
    code, _, said = shell("braincli detect p01 -o out --config c.toml", place, warm.command())
    assert code == 2 and says in said, said


def test_a_configuration_that_is_no_file(place: Path) -> None:
    for name in ("nowhere.toml", "p01"):
        code, _, said = shell(f"braincli synth p01 -o out --config {name}", place, warm.command())
        assert code == 2 and f"Cannot read the configuration {name}" in said


PLACES = {
    "a file": ("echo x > taken", "taken", 2, "taken cannot be a folder: taken is a file."),
    "below a file": ("echo x > taken", "taken/out", 2, "taken is a file"),
    "a long name": ("", "x" * 300, 2, "is too long"),
    "a long mask": ("", "x" * 300 + ".nii.gz", 2, "is too long"),
    "not writable": ("", "/proc/out", 5, "cannot be written"),
    "below a folder that is not": ("", "/sys/a/b/c", 5, "cannot be written"),
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("command", ["detect p01 -m threshold", "synth p01", "train --data p01 --method threshold"])
def test_where_nothing_can_be_written_nothing_is_computed(command: str, kind: str, place: Path) -> None:
    before, output, wanted, says = PLACES[kind]
    if output.endswith(".nii.gz") and "detect" not in command:
        pytest.skip("only detect writes one file")
    code, _, said = shell(f"{before}\nbraincli {command} -o {output}", place, warm.command())
    assert code == wanted and says in said, said
    assert "restore" not in said and "..." not in said.replace("xxx...", "")  # no step has begun


def test_a_bug_is_told_where_no_log_can_be_written(tmp_path: Path) -> None:
    code = (
        "import tempfile, sys; from braincli import api, cli\n"
        "def broken(*a, **k): raise ZeroDivisionError('a bug')\n"
        "def nowhere(*a, **k): raise FileNotFoundError(2, 'No usable temporary directory')\n"
        "api.synth = broken; tempfile.mkstemp = nowhere\n"
        "sys.argv = ['braincli', 'synth', 'x', '-o', 'y']; cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "internal error: ZeroDivisionError: a bug\n  Traceback above; please report it." in done.stderr
    assert done.stderr.count("Traceback (most recent call last)") == 1


@pytest.mark.parametrize(("number", "wanted"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_leaves_nothing_half_written(number: int, wanted: int, place: Path, tmp_path: Path) -> None:
    """The signal comes while a file is being written."""
    code = (
        "import os, sys, time; from pathlib import Path; from braincli import api, cli\n"
        "from braincli.runtime.files import atomic_path\n"
        "def slow(inputs, output, *a, **k):\n"
        "    with atomic_path(output / 'x.nii.gz') as temporary:\n"
        "        temporary.touch(); print('writing', flush=True); time.sleep(60)\n"
        f"api.synth = slow; sys.argv = ['braincli', 'synth', 'x', '-o', {str(tmp_path)!r}]; cli.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == wanted and b"Traceback" not in said, said
    assert list(tmp_path.iterdir()) == []
