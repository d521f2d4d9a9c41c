"""Decoding extended headers, which never fails, warns or takes much memory."""

import ast
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

from mrcdist.format.extended.decoder import (
    Decoder,
    PhysicalQuantity,
    common_value,
    convert,
    unit_note,
)
from mrcdist.format.extended.documents import Ccp4, Hdf5, Mrco
from mrcdist.format.extended.fei import Fei1, Fei2, OldFei
from mrcdist.format.extended.nint_nreal import Agard, SerialEM
from mrcdist.format.extended.registry import (
    EXTTYPS,
    bytes_needed,
    decode_extended,
    extended_metadata,
    possible_decoders,
    scan_of_sections,
    scan_step,
    section_pixel_size,
    tilt_angles,
)
from mrcdist.format.header import MRC2014_EXTENDED, MRCZ_EXTTYP, parse_header
from tests.support.examples import examples
from tests.support.extended_headers import HEADER, identify
from tests.support.package_code import package_trees

SIGNALLING_NAN_TILT = struct.pack("<i96xQ", 888, 0x7FF0_0000_0000_0001).ljust(888, b"\0")
KINDS = [Fei1, Fei2, OldFei, SerialEM, Agard, Ccp4, Mrco, Hdf5, Decoder]
shorts = st.integers(-(2**15), 2**15 - 1)
small = st.integers(0, 40)
sections = st.one_of(st.integers(0, 8), st.integers(0, 2**31 - 1))
byteorders = st.sampled_from(["<", ">"])


@st.composite
def raw_bytes(draw):
    """Draw any bytes, often after the size of an FEI record, or whole records of noise."""
    noise = draw(st.binary(max_size=200))
    stated = draw(st.sampled_from([b"", struct.pack("<i", 768), struct.pack(">i", 888)]))
    repeats = draw(st.sampled_from([1, 1, 20]))
    raw = (stated + noise) * repeats
    return raw.ljust(
        draw(st.sampled_from([0, 888, 1776])), draw(st.sampled_from([b"\0", b"\x7f", b"\xff"]))
    )


def decoder(kind, nsymbt, n_sections=1, nint=0, nreal=0, byteorder="<"):
    words = {"nsymbt": nsymbt, "nz": n_sections, "nint": nint, "nreal": nreal}
    return kind(replace(HEADER, byteorder=byteorder, **words))


@st.composite
def decoders(draw, n_sections=sections):
    numbers = st.one_of(shorts, small)
    return decoder(
        draw(st.sampled_from(KINDS)),
        draw(st.integers(1, 2**31)),
        draw(n_sections),
        draw(numbers),
        draw(numbers),
        draw(byteorders),
    )


@examples(400)
@given(decoder=decoders(), raw=raw_bytes())
@example(decoder(Fei2, 888, 3), b"")
@example(decoder(Fei2, 888), struct.pack("<i", 888).ljust(888, b"\x7f"))  # 1e306
@example(decoder(Fei2, 888), struct.pack("<i", 888).ljust(888, b"\xff"))  # NaN
@example(decoder(Fei2, 888), SIGNALLING_NAN_TILT)
@example(decoder(SerialEM, 888, 3, nint=2, nreal=1), b"\1")
def test_any_extended_header_can_be_decoded_and_used(decoder, raw):
    n_sections = decoder.header.nz
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = decode_extended([decoder], raw)
        metadata = extended_metadata(header)
        tilts = tilt_angles(header)
        pixel = section_pixel_size(header)
        shape, note = scan_of_sections(header, n_sections=n_sections)
        step = scan_step(header)

    assert header.kind == decoder.kind
    assert header.n_records <= n_sections
    assert all(len(column) == header.n_records for column in header.columns.values())
    assert all(isinstance(entry, str) and entry for entry in header.notes)
    if header.n_records < n_sections and decoder.kind != "CCP4":
        assert header.notes, "missing records are noted"
    json.dumps(metadata, allow_nan=False)
    assert tilts is None or (len(tilts) == header.n_records and np.abs(tilts).max() <= 360)
    for pair in (pixel, step):
        assert pair is None or (min(pair) > 0 and np.isfinite(pair).all())
    assert shape is None or (shape[0] * shape[1] == n_sections and note is None)


@given(decoder=decoders(), first=raw_bytes())
def test_bytes_needed_are_within_the_extended_header(decoder, first):
    for first_bytes in (b"", first):
        assert 0 <= bytes_needed([decoder], first_bytes) <= decoder.header.nsymbt


