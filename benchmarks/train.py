"""What training costs: steps and slices per second of each stage, share of the time spent waiting for data, memory.

python benchmarks/train.py --method tsgm --preset compact --steps 20
python benchmarks/train.py --count
python benchmarks/train.py --device cuda
python benchmarks/train.py --device cuda --preset paper --canvas 192x192 --batch 8 --stage restore

On a GPU it prints, too, the FLOP/s of each stage beside those of a plain bfloat16 convolution on the same machine, and
how long the GPU had nothing to do; ``--eager`` does without CUDA graphs. Without a preset it measures there what the
project promises of an H100 or H200 (:data:`PROMISED`). ``--count`` prints the operator calls and the reads by the host
of one step instead; on the CPU, where each of them is seen.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from measuring import Figure, compared, convolution_peak, machine, show

from braincli.imaging.cases import CONTRASTS
from braincli.methods import registry
from braincli.runtime import device as devices
from braincli.training.store import SliceStore, open_store

if TYPE_CHECKING:
    from torch.profiler import profile

    from braincli.methods.base import Method

PROFILED = 8  # steps


class Case(NamedTuple):
    """One network to train, and the least steps per second or share of the convolution's speed that are promised."""

    method: str
    preset: str
    settings: dict[str, Any]
    size: tuple[int, int] | None  # None: the preset's canvas
    batch: int | None
    rate: float = 0.0
    share: float = 0.0
    steps: int = 0  # that are measured; 0 takes the option's
    stage: str = ""  # the only one that is measured


TEN_MILLION = {"width": 64, "multipliers": (1, 2, 2, 2), "blocks": 2}
PROMISED = (
    Case("tsgm", "compact", {}, (96, 80), 64, rate=80),
    Case("tsgm", "compact", TEN_MILLION, (96, 80), 64, rate=40, stage="restore"),
    Case("tsgm", "paper", {}, (192, 192), 8, share=0.35, steps=10),  # 32 rows of one contrast
)


def generated(size: tuple[int, int], count: int = 512, *, tissue: bool = False) -> SliceStore:
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
    maps = np.asarray(np.where(np.arange(3)[:, None, None] == 0, 255, 0) * brain, np.uint8) if tissue else None
    return SliceStore(
        np.asarray(image * brain, np.uint8), brain, lesion, label, case, position, {"generated": []}, tissue=maps,
        sources={"generated": dict.fromkeys(CONTRASTS, "")},
    )  # fmt: skip


def measure(case: Case, options: argparse.Namespace) -> Iterator[Figure]:
    """Train each stage for a while; the first half warms up, the second is reported."""
    device = devices.prepare(options.device, options.threads)
    import torch

    from braincli.training import parallel
    from braincli.training.log import iterate_metrics
    from braincli.training.loop import LoopOptions, fit

    dtype = devices.precision(device, options.precision)
    fabric = parallel.launch(device, dtype)
    gpu = fabric.device.type == "cuda"
    method = registry.build(case.method, preset=case.preset, size=case.size, settings=case.settings).to(fabric.device)
    store = open_store(options.store) if options.store else None
    if store is None or store.image.shape[2:] != tuple(method.size):  # every network sees its own canvas
        store = generated(method.size, tissue=method.tissue)
    batch = case.batch or method.config.train_batch
    peak = convolution_peak(fabric.device, dtype) if gpu else 0.0
    print(
        f"{case.method} {case.preset} {case.settings or ''}, {batch} slices of {method.size} per step, {fabric.device}"
    )
    only = options.stage or case.stage
    for stage in [only] if only else method.stages:
        work = flops(method, store, stage, batch) if gpu and (case.share or not case.rate) else 0.0
        half = case.steps or options.steps
        steps = dict.fromkeys(method.stages, 0) | {stage: 2 * half + PROFILED * gpu}
        loop = LoopOptions(steps=steps, batch=batch, log_every=half, checkpoint_minutes=1e9, graphs=not options.eager)
        watch = _Idle(2 * half) if gpu else None
        with tempfile.TemporaryDirectory() as folder:
            fit(method, store, Path(folder), loop, _speaking(), fabric=fabric, stop=watch or (lambda: None))
            entries = list(iterate_metrics(Path(folder) / "metrics.jsonl"))
        entry = next(e for e in entries if e["step"] == 2 * half)
        rate = entry["steps_per_s"]
        yield _promised(Figure(f"{stage}", rate, "steps/s"), case.rate)
        yield Figure(f"{stage}: waits for data", 100 * entry["wait"], "%")
        if gpu and watch:
            if work:
                yield _promised(
                    compared(stage, rate * work / 1e12, "TFLOP/s", "convolution", peak / 1e12), 0, case.share
                )
            yield Figure(f"{stage}: GPU idle", 100 * watch.share(), "%")
            for line in watch.kernels(options.kernels):
                print(line)
    if gpu:
        yield Figure("device memory", torch.cuda.max_memory_allocated() / 1e9, "GB")
    yield Figure("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB")


