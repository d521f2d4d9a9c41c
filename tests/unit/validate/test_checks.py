"""Each check finds its fault and no other, and says why it matters."""

from __future__ import annotations

import struct

import pytest

from mrcdist.validate.checks import check_file
from mrcdist.validate.report import validate
from tests.support.faulty_files import CASES, errors_of, sound, written


@pytest.mark.parametrize("name", CASES)
def test_errors_are_those_of_the_case_and_no_others(tmp_path, name):
    errors = CASES[name][1]
    report = validate(written(tmp_path, name), statistics=True)
    assert errors_of(report) == errors, str(report)
    assert report.valid == (not errors)


@pytest.mark.parametrize(
    ("name", "check", "said"),
    [
        ("no sections", "dimensions", "announces no data"),
        ("mx is 0", "sampling", "pixel size is undefined"),
        ("cell is 0", "cell", "pixel size is undefined"),
        ("ISPG of nothing", "space group", "read as one volume"),
        ("statistics are no numbers", "statistics", "NaN or infinite"),
        ("4-bit", "mode", "2 NX columns"),
        ("gzip", "compression", "gzip"),
        ("gzip", "file size", "not checked"),
        ("mode of MRCZ", "file size", "compressed"),
    ],
)
def test_what_is_odd_and_allowed_is_a_warning(tmp_path, name, check, said):
    [found] = [
        finding
        for finding in validate(written(tmp_path, name)).findings
        if (finding.check, finding.severity) == (check, "warning")
    ]
    assert said in f"{found.found} {found.matters}"


def test_records_that_do_not_suffice_are_a_warning(tmp_path):
    short = struct.pack("<i", 888).ljust(3 * 888, b"\0")
    path = tmp_path / "a.mrc"
    path.write_bytes(sound(extended=short, exttyp=b"FEI2"))
    report = validate(path)
    assert report.valid
    assert "888 bytes for 4 sections need 3552 bytes, there are 2664" in str(report)


@pytest.mark.parametrize("name", CASES)
def test_every_fault_says_why_it_matters_and_what_to_do(tmp_path, name):
    for finding in validate(written(tmp_path, name), statistics=True).findings:
        assert finding.found
        assert bool(finding.matters) == bool(finding.remedy) == (finding.severity != "ok")


def test_checks_stop_at_what_is_no_mrc_file():
    _, [found] = check_file(bytes(4096), file_size=4096)
    assert found.severity == "error"
    assert "00 00 00 00" in found.found
