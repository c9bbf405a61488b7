"""What training costs: steps and slices per second of each stage, share of the time spent waiting for data, memory.

python benchmarks/train.py --method tsgm --preset compact --steps 20
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import numpy as np

from braincli.methods import registry
from braincli.runtime import device as devices
from braincli.runtime.progress import reporter
from braincli.training.store import SliceStore, open_store


def generated(size: tuple[int, int], count: int = 512) -> SliceStore:
    """Noisy discs, half of them with a bright lesion; what they show does not change what they cost."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    brain = np.broadcast_to(y**2 + x**2 < 0.8, (count, 1, *size)).copy()
    lesion = np.broadcast_to((y - 0.2) ** 2 + x**2 < 0.05, brain.shape).copy()
    lesion[::2] = False
    image = rng.integers(60, 160, (count, 4, *size), dtype=np.uint8)
    image[np.broadcast_to(lesion, image.shape)] = 240
    position = np.linspace(0, 1, count, dtype=np.float32)
    label = np.asarray(lesion.any(axis=(1, 2, 3)), np.int8)
    case = np.zeros(count, np.int32)
    return SliceStore(np.asarray(image * brain, np.uint8), brain, lesion, label, case, position, {"generated": []})


def measure(options: argparse.Namespace) -> None:
    """Train each stage for a while; the first half warms up, the second is reported."""
    device = devices.prepare(options.device, options.threads)
    import torch

    from braincli.training import parallel
    from braincli.training.log import iterate_metrics
    from braincli.training.loop import LoopOptions, fit

    fabric = parallel.launch(device, devices.precision(device, options.precision))
    method = registry.build(options.method, preset=options.preset).to(fabric.device)
    store = open_store(options.store) if options.store else generated(method.config.slices.size)
    batch = options.batch or method.config.train_batch
    loop = LoopOptions(
        steps=dict.fromkeys(method.stages, 2 * options.steps), batch=batch, log_every=options.steps,
        checkpoint_minutes=1e9,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        fit(method, store, Path(folder), loop, reporter(), fabric=fabric)
        entries = [e for e in iterate_metrics(Path(folder) / "metrics.jsonl") if e["step"] == 2 * options.steps]
    where = f"{fabric.device}, {torch.get_num_threads()} threads"
    print(f"{options.method} {options.preset}, {batch} slices per step, {where}")
    for entry in entries:
        rate = entry["steps_per_s"]
        print(f"{entry['stage']:12} {rate:8.2f} steps/s {rate * batch:8.1f} slices/s   waiting {entry['wait']:6.2%}")
    if fabric.device.type == "cuda":
        print(f"{'memory':12} {torch.cuda.max_memory_allocated() / 1e9:8.2f} GB on the GPU")
    print(f"{'memory':12} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:8.2f} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="tsgm")
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--steps", type=int, default=20, help="steps of each stage that are measured (default 20)")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--store", type=Path, help="slice store of a training (default: generated slices)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int)
    measure(parser.parse_args())
