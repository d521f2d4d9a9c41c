"""Pixel types of all modes: signedness, packing, colours. Every file is built byte by byte."""

from __future__ import annotations

import io
import itertools
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

import dask
import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mrcdist
from mrcdist import stats
from mrcdist.errors import ArgumentError, MrcdistWarning, TruncatedFileError
from tests.support.examples import examples
from tests.support.mrc_files import counting, header_bytes, mrc_bytes

ALL_BYTES = bytes(range(256))
SIGNED = np.frombuffer(ALL_BYTES, "int8").reshape(2, 8, 16)
UNSIGNED = np.frombuffer(ALL_BYTES, "uint8").reshape(2, 8, 16)
UNDETERMINED = (0.0, -1.0, -2.0, -1.0)


def load(path, raw, **options):
    path = path / "a.mrc"
    path.write_bytes(raw)
    [ds] = mrcdist.read_mrc(path, **options)
    return ds


def in_memory(raw, numbers=itertools.count()):  # noqa: B008 one counter for all files
    url = f"memory://modes/{next(numbers)}/any.mrc"
    fsspec.filesystem("memory").pipe_file(url, raw)
    return url


def assert_reads(path, raw, expected, **options):
    """Check values, shape and dtype of the array, read lazily and eagerly."""
    for lazy in (True, False):
        ds = load(path, raw, distributed=False, lazy=lazy, **options)
        array = np.asarray(ds["data"])
        assert array.dtype == expected.dtype
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, expected)
        assert [axis["size"] for axis in ds["axes"]] == list(expected.shape)


