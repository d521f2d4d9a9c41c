"""Extended headers of the source are written to the new file; compared byte by byte."""

from __future__ import annotations

import json
import struct
import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from mrcfile.dtypes import get_ext_header_dtype

import mrcdist
from mrcdist.errors import ArgumentError, MrcdistWarning
from tests.support.mrc_files import counting, mrc_bytes

SECTIONS = 5


def fei(layout: bytes, section: int) -> bytes:
    record = np.zeros(1, get_ext_header_dtype(layout, "<"))
    record["Metadata size"] = record.itemsize
    record["Bitmask 1"] = 0xFFFFFFFF
    record["Alpha tilt"], record["HT"] = section * 2.0, 300_000.0
    return record.tobytes()


# Kind → records, NINT, NREAL.
KINDS = {
    "FEI1": ([fei(b"FEI1", n) for n in range(SECTIONS)], 0, 0),
    "FEI2": ([fei(b"FEI2", n) for n in range(SECTIONS)], 0, 0),
    "SERI": ([struct.pack("<hhhh", 100 * n, n, 2, 3) for n in range(SECTIONS)], 8, 3),
    "AGAR": ([struct.pack("<i2f", n, n * 2.0, -1.0) for n in range(SECTIONS)], 1, 2),
}
NUMBERS = counting((SECTIONS, 8, 10), "int16")


def bytes_with_records(
    kind: str, *, spare: int = 0, numbers=NUMBERS, sections=slice(None)
) -> bytes:
    """Return a file with one record per section, followed by `spare` bytes."""
    records, nint, nreal = KINDS[kind]
    return mrc_bytes(
        numbers[sections],
        extended=b"".join(records[sections]) + bytes(spare),
        exttyp=kind.encode(),
        nint=nint,
        nreal=nreal,
    )


def assert_contains(path, kind: str, sections, numbers=NUMBERS) -> None:
    """Assert that a file consists of these sections and their records."""
    raw = path.read_bytes()
    records, nint, nreal = KINDS[kind]
    extended = b"".join(records[n] for n in sections)
    assert struct.unpack("<i", raw[92:96]) == (len(extended),)
    assert raw[104:108] == kind.encode()
    assert struct.unpack("<2h", raw[128:132]) == (nint, nreal)
    assert raw[1024 : 1024 + len(extended)] == extended
    assert raw[1024 + len(extended) :] == numbers[list(sections)].tobytes()


