"""Compressed files and tilt files: gzip and bzip2 are read by one task, MRCZ section by section."""

from __future__ import annotations

import bz2
import gzip
import warnings

import fsspec
import mrcz
import numpy as np
import pytest

import mrcdist
from mrcdist import stats
from mrcdist.errors import MrcdistWarning, TruncatedFileError
from tests.support.mrc_files import counting, mrc_bytes, write_mrc

NUMBERS = counting((5, 6, 7), "int16")


@pytest.mark.parametrize("name", ["a.mrc", "a.mrc.gz", "a.bin"])
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
@pytest.mark.parametrize("byteorder", "<>")
def test_gzip_and_bzip2_are_recognised_by_content_and_read_by_one_task(
    tmp_path, compress, name, byteorder
):
    path = tmp_path / name
    path.write_bytes(compress(mrc_bytes(NUMBERS, byteorder=byteorder)))
    with pytest.warns(MrcdistWarning, match="one task reads all of it.*decompress"):
        [ds] = mrcdist.read_mrc(path, chunks=(1, -1, -1))
    assert ds["data"].npartitions == 1
    np.testing.assert_array_equal(ds["data"].compute(), NUMBERS)
    np.testing.assert_array_equal(ds["data"][3, ::-1, 2].compute(), NUMBERS[3, ::-1, 2])


@pytest.mark.parametrize("wrap", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 256, 64), (256, 1, 1), (3, 16, 256)])
def test_byte_order_is_inferred_from_plausible_sizes_as_a_last_resort(
    tmp_path, wrap, byteorder, shape
):
    """Zeros for MODE and MAPC, MAPR, MAPS are the same in both byte orders."""
    numbers = counting(shape, "int8")
    raw = mrc_bytes(numbers, byteorder=byteorder, mapcrs=(0, 0, 0), stamp=b"\0\0\0\0")
    path = tmp_path / "a.mrc"
    path.write_bytes(wrap(raw))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*one task reads all of it", MrcdistWarning)
        [ds] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(
        ds["data"].compute(), np.squeeze(numbers, 0) if shape[0] == 1 else numbers
    )


