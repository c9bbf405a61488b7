"""What training tells: ``metrics.jsonl`` always, TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from braincli.runtime import files


class Watcher(Protocol):
    """Who is shown the weights that would be kept, while they are in place (see :mod:`braincli.training.watch`)."""

    def is_due(self, step: int, steps: int) -> bool:
        """Whether a preview is wanted after ``step`` of ``steps``."""

    def preview(self, stage: str, step: int) -> None:
        """The moment for one."""

    def snapshot(self, stage: str, step: int) -> None:
        """Every ``snapshot_every`` steps."""

    def stopped(self, stage: str, step: int) -> None:
        """Training ends here, before its time; its checkpoint is written."""


class Log:
    """Figures and pictures of a training.

    Args:
        metrics: the file that gets one JSON object per entry.
        board: folder of TensorBoard's event files; None, or TensorBoard not being installed, goes without.
    """

    def __init__(self, metrics: Path, board: Path | None = None) -> None:
        self.metrics, self.board = metrics, None
        if board is not None and find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(board))

    def scalars(self, stage: str, step: int, values: dict[str, float]) -> None:
        """One entry of figures."""
        with self.metrics.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"stage": stage, "step": step, **values}) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{stage}/{name}", value, step)

    def picture(self, name: str, step: int, image: Tensor) -> None:
        """An image (1, H, W) in [0, 1], for TensorBoard only."""
        if self.board is not None:
            self.board.add_image(name, image.clamp(0, 1), step)
            self.board.flush()

    def forget_after(self, stages: Sequence[str], stage: int, step: int) -> None:
        """Drop entries later than ``step`` of ``stages[stage]``: they will come again."""
        kept = [e for e in iterate_metrics(self.metrics) if (stages.index(e["stage"]), e["step"]) <= (stage, step)]
        files.write_text(self.metrics, "".join(json.dumps(entry) + "\n" for entry in kept))


def iterate_metrics(metrics: Path) -> Iterator[dict[str, Any]]:
    """The entries of a ``metrics.jsonl``, none where there is no such file; a last line cut short is left out."""
    for line in metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
