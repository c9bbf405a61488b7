"""More than ten thousand damaged scans, each made anew from its number, and the judgement on what was made of it.

A damaged file may be refused. Where it is accepted, voxels and affine are those of the sound file if the damage was
done to the compressed stream (whose checksum tells), and what the standard says of the damaged file if it was done
to the content (:mod:`reference`). Anything else is a silent fault, any exception but a BraincliError a crash.
"""

from __future__ import annotations

import gzip
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import phantoms

from braincli.errors import BraincliError
from braincli.imaging import volume
from braincli.imaging.brain import foreground, has_skull
from braincli.imaging.volume import Volume
from reliability import reference

COUNT = 12_000
LIMIT_S = 3.0  # of processor time, for a file of some ten kilobytes
Rng = np.random.Generator


class Phantom(NamedTuple):
    """A sound file's uncompressed content, and whether it is read as a mask."""

    name: str
    content: bytes
    labels: bool


@dataclass(frozen=True)
class Variant:
    """A damaged file. ``sound`` is the uncompressed content that an accepted file must still give, if any."""

    name: str
    suffix: str
    content: bytes
    labels: bool
    sound: bytes | None = None


class Verdict(NamedTuple):
    """``kind`` is refused, identical, silent, crashed or slow."""

    kind: str
    variant: str
    detail: str = ""


@cache
def sound_files() -> tuple[Phantom, ...]:
    """Raw contents of both NIfTI kinds, both byte orders, several types, headers and scalings."""
    brain, spot = phantoms.brain(), phantoms.lesion()
    turned = phantoms.affine("LPI", (1, 1.2, 2), degrees=(15, 5))
    options = {
        "float32": {"data": brain},
        "int16-scaled": {"data": (brain * 10).astype(np.int16), "slope": (0.1, 3.0)},
        "int16-turned": {"data": brain.astype(np.int16), "matrix": turned, "extension": b"born 1950 " * 5},
        "uint8-qform": {"data": brain.astype(np.uint8), "matrix": turned, "codes": (1, 0)},
        "float32-plain": {"data": brain, "codes": (0, 0)},
        "uint16-big": {"data": brain.astype(np.uint16), "big_endian": True},
        "nifti2": {"data": brain, "nifti2": True},
        "nifti2-int16-big": {"data": brain.astype(np.int16), "nifti2": True, "big_endian": True},
        "float64-4D": {"data": brain.astype(np.float64)[..., None]},
        "mask-uint8": {"data": spot},
        "mask-float32": {"data": spot.astype(np.float32)},
        "mask-int16": {"data": spot.astype(np.int16), "slope": (2.0, 0.0)},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.nii"
        return tuple(
            Phantom(name, phantoms.write(path, **chosen).read_bytes(), name.startswith("mask"))  # type: ignore[arg-type]
            for name, chosen in options.items()
        )


# Damage to the bytes of a file, compressed or not.
def flip_byte(rng: Rng, data: bytes) -> bytes:
    return change(data, int(rng.integers(len(data))), rng.integers(1, 256))


def flip_bit(rng: Rng, data: bytes) -> bytes:
    return change(data, int(rng.integers(len(data))), 1 << rng.integers(8))


def flip_early(rng: Rng, data: bytes) -> bytes:
    return change(data, int(rng.integers(24)), rng.integers(1, 256))


def flip_late(rng: Rng, data: bytes) -> bytes:
    return change(data, len(data) - 1 - int(rng.integers(12)), rng.integers(1, 256))


def truncate(rng: Rng, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data)))]


def shorten(rng: Rng, data: bytes) -> bytes:
    return data[: -int(rng.integers(1, 16))]


def drop(rng: Rng, data: bytes) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + data[at + int(rng.integers(1, 200)) :]


def repeat(rng: Rng, data: bytes) -> bytes:
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    return data[: at + length] + data[at:]


def zero(rng: Rng, data: bytes) -> bytes:
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 4096))
    return (data[:at] + bytes(length))[: len(data)] + data[at + length :]


