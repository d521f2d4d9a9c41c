"""Files written by `write_mrc`, compared byte by byte."""

from __future__ import annotations

import struct
import threading
from collections import Counter
from contextlib import nullcontext

import dask
import dask.array as da
import numpy as np
import pytest
from rsciio.mrc import file_reader as rosettasciio_reader

import mrcdist
from mrcdist.errors import ArgumentError
from tests.support.mrc_files import counting, header_bytes, mrc_bytes

MODES = {
    "int8": 0, "bool": 0, "int16": 1, "float32": 2, "complex64": 4, "uint16": 6, "uint8": 6,
    "float16": 12,
}  # fmt: skip
STORED = {"bool": "int8", "uint8": "uint16"}


def numbers(shape, dtype):
    if dtype == "bool":
        return counting(shape, "int16") % 3 == 0
    return (
        counting(shape, "float32").astype(dtype) % 60
        if dtype == "float16"
        else (
            counting(shape, "int16").astype(dtype) if dtype == "uint8" else counting(shape, dtype)
        )
    )


def statistics(array):
    if array.dtype.kind == "c":
        return 0.0, -1.0, -2.0, -1.0
    exact = array.astype(np.float64)
    return exact.min(), exact.max(), exact.mean(), exact.std()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", MODES)
def test_written_file_consists_of_header_and_pixels(tmp_path, dtype, byteorder):
    array = numbers((3, 4, 5), dtype)
    path = tmp_path / "a.mrc"
    report = mrcdist.write_mrc(path, array, byteorder=byteorder)
    raw = path.read_bytes()
    expected = header_bytes(
        nx=5, ny=4, nz=3, mode=MODES[dtype], byteorder=byteorder, intervals=(5, 4, 1),
        statistics=statistics(array), nversion=20141,
    )  # fmt: skip
    assert raw[:220] == expected[:220]
    assert struct.unpack(f"{byteorder}i", raw[220:224]) == (1,)
    assert raw[224:232] == b"mrcdist "
    stored = array.astype(np.dtype(STORED.get(dtype, dtype)).newbyteorder(byteorder))
    assert raw[1024:] == stored.tobytes()
    assert report.nbytes == len(raw)
    assert report.mode == MODES[dtype]


def test_dtype_uint8_is_stored_as_mode_0_with_the_flags_of_imod(tmp_path):
    array = np.arange(60, dtype="uint8").reshape(3, 4, 5) + 190
    mrcdist.write_mrc(tmp_path / "a.mrc", array, dtype="uint8")
    raw = (tmp_path / "a.mrc").read_bytes()
    # Flag 1 (signed bytes) is not set; flag 4 means that the origin has the sign of MRC2014.
    assert struct.unpack("<i", raw[12:16]) == (0,)
    assert struct.unpack("<2i", raw[152:160]) == (1146047817, 4)
    assert raw[1024:] == array.tobytes()


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize("chunks", [(3, 4, 5), (1, 2, 3), (2, 4, 2)])
def test_four_bit_pixels_are_packed_low_nibble_first(tmp_path, columns, chunks):
    array = (np.arange(12 * columns).reshape(3, 4, columns) * 7) % 16
    chunks = (*chunks[:2], min(chunks[2], columns))
    mrcdist.write_mrc(tmp_path / "a.mrc", da.from_array(array, chunks=chunks), dtype="uint4")
    raw = (tmp_path / "a.mrc").read_bytes()
    rows = array.reshape(12, columns)
    expected = bytearray()
    for row in rows:
        padded = [*row, 0] if columns % 2 else list(row)
        expected += bytes(
            low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True)
        )
    assert raw[1024:] == bytes(expected)
    assert struct.unpack("<i", raw[12:16]) == (101,)


def axes(*calibrations):
    return [
        {"name": name, "scale": scale, "offset": offset, "units": units}
        for name, scale, offset, units in calibrations
    ]