@examples(200)
@given(decoder=decoders(st.integers(0, 8)), raw=raw_bytes())
def test_bytes_needed_suffice_to_decode_all_records(decoder, raw):
    decoder = replace(decoder, header=replace(decoder.header, nsymbt=len(raw)))
    part = decode_extended([decoder], raw[: bytes_needed([decoder], raw)])
    whole = decode_extended([decoder], raw)
    assert (part.n_records, part.text) == (whole.n_records, whole.text)
    assert list(part.columns) == list(whole.columns)
    for name, column in part.columns.items():
        np.testing.assert_array_equal(column, whole.columns[name])


@examples(200)
@given(
    exttyp=st.text(max_size=4), nsymbt=st.integers(-9, 2**31), n=sections, nint=shorts, nreal=shorts
)
def test_every_extended_header_has_a_decoder(exttyp, nsymbt, n, nint, nreal):
    assert bool(identify(exttyp, nsymbt, n, nint, nreal)) == (nsymbt > 0)


@pytest.mark.parametrize("exttyp", ["FEI1", "FEI2", "SERI", "AGAR", "CCP4", "MRCO", "HDF5"])
@pytest.mark.parametrize("padding", ["", " ", "\0"])
def test_exttyp_determines_the_decoder_whatever_the_sizes(exttyp, padding):
    raw = bytearray(HEADER.raw)
    raw[104:108] = (exttyp + padding)[:4].encode()
    struct.pack_into("<i", raw, 92, 131072)
    (only,) = possible_decoders(parse_header(bytes(raw), file_size=None))
    assert (only.kind, only.header.exttyp) == (exttyp, exttyp)


