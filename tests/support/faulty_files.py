"""Files with one error each, written byte by byte, and the checks that find it."""

from __future__ import annotations

import bz2
import gzip
import struct

import numpy as np

from tests.support.mrc_files import counting, header_bytes

DATA = counting((4, 4, 5), "int16")

STATISTICS = (float(DATA.min()), float(DATA.max()), float(DATA.mean()), float(DATA.std()))

UNDETERMINED = (0.0, -1.0, -2.0, -1.0)


def valid_file(data=DATA, *, extended=b"", payload=None, **fields):
    """Return a valid file, except for the fields passed."""
    order = fields.get("byteorder", "<")
    head = header_bytes(
        **{
            "nx": data.shape[2],
            "ny": data.shape[1],
            "nz": data.shape[0],
            "mode": 1,
            "cell": (50.0, 40.0, 30.0),
            "statistics": STATISTICS,
            "nsymbt": len(extended),
            "labels": (b"first",),
            **fields,
        }
    )
    stored = data.astype(data.dtype.newbyteorder(order)).tobytes()
    return head + extended + (stored if payload is None else payload)


def patched(raw, offset, new):
    return raw[:offset] + new + raw[offset + len(new) :]


def floats(*values, **fields):
    return valid_file(np.array(values, "float32").reshape(1, 1, -1), mode=2, **fields)


SIGNED_BYTES = (np.arange(80) - 40).astype("int8").reshape(4, 4, 5)

UNSIGNED_BYTES = np.arange(0, 240, 3, dtype="uint8").reshape(4, 4, 5)

COMPLEX = np.arange(80).astype("complex64").reshape(4, 4, 5) + 1j


def statistics_of(data):
    return tuple(float(f(data)) for f in (np.min, np.max, np.mean, np.std))


