"""Checkpoints: the newest few are kept, a damaged one is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from braincli.errors import ModelError
from braincli.runtime.progress import Reporter
from braincli.training.checkpoints import Checkpoints

CPU = torch.device("cpu")


class Listener(Reporter):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, text: str) -> None:
        self.heard.append(text)


def write(folder: Path, *steps: int, keep: int = 2) -> Checkpoints:
    kept = Checkpoints(folder, keep)
    for step in steps:
        kept.save({"stage": 0, "step": step, "weights": torch.full((3,), float(step))})
    return kept


def test_the_newest_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    kept = write(tmp_path, 9, 10, 11, 100)  # sorted as numbers
    kept.save({"stage": 1, "step": 0})
    assert [path.name[:12] for path in kept.paths()] == ["00-000000100", "01-000000000"]
    assert kept.load(CPU, Listener()) == {"stage": 1, "step": 0}


def test_a_step_that_is_saved_again_takes_no_second_place(tmp_path: Path) -> None:
    kept = write(tmp_path, 5, 6)
    kept.save({"stage": 0, "step": 6, "weights": torch.zeros(3)})
    assert [path.name[:12] for path in kept.paths()] == ["00-000000005", "00-000000006"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_newest_falls_back_to_the_one_before(damage: str, tmp_path: Path) -> None:
    kept, listener = write(tmp_path, 1, 2), Listener()
    content = bytearray(kept.paths()[-1].read_bytes())
    content[len(content) // 2] ^= 1
    kept.paths()[-1].write_bytes({"cut": bytes(content[:-9]), "flipped": bytes(content), "empty": b""}[damage])
    state = kept.load(CPU, listener)
    assert state is not None and state["step"] == 1 and torch.equal(state["weights"], torch.ones(3))
    assert len(listener.heard) == 1 and "damaged" in listener.heard[0] and "00-000000002" in listener.heard[0]


def test_none_is_a_beginning_and_only_damaged_ones_an_error(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "new").load(CPU, Listener()) is None
    kept = write(tmp_path, 1, 2)
    for path in kept.paths():
        path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="Every checkpoint"):
        kept.load(CPU, Listener())
