"""Simplex noise: its spectrum, and which fields belong to which row."""

from __future__ import annotations

import pytest
import torch

from braincli.diffusion import noise


def seeded(rows: int = 3) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(rows)]


def test_fields_have_the_published_statistics() -> None:
    """60 fields of 96 x 96: standard deviation 0.578, 69 % of the energy below four cycles per image."""
    fields = noise.simplex(torch.empty(60, 1, 96, 96), torch.Generator().manual_seed(0), normalised=False)
    assert float(fields.std()) == pytest.approx(0.578, abs=0.03)
    power = torch.fft.fft2(fields).abs().square().mean(dim=(0, 1))
    cycles = torch.fft.fftfreq(96) * 96
    coarse = (cycles[:, None] ** 2 + cycles[None] ** 2).sqrt() < 4
    assert float(power[coarse].sum() / power.sum()) == pytest.approx(0.69, abs=0.05)
    assert float(fields.mean(dim=(2, 3)).std()) > 0.05, "each field has a brightness of its own"


def test_normalised_fields_are_unit_noise() -> None:
    fields = noise.simplex(torch.empty(3, 2, 40, 24), seeded())
    assert fields.shape == (3, 2, 40, 24)
    assert float(fields.mean(dim=(2, 3)).abs().max()) < 1e-5
    torch.testing.assert_close(fields.std(dim=(2, 3), correction=0), torch.ones(3, 2), rtol=1e-4, atol=1e-4)


def test_one_octave_is_smooth_and_zero_on_the_lattice() -> None:
    """The wavelength is in pixels: neighbours differ little, and the lattice point at the origin counts nothing."""
    field = noise.simplex(torch.empty(1, 1, 64, 64), seeded(1), octaves=1, frequency=32, normalised=False)[0, 0]
    assert field[0, 0] == 0
    assert float(field.diff(dim=0).abs().max()) < 0.15
    assert 0.3 < float(field.abs().max()) < 1


def test_rows_and_channels_are_independent_of_each_other_and_of_the_batch() -> None:
    like = torch.empty(3, 2, 32, 32)
    fields = noise.simplex(like, seeded())
    alone = noise.simplex(like[1:2], seeded()[1:2])
    torch.testing.assert_close(alone[0], fields[1], rtol=1e-5, atol=1e-5)
    flat = fields.flatten(0, 1).flatten(1)
    assert float((torch.corrcoef(flat) - torch.eye(6)).abs().max()) < 0.8
    assert not torch.equal(fields[0, 0], fields[0, 1])


def test_the_reference_shares_one_field() -> None:
    fields = noise.simplex(torch.empty(3, 2, 32, 32), seeded(), shared=True)
    assert (fields == fields[:1, :1]).all()
    batch = noise.simplex(torch.empty(3, 2, 32, 32), torch.Generator().manual_seed(5))
    assert not torch.equal(batch[0], batch[1])


def test_as_many_generators_as_rows() -> None:
    with pytest.raises(ValueError, match="3 rows need as many generators, got 2"):
        noise.simplex(torch.empty(3, 1, 8, 8), seeded(2))
