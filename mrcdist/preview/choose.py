"""Which frames, and which rows of them, a preview reads: within a budget, from numbers alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mrcdist.errors import ArgumentError
from mrcdist.plan.layout import FrameTable, Layout
from mrcdist.preview.choices import Choice, ImagesChoice, Limits, too_small
from mrcdist.preview.choose_scan import choose_scan
from mrcdist.preview.choose_volume import choose_volume
from mrcdist.preview.pieces import Band, Piece, lines_of, whole_frames
from mrcdist.preview.views import Content

__all__ = ["choose"]

# Tiles that fill a montage; fewer, larger ones where the budget does not reach for more.
_MONTAGES = (12, 9, 6, 4, 3, 2, 1)

# A tile with fewer lines shows stripes.
_LEAST_LINES = 256


def choose(
    layout: Layout,
    content: Content,
    limits: Limits,
    *,
    table: FrameTable | None = None,
    virtual_image: bool = True,
    most_images: int = 12,
) -> Choice:
    """Choose what to read.

    Parameters
    ----------
    layout : Layout
    content : Content
        How the file will be looked at.
    limits : Limits
    table : ndarray of int, shape ``layout.navigation_shape``, optional
        The frame at each navigation position, where they are not in the file's order.
    virtual_image : bool, default True
        Read enough points of a scan for a virtual image; else enough for a mean pattern only.
    most_images : int, default 12
        In a montage.

    Returns
    -------
    Choice
        `ScanChoice`, `VolumeChoice` or `ImagesChoice`. All pieces together have at most
        ``limits.budget`` bytes and ``limits.reads`` members. Of a compressed stream that is larger
        than the budget the first frames are chosen, whatever the content.

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
    choice: Choice
    if content.view == "images" or reached < present:
        choice = _choose_images(layout, limits, reached, most_images)
    elif content.view == "volume":
        choice = choose_volume(layout, limits)
    else:
        choice = choose_scan(layout, content.plane, limits, table, virtual_image=virtual_image)
    if limits.stream:
        last = max(piece.first + piece.frames for piece in choice.pieces)
        return replace(choice, pieces=(Piece(0, last, 0, layout.frame_shape[0]),))
    return choice


def _choose_images(layout: Layout, limits: Limits, n_frames: int, most: int) -> ImagesChoice:
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
            return ImagesChoice(pieces, frames, chosen)
    if only_whole:
        raise too_small(limits.budget, layout.frame_bytes, "one frame")
    raise too_small(limits.budget, layout.row_bytes, "one row")


def _evenly(size: int, count: int) -> tuple[int, ...]:
    """Positions from the first to the last; the middle one where it is one."""
    return (
        ((size - 1) // 2,) if count == 1 else tuple(int(i) for i in np.linspace(0, size - 1, count))
    )
