"""The command: options reach the configuration, data goes to stdout, mistakes give their exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from braincli import api
from braincli.cli import app
from braincli.config import PreprocessConfig

run = CliRunner().invoke


def test_options_reach_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []

    def record(inputs: list[Path], output: Path, config: PreprocessConfig, *_: Any, contrast: str | None) -> list[Any]:
        seen.append((inputs, output, config, contrast))
        return []

    monkeypatch.setattr(api, "preprocess", record)
    (tmp_path / "c.toml").write_text('transform = "rigid"\nspace = "native"\n')
    words = "preprocess a b -o out --skip n4 --skip brain --reference flair --space sri24 --bet-mode accurate --json -q"
    result = run(app, [*words.split(), "--config", str(tmp_path / "c.toml")])
    assert result.exit_code == 0 and json.loads(result.stdout) == []
    paths, out, config, _ = seen[0]
    assert [path.name for path in paths] == ["a", "b"] and out == Path("out")
    assert config.skip == {"n4", "brain"} and config.reference == "flair" and config.bet_mode == "accurate"
    assert (config.transform, config.space) == ("rigid", "sri24")  # file, then flag


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nowhere"], 3, "no such file"),
        (["nowhere", "--skip", "lunch"], 2, "skip"),
        (["nowhere", "--contrast", "pd"], 2, "no contrast 'pd'"),
        (["nowhere", "--space", "mni"], 2, "space"),
    ],
)
def test_mistakes(words: list[str], code: int, says: str) -> None:
    result = run(app, ["preprocess", *words])
    assert result.exit_code == code
    assert says in result.stderr and "Traceback" not in result.stderr
