"""Main header: byte order, shape, calibration and damage. Every file is built byte by byte."""

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
def test_every_mode_is_read_in_both_byte_orders(tmp_path, dtype, byteorder):
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
def test_byte_order_is_right_for_any_machine_stamp_seen_in_practice(tmp_path, stamp, byteorder):
    numbers = counting(STACK, "int16")
    path = write_mrc(tmp_path / "a.mrc", numbers, byteorder=byteorder, stamp=bytes.fromhex(stamp))
    contradicts = byteorder == ">" and stamp[:4] in ("4444", "4441")
    if contradicts:
        with pytest.warns(MrcdistWarning, match="stamp"):
            data = load(path)["data"]
    else:
        data = load(path)["data"]
    np.testing.assert_array_equal(data.compute(), numbers)


def test_little_endian_file_with_a_big_endian_stamp_is_read_with_a_warning(tmp_path):
    numbers = counting(STACK, "float32")
    path = write_mrc(tmp_path / "a.mrc", numbers, stamp=b"\x11\x11\0\0")
    with pytest.warns(MrcdistWarning, match="stamp"):
        data = load(path)["data"]
    np.testing.assert_array_equal(data.compute(), numbers)


def test_endianness_that_contradicts_the_header_is_ignored_with_a_warning(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting(STACK, "int16"))
    with pytest.warns(MrcdistWarning, match="endianness"):
        data = load(path, endianness=">")["data"]
    np.testing.assert_array_equal(data.compute(), counting(STACK, "int16"))


def test_extended_header_of_unknown_kind_is_skipped_with_a_warning(tmp_path):
    numbers = counting(STACK, "int16")
    path = write_mrc(tmp_path / "a.mrc", numbers, extended=b"\xff" * 161)
    with pytest.warns(MrcdistWarning, match="161 bytes, of unknown kind"):
        np.testing.assert_array_equal(load(path)["data"].compute(), numbers)


def test_file_with_one_image_has_two_signal_axes(tmp_path):
    ds = load(write_mrc(tmp_path / "a.mrc", counting((1, 4, 5), "int16")))
    assert ds["data"].shape == (4, 5)
    assert [axis["navigate"] for axis in ds["axes"]] == [False, False]


def test_stack_of_images_is_calibrated_in_y_and_x_but_not_in_z(tmp_path):
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


def test_volume_is_calibrated_in_nm_with_offsets_from_nxstart(tmp_path):
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


def test_origin_takes_precedence_over_nxstart(tmp_path):
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
def test_sign_of_origin_is_reversed_only_in_old_imod_files(
    tmp_path, flags, nversion, sign, byteorder
):
    """Old files have neither IMOD's flag 4 nor an NVERSION of MRC2014."""
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
def test_axes_are_uncalibrated_if_the_cell_is_negative_or_not_finite(tmp_path, cell):
    ds = load(write_mrc(tmp_path / "a.mrc", counting(STACK, "int16"), cell=cell))
    assert {(axis["scale"], axis["units"]) for axis in ds["axes"]} == {(1.0, None)}


def test_mapc_mapr_maps_name_the_axes_without_transposing_the_data(tmp_path):
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


def test_mapc_mapr_maps_that_are_not_a_permutation_are_read_as_1_2_3(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting(STACK, "int16"), mapcrs=(1, 1, 3))
    with pytest.warns(MrcdistWarning, match="not a permutation"):
        assert [axis["name"] for axis in load(path)["axes"]] == ["z", "y", "x"]


def test_mapc_mapr_maps_of_zeros_cause_no_warning(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", counting(STACK, "int16"), mapcrs=(0, 0, 0))
    assert [axis["name"] for axis in load(path)["axes"]] == ["z", "y", "x"]


@pytest.mark.parametrize(
    ("nz", "mz", "shape"), [(6, 3, (2, 3, 4, 5)), (6, 0, (6, 4, 5)), (7, 2, (7, 4, 5))]
)
def test_volume_stack_has_an_axis_of_volumes_if_mz_divides_nz(tmp_path, nz, mz, shape):
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


def test_file_without_sections_is_an_empty_array(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes(nx=5, ny=4, nz=0, mode=2))
    ds = load(path)
    assert ds["data"].shape == (0, 4, 5)
    assert ds["data"].compute().shape == (0, 4, 5)


def test_missing_map_word_causes_a_warning(tmp_path):
    numbers = counting(STACK, "float32")
    path = write_mrc(tmp_path / "a.mrc", numbers, map_word=b"\0\0\0\0")
    with pytest.warns(MrcdistWarning, match="MAP"):
        np.testing.assert_array_equal(load(path)["data"].compute(), numbers)


def test_map_word_padded_with_nul_causes_no_warning(tmp_path):
    load(write_mrc(tmp_path / "a.mrc", counting(STACK, "float32"), map_word=b"MAP\0"))


def test_file_with_more_than_2_to_the_31_voxels_is_read(tmp_path):
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


def test_trailing_bytes_cause_a_warning(tmp_path):
    numbers = counting(STACK, "int16")
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(numbers) + bytes(100))
    with pytest.warns(MrcdistWarning, match="100 bytes follow"):
        np.testing.assert_array_equal(load(path)["data"].compute(), numbers)


