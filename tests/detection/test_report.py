"""What ``detect`` returns: paths, images that are read when asked for, tables, and what a notebook shows."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine, write_case

import braincli
from braincli.detection.report import CaseResult, DetectReport
from braincli.errors import InputError, UsageError
from braincli.imaging.cases import CONTRASTS
from braincli.imaging.results import ResultFiles

SHAPE, GRID = (40, 48, 16), affine("LPS", (3.0, 3.0, 4.0))
ASKED: dict[str, Any] = {"anomaly_map": True, "restored": True, "residual": True, "threshold": 0.05}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    write_case(folder / "a", "a", shape=SHAPE, matrix=GRID)
    write_case(folder / "b", "b", ("flair",), shape=SHAPE, matrix=GRID)
    return folder


@pytest.fixture(scope="module")
def found(cohort: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> DetectReport:
    return braincli.detect(cohort, tmp_path_factory.mktemp("out"), model=str(models / "tsgm"), **ASKED)


def test_files_are_named_by_what_they_are(found: DetectReport) -> None:
    result = found["a"]
    kinds = {"mask", "lesions", "anomaly", "lesions.json", "lesions.tsv", "figure", "report", "thumbnail", "record"}
    assert set(result.paths) == kinds | {f"{kind}-{c}" for kind in ("restored", "residual") for c in CONTRASTS}
    assert all(path.is_absolute() and path.is_file() for path in result.paths.values())
    assert {path.name for path in result.paths.values()} == {
        path.name for path in result.paths["mask"].parent.iterdir()
    }


def test_images_are_read_when_asked_for_and_lie_on_the_scans_grid(found: DetectReport) -> None:
    result = found["a"]
    for image in (result.mask, result.labels, result.anomaly, *result.restored.values(), result.image("residual-t1")):
        assert nib.is_proxy(image.dataobj) and np.array_equal(image.affine, GRID) and image.shape == SHAPE
    mask, labels = result.array(), result.array("lesions")
    assert mask.dtype == bool and np.array_equal(mask, labels > 0) and labels.max() == result.lesions
    assert (result.array("anomaly")[mask] > result.record["facts"]["threshold"]).all()
    assert mask.sum() * 0.036 == pytest.approx(result.volume_ml, abs=1e-3) and result.space == ""


def test_the_lesion_table_is_the_one_on_disk(found: DetectReport) -> None:
    result = found["a"]
    with result.paths["lesions.tsv"].open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream, delimiter="\t"))
    assert [int(line["lesion"]) for line in lines] == [each.lesion for each in result.lesion_table]
    assert result.lesion_table[0].centroid_mm == tuple(float(lines[0][f"{axis}_mm"]) for axis in "xyz")
    pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert list(frame.columns) == list(lines[0]) and frame["volume_ml"].sum() == pytest.approx(result.volume_ml)
    everyone = found.to_dataframe()
    assert list(everyone["case"]) == ["a", "b"] and everyone["lesions"].tolist() == [each.lesions for each in found]
    assert everyone["error"].tolist() == ["", ""]


def test_without_pandas_a_data_frame_is_refused_and_nothing_else(
    found: DetectReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="needs pandas, which is not installed"):
        found.to_dataframe()
    with pytest.raises(UsageError, match="needs pandas, which is not installed"):
        found["a"].to_dataframe()
    assert "<table>" in found._repr_html_()


def test_a_notebook_shows_figures_and_words_and_no_address(found: DetectReport) -> None:
    for html, pictures in ((found["a"]._repr_html_(), 1), (found._repr_html_(), 2)):
        assert html.count('src="data:image/png;base64,') == html.count("<img") == pictures
        assert "http" not in html and "<script" not in html and len(html) < pictures * 400_000
    assert found["b"].warnings[0].replace("'", "&#39;") in found["b"]._repr_html_()
    odd = DetectReport("m", [CaseResult("<b>x", "failed", error="<script>bad()</script>")])
    assert "<script" not in odd._repr_html_() and "&lt;b&gt;x" in odd._repr_html_()


def test_what_was_not_asked_for_is_named_with_its_option(cohort: Path, models: Path) -> None:
    result = braincli.detect(cohort / "b", model=str(models / "threshold"), figure=False)[0]
    for kind, option in (
        ("anomaly", "anomaly_map=True"),
        ("uncertainty", "samples=5"),
        ("residual-t1", "residual=True"),
    ):
        with pytest.raises(UsageError, match=f"The result has no {kind}") as caught:
            result.image(kind)
        assert f"detect(..., {option})" in caught.value.hint and "It has: mask" in caught.value.hint
    with pytest.raises(UsageError, match="The result has no restored"):
        _ = result.restored


def test_a_resumed_case_is_the_same_result(cohort: Path, models: Path, found: DetectReport) -> None:
    folder = found["a"].paths["mask"].parents[1]
    again = braincli.detect(cohort, folder, model=str(models / "tsgm"), **ASKED, resume=True)["a"]
    assert again.status == "skipped" and again.paths == found["a"].paths
    assert again.lesion_table == found["a"].lesion_table and again.png() == found["a"].png()


def test_one_mask_file_carries_its_record_and_table(cohort: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.nii.gz"
    result = braincli.detect(cohort / "b", out, model=str(models / "threshold"), anomaly_map=True)[0]
    assert result.paths == {"mask": out, "anomaly": tmp_path / "mask_anomaly.nii.gz", "record": tmp_path / "mask.json"}
    assert result.lesion_table and result.png() is None
    out.unlink()
    with pytest.raises(InputError, match=r"mask\.nii\.gz of the result cannot be read: No such file"):
        _ = result.mask


def test_json_says_what_it_said_and_no_paths(found: DetectReport) -> None:
    content = found.as_dict()
    assert list(content["cases"][0]) == [
        "case", "status", "masks", "lesions", "volume_ml", "seconds", "warnings", "error", "exit_code",
    ]  # fmt: skip
    assert str(found["a"].paths["mask"].parent) not in json.dumps(content)
    assert repr(found) == "<report of tsgm, cases: 2, failed: 0>" and "files" not in repr(found["a"])
    assert CaseResult("a", "done").files == ResultFiles()
