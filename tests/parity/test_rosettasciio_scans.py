"""Comparison with RosettaSciIO on acquisitions: one test per row of docs/rosettasciio.md."""

from __future__ import annotations

import inspect
import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import mrcdist
from mrcdist import SidecarError
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import all_frames, frames_of
from tests.support.parity_table import ParityTable, require_rosettasciio

rosettasciio = require_rosettasciio()
table = ParityTable("Direct Electron acquisitions")
same, differs = table.same, table.differs
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # RosettaSciIO leaves files open

SCAN = (3, 4)
FRAME = (5, 7)
# RosettaSciIO cannot read our scans without it: see the row "repeat delay".
NO_REPEAT_DELAY = {"Scan - Repeat Delay (seconds)": "0"}


def load_rosettasciio(written, **options):
    [dataset] = rosettasciio(str(written.movie), **options)
    return dataset


def load_mrcdist(written, **options):
    [dataset] = mrcdist.file_reader(written.movie, **options)
    return dataset


def load_both(written, **options):
    return load_rosettasciio(written, **options), load_mrcdist(written, **options)


def scan(folder, *, sidecar=None, **options):
    options = {"scan_shape": SCAN, "frame_shape": FRAME, **options}
    return write_acquisition(folder, sidecar={**NO_REPEAT_DELAY, **(sidecar or {})}, **options)


def image(value):
    return value + np.arange(12, dtype="float32").reshape(SCAN)


def axis_values(dataset, key):
    return [axis.get(key) for axis in dataset["axes"]]


def images_of(dataset):
    return dataset["metadata"]["_HyperSpy"]["navigators"]


@same("default of `metadata_file`")
def test_metadata_file_defaults_to_auto_in_both_readers(tmp_path):
    defaults = {
        inspect.signature(reader).parameters["metadata_file"].default
        for reader in (rosettasciio, mrcdist.file_reader, mrcdist.read_mrc, mrcdist.plan_mrc)
    }
    assert defaults == {"auto"}
    written = scan(tmp_path)
    [dataset] = mrcdist.file_reader(written.movie)
    assert load_rosettasciio(written)["data"].shape == dataset["data"].shape == (*SCAN, *FRAME)
    [plain] = mrcdist.file_reader(written.movie, metadata_file=None)
    assert (
        load_rosettasciio(written, metadata_file=None)["data"].shape
        == plain["data"].shape
        == (12, *FRAME)
    )


@same("pixels of a scan")
@pytest.mark.parametrize("options", [{}, {"scan_shape": (9, 9), "roi": SCAN}, {"server": "2.7"}])
@pytest.mark.parametrize("lazy", [True, False])
def test_both_readers_return_the_same_pixels_of_a_scan(tmp_path, options, lazy):
    written = scan(tmp_path, **options)
    for dataset in load_both(written, lazy=lazy):
        assert dataset["data"].dtype == np.uint16
        np.testing.assert_array_equal(np.asarray(dataset["data"]), all_frames(written))


@same("axes of a scan")
def test_both_readers_return_the_same_axes_of_a_scan(tmp_path):
    for dataset in load_both(scan(tmp_path)):
        assert axis_values(dataset, "name") == ["y", "x", "ky", "kx"]
        assert axis_values(dataset, "size") == [*SCAN, *FRAME]
        assert axis_values(dataset, "units") == ["nm", "nm", "nm^-1", "nm^-1"]
        assert axis_values(dataset, "navigate") == [True, True, False, False]
        assert axis_values(dataset, "index_in_array") == [0, 1, 2, 3]


@same("lines of the sidecar")
def test_both_readers_return_the_same_lines_of_the_sidecar(tmp_path, real_data):
    theirs, ours = load_both(scan(tmp_path))
    assert theirs["original_metadata"]["de_metadata"] == ours["original_metadata"]["de_metadata"]
    real = real_data / "20241021_00405_movie.mrc"
    [theirs] = rosettasciio(str(real))
    [ours] = mrcdist.read_mrc(real)
    assert theirs["original_metadata"]["de_metadata"] == ours["original_metadata"]["de_metadata"]
    np.testing.assert_array_equal(theirs["data"], ours["data"].compute())


