"""A sample of the corpus; ``benchmarks/reliability.py`` runs all of it."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np

from braincli.imaging import volume
from reliability import corpus, reference


def test_sound_files_are_read_as_the_standard_says(tmp_path: Path) -> None:
    for phantom in corpus.sound_files():
        sound = corpus.Variant(phantom.name, ".nii.gz", gzip.compress(phantom.content), phantom.labels, phantom.content)
        assert corpus.judge(sound, tmp_path).kind == "identical", phantom.name


def test_a_variant_is_the_same_whenever_it_is_made() -> None:
    assert [corpus.variant(number) for number in (5, 77, 4001)] == [corpus.variant(number) for number in (5, 77, 4001)]


def test_the_judge_sees_a_voxel_that_is_silently_different(tmp_path: Path) -> None:
    phantom = corpus.sound_files()[0]
    other = bytearray(phantom.content)
    other[9000:9004] = np.float32(1.5).tobytes()
    damaged = corpus.Variant("", ".nii.gz", gzip.compress(bytes(other)), False, phantom.content)
    assert corpus.judge(damaged, tmp_path) == corpus.Verdict("silent", "", "other voxels")
    assert reference.read(bytes(other)).data.max() == volume.load(tmp_path / "scan.nii.gz").data.max()


def test_sample_of_the_corpus_is_refused_or_read_as_it_must_be(tmp_path: Path) -> None:
    verdicts = [corpus.judge(damaged, tmp_path) for damaged in corpus.variants(step=corpus.COUNT // 600 + 1)]
    bad = [verdict for verdict in verdicts if verdict.kind not in ("refused", "identical")]
    assert not bad
    kinds = Counter(verdict.kind for verdict in verdicts)
    assert kinds["refused"] > 100 and kinds["identical"] > 100
