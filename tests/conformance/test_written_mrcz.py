"""MRCZ files written by `write_mrc`, read by the mrcz package and by mrcdist."""

from __future__ import annotations

import struct

import blosc
import dask.array as da
import mrcz
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcdist
from mrcdist import stats
from mrcdist.errors import ArgumentError
from mrcdist.format.modes import CODECS
from mrcdist.testing.acquisition import write_acquisition
from mrcdist.write.s3_parts import S3Limits, joined_parts
from tests.support.mrc_files import counting

SHAPE = (6, 20, 30)
AXES = [
    {"name": "z", "scale": 2.0, "offset": 0.0, "units": "nm"},
    {"name": "y", "scale": 0.5, "offset": 0.0, "units": "nm"},
    {"name": "x", "scale": 0.25, "offset": 0.0, "units": "nm"},
]


@pytest.mark.parametrize("name", ["a.mrcz", "A.MRCZ"])
def test_suffix_mrcz_selects_the_format(tmp_path, name):
    array = counting(SHAPE, "int16")
    mrcdist.write_mrc(tmp_path / "plain.mrc", array)
    mrcdist.write_mrc(tmp_path / name, array)
    mrcdist.convert(tmp_path / "plain.mrc", tmp_path / f"converted-{name}")
    for path in (tmp_path / name, tmp_path / f"converted-{name}"):
        assert struct.unpack("<i", path.read_bytes()[12:16]) == (6001,)
        np.testing.assert_array_equal(read_with_mrcz(path)[0], array)


def test_suffix_mrcz_is_an_error_for_a_dtype_that_mrcz_does_not_support(tmp_path):
    with pytest.raises(ArgumentError, match=r"\.mrc\b") as error:
        mrcdist.write_mrc(tmp_path / "a.mrcz", counting(SHAPE, "int16").astype("float16"))
    assert error.value.code == "compressor-invalid"
    assert list(tmp_path.iterdir()) == []


def read_with_mrcz(path):
    data, meta = mrcz.readMRC(str(path), pixelunits="nm")
    return np.asarray(data), meta


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "complex64", "uint16"])
def test_mrcz_and_mrcdist_read_the_same_pixels(tmp_path, dtype, byteorder):
    array = counting(SHAPE, dtype)
    path = tmp_path / "a.mrcz"
    chunked = da.from_array(array, chunks=(4, 7, 11))  # neither whole frames nor rows
    report = mrcdist.write_mrc(path, chunked, compressor="zstd", byteorder=byteorder)
    assert report.nbytes == path.stat().st_size
    assert (
        report.mode
        == 6000 + {"int8": 0, "int16": 1, "float32": 2, "complex64": 4, "uint16": 6}[dtype]
    )
    numbers, _ = read_with_mrcz(path)
    np.testing.assert_array_equal(numbers, array)
    [data] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(data["data"].compute(), array)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mrcz"]


@pytest.mark.parametrize("codec", [c for c in CODECS if c in blosc.compressor_list()])
def test_mrcz_reads_chunks_of_every_codec(tmp_path, codec):
    array = counting(SHAPE, "int16")
    mrcdist.write_mrc(tmp_path / "a.mrcz", array, compressor=codec)
    numbers, meta = read_with_mrcz(tmp_path / "a.mrcz")
    np.testing.assert_array_equal(numbers, array)
    assert meta["compressor"] == codec


def test_mrcz_file_consists_of_header_json_and_one_chunk_per_section(tmp_path):
    array = counting(SHAPE, "uint16")
    path = tmp_path / "a.mrcz"
    metadata = {"General": {"title": "gold"}, "Signal": {"signal_type": np.str_("STEM")}}
    report = mrcdist.write_mrc(
        path, da.from_array(array, chunks=(2, -1, -1)), metadata=metadata, compressor="lz4"
    )
    raw = path.read_bytes()
    (nsymbt,) = struct.unpack("<i", raw[92:96])
    assert raw[104:108] == b"json"
    assert raw[1024 : 1024 + nsymbt] == (
        b'{"General": {"title": "gold"}, "Signal": {"signal_type": "STEM"}}'
    )
    assert struct.unpack("<q", raw[144:152]) == (len(raw) - 1024 - nsymbt,)
    at = 1024 + nsymbt
    for section in array:
        (size,) = struct.unpack("<i", raw[at + 12 : at + 16])
        assert blosc.decompress(raw[at : at + size]) == section.tobytes()
        at += size
    assert at == len(raw)
    assert report.statistics == pytest.approx((array.min(), array.max(), array.mean(), array.std()))
    [data] = mrcdist.read_mrc(path)
    assert data["metadata"]["Signal"]["signal_type"] == "STEM"


