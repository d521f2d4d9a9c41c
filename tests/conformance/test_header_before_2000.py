"""Headers without the word MAP: bytes 208, 212 and 216 are the origin (z, x, y).

After IMOD's description of its MRC files. The places are certain; sign and unit differ between
programs.
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
def test_origin_is_found_where_old_headers_have_it(tmp_path, byteorder, sign):
    x, y, z = (sign * length for length in ORIGIN)
    ds, notes = load(tmp_path, old_bytes((z, x, y), byteorder=byteorder))
    assert offsets(ds) == pytest.approx({"z": z / 10, "y": y / 10, "x": x / 10})
    std = ds["original_metadata"]["std_header"]
    assert [std[f"{axis}ORIGIN"] for axis in "XYZ"] == pytest.approx([x, y, z])
    assert std["RMS"] == -1.0  # undefined
    assert (std["MAP"], std["MACHST"]) == ("", "")
    assert any("sign and unit" in note for note in notes)


def test_origin_in_one_direction_is_enough(tmp_path):
    for zxy in ((700.0, 0.0, 0.0), (0.0, 700.0, 0.0), (0.0, 0.0, 700.0)):
        ds, _ = load(tmp_path, old_bytes(zxy))
        z, x, y = (length / 10 for length in zxy)
        assert offsets(ds) == {"z": z, "y": y, "x": x}


def test_origin_of_old_imod_files_has_the_opposite_sign(tmp_path):
    z, x, y = 1940.64, 205.26, 195.93
    ds, _ = load(tmp_path, old_bytes((z, x, y), imod_flags=0))
    assert offsets(ds) == pytest.approx({"z": -z / 10, "y": -y / 10, "x": -x / 10})


def test_bytes_that_happen_to_be_a_stamp_are_no_byte_order(tmp_path):
    """700.2667 begins with 11 11 as little-endian float32: a stamp of big-endian files."""
    x = struct.unpack("<f", b"\x11\x11\x2f\x44")[0]
    ds, notes = load(tmp_path, old_bytes((0.0, x, 0.0)))
    assert offsets(ds)["x"] == pytest.approx(x / 10)
    assert not any("stamp" in note for note in notes)


@pytest.mark.parametrize(
    ("word", "stamp", "rms", "more"),
    [
        (b"\0\0\0\0", b"\x44\x44\0\0", 3.5, {}),  # MRC2014, and MAP was forgotten
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
def test_newer_headers_that_lack_the_word_keep_origin_and_rms(tmp_path, word, stamp, rms, more):
    raw = mrc_bytes(
        NUMBERS,
        map_word=word,
        stamp=stamp,
        statistics=(0.0, 119.0, 59.5, rms),
        **{**VOLUME, **more},
    )
    ds, _ = load(tmp_path, raw)
    x, y, z = more.get("origin", (0.0, 0.0, 0.0))
    assert offsets(ds) == pytest.approx({"z": z / 10, "y": y / 10, "x": x / 10})
    assert ds["original_metadata"]["std_header"]["RMS"] == rms


def test_origin_that_is_no_number_is_none(tmp_path):
    ds, _ = load(tmp_path, old_bytes((float("nan"), float("inf"), 1e30)))
    assert offsets(ds) == {"z": 0.0, "y": 0.0, "x": 0.0}


def test_validation_does_not_advise_to_overwrite_the_origin(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(old_bytes((1940.64, 205.26, 195.93)))
    found = {finding.check: finding for finding in validate(path).findings}
    for check in ("map word", "machine stamp"):
        assert found[check].severity == "error"
        assert "origin" in found[check].found + found[check].matters
        assert "there" not in found[check].remedy
        assert "212-215" not in found[check].remedy
        assert "convert" in found[check].remedy
    assert "RMS" not in found["statistics"].found


def test_validation_does_not_compare_an_origin_with_the_rms(tmp_path):
    path = tmp_path / "a.mrc"
    statistics = (0.0, 119.0, 59.5, 0.0)
    path.write_bytes(old_bytes((1940.64, 205.26, 195.93), statistics=statistics))
    found = [f for f in validate(path, statistics=True).findings if f.check == "statistics"]
    assert [finding.severity for finding in found] == ["ok"], found


def test_validation_still_says_how_to_mend_a_newer_header(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(NUMBERS, map_word=b"\0\0\0\0", **{**VOLUME, "nversion": 20141}))
    found = {finding.check: finding for finding in validate(path).findings}
    assert found["map word"].remedy == "write 'MAP ' there"
