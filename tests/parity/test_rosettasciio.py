"""docs/rosettasciio.md, "Any MRC file": one test per row, on the same files."""

from __future__ import annotations

import gzip

import dask
import dask.array as da
import numpy as np
import pytest

import mrcdist
from mrcdist import ArgumentError, TruncatedFileError
from tests.support.acquisitions import in_memory
from tests.support.mrc_files import MODES, counting, header_bytes, mrc_bytes, write_mrc
from tests.support.parity_table import ParityTable, require_rosettasciio

rosettasciio = require_rosettasciio()
table = ParityTable("Any MRC file")
same, differs = table.same, table.differs
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # it leaves files open

CELL = {"cell": (50.0, 40.0, 30.0)}  # in Å, for (x, y, z)


def peer(path, **options):
    [dataset] = rosettasciio(str(path), **options)
    return dataset


def mine(path, **options):
    [dataset] = mrcdist.file_reader(path, **options)
    return dataset


def both(path, **options):
    return peer(path, **options), mine(path, **options)


def stack(folder, shape=(3, 4, 5), dtype="int16", **header):
    return write_mrc(folder / "stack.mrc", counting(shape, dtype), **header)


def assert_same_data(left, right):
    left, right = left["data"], right["data"]
    assert (left.dtype, left.shape) == (right.dtype, right.shape)
    np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


def each(dataset, key):
    return [axis.get(key) for axis in dataset["axes"]]


@same("result")
def test_result(tmp_path):
    path = stack(tmp_path)
    for results in (rosettasciio(str(path)), mrcdist.file_reader(path)):
        [dataset] = results
        assert {"data", "axes", "metadata", "original_metadata"} <= set(dataset)


@same("pixels")
@pytest.mark.parametrize("dtype", [dtype for dtype in MODES if dtype != "int8"])
def test_pixels(tmp_path, dtype):
    path = stack(tmp_path, dtype=dtype)
    before = path.read_bytes()
    for dataset in both(path):
        assert isinstance(dataset["data"], np.ndarray)
        np.testing.assert_array_equal(dataset["data"], counting((3, 4, 5), dtype))
        dataset["data"][...] = 1
        assert path.read_bytes() == before
    lazy = both(path, lazy=True)
    assert all(isinstance(dataset["data"], da.Array) for dataset in lazy)
    assert_same_data(*lazy)


@same("one section")
def test_one_section(tmp_path):
    left, right = both(stack(tmp_path, (1, 4, 5), **CELL))
    assert left["data"].ndim == 2
    assert_same_data(left, right)
    assert each(left, "name") == each(right, "name") == ["y", "x"]


@same("order of `navigation_shape`")
@pytest.mark.parametrize("given", [(24,), (4, 6), (4, 3, 2)])
def test_order_of_navigation_shape(tmp_path, given):
    left, right = both(stack(tmp_path, (24, 4, 5)), navigation_shape=given)
    assert left["data"].shape == (*given[::-1], 4, 5)
    assert_same_data(left, right)


@same("pixel size and origin")
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (7.0, -8.0, 9.0)])
def test_pixel_size_and_origin(tmp_path, origin):
    path = stack(tmp_path, cell=(55.0, 44.0, 36.0), origin=origin)
    left, right = both(path)
    for of_peer, own in zip(left["axes"], right["axes"], strict=True):
        ignored = {"units"} if own["name"] == "z" else set()  # a row of its own
        assert set(of_peer) == set(own)
        assert all(of_peer[key] == own[key] for key in set(own) - ignored)
    assert each(left, "scale") == pytest.approx([1.2, 1.1, 1.1])
    assert each(left, "offset") == pytest.approx([origin[2] / 10, origin[1] / 10, origin[0] / 10])
    assert each(left, "units")[1:] == ["nm", "nm"]


