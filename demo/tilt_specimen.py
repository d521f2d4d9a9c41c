"""Simulated tilt series of a catalyst, for the demonstration.

Metal particles on and in a porous support, imaged by a dark-field detector whose signal is
proportional to thickness and scattering power. Everything is made of spheres, whose projected
thickness at any angle is 2 sqrt(R² - r²), so no volume is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["demo_tilts"]

Floats = NDArray[np.float64]

# Lengths in fractions of the shorter side of an image. Support: (x, y, z, radius).
_SUPPORT = (
    (-0.18, -0.09, -0.07, 0.23),
    (0.13, -0.18, 0.08, 0.19),
    (0.06, 0.15, -0.11, 0.22),
    (0.26, 0.07, 0.07, 0.15),
    (-0.14, 0.25, 0.10, 0.15),
    (-0.04, -0.32, -0.03, 0.12),
)
_PORES, _PARTICLES = 14, 60
_SUPPORT_COUNTS = 1100.0  # electrons per pixel and unit length
_METAL_COUNTS = 8000.0
_FILM_COUNTS = 40.0  # of the carbon film, at 0°


def demo_tilts(
    shape: tuple[int, int], angles: Floats, *, seed: int = 7
) -> Callable[[int], NDArray[np.uint16]]:
    """Return a function that computes any image of a tilt series.

    Parameters
    ----------
    shape : tuple of int
        (y, x) in pixels. The tilt axis is the vertical line through the centre.
    angles : ndarray, shape (n,)
        Tilt angles in degrees.
    seed : int, default 7
        Seed of the specimen and the noise.

    Returns
    -------
    callable
        Called with the index of an image; returns a uint16 array of `shape` with Poisson noise. The
        same index always gives the same image.
    """
    spheres = _spheres(np.random.default_rng(seed))
    side = min(shape)
    y, x = ((np.arange(n) - (n - 1) / 2) / side for n in shape)

    def image(index: int) -> NDArray[np.uint16]:
        angle = np.deg2rad(angles[index])
        counts = np.full(shape, _FILM_COUNTS / np.cos(angle))
        for center_x, center_y, center_z, radius, power in spheres:
            across = center_x * np.cos(angle) + center_z * np.sin(angle)
            rows = slice(*np.searchsorted(y, (center_y - radius, center_y + radius)))
            columns = slice(*np.searchsorted(x, (across - radius, across + radius)))
            distance = (y[rows, None] - center_y) ** 2 + (x[columns] - across) ** 2
            counts[rows, columns] += 2 * power * np.sqrt(np.maximum(radius**2 - distance, 0))
        rng = np.random.default_rng((seed, index))
        return rng.poisson(counts.clip(0)).astype(np.uint16)

    return image


def _spheres(rng: np.random.Generator) -> Floats:
    """Return x, y, z, radius and scattering power of each sphere; negative for pores."""
    support = np.array(_SUPPORT)

    def near(count: int, depth: Floats) -> Floats:
        """Return points at a given fraction of the radius of random spheres of the support."""
        chosen = support[rng.integers(len(support), size=count)]
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return np.asarray(chosen[:, :3] + direction * (chosen[:, 3] * depth)[:, None])

    pores = near(_PORES, rng.uniform(0.2, 0.65, _PORES))
    # Most particles are on the surface, a few inside.
    metal = near(_PARTICLES, np.where(rng.random(_PARTICLES) < 0.8, 1.0, 0.5))
    return np.concatenate(
        [
            np.c_[support, np.full(len(support), _SUPPORT_COUNTS)],
            np.c_[pores, rng.uniform(0.02, 0.04, _PORES), np.full(_PORES, -_SUPPORT_COUNTS)],
            np.c_[metal, rng.uniform(0.006, 0.016, _PARTICLES), np.full(_PARTICLES, _METAL_COUNTS)],
        ]
    )
