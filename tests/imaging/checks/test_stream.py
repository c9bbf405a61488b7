"""The bytes of a file: gzip members, what is no regular file, what only bears the name."""

from __future__ import annotations

import gzip
import socket
import time
from pathlib import Path

import numpy as np
import phantoms
import pytest
from phantoms import brain, write

from braincli.imaging import volume
from braincli.imaging.checks import inspect_file, stream


@pytest.mark.parametrize("surplus", [-1, 0, 1, 2])
def test_second_member_may_begin_anywhere_in_a_block(
    surplus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scan.nii.gz"
    content = phantoms.unpacked(write(path))
    first = gzip.compress(content[:9000], mtime=0)
    path.write_bytes(first + gzip.compress(content[9000:]))
    monkeypatch.setattr(stream, "BLOCK", len(first) + surplus)  # the magic of the second lies across two blocks
    loaded = volume.load(path)
    assert loaded.problems == () and np.array_equal(loaded.data, brain())


def test_padding_between_members_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    content = phantoms.unpacked(write(path))
    path.write_bytes(gzip.compress(content[:9000]) + bytes(333) + gzip.compress(content[9000:]))
    assert np.array_equal(volume.load(path).data, brain())


def test_a_megabyte_of_empty_members_is_read_in_a_second(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    content = phantoms.unpacked(write(path))
    empty = gzip.compress(b"", mtime=0)
    path.write_bytes(gzip.compress(content[:777]) + empty * (1_000_000 // len(empty)) + gzip.compress(content[777:]))
    begin = time.process_time()
    loaded = volume.load(path)
    assert time.process_time() - begin < 2  # 10 s when every member copied the rest of the block
    assert np.array_equal(loaded.data, brain())


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_json_annex_pointer_and_web_page_are_named(name: str, tmp_path: Path) -> None:
    contents = {
        "a JSON document": b'{"EchoTime": 0.1}', "a web page": b"<html>", "a git-annex pointer": b"/annex/objects/MD5E",
    }  # fmt: skip
    for what, content in contents.items():
        (tmp_path / name).write_bytes(content + b" " * 400)
        [problem] = inspect_file(tmp_path / name)
        assert what in problem.message and problem.hint


def test_socket_device_and_impossible_name_are_refused_at_once(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.nii"))
        assert [problem.code for problem in inspect_file(tmp_path / "s.nii")] == ["not-regular"]
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    assert [problem.code for problem in inspect_file(tmp_path / "zero.nii")] == ["not-regular"]
    assert [problem.code for problem in inspect_file(tmp_path / "a\0.nii")] == ["unreadable"]
    assert [problem.code for problem in inspect_file(tmp_path / ("x" * 300 + ".nii"))] == ["unreadable"]


def test_a_file_that_shrinks_while_it_is_read_is_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "scan.nii")
    monkeypatch.setattr(stream, "BLOCK", 4096)
    check = stream.check_content

    def shrink(start: bytes) -> None:
        path.write_bytes(path.read_bytes()[:8000])
        check(start)

    monkeypatch.setattr("braincli.imaging.checks.gate.check_content", shrink)
    assert [problem.code for problem in inspect_file(path)] == ["truncated"]
