"""`convert` to .ome.zarr: levels compared with means by numpy, and validated metadata."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.tilt_series import write_tilt_series
from mrcdist import ArgumentError, convert, plan_mrc
from mrcdist.testing.movie import movie_header
from tests.support.cluster import dask_cluster
from tests.support.examples import examples
from tests.support.mrc_files import write_mrc

zarr = pytest.importorskip("zarr", minversion="3", reason="OME-Zarr 0.5 needs zarr 3")
models = pytest.importorskip("ome_zarr_models")

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")


def coarser(numbers, factors):
    """Return the means of boxes; incomplete boxes at the end of an axis are left out."""
    for axis, factor in enumerate(factors):
        length = numbers.shape[axis] // factor * factor
        parts = np.moveaxis(numbers, axis, 0)[:length].astype("float64")
        shape = (length // factor, factor, *parts.shape[1:])
        numbers = np.moveaxis(parts.reshape(shape).mean(axis=1), 0, axis)
    return numbers


def open_image(path):
    """Return the group and its metadata, parsed by the models of the specification."""
    group = zarr.open_group(path, mode="r")
    image = models.open_ome_zarr(group)
    assert type(image).__module__.startswith("ome_zarr_models.v05")
    return group, image.ome_attributes.multiscales[0]


def write_volume(path, numbers, **header):
    z, y, x = numbers.shape
    return write_mrc(path, numbers, cell=(10.0 * x, 20.0 * y, 30.0 * z), ispg=1, **header)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("volumes")


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 700), st.integers(1, 700)),
    dtype=st.sampled_from(["int8", "int16", "uint16", "float32"]),
)
@examples(10)
def test_each_ome_zarr_level_contains_means_of_the_previous_one(folder, shape, dtype):
    numbers = np.random.default_rng(0).integers(-100 if dtype != "uint16" else 0, 100, shape)
    path = write_volume(folder / "in.mrc", numbers.astype(dtype))
    plan = plan_mrc(path, chunks="512 KiB")
    convert(plan, folder / "a.ome.zarr", overwrite=True, verify=True)
    group, multiscale = open_image(folder / "a.ome.zarr")
    levels = [group[dataset.path] for dataset in multiscale.datasets]
    np.testing.assert_array_equal(levels[0][...].reshape(shape), numbers)
    assert max(levels[-1].shape[-2:]) <= 256
    for finer, found in itertools.pairwise(levels):
        assert found.dtype == dtype
        factors = [2 if n > 1 else 1 for n in finer.shape]
        expected = coarser(finer[...], factors)
        if found.dtype.kind in "iu":
            expected = np.rint(expected)
        np.testing.assert_allclose(found[...], expected, rtol=1e-6, atol=1e-5)


def test_volume_keeps_its_calibration_in_every_ome_zarr_level(tmp_path):
    numbers = np.zeros((70, 300, 520), "int16")
    path = write_volume(tmp_path / "in.mrc", numbers, origin=(50.0, 0.0, 0.0))
    report = convert(path, tmp_path / "a.ome.zarr")
    group, multiscale = open_image(tmp_path / "a.ome.zarr")
    axes = [(axis.name, axis.type, axis.unit) for axis in multiscale.axes]
    assert axes == [(name, "space", "nanometer") for name in "zyx"]
    shapes = [group[str(number)].shape for number in range(len(multiscale.datasets))]
    assert shapes == [(70, 300, 520), (35, 150, 260), (17, 75, 130)]
    scales = [dataset.coordinateTransformations[0].scale for dataset in multiscale.datasets]
    assert scales == [[3.0 * 2**n, 2.0 * 2**n, 1.0 * 2**n] for n in range(3)]
    [first, second, third] = [
        dataset.coordinateTransformations[1].translation for dataset in multiscale.datasets
    ]
    assert np.subtract(second, first).tolist() == [1.5, 1.0, 0.5]
    assert np.subtract(third, first).tolist() == [4.5, 3.0, 1.5]
    assert group["0"].chunks == (64, 64, 64)
    assert group["0"].metadata.dimension_names == ("z", "y", "x")
    assert report.files <= 2 + 2 * 3


def test_ome_zarr_levels_of_a_tilt_series_keep_all_tilts(tmp_path):
    angles = np.array([-50.0, -20.0, 0.0, 15.0])
    images = np.random.default_rng(0).integers(0, 99, (4, 300, 280), dtype="int16")
    path = tmp_path / "tilts.mrc"
    write_tilt_series(path, angles, images.__getitem__, shape=(300, 280), kind="SERI")
    convert(path, tmp_path / "a.ome.zarr", verify=True)
    group, multiscale = open_image(tmp_path / "a.ome.zarr")
    assert [axis.name for axis in multiscale.axes] == ["tilt", "y", "x"]
    assert group["1"].shape == (4, 150, 140)
    np.testing.assert_array_equal(group["1"][...], np.rint(coarser(images, (1, 2, 2))))
    np.testing.assert_allclose(group["0"].attrs["axes"][0]["axis"], angles)


def test_single_image_becomes_an_ome_zarr_image_with_two_axes(tmp_path):
    convert(
        write_mrc(tmp_path / "in.mrc", np.ones((1, 30, 40), "float32")), tmp_path / "a.ome.zarr"
    )
    group, multiscale = open_image(tmp_path / "a.ome.zarr")
    assert (len(multiscale.axes), group["0"].shape) == (2, (30, 40))


def test_4d_scan_is_refused_for_ome_zarr(acquisition, tmp_path):
    with pytest.raises(ArgumentError, match="cannot store the axes y, x, ky, kx") as raised:
        convert(acquisition.movie, tmp_path / "a.ome.zarr")
    assert raised.value.code == "destination-unsuited"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_worker_converts_a_volume_larger_than_its_memory(tmp_path):
    depth, side = 128, 2048  # 1 GiB
    path = tmp_path / "large.mrc"
    noise = np.random.default_rng(0).integers(0, 4096, (side, side), "uint16")
    with path.open("wb") as file:
        file.write(movie_header(depth, (side, side)))
        for shift in range(depth):
            file.write(np.roll(noise, shift).tobytes())
    with dask_cluster(tmp_path, workers=1, threads=2, memory_limit="600 MiB") as client:
        # Each task needs up to three times this, in addition to 150 MiB for Python.
        plan = plan_mrc(path, metadata_file=None, chunks="48 MiB")
        report = convert(plan, tmp_path / "a.ome.zarr", verify=True)
        [lines] = client.get_worker_logs().values()
    assert not [line for _, line in lines if "memory usage" in line]
    assert report.nbytes == 2 * depth * side**2
    group, multiscale = open_image(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(group["0"][-1], np.roll(noise, depth - 1))
    assert len(multiscale.datasets) == 4
