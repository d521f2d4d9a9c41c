"""What a preview reads and shows, from numbers alone: within the budget, and equal to numpy."""

from __future__ import annotations

import itertools
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mrcdist import ArgumentError
from mrcdist.compute.detectors import Ring
from mrcdist.format.axis import Axis
from mrcdist.format.pixels import PixelFormat
from mrcdist.plan.layout import Layout
from mrcdist.preview.choose_sample import bands, choose_sample, pieces_of, spread
from mrcdist.preview.panels import image_panels, scan_panels, volume_panels
from mrcdist.preview.reading import PixelsRead
from mrcdist.preview.sample import (
    ImagesSample,
    PreviewBudget,
    ScanSample,
    View,
    VolumeSample,
    choose_view,
)

SCAN = View("scan", (0, 1))
VOLUME = View("volume", (0,))
IMAGES = View("images", ())


def layout_of(shape, stored="<u2", present=None):
    """Frames of an array (navigation axes..., rows, columns)."""
    navigation = tuple(shape[:-2])
    n = int(np.prod(navigation))
    return Layout(
        PixelFormat(stored), tuple(shape[-2:]), navigation, n if present is None else present
    )


def axes_of(shape, names):
    """Uncalibrated axes; the last two are the signal's."""
    return [
        Axis(name, size, navigate=i < len(shape) - 2)
        for i, (name, size) in enumerate(zip(names, shape, strict=True))
    ]


def taken_from(frames, pieces):
    """What reading the pieces of an array (frames, rows, columns) gives."""
    return PixelsRead(
        {
            piece: frames[
                piece.frames.start : piece.frames.stop, piece.rows.start : piece.rows.stop
            ]
            for piece in pieces
        }
    )


def lines_of_frame(frame, chosen):
    """The rows of one band, or a line for each of several: the mean of its rows."""
    parts = [frame[band.start : band.stop] for band in chosen]
    return parts[0] if len(parts) == 1 else np.stack([part.mean(axis=0) for part in parts])


def size_of(pieces, layout):
    return sum(len(piece.frames) * len(piece.rows) * layout.row_bytes for piece in pieces)


def cells_of(pieces):
    """Every (frame, row) that the pieces hold, repeated ones repeated."""
    return [(frame, row) for piece in pieces for frame in piece.frames for row in piece.rows]


sizes = st.integers(1, 12)
limits = st.builds(
    PreviewBudget,
    budget=st.integers(1, 20_000),
    reads=st.integers(16, 300),
    whole=st.booleans(),
    stream=st.booleans(),
)


@given(
    st.sampled_from([SCAN, VOLUME, IMAGES]),
    st.lists(sizes, min_size=4, max_size=4),
    limits,
    st.booleans(),
)
def test_a_choice_keeps_to_its_limits(view, shape, limits, virtual_image):
    """Bytes and pieces stay within the limits; no row is read twice, none that is not there."""
    shape = tuple(shape) if view is SCAN else tuple(shape[1:])
    layout = layout_of(shape)
    if limits.budget < max(layout.frame_bytes, 4 * layout.row_bytes):
        # The least that makes sense depends on the view: keeps to the budget, or says so.
        with suppress(ArgumentError):
            choice = choose_sample(layout, view, limits, virtual_image=virtual_image)
            assert size_of(choice.pieces, layout) <= limits.budget
        return
    choice = choose_sample(layout, view, limits, virtual_image=virtual_image)
    assert size_of(choice.pieces, layout) <= limits.budget
    assert 1 <= len(choice.pieces) <= limits.reads
    cells = cells_of(choice.pieces)
    assert len(cells) == len(set(cells))
    assert cells == sorted(cells)
    assert max(frame for frame, _ in cells) < layout.n_frames
    assert max(row for _, row in cells) < layout.frame_shape[0]
    if limits.whole or limits.stream:
        assert all(piece.rows == range(layout.frame_shape[0]) for piece in choice.pieces)
    if limits.stream:
        assert [piece.frames.start for piece in choice.pieces] == [0]