def swap(rng: Rng, data: bytes) -> bytes:
    a, b, c = sorted(int(n) for n in rng.integers(len(data), size=3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def scramble(rng: Rng, data: bytes) -> bytes:
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
    return (data[:at] + rng.bytes(length))[: len(data)] + data[at + length :]


def append(rng: Rng, data: bytes) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 3000)))


def newlines(rng: Rng, data: bytes) -> bytes:
    """A transfer in text mode."""
    return data.replace(b"\n", b"\r\n") if rng.integers(2) else data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def change(data: bytes, at: int, by: int) -> bytes:
    return data[:at] + bytes([data[at] ^ int(by)]) + data[at + 1 :]


BYTES = (flip_byte, flip_bit, truncate, shorten, drop, repeat, zero, swap, scramble, append, newlines)


# Games with the members of a gzip file that leave the content as it is.
def split(rng: Rng, content: bytes) -> bytes:
    cuts = sorted({0, len(content), *(int(n) for n in rng.integers(len(content), size=rng.integers(1, 6)))})
    return b"".join(pack(content[a:b], rng) for a, b in pairwise(cuts))


def empty_members(rng: Rng, content: bytes) -> bytes:
    at = int(rng.integers(len(content)))
    empty = gzip.compress(b"", mtime=0) * int(rng.integers(1, 3000))
    return pack(content[:at], rng) + empty + pack(content[at:], rng)


def padded(rng: Rng, content: bytes) -> bytes:
    at = int(rng.integers(len(content)))
    return pack(content[:at], rng) + bytes(int(rng.integers(600))) + pack(content[at:], rng) + bytes(512)


def broken_member(rng: Rng, content: bytes) -> bytes:
    at = int(rng.integers(1, len(content)))
    return pack(content[:at], rng) + flip_byte(rng, pack(content[at:], rng))


def missing_member(rng: Rng, content: bytes) -> bytes:
    at = int(rng.integers(1, len(content)))
    return pack(content[:at], rng) if rng.integers(2) else pack(content[at:], rng)


def doubled(rng: Rng, content: bytes) -> bytes:
    return pack(content, rng) * 2


MEMBERS = (split, empty_members, padded, broken_member, missing_member, doubled)


def pack(content: bytes, rng: Rng) -> bytes:
    return gzip.compress(content, int(rng.integers(0, 10)), mtime=0)


# Damage to the content: the header as a whole, single fields, voxels.
def header_bytes(rng: Rng, content: bytes) -> bytes:
    size = 540 if content[0] == 0x1C or content[3] == 0x1C else 348
    for at in rng.integers(0, size + 4, size=rng.integers(1, 6)):
        content = change(content, int(at), rng.integers(1, 256))
    return content


FIELDS = (*reference.OFFSETS, "dim", "datatype", "slope", "codes")
ODD = (0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 64, 128, 255, 256, 352, 512, 1000, 32767, -32768, 2**31 - 1, 2**62,
       1e-45, 1e-30, 0.5, 1.0001, 1e10, 1e30, 3e38, 1e308, float("nan"), float("inf"), float("-inf"))  # fmt: skip


def header_field(rng: Rng, content: bytes) -> bytes:
    """One number of one field becomes an odd one."""
    import struct

    order = "<" if content[0] in (0x5C, 0x1C) else ">"
    second = 0x1C in (content[0], content[3])
    kind, at = reference.OFFSETS[FIELDS[rng.integers(len(FIELDS))]][2 * second :][:2]
    count, letter = int(kind[:-1] or 1), kind[-1]
    place = at + int(rng.integers(count)) * struct.calcsize(letter)
    for _ in range(50):
        with suppress(struct.error, OverflowError, ValueError):
            odd = ODD[rng.integers(len(ODD))]
            value = struct.pack(order + letter, odd if letter in "fd" else int(odd))
            return content[:place] + value + content[place + len(value) :]
    return content


def voxel_bytes(rng: Rng, content: bytes) -> bytes:
    for at in rng.integers(560, len(content), size=rng.integers(1, 20)):
        content = change(content, int(at), rng.integers(1, 256))
    return content


