"""One axis of the array, from the sidecar or header that calibrates it to HyperSpy's dict."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Axis"]


@dataclass(frozen=True)
class Axis:
    """One axis of the array.

    Attributes
    ----------
    name : str
        Such as "y" or "kx".
    size : int
    navigate : bool
        Navigation (True) or signal axis.
    scale, offset : float
        In `units`; 1.0 and 0.0 where uncalibrated.
    units : str or None
        "nm", "nm^-1", "s", "deg"; None where uncalibrated.
    values : tuple of float, optional
        The positions, where their steps are uneven.
    """

    name: str
    size: int
    navigate: bool
    scale: float = 1.0
    offset: float = 0.0
    units: str | None = None
    values: tuple[float, ...] | None = None
