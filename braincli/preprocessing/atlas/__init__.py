"""The SRI24 T1 atlas in BraTS space, with and without skull (see NOTICE.md beside the files).

Grid: 240 x 240 x 155 voxels of 1 mm, LPS, affine diag(-1, -1, 1) with origin (0, 239, 0): exactly that of BraTS data.
Intensities are uint8 (255 = 99.9th percentile of the original's positive voxels).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from braincli.errors import ModelError
from braincli.runtime import files

if TYPE_CHECKING:
    from braincli.imaging.volume import Volume

NAME = "SRI24"
SHAPE = (240, 240, 155)
SHA256 = {
    "sri24_t1.nii.gz": "60d752da1ec0ddd7ed3dd20bf1b4a764c0448e867c5d64836880f5c75e86239c",
    "sri24_t1_brain.nii.gz": "eca633aa0dfb70ad6d2210c1e047923d4bda6566d4ed3d767e7b5c512e481fe4",
}


def atlas_path(stripped: bool) -> Path:
    """The atlas file, with skull or (``stripped``) brain only."""
    return Path(__file__).parent / ("sri24_t1_brain.nii.gz" if stripped else "sri24_t1.nii.gz")


def spatial_reference() -> str:
    """What BIDS sidecars name as ``SpatialReference``: the atlas, its variant and its hash."""
    digest = SHA256[atlas_path(stripped=False).name]
    return f"SRI24 (Rohlfing 2010) resampled to BraTS space, 240 x 240 x 155, 1 mm; sri24_t1.nii.gz sha256:{digest}"


def lies_on_grid(image: Volume) -> bool:
    """Whether ``image`` has the atlas' grid, as BraTS data has, whatever the order of its axes."""
    import numpy as np

    from braincli.imaging.volume import view_along

    turned = view_along(image, "LPS")
    grid = np.diag([-1.0, -1.0, 1.0, 1.0])
    grid[1, 3] = SHAPE[1] - 1
    return turned.shape == SHAPE and bool(np.allclose(turned.affine, grid, atol=0.01))


@cache
def load_atlas(stripped: bool) -> Volume:
    """The SRI24 T1 template (240, 240, 155) float32 in 0..255 on the BraTS grid (LPS, 1 mm); do not write into it.

    Args:
        stripped: brain only (0 outside), instead of the whole head.

    Raises:
        ModelError: the file is missing or its SHA-256 differs: the installation is damaged.
    """
    import nibabel as nib
    import numpy as np

    from braincli.imaging.volume import HeaderFacts, Volume

    path = atlas_path(stripped)
    if not path.is_file() or files.sha256(path) != SHA256[path.name]:
        raise ModelError(f"The atlas {path.name} is missing or damaged.", "Install braincli again.")
    image = nib.load(path)
    affine = np.asarray(image.affine, dtype=np.float64)
    data = np.asarray(image.dataobj, dtype=np.float32)
    data.flags.writeable = False
    header = HeaderFacts(qform_code=2, sform_code=2, qform=affine, sform=affine)
    return Volume(data, affine, header, sha256=SHA256[path.name])
