"""Extended headers: nothing that the bytes hold makes decoding fail, warn or swell."""

import json
import pickle
import random
import struct
import sys
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mrcdist.format.extended.decoder import PhysicalQuantity, common, convert, doubtful
from mrcdist.format.extended.registry import (
    ExtendedKind,
    bytes_needed,
    decode_extended,
    extended_metadata,
    scan_of_sections,
    scan_step,
    section_pixel_size,
    tilt_angles,
)
from tests.support.examples import examples
from tests.support.extended_headers import identify

KINDS = ["FEI1", "FEI2", "FEI", "SERI", "AGAR", "CCP4", "MRCO", "HDF5", "unknown"]
shorts = st.integers(-(2**15), 2**15 - 1)
small = st.integers(0, 40)
sections = st.one_of(st.integers(0, 8), st.integers(0, 2**31 - 1))
byteorders = st.sampled_from(["<", ">"])


@st.composite
def raw_bytes(draw):
    """Arbitrary bytes; often with the size of an FEI record in front, or whole records of noise."""
    noise = draw(st.binary(max_size=200))
    stated = draw(st.sampled_from([b"", struct.pack("<i", 768), struct.pack(">i", 888)]))
    repeats = draw(st.sampled_from([1, 1, 20]))
    raw = (stated + noise) * repeats
    return raw.ljust(
        draw(st.sampled_from([0, 888, 1776])), draw(st.sampled_from([b"\0", b"\x7f", b"\xff"]))
    )


@st.composite
def kinds(draw):
    numbers = st.one_of(shorts, small)
    nint, nreal = draw(numbers), draw(numbers)
    return ExtendedKind(draw(st.sampled_from(KINDS)), draw(st.integers(1, 2**31)), "", nint, nreal)


@examples(400)
@given(kind=kinds(), raw=raw_bytes(), byteorder=byteorders, n_sections=sections)
@example(ExtendedKind("FEI2", 888), b"", "<", 3)
@example(ExtendedKind("FEI2", 888), struct.pack("<i", 888).ljust(888, b"\x7f"), "<", 1)  # 1e306
@example(ExtendedKind("FEI2", 888), struct.pack("<i", 888).ljust(888, b"\xff"), "<", 1)  # NaN
@example(ExtendedKind("SERI", 888, "SERI", 2, 1), b"\1", "<", 3)
def test_any_bytes_give_a_header_and_whatever_is_asked_of_it(kind, raw, byteorder, n_sections):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = decode_extended(kind, raw, byteorder=byteorder, n_sections=n_sections)
        metadata = extended_metadata(header)
        tilts = tilt_angles(header)
        pixel = section_pixel_size(header)
        shape, note = scan_of_sections(header, n_sections=n_sections)
        step = scan_step(header)

    assert header.kind == kind.name
    assert header.n_records <= n_sections
    assert all(len(column) == header.n_records for column in header.columns.values())
    assert all(isinstance(entry, str) and entry for entry in header.notes)
    if header.n_records < n_sections and kind.name != "CCP4":
        assert header.notes, "what is missing is told"
    json.dumps(metadata, allow_nan=False)  # Python's numbers, and none that is unknown
    assert tilts is None or (len(tilts) == header.n_records and np.abs(tilts).max() <= 360)
    for pair in (pixel, step):
        assert pair is None or (min(pair) > 0 and np.isfinite(pair).all())
    assert shape is None or (shape[0] * shape[1] == n_sections and note is None)


@given(kind=kinds(), n_sections=sections, first=raw_bytes())
def test_bytes_needed_stay_in_the_extended_header(kind, n_sections, first):
    for first_bytes in (b"", first):
        stop = bytes_needed(kind, n_sections=n_sections, first_bytes=first_bytes)
        assert 0 <= stop <= kind.nsymbt


