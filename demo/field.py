"""Simulated diffraction patterns of a polycrystalline film, for the demonstration.

The specimen consists of grains of a square crystal, a few precipitates of a hexagonal one, and
vacuum in one corner. The film is bent, so bend contours cross the grains; the scan or the specimen
shifts the pattern slightly on the detector. All of this is computed once, in arrays over the scan;
a frame is then a set of small disks with noise from a separate random generator. So any frame can
be computed alone, in any order, and is always the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcdist.errors import ArgumentError

__all__ = ["Detectors", "demo_detectors", "demo_frames", "film_depth"]

Floats = NDArray[np.float64]

# Lengths on the detector, as fractions of the shorter side of a frame.
_DISK_RADIUS = 0.045
_LATTICE = 0.16
_FARTHEST = 0.45
_DESCAN = 0.018

_DOSE = 32.0  # electrons per pixel in the direct disk, in vacuum
_FAINTEST = 0.02  # electrons per pixel; fainter disks are not drawn
_PARTICLES = 9
_GRAINS = 14
_REFLECTIONS = 25  # per lattice, including the direct beam
_LEVELS, _DRAWS = 24, 12  # diffuse background: strengths, and samples of each


@dataclass(frozen=True)
class Detectors:
    """Bright-field and dark-field detectors for the simulated patterns.

    Parameters
    ----------
    bright, dark : ndarray of bool, shape (ky, kx)
        Pixels of the disk around the direct beam, and of the annulus around it.
    center : tuple of float
        Common centre (ky, kx) in pixels.
    radii : tuple of float
        Radius of the disk, inner and outer radius of the annulus, in pixels.
    """

    bright: NDArray[np.bool_]
    dark: NDArray[np.bool_]
    center: tuple[float, float]
    radii: tuple[float, float, float]


def demo_detectors(frame_shape: tuple[int, int]) -> Detectors:
    """Return the bright-field disk and the dark-field annulus for frames of one shape.

    Parameters
    ----------
    frame_shape : tuple of int
        (ky, kx) in pixels.

    Returns
    -------
    Detectors
        The disk contains the direct beam at all scan points, the annulus all diffracted beams.
    """
    side = min(frame_shape)
    disk = (_DISK_RADIUS + 2 * _DESCAN) * side
    inner, outer = (_LATTICE - _DISK_RADIUS - _DESCAN) * side, 0.49 * side
    center = (frame_shape[0] / 2, frame_shape[1] / 2)
    ky, kx = np.indices(frame_shape)
    radius = np.hypot(ky - center[0], kx - center[1])
    return Detectors(
        radius <= disk, (radius >= inner) & (radius <= outer), center, (disk, inner, outer)
    )


def demo_frames(
    scan_shape: tuple[int, int],
    frame_shape: tuple[int, int],
    *,
    seed: int = 5,
    deflection: Floats | None = None,
) -> Callable[[int], NDArray[np.uint16]]:
    """Return a function that computes any frame of a 4D-STEM scan of a polycrystalline film.

    Parameters
    ----------
    scan_shape : tuple of int
        (y, x) in scan points.
    frame_shape : tuple of int
        (ky, kx) in pixels.
    seed : int, default 5
        Seed of the specimen and the noise.
    deflection : ndarray, shape (y, x, 2), optional
        Shift (ky, kx) in pixels of the pattern at each scan point. Default: the shift due to a
        slightly misaligned descan.

    Returns
    -------
    callable
        Called with the index of a frame (raster order, x fastest); returns a uint16 array of
        `frame_shape` with electron counts and Poisson noise. The same index always gives the same
        frame.

    Raises
    ------
    ArgumentError
        `deflection` does not have the shape of the scan.
    """
    side = min(frame_shape)
    if deflection is None:
        shift = _descan(scan_shape)
    elif deflection.shape == (*scan_shape, 2):
        shift = deflection / side
    else:
        raise ArgumentError(
            f"deflection of shape {deflection.shape}",
            code="demo-invalid",
            argument="deflection",
            cause=f"the {scan_shape[0]} × {scan_shape[1]} scan needs two components per point",
            remedy=f"pass an array of shape {(*scan_shape, 2)}",
        )
    positions, intensities, diffuse = _grow(scan_shape, shift, np.random.default_rng(seed))
    centers = positions * side + np.asarray(frame_shape) / 2
    electrons = intensities * _DOSE
    background = _background(frame_shape, np.random.default_rng(seed + 1))
    levels = np.rint(diffuse.clip(0, 1) * (_LEVELS - 1)).astype(int)

    def frame(index: int) -> NDArray[np.uint16]:
        rng = np.random.default_rng((seed, index))
        visible = electrons[index] > _FAINTEST
        image: NDArray[np.uint16] = background[levels[index], rng.integers(_DRAWS)].copy()
        disks = centers[index, visible], electrons[index, visible]
        _add_disks(image, *disks, _DISK_RADIUS * side, rng)
        return image

    return frame


def film_depth(scan_shape: tuple[int, int]) -> Floats:
    """Return the distance of each scan point from the edge of the film.

    Parameters
    ----------
    scan_shape : tuple of int
        (y, x) in scan points.

    Returns
    -------
    ndarray, shape (y, x)
        In fractions of the longer side of the scan; positive in the film, negative in vacuum.
    """
    v, u = _warped(*_coordinates(scan_shape))
    return np.asarray(np.hypot(1.0 - u, v) - 0.30)


def _coordinates(scan_shape: tuple[int, int]) -> tuple[Floats, Floats]:
    v, u = ((grid + 0.5) / max(scan_shape) for grid in np.indices(scan_shape, dtype=float))
    return v, u


def _warped(v: Floats, u: Floats) -> tuple[Floats, Floats]:
    """Return distorted coordinates, which make boundaries look natural."""
    return (
        v + 0.030 * np.sin(8 * u + 2) + 0.012 * np.sin(19 * u + 6 * v),
        u + 0.030 * np.sin(9 * v + 1) + 0.012 * np.sin(23 * v - 4 * u),
    )


def _descan(scan_shape: tuple[int, int]) -> Floats:
    v, u = _coordinates(scan_shape)
    return _DESCAN * np.stack([np.sin(2.2 * v - 1), 2 * u - 1], -1)


def _grow(
    scan_shape: tuple[int, int], shift: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return the beams at each scan point, in raster order.

    Positions (n, k, 2) are (ky, kx) relative to the centre, in fractions of the side of a frame;
    intensities (n, k) and diffuse scattering (n,) are fractions of the incident beam.
    """
    v, u = _coordinates(scan_shape)
    warped_v, warped_u = _warped(v, u)
    depth = film_depth(scan_shape)
    thickness = np.clip(depth / 0.06, 0, 1) * (0.45 + 0.55 * np.clip(depth / 0.9, 0, 1))

    seed_v, seed_u = rng.uniform(0, 1, (2, _GRAINS))
    grain = np.hypot(warped_v[..., None] - seed_v, warped_u[..., None] - seed_u).argmin(-1)
    angle = rng.uniform(0, np.pi / 2, _GRAINS)[grain]
    bending = np.stack([np.sin(5 * u + 3 * v), np.cos(4 * v - 3 * u)], -1)
    tilt = rng.normal(0, 0.8, (_GRAINS, 2))[grain] + 1.2 * bending

    particle = np.zeros(scan_shape, dtype=bool)
    for _ in range(_PARTICLES):
        y, x, radius, turn = rng.uniform((0.08, 0.08, 0.025, 0), (0.95, 0.95, 0.06, np.pi / 3))
        inside = (np.hypot(warped_v - y, warped_u - x) < radius) & (depth > 0.06)
        particle |= inside
        angle[inside] = turn
        tilt[inside] = rng.normal(0, 0.15, 2)
    thickness *= np.where(particle, 1.25, 1.0)

    k = np.where(particle[..., None, None], _lattice(1.13, 60), _lattice(1.0, 90))
    k = _rotated(k, angle)
    share = _diffracted(k, tilt, thickness)
    positions = np.nan_to_num(k) * _LATTICE + shift[..., None, :]
    count = share.shape[-1]
    return positions.reshape(-1, count, 2), share.reshape(-1, count), thickness.ravel() / 1.25