def test_mrcz_and_mrcdist_read_the_same_pixel_sizes(tmp_path):
    path = tmp_path / "a.mrcz"
    mrcdist.write_mrc(path, counting(SHAPE, "int16"), axes=AXES, compressor="zstd")
    _, meta = read_with_mrcz(path)
    assert meta["pixelsize"] == pytest.approx([2.0, 0.5, 0.25])
    [data] = mrcdist.read_mrc(path)
    assert [axis["scale"] for axis in data["axes"]] == pytest.approx([2.0, 0.5, 0.25])


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_mrcz_and_mrcdist_read_the_same_voltage_aberration_and_gain(tmp_path, byteorder):
    original = {"mrcz_header": {"voltage": 200.0, "C3": 2.5, "gain": None}}
    noise = {"Noise_properties": {"Variance_linear_model": {"gain_factor": 0.75}}}
    metadata = {"Acquisition_instrument": {"TEM": {"beam_energy": 300.0}}, "Signal": noise}
    signal = {"data": counting(SHAPE, "int16"), "metadata": metadata, "original_metadata": original}
    path = tmp_path / "a.mrcz"
    mrcdist.write_mrc(path, signal, byteorder=byteorder)
    _, meta = read_with_mrcz(path)
    assert [meta[name] for name in ("voltage", "C3", "gain")] == [300.0, 2.5, 0.75]
    [data] = mrcdist.read_mrc(path)
    assert data["original_metadata"]["mrcz_header"] == {"voltage": 300.0, "C3": 2.5, "gain": 0.75}


def test_single_section_of_a_written_mrcz_file_is_read_without_the_others(tmp_path):
    array = np.random.default_rng(0).integers(0, 2**16, (8, 256, 256), "uint16")
    path = tmp_path / "a.mrcz"
    mrcdist.write_mrc(path, array, compressor="zstd")
    [data] = mrcdist.read_mrc(path, chunks=(1, -1, -1))
    before = stats.snapshot()
    np.testing.assert_array_equal(data["data"][5].compute(scheduler="sync"), array[5])
    assert 0 < (stats.snapshot() - before).nbytes < path.stat().st_size / 4


def test_scan_written_to_mrcz_keeps_its_axes(tmp_path):
    acquisition = write_acquisition(tmp_path / "in", scan_shape=(4, 6), frame_shape=(16, 24))
    [scan] = mrcdist.read_mrc(acquisition.movie)
    mrcdist.write_mrc(tmp_path / "a_movie.mrc", scan, compressor="zstd")
    [reloaded] = mrcdist.read_mrc(tmp_path / "a_movie.mrc")
    np.testing.assert_array_equal(reloaded["data"].compute(), scan["data"].compute())
    assert reloaded["axes"] == scan["axes"]


def test_mrcz_can_be_written_to_a_sequential_store():
    array = counting(SHAPE, "int16")
    mrcdist.write_mrc("memory://mrcz/a.mrcz", array, compressor="zstd", statistics=False)
    [data] = mrcdist.read_mrc("memory://mrcz/a.mrcz", lazy=False)
    np.testing.assert_array_equal(data["data"], array)


@pytest.mark.parametrize(
    ("compressor", "options"),
    [
        ("gzip", {}),
        ("zstd", {"dtype": "float16"}),
        ("zstd", {"dtype": "uint8"}),
        ("zstd", {"dtype": "uint4"}),
    ],
)
def test_codecs_and_dtypes_that_mrcz_does_not_support_are_an_error(tmp_path, compressor, options):
    array = counting(SHAPE, "int16") % 10
    with pytest.raises(ArgumentError) as error:
        mrcdist.write_mrc(tmp_path / "a.mrcz", array, compressor=compressor, **options)
    assert error.value.code == "compressor-invalid"
    assert list(tmp_path.iterdir()) == []


def test_estimate_says_that_compressed_blocks_are_kept_next_to_the_file(tmp_path):
    plan = mrcdist.plan_write(tmp_path / "a.mrcz", counting(SHAPE, "int16"), compressor="zstd")
    assert "kept next to the file" in str(plan.explain())


@given(
    start=st.integers(1, 40),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=30),
    least=st.integers(1, 40),
)
def test_parts_of_an_upload_cover_all_blocks_within_the_limits_of_s3(start, sizes, least):
    limits = S3Limits(least=least, most=10**6, parts=100, usual=least, copied=2 * least)
    parts = joined_parts(start, sizes, limits)
    lengths = [sum(high - low for _, low, high in pieces) for pieces in parts]
    assert all(length >= least for length in lengths[:-1])
    assert len(parts) <= limits.parts
    flat = [piece for pieces in parts for piece in pieces]
    assert flat[0] == (None, 0, start)
    assert all(low < high for _, low, high in flat)
    for number, size in enumerate(sizes):
        cuts = [(low, high) for block, low, high in flat if block == number]
        assert [0, *(high for _, high in cuts)] == [*(low for low, _ in cuts), size]
    assert [block for block, _, _ in flat[1:]] == sorted(block for block, _, _ in flat[1:])