@pytest.fixture
def read(tmp_path):
    def read_contents(*contents: bytes, **options):
        paths = [tmp_path / f"in{number}.mrc" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        names = [str(path) for path in paths]
        [dataset] = mrcdist.read_mrc(names if len(names) > 1 else names[0], **options)
        return dataset

    return read_contents


@pytest.mark.parametrize("spare", [0, 8000])
@pytest.mark.parametrize("kind", KINDS)
def test_records_of_all_sections_are_written_without_spare_space(tmp_path, read, kind, spare):
    mrcdist.write_mrc(tmp_path / "out.mrc", read(bytes_with_records(kind, spare=spare)))
    assert_contains(tmp_path / "out.mrc", kind, range(SECTIONS))


@pytest.mark.parametrize("sections", [range(1, 4), range(SECTIONS)[::-1]])
@pytest.mark.parametrize("kind", KINDS)
def test_records_of_the_sections_in_extended_header_are_written(tmp_path, read, kind, sections):
    dataset = read(bytes_with_records(kind))
    numbers = dataset["data"][list(sections)]
    selection = {"data": numbers, "original_metadata": dataset["original_metadata"]}
    mrcdist.write_mrc(tmp_path / "out.mrc", selection, extended_header=sections)
    assert_contains(tmp_path / "out.mrc", kind, sections)


@pytest.mark.parametrize("kind", KINDS)
def test_records_survive_a_round_trip_through_json_and_hspy(tmp_path, read, kind):
    dataset = read(bytes_with_records(kind), distributed=False)
    dataset["original_metadata"] = json.loads(json.dumps(dataset["original_metadata"]))
    path = tmp_path / "in0.mrc"
    signal = hs.load(path, file_format=mrcdist)
    signal.original_metadata.add_dictionary(dataset["original_metadata"])
    signal.save(tmp_path / "saved.hspy")
    mrcdist.write_mrc(tmp_path / "out.mrc", hs.load(tmp_path / "saved.hspy"))
    assert_contains(tmp_path / "out.mrc", kind, range(SECTIONS))


def test_records_of_several_files_are_joined(tmp_path, read):
    dataset = read(
        bytes_with_records("FEI2", sections=slice(0, 2)),
        bytes_with_records("FEI2", sections=slice(2, 5)),
    )
    mrcdist.write_mrc(tmp_path / "out.mrc", dataset)
    assert_contains(tmp_path / "out.mrc", "FEI2", range(SECTIONS))


def test_records_are_in_the_order_of_the_array(tmp_path, read):
    tilts = tmp_path / "in0.rawtlt"
    tilts.write_text("6\n2\n4\n0\n8\n")
    dataset = read(bytes_with_records("AGAR"), tilt_file=tilts, sort_by_tilt=True)
    mrcdist.write_mrc(tmp_path / "out.mrc", dataset)
    assert_contains(tmp_path / "out.mrc", "AGAR", [3, 1, 2, 0, 4])


def test_symmetry_is_written_for_any_selection_of_sections(tmp_path, read):
    text = b"X,Y,Z".ljust(80) + b"-X,-Y,Z".ljust(80)
    dataset = read(mrc_bytes(NUMBERS, extended=text, exttyp=b"CCP4"))
    selection = {"data": dataset["data"][1:3], "original_metadata": dataset["original_metadata"]}
    mrcdist.write_mrc(tmp_path / "out.mrc", selection)
    raw = (tmp_path / "out.mrc").read_bytes()
    assert (raw[104:108], raw[1024:1184]) == (b"CCP4", text)
    assert raw[1184:] == NUMBERS[1:3].tobytes()


def test_big_endian_records_set_the_byte_order_of_the_file(tmp_path, read):
    records = b"".join(struct.pack(">i2f", n, n * 2.0, -1.0) for n in range(SECTIONS))
    source = mrc_bytes(NUMBERS, byteorder=">", extended=records, exttyp=b"AGAR", nint=1, nreal=2)
    dataset = read(source)
    mrcdist.write_mrc(tmp_path / "out.mrc", dataset)
    raw = (tmp_path / "out.mrc").read_bytes()
    assert raw[1024 : 1024 + len(records)] == records
    assert raw[1024 + len(records) :] == NUMBERS.astype(">i2").tobytes()
    with pytest.warns(MrcdistWarning, match="another byte order"):
        mrcdist.write_mrc(tmp_path / "little.mrc", dataset, byteorder="<")
    assert struct.unpack("<i", (tmp_path / "little.mrc").read_bytes()[92:96]) == (0,)


@pytest.mark.parametrize(
    ("exttyp", "data", "reason"),
    [
        (b"AGAR", np.s_[1:3], "5 records for 2 sections"),
        (b"MRCO", np.s_[:], "of a kind that mrcdist does not write"),
    ],
)
def test_extended_header_that_is_left_out_causes_one_warning(tmp_path, read, exttyp, data, reason):
    records, nint, nreal = KINDS["AGAR"]
    source = mrc_bytes(NUMBERS, extended=b"".join(records), exttyp=exttyp, nint=nint, nreal=nreal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        dataset = read(source)
    selection = {"data": dataset["data"][data], "original_metadata": dataset["original_metadata"]}
    with pytest.warns(MrcdistWarning, match=reason) as caught:
        mrcdist.write_mrc(tmp_path / "out.mrc", selection)
    assert len(caught) == 1
    assert struct.unpack("<i", (tmp_path / "out.mrc").read_bytes()[92:96]) == (0,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mrcdist.write_mrc(tmp_path / "none.mrc", selection, extended_header=b"")


@pytest.mark.parametrize("sections", [range(2), range(3, 6), ["a"] * 5, 7])
def test_section_numbers_that_do_not_match_the_data_are_an_error(tmp_path, read, sections):
    dataset = read(bytes_with_records("AGAR"))
    selection = {**dataset, "data": dataset["data"][:3]}
    with pytest.raises(ArgumentError) as error:
        mrcdist.write_mrc(tmp_path / "out.mrc", selection, extended_header=sections)
    assert error.value.code == "extended-header-invalid"
    with pytest.raises(ArgumentError, match="read without an extended header"):
        mrcdist.write_mrc(tmp_path / "out.mrc", NUMBERS, extended_header=range(5))