@same("images")
def test_both_readers_return_the_same_images_and_navigator(tmp_path, monkeypatch):
    sort_listings(monkeypatch)
    theirs, ours = load_both(
        scan(
            tmp_path,
            virtual_images={"BF": image(1), "DF": image(2)},
            external_images={"Ext": image(3)},
        )
    )
    assert set(images_of(theirs)) == set(images_of(ours)) == {"_sig_BF", "_sig_DF", "_sig_Ext"}
    for name, signal in images_of(theirs).items():
        np.testing.assert_array_equal(signal["data"], images_of(ours)[name]["data"])
    for dataset in (theirs, ours):
        navigator = dataset["metadata"]["_HyperSpy"]["_sig_navigator"]
        np.testing.assert_array_equal(navigator["data"], image(1))


@differs("calibration of a scan")
def test_scan_is_calibrated_only_by_mrcdist(tmp_path):
    theirs, ours = load_both(scan(tmp_path))
    assert axis_values(theirs, "scale") == [1.0] * 4
    assert axis_values(ours, "scale") == [0.5, 0.4, 0.1, 0.08]


@differs("offsets of a scan")
def test_axes_of_a_scan_have_offsets_only_in_mrcdist(tmp_path):
    theirs, ours = load_both(scan(tmp_path))
    assert set(ours["axes"][0]) - set(theirs["axes"][0]) == {"offset"}
    assert axis_values(theirs, "offset") == [None] * 4
    assert axis_values(ours, "offset") == [0.0] * 4


@differs("repeat delay")
def test_repeat_delay_is_added_as_a_number_only_by_mrcdist(tmp_path):
    seconds = {"Scan - Time (seconds)": "2", "Scan - Repeat Delay (seconds)": "0.5"}
    written = scan(tmp_path, repeats=2, sidecar=seconds)
    assert (
        load_rosettasciio(written)["axes"][0]["name"] == "y"
    )  # "2" + "0.5" = "20.5" happens to be a number
    assert load_mrcdist(written)["axes"][0]["scale"] == 2.5
    written = scan(tmp_path, repeats=2, sidecar={**seconds, "Scan - Time (seconds)": "2.0"})
    with pytest.raises(ValueError, match=r"2\.00\.5"):
        load_rosettasciio(written)
    assert load_mrcdist(written)["axes"][0]["scale"] == 2.5


@differs("repeats")
def test_repeats_become_an_axis_only_in_mrcdist(tmp_path):
    written = scan(tmp_path, repeats=2)
    theirs, ours = load_both(written)
    np.testing.assert_array_equal(theirs["data"], all_frames(written)[0])
    np.testing.assert_array_equal(ours["data"], all_frames(written))
    assert axis_values(ours, "name")[0] == "repeat"


@differs("point repeats")
@pytest.mark.parametrize("server", ["2.7", "new"])
def test_point_repeats_become_an_axis_only_in_mrcdist(tmp_path, server):
    written = scan(tmp_path, point_repeats=2, server=server)
    theirs, ours = load_both(written)
    np.testing.assert_array_equal(theirs["data"], frames_of(np.arange(12).reshape(SCAN), written))
    np.testing.assert_array_equal(ours["data"], all_frames(written))
    assert axis_values(ours, "name")[2] == "point_repeat"


@differs("more frames than points")
def test_more_frames_than_points_are_an_error_only_in_mrcdist(tmp_path):
    written = scan(tmp_path, present=15)
    assert load_rosettasciio(written)["data"].shape == (*SCAN, *FRAME)
    with pytest.raises(SidecarError, match=r"12 points.* 15 frames"):
        load_mrcdist(written)


