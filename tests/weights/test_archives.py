"""What is imported is what it should be: garbage, bombs, links and code are refused, and nothing is left behind."""

from __future__ import annotations

import io
import math
import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from published import HD_BET_2, NNUNET, RESNET18, saved, zipped

from braincli.errors import ModelError
from braincli.runtime import files
from braincli.weights import archives, inventory, pretrained
from braincli.weights.checkpoints import read_nnunet, read_state

CHECKPOINT, DATASET, PLANS = HD_BET_2


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch escaped",)


def special(mode: int) -> bytes:
    """A zip whose checkpoint is a link or a device."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in HD_BET_2.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode if name == CHECKPOINT else stat.S_IFREG) << 16
            archive.writestr(info, b"/etc/passwd" if name == CHECKPOINT else data)
    return buffer.getvalue()


def bomb(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """64 MB of spaces in 64 KB; the limit is lowered, so that no real one is needed."""
    monkeypatch.setitem(archives.LARGEST_MB, ".json", 1)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in HD_BET_2.items():
            archive.writestr(name, b" " * (64 << 20) if name == PLANS else data)
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped(HD_BET_2))
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + offset] |= 1
    return bytes(data)


def nnunet(**changes: Any) -> bytes:
    return zipped(HD_BET_2 | {CHECKPOINT: saved({**NNUNET, **changes})})


GARBAGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (lambda: b"<html>sign in</html>", "no zip file"),
    "nothing": (lambda: b"", "no zip file"),
    "half": (lambda: zipped(HD_BET_2)[:1500], "no zip file"),
    "encrypted": (encrypted, "no zip file, or is damaged"),
    "a link": (lambda: special(stat.S_IFLNK), "no plain file"),
    "a pipe": (lambda: special(stat.S_IFIFO), "no plain file"),
    "a checkpoint of text": (lambda: zipped(HD_BET_2 | {CHECKPOINT: b"network" * 1000}), "holds no weights"),
    "an empty checkpoint": (lambda: zipped(HD_BET_2 | {CHECKPOINT: b""}), "holds no weights"),
    "half a checkpoint": (lambda: zipped(HD_BET_2 | {CHECKPOINT: saved(NNUNET)[:-300]}), "holds no weights"),
    "code": (lambda: nnunet(network_weights={"conv.weight": Evil()}), "holds no weights"),
    "another checkpoint": (lambda: zipped(HD_BET_2 | {CHECKPOINT: saved({"a": 1})}), "no checkpoint of nnU-Net"),
    "a list": (lambda: zipped(HD_BET_2 | {CHECKPOINT: saved([1])}), "no checkpoint of nnU-Net"),
    "no configuration": (lambda: nnunet(init_args={}), "names no configuration"),
    "no weights": (lambda: nnunet(network_weights={}), "holds no weights"),
    "numbers for weights": (lambda: nnunet(network_weights={"conv.weight": 1.0}), "more than weights"),
    "NaN": (lambda: nnunet(network_weights={"conv.weight": torch.tensor([math.nan])}), "not finite"),
    "plans of text": (lambda: zipped(HD_BET_2 | {PLANS: b"plans"}), "plans.json cannot be read"),
    "plans in a list": (lambda: zipped(HD_BET_2 | {PLANS: b"[]"}), "plans.json is no description"),
    "no channels": (lambda: zipped(HD_BET_2 | {DATASET: b"{}"}), "dataset.json is no description"),
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_refused_and_leaves_nothing(what: str, tmp_path: Path) -> None:
    made, text = GARBAGE[what]
    (tmp_path / "x.zip").write_bytes(made())
    with pytest.raises(ModelError, match=text):
        inventory.import_file(tmp_path / "x.zip")
    assert [path.name for path in (tmp_path / "weights").iterdir() if not path.name.endswith(".lock")] == []
    assert not (tmp_path / "escaped").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.zip").write_bytes(bomb(monkeypatch))
    assert (tmp_path / "x.zip").stat().st_size < 1 << 20
    with pytest.raises(ModelError, match=r"plans\.json in the zip has 64 MB, more than 1"):
        inventory.import_file(tmp_path / "x.zip")


def test_what_is_there_survives_an_import_that_fails(tmp_path: Path) -> None:
    (tmp_path / "good.zip").write_bytes(zipped(HD_BET_2))
    (tmp_path / "bad.zip").write_bytes(nnunet(init_args={}))
    inventory.import_file(tmp_path / "good.zip")
    with pytest.raises(ModelError):
        inventory.import_file(tmp_path / "bad.zip", overwrite=True)
    assert inventory.hd_bet_2() == tmp_path / "weights" / "hd-bet"


def test_what_killed_imports_left_is_tidied_up_and_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.zip").write_bytes(zipped(HD_BET_2))
    inventory.import_file(tmp_path / "good.zip")
    left = tmp_path / "weights" / ".hd-bet.tmp-dead"
    (left / "fresh").mkdir(parents=True)
    (tmp_path / "weights" / "hd-bet").replace(left / archives.ASIDE)  # killed between two moves
    (tmp_path / "bad.zip").write_bytes(b"")
    with pytest.raises(ModelError):
        inventory.import_file(tmp_path / "bad.zip")
    assert not left.exists() and inventory.hd_bet_2() == tmp_path / "weights" / "hd-bet"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"conv1.weight": torch.ones(2)}, r"another network \(conv1.weight\)"),
        (RESNET18 | {"fc.weight": torch.ones(1000, 2048)}, r"another network \(fc.weight\)"),
        (RESNET18 | {"bn1.bias": torch.tensor(math.inf)}, "not finite"),
        ({"state_dict": RESNET18}, "more than weights"),
        (Evil(), "holds no weights"),
    ],
)
def test_plain_files_are_looked_into_too(
    state: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "resnet18.pth"
    file.write_bytes(saved(state))
    made = replace(inventory.ARCHIVES["resnet18"], sha256=files.sha256(file)[:8])  # 32 bits are soon forged
    monkeypatch.setitem(inventory.ARCHIVES, "resnet18", made)
    with pytest.raises(ModelError, match=text):
        inventory.import_file(file, name="resnet18")
    assert not (tmp_path / "weights" / "resnet18").exists() and not (tmp_path / "escaped").exists()


def test_loaded_weights_hold_no_subnormal_numbers(tmp_path: Path) -> None:
    tiny = torch.tensor([1e-39, -1e-40, 1.0])
    (tmp_path / "a.pth").write_bytes(saved({"w": tiny}))
    (tmp_path / "b.pth").write_bytes(saved({**NNUNET, "network_weights": {"w": tiny}}))
    assert read_state(tmp_path / "a.pth")["w"].tolist() == [0, 0, 1]
    assert read_nnunet(tmp_path / "b.pth")["network_weights"]["w"].tolist() == [0, 0, 1]


def test_imagenet_weights_that_ship_hold_no_subnormal_numbers() -> None:
    try:
        state = pretrained.load("efficientnet_lite0")
    except ModelError as error:
        pytest.skip(error.message)
    least = torch.finfo(torch.float32).tiny
    for name, value in state.items():
        assert not value.is_floating_point() or not ((value.abs() < least) & (value != 0)).any(), name


@pytest.mark.parametrize("fold", range(5))
def test_hd_bet_weights_that_ship_hold_no_subnormal_numbers(fold: int) -> None:
    from braincli.preprocessing.extract import load_network

    least = torch.finfo(torch.float32).tiny
    for name, value in load_network(fold).state_dict().items():
        assert not ((value.abs() < least) & (value != 0)).any(), name
