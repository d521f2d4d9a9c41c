"""Simulated beam deflection by a magnetic specimen, for the demonstration.

The magnetisation has four vortices and antivortices. Between them it prefers the four easy
directions of a cubic crystal, which gives domains and domain walls. There is no field outside the
film.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demo.field import film_depth

__all__ = ["FLUX_PER_WAVENUMBER", "magnetic_deflection"]

FLUX_PER_WAVENUMBER = 4135.667696
"""h/e in T·nm²: the induction times thickness (T·nm) that deflects the beam by 1 nm⁻¹.

From the Lorentz force, at any beam energy: Δk = (e/h) ∫B dz (h/e from CODATA 2018).
"""

# Position (y, x) in fractions of the longer side of the scan, and winding number.
_VORTICES = ((0.66, 0.30, 1), (0.24, 0.16, -1), (0.80, 0.78, -1), (0.40, 0.62, 1))
_CORE = 0.03
_ANISOTROPY = 0.17  # 0: none; 0.25: uniform domains with infinitely thin walls
_EDGE = 0.06


def magnetic_deflection(scan_shape: tuple[int, int], pixels: float) -> NDArray[np.float64]:
    """Return the deflection of the beam at each scan point, for `demo_frames`.

    Parameters
    ----------
    scan_shape : tuple of int
        (y, x) in scan points.
    pixels : float
        Deflection on the detector by the saturated film in pixels.

    Returns
    -------
    ndarray, shape (y, x, 2)
        (ky, kx) in pixels, perpendicular to the induction B: with x to the right, y down and the
        beam along z, away from the viewer, the force on an electron is along (x, y) = (By, -Bx).
    """
    v, u = ((grid + 0.5) / max(scan_shape) for grid in np.indices(scan_shape, dtype=float))
    angle, strength = np.full(scan_shape, 0.5 * np.pi), np.ones(scan_shape)
    for y, x, winding in _VORTICES:
        angle += winding * np.arctan2(v - y, u - x)
        strength *= np.tanh(np.hypot(v - y, u - x) / _CORE)
    angle -= _ANISOTROPY * np.sin(4 * angle)
    strength *= np.clip(film_depth(scan_shape) / _EDGE, 0, 1)
    by, bx = strength * np.sin(angle), strength * np.cos(angle)
    return pixels * np.stack([-bx, by], -1)
