"""`browse`: a click reads one frame, moving the detector reads nothing; compared with numpy."""

from __future__ import annotations

import gzip
import shlex
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
from matplotlib.backend_bases import KeyEvent, MouseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from demo.field import demo_frames
from mrcdist import (
    ArgumentError,
    MissingExtraError,
    MissingFileError,
    MrcdistWarning,
    browse,
    plan_mrc,
    read_mrc,
)
from mrcdist.cli.batch import virtual
from mrcdist.cli.options import FILE_OPTIONS, plan_from_options
from mrcdist.interop.rosettasciio import axes_dicts
from mrcdist.read_plan import to_dask
from mrcdist.stats import snapshot
from mrcdist.storage.redact import redact
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, write_mrc

SHAPE, FRAME = (8, 9), (32, 24)
FRAME_BYTES = 32 * 24 * 2


@pytest.fixture(scope="module")
def movie(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browse")
    frames = demo_frames(SHAPE, FRAME)
    return write_acquisition(folder, scan_shape=SHAPE, frame_shape=FRAME, frames=frames).movie


@pytest.fixture(scope="module")
def data(movie):
    return np.fromfile(movie, "<u2", offset=1024).reshape(*SHAPE, *FRAME)


def new_figure():
    figure = Figure(figsize=(10, 5))
    FigureCanvasAgg(figure)
    return figure


@pytest.fixture
def browser(movie):
    """A browser that has read every second scan point: 20 frames."""
    browser = browse(plan_mrc(movie), budget=20 * FRAME_BYTES, figure=new_figure())
    browser.figure.canvas.draw()
    return browser


def mouse(browser, name, panel, y, x, **options):
    """Send a mouse event at a position in data coordinates of a panel."""
    x_pixels, y_pixels = browser.figure.axes[panel].transData.transform((x, y))
    event = MouseEvent(name, browser.figure.canvas, x_pixels, y_pixels, **options)
    browser.figure.canvas.callbacks.process(name, event)


def drag(browser, panel, *points):
    mouse(browser, "button_press_event", panel, *points[0], button=1)
    for point in points[1:]:
        mouse(browser, "motion_notify_event", panel, *point, button=1)
    mouse(browser, "button_release_event", panel, *points[-1], button=1)


def expected(data, detector, step=2):
    """Return the mean over the detector's pixels of each frame on the grid."""
    y, x = np.indices(FRAME)
    distance = np.hypot(y - detector.cy, x - detector.cx)
    mask = (distance >= detector.inner) & (distance <= detector.outer)
    return data[0::step, 0::step, mask].mean(axis=-1)


def test_navigator_starts_with_the_bright_field_of_a_sparse_grid(movie, data):
    before = snapshot()
    browser = browse(plan_mrc(movie), budget=20 * FRAME_BYTES, figure=new_figure())
    assert (snapshot() - before).nbytes == 20 * FRAME_BYTES
    assert browser.virtual_image.shape == (4, 5)
    np.testing.assert_allclose(browser.virtual_image, expected(data, browser.detector))
    disk = browser.detector
    assert abs(disk.cy - 16) < 2
    assert abs(disk.cx - 12) < 2
    assert disk.inner == 0


def test_click_shows_the_pattern_of_a_point_and_reads_one_frame(browser, data):
    before = snapshot()
    mouse(browser, "button_press_event", 0, 3.2, 6.9, button=1)
    assert browser.position == (3, 7)
    np.testing.assert_array_equal(browser.pattern, data[3, 7])
    assert (snapshot() - before).nbytes == FRAME_BYTES
    assert "y 3, x 7" in browser.figure.axes[1].get_title()


def test_points_of_the_grid_and_recent_points_are_not_read_again(browser, data):
    mouse(browser, "button_press_event", 0, 3, 7, button=1)
    before = snapshot()
    drag(browser, 0, (3, 7), (2, 4), (3, 7))
    assert browser.position == (3, 7)
    np.testing.assert_array_equal(browser.pattern, data[3, 7])
    assert snapshot() == before


def test_dragging_in_the_navigator_shows_each_point_until_release(browser, data):
    drag(browser, 0, (1, 1), (1, 3), (5, 3))
    assert browser.position == (5, 3)
    np.testing.assert_array_equal(browser.pattern, data[5, 3])
    mouse(browser, "motion_notify_event", 0, 0, 0)
    assert browser.position == (5, 3)


def test_dragging_the_circle_moves_the_detector_and_reads_nothing(browser, data):
    browser.place_detector(16, 12, 4)
    before = snapshot()
    drag(browser, 1, (17, 12), (18, 13), (21, 15))
    detector = browser.detector
    np.testing.assert_allclose((detector.cy, detector.cx, detector.outer), (20, 15, 4))
    np.testing.assert_allclose(browser.virtual_image, expected(data, detector))
    assert snapshot() == before


def test_dragging_a_rim_resizes_and_a_press_elsewhere_moves_the_circle_there(browser, data):
    browser.place_detector(16, 12, 6, 3)
    drag(browser, 1, (16, 18), (16, 21))
    np.testing.assert_allclose((browser.detector.outer, browser.detector.inner), (9, 3))
    drag(browser, 1, (16, 15), (16, 17))
    np.testing.assert_allclose((browser.detector.outer, browser.detector.inner), (9, 5))
    drag(browser, 1, (4, 4), (5, 6))
    np.testing.assert_allclose((browser.detector.cy, browser.detector.cx), (5, 6))
    np.testing.assert_allclose(browser.virtual_image, expected(data, browser.detector))


def test_scrolling_resizes_and_a_key_toggles_the_annulus(browser):
    browser.place_detector(16, 12, 4)
    mouse(browser, "scroll_event", 1, 16, 12, step=1)
    assert browser.detector.outer > 4
    press = KeyEvent("key_press_event", browser.figure.canvas, "a")
    browser.figure.canvas.callbacks.process("key_press_event", press)
    assert 0 < browser.detector.inner < browser.detector.outer
    browser.figure.canvas.callbacks.process("key_press_event", press)
    assert browser.detector.inner == 0


def test_errors_in_callbacks_are_shown_in_the_title(tmp_path):
    movie = write_acquisition(tmp_path, scan_shape=SHAPE, frame_shape=FRAME).movie
    plan = plan_mrc(movie)
    browser = browse(plan, budget=20 * FRAME_BYTES, figure=new_figure())
    movie.unlink()
    with pytest.raises(MissingFileError) as caught:
        plan.source[3, 7]
    mouse(browser, "button_press_event", 0, 3, 7, button=1)
    assert browser.figure.axes[1].get_title() == caught.value.problem


def test_closed_browser_ignores_events(browser):
    browser.close()
    position = browser.position
    mouse(browser, "button_press_event", 0, 7, 7, button=1)
    assert browser.position == position


def test_command_computes_the_virtual_image_of_the_whole_file(browser, movie):
    browser.place_detector(16, 12.5, 8, 3)
    expected = f"mrcdist virtual {movie} --detector annulus:16,12.5,3,8 --out virtual.npy"
    assert browser.command == expected
    browser.place_detector(16, 12.5, 8)
    assert "circle:16,12.5,8 --out" in browser.command


@pytest.mark.parametrize(
    ("columns", "rows", "skipped"), [(8, 8, 8), (8, 8, (0, 1)), (9, 7, 9), (6, 10, (2, 0))]
)
def test_patterns_are_those_of_the_plan_with_skipped_frames(movie, columns, rows, skipped):
    options = {"metadata_file": None, "navigation_shape": (columns, rows), "skip_frames": skipped}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        plan = plan_mrc(movie, **options)
    for budget in (2 * movie.stat().st_size, 20 * FRAME_BYTES):
        browser = browse(plan, budget=budget, figure=new_figure())
        browser.show(rows - 1, columns - 1)
        expected = plan.to_dask()[-1, -1].compute()
        np.testing.assert_array_equal(browser.pattern, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"metadata_file": None, "navigation_shape": [8, 9]},
        {"metadata_file": None, "navigation_shape": (8, -1), "chunks": (3, -1, -1, -1)},
        {"chunks": "1 MiB", "allow_truncated": True, "endianness": ">", "scan_file": None},
        {"skip_frames": (-1, 0), "allow_truncated": True},
        {"skip_frames": (np.int64(0), 0), "chunks": {0: 2, 1: "auto", 2: -1}},
        {"metadata_file": None, "navigation_shape": np.array([9, 8])},
        {"chunks": ((3, 5), (9,), (32,), (20, 4))},
    ],
    ids=str,
)
@pytest.mark.parametrize("secret", [None, "never shown"])
def test_command_makes_the_same_plan(tmp_path, monkeypatch, secret, options):
    folder = tmp_path / "with a space"
    folder.mkdir()
    movie = write_acquisition(folder, scan_shape=SHAPE, frame_shape=FRAME).movie
    stored = {
        "auto_mkdir": True,
        "names": ["a b", {"c": 1}],
        "target_options": {"name": "5", "secret": "never shown"},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        plan = plan_mrc(movie, storage_options=stored, **options)
        browser = browse(plan, budget=20 * FRAME_BYTES, figure=new_figure())
        mrcdist, name, *words = shlex.split(browser.command)
        if secret:
            monkeypatch.setenv("MRCDIST_STORAGE_TARGET_OPTIONS_SECRET", secret)
        parsed = virtual.make_context(name, words).params
        same = plan_from_options(**{key: parsed[key] for key in (*FILE_OPTIONS, "chunks")})
    assert (mrcdist, name, parsed["out"]) == ("mrcdist", "virtual", (Path("virtual.npy"),))
    assert (same.shape, same.axes, same.chunks) == (plan.shape, plan.axes, plan.chunks)
    assert same.options == plan.options
    if secret is None:  # the store may have its own
        del stored["target_options"]["secret"]
    assert parsed["storage_options"] == stored
    assert "never" not in browser.command


def test_command_contains_all_files_of_a_list(tmp_path):
    paths = []
    for name in ("b", "a c"):
        folder = tmp_path / name
        folder.mkdir()
        movie = write_acquisition(folder, scan_shape=SHAPE, frame_shape=FRAME).movie
        paths.append(movie.rename(tmp_path / f"{name}.mrc"))
    plan = plan_mrc(paths, metadata_file=None, navigation_shape=(9, 16))
    browser = browse(plan, budget=20 * FRAME_BYTES, figure=new_figure())
    _, name, *words = shlex.split(browser.command)
    parsed = virtual.make_context(name, words).params
    same = plan_from_options(**{key: parsed[key] for key in (*FILE_OPTIONS, "chunks")})
    assert [part.file.location.url for part in same.source.parts] == list(map(str, paths))
    assert (same.shape, same.options) == (plan.shape, plan.options)


def test_command_with_a_signed_url_names_the_variable_for_the_url(monkeypatch):
    monkeypatch.delenv("MRCDIST_URL", raising=False)
    signed = "https://server/a.mrc?sig=abc123def"
    shown = redact(signed)
    words = ["--detector", "bf", "--out", "a.npy", shown]
    with pytest.raises(click.UsageError, match="MRCDIST_URL to the whole URL"):
        virtual.make_context("virtual", list(words))
    monkeypatch.setenv("MRCDIST_URL", signed)
    assert virtual.make_context("virtual", list(words)).params["url"] == signed


def test_command_contains_the_navigation_shape_of_a_dataset(movie):
    [ds] = read_mrc(movie, metadata_file=None, navigation_shape=(8, 9))
    browser = browse(ds, budget=20 * FRAME_BYTES, figure=new_figure())
    assert f"{movie} --navigation-shape=8,9 --metadata-file=none --detector" in browser.command


def test_command_contains_the_shape_of_a_dataset_from_another_process(movie):
    plan = plan_mrc(movie, metadata_file=None, navigation_shape=(8, 9), chunks=(7, 5, -1, -1))
    ds = {"data": to_dask(plan.source, plan.chunks), "axes": axes_dicts(plan.axes)}
    browser = browse(ds, budget=20 * FRAME_BYTES, figure=new_figure())
    assert f"{movie} --navigation-shape=8,9 --detector" in browser.command


def test_browser_accepts_paths(movie):
    browser = browse(movie, figure=new_figure())
    assert browser.command.startswith(f"mrcdist virtual {movie} ")
    assert browse(str(movie), figure=new_figure()).virtual_image.shape == SHAPE


def test_backend_without_windows_causes_a_warning(movie):
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    with pytest.warns(MrcdistWarning, match="backend agg is not interactive"):
        plt.close(browse(movie).figure)


def test_invalid_positions_are_errors_and_change_nothing(browser):
    before = browser.position, browser.detector
    for action, words, argument in (
        (lambda: browser.show(8, 0), "no scan point", "y"),
        (lambda: browser.show(0, -1), "no scan point", "x"),
        (lambda: browser.place_detector(16, 12, 3, 4), "radii", "outer"),
        (lambda: browser.place_detector(16, 12, 3, -1), "radii", "inner"),
        (lambda: browser.place_detector(-90, 12, 3), "no pixel", "detector"),
    ):
        with pytest.raises(ArgumentError, match=words) as error:
            action()
        assert error.value.argument == argument
    assert (browser.position, browser.detector) == before


@pytest.mark.parametrize("inlined", [True, False], ids=["plain", "parts"])
def test_dataset_shows_the_same_as_its_plan(inlined, movie, data, tmp_path):
    if inlined:
        [ds] = read_mrc(movie, chunks=(3, 4, -1, -1))
    else:
        parts = write_acquisition(
            tmp_path,
            scan_shape=SHAPE,
            frame_shape=FRAME,
            frames=demo_frames(SHAPE, FRAME),
            parts=3,
        )
        [ds] = read_mrc(parts.movie)
    browser = browse(ds, figure=new_figure())
    browser.show(3, 7)
    np.testing.assert_array_equal(browser.pattern, data[3, 7])
    np.testing.assert_allclose(browser.virtual_image, expected(data, browser.detector, step=1))


def test_dataset_in_memory_is_accepted(movie, data):
    [ds] = read_mrc(movie, lazy=False, distributed=False)
    browser = browse(ds, budget=20 * FRAME_BYTES, figure=new_figure())
    np.testing.assert_allclose(browser.virtual_image, expected(data, browser.detector))
    browser.show(3, 7)
    np.testing.assert_array_equal(browser.pattern, data[3, 7])


def test_command_of_a_dataset_in_memory_reads_its_file_unless_copied(movie):
    [ds] = read_mrc(movie, lazy=False, chunks=(4, 9, -1, -1))
    command = browse(ds, figure=new_figure()).command
    assert command.startswith(f"mrcdist virtual {movie} --chunks=4,9,-1,-1 --detector")
    ds["data"] = ds["data"].copy()
    assert browse(ds, figure=new_figure()).command.startswith(f"mrcdist virtual {movie.name} ")


@pytest.mark.parametrize(
    "change",
    [lambda a: a + 1, lambda a: a[::-1], lambda a: a[:4], lambda a: a.rechunk((2, 2, -1, -1))],
    ids=["computed with", "reversed", "cropped", "rechunked"],
)
def test_modified_data_are_refused(change, movie):
    [ds] = read_mrc(movie)
    with pytest.raises(ArgumentError, match="modified after they were read") as raised:
        browse({**ds, "data": change(ds["data"])}, figure=new_figure())
    assert raised.value.argument == "data"


def test_data_that_are_not_a_scan_are_refused(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting((3, 4, 5), "int16"))
    with pytest.raises(ArgumentError, match="navigation_shape") as raised:
        browse(plan_mrc(path), figure=new_figure())
    assert raised.value.argument == "data"
    with pytest.raises(ArgumentError, match="plan_mrc") as raised:
        browse(["movie.mrc"], figure=new_figure())
    assert raised.value.argument == "data"


def test_compressed_stream_larger_than_the_budget_is_refused(movie, tmp_path):
    packed = tmp_path / "a.mrc.gz"
    packed.write_bytes(gzip.compress(movie.read_bytes()))
    with pytest.warns(match="gzip"):
        plan = plan_mrc(packed, navigation_shape=(9, 8))
    with pytest.raises(ArgumentError, match="decompress"):
        browse(plan, budget=4 * FRAME_BYTES, figure=new_figure())
    assert browse(plan, figure=new_figure()).virtual_image.shape == SHAPE


def test_missing_frames_are_blank_and_named_in_the_title(tmp_path):
    acquisition = write_acquisition(tmp_path, scan_shape=(4, 5), frame_shape=(8, 8), present=13)
    with pytest.warns(match="missing"):
        plan = plan_mrc(acquisition.movie, allow_truncated=True)
    browser = browse(plan, figure=new_figure())
    assert np.isnan(browser.virtual_image).sum() == 7
    browser.show(3, 4)
    assert "the file has none" in browser.figure.axes[1].get_title()
    assert not browser.pattern.any()


def test_error_without_ipympl_says_what_to_install(movie, monkeypatch):
    kernel = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    monkeypatch.setitem(sys.modules, "ipympl.backend_nbagg", None)
    with pytest.raises(MissingExtraError, match=r"\.\[notebook\]"):
        browse(plan_mrc(movie))


@pytest.mark.parametrize("scan_shape", [(4, 6), (5, 7)])
def test_browser_starts_at_the_same_point_for_a_file_and_for_its_data(
    tmp_path: Path, scan_shape: tuple[int, int]
) -> None:
    movie = write_acquisition(tmp_path, scan_shape=scan_shape, frame_shape=(8, 8)).movie
    [data] = read_mrc(movie, lazy=False)
    ny, nx = scan_shape
    for source in (movie, data):
        assert browse(source, figure=new_figure()).position == (ny // 2, nx // 2)
