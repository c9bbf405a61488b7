"""What in an image a network's value rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attributions(
    value: Callable[[Tensor], Tensor], features: nn.Module, image: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A value of each image, its saliency, and its class activation map, enlarged to the image.

    Args:
        value, features, image: see :func:`places`; of two dimensions.

    Returns:
        (B,), (B, 1, H, W) >= 0 and (B, 1, H, W) >= 0.
    """
    values, saliency, maps = places(value, features, image)
    return values, saliency, F.interpolate(maps, size=image.shape[2:], mode="bilinear", align_corners=False)


def places(
    value: Callable[[Tensor], Tensor], features: nn.Module, image: Tensor, *, averaged: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """A value of each image (or volume), its saliency, and its class activation map as it is, of ``features``' size.

    The saliency is |d value / d pixel|, the largest of the channels (Simonyan et al. 2014, Sec. 3). The map is Grad-CAM
    (Selvaraju et al. 2017, Eq. 1 and 2): ReLU(sum_k alpha_k A_k), alpha_k the mean of d value / d A_k over all places;
    where features are averaged and weighted, as in CAM (Zhou et al. 2016), it is that map.

    Works inside ``torch.inference_mode``.

    Args:
        averaged: False: every place has its own alpha_k = d value / d A_k (HiResCAM; Draelos & Carin 2020,
            arXiv:2011.08891), as networks want it that keep where features are: there the mean slope says nothing.
        value: (B, C, ...) -> (B,); rows are independent.
        features: the module that gives A (R, K, ...), run once by ``value``; R is B, or a multiple of it where
            channels are rows: their maps are averaged.

    Returns:
        (B,), (B, 1, ...) >= 0 of the image's size and (B, 1, ...) >= 0 of the map's.
    """
    seen: list[Tensor] = []
    hook = features.register_forward_hook(lambda module, given, output: seen.append(output))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            free = image.detach().clone().requires_grad_()
            values = value(free)
            slope, towards = torch.autograd.grad(values.sum(), (free, seen[-1]))
    finally:
        hook.remove()
    weights = towards.float()
    if averaged:
        weights = weights.mean(dim=tuple(range(2, weights.ndim)), keepdim=True)
    rows = F.relu((weights * seen[-1].detach().float()).sum(dim=1))
    maps = rows.unflatten(0, (len(image), -1)).mean(dim=1, keepdim=True)
    return values.detach().float(), slope.float().abs().amax(dim=1, keepdim=True), maps


def enlarged(maps: Tensor, shape: Sequence[int], first: int, pitch: int) -> Tensor:
    """A map (x, y, z) on the voxels (X, Y, Z) that its places lie among, linear between them and constant beyond.

    Args:
        first, pitch: place i is voxel ``first + pitch * i``, along every axis.
    """
    for axis, size in enumerate(shape):
        count = maps.shape[axis]
        voxels = torch.arange(size, device=maps.device, dtype=maps.dtype)
        at = ((voxels - first) / pitch).clamp(0, count - 1)
        weights = (1 - (at[:, None] - torch.arange(count, device=maps.device)).abs()).clamp_min(0)
        maps = torch.tensordot(weights, maps, dims=([1], [axis])).movedim(0, axis)
    return maps
