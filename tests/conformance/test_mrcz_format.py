"""MRCZ: files written by the mrcz package in every codec, and blosc chunks built byte by byte."""

from __future__ import annotations

import itertools
import json
import pickle
import struct
import sys

import blosc
import mrcz as peer
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mrcdist.errors import FormatError, MissingExtraError, TruncatedFileError
from mrcdist.format import mrcz
from mrcdist.format.mrcz import (
    BloscHeader,
    decode_section,
    follow_sections,
    parse_chunk_header,
)
from mrcdist.plan.truncation import MissingFrames
from mrcdist.warning_notes import Notes

CODECS = {"blosclz": 1, "lz4": 2, "lz4hc": 3, "zlib": 5, "zstd": 6}
STREAMS = {"lz4hc": "lz4"}
MODES = {"i1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6, "i4": 7, "u4": 8}


def counts(dtype="i2", shape=(5, 20, 24)):
    """Return sparse counts that differ between sections, with signs if the dtype has them."""
    rng = np.random.default_rng(7)
    counts = rng.poisson(1, shape) + np.arange(shape[0])[:, None, None]
    return (
        (counts - 2 * (np.dtype(dtype).kind != "u"))
        .clip(0 if dtype[0] == "u" else -9)
        .astype(dtype)
    )


def written(tmp_path, data, **options):
    """Return the bytes of a file written by the mrcz package."""
    path = tmp_path / "movie.mrcz"
    peer.writeMRC(data, str(path), **options)
    return path.read_bytes()


def walk(raw, *, sections, section_nbytes, start=1024, step=16):
    """Follow the sections of bytes in memory, through windows of `step` bytes."""
    return follow_sections(
        lambda first, stop: raw[first:stop],
        start=start,
        sections=sections,
        section_nbytes=section_nbytes,
        file_size=len(raw),
        window=step,
    )


def decoded(raw, *, dtype, shape):
    """Decode one section to pixels."""
    section_nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(decode_section(raw, section_nbytes), dtype).reshape(shape)


def read_sections(raw, dtype, shape, *, start=1024):
    """Read a whole file as the reader does: locate all sections, then decode each, last first."""
    section_nbytes = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    table = walk(raw, sections=shape[0], section_nbytes=section_nbytes, start=start)
    assert table.offsets[-1] == len(raw)
    out = np.empty(shape, np.dtype(dtype).newbyteorder("="))
    for index in reversed(range(shape[0])):
        first, stop = table.byte_range(index, index + 1)
        out[index] = decoded(raw[first:stop], dtype=dtype, shape=shape[1:])
    return out


def chunk(payload, *, version=2, stream=1, flags=0x02, typesize=1, **changed):
    """Return a chunk of stored bytes; `changed` overrides sizes in its header with false ones."""
    sizes = {"nbytes": len(payload), "blocksize": len(payload), "ctbytes": 16 + len(payload)}
    sizes |= changed
    return struct.pack("<4B3i", version, stream, flags, typesize, *sizes.values()) + payload


# Files written by the mrcz package.


@pytest.mark.parametrize(("codec", "clevel"), [*itertools.product(CODECS, range(10))])
def test_every_codec_and_level_is_read(tmp_path, codec, clevel):
    data = counts()
    raw = written(tmp_path, data, compressor=codec, clevel=clevel)
    assert divmod(struct.unpack_from("<i", raw, 12)[0], 1000) == (CODECS[codec], 1)
    header = parse_chunk_header(raw[1024:], "chunk")
    assert header.stream == STREAMS.get(codec, codec)
    assert header.stored == (clevel == 0)
    assert header.nbytes == data[0].nbytes
    np.testing.assert_array_equal(read_sections(raw, "<i2", data.shape), data)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", MODES)
@pytest.mark.parametrize("endian", ["le", "be"])
def test_every_dtype_and_byte_order_is_read(tmp_path, codec, dtype, endian):
    data = counts(dtype)
    order = "<" if endian == "le" else ">"
    raw = written(tmp_path, data, compressor=codec, endian=endian)
    mode = struct.unpack_from(order + "i", raw, 12)[0]
    assert divmod(mode, 1000) == (CODECS[codec], MODES[dtype])
    # Chunk headers are always little-endian; pixels have the byte order of the main header.
    np.testing.assert_array_equal(read_sections(raw, order + dtype, data.shape), data)


@pytest.mark.parametrize("codec", CODECS)
def test_incompressible_sections_are_stored_uncompressed_and_read(tmp_path, codec):
    data = np.random.default_rng(3).integers(0, 65536, (3, 64, 64)).astype("u2")
    raw = written(tmp_path, data, compressor=codec)
    header = parse_chunk_header(raw[1024:], "chunk")
    assert header.stored
    assert header.ctbytes == data[0].nbytes + 16
    np.testing.assert_array_equal(read_sections(raw, "<u2", data.shape), data)


def test_single_image_is_one_section(tmp_path):
    data = counts()[0]
    raw = written(tmp_path, data, compressor="zstd")
    np.testing.assert_array_equal(read_sections(raw, "<i2", (1, *data.shape)), data[None])


def test_list_of_volumes_has_one_chunk_per_section_and_the_depth_in_mz(tmp_path):
    volumes = [counts(shape=(3, 8, 9)), counts(shape=(3, 8, 9)) + 1]
    raw = written(tmp_path, volumes, compressor="lz4")
    assert struct.unpack_from("<3i", raw, 0) == (9, 8, 6)
    assert struct.unpack_from("<3i", raw, 28) == (0, 0, 3)
    stacked = np.concatenate(volumes)
    np.testing.assert_array_equal(read_sections(raw, "<i2", stacked.shape), stacked)


def test_metadata_are_stored_as_json_between_header_and_sections(tmp_path):
    data, metadata = counts(), {"detector": "Celeritas", "gains": [1, 2.5]}
    raw = written(tmp_path, data, compressor="zstd", meta=metadata)
    (nsymbt,) = struct.unpack_from("<i", raw, 92)
    assert raw[104:108] == b"json"
    assert json.loads(raw[1024 : 1024 + nsymbt]) == metadata
    np.testing.assert_array_equal(read_sections(raw, "<i2", data.shape, start=1024 + nsymbt), data)


def test_typesize_of_a_cast_array_is_that_before_the_cast(tmp_path):
    data = counts("i2")
    raw = written(tmp_path, data, compressor="zstd", dtype="f4")
    assert parse_chunk_header(raw[1024:], "chunk").typesize == 2
    np.testing.assert_array_equal(read_sections(raw, "<f4", data.shape), data)


def test_byte_144_of_the_header_has_the_compressed_size(tmp_path):
    raw = written(tmp_path, counts(), compressor="zlib")
    assert struct.unpack_from("<q", raw, 144)[0] == len(raw) - 1024


# Chunk headers.


def test_chunk_header_is_parsed_as_little_endian():
    raw = bytes([2, 1, 0x96, 4]) + bytes.fromhex("0001 0000 4000 0000 1001 0000")
    header = parse_chunk_header(raw, "chunk")
    assert header == BloscHeader(2, 0x96, 4, nbytes=256, blocksize=64, ctbytes=272)
    assert (header.stream, header.stored) == ("zstd", True)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"version": 0}, "version 0"),
        ({"version": 1}, "version 1"),
        ({"version": 3}, "version 3"),
        ({"nbytes": -1}, "-1 decompressed"),
        ({"ctbytes": 15}, "a chunk of 15 bytes"),
        ({"ctbytes": 0}, "a chunk of 0 bytes"),
        ({"ctbytes": -100}, "a chunk of -100 bytes"),
        ({"ctbytes": 27}, "stored uncompressed in a chunk of 27"),
        ({"typesize": 0}, "typesize 0"),
        ({"blocksize": 0}, "blocksize 0"),
        ({"blocksize": -1}, "blocksize -1"),
        ({"blocksize": 13}, "blocksize 13 of 12"),
        ({"flags": 0xA0}, "stream format 5"),
    ],
)
def test_error_for_an_invalid_chunk_header_shows_its_bytes(changed, problem):
    raw = chunk(bytes(12), **changed)
    with pytest.raises(FormatError, match=problem) as caught:
        parse_chunk_header(raw, "chunk")
    assert raw[:16].hex(" ") in caught.value.problem
    assert parse_chunk_header(chunk(bytes(12)), "chunk").ctbytes == 28


