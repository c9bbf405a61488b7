"""SegNet (Badrinarayanan et al. 2017): VGG16's convolutions, and their mirror image, which puts values back to where
their maxima were."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = (2, 2, 3, 3, 3)
CENTRAL = 3  # of the encoder's units and of the decoder's, with dropout in Bayesian SegNet (Kendall et al. 2017)


def unchanged(features: Tensor) -> Tensor:
    """No dropout."""
    return features


class SegNet(nn.Module):
    """Encoder and decoder of 3 x 3 convolutions with batch normalisation; no skip but the places of the maxima.

    With four channels and one output it has 29,444,161 parameters.

    Args:
        widths: channels per level. convolutions: of each level, in encoder and decoder.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int = 1,
        *,
        widths: Sequence[int] = WIDTHS,
        convolutions: Sequence[int] = CONVOLUTIONS,
    ) -> None:
        super().__init__()
        self.stride = 2 ** len(widths)
        shapes = list(zip([inputs, *widths[:-1]], widths, convolutions, strict=True))
        self.encoder = nn.ModuleList(nn.Sequential(*_unit(i, o, n, widen=True)) for i, o, n in shapes)
        mirrored = [(o, i, n) for i, o, n in reversed(shapes[1:])]
        self.decoder = nn.ModuleList(nn.Sequential(*_unit(i, o, n, widen=False)) for i, o, n in mirrored)
        first = _unit(widths[0], widths[0], convolutions[0] - 1, widen=False)
        self.last = nn.Sequential(*first, nn.Conv2d(widths[0], outputs, 3, padding=1))

    def forward(self, image: Tensor, drop: Callable[[Tensor], Tensor] = unchanged) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W), unbounded; H and W multiples of ``stride``.

        Args:
            drop: dropout, of what the central units give.
        """
        x, places, depth = image, list[Tensor](), len(self.encoder)
        for number, unit in enumerate(self.encoder):
            x, place = F.max_pool2d(unit(x), 2, return_indices=True)
            x = drop(x) if depth - number <= CENTRAL else x
            places.append(place)
        for number, unit in enumerate(self.decoder):
            x = unit(F.max_unpool2d(x, places.pop(), (2, 2)))
            x = drop(x) if number < CENTRAL else x
        output: Tensor = self.last(F.max_unpool2d(x, places.pop(), (2, 2)))
        return output


def _unit(inputs: int, outputs: int, count: int, *, widen: bool) -> list[nn.Module]:
    """``count`` convolutions, of which the first (else the last) goes from ``inputs`` to ``outputs`` channels."""
    layers: list[nn.Module] = []
    for number in range(count):
        changes = number == (0 if widen else count - 1)
        entering = inputs if changes or not widen else outputs
        leaving = outputs if changes or widen else inputs
        layers += [nn.Conv2d(entering, leaving, 3, padding=1), nn.BatchNorm2d(leaving), nn.ReLU()]
    return layers
