"""The notebook in ``examples/``: what is committed is what a run gives, small, and tells nothing of a machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "quickstart.ipynb"
MOST_BYTES = 1_000_000
MASK_ML = (40.0, 100.0)  # of the generated tumour; see ``braincli demo``


def cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in cells(notebook) for output in cell["outputs"]]


def html(notebook: Any) -> str:
    """The HTML that the outputs show."""
    return "\n".join("".join(each.get("data", {}).get("text/html", "")) for each in outputs(notebook))


def pictures(notebook: Any) -> int:
    """How many PNGs are in the outputs, those within HTML too."""
    return sum("image/png" in each.get("data", {}) for each in outputs(notebook)) + html(notebook).count(
        "data:image/png"
    )


def test_it_is_committed_with_its_outputs_and_tells_nothing_of_a_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert len(text.encode()) < MOST_BYTES
    assert [cell["execution_count"] for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1)), "run all"
    assert pictures(notebook) >= 3
    told = re.sub(r"[A-Za-z0-9+/=\\n]{200,}", "", text)  # without pictures, in whose letters anything may be found
    assert not re.search(r"/(tmp|home|root|work|Users|venv)\b|ipykernel_\d|Warning|Error", told)
    assert all(output["output_type"] != "error" for output in outputs(notebook))


def test_it_says_what_it_is_and_uses_the_door_alone() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    source = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    assert "not a medical device" in source and "is generated" in source
    taken = re.findall(r"(?:from|import) (braincli[\w.]*)", source)
    assert set(taken) == {"braincli", "braincli.phantom.patient"}
    for verb in ("check", "preprocess", "load_model", "detect", "score"):
        assert f"braincli.{verb}(" in source, verb


@pytest.mark.long
def test_it_runs_and_shows_what_is_committed(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=where).execute()
    assert pictures(notebook) == pictures(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    figures = re.search(r"<td>done</td><td>\d+</td><td>([\d.]+)</td>", html(notebook))
    assert figures and MASK_ML[0] < float(figures[1]) < MASK_ML[1]
    dsc = re.search(r"<th>DSC</th>.*?<td>case</td><td>([\d.]+)</td>", html(notebook), re.DOTALL)
    assert dsc and float(dsc[1]) > 0.6
    assert not list(tmp_path.iterdir()), "nothing is written where the notebook lies"