def test_missing_extended_header_causes_a_warning(tmp_path):
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

    def test_error_for_a_truncated_file_states_both_sizes_and_the_remedy(self, path):
        with pytest.raises(TruncatedFileError) as caught:
            mrcdist.read_mrc(path)
        text = str(caught.value)
        assert "1134 bytes" in text
        assert "announces 1144" in text
        assert "allow_truncated=True" in caught.value.remedy
        assert str(path) in text

    def test_allow_truncated_reads_the_complete_frames(self, path):
        with pytest.warns(MrcdistWarning, match="2 of 3 frames are complete, 1 missing"):
            ds = load(path, allow_truncated=True)
        assert ds["data"].shape == (2, 4, 5)
        assert ds["axes"][0]["size"] == 2
        np.testing.assert_array_equal(ds["data"].compute(), counting(STACK, "int16")[:2])

    def test_allow_truncated_reads_missing_frames_of_a_scan_as_0(self, path):
        with pytest.warns(MrcdistWarning, match="missing"):
            ds = load(path, allow_truncated=True, navigation_shape=(2, 2))
        expected = np.zeros((4, 4, 5), "int16")
        expected[:2] = counting(STACK, "int16")[:2]
        np.testing.assert_array_equal(ds["data"].compute(), expected.reshape(2, 2, 4, 5))

    def test_file_without_a_complete_frame_is_an_error_even_with_allow_truncated(self, tmp_path):
        path = tmp_path / "a.mrc"
        path.write_bytes(mrc_bytes(counting(STACK, "int16"))[:1030])
        with pytest.raises(TruncatedFileError, match="less than one frame"):
            mrcdist.read_mrc(path, allow_truncated=True)


def file_with(**fields):
    return header_bytes(**{"nx": 5, "ny": 4, "nz": 3, "mode": 1, **fields}) + bytes(120)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the file is empty"),
        (b"abc", "61 62 63"),
        (bytes(4096), "00 00 00 00"),
        (b"# frames\n" * 500, "# frames"),
        (file_with(nx=0), "NX, NY, NZ = 0"),
        (file_with(ny=-4), "-4"),
        (file_with(nz=-1), "-1"),
        (file_with(nsymbt=-1), "NSYMBT = -1"),
        (file_with(nsymbt=2**30) + b"more", "NSYMBT = 1073741824"),
        (file_with(mode=7), "MODE = 7 is not a known mode"),
        (file_with(mode=5, map_word=b"abcd"), "no word MAP"),
        (file_with(nx=5000, map_word=b"abcd"), "do not fit"),
    ],
)
def test_error_for_an_invalid_header_shows_the_offending_bytes_or_values(tmp_path, raw, message):
    path = tmp_path / "a.mrc"
    path.write_bytes(raw)
    with pytest.raises(FormatError) as caught:
        mrcdist.read_mrc(path)
    assert message in str(caught.value)
    assert caught.value.cause
    assert caught.value.remedy


def test_error_for_an_unknown_mode_lists_the_known_modes(tmp_path):
    (tmp_path / "a.mrc").write_bytes(file_with(mode=7))
    with pytest.raises(FormatError) as caught:
        mrcdist.read_mrc(tmp_path / "a.mrc")
    for mode in (0, 1, 2, 3, 4, 6, 12, 16, 101):
        assert f"{mode} (" in caught.value.remedy


def test_huge_sizes_in_the_header_are_a_truncation_error(tmp_path):
    (tmp_path / "a.mrc").write_bytes(file_with(nx=2**31 - 1, ny=2**31 - 1, nz=2**31 - 1))
    with pytest.raises(TruncatedFileError):
        mrcdist.read_mrc(tmp_path / "a.mrc")


def test_original_metadata_contain_the_header_fields_as_json(tmp_path):
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
def test_navigation_shape_can_cover_only_the_complete_frames_of_a_truncated_file(tmp_path, shape):
    data = counting((6, 4, 5), "int16")
    path = write_mrc(tmp_path / "a.mrc", data)
    path.write_bytes(path.read_bytes()[:-41])
    with pytest.warns(MrcdistWarning, match="4 of 6 frames"):
        numbers = load(path, navigation_shape=shape, allow_truncated=True)["data"]
    np.testing.assert_array_equal(numbers.compute(), data[:4].reshape(*shape, 4, 5))
    with pytest.raises(TruncatedFileError, match="4 of 6 frames"):
        load(path, navigation_shape=shape)
