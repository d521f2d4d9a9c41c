"""`mrcdist validate` finds what mrcfile.validate finds, but for a stated list, and more.

Every file is written byte by byte. mrcfile always compares statistics, so the verdicts are compared
with `statistics=True`.
"""

from __future__ import annotations

import io
import warnings

import mrcfile
import pytest

from mrcdist.validate.report import validate
from tests.support.faulty_files import CASES, errors_of, written

# Case → why the verdicts differ. Everywhere else they agree.
DIFFERS = {
    "stamp contradicts": "mrcfile takes the other order with a warning, and finds no fault",
    "mode 3": "in MRC2014, but mrcfile cannot read it",
    "mode 101": "in MRC2014, but mrcfile cannot read it",
    "nx is 0": "mrcfile looks for negative sizes only",
    "unsigned bytes": "mrcfile takes mode 0 as signed; here the header's statistics tell the sign",
    "complex with statistics": "mrcfile compares the real parts; complex numbers have no minimum",
    "mean of normalised data": "mrcfile's 1 % is of a mean near 0, where only rounding is left",
    "gzip, bytes behind the data": "telling would cost decompressing beyond the data",
}


@pytest.mark.parametrize("name", CASES)
def test_verdict_is_that_of_mrcfile(tmp_path, name):
    path = written(tmp_path, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mrcfile.validate(str(path), print_file=io.StringIO())
    ours = validate(path, statistics=True).valid
    assert (ours == theirs) == (name not in DIFFERS)


def test_real_files_get_mrcfiles_verdict(real_data):
    files = sorted([*real_data.glob("*.mrc"), *real_data.glob("*.map")])
    assert files
    for path in files:
        theirs = mrcfile.validate(str(path), print_file=io.StringIO())
        assert validate(path, statistics=True).valid == theirs, path


@pytest.mark.parametrize("name", ["sound", "minimum is wrong", "gzip", "bzip2", "cut short"])
def test_object_stores_are_no_different(moto, name):
    raw, errors = CASES[name]
    with moto.bucket() as bucket:
        url = bucket.put("a.mrc", raw)
        report = validate(url, statistics=True, storage_options=bucket.storage_options())
    assert errors_of(report) == errors
