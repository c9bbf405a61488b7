"""What one prepared case costs, and how much of the machine the restoration uses.

python benchmarks/detect.py ../shared/data/tumour/val/BraTS2021_01478 --model tsgm
python benchmarks/detect.py CASE --preset paper --device cuda --calls 15 --batch 32

Prints seconds per phase (wall and CPU: other programs on the machine stretch the former), network calls per second,
peak memory, and the restoration's FLOP/s beside those of a plain matrix product and of a 3 x 3 convolution, measured in
the same process with the same threads and precision. ``--preset`` builds TSGM with random weights instead of a trained
model, ``paper`` on 192 x 192 slices of 1 mm: for timing only.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from braincli.config import DetectConfig
from braincli.imaging.cases import find_cases
from braincli.model.folder import LoadedModel, load_model, save_model
from braincli.model.info import ModelInfo
from braincli.runtime import device as devices
from braincli.runtime.provenance import RunRecord, peak_memory_gb

LIMIT_S, LIMIT_GB = 60.0, 4.0  # on two cores, compact
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


def flops_per_slice(model: LoadedModel, size: tuple[int, int]) -> float:
    """FLOPs of all network calls for one slice with four contrasts."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    image = torch.rand(1, model.method.channels, *size, device=model.device)
    brain = torch.ones(1, 1, *size, dtype=torch.bool, device=model.device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.method.predict(image, brain, [torch.Generator().manual_seed(0)])
    return float(counter.get_total_flops())


def random_model(preset: str, calls: int, folder: Path) -> str:
    """A TSGM of ``preset`` with random weights in ``folder``, sampling with ``calls`` network calls."""
    from braincli.imaging.slices import SliceSpec
    from braincli.methods import registry

    spec = SliceSpec(pixel_mm=CANVAS[preset][0], size=CANVAS[preset][1])
    settings = {"sampler": "dpm-solver-2m", "steps": calls}
    method = registry.build("tsgm", preset=preset, settings=settings, size=spec.size)
    info = ModelInfo(
        name=f"{preset}, random weights", method="tsgm", preset=preset, settings=method.config.model_dump(mode="json"),
        slices=spec,
    )  # fmt: skip
    save_model(folder, method, info)
    return str(folder)


def run(case_folder: Path, model: LoadedModel, config: DetectConfig, out: Path) -> tuple[Clock, int, tuple[int, int]]:
    """One case as ``detect`` does it; seconds per phase, slices and canvas."""
    from braincli.detection.find import find_lesions
    from braincli.detection.outputs import Names, Writer
    from braincli.imaging.reading import load_images

    seconds: Clock = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        seconds[step] = (time.perf_counter() - wall, time.process_time() - cpu)

    (case,) = find_cases(case_folder)
    with timed("load"):
        images = load_images(case)
    found = find_lesions(case.id, images, model, config, timed=timed)
    writer = Writer(Names.of(case.id, out), config, RunRecord("detect", case.id, {}))
    with timed("write"):
        writer.volume(found.mask, "mask")
        writer.maps(found)
        writer.summary(found, case.id)
        writer.finish()
    slices, _, height, width = found.restoration.slices.image.shape
    return seconds, slices, (height, width)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("--model", default="tsgm")
    parser.add_argument("--preset", choices=sorted(CANVAS))
    parser.add_argument("--calls", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    chosen = devices.prepare(options.device, options.threads)
    import torch

    def wait() -> None:
        if chosen.type == "cuda":
            torch.cuda.synchronize()

    config = DetectConfig(threshold=0.1, batch=options.batch, precision=options.precision, restored=True)
    with tempfile.TemporaryDirectory() as folder:
        name = options.model
        if options.preset:
            name = random_model(options.preset, options.calls, Path(folder) / "model")
        model = load_model(name, chosen)
        top = peaks(model, options.precision, wait)
        if chosen.type == "cuda":  # the first run chooses kernels
            run(options.case, model, config, Path(folder) / "warm")
            torch.cuda.reset_peak_memory_stats()
        seconds, slices, size = run(options.case, model, config, Path(folder) / "out")
    print(f"{model.info.name}: {slices} slices of {size[0]} x {size[1]}; {chosen}, {torch.get_num_threads()} threads")
    whole = sum(wall for wall, _ in seconds.values())
    for phase, (wall, cpu) in seconds.items():
        print(f"{phase:14} {wall:7.2f} s  {cpu:7.2f} CPU s  {wall / whole:4.0%}")
    print(f"{'case':14} {whole:7.2f} s   {whole / LIMIT_S:.2f} of the limit")
    wall, cpu = seconds["restore"]
    calls = model.method.calls()
    batches = math.ceil(slices / options.batch) * calls
    print(
        f"{'network':14} {batches / wall:7.2f} calls/s of {options.batch} slices ({slices * calls / wall:.1f} slices/s)"
    )
    work = flops_per_slice(model, size) * slices
    print(f"{'restoration':14} {work / wall / 1e12:7.3f} TFLOP/s, {work / cpu / 1e12:.3f} per CPU second")
    for kind, (by_wall, by_cpu) in top.items():
        share = f"{work / wall / by_wall:.0%}" + (
            f", {work / cpu / by_cpu:.0%} by CPU time" if chosen.type == "cpu" else ""
        )
        print(f"{kind:14} {by_wall / 1e12:7.3f} TFLOP/s: the restoration reaches {share}")
    memory = peak_memory_gb()
    print(f"{'memory':14} {memory:7.2f} GB  {memory / LIMIT_GB:.2f} of the limit")
    if chosen.type == "cuda":
        print(f"{'device memory':14} {torch.cuda.max_memory_allocated() / 1e9:7.2f} GB")


if __name__ == "__main__":
    main()
