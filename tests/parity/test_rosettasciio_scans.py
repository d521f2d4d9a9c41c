"""docs/rosettasciio.md, "Direct Electron acquisitions": one test per row, on the same files."""

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
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # it leaves files open

SCAN = (3, 4)
FRAME = (5, 7)
# Without it, no scan of ours could be compared: see the row "repeat delay".
READABLE = {"Scan - Repeat Delay (seconds)": "0"}


def peer(written, **options):
    [dataset] = rosettasciio(str(written.movie), **options)
    return dataset


def mine(written, **options):
    [dataset] = mrcdist.file_reader(written.movie, **options)
    return dataset


def both(written, **options):
    return peer(written, **options), mine(written, **options)


def scan(folder, *, sidecar=None, **options):
    options = {"scan_shape": SCAN, "frame_shape": FRAME, **options}
    return write_acquisition(folder, sidecar={**READABLE, **(sidecar or {})}, **options)


def image(value):
    return value + np.arange(12, dtype="float32").reshape(SCAN)


def each(dataset, key):
    return [axis.get(key) for axis in dataset["axes"]]


def images_of(dataset):
    return dataset["metadata"]["_HyperSpy"]["navigators"]


@same("default of `metadata_file`")
def test_default_of_metadata_file(tmp_path):
    defaults = {
        inspect.signature(reader).parameters["metadata_file"].default
        for reader in (rosettasciio, mrcdist.file_reader, mrcdist.read_mrc, mrcdist.plan_mrc)
    }
    assert defaults == {"auto"}
    written = scan(tmp_path)
    [dataset] = mrcdist.file_reader(written.movie)
    assert peer(written)["data"].shape == dataset["data"].shape == (*SCAN, *FRAME)
    [plain] = mrcdist.file_reader(written.movie, metadata_file=None)
    assert peer(written, metadata_file=None)["data"].shape == plain["data"].shape == (12, *FRAME)


@same("pixels of a scan")
@pytest.mark.parametrize("options", [{}, {"scan_shape": (9, 9), "roi": SCAN}, {"server": "2.7"}])
@pytest.mark.parametrize("lazy", [True, False])
def test_pixels_of_a_scan(tmp_path, options, lazy):
    written = scan(tmp_path, **options)
    for dataset in both(written, lazy=lazy):
        assert dataset["data"].dtype == np.uint16
        np.testing.assert_array_equal(np.asarray(dataset["data"]), all_frames(written))


@same("axes of a scan")
def test_axes_of_a_scan(tmp_path):
    for dataset in both(scan(tmp_path)):
        assert each(dataset, "name") == ["y", "x", "ky", "kx"]
        assert each(dataset, "size") == [*SCAN, *FRAME]
        assert each(dataset, "units") == ["nm", "nm", "nm^-1", "nm^-1"]
        assert each(dataset, "navigate") == [True, True, False, False]
        assert each(dataset, "index_in_array") == [0, 1, 2, 3]


@same("lines of the sidecar")
def test_lines_of_the_sidecar(tmp_path, real_data):
    left, right = both(scan(tmp_path))
    assert left["original_metadata"]["de_metadata"] == right["original_metadata"]["de_metadata"]
    real = real_data / "20241021_00405_movie.mrc"
    [left] = rosettasciio(str(real))
    [right] = mrcdist.read_mrc(real)
    assert left["original_metadata"]["de_metadata"] == right["original_metadata"]["de_metadata"]
    np.testing.assert_array_equal(left["data"], right["data"].compute())


@same("images")
def test_images(tmp_path, monkeypatch):
    listed_in_order(monkeypatch)
    left, right = both(
        scan(
            tmp_path,
            virtual_images={"BF": image(1), "DF": image(2)},
            external_images={"Ext": image(3)},
        )
    )
    assert set(images_of(left)) == set(images_of(right)) == {"_sig_BF", "_sig_DF", "_sig_Ext"}
    for name, signal in images_of(left).items():
        np.testing.assert_array_equal(signal["data"], images_of(right)[name]["data"])
    for dataset in (left, right):
        navigator = dataset["metadata"]["_HyperSpy"]["_sig_navigator"]
        np.testing.assert_array_equal(navigator["data"], image(1))


