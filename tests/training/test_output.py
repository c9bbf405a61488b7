"""The folder of a training: what is not its own is never touched, and a training that is complete stays complete."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tinytraining import OPTIONS, train, write_case, write_cases

from braincli.config import TrainConfig
from braincli.errors import InputError, ModelError, UsageError
from braincli.imaging.cases import find_cases
from braincli.methods import registry
from braincli.model.folder import read_info
from braincli.runtime import files
from braincli.runtime.locks import NAME as LOCK
from braincli.runtime.locks import locked
from braincli.runtime.progress import Reporter
from braincli.training.output import MARKER
from braincli.training.run import train_cases


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cohort"))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its contents; links as what they lead to."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for name, path in paths.items() if path.is_symlink() or path.is_file()
    }  # fmt: skip


OTHERS = ["snapshots/kept.txt", "tensorboard/mine", "work/thesis.tex", "README.md", "metrics.jsonl", "train.toml"]


@pytest.mark.parametrize("mode", [{}, {"overwrite": True}, {"resume": True}], ids=["plain", "overwrite", "resume"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_that_is_no_trainings_is_left_alone(
    name: str, mode: dict[str, bool], cohort: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(UsageError, match="is no training's folder: it holds"):
        train(cohort, tmp_path / "out", **mode)
    assert tree(tmp_path / "out") == {name: b"mine"}


def test_overwrite_replaces_what_a_training_made_and_nothing_else(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    train(cohort, out, snapshot_every=1)
    own = set(tree(out))
    assert {MARKER, "model.json", "snapshots/main-1/model.json", "train.toml"} <= own
    mine = ["notes.txt", "snapshots/notes.txt", "snapshots/main-1/notes.txt", "tensorboard/notes.txt", "work/notes.txt"]
    for name in mine:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    (out / "README.md").write_text((out / "README.md").read_text() + "My words.\n")
    (out / "train.toml").unlink()
    (tmp_path / "elsewhere.toml").write_text("mine")
    (out / "train.toml").symlink_to(tmp_path / "elsewhere.toml")
    train(cohort, out, overwrite=True, seed=1)
    assert all((out / name).read_text() == "mine" for name in mine)
    assert (tmp_path / "elsewhere.toml").read_text() == "mine" and not (out / "train.toml").is_symlink()
    assert (out / "README.md").read_text().endswith("My words.\n")
    assert not (out / "snapshots" / "main-1" / "model.json").exists(), "it is of the training before"
    assert read_info(out).training.steps == {"main": 1}


def test_a_model_from_elsewhere_is_replaced_but_not_the_folders_beside_it(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    train(cohort, out)
    (out / MARKER).unlink()
    (out / "README.md").write_text("All mine.\n")
    (out / "snapshots").mkdir()
    with pytest.raises(UsageError, match="holds a model"):
        train(cohort, out)
    with pytest.raises(UsageError, match="holds snapshots, which no training made"):
        train(cohort, out, overwrite=True, snapshot_every=1)
    train(cohort, out, overwrite=True)
    assert "All mine." in (out / "README.md").read_text() and "# m" in (out / "README.md").read_text()
    assert (out / "snapshots").is_dir()


def test_a_damaged_marker_and_a_file_for_a_folder_are_refused(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    out.mkdir()
    (out / MARKER).write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        train(cohort, out, overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        train(cohort, tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_training_of_the_same_folder_is_refused(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    with locked(out), pytest.raises(UsageError, match="Another braincli is writing to m"):
        train(cohort, out)
    assert not out.exists()
    train(cohort, out)
    assert not (out / LOCK).exists()


def test_other_processes_of_one_training_take_no_lock(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(cohort, tmp_path / "m")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    with locked(tmp_path / "m"):  # as the first process does
        info = train(cohort, tmp_path / "m", resume=True)
        assert info is not None and info.name == "m"


class Killed(BaseException):
    pass


class Killer:
    """Ends the process at the n-th change to the disk after the training has learnt; nothing happens any more then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left, self.armed, self.dead, self.what = after, False, False, ""
        for owner, names in ((os, ("fsync",)), (Path, ("replace", "unlink", "rmdir"))):
            for name in names:
                monkeypatch.setattr(owner, name, self.watched(name, getattr(owner, name)))

    def watched(self, name: str, original: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            if self.armed and not str(arguments[0]).endswith(LOCK):  # the system releases that
                self.left -= 1
                if self.dead or self.left < 0:
                    self.dead, self.what = True, f"{name} {arguments[0]}"
                    raise Killed
            return original(*arguments, **more)

        return call


def kills(cohort: Path, learnt: Path, tmp_path: Path) -> Iterator[Path]:
    """Folders of trainings that were killed after the last step, one at each change to the disk."""
    from braincli.training import run

    for after in range(200):
        out = tmp_path / f"{after}" / "m"
        shutil.copytree(learnt, out)
        with pytest.MonkeyPatch.context() as patch:
            killer, save = Killer(patch, after), run.save_model

            def arming(*arguments: Any, killer: Killer = killer, save: Any = save) -> None:
                killer.armed = True
                save(*arguments)

            patch.setattr(run, "save_model", arming)
            with suppress(Killed):
                train(cohort, out, resume=True)
        if not killer.dead:
            assert after > 12, "the end has many changes"
            return
        yield out
    raise AssertionError("never complete")


def test_killed_while_it_tidies_up_it_is_never_trained_again(cohort: Path, tmp_path: Path) -> None:
    whole, learnt = tmp_path / "whole" / "m", tmp_path / "learnt" / "m"
    train(cohort, whole)
    with pytest.MonkeyPatch.context() as patch:
        from braincli.training import run

        def die(*_: Any) -> None:
            raise Killed

        patch.setattr(run, "save_model", die)
        with pytest.raises(Killed):
            train(cohort, learnt)
    expected = set(tree(whole)) - {name for name in tree(whole) if name.startswith("tensorboard")}
    for out in kills(cohort, learnt, tmp_path):
        with pytest.MonkeyPatch.context() as patch:
            kind = registry.method_class("unet")
            patch.setattr(kind, "losses", lambda *_: pytest.fail("trained again"))
            patch.setattr(files, "_is_left_behind", lambda *_: True)  # this process plays a dead one
            info = train(cohort, out, resume=True)
        assert info is not None
        left = {name for name in tree(out) if not name.startswith("tensorboard")}
        assert left == expected, out.parent.name
        one, other = (load_file(folder / "weights.safetensors") for folder in (out, whole))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
        marker = json.loads((out / MARKER).read_text())
        assert marker["status"] == "done" and marker["weights"] == info.weights


def test_a_complete_training_whose_weights_are_damaged_is_not_resumed(cohort: Path, tmp_path: Path) -> None:
    train(cohort, tmp_path / "m")
    with (tmp_path / "m" / "weights.safetensors").open("ab") as out:
        out.write(b"more")
    with pytest.raises(ModelError, match="damaged"):
        train(cohort, tmp_path / "m", resume=True)


def test_resume_with_other_scans_is_refused(cohort: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(cohort, data)
    out = tmp_path / "m"
    assert train(data, out, max_time=1e-9) is None
    write_case(data / "a", seed=7)
    with pytest.raises(UsageError, match="the flair of a has changed"):
        train(data, out, resume=True)
    with pytest.raises(UsageError, match="The cases of m have changed since its training began"):
        train(data, out, resume=True, store=tmp_path / "new-slices")
    train(data, out, overwrite=True)


def test_a_case_with_a_problem_is_named_before_anything_is_written(cohort: Path, tmp_path: Path) -> None:
    cases = find_cases(cohort)
    odd = replace(cases[1], problem=InputError("b has two files for FLAIR."))
    with pytest.raises(InputError, match="two files for FLAIR"):
        train_cases([cases[0], odd], TrainConfig(**OPTIONS), tmp_path / "m", Reporter())
    assert not (tmp_path / "m").exists()


def test_the_options_beside_the_model_name_no_folder(cohort: Path, tmp_path: Path) -> None:
    train(cohort, tmp_path / "first")
    train(cohort, tmp_path / "m", init=str(tmp_path / "first"), store=tmp_path / "slices")
    text = (tmp_path / "m" / "train.toml").read_text()
    assert str(tmp_path) not in text and 'init = "first"' in text
    assert all(str(tmp_path).encode() not in data for data in tree(tmp_path / "m").values())
