"""Files that stand for what others publish: of the right form, with a handful of weights."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import torch


def saved(content: Any) -> bytes:
    """What ``torch.save`` makes of ``content``."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def zipped(contents: dict[str, bytes]) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return buffer.getvalue()


NNUNET = {
    "network_weights": {"conv.weight": torch.ones(3)}, "init_args": {"configuration": "3d_fullres"},
    "trainer_name": "nnUNetTrainer",
}  # fmt: skip
HD_BET_2 = {
    "release/fold_all/checkpoint_final.pth": saved(NNUNET),
    "release/dataset.json": b'{"channel_names": {}, "labels": {}}',
    "release/plans.json": b'{"configurations": {}}',
}
RESNET18 = {"conv1.weight": torch.ones(64, 3, 7, 7), "fc.weight": torch.ones(1000, 512)}
