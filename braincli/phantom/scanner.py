"""What a scanner makes of a head: contrasts, own oblique and anisotropic grids, bias field, Rician noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from braincli.imaging.cases import Contrast
from braincli.imaging.volume import HeaderFacts, Volume
from braincli.phantom.anatomy import Head
from braincli.phantom.fields import smooth_noise

# Signal per tissue, chosen so that percentiles inside the brain are those of BraTS cases.
#                 CSF   GM    WM    vessel oedema rim  necrosis fat  texture
SIGNAL = {
    Contrast.T1: (0.14, 0.56, 0.70, 0.35, 0.56, 0.55, 0.40, 1.10, 0.05),
    Contrast.T1CE: (0.14, 0.42, 0.52, 1.15, 0.43, 0.85, 0.32, 1.00, 0.06),
    Contrast.T2: (0.95, 0.47, 0.41, 0.00, 0.71, 0.64, 0.88, 0.75, 0.07),
    Contrast.FLAIR: (0.10, 0.44, 0.39, 0.06, 0.82, 0.78, 0.68, 0.65, 0.05),
}  # fmt: skip
UNIT = 900.0  # stored integers per unit of signal
SLICE_SAMPLES_MM = 1.0  # a thick slice is the mean of samples this far apart


@dataclass(frozen=True)
class Protocol:
    """How one contrast is acquired.

    Attributes:
        axes: orientation of the array axes, the last is the slice direction.
        shape: voxels.
        spacing: mm.
        tilt: degrees by which the slab is rotated about x, y and z.
        noise: standard deviation in units of signal.
        bias: relative size of the receive field's variation.
    """

    axes: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    tilt: tuple[float, float, float]
    noise: float
    bias: float


PROTOCOLS = {
    Contrast.T1: Protocol("PIR", (240, 192, 150), (1.0, 1.0, 1.2), (0, 0, 0), 0.022, 0.10),
    Contrast.T1CE: Protocol("LPS", (192, 240, 176), (1.0, 1.0, 1.0), (-8, 0, 2), 0.022, 0.10),
    Contrast.T2: Protocol("LAS", (208, 256, 42), (0.9, 0.9, 4.0), (6, -3, 0), 0.018, 0.08),
    Contrast.FLAIR: Protocol("LPS", (208, 256, 34), (0.9, 0.9, 5.0), (-14, 4, 3), 0.018, 0.08),
}


def grid_of(protocol: Protocol) -> np.ndarray:
    """(4, 4) affine, voxel -> scanner mm (RAS), centred on the isocentre."""
    signs = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    flips = np.zeros((3, 3))
    for column, letter in enumerate(protocol.axes):
        axis, sign = signs[letter]
        flips[axis, column] = sign
    affine = np.eye(4)
    affine[:3, :3] = rotation(*protocol.tilt) @ flips @ np.diag(protocol.spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(protocol.shape) - 1) / 2)
    return affine


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """(3, 3) rotation by degrees about x, then y, then z."""
    matrix = np.eye(3)
    for first, second, angle in ((1, 2, x), (2, 0, y), (0, 1, z)):
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = cos
        turn[first, second], turn[second, first] = -sin, sin
        matrix = turn @ matrix
    return matrix


def signal(head: Head, contrast: Contrast, rng: np.random.Generator) -> np.ndarray:
    """(X, Y, Z) float32 signal on the atlas grid: weighted sum of the tissues, tumour and vessels over it."""
    csf, gm, wm, vessel, oedema, rim, necrosis, fat, texture = SIGNAL[contrast]
    enhances = contrast is Contrast.T1CE
    image = csf * head.csf + gm * head.gm + wm * head.wm
    grain = texture * (smooth_noise(image.shape, 3.0, rng) + smooth_noise(image.shape, 9.0, rng)) / 2**0.5
    image = image * (1 + grain)
    outside = fat * head.outer + (0.35 * head.dura if enhances else 0)
    outside = outside * (1 - head.liquor) + csf * head.liquor
    image = image + outside * (head.csf + head.gm + head.wm == 0)
    tumour = head.tumour
    rough = 1 + 1.5 * grain
    below = 1 - tumour.whole
    image = image * below + rough * (oedema * tumour.oedema + rim * tumour.rim + necrosis * tumour.necrosis)
    weight = head.vessel * below * (1.0 if enhances else 0.9)
    return np.asarray(image * (1 - weight) + vessel * weight, dtype=np.float32)


def acquire(image: np.ndarray, to_scanner: np.ndarray, protocol: Protocol, rng: np.random.Generator) -> Volume:
    """Scan ``image`` (atlas grid; ``to_scanner`` maps its voxels to scanner mm): int16, scanner codes 1."""
    clean = sample(image, to_scanner, protocol)
    field = np.exp(protocol.bias * smooth_noise(protocol.shape, max(protocol.shape), rng)) if protocol.bias else 1
    real, imaginary = (protocol.noise * rng.standard_normal(clean.shape, dtype=np.float32) for _ in range(2))
    measured = np.hypot(clean * field + real, imaginary)
    return _volume(np.rint(measured * UNIT).astype(np.int16), protocol)


def acquire_mask(mask: np.ndarray, to_scanner: np.ndarray, protocol: Protocol) -> Volume:
    """The reference mask (bool) on the protocol's grid: voxels that lie in ``mask`` by more than half."""
    return _volume(sample(mask.astype(np.float32), to_scanner, protocol) > 0.5, protocol)


def sample(image: np.ndarray, to_scanner: np.ndarray, protocol: Protocol) -> np.ndarray:
    """``image`` on the protocol's grid; thick slices average over their thickness."""
    from scipy.ndimage import affine_transform

    step = np.linalg.inv(to_scanner) @ grid_of(protocol)  # protocol voxel -> atlas voxel
    count = max(1, round(protocol.spacing[2] / SLICE_SAMPLES_MM))
    total = np.zeros(protocol.shape, dtype=np.float32)
    for shift in (np.arange(count) + 0.5) / count - 0.5:
        offset = step[:3, 3] + shift * step[:3, 2]
        total += affine_transform(
            image,
            step[:3, :3],
            offset,
            output_shape=protocol.shape,
            order=1,
            mode="nearest",
            output=np.float32,
        )
    return total / count


def _volume(data: np.ndarray, protocol: Protocol) -> Volume:
    affine = grid_of(protocol)
    return Volume(data, affine, HeaderFacts(qform_code=1, sform_code=1, qform=affine, sform=affine))