@same("header fields")
def test_header_fields(tmp_path):
    path = stack(tmp_path, **CELL, origin=(1.0, 2.0, 3.0), statistics=(1.0, 9.0, 5.0, 2.0))
    left, right = (dataset["original_metadata"]["std_header"] for dataset in both(path))
    words = [
        "NX", "NY", "NZ", "MODE", "NXSTART", "NYSTART", "NZSTART", "MX", "MY", "MZ",
        "Xlen", "Ylen", "Zlen", "ALPHA", "BETA", "GAMMA", "MAPC", "MAPR", "MAPS",
        "AMIN", "AMAX", "AMEAN", "ISPG", "XORIGIN", "YORIGIN", "ZORIGIN", "RMS", "NLABL",
    ]  # fmt: skip
    assert {word: left[word] for word in words} == {word: right[word] for word in words}
    assert [right[word] for word in ("NX", "Xlen", "AMAX", "RMS")] == [5, 50.0, 9.0, 2.0]


@same("file name")
def test_file_name(tmp_path):
    for dataset in both(stack(tmp_path)):
        assert dataset["metadata"]["General"]["original_filename"] == "stack.mrc"
        assert dataset["metadata"]["Signal"]["signal_type"] == ""


@differs("title")
def test_title(tmp_path):
    left, right = (dataset["metadata"] for dataset in both(stack(tmp_path)))
    assert right["General"] == {**left["General"], "title": "stack"}
    assert right["Signal"] == left["Signal"]


@differs("no images")
def test_no_images(tmp_path):
    left, right = (dataset["metadata"] for dataset in both(stack(tmp_path)))
    assert left["_HyperSpy"] == {"navigators": {}}
    assert set(left) - set(right) == {"_HyperSpy"}


@differs("`mapping`")
def test_mapping(tmp_path):
    left, right = both(stack(tmp_path))
    assert set(left) - set(right) == {"mapping"}
    assert set(right) <= set(left)


@differs("mode 0")
def test_mode_0(tmp_path):
    path = stack(tmp_path, dtype="int8", statistics=(0.0, 99.0, 5.0, 1.0))
    path.write_bytes(path.read_bytes()[:1024] + bytes(range(180, 240)))
    left, right = both(path)
    assert (left["data"].dtype, right["data"].dtype) == (np.uint8, np.int8)
    assert left["data"][0, 0, 0] == 180
    assert right["data"][0, 0, 0] == 180 - 256
    assert_same_data(left, mine(path, mode0="uint8"))


@differs("other modes")
@pytest.mark.parametrize(("mode", "bytes_a_row"), [(3, 20), (16, 15), (101, 3)])
def test_other_modes(tmp_path, mode, bytes_a_row):
    path = tmp_path / "odd.mrc"
    raw = header_bytes(nx=5, ny=4, nz=3, mode=mode) + bytes(12 * bytes_a_row)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="mode"):
        peer(path)
    assert mine(path)["data"].shape[:3] == (3, 4, 5)


@differs("byte order")
def test_byte_order(tmp_path):
    path = stack(tmp_path, byteorder=">")
    swapped = counting((3, 4, 5), "int16").byteswap()
    np.testing.assert_array_equal(peer(path, endianness=">")["data"], swapped)
    for options in ({}, {"endianess": ">"}, {"endianess": "<"}):
        np.testing.assert_array_equal(mine(path, **options)["data"], counting((3, 4, 5), "int16"))


@differs("units of `z`")
def test_units_of_z(tmp_path):
    left, right = both(stack(tmp_path, **CELL))
    assert each(left, "units") == [None, "nm", "nm"]
    assert each(right, "units") == ["nm", "nm", "nm"]


@differs("uncalibrated axes")
@pytest.mark.parametrize(("cell", "scale"), [((0.0, 0.0, 0.0), 0.0), ((-50.0, -40.0, 0.0), -1.0)])
def test_uncalibrated_axes(tmp_path, cell, scale):
    left, right = both(stack(tmp_path, cell=cell))
    assert each(left, "scale")[1:] == [scale, scale]
    assert each(left, "units")[1:] == ["nm", "nm"]
    assert each(right, "scale") == [1.0, 1.0, 1.0]
    assert each(right, "units") == [None, None, None]


@differs("start offsets (NXSTART)")
def test_start_offsets(tmp_path, real_data):
    left, right = both(stack(tmp_path, **CELL, start=(-2, 3, 4)))
    assert each(left, "offset") == [0.0, 0.0, 0.0]
    assert each(right, "offset") == [4.0, 3.0, -2.0]
    left, right = both(real_data / "EMD-3197.map")
    assert_same_data(left, right)
    assert each(left, "scale") == each(right, "scale") == pytest.approx([1.14] * 3)
    assert each(left, "offset") == [0.0, 0.0, 0.0]
    assert each(right, "offset") == pytest.approx([0.0, 0.0, -2 * 1.14])


