"""The weights of a model on disk, looked at before they are trusted: a model may come from anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from braincli.errors import ModelError
from braincli.networks.subnormal import flush
from braincli.runtime import files


class Weighed(Protocol):
    """What a description says of the weights: the model's name, and the SHA-256 of each file."""

    name: str
    weights: dict[str, str]


N = TypeVar("N", bound=nn.Module)
# a network as built, over what its file holds: parts that only training needs make up to 6 times of it (rd)
SPARE_FACTOR, SPARE = 8, 20_000_000
KINDS = {
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "BOOL": torch.bool, "U8": torch.uint8,
    "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
}  # fmt: skip


def verified(folder: Path, info: Weighed) -> list[Path]:
    """The weight files of the model in ``folder``, all of them there and with the hashes that ``info`` names.

    Raises:
        ModelError: one is missing, lies elsewhere (a link), or has another SHA-256.
    """
    paths = []
    for name, digest in info.weights.items():
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{name} of the model {info.name} is missing.", "Install braincli again, or train again.")
        if path.resolve().parent != folder.resolve():
            raise ModelError(f"{name} of the model {info.name} is a link to another folder.", "Copy the file there.")
        try:
            if files.sha256(path) != digest:
                raise ModelError(
                    f"{name} of the model {info.name} is damaged (its SHA-256 differs).", "Fetch it again."
                )
        except OSError as error:
            raise ModelError(f"{name} of the model {info.name} cannot be read: {error.strerror}.") from None
        paths.append(path)
    return paths


def shapes(paths: list[Path], info: Weighed) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Kind and shape of each tensor in ``paths``, from the files' headers alone.

    Raises:
        ModelError: a file is no whole safetensors file, or holds numbers of another kind.
    """
    headers: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as content:
                for key in content.keys():  # noqa: SIM118 (no mapping)
                    part = content.get_slice(key)
                    if (kind := part.get_dtype()) not in KINDS:
                        raise ModelError(f"{path.name} of {info.name} holds {kind} numbers ({key}).", "Train it again.")
                    headers[key] = KINDS[kind], tuple(part.get_shape())
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path.name} of the model {info.name} is damaged: {error}.", "Fetch it again.") from None
    return headers


@contextmanager
def no_larger_than(numbers: int, title: str) -> Iterator[None]:
    """Networks built meanwhile may hold ``SPARE_FACTOR * numbers + SPARE`` parameters and buffers in all.

    A description whose settings ask for more than its weights can fill would else take all memory before anything is
    compared. Checked as each part is registered, before it is filled.

    Raises:
        ModelError: they hold more.
    """
    built, limit = 0, SPARE_FACTOR * numbers + SPARE

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal built
        built += 0 if value is None else value.numel()
        if built > limit:
            raise ModelError(
                f"The settings of {title} ask for a network of more than {limit:,} numbers; its weights have "
                f"{numbers:,}.",
                "Its model.json was changed, or does not belong to these weights.",
            )

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def fitting(
    paths: list[Path], expected: dict[str, Tensor], info: Weighed, current_name: Callable[[str], str]
) -> dict[str, Tensor]:
    """The tensors in ``paths``, which are just those ``expected``; floats as finite float32 without subnormals.

    Args:
        current_name: today's name of a tensor, which files of earlier versions may name otherwise.

    Raises:
        ModelError: names, shapes or kinds differ, a name is there twice, or a number is not finite.
    """
    from safetensors.torch import load_file

    stored = shapes(paths, info)
    headers = {current_name(key): header for key, header in stored.items()}
    if len(headers) < len(stored):
        raise ModelError(
            f"The weights of {info.name} hold a tensor twice, under an old and a new name.", "Train it again."
        )
    if strange := sorted(set(expected).symmetric_difference(headers)):
        raise ModelError(f"The weights of {info.name} do not fit this version ({strange[0]}).", "Train it again.")
    for key, (dtype, shape) in headers.items():
        wanted = expected[key]
        if shape != tuple(wanted.shape) or dtype.is_floating_point != wanted.is_floating_point():
            raise ModelError(
                f"The weights of {info.name} do not fit its settings: {key} is {dtype} {list(shape)}, not "
                f"{wanted.dtype} {list(wanted.shape)}.",
                "Its model.json was changed, or does not belong to these weights.",
            )
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors |= {current_name(key): value for key, value in load_file(path).items()}
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(
                f"The weights of {info.name} are not finite ({key}).", "Fetch it again, or train it again."
            )
    return flush({key: value.float() if value.is_floating_point() else value for key, value in tensors.items()})


def loaded(folder: Path, info: Weighed, build: Callable[[], N], current_name: Callable[[str], str] = str) -> N:
    """What ``build`` gives, with the weights of ``folder``, after their hashes match; no larger than they allow.

    Args:
        current_name: see :func:`fitting`.

    Raises:
        ModelError: see :func:`verified`, :func:`shapes`, :func:`no_larger_than` and :func:`fitting`.
    """
    paths = verified(folder, info)
    numbers = sum(math.prod(shape) for _, shape in shapes(paths, info).values())
    with no_larger_than(numbers, info.name):
        network = build()
    network.load_state_dict(fitting(paths, needed(network), info, current_name), strict=False)
    return network


def needed(network: nn.Module) -> dict[str, Tensor]:
    """The weights that prediction needs, by name: all but those that begin with one of ``optional_weights``."""
    optional = cast("tuple[str, ...]", network.optional_weights)
    return {key: value for key, value in network.state_dict().items() if not key.startswith(optional)}