def flops(method: Method, store: SliceStore, stage: str, batch: int) -> float:
    """FLOPs of the products and convolutions of one step, forwards and backwards, without computing any."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    method.held = store.held  # as the loop says it, so that nothing has to be looked at
    (draw,) = _feed(method, store, stage, batch, torch.device("cpu")).step(0)
    shadow = copy.deepcopy(method).to("meta").train()
    named = shadow.optimizers(stage)
    with FlopCounterMode(display=False) as counter:
        for name, loss, _ in shadow.learn(draw.batch.to(torch.device("meta")), stage, draw.generator):
            parameters = [p for group in named[name].param_groups for p in group["params"]]
            torch.autograd.grad(loss, parameters, allow_unused=True)
    return float(counter.get_total_flops())


def count(case: Case) -> Iterator[Figure]:
    """Operator calls and reads by the host in one step of each stage, after one that makes what is made once."""
    import torch
    from counting import Calls

    from braincli.training import optimizers, parallel
    from braincli.training.step import Stepper

    method = registry.build(case.method, preset=case.preset, size=case.size, settings=case.settings).train()
    store, fabric = (
        generated(method.config.slices.size, 128, tissue=method.tissue),
        parallel.launch(torch.device("cpu")),
    )
    batch = case.batch or method.config.train_batch
    for stage in method.stages:
        feed = _feed(method, store, stage, batch, fabric.device)
        named = method.optimizers(stage)
        optimizers.prepare(named, fabric.device)
        stepper = Stepper(method, stage, named, fabric, 1, range(1), [{}], lambda *path: 0)
        stepper.take(0, feed.step(0))
        draws = feed.step(1)
        with Calls() as calls:
            stepper.take(1, draws)
        yield Figure(f"{stage}: operator calls", calls.number, "per step")
        yield Figure(f"{stage}: host reads", calls.reads, "per step")


def _feed(method: Method, store: SliceStore, stage: str, batch: int, device: Any) -> Any:
    from braincli.training import data

    pools = data.pools(store, method.sampling(stage), stage)
    return data.Feed(data.Source(store, device), pools, batch, method.sequence, lambda step: [step])


def _promised(figure: Figure, rate: float, share: float = 0.0) -> Figure:
    """``figure`` with what is promised of its value or of its ratio."""
    if rate:
        ratio = figure.value / rate
        return Figure(figure.what, figure.value, figure.unit, f"goal of {rate:g}", ratio, ratio >= 1)
    within = figure.ratio >= share if share and figure.ratio is not None else None
    return Figure(figure.what, figure.value, figure.unit, figure.against, figure.ratio, within)


class _Idle:
    """Profiles the kernels of a GPU from step ``first`` on; handed to the loop as what asks it to stop."""

    def __init__(self, first: int) -> None:
        self.first, self.asked = first, 0
        self.profile: profile | None = None

    def __call__(self) -> None:
        import torch
        from torch.profiler import ProfilerActivity, profile

        if self.asked == self.first:
            torch.cuda.synchronize()
            self.profile = profile(activities=[ProfilerActivity.CUDA])
            self.profile.start()
        if self.profile is not None and self.asked == self.first + PROFILED - 1:
            torch.cuda.synchronize()
            self.profile.stop()
        self.asked += 1

    def share(self) -> float:
        """Of the time between the first and the last kernel in which none ran; NaN where nothing was seen."""
        import torch

        events = self.profile.events() if self.profile is not None else None
        ran = sorted(
            (e.time_range.start, e.time_range.end)
            for e in events or ()
            if e.device_type == torch.autograd.DeviceType.CUDA
        )
        if not ran:
            return float("nan")
        busy, until = 0.0, ran[0][0]
        for begin, end in ran:
            busy += max(0.0, end - max(begin, until))
            until = max(until, end)
        return 1 - busy / max(until - ran[0][0], 1e-9)

    def kernels(self, number: int) -> Iterator[str]:
        """The costliest ones: milliseconds and calls per step, and their names."""
        if self.profile is None or not number:
            return
        found = sorted(self.profile.key_averages(), key=lambda event: -event.self_device_time_total)
        for event in found[:number]:
            spent = event.self_device_time_total / 1000 / PROFILED
            yield f"{spent:10.3f} ms {event.count / PROFILED:7.1f} calls  {event.key[:140]}"


def _speaking() -> Any:
    """What the loop says on stdout, without bars: why steps are not recorded."""
    from braincli.runtime.progress import Reporter

    class Speaking(Reporter):
        def say(self, text: str) -> None:
            print(text, flush=True)

    return Speaking()


def arguments() -> argparse.ArgumentParser:
    """What is trained, and where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="tsgm")
    parser.add_argument("--preset", help="default: compact; on a GPU all that is promised")
    parser.add_argument("--set", default="{}", help='options of the method as JSON, e.g. {"width": 64}')
    parser.add_argument("--canvas", help="HxW pixels instead of the preset's")
    parser.add_argument("--stage")
    parser.add_argument("--steps", type=int, default=20, help="steps of each stage that are measured (default 20)")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--store", type=Path, help="slice store of a training (default: generated slices)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--promised", type=int, help="number of one of the networks that something is promised of")
    parser.add_argument("--kernels", type=int, default=0, help="how many of a GPU's kernels are listed by stage")
    parser.add_argument("--eager", action="store_true", help="without CUDA graphs")
    parser.add_argument("--count", action="store_true", help="operator calls and host reads of one step on the CPU")
    return parser


def main() -> None:
    """Measure what was asked for."""
    options = arguments().parse_args()
    height, _, width = (options.canvas or "").partition("x")
    size = (int(height), int(width)) if width else None
    chosen = Case(options.method, options.preset or "compact", json.loads(options.set), size, options.batch)
    if options.count:
        print(machine(), flush=True)
        show(count(chosen))
        return
    if options.promised is not None:
        chosen = PROMISED[options.promised]
    elif options.device.startswith("cuda") and options.preset is None:
        sys.exit(max(_on_its_own(index) for index in range(len(PROMISED))))
    print(machine(), flush=True)
    sys.exit(0 if show(measure(chosen, options)) else 1)


def _on_its_own(index: int) -> int:
    """Exit code of a process that measures one of what is promised: it shares neither memory nor faults with others."""
    return subprocess.run([sys.executable, __file__, *sys.argv[1:], "--promised", str(index)], check=False).returncode


if __name__ == "__main__":
    main()
