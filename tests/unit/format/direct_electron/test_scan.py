"""Scans, movies and metadata described by a Direct Electron sidecar."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.errors import SidecarError
from mrcdist.format.axis import Axis
from mrcdist.format.direct_electron.scan import (
    describe_scan,
    pixel_is_unsigned,
    sidecar_metadata,
)
from mrcdist.format.direct_electron.sidecar import parse_sidecar
from mrcdist.format.direct_electron.sidecar_keys import IN_HYPERSPY, KEYS
from tests.support.processes import ROOT

REAL_DATA = ROOT.parent / "shared" / "data"

SCAN = {
    "Scan - Enable": "Enable",
    "Scan - Type": "Raster",
    "Scan - Size X": "5",
    "Scan - Size Y": "3",
    "Scan - Repeats": "1",
    "Specimen Pixel Size X (nanometers)": "0.1",
    "Specimen Pixel Size Y (nanometers)": "0.2",
    "Diffraction Pixel Size X": "0.3",
    "Diffraction Pixel Size Y": "0.4",
}
MOVIE = SCAN | {"Scan - Enable": "Disable", "Frames Per Second": "700"}


def sidecar(*layers, **more):
    values = {key: value for layer in (*layers, more) for key, value in layer.items()}
    text = "".join(f"{key:60} = {value}\n" for key, value in values.items())
    return parse_sidecar(text.encode())


def describe(*layers, n_frames=15, frame_shape=(4, 8)):
    return describe_scan(sidecar(*layers), n_frames=n_frames, frame_shape=frame_shape)


def sizes(scan):
    return tuple(axis.size for axis in scan.navigation)


def names(scan):
    return tuple(axis.name for axis in (*scan.navigation, *scan.signal))


UNCALIBRATED = (1.0, None)


def scales(scan):
    return {axis.name: (axis.scale, axis.units) for axis in (*scan.navigation, *scan.signal)}


class TestText:
    @pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
    def test_sidecar_keys_and_values_keep_their_text_and_order(self, newline):
        parsed = parse_sidecar(newline.join(["B   = 2", "", "A = one = 1", "C =", ""]).encode())
        assert list(parsed.values.items()) == [("B", "2"), ("A", "one = 1"), ("C", "")]
        assert parsed.notes == ()

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
    def test_sidecar_in_utf_8_or_latin_1_is_read(self, encoding):
        assert parse_sidecar("Name = 5 µm".encode(encoding)).values == {"Name": "5 µm"}

    def test_ellipsis_of_windows_1252_does_not_end_a_line(self):
        assert list(parse_sidecar(b"Status = Saving\x85 1\nNext = 2").values) == ["Status", "Next"]

    def test_lines_without_a_key_are_ignored_and_noted(self):
        parsed = parse_sidecar(b"A = 1\nhello\n\n= 3\nB\0 = 2\n\0\0\0")
        assert parsed.values == {"A": "1"}
        assert len(parsed.notes) == 1
        assert "3 line(s)" in parsed.notes[0]
        assert "'hello'" in parsed.notes[0]

    def test_last_of_repeated_keys_is_used_and_noted(self):
        parsed = parse_sidecar(b"A = 1\nB = 2\nA = 3")
        assert parsed.values == {"A": "3", "B": "2"}
        assert len(parsed.notes) == 1
        assert "A = 1, then 3" in parsed.notes[0]

    @pytest.mark.parametrize(
        "raw", [b"", b"\n\n", b"MAP DD\0\0", b"\0 = \0", "A = 1".encode("utf-16")]
    )
    def test_sidecar_without_any_key_is_an_error_with_a_remedy(self, raw):
        with pytest.raises(SidecarError, match="no 'key = value' line") as error:
            parse_sidecar(raw)
        assert "metadata_file" in error.value.remedy

    @given(st.binary())
    def test_any_bytes_of_a_sidecar_give_values_or_a_sidecar_error(self, raw):
        try:
            parsed = parse_sidecar(raw)
        except SidecarError:
            return
        assert parsed.values

    @given(
        st.dictionaries(
            st.from_regex(r"[A-Za-z][A-Za-z0-9 ()/-]{0,20}[A-Za-z)]", fullmatch=True),
            st.from_regex(r"(\S([ \S]*\S)?)?", fullmatch=True).filter(
                lambda v: "\0" not in v and v == v.strip() and len(v.splitlines()) < 2
            ),
            min_size=1,
        )
    )
    def test_sidecar_values_are_read_back_exactly(self, values):
        assert sidecar(values).values == values
        assert list(sidecar(values).values) == list(values)


class TestValues:
    @pytest.mark.parametrize(
        "text", ["", "-1", "-1.0", "nan", "inf", "-inf", "1e999", "Off", "0,5", "1_000"]
    )
    def test_text_other_than_a_number_is_read_as_none(self, text):
        assert sidecar({"Key": text}).number("Key") is None

    @pytest.mark.parametrize(
        ("text", "value"), [("0", 0.0), ("-2.5", -2.5), ("1e-3", 0.001), ("300000", 300000.0)]
    )
    def test_numbers_in_a_sidecar_are_read_exactly(self, text, value):
        assert sidecar({"Key": text}).number("Key") == value

    def test_first_spelling_of_a_key_with_a_value_is_used(self):
        parsed = sidecar({"New": "", "Old": "2", "Older": "3"})
        assert parsed.text("New", "Old", "Older") == "2"
        assert parsed.number("Absent", "New", "Older") == 3
        assert parsed.text("Absent", "New") is None
        assert parsed.number("Absent") is None

    @pytest.mark.parametrize(("text", "value"), [("3", 3.0), ("0", None), ("-3", None)])
    def test_numbers_that_should_be_positive_and_are_not_are_none(self, text, value):
        assert sidecar({"Key": text}).positive("Key") == value

    @pytest.mark.parametrize(
        ("text", "value"),
        [("Enable", True), ("Disable", False), ("On", True), ("Off", False), ("Perhaps", None)],
    )
    def test_switches_in_a_sidecar_are_read_as_bool_or_none(self, text, value):
        assert sidecar({"Key": text}).flag("Key") is value
        assert sidecar({"Key": text}).flag("Absent") is None


class TestRaster:
    def test_axes_of_a_raster_are_repeat_y_x_point_repeat(self):
        scan = describe(SCAN, {"Scan - Repeats": "2", "Scan - Point Repeat": "7"})
        assert scan.kind == "raster"
        assert names(scan) == ("repeat", "y", "x", "point_repeat", "ky", "kx")
        assert sizes(scan) == (2, 3, 5, 7)
        assert scan.size == 2 * 3 * 5 * 7
        assert [axis.size for axis in scan.signal] == [4, 8]
        assert scan.notes == ()

    @given(st.tuples(*[st.integers(1, 10**6)] * 4))
    def test_shape_of_a_raster_is_read_from_the_sidecar(self, shape):
        keys = (
            "Scan - Repeats",
            "Scan - Size Y",
            "Scan - Size X",
            "Scan - Camera Frames Per Point",
        )
        scan = describe(SCAN, dict(zip(keys, map(str, shape), strict=True)), n_frames=1)
        assert sizes(scan) == shape
        assert scan.size == math.prod(shape)
        assert all(type(size) is int for size in sizes(scan))

    @pytest.mark.parametrize(
        "key", ["Scan - Point Repeats", "Scan - Point Repeat", "Scan - Camera Frames Per Point"]
    )
    def test_all_spellings_of_point_repeats_are_read(self, key):
        assert sizes(describe(SCAN, {key: "4"})) == (1, 3, 5, 4)

    def test_spellings_of_a_key_with_different_values_are_noted(self):
        both = {"Scan - Camera Frames Per Point": "2", "Scan - Point Repeat": "4"}
        scan = describe(SCAN, both)
        assert sizes(scan) == (1, 3, 5, 4)
        assert len(scan.notes) == 1
        assert "Scan - Point Repeat = 4 and Scan - Camera Frames Per Point = 2" in scan.notes[0]

    def test_spelling_of_a_key_without_a_value_is_skipped(self):
        both = {"Scan - Point Repeat": "-1", "Scan - Camera Frames Per Point": "2"}
        scan = describe(SCAN, both)
        assert sizes(scan) == (1, 3, 5, 2)
        assert scan.notes == ()

    @pytest.mark.parametrize("text", ["", "-1"])
    def test_unknown_numbers_of_repeats_are_1(self, text):
        unknown = {"Scan - Repeats": text, "Scan - Point Repeat": text}
        assert sizes(describe(SCAN, unknown)) == (1, 3, 5, 1)

    def test_enabled_region_of_interest_has_its_own_shape(self):
        roi = {"Scan - ROI Size X": "2", "Scan - ROI Size Y": "6", "Scan - ROI Type": "Raster"}
        assert sizes(describe(SCAN, roi, {"Scan - ROI Enable": "Enable"})) == (1, 6, 2, 1)
        assert sizes(describe(SCAN, roi, {"Scan - ROI Enable": "Disable"})) == (1, 3, 5, 1)

    @pytest.mark.parametrize("text", ["0", "-3", "2.5", "many", "nan", "1e2", "9" * 5000])
    @pytest.mark.parametrize("key", ["Scan - Size X", "Scan - Repeats", "Scan - Point Repeat"])
    def test_error_for_a_scan_size_that_is_not_a_positive_integer_has_the_key(self, key, text):
        with pytest.raises(SidecarError, match="not a whole number above 0") as error:
            describe(SCAN, {key: text})
        assert key in error.value.problem
        assert "navigation_shape" in error.value.remedy

    def test_scan_size_can_be_a_float_with_an_integer_value(self):
        assert sizes(describe(SCAN, {"Scan - Size X": "6.0"})) == (1, 3, 6, 1)

    @pytest.mark.parametrize("text", ["", "-1"])
    def test_error_for_a_scan_of_unknown_size_has_the_key(self, text):
        with pytest.raises(SidecarError, match="Scan - Size Y"):
            describe(SCAN, {"Scan - Size Y": text})
        with pytest.raises(SidecarError, match="Scan - ROI Size Y"):
            describe(SCAN, {"Scan - ROI Enable": "Enable", "Scan - ROI Size X": "2"})

    def test_frames_that_span_several_scan_points_are_an_error(self):
        with pytest.raises(SidecarError, match="Scan - Points Per Camera Frame = 4"):
            describe(SCAN, {"Scan - Points Per Camera Frame": "4"})

    @pytest.mark.parametrize(
        "key", ["Scan - Type", "Scan - ROI Enable", "Scan - ROI Type", "Scan - Subsampling"]
    )
    @pytest.mark.parametrize("text", ["-1", ""])
    def test_scan_settings_of_minus_1_or_without_a_value_are_ignored(self, key, text):
        assert describe(SCAN, {key: text}) == describe(SCAN)

    def test_unknown_value_of_the_scan_switch_is_an_error(self):
        with pytest.raises(SidecarError, match="Scan - Enable = Maybe"):
            describe(SCAN, {"Scan - Enable": "Maybe"})

    def test_scan_recorded_in_tem_mode_has_scan_axes(self):
        scan = describe(SCAN, {"Instrument Project TEMorSTEM Mode": "0"})
        assert names(scan) == ("repeat", "y", "x", "point_repeat", "ky", "kx")


class TestCustom:
    @pytest.mark.parametrize("kind", ["XY File", "Random", "Serpentine"])
    def test_scans_of_any_type_but_raster_are_custom_scans(self, kind):
        scan = describe(SCAN, {"Scan - Type": kind, "Scan - Repeats": "2"})
        assert scan.kind == "custom"
        assert names(scan) == ("y", "x", "ky", "kx")
        assert sizes(scan) == (3, 5)
        assert scan.size == 15

    def test_enabled_region_of_interest_has_its_own_scan_type(self):
        roi = {"Scan - ROI Size X": "2", "Scan - ROI Size Y": "6", "Scan - ROI Type": "Random"}
        inside = describe(SCAN, roi, {"Scan - ROI Enable": "Enable"})
        assert (inside.kind, sizes(inside)) == ("custom", (6, 2))
        assert describe(SCAN, roi, {"Scan - ROI Enable": "Disable"}).kind == "raster"

    def test_raster_with_subsampling_is_a_custom_scan(self):
        assert describe(SCAN, {"Scan - Subsampling": "2"}).kind == "custom"
        assert describe(SCAN, {"Scan - Subsampling": "1"}).kind == "raster"
        assert describe(SCAN, {"Scan - ROI Subsampling": "2"}).kind == "raster"


class TestMovie:
    @pytest.mark.parametrize("switch", ["Disable", ""])
    def test_frames_of_a_movie_without_a_scan_are_images_in_time(self, switch):
        scan = describe(MOVIE, {"Scan - Enable": switch}, n_frames=9)
        assert scan.kind == "movie"
        assert names(scan) == ("time", "y", "x")
        assert (sizes(scan), scan.size) == ((9,), 9)
        assert scales(scan) == {"time": (1 / 700, "s"), "y": (0.2, "nm"), "x": (0.1, "nm")}

    @pytest.mark.parametrize(
        ("key", "value", "signal"),
        [
            ("Instrument Project Camera Length (centimeters)", "20", ("ky", "kx")),
            ("Instrument Project Camera Length (centimeters)", "-1", ("y", "x")),
            ("Instrument Project TEMorSTEM Mode", "1", ("ky", "kx")),
            ("Instrument Project TEMorSTEM Mode", "0", ("y", "x")),
            ("Instrument Project TEMorSTEM Mode", "-1", ("y", "x")),
        ],
    )
    def test_frames_of_a_movie_are_patterns_with_a_camera_length_or_in_stem_mode(
        self, key, value, signal
    ):
        scan = describe(MOVIE, {key: value})
        assert names(scan) == ("time", *signal)
        rows, columns = scan.signal
        calibration = (0.4, 0.3, "nm^-1") if signal == ("ky", "kx") else (0.2, 0.1, "nm")
        assert (rows.scale, columns.scale, rows.units) == calibration

    @pytest.mark.parametrize(
        ("summed", "step"),
        [
            ("10", (10 / 700, "s")),
            ("", (1 / 700, "s")),
            ("0", UNCALIBRATED),
            ("-1", UNCALIBRATED),
        ],
    )
    def test_time_step_of_a_movie_includes_the_number_of_summed_frames(self, summed, step):
        scan = describe(MOVIE, {"Autosave Movie Sum Count": summed})
        assert scales(scan)["time"] == step

    @pytest.mark.parametrize("text", ["-1", ""])
    def test_file_whose_scan_switch_is_unknown_is_a_movie(self, text):
        assert describe(MOVIE, {"Scan - Enable": text}) == describe(MOVIE)

    def test_movie_can_have_no_frames(self):
        assert sizes(describe(MOVIE, n_frames=0)) == (0,)


class TestCalibration:
    def test_scales_and_units_of_all_axes_are_read_from_the_sidecar(self):
        times = {
            "Scan - Repeats": "2",
            "Scan - Time (seconds)": "30",
            "Scan - Repeat Delay (seconds)": "0.5",
            "Frames Per Second": "50",
            "Autosave Movie Sum Count": "2",
        }
        assert scales(describe(SCAN, times)) == {
            "repeat": (30.5, "s"),
            "y": (0.2, "nm"),
            "x": (0.1, "nm"),
            "point_repeat": (0.04, "s"),
            "ky": (0.4, "nm^-1"),
            "kx": (0.3, "nm^-1"),
        }

    @pytest.mark.parametrize("text", ["-1", "0", "-5", ""])
    def test_unknown_scales_have_no_units(self, text):
        keys = [key for key in SCAN if "Pixel Size" in key]
        scan = describe(SCAN, dict.fromkeys(keys, text))
        assert set(scales(scan).values()) == {UNCALIBRATED}
        assert scan.notes == ()

    @pytest.mark.parametrize(
        ("delay", "step"),
        [
            ("0", (30.0, "s")),
            ("", (30.0, "s")),
            ("-1", UNCALIBRATED),
            ("-2", UNCALIBRATED),
            ("soon", UNCALIBRATED),
        ],
    )
    def test_scale_of_the_repeat_axis_includes_the_delay(self, delay, step):
        times = {"Scan - Time (seconds)": "30", "Scan - Repeat Delay (seconds)": delay}
        assert scales(describe(SCAN, times))["repeat"] == step

    def test_scale_other_than_a_number_is_noted(self):
        scan = describe(SCAN, {"Diffraction Pixel Size X": "0,3"})
        assert scales(scan)["kx"] == UNCALIBRATED
        assert len(scan.notes) == 1
        assert "Diffraction Pixel Size X = 0,3" in scan.notes[0]

    def test_different_scan_times_are_noted(self):
        times = {"Scan - Time (seconds)": "60", "Scan - Time Per Scan (seconds)": "30"}
        scan = describe(SCAN, times, {"Scan - Repeats": "2"})
        assert scales(scan)["repeat"][0] == 60
        assert len(scan.notes) == 1
        assert "Scan - Time Per Scan (seconds) = 30" in scan.notes[0]
        assert describe(SCAN, times).notes == ()

    def test_frame_shape_of_the_movie_overrides_that_of_the_sidecar(self):
        image = {"Image Size X (pixels)": "8", "Image Size Y (pixels)": "4"}
        assert describe(SCAN, image, frame_shape=(4, 8)).notes == ()
        scan = describe(SCAN, image, frame_shape=(8, 4))
        assert [axis.size for axis in scan.signal] == [8, 4]
        assert len(scan.notes) == 1
        assert "4 rows and 8 columns" in scan.notes[0]
        assert "8 rows and 4 columns" in scan.notes[0]


class TestPixels:
    @pytest.mark.parametrize(
        ("mode", "integrated", "counted", "unsigned"),
        [
            ("Integrating", "uint8", "", True),
            ("Integrating", "int8", "uint8", False),
            ("Counting", "int8", "uint8", True),
            ("HDR Counting", "uint8", "int8", False),
            ("Integrating", "uint16", "uint8", True),
            ("Counting", "UInt8", "float32", True),
            ("Integrating", "uint16", "uint16", None),
            ("Integrating", "", "", None),
            ("", "uint16", "uint8", True),
            ("", "int8", "uint8", None),
        ],
    )
    def test_pixel_formats_determine_the_sign_of_8_bit_pixels(
        self, mode, integrated, counted, unsigned
    ):
        values = {
            "Image Processing - Mode": mode,
            "Autosave Integrated Movie Pixel Format": integrated,
            "Autosave Counted Movie Pixel Format": counted,
        }
        assert pixel_is_unsigned(sidecar(values)) is unsigned


class TestMetadata:
    def test_metadata_have_the_names_and_units_of_hyperspy(self):
        values = {
            "Timestamp (seconds since Epoch)": "1729539410",
            "Instrument Accelerating Voltage (V)": "300000",
            "Instrument Project Camera Length (centimeters)": "20",
            "Instrument Project Magnification": "1000",
            "Instrument Project TEMorSTEM Mode": "1",
            "Scan - Dwell Time (microseconds)": "1464.212499",
            "Frames Per Second": "700",
            "Camera Name": "Celeritas",
            "Image Processing - Mode": "Integrating",
            "ADUs Per Electron": "51",
        }
        metadata = sidecar_metadata(sidecar(SCAN, values))
        assert metadata == {
            "General": {"date": "2024-10-21", "time": "19:36:50", "time_zone": "UTC"},
            "Acquisition_instrument": {
                "TEM": {
                    "beam_energy": 300.0,
                    "camera_length": 200.0,
                    "magnification": 1000.0,
                    "acquisition_mode": "STEM",
                    "dwell_time": 0.001464212499,
                    "frames_per_second": 700.0,
                    "detector": "Celeritas",
                    "Detector": {"Camera": {"name": "Celeritas"}},
                }
            },
            "Signal": {"Noise_properties": {"Variance_linear_model": {"gain_factor": 51.0}}},
        }
        assert json.loads(json.dumps(metadata)) == metadata

    def test_numbers_of_the_microscope_come_first_as_in_files_already_written(self):
        values = {key.name: "100" for key, *_ in reversed(IN_HYPERSPY)}
        metadata = sidecar_metadata(sidecar(SCAN, values))
        assert list(metadata["Acquisition_instrument"]["TEM"]) == [
            "beam_energy",
            "camera_length",
            "magnification",
            "dwell_time",
            "frames_per_second",
        ]

    @pytest.mark.parametrize("text", ["-1", "", "0"])
    def test_unknown_values_are_absent_from_metadata(self, text):
        keys = (
            "Timestamp (seconds since Epoch)",
            "Instrument Accelerating Voltage (V)",
            "Instrument Project Camera Length (centimeters)",
            "Instrument Project Magnification",
            "Scan - Dwell Time (microseconds)",
            "Frames Per Second",
            "ADUs Per Electron",
        )
        assert sidecar_metadata(sidecar(SCAN, dict.fromkeys(keys, text))) == {}

    def test_camera_model_replaces_an_unknown_camera_name(self):
        tem = {"Camera Name": "-1", "Camera Model": "DE-16"}
        instrument = sidecar_metadata(sidecar(SCAN, tem))["Acquisition_instrument"]["TEM"]
        assert instrument["detector"] == "DE-16"

    def test_metadata_that_overflow_in_the_units_of_hyperspy_are_absent(self):
        """They are finite in the units of the sidecar."""
        length = {"Instrument Project Camera Length (centimeters)": "1e308"}
        assert "Acquisition_instrument" not in sidecar_metadata(sidecar(SCAN, length))
        slow = describe(MOVIE, {"Frames Per Second": "1e-320"})
        assert scales(slow)["time"] == UNCALIBRATED

    @pytest.mark.parametrize("text", ["-1", "2", ""])
    def test_unknown_acquisition_mode_is_absent_from_metadata(self, text):
        assert sidecar_metadata(sidecar({"Instrument Project TEMorSTEM Mode": text})) == {}

    def test_tem_mode_becomes_the_acquisition_mode(self):
        metadata = sidecar_metadata(sidecar({"Instrument Project TEMorSTEM Mode": "0"}))
        assert metadata == {"Acquisition_instrument": {"TEM": {"acquisition_mode": "TEM"}}}

    def test_metadata_of_a_movie_have_no_dwell_time(self):
        metadata = sidecar_metadata(sidecar(MOVIE, {"Scan - Dwell Time (microseconds)": "20"}))
        assert "dwell_time" not in metadata["Acquisition_instrument"]["TEM"]

    def test_gain_is_read_from_its_older_key_first(self):
        gains = {"ADUs Per Electron": "51", "ADUs Per Electron Bin1x": "300"}
        model = sidecar_metadata(sidecar(gains))["Signal"]["Noise_properties"]
        assert model == {"Variance_linear_model": {"gain_factor": 300.0}}

    def test_metadata_of_counted_pixels_have_no_gain(self):
        values = {"ADUs Per Electron": "51", "Image Processing - Mode": "Counting"}
        assert "Signal" not in sidecar_metadata(sidecar(values))

    @pytest.mark.parametrize("text", ["1e300", "253402300800"])
    def test_date_out_of_range_is_absent_from_metadata(self, text):
        assert sidecar_metadata(sidecar({"Timestamp (seconds since Epoch)": text})) == {}


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real acquisitions in {REAL_DATA}")
class TestRealSidecars:
    def test_real_sidecar_of_server_2_7_4_is_read_completely(self):
        parsed = parse_sidecar((REAL_DATA / "20241021_00405_info.txt").read_bytes())
        scan = describe_scan(parsed, n_frames=32, frame_shape=(4, 8))
        assert scan.navigation == (
            Axis("repeat", 1, navigate=True, scale=3.046854, units="s"),
            Axis("y", 4, navigate=True, scale=0.2, units="nm"),
            Axis("x", 8, navigate=True, scale=0.1, units="nm"),
            Axis("point_repeat", 1, navigate=True, scale=1 / 700, units="s"),
        )
        assert scan.signal == (
            Axis("ky", 4, navigate=False, scale=0.1, units="nm^-1"),
            Axis("kx", 8, navigate=False, scale=0.1, units="nm^-1"),
        )
        assert (scan.kind, scan.notes, parsed.notes) == ("raster", (), ())
        assert sidecar_metadata(parsed) == {
            "General": {"date": "2024-10-21", "time": "19:36:50", "time_zone": "UTC"},
            "Acquisition_instrument": {
                "TEM": {
                    "beam_energy": 300.0,
                    "camera_length": 1.0,
                    "magnification": 1000.0,
                    "dwell_time": 0.001464212499,
                    "frames_per_second": 700.0,
                    "detector": "DESim",
                    "Detector": {"Camera": {"name": "DESim"}},
                }
            },
            "Signal": {"Noise_properties": {"Variance_linear_model": {"gain_factor": 51.0}}},
        }

    def test_real_sidecar_of_server_2_7_2_is_read(self):
        parsed = parse_sidecar((REAL_DATA / "info.txt").read_bytes())
        scan = describe_scan(parsed, n_frames=256, frame_shape=(128, 128))
        assert (scan.kind, sizes(scan), scan.notes) == ("raster", (1, 32, 8, 1), ())
        assert scales(scan)["y"] == scales(scan)["x"] == (10.0, "nm")
        assert scales(scan)["ky"] == UNCALIBRATED
        assert parsed.text("Camera SN") == "812"
        assert parsed.notes == ()


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("enabled", ["Enable", "Disable"])
def test_value_that_is_not_a_number_is_noted_if_the_axes_depend_on_it(key, enabled):
    values = SCAN | {
        "Scan - Enable": enabled,
        "Scan - Repeats": "2",
        "Scan - Time (seconds)": "0.5",
        "Scan - Repeat Delay (seconds)": "0.25",
        "Frames Per Second": "700",
        "Autosave Movie Sum Count": "2",
        "Instrument Project Camera Length (centimeters)": "20",
    }
    complete = describe(values, n_frames=30)
    assert complete.notes == ()
    try:
        scan = describe(values, {key.name: "n/a"}, n_frames=30)
    except SidecarError:
        return  # the shape depends on it
    noted = [str(note) for note in scan.notes if note.code == "sidecar-value-unreadable"]
    assert [text.startswith(f"{key} = n/a") for text in noted] == [True] * bool(key.if_not_a_number)
    changed = scan.kind == complete.kind and scales(scan) != scales(complete)
    assert noted or not changed


@pytest.mark.parametrize(
    "name", ["Scan - Subsampling", "Scan - ROI Subsampling", "Scan - Points Per Camera Frame"]
)
def test_number_that_is_assumed_to_be_1_is_noted(name):
    [note] = describe(SCAN, {name: "n/a"}).notes
    assert str(note) == f"{name} = n/a in the sidecar is not a number: 1 is assumed"