def test_empty_chunk_consists_of_its_header():
    header = parse_chunk_header(blosc.compress(b"", 1), "chunk")
    assert (header.nbytes, header.ctbytes) == (0, 16)


@pytest.mark.parametrize("length", [0, 1, 15])
def test_incomplete_chunk_header_is_an_error(length):
    with pytest.raises(FormatError, match=f"{length} bytes are too few"):
        parse_chunk_header(chunk(bytes(12))[:length], "chunk")


# Locating the sections by following chunk headers.


def three_sections():
    return bytes(1024) + chunk(b"abcd") + blosc.compress(bytes(4), 1) + chunk(b"efgh")


def test_table_has_the_byte_range_of_each_section():
    raw = three_sections()
    table = walk(raw, sections=3, section_nbytes=4)
    assert (table.sections, table.notes) == (3, ())
    assert table.offsets[0] == 1024
    assert table.offsets[3] == len(raw)
    first, stop = table.byte_range(2, 3)
    assert raw[first:stop] == chunk(b"efgh")
    assert table.byte_range(0, 3) == (1024, len(raw))
    assert pickle.loads(pickle.dumps(table)) == table


@given(step=st.integers(0, 100))
def test_table_is_the_same_for_any_window_size(step):
    raw = three_sections()
    expected = walk(raw, sections=3, section_nbytes=4)
    assert walk(raw, sections=3, section_nbytes=4, step=step) == expected