def test_plausible_sizes_outweigh_the_machine_stamp_of_a_compressed_file(tmp_path):
    path = tmp_path / "a.mrc.gz"
    raw = mrc_bytes(counting((5, 6, 7), "int8"), byteorder=">", mapcrs=(0, 0, 0), stamp=b"DD\0\0")
    path.write_bytes(gzip.compress(raw, mtime=0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        [ds] = mrcdist.read_mrc(path)
    assert any("stamp 44 44 00 00 says little-endian" in str(one.message) for one in caught)
    np.testing.assert_array_equal(ds["data"].compute(), counting((5, 6, 7), "int8"))


@pytest.mark.parametrize("byteorder", "<>")
def test_byte_order_of_a_truncated_file_is_inferred_from_plausible_sizes(tmp_path, byteorder):
    numbers = counting((5, 6, 7), "int8")
    raw = mrc_bytes(numbers, byteorder=byteorder, mapcrs=(0, 0, 0), stamp=b"\0\0\0\0")
    (tmp_path / "a.mrc").write_bytes(raw[:-50])
    with pytest.warns(MrcdistWarning, match="3 of 5 frames are complete"):
        [ds] = mrcdist.read_mrc(tmp_path / "a.mrc", allow_truncated=True)
    np.testing.assert_array_equal(ds["data"].compute(), numbers[:3])


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_truncated_gzip_or_bzip2_stream_is_an_error(tmp_path, compress):
    path = tmp_path / "a.mrc.z"
    noise = np.random.default_rng(1).integers(-1000, 1000, (40, 60, 70), "int16")
    path.write_bytes(compress(mrc_bytes(noise))[:-5000])
    if compress is bz2.compress:  # this file is a single block, which cannot be decoded in part
        with pytest.raises(mrcdist.MrcdistError):
            mrcdist.read_mrc(path, lazy=False)
        return
    with pytest.warns(MrcdistWarning, match="one task"):
        [ds] = mrcdist.read_mrc(path)
    with pytest.raises(TruncatedFileError):
        ds["data"].compute()


@pytest.mark.parametrize("codec", [None, "blosclz", "lz4", "lz4hc", "zlib", "zstd"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "complex64", "uint16"])
def test_mrcz_files_of_every_codec_and_dtype_are_read(tmp_path, codec, dtype):
    numbers = counting((5, 16, 24), dtype)
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(numbers, str(path), compressor=codec)
    [ds] = mrcdist.read_mrc(path, chunks=(2, -1, -1))
    assert ds["data"].dtype == numbers.dtype
    assert ds["data"].numblocks == (3, 1, 1)
    np.testing.assert_array_equal(ds["data"].compute(), numbers)
    np.testing.assert_array_equal(ds["data"][3, 4:9, ::5].compute(), numbers[3, 4:9, ::5])


def test_task_fetches_only_its_own_sections_of_an_mrcz_file(tmp_path):
    numbers = np.random.default_rng(1).integers(0, 2**16, (8, 64, 64), "uint16")
    mrcz.writeMRC(numbers, str(tmp_path / "a.mrcz"), compressor="zstd")
    raw = (tmp_path / "a.mrcz").read_bytes()
    fsspec.filesystem("memory").pipe_file("/compressed/a.mrcz", raw)
    [ds] = mrcdist.read_mrc("memory://compressed/a.mrcz", chunks=(1, -1, -1))
    before = stats.snapshot().bytes_fetched
    np.testing.assert_array_equal(ds["data"][5].compute(), numbers[5])
    assert 0 < stats.snapshot().bytes_fetched - before < len(raw) / 6


class TestTiltFile:
    @pytest.fixture
    def series(self, tmp_path):
        return write_mrc(tmp_path / "a.st", NUMBERS)

    def test_evenly_spaced_tilt_angles_give_a_uniform_axis(self, series, tmp_path):
        (tmp_path / "a.rawtlt").write_text("-4\n-2\n0\n2\n4\n")
        [ds] = mrcdist.read_mrc(series, tilt_file=tmp_path / "a.rawtlt")
        axis = ds["axes"][0]
        assert (axis["name"], axis["units"], axis["scale"], axis["offset"]) == (
            "tilt", "deg", 2.0, -4.0,
        )  # fmt: skip

    def test_unevenly_spaced_tilt_angles_give_an_axis_of_positions(self, series, tmp_path):
        (tmp_path / "a.tlt").write_text("-4\n-2\n0.5\n2\n4\n")
        [ds] = mrcdist.read_mrc(series, tilt_file=str(tmp_path / "a.tlt"))
        np.testing.assert_array_equal(ds["axes"][0]["axis"], [-4, -2, 0.5, 2, 4])
        assert "scale" not in ds["axes"][0]

    def test_tilt_angles_of_an_mdoc_file_are_ordered_by_section(self, series, tmp_path):
        text = "".join(f"[ZValue = {z}]\nTiltAngle = {3 * z}\n" for z in (1, 0, 2, 4, 3))
        (tmp_path / "a.mdoc").write_text(text)
        [ds] = mrcdist.read_mrc(series, tilt_file=tmp_path / "a.mdoc")
        assert (ds["axes"][0]["scale"], ds["axes"][0]["offset"]) == (3.0, 0.0)

    def test_number_of_tilt_angles_must_equal_that_of_sections(self, series, tmp_path):
        (tmp_path / "a.tlt").write_text("1\n2\n")
        with pytest.raises(
            mrcdist.ArgumentError, match="2 tilt angles, but the file has 5 sections"
        ):
            mrcdist.read_mrc(series, tilt_file=tmp_path / "a.tlt")
