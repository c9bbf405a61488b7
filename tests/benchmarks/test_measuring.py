"""The table of all benchmarks: ratios to limits and peers, and what it runs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from measuring import Figure, compared, limited, machine, show

ROOT = Path(__file__).resolve().parents[2]


def test_a_figure_over_its_limit_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert show([limited("quick", 0.5, "s", 1.0), compared("ours", 1.0, "s", "peer", 4.0), Figure("plain", 2.0, "s")])
    assert not show([limited("slow", 3.0, "s", 1.0)], "detect")
    lines = capsys.readouterr().out.splitlines()
    assert "0.50 of limit of 1 s" in lines[0]
    assert "0.25 of peer (4 s)" in lines[1]
    assert lines[3].startswith("detect") and "3.00 of limit of 1 s" in lines[3] and lines[3].endswith("MISSED")


def test_the_machine_is_named() -> None:
    assert "cores, torch 2." in machine() and "bf16" in machine()


def test_every_benchmark_of_the_table_gives_figures() -> None:
    source = (ROOT / "benchmarks" / "__main__.py").read_text(encoding="utf-8")
    names = source.partition("NAMES = (")[2].partition(")")[0].replace('"', "").split(", ")
    assert "detect" in names
    for name in names:
        assert callable(importlib.import_module(name).figures), name