@differs("calibration of a scan")
def test_calibration_of_a_scan(tmp_path):
    left, right = both(scan(tmp_path))
    assert each(left, "scale") == [1.0] * 4
    assert each(right, "scale") == [0.5, 0.4, 0.1, 0.08]


@differs("offsets of a scan")
def test_offsets_of_a_scan(tmp_path):
    left, right = both(scan(tmp_path))
    assert set(right["axes"][0]) - set(left["axes"][0]) == {"offset"}
    assert each(left, "offset") == [None] * 4
    assert each(right, "offset") == [0.0] * 4


@differs("repeat delay")
def test_repeat_delay(tmp_path):
    seconds = {"Scan - Time (seconds)": "2", "Scan - Repeat Delay (seconds)": "0.5"}
    written = scan(tmp_path, repeats=2, sidecar=seconds)
    assert peer(written)["axes"][0]["name"] == "y"  # "20.5" is a number
    assert mine(written)["axes"][0]["scale"] == 2.5
    written = scan(tmp_path, repeats=2, sidecar={**seconds, "Scan - Time (seconds)": "2.0"})
    with pytest.raises(ValueError, match=r"2\.00\.5"):
        peer(written)
    assert mine(written)["axes"][0]["scale"] == 2.5


@differs("repeats")
def test_repeats(tmp_path):
    written = scan(tmp_path, repeats=2)
    left, right = both(written)
    np.testing.assert_array_equal(left["data"], all_frames(written)[0])
    np.testing.assert_array_equal(right["data"], all_frames(written))
    assert each(right, "name")[0] == "repeat"


@differs("point repeats")
@pytest.mark.parametrize("server", ["2.7", "new"])
def test_point_repeats(tmp_path, server):
    written = scan(tmp_path, point_repeats=2, server=server)
    left, right = both(written)
    np.testing.assert_array_equal(left["data"], frames_of(np.arange(12).reshape(SCAN), written))
    np.testing.assert_array_equal(right["data"], all_frames(written))
    assert each(right, "name")[2] == "point_repeat"


@differs("more frames than points")
def test_more_frames_than_points(tmp_path):
    written = scan(tmp_path, present=15)
    assert peer(written)["data"].shape == (*SCAN, *FRAME)
    with pytest.raises(SidecarError, match=r"12 points.* 15 frames"):
        mine(written)


@differs("fewer frames than points")
def test_fewer_frames_than_points(tmp_path):
    written = scan(tmp_path, present=7)
    with pytest.raises(ValueError, match="mmap length"):
        peer(written)
    with pytest.raises(SidecarError, match=r"12 points.* 7 frames"):
        mine(written)
    with pytest.warns(mrcdist.MrcdistWarning, match="5 of 12"):
        partial = mine(written, allow_truncated=True)
    np.testing.assert_array_equal(partial["data"], all_frames(written))


@differs("scan in TEM mode")
def test_scan_in_tem_mode(tmp_path):
    left, right = both(scan(tmp_path, sidecar={"Instrument Project TEMorSTEM Mode": "0"}))
    assert each(left, "name") == ["time", "ky", "kx"]
    assert each(right, "name") == ["y", "x", "ky", "kx"]


@differs("long `navigation_shape`")
@pytest.mark.parametrize("given", [(2, 2, 3, 1), (2, 1, 3, 2)])
def test_long_navigation_shape(tmp_path, given):
    left, right = both(scan(tmp_path), navigation_shape=given)
    assert left["data"].shape == right["data"].shape
    assert each(left, "size") != list(left["data"].shape)
    assert each(right, "size") == list(right["data"].shape)


@differs("time axis of a movie")
def test_time_axis_of_a_movie(tmp_path):
    sums = {"Autosave Movie Sum Count": "4", "Frames Per Second": "100"}
    left, right = both(scan(tmp_path, scan=False, sidecar=sums))
    assert each(left, "scale") == [str(1 / 400), "0.1", "0.08"]
    assert each(right, "scale") == [pytest.approx(0.04), 0.1, 0.08]
    assert (left["axes"][0]["units"], right["axes"][0]["units"]) == ("sec", "s")
    np.testing.assert_array_equal(left["data"], right["data"])


