"""A number per case, from a column of the manifest, reaches the method that learns it; without it nothing is begun."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tinytraining import train, write_cases

from braincli.errors import InputError, UsageError
from braincli.imaging.cases import find_cases
from braincli.model.folder import load_model
from braincli.spec import SliceSpec
from braincli.training.data import Source, pools, spread
from braincli.training.store import build_store, open_store

OWN = {"method": "regression-guided", "steps": {"diffusion": 1, "guide": 1}, "canvas": (32, 32), "pixel_mm": 6.0}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cohort"))


def table(cohort: Path, *ages: str, column: str = "age") -> Path:
    """A manifest without lesion masks: whether ``b`` is healthy is not known."""
    told = zip("ab", ages, ("healthy", ""), strict=True)
    rows = [f"{name}\t{name}/{name}_flair.nii.gz\t{age}\t{group}" for name, age, group in told]
    path = cohort / f"{column}-{'-'.join(ages).replace('/', '')}.tsv"
    path.write_text("\n".join([f"id\tflair\t{column}\tgroup", *rows]), encoding="utf-8")
    return path


def test_the_column_is_learnt(cohort: Path, tmp_path: Path) -> None:
    import torch

    data, store = table(cohort, "30", "70"), tmp_path / "store"
    info = train(data, tmp_path / "m", settings={"number": "age"}, store=store, **OWN)
    assert info is not None and info.options.number == "age"
    method = load_model(str(tmp_path / "m"), torch.device("cpu")).method
    assert method.get_buffer("extent").tolist() == [30, 70] and 45 < method.get_buffer("scaling")[0] < 55
    held = open_store(store)
    assert held.column == "age" and held.number is not None and {*np.asarray(held.number).tolist()} == {30.0, 70.0}
    assert {*np.asarray(held.label).tolist()} == {0, -1} and len(pools(held, "all", "guide")[0]) == len(held)
    batch = Source(held, torch.device("cpu")).batch(spread(held, 4))
    assert len(batch) == 4 and batch.number is not None and batch.number.tolist()[::3] == [30, 70]
    # the same slices serve a method that asks for no number; another age does not go unnoticed
    with pytest.raises(UsageError, match="the age of b has changed"):
        train(table(cohort, "30", "71"), tmp_path / "n", settings={"number": "age"}, store=store, **OWN)
    train(data, tmp_path / "o", method="ae", canvas=(32, 32), pixel_mm=6.0, store=store)


@pytest.mark.parametrize(
    ("ages", "column", "says"),
    [
        (("30", "n/a"), "age", "b has no age"),
        (("30", "70"), "years", "a has no age"),
        (("30", "old"), "age", "b: the age 'old' is not a number"),
        (("30", "inf"), "age", "b: the age 'inf' is not a number"),
    ],
)
def test_a_cohort_without_the_numbers_is_refused(
    cohort: Path, tmp_path: Path, ages: tuple[str, str], column: str, says: str
) -> None:
    with pytest.raises(InputError, match=says) as raised:
        train(table(cohort, *ages, column=column), tmp_path / "m", settings={"number": "age"}, **OWN)
    assert "a column age in the manifest" in raised.value.hint and raised.value.exit_code == 3
    assert not (tmp_path / "m").exists()


def test_folders_have_no_ages(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a has no age"):
        train(cohort, tmp_path / "m", settings={"number": "age"}, **OWN)


def test_one_age_teaches_nothing(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to learn of age"):
        train(table(cohort, "50", "50"), tmp_path / "m", settings={"number": "age"}, **OWN)


def test_a_store_without_the_number_is_for_another_method(cohort: Path, tmp_path: Path) -> None:
    data = table(cohort, "30", "70")
    build_store(find_cases(data), SliceSpec(size=(32, 32), pixel_mm=6.0), tmp_path / "store", stride=4)
    with pytest.raises(UsageError, match="cut for another kind of method"):
        train(data, tmp_path / "m", settings={"number": "age"}, store=tmp_path / "store", **OWN)
