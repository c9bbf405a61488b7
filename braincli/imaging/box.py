"""Less to visit: the box that holds what is set in a mask, and voxels in the order in which they lie in memory.

Half of a prepared scan is background. And volumes as files hold them have x running fastest; going through them with z
fastest, as numpy does where it is not told, takes several times as long.
"""

from __future__ import annotations

import numpy as np


def bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box with all of ``mask`` (bool, any number of axes); empty along every axis where nothing is set."""
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0))
    return tuple(box)


def in_memory_order(array: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """A view of ``array`` whose axes run from the slowest to the fastest, and the transposition that undoes it."""
    axes = _slowest_first(array)
    return array.transpose(axes), tuple(int(axis) for axis in np.argsort(axes))


def values_in(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N,) values of ``data`` where ``mask`` (bool, of the same shape), in the order of memory."""
    box = bounding_box(mask)
    axes = _slowest_first(data)
    values: np.ndarray = data[box].transpose(axes)[mask[box].transpose(axes)]
    return values


def _slowest_first(array: np.ndarray) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.argsort([-abs(stride) for stride in array.strides], kind="stable"))