def voxel_block(rng: Rng, content: bytes) -> bytes:
    """A run of voxels becomes one byte, over and over: 0, all ones (NaN in floats), or something."""
    at, length = int(rng.integers(560, len(content))), int(rng.integers(1, len(content)))
    value = bytes([(0, 255, int(rng.integers(256)))[rng.integers(3)]])
    return (content[:at] + value * length)[: len(content)] + content[at + length :]


CONTENT = (header_bytes, header_field, header_field, header_bytes, voxel_bytes, voxel_block, truncate, append, drop)


def variant(number: int, seed: int = 0) -> Variant:
    """The damaged file of this number; the same whenever and wherever it is made."""
    rng = np.random.default_rng([seed, number])
    files = sound_files()
    phantom = files[number % len(files)]
    family = number // len(files) % 4
    if family == 0:
        return _stream(rng, phantom, BYTES[rng.integers(len(BYTES))])
    if family == 1:
        game = (*MEMBERS, flip_early, flip_late)[rng.integers(len(MEMBERS) + 2)]
        if game not in MEMBERS:
            return _stream(rng, phantom, game)
        name = f"{phantom.name}, {game.__name__}"
        return Variant(name, ".nii.gz", game(rng, phantom.content), phantom.labels, phantom.content)
    game = CONTENT[rng.integers(len(CONTENT))]
    content = game(rng, phantom.content)
    name = f"{phantom.name}, content: {game.__name__}"
    if family == 2:
        return Variant(name, ".nii", content, phantom.labels)
    return Variant(name, ".nii.gz", pack(content, rng), phantom.labels)


def _stream(rng: Rng, phantom: Phantom, game: Callable[[Rng, bytes], bytes]) -> Variant:
    damaged = game(rng, pack(phantom.content, rng))
    return Variant(f"{phantom.name}, stream: {game.__name__}", ".nii.gz", damaged, phantom.labels, phantom.content)


def variants(count: int = COUNT, step: int = 1, start: int = 0) -> Iterator[Variant]:
    """Every ``step``-th of the first ``count`` damaged files."""
    return (variant(number) for number in range(start, count, step))


def judge(damaged: Variant, folder: Path) -> Verdict:
    """Read ``damaged`` as a command does, and hold what comes of it against what it must be."""
    path = folder / f"scan{damaged.suffix}"
    path.write_bytes(damaged.content)
    begin = time.process_time()
    try:
        loaded = volume.load(path, labels=damaged.labels)
        if not damaged.labels:
            has_skull(loaded)
            foreground(loaded)
    except BraincliError:
        loaded = None
    except Exception as error:
        return Verdict("crashed", damaged.name, f"{type(error).__name__}: {error}")
    spent = time.process_time() - begin
    if spent > LIMIT_S:
        return Verdict("slow", damaged.name, f"{spent:.1f} s")
    if loaded is None:
        return Verdict("refused", damaged.name)
    difference = _difference(loaded, damaged)
    return Verdict("silent" if difference else "identical", damaged.name, difference)


def _difference(loaded: Volume, damaged: Variant) -> str:
    """How an accepted file differs from what it must be, empty if it does not."""
    content = damaged.sound or _unpacked(damaged.content)
    said = reference.read(content)
    if said is None:
        return "accepted, though it is no volume by the standard"
    codes = {problem.code for problem in loaded.problems}
    expected = np.rint(said.data) if damaged.labels else said.data
    if "non-finite" in codes:  # 64-bit numbers that 32 bits do not hold are infinite there
        expected = np.where(np.abs(expected) > np.finfo(np.float32).max, 0, expected)
    if loaded.shape != expected.shape:
        return f"shape {loaded.shape} instead of {expected.shape}"
    near = 1e-5 * max(1e-30, float(np.abs(expected).max()))
    if "scaling" not in codes and not np.allclose(loaded.data, expected, rtol=1e-5, atol=near):
        return "other voxels"
    if not np.allclose(loaded.affine, said.affine, rtol=1e-5, atol=1e-4):
        return "another affine"
    if said.end != len(content) and "trailing-bytes" not in codes:
        return "bytes left over without a word"
    return ""


def _unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
