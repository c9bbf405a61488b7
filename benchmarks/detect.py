"""What one prepared case costs, phase by phase, and how much of the machine the restoration uses.

python benchmarks/detect.py
python benchmarks/detect.py ../shared/data/tumour/val/BraTS2021_01478 --model tsgm --threads 1
python benchmarks/detect.py --preset paper --device cuda --calls 15 --batch 32
python benchmarks/detect.py --preset paper --device cuda --network

Without a case one is generated, on the grid of BraTS. Prints CPU seconds per phase (other programs on the machine
stretch wall seconds, which are printed, too) beside their limits, the wall time of the case, network calls per second,
peak memory, and the restoration's FLOP/s beside those of a plain matrix product and of a 3 x 3 convolution, measured in
the same process with the same threads and precision. What a process pays once (libraries, on a GPU the choice of
kernels) comes before and does not count. ``--preset`` builds TSGM with random weights instead of a trained model,
``paper`` on 192 x 192 slices of 1 mm: for timing only. ``--network`` restores generated slices and leaves out all that
reads or writes scans.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from measuring import Figure, best_of, compared, convolution_peak, limited, machine, show

from braincli.config import DetectConfig
from braincli.detection import find
from braincli.imaging.cases import find_cases
from braincli.model.folder import LoadedModel, load_model, save_model
from braincli.model.info import ModelInfo
from braincli.runtime import device as devices
from braincli.runtime.provenance import RunRecord, peak_memory_gb

if TYPE_CHECKING:
    from braincli.detection.restore import Restoration
    from braincli.imaging.slices import Slices

LIMITS_CPU_S = {"load": 0.2, "slice": 0.4, "post-process": 0.5, "write": 1.0}  # 240 x 240 x 155, four contrasts
LIMIT_S, LIMIT_GPU_S, LIMIT_GB = 60.0, 1.5, 4.0  # on two cores, compact
LIMIT_PAPER_S, SHARE = 15.0, 0.35  # on an H100 or H200: a whole brain, and of the convolution's speed
WHOLE_BRAIN = 140  # slices
Clock = dict[str, tuple[float, float]]  # wall and CPU seconds by phase
CANVAS = {"paper": (1.0, (192, 192)), "compact": (2.0, (96, 80))}  # mm, pixels


def best(work: Callable[[], object], wait: Callable[[], None], seconds: float = 1.0) -> tuple[float, float]:
    """Shortest wall and CPU time of ``work`` over at least ``seconds``."""
    walls: list[float] = []
    cpus: list[float] = []
    work()
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(walls) < 3:
        wait()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        wait()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def peaks(model: LoadedModel, precision: str, wait: Callable[[], None]) -> dict[str, tuple[float, float]]:
    """FLOP/s per wall and per CPU second of a matrix product and of a convolution as large as the network's."""
    import torch

    from braincli.detection.restore import channels_last

    gpu = model.device.type == "cuda"
    dtype = devices.precision(model.device, precision) or torch.float32
    size, (rows, channels, side) = (8192, (64, 256, 96)) if gpu else (1536, (16, 64, 48))
    a = torch.randn(size, size, device=model.device, dtype=dtype)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, device=model.device, dtype=dtype)
    x = torch.randn(rows, channels, side, side, device=model.device, dtype=dtype)
    x = channels_last(layer)(x.contiguous(memory_format=torch.channels_last))
    with torch.inference_mode():
        product, convolution = best(lambda: a @ a, wait), best(lambda: layer(x), wait)
    flops = 2 * size**3, 2 * 9 * rows * channels**2 * side**2
    return {
        name: (count / took[0], count / took[1])
        for name, count, took in zip(("matrix product", "convolution"), flops, (product, convolution), strict=True)
    }


def flops(slices: Slices, model: LoadedModel, dtype: Any) -> float:
    """FLOPs of restoring ``slices``: counted while it is done once more, as what is redrawn depends on the slices."""
    from torch.utils.flop_counter import FlopCounterMode

    from braincli.detection.restore import restore

    with FlopCounterMode(display=False) as counter:
        restore(slices, model, case_id="counted", dtype=dtype)
    return float(counter.get_total_flops())


