"""The MNI152 T1 template that the package nilearn carries: brain only, 197 x 233 x 189 voxels of 1 mm, RAS.

It is ICBM 2009a, nonlinear and symmetric (Fonov et al. 2011, NeuroImage 54:313), which its licence lets anybody copy,
modify and distribute; its notice is that of the SRI24 files (``atlas/NOTICE.md``). It shows no skull, so that brains
are aligned to it and whole heads are not.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from braincli.errors import ModelError, UsageError
from braincli.runtime import files

if TYPE_CHECKING:
    from braincli.imaging.volume import Volume

NAME = "MNI152NLin2009aSym"
SHAPE = (197, 233, 189)
FILE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
WHOLE = 255.0  # the highest value; of the file uint8


def template_path() -> Path:
    """The file in the installed nilearn; nothing of it is imported.

    Raises:
        ModelError: nilearn is not installed, or holds no such file any more.
    """
    found = find_spec("nilearn")
    path = Path(next(iter(found.submodule_search_locations or [""]))) / "datasets" / "data" / FILE if found else Path()
    if not path.is_file():
        raise ModelError("The MNI152 template is missing.", "It comes with nilearn 0.14: pip install nilearn.")
    return path


def spatial_reference() -> str:
    """What BIDS sidecars name as ``SpatialReference``: the template, its variant and its hash."""
    path = template_path()
    return f"{NAME} as nilearn carries it, 197 x 233 x 189, 1 mm, brain only; {FILE} sha256:{files.sha256(path)}"


@cache
def load_atlas(stripped: bool) -> Volume:
    """The template (197, 233, 189) float32 in 0..255 (RAS, 1 mm); do not write into it.

    Args:
        stripped: brain only, as it is.

    Raises:
        UsageError: the whole head is wanted.
        ModelError: the file is missing, or another one.
    """
    import nibabel as nib
    import numpy as np

    from braincli.imaging.volume import HeaderFacts, Volume

    if not stripped:
        raise UsageError(
            "--space mni152: the template shows no skull, so that a brain is needed.",
            "Leave out --skip brain, or give --brain-mask.",
        )
    path = template_path()
    image = nib.load(path)
    affine, data = np.asarray(image.affine, dtype=np.float64), np.array(image.dataobj, dtype=np.float32)
    if data.shape != SHAPE or data.max() != WHOLE:
        raise ModelError(f"{FILE} of nilearn is not the template that is known.", "Install nilearn 0.14.")
    data.flags.writeable = False
    return Volume(data, affine, HeaderFacts(qform_code=4, sform_code=4, qform=affine, sform=affine))