@differs("fewer frames than points")
def test_scan_with_missing_frames_can_be_read_only_by_mrcdist(tmp_path):
    written = scan(tmp_path, present=7)
    with pytest.raises(ValueError, match="mmap length"):
        load_rosettasciio(written)
    with pytest.raises(SidecarError, match=r"12 points.* 7 frames"):
        load_mrcdist(written)
    with pytest.warns(mrcdist.MrcdistWarning, match="5 of 12"):
        partial = load_mrcdist(written, allow_truncated=True)
    np.testing.assert_array_equal(partial["data"], all_frames(written))


@differs("scan in TEM mode")
def test_scan_in_tem_mode_is_read_as_a_scan_only_by_mrcdist(tmp_path):
    theirs, ours = load_both(scan(tmp_path, sidecar={"Instrument Project TEMorSTEM Mode": "0"}))
    assert axis_values(theirs, "name") == ["time", "ky", "kx"]
    assert axis_values(ours, "name") == ["y", "x", "ky", "kx"]


@differs("long `navigation_shape`")
@pytest.mark.parametrize("shape", [(2, 2, 3, 1), (2, 1, 3, 2)])
def test_axes_agree_with_a_long_navigation_shape_only_in_mrcdist(tmp_path, shape):
    theirs, ours = load_both(scan(tmp_path), navigation_shape=shape)
    assert theirs["data"].shape == ours["data"].shape
    assert axis_values(theirs, "size") != list(theirs["data"].shape)
    assert axis_values(ours, "size") == list(ours["data"].shape)


@differs("time axis of a movie")
def test_time_axis_of_a_movie_is_correct_only_in_mrcdist(tmp_path):
    sums = {"Autosave Movie Sum Count": "4", "Frames Per Second": "100"}
    theirs, ours = load_both(scan(tmp_path, scan=False, sidecar=sums))
    assert axis_values(theirs, "scale") == [str(1 / 400), "0.1", "0.08"]
    assert axis_values(ours, "scale") == [pytest.approx(0.04), 0.1, 0.08]
    assert (theirs["axes"][0]["units"], ours["axes"][0]["units"]) == ("sec", "s")
    np.testing.assert_array_equal(theirs["data"], ours["data"])


@differs("grid of a custom scan")
def test_grid_of_a_custom_scan_is_that_of_the_sidecar_only_in_mrcdist(tmp_path):
    points = np.array([[0, 0], [2, 1], [1, 0], [0, 1]])
    theirs, ours = load_both(scan(tmp_path, custom_points=points))
    assert theirs["data"].shape == (2, 3, *FRAME)
    assert ours["data"].shape == (*SCAN, *FRAME)
    np.testing.assert_array_equal(theirs["data"], ours["data"][:2, :3])
    assert not ours["data"][2:].any()


@differs("custom scans in other chunks")
def test_custom_scan_can_have_any_chunks_only_in_mrcdist(tmp_path):
    points = np.array([[x, y] for y in range(3) for x in range(4)])
    written = scan(tmp_path, custom_points=points[::-1])
    theirs, ours = load_both(written)
    np.testing.assert_array_equal(theirs["data"], ours["data"])
    for chunks in ((1, 2, -1, -1), (3, 4, *FRAME), (2, 3, 2, 3)):
        with pytest.raises((IndexError, ValueError)):
            load_rosettasciio(written, chunks=chunks)
        np.testing.assert_array_equal(load_mrcdist(written, chunks=chunks)["data"], ours["data"])


