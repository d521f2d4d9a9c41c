"""Acquisitions whose frames contain their numbers: how to store them, and the expected arrays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from mrcdist.testing.acquisition import Acquisition
from mrcdist.testing.movie import indexed_frame

Store = Callable[[Path], str]
"""Make the files of a folder available in a store; return the URL of the folder there."""

_numbers = itertools.count()


def on_disk(folder: Path) -> str:
    """Leave the files where they are."""
    return str(folder)


def in_memory(folder: Path) -> str:
    """Copy the files to fsspec's memory filesystem."""
    url = f"memory://acquisitions/{next(_numbers)}"
    fs = fsspec.filesystem("memory")
    for path in filter(Path.is_file, folder.rglob("*")):
        fs.pipe_file(f"{url}/{path.relative_to(folder)}", path.read_bytes())
    return url


STORES: dict[str, Store] = {"disk": on_disk, "memory": in_memory}


def url_of(path: Path, store: Store) -> str:
    """Store the folder of a file, and return the URL of the file."""
    return f"{store(path.parent)}/{path.name}"


def frames_of(numbers: Any, acquisition: Acquisition, dtype: str = "uint16") -> np.ndarray:
    """Return the frames with these numbers, zeros for -1, in the shape of `numbers`."""
    numbers = np.asarray(numbers)
    stack = np.zeros((numbers.size, *acquisition.frame_shape), dtype)
    for position, number in enumerate(numbers.ravel().tolist()):
        if number >= 0:
            stack[position] = indexed_frame(number, acquisition.frame_shape, dtype)
    return stack.reshape(*numbers.shape, *acquisition.frame_shape)


def all_frames(acquisition: Acquisition, dtype: str = "uint16") -> np.ndarray:
    """Return all planned frames in the shape of the acquisition; missing frames are 0."""
    numbers = np.arange(np.prod(acquisition.navigation_shape, dtype=int))
    numbers[acquisition.frames :] = -1
    return frames_of(numbers.reshape(acquisition.navigation_shape), acquisition, dtype)


def sidecar_values(acquisition: Acquisition) -> dict[str, str]:
    """Parse the lines of the sidecar, independently of mrcdist."""
    lines = acquisition.sidecar.read_text("latin-1").splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def axis_names(dataset: dict[str, Any]) -> list[str]:
    """Return the names of a dataset's axes, after comparing their sizes with its array."""
    data, axes = dataset["data"], dataset["axes"]
    assert [axis["size"] for axis in axes] == list(data.shape)
    assert [axis["index_in_array"] for axis in axes] == list(range(data.ndim))
    return [axis["name"] for axis in axes]
