"""The xarray backend: numbers compared with numpy, calibration, and requests."""

from __future__ import annotations

import inspect
import json
import os
import pickle
from importlib.metadata import entry_points

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcdist
from mrcdist import FileChangedError, plan_mrc, read_mrc
from mrcdist.testing.acquisition import write_acquisition
from tests.support.examples import examples
from tests.support.mrc_files import counting, header_bytes, write_mrc
from tests.support.random_mrc import random_chunks
from tests.zarr3.conftest import FRAME_BYTES, FRAMES
from tests.zarr3.random_selection import forwards, outer, sound_case, take_outer

xr = pytest.importorskip("xarray", reason="xarray is installed with zarr 3")

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")


def open_dataset(path, **options):
    return xr.open_dataset(path, engine="mrcdist", **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cases")


@pytest.fixture(scope="module")
def numbers(acquisition):
    return read_mrc(acquisition.movie, lazy=False)[0]["data"]


class TestAnyDataset:
    """Any mode, byte order, scan, parts, compression and chunks, compared with the source."""

    @given(number=st.integers(0, 2**32))
    @examples(150)
    def test_any_selection_with_xarray_equals_numpy(self, folder, number):
        url, options, truth, rng = sound_case(number, folder)
        data = open_dataset(url, cache=False, **options)["data"]
        assert (data.shape, data.dtype) == (truth.shape, truth.dtype)
        for index in (forwards(rng, truth.shape), outer(rng, truth.shape)):
            expected = take_outer(truth, index)
            np.testing.assert_array_equal(data[index].values, expected, err_msg=str(index))
        backwards = (slice(None, None, -2),) * truth.ndim
        np.testing.assert_array_equal(data[backwards].values, truth[backwards])
        points = tuple(rng.choices(range(size), k=3) for size in truth.shape)
        along = tuple(xr.DataArray(point, dims="point") for point in points)
        np.testing.assert_array_equal(data[along].values, truth[points])
        np.testing.assert_array_equal(data.values, truth)

    @given(number=st.integers(0, 2**32))
    @examples(50)
    def test_xarray_with_any_chunks_equals_numpy(self, folder, number):
        url, options, truth, rng = sound_case(number, folder)
        sizes = open_dataset(url, **options).sizes
        chunks = dict(zip(sizes, random_chunks(rng, truth.shape), strict=True))
        data = open_dataset(url, chunks=rng.choice((chunks, {})), **options)["data"]
        index = forwards(rng, truth.shape)
        np.testing.assert_array_equal(data[index].values, truth[index])
        np.testing.assert_array_equal(data.values, truth)


class TestCoordinates:
    def test_coordinates_are_the_positions_along_the_axes(self, acquisition):
        ds = open_dataset(acquisition.movie)
        [expected] = read_mrc(acquisition.movie)
        assert ds["data"].dims == ("y", "x", "ky", "kx")
        for axis in expected["axes"]:
            coordinate = ds[axis["name"]]
            positions = axis["offset"] + axis["scale"] * np.arange(axis["size"])
            np.testing.assert_allclose(coordinate.values, positions)
            assert coordinate.attrs == {"units": axis["units"]}

    def test_frame_is_selected_by_its_position(self, acquisition, numbers):
        ds = open_dataset(acquisition.movie)
        found = ds["data"].sel(x=float(ds["x"][5]) + 1e-3, y=float(ds["y"][2]), method="nearest")
        np.testing.assert_array_equal(found.values, numbers[2, 5])

    def test_axes_without_calibration_have_no_xarray_coordinate(self, tmp_path):
        path = write_mrc(tmp_path / "a.mrc", counting((3, 4, 5), "int16"))
        ds = open_dataset(path)
        assert list(ds.coords) == []
        assert ds["data"].sel(z=2).shape == (4, 5)

    @pytest.mark.parametrize("angles", [(-3.0, 0.0, 3.5), (0.0, 3.0, -3.0)])
    def test_tilt_angles_become_a_coordinate(self, tmp_path, angles):
        stack = counting((3, 4, 5), "int16")
        path = write_mrc(tmp_path / "tilts.mrc", stack)
        (tmp_path / "tilts.rawtlt").write_text("\n".join(map(str, angles)))
        ds = open_dataset(path)
        np.testing.assert_array_equal(ds["tilt"].values, angles)
        assert ds["tilt"].attrs == {"units": "deg"}
        np.testing.assert_array_equal(ds["data"].sel(tilt=angles[2]).values, stack[2])


class TestAttributes:
    def test_xarray_attributes_are_json_serialisable(self, acquisition, numbers):
        attributes = open_dataset(acquisition.movie).attrs
        assert json.loads(json.dumps(attributes, allow_nan=False)) == attributes
        [expected] = read_mrc(acquisition.movie)
        assert json.loads(attributes["original_metadata"]) == expected["original_metadata"]
        assert attributes["General.title"] == expected["metadata"]["General"]["title"]

    @pytest.mark.filterwarnings("ignore:Consolidated metadata:UserWarning")
    def test_xarray_dataset_is_saved_to_zarr_and_netcdf_with_its_attributes(
        self, acquisition, tmp_path
    ):
        ds = open_dataset(acquisition.movie, chunks={})
        mean = ds.mean(("y", "x"), keep_attrs=True)
        mean.to_zarr(tmp_path / "mean.zarr")
        mean.to_netcdf(tmp_path / "mean.nc", engine="scipy")
        for name, engine in (("mean.zarr", "zarr"), ("mean.nc", "scipy")):
            with xr.open_dataset(tmp_path / name, engine=engine) as saved:
                np.testing.assert_array_equal(saved["data"].values, mean["data"].values)
                assert saved.attrs["original_metadata"] == ds.attrs["original_metadata"]


class TestOpening:
    def test_xarray_engine_is_selected_by_the_file_name(self, acquisition):
        assert xr.open_dataset(acquisition.movie).sizes == {"y": 4, "x": 8, "ky": 6, "kx": 10}

    @pytest.mark.parametrize("name", ["a.txt", "mrc", "a.nc", None, 5])
    def test_engine_does_not_claim_files_of_other_types(self, name):
        backend = xr.backends.list_engines()["mrcdist"]
        assert not backend.guess_can_open(name)

    def test_open_dataset_accepts_the_options_of_plan_mrc(self, tmp_path):
        stack = counting((6, 4, 5), "int16")
        path = write_mrc(tmp_path / "a.mrc", stack)
        ds = open_dataset(path, navigation_shape=(3, 2))
        assert dict(ds.sizes) == {"scan_y": 2, "scan_x": 3, "y": 4, "x": 5}
        np.testing.assert_array_equal(ds["data"].values, stack.reshape(2, 3, 4, 5))

    def test_unknown_option_is_an_error(self, acquisition):
        with pytest.raises(TypeError, match="colour"):
            open_dataset(acquisition.movie, colour="red")

    def test_variables_can_be_dropped(self, acquisition):
        ds = open_dataset(acquisition.movie, drop_variables=["x", "ky"])
        assert list(ds.coords) == ["y", "kx"]

    def test_default_chunks_of_xarray_are_those_of_the_plan(self, tmp_path):
        path = tmp_path / "sparse.mrc"
        path.write_bytes(header_bytes(nx=1024, ny=1024, nz=256, mode=6))
        os.truncate(path, 1024 + 2**21 * 256)
        assert open_dataset(path, chunks={}).chunks["z"] == plan_mrc(path).chunks[0] == (64,) * 4

    def test_xarray_opens_a_million_frames_without_reading_pixels(self, tmp_path):
        path = tmp_path / "sparse.mrc"
        path.write_bytes(header_bytes(nx=2, ny=2, nz=10**6, mode=6))
        os.truncate(path, 1024 + 8 * 10**6)
        before = mrcdist.stats.snapshot().blocks
        ds = open_dataset(path)
        assert ds.sizes["z"] == 10**6
        assert mrcdist.stats.snapshot().blocks == before
        np.testing.assert_array_equal(ds["data"][999_999].values, np.zeros((2, 2)))


class TestRequests:
    @pytest.mark.parametrize("chunks", [None, {}])
    def test_one_frame_with_xarray_takes_one_request_for_its_bytes(self, stack, chunks):
        ds = open_dataset(stack.url, chunks=chunks, storage_options=stack.options)
        stack.proxy.clear()
        frame = ds["data"].sel(z=float(ds["z"][17]), method="nearest")
        np.testing.assert_array_equal(frame.values, FRAMES[17])
        assert stack.ranges == [FRAME_BYTES]

    def test_two_distant_frames_with_xarray_take_two_requests(self, stack):
        ds = open_dataset(stack.url, storage_options=stack.options)
        stack.proxy.clear()
        with dask.config.set({"mrcdist.max-gap": "1 MiB"}):  # not as measured
            np.testing.assert_array_equal(ds["data"][[3, 90]].values, FRAMES[[3, 90]])
        assert stack.ranges == [FRAME_BYTES, FRAME_BYTES]

    @pytest.mark.parametrize("rows", [[100, 3, 3], slice(3, None, 97), slice(100, 1, -97)])
    def test_two_distant_rows_with_xarray_take_two_requests(self, stack, rows):
        ds = open_dataset(stack.url, storage_options=stack.options)
        stack.proxy.clear()
        with dask.config.set({"mrcdist.max-gap": 0}):
            values = ds["data"][7, rows].values
        np.testing.assert_array_equal(values, FRAMES[7, rows])
        assert stack.ranges == [256, 256]


class TestChangedFile:
    @pytest.mark.parametrize("chunks", [None, {}])
    def test_reading_a_changed_file_with_xarray_is_an_error(self, tmp_path, chunks):
        path = write_mrc(tmp_path / "a.mrc", counting((5, 4, 7), "int16"))
        ds = open_dataset(path, chunks=chunks)
        write_mrc(path, counting((5, 4, 7), "int16") + 1)
        os.utime(path, ns=(1, 1))
        with pytest.raises(FileChangedError):
            ds["data"][3].values  # noqa: B018
        with pytest.raises(FileChangedError):
            ds["data"].values  # noqa: B018


class TestAnyProcess:
    @pytest.mark.parametrize("chunks", [None, {"y": 2}])
    def test_pickled_dataset_can_be_read(self, acquisition, numbers, chunks):
        ds = open_dataset(acquisition.movie, chunks=chunks)
        pickled = pickle.dumps(ds)
        assert len(pickled) < 2**15
        np.testing.assert_array_equal(pickle.loads(pickled)["data"].values, numbers)


class TestTree:
    def test_data_tree_contains_the_movie_and_its_images(self, acquisition, numbers):
        tree = xr.open_datatree(acquisition.movie, engine="mrcdist")
        assert sorted(tree.children) == ["BF", "Survey", "movie"]
        np.testing.assert_array_equal(tree["movie/data"].values, numbers)
        image = tree["BF"].ds
        np.testing.assert_array_equal(image["data"].values, np.arange(32).reshape(4, 8))
        np.testing.assert_array_equal(image["x"], tree["movie"].ds["x"])
        assert image["data"].dims == ("y", "x")
        np.testing.assert_array_equal(tree["Survey/data"].values, np.arange(15).reshape(3, 5))
        assert tree["Survey"].ds.attrs["General.title"] == "Survey"

    def test_data_tree_contains_only_the_requested_images(self, acquisition):
        tree = xr.open_datatree(acquisition.movie, engine="mrcdist", virtual_images=None)
        assert list(tree.children) == ["movie", "Survey"]

    def test_backend_accepts_all_read_options_except_chunks(self):
        """xarray has an argument `chunks` of its own."""
        [backend] = (
            entry.load()
            for entry in entry_points(group="xarray.backends")
            if entry.name == "mrcdist"
        )
        options = set(inspect.signature(plan_mrc).parameters) - {"url", "chunks"}
        assert set(backend.open_dataset_parameters) - options == {
            "filename_or_obj",
            "drop_variables",
        }
        assert options < set(backend.open_dataset_parameters)

    def test_data_tree_with_chunks_is_lazy(self, acquisition, numbers):
        tree = xr.open_datatree(acquisition.movie, engine="mrcdist", chunks={"ky": 2})
        assert tree["movie"].ds.chunks["ky"] == (2, 2, 2)
        np.testing.assert_array_equal(tree["movie/data"].values, numbers)

    def test_damaged_image_is_left_out_of_the_data_tree_with_a_warning(self, tmp_path):
        images = {"BF": np.ones((4, 8), "float32")}
        acquisition = write_acquisition(tmp_path, virtual_images=images)
        acquisition.companions[0].write_bytes(b"no image")
        with pytest.warns(mrcdist.MrcdistWarning, match="BF.* is left out"):
            tree = xr.open_datatree(acquisition.movie, engine="mrcdist")
        assert list(tree.children) == ["movie"]
