"""detect on generated cases: files, grids, records, cohorts, resume. No result depends on how it was run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from phantoms import affine, brain, lesion, write, write_case
from prepared import fake_preprocess
from scipy.ndimage import binary_erosion
from tinymodels import write_model

from braincli import api
from braincli.config import DetectConfig
from braincli.detection import outputs
from braincli.detection.restore import Restoration
from braincli.detection.run import DetectReport
from braincli.errors import InputError, ModelError, QualityError, UsageError
from braincli.imaging.cases import CONTRASTS, Case, Contrast
from braincli.imaging.slices import Slices
from braincli.imaging.volume import load
from braincli.layout.found import Flat
from braincli.runtime import files

SHAPE = (40, 48, 16)  # as the case of conftest
GRID = affine("LPS", (3.0, 3.0, 4.0))


def detect(models: Path, inputs: Any, output: Path, model: str = "threshold", **options: Any) -> DetectReport:
    arguments = {name: options.pop(name) for name in ("contrast", "brain_mask") if name in options}
    config = DetectConfig(
        model=str(models / model), device="cpu", **{"threads": 2, "figure": False, "report": False, **options}
    )
    return api.detect(inputs, output, config=config, **arguments)


def record(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# what is written


def test_one_scan_gives_one_mask_and_its_record_on_the_scans_grid(models: Path, case: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "mask.nii.gz"
    report = detect(models, case / "p01_flair.nii.gz", out, figure=True)
    assert names(out.parent) == {"mask.nii.gz", "mask.json"}
    mask, scan = nib.load(out), nib.load(case / "p01_flair.nii.gz")
    assert mask.shape == scan.shape
    assert np.array_equal(mask.affine, scan.affine)
    assert [int(mask.header[f]) for f in ("qform_code", "sform_code")] == [1, 1]
    assert mask.get_data_dtype() == np.uint8
    found, known = np.asarray(mask.dataobj) > 0, load(case / "p01_seg.nii.gz", labels=True).data > 0
    assert 2 * (found & known).sum() / (found.sum() + known.sum()) > 0.6
    facts = record(out.with_name("mask.json"))["facts"]
    assert facts["contrasts"] == ["flair"] and facts["missing"] == ["t1", "t1ce", "t2"]
    assert facts["lesions"]["count"] == report.cases[0].lesions >= 1
    assert facts["mask_ml"] == pytest.approx(found.sum() * 0.036, rel=1e-3)


def test_a_case_gives_a_folder_with_everything_asked_for(models: Path, case: Path, tmp_path: Path) -> None:
    options = {
        "anomaly_map": True,
        "restored": True,
        "residual": True,
        "figure": True,
        "report": True,
        "threshold": 1.0,
    }
    detect(models, case, tmp_path / "out", "tsgm", **options)
    folder = tmp_path / "out" / "p01"
    maps = {f"p01_{kind}-{contrast}.nii.gz" for kind in ("restored", "residual") for contrast in CONTRASTS}
    rest = {"mask.nii.gz", "anomaly.nii.gz", "lesions.json", "lesions.tsv", "lesions.nii.gz", "figure.png"}
    rest |= {"report.html", "thumbnail.jpg", "record.json"}
    assert names(folder) == maps | {f"p01_{name}" for name in rest}
    content = record(folder / "p01_record.json")
    assert content["outputs"] == {
        path.name: files.sha256(path) for path in folder.iterdir() if path.name != "p01_record.json"
    }
    roles = dict(zip((*CONTRASTS, "lesion"), (*CONTRASTS, "seg"), strict=True))
    scans = {role: case / f"p01_{name}.nii.gz" for role, name in roles.items()}
    assert content["inputs"] == {
        role: {"file": path.name, "sha256": files.sha256(path)} for role, path in scans.items()
    }
    assert str(tmp_path) not in json.dumps(content)
    assert str(tmp_path) not in (folder / "p01_report.html").read_text(encoding="utf-8")
    for path in folder.glob("*.nii.gz"):
        assert np.array_equal(nib.load(path).affine, GRID), path.name


def test_restoration_is_in_the_units_of_the_scan_and_the_residual_in_shares_of_its_range(
    models: Path, case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halve(slices: Slices, *args: Any, **kwargs: Any) -> Restoration:
        return Restoration(slices, 0.5 * slices.image, None, "cpu")

    monkeypatch.setattr("braincli.detection.find.restore", halve)
    detect(models, case, tmp_path, "tsgm", restored=True, residual=True, threshold=1.0)
    scan = load(case / "p01_flair.nii.gz").data
    restored = load(tmp_path / "p01" / "p01_restored-flair.nii.gz").data
    residual = load(tmp_path / "p01" / "p01_residual-flair.nii.gz").data
    inside = scan > 0
    assert np.array_equal(restored[~inside], scan[~inside])
    assert not residual[~inside].any()
    low, high = np.percentile(scan[inside], [1, 99])
    share = ((scan - low) / (high - low)).clip(0, 1)
    core = binary_erosion(inside, iterations=3) & (residual > 0)
    assert core.sum() > 500
    assert np.corrcoef(residual[core], 0.5 * share[core])[0, 1] > 0.9
    assert np.abs(residual - 0.5 * share)[core].mean() < 0.05
    assert np.abs(restored - (low + 0.5 * share * (high - low)))[core].mean() < 0.05 * (high - low)


def test_the_table_describes_the_mask(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path)
    mask = load(tmp_path / "p01" / "p01_mask.nii.gz", labels=True)
    table = record(tmp_path / "p01" / "p01_lesions.json")
    assert table["volume_ml"] == pytest.approx(mask.data.sum() * mask.voxel_ml, rel=1e-3)
    x, y, z = np.rint(np.linalg.inv(GRID) @ [*table["lesions"][0]["centroid_mm"], 1])[:3].astype(int)
    assert mask.data[x, y, z] == 1
    assert len((tmp_path / "p01" / "p01_lesions.tsv").read_text().splitlines()) == table["count"] + 1


def test_the_lesions_image_joins_the_table_with_the_mask(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path, min_lesion_mm3=0.0)
    folder = tmp_path / "p01"
    mask, labels = (load(folder / f"p01_{kind}.nii.gz", labels=True) for kind in ("mask", "lesions"))
    assert np.array_equal(labels.data > 0, mask.data > 0) and np.array_equal(labels.affine, mask.affine)
    header, *lines = [line.split("\t") for line in (folder / "p01_lesions.tsv").read_text().splitlines()]
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    counts = np.bincount(labels.data.astype(int).ravel())[1:]
    assert len(rows) > 1 and [int(row["voxels"]) for row in rows] == counts.tolist()
    for row in rows:
        place = np.argwhere(labels.data == int(row["lesion"])).mean(axis=0)
        native = [float(row[f"native_{axis}_mm"]) for axis in "xyz"]  # of a prepared case, its own grid
        assert native == pytest.approx((GRID @ [*place, 1])[:3], abs=0.01)
        assert {row[f"atlas_{axis}_mm"] for axis in "xyz"} == {"n/a"}
        assert float(row["native_ml"]) == pytest.approx(float(row["volume_ml"]))
    bright = [float(row["flair_z"]) for row in rows]
    assert max(bright) == bright[0] > 2


def test_a_method_that_only_compares_shows_no_restoration(
    models: Path, case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="The method threshold gives a score and no restoration"):
        detect(models, case, tmp_path, restored=True)
    assert not (tmp_path / "p01").exists()
    shown: list[outputs.Shown] = []
    draw = outputs.draw_case
    monkeypatch.setattr(outputs, "draw_case", lambda what: (shown.append(what), draw(what))[1])
    detect(models, case, tmp_path, figure=True)
    detect(models, case, tmp_path / "tsgm", "tsgm", figure=True, threshold=0.5)
    assert [list(each.restored) for each in shown] == [[], list(CONTRASTS)]
    assert all(each.reference is not None and each.lesions is not None for each in shown)


def test_a_lost_page_is_made_again_and_one_that_is_not_wanted_any_more_goes(
    models: Path, case: Path, tmp_path: Path
) -> None:
    detect(models, case, tmp_path, report=True)
    page = tmp_path / "p01" / "p01_report.html"
    first = page.read_bytes()
    assert detect(models, case, tmp_path, report=True, resume=True).cases[0].status == "skipped"
    page.unlink()
    assert detect(models, case, tmp_path, report=True, resume=True).cases[0].status == "done"
    assert page.is_file() and abs(len(page.read_bytes()) - len(first)) < 200  # timings differ
    with pytest.raises(UsageError, match="exists"):
        detect(models, case, tmp_path, report=True)
    detect(models, case, tmp_path, report=False, overwrite=True)
    assert not page.exists() and not (tmp_path / "p01" / "p01_thumbnail.jpg").exists()


@pytest.mark.parametrize("axes", ["RAS", "LPI", "PIR", "SLA"])
def test_the_mask_stays_at_its_place_whatever_the_axes(models: Path, case: Path, tmp_path: Path, axes: str) -> None:
    from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

    image = nib.load(case / "p01_flair.nii.gz")
    change = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes)))
    turned = image.as_reoriented(change)
    write(tmp_path / "t_flair.nii.gz", np.asarray(turned.dataobj), turned.affine)
    detect(models, case / "p01_flair.nii.gz", tmp_path / "a.nii.gz")
    detect(models, tmp_path / "t_flair.nii.gz", tmp_path / "b.nii.gz")
    plain, other = (nib.load(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    assert np.allclose(other.affine, image.affine @ inv_ornt_aff(change, image.shape))
    assert np.array_equal(np.asarray(plain.as_reoriented(change).dataobj), np.asarray(other.dataobj))


# what does not matter


def test_results_depend_on_the_seed_and_on_nothing_else(models: Path, case: Path, tmp_path: Path) -> None:
    write_case(tmp_path / "in" / "p00", "p00", shape=SHAPE, matrix=GRID)
    runs: dict[str, tuple[Any, dict[str, Any]]] = {
        "plain": (case, {}),
        "again": (case, {}),
        "single slices": (case, {"batch": 1}),
        "in a cohort": (tmp_path / "in", {"batch": 5}),
        "other seed": (case, {"seed": 1}),
    }
    maps = {}
    for name, (inputs, options) in runs.items():
        detect(models, inputs, tmp_path / name, "tsgm", anomaly_map=True, **options)
        maps[name] = tmp_path / name / "p01" / "p01_anomaly.nii.gz"
    assert maps["plain"].read_bytes() == maps["again"].read_bytes()
    plain = load(maps["plain"]).data
    for name in ("single slices", "in a cohort"):
        assert np.abs(load(maps[name]).data - plain).max() < 1e-4
    assert np.abs(load(maps["other seed"]).data - plain).max() > 1e-4


def test_threads_change_nothing_that_is_written(models: Path, case: Path, tmp_path: Path) -> None:
    options = {"anomaly_map": True, "restored": True, "residual": True, "figure": True, "report": True}
    detect(models, case, tmp_path / "map", "tsgm", threshold=9, anomaly_map=True)
    anomaly = load(tmp_path / "map" / "p01" / "p01_anomaly.nii.gz").data
    some = float(np.quantile(anomaly[anomaly > 0], 0.9))
    written = []
    for threads in (1, 7):
        detect(models, case, tmp_path / str(threads), "tsgm", threads=threads, threshold=some, **options)
        out = tmp_path / str(threads) / "p01"
        content = {name: (out / name).read_bytes() for name in names(out)}
        page = content.pop("p01_report.html").decode()
        said = json.loads(content.pop("p01_record.json"))
        assert said["facts"]["lesions"]["count"] > 0
        pictures = re.sub(r"<pre>.*?</pre>|[0-9]+ s on cpu", "", page, flags=re.DOTALL)  # without seconds and threads
        written.append((content, pictures, list(said["outputs"]), said["facts"]))
    assert written[0] == written[1]


@pytest.mark.parametrize("model", ["threshold", "tsgm"])
def test_cropping_and_padding_the_scan_change_nothing(models: Path, tmp_path: Path, model: str) -> None:
    """Only the brain counts: air around it that is cut off or added moves no voxel of the map by 1e-3."""
    whole = brain(SHAPE) + 40 * lesion(SHAPE) * (brain(SHAPE) > 0)
    box = tuple(slice(int(v.min()), int(v.max()) + 1) for v in np.nonzero(whole))
    before, after = (9, 4, 3), (2, 11, 5)
    views = {
        "whole": (whole, (0, 0, 0)),
        "cropped": (whole[box], tuple(-s.start for s in box)),
        "padded": (np.pad(whole, list(zip(before, after, strict=True))), before),
    }
    maps = {}
    for name, (data, shift) in views.items():
        matrix = GRID.copy()
        matrix[:3, 3] -= GRID[:3, :3] @ shift
        scan = write(tmp_path / name / "p_flair.nii.gz", data.astype(np.float32), matrix)
        detect(models, scan, tmp_path / "out" / name, model, anomaly_map=True)
        found = load(tmp_path / "out" / name / "p" / "p_anomaly.nii.gz").data
        start = [s.start + n for s, n in zip(box, shift, strict=True)]
        maps[name] = found[tuple(slice(a, a + s.stop - s.start) for a, s in zip(start, box, strict=True))]
        assert found.sum() == pytest.approx(maps[name].sum()), "nothing outside the brain"
    assert maps["whole"].max() > 0.01
    for name in ("cropped", "padded"):
        assert np.abs(maps[name] - maps["whole"]).max() < 1e-3


# what is missing or wrong


def test_missing_contrasts_are_said_and_only_calibrated_ones_used(models: Path, tmp_path: Path) -> None:
    case = write_case(tmp_path / "p01", contrasts=("t2", "flair"), shape=SHAPE, matrix=GRID)
    (result,) = detect(models, case, tmp_path / "flair", "tsgm").cases
    assert record(tmp_path / "flair" / "p01" / "p01_record.json")["facts"]["weights"] == {"flair": 1.0}
    assert "missing: T1, T1CE; weights and threshold are those calibrated for flair" in result.warnings[0]
    assert "not looked at: T2" in result.warnings[1]
    (result,) = detect(models, case, tmp_path / "out", "tsgm", uncalibrated=True, threshold=0.1).cases
    assert record(tmp_path / "out" / "p01" / "p01_record.json")["facts"]["weights"] == {"flair": 1.0}


def test_contrasts_that_were_never_calibrated_need_the_users_word(models: Path, tmp_path: Path) -> None:
    case = write_case(tmp_path / "p01", contrasts=("t1ce", "t2"), shape=SHAPE, matrix=GRID)
    with pytest.raises(InputError, match="not calibrated for scans with T1CE, T2 alone") as error:
        detect(models, case, tmp_path / "out", "tsgm")
    assert "flair" in error.value.hint and "--uncalibrated" in error.value.hint
    (result,) = detect(models, case, tmp_path / "out", "tsgm", uncalibrated=True).cases
    facts = record(tmp_path / "out" / "p01" / "p01_record.json")["facts"]
    assert facts["weights"] == {"t1ce": 0.25, "t2": 0.75}
    assert facts["missing"] == ["t1", "flair"]
    assert "not calibrated for t1ce+t2" in result.warnings[0]


@pytest.mark.parametrize(("threshold", "text"), [(99.0, "the mask is empty"), (0.6, r"covers \d+% of the brain")])
def test_masks_that_can_hardly_be_right_are_warned_of(
    models: Path, case: Path, tmp_path: Path, threshold: float, text: str
) -> None:
    (result,) = detect(models, case, tmp_path, threshold=threshold).cases
    assert re.search(text, " ".join(result.warnings))


def test_smallest_lesion_is_the_users(models: Path, case: Path, tmp_path: Path) -> None:
    detect(models, case, tmp_path / "a", min_lesion_mm3=0)
    detect(models, case, tmp_path / "b", min_lesion_mm3=1e7)
    masks = [load(tmp_path / name / "p01" / "p01_mask.nii.gz", labels=True).data.sum() for name in "ab"]
    assert masks[0] > 0 and masks[1] == 0


def test_uncalibrated_model_needs_a_threshold(case: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "raw", "threshold", calibrated=False)
    with pytest.raises(ModelError, match="not calibrated"):
        detect(tmp_path, case, tmp_path / "out", "raw")
    assert detect(tmp_path, case, tmp_path / "out", "raw", threshold=0.9).cases[0].status == "done"
    weights = record(tmp_path / "out" / "p01" / "p01_record.json")["facts"]["weights"]
    assert weights == dict.fromkeys(("t1", "t1ce", "t2", "flair"), 0.25), "equal ones, until it is calibrated"


def head(path: Path) -> Path:
    """A scan with skull: bright scalp and noisy air around the brain."""
    rng = np.random.default_rng(0)
    data = brain((64, 64, 40)) + rng.uniform(1, 9, (64, 64, 40)).astype(np.float32)
    return write(path, data, affine(spacing=(4.0, 4.0, 5.0)))


def test_a_scan_with_skull_is_refused_with_the_way_out(models: Path, tmp_path: Path) -> None:
    scan = head(tmp_path / "raw_flair.nii.gz")
    with pytest.raises(InputError, match=r"raw_flair\.nii\.gz still shows the skull") as caught:
        detect(models, scan, tmp_path / "out")
    assert "--preprocess" in caught.value.hint
    assert not (tmp_path / "out").exists()
    mask = write(tmp_path / "mask.nii.gz", (brain((64, 64, 40)) > 0).astype(np.uint8), affine(spacing=(4.0, 4.0, 5.0)))
    assert detect(models, scan, tmp_path / "out", brain_mask=mask).cases[0].status == "done"


def test_contrasts_on_different_grids_are_refused(models: Path, case: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "o_t1.nii.gz", brain((30, 30, 12)), affine(spacing=(4.0, 4.0, 5.0)))
    scans = {Contrast.T1: other, Contrast.FLAIR: case / "p01_flair.nii.gz"}
    with pytest.raises(InputError, match="different sizes"):
        detect(models, scans, tmp_path / "out")


def test_an_input_is_never_overwritten(models: Path, case: Path) -> None:
    scan = case / "p01_flair.nii.gz"
    before = scan.read_bytes()
    with pytest.raises(InputError, match="is an input"):
        detect(models, scan, scan, overwrite=True)
    with pytest.raises(InputError, match="is an input"):
        detect(models, case, case / "p01_seg.nii.gz", overwrite=True)
    assert scan.read_bytes() == before


def test_outputs_are_not_replaced_unless_asked(models: Path, case: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.nii.gz"
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"mask\.nii\.gz exists"):
        detect(models, case, out)
    assert out.read_bytes() == b"mine"
    detect(models, case, out, overwrite=True)
    assert load(out, labels=True).shape == SHAPE


@pytest.mark.parametrize(
    ("inputs", "kind", "text"),
    [
        ([], UsageError, "No scan was given"),
        ({}, UsageError, "No scan was given"),
        ({Contrast.T1: Path("x.nii.gz"), Contrast.T2: Path("x.nii.gz")}, InputError, "same file"),
        (["nowhere"], InputError, "no such file"),
    ],
)
def test_unclear_requests_are_usage_errors(
    models: Path, inputs: Any, kind: type[Exception], text: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=text):
        detect(models, inputs, tmp_path / "out")


def test_case_ids_cannot_leave_the_output_folder() -> None:
    names = Flat.of("../../etc/pass wd", Path("out"))
    assert names.record().resolve().is_relative_to(Path("out").resolve())


# cohorts and resume


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        write_case(tmp_path / "cohort" / name, name, ("flair",), shape=SHAPE, matrix=GRID, seg=False)
    return tmp_path / "cohort"


def test_a_broken_case_does_not_stop_the_cohort(models: Path, cohort: Path, tmp_path: Path) -> None:
    broken = cohort / "b" / "b_flair.nii.gz"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    report = detect(models, cohort, tmp_path / "out")
    assert [case.status for case in report.cases] == ["done", "failed", "done"]
    assert report.failures[0].exit_code == 3 and "b_flair.nii.gz" in report.failures[0].error
    assert not (tmp_path / "out" / "b").exists()

    broken.write_bytes(whole)
    report = detect(models, cohort, tmp_path / "out", resume=True)
    assert [case.status for case in report.cases] == ["skipped", "done", "skipped"]
    assert report.cases[0].lesions == report.cases[1].lesions and report.cases[0].masks == {"": "a_mask.nii.gz"}


def test_a_bug_in_one_case_is_reported_as_its_failure(
    models: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from braincli.detection import detector

    real = detector.load_images
    monkeypatch.setattr(detector, "load_images", lambda case, **how: 1 / 0 if case.id == "a" else real(case, **how))
    report = detect(models, cohort, tmp_path / "out")
    assert [case.status for case in report.cases] == ["failed", "done", "done"]
    assert report.cases[0].error == "internal error: ZeroDivisionError: division by zero"


def test_resume_trusts_only_a_matching_record(models: Path, cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    detect(models, cohort / "a", out)
    mask = out / "a" / "a_mask.nii.gz"
    assert detect(models, cohort / "a", out, resume=True).cases[0].status == "skipped"

    with pytest.raises(UsageError, match="other inputs, options or model"):
        detect(models, cohort / "a", out, resume=True, threshold=0.5)
    good = mask.read_bytes()
    mask.write_bytes(b"damaged")
    assert detect(models, cohort / "a", out, resume=True, overwrite=True).cases[0].status == "done"
    assert mask.read_bytes() == good

    (out / "a" / "a_record.json").unlink()  # nothing says any more whose files these are
    with pytest.raises(UsageError, match="No record says that an earlier run wrote it"):
        detect(models, cohort / "a", out, resume=True)


def test_a_failed_rerun_leaves_no_done_record_of_the_old_one(
    models: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detect(models, cohort / "a", tmp_path)

    monkeypatch.setattr(outputs, "table_tsv", lambda *lesions, **how: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        detect(models, cohort / "a", tmp_path, overwrite=True, threshold=0.5)
    assert record(tmp_path / "a" / "a_record.json")["status"] == "running"


def test_several_cases_need_a_folder_and_names_of_their_own(models: Path, cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one file for 3 cases"):
        detect(models, cohort, tmp_path / "mask.nii.gz")
    twins = [Case("x", {Contrast.FLAIR: cohort / name / f"{name}_flair.nii.gz"}) for name in "ab"]
    with pytest.raises(UsageError, match="Two cases are called x"):
        detect(models, twins, tmp_path / "out")
    with pytest.raises(ModelError, match="no model"):
        detect(models, cohort, tmp_path / "out", "missing")


# raw cases


def test_raw_case_gives_masks_in_atlas_space_and_on_every_native_grid(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braincli.preprocessing.chain.preprocess_case", fake_preprocess)
    write(tmp_path / "p" / "p_t1.nii.gz", brain(SHAPE), GRID)
    write(tmp_path / "p" / "p_flair.nii.gz", brain((30, 48, 16)), affine("LPS", (4.0, 3.0, 4.0)))
    options = {"preprocess": True, "anomaly_map": True, "threshold": 0.7}
    report = detect(models, tmp_path / "p", tmp_path / "out", **options)
    folder = tmp_path / "out" / "sub-p"
    spaces = {"SRI24": "SRI24", "t1": "T1w", "flair": "FLAIR"}
    kinds = ("label-L_desc-threshold_mask", "desc-threshold_anomaly", "desc-threshold_dseg")
    volumes = {f"sub-p_space-{space}_{kind}" for space in spaces.values() for kind in kinds}
    expected = {f"{name}.{ending}" for name in volumes for ending in ("nii.gz", "json")}
    assert names(folder / "anat") == expected | {f"sub-p_desc-threshold_dseg.{ending}" for ending in ("tsv", "json")}
    assert names(folder) == {"anat", "sub-p_desc-threshold_record.json"}
    mask_of = {space: f"sub-p_space-{name}_label-L_desc-threshold_mask.nii.gz" for space, name in spaces.items()}
    assert report.cases[0].masks == mask_of
    atlas, t1, flair = (load(folder / "anat" / name, labels=True) for name in mask_of.values())
    assert flair.shape == (30, 48, 16) and np.array_equal(t1.affine, GRID)
    assert atlas.data.any() and np.array_equal(atlas.data, t1.data)  # same voxels, 5 mm apart in the world
    for space, mask in zip(spaces.values(), (atlas, t1, flair), strict=True):
        labels = load(folder / "anat" / f"sub-p_space-{space}_desc-threshold_dseg.nii.gz", labels=True)
        assert np.array_equal(labels.data > 0, mask.data > 0) and np.array_equal(labels.affine, mask.affine)
    content = record(folder / "sub-p_desc-threshold_record.json")
    first = content["facts"]["lesions"]["lesions"][0]
    assert first["centroid_atlas_mm"] == first["centroid_mm"]
    shift = np.subtract(first["centroid_native_mm"], first["centroid_mm"])  # what fake_preprocess moved it by
    assert np.linalg.norm(shift) == pytest.approx(5, abs=0.02)
    assert "tilted" in report.cases[0].warnings
    assert content["facts"]["preprocess"]["qc"] == {"atlas_dsc": 0.9}
    again = detect(models, tmp_path / "p", tmp_path / "out", resume=True, **options)
    assert again.cases[0].status == "skipped" and again.cases[0].masks == mask_of


def test_restorations_of_a_raw_case_lie_on_its_own_grids_too(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braincli.preprocessing.chain.preprocess_case", fake_preprocess)
    for contrast in ("t1ce", "t2"):
        write(tmp_path / "p" / f"p_{contrast}.nii.gz", brain(SHAPE), GRID)
    options = {"preprocess": True, "restored": True, "residual": True, "threshold": 0.5, "uncalibrated": True}
    detect(models, tmp_path / "p", tmp_path / "out", "tsgm", **options)
    anat = tmp_path / "out" / "sub-p" / "anat"
    for what in ("restored", "residual"):
        for contrast, space in (("ce-gd", "T1wCE"), ("", "T2w")):
            ends = f"desc-tsgm{what}_{'T1w' if contrast else 'T2w'}.nii.gz"
            start = "_".join(filter(None, ("sub-p", contrast)))
            atlas, native = (load(anat / f"{start}_space-{each}_{ends}") for each in ("SRI24", space))
            assert atlas.data.any() and np.array_equal(native.affine, GRID)
            assert np.allclose(native.data, atlas.data, atol=1e-5)  # same voxels, 5 mm apart in the world
    told = record(anat / "sub-p_space-T2w_desc-tsgmrestored_T2w.json")
    assert told["SkullStripped"] is True and told["SpatialReference"] == "bids:raw:p_t2.nii.gz"
    assert told["Sources"] == [
        f"bids::sub-p/anat/sub-p_{name}"
        for name in (
            "space-SRI24_desc-tsgmrestored_T2w.nii.gz",
            "from-SRI24_to-T2w_mode-image_xfm.mat",
        )
    ]


@pytest.mark.parametrize("overwrite", [False, True])
def test_prepared_scans_of_the_same_inputs_are_taken_as_they_are(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    asked: list[tuple[Path, bool, bool]] = []

    def preprocess(case: Case, out: Path, config: Any, reporter: Any) -> Any:
        asked.append((out, config.resume, config.overwrite))
        return fake_preprocess(case, out, config, reporter)

    monkeypatch.setattr("braincli.preprocessing.chain.preprocess_case", preprocess)
    scan = write(tmp_path / "p" / "p_t1.nii.gz", brain(SHAPE), GRID)
    out = tmp_path / "out"
    detect(models, scan, out, preprocess=True, threshold=0.7, overwrite=overwrite)
    assert asked == [(out, True, overwrite)]
    detect(models, scan, tmp_path / "mask.nii.gz", preprocess=True, threshold=0.7)
    assert names(tmp_path) == {"mask.nii.gz", "mask.json", "out", "p"}, "of one mask nothing else is kept"


def test_a_raw_case_that_is_mostly_marked_keeps_its_maps_on_every_grid(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braincli.preprocessing.chain.preprocess_case", fake_preprocess)
    write(tmp_path / "p" / "p_t1.nii.gz", brain(SHAPE), GRID)
    with pytest.raises(QualityError, match="no mask was written"):
        detect(models, tmp_path / "p", tmp_path / "out", preprocess=True, threshold=0.0)
    maps = {f"sub-p_space-{space}_desc-threshold_anomaly" for space in ("SRI24", "T1w")}
    anat = tmp_path / "out" / "sub-p" / "anat"
    assert names(anat) == {f"{name}.{ending}" for name in maps for ending in ("nii.gz", "json")}
    assert record(anat.parent / "sub-p_desc-threshold_record.json")["status"] == "failed"


def test_one_raw_scan_to_one_mask_file_and_several_to_a_folder(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("braincli.preprocessing.chain.preprocess_case", fake_preprocess)
    for contrast in ("t1", "flair"):
        write(tmp_path / "p" / f"p_{contrast}.nii.gz", brain(SHAPE), GRID)
    out = tmp_path / "out" / "mask.nii.gz"
    with pytest.raises(UsageError, match="one mask file cannot serve them all"):
        detect(models, tmp_path / "p", out, preprocess=True)
    detect(models, tmp_path / "p" / "p_flair.nii.gz", out, preprocess=True)
    assert names(out.parent) == {"mask.nii.gz", "mask.json"}
    assert np.array_equal(load(out, labels=True).affine, GRID)
