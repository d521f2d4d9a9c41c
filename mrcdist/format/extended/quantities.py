"""Stored columns to physical quantities, section by section.

Decoders of extended headers describe their columns by `PhysicalQuantity`; this module does the
arithmetic they share. A value that cannot be used (not marked valid, not finite, beyond the limits
of its unit) becomes NaN, so that nobody takes it for known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mrcdist.warning_notes import Note

__all__ = ["Columns", "PhysicalQuantity", "common", "convert", "doubtful"]

Array = npt.NDArray[Any]
Columns = Mapping[str, Array | list[str]]


class PhysicalQuantity(NamedTuple):
    """Conversion of one column to a physical quantity.

    Attributes
    ----------
    name : str
        What it is: ``"TEM."`` and a path of HyperSpy's metadata, or a name of this package.
    column : str
        The column it is stored in.
    factor : float
        Stored value times factor is the quantity in the unit wanted.
    above : float
        Only stored values above this one mean something; with 0, a stored 0 is "not known".
    limit : float
        Largest magnitude that the stored unit allows.
    unit : str
        The stored unit, which `above` and `limit` are in.
    """

    name: str
    column: str
    factor: float = 1.0
    above: float = -np.inf
    limit: float = np.inf
    unit: str = ""


def convert(
    quantity: PhysicalQuantity, stored: Array, valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Convert a column to its quantity.

    Parameters
    ----------
    quantity : PhysicalQuantity
        What the column means.
    stored : ndarray of numbers, shape (n_records,)
        The column.
    valid : ndarray of bool, shape (n_records,)
        Which records are marked as having the value.

    Returns
    -------
    ndarray of float64, shape (n_records,)
        In the quantity's unit; NaN where unknown.
    """
    with np.errstate(all="ignore"):  # bytes that are no numbers make NaN and infinity here
        usable = valid & (stored > quantity.above) & (np.abs(stored) <= quantity.limit)
        values = np.where(usable, stored.astype(np.float64) * quantity.factor, np.nan)
        values[~np.isfinite(values)] = np.nan
    return values


def common(values: npt.NDArray[np.float64]) -> float | None:
    """Return the one value that all sections share.

    Parameters
    ----------
    values : ndarray of float64, shape (n_records,)
        A quantity; NaN where unknown.

    Returns
    -------
    float or None
        The first known value if the known ones agree within a thousandth of the largest, as
        repeated measurements of a constant do; else None.
    """
    known = values[np.isfinite(values)]
    if known.size == 0 or known.max() / 2 - known.min() / 2 > 0.5e-3 * np.abs(known).max():
        return None
    return float(known[0])


def doubtful(quantity: PhysicalQuantity, stored: Array, valid: npt.NDArray[np.bool_]) -> str | None:
    """Note that a column's values cannot be in the unit they should have.

    Parameters
    ----------
    quantity, stored, valid
        As in `convert`.

    Returns
    -------
    str or None
        A note with the first such value, None where all is well.
    """
    with np.errstate(all="ignore"):
        too_large = np.isfinite(stored) & (np.abs(stored) > quantity.limit)
        too_small = (stored > 0) & (stored <= quantity.above)
        odd = stored[valid & (too_large | too_small)]
    if odd.size == 0:
        return None
    return Note(
        f"unit-doubtful-{quantity.column}",
        f"{quantity.column} is {float(odd[0]):g} in the extended header, which is no plausible "
        f"number of {quantity.unit}: its unit must be another one, so it is not used",
    )
