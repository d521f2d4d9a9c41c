"""`mrcdist validate` finds what mrcfile.validate finds, but for a stated list, and more.

Every file is written byte by byte. mrcfile always compares statistics, so the verdicts are compared
with `statistics=True`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import struct
import warnings

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner
from fsspec.implementations.memory import MemoryFileSystem

from mrcdist.cli import main
from mrcdist.errors import MissingFileError
from mrcdist.validate.checks import check_file
from mrcdist.validate.report import validate
from tests.support.mrc_files import counting, header_bytes

DATA = counting((4, 4, 5), "int16")
RIGHT = (float(DATA.min()), float(DATA.max()), float(DATA.mean()), float(DATA.std()))
UNDETERMINED = (0.0, -1.0, -2.0, -1.0)


def sound(data=DATA, *, extended=b"", payload=None, **fields):
    """A file without a fault, but for the fields that are given."""
    order = fields.get("byteorder", "<")
    head = header_bytes(
        **{
            "nx": data.shape[2],
            "ny": data.shape[1],
            "nz": data.shape[0],
            "mode": 1,
            "cell": (50.0, 40.0, 30.0),
            "statistics": RIGHT,
            "nsymbt": len(extended),
            "labels": (b"first",),
            **fields,
        }
    )
    stored = data.astype(data.dtype.newbyteorder(order)).tobytes()
    return head + extended + (stored if payload is None else payload)


def patched(raw, at, new):
    return raw[:at] + new + raw[at + len(new) :]


def floats(*values, **fields):
    return sound(np.array(values, "float32").reshape(1, 1, -1), mode=2, **fields)


SIGNED_BYTES = (np.arange(80) - 40).astype("int8").reshape(4, 4, 5)
UNSIGNED_BYTES = np.arange(0, 240, 3, dtype="uint8").reshape(4, 4, 5)
COMPLEX = np.arange(80).astype("complex64").reshape(4, 4, 5) + 1j


def statistics_of(data):
    return tuple(float(f(data)) for f in (np.min, np.max, np.mean, np.std))


# Case → (bytes, checks that find an error).
CASES = {
    "sound": (sound(), set()),
    "sound, big-endian": (sound(byteorder=">"), set()),
    "stamp 44 41": (sound(stamp=b"\x44\x41"), set()),
    "statistics undetermined": (sound(statistics=UNDETERMINED), set()),
    "version 20141": (sound(nversion=20141), set()),
    "float32": (floats(1, 2, 4, statistics=(1, 4, 7 / 3, 1.2472191)), set()),
    "complex": (sound(COMPLEX, mode=4, statistics=UNDETERMINED), set()),
    "float16": (sound(DATA.astype("f2"), mode=12), set()),
    "signed bytes": (
        sound(SIGNED_BYTES, mode=0, statistics=statistics_of(SIGNED_BYTES)),
        set(),
    ),
    "no sections": (sound(np.zeros((0, 4, 5), "i2"), statistics=UNDETERMINED), set()),
    "MAP missing": (sound(map_word=b"\0\0\0\0"), {"map word"}),
    "MAP and NUL": (sound(map_word=b"MAP\0"), {"map word"}),
    "stamp 44 00": (sound(stamp=b"\x44\0\0\0"), {"machine stamp"}),
    "stamp of zeros, big-endian data": (
        sound(stamp=bytes(4), byteorder=">"),
        {"machine stamp"},
    ),
    "stamp contradicts": (sound(stamp=b"\x11\x11"), {"machine stamp"}),
    "mode unknown": (sound(mode=7), {"mode"}),
    "mode 16": (sound(mode=16, payload=bytes(240)), {"mode"}),
    "mode 3": (sound(mode=3, statistics=UNDETERMINED, payload=bytes(320)), set()),
    "mode 101": (sound(mode=101, statistics=UNDETERMINED, payload=bytes(48)), set()),
    "mode of MRCZ": (sound(mode=2001), {"mode"}),
    "nx is 0": (sound(nx=0, payload=b"", statistics=UNDETERMINED), {"dimensions"}),
    "ny is negative": (sound(ny=-4, intervals=(5, 4, 4)), {"dimensions"}),
    "mx is negative": (sound(intervals=(-1, 4, 4)), {"sampling"}),
    "mx is 0": (sound(intervals=(0, 0, 0)), set()),
    "cell is negative": (sound(cell=(-50.0, 40.0, 30.0)), {"cell"}),
    "cell is 0": (sound(cell=(0.0, 0.0, 0.0)), set()),
    "MAPCRS 3, 1, 2": (sound(mapcrs=(3, 1, 2)), set()),
    "MAPCRS 1, 1, 2": (sound(mapcrs=(1, 1, 2)), {"axis order"}),
    "MAPCRS of zeros": (sound(mapcrs=(0, 0, 0)), {"axis order"}),
    "ISPG is negative": (sound(ispg=-1), {"space group"}),
    "ISPG of nothing": (sound(ispg=300), set()),
    "volume stack": (sound(ispg=401, intervals=(5, 4, 2)), set()),
    "volume stack of uneven volumes": (sound(ispg=401, intervals=(5, 4, 3)), {"space group"}),
    "volume stack without MZ": (sound(ispg=401, intervals=(5, 4, 0)), {"space group"}),
    "labels but NLABL 0": (patched(sound(), 220, struct.pack("<i", 0)), {"labels"}),
    "labels with a gap": (sound(labels=(b"first", b"", b"third")), {"labels"}),
    "NLABL counts the gap out": (
        patched(sound(labels=(b"first", b"", b"third")), 220, struct.pack("<i", 2)),
        {"labels"},
    ),
    "version 0": (sound(nversion=0), {"version"}),
    "extended header of text": (sound(extended=bytes(160), exttyp=b"CCP4"), set()),
    "extended header of FEI": (
        sound(extended=struct.pack("<i", 888).ljust(4 * 888, b"\0"), exttyp=b"FEI2"),
        set(),
    ),
    "extended header without a type": (sound(extended=bytes(160)), {"extended header"}),
    "extended header of no known type": (
        sound(extended=bytes(160), exttyp=b"\xff\xfe"),
        {"extended header"},
    ),
    "extended header is a phantom": (sound(nsymbt=1024, exttyp=b"CCP4"), {"extended header"}),
    "NSYMBT is negative": (sound(nsymbt=-1), {"extended header"}),
    "NSYMBT beyond the end": (sound(nsymbt=2**20, exttyp=b"CCP4"), {"extended header"}),
    "cut short": (sound()[:-10], {"file size"}),
    "bytes behind the data": (sound() + bytes(100), {"file size"}),
    "minimum is wrong": (sound(statistics=(-3.0, *RIGHT[1:])), {"statistics"}),
    "maximum is wrong": (sound(statistics=(RIGHT[0], 80.0, *RIGHT[2:])), {"statistics"}),
    "mean is wrong by 3 %": (
        sound(statistics=(*RIGHT[:2], RIGHT[2] * 1.03, RIGHT[3])),
        {"statistics"},
    ),
    "RMS is wrong by 3 %": (sound(statistics=(*RIGHT[:3], RIGHT[3] * 1.03)), {"statistics"}),
    "statistics of zeros": (sound(statistics=(0.0, 0.0, 0.0, 0.0)), {"statistics"}),
    "statistics are no numbers": (sound(statistics=(float("nan"),) * 4), set()),
    "a pixel is no number": (
        floats(1, float("nan"), 4, statistics=(1, 4, 7 / 3, 1.2472191)),
        {"statistics"},
    ),
    "mean of normalised data": (
        floats(-1e3, 1e3, statistics=(-1e3, 1e3, 2e-3, 1e3)),
        set(),
    ),
    "unsigned bytes": (
        sound(UNSIGNED_BYTES, mode=0, statistics=statistics_of(UNSIGNED_BYTES)),
        set(),
    ),
    "complex with statistics": (sound(COMPLEX, mode=4, statistics=(0, 1, 0.5, 0.5)), set()),
    "4-bit": (
        sound(mode=0, imod_flags=16, payload=bytes(range(80)), statistics=UNDETERMINED),
        set(),
    ),
    "gzip": (gzip.compress(sound(), mtime=0), set()),
    "gzip, statistics wrong": (
        gzip.compress(sound(statistics=(-3.0, *RIGHT[1:])), mtime=0),
        {"statistics"},
    ),
    "gzip, cut short": (gzip.compress(sound(), mtime=0)[:-20], {"data"}),
    "gzip, bytes behind the data": (gzip.compress(sound() + bytes(100), mtime=0), set()),
    "bzip2": (bz2.compress(sound(extended=bytes(3552), exttyp=b"FEI2")), set()),
    "empty": (b"", {"format"}),
    "half a header": (sound()[:512], {"format"}),
    "text": (b"# frames\n" * 500, {"format"}),
    "zeros": (bytes(4096), {"format"}),
}

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


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    raw, errors = CASES[request.param]
    path = tmp_path / "a.mrc"
    path.write_bytes(raw)
    return request.param, path, errors


def errors_of(report):
    return {finding.check for finding in report.findings if finding.severity == "error"}


def test_errors_are_those_of_the_case_and_no_others(case):
    _, path, errors = case
    report = validate(path, statistics=True)
    assert errors_of(report) == errors, str(report)
    assert report.valid == (not errors)


def test_verdict_is_that_of_mrcfile(case):
    name, path, _ = case
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
    path = tmp_path / "a.mrc"
    path.write_bytes(CASES[name][0])
    [found] = [
        finding
        for finding in validate(path).findings
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
    path = tmp_path / "a.mrc"
    path.write_bytes(CASES[name][0])
    for finding in validate(path, statistics=True).findings:
        assert finding.found
        assert bool(finding.matters) == bool(finding.remedy) == (finding.severity != "ok")


@pytest.fixture
def requests(monkeypatch):
    """The byte ranges that are read from the memory filesystem."""
    ranges = []
    read = MemoryFileSystem.cat_file

    def recorded(self, path, start=None, end=None, **options):
        ranges.append((start, end))
        return read(self, path, start=start, end=end, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", recorded)
    return ranges


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sound", [(0, 1024)]),
        ("extended header of text", [(0, 1024)]),
        ("extended header of FEI", [(0, 1024), (1024, 1028)]),
        ("cut short", [(0, 1024)]),
    ],
)
def test_no_pixel_is_read_unless_asked_for(requests, name, expected):
    MemoryFileSystem().pipe_file("/validate/a.mrc", CASES[name][0])
    validate("memory://validate/a.mrc")
    assert requests == expected


def test_statistics_are_not_compared_unless_asked_for():
    MemoryFileSystem().pipe_file("/validate/a.mrc", CASES["minimum is wrong"][0])
    assert validate("memory://validate/a.mrc").valid
    assert not validate("memory://validate/a.mrc", statistics=True).valid


def test_statistics_of_a_damaged_file_are_not_compared(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(CASES["cut short"][0])
    assert "not compared" in str(validate(path, statistics=True))


def test_checks_stop_at_what_is_no_mrc_file():
    [found] = check_file(bytes(4096), file_size=4096)
    assert found.severity == "error"
    assert "00 00 00 00" in found.found


class TestCommand:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "a.mrc"
        path.write_bytes(CASES["sound"][0])
        return path

    def test_exit_status_is_0_for_a_valid_file(self, path):
        result = CliRunner().invoke(main, ["validate", str(path), "--statistics"])
        assert result.exit_code == 0
        assert result.output.rstrip().endswith("\nvalid")

    def test_exit_status_is_1_for_an_invalid_file(self, path):
        path.write_bytes(CASES["cut short"][0])
        result = CliRunner().invoke(main, ["validate", str(path)])
        assert result.exit_code == 1
        assert "10 bytes of data are missing" in result.output
        assert "allow_truncated=True" in result.output
        assert result.output.rstrip().endswith("not valid: 1 error")

    def test_exit_status_is_1_for_a_missing_file(self, path):
        result = CliRunner().invoke(main, ["validate", str(path.with_name("b.mrc"))])
        assert result.exit_code == 1
        assert "error:" in result.output
        with pytest.raises(MissingFileError):
            validate(path.with_name("b.mrc"))

    def test_the_command_prints_json(self, path):
        path.write_bytes(CASES["version 0"][0])
        result = CliRunner().invoke(main, ["validate", "--json", str(path)])
        assert result.exit_code == 1
        report = json.loads(result.output)
        assert report["valid"] is False
        [error] = [finding for finding in report["findings"] if finding["severity"] == "error"]
        assert error["check"] == "version"
        assert error["found"] == "NVERSION = 0"
        assert error["matters"]
        assert error["remedy"]

    def test_secrets_in_the_url_are_not_shown(self):
        result = CliRunner().invoke(
            main, ["validate", "memory://a.mrc?token=hidden", "--storage-option", "key=hidden"]
        )
        assert result.exit_code == 1
        assert "hidden" not in result.output


@pytest.mark.parametrize("name", ["sound", "minimum is wrong", "gzip", "bzip2", "cut short"])
def test_object_stores_are_no_different(moto, name):
    raw, errors = CASES[name]
    with moto.bucket() as bucket:
        url = bucket.put("a.mrc", raw)
        report = validate(url, statistics=True, storage_options=bucket.storage_options())
    assert errors_of(report) == errors
