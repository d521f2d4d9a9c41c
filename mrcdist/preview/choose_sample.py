"""Which frames, and which rows of them, a preview reads: within a budget, from numbers alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import FrameTable, Layout
from mrcdist.preview.sample import (
    Band,
    ImagesSample,
    Piece,
    ReadLimits,
    Sample,
    lines_of,
    too_small,
    whole_frames,
)
from mrcdist.preview.sample_scan import sample_scan
from mrcdist.preview.sample_volume import sample_volume
from mrcdist.preview.view import View

__all__ = ["choose_sample"]

# Tiles that fill a montage; fewer, larger ones where the budget does not reach for more.
_MONTAGES = (12, 9, 6, 4, 3, 2, 1)

# A tile with fewer lines shows stripes.
_LEAST_LINES = 256


def choose_sample(
    layout: Layout,
    view: View,
    limits: ReadLimits,
    *,
    table: FrameTable | None = None,
    virtual_image: bool = True,
    most_images: int = 12,
) -> Sample:
    """Choose what to read.

    Parameters
    ----------
    layout : Layout
    view : View
        How the file will be looked at.
    limits : ReadLimits
    table : ndarray of int, shape ``layout.navigation_shape``, optional
        The frame at each navigation position, where they are not in the file's order.
    virtual_image : bool, default True
        Read enough points of a scan for a virtual image; else enough for a mean pattern only.
    most_images : int, default 12
        In a montage.

    Returns
    -------
    Sample
        `ScanSample`, `VolumeSample` or `ImagesSample`. All pieces together have at most
        ``limits.budget`` bytes and ``limits.reads`` members. Of a compressed stream that is larger
        than the budget the first frames are chosen, whatever the view.

    Raises
    ------
    ArgumentError
        There is nothing to read, or the budget is too small for anything worth looking at.
    """
    present = min(layout.present, layout.n_frames)
    if 0 in (*layout.frame_shape, present):
        raise ArgumentError(
            "the file holds no pixels",
            code="pixels-missing",
            remedy="there is nothing to see; `mrcdist info` says more",
        )
    reached = min(limits.budget // layout.frame_bytes, present) if limits.stream else present
    sample: Sample
    if view.kind == "images" or reached < present:
        sample = _sample_images(layout, limits, reached, most_images)
    elif view.kind == "volume":
        sample = sample_volume(layout, limits)
    else:
        sample = sample_scan(layout, view.plane, limits, table, virtual_image=virtual_image)
    if limits.stream:
        last = max(piece.first + piece.frames for piece in sample.pieces)
        return replace(sample, pieces=(Piece(0, last, 0, layout.frame_shape[0]),))
    return sample


def _sample_images(layout: Layout, limits: ReadLimits, n_frames: int, most: int) -> ImagesSample:
    """As many frames as fill a montage with whole tiles, or with tiles of lines close together."""
    rows = layout.frame_shape[0]
    full = (Band(0, rows),)
    only_whole = limits.whole or limits.stream
    for count in sorted({min(n, n_frames, most) for n in _MONTAGES} - {0}, reverse=True):
        chosen = lines_of(layout, limits.budget // count, limits.reads // count)
        least = min(_LEAST_LINES, rows) if count > 1 else 1
        if chosen == full or (len(chosen) >= least and not only_whole):
            frames = _evenly(n_frames, count)
            pieces = (
                whole_frames(frames, rows)
                if chosen == full
                else tuple(
                    Piece(frame, 1, band.top, band.rows) for frame in frames for band in chosen
                )
            )
            return ImagesSample(pieces, frames, chosen)
    if only_whole:
        raise too_small(limits.budget, layout.frame_bytes, "one frame")
    raise too_small(limits.budget, layout.row_bytes, "one row")


def _evenly(size: int, count: int) -> tuple[int, ...]:
    """Positions from the first to the last; the middle one where it is one."""
    return (
        ((size - 1) // 2,) if count == 1 else tuple(int(i) for i in np.linspace(0, size - 1, count))
    )
