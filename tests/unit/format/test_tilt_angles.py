"""Tilt angles from .tlt, .rawtlt and .mdoc files and lists, and the names of such files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.errors import SidecarError
from mrcdist.format.tilt_angles import find_tilt_file, parse_tilts, tilt_file_candidates

MDOC = b"""PixelSpacing = 2.93
Voltage = 300
ImageFile = series.st
TiltAngle = 99

[T = SerialEM: a title with TiltAxisAngle = 84.5]

[ZValue = 0]
TiltAngle = -0.14
StagePosition = 20.7936 155.287
SubFramePath = D:\\frames\\TS_01_000_0.0.mrc
DateTime = 30-Nov-15  15:21:38

[ZValue = 1]
ExposureDose = 1.5
TiltAngle = 2.5

[FrameSet = 0]
TiltAngle = 77
"""


@pytest.mark.parametrize("name", ["series.tlt", "series.rawtlt", "SERIES.TLT", "s3://b/x.rawtlt"])
def test_each_line_of_a_tilt_file_is_read_as_an_angle(name):
    angles = parse_tilts(name, b"-60.00\n 0\n+1.5e1\n  60.\n")
    assert angles.dtype == np.float64
    np.testing.assert_array_equal(angles, [-60.0, 0.0, 15.0, 60.0])


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r", b"\n\n"])
def test_any_line_endings_and_blank_lines_are_accepted(ending):
    raw = b"\xef\xbb\xbf" + ending.join([b"1", b"2", b"3", b""])
    np.testing.assert_array_equal(parse_tilts("a.tlt", raw), [1.0, 2.0, 3.0])


@given(st.lists(st.floats(-360, 360), min_size=1, max_size=50))
def test_written_angles_are_read_back(angles):
    raw = "\n".join(str(angle) for angle in angles).encode()
    np.testing.assert_array_equal(parse_tilts("a.rawtlt", raw), angles)
    sections = [f"[ZValue = {k}]\nTiltAngle = {angle}\n" for k, angle in enumerate(angles)]
    np.testing.assert_array_equal(parse_tilts("a.mdoc", "\n".join(sections).encode()), angles)
    backwards = "\n".join(reversed(sections)).encode()
    np.testing.assert_array_equal(parse_tilts("a.mdoc", backwards), angles)


def test_only_angles_of_sections_are_read_from_an_mdoc():
    np.testing.assert_array_equal(parse_tilts("series.st.mdoc", MDOC), [-0.14, 2.5])


def test_continued_values_and_comments_in_an_mdoc_are_ignored():
    raw = b"# a comment\n[ZValue = 0]\nNote = one\n two words\nTiltAngle=3\n"
    np.testing.assert_array_equal(parse_tilts("a.mdoc", raw), [3.0])


@pytest.mark.parametrize(
    "text", ["x", "1 2", "1,5", "nan", "inf", "1_000", "0x10", "400", "-360.5", "١", "1e999", "--1"]
)
def test_error_for_an_invalid_angle_has_its_line(text):
    with pytest.raises(SidecarError, match=r"a\.tlt, line 3") as caught:
        parse_tilts("a.tlt", f"1\n2\n{text}\n4\n".encode())
    assert repr(text) in caught.value.problem
    assert caught.value.cause
    assert caught.value.remedy
    with pytest.raises(SidecarError, match=r"a\.mdoc, line 2"):
        parse_tilts("a.mdoc", f"[ZValue = 0]\nTiltAngle = {text}\n".encode())


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ("[ZValue = 0]\nTiltAngle = 1\n[ZValue = 1]\nDose = 2\n", 3, "no TiltAngle"),
        (
            "[ZValue = 0]\nTiltAngle = 1\n[ZValue = 0]\nTiltAngle = 2\n",
            3,
            "line 1 has the same ZValue",
        ),
        ("[ZValue = 0]\nTiltAngle = 1\nTiltAngle = 1\n", 3, "another TiltAngle"),
        ("[ZValue = one]\nTiltAngle = 1\n", 1, "number of a section"),
        ("[ZValue = -1]\nTiltAngle = 1\n", 1, "number of a section"),
        ("\nnot an autodoc\n", 2, "should begin with"),
    ],
)
def test_error_for_an_ambiguous_mdoc_has_line_and_cause(text, line, cause):
    with pytest.raises(SidecarError, match=rf"a\.mdoc, line {line}: ") as caught:
        parse_tilts("a.mdoc", text.encode())
    assert cause in caught.value.cause


@pytest.mark.parametrize("name", ["a.tlt", "a.rawtlt", "a.mdoc"])
@pytest.mark.parametrize("raw", [b"", b"\n \n"])
def test_tilt_file_without_angles_is_an_error(name, raw):
    with pytest.raises(SidecarError, match="contains no tilt angle"):
        parse_tilts(name, raw)


def test_mdoc_of_movie_frames_has_no_tilt_angles():
    with pytest.raises(SidecarError, match="contains no tilt angle"):
        parse_tilts("a.mdoc", b"Voltage = 300\n[FrameSet = 0]\nTiltAngle = 3\n")


@pytest.mark.parametrize("name", ["a.txt", "ts_TLT.txt", "angles", "", "a.csv"])
def test_contents_determine_the_format_of_files_with_other_names(name):
    np.testing.assert_array_equal(parse_tilts(name, b"\n# angles\n1\n2\n"), [1.0, 2.0])
    np.testing.assert_array_equal(parse_tilts(name, MDOC), [-0.14, 2.5])


@pytest.mark.parametrize("text", ["-60.0 5\n 0 1\n60.00 4\n", "-60\t5\t3.1\n0\t1 3.1\n60 4 3.1\n"])
def test_angles_are_read_from_the_first_of_several_columns(text):
    np.testing.assert_array_equal(parse_tilts("ts_TLT.txt", text.encode()), [-60.0, 0.0, 60.0])


@pytest.mark.parametrize("text", ["1 -60\n2 0\n3 60\n", "0 -60 1\n1 0 2\n2 60 3\n3 9 4\n"])
def test_first_column_that_numbers_the_lines_is_an_error(text):
    with pytest.raises(SidecarError, match="numbers its lines in the first column") as caught:
        parse_tilts("angles.txt", text.encode())
    assert caught.value.code == "tilt-angles-invalid"


@pytest.mark.parametrize(
    "raw", [b"1\n2\n3\n", b"1 9\n2 9\n", b"1 9\n2 9\n4 9\n", b"2 9\n3 9\n4 9\n"]
)
def test_first_column_that_does_not_number_the_lines_is_read(raw):
    angles = [float(line.split()[0]) for line in raw.splitlines()]
    np.testing.assert_array_equal(parse_tilts("a.tlt", raw), angles)


@pytest.mark.parametrize(
    ("text", "line"),
    [("1 5\n2\n", 2), ("1 5\n2 5 6\n", 2), ("1 5\n\n2 x\n", 3), ("1 5\n400 5\n", 2)],
)
def test_error_for_a_line_with_another_number_of_columns_has_its_line(text, line):
    with pytest.raises(SidecarError, match=rf"a\.tlt, line {line}: "):
        parse_tilts("a.tlt", text.encode())


class TestNames:
    @pytest.mark.parametrize(
        ("name", "listing", "found"),
        [
            ("ts.mrc", ["ts.mrc", "ts.mrc.mdoc", "ts.rawtlt", "ts.tlt"], "ts.mrc.mdoc"),
            ("ts.mrc", ["ts.mdoc", "ts.rawtlt"], "ts.mdoc"),
            ("ts.st", ["ts.tlt", "ts.rawtlt"], "ts.rawtlt"),
            ("ts.st", ["ts.tlt"], "ts.tlt"),
            ("ts.mrc", ["ts_TLT.txt"], "ts_TLT.txt"),
            ("ts.mrc", ["ts_tlt.TXT"], "ts_tlt.TXT"),
            ("ts.mrc", ["ts.RAWTLT", "ts.tlt"], "ts.RAWTLT"),
            ("ts.mrc.gz", ["ts.mrc.mdoc"], "ts.mrc.mdoc"),
            ("ts.mrc.bz2", ["ts.tlt"], "ts.tlt"),
            ("ts", ["ts.tlt"], "ts.tlt"),
            ("a.b.mrc", ["a.b.tlt", "a.tlt"], "a.b.tlt"),
            ("ts.ali", ["ts.tlt", "ts.rawtlt"], "ts.tlt"),
            ("ts_ali.mrc", ["ts.tlt", "ts.mrc.mdoc"], "ts.tlt"),
            ("ts_ali.mrc", ["ts_ali_TLT.txt", "ts.tlt"], "ts_ali_TLT.txt"),
            ("ts_preali.mrc", ["ts.rawtlt"], "ts.rawtlt"),
            ("ts_01.mrc", ["ts.tlt", "ts_02.tlt", "TS_01.tlt", "ts_01.tlt.bak"], None),
            ("ts.rec", ["ts.tlt", "ts.rawtlt"], None),
            ("ts_rec.mrc", ["ts.tlt", "ts_rec.mrc.mdoc"], None),
        ],
    )
    def test_tilt_file_with_recorded_angles_is_preferred_unless_the_stack_is_aligned(
        self, name, listing, found
    ):
        assert find_tilt_file(name, listing) == found
        assert find_tilt_file(name, listing[::-1]) == found

    def test_each_candidate_for_a_tilt_file_is_found(self):
        for name in ("ts.mrc", "ts.st", "ts_ali.mrc", "ts.mrc.gz"):
            for candidate in tilt_file_candidates(name):
                assert find_tilt_file(name, [candidate]) == candidate
        assert tilt_file_candidates("ts.rec") == ()


@given(st.sampled_from(["a.tlt", "a.mdoc", "a.txt", ""]), st.binary(max_size=200))
def test_any_bytes_of_a_tilt_file_give_angles_or_a_sidecar_error(name, raw):
    try:
        angles = parse_tilts(name, raw)
    except SidecarError:
        return
    assert angles.size
    assert np.abs(angles).max() <= 360
