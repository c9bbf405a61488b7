"""Two processes on one folder: one wins and is complete, the other is refused, and nothing of the winner is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import warm

from braincli.training.output import MARKER
from reliability.shell import PREPARED, TINY, braincli, cohort, contents, end, start

pytestmark = pytest.mark.slow  # processes of their own, minutes in all


@pytest.mark.parametrize("command", ["detect", "preprocess", "train"])
def test_one_of_two_wins_and_is_complete(command: str, tmp_path: Path, models: Path) -> None:
    data = cohort(tmp_path / "in", "a")
    arguments = {
        "detect": ("detect", data, "-m", "threshold", "--no-figure", "--no-report", "--threads", "1"),
        "preprocess": ("preprocess", data, *PREPARED, "--threads", "1"),
        "train": ("train", "--data", data, *TINY),
    }[command]
    alone = braincli(*arguments, "-o", tmp_path / "alone", models=models)
    assert alone.code == 0, alone.words
    both = [start(*arguments, "-o", tmp_path / "out", models=models, command=warm.command()) for _ in range(2)]
    ended = [end(one) for one in both]
    assert sorted(one.code for one in ended) == [0, 2], [one.words for one in ended]
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    records = {path.name for path in (tmp_path / "alone").rglob("*.json")}
    assert {path.name for path in (tmp_path / "out").rglob("*.json")} == records
    hidden = {path.name for path in (tmp_path / "out").rglob(".*") if path.is_file()}
    assert hidden <= {MARKER, ".bidsignore"}  # left on purpose
