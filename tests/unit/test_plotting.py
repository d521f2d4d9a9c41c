"""Limits, scale bars and labels of images, which look the same in every figure."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import LogNorm
from matplotlib.offsetbox import AnchoredOffsetbox

from mrcdist import plan_mrc, reduce_frames
from mrcdist.batch.output import result_figure
from mrcdist.compute.results import Result
from mrcdist.format.axis import Axis, frames_are_patterns, scan_plane
from mrcdist.plotting import (
    colour_norm,
    downsample,
    draw_image,
    extents,
    frame_contrast,
    image_limits,
    log_limits,
    new_figure,
    round_length,
    symmetric_limits,
)
from mrcdist.preview.overview_page import draw_overview, draw_panels
from mrcdist.preview.panels import Panel
from mrcdist.preview.preview import plan_preview
from mrcdist.reduce_api import MeanPattern
from mrcdist.testing.acquisition import write_acquisition
from mrcdist.testing.specimen import crystal_frames
from tests.support.mrc_files import counting, mrc_bytes, write_mrc


def axes_of(shape, units=("nm", "nm"), scales=(0.5, 2.0)):
    return [
        Axis(name, size, navigate=True, scale=scale, units=unit)
        for name, size, unit, scale in zip("yx", shape, units, scales, strict=True)
    ]


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=40),
    st.sampled_from(["f4", "f2", "f8"]),
)
def test_lower_limit_is_below_the_upper_limit_for_any_image(values, dtype):
    with np.errstate(over="ignore"):
        image = np.array(values, dtype)[None]
    low, high = image_limits(image)
    assert low < high
    limits = log_limits(image)
    assert limits is None or 0 < limits[0] < limits[1] <= limits[0] * 2001


def test_single_electrons_are_visible_in_a_counted_pattern():
    pattern = np.zeros((64, 64), np.uint16)
    pattern[::3, ::3] = 1
    pattern[30:34, 30:34] = 200
    low, high = log_limits(pattern)
    assert 0 < low < 1
    assert high == 200


def test_hot_pixels_do_not_affect_the_contrast():
    image = np.random.default_rng(0).normal(100, 5, (64, 64))
    image[3, 3] = 1e9
    low, high = image_limits(image)
    assert 80 < low < 95
    assert 105 < high < 120


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_downsampled_images_are_means_of_neighbours(rows, columns, max_pixels):
    image = np.random.default_rng(4).integers(0, 999, (rows, columns)).astype(np.uint16)
    means = downsample(image, max_pixels)
    steps = [-(-size // max_pixels) for size in image.shape]
    assert max(means.shape) <= max_pixels
    for (i, j), value in np.ndenumerate(means):
        block = image[i * steps[0] : (i + 1) * steps[0], j * steps[1] : (j + 1) * steps[1]]
        np.testing.assert_allclose(value, block.mean())


@given(st.lists(st.floats(-1e6, 1e6) | st.just(np.nan), min_size=1, max_size=9))
def test_signed_limits_are_symmetric(values):
    low, high = symmetric_limits(np.array(values))
    assert -low == high > 0


def test_one_bright_point_on_a_uniform_background_is_visible():
    values = np.zeros(1000)
    values[7] = 3
    assert image_limits(values) == (0, 3)


@given(width=st.floats(1e-6, 1e9))
def test_length_of_the_scale_bar_is_round_and_fits(width):
    length = round_length(0.3 * width)
    digits = f"{length:.6e}"
    assert digits[0] in "125"
    assert set(digits[2:8]) == {"0"}
    assert 0.1 * width < length <= 0.3 * width


def test_phases_are_subsampled_not_averaged():
    phases = np.tile([3.1, -3.1], (2100, 1050))
    drawn = draw_image(
        new_figure(2, 2).subplots(), phases, *axes_of(phases.shape), title="", contrast="phase"
    )
    assert drawn.get_array().shape == (700, 700)
    assert set(np.unique(drawn.get_array())) == {3.1, -3.1}
    assert (drawn.norm.vmin, drawn.norm.vmax) == (-np.pi, np.pi)


def test_large_images_are_averaged_to_the_resolution_of_a_screen():
    image = np.arange(2048.0 * 3).reshape(3, 2048)
    drawn = draw_image(new_figure(2, 2).subplots(), image, *axes_of(image.shape), title="")
    np.testing.assert_array_equal(drawn.get_array(), (image[:, ::2] + image[:, 1::2]) / 2)
    assert tuple(drawn.get_extent()) == (-0.5, 2047.5, 2.5, -0.5)


class TestShape:
    def test_pixels_have_the_aspect_ratio_of_their_calibration(self):
        assert extents(*axes_of((4, 6))) == (2.0, 12.0)
        drawn = draw_image(new_figure(2, 2).subplots(), np.ones((4, 6)), *axes_of((4, 6)), title="")
        assert drawn.axes.get_aspect() == 0.25

    @pytest.mark.parametrize(
        ("units", "scales"),
        [(("nm", "nm^-1"), (1, 2)), ((None, None), (1, 2)), (("nm",) * 2, (0, 2))],
    )
    def test_pixels_are_square_if_units_differ_or_are_unknown(self, units, scales):
        assert extents(*axes_of((4, 6), units, scales)) == (4.0, 6.0)

    def test_pixels_are_square_if_an_axis_has_uneven_steps(self):
        y, x = axes_of((3, 6))
        assert extents(dataclasses.replace(y, values=(0.0, 1.0, 9.0)), x) == (3.0, 6.0)


def bar_of(axes):
    """Return the label of a scale bar, and its length in pixels of the image."""
    [box] = [artist for artist in axes.artists if isinstance(artist, AnchoredOffsetbox)]
    text, bar = box.get_child().get_children()
    [line] = bar.get_children()
    return text.get_text(), float(np.ptp(line.get_xdata()))


def appearance_of(axes):
    """Return everything that determines the appearance of an image."""
    [image] = axes.images
    norm = image.norm
    return {
        "norm": (type(norm), norm.vmin, norm.vmax),
        "colours": (image.get_cmap().name, tuple(image.get_cmap().get_bad())),
        "pixels": image.get_array().tolist(),
        "interpolation": image.get_interpolation(),
        "extent": image.get_extent(),
        "aspect": axes.get_aspect(),
        "bar": bar_of(axes),
    }


@pytest.mark.parametrize(
    ("name", "contrast"), [("bright field", "linear"), ("mean pattern", "log")]
)
def test_image_looks_the_same_in_a_preview_and_in_a_result(tmp_path, name, contrast):
    scan, frame = (12, 20), (32, 24)
    acquisition = write_acquisition(
        tmp_path, scan_shape=scan, frame_shape=frame, frames=crystal_frames(scan, frame)
    )
    preview = plan_preview(plan_mrc(acquisition.movie))
    panels = preview.panels()
    [number] = [i for i, panel in enumerate(panels) if panel.name == name]
    panel = panels[number]
    axes = preview.plan.axes[:2] if contrast == "linear" else preview.plan.axes[2:]
    result = Result(name, panel.image, axes, contrast=contrast)

    in_preview = draw_overview(panels, title="", lines=[], planes=False).axes[number]
    in_result = result_figure(result).axes[0]
    assert appearance_of(in_preview) == appearance_of(in_result)
    limits = (image_limits if contrast == "linear" else log_limits)(panel.image)
    assert appearance_of(in_result)["norm"][1:] == limits
    label, length = bar_of(in_result)
    assert label.endswith(" nm" if contrast == "linear" else " nm⁻¹")
    assert 0.1 * axes[1].size < length <= 0.3 * axes[1].size


class TestPatterns:
    """Diffraction patterns with counts are drawn on a logarithmic scale."""

    @pytest.mark.parametrize(
        ("names", "units", "patterns"),
        [
            (["y", "x", "ky", "kx"], None, True),
            (["point", "ky", "kx"], None, True),
            (["scan_y", "scan_x", "y", "x"], "nm", True),
            (["scan_y", "scan_x", "y", "x"], None, True),
            (["z", "y", "x"], "nm", False),
            (["z", "y", "x"], None, False),
            (["z", "y", "x"], "nm^-1", True),
            (["z", "y", "x"], "mrad", True),
            (["y", "x"], "nm", False),
        ],
    )
    def test_frames_with_reciprocal_axes_or_of_a_scan_are_patterns(self, names, units, patterns):
        axes = [
            Axis(name, 4, navigate=i < len(names) - 2, units=units) for i, name in enumerate(names)
        ]
        assert frames_are_patterns(axes) is patterns

    def test_axes_of_a_scan_are_found_among_others(self):
        axes = [
            Axis(name, 2, navigate=name in ("y", "t", "x")) for name in ("y", "t", "x", "ky", "kx")
        ]
        assert scan_plane(axes) == (0, 2)
        assert scan_plane(axes[3:]) is None

    def test_brightness_of_a_pattern_without_counts_is_linear(self):
        assert not isinstance(colour_norm(np.zeros((4, 4)), "log"), LogNorm)
        assert isinstance(colour_norm(counting((1, 4, 4), "uint16"), "log"), LogNorm)


class TestLabels:
    """Text from files is drawn literally: no mathtext, no control characters."""

    LABEL = "a$\\frac{1}{2}$ \x1b[31mred\x07 \\$5"
    DRAWN = "a$\\frac{1}{2}$ \\x1b[31mred\\x07 \\$5"

    @staticmethod
    def drawn(figure):
        """Draw a figure and return all its text; fail if any is parsed as mathtext."""
        from matplotlib.text import Text

        figure.draw_without_rendering()
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        parsed = [text._preprocess_math(text.get_text()) for text in texts]
        assert not any(math for _, math in parsed)
        return [text for text, _ in parsed]

    def test_title_and_units_are_drawn_literally(self):
        axes = axes_of((4, 6), units=("$x$", "$x$"))
        figure = new_figure(4, 4)
        draw_image(figure.subplots(), np.ones((4, 6)), *axes, title=self.LABEL)
        drawn = self.drawn(figure)
        assert self.DRAWN in drawn
        assert "2 $x$" in drawn

    def test_units_of_a_result_are_drawn_literally(self):
        result = Result("a_b", np.ones((4, 6)), tuple(axes_of((4, 6))), units=("$e$",))
        assert "$e$" in self.drawn(result_figure(result))

    def test_labels_of_a_header_are_drawn_literally(self, memory_file):
        raw = bytearray(mrc_bytes(counting((1, 5, 6), "int16")))
        label = b"tilt $\\frac$ \x1b[2J"
        raw[220:224] = (1).to_bytes(4, "little")
        raw[224 : 224 + len(label)] = label
        preview = plan_preview(plan_mrc(memory_file(bytes(raw), "a$b$.mrc")))
        [title, lines] = [
            text
            for text in self.drawn(preview.figure(preview.panels()))
            if "a$b$.mrc" in text or "label" in text
        ]
        assert title == "a$b$.mrc"
        assert "tilt $\\frac$ \\x1b[2J" in lines


def crystal(n_frames, side=48):
    """Return patterns of a crystal: a bright disk, and single counts around it."""
    frame = crystal_frames((1, n_frames), (side, side))
    return np.stack([frame(i) for i in range(n_frames)])


def counted(rate, dtype="<u2"):
    """Return evenly lit images of a camera that counts electrons."""
    return np.random.default_rng(1).poisson(rate, (6, 96, 96)).astype(dtype)


def with_hot_pixels(images):
    images[:, 17, (3, 80)] = 60_000
    return images


def tomogram():
    """Return noise around zero with a gold bead."""
    volume = np.random.default_rng(2).normal(0, 10, (6, 96, 96)).astype("<f4")
    volume[:, 40:46, 50:56] += 300
    return volume


STACKS = {
    "patterns": (crystal(6), {}, "log"),
    "patterns of floats": (crystal(6).astype("<f4"), {}, "log"),
    "patterns with the space group of a volume": (crystal(6), {"ispg": 1}, "log"),
    "patterns with 1 Å per pixel, a placeholder": (crystal(6), {"cell": (48, 48, 6)}, "log"),
    "long stack": (crystal(1200, 16), {"cell": (30, 30, 0)}, "log"),
    "long stack with negative values": (-crystal(1200, 16).astype("<i2"), {}, "linear"),
    "bright particles with a pixel size": (crystal(6), {"cell": (96, 96, 0)}, "linear"),
    "movie": (counted(8), {}, "linear"),
    "movie with few electrons": (counted(0.02), {}, "linear"),
    "movie with hot pixels": (with_hot_pixels(counted(1)), {}, "linear"),
    "tomogram": (tomogram(), {"ispg": 1}, "linear"),
    "blank images": (np.zeros((6, 24, 24), "<u2"), {}, "linear"),
}


@pytest.mark.parametrize("kind", STACKS)
def test_patterns_of_a_stack_are_logarithmic_in_a_preview_and_in_a_mean(tmp_path, kind):
    stack, header, contrast = STACKS[kind]
    path = write_mrc(tmp_path / "stack.mrc", stack, **header)
    preview = plan_preview(plan_mrc(path))
    panels = preview.panels()
    assert {panel.contrast for panel in panels} == {contrast}
    mean = reduce_frames(path, {"mean": MeanPattern()}, progress=False)["mean"]
    assert mean.contrast == contrast
    for figure in (preview.figure(panels), result_figure(mean)):
        images = [image for axes in figure.axes for image in axes.images]
        # A frame without counts is linear.
        assert any(isinstance(image.norm, LogNorm) for image in images) == (contrast == "log")


def test_brightness_of_a_single_image_is_linear():
    axes = [Axis(name, 48, navigate=False) for name in "yx"]
    assert frame_contrast(axes, crystal(1)[0]) == "linear"


@pytest.mark.parametrize("shape", [(80, 64), (4, 200)], ids=str)
@pytest.mark.parametrize("contrast", ["log", "signed"])
@pytest.mark.parametrize("count", [1, 2])
def test_labels_of_colour_bars_are_inside_the_figure(shape, contrast, count):
    image = np.random.default_rng(0).exponential(size=shape)
    label = "nm⁻¹ from the median, −0.02721 nm⁻¹"
    panel = Panel("a", "a", image, *axes_of(shape, scales=(1.0, 1.0)), contrast, quantity=label)
    figure = draw_panels([panel] * count)
    figure.draw_without_rendering()
    right, top = figure.bbox.max
    labels = [bar.yaxis.label for axes in figure.axes for bar in axes.child_axes]
    boxes = [text.get_window_extent() for text in labels]
    assert len(boxes) == count
    assert all(box.x1 < right and box.y0 > 0 and box.y1 < top for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
