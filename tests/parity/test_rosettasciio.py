"""Comparison with RosettaSciIO on any MRC file: one test per row of docs/rosettasciio.md."""

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
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # RosettaSciIO leaves files open

CELL = {"cell": (50.0, 40.0, 30.0)}  # in Å, for (x, y, z)


def load_rosettasciio(path, **options):
    [dataset] = rosettasciio(str(path), **options)
    return dataset


def load_mrcdist(path, **options):
    [dataset] = mrcdist.file_reader(path, **options)
    return dataset


def load_both(path, **options):
    return load_rosettasciio(path, **options), load_mrcdist(path, **options)


def stack(folder, shape=(3, 4, 5), dtype="int16", **header):
    return write_mrc(folder / "stack.mrc", counting(shape, dtype), **header)


def assert_same_data(first, second):
    first, second = first["data"], second["data"]
    assert (first.dtype, first.shape) == (second.dtype, second.shape)
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def axis_values(dataset, key):
    return [axis.get(key) for axis in dataset["axes"]]


@same("result")
def test_both_readers_return_a_list_of_one_dict(tmp_path):
    path = stack(tmp_path)
    for results in (rosettasciio(str(path)), mrcdist.file_reader(path)):
        [dataset] = results
        assert {"data", "axes", "metadata", "original_metadata"} <= set(dataset)


@same("pixels")
@pytest.mark.parametrize("dtype", [dtype for dtype in MODES if dtype != "int8"])
def test_both_readers_return_the_same_pixels(tmp_path, dtype):
    path = stack(tmp_path, dtype=dtype)
    before = path.read_bytes()
    for dataset in load_both(path):
        assert isinstance(dataset["data"], np.ndarray)
        np.testing.assert_array_equal(dataset["data"], counting((3, 4, 5), dtype))
        dataset["data"][...] = 1
        assert path.read_bytes() == before
    lazy = load_both(path, lazy=True)
    assert all(isinstance(dataset["data"], da.Array) for dataset in lazy)
    assert_same_data(*lazy)


@same("one section")
def test_both_readers_drop_the_axis_of_a_single_section(tmp_path):
    theirs, ours = load_both(stack(tmp_path, (1, 4, 5), **CELL))
    assert theirs["data"].ndim == 2
    assert_same_data(theirs, ours)
    assert axis_values(theirs, "name") == axis_values(ours, "name") == ["y", "x"]


@same("order of `navigation_shape`")
@pytest.mark.parametrize("shape", [(24,), (4, 6), (4, 3, 2)])
def test_both_readers_take_navigation_shape_x_first(tmp_path, shape):
    theirs, ours = load_both(stack(tmp_path, (24, 4, 5)), navigation_shape=shape)
    assert theirs["data"].shape == (*shape[::-1], 4, 5)
    assert_same_data(theirs, ours)


@same("pixel size and origin")
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (7.0, -8.0, 9.0)])
def test_both_readers_return_the_same_pixel_size_and_origin(tmp_path, origin):
    path = stack(tmp_path, cell=(55.0, 44.0, 36.0), origin=origin)
    theirs, ours = load_both(path)
    for their_axis, our_axis in zip(theirs["axes"], ours["axes"], strict=True):
        ignored = {"units"} if our_axis["name"] == "z" else set()  # see the row "units of `z`"
        assert set(their_axis) == set(our_axis)
        assert all(their_axis[key] == our_axis[key] for key in set(our_axis) - ignored)
    assert axis_values(theirs, "scale") == pytest.approx([1.2, 1.1, 1.1])
    assert axis_values(theirs, "offset") == pytest.approx(
        [origin[2] / 10, origin[1] / 10, origin[0] / 10]
    )
    assert axis_values(theirs, "units")[1:] == ["nm", "nm"]


@same("header fields")
def test_both_readers_return_the_same_mrc2014_header_fields(tmp_path):
    path = stack(tmp_path, **CELL, origin=(1.0, 2.0, 3.0), statistics=(1.0, 9.0, 5.0, 2.0))
    theirs, ours = (dataset["original_metadata"]["std_header"] for dataset in load_both(path))
    fields = [
        "NX", "NY", "NZ", "MODE", "NXSTART", "NYSTART", "NZSTART", "MX", "MY", "MZ",
        "Xlen", "Ylen", "Zlen", "ALPHA", "BETA", "GAMMA", "MAPC", "MAPR", "MAPS",
        "AMIN", "AMAX", "AMEAN", "ISPG", "XORIGIN", "YORIGIN", "ZORIGIN", "RMS", "NLABL",
    ]  # fmt: skip
    assert {field: theirs[field] for field in fields} == {field: ours[field] for field in fields}
    assert [ours[field] for field in ("NX", "Xlen", "AMAX", "RMS")] == [5, 50.0, 9.0, 2.0]


