"""Each check finds its own fault only, and says why it matters."""

from __future__ import annotations

import struct

import pytest

from mrcdist.validate.checks import check_file
from mrcdist.validate.report import validate
from tests.support.faulty_files import CASES, errors_of, valid_file, written


@pytest.mark.parametrize("name", CASES)
def test_faulty_file_fails_only_the_checks_of_its_faults(tmp_path, name):
    errors = CASES[name][1]
    report = validate(written(tmp_path, name), statistics=True)
    assert errors_of(report) == errors, str(report)
    assert report.valid == (not errors)


@pytest.mark.parametrize(
    ("name", "check", "text"),
    [
        ("no sections", "dimensions", "announces no data"),
        ("mx is 0", "sampling", "pixel size is undefined"),
        ("cell is 0", "cell", "pixel size is undefined"),
        ("ISPG undefined", "space group", "read as one volume"),
        ("statistics are NaN", "statistics", "NaN or infinite"),
        ("4-bit", "mode", "2 NX columns"),
        ("gzip", "compression", "gzip"),
        ("gzip", "file size", "not checked"),
        ("mode of MRCZ", "file size", "compressed"),
    ],
)
def test_unusual_but_allowed_values_are_warnings(tmp_path, name, check, text):
    [warning] = [
        finding
        for finding in validate(written(tmp_path, name)).findings
        if (finding.check, finding.severity) == (check, "warning")
    ]
    assert text in f"{warning.found} {warning.matters}"


def test_missing_records_are_a_warning(tmp_path):
    short = struct.pack("<i", 888).ljust(3 * 888, b"\0")
    path = tmp_path / "a.mrc"
    path.write_bytes(valid_file(extended=short, exttyp=b"FEI2"))
    report = validate(path)
    assert report.valid
    assert "888 bytes for 4 sections need 3552 bytes, there are 2664" in str(report)


@pytest.mark.parametrize("name", CASES)
def test_every_problem_has_a_reason_and_a_remedy(tmp_path, name):
    for finding in validate(written(tmp_path, name), statistics=True).findings:
        assert finding.found
        assert bool(finding.matters) == bool(finding.remedy) == (finding.severity != "ok")


def test_only_one_error_is_reported_for_a_file_that_is_not_mrc():
    _, [finding] = check_file(bytes(4096), file_size=4096)
    assert finding.severity == "error"
    assert "00 00 00 00" in finding.found