def test_calibration_of_a_volume_is_stored_in_angstrom(tmp_path):
    calibrated = axes(("z", 2.0, 1.0, "nm"), ("y", 0.5, -3.0, "nm"), ("x", 4.0, 0.0, "Å"))
    mrcdist.write_mrc(tmp_path / "a.mrc", counting((3, 4, 5), "int16"), axes=calibrated)
    raw = (tmp_path / "a.mrc").read_bytes()
    assert struct.unpack("<3i3f", raw[28:52]) == (5, 4, 3, 5 * 4.0, 4 * 5.0, 3 * 20.0)
    assert struct.unpack("<3i", raw[64:76]) == (1, 2, 3)
    assert struct.unpack("<i", raw[88:92]) == (1,)
    assert struct.unpack("<3f", raw[196:208]) == (0.0, -30.0, 10.0)


def test_permuted_axes_are_stored_in_mapc_mapr_maps(tmp_path):
    calibrated = axes(("y", 2.0, 0.0, "nm"), ("x", 0.5, 0.0, "nm"), ("z", 4.0, 0.0, "nm"))
    array = counting((3, 4, 5), "int16")
    mrcdist.write_mrc(tmp_path / "a.mrc", array, axes=calibrated, kind="volume")
    raw = (tmp_path / "a.mrc").read_bytes()
    assert struct.unpack("<3i", raw[64:76]) == (3, 1, 2)
    # MX and CELLA follow X, Y, Z: rows (4), sections (3), columns (5).
    assert struct.unpack("<3i3f", raw[28:52]) == (4, 3, 5, 4 * 5.0, 3 * 20.0, 5 * 40.0)
    [data] = mrcdist.read_mrc(tmp_path / "a.mrc", distributed=False)
    assert [(axis["name"], axis["scale"]) for axis in data["axes"]] == [
        ("y", 2.0), ("x", 0.5), ("z", 4.0),
    ]  # fmt: skip


def test_stack_of_volumes_has_ispg_401_and_the_depth_of_a_volume_as_mz(tmp_path):
    array = counting((2, 3, 4, 5), "int16")
    mrcdist.write_mrc(tmp_path / "a.mrc", array, kind="volumes")
    raw = (tmp_path / "a.mrc").read_bytes()
    assert struct.unpack("<3i", raw[:12]) == (5, 4, 6)
    assert struct.unpack("<3i", raw[28:40]) == (5, 4, 3)
    assert struct.unpack("<i", raw[88:92]) == (401,)


def test_extended_header_and_labels_are_stored_unchanged(tmp_path):
    path = tmp_path / "a.mrc"
    mrcdist.write_mrc(
        path, counting((1, 4, 5), "int16"), extended_header=b"x" * 160, exttyp="CCP4",
        labels=("first", "second"),
    )  # fmt: skip
    raw = path.read_bytes()
    assert struct.unpack("<i", raw[92:96]) == (160,)
    assert raw[104:108] == b"CCP4"
    assert raw[1024:1184] == b"x" * 160
    assert raw[304:384].rstrip() == b"first"
    assert raw[384:464].rstrip() == b"second"
    assert len(raw) == 1024 + 160 + 40


def labels_in(path):
    raw = path.read_bytes()
    [number] = struct.unpack("<i", raw[220:224])
    labels = [raw[at : at + 80].rstrip(b" \0").decode() for at in range(224, 1024, 80)]
    assert labels[number:] == [""] * (10 - number)
    return labels[:number]


class TestLabelsOfTheSource:
    def copy_labels(self, folder, source_labels, **options):
        numbers = counting((2, 4, 5), "int16")
        (folder / "a.mrc").write_bytes(mrc_bytes(numbers, labels=source_labels))
        [data] = mrcdist.read_mrc(folder / "a.mrc", distributed=False)
        mrcdist.write_mrc(folder / "b.mrc", data, **options)
        first, *others = labels_in(folder / "b.mrc")
        assert first.startswith("mrcdist ")
        return others

    def test_labels_of_the_source_follow_the_label_of_mrcdist(self, tmp_path):
        assert self.copy_labels(tmp_path, (b"by hand", b"x" * 80)) == ["by hand", "x" * 80]

    def test_label_of_mrcdist_is_not_repeated_by_each_copy(self, tmp_path):
        self.copy_labels(tmp_path, (b"by hand",))
        [data] = mrcdist.read_mrc(tmp_path / "b.mrc", distributed=False)
        mrcdist.write_mrc(tmp_path / "c.mrc", data)
        assert labels_in(tmp_path / "c.mrc")[1:] == ["by hand"]

    def test_tenth_label_of_the_source_is_dropped(self, tmp_path):
        labels = tuple(b"label %d" % number for number in range(10))
        assert self.copy_labels(tmp_path, labels) == [f"label {number}" for number in range(9)]

    @pytest.mark.parametrize("labels", [(), ("new label",)])
    def test_labels_argument_replaces_the_labels_of_the_source(self, tmp_path, labels):
        assert self.copy_labels(tmp_path, (b"by hand",), labels=labels) == list(labels)

    @pytest.mark.parametrize(
        "label", [b"4 bits packed", b"MRCZ0.6", "Å".encode(), b"a\x1b[2Jb", b""]
    )
    def test_labels_that_describe_the_encoding_of_the_source_are_left_out(self, tmp_path, label):
        assert self.copy_labels(tmp_path, (b"by hand", label, b"last")) == ["by hand", "last"]


