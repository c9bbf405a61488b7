"""HD-BET 2.x (an nnU-Net) with weights that the user fetched; slower and larger than the default.

The package ``HD_BET`` is not imported: it redirects stdout for good, starts a dozen processes and ignores CPU limits.
nnU-Net's predictor is set up here from files whose hashes were checked, with ``weights_only=True``.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from braincli.imaging import volume
from braincli.imaging.volume import Volume
from braincli.weights import checkpoints

if TYPE_CHECKING:
    import torch


def checkpoint() -> Path:
    """The checkpoint file, after its hash and those of its descriptions were checked.

    Raises:
        ModelError: it was never fetched, or is damaged.
    """
    from braincli.weights.inventory import hd_bet_2

    return hd_bet_2() / "fold_all" / "checkpoint_final.pth"


def probability(image: Volume, *, mirror: bool, device: torch.device) -> Volume:
    """Probability of brain (X, Y, Z) float32 in [0, 1] on the grid of ``image``.

    Raises:
        ModelError: the weights are missing or damaged.
    """
    path = checkpoint()
    ras = volume.reorient(image)
    spacing = {"spacing": list(reversed(ras.spacing))}
    with redirect_stdout(io.StringIO()):  # nnU-Net prints on import and while it works; stdout is for data
        predictor = _predictor(path, mirror=mirror, device=device)
        array = np.ascontiguousarray(ras.data.T[None], dtype=np.float32)
        _, classes = predictor.predict_single_npy_array(array, spacing, None, None, True)
    return volume.onto_grid_of(ras.with_data(np.ascontiguousarray(classes[1].T, dtype=np.float32)), image)


def _predictor(path: Path, *, mirror: bool, device: torch.device) -> Any:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    folder = path.parent.parent
    plans, dataset = (checkpoints.read_description(folder / name) for name in ("plans.json", "dataset.json"))
    stored = checkpoints.read_nnunet(path)
    manager = PlansManager(plans)
    configuration = manager.get_configuration(stored["init_args"]["configuration"])
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        len(dataset["channel_names"]),
        manager.get_label_manager(dataset).num_segmentation_heads,
        allow_init=True,
        deep_supervision=False,
    )
    axes = stored.get("inference_allowed_mirroring_axes")
    predictor = nnUNetPredictor(
        use_mirroring=mirror, device=device, perform_everything_on_device=True, allow_tqdm=False
    )
    weights = [stored["network_weights"]]
    predictor.manual_initialization(network, manager, configuration, weights, dataset, stored["trainer_name"], axes)
    return predictor