@examples(200)
@given(kind=kinds(), raw=raw_bytes(), byteorder=byteorders, n_sections=st.integers(0, 8))
def test_the_bytes_needed_say_as_much_as_all_bytes(kind, raw, byteorder, n_sections):
    kind = replace(kind, nsymbt=len(raw))
    stop = bytes_needed(kind, n_sections=n_sections, first_bytes=raw)
    part = decode_extended(kind, raw[:stop], byteorder=byteorder, n_sections=n_sections)
    whole = decode_extended(kind, raw, byteorder=byteorder, n_sections=n_sections)
    assert (part.n_records, part.text) == (whole.n_records, whole.text)
    assert list(part.columns) == list(whole.columns)
    for name, column in part.columns.items():
        np.testing.assert_array_equal(column, whole.columns[name])


@examples(200)
@given(
    exttyp=st.text(max_size=4), nsymbt=st.integers(-9, 2**31), n=sections, nint=shorts, nreal=shorts
)
def test_every_extended_header_has_a_kind(exttyp, nsymbt, n, nint, nreal):
    kind = identify(exttyp=exttyp, nsymbt=nsymbt, n_sections=n, nint=nint, nreal=nreal)
    assert (kind is None) == (nsymbt <= 0)
    assert kind is None or kind.name in KINDS


@pytest.mark.parametrize("exttyp", ["FEI1", "FEI2", "SERI", "AGAR", "CCP4", "MRCO", "HDF5"])
@pytest.mark.parametrize("padding", ["", " ", "\0"])
def test_exttyp_decides_whatever_the_sizes(exttyp, padding):
    kind = identify(exttyp=exttyp + padding, nsymbt=131072, n_sections=1, nint=2, nreal=1)
    assert kind == ExtendedKind(exttyp, 131072, exttyp, 2, 1)