# Case → (bytes, names of the checks that find an error).
CASES = {
    "valid": (valid_file(), set()),
    "valid, big-endian": (valid_file(byteorder=">"), set()),
    "stamp 44 41": (valid_file(stamp=b"\x44\x41"), set()),
    "statistics undetermined": (valid_file(statistics=UNDETERMINED), set()),
    "version 20141": (valid_file(nversion=20141), set()),
    "float32": (floats(1, 2, 4, statistics=(1, 4, 7 / 3, 1.2472191)), set()),
    "complex": (valid_file(COMPLEX, mode=4, statistics=UNDETERMINED), set()),
    "float16": (valid_file(DATA.astype("f2"), mode=12), set()),
    "signed bytes": (
        valid_file(SIGNED_BYTES, mode=0, statistics=statistics_of(SIGNED_BYTES)),
        set(),
    ),
    "no sections": (valid_file(np.zeros((0, 4, 5), "i2"), statistics=UNDETERMINED), set()),
    "MAP missing": (valid_file(map_word=b"\0\0\0\0"), {"map word"}),
    "MAP and NUL": (valid_file(map_word=b"MAP\0"), {"map word"}),
    "stamp 44 00": (valid_file(stamp=b"\x44\0\0\0"), {"machine stamp"}),
    "stamp of zeros, big-endian data": (
        valid_file(stamp=bytes(4), byteorder=">"),
        {"machine stamp"},
    ),
    "stamp contradicts": (valid_file(stamp=b"\x11\x11"), {"machine stamp"}),
    "mode unknown": (valid_file(mode=7), {"mode"}),
    "mode 16": (valid_file(mode=16, payload=bytes(240)), {"mode"}),
    "mode 3": (valid_file(mode=3, statistics=UNDETERMINED, payload=bytes(320)), set()),
    "mode 101": (valid_file(mode=101, statistics=UNDETERMINED, payload=bytes(48)), set()),
    "mode of MRCZ": (valid_file(mode=2001), {"mode"}),
    "nx is 0": (valid_file(nx=0, payload=b"", statistics=UNDETERMINED), {"dimensions"}),
    "ny is negative": (valid_file(ny=-4, intervals=(5, 4, 4)), {"dimensions"}),
    "mx is negative": (valid_file(intervals=(-1, 4, 4)), {"sampling"}),
    "mx is 0": (valid_file(intervals=(0, 0, 0)), set()),
    "cell is negative": (valid_file(cell=(-50.0, 40.0, 30.0)), {"cell"}),
    "cell is 0": (valid_file(cell=(0.0, 0.0, 0.0)), set()),
    "MAPCRS 3, 1, 2": (valid_file(mapcrs=(3, 1, 2)), set()),
    "MAPCRS 1, 1, 2": (valid_file(mapcrs=(1, 1, 2)), {"axis order"}),
    "MAPCRS of zeros": (valid_file(mapcrs=(0, 0, 0)), {"axis order"}),
    "ISPG is negative": (valid_file(ispg=-1), {"space group"}),
    "ISPG undefined": (valid_file(ispg=300), set()),
    "volume stack": (valid_file(ispg=401, intervals=(5, 4, 2)), set()),
    "volume stack of uneven volumes": (valid_file(ispg=401, intervals=(5, 4, 3)), {"space group"}),
    "volume stack without MZ": (valid_file(ispg=401, intervals=(5, 4, 0)), {"space group"}),
    "labels but NLABL 0": (patched(valid_file(), 220, struct.pack("<i", 0)), {"labels"}),
    "labels with a gap": (valid_file(labels=(b"first", b"", b"third")), {"labels"}),
    "NLABL excludes the gap": (
        patched(valid_file(labels=(b"first", b"", b"third")), 220, struct.pack("<i", 2)),
        {"labels"},
    ),
    "version 0": (valid_file(nversion=0), {"version"}),
    "extended header of text": (valid_file(extended=bytes(160), exttyp=b"CCP4"), set()),
    "extended header of FEI": (
        valid_file(extended=struct.pack("<i", 888).ljust(4 * 888, b"\0"), exttyp=b"FEI2"),
        set(),
    ),
    "extended header without a type": (valid_file(extended=bytes(160)), {"extended header"}),
    "extended header of unknown type": (
        valid_file(extended=bytes(160), exttyp=b"\xff\xfe"),
        {"extended header"},
    ),
    "extended header missing": (valid_file(nsymbt=1024, exttyp=b"CCP4"), {"extended header"}),
    "NSYMBT is negative": (valid_file(nsymbt=-1), {"extended header"}),
    "NSYMBT beyond the end": (valid_file(nsymbt=2**20, exttyp=b"CCP4"), {"extended header"}),
    "truncated": (valid_file()[:-10], {"file size"}),
    "bytes after the data": (valid_file() + bytes(100), {"file size"}),
    "minimum is wrong": (valid_file(statistics=(-3.0, *STATISTICS[1:])), {"statistics"}),
    "maximum is wrong": (
        valid_file(statistics=(STATISTICS[0], 80.0, *STATISTICS[2:])),
        {"statistics"},
    ),
    "mean is wrong by 3 %": (
        valid_file(statistics=(*STATISTICS[:2], STATISTICS[2] * 1.03, STATISTICS[3])),
        {"statistics"},
    ),
    "RMS is wrong by 3 %": (
        valid_file(statistics=(*STATISTICS[:3], STATISTICS[3] * 1.03)),
        {"statistics"},
    ),
    "statistics of zeros": (valid_file(statistics=(0.0, 0.0, 0.0, 0.0)), {"statistics"}),
    "statistics are NaN": (valid_file(statistics=(float("nan"),) * 4), set()),
    "NaN pixel": (
        floats(1, float("nan"), 4, statistics=(1, 4, 7 / 3, 1.2472191)),
        {"statistics"},
    ),
    "mean of normalised data": (
        floats(-1e3, 1e3, statistics=(-1e3, 1e3, 2e-3, 1e3)),
        set(),
    ),
    "unsigned bytes": (
        valid_file(UNSIGNED_BYTES, mode=0, statistics=statistics_of(UNSIGNED_BYTES)),
        set(),
    ),
    "complex with statistics": (valid_file(COMPLEX, mode=4, statistics=(0, 1, 0.5, 0.5)), set()),
    "4-bit": (
        valid_file(mode=0, imod_flags=16, payload=bytes(range(80)), statistics=UNDETERMINED),
        set(),
    ),
    "gzip": (gzip.compress(valid_file(), mtime=0), set()),
    "gzip, statistics wrong": (
        gzip.compress(valid_file(statistics=(-3.0, *STATISTICS[1:])), mtime=0),
        {"statistics"},
    ),
    "gzip, truncated": (gzip.compress(valid_file(), mtime=0)[:-20], {"data"}),
    "gzip, bytes after the data": (gzip.compress(valid_file() + bytes(100), mtime=0), set()),
    "bzip2": (bz2.compress(valid_file(extended=bytes(3552), exttyp=b"FEI2")), set()),
    "empty": (b"", {"format"}),
    "half a header": (valid_file()[:512], {"format"}),
    "text": (b"# frames\n" * 500, {"format"}),
    "zeros": (bytes(4096), {"format"}),
}


def written(folder, name):
    """Write the file of a case, and return its path."""
    path = folder / "a.mrc"
    path.write_bytes(CASES[name][0])
    return path


def errors_of(report):
    return {finding.check for finding in report.findings if finding.severity == "error"}
