"""Samples stay within their limits, and panels are equal to numpy's images; no file is read."""

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
from mrcdist.preview.choose_sample import bands, choose_sample, merge_pieces, spread
from mrcdist.preview.panels import image_panels, scan_panels, volume_panels
from mrcdist.preview.reading import SamplePixels
from mrcdist.preview.sample import (
    ImagesSample,
    SampleLimits,
    ScanSample,
    View,
    VolumeSample,
    choose_view,
    every,
)

SCAN = View("scan", (0, 1))
VOLUME = View("volume", (0,))
IMAGES = View("images", ())


def layout_of(shape, stored="<u2", present=None):
    """Return the layout of an array (navigation axes..., rows, columns)."""
    navigation = tuple(shape[:-2])
    n = int(np.prod(navigation))
    return Layout(
        PixelFormat(stored), tuple(shape[-2:]), navigation, n if present is None else present
    )


def axes_of(shape, names):
    """Return uncalibrated axes; the last two are signal axes."""
    return [
        Axis(name, size, navigate=i < len(shape) - 2)
        for i, (name, size) in enumerate(zip(names, shape, strict=True))
    ]


def pixels_of(frames, pieces):
    """Return the pieces of an array (frames, rows, columns)."""
    return SamplePixels(
        {
            piece: frames[
                piece.frames.start : piece.frames.stop, piece.rows.start : piece.rows.stop
            ]
            for piece in pieces
        }
    )


def image_of_frame(frame, bands):
    """Return the rows of a single band, or the mean row of each of several bands."""
    parts = [frame[band.start : band.stop] for band in bands]
    return parts[0] if len(parts) == 1 else np.stack([part.mean(axis=0) for part in parts])


def nbytes_of(pieces, layout):
    return sum(len(piece.frames) * len(piece.rows) * layout.row_bytes for piece in pieces)


def rows_of(pieces):
    """Return every (frame, row) of the pieces, with duplicates."""
    return [(frame, row) for piece in pieces for frame in piece.frames for row in piece.rows]


sizes = st.integers(1, 12)
limits = st.builds(
    SampleLimits,
    budget=st.integers(1, 20_000),
    max_reads=st.integers(16, 300),
    whole_frames=st.booleans(),
    stream=st.booleans(),
)


@given(
    st.sampled_from([SCAN, VOLUME, IMAGES]),
    st.lists(sizes, min_size=4, max_size=4),
    limits,
    st.booleans(),
)
def test_sample_stays_within_its_limits_and_reads_no_row_twice(view, shape, limits, virtual_image):
    shape = tuple(shape) if view is SCAN else tuple(shape[1:])
    layout = layout_of(shape)
    if limits.budget < max(layout.frame_bytes, 4 * layout.row_bytes):
        # Too small for some views: either within the budget, or an error.
        with suppress(ArgumentError):
            sample = choose_sample(layout, view, limits, virtual_image=virtual_image)
            assert nbytes_of(sample.pieces, layout) <= limits.budget
        return
    sample = choose_sample(layout, view, limits, virtual_image=virtual_image)
    assert nbytes_of(sample.pieces, layout) <= limits.budget
    assert 1 <= len(sample.pieces) <= limits.max_reads
    rows = rows_of(sample.pieces)
    assert len(rows) == len(set(rows))
    assert rows == sorted(rows)
    assert max(frame for frame, _ in rows) < layout.n_frames
    assert max(row for _, row in rows) < layout.frame_shape[0]
    if limits.whole_frames or limits.stream:
        assert all(piece.rows == range(layout.frame_shape[0]) for piece in sample.pieces)
    if limits.stream:
        assert [piece.frames.start for piece in sample.pieces] == [0]


