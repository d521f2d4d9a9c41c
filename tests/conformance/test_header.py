"""The main header: byte order, shape, damage. Every file is written byte by byte."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest

import mrcdist
from mrcdist.errors import FormatError, MrcdistWarning, TruncatedFileError
from tests.support.mrc_files import MODES, counting, header_bytes, mrc_bytes, write_mrc

STACK = (3, 4, 5)


def load(path, **options):
    [ds] = mrcdist.read_mrc(path, **options)
    return ds


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("dtype", sorted(MODES))
def test_modes_are_read_in_both_byte_orders(tmp_path, dtype, byteorder):
    numbers = counting(STACK, dtype)
    data = load(write_mrc(tmp_path / "a.mrc", numbers, byteorder=byteorder))["data"]
    assert data.dtype == numbers.dtype
    assert data.dtype.isnative
    np.testing.assert_array_equal(data.compute(), numbers)


@pytest.mark.parametrize(
    "stamp",
    ["44440000", "44410000", "44000000", "44202020", "44110000", "00000000", "3f9e0651"],
)
@pytest.mark.parametrize("byteorder", "<>")
def test_stamps_of_the_wild_do_not_decide(tmp_path, stamp, byteorder):
    numbers = counting(STACK, "int16")
    path = write_mrc(tmp_path / "a.mrc", numbers, byteorder=byteorder, stamp=bytes.fromhex(stamp))
    contradicts = byteorder == ">" and stamp[:4] in ("4444", "4441")
    if contradicts:
        with pytest.warns(MrcdistWarning, match="stamp"):
            data = load(path)["data"]
    else:
        data = load(path)["data"]
    np.testing.assert_array_equal(data.compute(), numbers)


def test_little_endian_data_under_a_big_endian_stamp(tmp_path):
    numbers = counting(STACK, "float32")
    path = write_mrc(tmp_path / "a.mrc", numbers, stamp=b"\x11\x11\0\0")
    with pytest.warns(MrcdistWarning, match="stamp"):
        data = load(path)["data"]
    np.testing.assert_array_equal(data.compute(), numbers)


def test_the_callers_byte_order_yields_to_the_file(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting(STACK, "int16"))
    with pytest.warns(MrcdistWarning, match="endianness"):
        data = load(path, endianness=">")["data"]
    np.testing.assert_array_equal(data.compute(), counting(STACK, "int16"))


def test_extended_header_is_skipped(tmp_path):
    numbers = counting(STACK, "int16")
    path = write_mrc(tmp_path / "a.mrc", numbers, extended=b"\xff" * 161)
    with pytest.warns(MrcdistWarning, match="161 bytes, of unknown kind"):
        np.testing.assert_array_equal(load(path)["data"].compute(), numbers)


def test_one_image_has_two_axes(tmp_path):
    ds = load(write_mrc(tmp_path / "a.mrc", counting((1, 4, 5), "int16")))
    assert ds["data"].shape == (4, 5)
    assert [axis["navigate"] for axis in ds["axes"]] == [False, False]


def test_stack_of_images_is_not_calibrated_along_sections(tmp_path):
    ds = load(
        write_mrc(
            tmp_path / "a.mrcs",
            counting(STACK, "int16"),
            intervals=(5, 4, 1),
            cell=(50.0, 80.0, 1.0),
        )
    )
    assert ds["axes"] == [
        {
            "name": "z",
            "units": None,
            "size": 3,
            "scale": 1.0,
            "offset": 0.0,
            "index_in_array": 0,
            "navigate": True,
        },
        {
            "name": "y",
            "units": "nm",
            "size": 4,
            "scale": 2.0,
            "offset": 0.0,
            "index_in_array": 1,
            "navigate": False,
        },
        {
            "name": "x",
            "units": "nm",
            "size": 5,
            "scale": 1.0,
            "offset": 0.0,
            "index_in_array": 2,
            "navigate": False,
        },
    ]


def test_volume_is_calibrated_in_nanometres_with_start_as_offset(tmp_path):
    ds = load(
        write_mrc(
            tmp_path / "a.mrc",
            counting(STACK, "int16"),
            ispg=1,
            cell=(50.0, 80.0, 90.0),
            start=(-5, 0, 2),
        )
    )
    assert [axis["scale"] for axis in ds["axes"]] == [3.0, 2.0, 1.0]
    assert [axis["offset"] for axis in ds["axes"]] == [6.0, 0.0, -5.0]
    assert {axis["units"] for axis in ds["axes"]} == {"nm"}


def test_origin_comes_before_start(tmp_path):
    ds = load(
        write_mrc(
            tmp_path / "a.mrc",
            counting(STACK, "int16"),
            ispg=1,
            cell=(50.0, 80.0, 90.0),
            start=(-5, 0, 2),
            origin=(70.0, 0.0, -30.0),
        )
    )
    assert [axis["offset"] for axis in ds["axes"]] == [-3.0, 0.0, 7.0]


@pytest.mark.parametrize(
    ("flags", "nversion", "sign"),
    [
        (0, 0, -1),
        (1 | 8, 0, -1),
        (4, 0, 1),
        (0, 20140, 1),
        (0, 20141, 1),
        (1, 20140, 1),
        (4, 20141, 1),
        (None, 0, 1),
        (None, 20140, 1),
        (0, 2014, -1),
    ],
)
@pytest.mark.parametrize("byteorder", "<>")
def test_origin_has_the_opposite_sign_in_imods_old_files_only(
    tmp_path, flags, nversion, sign, byteorder
):
    """Neither IMOD's flag 4 nor NVERSION says there that the sign is MRC2014's."""
    origin = (70.0, -40.0, -30.0)
    path = write_mrc(
        tmp_path / "a.mrc",
        counting(STACK, "int16"),
        byteorder=byteorder,
        ispg=1,
        cell=(50.0, 80.0, 90.0),
        origin=origin,
        nversion=nversion,
        imod_flags=flags,
    )
    ds = load(path)
    assert [axis["offset"] for axis in ds["axes"]] == [sign * -3, sign * -4, sign * 7]
    std = ds["original_metadata"]["std_header"]
    assert (std["XORIGIN"], std["YORIGIN"], std["ZORIGIN"]) == origin


@pytest.mark.parametrize("cell", [(-80.0, -40.0, 0.0), (float("nan"), float("inf"), 0.0)])
def test_cells_that_mean_nothing_are_no_calibration(tmp_path, cell):
    ds = load(write_mrc(tmp_path / "a.mrc", counting(STACK, "int16"), cell=cell))
    assert {(axis["scale"], axis["units"]) for axis in ds["axes"]} == {(1.0, None)}


def test_axes_are_named_by_mapcrs_and_data_stay_in_file_order(tmp_path):
    numbers = counting(STACK, "int16")
    ds = load(
        write_mrc(
            tmp_path / "a.mrc",
            numbers,
            ispg=1,
            mapcrs=(3, 1, 2),
            intervals=(4, 3, 5),  # along X, Y, Z
            cell=(40.0, 60.0, 100.0),
        )
    )
    assert [axis["name"] for axis in ds["axes"]] == ["y", "x", "z"]
    assert [axis["scale"] for axis in ds["axes"]] == [2.0, 1.0, 2.0]
    np.testing.assert_array_equal(ds["data"].compute(), numbers)


def test_mapcrs_that_is_no_permutation_is_read_as_1_2_3(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting(STACK, "int16"), mapcrs=(1, 1, 3))
    with pytest.warns(MrcdistWarning, match="not a permutation"):
        assert [axis["name"] for axis in load(path)["axes"]] == ["z", "y", "x"]


def test_mapcrs_of_zeros_is_usual(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting(STACK, "int16"), mapcrs=(0, 0, 0))
    assert [axis["name"] for axis in load(path)["axes"]] == ["z", "y", "x"]


@pytest.mark.parametrize(
    ("nz", "mz", "shape"), [(6, 3, (2, 3, 4, 5)), (6, 0, (6, 4, 5)), (7, 2, (7, 4, 5))]
)
def test_volume_stacks_have_an_axis_of_volumes(tmp_path, nz, mz, shape):
    numbers = counting((nz, 4, 5), "int16")
    path = write_mrc(tmp_path / "a.mrc", numbers, ispg=401, intervals=(5, 4, mz))
    if len(shape) == 4:
        ds = load(path)
    else:
        with pytest.warns(MrcdistWarning, match="MZ"):
            ds = load(path)
    assert ds["data"].shape == shape
    assert [axis["size"] for axis in ds["axes"]] == list(shape)
    np.testing.assert_array_equal(ds["data"].compute(), numbers.reshape(shape))


def test_no_sections_are_an_empty_array(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes(nx=5, ny=4, nz=0, mode=2))
    ds = load(path)
    assert ds["data"].shape == (0, 4, 5)
    assert ds["data"].compute().shape == (0, 4, 5)


def test_map_word_missing_is_a_warning(tmp_path):
    numbers = counting(STACK, "float32")
    path = write_mrc(tmp_path / "a.mrc", numbers, map_word=b"\0\0\0\0")
    with pytest.warns(MrcdistWarning, match="MAP"):
        np.testing.assert_array_equal(load(path)["data"].compute(), numbers)


def test_map_word_padded_with_nul_is_usual(tmp_path):
    load(write_mrc(tmp_path / "a.mrc", counting(STACK, "float32"), map_word=b"MAP\0"))


def test_more_than_2_to_the_31_voxels_in_a_sparse_file(tmp_path):
    path = tmp_path / "big.mrc"
    with path.open("wb") as file:
        file.write(header_bytes(nx=2048, ny=2048, nz=600, mode=6))
        os.truncate(file.fileno(), 1024 + 2048 * 2048 * 600 * 2)
        file.seek(1024 + 2048 * 2048 * 2 * 599 + 2048 * 2 * 2047)
        file.write(np.arange(2048, dtype="<u2").tobytes())
    data = load(path)["data"]
    assert data.size > 2**31
    np.testing.assert_array_equal(data[599, 2047].compute(), np.arange(2048))
    assert data[598].max().compute() == 0


def test_trailing_bytes_are_a_warning(tmp_path):
    numbers = counting(STACK, "int16")
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(numbers) + bytes(100))
    with pytest.warns(MrcdistWarning, match="100 bytes follow"):
        np.testing.assert_array_equal(load(path)["data"].compute(), numbers)


def test_extended_header_that_is_announced_and_missing_is_a_warning(tmp_path):
    numbers = counting(STACK, "int16")
    raw = bytearray(mrc_bytes(numbers))
    struct.pack_into("<i", raw, 92, 1024)
    (tmp_path / "a.mrc").write_bytes(raw)
    with pytest.warns(MrcdistWarning, match="no extended header"):
        np.testing.assert_array_equal(load(tmp_path / "a.mrc")["data"].compute(), numbers)


class TestTruncated:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "a.mrc"
        path.write_bytes(mrc_bytes(counting(STACK, "int16"))[:-10])
        return path

    def test_truncated_file_is_an_error_with_both_sizes_and_the_remedy(self, path):
        with pytest.raises(TruncatedFileError) as caught:
            mrcdist.read_mrc(path)
        text = str(caught.value)
        assert "1134 bytes" in text
        assert "announces 1144" in text
        assert "allow_truncated=True" in caught.value.remedy
        assert str(path) in text

    def test_truncated_file_loads_its_whole_frames_when_asked(self, path):
        with pytest.warns(MrcdistWarning, match="2 of 3 frames are complete, 1 missing"):
            ds = load(path, allow_truncated=True)
        assert ds["data"].shape == (2, 4, 5)
        assert ds["axes"][0]["size"] == 2
        np.testing.assert_array_equal(ds["data"].compute(), counting(STACK, "int16")[:2])

    def test_truncated_scan_reads_missing_frames_as_zero_when_asked(self, path):
        with pytest.warns(MrcdistWarning, match="missing"):
            ds = load(path, allow_truncated=True, navigation_shape=(2, 2))
        expected = np.zeros((4, 4, 5), "int16")
        expected[:2] = counting(STACK, "int16")[:2]
        np.testing.assert_array_equal(ds["data"].compute(), expected.reshape(2, 2, 4, 5))

    def test_file_without_one_whole_frame_is_always_an_error(self, tmp_path):
        path = tmp_path / "a.mrc"
        path.write_bytes(mrc_bytes(counting(STACK, "int16"))[:1030])
        with pytest.raises(TruncatedFileError, match="less than one frame"):
            mrcdist.read_mrc(path, allow_truncated=True)


def sound(**fields):
    return header_bytes(**{"nx": 5, "ny": 4, "nz": 3, "mode": 1, **fields}) + bytes(120)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "the file is empty"),
        (b"abc", "61 62 63"),
        (bytes(4096), "00 00 00 00"),
        (b"# frames\n" * 500, "# frames"),
        (sound(nx=0), "NX, NY, NZ = 0"),
        (sound(ny=-4), "-4"),
        (sound(nz=-1), "-1"),
        (sound(nsymbt=-1), "NSYMBT = -1"),
        (sound(nsymbt=2**30) + b"more", "NSYMBT = 1073741824"),
        (sound(mode=7), "MODE = 7 is not a known mode"),
        (sound(mode=5, map_word=b"abcd"), "no word MAP"),
        (sound(nx=5000, map_word=b"abcd"), "do not fit"),
    ],
)
def test_what_is_no_mrc_file_shows_the_bytes_found(tmp_path, raw, said):
    path = tmp_path / "a.mrc"
    path.write_bytes(raw)
    with pytest.raises(FormatError) as caught:
        mrcdist.read_mrc(path)
    assert said in str(caught.value)
    assert caught.value.cause
    assert caught.value.remedy


def test_unknown_mode_is_an_error_that_lists_the_known_ones(tmp_path):
    (tmp_path / "a.mrc").write_bytes(sound(mode=7))
    with pytest.raises(FormatError) as caught:
        mrcdist.read_mrc(tmp_path / "a.mrc")
    for mode in (0, 1, 2, 3, 4, 6, 12, 16, 101):
        assert f"{mode} (" in caught.value.remedy


def test_absurd_sizes_allocate_nothing(tmp_path):
    (tmp_path / "a.mrc").write_bytes(sound(nx=2**31 - 1, ny=2**31 - 1, nz=2**31 - 1))
    with pytest.raises(TruncatedFileError):
        mrcdist.read_mrc(tmp_path / "a.mrc")


def test_original_metadata_is_the_header_in_words(tmp_path):
    path = write_mrc(
        tmp_path / "a.mrc",
        counting(STACK, "int16"),
        byteorder=">",
        start=(-5, 0, 0),
        labels=(b"first label", "Å".encode("latin-1")),
    )
    std = load(path)["original_metadata"]["std_header"]
    assert std["NX"] == 5
    assert std["NXSTART"] == -5
    assert std["MACHST"] == "11 11 00 00"
    assert std["LABELS"] == ["first label", "Å"]
    json.dumps(std, allow_nan=False)


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_truncated_files_take_the_navigation_shape_of_their_complete_frames(tmp_path, shape):
    data = counting((6, 4, 5), "int16")
    path = write_mrc(tmp_path / "a.mrc", data)
    path.write_bytes(path.read_bytes()[:-41])
    with pytest.warns(MrcdistWarning, match="4 of 6 frames"):
        numbers = load(path, navigation_shape=shape, allow_truncated=True)["data"]
    np.testing.assert_array_equal(numbers.compute(), data[:4].reshape(*shape, 4, 5))
    with pytest.raises(TruncatedFileError, match="4 of 6 frames"):
        load(path, navigation_shape=shape)
