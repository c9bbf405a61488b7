"""What a step is made of: stateless, the same on the device as from disk, read ahead where that helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from braincli.training import data, parallel
from braincli.training.store import SliceStore


def store(count: int = 30) -> SliceStore:
    rng = np.random.default_rng(0)
    brain = rng.random((count, 1, 6, 4)) > 0.3
    return SliceStore(
        image=rng.integers(0, 256, (count, 4, 6, 4), dtype=np.uint8), brain=brain, lesion=brain & False,
        label=np.arange(count, dtype=np.int8) % 2, case=np.zeros(count, np.int32),
        position=np.linspace(0, 1, count, dtype=np.float32), cases={},
    )  # fmt: skip


def feed(source: data.Source) -> data.Feed:
    pools = data.pools(source.store, "balanced", "main")
    return data.Feed(source, pools, 4, 1, lambda step: [parallel.seed(0, step, shard) for shard in range(2)])


def test_a_step_depends_on_nothing_before_it() -> None:
    first, second = (feed(data.Source(store(), torch.device("cpu"))) for _ in range(2))
    forward = [first.step(number) for number in range(4)]
    backward = [second.step(number) for number in reversed(range(4))][::-1]
    for one, other in zip(forward, backward, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a.batch.image, b.batch.image)
            assert torch.equal(torch.rand(3, generator=a.generator), torch.rand(3, generator=b.generator))
    assert not torch.equal(forward[0][0].batch.image, forward[0][1].batch.image), "shards draw their own"
    assert not torch.equal(forward[0][0].batch.image, forward[1][0].batch.image), "and so do steps"
    assert first.waited > 0


def test_a_store_on_the_device_gives_the_same_batches_as_one_on_disk() -> None:
    slices, rows = store(), np.array([3, 0, 3, 17])
    there, here = (data.Source(slices, torch.device("cpu")) for _ in range(2))
    there.resident = True
    there.whole = {name: torch.from_numpy(getattr(slices, name)) for name in there.parts}
    one, other = there.batch(rows), here.batch(rows)
    for name in ("image", "brain", "label", "lesion", "position"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert one.image.dtype == torch.float32 and one.image.min() >= 0 and one.image.max() <= 1
    assert not one.image[~one.brain.expand_as(one.image)].any()


def test_neighbours_lie_in_the_same_case_evenly_apart() -> None:
    slices = store()
    slices.case[12:] = 1
    rows = np.array([0, 1, 6, 11, 12, 20, 29] * 8)
    near = data.around(slices, rows, 2, torch.Generator().manual_seed(0))
    assert near.shape == (len(rows), 4) and (slices.case[near] == slices.case[rows][:, None]).all()
    inner = rows == 20
    strides = near[inner, 2] - 20
    assert set(strides) == {1, 2, 3, 4} and (near[inner] == 20 + strides[:, None] * [-2, -1, 1, 2]).all()
    assert (near[rows == 12, :2] == 12).all() and (near[rows == 11, 2:] == 11).all(), "a case's last stands for more"
    batch = data.Source(slices, torch.device("cpu")).batch(rows, near)
    alone = data.Source(slices, torch.device("cpu")).batch(near[:, 3])
    assert batch.around is not None and torch.equal(batch.around[:, 3], alone.image)
    assert data.around(slices, rows, 0, torch.Generator()).shape == (len(rows), 0)


def test_reading_ahead_changes_nothing() -> None:
    plain, ahead = (feed(data.Source(store(), torch.device("cpu"))) for _ in range(2))
    ahead._reader = data.ThreadPoolExecutor(1)
    for number in (0, 1, 2, 7, 8):
        for a, b in zip(plain.step(number), ahead.step(number), strict=True):
            assert torch.equal(a.batch.image, b.batch.image)
    assert ahead._next is not None and ahead._next[0] == 9
    ahead.close()


@pytest.mark.parametrize("run", [1, 3])
def test_runs_are_adjacent_slices(run: int) -> None:
    pool = np.arange(100, 130)
    rows = data.choose([pool], 12, torch.Generator().manual_seed(0), run).reshape(-1, run)
    assert rows.size == 12 and (np.diff(rows, axis=1) == 1).all() and np.isin(rows, pool).all()


def test_seeds_differ_along_every_part_of_the_path() -> None:
    seeds = {parallel.seed(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125 and all(0 <= seed < 2**63 for seed in seeds)
    assert parallel.seed(1, 2) == parallel.seed(1, 2)