@same("file name")
def test_both_readers_return_the_same_file_name_and_signal_type(tmp_path):
    for dataset in load_both(stack(tmp_path)):
        assert dataset["metadata"]["General"]["original_filename"] == "stack.mrc"
        assert dataset["metadata"]["Signal"]["signal_type"] == ""


@differs("title")
def test_title_is_set_only_by_mrcdist(tmp_path):
    theirs, ours = (dataset["metadata"] for dataset in load_both(stack(tmp_path)))
    assert ours["General"] == {**theirs["General"], "title": "stack"}
    assert ours["Signal"] == theirs["Signal"]


@differs("no images")
def test_empty_dict_of_navigators_is_present_only_in_rosettasciio(tmp_path):
    theirs, ours = (dataset["metadata"] for dataset in load_both(stack(tmp_path)))
    assert theirs["_HyperSpy"] == {"navigators": {}}
    assert set(theirs) - set(ours) == {"_HyperSpy"}


@differs("`mapping`")
def test_key_mapping_is_returned_only_by_rosettasciio(tmp_path):
    theirs, ours = load_both(stack(tmp_path))
    assert set(theirs) - set(ours) == {"mapping"}
    assert set(ours) <= set(theirs)


@differs("mode 0")
def test_mode_0_is_uint8_in_rosettasciio_and_int8_in_mrcdist(tmp_path):
    path = stack(tmp_path, dtype="int8", statistics=(0.0, 99.0, 5.0, 1.0))
    path.write_bytes(path.read_bytes()[:1024] + bytes(range(180, 240)))
    theirs, ours = load_both(path)
    assert (theirs["data"].dtype, ours["data"].dtype) == (np.uint8, np.int8)
    assert theirs["data"][0, 0, 0] == 180
    assert ours["data"][0, 0, 0] == 180 - 256
    assert_same_data(theirs, load_mrcdist(path, mode0="uint8"))


@differs("other modes")
@pytest.mark.parametrize(("mode", "bytes_per_row"), [(3, 20), (16, 15), (101, 3)])
def test_modes_3_16_and_101_are_read_only_by_mrcdist(tmp_path, mode, bytes_per_row):
    path = tmp_path / "a.mrc"
    raw = header_bytes(nx=5, ny=4, nz=3, mode=mode) + bytes(12 * bytes_per_row)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="mode"):
        load_rosettasciio(path)
    assert load_mrcdist(path)["data"].shape[:3] == (3, 4, 5)


@differs("byte order")
def test_big_endian_pixels_are_read_correctly_only_by_mrcdist(tmp_path):
    path = stack(tmp_path, byteorder=">")
    swapped = counting((3, 4, 5), "int16").byteswap()
    np.testing.assert_array_equal(load_rosettasciio(path, endianness=">")["data"], swapped)
    for options in ({}, {"endianess": ">"}, {"endianess": "<"}):
        np.testing.assert_array_equal(
            load_mrcdist(path, **options)["data"], counting((3, 4, 5), "int16")
        )


@differs("units of `z`")
def test_axis_z_has_units_only_in_mrcdist(tmp_path):
    theirs, ours = load_both(stack(tmp_path, **CELL))
    assert axis_values(theirs, "units") == [None, "nm", "nm"]
    assert axis_values(ours, "units") == ["nm", "nm", "nm"]


@differs("uncalibrated axes")
@pytest.mark.parametrize(("cell", "scale"), [((0.0, 0.0, 0.0), 0.0), ((-50.0, -40.0, 0.0), -1.0)])
def test_axes_of_an_invalid_cell_are_uncalibrated_only_in_mrcdist(tmp_path, cell, scale):
    theirs, ours = load_both(stack(tmp_path, cell=cell))
    assert axis_values(theirs, "scale")[1:] == [scale, scale]
    assert axis_values(theirs, "units")[1:] == ["nm", "nm"]
    assert axis_values(ours, "scale") == [1.0, 1.0, 1.0]
    assert axis_values(ours, "units") == [None, None, None]


@differs("start offsets (NXSTART)")
def test_nxstart_becomes_an_offset_only_in_mrcdist(tmp_path, real_data):
    theirs, ours = load_both(stack(tmp_path, **CELL, start=(-2, 3, 4)))
    assert axis_values(theirs, "offset") == [0.0, 0.0, 0.0]
    assert axis_values(ours, "offset") == [4.0, 3.0, -2.0]
    theirs, ours = load_both(real_data / "EMD-3197.map")
    assert_same_data(theirs, ours)
    assert axis_values(theirs, "scale") == axis_values(ours, "scale") == pytest.approx([1.14] * 3)
    assert axis_values(theirs, "offset") == [0.0, 0.0, 0.0]
    assert axis_values(ours, "offset") == pytest.approx([0.0, 0.0, -2 * 1.14])


