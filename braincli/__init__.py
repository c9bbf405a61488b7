"""braincli: pseudo-healthy restoration, anomaly maps and lesion masks from raw multi-contrast brain MRI.

The Python door is :mod:`braincli.api`; its functions are re-exported here lazily, so that ``import braincli``
(and ``braincli --help``) loads neither torch nor ants nor SimpleITK.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from braincli.api import (
        bids,
        calibrate,
        check,
        classify,
        detect,
        explain,
        load_model,
        preprocess,
        score,
        split,
        synth,
        train,
        train_classifier,
        translate,
        validate_classifier,
    )
    from braincli.phantom.run import run as demo

# OpenMP reads these when torch is imported, so they are set here, before. Threads that spin while they wait make
# two processes on the same cores several times slower than one after the other (6 to 14 x on two cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

__version__ = "0.1.0"

VERBS = {  # name -> module:function
    **{
        verb: f"api:{verb}"
        for verb in (
            "bids",
            "calibrate",
            "check",
            "classify",
            "detect",
            "explain",
            "load_model",
            "preprocess",
            "score",
            "split",
            "synth",
            "train",
            "train_classifier",
            "translate",
            "validate_classifier",
        )
    },
    "demo": "phantom.run:run",
}
__all__ = [
    "__version__", "bids", "calibrate", "check", "classify", "demo", "detect", "explain", "load_model",
    "preprocess", "score", "split", "synth", "train", "train_classifier", "translate", "validate_classifier",
]  # fmt: skip

RESEARCH_USE_ONLY = "Research use only; not a medical device."


def __getattr__(name: str) -> Any:
    if name in VERBS:
        from importlib import import_module

        module, _, function = VERBS[name].partition(":")
        return getattr(import_module(f"braincli.{module}"), function)
    raise AttributeError(f"module 'braincli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