@differs("lists of scan points that do not fit")
def test_lists_of_scan_points_that_do_not_fit_are_always_errors_in_mrcdist(tmp_path):
    points = [(x, y) for y in range(3) for x in range(4)]
    written = scan(tmp_path, custom_points=np.array(points))
    whole = all_frames(written).reshape(*SCAN, *FRAME)

    def write_points(*points, suffix=""):
        lines = [f"{x},{y}\n" for x, y in points]
        written.scan_points.write_text("".join(lines) + suffix)

    write_points(*points[:-1])
    theirs = load_rosettasciio(written)["data"]
    np.testing.assert_array_equal(theirs.reshape(-1, *FRAME)[:-1], whole.reshape(-1, *FRAME)[:-1])
    assert not theirs[-1, -1].any()  # the last frame is dropped
    with pytest.raises(SidecarError, match="11 points, but the movie has 12 frames"):
        load_mrcdist(written)
    write_points((-1, -1), *points[1:-1])
    np.testing.assert_array_equal(load_rosettasciio(written)["data"][-1, -1], whole[0, 0])
    write_points((-1, -1), *points[1:])
    with pytest.raises(SidecarError, match="x = -1, y = -1, outside the grid"):
        load_mrcdist(written)
    for listed, suffix, message in (
        ([*points, (0, 0)], "", "13 points, but the movie has 12 frames"),
        (points[:-1], "1,x\n", "not two whole numbers"),
    ):
        write_points(*listed, suffix=suffix)
        with pytest.raises(ValueError, match=r"mmap length|could not convert"):
            load_rosettasciio(written)
        with pytest.raises(SidecarError, match=message):
            load_mrcdist(written)
    written.scan_points.unlink()
    with pytest.raises(ValueError, match="required"):
        load_rosettasciio(written)
    with pytest.raises(SidecarError, match="no list of scan points was found"):
        load_mrcdist(written)


@differs("`scan_file`")
def test_scan_file_takes_precedence_only_in_mrcdist(tmp_path):
    points = np.array([[x, y] for y in range(3) for x in range(4)])
    written = scan(tmp_path / "own", custom_points=points)
    other = scan(tmp_path / "other", custom_points=points[::-1])
    theirs, ours = load_both(written, scan_file=str(other.scan_points))
    np.testing.assert_array_equal(theirs["data"], all_frames(written).reshape(*SCAN, *FRAME))
    np.testing.assert_array_equal(ours["data"], theirs["data"][::-1, ::-1])
    np.testing.assert_array_equal(
        load_rosettasciio(written, scan_file=None)["data"], theirs["data"]
    )
    with pytest.raises(SidecarError, match="scan_file=None"):
        load_mrcdist(written, scan_file=None)
    defaults = [
        inspect.signature(reader).parameters["scan_file"].default
        for reader in (rosettasciio, mrcdist.file_reader)
    ]
    assert defaults == [None, "auto"]


@differs("custom scan with repeats")
def test_custom_scan_with_repeats_has_a_repeat_axis_only_in_mrcdist(tmp_path):
    points = np.array([[0, 0], [3, 2], [0, 0], [1, 1]])
    theirs, ours = load_both(scan(tmp_path, custom_points=points))
    assert axis_values(theirs, "name")[:3] == ["time", "y", "x"]
    assert axis_values(ours, "name")[:3] == ["y", "x", "repeat"]
    assert axis_values(theirs, "size") == axis_values(ours, "size") == [*SCAN, 2, *FRAME]
    np.testing.assert_array_equal(theirs["data"], ours["data"])


def sort_listings(monkeypatch, *, reverse=False):
    """Sort the listings of folders that RosettaSciIO sees; otherwise the order is the disk's."""
    glob = inspect.getmodule(inspect.unwrap(rosettasciio)).glob
    unsorted = glob.glob
    monkeypatch.setattr(glob, "glob", lambda pattern: sorted(unsorted(pattern), reverse=reverse))


@differs("names of images")
def test_images_have_their_own_names_in_any_listing_order_only_in_mrcdist(tmp_path, monkeypatch):
    sort_listings(monkeypatch, reverse=True)
    theirs, ours = load_both(scan(tmp_path, virtual_images={"BF": image(1), "DF": image(2)}))
    for dataset, first in ((theirs, "_sig_DF"), (ours, "_sig_BF")):
        np.testing.assert_array_equal(images_of(dataset)[first]["data"], image(1))


