"""Lists of files, such as one per tilt angle: properties of one file are not applied to others."""

from __future__ import annotations

import gzip
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from mrcfile.dtypes import get_ext_header_dtype

from mrcdist import FormatError, MrcdistWarning, SidecarError, plan_mrc, read_mrc
from mrcdist.discover.auxiliary_files import find_sidecars
from mrcdist.discover.files import Directory
from mrcdist.format.direct_electron import filenames
from mrcdist.format.header import parse_header
from mrcdist.interop.rosettasciio import plan_metadata
from mrcdist.plan.agreement import common_header
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Notes
from tests.support.mrc_files import counting, header_bytes, mrc_bytes, write_mrc
from tests.support.serving import serving

NUMBERS = counting((2, 3, 4), "int16")
IMOD_SIGNED, IMOD_UNSIGNED = 1 | 4, 4


@pytest.fixture
def write(tmp_path):
    """Write files 0.mrc, 1.mrc, …, and return their paths."""

    def written(*contents: bytes) -> list[str]:
        paths = [tmp_path / f"{number}.mrc" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return [str(path) for path in paths]

    return written


def read_without_warnings(urls, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        return read_mrc(urls, **options)[0]


def scales_and_units(dataset):
    return {axis["name"]: (axis.get("scale"), axis["units"]) for axis in dataset["axes"]}


def fei2(tilt, exposure=1.0, pixel=2e-10, voltage=300_000.0):
    """Return the record of a section, with all values marked as valid."""
    record = np.zeros(1, get_ext_header_dtype(b"FEI2", "<"))
    record["Metadata size"] = record.itemsize
    for mask in ("Bitmask 1", "Bitmask 2", "Bitmask 3"):
        record[mask] = 0xFFFFFFFF
    record["Alpha tilt"], record["Integration time"], record["HT"] = tilt, exposure, voltage
    record["Pixel size X"] = record["Pixel size Y"] = pixel
    return record.tobytes()


def file_with_records(*records, **header):
    """Return a file with one section per record."""
    data = counting((len(records), 3, 4), "int16")
    return mrc_bytes(data, extended=b"".join(records), exttyp=b"FEI2", **header)


class TestPixels:
    @pytest.mark.parametrize("chunks", [(1, -1, -1), (3, 2, -1), -1])
    @pytest.mark.parametrize("index", [np.s_[:], np.s_[::-1], np.s_[1:4, ::2, 1:], np.s_[[4, 0]]])
    def test_signed_and_unsigned_bytes_are_joined_without_changing_values(
        self, write, index, chunks
    ):
        raw = np.arange(0, 240, 10, dtype=np.uint8).reshape(2, 3, 4)
        paths = write(
            mrc_bytes(raw, mode=0, imod_flags=IMOD_SIGNED),
            mrc_bytes(raw, mode=0, imod_flags=IMOD_UNSIGNED),
            mrc_bytes(raw[:1], mode=0, imod_flags=IMOD_SIGNED),
        )
        with pytest.warns(MrcdistWarning, match="int8 in 2, uint8 in 1 files.*read as int16"):
            [dataset] = read_mrc(paths, chunks=chunks)
        expected = np.concatenate([raw.view(np.int8).astype("i2"), raw, raw[:1].view(np.int8)])
        assert dataset["data"].dtype == np.int16
        np.testing.assert_array_equal(dataset["data"][index].compute(), expected[index])
        np.testing.assert_array_equal(
            read_without_warnings(paths, lazy=False, distributed=False)["data"], expected
        )

    def test_mode0_argument_applies_to_all_files(self, write):
        raw = np.full((1, 3, 4), 200, np.uint8)
        paths = write(*(mrc_bytes(raw, mode=0, statistics=(0, top, 9, 9)) for top in (100, 200)))
        [dataset] = read_mrc(paths, mode0="uint8")
        assert dataset["data"].dtype == np.uint8
        assert (dataset["data"] == 200).all().compute()

    def test_packed_and_plain_bytes_are_joined(self, write):
        packed = np.array([[[0x21, 0x43]] * 3], np.uint8)
        plain = np.array([[[9, 200, 3, 4]] * 3], np.uint8)
        paths = write(
            mrc_bytes(packed, mode=0, imod_flags=16 | 4),
            mrc_bytes(plain, mode=0, imod_flags=IMOD_UNSIGNED),
        )
        [dataset] = read_mrc(paths)
        expected = [[[1, 2, 3, 4]] * 3, [[9, 200, 3, 4]] * 3]
        np.testing.assert_array_equal(dataset["data"].compute(), expected)

    @pytest.mark.parametrize("first", "<>")
    def test_files_of_both_byte_orders_are_joined(self, write, first):
        orders = (first, *"<>"[:: 1 if first == ">" else -1])
        paths = write(*(mrc_bytes(NUMBERS + 100 * i, byteorder=o) for i, o in enumerate(orders)))
        [dataset] = read_mrc(paths, chunks=(4, -1, -1))
        expected = np.concatenate([NUMBERS + 100 * i for i in range(3)])
        assert dataset["data"].dtype.isnative
        np.testing.assert_array_equal(dataset["data"].compute(), expected)
        np.testing.assert_array_equal(dataset["data"][5:0:-2, 1].compute(), expected[5:0:-2, 1])

    def test_token_of_the_array_depends_on_the_byte_order_of_each_file(self, write):
        one = plan_mrc(write(*(mrc_bytes(NUMBERS, byteorder=order) for order in "<>"))).source
        other = plan_mrc(write(*(mrc_bytes(NUMBERS, byteorder=order) for order in "><"))).source
        assert one.__dask_tokenize__() != other.__dask_tokenize__()

    def test_files_of_different_modes_are_an_error(self, write):
        paths = write(mrc_bytes(NUMBERS), mrc_bytes(NUMBERS.astype("f4")))
        with pytest.raises(FormatError, match=r"mode 2 against .* mode 1") as caught:
            read_mrc(paths)
        assert caught.value.code == "parts-differ"

    def test_each_compressed_file_is_read_by_one_task(self, write):
        paths = write(*(gzip.compress(mrc_bytes(NUMBERS + i), mtime=0) for i in range(3)))
        dataset = read_without_warnings(paths)
        assert dataset["data"].chunks[0] == (2, 2, 2)
        expected = np.concatenate([NUMBERS + i for i in range(3)])
        np.testing.assert_array_equal(dataset["data"].compute(), expected)


class TestCalibration:
    def test_pixel_sizes_that_differ_are_dropped(self, write):
        """1.05 and 2.10 Å must not become 0.105 nm for all."""
        paths = write(*(mrc_bytes(NUMBERS, cell=(4 * s, 3 * s, 0)) for s in (1.05, 2.10)))
        with pytest.warns(MrcdistWarning, match=r"pixel size along x \(1.05 to 2.1 Å\)"):
            [dataset] = read_mrc(paths)
        assert scales_and_units(dataset)["x"] == scales_and_units(dataset)["y"] == (1.0, None)

    def test_pixel_size_of_only_some_files_is_dropped(self, write):
        paths = write(mrc_bytes(NUMBERS, cell=(4, 3, 0)), mrc_bytes(NUMBERS))
        with pytest.warns(MrcdistWarning, match=r"along x \(1 and unknown Å\)"):
            [dataset] = read_mrc(paths)
        assert scales_and_units(dataset)["x"] == (1.0, None)

    def test_common_pixel_size_is_kept(self, write):
        paths = write(*(mrc_bytes(NUMBERS, cell=(4 * s, 3 * s, 2)) for s in (1.05, 1.0500001)))
        [dataset] = read_mrc(paths)
        assert scales_and_units(dataset)["x"] == (pytest.approx(0.105), "nm")
        assert scales_and_units(dataset)["z"] == (pytest.approx(0.1), "nm")

    def test_origins_that_differ_are_dropped(self, write):
        paths = write(*(mrc_bytes(NUMBERS, cell=(4, 3, 0), origin=(o, 0, 0)) for o in (5.0, 9.0)))
        with pytest.warns(MrcdistWarning, match=r"origin along x \(5 to 9 Å\)"):
            [dataset] = read_mrc(paths)
        [x] = [axis for axis in dataset["axes"] if axis["name"] == "x"]
        assert (x["scale"], x["offset"], x["units"]) == (pytest.approx(0.1), 0.0, "nm")

    def test_spacing_of_sections_is_unknown_in_a_list_of_single_images(self, write):
        [dataset] = read_mrc(write(*(mrc_bytes(NUMBERS[:1], cell=(4, 3, 1)) for _ in range(3))))
        assert scales_and_units(dataset)["z"] == (1.0, None)
        assert scales_and_units(dataset)["x"] == (pytest.approx(0.1), "nm")

    def test_files_with_different_axes_are_an_error(self, write):
        paths = write(mrc_bytes(NUMBERS), mrc_bytes(NUMBERS, mapcrs=(2, 1, 3)))
        with pytest.raises(FormatError, match="MAPC, MAPR, MAPS") as caught:
            read_mrc(paths)
        assert caught.value.code == "parts-differ"

    @pytest.mark.parametrize("other", [{"ispg": 0}, {"ispg": 401, "intervals": (4, 3, 3)}])
    def test_sections_of_volume_stacks_and_other_files_share_one_axis(self, write, other):
        data = counting((6, 3, 4), "int16")
        volumes = {"ispg": 401, "intervals": (4, 3, 2), "cell": (4, 3, 2)}
        paths = write(mrc_bytes(data, **volumes), mrc_bytes(data, **{**volumes, **other}))
        with pytest.warns(MrcdistWarning, match="differ in .*kind"):
            [dataset] = read_mrc(paths)
        assert dataset["data"].shape == (12, 3, 4)

    def test_sections_share_one_axis_if_volumes_would_extend_across_files(self, write):
        """Files of 3 sections in volumes of 2: the second volume would start in the first file."""
        data = counting((3, 3, 4), "int16")
        paths = write(*(mrc_bytes(data, ispg=401, intervals=(4, 3, 2)) for _ in range(2)))
        assert read_without_warnings(paths)["data"].shape == (6, 3, 4)

    def test_stacks_of_equal_volumes_are_joined_along_the_axis_of_volumes(self, write):
        data = counting((6, 3, 4), "int16")
        paths = write(*(mrc_bytes(data, ispg=401, intervals=(4, 3, 2)) for _ in range(2)))
        assert read_mrc(paths)[0]["data"].shape == (6, 2, 3, 4)

    @given(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=4))
    def test_pixel_size_is_common_to_all_files_or_dropped(self, sizes):
        raw = [header_bytes(nx=4, ny=3, nz=2, mode=1, cell=(4 * s, 3 * s, 2 * s)) for s in sizes]
        notes = Notes()
        common = common_header([parse_header(each, file_size=None) for each in raw], notes)
        all_equal = len(set(sizes)) == 1
        assert common.pixel_size(0) == (sizes[0] if all_equal else None)
        assert bool(list(notes)) is not all_equal


class TestExtendedHeaders:
    def test_tilt_angles_and_records_of_single_images_are_joined(self, write):
        """One file per tilt gives the same as all sections in one file."""
        angles = (-60.0, 0.0, 60.0)
        records = [fei2(angle, 1.0 + i) for i, angle in enumerate(angles)]
        cell = {"cell": (8, 6, 0)}
        [as_list] = read_mrc(write(*(file_with_records(record, **cell) for record in records)))
        [as_one] = read_mrc(write(file_with_records(*records, **cell)))
        assert as_list["axes"] == as_one["axes"]
        assert as_list["axes"][0]["name"] == "tilt"
        extended = "extended_header"
        assert as_list["original_metadata"][extended] == as_one["original_metadata"][extended]
        tem = "Acquisition_instrument"
        assert as_list["metadata"][tem] == as_one["metadata"][tem]
        assert as_list["metadata"][tem]["TEM"]["beam_energy"] == 300
        assert "exposure" not in str(as_list["metadata"])

    @pytest.mark.parametrize("angles", [(-33.0, 0.0, 33.0), (0.0, 30.0), (-33.0, -3.0, 33.0)])
    @pytest.mark.parametrize("exttyp", [b"AGAR", b"SERI"])
    def test_record_with_a_tilt_of_0_belongs_to_the_series(self, write, exttyp, angles):
        """In a single file, a record of zeros might be blank."""

        def content(angle):
            if exttyp == b"AGAR":
                record, counts = np.array([angle, 0], "<f4").tobytes(), {"nint": 0, "nreal": 2}
            else:
                record = np.array([round(angle * 100)], "<i2").tobytes()
                counts = {"nint": 2, "nreal": 1}
            data = counting((1, 3, 4), "int16")
            return mrc_bytes(data, extended=record, exttyp=exttyp, **counts)

        dataset = read_without_warnings(write(*map(content, angles)))
        assert dataset["axes"][0]["name"] == "tilt"

    def test_common_exposure_is_kept(self, write):
        [dataset] = read_mrc(
            write(*(file_with_records(fei2(angle, 2.0)) for angle in (-60.0, 60.0)))
        )
        detector = dataset["metadata"]["Acquisition_instrument"]["TEM"]["Detector"]
        assert detector["Camera"]["exposure"] == 2.0

    def test_records_of_only_some_files_are_not_used(self, write):
        paths = write(file_with_records(fei2(-60.0)), mrc_bytes(NUMBERS))
        with pytest.warns(MrcdistWarning, match=r"extended headers \(FEI2 in 1, none in 1 files\)"):
            [dataset] = read_mrc(paths)
        assert "extended_header" not in dataset["original_metadata"]
        assert "Stage" not in str(dataset["metadata"])

    def test_differing_pixel_sizes_of_records_are_dropped(self, write):
        paths = write(
            *(file_with_records(fei2(angle, pixel=(4 + angle) * 1e-10)) for angle in (-2.0, 2.0))
        )
        with pytest.warns(MrcdistWarning, match="pixel size changes"):
            [dataset] = read_mrc(paths)
        assert scales_and_units(dataset)["x"] == (1.0, None)

    def test_common_entries_of_documents_are_kept(self, write):
        same = b'{"Signal": {"signal_type": "EELS"}, "Sample": {"name": "%s"}}'
        paths = write(
            *(mrc_bytes(NUMBERS, extended=same % n, exttyp=b"json") for n in (b"a", b"b"))
        )
        [dataset] = read_mrc(paths)
        assert dataset["original_metadata"]["extended_header"]["json"] == {
            "Signal": {"signal_type": "EELS"}
        }

    @pytest.mark.parametrize(("second", "kept"), [("X,Y,Z", ["X,Y,Z"]), ("-X,Y,-Z", [])])
    def test_symmetry_operators_are_kept_if_they_are_the_same_in_all_files(
        self, write, second, kept
    ):
        texts = [f"{text:80}".encode() for text in ("X,Y,Z", second)]
        paths = write(*(mrc_bytes(NUMBERS, extended=text, exttyp=b"CCP4") for text in texts))
        [dataset] = read_mrc(paths)
        assert dataset["original_metadata"]["extended_header"]["text"] == kept

    def test_voltages_that_differ_are_dropped(self, write):
        def content(voltage, gain):
            raw = bytearray(mrc_bytes(NUMBERS, labels=(b"MRCZ 0.5",)))
            raw[132:144] = np.array([voltage, 2.7, gain], "<f4").tobytes()
            return bytes(raw)

        plan = plan_mrc(write(content(200, 1.5), content(300, 1.5)))
        metadata = plan_metadata(plan)
        assert "Acquisition_instrument" not in metadata
        noise = metadata["Signal"]["Noise_properties"]["Variance_linear_model"]
        assert noise == {"gain_factor": 1.5}


MOVIE = {
    "Scan - Enable": "Disable",
    "Autosave Movie Sum Count": "1",
    "Frames Per Second": "50.0",
    "Autosave Integrated Movie Pixel Format": "uint8",
    "Image Processing - Mode": "Integrating",
    "Timestamp (seconds since Epoch)": "1700000000",
}


SCAN = {
    "Scan - Enable": "Enable",
    "Scan - Type": "Raster",
    "Scan - Size X": "2",
    "Scan - Size Y": "2",
}


class TestSidecars:
    """Lists of acquisitions, each with its own sidecar."""

    def movies(self, tmp_path, *sidecars, data=NUMBERS):
        """Write a movie for each sidecar, and the sidecar next to it."""
        paths = []
        for number, changed in enumerate(sidecars):
            stem = tmp_path / f"20241021_0000{number}"
            frames = data[number] if data.ndim > 3 else data
            paths.append(write_mrc(stem.with_name(f"{stem.name}_movie.mrc"), frames))
            if changed is not None:
                lines = [f"{key} = {value}" for key, value in {**MOVIE, **changed}.items()]
                stem.with_name(f"{stem.name}_info.txt").write_text("\n".join(lines))
        return [str(path) for path in paths]

    def test_common_values_of_sidecars_are_kept(self, tmp_path):
        [dataset] = read_mrc(self.movies(tmp_path, {}, {}))
        assert scales_and_units(dataset)["time"] == (0.02, "s")
        assert dataset["metadata"]["General"]["date"] == "2023-11-14"

    @pytest.mark.parametrize("order", [1, -1])
    def test_values_of_sidecars_that_differ_are_dropped(self, tmp_path, order):
        later = {"Frames Per Second": "10.0", "Timestamp (seconds since Epoch)": "1800000000"}
        paths = self.movies(tmp_path, {}, {}, later)[::order]
        with pytest.warns(MrcdistWarning, match=r"3 acquisitions differ in Frames Per Second"):
            [dataset] = read_mrc(paths)
        assert scales_and_units(dataset)["time"] == (1.0, None)
        assert "date" not in dataset["metadata"]["General"]

    @pytest.mark.parametrize("order", [1, -1])
    def test_sidecar_of_only_some_files_is_not_used(self, tmp_path, order):
        paths = self.movies(tmp_path, {}, None)[::order]
        with pytest.warns(MrcdistWarning, match="others none: none is used"):
            [dataset] = read_mrc(paths)
        assert "time" not in scales_and_units(dataset)
        sidecar = tmp_path / "20241021_00000_info.txt"
        [dataset] = read_mrc(paths, metadata_file=sidecar)
        assert scales_and_units(dataset)["time"] == (0.02, "s")

    def test_each_sidecar_determines_the_signedness_of_its_movie(self, tmp_path):
        data = np.array([[[[200]], [[100]]], [[[-56]], [[100]]]]).astype("u1")
        signed = {"Autosave Integrated Movie Pixel Format": "int8"}
        dataset = read_without_warnings(self.movies(tmp_path, {}, signed, data=data.view("i1")))
        assert dataset["data"].dtype == "int16"
        assert dataset["data"].compute().ravel().tolist() == [200, 100, -56, 100]

    @pytest.mark.parametrize("order", [1, -1])
    def test_scans_of_different_sizes_are_an_error(self, tmp_path, order):
        """Together they have as many frames as one of them has points."""
        sizes = ({**SCAN, "Scan - Size Y": rows} for rows in "21")
        paths = self.movies(tmp_path, *sizes)[::order]
        with pytest.raises(SidecarError, match="2 sidecars that differ, 2 of which describe"):
            read_mrc(paths)

    @pytest.mark.parametrize(
        "changed",
        [
            {"Scan - Type": "Spiral"},
            {"Scan - Points Per Camera Frame": "2"},
            {"Scan - Subsampling": "2"},
            {"Scan - Repeat Delay (seconds)": "50"},
            {"Scan - Enable": "Disable"},
            {"Acquisition Counter": "2"},
        ],
        ids=" ".join,
    )
    @pytest.mark.parametrize("order", [1, -1])
    def test_scan_and_another_acquisition_are_an_error(self, tmp_path, changed, order):
        """Together they have as many frames as the scan has points."""
        paths = self.movies(tmp_path, SCAN, {**SCAN, **changed})[::order]
        with pytest.raises(SidecarError) as caught:
            read_mrc(paths)
        assert caught.value.code == "sidecars-differ"
        assert "several scans, or to scans and movies" in caught.value.cause
        stack = read_mrc(paths, metadata_file=None)[0]["data"]
        assert stack.shape == (4, 3, 4)

    def test_scans_read_with_navigation_shape_keep_the_calibration_of_the_detector(self, tmp_path):
        patterns = {"Diffraction Pixel Size X": "0.1", "Diffraction Pixel Size Y": "0.2"}
        sizes = ({**SCAN, **patterns, "Scan - Size Y": rows} for rows in "21")
        dataset = read_without_warnings(self.movies(tmp_path, *sizes), navigation_shape=(2, 2))
        assert scales_and_units(dataset) == {
            "scan_y": (1.0, None),
            "scan_x": (1.0, None),
            "ky": (0.2, "nm^-1"),
            "kx": (0.1, "nm^-1"),
        }

    @pytest.mark.parametrize("order", [1, -1])
    def test_key_missing_from_one_sidecar_counts_as_a_difference(self, tmp_path, order):
        """A movie without the number of summed frames stores each frame."""
        sums = ({"Autosave Movie Sum Count": "10"}, {"Autosave Movie Sum Count": ""})
        paths = self.movies(tmp_path, *sums)[::order]
        with pytest.warns(MrcdistWarning, match="Autosave Movie Sum Count"):
            [dataset] = read_mrc(paths)
        assert scales_and_units(dataset)["time"] == (1.0, None)

    @pytest.mark.parametrize("order", [1, -1])
    def test_patterns_of_different_camera_lengths_are_uncalibrated(self, tmp_path, order):
        length = "Instrument Project Camera Length (centimeters)"
        pixels = {f"Specimen Pixel Size {axis} (nanometers)": "0.5" for axis in "XY"}
        paths = self.movies(tmp_path, *({length: each, **pixels} for each in ("20", "30")))
        dataset = read_without_warnings(paths[::order])
        assert scales_and_units(dataset)["ky"] == scales_and_units(dataset)["kx"] == (1.0, None)

    @pytest.mark.parametrize("order", [1, -1])
    def test_images_joined_with_patterns_are_uncalibrated(self, tmp_path, order):
        length = "Instrument Project Camera Length (centimeters)"
        pixels = {f"Specimen Pixel Size {axis} (nanometers)": "0.5" for axis in "XY"}
        dataset = read_without_warnings(
            self.movies(tmp_path, {length: "20", **pixels}, pixels)[::order]
        )
        assert scales_and_units(dataset)["y"] == scales_and_units(dataset)["x"] == (1.0, None)

    def test_gain_of_only_some_movies_is_left_out(self, tmp_path):
        gain = {"ADUs Per Electron": "5"}
        paths = self.movies(tmp_path, gain, {**gain, "Image Processing - Mode": "Counting"})
        assert "Noise_properties" in read_without_warnings(paths[:1])["metadata"]["Signal"]
        assert "Noise_properties" not in read_without_warnings(paths)["metadata"]["Signal"]

    def test_acquisitions_with_equal_settings_cause_no_warning(self, tmp_path):
        sidecars = (
            {
                "Acquisition Counter": number,
                "Dataset Name": f"20241021_0000{number}",
                "Autosave Movie Frames File Path": f"D:/20241021_0000{number}_movie.mrc",
                "Timestamp (seconds since Epoch)": f"170000000{number}",
            }
            for number in "12"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", MrcdistWarning)
            [dataset] = read_mrc(self.movies(tmp_path, *sidecars))
        assert scales_and_units(dataset)["time"] == (0.02, "s")
        assert "date" not in dataset["metadata"]["General"]

    @pytest.mark.parametrize("order", [1, -1])
    def test_movie_without_sidecar_has_the_signedness_of_the_others(self, tmp_path, order):
        data = np.full((3, 2, 1, 1), 200, "u1").view("i1")
        dataset = read_without_warnings(self.movies(tmp_path, {}, None, {}, data=data)[::order])
        assert dataset["data"].dtype == "uint8"
        assert (dataset["data"] == 200).all().compute()

    def test_parts_in_several_folders_share_one_sidecar(self, tmp_path):
        (tmp_path / "b").mkdir()
        first, second = (tmp_path / f"20241021_00007_{n}_movie.mrc" for n in (0, 1))
        for path in (first, tmp_path / "b" / second.name):
            write_mrc(path, NUMBERS)
        text = "\n".join(f"{key} = {value}" for key, value in MOVIE.items())
        (tmp_path / "20241021_00007_info.txt").write_text(text)
        [dataset] = read_mrc([str(first), str(tmp_path / "b" / second.name)])
        assert scales_and_units(dataset)["time"] == (0.02, "s")


@pytest.fixture
def acquisitions_in_memory():
    """Write movies with sidecars to folders of fsspec's memory filesystem; return their URLs."""
    memory = fsspec.filesystem("memory")

    def written(*folders: str) -> list[str]:
        urls = []
        text = "\n".join(f"{key} = {value}" for key, value in MOVIE.items())
        for number, folder in enumerate(folders):
            stem = f"/lists/{folder}/20241021_{number:05}"
            memory.pipe_file(f"{stem}_movie.mrc", mrc_bytes(NUMBERS))
            memory.pipe_file(f"{stem}_info.txt", text.encode())
            urls.append(f"memory://{stem}_movie.mrc")
        return urls

    yield written
    memory.rm("/lists", recursive=True)


def test_folders_of_a_list_are_listed_concurrently(acquisitions_in_memory, monkeypatch):
    urls, barrier = acquisitions_in_memory(*"abcd"), threading.Barrier(4)
    listings, ls = [], MemoryFileSystem.ls

    def waiting(self, path, detail=True, **options):
        listings.append(path)
        barrier.wait(60)  # sequential requests would time out
        return ls(self, path, detail, **options)

    monkeypatch.setattr(MemoryFileSystem, "ls", waiting)
    plan = plan_mrc(urls, tilt_file=None)
    assert plan.axes[0].units == "s"
    assert len(listings) == 4


def test_work_to_find_the_sidecars_of_a_list_grows_linearly(tmp_path):
    """Only the names of its own sidecar may be examined for each file."""
    counts = []
    for number in (20, 40):
        names = [f"20241021_{i:05}" for i in range(number)]
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in names:
            write_mrc(folder / f"{name}_movie.mrc", NUMBERS[:1])
            text = "\n".join(f"{key} = {value}" for key, value in MOVIE.items())
            (folder / f"{name}_info.txt").write_text(text)
        locations = [Location.of(folder / f"{name}_movie.mrc") for name in names]
        calls = 0

        def count(frame, event, _):
            nonlocal calls
            calls += event == "call" and frame.f_code.co_filename == filenames.__file__

        sys.setprofile(count)
        try:
            sidecars, _ = find_sidecars(locations, "auto", Directory(locations[0]), Notes())
        finally:
            sys.setprofile(None)
        assert len(sidecars) == 1
        counts.append(calls)
    assert counts[1] < 2.2 * counts[0]


def test_headers_of_a_list_are_fetched_concurrently():
    content, barrier = mrc_bytes(NUMBERS[:1]), threading.Barrier(4)

    def do_get(request: BaseHTTPRequestHandler) -> None:
        barrier.wait(60)  # sequential requests would time out
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 0-1023/{len(content)}")
        request.send_header("Content-Length", "1024")
        request.send_header("ETag", '"1"')
        request.end_headers()
        request.wfile.write(content[:1024])

    with serving(do_get) as endpoint:
        urls = [f"{endpoint}/{number}.mrc" for number in range(8)]
        plan = plan_mrc(urls, metadata_file=None, tilt_file=None)
    assert plan.shape == (8, 3, 4)
    assert [part.file.location.url for part in plan.source.parts] == urls


def test_error_names_the_first_file_that_cannot_be_opened(tmp_path):
    paths = [write_mrc(tmp_path / f"{number}.mrc", NUMBERS) for number in range(12)]
    for number in (9, 5):
        paths[number].write_bytes(b"<html>".ljust(2000))
    with pytest.raises(FormatError) as caught:
        plan_mrc(paths)
    assert caught.value.where == str(paths[5])