class TestSignednessOfMode0:
    """In order of precedence: `mode0`, IMOD's flags, the sidecar, the statistics; else signed."""

    @staticmethod
    def raw(**fields):
        return header_bytes(nx=16, ny=8, nz=2, mode=0, **fields) + ALL_BYTES

    @staticmethod
    def sidecar(*lines):
        return io.StringIO("\n".join(["Scan - Enable = Disable", *lines]))

    @pytest.mark.parametrize("flags", [None, 0, 1])
    @pytest.mark.parametrize("statistics", [UNDETERMINED, (0.0, 255.0, 127.0, 70.0)])
    def test_mode0_argument_takes_precedence_over_flags_statistics_and_sidecar(
        self, tmp_path, flags, statistics
    ):
        raw = self.raw(imod_flags=flags, statistics=statistics)
        assert_reads(tmp_path, raw, SIGNED, mode0="int8")
        assert_reads(tmp_path, raw, UNSIGNED, mode0="uint8")
        pixel_format = "Autosave Counted Movie Pixel Format = uint8"
        data = load(tmp_path, raw, mode0="int8", metadata_file=self.sidecar(pixel_format))["data"]
        assert data.dtype == "int8"

    def test_mode0_of_another_dtype_is_an_error(self, tmp_path):
        with pytest.raises(ArgumentError, match="int16"):
            load(tmp_path, self.raw(), mode0="int16")

    @pytest.mark.parametrize("byteorder", "<>")
    @pytest.mark.parametrize(
        ("flags", "expected"), [(1, SIGNED), (0, UNSIGNED), (4 | 1, SIGNED), (4 | 8, UNSIGNED)]
    )
    def test_flag_1_of_imod_takes_precedence_over_the_statistics(
        self, tmp_path, byteorder, flags, expected
    ):
        # The statistics suggest the opposite.
        statistics = (0.0, 255.0, 127.0, 70.0) if flags & 1 else (-128.0, 127.0, -0.5, 70.0)
        raw = self.raw(imod_flags=flags, statistics=statistics, byteorder=byteorder)
        assert_reads(tmp_path, raw, expected)

    def test_flags_are_ignored_without_the_imod_stamp(self, tmp_path):
        raw = bytearray(self.raw(imod_flags=0))
        struct.pack_into("<i", raw, 152, 0)
        assert_reads(tmp_path, bytes(raw), SIGNED)

    def test_flags_of_imod_take_precedence_over_the_sidecar(self, tmp_path):
        pixel_format = "Autosave Counted Movie Pixel Format = uint8"
        raw = self.raw(imod_flags=1)
        assert load(tmp_path, raw, metadata_file=self.sidecar(pixel_format))["data"].dtype == "int8"

    @pytest.mark.parametrize("dtype", ["int8", "uint8"])
    @pytest.mark.parametrize("mode", ["Counting", "Integrating"])
    def test_pixel_format_of_the_sidecar_takes_precedence_over_the_statistics(
        self, tmp_path, dtype, mode
    ):
        movie = "Counted" if mode == "Counting" else "Integrated"
        sidecar = self.sidecar(
            f"Autosave {movie} Movie Pixel Format = {dtype}", f"Image Processing - Mode = {mode}"
        )
        statistics = (0.0, 255.0, 127.0, 70.0) if dtype == "int8" else (-128.0, 127.0, -0.5, 70.0)
        ds = load(tmp_path, self.raw(statistics=statistics), metadata_file=sidecar)
        expected = SIGNED if dtype == "int8" else UNSIGNED
        assert ds["data"].dtype == expected.dtype
        np.testing.assert_array_equal(ds["data"].compute(), expected)

    def test_statistics_decide_if_the_sidecar_has_no_8_bit_pixel_format(self, tmp_path):
        raw = self.raw(statistics=(0.0, 255.0, 127.0, 70.0))
        sidecar = self.sidecar("Autosave Counted Movie Pixel Format = uint16")
        assert load(tmp_path, raw, metadata_file=sidecar)["data"].dtype == "uint8"

    @pytest.mark.parametrize(
        ("dmin", "dmax", "expected"),
        [
            (-1, 127, SIGNED),
            (-128, 127, SIGNED),
            (-128, -1, SIGNED),
            (0, 128, UNSIGNED),
            (0, 255, UNSIGNED),
            (200, 255, UNSIGNED),
            (-10, 137, SIGNED),  # further below the range than above
            (-9, 137, UNSIGNED),  # equally far
            (-8, 137, UNSIGNED),
            (0, 127, SIGNED),  # the same numbers in both cases
            (5, 5, SIGNED),
        ],
    )
    def test_signedness_follows_imods_rule_for_the_statistics(self, tmp_path, dmin, dmax, expected):
        raw = self.raw(statistics=(dmin, dmax, (dmin + dmax) / 2, 1.0))
        assert_reads(tmp_path, raw, expected)

    @pytest.mark.parametrize(
        "statistics",
        [
            (255.0, 0.0, 127.0, 70.0),  # dmax < dmin
            (0.0, float("nan"), 127.0, 70.0),
            (0.0, float("inf"), 127.0, 70.0),
            (0.0, 0.0, 0.0, 0.0),
        ],
    )
    def test_pixels_are_signed_if_the_statistics_are_undetermined(self, tmp_path, statistics):
        assert_reads(tmp_path, self.raw(statistics=statistics), SIGNED)

    @pytest.mark.parametrize("dmean", [127.0, -1.0, -2.0, float("nan")])
    @pytest.mark.parametrize("rms", [70.0, -1.0, float("nan")])
    def test_minimum_and_maximum_decide_the_sign_even_without_mean_and_rms(
        self, tmp_path, dmean, rms
    ):
        """In MRC2014 each is undetermined separately: a file with RMS -1 may have DMIN and DMAX."""
        assert_reads(tmp_path, self.raw(statistics=(0.0, 255.0, dmean, rms)), UNSIGNED)
        assert_reads(tmp_path, self.raw(statistics=(-128.0, 127.0, dmean, rms)), SIGNED)