@pytest.mark.parametrize(("window", "sections_of_each"), [(0, [0, 1, 1, 1]), (1000, [0, 3])])
def test_each_window_is_read_once_and_reports_its_sections_as_progress(window, sections_of_each):
    raw, reads, counts = three_sections(), [], []

    def read(first, stop):
        reads.append((first, stop))
        return raw[first:stop]

    table = follow_sections(
        read,
        start=1024,
        sections=3,
        section_nbytes=4,
        file_size=len(raw),
        window=window,
        advance=counts.append,
    )
    assert counts == sections_of_each
    starts = [1024] if window else table.offsets[:3]
    assert reads == [(first, min(first + max(window, 16), len(raw))) for first in starts]


def test_file_without_sections_has_an_empty_table():
    assert walk(bytes(1024), sections=0, section_nbytes=4).offsets == (1024,)


def frames_in(raw, *, sections, allowed):
    """Return the table of complete sections, the missing frames, and the notes about them."""
    notes = Notes()
    table = walk(raw, sections=sections, section_nbytes=4)
    frames = MissingFrames(allowed=allowed).in_sections(
        sections, table.sections, file_size=len(raw), notes=notes
    )
    return table, frames, list(notes)


@pytest.mark.parametrize("missing", [1, 4, 5, 19])
def test_allow_truncated_keeps_the_complete_sections_of_a_truncated_file(missing):
    raw = three_sections()[:-missing]
    with pytest.raises(
        TruncatedFileError, match=rf"3 compressed sections.*{len(raw)} bytes .* contain 2"
    ):
        frames_in(raw, sections=3, allowed=False)
    table, frames, notes = frames_in(raw, sections=3, allowed=True)
    assert table.offsets == walk(three_sections(), sections=3, section_nbytes=4).offsets[:3]
    assert frames == MissingFrames(announced=3, present=2, allowed=True)
    assert notes == ["1 of 3 compressed sections are missing at the end"]


@pytest.mark.parametrize(
    ("allowed", "message"), [(False, "contain 0 complete"), (True, "none of the sections")]
)
def test_file_without_a_complete_section_is_a_truncation_error(allowed, message):
    # Left behind by mrcz if a section exceeds blosc's limit of 2 GiB.
    with pytest.raises(TruncatedFileError, match=message):
        frames_in(bytes(1024)[:233], sections=1, allowed=allowed)


@pytest.mark.parametrize("extra", [bytes(7), bytes(100), chunk(b"ijkl")])
def test_trailing_bytes_cause_a_note(extra):
    raw = three_sections()
    table = walk(raw + extra, sections=3, section_nbytes=4)
    assert table.offsets == walk(raw, sections=3, section_nbytes=4).offsets
    assert table.notes == (f"{len(extra)} bytes after the last section are ignored",)