@differs("frames of one row or column")
def test_frames_of_one_row_keep_their_y_axis_only_in_mrcdist(tmp_path):
    theirs, ours = load_both(stack(tmp_path, (3, 1, 5)))
    assert (theirs["data"].shape, axis_values(theirs, "name")) == ((3, 5), ["y", "x"])
    assert (ours["data"].shape, axis_values(ours, "name")) == ((3, 1, 5), ["z", "y", "x"])


@differs("volume stacks")
def test_volume_stack_has_an_axis_of_volumes_only_in_mrcdist(tmp_path):
    path = stack(tmp_path, (6, 4, 5), ispg=401, intervals=(5, 4, 3))
    theirs, ours = load_both(path)
    assert theirs["data"].shape == (6, 4, 5)
    assert ours["data"].shape == (2, 3, 4, 5)
    assert axis_values(ours, "name") == ["volume", "z", "y", "x"]


@differs("names of navigation axes")
def test_navigation_axes_are_named_and_uncalibrated_only_in_mrcdist(tmp_path):
    theirs, ours = load_both(stack(tmp_path, (24, 4, 5), **CELL), navigation_shape=(4, 3, 2))
    assert axis_values(theirs, "name") == ["", "", "z", "y", "x"]
    assert axis_values(theirs, "scale")[:3] == [1, 1, 3.0 / 24]
    assert axis_values(ours, "name") == ["scan_3", "scan_y", "scan_x", "y", "x"]
    assert axis_values(ours, "scale")[:3] == [1.0, 1.0, 1.0]


@differs("`navigation_shape` as a list")
def test_navigation_shape_can_be_a_list_only_in_mrcdist(tmp_path):
    path = stack(tmp_path, (24, 4, 5))
    with pytest.raises(TypeError):
        load_rosettasciio(path, navigation_shape=[4, 6])
    assert_same_data(
        load_mrcdist(path, navigation_shape=[4, 6]),
        load_rosettasciio(path, navigation_shape=(4, 6)),
    )


@differs("-1 in `navigation_shape`")
def test_navigation_shape_can_contain_minus_1_only_in_mrcdist(tmp_path):
    path = stack(tmp_path, (24, 4, 5))
    with pytest.raises(ValueError, match="negative"):
        load_rosettasciio(path, navigation_shape=(4, -1))
    assert_same_data(
        load_mrcdist(path, navigation_shape=(4, -1)),
        load_rosettasciio(path, navigation_shape=(4, 6)),
    )


@differs("`navigation_shape` too small")
def test_navigation_shape_that_is_too_small_is_an_error_only_in_mrcdist(tmp_path):
    path = stack(tmp_path, (24, 4, 5))
    assert load_rosettasciio(path, navigation_shape=(4, 5))["data"].shape == (5, 4, 4, 5)
    with pytest.raises(ArgumentError, match="20 points, but the file has 24"):
        load_mrcdist(path, navigation_shape=(4, 5))


