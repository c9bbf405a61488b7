"""Real outputs, before the judges: the validator of BIDS, and pybids, which others query them with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from heads import turned
from typer.testing import CliRunner

import braincli
from braincli.cli import app
from braincli.config import DetectConfig, PreprocessConfig
from braincli.imaging import volume
from braincli.imaging.volume import Volume
from braincli.layout.bids import IGNORED
from braincli.preprocessing import register
from braincli.preprocessing.atlas import load_atlas

VALIDATOR = shutil.which("bids-validator-deno", path=sysconfig.get_path("scripts")) or shutil.which(
    "bids-validator-deno"
)
needs_validator = pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed (extra dev)")
MAPS = {"anomaly_map": True, "restored": True, "residual": True}


def write_participant(root: Path, place: str, name: str) -> None:
    """A small head with three contrasts, one of them after contrast agent and turned, with its brain mask."""
    head, brain = (register.coarse(load_atlas(stripped), 5.0) for stripped in (False, True))
    dark = Volume(np.where(head.data > 20, 250.0 - head.data * 0.6, 2.0).astype(np.float32), head.affine)
    scans = {
        "T1w": Volume(head.data + 3.0, head.affine),
        "ce-gd_T1w": Volume(head.data * 1.1 + 3.0, turned(6.0, (3.0, -2.0, 4.0)) @ head.affine),
        "FLAIR": dark,
        "desc-brain_mask": Volume((brain.data > 0).astype(np.uint8), head.affine),
    }
    for suffix, content in scans.items():
        volume.save(content, root / place / "anat" / f"{name}_{suffix}.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "heads", "BIDSVersion": "1.10.0"}')


@pytest.fixture(scope="module")
def derivative(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What preprocess and detect, two models, leave of two participants, one of whom has a session."""
    folder = tmp_path_factory.mktemp("bids")
    root, out = folder / "raw", folder / "raw" / "derivatives" / "braincli"
    write_participant(root, "sub-01", "sub-01")
    write_participant(root, "sub-02/ses-1", "sub-02_ses-1")
    quick = PreprocessConfig(
        space="native", skip=frozenset({"n4", "coregister"}), threads=1, keep_intermediates=True, device="cpu"
    )
    braincli.preprocess(root, out, quick)
    plain = {"figure": False, "report": False, "threshold": 0.9}
    for model, more in (("tsgm", {**MAPS, "samples": 2, "threshold": 0.1}), ("threshold", plain)):
        config = DetectConfig(model=str(models / model), threads=1, device="cpu", uncalibrated=True, **more)
        assert not braincli.detect(out, out, config).failures
    (out / "sub-01" / "anat" / "sub-01_space-FLAIR_label-L_desc-tsgm_seg.dcm").touch()  # as of a study of DICOM
    return out


def complaints(root: Path) -> list[tuple[str, str]]:
    """Code and place of every error."""
    assert VALIDATOR is not None
    done = subprocess.run([VALIDATOR, str(root), "--json"], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [(issue["code"], issue.get("location", "")) for issue in issues if issue["severity"] == "error"]


def relative(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def is_ignored(path: str) -> bool:
    return any(
        fnmatch(f"/{path}", pattern if pattern.startswith("/") else f"*/{pattern}")
        or (pattern == "figures" and "/figures/" in path)
        for pattern in IGNORED
    )


@needs_validator
def test_the_validator_finds_no_error(derivative: Path) -> None:
    assert complaints(derivative) == []


@needs_validator
def test_only_what_bids_has_no_name_for_is_ignored(derivative: Path, tmp_path: Path) -> None:
    shutil.copytree(derivative, tmp_path / "copy")
    (tmp_path / "copy" / ".bidsignore").unlink()
    places = {place.strip("/") for code, place in complaints(tmp_path / "copy") if code == "NOT_INCLUDED"}
    refused = {place for place in places if not place.endswith("/figures")}  # folders come beside what is in them
    inside = {path for path in relative(derivative) if is_ignored(path)}
    assert refused == inside
    unused = [pattern for pattern in IGNORED if not any(fnmatch(f"/{p}", f"*{pattern}*") for p in inside)]
    assert unused == []


def test_names_and_sidecars_lead_to_their_sources(derivative: Path) -> None:
    volumes = list(derivative.rglob("*.nii.gz"))
    assert len(volumes) > 25
    links = json.loads((derivative / "dataset_description.json").read_text())["DatasetLinks"]
    assert links == {"raw": "../.."}
    for path in volumes:
        told = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert told["Sources"] and told["Description"] and told["SpatialReference"], path.name
        for uri in [*told["Sources"], told["SpatialReference"]]:
            scheme, name, inside = uri.split(":")
            assert scheme == "bids" and (derivative / links.get(name, ".") / inside).is_file(), uri
        assert ("SkullStripped" in told) != path.name.endswith(("_mask.nii.gz", "_dseg.nii.gz"))
        assert path.parent.name == "anat"
        assert told.get("SkullStripped", True) is ("desc-head" not in path.name)


def test_pybids_finds_and_reads_them(derivative: Path) -> None:
    bids = pytest.importorskip("bids", reason="pybids is not installed (extra dev)")
    layout = bids.BIDSLayout(derivative.parents[1], derivatives=derivative, validate=True)
    query = {"scope": "derivatives", "extension": ".nii.gz"}
    masks = layout.get(**query, suffix="mask", label="L", desc="tsgm")
    assert [(m.entities["subject"], m.entities.get("session")) for m in masks] == [("01", None), ("02", "1")]
    assert masks[0].get_metadata()["Type"] == "Lesion"
    prepared = layout.get(**query, desc="preproc", suffix="T1w", ceagent="gd", space="orig")
    assert len(prepared) == 2 and prepared[0].get_metadata()["SkullStripped"] is True
    (table,) = layout.get(scope="derivatives", suffix="dseg", extension=".tsv", desc="tsgm", subject="02")
    frame = table.get_df()
    assert list(frame.columns[:2]) == ["index", "name"]
    assert set(frame.columns[2:]) <= set(table.get_metadata())


@pytest.mark.slow
@needs_validator
def test_the_bids_app_leaves_a_valid_derivative(models: Path, tmp_path: Path) -> None:
    """The whole chain but brain extraction, whose mask lies beside the scans."""
    write_participant(tmp_path / "raw", "sub-01/ses-a", "sub-01_ses-a")
    (tmp_path / "raw" / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_ce-gd_T1w.nii.gz").unlink()
    out = tmp_path / "out"
    words = ["bids", str(tmp_path / "raw"), str(out), "participant", "--model", str(models / "threshold"), "-q"]
    result = CliRunner().invoke(app, [*words, "--anomaly-map", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert complaints(out) == []
    found = {path.name for path in (out / "sub-01" / "ses-a" / "anat").glob("*_mask.nii.gz")}
    spaces = ("SRI24", "T1w", "FLAIR")
    masks = {f"sub-01_ses-a_space-{space}_label-L_desc-threshold_mask.nii.gz" for space in spaces}
    assert found == masks | {"sub-01_ses-a_space-SRI24_desc-brain_mask.nii.gz"}
    again = CliRunner().invoke(app, [*words, "--anomaly-map", "--device", "cpu", "--resume", "--json"])
    assert json.loads(again.stdout)["cases"][0]["status"] == "skipped"
