"""Files written by `write_mrc`, read by mrcfile, RosettaSciIO, HyperSpy and LiberTEM."""

from __future__ import annotations

import io
from typing import Any

import dask.array as da
import hyperspy.api as hs
import mrcfile
import numpy as np
import pytest
from rsciio.mrc import file_reader as rosettasciio_reader

import mrcdist
from mrcdist.errors import MrcdistWarning
from mrcdist.testing.acquisition import write_acquisition

# Shape → chunks: whole frames, and parts of rows and columns.
SHAPES = {
    (5, 6): [(-1, -1), (3, -1), (3, 4)],
    (4, 5, 6): [(3, -1, -1), (2, 5, 4), (-1, 2, -1)],
    (2, 3, 5, 6): [(1, 2, -1, -1), (2, 1, 4, 5), (-1, -1, -1, 3)],
}
CASES = [(shape, chunks) for shape, chunkings in SHAPES.items() for chunks in chunkings]
DTYPES = ("int8", "int16", "uint16", "float32", "float16", "complex64", "uint8", "bool")


def random_numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    # mrcfile sums float16 in float16: larger numbers overflow there.
    maximum = 1 if dtype == "float16" else 100
    return (np.random.default_rng(0).random(shape) * maximum).astype(dtype)


@pytest.fixture(scope="module")
def libertem():
    api = pytest.importorskip("libertem.api")
    with api.Context.make_with("inline") as context:
        yield context


@pytest.mark.filterwarnings("ignore:.*written as a plain stack")
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "chunks"), CASES)
def test_all_readers_read_the_same_numbers_from_a_valid_file(
    tmp_path, libertem, dtype, shape, chunks, byteorder
):
    array = random_numbers(shape, dtype)
    path = tmp_path / "a.mrc"
    mrcdist.write_mrc(path, da.from_array(array, chunks=chunks), byteorder=byteorder)
    report = io.StringIO()
    assert mrcfile.validate(str(path), print_file=report), report.getvalue()
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data.reshape(shape), array)
    [data] = mrcdist.read_mrc(path, metadata_file=None)
    np.testing.assert_array_equal(data["data"].compute().reshape(shape), array)
    if byteorder == ">":  # not supported by RosettaSciIO 0.15 and LiberTEM 0.16
        return
    [theirs] = rosettasciio_reader(str(path))
    np.testing.assert_array_equal(theirs["data"].reshape(shape), array)
    if dtype not in ("float16", "complex64"):  # LiberTEM does not support these modes
        np.testing.assert_array_equal(load_with_libertem(libertem, path).reshape(shape), array)


def load_with_libertem(libertem, path):
    from libertem.udf.raw import PickUDF

    data = libertem.load("mrc", path=str(path))
    everywhere = np.ones(data.shape.nav, dtype=bool)
    return libertem.run_udf(data, PickUDF(), roi=everywhere)["intensity"].data


@pytest.fixture
def scan(tmp_path):
    acquisition = write_acquisition(tmp_path / "in", scan_shape=(4, 6), frame_shape=(16, 24))
    [data] = mrcdist.read_mrc(acquisition.movie)
    return data


def test_scan_keeps_shape_calibration_and_metadata(scan, tmp_path):
    path = tmp_path / "20260102_00001_movie.mrc"
    mrcdist.write_mrc(path, scan)
    [reloaded] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(reloaded["data"].compute(), scan["data"].compute())
    assert reloaded["axes"] == scan["axes"]
    for metadata in (reloaded["metadata"], scan["metadata"]):
        del metadata["General"]["title"], metadata["General"]["original_filename"]
    assert reloaded["metadata"] == scan["metadata"]


def test_repeated_scan_keeps_its_times(tmp_path):
    acquisition = write_acquisition(
        tmp_path / "in", scan_shape=(3, 4), frame_shape=(8, 8), repeats=2, point_repeats=3
    )
    [data] = mrcdist.read_mrc(acquisition.movie)
    mrcdist.write_mrc(tmp_path / "a_movie.mrc", data)
    [reloaded] = mrcdist.read_mrc(tmp_path / "a_movie.mrc")
    assert reloaded["axes"] == data["axes"]
    np.testing.assert_array_equal(reloaded["data"].compute(), data["data"].compute())


def test_rosettasciio_opens_the_scan_as_four_axes(scan, tmp_path):
    path = tmp_path / "20260102_00001_movie.mrc"
    mrcdist.write_mrc(path, scan)
    [theirs] = rosettasciio_reader(str(path))
    np.testing.assert_array_equal(theirs["data"], scan["data"].compute())
    assert [axis["name"] for axis in theirs["axes"]] == ["y", "x", "ky", "kx"]


@pytest.mark.usefixtures("registered")
class TestHyperSpy:
    @pytest.mark.parametrize("lazy", [False, True])
    def test_cropped_scan_is_saved_and_loaded(self, tmp_path, lazy):
        acquisition = write_acquisition(tmp_path / "in", scan_shape=(4, 6), frame_shape=(16, 24))
        signal = hs.load(acquisition.movie, file_format="mrcdist", lazy=lazy)
        crop = signal.inav[1:5, 1:3].isig[4:20, 2:14]
        with pytest.warns(MrcdistWarning, match="cannot store offsets"):
            crop.save(tmp_path / "crop_movie.mrc", file_format="mrcdist")
        reloaded = hs.load(tmp_path / "crop_movie.mrc", file_format="mrcdist")
        expected = crop.data.compute() if lazy else crop.data
        np.testing.assert_array_equal(reloaded.data, expected)
        assert [axis.scale for axis in reloaded.axes_manager._axes] == [
            axis.scale for axis in crop.axes_manager._axes
        ]

    @pytest.mark.parametrize("navigation", [(), (5,), (3, 4), (2, 3, 4)])
    @pytest.mark.filterwarnings("ignore:.*written as a plain stack")
    def test_images_with_any_navigation_axes_are_saved(self, tmp_path, navigation):
        array = random_numbers((*navigation, 6, 7), "float32")
        hs.signals.Signal2D(array).save(tmp_path / "a.mrc", file_format="mrcdist")
        with mrcfile.open(tmp_path / "a.mrc") as file:
            np.testing.assert_array_equal(file.data.reshape(array.shape), array)

    def test_tilt_series_keeps_its_angles(self, tmp_path):
        signal = hs.signals.Signal2D(random_numbers((7, 6, 5), "int16"))
        tilt = signal.axes_manager[0]
        tilt.name, tilt.units, tilt.scale, tilt.offset = "tilt", "deg", 3.0, -9.0
        signal.save(tmp_path / "a.mrc", file_format="mrcdist")
        assert (tmp_path / "a.rawtlt").read_text().split() == ["-9", "-6", "-3", "0", "3", "6", "9"]
        [data] = mrcdist.read_mrc(tmp_path / "a.mrc", tilt_file=tmp_path / "a.rawtlt")
        axis = data["axes"][0]
        assert (axis["name"], axis["scale"], axis["offset"], axis["units"]) == (
            "tilt", 3.0, -9.0, "deg",
        )  # fmt: skip

    def test_url_that_hyperspy_converted_to_a_path_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        signal = hs.signals.Signal2D(random_numbers((6, 5), "int16"))
        with pytest.raises(mrcdist.ArgumentError, match="converted to a path"):
            signal.save("s3://bucket/a.mrc", file_format="mrcdist")