@differs("`virtual_images`, `external_images`")
def test_images_that_are_passed_take_precedence_only_in_mrcdist(tmp_path):
    written = scan(tmp_path / "own", virtual_images={"BF": image(1)})
    other = scan(tmp_path / "other", virtual_images={"DF": image(2)})
    passed = [str(path) for path in other.companions]
    theirs, ours = load_both(written, virtual_images=passed)
    assert list(images_of(theirs)) == ["_sig_BF"]
    assert list(images_of(ours)) == [f"_sig_{other.companions[0].stem}"]
    for none in (None, []):
        theirs, ours = load_both(written, virtual_images=none)
        assert list(images_of(theirs)) == ["_sig_BF"]
        assert "_HyperSpy" not in ours["metadata"]
    for argument in ("virtual_images", "external_images"):
        defaults = [
            inspect.signature(reader).parameters[argument].default
            for reader in (rosettasciio, mrcdist.file_reader)
        ]
        assert defaults == [None, "auto"]


@differs("images with an explicit `metadata_file`")
def test_images_are_found_with_an_explicit_metadata_file_only_by_mrcdist(tmp_path):
    written = scan(tmp_path, virtual_images={"BF": image(1)})
    theirs, ours = load_both(written, metadata_file=str(written.sidecar))
    assert not images_of(theirs)
    assert list(images_of(ours)) == ["_sig_BF"]


@differs("images with the same name")
def test_images_with_the_same_name_are_named_after_their_files_only_in_mrcdist(tmp_path):
    written = scan(tmp_path, virtual_images={"BF": image(1)})
    [first] = written.companions
    first.with_name(first.name.replace("virt0", "virt1")).write_bytes(first.read_bytes())
    theirs, ours = load_both(written)
    assert list(images_of(theirs)) == ["_sig_BF", "_sig_BF_1"]
    assert list(images_of(ours)) == ["_sig_virt0_BF_sum", "_sig_virt1_BF_sum"]


@differs("names of explicitly passed images")
def test_images_that_are_passed_are_named_after_their_files_only_in_mrcdist(tmp_path):
    written = scan(tmp_path, virtual_images={"BF": image(1)}, external_images={"Ext": image(2)})
    virtual, external = written.companions
    theirs, ours = load_both(
        written,
        metadata_file=str(written.sidecar),
        virtual_images=[str(virtual)],
        external_images=[str(external)],
    )
    assert list(images_of(theirs)) == ["_sig_virtual_image_0", "_sig_external_image_0"]
    assert list(images_of(ours)) == [f"_sig_{virtual.stem}", f"_sig_{external.stem}"]
    for dataset in (theirs, ours):
        for number, signal in enumerate(images_of(dataset).values(), start=1):
            np.testing.assert_array_equal(signal["data"], image(number))


@differs("images with other line lengths")
def test_images_with_other_line_lengths_keep_their_axes_only_in_mrcdist(tmp_path):
    transposed = image(1).T.copy()
    written = scan(tmp_path, virtual_images={"BF": transposed})
    np.testing.assert_array_equal(
        images_of(load_rosettasciio(written))["_sig_BF"]["data"], transposed.reshape(SCAN)
    )
    with pytest.warns(mrcdist.MrcdistWarning, match="its own axes are kept"):
        ours = load_mrcdist(written)
    np.testing.assert_array_equal(images_of(ours)["_sig_BF"]["data"], transposed)


@differs("axes of images")
def test_images_have_the_axes_of_the_scan_only_in_mrcdist(tmp_path):
    theirs, ours = load_both(scan(tmp_path, virtual_images={"BF": image(1)}))
    assert axis_values(images_of(theirs)["_sig_BF"], "scale") == [-1.0, -1.0]
    assert axis_values(images_of(ours)["_sig_BF"], "scale") == axis_values(ours, "scale")[:2]


@differs("sidecars without a date")
def test_sidecar_without_a_date_is_found_only_by_mrcdist(tmp_path):
    written = scan(tmp_path)
    movie = written.movie.rename(tmp_path / "sample_movie.mrc")
    written.sidecar.rename(tmp_path / "sample_info.txt")
    assert rosettasciio(str(movie))[0]["data"].shape == (12, *FRAME)
    assert mrcdist.file_reader(movie)[0]["data"].shape == (*SCAN, *FRAME)


