"""Training to a model folder, and what it says of cases: whole, resumed, damaged, on other grids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manysites import SHAPE, cohort
from phantoms import affine, brain, write

from braincli import api
from braincli.classification import fit
from braincli.classification.info import read_info
from braincli.errors import InputError, ModelError, UsageError
from braincli.model import stored
from braincli.runtime.progress import Reporter

HOW: dict[str, Any] = {"preset": "tiny", "precision": "fp32", "threads": 1, "steps": 3}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def model(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for long enough to tell the classes apart."""
    out = tmp_path_factory.mktemp("models") / "ms"
    api.train_classifier(table, out, **HOW | {"steps": 40, "settings": {"validation": 0.34}})
    return out


def test_a_trained_model_says_what_it_learnt_from(model: Path) -> None:
    info = read_info(model)
    assert sorted(path.name for path in model.iterdir()) == ["README.md", "model.json", "weights.safetensors"]
    assert info.classes == ("healthy", "diseased") and info.training.target == ["basel"]
    assert info.training.counts["london"] == {"healthy": 3} and len(info.training.cases) == 12
    assert len(info.training.validation) == 2 and all(id.startswith("basel") for id in info.training.validation)
    assert info.training.best is not None and info.training.best % 10 == 0
    assert info.grid.shape == (20, 24, 20) and info.grid.mm == 8.0
    card = (model / "README.md").read_text()
    assert "| london | 3 | 0 |" in card and "Sites with one class: boston (diseased), london (healthy)" in card


def test_the_classes_are_told_apart(model: Path, table: Path, tmp_path: Path) -> None:
    found = api.classify(table, tmp_path / "out", model=model, precision="fp32", threads=1)
    figures = found.tables["ms"]
    assert figures["all"]["auroc"] > 0.9 and figures["london"]["auroc"] is None
    assert any("12 of these cases were learnt from" in note for note in found.notes)
    lines = (tmp_path / "out" / "predictions.tsv").read_text().splitlines()
    assert lines[0] == "id\tsite\tclass\tsaid\tp_healthy\tp_diseased" and len(lines) == 13
    assert json.loads((tmp_path / "out" / "figures.json").read_text())["figures"]["all"]["cases"] == 12
    with pytest.raises(UsageError, match=r"predictions\.tsv exists"):
        api.classify(table, tmp_path / "out", model=model)