@differs("grid of a custom scan")
def test_grid_of_a_custom_scan(tmp_path):
    points = np.array([[0, 0], [2, 1], [1, 0], [0, 1]])
    left, right = both(scan(tmp_path, custom_points=points))
    assert left["data"].shape == (2, 3, *FRAME)
    assert right["data"].shape == (*SCAN, *FRAME)
    np.testing.assert_array_equal(left["data"], right["data"][:2, :3])
    assert not right["data"][2:].any()


@differs("custom scans in other chunks")
def test_custom_scans_in_other_chunks(tmp_path):
    points = np.array([[x, y] for y in range(3) for x in range(4)])
    written = scan(tmp_path, custom_points=points[::-1])
    left, right = both(written)
    np.testing.assert_array_equal(left["data"], right["data"])
    for chunks in ((1, 2, -1, -1), (3, 4, *FRAME), (2, 3, 2, 3)):
        with pytest.raises((IndexError, ValueError)):
            peer(written, chunks=chunks)
        np.testing.assert_array_equal(mine(written, chunks=chunks)["data"], right["data"])


@differs("lists of scan points that do not fit")
def test_lists_of_scan_points_that_do_not_fit(tmp_path):
    points = [(x, y) for y in range(3) for x in range(4)]
    written = scan(tmp_path, custom_points=np.array(points))
    whole = all_frames(written).reshape(*SCAN, *FRAME)

    def put(*given, more=""):
        lines = [f"{x},{y}\n" for x, y in given]
        written.scan_points.write_text("".join(lines) + more)

    put(*points[:-1])
    left = peer(written)["data"]
    np.testing.assert_array_equal(left.reshape(-1, *FRAME)[:-1], whole.reshape(-1, *FRAME)[:-1])
    assert not left[-1, -1].any()  # the last frame is dropped
    with pytest.raises(SidecarError, match="11 points, but the movie has 12 frames"):
        mine(written)
    put((-1, -1), *points[1:-1])
    np.testing.assert_array_equal(peer(written)["data"][-1, -1], whole[0, 0])
    put((-1, -1), *points[1:])
    with pytest.raises(SidecarError, match="x = -1, y = -1, outside the grid"):
        mine(written)
    for given, more, words in (
        ([*points, (0, 0)], "", "13 points, but the movie has 12 frames"),
        (points[:-1], "1,x\n", "not two whole numbers"),
    ):
        put(*given, more=more)
        with pytest.raises(ValueError, match=r"mmap length|could not convert"):
            peer(written)
        with pytest.raises(SidecarError, match=words):
            mine(written)
    written.scan_points.unlink()
    with pytest.raises(ValueError, match="required"):
        peer(written)
    with pytest.raises(SidecarError, match="no list of scan points was found"):
        mine(written)


@differs("`scan_file`")
def test_scan_file(tmp_path):
    points = np.array([[x, y] for y in range(3) for x in range(4)])
    written = scan(tmp_path / "own", custom_points=points)
    other = scan(tmp_path / "other", custom_points=points[::-1])
    left, right = both(written, scan_file=str(other.scan_points))
    np.testing.assert_array_equal(left["data"], all_frames(written).reshape(*SCAN, *FRAME))
    np.testing.assert_array_equal(right["data"], left["data"][::-1, ::-1])
    np.testing.assert_array_equal(peer(written, scan_file=None)["data"], left["data"])
    with pytest.raises(SidecarError, match="scan_file=None"):
        mine(written, scan_file=None)
    defaults = [
        inspect.signature(reader).parameters["scan_file"].default
        for reader in (rosettasciio, mrcdist.file_reader)
    ]
    assert defaults == [None, "auto"]


@differs("custom scan with repeats")
def test_custom_scan_with_repeats(tmp_path):
    points = np.array([[0, 0], [3, 2], [0, 0], [1, 1]])
    left, right = both(scan(tmp_path, custom_points=points))
    assert each(left, "name")[:3] == ["time", "y", "x"]
    assert each(right, "name")[:3] == ["y", "x", "repeat"]
    assert each(left, "size") == each(right, "size") == [*SCAN, 2, *FRAME]
    np.testing.assert_array_equal(left["data"], right["data"])