@differs("FEI2 records")
def test_fei2_records_are_decoded_only_by_mrcdist(real_data):
    theirs, ours = load_both(real_data / "HAADFscan.mrc")
    assert_same_data(theirs, ours)
    assert axis_values(theirs, "scale") == axis_values(ours, "scale")
    assert "Acquisition_instrument" not in theirs["metadata"]
    assert set(theirs["original_metadata"]) == {"std_header"}
    assert ours["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] == 300.0
    assert ours["original_metadata"]["extended_header"]["type"] == "FEI2"


@differs("tilt series")
def test_tilt_angles_become_an_axis_only_in_mrcdist(tmp_path):
    path = stack(tmp_path)
    (tmp_path / "stack.tlt").write_text("3\n-3\n0\n")
    theirs, ours = load_both(path)
    assert (theirs["axes"][0]["name"], ours["axes"][0]["name"]) == ("z", "tilt")
    assert_same_data(theirs, ours)
    sections = load_mrcdist(path, sort_by_tilt=True)
    assert (sections["axes"][0]["offset"], sections["axes"][0]["scale"]) == (-3.0, 3.0)
    np.testing.assert_array_equal(sections["data"], theirs["data"][[1, 2, 0]])


@differs("header fields beyond MRC2014")
def test_header_fields_beyond_mrc2014_are_modern_only_in_mrcdist(tmp_path):
    path = stack(tmp_path, extended=bytes(80), exttyp=b"CCP4", labels=(b"made by hand",))
    theirs, ours = (dataset["original_metadata"]["std_header"] for dataset in load_both(path))
    assert set(theirs) - set(ours) == {
        "NEXT", "CREATID", "EXTRA", "EXTRA2", "NINT", "NREAL", "IDTYPE", "LENS",
        "ND1", "ND2", "VD1", "VD2", "TILTANGLES", "CMAP", "STAMP",
    }  # fmt: skip
    assert set(ours) - set(theirs) == {
        "NVERSION", "EXTTYP", "MAP", "MACHST", "IMODSTAMP", "IMODFLAGS",
    }  # fmt: skip
    assert (theirs["NEXT"], theirs["NSYMBT"], ours["NSYMBT"]) == (80, 0, 80)
    assert (theirs["CMAP"], ours["MAP"]) == (b"MAP ".hex(), "MAP ")
    assert bytes.fromhex(theirs["LABELS"]).rstrip() == b"made by hand"
    assert ours["LABELS"] == ["made by hand"]
    assert {type(ours[field]) for field in ("NX", "Xlen")} == {int, float}


@differs("truncated files")
def test_truncated_file_can_be_read_only_by_mrcdist(tmp_path):
    path = stack(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="mmap length"):
        load_rosettasciio(path)
    with pytest.raises(TruncatedFileError, match="2 of 3 frames"):
        load_mrcdist(path)
    with pytest.warns(mrcdist.MrcdistWarning, match="2 of 3 frames"):
        assert load_mrcdist(path, allow_truncated=True)["data"].shape == (2, 4, 5)


@differs("Path objects")
def test_path_objects_need_metadata_file_only_in_rosettasciio(tmp_path):
    path = stack(tmp_path)
    with pytest.raises(TypeError):
        rosettasciio(path)
    [dataset] = rosettasciio(path, metadata_file=None)
    assert_same_data(dataset, load_mrcdist(path))


@differs("URLs")
def test_urls_are_read_only_by_mrcdist(tmp_path):
    path = stack(tmp_path)
    url = f"{in_memory(tmp_path)}/stack.mrc"
    with pytest.raises(FileNotFoundError):
        load_rosettasciio(url)
    assert_same_data(load_mrcdist(url), load_rosettasciio(path))


@differs("compressed files")
def test_compressed_files_are_read_only_by_mrcdist(tmp_path):
    path = tmp_path / "stack.mrc.gz"
    path.write_bytes(gzip.compress(mrc_bytes(counting((3, 4, 5), "int16"))))
    with pytest.raises(ValueError):  # noqa: PT011 depends on the compressed bytes
        load_rosettasciio(path)
    with pytest.warns(mrcdist.MrcdistWarning, match="gzip"):
        np.testing.assert_array_equal(load_mrcdist(path)["data"], counting((3, 4, 5), "int16"))


@differs("default chunks")
def test_default_chunks_are_whole_frames_only_in_mrcdist(tmp_path):
    path = stack(tmp_path, (8, 40, 40))
    with dask.config.set({"array.chunk-size": "4 KiB"}):
        theirs, ours = load_both(path, lazy=True)
    assert theirs["data"].numblocks[0] == 1
    assert theirs["data"].numblocks[1] > 1
    assert ours["data"].chunksize == (1, 40, 40)


@differs('`mmap_mode="r+"`')
def test_mmap_mode_r_plus_modifies_the_file_only_in_mrcdist(tmp_path):
    path = stack(tmp_path)
    before = path.read_bytes()
    with pytest.warns(UserWarning, match="removed"):
        load_rosettasciio(path, mmap_mode="r+")["data"][0, 0, 0] = 99
    assert path.read_bytes() == before
    load_mrcdist(path, mmap_mode="r+")["data"][0, 0, 0] = 99
    assert path.read_bytes() == before[:1024] + b"\x63" + before[1025:]
    with pytest.raises(ArgumentError, match="lazy=False"):
        load_mrcdist(path, mmap_mode="r+", lazy=True)


@differs("`mmap_mode`, `distributed`")
@pytest.mark.parametrize("option", [{"mmap_mode": "r"}, {"distributed": True}])
def test_mmap_mode_and_distributed_have_an_effect_only_in_mrcdist(tmp_path, option):
    path = stack(tmp_path)
    with pytest.warns(UserWarning, match="removed"):
        theirs = load_rosettasciio(path, **option)
    ours = load_mrcdist(path, **option)
    assert_same_data(theirs, ours)
    assert isinstance(theirs["data"], np.ndarray)
    assert isinstance(ours["data"], np.ndarray)
    assert isinstance(load_mrcdist(path, lazy=True, **option)["data"], da.Array)
    assert "mmap_mode" not in option or not ours["data"].flags.writeable


@differs("`endianess`")
def test_endianess_is_accepted_only_by_mrcdist(tmp_path):
    path = stack(tmp_path)
    with pytest.raises(KeyError):
        load_rosettasciio(path, endianess="<")
    for option in ({"endianess": "<"}, {"endianness": "<"}):
        assert_same_data(load_mrcdist(path, **option), load_rosettasciio(path))


def test_every_row_of_any_mrc_file_in_the_docs_has_a_test():
    assert table.proven == table.rows()
