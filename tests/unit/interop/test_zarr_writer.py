"""`convert` to .zspy, read back with HyperSpy or zarr 2 or 3."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from demo.tilt_series import write_tilt_series
from mrcdist import ArgumentError, convert, plan_mrc, read_mrc
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, write_mrc

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # HyperSpy's store, in zarr 2
    pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning"),
]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movie")
    return write_acquisition(folder, scan_shape=(4, 6), frame_shape=(8, 10)).movie


def open_signal(path: Path, **options: Any) -> Any:
    return pytest.importorskip("hyperspy.api").load(path, **options)


def stored_in(path: Path) -> Any:
    group = zarr.open_group(str(path), mode="r")["Experiments"]
    [(_, signal)] = group.groups()
    return signal


def test_hyperspy_opens_the_scan_with_axes_and_metadata(movie: Path, tmp_path: Path) -> None:
    report = convert(movie, tmp_path / "a.zspy", select=":,2:", verify=True)
    assert report.verified
    [ds] = read_mrc(movie, lazy=False)
    signal = open_signal(tmp_path / "a.zspy")
    np.testing.assert_array_equal(signal.data, ds["data"][:, 2:])
    assert signal.data.dtype == ds["data"].dtype
    found = [
        (axis.name, axis.size, axis.scale, axis.offset, axis.units, axis.navigate)
        for axis in signal.axes_manager._axes
    ]
    expected = [
        (axis["name"], axis["size"], axis["scale"], axis["offset"], axis["units"], axis["navigate"])
        for axis in ds["axes"]
    ]
    name, size, scale, offset, *rest = expected[1]
    expected[1] = (name, size - 2, scale, offset + 2 * scale, *rest)
    assert found == expected
    metadata = signal.metadata.as_dictionary()
    assert metadata["General"]["title"] == ds["metadata"]["General"]["title"]
    assert metadata["Acquisition_instrument"] == ds["metadata"]["Acquisition_instrument"]
    original = signal.original_metadata.as_dictionary()
    assert original["de_metadata"] == ds["original_metadata"]["de_metadata"]
    assert original["std_header"] == ds["original_metadata"]["std_header"]


@pytest.mark.parametrize("title", ["a\\b", ".", "..", ".zgroup", "\x1b[31m$\\frac{", "\udcff"])
def test_signal_with_any_title_is_opened_by_hyperspy(tmp_path: Path, title: str) -> None:
    numbers = counting((3, 4, 5), "uint16")
    plan = plan_mrc(write_mrc(tmp_path / f"{title}.mrc", numbers))
    assert convert(plan, tmp_path / "out.zspy", verify=True).verified
    signal = open_signal(tmp_path / "out.zspy")
    np.testing.assert_array_equal(signal.data, numbers)
    assert signal.metadata.General.title == title


def test_hyperspy_opens_a_signal_lazily_with_the_written_chunks(tmp_path: Path) -> None:
    numbers = counting((64, 128, 128), "uint16")
    plan = plan_mrc(write_mrc(tmp_path / "in.mrc", numbers), chunks=(16, -1, -1))
    report = convert(plan, tmp_path / "a.zspy")
    assert report.blocks == 4
    signal = open_signal(tmp_path / "a.zspy", lazy=True)
    assert signal.data.numblocks == (4, 1, 1)
    np.testing.assert_array_equal(signal.inav[17].data.compute(), numbers[17])


def test_hyperspy_saves_a_converted_signal(movie: Path, tmp_path: Path) -> None:
    convert(movie, tmp_path / "a.zspy")
    signal = open_signal(tmp_path / "a.zspy")
    signal.save(tmp_path / "b.zspy")
    np.testing.assert_array_equal(open_signal(tmp_path / "b.zspy").data, signal.data)


def test_irregular_tilt_angles_become_an_axis(tmp_path: Path) -> None:
    angles = np.array([-40.0, -10.0, 0.0, 15.0])
    images = counting((4, 8, 10), "int16")
    path = tmp_path / "tilts.mrc"
    write_tilt_series(path, angles, images.__getitem__, shape=(8, 10), kind="SERI")
    convert(path, tmp_path / "a.zspy")
    axis = open_signal(tmp_path / "a.zspy").axes_manager[0]
    np.testing.assert_allclose(axis.axis, angles)
    assert (axis.name, axis.units) == ("tilt", "deg")


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float16", "float32", "complex64"])
def test_every_dtype_is_written_unchanged_to_zspy(tmp_path: Path, dtype: str) -> None:
    numbers = counting((5, 6, 7), dtype)
    plan = plan_mrc(write_mrc(tmp_path / "in.mrc", numbers), chunks=(2, -1, -1))
    convert(plan, tmp_path / "a.zspy", verify=True)
    found = stored_in(tmp_path / "a.zspy")["data"][...]
    assert found.dtype == numbers.dtype
    np.testing.assert_array_equal(found, numbers)


def test_existing_signal_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path = write_mrc(tmp_path / "in.mrc", counting((5, 6, 7), "int16"))
    convert(path, tmp_path / "a.zspy")
    with pytest.raises(ArgumentError, match="exists"):
        convert(path, tmp_path / "a.zspy")
    convert(path, tmp_path / "a.zspy", select="1:", overwrite=True)
    assert stored_in(tmp_path / "a.zspy")["data"].shape == (4, 6, 7)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.zspy", "in.mrc"]


def test_stored_bytes_depend_only_on_the_input(movie: Path, tmp_path: Path) -> None:
    for name in ("a.zspy", "b.zspy"):
        convert(movie, tmp_path / name)
    files = [path for path in (tmp_path / "a.zspy").rglob("*") if path.is_file()]
    for path in files:
        other = tmp_path / "b.zspy" / path.relative_to(tmp_path / "a.zspy")
        assert path.read_bytes() == other.read_bytes()
    shutil.rmtree(tmp_path / "b.zspy")