def listed_in_order(monkeypatch, *, reverse=False):
    """Let RosettaSciIO see folders in this order, which else is the disk's."""
    glob = inspect.getmodule(inspect.unwrap(rosettasciio)).glob
    found = glob.glob
    monkeypatch.setattr(glob, "glob", lambda pattern: sorted(found(pattern), reverse=reverse))


@differs("names of images")
def test_names_of_images(tmp_path, monkeypatch):
    listed_in_order(monkeypatch, reverse=True)
    left, right = both(scan(tmp_path, virtual_images={"BF": image(1), "DF": image(2)}))
    for dataset, first in ((left, "_sig_DF"), (right, "_sig_BF")):
        np.testing.assert_array_equal(images_of(dataset)[first]["data"], image(1))


@differs("`virtual_images`, `external_images`")
def test_virtual_images_external_images(tmp_path):
    written = scan(tmp_path / "own", virtual_images={"BF": image(1)})
    other = scan(tmp_path / "other", virtual_images={"DF": image(2)})
    passed = [str(path) for path in other.companions]
    left, right = both(written, virtual_images=passed)
    assert list(images_of(left)) == ["_sig_BF"]
    assert list(images_of(right)) == [f"_sig_{other.companions[0].stem}"]
    for none in (None, []):
        left, right = both(written, virtual_images=none)
        assert list(images_of(left)) == ["_sig_BF"]
        assert "_HyperSpy" not in right["metadata"]
    for argument in ("virtual_images", "external_images"):
        defaults = [
            inspect.signature(reader).parameters[argument].default
            for reader in (rosettasciio, mrcdist.file_reader)
        ]
        assert defaults == [None, "auto"]


@differs("images with an explicit `metadata_file`")
def test_images_with_an_explicit_metadata_file(tmp_path):
    written = scan(tmp_path, virtual_images={"BF": image(1)})
    left, right = both(written, metadata_file=str(written.sidecar))
    assert not images_of(left)
    assert list(images_of(right)) == ["_sig_BF"]


@differs("images with the same name")
def test_images_of_one_name(tmp_path):
    written = scan(tmp_path, virtual_images={"BF": image(1)})
    [first] = written.companions
    first.with_name(first.name.replace("virt0", "virt1")).write_bytes(first.read_bytes())
    left, right = both(written)
    assert list(images_of(left)) == ["_sig_BF", "_sig_BF_1"]
    assert list(images_of(right)) == ["_sig_virt0_BF_sum", "_sig_virt1_BF_sum"]


@differs("names of explicitly passed images")
def test_names_of_explicitly_passed_images(tmp_path):
    written = scan(tmp_path, virtual_images={"BF": image(1)}, external_images={"Ext": image(2)})
    virtual, external = written.companions
    left, right = both(
        written,
        metadata_file=str(written.sidecar),
        virtual_images=[str(virtual)],
        external_images=[str(external)],
    )
    assert list(images_of(left)) == ["_sig_virtual_image_0", "_sig_external_image_0"]
    assert list(images_of(right)) == [f"_sig_{virtual.stem}", f"_sig_{external.stem}"]
    for dataset in (left, right):
        for number, signal in enumerate(images_of(dataset).values(), start=1):
            np.testing.assert_array_equal(signal["data"], image(number))


@differs("images with other line lengths")
def test_images_with_other_line_lengths(tmp_path):
    turned = image(1).T.copy()
    written = scan(tmp_path, virtual_images={"BF": turned})
    np.testing.assert_array_equal(images_of(peer(written))["_sig_BF"]["data"], turned.reshape(SCAN))
    with pytest.warns(mrcdist.MrcdistWarning, match="its own axes are kept"):
        right = mine(written)
    np.testing.assert_array_equal(images_of(right)["_sig_BF"]["data"], turned)


