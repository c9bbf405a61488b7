"""Guidance: wrappers that turn a denoiser into one that samples what is asked for. Any sampler takes the result.

In the coordinates x = x0 + sigma n the rule eps - k sqrt(1 - abar) grad f of Dhariwal and Nichol 2021 (Alg. 2) reads
D + k sigma^2 grad_x f: a step that raises f. With f = log p(y | x) and k = 1 that is Bayes' rule.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from braincli.diffusion.samplers import Denoise

Score = Callable[[Tensor, Tensor], Tensor]  # (x (B, C, H, W), sigma (B,)) -> (B,)


def gradient(score: Score, x: Tensor, sigma: Tensor) -> Tensor:
    """Gradient of ``score`` (rows are independent) in x: (B, C, H, W).

    Works inside ``torch.inference_mode``; tensors made there that ``score`` multiplies x with must be cloned first.
    """
    with torch.inference_mode(False), torch.enable_grad():
        free = x.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(score(free, sigma.clone()).sum(), free)
    return slope


def guided(denoise: Denoise, score: Score, scale: float) -> Denoise:
    """Classifier guidance: ``denoise`` moved by ``scale`` sigma^2 times the gradient of ``score``, which rises.

    Args:
        score: what is to increase, for example log C(healthy | x, sigma); a cross-entropy that is to shrink enters
            with a minus sign.
    """

    def towards(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x, sigma) + scale * sigma[:, None, None, None] ** 2 * gradient(score, x, sigma)

    return towards


def classifier_free(conditional: Callable[[Tensor, Tensor, Tensor], Tensor], label: int, scale: float) -> Denoise:
    """Extrapolation from the unconditional estimate through the conditional one (Ho and Salimans 2022).

    D = D_null + ``scale`` (D_label - D_null); both come from one call with twice the rows.

    Args:
        conditional: ``(x, sigma, label (B,) int64) -> x0``, where label -1 is none.
    """

    def towards(x: Tensor, sigma: Tensor) -> Tensor:
        labels = torch.tensor([-1, label], device=x.device).repeat_interleave(len(x))
        null, chosen = conditional(torch.cat([x, x]), torch.cat([sigma, sigma]), labels).chunk(2)
        return null + scale * (chosen - null)

    return towards


def dynamic_threshold(denoise: Denoise, quantile: float = 0.99) -> Denoise:
    """Keep estimates of x0 in [-1, 1]: clipped at a quantile of |x0| (at least 1) per image and channel, divided by it.

    Saharia et al. 2022 (Imagen); Sanchez et al. 2022 decode with it.
    """

    def bounded(x: Tensor, sigma: Tensor) -> Tensor:
        clean = denoise(x, sigma)
        limit = clean.abs().flatten(2).quantile(quantile, dim=2).clamp_min(1)[:, :, None, None]
        return torch.minimum(torch.maximum(clean, -limit), limit) / limit

    return bounded