@pytest.mark.parametrize("byteorder", "<>")
def test_mode_3_is_read_as_exact_complex_numbers(tmp_path, byteorder):
    pairs = [(0, 0), (1, -1), (-32768, 32767), (32767, -32768), (258, 3), (0, 513)]
    raw = header_bytes(nx=3, ny=2, nz=1, mode=3, byteorder=byteorder)
    raw += b"".join(struct.pack(byteorder + "hh", *pair) for pair in pairs)
    expected = np.array([complex(*pair) for pair in pairs], "complex64").reshape(2, 3)
    assert_reads(tmp_path, raw, expected)


@pytest.mark.parametrize("byteorder", "<>")
def test_mode_16_has_a_last_axis_of_red_green_blue(tmp_path, byteorder):
    raw = header_bytes(nx=2, ny=3, nz=4, mode=16, byteorder=byteorder) + ALL_BYTES[:72]
    assert_reads(tmp_path, raw, np.arange(72, dtype="uint8").reshape(4, 3, 2, 3))
    last = load(tmp_path, raw)["axes"][-1]
    assert (last["name"], last["size"], last["navigate"]) == ("rgb", 3, False)


@pytest.mark.parametrize("byteorder", "<>")
class TestMode101:
    """Unsigned 4-bit numbers, low nibble first, with each row padded to a whole byte."""

    def odd_width(self, byteorder):
        return header_bytes(nx=5, ny=2, nz=3, mode=101, byteorder=byteorder) + bytes(range(18))

    def test_padding_of_rows_of_odd_width_is_skipped(self, tmp_path, byteorder):
        rows = [
            [[0, 0, 1, 0, 2], [3, 0, 4, 0, 5]],
            [[6, 0, 7, 0, 8], [9, 0, 10, 0, 11]],
            [[12, 0, 13, 0, 14], [15, 0, 0, 1, 1]],
        ]
        assert_reads(tmp_path, self.odd_width(byteorder), np.array(rows, "uint8"))

    def test_rows_of_even_width_have_no_padding(self, tmp_path, byteorder):
        raw = header_bytes(nx=4, ny=2, nz=1, mode=101, byteorder=byteorder)
        raw += bytes.fromhex("10 32 54 f6")
        assert_reads(tmp_path, raw, np.array([[0, 1, 2, 3], [4, 5, 6, 15]], "uint8"))

    def test_padding_of_rows_of_one_pixel_is_skipped(self, tmp_path, byteorder):
        raw = header_bytes(nx=1, ny=3, nz=1, mode=101, byteorder=byteorder)
        raw += bytes.fromhex("fa fb fc")  # the high nibbles are padding
        assert_reads(tmp_path, raw, np.array([[10], [11], [12]], "uint8"))

    def test_mode_101_can_be_sliced_with_any_start_stop_and_step(self, tmp_path, byteorder):
        raw = self.odd_width(byteorder)
        data = load(tmp_path, raw)["data"]
        whole = data.compute()
        for start in range(5):
            for stop in range(start + 1, 6):
                for step in (1, 2, 3):
                    index = (slice(None), slice(1, None), slice(start, stop, step))
                    np.testing.assert_array_equal(data[index].compute(), whole[index])
        np.testing.assert_array_equal(data[..., ::-2].compute(), whole[..., ::-2])

    def test_complete_frames_of_a_truncated_mode_101_file_are_read(self, tmp_path, byteorder):
        raw = self.odd_width(byteorder)[:-1]
        with pytest.raises(TruncatedFileError, match="2 of 3 frames are complete"):
            load(tmp_path, raw)
        with pytest.warns(MrcdistWarning, match="1 missing"):
            data = load(tmp_path, raw, allow_truncated=True)["data"]
        assert data.shape == (2, 2, 5)
        assert data[1, 1].compute().tolist() == [9, 0, 10, 0, 11]


