"""Parameters drawn as one table: in their ranges, of their shapes, the same again from the same seed."""

from __future__ import annotations

import torch

from braincli.diffusion import draws


def test_a_table_holds_every_parameter_in_its_range() -> None:
    ranges = {"angle": (-2.0, 3.0), "level": (10.0, 11.0, 3, 1, 1), "still": (0.5, 0.5, 2)}
    drawn = draws.uniforms(torch.Generator().manual_seed(0), 2000, **ranges)
    assert {name: tuple(part.shape) for name, part in drawn.items()} == {
        "angle": (2000,), "level": (2000, 3, 1, 1), "still": (2000, 2),
    }  # fmt: skip
    assert -2 <= drawn["angle"].min() < -1.9 and 2.9 < drawn["angle"].max() < 3
    assert 10 <= drawn["level"].min() < 10.01 and 10.99 < drawn["level"].max() < 11
    assert (drawn["still"] == 0.5).all()
    level = drawn["level"].flatten(1)
    assert abs(torch.corrcoef(torch.stack([drawn["angle"], *level.t()]))).triu(1).max() < 0.1, "independent"
    again = draws.uniforms(torch.Generator().manual_seed(0), 2000, **ranges)
    assert all(torch.equal(drawn[name], again[name]) for name in ranges)
