"""Linear registration with ANTs, bit-identical when repeated.

ANTs gets arrays whose geometry braincli decided on, never files of the user. It runs on one ITK thread: with more, the
order of floating-point sums varies from run to run, and it is no faster for linear transforms.

A transform is a (4, 4) matrix that maps a point of the fixed world to its point in the moving world (RAS mm): what
resampling needs, and the inverse of how people say "moving to fixed".
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from braincli.imaging.volume import Volume, itk_geometry, resample

if TYPE_CHECKING:
    import ants

ITK_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS
WORK_MM = 2.0  # grid on which images are registered: half of BraTS' voxel edge is far above its residual error
START_MM = 8.0  # grid on which starting points are compared
BINS = 32


@dataclass(frozen=True)
class Stage:
    """One ANTs stage, coarse to fine; shrink factors and smoothing count voxels of :data:`WORK_MM`."""

    transform: str
    iterations: tuple[int, ...]
    shrink: tuple[int, ...]
    smoothing: tuple[float, ...]
    sampling: float = 0.1

    def arguments(self, metric: str) -> list[str]:
        """Its part of the antsRegistration command line."""
        return [
            "--transform", f"{self.transform}[0.1]",
            "--metric", f"Mattes[{metric},1,{BINS},Regular,{self.sampling}]",
            "--convergence", f"[{'x'.join(map(str, self.iterations))},1e-6,10]",
            "--shrink-factors", "x".join(map(str, self.shrink)),
            "--smoothing-sigmas", "x".join(map(str, self.smoothing)) + "vox",
        ]  # fmt: skip


RIGID = Stage("Rigid", (100, 50, 15), (4, 2, 1), (2, 1, 0))
AFFINE = Stage("Affine", (100, 50, 15), (4, 2, 1), (2, 1, 0))


@contextmanager
def one_itk_thread() -> Iterator[None]:
    """Make ITK start with one thread; the environment is as before afterwards.

    ITK reads the variable once per process, when it is first used. So ANTs stays single-threaded afterwards, unless
    the caller used it before with another setting; :func:`single_threaded` tells.
    """
    before = os.environ.get(ITK_THREADS)
    os.environ[ITK_THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[ITK_THREADS]
        else:
            os.environ[ITK_THREADS] = before


def to_ants(volume: Volume, centre: np.ndarray) -> ants.ANTsImage:
    """``volume`` as an ANTs image (axes (X, Y, Z) kept) whose world origin lies at ``centre`` (RAS mm)."""
    import ants

    spacing, origin, direction = itk_geometry(volume)
    shifted = tuple(np.asarray(origin) - FLIP[:3, :3] @ centre)
    array = np.ascontiguousarray(volume.data, dtype=np.float32)
    image = ants.from_numpy(array, origin=shifted, spacing=spacing, direction=direction)
    return image.clone("double")  # what antsRegistration reads with --float 0


def register(
    fixed: Volume,
    moving: Volume,
    *,
    kind: Literal["rigid", "affine"],
    seed: int = 0,
    starts: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Find the transform (4, 4) that maps points of ``fixed`` onto ``moving``, RAS mm.

    Mattes mutual information with regular sampling, coarse to fine, from the best of several starting points.

    Args:
        fixed, moving: images (not masks), any grid and orientation.
        kind: 6 parameters, or 12 (a rigid stage first).
        seed: of ANTs' sampling jitter.
        starts: candidate transforms; default: as the headers say, and centres of mass aligned.
    """
    fixed, moving = isotropic(fixed, WORK_MM), isotropic(moving, WORK_MM)
    start = best_start(fixed, moving, starts or (np.eye(4), align_centres(fixed, moving)))
    centre = centre_of_mass(fixed)
    placed = Volume(moving.data, np.linalg.inv(start) @ moving.affine)  # moved to where the start puts it
    stages = [RIGID] if kind == "rigid" else [RIGID, AFFINE]
    correction = _run(placed, fixed, centre, stages, seed)
    shift = np.eye(4)
    shift[:3, 3] = centre
    return start @ shift @ correction @ np.linalg.inv(shift)


