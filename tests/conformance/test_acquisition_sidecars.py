"""The sidecar: how it is found, which variants of its text are read, and what its values become."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import numpy as np
import pytest

from mrcdist import ArgumentError, MissingFileError, MrcdistWarning, SidecarError, read_mrc
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import axis_names, in_memory, sidecar_values, url_of

FRAME = (3, 5)


def read(path, store, **options):
    [dataset] = read_mrc(url_of(path, store), **options)
    return dataset


def axes_of(dataset):
    return {axis["name"]: (axis["scale"], axis["units"]) for axis in dataset["axes"]}


class FixedStream:
    """A stream whose reads all return the same object, or the result of a function."""

    def __init__(self, result, read=None):
        self.read = read or (lambda size: result)


def closed(stream):
    stream.close()
    return stream


def read_to_end(stream):
    stream.read()
    return stream


class TestSource:
    @pytest.mark.parametrize("kind", ["path", "str", "file url", "url", "binary", "text"])
    def test_metadata_file_can_be_a_path_url_or_stream(self, tmp_path, store, kind):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME)
        sidecar = written.sidecar.rename(tmp_path / "elsewhere.txt")
        assert axis_names(read(written.movie, store)) == ["z", "y", "x"]
        metadata_file = {
            "path": lambda: sidecar,
            "str": lambda: str(sidecar),
            "file url": lambda: f"file://{sidecar}",
            "url": lambda: f"{in_memory(tmp_path)}/elsewhere.txt",
            "binary": lambda: sidecar.open("rb"),
            "text": lambda: sidecar.open(encoding="latin-1"),
        }[kind]()
        try:
            dataset = read(written.movie, store, metadata_file=metadata_file)
            assert axis_names(dataset) == ["y", "x", "ky", "kx"]
            assert dataset["original_metadata"]["de_metadata"] == {
                key.strip(): value.strip()
                for key, _, value in (
                    line.partition("=") for line in sidecar.read_text("latin-1").splitlines()
                )
            }
        finally:
            if hasattr(metadata_file, "close"):
                metadata_file.close()

    def test_metadata_file_none_uses_no_sidecar(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME)
        dataset = read(written.movie, store, metadata_file=None)
        assert axis_names(dataset) == ["z", "y", "x"]
        assert "de_metadata" not in dataset["original_metadata"]
        assert "Acquisition_instrument" not in dataset["metadata"]
        # The cell in the header is negative: uncalibrated, not a scale of -1.
        assert axes_of(dataset) == dict.fromkeys(["z", "y", "x"], (1.0, None))

    def test_metadata_file_that_does_not_exist_is_an_error(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME)
        with pytest.raises(MissingFileError, match=r"nowhere\.txt"):
            read(written.movie, store, metadata_file=tmp_path / "nowhere.txt")

    @pytest.mark.parametrize(
        ("opened", "message", "remedy"),
        [
            (lambda path: path.open(encoding="ascii"), "cannot be decoded", ".buffer"),
            (lambda path: closed(path.open("rb")), "cannot be read", "path"),
            (lambda path: (path.parent / "new").open("w"), "cannot be read", "open for reading"),
            (lambda path: read_to_end(path.open("rb")), "nothing to read", "seek(0)"),
            (lambda path: FixedStream([1, 2, 3]), "cannot be read", "path"),
            (lambda path: FixedStream(None), "nothing to read", "path"),
        ],
        ids=["undecodable", "closed", "write-only", "at its end", "list", "None"],
    )
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_error_for_an_unreadable_stream_states_cause_and_remedy(
        self, tmp_path, opened, message, remedy
    ):
        written = write_acquisition(
            tmp_path, scan_shape=(2, 4), frame_shape=FRAME, sidecar={"Operator": "caf\xe9"}
        )
        with pytest.raises(ArgumentError, match=message) as caught:
            read_mrc(written.movie, metadata_file=opened(written.sidecar))
        assert caught.value.argument == "metadata_file"
        assert remedy in caught.value.remedy

    def test_stream_with_short_reads_is_read_to_its_end(self, tmp_path):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME)
        raw = io.BytesIO(written.sidecar.read_bytes())
        [dataset] = read_mrc(
            written.movie, metadata_file=FixedStream(None, lambda size: raw.read(7))
        )
        assert dataset["original_metadata"]["de_metadata"] == sidecar_values(written)

    def test_surrogate_escapes_of_a_text_stream_are_decoded(self, tmp_path):
        written = write_acquisition(
            tmp_path, scan_shape=(2, 4), frame_shape=FRAME, sidecar={"Operator": "caf\xe9"}
        )
        with written.sidecar.open(encoding="utf-8", errors="surrogateescape") as stream:
            [dataset] = read_mrc(written.movie, metadata_file=stream)
        assert dataset["original_metadata"]["de_metadata"]["Operator"] == "caf\xe9"

    def test_metadata_file_of_an_unsupported_type_is_an_error(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME)
        with pytest.raises(ArgumentError, match="is a dict"):
            read(written.movie, store, metadata_file={})

    def test_sidecar_of_another_acquisition_is_not_used(self, tmp_path, store):
        """The suffix is part of the name: `_a` and `_b` are different acquisitions."""
        acquisition = write_acquisition(
            tmp_path, name="20260101_00001_b", scan_shape=(2, 4), frame_shape=FRAME
        )
        write_acquisition(tmp_path, name="20260101_00001_a", scan_shape=(4, 2), frame_shape=FRAME)
        write_acquisition(tmp_path, name="20260101_00001", scan_shape=(8, 1), frame_shape=FRAME)
        assert read(acquisition.movie, store)["data"].shape == (2, 4, *FRAME)
        acquisition.sidecar.unlink()
        assert axis_names(read(acquisition.movie, store)) == ["z", "y", "x"]


class TestText:
    """Variants of the text, as written by a server on Windows or by an editor."""

    def rewritten(self, folder, change, **options):
        written = write_acquisition(folder, scan_shape=(2, 4), frame_shape=FRAME, **options)
        written.sidecar.write_bytes(change(written.sidecar.read_bytes()))
        return written

    @pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
    def test_sidecar_with_line_endings_of_any_system_is_read(self, tmp_path, store, newline):
        written = self.rewritten(tmp_path, lambda raw: raw.replace(b"\n", newline))
        dataset = read(written.movie, store)
        assert dataset["data"].shape == (2, 4, *FRAME)
        assert dataset["original_metadata"]["de_metadata"]["Scan - Type"] == "Raster"

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
    def test_sidecar_in_latin_1_or_utf_8_is_read(self, tmp_path, store, encoding):
        written = self.rewritten(
            tmp_path,
            lambda raw: (raw.decode("latin-1") + "Operator = Jürgen, 50 µm\n").encode(encoding),
        )
        original = read(written.movie, store)["original_metadata"]["de_metadata"]
        assert original["Operator"] == "Jürgen, 50 µm"
        assert original["Server Software Version"] == "2.7.5.10756"  # the first key

    def test_sidecar_value_can_contain_an_equals_sign(self, tmp_path, store):
        written = self.rewritten(tmp_path, lambda raw: raw + b"Preset = a=1, b = 2\n")
        original = read(written.movie, store)["original_metadata"]["de_metadata"]
        assert original["Preset"] == "a=1, b = 2"

    def test_sidecar_line_that_is_not_key_and_value_causes_a_warning(self, tmp_path, store):
        written = self.rewritten(tmp_path, lambda raw: b"*** junk ***\n" + raw)
        with pytest.warns(MrcdistWarning, match=r"junk") as caught:
            dataset = read(written.movie, store)
        assert "1 line" in str(caught[0].message)
        assert dataset["data"].shape == (2, 4, *FRAME)

    def test_file_that_is_not_a_sidecar_is_an_error(self, tmp_path, store):
        written = self.rewritten(tmp_path, lambda raw: b"<html>not found</html>")
        with pytest.raises(SidecarError, match="key = value"):
            read(written.movie, store)

    def test_original_metadata_contain_every_key_of_the_sidecar_as_text(self, tmp_path, store):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME)
        original = read(written.movie, store)["original_metadata"]["de_metadata"]
        assert original == sidecar_values(written)
        assert all(isinstance(value, str) for value in original.values())

    def test_image_size_that_contradicts_the_header_causes_a_warning(self, tmp_path, store):
        written = write_acquisition(
            tmp_path, scan_shape=(2, 4), frame_shape=FRAME, sidecar={"Image Size X (pixels)": "99"}
        )
        with pytest.warns(MrcdistWarning, match="99"):
            assert read(written.movie, store)["data"].shape == (2, 4, *FRAME)


@pytest.mark.parametrize("server", ["2.7", "new"])
class TestValues:
    """All numbers in the result are compared with the text of the sidecar."""

    def test_axes_of_a_scan_have_the_values_in_the_sidecar(self, tmp_path, store, server):
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 4),
            repeats=2,
            point_repeats=2,
            frame_shape=FRAME,
            server=server,
        )
        stored = {key: value for key, value in sidecar_values(written).items() if value}
        assert stored["Scan - Repeat Delay (seconds)"] == "0.5"  # added as a number, not as text
        repeat = float(stored["Scan - Time (seconds)"]) + float(
            stored["Scan - Repeat Delay (seconds)"]
        )
        assert axes_of(read(written.movie, store)) == {
            "repeat": (pytest.approx(repeat), "s"),
            "y": (float(stored["Specimen Pixel Size Y (nanometers)"]), "nm"),
            "x": (float(stored["Specimen Pixel Size X (nanometers)"]), "nm"),
            "point_repeat": (pytest.approx(1 / float(stored["Frames Per Second"])), "s"),
            "ky": (float(stored["Diffraction Pixel Size Y"]), "nm^-1"),
            "kx": (float(stored["Diffraction Pixel Size X"]), "nm^-1"),
        }

    def test_metadata_have_the_values_in_the_sidecar(self, tmp_path, store, server):
        written = write_acquisition(tmp_path, scan_shape=(2, 4), frame_shape=FRAME, server=server)
        stored = sidecar_values(written)
        recorded_at = datetime.fromtimestamp(int(stored["Timestamp (seconds since Epoch)"]), UTC)
        gain = stored["ADUs Per Electron Bin1x" if server == "2.7" else "ADUs Per Electron"]
        assert read(written.movie, store)["metadata"] == {
            "General": {
                "title": "20260101_00001_movie",
                "original_filename": "20260101_00001_movie.mrc",
                "date": recorded_at.strftime("%Y-%m-%d"),
                "time": recorded_at.strftime("%H:%M:%S"),
                "time_zone": "UTC",
            },
            "Acquisition_instrument": {
                "TEM": {
                    "beam_energy": float(stored["Instrument Accelerating Voltage (V)"]) / 1000,
                    "camera_length": 10
                    * float(stored["Instrument Project Camera Length (centimeters)"]),
                    "magnification": float(stored["Instrument Project Magnification"]),
                    "acquisition_mode": "STEM",
                    "dwell_time": pytest.approx(
                        float(stored["Scan - Dwell Time (microseconds)"]) * 1e-6
                    ),
                    "frames_per_second": float(stored["Frames Per Second"]),
                    "detector": stored["Camera Name"],
                    "Detector": {"Camera": {"name": stored["Camera Name"]}},
                }
            },
            "Signal": {
                "signal_type": "",
                "Noise_properties": {"Variance_linear_model": {"gain_factor": float(gain)}},
            },
        }

    def test_sidecar_values_of_minus_1_are_unknown(self, tmp_path, store, server):
        unknown = [
            "Specimen Pixel Size X (nanometers)",
            "Specimen Pixel Size Y (nanometers)",
            "Diffraction Pixel Size X",
            "Diffraction Pixel Size Y",
            "Instrument Accelerating Voltage (V)",
            "Instrument Project Camera Length (centimeters)",
            "Instrument Project Magnification",
            "Instrument Project TEMorSTEM Mode",
        ]
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 4),
            frame_shape=FRAME,
            server=server,
            sidecar=dict.fromkeys(unknown, "-1"),
        )
        dataset = read(written.movie, store)
        assert axes_of(dataset) == dict.fromkeys(["y", "x", "ky", "kx"], (1.0, None))
        tem = dataset["metadata"]["Acquisition_instrument"]["TEM"]
        assert set(tem) == {"dwell_time", "frames_per_second", "detector", "Detector"}

    @pytest.mark.parametrize(
        ("camera_length", "mode", "names"),
        [
            ("20", "0", ["time", "ky", "kx"]),
            ("20", "-1", ["time", "ky", "kx"]),
            ("-1", "1", ["time", "ky", "kx"]),
            ("-1", "0", ["time", "y", "x"]),
            ("-1", "-1", ["time", "y", "x"]),
        ],
    )
    def test_axes_of_a_movie_without_a_scan_have_the_values_in_the_sidecar(
        self, tmp_path, store, server, camera_length, mode, names
    ):
        written = write_acquisition(
            tmp_path,
            scan_shape=(2, 4),
            frame_shape=FRAME,
            scan=False,
            server=server,
            sidecar={
                "Instrument Project Camera Length (centimeters)": camera_length,
                "Instrument Project TEMorSTEM Mode": mode,
                "Autosave Movie Sum Count": "4",
            },
        )
        stored = sidecar_values(written)
        dataset = read(written.movie, store)
        assert axis_names(dataset) == names
        pixel = (
            "Diffraction Pixel Size {}" if "ky" in names else "Specimen Pixel Size {} (nanometers)"
        )
        units = "nm^-1" if "ky" in names else "nm"
        assert list(axes_of(dataset).values()) == [
            (pytest.approx(4 / float(stored["Frames Per Second"])), "s"),
            (float(stored[pixel.format("Y")]), units),
            (float(stored[pixel.format("X")]), units),
        ]
        assert "dwell_time" not in dataset["metadata"]["Acquisition_instrument"]["TEM"]


class TestRealAcquisition:
    def test_scan_of_a_real_microscope_is_read_with_its_sidecar(self, real_data):
        path = real_data / "20241021_00405_movie.mrc"
        [dataset] = read_mrc(path)
        assert axes_of(dataset) == {
            "y": (0.2, "nm"),
            "x": (0.1, "nm"),
            "ky": (0.1, "nm^-1"),
            "kx": (0.1, "nm^-1"),
        }
        stored = np.frombuffer(path.read_bytes()[1024:], "<u2")
        np.testing.assert_array_equal(dataset["data"].compute(), stored.reshape(4, 8, 4, 8))
        text = (real_data / "20241021_00405_info.txt").read_bytes().decode("latin-1")
        [pixel_size] = [
            line.split("=")[1]
            for line in text.splitlines()
            if line.startswith("Specimen Pixel Size Y")
        ]
        assert float(pixel_size) == 0.2

    def test_real_sidecar_with_windows_line_endings_is_parsed(self, real_data):
        """From a 2.7 server. Its movie is not available, so the error proves that it was parsed."""
        raw = (real_data / "info.txt").read_bytes()
        assert b"\r\n" in raw
        movie = real_data / "20241021_00405_movie.mrc"
        with pytest.raises(SidecarError, match=r"256 points.* 32 frames"):
            read_mrc(movie, metadata_file=io.BytesIO(raw))
