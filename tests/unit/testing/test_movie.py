"""Synthetic movies: their header, and frames that encode their index."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest

from mrcdist.errors import ArgumentError
from mrcdist.testing.acquisition import write_acquisition
from mrcdist.testing.movie import MODES, frame_index, indexed_frame, movie_header

FRAME = (3, 5)


class TestHeader:
    @pytest.mark.parametrize("byteorder", ["<", ">"])
    @pytest.mark.parametrize("dtype", MODES)
    def test_mrcfile_reads_the_pixels_that_were_written(
        self, tmp_path: Path, dtype: str, byteorder: Any
    ) -> None:
        written = write_acquisition(
            tmp_path, scan_shape=(2, 3), frame_shape=FRAME, dtype=dtype, byteorder=byteorder
        )
        expected = np.stack([indexed_frame(index, FRAME, dtype) for index in range(6)])
        with mrcfile.open(written.movie) as movie:
            assert movie.header.mode == MODES[dtype]
            np.testing.assert_array_equal(movie.data, expected)

    @pytest.mark.parametrize(("byteorder", "stamp"), [("<", b"DD\0\0"), (">", b"\x11\x11\0\0")])
    def test_header_fields_are_at_the_offsets_of_mrc2014(
        self, byteorder: Any, stamp: bytes
    ) -> None:
        header = movie_header(7, (4, 8), "uint16", byteorder)

        def words(kind: str, offset: int, count: int) -> tuple[Any, ...]:
            return struct.unpack_from(f"{byteorder}{count}{kind}", header, offset)

        assert len(header) == 1024
        assert words("i", 0, 10) == (8, 4, 7, 6, 0, 0, 0, 8, 4, 7)  # N, mode, NSTART, M
        assert words("f", 40, 6) == (-80, -40, 0, 90, 90, 90)  # cell
        assert words("i", 64, 3) == (1, 2, 3)  # MAPC, MAPR, MAPS
        assert words("f", 76, 3) == (2, 1, 0)  # statistics: undefined
        assert words("i", 88, 2) == (1, 0)  # ISPG, NSYMBT
        assert words("i", 108, 1) == (20140,)
        assert header[208:216] == b"MAP " + stamp
        assert words("f", 216, 1) == (-1,)
        assert not any(header[220:])

    def test_synthetic_header_equals_that_of_a_real_camera(self, real_data: Path) -> None:
        real = (real_data / "20241021_00405_movie.mrc").read_bytes()[:1024]
        assert movie_header(32, (4, 8), "uint16") == real


class TestIndexedFrames:
    @pytest.mark.parametrize("dtype", MODES)
    @pytest.mark.parametrize("index", [0, 1, 99, 100, 255, 256, 65536, 12_345_678, 99_999_999])
    def test_index_is_encoded_in_frames_of_every_pixel_type(self, index: int, dtype: str) -> None:
        assert frame_index(indexed_frame(index, FRAME, dtype)) == index

    def test_indexed_frame_differs_if_shifted_or_transposed(self) -> None:
        frame = indexed_frame(5, (8, 8))
        assert not np.array_equal(frame, frame.T)
        assert not np.array_equal(frame, np.roll(frame, 1, axis=0))
        assert not np.array_equal(frame, np.roll(frame, 1, axis=1))

    def test_index_too_large_for_the_frame_is_an_error(self) -> None:
        assert frame_index(indexed_frame(9999, (1, 2))) == 9999
        with pytest.raises(ArgumentError, match="10000") as raised:
            indexed_frame(10000, (1, 2))
        assert raised.value.argument == "index"