def test_statistics_false_marks_the_statistics_as_undetermined(tmp_path):
    mrcdist.write_mrc(tmp_path / "a.mrc", counting((2, 4, 5), "int16"), statistics=False)
    raw = (tmp_path / "a.mrc").read_bytes()
    assert struct.unpack("<3f", raw[76:88]) == (0.0, -1.0, -2.0)
    assert struct.unpack("<f", raw[216:220]) == (-1.0,)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (-129, "int8"), (1.5, "int16"), (np.nan, "int16"), (2.0**31, "int16"), (-1, "uint16"),
        (256, "uint8"), (16, "uint4"), (1e39, "float32"), (70000.0, "float16"), (1j, "float32"),
        (2**24 + 1, "float32"), (np.inf, "uint16"),
    ],
)  # fmt: skip
def test_value_that_the_requested_dtype_cannot_represent_is_an_error(tmp_path, value, dtype):
    array = np.zeros(
        (2, 3, 4), np.result_type(type(value)) if not isinstance(value, int) else "int64"
    )
    array[1, 2, 3] = value
    with pytest.raises(ArgumentError) as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", array, dtype=dtype)
    assert (error.value.code, error.value.argument) == ("value-does-not-fit", "dtype")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float64", "complex128", "int32", "uint32", "int64", "uint64"])
def test_dtype_without_a_mode_is_an_error_unless_another_is_requested(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    with pytest.raises(ArgumentError) as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", array)
    assert error.value.code == "dtype-unwritable"
    requested = "complex64" if "complex" in dtype else "float32"
    mrcdist.write_mrc(tmp_path / "a.mrc", array, dtype=requested)
    [data] = mrcdist.read_mrc(tmp_path / "a.mrc", distributed=False)
    np.testing.assert_array_equal(data["data"], array)


TOO_LONG = 2**31


@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("NX", (1, 1, TOO_LONG)),
        ("NY", (1, TOO_LONG, 1)),
        ("NZ", (TOO_LONG, 1, 1)),
        ("NZ", (2**16, 2**15, 1, 1)),
    ],
)
def test_axis_too_long_for_the_header_is_an_error(tmp_path, field, shape):
    with pytest.raises(ArgumentError, match=f"{field} = {TOO_LONG}") as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", da.zeros(shape, dtype="int8", chunks=2**27))
    assert (error.value.code, error.value.argument) == ("header-field-overflow", "data")
    assert list(tmp_path.iterdir()) == []


def test_extended_header_too_long_for_the_header_is_an_error(tmp_path):
    zeros = bytes(TOO_LONG)  # virtual memory that is never touched
    with pytest.raises(ArgumentError, match=f"NSYMBT = {TOO_LONG}") as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", counting((1, 4, 5), "int16"), extended_header=zeros)
    assert (error.value.code, error.value.argument) == ("header-field-overflow", "extended_header")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "calibration"),
    [("CELLA", {"scale": 1e39}), ("ORIGIN", {"scale": 1.0, "offset": 1e40})],
)
def test_calibration_too_large_for_the_header_is_an_error(tmp_path, field, calibration):
    axes = [{"name": name, "size": 4, "units": "Å", **calibration} for name in "yx"]
    with pytest.raises(ArgumentError, match=f"{field} = ") as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", np.ones((4, 4), "float32"), axes=axes)
    assert error.value.code == "header-field-overflow"
    assert list(tmp_path.iterdir()) == []