@differs("frames of one row or column")
def test_frames_of_one_row_or_column(tmp_path):
    left, right = both(stack(tmp_path, (3, 1, 5)))
    assert (left["data"].shape, each(left, "name")) == ((3, 5), ["y", "x"])
    assert (right["data"].shape, each(right, "name")) == ((3, 1, 5), ["z", "y", "x"])


@differs("volume stacks")
def test_volume_stacks(tmp_path):
    path = stack(tmp_path, (6, 4, 5), ispg=401, intervals=(5, 4, 3))
    left, right = both(path)
    assert left["data"].shape == (6, 4, 5)
    assert right["data"].shape == (2, 3, 4, 5)
    assert each(right, "name") == ["volume", "z", "y", "x"]


@differs("names of navigation axes")
def test_names_of_navigation_axes(tmp_path):
    left, right = both(stack(tmp_path, (24, 4, 5), **CELL), navigation_shape=(4, 3, 2))
    assert each(left, "name") == ["", "", "z", "y", "x"]
    assert each(left, "scale")[:3] == [1, 1, 3.0 / 24]
    assert each(right, "name") == ["scan_3", "scan_y", "scan_x", "y", "x"]
    assert each(right, "scale")[:3] == [1.0, 1.0, 1.0]


@differs("`navigation_shape` as a list")
def test_navigation_shape_as_a_list(tmp_path):
    path = stack(tmp_path, (24, 4, 5))
    with pytest.raises(TypeError):
        peer(path, navigation_shape=[4, 6])
    assert_same_data(mine(path, navigation_shape=[4, 6]), peer(path, navigation_shape=(4, 6)))


@differs("-1 in `navigation_shape`")
def test_minus_one_in_navigation_shape(tmp_path):
    path = stack(tmp_path, (24, 4, 5))
    with pytest.raises(ValueError, match="negative"):
        peer(path, navigation_shape=(4, -1))
    assert_same_data(mine(path, navigation_shape=(4, -1)), peer(path, navigation_shape=(4, 6)))


@differs("`navigation_shape` too small")
def test_navigation_shape_too_small(tmp_path):
    path = stack(tmp_path, (24, 4, 5))
    assert peer(path, navigation_shape=(4, 5))["data"].shape == (5, 4, 4, 5)
    with pytest.raises(ArgumentError, match="20 points, but the file has 24"):
        mine(path, navigation_shape=(4, 5))


