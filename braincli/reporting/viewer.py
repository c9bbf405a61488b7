"""The interactive viewer of a page: NiiVue, out of nilearn's wheel, and the layers that it shows.

NiiVue draws three planes with any number of layers, colour scales and thresholds, in mm; brainsprite, which nilearn has
too, shows one map over one scan. nilearn holds NiiVue as a plain script of half the size of ipyniivue's, which hands
out a notebook's widget only and needs IPython.
"""

from __future__ import annotations

import base64
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np

from braincli.reporting.canvas import colours
from braincli.reporting.figures import MASK, NAMES, REFERENCE, Shown
from braincli.reporting.layers import GZIP_LEVEL, Screen

PACKAGE, SCRIPT = "nilearn", "_assets/js/niivue.umd.js"
HINT = (
    "The interactive viewer was not there when this page was written: it comes with nilearn 0.14 or newer "
    "(pip install nilearn). The pictures below show the slices that tell most."
)
STEPS = 33  # of the colour map


@cache
def library() -> str | None:
    """NiiVue, gzipped, as base64; None where no nilearn that holds it is installed."""
    spec = util.find_spec(PACKAGE)  # found, not imported: nilearn takes a second
    for folder in spec.submodule_search_locations or [] if spec else []:
        script = Path(folder) / SCRIPT
        if script.is_file():
            from isal import igzip

            return base64.b64encode(igzip.compress(script.read_bytes(), GZIP_LEVEL, mtime=0)).decode()
    return None


def content(
    shown: Shown, place: tuple[float, float, float] | None = None, threads: int | None = 1
) -> dict[str, Any] | None:
    """What the page's template and script need; None without the library.

    Args:
        place: where the crosshair begins, in mm; by default in the middle.
        threads: see :func:`braincli.runtime.side_by_side.mapped`.
    """
    script = library()
    if script is None:
        return None
    screen = Screen(shown)
    layers = list(screen.layers(threads))
    base, threshold, scale = NAMES[shown.base], shown.threshold or 0.0, _colours()
    return {
        "library": script,
        "version": metadata.version(PACKAGE),
        "contrasts": [layer.name for layer in layers if layer.kind == "scan"],
        "kinds": {layer.kind for layer in layers},
        "restores": any(layer.kind == "restored" for layer in layers),
        "base": base,
        "top": shown.top,
        "threshold": threshold,
        "mark": round(100 * min(threshold / shown.top, 1), 2),
        "gradient": ", ".join(f"rgb({r} {g} {b})" for r, g, b in scale),
        "pitch": " x ".join(f"{mm:.1f}" for mm in screen.pitch),
        "layers": {
            "header": base64.b64encode(_header(screen, layers[0].data.shape)).decode(),
            "layers": [{"kind": layer.kind, "name": layer.name, "voxels": layer.packed()} for layer in layers],
            "base": base,
            "top": shown.top,
            "colours": scale,
            "mask": _rgb(MASK),
            "reference": _rgb(REFERENCE),
            "place": list(place or screen.middle),
        },
    }


def _header(screen: Screen, shape: tuple[int, ...]) -> bytes:
    """The header of a NIfTI file of bytes."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype("uint8")
    header.set_data_shape(shape)
    header.set_zooms(screen.pitch)
    header.set_sform(screen.affine, code=2)
    header.set_qform(screen.affine, code=2)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return bytes(header.binaryblock + bytes(4))


def _colours() -> list[list[int]]:
    """The colour map of anomaly maps, as the pictures have it."""
    places = np.linspace(0, 255, STEPS).round().astype(int)
    return [[int(part) for part in colour] for colour in colours("inferno")[places]]


def _rgb(colour: str) -> list[int]:
    return [int(colour[digit : digit + 2], 16) for digit in (1, 3, 5)]