@pytest.mark.parametrize("flags", [16, 16 | 1])
@pytest.mark.parametrize("byteorder", "<>")
def test_flag_16_of_imod_means_two_pixels_per_byte_in_mode_0(tmp_path, byteorder, flags):
    raw = header_bytes(nx=2, ny=2, nz=2, mode=0, byteorder=byteorder, imod_flags=flags)
    raw += bytes.fromhex("10 32 54 76 98 ba dc fe")
    assert_reads(tmp_path, raw, np.arange(16, dtype="uint8").reshape(2, 2, 4))


@pytest.mark.parametrize(("cell", "intervals"), [((12.0, 8.0, 1.0), (2, 2, 1))])
def test_flag_16_does_not_change_the_pixel_size(tmp_path, cell, intervals):
    """IMOD halves NX, MX and the cell's edge together, so the pixel size is still edge / MX."""
    raw = header_bytes(nx=2, ny=2, nz=1, mode=0, imod_flags=16, cell=cell, intervals=intervals)
    axes = load(tmp_path, raw + bytes(4))["axes"]
    assert [(axis["size"], axis["scale"], axis["units"]) for axis in axes] == [
        (2, 0.4, "nm"),
        (4, 0.6, "nm"),
    ]


def test_flag_16_takes_precedence_over_the_mode0_argument(tmp_path):
    raw = header_bytes(nx=2, ny=2, nz=1, mode=0, imod_flags=16) + bytes.fromhex("10 32 54 76")
    expected = np.arange(8, dtype="uint8").reshape(2, 4)
    for mode0 in ("int8", "uint8", "uint4"):
        assert_reads(tmp_path, raw, expected, mode0=mode0)


def test_flag_16_is_ignored_in_other_modes(tmp_path):
    numbers = counting((3, 4, 5), "int16")
    assert_reads(tmp_path, mrc_bytes(numbers, imod_flags=16), numbers)


@dataclass(frozen=True)
class Encoding:
    """A mode whose bytes are not a numpy dtype: its encoder, and the header fields that mark it."""

    mode: int
    encode: object
    even: bool = False
    header: tuple = ()


def encode_complex(numbers, byteorder):
    pairs = np.stack([numbers, numbers[::-1] - 7], -1).astype(byteorder + "i2")
    return pairs.tobytes(), (pairs[..., 0] + 1j * pairs[..., 1]).astype("complex64")


def encode_colours(numbers, byteorder):
    del byteorder  # single bytes
    colours = np.stack([numbers, numbers + 1, numbers * 3], -1).astype("uint8")
    return colours.tobytes(), colours