@differs("FEI2 records")
def test_fei2_records(real_data):
    left, right = both(real_data / "HAADFscan.mrc")
    assert_same_data(left, right)
    assert each(left, "scale") == each(right, "scale")
    assert "Acquisition_instrument" not in left["metadata"]
    assert set(left["original_metadata"]) == {"std_header"}
    assert right["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] == 300.0
    assert right["original_metadata"]["extended_header"]["type"] == "FEI2"


@differs("tilt series")
def test_tilt_series(tmp_path):
    path = stack(tmp_path)
    (tmp_path / "stack.tlt").write_text("3\n-3\n0\n")
    left, right = both(path)
    assert (left["axes"][0]["name"], right["axes"][0]["name"]) == ("z", "tilt")
    assert_same_data(left, right)
    sections = mine(path, sort_by_tilt=True)
    assert (sections["axes"][0]["offset"], sections["axes"][0]["scale"]) == (-3.0, 3.0)
    np.testing.assert_array_equal(sections["data"], left["data"][[1, 2, 0]])


@differs("header fields beyond MRC2014")
def test_header_fields_beyond_mrc2014(tmp_path):
    path = stack(tmp_path, extended=bytes(80), exttyp=b"CCP4", labels=(b"made by hand",))
    left, right = (dataset["original_metadata"]["std_header"] for dataset in both(path))
    assert set(left) - set(right) == {
        "NEXT", "CREATID", "EXTRA", "EXTRA2", "NINT", "NREAL", "IDTYPE", "LENS",
        "ND1", "ND2", "VD1", "VD2", "TILTANGLES", "CMAP", "STAMP",
    }  # fmt: skip
    assert set(right) - set(left) == {
        "NVERSION", "EXTTYP", "MAP", "MACHST", "IMODSTAMP", "IMODFLAGS",
    }  # fmt: skip
    assert (left["NEXT"], left["NSYMBT"], right["NSYMBT"]) == (80, 0, 80)
    assert (left["CMAP"], right["MAP"]) == (b"MAP ".hex(), "MAP ")
    assert bytes.fromhex(left["LABELS"]).rstrip() == b"made by hand"
    assert right["LABELS"] == ["made by hand"]
    assert {type(right[word]) for word in ("NX", "Xlen")} == {int, float}


@differs("truncated files")
def test_truncated_files(tmp_path):
    path = stack(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="mmap length"):
        peer(path)
    with pytest.raises(TruncatedFileError, match="2 of 3 frames"):
        mine(path)
    with pytest.warns(mrcdist.MrcdistWarning, match="2 of 3 frames"):
        assert mine(path, allow_truncated=True)["data"].shape == (2, 4, 5)


@differs("Path objects")
def test_path_objects(tmp_path):
    path = stack(tmp_path)
    with pytest.raises(TypeError):
        rosettasciio(path)
    [dataset] = rosettasciio(path, metadata_file=None)
    assert_same_data(dataset, mine(path))


@differs("URLs")
def test_urls(tmp_path):
    path = stack(tmp_path)
    url = f"{in_memory(tmp_path)}/stack.mrc"
    with pytest.raises(FileNotFoundError):
        peer(url)
    assert_same_data(mine(url), peer(path))


@differs("compressed files")
def test_compressed_files(tmp_path):
    path = tmp_path / "stack.mrc.gz"
    path.write_bytes(gzip.compress(mrc_bytes(counting((3, 4, 5), "int16"))))
    with pytest.raises(ValueError):  # noqa: PT011 whatever it makes of the compressed bytes
        peer(path)
    with pytest.warns(mrcdist.MrcdistWarning, match="gzip"):
        np.testing.assert_array_equal(mine(path)["data"], counting((3, 4, 5), "int16"))


@differs("default chunks")
def test_default_chunks(tmp_path):
    path = stack(tmp_path, (8, 40, 40))
    with dask.config.set({"array.chunk-size": "4 KiB"}):
        left, right = both(path, lazy=True)
    assert left["data"].numblocks[0] == 1
    assert left["data"].numblocks[1] > 1
    assert right["data"].chunksize == (1, 40, 40)


@differs('`mmap_mode="r+"`')
def test_mmap_mode_r_plus(tmp_path):
    path = stack(tmp_path)
    before = path.read_bytes()
    with pytest.warns(UserWarning, match="removed"):
        peer(path, mmap_mode="r+")["data"][0, 0, 0] = 99
    assert path.read_bytes() == before
    mine(path, mmap_mode="r+")["data"][0, 0, 0] = 99
    assert path.read_bytes() == before[:1024] + b"\x63" + before[1025:]
    with pytest.raises(ArgumentError, match="lazy=False"):
        mine(path, mmap_mode="r+", lazy=True)


@differs("`mmap_mode`, `distributed`")
@pytest.mark.parametrize("option", [{"mmap_mode": "r"}, {"distributed": True}])
def test_mmap_mode_distributed(tmp_path, option):
    path = stack(tmp_path)
    with pytest.warns(UserWarning, match="removed"):
        left = peer(path, **option)
    right = mine(path, **option)
    assert_same_data(left, right)
    assert isinstance(left["data"], np.ndarray)
    assert isinstance(right["data"], np.ndarray)
    assert isinstance(mine(path, lazy=True, **option)["data"], da.Array)
    assert "mmap_mode" not in option or not right["data"].flags.writeable


@differs("`endianess`")
def test_endianess(tmp_path):
    path = stack(tmp_path)
    with pytest.raises(KeyError):
        peer(path, endianess="<")
    for option in ({"endianess": "<"}, {"endianness": "<"}):
        assert_same_data(mine(path, **option), peer(path))


def test_every_row_has_its_test():
    assert table.proven == table.rows()
