"""braincli: pseudo-healthy restoration, anomaly maps and lesion masks from raw multi-contrast brain MRI.

The Python door is :mod:`braincli.api`; its functions are re-exported here lazily, so that ``import braincli``
(and ``braincli --help``) loads neither torch nor ants nor SimpleITK.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

API = ("calibrate", "check", "demo", "detect", "preprocess", "score", "train")
__all__ = ["API", "__version__"]

RESEARCH_USE_ONLY = "Research use only; not a medical device."


def __getattr__(name: str) -> Any:
    if name in API:
        from braincli import api

        return getattr(api, name)
    raise AttributeError(f"module 'braincli' has no attribute {name!r}")
