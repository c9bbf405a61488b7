"""The figures of the ellipses' table on changes whose worth is known."""

from __future__ import annotations

from pathlib import Path

import ellipses
import numpy as np
import pytest
from ellipses import Images, auroc, classes, dice, kappa, places

from braincli import api
from braincli.config import SynthConfig
from braincli.errors import UsageError

ROWS = np.indices((32, 32))


def truth() -> np.ndarray:
    image = np.zeros((2, 32, 32), np.float32)
    image[0, 8:16, 8:16], image[1, 10:20, 4:12] = 0.8, -0.6
    return image


def images(change: np.ndarray | None, true: np.ndarray, diseased: list[float] | None = None) -> Images:
    told = None if diseased is None else np.array(diseased, np.float32)
    made = None if change is None else change.astype(np.float32)
    return Images(made, true.astype(np.float32), np.ones(true.shape, bool), told)


def test_a_perfect_model_and_one_that_changes_nothing() -> None:
    true, none = truth(), np.zeros((2, 32, 32))
    perfect = [images(none, none, [0.1, 0.2])], [images(true, true, [0.9, 0.8])]
    assert places("x", *perfect) == ["x", "1.000", "1.000", "0.0000 (0.0000)", "1.000", "0.0000 (0.0000)"]
    assert classes("x", *perfect) == ["x", "1.000", "1.000", "1.000"]
    idle = [images(none, none)], [images(none, true)]
    found = places("x", *idle)
    assert found is not None and found[1:3] == ["0.000", "0.500"] and classes("x", *idle) is None
    squares = [0.64 * 64 / 1024, 0.36 * 80 / 1024]
    assert found[3] == f"{np.mean(squares):.4f} ({np.var(squares):.4f})"


def test_signs_count_in_the_error_and_not_in_the_overlap() -> None:
    true = truth()
    given = [images(np.full_like(true, 0.1), 0 * true, [0.9, 0.1])], [images(-true, true, [0.9, 0.1])]
    wrong = places("x", *given)
    assert wrong is not None and wrong[1] == "1.000"
    assert float(wrong[3].split()[0]) == pytest.approx(4 * np.mean(true**2), abs=1e-4)
    assert wrong[5:] == ["0.0100 (0.0000)"] and classes("x", *given) == ["x", "0.500", "0.000", "0.500"]


def test_a_classifier_has_a_row_of_classes_alone() -> None:
    """3 of 4 right, where chance is half: kappa 0.5; the one called wrong lies below a healthy one: 3 of 4 pairs."""
    true = truth()
    given = [images(None, 0 * true, [0.1, 0.4])], [images(None, true, [0.9, 0.3])]
    assert places("x", *given) is None
    assert classes("x", *given) == ["x", "0.750", "0.500", "0.750"]
    assert kappa(np.array([True, True]), np.array([True, False])) == 0.0
    assert np.isnan(kappa(np.ones(3, bool), np.ones(3, bool)))


def test_ties_and_empty_masks() -> None:
    assert auroc(np.zeros(6), np.arange(6) < 2) == 0.5
    assert auroc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, False, True, True])) == pytest.approx(0.875)
    assert np.isnan(auroc(np.arange(3.0), np.zeros(3, bool)))
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1


def test_truth_and_change_lie_on_one_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that restores by the truth itself changes what differs, on its own canvas and in its own units."""
    from types import SimpleNamespace

    import torch

    from braincli.detection.restore import Restoration
    from braincli.imaging.cases import find_cases
    from braincli.imaging.slices import Slices, SliceSpec
    from braincli.synthesis.drawn import Stack

    api.synth([], tmp_path, SynthConfig(kind="ellipses", images=(0, 0, 2)))
    spec = SliceSpec(pixel_mm=1.0, size=(256, 256), percentiles=(0.0, 100.0))
    model = SimpleNamespace(
        info=SimpleNamespace(slices=spec), method=SimpleNamespace(stride=1), device=torch.device("cpu")
    )
    drawings = Stack("test", diseased=True, number=1, first=0, last=2).drawings(0)

    def heal(slices: Slices, *given: object, **more: object) -> Restoration:
        healthy = np.zeros_like(slices.image)
        sick = np.stack([drawing.diseased() for drawing in drawings])[:, 2:-2, 2:-2]
        low, high = sick.min(), sick.max()
        true = np.stack([drawing.healthy() for drawing in drawings])[:, 2:-2, 2:-2]
        healthy[:, 0, 2:-2, 2:-2] = (true - low) / (high - low)
        return Restoration(slices, healthy, None, "cpu")

    monkeypatch.setattr(ellipses, "restore", heal)
    case = next(case for case in find_cases(tmp_path / "test") if "diseased" in case.id)
    found = ellipses.looked_at(model, case)  # type: ignore[arg-type]
    assert np.abs(found.change - found.truth)[found.inside].max() < 0.005
    assert np.abs(found.truth).max() > 0.5
    with pytest.raises(UsageError, match="does not hold healthy and diseased"):
        ellipses.main(SimpleNamespace(data=case.images["t1"].parent, models=[]))  # type: ignore[arg-type, index]