@given(st.lists(sizes, min_size=4, max_size=4), st.integers(200, 20_000), st.integers(0, 143))
def test_points_of_virtual_images_are_means_over_the_detector(shape, budget, present):
    shape = tuple(shape)
    ny, nx, rows, columns = shape
    n = ny * nx
    present = max(min(present, n), 1)
    layout = layout_of(shape, present=present)
    table = np.random.default_rng(n).permutation(n).reshape(ny, nx).astype(np.int32)
    frames = np.random.default_rng(1).integers(0, 999, (n, rows, columns)).astype(np.uint16)
    try:
        sample = choose_sample(layout, SCAN, SampleLimits(budget, max_reads=64), table=table)
    except ArgumentError:
        assume(False)
    assert isinstance(sample, ScanSample)
    pixels = pixels_of(frames[:present], sample.pieces)
    panels = scan_panels(sample, pixels, axes_of(shape, ["y", "x", "ky", "kx"]), (0, 1))
    *virtual, mean, single = panels

    expected = np.where(table < present, table, -1)[np.ix_(sample.ys, sample.xs)]
    np.testing.assert_array_equal(sample.frames, expected)
    np.testing.assert_allclose(mean.image, frames[list(sample.patterns)].mean(axis=0))
    iy, ix = sample.single
    np.testing.assert_array_equal(single.image, frames[expected[iy, ix]])
    band = slice(sample.band.start, sample.band.stop)
    names = [panel.name for panel in virtual]
    detectors = list(mean.rings) or [Ring(0, 0, 0, 1e9)]
    for name, panel in zip(names, virtual, strict=True):
        ring = detectors[("bright field", "dark field").index(name) if mean.rings else 0]
        mask = ring.weights(range(rows), range(columns))[band] > 0
        for where, frame in np.ndenumerate(expected):
            wanted = frames[frame][band][mask].mean() if frame >= 0 else np.nan
            np.testing.assert_allclose(panel.image[where], wanted)


def test_only_rows_through_the_centre_of_large_frames_are_read():
    """Frames of 1 MiB in a budget of 64 MiB: a grid far finer than 64 frames would give."""
    layout = layout_of((256, 256, 1024, 512))
    sample = choose_sample(layout, SCAN, SampleLimits(64 * 2**20))
    assert sample.frames.size >= 24 * 24
    assert len(sample.band) < 1024
    assert abs((sample.band.start + sample.band.stop) / 2 - 512) < 1
    assert len(sample.patterns) >= 8
    assert nbytes_of(sample.pieces, layout) <= 64 * 2**20


def test_axes_of_a_scan_other_than_y_and_x_stay_at_their_first_point():
    shape = (3, 4, 5, 2, 2, 2)  # repeat, y, x, point repeat
    layout = layout_of(shape)
    sample = choose_sample(layout, View("scan", (1, 2)), SampleLimits(10**6))
    expected = np.arange(120).reshape(shape[:4])[0, :, :, 0]
    np.testing.assert_array_equal(sample.frames, expected)


@given(st.lists(sizes, min_size=3, max_size=3), st.integers(100, 5000), st.booleans())
def test_volume_panels_are_planes_of_the_volume(shape, budget, whole):
    layout = layout_of(shape)
    volume = np.random.default_rng(2).integers(0, 9999, shape).astype(np.uint16)
    try:
        sample = choose_sample(
            layout, VOLUME, SampleLimits(budget, max_reads=32, whole_frames=whole)
        )
    except ArgumentError:
        assume(False)
    assert isinstance(sample, VolumeSample)
    section, row, column = sample.at
    yx, zx, yz = volume_panels(
        sample, pixels_of(volume, sample.pieces), axes_of(shape, ["z", "y", "x"])
    )
    wanted = image_of_frame(volume[section], sample.section)
    np.testing.assert_allclose(yx.image, wanted)
    np.testing.assert_array_equal(zx.image, volume[list(sample.along_row), row])
    rows = [r for band in sample.column_rows for r in band]
    np.testing.assert_array_equal(
        yz.image, volume[np.ix_(list(sample.along_column), rows, [column])][..., 0].T
    )
    assert (yx.name, zx.name, yz.name) == ("yx", "zx", "yz")
    assert yx.cuts == (row, column)