def _run(moving: Volume, fixed: Volume, centre: np.ndarray, stages: Sequence[Stage], seed: int) -> np.ndarray:
    """antsRegistration between images centred at ``centre``; its transform as a RAS matrix."""
    with one_itk_thread(), tempfile.TemporaryDirectory(prefix="braincli-") as folder:
        import ants
        from ants.internal import get_lib_fn, get_pointer_string

        images = [to_ants(image, centre) for image in (fixed, moving)]
        metric = ",".join(get_pointer_string(image) for image in images)
        arguments = ["--dimensionality", "3", "--float", "0", "--random-seed", str(seed + 1)]
        arguments += ["--output", str(Path(folder) / "result")]
        for stage in stages:
            arguments += stage.arguments(metric)
        if get_lib_fn("antsRegistration")(arguments) != 0:
            raise RuntimeError("antsRegistration failed")
        del ants
        return read_itk(next(Path(folder).glob("result*GenericAffine.mat")))


def read_itk(path: Path) -> np.ndarray:
    """A linear ITK transform file (``.mat``) as a (4, 4) RAS matrix."""
    from scipy.io import loadmat

    content: dict[str, Any] = loadmat(path)
    centre = content.pop("fixed").ravel()
    (values,) = (value.ravel() for key, value in content.items() if not key.startswith("__"))
    matrix = np.eye(4)
    matrix[:3, :3] = values[:9].reshape(3, 3)
    matrix[:3, 3] = values[9:] + centre - matrix[:3, :3] @ centre
    return FLIP @ matrix @ FLIP


def write_itk(matrix: np.ndarray, path: Path) -> None:
    """Write a (4, 4) RAS matrix as an ITK / ANTs affine transform (``.mat``), atomically."""
    from scipy.io import savemat

    from braincli.runtime import files

    lps = FLIP @ matrix @ FLIP
    values = np.concatenate([lps[:3, :3].ravel(), lps[:3, 3]])[:, None]
    content = {"AffineTransform_double_3_3": values, "fixed": np.zeros((3, 1))}
    with files.atomic_path(path) as temporary:
        savemat(temporary, content, format="4")


