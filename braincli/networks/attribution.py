"""What in an image a network's value rests on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attributions(
    value: Callable[[Tensor], Tensor], features: nn.Module, image: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A value of each image, its saliency, and its class activation map.

    The saliency is |d value / d pixel|, the largest of the channels (Simonyan et al. 2014, Sec. 3). The map is Grad-CAM
    (Selvaraju et al. 2017, Eq. 1 and 2): ReLU(sum_k alpha_k A_k), alpha_k the mean of d value / d A_k over all places,
    enlarged to the image; where features are averaged and weighted, as in CAM (Zhou et al. 2016), it is that map.

    Works inside ``torch.inference_mode``.

    Args:
        value: (B, C, H, W) -> (B,); rows are independent.
        features: the module that gives A (R, K, h, w), run once by ``value``; R is B, or a multiple of it where
            channels are rows: their maps are averaged.

    Returns:
        (B,), (B, 1, H, W) >= 0 and (B, 1, H, W) >= 0.
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
    weights = towards.float().mean(dim=(2, 3), keepdim=True)
    rows = F.relu((weights * seen[-1].detach().float()).sum(dim=1))
    maps = rows.unflatten(0, (len(image), -1)).mean(dim=1, keepdim=True)
    enlarged = F.interpolate(maps, size=image.shape[2:], mode="bilinear", align_corners=False)
    return values.detach().float(), slope.float().abs().amax(dim=1, keepdim=True), enlarged
