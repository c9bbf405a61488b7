"""The files of a data set: what they say, whose they are, and how sources are named in them."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from phantoms import touch

from braincli import __version__
from braincli.errors import UsageError
from braincli.layout.dataset import DESCRIPTION, open_dataset


def described(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))
    return content


def raw(root: Path, **content: str) -> Path:
    """The FLAIR scan of a data set with two participants."""
    touch(root, "sub-01/anat/sub-01_FLAIR.nii.gz", "sub-02/anat/sub-02_FLAIR.nii.gz")
    (root / DESCRIPTION).write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0", **content}))
    return root / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz"


def test_a_derivative_says_what_it_is_and_where_its_sources_lie(tmp_path: Path) -> None:
    scan = raw(tmp_path / "raw", DatasetDOI="doi:10.1/x")
    out = tmp_path / "raw" / "derivatives" / "braincli"
    dataset = open_dataset(out, [scan])
    content = described(out)
    assert content["DatasetType"] == "derivative" and content["BIDSVersion"].startswith("1.")
    assert [(by["Name"], by["Version"]) for by in content["GeneratedBy"]] == [("braincli", __version__)]
    assert content["DatasetLinks"] == {"raw": "../.."} and str(tmp_path) not in json.dumps(content)
    assert content["SourceDatasets"] == [{"URL": "../..", "DOI": "doi:10.1/x"}]
    assert dataset.uri(scan) == "bids:raw:sub-01/anat/sub-01_FLAIR.nii.gz"
    assert dataset.uri(out / "sub-01" / "anat" / "a b_mask.nii.gz") == "bids::sub-01/anat/a%20b_mask.nii.gz"
    assert "SRI24" in (out / "README.md").read_text() and "*_xfm.mat" in (out / ".bidsignore").read_text()
    assert sorted(path.name for path in out.iterdir()) == [".bidsignore", "README.md", DESCRIPTION]


def test_every_data_set_gets_a_link_once(tmp_path: Path) -> None:
    first, second = raw(tmp_path / "a"), raw(tmp_path / "b")
    loose = touch(tmp_path / "c", "p1/p1_flair.nii.gz") / "p1" / "p1_flair.nii.gz"
    out = tmp_path / "out"
    for sources in ([first], [second, loose], [first, second], [tmp_path / "a/sub-02/anat/sub-02_FLAIR.nii.gz"]):
        dataset = open_dataset(out, sources)
    assert described(out)["DatasetLinks"] == {"raw": "../a", "raw2": "../b", "raw3": "../c/p1"}
    assert [dataset.uri(path).split(":")[1] for path in (first, second, loose)] == ["raw", "raw2", "raw3"]
    assert dataset.uri(loose) == "bids:raw3:p1_flair.nii.gz"
    prepared = open_dataset(tmp_path / "found", [out / "sub-01" / "anat" / "x_FLAIR.nii.gz"])
    assert prepared.uri(out / "sub-01" / "anat" / "x_FLAIR.nii.gz") == "bids:derivative:sub-01/anat/x_FLAIR.nii.gz"


def test_no_link_leads_to_what_is_gone_at_the_end(tmp_path: Path) -> None:
    """Scans in memory and series of DICOM are files for as long as a command runs."""
    with TemporaryDirectory(prefix="braincli-") as folder:
        scan = Path(folder) / "x" / "series3_flair.nii"
        touch(Path(folder), "x/series3_flair.nii")
        dataset = open_dataset(tmp_path, [scan])
        assert dataset.uri(scan) == "series3_flair.nii"
    assert "DatasetLinks" not in described(tmp_path)


def test_files_of_others_stay_as_they_are(tmp_path: Path) -> None:
    scan, out = raw(tmp_path / "raw"), tmp_path / "out"
    theirs = '{"Name": "mine", "BIDSVersion": "1.8.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "x"}]}'
    touch(out, "README.md", ".bidsignore")
    (out / DESCRIPTION).write_text(theirs)
    assert open_dataset(out, [scan]).uri(scan) == "sub-01_FLAIR.nii.gz"  # its name, and no link that leads nowhere
    assert (out / DESCRIPTION).read_text() == theirs and (out / "README.md").read_bytes() == b""


@pytest.mark.parametrize("kind", [{}, {"DatasetType": "raw"}])
def test_nothing_is_written_into_a_data_set_of_raw_scans(tmp_path: Path, kind: dict[str, str]) -> None:
    scan = raw(tmp_path / "raw", **kind)
    with pytest.raises(UsageError, match="raw is a data set of raw scans") as caught:
        open_dataset(tmp_path / "raw", [scan])
    assert "derivatives" in caught.value.hint
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [DESCRIPTION, "sub-01", "sub-02"]


def _open(out: Path, scan: Path) -> None:
    open_dataset(out, [scan])


def test_processes_that_begin_together_lose_no_link(tmp_path: Path) -> None:
    scans = [raw(tmp_path / f"r{number}") for number in range(3)]
    context = multiprocessing.get_context("spawn")
    parts = [context.Process(target=_open, args=(tmp_path / "out", scan)) for scan in scans]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    assert {part.exitcode for part in parts} == {0}
    assert sorted(described(tmp_path / "out")["DatasetLinks"].values()) == ["../r0", "../r1", "../r2"]