def random_model(preset: str, calls: int, folder: Path) -> str:
    """A TSGM of ``preset`` with random weights in ``folder``, sampling with ``calls`` network calls."""
    from braincli.imaging.slices import SliceSpec
    from braincli.methods import registry

    spec = SliceSpec(pixel_mm=CANVAS[preset][0], size=CANVAS[preset][1])
    settings = {"sampler": "dpm-solver-2m", "steps": calls}
    method = registry.build("tsgm", preset=preset, settings=settings, size=spec.size)
    info = ModelInfo(
        name=f"{preset}, random weights", method="tsgm", preset=preset, options=method.config,
    )  # fmt: skip
    save_model(folder, method, info)
    return str(folder)


def generated(folder: Path) -> Path:
    """A prepared case in ``folder``: four contrasts of a generated patient on the atlas grid, brain only."""
    import numpy as np

    from braincli.imaging import volume
    from braincli.imaging.cases import CONTRASTS
    from braincli.phantom.anatomy import grow_head
    from braincli.phantom.scanner import signal
    from braincli.preprocessing.atlas import load_atlas

    rng = np.random.default_rng(0)
    whole, brain = load_atlas(stripped=False), load_atlas(stripped=True)
    head = grow_head(whole.data, brain.data, rng)
    inside = head.csf + head.gm + head.wm > 0
    for contrast in CONTRASTS:
        image = 1000 * signal(head, contrast, rng) + rng.normal(0, 10, inside.shape)
        data = np.asarray(np.rint(image.clip(1) * inside), np.int16)
        volume.save(brain.with_data(data), folder / f"generated_{contrast}.nii.gz")
    return folder