def _diffracted(k: Floats, tilt: Floats, thickness: Floats) -> Floats:
    """Return the fraction of the beam in each disk, direct beam first; 0 where k is NaN.

    Kinematic theory: the intensity of a reflection with excitation error s and thickness t is
    sin²(πts) / (πs)², with s from the local tilt and the curvature of the Ewald sphere.
    """
    length = np.hypot(k[..., 0], k[..., 1])
    t = thickness[..., None]
    error = 0.9 * np.einsum("...ki,...i->...k", k, tilt) + 0.12 * length**2
    strength = 1.5 * np.exp(-0.55 * length) * (t * np.sinc(1.6 * t * error)) ** 2
    strength = np.nan_to_num(strength)
    strength[..., 0] = 1.0
    return np.asarray(strength * (np.exp(-0.25 * t) / strength.sum(-1, keepdims=True)))


def _lattice(spacing: float, degrees: float) -> Floats:
    """Return the `_REFLECTIONS` shortest reciprocal lattice vectors, NaN beyond the detector.

    The direct beam is the first. Lengths are in units of `_LATTICE`.
    """
    h, k = (grid.ravel() for grid in np.indices((9, 9)) - 4)
    corner = np.deg2rad(degrees)
    points = spacing * np.stack([k * np.sin(corner), h + k * np.cos(corner)], -1)
    length = np.hypot(*points.T)
    points[length > _FARTHEST / _LATTICE] = np.nan
    return np.asarray(points[np.argsort(length, kind="stable")[:_REFLECTIONS]])


