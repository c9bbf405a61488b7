"""All kinds of synthetic anomalies by name, behind one pair of functions.

    parameters = KINDS[name].draw(shape, generator, radius)
    image, alpha = KINDS[name].apply(image, brain, donor, parameters)

``draw`` is random: ``shape`` is (B, C, H, W), ``radius`` the smallest and largest radius in pixels of one local
anomaly, or None for what the kind's publication draws. ``apply`` is deterministic: ``image`` (B, C, H, W) in [0, 1],
``brain`` (B, 1, H, W) bool, outside of which nothing changes, ``donor`` like ``image``, which some kinds take
foreign tissue from. Alpha (B, 1, H, W) in [0, 1] says where and how much was changed. Drawn parameters are tensors
whose first axis is B, or dataclasses of such.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from braincli.anomalies import coarse, draem, growth, poisson, sinks
from braincli.diffusion import draws

Shape = tuple[int, int, int, int]
Radius = tuple[float, float] | None
Planted = tuple[Tensor, Tensor]


class Kind(NamedTuple):
    """One kind of anomaly."""

    summary: str
    draw: Callable[[Shape, torch.Generator, Radius], Any]
    apply: Callable[[Tensor, Tensor, Tensor, Any], Planted]


@dataclass(frozen=True)
class Window:
    """The anomaly (``inside``) and the spot that it is confined to; everywhere without one."""

    inside: Any
    spot: sinks.Sink | None


def _draw_growth(shape: Shape, generator: torch.Generator, radius: Radius) -> growth.Growth:
    if radius is None:
        return growth.draw(shape, generator)
    return growth.draw(shape, generator, radius=radius, arbitrary=0.0)


def _draw_sink(shape: Shape, generator: torch.Generator, radius: Radius) -> sinks.Sink:
    return sinks.draw(shape, generator) if radius is None else sinks.draw(shape, generator, radius=radius)


def _draw_patch(shape: Shape, generator: torch.Generator, radius: Radius) -> poisson.Patch:
    if radius is None:
        return poisson.draw(shape, generator)
    side = min(shape[2:])
    return poisson.draw(shape, generator, half=(radius[0] / side, radius[1] / side), alpha=(0.5, 0.95))


def _draw_draem(shape: Shape, generator: torch.Generator, radius: Radius) -> Window:
    if radius is None:
        return Window(draem.draw(shape, generator), None)
    spot = sinks.draw(shape, generator, radius=radius)
    return Window(draem.draw(shape, generator, octaves=(2, 4), foreign=0.5, least=0.35), spot)


def _draw_coarse(shape: Shape, generator: torch.Generator, radius: Radius) -> Window:
    return Window(coarse.draw(shape, generator), None if radius is None else _draw_sink(shape, generator, radius))


def _apply_growth(image: Tensor, brain: Tensor, donor: Tensor, parameters: growth.Growth) -> Planted:
    return growth.apply(image, brain, parameters)


def _apply_sink(image: Tensor, brain: Tensor, donor: Tensor, parameters: sinks.Sink) -> Planted:
    return sinks.apply(image, brain, parameters)


def _apply_draem(image: Tensor, brain: Tensor, donor: Tensor, parameters: Window) -> Planted:
    where = brain if parameters.spot is None else sinks.spot(brain, parameters.spot) > 0.5
    return draem.apply(image, where, parameters.inside, donor)


def _apply_coarse(image: Tensor, brain: Tensor, donor: Tensor, parameters: Window) -> Planted:
    alpha = brain.to(image.dtype) if parameters.spot is None else sinks.spot(brain, parameters.spot)
    return coarse.apply(image, brain, parameters.inside.to(image) * alpha).clamp(0, 1), alpha


KINDS: dict[str, Kind] = {
    "draem": Kind("Perlin masks filled with foreign texture (DRAEM)", _draw_draem, _apply_draem),
    "pii": Kind("patches of other tissue, blended in without a seam (PII)", _draw_patch, poisson.apply),
    "growth": Kind("tumour-like growth", _draw_growth, _apply_growth),
    "coarse": Kind("coarse noise (denoising autoencoder)", _draw_coarse, _apply_coarse),
    "sink": Kind("smooth intensity sinks and sources", _draw_sink, _apply_sink),
}


def plant(name: str, image: Tensor, brain: Tensor, donor: Tensor, generator: torch.Generator) -> Planted:
    """Draw and apply anomalies of one kind, or for each row of another one with ``name`` = "mixed"."""
    if name != "mixed":
        shape: Shape = tuple(image.shape)  # type: ignore[assignment]
        return KINDS[name].apply(image, brain, donor, KINDS[name].draw(shape, generator, None))
    chosen = draws.randint(generator, 0, len(KINDS), len(image)).to(image.device)[:, None, None, None]
    planted, alpha = image, torch.zeros_like(image[:, :1])
    for index, kind in enumerate(KINDS):
        made, where = plant(kind, image, brain, donor, generator)
        planted, alpha = torch.where(chosen == index, made, planted), torch.where(chosen == index, where, alpha)
    return planted, alpha


def blended(first: Any, second: Any, angle: Tensor, size: tuple[int, int]) -> Any:
    """Parameters whose noise fields turn from ``first``'s to ``second``'s, everything else being ``first``'s.

    Args:
        first, second: parameters of a single row.
        angle: (S,) radians: 0 is the first; the sum of squared weights stays 1, and so does the noise's size.
        size: (H, W), by which fields are recognised among the parameters.

    Returns:
        Parameters of S rows.
    """

    def mix(one: Tensor, other: Tensor) -> Tensor:
        rows = one[:1].expand(len(angle), *one.shape[1:])
        if one.ndim != 4 or tuple(one.shape[2:]) != size or not one.is_floating_point():
            return rows
        weight = angle[:, None, None, None]
        return weight.cos() * rows + weight.sin() * other[:1]

    return _pairs(first, second, mix)


def _pairs(first: Any, second: Any, change: Callable[[Tensor, Tensor], Tensor]) -> Any:
    if first is None or isinstance(first, Tensor):
        return None if first is None else change(first, second)
    return replace(first, **{name: _pairs(value, getattr(second, name), change) for name, value in vars(first).items()})