@differs("sidecar of another acquisition")
def test_sidecar_of_another_acquisition_is_ignored_only_by_mrcdist(tmp_path):
    scan(tmp_path, name="20260101_00001_a", scan_shape=(4, 3))
    own = scan(tmp_path, name="20260101_00001_b")
    theirs, ours = load_both(own)
    assert theirs["data"].shape == (4, 3, *FRAME)
    assert ours["data"].shape == (*SCAN, *FRAME)
    own.sidecar.unlink()
    assert load_rosettasciio(own)["data"].shape == (4, 3, *FRAME)
    assert load_mrcdist(own)["data"].shape == (12, *FRAME)


@differs("equals sign in a value")
def test_value_with_an_equals_sign_is_kept_only_by_mrcdist(tmp_path):
    theirs, ours = load_both(scan(tmp_path, sidecar={"Preset": "a=1, b = 2"}))
    assert "Preset" not in theirs["original_metadata"]["de_metadata"]
    assert ours["original_metadata"]["de_metadata"]["Preset"] == "a=1, b = 2"


@differs("non-ASCII characters")
def test_non_ascii_characters_are_read_in_any_locale_only_by_mrcdist(tmp_path, monkeypatch):
    written = scan(tmp_path, sidecar={"Operator": "50 µm"})
    module = inspect.getmodule(inspect.unwrap(rosettasciio))
    open_utf8 = partial(Path.open, encoding="utf-8")
    monkeypatch.setattr(module, "open", lambda name: open_utf8(Path(name)), raising=False)
    with pytest.raises(UnicodeDecodeError):
        load_rosettasciio(written)
    assert load_mrcdist(written)["original_metadata"]["de_metadata"]["Operator"] == "50 µm"


@differs("open file as `metadata_file`")
def test_metadata_file_can_be_an_open_file_only_in_mrcdist(tmp_path):
    written = scan(tmp_path)
    text = written.sidecar.read_text("latin-1")
    with pytest.raises(TypeError):
        load_rosettasciio(written, metadata_file=io.StringIO(text))
    assert load_mrcdist(written, metadata_file=io.StringIO(text))["data"].shape == (*SCAN, *FRAME)


@differs("numbered parts")
def test_numbered_parts_are_joined_only_by_mrcdist(tmp_path):
    written = scan(tmp_path, parts=2)
    assert load_rosettasciio(written, metadata_file=None)["data"].shape == (6, *FRAME)
    np.testing.assert_array_equal(load_mrcdist(written)["data"], all_frames(written))


@differs("metadata of the microscope")
def test_metadata_have_the_units_of_hyperspy_only_in_mrcdist(tmp_path):
    theirs, ours = (dataset["metadata"] for dataset in load_both(scan(tmp_path, server="2.7")))
    assert theirs["Acquisition_instrument"]["TEM"] == {
        "magnification": "80000",
        "detector": "DESim",
        "frames_per_second": "2000",
    }
    tem = ours["Acquisition_instrument"]["TEM"]
    assert (tem["magnification"], tem["frames_per_second"]) == (80000.0, 2000.0)
    assert (tem["beam_energy"], tem["camera_length"], tem["dwell_time"]) == (200.0, 200.0, 5e-4)
    assert theirs["Signal"] == {
        "Noise_properties": {"gain_factor": 1 / 300},
        "quantity": "$e^-$",
        "signal_type": "",
    }
    assert ours["Signal"] == {
        "Noise_properties": {"Variance_linear_model": {"gain_factor": 300.0}},
        "signal_type": "",
    }
    assert theirs["General"]["timestamp"] == "1767225600"
    assert [ours["General"][key] for key in ("date", "time", "time_zone")] == [
        "2026-01-01",
        "00:00:00",
        "UTC",
    ]


def test_every_row_of_acquisitions_in_the_docs_has_a_test():
    assert table.proven == table.rows()
