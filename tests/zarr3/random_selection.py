"""Random datasets of any mode, order, scan and storage, and random indexes of their arrays."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import assume

from tests.support.random_mrc import make_case


def sound_case(number, folder):
    """Write a random dataset; return its files, options, array, and a random generator."""
    case = make_case(number)
    assume(case.truth is not None and case.truth.size)
    for previous in folder.iterdir():
        previous.unlink()
    for name, raw in case.files.items():
        (folder / name).write_bytes(raw)
    paths = [folder / name for name in case.data]
    return paths if case.as_list else paths[0], case.options, case.truth, random.Random(number)


def forwards(rng, shape):
    """Return an index of integers and slices with positive steps, as zarr requires."""
    return tuple(
        rng.randrange(size)
        if rng.random() < 0.3
        else slice(*sorted((rng.randint(0, size), rng.randint(0, size))), rng.choice((1, 1, 2, 3)))
        for size in shape
    )


def positions(rng, size, *, most=6, repeated=True):
    """Return positions along an axis: increasing, or in any order, repeated or negative."""
    if repeated:
        return np.array([rng.randrange(-size, size) for _ in range(rng.randint(1, most))])
    return np.array(sorted(rng.sample(range(size), rng.randint(1, min(most, size)))))


def outer(rng, shape):
    """Return an index of integers, slices and lists of positions."""
    return tuple(
        positions(rng, size) if rng.random() < 0.5 else part
        for part, size in zip(forwards(rng, shape), shape, strict=True)
    )


def take_outer(array, index):
    """Apply an outer index with numpy, axis by axis."""
    axis = 0
    for part in index:
        array = array[(slice(None),) * axis + (part,)]
        axis += not isinstance(part, int)
    return array
