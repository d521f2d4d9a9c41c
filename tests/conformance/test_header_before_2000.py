"""Headers without the word MAP, as before 2000: the origin (z, x, y) is at bytes 208, 212 and 216.

The layout follows IMOD's description of its MRC files. The position of the fields is certain, but
their sign and unit differ between programs.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

import mrcdist
from mrcdist.errors import MrcdistWarning
from mrcdist.validate.report import validate
from tests.support.mrc_files import counting, mrc_bytes

NUMBERS = counting((4, 5, 6), "float32")
VOLUME = {"ispg": 1, "cell": (60.0, 50.0, 40.0), "nversion": 0}
ORIGIN = (205.26, 195.93, 1940.64)


def old_bytes(zxy, *, byteorder="<", **fields):
    raw = bytearray(mrc_bytes(NUMBERS, byteorder=byteorder, **{**VOLUME, **fields}))
    raw[208:220] = struct.pack(byteorder + "3f", *zxy)
    return bytes(raw)


def load(tmp_path, raw):
    path = tmp_path / "a.mrc"
    path.write_bytes(raw)
    with pytest.warns(MrcdistWarning, match="MAP") as caught:
        [ds] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(ds["data"].compute(), NUMBERS)
    return ds, [str(one.message) for one in caught]


def offsets(ds):
    return {axis["name"]: axis["offset"] for axis in ds["axes"]}


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_origin_is_read_from_bytes_208_to_219(tmp_path, byteorder, sign):
    x, y, z = (sign * length for length in ORIGIN)
    ds, notes = load(tmp_path, old_bytes((z, x, y), byteorder=byteorder))
    assert offsets(ds) == pytest.approx({"z": z / 10, "y": y / 10, "x": x / 10})
    std = ds["original_metadata"]["std_header"]
    assert [std[f"{axis}ORIGIN"] for axis in "XYZ"] == pytest.approx([x, y, z])
    assert std["RMS"] == -1.0  # undefined
    assert (std["MAP"], std["MACHST"]) == ("", "")
    assert any("sign and unit" in note for note in notes)


def test_origin_along_a_single_axis_is_recognised(tmp_path):
    for zxy in ((700.0, 0.0, 0.0), (0.0, 700.0, 0.0), (0.0, 0.0, 700.0)):
        ds, _ = load(tmp_path, old_bytes(zxy))
        z, x, y = (length / 10 for length in zxy)
        assert offsets(ds) == {"z": z, "y": y, "x": x}


def test_sign_of_the_origin_is_reversed_in_old_imod_files(tmp_path):
    z, x, y = 1940.64, 205.26, 195.93
    ds, _ = load(tmp_path, old_bytes((z, x, y), imod_flags=0))
    assert offsets(ds) == pytest.approx({"z": -z / 10, "y": -y / 10, "x": -x / 10})


def test_origin_that_looks_like_a_machine_stamp_does_not_set_the_byte_order(tmp_path):
    """As a little-endian float32, 700.2667 begins with 11 11, the stamp of big-endian files."""
    x = struct.unpack("<f", b"\x11\x11\x2f\x44")[0]
    ds, notes = load(tmp_path, old_bytes((0.0, x, 0.0)))
    assert offsets(ds)["x"] == pytest.approx(x / 10)
    assert not any("stamp" in note for note in notes)


@pytest.mark.parametrize(
    ("map_word", "stamp", "rms", "fields"),
    [
        (b"\0\0\0\0", b"\x44\x44\0\0", 3.5, {}),  # MRC2014 with MAP left out
        (b"\0\0\0\0", b"\x44\x41\0\0", -1.0, {}),
        (b"\0\0\0\0", b"\x44\0\0\0", 3.5, {}),
        (b"\0\0\0\0", b"\x44\x20\x20\x20", 3.5, {}),
        (b"\0\0\0\0", b"\x44\x44\x44\x44", 3.5, {}),
        (b"    ", b"\0\0\0\0", -1.0, {}),
        (b"\0\0\0\0", b"\0\0\0\0", -1.0, {}),
        (b"\0\0\0\0", b"\0\0\0\0", 3.5, {"nversion": 20140}),
        (b"\0\0\0\0", b"\0\0\0\0", 3.5, {"nversion": 20141}),
        (b"\0\0\0\0", b"\0\0\0\0", 3.5, {"origin": (70.0, 0.0, -30.0)}),
        (b"junk", b"\0\0\0\0", 3.5, {"origin": (70.0, 0.0, -30.0)}),
    ],
)
def test_newer_header_without_map_keeps_its_origin_and_rms(tmp_path, map_word, stamp, rms, fields):
    raw = mrc_bytes(
        NUMBERS,
        map_word=map_word,
        stamp=stamp,
        statistics=(0.0, 119.0, 59.5, rms),
        **{**VOLUME, **fields},
    )
    ds, _ = load(tmp_path, raw)
    x, y, z = fields.get("origin", (0.0, 0.0, 0.0))
    assert offsets(ds) == pytest.approx({"z": z / 10, "y": y / 10, "x": x / 10})
    assert ds["original_metadata"]["std_header"]["RMS"] == rms


def test_origin_that_is_not_finite_or_is_implausibly_large_is_ignored(tmp_path):
    ds, _ = load(tmp_path, old_bytes((float("nan"), float("inf"), 1e30)))
    assert offsets(ds) == {"z": 0.0, "y": 0.0, "x": 0.0}


def test_validation_remedies_do_not_overwrite_an_old_origin(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(old_bytes((1940.64, 205.26, 195.93)))
    findings = {finding.check: finding for finding in validate(path).findings}
    for check in ("map word", "machine stamp"):
        assert findings[check].severity == "error"
        assert "origin" in findings[check].found + findings[check].matters
        assert "there" not in findings[check].remedy
        assert "212-215" not in findings[check].remedy
        assert "convert" in findings[check].remedy
    assert "RMS" not in findings["statistics"].found


def test_validation_does_not_mistake_an_old_origin_for_the_rms(tmp_path):
    path = tmp_path / "a.mrc"
    statistics = (0.0, 119.0, 59.5, 0.0)
    path.write_bytes(old_bytes((1940.64, 205.26, 195.93), statistics=statistics))
    findings = [f for f in validate(path, statistics=True).findings if f.check == "statistics"]
    assert [finding.severity for finding in findings] == ["ok"], findings


def test_validation_suggests_writing_map_into_a_newer_header(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(NUMBERS, map_word=b"\0\0\0\0", **{**VOLUME, "nversion": 20141}))
    findings = {finding.check: finding for finding in validate(path).findings}
    assert findings["map word"].remedy == "write 'MAP ' there"
