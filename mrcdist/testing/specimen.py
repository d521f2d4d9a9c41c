"""Simulated diffraction patterns of a thin crystal with a hole.

In the package, unlike the specimens of the demo, because the tutorial needs them wherever mrcdist
is installed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["crystal_frames"]

# Lengths on the detector, as fractions of the shorter side of a frame.
_DISK_RADIUS = 0.06
_LATTICE = 0.17
_FARTHEST = 0.45

_DOSE = 32.0  # electrons per pixel in the direct disk, in the hole
_ORDER = 2  # reflections -2 to 2 in each direction


def crystal_frames(
    scan_shape: tuple[int, int], frame_shape: tuple[int, int], *, seed: int = 5
) -> Callable[[int], NDArray[np.uint16]]:
    """Return a function that computes any frame of a 4D-STEM scan of a bent crystal.

    Parameters
    ----------
    scan_shape : tuple of int
        (y, x) in scan points. The hole is in the corner of the first row and the last column.
    frame_shape : tuple of int
        (ky, kx) in pixels. The direct beam is in the centre.
    seed : int, default 5
        Seed of the Poisson noise.

    Returns
    -------
    callable
        Called with the index of a frame (raster order, x fastest); returns a uint16 array of
        `frame_shape` with the electrons per pixel. The same index always gives the same frame.
    """
    y, x = (np.linspace(0, 1, n) for n in scan_shape)
    y, x = np.meshgrid(y, x, indexing="ij")
    film = np.hypot(y, 1 - x) > 0.3
    # Bend contours: a reflection is bright where the film has the right tilt.
    bend = np.stack([np.sin(5 * y + 2 * x), np.cos(4 * x - 3 * y)], axis=-1)

    side = min(frame_shape)
    orders = np.arange(-_ORDER, _ORDER + 1)
    hk = np.stack(np.meshgrid(orders, orders, indexing="ij"), axis=-1).reshape(-1, 2)
    hk = hk[np.hypot(*hk.T) * _LATTICE < _FARTHEST]
    order = np.hypot(*hk.T)
    detuned = bend @ hk.T - 0.3 * order**2
    diffracted = 0.16 * np.exp(-(detuned**2) - 0.5 * order) * (order > 0) * film[..., None]
    diffracted[..., order == 0] = 1 - diffracted.sum(axis=-1, keepdims=True)
    shares = diffracted.reshape(-1, len(hk))

    ky, kx = ((np.arange(n) - n // 2) / side for n in frame_shape)
    disks = np.stack(
        [np.hypot(ky[:, None] - h, kx - k) <= _DISK_RADIUS for h, k in _LATTICE * hk]
    ).astype("float32")

    def frame(index: int) -> NDArray[np.uint16]:
        electrons = np.tensordot(_DOSE * shares[index], disks, axes=1)
        return np.random.default_rng((seed, index)).poisson(electrons).astype(np.uint16)

    return frame