def test_a_scan_alone_has_a_class_and_no_figures(model: Path, table: Path, tmp_path: Path) -> None:
    found = api.classify(table.parent / "basel-healthy-0_t1.nii.gz", tmp_path, model=model, threads=1)
    assert not found.tables and sum(found.cases[0].probability.values()) == pytest.approx(1, abs=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.tsv"]


def test_scans_of_other_grids_fail_alone(model: Path, table: Path, tmp_path: Path) -> None:
    write(tmp_path / "far_t1.nii.gz", brain((20, 24, 20)), affine("RAS", (8.0, 8.0, 8.0), (50.0, 0.0, 0.0)))
    write(tmp_path / "small_t1.nii.gz", brain((20, 20, 20)), affine("RAS", (8.0, 8.0, 8.0)))
    with pytest.raises(InputError, match="small is on another grid than the first scan: 20 x 20 x 20 of 8 mm instead"):
        api.classify(tmp_path / "small_t1.nii.gz", model=model)
    good = table.parent / "london-healthy-0_t1.nii.gz"
    found = api.classify([good, *sorted(tmp_path.glob("*.gz"))], model=model)
    assert [said.case for said in found.cases] == ["london-healthy-0"]
    assert "it lies elsewhere in space" in found.failures["far"].message and len(found.failures) == 2


def test_training_refuses_scans_of_two_grids(table: Path, tmp_path: Path) -> None:
    write(table.parent / "odd_t1.nii.gz", brain((22, 24, 20)), affine("RAS", (8.0, 8.0, 8.0)))
    two = table.parent / "two.tsv"
    two.write_text(f"{table.read_text()}odd\todd_t1.nii.gz\tdiseased\tbasel\n")
    with pytest.raises(InputError, match="odd is on another grid than the first scan"):
        api.train_classifier(two, tmp_path / "model", **HOW)
    assert not (tmp_path / "model").exists()


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_model_and_a_resumed_one_is_the_same(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        api.train_classifier(table, tmp_path / name, **HOW, seed=seed)
    assert weights(tmp_path / "a") != weights(tmp_path / "b")

    real = fit._step
    calls: list[int] = []

    def killed(*given: Any) -> Any:
        calls.append(given[3])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(fit, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        api.train_classifier(table, tmp_path / "c", **HOW, seed=1, checkpoint_minutes=1e-9)
    assert not (tmp_path / "c" / "model.json").exists() and not (tmp_path / "c" / "weights.safetensors").exists()
    with pytest.raises(ModelError, match="There is no model"):
        api.classify(table, model=tmp_path / "c")
    with pytest.raises(UsageError, match="c holds an unfinished training"):
        api.train_classifier(table, tmp_path / "c", **HOW, seed=1)
    with pytest.raises(UsageError, match="The cases or the options of c changed since its training began"):
        api.train_classifier(table, tmp_path / "c", **HOW, seed=5, resume=True)
    api.train_classifier(table, tmp_path / "c", **HOW, seed=1, resume=True)
    assert calls == [0, 1, 2, 2] and weights(tmp_path / "c") == weights(tmp_path / "a")
    again = api.train_classifier(table, tmp_path / "c", **HOW, seed=1, resume=True)
    assert again is not None and len(calls) == 4, "it is complete"


def test_options_that_a_complete_model_was_not_trained_with_are_named(table: Path, model: Path) -> None:
    """Those that say how a training runs are none."""
    told: list[str] = []
    reporter = Reporter()
    reporter.warn = told.append  # type: ignore[method-assign]
    same = HOW | {"steps": 40, "settings": {"validation": 0.34}}
    assert api.train_classifier(table, model, reporter=reporter, **same, resume=True, checkpoint_minutes=1.0)
    assert not told
    other = same | {"seed": 3, "settings": {"validation": 0.34, "width": 0.1}, "target": ("london", "basel")}
    assert api.train_classifier(table, model, reporter=reporter, **other, resume=True)
    assert told == [
        "ms is complete: another option changes nothing: seed: 0 -> 3",
        "ms is complete: another option changes nothing: target: ['basel'] -> ['basel', 'london']",
        "ms is complete: another option changes nothing: settings.width: 0.05 -> 0.1",
    ]


def test_a_signal_leaves_a_checkpoint_and_no_model(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    monkeypatch.setattr("braincli.training.signals.noted", lambda: nullcontext(lambda: "SIGTERM"))
    said: list[str] = []

    class Listening(Reporter):
        def say(self, text: str) -> None:
            said.append(text)

    assert api.train_classifier(table, tmp_path / "m", reporter=Listening(), **HOW) is None
    assert said[-1] == "go on with the same command and --resume (m)"
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["work"]


def test_folders_of_others_are_left_alone(table: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ms holds a model"):
        api.train_classifier(table, model, **HOW)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"is no training's folder: it holds notes\.txt"):
        api.train_classifier(table, tmp_path, **HOW)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.json").write_text('{"method": "vae"}')
    with pytest.raises(UsageError, match="other holds a model of another kind"):
        api.train_classifier(table, tmp_path / "other", **HOW, overwrite=True)


def damage(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        text = (folder / name).read_text(encoding="latin-1")
        (folder / name).write_text(change(text), encoding="latin-1")

    return apply


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (damage("weights.safetensors", lambda text: text[:-9]), "is damaged"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "is missing"),
        (damage("model.json", lambda text: text[:-9]), "cannot be read"),
        (damage("model.json", lambda text: text.replace('"l2i"', '"l3i"')), "There is no classifier 'l3i'"),
        (damage("model.json", lambda text: text.replace('"format": 1', '"format": 9')), "has format 9"),
        (damage("model.json", lambda text: text.replace('"latent": 8', '"latent": 7')), "do not fit"),
        (damage("model.json", lambda text: text.replace('"contrast": "t1"', '"contrast": "pd"')), "contrast: pd"),
        (damage("model.json", lambda text: text.replace('"kind": "classifier"', '"kind": "x"')), "is no classifier"),
    ],
)
def test_damaged_models_are_refused(
    spoil: Callable[[Path], None], says: str, model: Path, table: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    spoil(copy)
    with pytest.raises(ModelError, match=says):
        api.classify(table, model=copy)


def test_models_of_slices_and_of_volumes_are_not_mixed_up(model: Path) -> None:
    with pytest.raises(ModelError, match="ms is a classifier of whole volumes"):
        stored.read_stored(model)


def test_volumes_keep_means_and_put_percentiles_to_0_and_1() -> None:
    """A ramp seen at half the resolution: the same ramp, 0 outside the brain."""
    from braincli.classification.volumes import Head, grid_of, on_grid
    from braincli.imaging.volume import Volume

    ramp = np.broadcast_to(np.linspace(10, 20, SHAPE[0], dtype=np.float32)[:, None, None], SHAPE)
    inside = np.zeros(SHAPE, bool)
    inside[2:18, 2:22, 2:18] = True
    head = Head(Volume(ramp, affine("RAS", (2.0, 2.0, 2.0), (-20.0, -24.0, -20.0))), inside)
    grid = grid_of(head, 4.0, (10, 12, 10), (0.0, 100.0))
    seen = on_grid("x", head, grid)
    assert grid.centre == (-1.0, -1.0, -1.0) and seen.dtype == np.float16
    profile = seen[:, 6, 5].astype(float)
    steps = np.diff(profile[2:-2])
    assert np.allclose(steps, 2 / 15, atol=0.02) and seen[0, 0, 0] == 0 and seen.max() <= 1
    assert seen[2:8, 3:9, 2:8].mean() == pytest.approx(0.5, abs=0.05)
