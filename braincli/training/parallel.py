"""Device, precision and processes, through Lightning Fabric.

A step's batch is split into shards, each with random numbers of its own (:func:`seed`). A process computes its share of
the shards; gradients are summed over all of them and divided by their number. So the result depends on the number of
shards, not on the number of processes: ``torchrun --nproc-per-node 2`` equals one process with ``--shards 2`` and the
same batch. Buffers (running statistics) are those of the first process, as in PyTorch's own data parallelism.

SIGTERM to torchrun reaches its processes, which write a checkpoint and end with code 0; torchrun itself ends with 1. It
passes no other signal on.
"""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from braincli.errors import UsageError

PRECISIONS = {None: "32-true", torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed"}


def launch(device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """A launched ``lightning_fabric.Fabric``: of all processes that torchrun started, else of this one.

    Args:
        device: of this process; under torchrun only its kind counts, each process takes the device of its local rank.
        dtype: of autocast; None computes in float32.
    """
    import lightning_fabric  # sets up its logger when it is imported

    told = logging.getLogger(lightning_fabric.__name__)
    told.handlers.clear()  # what it says is for a log (braincli.runtime.logs), not for the screen
    told.propagate = True
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

    several = TorchElasticEnvironment.detect()
    local = int(os.environ["LOCAL_WORLD_SIZE"]) if several else 1
    fabric = Fabric(
        accelerator=device.type,
        devices=local if several or device.index is None else [device.index],
        num_nodes=int(os.environ["WORLD_SIZE"]) // local if several else 1,
        strategy="ddp" if several else "auto",
        precision=PRECISIONS[dtype],
        plugins=[TorchElasticEnvironment() if several else LightningEnvironment()],  # never SLURM's by accident
    )
    fabric.launch()
    if several:
        atexit.register(_leave)
    return fabric


def _leave() -> None:
    """Close the process group while Python still runs: its threads abort a process that ends without them."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def shards_of(fabric: Any, shards: int | None, batch: int) -> tuple[int, range]:
    """How many shards there are (None: one per process), and which of them this process computes.

    Raises:
        UsageError: the batch does not split evenly, or the shards do not.
    """
    number, processes = shards or fabric.world_size, fabric.world_size
    if number % processes:
        raise UsageError(f"{number} shards do not split over {processes} processes.", "Choose --shards a multiple.")
    if batch % number:
        raise UsageError(f"A batch of {batch} does not split into {number} shards.", "Choose --batch a multiple.")
    each = number // processes
    return number, range(fabric.global_rank * each, (fabric.global_rank + 1) * each)


def seed(*path: int) -> int:
    """A seed for the random numbers at ``path`` (run seed, stage, step, shard ...): stateless, so resume is exact."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def summed(fabric: Any, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor summed over all processes, in one message."""
    if fabric.world_size == 1:
        return list(tensors)
    flat = fabric.all_reduce(torch.cat([t.reshape(-1) for t in tensors]), reduce_op="sum")
    parts = flat.split([t.numel() for t in tensors])
    return [part.reshape(t.shape) for part, t in zip(parts, tensors, strict=True)]


def total(fabric: Any, values: Sequence[float]) -> list[float]:
    """Each number summed over all processes."""
    if fabric.world_size == 1:
        return list(values)
    sums: list[float] = summed(fabric, [torch.tensor(values, dtype=torch.float32, device=fabric.device)])[0].tolist()
    return sums


def gathered(fabric: Any, content: list[Any]) -> list[Any]:
    """The lists of all processes, joined in their order (on the first process; elsewhere what is its own)."""
    if fabric.world_size == 1:
        return content
    parts = [None] * fabric.world_size if fabric.is_global_zero else None
    torch.distributed.gather_object(content, parts)
    return [entry for part in parts for entry in part] if parts else content  # type: ignore[attr-defined]
