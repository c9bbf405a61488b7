"""How a network F becomes a denoiser D(x, sigma; condition) -> x0, and the loss that trains it.

``VE`` is the paper's: F gets the noisy slice as it is and predicts minus the noise, D = x + sigma F (TSGM Eq. 4-7,
corrected). ``Centred`` is ours for small networks: the preconditioning of Karras et al. 2022 (EDM, Table 1) around the
condition instead of around zero, D = y + c_skip (x - y) + c_out F. At every sigma F then has unit-size input and
target, and "no change" is F = 0, so that tissue outside a lesion is copied rather than made anew. Both are
denoisers of the same model p(x0 | y): the samplers do not know the difference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Network = Callable[[Tensor, Tensor], Tensor]  # (input (B, C_in, H, W), log sigma (B,)) -> (B, C, H, W)


class VE:
    """D = x + sigma F([2x - 1, 2y - 1], log sigma); loss || F + z ||^2, every sigma weighs the same."""

    def denoise(self, network: Network, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W) estimate of x0, in x's dtype; ``network`` runs in float32."""
        joint = torch.cat([x.float(), condition], dim=1) * 2 - 1
        return x + _column(sigma) * network(joint, sigma.float().log()).to(x)

    def weight(self, sigma: Tensor) -> Tensor:
        """Weight of |D - x0|^2 at ``sigma`` (B,)."""
        return sigma**-2


class Centred:
    """EDM preconditioning around the condition; ``spread`` is the standard deviation of x0 - y."""

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def denoise(self, network: Network, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W) estimate of x0, in x's dtype; ``network`` runs in float32."""
        s = _column(sigma.double())
        share = self.spread / torch.hypot(s, torch.full_like(s, self.spread))
        narrow, keep, change = (part.to(x.dtype) for part in (share / self.spread, share.square(), s * share))
        offset = x - condition
        joint = torch.cat([(offset * narrow).float(), condition * 2 - 1], dim=1)
        anchor = torch.addcmul(condition.to(x.dtype), keep, offset)
        return torch.addcmul(anchor, change, network(joint, sigma.float().log()).to(x.dtype))

    def weight(self, sigma: Tensor) -> Tensor:
        """Weight of |D - x0|^2 at ``sigma`` (B,): one in the units of F."""
        return (sigma**2 + self.spread**2) / (sigma * self.spread) ** 2


def _column(sigma: Tensor) -> Tensor:
    return sigma[:, None, None, None]