def test_error_for_a_damaged_chunk_header_states_section_and_byte():
    raw = bytearray(three_sections())
    raw[1044:1060] = bytes(16)
    with pytest.raises(FormatError, match=r"section 1 of 3, at byte 1044: .*version 0"):
        walk(bytes(raw), sections=3, section_nbytes=4)


def test_chunk_whose_size_is_not_that_of_a_section_is_an_error():
    with pytest.raises(FormatError, match="contains 4 bytes, but a section of this file has 8"):
        walk(three_sections(), sections=3, section_nbytes=8)


@given(raw=st.binary(max_size=300), sections=st.integers(0, 20), section_nbytes=st.integers(0, 64))
def test_arbitrary_bytes_give_a_table_or_a_format_error(raw, sections, section_nbytes):
    try:
        table = walk(raw, sections=sections, section_nbytes=section_nbytes, start=10)
    except FormatError:
        return
    assert table.sections <= sections
    assert table.sections == 0 or table.offsets[-1] <= len(raw)


# Sections.


def test_stored_chunk_is_decoded_in_the_byte_order_of_the_file():
    raw = chunk(bytes([0, 1, 0, 2, 1, 0]))
    section = decoded(raw, dtype=">u2", shape=(1, 3))
    assert section.tolist() == [[1, 2, 256]]
    assert section.flags.writeable
    assert decoded(raw, dtype="u1", shape=(3, 2)).tolist() == [[0, 1], [0, 2], [1, 0]]


def test_chunk_header_with_a_false_size_is_refused_before_decompression(monkeypatch):
    monkeypatch.setattr(blosc, "decompress", lambda *_, **__: pytest.fail("decompressed"))
    raw = chunk(bytes(12), flags=0, nbytes=2**31 - 1, blocksize=65536)
    with pytest.raises(
        FormatError, match="contains 2147483647 bytes, but a section of this file has 12"
    ):
        decoded(raw, dtype="u1", shape=(3, 4))


def test_too_few_decompressed_bytes_are_an_error(monkeypatch):
    monkeypatch.setattr(blosc, "decompress", lambda *_, **__: bytearray(11))
    with pytest.raises(FormatError, match="contained 11 bytes instead of 12"):
        decoded(chunk(bytes(12)), dtype="u1", shape=(3, 4))


def test_memory_error_is_not_reported_as_a_damaged_file(monkeypatch):
    def decompress(*_, **__):
        raise MemoryError

    monkeypatch.setattr(blosc, "decompress", decompress)
    with pytest.raises(MemoryError):
        decoded(chunk(bytes(12)), dtype="u1", shape=(3, 4))


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw + b"\0"])
def test_section_must_be_exactly_one_chunk(change):
    raw = chunk(bytes(12))
    with pytest.raises(FormatError, match=r"were read for a compressed section of 28"):
        decoded(change(raw), dtype="u1", shape=(3, 4))


def test_damaged_compressed_data_are_a_format_error():
    raw = blosc.compress(counts()[0].tobytes(), 2, clevel=1, cname="zstd")
    assert not parse_chunk_header(raw, "chunk").stored
    damaged = raw[:40] + bytes([255]) * (len(raw) - 40)
    with pytest.raises(FormatError, match=r"\(zstd\) cannot be decompressed"):
        decoded(damaged, dtype="i2", shape=(20, 24))


@pytest.mark.skipif("snappy" in blosc.compressor_list(), reason="this blosc has snappy")
def test_error_for_snappy_says_that_the_library_lacks_it():
    raw = bytearray(blosc.compress(bytes(4000), 1, clevel=1, cname="lz4"))
    raw[2] = (raw[2] & 0x1F) | 2 << 5
    with pytest.raises(FormatError, match=r"\(snappy\)") as caught:
        decoded(bytes(raw), dtype="u1", shape=(40, 100))
    assert "has no snappy" in caught.value.cause
    assert "zstd" in caught.value.remedy


SMALL = blosc.compress(np.arange(48, dtype="u2").tobytes(), 2, clevel=5, cname="lz4")