@contextmanager
def timed(seconds: Clock, step: str) -> Iterator[None]:
    """Note how long ``step`` takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[step] = (time.perf_counter() - wall, time.process_time() - cpu)


def run(case_folder: Path, model: LoadedModel, config: DetectConfig, out: Path) -> tuple[Clock, Slices]:
    """One case as ``detect`` does it; seconds per phase, and its slices."""
    from braincli.detection.find import find_lesions
    from braincli.detection.outputs import Writer
    from braincli.imaging.reading import load_images
    from braincli.layout.found import Flat

    seconds: Clock = {}
    (case,) = find_cases(case_folder)
    with timed(seconds, "load"):
        images = load_images(case, threads=config.threads)
    findings = find_lesions(case.id, images, model, config, timed=partial(timed, seconds))
    writer = Writer(Flat.of(case.id, out), config, RunRecord("detect", case.id, {}))
    with timed(seconds, "write"):
        writer.volumes(findings, {"": lambda image: image})
        writer.summary(findings, model.info)
        writer.finish()
    if findings.has_restoration:
        with timed(seconds, "write restorations"):
            for contrast in findings.images:
                writer.volume(findings.restored_like_input(contrast), f"restored-{contrast}")
    return seconds, findings.restoration.slices


def unchanged(slices: Slices, *given: Any, **options: Any) -> Restoration:
    """What a network would give that finds nothing, in no time."""
    from braincli.detection.restore import Restoration

    return Restoration(slices, slices.image, None, "none")


def network(options: argparse.Namespace) -> Iterator[Figure]:
    """A whole brain of generated slices with four contrasts: how long, and how fast beside a plain convolution."""
    import numpy as np
    import torch

    from braincli.detection.restore import restore, suited
    from braincli.imaging.cases import CONTRASTS
    from braincli.imaging.slices import Slices

    chosen = devices.prepare(options.device, options.threads)
    dtype = devices.precision(chosen, options.precision)
    preset = options.preset or "compact"
    size = CANVAS[preset][1]
    brain = np.broadcast_to(disc(size), (WHOLE_BRAIN, 1, *size)).copy()
    image = np.random.default_rng(0).uniform(0.1, 1, (WHOLE_BRAIN, 4, *size)).astype(np.float32) * brain
    nothing: Any = None  # of a scan
    slices = Slices(
        image, brain, np.arange(WHOLE_BRAIN), CONTRASTS, nothing, nothing, nothing, nothing, nothing, (1.0, 1.0, 1.0)
    )
    with tempfile.TemporaryDirectory() as folder:
        model = load_model(random_model(preset, options.calls, Path(folder)), chosen)
    batch = options.batch or suited(chosen, size)
    first = replace(slices, image=image[:batch], brain=brain[:batch], index=slices.index[:batch])

    def whole(part: Slices) -> None:
        restore(part, model, case_id="generated", batch=batch, dtype=dtype)

    whole(first)  # chooses kernels
    twice = getattr(model.method.config, "redraw", None) is not None  # then what is redrawn depends on the slices
    counted = slices if twice else first
    work = flops(counted, model, dtype) * WHOLE_BRAIN / len(counted.image)
    took = best_of(lambda: whole(slices), 1)
    peak = convolution_peak(chosen, dtype)
    yield limited("whole brain", took, "s", LIMIT_PAPER_S if preset == "paper" else LIMIT_S)
    yield Figure("network", WHOLE_BRAIN * model.method.calls() / took, "slices/s")
    speed = compared("restoration", work / took / 1e12, "TFLOP/s", "convolution", peak / 1e12)
    yield replace(speed, within=speed.ratio >= SHARE) if preset == "paper" and speed.ratio is not None else speed
    if chosen.type == "cuda":
        yield Figure("device memory", torch.cuda.max_memory_allocated() / 1e9, "GB")


def disc(size: tuple[int, int]) -> Any:
    """(H, W) bool, about as large as a brain on its canvas."""
    import numpy as np

    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    return y**2 + x**2 < 0.8


def figures(options: argparse.Namespace | None = None) -> Iterator[Figure]:
    """Phases, the whole case, the network and memory."""
    options = options or arguments().parse_args([])
    chosen = devices.prepare(options.device, options.threads)
    import torch

    def wait() -> None:
        if chosen.type == "cuda":
            torch.cuda.synchronize()

    gpu = chosen.type == "cuda"
    config = DetectConfig(threshold=0.1, batch=options.batch, precision=options.precision, threads=options.threads)
    with tempfile.TemporaryDirectory() as folder:
        name = options.model
        if options.preset:
            name = random_model(options.preset, options.calls, Path(folder) / "model")
        case = options.case or generated(Path(folder) / "case")
        model = load_model(name, chosen)
        top = peaks(model, options.precision, wait)
        with nullcontext() if gpu else patch.object(find, "restore", unchanged):
            run(case, model, config, Path(folder) / "warm")
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        seconds, slices = run(case, model, config, Path(folder) / "out")
    work = flops(slices, model, devices.precision(chosen, options.precision))
    extra = seconds.pop("write restorations", None)
    for phase, (wall, cpu) in seconds.items():
        yield Figure(f"{phase}, wall", wall, "s")
        limit = LIMITS_CPU_S.get(phase)
        yield limited(phase, cpu, "CPU s", limit) if limit else Figure(phase, cpu, "CPU s")
    if extra:
        yield Figure("write 4 restorations, wall", extra[0], "s")
        yield Figure("write 4 restorations", extra[1], "CPU s")
    limit = LIMIT_S if not gpu else LIMIT_PAPER_S if options.preset == "paper" else LIMIT_GPU_S
    yield limited("case", sum(wall for wall, _ in seconds.values()), "s", limit)
    wall, cpu = seconds["restore"]
    calls = model.method.calls()
    count, _, height, width = slices.image.shape
    yield Figure(f"network, {count} x {height} x {width}", count * calls / wall, "slices/s")
    for kind, (by_wall, by_cpu) in top.items():
        ours, theirs = (work / wall, by_wall) if gpu else (work / cpu, by_cpu)
        yield compared("restoration", ours / 1e12, "TFLOP/s", kind, theirs / 1e12)
    yield limited("memory", peak_memory_gb(), "GB", LIMIT_GB)
    if gpu:
        yield Figure("device memory", torch.cuda.max_memory_allocated() / 1e9, "GB")


def arguments() -> argparse.ArgumentParser:
    """Case, model and machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path, nargs="?")
    parser.add_argument("--model", default="tsgm")
    parser.add_argument("--preset", choices=sorted(CANVAS))
    parser.add_argument("--calls", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, help="slices per network call (default: what detect takes)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--network", action="store_true", help="generated slices; nothing is read or written")
    return parser


if __name__ == "__main__":
    given = arguments().parse_args()
    print(machine())
    show(network(given) if given.network else figures(given))