@given(st.lists(sizes, min_size=4, max_size=4), st.integers(200, 20_000), st.integers(0, 143))
def test_scan_panels_show_the_frames_of_their_points(shape, budget, present):
    """Every point of the grid is the mean over its own frame's detector, in any frame order."""
    shape = tuple(shape)
    ny, nx, rows, columns = shape
    n = ny * nx
    present = max(min(present, n), 1)
    layout = layout_of(shape, present=present)
    table = np.random.default_rng(n).permutation(n).reshape(ny, nx).astype(np.int32)
    frames = np.random.default_rng(1).integers(0, 999, (n, rows, columns)).astype(np.uint16)
    try:
        choice = choose_sample(layout, SCAN, PreviewBudget(budget, reads=64), table=table)
    except ArgumentError:
        assume(False)
    assert isinstance(choice, ScanSample)
    taken = taken_from(frames[:present], choice.pieces)
    panels = scan_panels(choice, taken, axes_of(shape, ["y", "x", "ky", "kx"]), (0, 1))
    *virtual, mean, single = panels

    expected = np.where(table < present, table, -1)[np.ix_(choice.ys, choice.xs)]
    np.testing.assert_array_equal(choice.frames, expected)
    np.testing.assert_allclose(mean.image, frames[list(choice.patterns)].mean(axis=0))
    iy, ix = choice.single
    np.testing.assert_array_equal(single.image, frames[expected[iy, ix]])
    band = slice(choice.band.start, choice.band.stop)
    names = [panel.name for panel in virtual]
    detectors = list(mean.rings) or [Ring(0, 0, 0, 1e9)]
    for name, panel in zip(names, virtual, strict=True):
        ring = detectors[("bright field", "dark field").index(name) if mean.rings else 0]
        mask = ring.weights(range(rows), range(columns))[band] > 0
        for where, frame in np.ndenumerate(expected):
            wanted = frames[frame][band][mask].mean() if frame >= 0 else np.nan
            np.testing.assert_allclose(panel.image[where], wanted)


def test_scans_with_large_frames_show_rows_through_the_middle():
    """Frames of 1 MiB in a budget of 64 MiB: a grid far finer than 64 frames would give."""
    layout = layout_of((256, 256, 1024, 512))
    choice = choose_sample(layout, SCAN, PreviewBudget(64 * 2**20))
    assert choice.frames.size >= 24 * 24
    assert len(choice.band) < 1024
    assert abs((choice.band.start + choice.band.stop) / 2 - 512) < 1
    assert len(choice.patterns) >= 8
    assert size_of(choice.pieces, layout) <= 64 * 2**20


def test_other_axes_of_a_scan_than_y_and_x_stay_at_their_first_point():
    shape = (3, 4, 5, 2, 2, 2)  # repeat, y, x, point repeat
    layout = layout_of(shape)
    choice = choose_sample(layout, View("scan", (1, 2)), PreviewBudget(10**6))
    expected = np.arange(120).reshape(shape[:4])[0, :, :, 0]
    np.testing.assert_array_equal(choice.frames, expected)


@given(st.lists(sizes, min_size=3, max_size=3), st.integers(100, 5000), st.booleans())
def test_volume_panels_are_planes_of_the_volume(shape, budget, whole):
    """Each plane is numpy's, at the sections and rows that were chosen for it."""
    layout = layout_of(shape)
    volume = np.random.default_rng(2).integers(0, 9999, shape).astype(np.uint16)
    try:
        choice = choose_sample(layout, VOLUME, PreviewBudget(budget, reads=32, whole=whole))
    except ArgumentError:
        assume(False)
    assert isinstance(choice, VolumeSample)
    section, row, column = choice.at
    yx, zx, yz = volume_panels(
        choice, taken_from(volume, choice.pieces), axes_of(shape, ["z", "y", "x"])
    )
    wanted = lines_of_frame(volume[section], choice.section)
    np.testing.assert_allclose(yx.image, wanted)
    np.testing.assert_array_equal(zx.image, volume[list(choice.along_row), row])
    rows = [r for band in choice.column_rows for r in band]
    np.testing.assert_array_equal(
        yz.image, volume[np.ix_(list(choice.along_column), rows, [column])][..., 0].T
    )
    assert (yx.name, zx.name, yz.name) == ("yx", "zx", "yz")
    assert yx.cuts == (row, column)


def test_a_plane_across_the_rows_leaves_sections_out_where_it_must():
    """A 2 GiB tomogram in 64 MiB: the other plane has all its sections."""
    choice = choose_sample(layout_of((512, 1024, 1024), "<f4"), VOLUME, PreviewBudget(64 * 2**20))
    assert choice.along_row == range(512)
    assert len(choice.along_column) >= 8
    assert choice.column_rows == (range(1024),)


