"""Scoring files: grids, empties, failures, aggregates, comparison."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from braincli import api
from braincli.config import ScoreConfig
from braincli.errors import InputError, UsageError
from braincli.imaging import volume
from braincli.imaging.volume import Volume

AFFINE = np.array([[-2.0, 0, 0, 10], [0, -1.0, 0, 20], [0, 0, 3.0, -5], [0, 0, 0, 1]])
FAST = {"bootstrap": 200, "permutations": 200}


def block(*edges: int, value: int = 1, shape: tuple[int, int, int] = (12, 10, 8)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    if edges:
        mask[edges[0] : edges[1], 2:6, 2:5] = value
    return mask


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    volume.save(Volume(data, affine), path)
    return path


def cohort(root: Path) -> tuple[Path, Path]:
    """Four cases: overlap, both empty, missed, false alarm; 1 ml = 1000/6 voxels."""
    edges = {"a": ((2, 6), (4, 8)), "b": ((), ()), "c": ((), (2, 6)), "d": ((2, 6), ())}
    for case, (pred, ref) in edges.items():
        save(root / f"run/{case}/{case}_mask.nii.gz", block(*pred))
        save(root / f"ref/{case}_seg.nii.gz", block(*ref))
        save(root / f"run/{case}/{case}_desc-xanomaly.nii.gz", block(*pred).astype(np.float32) * 0.7 + 0.1)
    return root / "run", root / "ref"


def test_empty_policy_row_by_row(tmp_path: Path) -> None:
    report = api.score(*cohort(tmp_path), config=ScoreConfig(**FAST))
    a, b, c, d = report.cases
    assert (a.empty, b.empty, c.empty, d.empty) == ("", "both", "prediction", "reference")
    assert a.values["dsc"] == 0.5 and a.values["hd95_mm"] == 4.0 and a.values["volume_error_ml"] == 0
    perfect = ("dsc", "iou", "precision", "recall", "lesion_recall", "lesion_precision")
    assert [b.values[name] for name in perfect] == [1.0] * 6 and b.values["hd95_mm"] == 0
    assert (c.values["dsc"], c.values["recall"], c.values["precision"], c.values["hd95_mm"]) == (
        0,
        0,
        None,
        None,
    )
    assert (d.values["dsc"], d.values["recall"], d.values["precision"], d.values["hd95_mm"]) == (
        0,
        None,
        0,
        None,
    )
    diagonal = float(np.linalg.norm([24, 10, 24]))
    assert c.penalties["hd95_mm"] == d.penalties["hd95_mm"] == pytest.approx(diagonal)
    assert d.values["auprc"] is None and c.values["auprc"] is not None

    hd95 = report.aggregate["hd95_mm"]
    assert (hd95["n"], hd95["undefined"], hd95["mean_defined"]) == (4, 2, 2.0)
    assert hd95["mean"] == hd95["mean_with_penalty"] == pytest.approx((4 + 0 + 2 * diagonal) / 4)
    assert report.aggregate["precision"]["mean_defined"] == pytest.approx(0.5)
    assert report.aggregate["precision"]["mean"] == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    missing = api.score(*(tmp_path / name for name in ("run", "ref")), config=ScoreConfig(empty="null", **FAST))
    assert (missing.aggregate["hd95_mm"]["n"], missing.aggregate["hd95_mm"]["mean"]) == (2, 2.0)


def test_a_case_whose_mask_was_refused_keeps_the_figures_of_its_map(tmp_path: Path) -> None:
    """detect leaves the anomaly map alone where it would mark more than half of a brain."""
    run, ref = cohort(tmp_path)
    whole = api.score(run, ref, config=ScoreConfig(**FAST))
    (run / "a" / "a_mask.nii.gz").unlink()
    report = api.score(run, ref, config=ScoreConfig(**FAST))
    a = report.cases[0]
    assert a.error == "No prediction for a_seg.nii.gz. Its anomaly map is scored." and report.failed == (a,)
    for name in ("auprc", "auroc", "best_dsc"):
        assert a.values[name] == whole.cases[0].values[name] is not None
        assert report.aggregate[name] == whole.aggregate[name], "no case is dropped"
    assert report.pooled["auprc"] == whole.pooled["auprc"]
    assert "dsc" not in a.values and a.penalties["dsc"] == 0 and report.aggregate["dsc"]["undefined"] == 1
    assert report.aggregate["dsc"]["mean"] == pytest.approx(whole.aggregate["dsc"]["mean"] - 0.5 / 4)
    (run / "a" / "a_desc-xanomaly.nii.gz").unlink()
    gone = api.score(run, ref, config=ScoreConfig(**FAST)).cases[0]
    assert gone.error == "No prediction for a_seg.nii.gz." and gone.values == {}


def test_pooled_figures_count_all_voxels(tmp_path: Path) -> None:
    report = api.score(*cohort(tmp_path), config=ScoreConfig(**FAST))
    lesion = 4 * 4 * 3
    assert report.pooled["dsc"] == pytest.approx(2 * lesion / 2 / (4 * lesion))
    assert report.pooled["recall"] == pytest.approx(lesion / 2 / (2 * lesion))
    assert report.pooled["best_dsc_threshold"] == pytest.approx(0.8, rel=1e-3)


def test_penalty_is_shown_or_left_out(tmp_path: Path) -> None:
    run, ref = cohort(tmp_path)
    for empty, shown in (("penalty", True), ("null", False)):
        report = api.score(run, ref, config=ScoreConfig(empty=empty, **FAST))
        rows = {row["case"]: row for row in csv.DictReader(io.StringIO(report.as_csv()))}
        assert bool(rows["c"]["hd95_mm"]) is shown
        assert rows["c"]["precision"] == ("0" if shown else "")
        assert rows["d"]["volume_error"] == ""  # there is no worst one
        assert float(rows["a"]["dsc"]) == 0.5


def test_reference_grid_in_other_axis_order_is_the_same_place(tmp_path: Path) -> None:
    pred = Volume(block(2, 6), AFFINE)
    ref = save(tmp_path / "ref.nii.gz", block(4, 8))
    turned = volume.reorient(pred, "PIR")
    save(tmp_path / "pred.nii.gz", turned.data, turned.affine)
    (case,) = api.score(tmp_path / "pred.nii.gz", ref).cases
    assert case.values["dsc"] == 0.5 and case.warnings == ()


def test_other_grids_are_refused_unless_asked(tmp_path: Path) -> None:
    ref = save(tmp_path / "ref.nii.gz", block(4, 8))
    fine = AFFINE @ np.diag([0.5, 1, 1, 1])
    pred = save(tmp_path / "pred.nii.gz", np.repeat(block(2, 6), 2, axis=0), fine)
    with pytest.raises(InputError, match="different sizes") as caught:
        api.score(pred, ref)
    assert "--resample-labels" in caught.value.hint
    (case,) = api.score(pred, ref, config=ScoreConfig(resample_labels=True)).cases
    assert case.values["dsc"] == pytest.approx(0.5, abs=0.15)  # half a voxel of shift
    assert "Resampled, as asked" in case.warnings[0]


def test_lost_origin_is_scored_by_voxel_with_a_warning(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[1, 3] -= 239  # as in masks of BraTS 2017
    ref = save(tmp_path / "ref.nii.gz", block(4, 8), moved)
    pred = save(tmp_path / "pred.nii.gz", block(2, 6))
    (case,) = api.score(pred, ref).cases
    assert case.values["dsc"] == 0.5 and "lost its origin" in case.warnings[0]
    moved[1, 3] += 238  # one voxel off: a real shift, and none that may be ignored
    with pytest.raises(InputError, match="1 mm apart"):
        api.score(pred, save(tmp_path / "near.nii.gz", block(4, 8), moved))


def test_the_grid_decides_between_several_masks(tmp_path: Path) -> None:
    save(tmp_path / "run/p_space-orig_mask.nii.gz", block(2, 6))
    save(tmp_path / "run/p_space-SRI24_mask.nii.gz", block(2, 6, shape=(14, 14, 14)), np.eye(4))
    ref = save(tmp_path / "p_seg.nii.gz", block(2, 6))
    (case,) = api.score(tmp_path / "run", ref).cases
    assert case.prediction == "p_space-orig_mask.nii.gz" and case.values["dsc"] == 1.0
    save(tmp_path / "run/p_again_mask.nii.gz", block(2, 6))
    with pytest.raises(InputError, match="several lie on the reference's grid"):
        api.score(tmp_path / "run", ref)


def test_labels_choose_the_lesion(tmp_path: Path) -> None:
    both = block(2, 6) + block(4, 6, value=3)  # labels 1 and 4
    pred, ref = save(tmp_path / "p.nii.gz", both), save(tmp_path / "r.nii.gz", block(4, 6, value=4))
    assert api.score(pred, ref).cases[0].values["precision"] == 0.5
    assert api.score(pred, ref, config=ScoreConfig(labels=(4,))).cases[0].values["dsc"] == 1.0


def test_brain_mask_is_the_domain(tmp_path: Path) -> None:
    run, ref = cohort(tmp_path)
    brain = save(tmp_path / "brain.nii.gz", block(0, 9))
    report = api.score(run, ref, brain=brain, config=ScoreConfig(**FAST))
    case = report.cases[0]
    assert case.domain == "brain mask" and report.as_dict()["domain"] == ["brain mask"]
    inside, lesion = 9 * 12, 4 * 12
    assert case.values["specificity"] == pytest.approx(1 - (lesion / 2) / (inside - lesion))
    assert case.values["dsc"] == 0.5  # overlap stays that of the whole volume
    small = save(tmp_path / "small.nii.gz", block(0, 6))
    assert "50.0 % of the reference" in api.score(run, ref, brain=small).cases[0].warnings[0]


def test_constant_map_and_map_given_as_mask(tmp_path: Path) -> None:
    pred, ref = save(tmp_path / "p_mask.nii.gz", block(2, 6)), save(tmp_path / "r.nii.gz", block(2, 6))
    save(tmp_path / "p_anomaly.nii.gz", np.full((12, 10, 8), 0.3, np.float32))
    (case,) = api.score(pred, ref).cases
    assert case.values["auroc"] == 0.5 and case.anomaly == "p_anomaly.nii.gz"
    ramp = save(tmp_path / "ramp.nii.gz", np.linspace(0, 1, 960, dtype=np.float32).reshape(12, 10, 8))
    with pytest.raises(InputError, match=r"ramp.nii.gz is no mask") as caught:
        api.score(ramp, ref)
    assert "--anomaly-map" in caught.value.hint
    assert api.score(pred, ref, anomaly=ramp).cases[0].anomaly == "ramp.nii.gz"


def test_failed_cases_are_rows_and_count_as_worst(tmp_path: Path) -> None:
    run, ref = cohort(tmp_path)
    (run / "a/a_mask.nii.gz").write_bytes(b"not an image")
    (run / "b/b_mask.nii.gz").unlink()
    report = api.score(run, ref, config=ScoreConfig(**FAST))
    assert [case.case for case in report.failed] == ["a", "b"]
    assert "No prediction for b_seg.nii.gz" in report.cases[1].error
    dsc = report.aggregate["dsc"]
    assert (dsc["n"], dsc["undefined"], dsc["mean_with_penalty"]) == (4, 2, 0.0)
    assert str(tmp_path) not in json.dumps(report.as_dict())


@pytest.mark.parametrize("empty", ["penalty", "null"])
def test_who_averages_the_csv_gets_the_mean(empty: str, tmp_path: Path) -> None:
    run, ref = cohort(tmp_path)
    save(ref / "e_seg.nii.gz", block(2, 6))  # there is no prediction
    (run / "a/a_mask.nii.gz").write_bytes(b"not an image")
    report = api.score(run, ref, config=ScoreConfig(empty=empty, **FAST))
    rows = list(csv.DictReader(io.StringIO(report.as_csv())))
    for name, figures in report.aggregate.items():
        cells = [float(row[name]) for row in rows if row[name]]
        assert figures["n"] == len(cells)
        assert figures["mean"] == (pytest.approx(sum(cells) / len(cells), rel=1e-5) if cells else None), name
    dsc = {row["case"]: row["dsc"] for row in rows}
    assert dsc["e"] == dsc["a"] == ("0" if empty == "penalty" else "")
    assert report.aggregate["dsc"]["mean"] == pytest.approx(0.2 if empty == "penalty" else 1 / 3)
    assert "one rule for table, CSV, mean" in report.as_dict()["definitions"]["empty"]


def test_a_binary_prediction_means_lesion_whatever_label_is_asked_for(tmp_path: Path) -> None:
    labelled = block(2, 8, value=2)
    labelled[4:6, 2:6, 2:5] = 4
    ref = save(tmp_path / "r_seg.nii.gz", labelled)
    for name, value in (("one", 1), ("full", 255)):
        (case,) = api.score(save(tmp_path / f"{name}.nii.gz", block(4, 6, value=value)), ref, config=ET).cases
        assert case.values["dsc"] == 1.0, name
    (case,) = api.score(save(tmp_path / "edema.nii.gz", block(2, 8, value=2)), ref, config=ET).cases
    assert case.values["dsc"] == 0.0 and case.empty == "prediction"  # its one value is a label of the reference


ET = ScoreConfig(labels=(4,), bootstrap=0)


def test_whether_predictions_are_binary_is_told_by_the_run(tmp_path: Path) -> None:
    both = block(2, 8, value=1)
    both[4:6, 2:6, 2:5] = 4
    for case in "ab":
        save(tmp_path / f"ref/{case}_seg.nii.gz", both)
    save(tmp_path / "run/a_seg.nii.gz", both)
    save(tmp_path / "run/b_seg.nii.gz", block(2, 8, value=1))  # necrosis alone: no enhancing tumour was predicted
    a, b = api.score(tmp_path / "run", tmp_path / "ref", config=ET).cases
    assert (a.values["dsc"], b.values["dsc"]) == (1.0, 0.0)


def test_a_label_that_no_reference_holds_is_an_error(tmp_path: Path) -> None:
    pred = save(tmp_path / "p.nii.gz", block(2, 6, value=2))
    newer = block(2, 8, value=2)
    newer[4:6, 2:6, 2:5] = 3
    with pytest.raises(InputError, match="no reference holds label 4; the labels that occur are 2, 3") as raised:
        api.score(pred, save(tmp_path / "r.nii.gz", newer), config=ET)
    assert "4 until 2021 and 3 since 2023" in raised.value.hint
    empty = save(tmp_path / "e.nii.gz", block())
    assert api.score(save(tmp_path / "n.nii.gz", block()), empty, config=ET).cases[0].values["dsc"] == 1.0


@pytest.mark.parametrize(("value", "words"), [(-1, "values below 0 .down to -1"), (np.nan, "NaN or infinite")])
def test_what_is_no_label_is_refused(value: float, words: str, tmp_path: Path) -> None:
    data = block().astype(np.float32)
    data[3, 3, 3] = value
    odd, ref = save(tmp_path / "odd.nii.gz", data), save(tmp_path / "r.nii.gz", block(2, 6))
    for pair in ((odd, ref), (ref, odd)):
        with pytest.raises(InputError, match=f"odd.nii.gz .*{words}"):
            api.score(*pair)


def test_two_references_of_one_case_do_not_stop_the_others(tmp_path: Path) -> None:
    run, ref = cohort(tmp_path)
    save(ref / "again/b_lesion.nii.gz", block())
    report = api.score(run, ref, config=ScoreConfig(**FAST))
    assert [case.case for case in report.failed] == ["b"] and report.cases[0].values["dsc"] == 0.5
    assert report.cases[1].error == "Two reference masks for case b: b_lesion.nii.gz and b_seg.nii.gz."


def test_formulas_stay_text_in_the_csv(tmp_path: Path) -> None:
    for case in ("=1+1", "b"):
        save(tmp_path / f"ref/{case}_seg.nii.gz", block(2, 6))
    save(tmp_path / "run/b_mask.nii.gz", block(2, 6))
    report = api.score(tmp_path / "run", tmp_path / "ref", config=ScoreConfig(**FAST))
    rows = list(csv.DictReader(io.StringIO(report.as_csv())))
    assert [row["case"] for row in rows] == ["'=1+1", "b"] and rows[1]["volume_error_ml"] == "0"


def test_volume_of_four_dimensions_and_form_are_chosen(tmp_path: Path) -> None:
    ref = save(tmp_path / "r.nii.gz", block(2, 6))
    pred = nib.Nifti1Image(np.stack([block(), block(2, 6)], -1), AFFINE)
    nib.save(pred, tmp_path / "p.nii.gz")
    with pytest.raises(InputError, match="holds 2 volumes"):
        api.score(tmp_path / "p.nii.gz", ref)
    assert api.score(tmp_path / "p.nii.gz", ref, config=ScoreConfig(volume=1)).cases[0].values["dsc"] == 1.0
    moved = AFFINE.copy()
    moved[0, 3] += 2
    turned = nib.Nifti1Image(block(2, 6), AFFINE)
    turned.set_qform(AFFINE, 1)
    turned.set_sform(moved, 1)
    nib.save(turned, tmp_path / "q.nii.gz")
    assert api.score(tmp_path / "q.nii.gz", ref, config=ScoreConfig(prefer="qform")).cases[0].values["dsc"] == 1.0
    with pytest.raises(InputError, match="2 mm apart"):
        api.score(tmp_path / "q.nii.gz", ref)


def test_files_come_out_whole_and_are_not_replaced(tmp_path: Path) -> None:
    run, ref = cohort(tmp_path)
    report = api.score(run, ref, output=tmp_path / "out", config=ScoreConfig(**FAST))
    content = json.loads((tmp_path / "out/scores.json").read_text())
    assert content == json.loads(json.dumps(report.as_dict()))
    assert set(content["definitions"]) >= {
        "dsc",
        "hd95_mm",
        "auprc",
        "best_dsc",
        "domain",
        "mean_with_penalty",
    }
    assert content["aggregate"]["dsc"]["ci95"][0] <= content["aggregate"]["dsc"]["mean"]
    with pytest.raises(UsageError, match=r"scores.csv exists"):
        api.score(run, ref, output=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scores.csv", "scores.json"]


def test_comparison_with_a_folder_equals_that_with_its_scores(tmp_path: Path) -> None:
    run, ref = cohort(tmp_path)
    for case in "abcd":
        save(tmp_path / f"other/{case}_mask.nii.gz", block(4, 8))
    config = ScoreConfig(**FAST)
    api.score(tmp_path / "other", ref, output=tmp_path / "out", config=config)
    direct = api.score(run, ref, compare=tmp_path / "other", config=config).comparison
    stored = api.score(run, ref, compare=tmp_path / "out/scores.json", config=config).comparison
    assert direct and stored and direct["metrics"] == stored["metrics"]
    dsc = direct["metrics"]["dsc"]
    assert dsc["mean"] == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    assert dsc["other_mean"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert dsc["difference"] == pytest.approx(0)
    assert (dsc["pairs"], dsc["exact"]) == (4, True)
    with pytest.raises(UsageError, match="hd_definition"):
        api.score(run, ref, compare=tmp_path / "out/scores.json", config=ScoreConfig(hd_definition="pooled"))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match=r"bad.json is not a scores.json"):
        api.score(run, ref, compare=tmp_path / "bad.json", config=config)


def test_real_reference_against_itself_and_a_shift(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "ms/patient19/patient19_seg.nii.gz"
    (case,) = api.score(path, path).cases
    assert (case.values["dsc"], case.values["hd95_mm"], case.values["lesion_recall"]) == (1.0, 0.0, 1.0)
    reference = volume.load(path, labels=True)
    shifted = save(tmp_path / "shifted_mask.nii.gz", np.roll(reference.data > 0, 1, axis=0), reference.affine)
    (case,) = api.score(shifted, path).cases
    assert 0.2 < (case.values["dsc"] or 0) < 0.9
    assert case.values["hd95_mm"] == pytest.approx(reference.spacing[0], abs=0.05)
    assert case.values["volume_error_ml"] == pytest.approx(0, abs=1e-9)


def test_a_scan_is_no_prediction_and_no_reference(tmp_path: Path) -> None:
    from phantoms import brain, lesion, write

    scan = write(tmp_path / "scan.nii.gz", np.round(brain() * 20).astype(np.uint8))
    mask = write(tmp_path / "mask.nii.gz", lesion())
    for pair in ((scan, mask), (mask, scan)):
        with pytest.raises(InputError, match=r"scan\.nii\.gz is no mask: its values change from voxel to voxel"):
            api.score(*pair, bootstrap=0)