@given(st.binary(max_size=40) | st.binary(min_size=11).map(lambda rest: b"\2\1\0\2" + rest))
def test_arbitrary_bytes_give_a_chunk_header_or_a_format_error(raw):
    try:
        header = parse_chunk_header(raw, "chunk")
    except FormatError:
        return
    assert header.version in (2, 5)
    assert header.nbytes >= 0
    assert header.ctbytes >= 16


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=120).map(lambda payload: chunk(payload, flags=0)),
        st.dictionaries(st.integers(0, len(SMALL) - 1), st.integers(0, 255), max_size=5).map(
            lambda damage: bytes(damage.get(i, byte) for i, byte in enumerate(SMALL))
        ),
    )
)
def test_arbitrary_bytes_give_a_section_or_a_format_error(raw):
    assume(raw[:1] != b"\x05")  # blosc2, which is optional
    for shape in [(6, 8), (len(raw) // 2,)]:
        try:
            section = decoded(raw, dtype="u2", shape=shape)
        except FormatError:
            continue
        assert (section.shape, section.dtype) == (shape, np.dtype("u2"))
        assert section.nbytes == parse_chunk_header(raw, "chunk").nbytes


# The optional libraries.


def test_blosc_uses_one_thread_per_task_and_releases_the_gil():
    threads, released = blosc.set_nthreads(2), blosc.set_releasegil(False)
    mrcz._library.cache_clear()
    try:
        decoded(chunk(bytes(12)), dtype="u1", shape=(3, 4))
        # The setters return the previous value.
        assert (blosc.set_nthreads(2), blosc.set_releasegil(False)) == (1, True)
    finally:
        blosc.set_nthreads(threads)
        blosc.set_releasegil(released)


@pytest.fixture
def hide_packages(monkeypatch):
    """Return a function that hides packages as if they were not installed."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)
        mrcz._library.cache_clear()

    yield hide
    mrcz._library.cache_clear()


def test_error_for_a_missing_library_says_what_to_install(hide_packages):
    hide_packages("blosc", "blosc2")
    with pytest.raises(MissingExtraError, match="blosc is not installed") as caught:
        decoded(chunk(bytes(4)), dtype="u1", shape=(2, 2))
    assert 'pip install ".[mrcz]"' in caught.value.remedy
    assert isinstance(caught.value, ImportError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy)) == (MissingExtraError, str(caught.value))


def test_sections_are_located_without_the_library(hide_packages):
    hide_packages("blosc", "blosc2")
    raw = bytes(1024) + chunk(b"abcd") + chunk(b"efgh")
    assert walk(raw, sections=2, section_nbytes=4).offsets == (1024, 1044, 1064)


def blosc2_chunk(payload):
    """Return a stored chunk of blosc2: flags 0 and 2 mark its header as 16 bytes longer."""
    plain = chunk(
        b"",
        version=5,
        flags=0x07,
        nbytes=len(payload),
        blocksize=len(payload),
        ctbytes=32 + len(payload),
    )
    return plain + bytes([0, 0, 0, 0, 0, 0, 2, 0]) + bytes(8) + payload


def test_error_for_a_blosc2_chunk_asks_to_install_blosc2(hide_packages):
    hide_packages("blosc2")
    header = parse_chunk_header(blosc2_chunk(bytes(4)), "chunk")
    assert (header.version, header.nbytes, header.ctbytes) == (5, 4, 36)
    with pytest.raises(MissingExtraError, match="blosc2 is not installed") as caught:
        decoded(blosc2_chunk(bytes(4)), dtype="u1", shape=(2, 2))
    assert "pip install blosc2" in caught.value.remedy


def test_blosc2_chunk_is_decoded():
    pytest.importorskip("blosc2")
    section = decoded(blosc2_chunk(b"\0\1\2\3"), dtype="u1", shape=(2, 2))
    assert section.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("codec", CODECS)
def test_files_compressed_with_blosc2_are_read(tmp_path, codec):
    pytest.importorskip("blosc2")
    for data in (counts(), np.zeros((2, 20, 24), "i2")):
        raw = written(tmp_path, data, compressor=codec, backend="blosc2")
        assert parse_chunk_header(raw[1024:], "chunk").version == 5
        np.testing.assert_array_equal(read_sections(raw, "<i2", data.shape), data)


def test_blosc2_also_decodes_chunks_of_blosc(hide_packages):
    pytest.importorskip("blosc2")
    hide_packages("blosc")
    assert decoded(chunk(b"\0\1\2\3"), dtype="u1", shape=(4,)).tolist() == [0, 1, 2, 3]