@pytest.mark.parametrize("exttyp", ["FEI", "FEI3", "abcd", "unknown"])
def test_decoder_is_not_guessed_if_exttyp_is_unknown(exttyp):
    (only,) = identify(exttyp, 131072, 1, nint=2, nreal=1)
    assert only.kind == "unknown"


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_takes_memory_in_proportion_to_the_bytes_present(kind):
    """The number of sections in the header, 2³¹ - 1, does not matter."""
    raw = struct.pack("<i", 888) + random.Random(1).randbytes(888 * 1000)
    words = (4, 32) if kind is SerialEM else (1, 1)
    decode_extended([decoder(kind, len(raw), 1, *words)], raw[:888])  # fill caches
    many = decoder(kind, len(raw), 2**31 - 1, *words)
    tracemalloc.start()
    header = decode_extended([many], raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(raw)
    kept = sum(sys.getsizeof(column) for column in header.columns.values())
    assert kept < 4 * len(raw)


def test_decoded_columns_do_not_refer_to_the_raw_bytes():
    raw = bytearray(struct.pack("<i", 888).ljust(888, b"\0"))
    header = decode_extended([decoder(Fei2, 888)], raw)
    raw.clear()  # a view would make this fail
    assert header.columns["Metadata size"].tolist() == [888]


def test_decoded_header_can_be_pickled():
    header = decode_extended([decoder(SerialEM, 4, 2, nint=2, nreal=1)], b"\x64\0\x64\0")
    unpickled = pickle.loads(pickle.dumps(header))
    np.testing.assert_array_equal(tilt_angles(unpickled), [1.0, 1.0])


def fei2_scan(right, bottom, n_records):
    record = bytearray(888)
    struct.pack_into("<i", record, 0, 888)
    struct.pack_into("<I", record, 490, 0b1111 << 17)
    struct.pack_into("<4i", record, 587, 0, 0, right, bottom)
    raw = bytes(record) * n_records
    return decode_extended([decoder(Fei2, len(raw), n_records)], raw)


@given(right=st.integers(1, 12), bottom=st.integers(1, 12))
def test_scan_shape_of_fei2_records_is_rows_by_columns(right, bottom):
    n_sections = right * bottom
    header = fei2_scan(right, bottom, 1)
    expected = (bottom, right) if n_sections > 1 else None
    assert scan_of_sections(header, n_sections=n_sections) == (expected, None)


def test_scan_that_differs_from_the_number_of_sections_is_noted_on_request():
    header = fei2_scan(256, 128, 3)
    assert header.notes == ()
    _, note = scan_of_sections(header, n_sections=3)
    assert "256 x 128 points" in note
    assert "3 sections" in note
    assert "navigation_shape" in note


def test_single_section_is_not_a_scan():
    header = fei2_scan(256, 256, 1)
    assert scan_of_sections(header, n_sections=1) == (None, None)


@pytest.mark.parametrize(("right", "bottom"), [(0, 5), (5, 0), (-5, -5), (2**31 - 1, 2**31 - 1)])
def test_invalid_scan_area_gives_no_scan_shape(right, bottom):
    assert scan_of_sections(fei2_scan(right, bottom, 25), n_sections=25)[0] is None


def test_long_symmetry_text_is_truncated_with_a_note():
    raw = b"X,Y,Z".ljust(80) * 5000
    ccp4 = decoder(Ccp4, len(raw))
    assert bytes_needed([ccp4]) == 81920
    header = decode_extended([ccp4], raw)
    assert len(header.text) == 1024
    assert "400000 bytes of symmetry text" in header.notes[0]


def test_symmetry_records_that_are_not_text_are_noted():
    ccp4 = [decoder(Ccp4, 80)]
    assert "not text" in decode_extended(ccp4, bytes(range(1, 81))).notes[0]
    blank = decode_extended(ccp4, b" " * 80)
    assert (blank.text, blank.notes) == ((), ())


class TestQuantities:
    LENGTH = PhysicalQuantity("x", "column", 1e9, above=0, limit=1, unit="m")

    @given(st.lists(st.tuples(st.floats(), st.booleans()), max_size=20))
    def test_quantities_are_nan_unless_valid_and_plausible(self, entries):
        stored = np.array([value for value, _ in entries])
        valid = np.array([flag for _, flag in entries], bool)
        converted = convert(self.LENGTH, stored, valid)
        for (value, flag), result in zip(entries, converted, strict=True):
            if flag and 0 < value <= 1:
                assert result == value * 1e9
            else:
                assert np.isnan(result)

    def test_quantities_that_overflow_in_the_new_unit_are_nan(self):
        quantity = PhysicalQuantity("x", "column", 1e3)
        converted = convert(quantity, np.array([1e306, 2.0]), np.array([True, True]))
        np.testing.assert_array_equal(converted, [np.nan, 2000.0])

    @given(st.lists(st.floats(), max_size=20))
    def test_common_value_is_close_to_all_values(self, values):
        found = common_value(np.array(values, float))
        known = [value for value in values if np.isfinite(value)]
        if found is None:
            assert not known or min(known) != max(known)
        else:
            largest = max(abs(value) for value in known)
            assert found in known
            assert all(abs(value / 2 - found / 2) <= 0.0005 * largest for value in known)

    def test_values_that_differ_by_more_than_a_thousandth_have_no_common_value(self):
        assert common_value(np.array([100.0, 100.05])) == 100.0
        assert common_value(np.array([100.0, 100.2])) is None
        assert common_value(np.array([0.0, -0.0])) == 0.0
        assert common_value(np.array([np.nan])) is None

    def test_first_implausible_value_is_noted_with_its_unit(self):
        stored = np.array([0.5, 3.0, 7.0])
        assert "column is 3 in" in unit_note(self.LENGTH, stored, np.array([True] * 3))
        assert "column is 7 in" in unit_note(self.LENGTH, stored, np.array([True, False, True]))
        assert unit_note(self.LENGTH, stored, np.array([True, False, False])) is None


class TestKindsAreNamedOnce:
    """Decoders answer what depends on the kind, so a new kind is a decoder and an entry."""

    KINDS = frozenset(kind for kind in EXTTYPS if kind != MRCZ_EXTTYP)
    # EXTTYP of MRC2014, evidence for the byte order of a header.
    ALLOWED = frozenset({"format/header.py"})

    @staticmethod
    def texts(node):
        """Return all strings below a node of a syntax tree; bytes as strings."""
        constants = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
        return {
            text.decode("latin-1") if isinstance(text, bytes) else text
            for text in constants
            if isinstance(text, str | bytes)
        }

    def named_kinds(self, tree):
        """Return kinds that a module names; "json" is also a file format, so only if compared."""
        named = self.texts(tree) & self.KINDS
        for node in ast.walk(tree):
            names = {getattr(each, "attr", getattr(each, "id", "")) for each in ast.walk(node)}
            if isinstance(node, ast.Compare) and names & {"kind", "exttyp"}:
                named |= self.texts(node) & {MRCZ_EXTTYP}
        return named

    def test_no_module_but_the_decoders_names_a_kind(self):
        found = {
            name: kinds
            for name, tree in package_trees().items()
            if not name.startswith("format/extended/") and (kinds := self.named_kinds(tree))
        }
        assert set(found) == self.ALLOWED, found

    def test_no_function_names_a_decoder(self):
        """Decoders are listed in tables and know their own sizes; functions ask all of them."""
        names = {kind.__name__ for kind in (*EXTTYPS.values(), OldFei)}
        found = [
            (module, node.id)
            for module, tree in package_trees().items()
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and node.id in names
        ]
        assert found == []

    @pytest.mark.parametrize(
        "source", ['x in ("FEI1", y)', 'x = b"CCP4"', 'header.exttyp == "json"', 'K = {"SERI": 1}']
    )
    def test_kind_in_source_code_is_found(self, source):
        assert self.named_kinds(ast.parse(source))

    def test_all_kinds_of_mrc2014_have_a_decoder(self):
        assert {kind.encode() for kind in self.KINDS} == set(MRC2014_EXTENDED)