def test_only_the_plane_across_the_rows_skips_sections():
    """Of a tomogram of 2 GiB, with a budget of 64 MiB."""
    sample = choose_sample(layout_of((512, 1024, 1024), "<f4"), VOLUME, SampleLimits(64 * 2**20))
    assert sample.along_row == range(512)
    assert len(sample.along_column) >= 8
    assert sample.column_rows == (range(1024),)


@given(st.lists(sizes, min_size=3, max_size=3), st.integers(50, 5000))
def test_image_panels_are_frames_or_mean_rows_of_their_bands(shape, budget):
    layout = layout_of(shape)
    stack = np.random.default_rng(3).integers(0, 9999, shape).astype(np.uint16)
    sample = choose_sample(layout, IMAGES, SampleLimits(budget, max_reads=64))
    assert isinstance(sample, ImagesSample)
    assert sorted(set(sample.frames)) == list(sample.frames)
    pixels = pixels_of(stack, sample.pieces)
    panels = image_panels(sample, pixels, axes_of(shape, "zyx"))
    assert [panel.title for panel in panels] == [f"z {i} of {shape[0]}" for i in sample.frames]
    for frame, panel in zip(sample.frames, panels, strict=True):
        np.testing.assert_allclose(panel.image, image_of_frame(stack[frame], sample.bands))


def test_montage_includes_the_first_and_the_last_frame_and_shows_whole_frames_that_fit():
    sample = choose_sample(layout_of((41, 100, 100)), IMAGES, SampleLimits(10**7))
    assert len(sample.frames) == 12
    assert (sample.frames[0], sample.frames[-1]) == (0, 40)
    assert sample.bands == (range(100),)


def test_large_frames_are_sampled_line_by_line():
    """Several images of a tilt series of 47 MB images, with a budget of 64 MiB."""
    layout = layout_of((60, 4092, 5760))
    sample = choose_sample(layout, IMAGES, SampleLimits(64 * 2**20))
    assert len(sample.frames) >= 4
    assert len(sample.bands) >= 256


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_bands_are_spread_over_all_rows_without_overlap(rows, count, height):
    count = min(count, rows)
    spread_bands = bands(rows, count, height)
    assert len(spread_bands) == count
    assert all(1 <= len(band) <= height for band in spread_bands)
    for band, after in itertools.pairwise([*spread_bands, range(rows, rows)]):
        assert band.stop <= after.start
        assert after.start - band.start <= -(-rows // count)


@given(st.integers(1, 300), st.integers(1, 300))
def test_spread_positions_are_centred(size, step):
    positions = spread(size, step)
    assert len(positions) == -(-size // step)
    assert abs(positions[0] - (size - 1 - positions[-1])) <= 1


@given(st.lists(st.integers(0, 40), min_size=1))
def test_adjacent_whole_frames_are_merged(frames):
    pieces = merge_pieces(((frame, range(7)) for frame in frames), 7)
    assert [f for p in pieces for f in p.frames] == sorted(set(frames))
    ends = [(p.frames.start, p.frames.stop) for p in pieces]
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(ends))


def test_steps_of_a_sample_are_described_by_ordinals():
    described = [every(step, "point") for step in (1, 2, 3, 7, 11, 21, 112)]
    ordinals = ["", "2nd ", "3rd ", "7th ", "11th ", "21st ", "112th "]
    assert described == [f"every {ordinal}point" for ordinal in ordinals]


# The view of a file


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
def test_view_depends_on_axes_and_space_group(names, units, ispg, view):
    assert kind_of(names, (3, 4, 5, 6)[-len(names) :], units=units, ispg=ispg) == view


def test_requested_view_is_used_if_the_axes_allow_it():
    assert kind_of("zyx", (3, 4, 5), ispg=0, view="volume") == "volume"
    assert kind_of(["y", "x", "ky", "kx"], (2, 3, 4, 5), view="images") == "images"
    with pytest.raises(ArgumentError, match="navigation_shape"):
        kind_of("zyx", (3, 4, 5), view="scan")
    with pytest.raises(ArgumentError, match="sections"):
        kind_of("zyx", (3, 4, 5), view="volume", stored="<c8")
