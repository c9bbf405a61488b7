"""What pictures are drawn on."""

from __future__ import annotations

import numpy as np
import pytest

from braincli.reporting.canvas import DPI, Canvas, colours


def test_the_colour_scale_is_matplotlibs() -> None:
    from matplotlib import colormaps

    expected = 255 * colormaps["inferno"](np.arange(256))[:, :3]
    assert np.abs(colours("inferno") - expected).max() < 5
    assert np.array_equal(colours("gray"), np.arange(256)[:, None].repeat(3, axis=1))


@pytest.mark.parametrize("points", [0.35, 0.9, 2.0])
def test_outlines_lie_on_the_edge_are_as_wide_as_said_and_closed_at_the_border(points: float) -> None:
    canvas = Canvas(2, 2, "#000000")
    mask = np.zeros((20, 20), bool)
    mask[5:15, 10:] = True  # reaches the right border
    canvas.outline(mask, "#ffffff", points, (0.5, 1.5, 0.5, 1.5))
    drawn = np.asarray(canvas.picture)[..., 0] / 255
    across, down = drawn[DPI], drawn[:, round(1.25 * DPI)]  # through its middle
    for line, edges in ((across, (1.0, 1.5)), (down, (0.75, 1.25))):
        places = [(np.arange(len(part)) + shift)[part > 0] for part, shift in ((line[:163], 0), (line[163:], 163))]
        if line is down:
            places = [(np.arange(DPI))[line[:DPI] > 0], np.arange(DPI, len(line))[line[DPI:] > 0]]
        for place, inch in zip(places, edges, strict=True):
            assert abs(np.average(place, weights=line[place]) - inch * DPI) < 1.5
            assert line[place].sum() == pytest.approx(points * DPI / 72, abs=0.4)


def test_pictures_are_clipped_to_their_window_before_they_are_interpolated() -> None:
    canvas = Canvas(1, 1, "#ff0000")
    canvas.image(np.array([[0.0, 1000.0], [0.0, 0.0]]), (0.0, 1.0), "gray", (0.0, 1.0, 0.0, 1.0))
    drawn = np.asarray(canvas.picture)
    assert (drawn[..., 0] == drawn[..., 2]).all()  # all of it is covered
    assert drawn[0, -1, 0] == 255 and drawn[-1, 0, 0] == 0
    assert (drawn[..., 0] > 127).mean() < 0.35