def test_voltage_too_large_for_the_header_is_an_error(tmp_path):
    beam = {"Acquisition_instrument": {"TEM": {"beam_energy": 1e300}}}
    with pytest.raises(ArgumentError, match="voltage, C3 and gain = 1e") as error:
        mrcdist.write_mrc(tmp_path / "a.mrcz", counting((2, 4, 5), "int16"), metadata=beam)
    assert error.value.code == "header-field-overflow"
    assert list(tmp_path.iterdir()) == []


def test_longest_axes_that_fit_the_header_can_be_planned(tmp_path):
    data = da.zeros((TOO_LONG - 1, 1, 1), dtype="int8", chunks=2**27)
    assert mrcdist.plan_write(tmp_path / "a.mrc", data).header.nz == TOO_LONG - 1


def test_file_in_a_sequential_store_is_written_by_one_task():
    array = da.from_array(counting((8, 16, 16), "int16"), chunks=(2, -1, -1))
    plan = mrcdist.plan_write("memory://estimate/a.mrc", array)
    estimate = plan.explain()
    assert (estimate.tasks, estimate.requests) == (1, 0)
    assert "one task writes the file" in str(estimate)
    assert "statistics are marked as undetermined" in str(estimate)
    assert len(plan.delayed().dask) == 1


def test_file_on_a_disk_is_written_by_one_task_per_block(tmp_path):
    array = da.zeros((4, 1024, 1024), chunks=(1, -1, -1), dtype="int16")
    estimate = mrcdist.plan_write(tmp_path / "a.mrc", array).explain()
    assert estimate.tasks == 4
    assert "one task" not in str(estimate)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("chunks", "options"),
    [
        ((4, -1, -1), {}),
        ((3, 40, 50), {}),
        ((3, 40, 50), {"dtype": "uint4"}),
        ((3, 40, 50), {"compressor": "zstd"}),
    ],
)
def test_each_block_of_the_written_array_is_computed_once(tmp_path, chunks, options, resume):
    calls, lock = Counter(), threading.Lock()

    def computed(block, block_info=None):
        with lock:
            calls[tuple(block_info[0]["chunk-location"])] += 1
        return block

    numbers = counting((8, 64, 64), "int16") % 16
    array = da.from_array(numbers, chunks=chunks).map_blocks(
        computed, dtype="int16", meta=np.empty((0, 0, 0), "int16"), name="computed"
    )
    with dask.config.set(scheduler="threads"):
        report = mrcdist.write_mrc(tmp_path / "a.mrc", array, resume=resume, **options)
    assert calls == dict.fromkeys(np.ndindex(array.numblocks), 1)
    assert report.statistics == pytest.approx(statistics(numbers))
    [data] = mrcdist.read_mrc(tmp_path / "a.mrc", distributed=False)
    np.testing.assert_array_equal(data["data"], numbers)


