"""Files with one fault each, written byte by byte, and which check finds it."""

from __future__ import annotations

import bz2
import gzip
import struct

import numpy as np

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


def written(folder, name):
    """The path of a case's file."""
    path = folder / "a.mrc"
    path.write_bytes(CASES[name][0])
    return path


def errors_of(report):
    return {finding.check for finding in report.findings if finding.severity == "error"}