def _rotated(points: Floats, angle: Floats) -> Floats:
    cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
    y, x = points[..., 0], points[..., 1]
    return np.stack([cos * y + sin * x, cos * x - sin * y], -1)


def _background(frame_shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return samples of diffuse scattering: `_DRAWS` for each of `_LEVELS` strengths.

    Frames share them, because computing noise for every whole frame would be slow.
    """
    ky, kx = np.indices(frame_shape)
    radius = np.hypot(ky - frame_shape[0] / 2, kx - frame_shape[1] / 2) / min(frame_shape)
    profile = 1.6 / (1 + (radius / 0.11) ** 2) ** 1.3
    strength = np.linspace(0.01, 1, _LEVELS)[:, None, None, None]
    return rng.poisson(strength * profile, (_LEVELS, _DRAWS, *frame_shape)).astype(np.uint16)


def _add_disks(
    image: NDArray[np.uint16],
    centers: Floats,
    electrons: Floats,
    radius: float,
    rng: np.random.Generator,
) -> None:
    """Add noisy disks with soft edges to a frame."""
    half = int(np.ceil(radius)) + 1
    offsets = np.arange(-half, half + 1, dtype=float)
    corner = np.rint(centers).astype(int)
    dy, dx = (offsets - part[:, None] for part in (centers - corner).T)
    distance = np.hypot(dy[:, :, None], dx[:, None, :])
    cover = np.clip(radius + 0.5 - distance, 0, 1)
    counts = rng.poisson(cover * electrons[:, None, None]).astype(np.uint16)
    for (y, x), disk in zip(corner - half, counts, strict=True):
        # Crop disks that extend beyond the detector.
        top, left = max(-y, 0), max(-x, 0)
        part = disk[top : max(image.shape[0] - y, 0), left : max(image.shape[1] - x, 0)]
        image[y + top : y + top + part.shape[0], x + left : x + left + part.shape[1]] += part
