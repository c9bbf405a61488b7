"""The documentation is built whole: every link holds, and nothing that exists lacks its page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import braincli

ROOT = Path(__file__).parents[2]

pytest.importorskip("mkdocs", reason="mkdocs-material is not installed (extra dev)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.long
def test_every_verb_model_and_function_has_its_page(site: Path) -> None:
    from braincli.cli.common import COMMANDS

    made = {path.parent.name for path in (site / "commands").glob("*/index.html")}
    for verb in COMMANDS:
        assert any(name.split("-")[0] == verb for name in made), verb
    for card in (ROOT / "models").glob("*/README.md"):
        assert (site / "models" / card.parent.name / "index.html").is_file()
    reference = (site / "python-reference" / "index.html").read_text()
    for name in dir(braincli):
        assert not callable(getattr(braincli, name)) or f"{getattr(braincli, name).__module__}." in reference, name
    assert ":class:" not in reference
    assert "--already-stripped" in (site / "commands" / "detect" / "index.html").read_text()


@pytest.mark.long
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    sources = re.compile(
        r"""<(?:script|img|iframe)[^>]+src="(https?:[^"]+)|<link[^>]+stylesheet[^>]+href="(https?:[^"]+)"""
    )
    for page in site.rglob("*.html"):
        assert not sources.findall(page.read_text()), page
