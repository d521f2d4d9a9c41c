"""Verdicts of `mrcdist validate` and `mrcfile.validate` agree, except for the cases in DIFFERS.

Files are written byte by byte. mrcfile always compares statistics, hence `statistics=True`.
"""

from __future__ import annotations

import io
import warnings

import mrcfile
import pytest

from mrcdist.validate.report import validate
from tests.support.faulty_files import CASES, errors_of, written

# Case → reason for different verdicts.
DIFFERS = {
    "stamp contradicts": "mrcfile uses the other byte order with a warning, and reports no error",
    "mode 3": "in MRC2014, but mrcfile cannot read it",
    "mode 101": "in MRC2014, but mrcfile cannot read it",
    "nx is 0": "mrcfile checks only for negative dimensions",
    "unsigned bytes": "mrcfile reads mode 0 as signed; mrcdist uses the statistics in the header",
    "complex with statistics": "mrcfile compares the real parts; complex numbers have no minimum",
    "mean of normalised data": "mrcfile allows 1 % of a mean near 0, less than the rounding error",
    "gzip, bytes after the data": "finding them would mean decompressing beyond the data",
}


@pytest.mark.parametrize("name", CASES)
def test_verdict_agrees_with_mrcfile(tmp_path, name):
    path = written(tmp_path, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mrcfile.validate(str(path), print_file=io.StringIO())
    ours = validate(path, statistics=True).valid
    assert (ours == theirs) == (name not in DIFFERS)


def test_verdict_on_real_files_agrees_with_mrcfile(real_data):
    files = sorted([*real_data.glob("*.mrc"), *real_data.glob("*.map")])
    assert files
    for path in files:
        theirs = mrcfile.validate(str(path), print_file=io.StringIO())
        assert validate(path, statistics=True).valid == theirs, path


@pytest.mark.parametrize("name", ["valid", "minimum is wrong", "gzip", "bzip2", "truncated"])
def test_verdict_on_a_file_in_s3_is_the_same(moto, name):
    raw, errors = CASES[name]
    with moto.bucket() as bucket:
        url = bucket.put("a.mrc", raw)
        report = validate(url, statistics=True, storage_options=bucket.storage_options())
    assert errors_of(report) == errors
