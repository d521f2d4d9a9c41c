"""Whole-file compression is detected by the first bytes, and never in an MRC file."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.format.whole_file_compression import detect_compression, parallel_advice

KINDS = ["gzip", "bzip2", "xz", "zstd", "zip"]


def zipped(*members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def gzipped_with_name(data):
    buffer = io.BytesIO()
    with gzip.GzipFile("movie.mrc", "wb", fileobj=buffer) as file:
        file.write(data)
    return buffer.getvalue()


DATA = bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        *(("gzip", gzip.compress(DATA, level, mtime=0)) for level in (0, 1, 9)),
        ("gzip", gzipped_with_name(DATA)),
        ("gzip", gzip.compress(b"", mtime=0)),
        *(("bzip2", bz2.compress(DATA, level)) for level in range(1, 10)),
        ("bzip2", bz2.compress(b"")),
        ("xz", lzma.compress(DATA)),
        ("xz", lzma.compress(b"")),
        ("zstd", bytes.fromhex("28b52ffd 2004 2100 00 61 62 63 64")),
        ("zip", zipped(("movie.mrc", DATA))),
        ("zip", zipped()),
    ],
)
def test_each_compression_is_detected_by_its_first_bytes(kind, raw):
    assert detect_compression(raw[:10]) == kind
    assert detect_compression(raw) == kind


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x1f",
        b"\x1f\x8b",
        b"\x1f\x8b\x07\x00",  # not deflate
        b"\x1f\x8b\x08\x20",  # a reserved flag
        b"BZ",
        b"BZh",
        b"BZh9 is how this text begins",
        b"BZh0\x31\x41\x59\x26\x53\x59",  # no such level
        b"\xfd7zXZ",
        b"\x28\xb5\x2f",
        b"PK\x01\x02",
        b"PKK",
        b"12PK\x03\x04",
    ],
)
def test_similar_bytes_are_not_detected_as_compression(raw):
    assert detect_compression(raw) is None


@given(
    shape=st.tuples(*[st.integers(0, 500_000)] * 3),
    mode=st.sampled_from([0, 1, 2, 3, 4, 6, 12, 16, 101, 6001]),
    order=st.sampled_from("<>"),
)
def test_no_mrc_header_is_mistaken_for_compression(shape, mode, order):
    assert detect_compression(struct.pack(order + "4i", *shape, mode)) is None


@given(st.binary(max_size=40))
def test_any_bytes_are_detected_as_a_known_compression_or_none(raw):
    assert detect_compression(raw) in (None, *KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_advice_for_parallel_reading_has_kind_reason_and_command(kind):
    cause, remedy = parallel_advice(kind, "tilt.mrc.packed")
    assert kind in cause
    assert "cannot be shared among tasks" in cause
    assert f"{'unzip' if kind == 'zip' else kind} " in remedy
    assert "tilt.mrc.packed`" in remedy
    assert "for parallel reading" in remedy