def coarse(volume: Volume, spacing_mm: float) -> Volume:
    """``volume`` on a grid of about ``spacing_mm``: block means where its voxels are smaller, as it is elsewhere."""
    factors = [max(1, int(spacing_mm / size + 1e-3)) for size in volume.spacing]
    if max(factors) == 1:
        return volume
    shape = [size // factor for size, factor in zip(volume.shape, factors, strict=True)]
    cut = volume.data[tuple(slice(0, n * f) for n, f in zip(shape, factors, strict=True))].astype(np.float32)
    blocks = cut.reshape([part for n, f in zip(shape, factors, strict=True) for part in (n, f)])
    step = np.diag([*factors, 1.0])
    step[:3, 3] = (np.asarray(factors) - 1) / 2  # the first block's centre
    return Volume(blocks.mean(axis=(1, 3, 5)), volume.affine @ step)


def isotropic(volume: Volume, spacing_mm: float) -> Volume:
    """``volume`` on an isotropic grid along its own axes: thick slices are interpolated, small voxels averaged.

    Of ``spacing_mm``, or of the smallest voxel edge where this is larger.
    """
    blocks = coarse(volume, spacing_mm)
    spacing_mm = max(spacing_mm, min(volume.spacing))
    spacing = np.asarray(blocks.spacing)
    shape = np.maximum(np.floor((np.asarray(blocks.shape) - 1) * spacing / spacing_mm + 1e-3).astype(int) + 1, 1)
    step = np.diag([*(spacing_mm / spacing), 1.0])
    return resample(blocks, Volume(np.broadcast_to(np.float32(0), shape), blocks.affine @ step))


def crop(volume: Volume, mask: np.ndarray, margin_mm: float) -> Volume:
    """The box around ``mask`` (X, Y, Z), with a margin, as far as ``volume`` reaches; all of it for an empty mask."""
    if not mask.any():
        return volume
    low, high = [], []
    for axis, size in enumerate(volume.spacing):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = int(np.ceil(margin_mm / size))
        low.append(max(0, int(hit[0]) - margin))
        high.append(int(hit[-1]) + margin + 1)
    shift = np.eye(4)
    shift[:3, 3] = low
    box = volume.data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return Volume(box, volume.affine @ shift)


def centre_of_mass(volume: Volume) -> np.ndarray:
    """Centre of mass of the intensities above the minimum, RAS mm."""
    weights = volume.data.astype(np.float64) - volume.data.min()
    top = np.percentile(weights, 99)
    weights = np.minimum(weights, top) if top > 0 else weights  # few bright voxels must not decide, unless all is dark
    if not weights.any():
        weights += 1.0
    total = weights.sum()
    index = [
        (weights.sum(axis=tuple(a for a in range(3) if a != axis)) * np.arange(size)).sum() / total
        for axis, size in enumerate(volume.shape)
    ]
    return np.asarray((volume.affine @ [*index, 1.0])[:3])


def align_centres(fixed: Volume, moving: Volume) -> np.ndarray:
    """The translation that puts both centres of mass onto each other."""
    matrix = np.eye(4)
    matrix[:3, 3] = centre_of_mass(moving) - centre_of_mass(fixed)
    return matrix


def tilted_starts(fixed: Volume, moving: Volume, lifts: Sequence[float] = (0.0, 20.0, 40.0, -20.0)) -> list[np.ndarray]:
    """Starts for different heads: centres of mass aligned, or moved along the body, with the chin up or down."""
    centre = centre_of_mass(fixed)
    about = align_centres(fixed, moving)
    starts = []
    for degrees in (0, -15, 15, -30, 30):
        angle = np.deg2rad(degrees)
        turn = np.eye(4)
        turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turn[:3, 3] = centre - turn[:3, :3] @ centre
        for lift in lifts:  # necks pull the centre of mass down
            moved = about @ turn
            moved[2, 3] += lift
            starts.append(moved)
    return starts


def best_start(fixed: Volume, moving: Volume, starts: Sequence[np.ndarray]) -> np.ndarray:
    """The start with the largest mutual information on a coarse grid."""
    if len(starts) == 1:
        return starts[0]
    small, other = coarse(fixed, START_MM), coarse(moving, START_MM)
    return max(starts, key=lambda start: mutual_information(small, other, start))


def mutual_information(fixed: Volume, moving: Volume, transform: np.ndarray) -> float:
    """Mutual information in nats of two images under ``transform`` (fixed -> moving points).

    Over all voxels of ``fixed``; outside of ``moving`` counts as its minimum. 32 x 32 bins between the 1st and 99th
    percentile of each image.
    """
    from scipy.ndimage import affine_transform

    step = np.linalg.inv(moving.affine) @ transform @ fixed.affine
    low = float(moving.data.min())
    seen = affine_transform(moving.data.astype(np.float32), step, output_shape=fixed.shape, order=1, cval=low)
    counts = np.histogram2d(_binned(fixed.data), _binned(seen), bins=BINS, range=[[0, BINS], [0, BINS]])[0]
    joint = counts / counts.sum()
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / product[filled])).sum())


def _binned(data: np.ndarray) -> np.ndarray:
    low, high = np.percentile(data, [1, 99])
    scaled = (data.ravel() - low) * ((BINS - 1) / max(float(high - low), 1e-12)) + 0.5
    return np.asarray(np.clip(scaled, 0, BINS - 0.5))