@given(st.lists(sizes, min_size=3, max_size=3), st.integers(50, 5000))
def test_image_panels_are_frames_or_means_of_their_bands(shape, budget):
    layout = layout_of(shape)
    stack = np.random.default_rng(3).integers(0, 9999, shape).astype(np.uint16)
    choice = choose_sample(layout, IMAGES, PreviewBudget(budget, reads=64))
    assert isinstance(choice, ImagesSample)
    assert sorted(set(choice.frames)) == list(choice.frames)
    taken = taken_from(stack, choice.pieces)
    panels = image_panels(choice, taken, axes_of(shape, "zyx"))
    assert [panel.title for panel in panels] == [f"z {i} of {shape[0]}" for i in choice.frames]
    for frame, panel in zip(choice.frames, panels, strict=True):
        np.testing.assert_allclose(panel.image, lines_of_frame(stack[frame], choice.bands))


def test_a_montage_has_the_first_and_the_last_frame_and_whole_ones_where_they_fit():
    choice = choose_sample(layout_of((41, 100, 100)), IMAGES, PreviewBudget(10**7))
    assert len(choice.frames) == 12
    assert (choice.frames[0], choice.frames[-1]) == (0, 40)
    assert choice.bands == (range(100),)


def test_frames_beyond_the_budget_are_shown_by_bands_of_lines():
    """A tilt series of 47 MB images in 64 MiB: several tiles with 256 lines each or more."""
    layout = layout_of((60, 4092, 5760))
    choice = choose_sample(layout, IMAGES, PreviewBudget(64 * 2**20))
    assert len(choice.frames) >= 4
    assert len(choice.bands) >= 256


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_bands_are_spread_over_all_rows_and_never_overlap(rows, count, height):
    count = min(count, rows)
    found = bands(rows, count, height)
    assert len(found) == count
    assert all(1 <= len(band) <= height for band in found)
    for band, after in zip(found, [*found[1:], range(rows, rows)], strict=True):
        assert band.stop <= after.start
        assert after.start - band.start <= -(-rows // count)


@given(st.integers(1, 300), st.integers(1, 300))
def test_spread_positions_leave_as_much_out_before_as_after(size, step):
    found = spread(size, step)
    assert len(found) == -(-size // step)
    assert abs(found[0] - (size - 1 - found[-1])) <= 1


@given(st.lists(st.integers(0, 40), min_size=1))
def test_whole_frames_are_gathered_to_runs(frames):
    pieces = pieces_of(((frame, range(7)) for frame in frames), 7)
    assert [f for p in pieces for f in p.frames] == sorted(set(frames))
    ends = [(p.frames.start, p.frames.stop) for p in pieces]
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(ends))


# What a file is to the eye


def kind_of(names, shape, *, units=None, ispg=0, view=None, stored="<u2"):
    axes = axes_of(shape, names)
    if units:
        axes = [Axis(a.name, a.size, a.navigate, 1.0, 0.0, units.get(a.name)) for a in axes]
    return choose_view(layout_of(shape, stored), axes, ispg=ispg, view=view).kind


SPACE = {"x": "nm", "y": "nm", "z": "nm"}


@pytest.mark.parametrize(
    ("names", "units", "ispg", "view"),
    [
        (["y", "x", "ky", "kx"], None, 0, "scan"),
        (["scan_y", "scan_x", "y", "x"], None, 1, "scan"),
        (["z", "y", "x"], SPACE, 1, "volume"),
        (["volume", "z", "y", "x"], SPACE, 401, "volume"),
        (["z", "y", "x"], None, 1, "volume"),
        (["z", "y", "x"], SPACE, 0, "images"),
        (["z", "y", "x"], {"x": "nm", "y": "nm"}, 1, "images"),
        (["tilt", "y", "x"], SPACE, 1, "images"),
        (["z", "ky", "kx"], None, 1, "images"),
        (["y", "x"], SPACE, 1, "images"),
    ],
)
def test_the_view_goes_by_axes_and_space_group(names, units, ispg, view):
    assert kind_of(names, (3, 4, 5, 6)[-len(names) :], units=units, ispg=ispg) == view


def test_the_caller_chooses_the_view_where_the_axes_allow_it():
    assert kind_of("zyx", (3, 4, 5), ispg=0, view="volume") == "volume"
    assert kind_of(["y", "x", "ky", "kx"], (2, 3, 4, 5), view="images") == "images"
    with pytest.raises(ArgumentError, match="navigation_shape"):
        kind_of("zyx", (3, 4, 5), view="scan")
    with pytest.raises(ArgumentError, match="sections"):
        kind_of("zyx", (3, 4, 5), view="volume", stored="<c8")