@pytest.mark.parametrize("exttyp", ["FEI", "FEI3", "abcd", "unknown"])
def test_an_exttyp_that_is_not_known_is_not_guessed(exttyp):
    kind = identify(exttyp=exttyp, nsymbt=131072, n_sections=1, nint=2, nreal=1)
    assert kind.name == "unknown"


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_bounded_by_the_bytes(kind):
    """A header that speaks of two thousand million sections costs what its bytes cost."""
    raw = struct.pack("<i", 888) + random.Random(1).randbytes(888 * 1000)
    described = ExtendedKind(kind, len(raw), "", *((4, 32) if kind == "SERI" else (1, 1)))
    decode_extended(described, raw[:888], byteorder="<", n_sections=1)  # caches are not its cost
    tracemalloc.start()
    header = decode_extended(described, raw, byteorder="<", n_sections=2**31 - 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(raw)
    kept = sum(sys.getsizeof(column) for column in header.columns.values())
    assert kept < 4 * len(raw)


def test_columns_do_not_keep_the_bytes_alive():
    kind = ExtendedKind("FEI2", 888)
    raw = bytearray(struct.pack("<i", 888).ljust(888, b"\0"))
    header = decode_extended(kind, raw, byteorder="<", n_sections=1)
    raw.clear()  # a view would make this fail
    assert header.columns["Metadata size"].tolist() == [888]


def test_header_and_kind_pickle():
    kind = ExtendedKind("SERI", 4, "SERI", 2, 1)
    assert pickle.loads(pickle.dumps(kind)) == kind
    header = decode_extended(kind, b"\x64\0\x64\0", byteorder="<", n_sections=2)
    again = pickle.loads(pickle.dumps(header))
    np.testing.assert_array_equal(tilt_angles(again), [1.0, 1.0])


def fei2_scan(right, bottom, n_records):
    record = bytearray(888)
    struct.pack_into("<i", record, 0, 888)
    struct.pack_into("<I", record, 490, 0b1111 << 17)
    struct.pack_into("<4i", record, 587, 0, 0, right, bottom)
    raw = bytes(record) * n_records
    return decode_extended(ExtendedKind("FEI2", len(raw)), raw, byteorder="<", n_sections=n_records)


@given(right=st.integers(1, 12), bottom=st.integers(1, 12))
def test_scan_shape_is_rows_by_columns(right, bottom):
    n_sections = right * bottom
    header = fei2_scan(right, bottom, 1)
    expected = (bottom, right) if n_sections > 1 else None
    assert scan_of_sections(header, n_sections=n_sections) == (expected, None)


def test_scan_that_does_not_give_the_sections_is_told_on_request():
    header = fei2_scan(256, 128, 3)
    assert header.notes == ()
    _, note = scan_of_sections(header, n_sections=3)
    assert "256 x 128 points" in note
    assert "3 sections" in note
    assert "navigation_shape" in note


def test_one_section_has_no_scan_to_arrange():
    header = fei2_scan(256, 256, 1)
    assert scan_of_sections(header, n_sections=1) == (None, None)


@pytest.mark.parametrize(("right", "bottom"), [(0, 5), (5, 0), (-5, -5), (2**31 - 1, 2**31 - 1)])
def test_impossible_scans_have_no_shape(right, bottom):
    assert scan_of_sections(fei2_scan(right, bottom, 25), n_sections=25)[0] is None


def test_symmetry_text_is_read_only_as_far_as_symmetry_goes():
    raw = b"X,Y,Z".ljust(80) * 5000
    kind = ExtendedKind("CCP4", len(raw), "CCP4")
    assert bytes_needed(kind, n_sections=1) == 81920
    header = decode_extended(kind, raw, byteorder="<", n_sections=1)
    assert len(header.text) == 1024
    assert "400000 bytes of symmetry text" in header.notes[0]


def test_bytes_that_are_no_symmetry_text_are_none():
    kind = ExtendedKind("CCP4", 80, "CCP4")
    header = decode_extended(kind, bytes(range(1, 81)), byteorder="<", n_sections=1)
    assert "not text" in header.notes[0]
    blank = decode_extended(kind, b" " * 80, byteorder="<", n_sections=1)
    assert (blank.text, blank.notes) == ((), ())


class TestQuantities:
    LENGTH = PhysicalQuantity("x", "column", 1e9, above=0, limit=1, unit="m")

    @given(st.lists(st.tuples(st.floats(), st.booleans()), max_size=20))
    def test_quantities_are_known_where_valid_and_possible(self, entries):
        stored = np.array([value for value, _ in entries])
        valid = np.array([flag for _, flag in entries], bool)
        converted = convert(self.LENGTH, stored, valid)
        for (value, flag), result in zip(entries, converted, strict=True):
            if flag and 0 < value <= 1:
                assert result == value * 1e9
            else:
                assert np.isnan(result)

    def test_what_overflows_in_the_new_unit_is_unknown(self):
        quantity = PhysicalQuantity("x", "column", 1e3)
        converted = convert(quantity, np.array([1e306, 2.0]), np.array([True, True]))
        np.testing.assert_array_equal(converted, [np.nan, 2000.0])

    @given(st.lists(st.floats(), max_size=20))
    def test_common_value_is_one_of_them_and_near_all(self, values):
        found = common(np.array(values, float))
        known = [value for value in values if np.isfinite(value)]
        if found is None:
            assert not known or min(known) != max(known)
        else:
            largest = max(abs(value) for value in known)
            assert found in known
            assert all(abs(value / 2 - found / 2) <= 0.0005 * largest for value in known)

    def test_spread_beyond_a_thousandth_is_not_common(self):
        assert common(np.array([100.0, 100.05])) == 100.0
        assert common(np.array([100.0, 100.2])) is None
        assert common(np.array([0.0, -0.0])) == 0.0
        assert common(np.array([np.nan])) is None

    def test_doubtful_names_the_first_value_beyond(self):
        stored = np.array([0.5, 3.0, 7.0])
        assert "column is 3 in" in doubtful(self.LENGTH, stored, np.array([True] * 3))
        assert "column is 7 in" in doubtful(self.LENGTH, stored, np.array([True, False, True]))
        assert doubtful(self.LENGTH, stored, np.array([True, False, False])) is None