class TestAuxiliaryFilesOfOverwrittenData:
    """Sidecars and tilt angles next to a file that is overwritten."""

    @pytest.mark.filterwarnings("ignore:.*cannot be stored in the header")
    @pytest.mark.parametrize("frames", [5, 24])  # 24: as many as the scan has points
    @pytest.mark.parametrize("units", ["nm", "nm^-1"])
    def test_sidecar_is_replaced_when_its_scan_is_overwritten(self, tmp_path, frames, units):
        path = tmp_path / "20260102_00001_movie.mrc"
        mrcdist.write_mrc(path, counting((4, 6, 8, 8), "uint16"))
        stack = counting((frames, 8, 8), "uint16")
        axes = [{"name": "n"}, *({"name": "", "scale": 0.5, "units": units},) * 2]
        mrcdist.write_mrc(path, stack, axes=axes, overwrite=True)
        [data] = mrcdist.read_mrc(path)
        [theirs] = rosettasciio_reader(str(path))
        np.testing.assert_array_equal(data["data"], stack)
        np.testing.assert_array_equal(theirs["data"], stack)
        assert [(axis["scale"], axis["units"]) for axis in data["axes"][1:]] == [(0.5, units)] * 2

    def test_sidecar_that_is_kept_causes_a_warning(self, tmp_path):
        (tmp_path / "a_info.txt").write_text("Scan - Enable = Disable\n")
        with pytest.warns(mrcdist.MrcdistWarning, match="a_info.txt next to it is kept"):
            mrcdist.write_mrc(tmp_path / "a_movie.mrc", counting((5, 8, 8), "uint16"))

    @pytest.mark.filterwarnings("ignore:.*cannot be stored in the header")
    def test_replaced_sidecar_keeps_the_settings_of_the_microscope(self, tmp_path):
        path, sidecar = tmp_path / "a_movie.mrc", tmp_path / "a_info.txt"
        mrcdist.write_mrc(path, counting((4, 6, 8, 8), "uint16"))
        settings = (
            "Instrument Accelerating Voltage (V) = 200000\nFrames Per Second = 40\nµ = \u03bc\n"
        )
        sidecar.write_text(sidecar.read_text() + settings, encoding="utf-8")
        mrcdist.write_mrc(path, counting((5, 8, 8), "uint16"), overwrite=True)
        [data] = mrcdist.read_mrc(path)
        assert data["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] == 200
        assert data["axes"][0]["scale"] == 1  # the frame rate of the replaced data is not used
        assert data["original_metadata"]["de_metadata"]["µ"] == "\u03bc"

    @pytest.mark.filterwarnings("ignore:.*cannot be stored in the header")
    @pytest.mark.parametrize(
        ("others", "scan", "movie_exists"),
        [
            (["20260102_00001_0_movie.mrc", "20260102_00001_1_movie.mrc"], True, True),
            (["20260102_00001_0_movie.mrc"], True, False),
            (["20260102_00001_ext1_BF.mrc"], True, True),
            ([], True, False),
            ([], False, True),
        ],
        ids=["parts", "parts-alone", "image", "no-movie", "no-scan"],
    )
    def test_sidecar_is_kept_unless_it_belongs_only_to_the_overwritten_scan(
        self, tmp_path, others, scan, movie_exists
    ):
        path, sidecar = (tmp_path / f"20260102_00001_{end}" for end in ("movie.mrc", "info.txt"))
        mrcdist.write_mrc(path, counting((4, 6, 8, 8), "uint16"))
        for name in others:
            (tmp_path / name).write_bytes(path.read_bytes())
        if not scan:
            sidecar.write_text("Scan - Enable = Disable\nFrames Per Second = 40\n")
        if not movie_exists:
            path.unlink()
        before = sidecar.read_bytes()
        with pytest.warns(mrcdist.MrcdistWarning, match="info.txt next to it is kept"):
            mrcdist.write_mrc(path, counting((8, 8), "float32"), overwrite=True)
        assert sidecar.read_bytes() == before

    def test_scan_whose_sidecar_belongs_to_parts_of_another_scan_is_refused(self, tmp_path):
        path, sidecar = (tmp_path / f"20260102_00001_{end}" for end in ("movie.mrc", "info.txt"))
        scan = counting((4, 6, 8, 8), "uint16")
        mrcdist.write_mrc(path, scan)
        path.rename(tmp_path / "20260102_00001_0_movie.mrc")
        before = sidecar.read_bytes()
        with pytest.raises(ArgumentError, match=r"belongs to 20260102_00001_0_movie\.mrc") as error:
            mrcdist.write_mrc(path, scan[:2], overwrite=True)
        assert error.value.code == "destination-exists"
        assert sidecar.read_bytes() == before
        assert not path.exists()
        mrcdist.write_mrc(path, scan, overwrite=True)  # the same scan is accepted

    def test_tilt_angles_that_are_kept_cause_a_warning(self, tmp_path):
        (tmp_path / "a.rawtlt").write_text("0\n1\n2\n")
        with pytest.warns(mrcdist.MrcdistWarning, match="a.rawtlt next to it is kept"):
            mrcdist.write_mrc(tmp_path / "a.mrc", counting((3, 8, 8), "uint16"))

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("kept", ["a.mrc.mdoc", "a.mdoc", "a.tlt", "a_TLT.txt"])
    def test_kept_tilt_angles_that_readers_prefer_to_written_ones_cause_a_warning(
        self, tmp_path, kept
    ):
        angles = "".join(f"[ZValue = {z}]\nTiltAngle = {10 * z}\n" for z in range(3))
        (tmp_path / kept).write_text(angles if kept.endswith(".mdoc") else "0\n10\n20\n")
        axes = [{"name": "tilt", "scale": 2.0, "units": "deg"}, {"name": "y"}, {"name": "x"}]
        noted = nullcontext()
        if kept.endswith(".mdoc"):
            noted = pytest.warns(mrcdist.MrcdistWarning, match=f"{kept} next to it is kept")
        with noted:
            mrcdist.write_mrc(tmp_path / "a.mrc", counting((3, 8, 8), "uint16"), axes=axes)
        preferred = mrcdist.plan_mrc(tmp_path / "a.mrc").tilts.source
        assert preferred == (kept if kept.endswith(".mdoc") else "a.rawtlt")

    @pytest.mark.filterwarnings("error")
    def test_overwriting_a_scan_and_its_sidecar_causes_no_warning(self, tmp_path):
        for _ in range(2):
            scan = counting((4, 6, 8, 8), "uint16")
            mrcdist.write_mrc(tmp_path / "a_movie.mrc", scan, overwrite=True)


@pytest.mark.parametrize("as_dask", [False, True])
def test_masked_arrays_are_an_error(tmp_path, as_dask):
    masked = np.ma.masked_equal(counting((3, 4, 5), "int16"), 7)
    data = da.from_array(masked, chunks=(1, 4, 5)) if as_dask else masked
    with pytest.raises(ArgumentError, match="masked array") as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", data)
    assert error.value.code == "data-not-writable"
    mrcdist.write_mrc(tmp_path / "a.mrc", masked.filled(0))


@pytest.mark.parametrize("url", ["a.mrc", "memory://masked/a.mrc"])
def test_masked_blocks_returned_by_tasks_are_an_error(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    numbers = da.from_array(counting((3, 4, 5), "int16"), chunks=(1, 4, 5))
    masked = numbers.map_blocks(
        lambda block: np.ma.masked_equal(block, 7), meta=np.empty((0, 0, 0), "int16")
    )
    with pytest.raises(ArgumentError, match="masked array"):
        mrcdist.write_mrc(url, masked, statistics=False)
    assert list(tmp_path.iterdir()) == []


def test_colours_cannot_be_written(tmp_path):
    raw = header_bytes(nx=8, ny=6, nz=3, mode=16) + bytes(range(144)) * 3
    (tmp_path / "rgb.mrc").write_bytes(raw)
    [data] = mrcdist.read_mrc(tmp_path / "rgb.mrc")
    assert data["data"].shape == (3, 6, 8, 3)
    with pytest.raises(ArgumentError, match="axis of colours") as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", data)
    assert error.value.code == "data-not-writable"
    assert not (tmp_path / "a.mrc").exists()


def test_arrays_in_metadata_that_cannot_be_stored_cause_a_warning(tmp_path):
    metadata = {"Sample": {"positions": np.arange(3.0), "none": None, "empty": ""}}
    data = {"data": counting((3, 4, 5), "int16"), "metadata": metadata}
    with pytest.warns(
        mrcdist.MrcdistWarning, match=r"cannot be stored in the file: Sample.positions$"
    ):
        mrcdist.write_mrc(tmp_path / "a.mrc", data)
    np.testing.assert_array_equal(mrcdist.read_mrc(tmp_path / "a.mrc")[0]["data"], data["data"])


def test_invalid_byte_order_is_an_error_before_anything_is_computed(tmp_path):
    def fail(block):
        raise AssertionError("computed")

    data = da.zeros((3, 4, 5), chunks=1, dtype="int16").map_blocks(fail, meta=np.empty((0, 0, 0)))
    with pytest.raises(ArgumentError) as error:
        mrcdist.write_mrc(tmp_path / "a.mrc", data, byteorder="big")
    assert (error.value.code, error.value.argument) == ("byte-order-invalid", "byteorder")