def encode_nibbles(numbers, byteorder):
    del byteorder
    nibbles = (numbers * 5 % 16).astype("uint8")
    padded = np.full((*nibbles.shape[:2], -(-nibbles.shape[2] // 2) * 2), 9, "uint8")
    padded[:, :, : nibbles.shape[2]] = nibbles
    return (padded[..., 0::2] + 16 * padded[..., 1::2]).astype("uint8").tobytes(), nibbles


ENCODINGS = {
    "mode 3": Encoding(3, encode_complex),
    "mode 16": Encoding(16, encode_colours),
    "mode 101": Encoding(101, encode_nibbles),
    "4-bit in mode 0": Encoding(0, encode_nibbles, even=True, header=(("imod_flags", 16),)),
}


@st.composite
def cases(draw):
    encoding = ENCODINGS[draw(st.sampled_from(sorted(ENCODINGS)))]
    navigation = tuple(draw(st.lists(st.integers(2, 5), min_size=1, max_size=3)))
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    columns += encoding.even and columns % 2
    numbers = counting((int(np.prod(navigation)), rows, columns), "int16")
    byteorder = draw(st.sampled_from("<>"))
    payload, expected = encoding.encode(numbers, byteorder)
    extended = bytes(draw(st.sampled_from([0, 3, 160, 4096])))
    raw = header_bytes(
        nx=columns // 2 if encoding.even else columns,
        ny=rows,
        nz=len(numbers),
        mode=encoding.mode,
        byteorder=byteorder,
        nsymbt=len(extended),
        exttyp=b"CCP4",
        **dict(encoding.header),
    )
    expected = expected.reshape(*navigation, *expected.shape[1:])
    index = draw(hnp.basic_indices(expected.shape, allow_newaxis=False, allow_ellipsis=True))
    chunks = tuple(draw(st.integers(1, size)) for size in expected.shape)
    return raw + extended + payload, navigation, expected, index, chunks


@pytest.mark.parametrize("chunks", ["auto", (2, -1, -1, -1)], ids=["one chunk", "two chunks"])
def test_writing_to_eagerly_read_colours_does_not_change_the_file(tmp_path, chunks):
    raw, _ = encode_colours(counting((4, 3, 2), "int16"), "<")
    raw = header_bytes(nx=2, ny=3, nz=4, mode=16) + raw
    path = tmp_path / "colours.mrc"
    path.write_bytes(raw)
    [ds] = mrcdist.file_reader(path, chunks=chunks)
    ds["data"][:] = 7
    assert path.read_bytes() == raw


# The extended headers here consist of zeros, which are not lines of text.
ignore_warnings = pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")


@ignore_warnings
@pytest.mark.parametrize("io", ["map", "read", "auto"])
@given(case=cases())
@examples(150)
def test_any_index_into_a_local_file_equals_numpy(case, io):
    raw, navigation, expected, index, _ = case
    with tempfile.TemporaryDirectory() as folder, dask.config.set({"mrcdist.io": io}):
        path = Path(folder) / "any.mrc"
        path.write_bytes(raw)
        plan = mrcdist.plan_mrc(path, navigation_shape=navigation[::-1])
        array = plan.source[index]
    assert array.dtype == expected.dtype
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, expected[index])


@ignore_warnings
@given(case=cases())
@examples(40)
def test_any_index_and_chunks_on_the_memory_filesystem_equal_numpy(case):
    raw, navigation, expected, index, chunks = case
    url = in_memory(raw)
    [ds] = mrcdist.read_mrc(url, navigation_shape=navigation[::-1], chunks=chunks)
    array = ds["data"]
    assert array.chunksize == chunks
    with dask.config.set({"scheduler": "synchronous", "mrcdist.max-gap": 0}):
        np.testing.assert_array_equal(array.compute(), expected)
        np.testing.assert_array_equal(array[index].compute(), expected[index])


def bytes_read(source, index):
    before = stats.snapshot()
    source[index]
    after = stats.snapshot()
    return after.bytes_fetched - before.bytes_fetched + (after.bytes_mapped - before.bytes_mapped)


@pytest.mark.parametrize("where", ["map", "read", "memory"])
@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (np.s_[2, 3], 8),  # a row of 15 pixels is 8 bytes
        (np.s_[2, 3:5], 16),
        (np.s_[2, 3, 7], 1),
        (np.s_[2, 3, 6:8], 1),
        (np.s_[2, 3, 7:9], 2),
        (np.s_[2, 3, 1::2], 7),
        (np.s_[:, 3], 4 * 8),
        (np.s_[::3, 1:3, :2], 2 * (8 + 1)),
        (np.s_[1], 48),
        (np.s_[...], 4 * 48),
    ],
)
def test_index_into_packed_rows_reads_only_the_bytes_needed(tmp_path, where, index, expected):
    raw = header_bytes(nx=15, ny=6, nz=4, mode=101) + bytes(4 * 6 * 8)
    (tmp_path / "a.mrc").write_bytes(raw)
    url = in_memory(raw) if where == "memory" else tmp_path / "a.mrc"
    io = "auto" if where == "memory" else where
    with dask.config.set({"mrcdist.io": io, "mrcdist.max-gap": 0}):
        nbytes = bytes_read(mrcdist.plan_mrc(url).source, index)
    if where != "map":  # a map spans gaps, whose pages are never loaded
        assert nbytes == expected
    else:
        assert expected <= nbytes <= 4 * 48