@differs("axes of images")
def test_axes_of_images(tmp_path):
    left, right = both(scan(tmp_path, virtual_images={"BF": image(1)}))
    assert each(images_of(left)["_sig_BF"], "scale") == [-1.0, -1.0]
    assert each(images_of(right)["_sig_BF"], "scale") == each(right, "scale")[:2]


@differs("sidecars without a date")
def test_sidecars_without_a_date(tmp_path):
    written = scan(tmp_path)
    movie = written.movie.rename(tmp_path / "sample_movie.mrc")
    written.sidecar.rename(tmp_path / "sample_info.txt")
    assert rosettasciio(str(movie))[0]["data"].shape == (12, *FRAME)
    assert mrcdist.file_reader(movie)[0]["data"].shape == (*SCAN, *FRAME)


@differs("sidecar of another acquisition")
def test_sidecar_of_another_acquisition(tmp_path):
    scan(tmp_path, name="20260101_00001_a", scan_shape=(4, 3))
    own = scan(tmp_path, name="20260101_00001_b")
    left, right = both(own)
    assert left["data"].shape == (4, 3, *FRAME)
    assert right["data"].shape == (*SCAN, *FRAME)
    own.sidecar.unlink()
    assert peer(own)["data"].shape == (4, 3, *FRAME)
    assert mine(own)["data"].shape == (12, *FRAME)


@differs("equals sign in a value")
def test_equals_sign_in_a_value(tmp_path):
    left, right = both(scan(tmp_path, sidecar={"Preset": "a=1, b = 2"}))
    assert "Preset" not in left["original_metadata"]["de_metadata"]
    assert right["original_metadata"]["de_metadata"]["Preset"] == "a=1, b = 2"


@differs("non-ASCII characters")
def test_non_ascii_characters(tmp_path, monkeypatch):
    written = scan(tmp_path, sidecar={"Operator": "50 µm"})
    module = inspect.getmodule(inspect.unwrap(rosettasciio))
    open_utf8 = partial(Path.open, encoding="utf-8")
    monkeypatch.setattr(module, "open", lambda name: open_utf8(Path(name)), raising=False)
    with pytest.raises(UnicodeDecodeError):
        peer(written)
    assert mine(written)["original_metadata"]["de_metadata"]["Operator"] == "50 µm"


@differs("open file as `metadata_file`")
def test_open_file_as_metadata_file(tmp_path):
    written = scan(tmp_path)
    text = written.sidecar.read_text("latin-1")
    with pytest.raises(TypeError):
        peer(written, metadata_file=io.StringIO(text))
    assert mine(written, metadata_file=io.StringIO(text))["data"].shape == (*SCAN, *FRAME)


@differs("numbered parts")
def test_numbered_parts(tmp_path):
    written = scan(tmp_path, parts=2)
    assert peer(written, metadata_file=None)["data"].shape == (6, *FRAME)
    np.testing.assert_array_equal(mine(written)["data"], all_frames(written))


@differs("metadata of the microscope")
def test_metadata_of_the_microscope(tmp_path):
    left, right = (dataset["metadata"] for dataset in both(scan(tmp_path, server="2.7")))
    assert left["Acquisition_instrument"]["TEM"] == {
        "magnification": "80000",
        "detector": "DESim",
        "frames_per_second": "2000",
    }
    tem = right["Acquisition_instrument"]["TEM"]
    assert (tem["magnification"], tem["frames_per_second"]) == (80000.0, 2000.0)
    assert (tem["beam_energy"], tem["camera_length"], tem["dwell_time"]) == (200.0, 200.0, 5e-4)
    assert left["Signal"] == {
        "Noise_properties": {"gain_factor": 1 / 300},
        "quantity": "$e^-$",
        "signal_type": "",
    }
    assert right["Signal"] == {
        "Noise_properties": {"Variance_linear_model": {"gain_factor": 300.0}},
        "signal_type": "",
    }
    assert left["General"]["timestamp"] == "1767225600"
    assert [right["General"][key] for key in ("date", "time", "time_zone")] == [
        "2026-01-01",
        "00:00:00",
        "UTC",
    ]


def test_every_row_has_its_test():
    assert table.proven == table.rows()
