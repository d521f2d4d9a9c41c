"""Header fields of the source are carried over to a copy, a crop or a binned copy."""

from __future__ import annotations

import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcdist
from mrcdist.errors import ArgumentError, MrcdistWarning
from mrcdist.format.encode import encode_header
from mrcdist.format.header import parse_header
from tests.support.mrc_files import counting, mrc_bytes

NUMBERS = counting((3, 4, 6), "int16")
ANGLES = (80.0, 95.5, 120.0)


def read_file_with(folder, numbers=NUMBERS, *, angles=ANGLES, **fields):
    """Read a file that has these header fields."""
    raw = bytearray(mrc_bytes(numbers, **fields))
    struct.pack_into("<3f", raw, 52, *angles)
    path = folder / "read.mrc"
    path.write_bytes(raw)
    [data] = mrcdist.read_mrc(path, distributed=False)
    return data


def header_of_copy(folder, data, **options):
    """Write a copy; return its header fields by name, and the codes of its notes."""
    path = folder / "copy.mrc"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = mrcdist.write_mrc(path, data, overwrite=True, **options)
    messages = [str(one.message) for one in caught if issubclass(one.category, MrcdistWarning)]
    assert len(messages) == len(report.notes)
    raw = path.read_bytes()
    return {
        "start": struct.unpack("<3i", raw[16:28]),
        "intervals": struct.unpack("<3i", raw[28:40]),
        "cell": struct.unpack("<3f", raw[40:52]),
        "angles": struct.unpack("<3f", raw[52:64]),
        "order": struct.unpack("<3i", raw[64:76]),
        "ispg": struct.unpack("<i", raw[88:92])[0],
        "origin": struct.unpack("<3f", raw[196:208]),
        "codes": [note.code for note in report.notes],
    }


CRYSTAL = {
    "start": (5, -2, 7), "intervals": (20, 10, 12), "cell": (40.0, 30.0, 36.0),
    "mapcrs": (3, 1, 2), "ispg": 19,
}  # fmt: skip


def test_copy_of_a_crystal_map_keeps_space_group_cell_and_start(tmp_path):
    header = header_of_copy(tmp_path, read_file_with(tmp_path, **CRYSTAL))
    assert header == {
        "start": (5, -2, 7), "intervals": (20, 10, 12), "cell": (40.0, 30.0, 36.0),
        "angles": ANGLES, "order": (3, 1, 2), "ispg": 19, "origin": (0.0, 0.0, 0.0), "codes": [],
    }  # fmt: skip


def test_crop_of_a_crystal_map_has_another_start_in_the_same_cell(tmp_path):
    read_file_with(tmp_path, **CRYSTAL)
    [data] = mrcdist.read_mrc(tmp_path / "read.mrc", distributed=False)
    data["data"] = data["data"][1:, :, 2:5]
    for axis, (first, size) in zip(data["axes"], ((1, 2), (0, 4), (2, 3)), strict=True):
        axis["offset"] += first * axis["scale"]
        axis["size"] = size
    header = header_of_copy(tmp_path, data)
    assert (header["start"], header["origin"]) == ((7, -2, 8), (0.0, 0.0, 0.0))
    assert (header["intervals"], header["cell"]) == ((20, 10, 12), (40.0, 30.0, 36.0))


def test_transposed_map_keeps_the_start_of_each_axis(tmp_path):
    data = read_file_with(tmp_path, **CRYSTAL)
    data["data"] = data["data"].transpose(2, 0, 1)
    data["axes"] = [{**data["axes"][i], "navigate": i == 2} for i in (2, 0, 1)]
    header = header_of_copy(tmp_path, data, kind="volume")
    # Columns became sections, sections became rows, rows became columns.
    assert (header["order"], header["start"]) == ((1, 2, 3), (-2, 7, 5))
    assert header["intervals"] == (20, 10, 12)


def test_binned_map_keeps_the_cell_but_not_the_start(tmp_path):
    data = read_file_with(tmp_path, **CRYSTAL)
    data["data"] = data["data"][:, ::2, ::2]
    for axis in data["axes"][1:]:
        axis["scale"] *= 2
        axis["size"] //= 2
    header = header_of_copy(tmp_path, data)
    # Columns are along Z, rows along X.
    assert (header["intervals"], header["cell"]) == ((10, 10, 6), (40.0, 30.0, 36.0))
    assert (header["start"][:2], header["codes"]) == ((0, 0), ["start-not-stored"])


@settings(max_examples=40)
@given(
    start=st.tuples(*[st.integers(-1000, 1000)] * 3),
    origin=st.tuples(*[st.sampled_from([0.0, -7.5, 120.0])] * 3),
    first=st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 5)),
    ispg=st.sampled_from([1, 4, 150]),
    imod_flags=st.sampled_from([None, 0, 4]),  # 0 reverses the sign of the origin
)
def test_crop_keeps_the_positions_of_pixels(tmp_path_factory, first, **fields):
    folder = tmp_path_factory.mktemp("start")
    fields |= {"cell": (12.0, 12.0, 9.0), "nversion": 0}
    data = read_file_with(folder, **fields)
    data["data"] = data["data"][first[0] :, first[1] :, first[2] :]
    for axis, skipped, size in zip(data["axes"], first, data["data"].shape, strict=True):
        axis["offset"] += skipped * axis["scale"]
        axis["size"] = size
    plan = mrcdist.plan_write(folder / "copy.mrc", data)
    header = parse_header(encode_header(plan.header, None), file_size=None)
    for stored, axis in enumerate(reversed(data["axes"])):
        assert header.offset(stored) == pytest.approx(10 * axis["offset"], abs=1e-3)
    assert header.start == tuple(
        start and start + skipped
        for start, skipped in zip(fields["start"], reversed(first), strict=True)
    )
    assert header.ispg == fields["ispg"]
    assert plan.notes == ()


def test_copy_of_a_stack_of_images_keeps_start_and_origin(tmp_path):
    fields = {"start": (3, 4, 5), "intervals": (6, 4, 1), "cell": (12.0, 8.0, 2.0)}
    header = header_of_copy(tmp_path, read_file_with(tmp_path, origin=(0.0, 0.0, -9.0), **fields))
    assert header["start"] == (3, 4, 5)
    assert (header["cell"], header["ispg"]) == ((12.0, 8.0, 2.0), 0)
    assert header["origin"] == (0.0, 0.0, -9.0)


@pytest.mark.parametrize(("ispg", "mz"), [(1, 6), (90, 6), (430, 3)])
def test_copy_of_an_uncalibrated_volume_keeps_its_space_group(tmp_path, ispg, mz):
    numbers = counting((6, 4, 6), "int16")
    header = header_of_copy(
        tmp_path, read_file_with(tmp_path, numbers, ispg=ispg, intervals=(6, 4, mz))
    )
    assert (header["ispg"], header["intervals"]) == (ispg, (6, 4, mz))


def test_section_of_a_volume_causes_a_note_about_the_space_group(tmp_path):
    data = read_file_with(tmp_path, **CRYSTAL)
    section = {"data": data["data"][0], "axes": data["axes"][1:]}
    header = header_of_copy(tmp_path, {**data, **section})
    assert header["ispg"] == 0
    assert header["codes"] == ["space-group-not-stored", "start-not-stored"]


def test_metadata_that_a_plain_stack_cannot_store_cause_a_warning(tmp_path):
    data = read_file_with(tmp_path)
    data["metadata"]["Acquisition_instrument"] = {"TEM": {"beam_energy": 300.0, "Stage": {"z": 1}}}
    with pytest.warns(MrcdistWarning, match=r"TEM\.Stage\.z, .*TEM\.beam_energy"):
        report = mrcdist.write_mrc(tmp_path / "copy.mrc", data)
    assert [note.code for note in report.notes] == ["metadata-not-stored"]


@pytest.mark.filterwarnings("error")
def test_metadata_stored_in_a_sidecar_cause_no_warning(tmp_path):
    tem = {"beam_energy": 300.0, "magnification": 5e4}
    metadata = {"Acquisition_instrument": {"TEM": tem}}
    mrcdist.write_mrc(tmp_path / "a_movie.mrc", counting((2, 3, 4, 4), "uint16"), metadata=metadata)
    [reloaded] = mrcdist.read_mrc(tmp_path / "a_movie.mrc", distributed=False)
    restored = reloaded["metadata"]["Acquisition_instrument"]["TEM"]
    assert {name: restored[name] for name in tem} == tem


def test_tilt_angles_that_are_not_monotonic_are_written_to_rawtlt(tmp_path):
    (tmp_path / "tilts.mrc").write_bytes(mrc_bytes(counting((5, 4, 6), "int16")))
    (tmp_path / "tilts.rawtlt").write_text("0\n3\n-3\n6\n-6\n")
    [data] = mrcdist.read_mrc(tmp_path / "tilts.mrc", distributed=False)
    report = mrcdist.write_mrc(tmp_path / "copy.mrc", data)
    assert np.loadtxt(tmp_path / "copy.rawtlt").tolist() == [0, 3, -3, 6, -6]
    assert report.notes == ()


@pytest.mark.parametrize(
    ("offset", "struct_format", "value", "missing_field"),
    [
        (160, "<h", 1, "IDTYPE"),
        (170, "<h", -6000, "VD2"),
        (192, "<f", 12.5, "TILTANGLES"),
        (192, "<f", float("nan"), ""),
    ],
)
def test_header_fields_of_imod_that_are_not_stored_cause_a_note(
    tmp_path, offset, struct_format, value, missing_field
):
    data = read_file_with(tmp_path, imod_flags=4)
    assert header_of_copy(tmp_path, data)["codes"] == []
    raw = bytearray((tmp_path / "read.mrc").read_bytes())
    struct.pack_into(struct_format, raw, offset, value)
    (tmp_path / "read.mrc").write_bytes(raw)
    [data] = mrcdist.read_mrc(tmp_path / "read.mrc", distributed=False)
    fields = data["original_metadata"]["std_header"]
    if missing_field:
        assert fields[missing_field] in (value, [0, 0, 0, 0, 0, value])
    assert header_of_copy(tmp_path, data)["codes"] == ["imod-words-not-stored"] * bool(
        missing_field
    )


def test_times_of_a_movie_that_are_not_stored_cause_a_note(tmp_path):
    axes = [{"name": "t", "scale": 0.5, "units": "s"}, {"name": "y"}, {"name": "x"}]
    header = header_of_copy(tmp_path, NUMBERS, axes=axes)
    assert header["codes"] == ["sections-not-calibrated"]
    axes[0] |= {"units": "deg"}  # stored in a file of tilt angles
    assert header_of_copy(tmp_path, NUMBERS, axes=axes)["codes"] == []


def test_crop_of_an_uncalibrated_stack_shifts_the_start(tmp_path):
    data = read_file_with(tmp_path, start=(5, -2, 7), cell=(0.0, 0.0, 0.0))
    data["data"] = data["data"][1:, :, 2:]
    for axis, first, size in zip(data["axes"], (1, 0, 2), data["data"].shape, strict=True):
        axis["offset"] += first
        axis["size"] = size
    header = header_of_copy(tmp_path, data)
    assert (header["start"], header["codes"]) == ((7, -2, 8), [])


def test_pixels_of_another_unit_or_at_uneven_positions_have_no_start(tmp_path):
    data = read_file_with(tmp_path, start=(5, -2, 7), cell=(0.0, 0.0, 0.0))
    data["axes"][1]["units"] = "nm^-1"
    data["axes"][2]["axis"] = [0, 1, 2, 3, 4, 6]
    header = header_of_copy(tmp_path, data)
    assert header["start"] == (0, 0, 7)
    assert "start-not-stored" in header["codes"]


def test_tilt_series_keeps_the_start_of_its_sections(tmp_path):
    data = read_file_with(tmp_path, start=(0, 0, 7))
    data["axes"][0] |= {"name": "tilt", "scale": 2.0, "offset": -2.0, "units": "deg"}
    header = header_of_copy(tmp_path, data)
    assert (header["start"], header["codes"]) == ((0, 0, 7), [])


def test_scan_of_several_axes_has_no_start_of_sections(tmp_path):
    data = read_file_with(tmp_path, counting((4, 4, 6), "int16"), start=(0, 0, 7))
    frames = data["data"].reshape(2, 2, 4, 6)
    header = header_of_copy(
        tmp_path, {"data": frames, "original_metadata": data["original_metadata"]}
    )
    assert header["start"] == (0, 0, 0)
    assert "start-not-stored" in header["codes"]


def test_data_moved_to_the_origin_have_no_start(tmp_path):
    """NSTART without ORIGIN would be another position."""
    data = read_file_with(tmp_path, start=(5, 0, 0), origin=(10.0, 0.0, 0.0), cell=(12.0, 8.0, 6.0))
    assert header_of_copy(tmp_path, data)["start"] == (5, 0, 0)
    data["axes"][2]["offset"] = 0.0
    header = header_of_copy(tmp_path, data)
    assert (header["start"], header["origin"]) == ((0, 0, 0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("kind", "shape"), [("cube", (2, 3, 4)), ("volume", (2, 2, 3, 4)), ("volumes", (2, 3, 4))]
)
def test_kind_that_the_axes_do_not_allow_is_refused(tmp_path, kind, shape):
    with pytest.raises(ArgumentError) as caught:
        mrcdist.plan_write(tmp_path / "a.mrc", counting(shape, "int16"), kind=kind)
    assert (caught.value.code, caught.value.argument) == ("kind-invalid", "kind")


@pytest.mark.parametrize("labels", [["x"] * 10, ["x" * 81], ["a\nb"], ["µ"]])
def test_labels_that_the_header_cannot_store_are_refused(tmp_path, labels):
    """One of its ten labels of 80 characters is that of mrcdist."""
    with pytest.raises(ArgumentError) as caught:
        mrcdist.plan_write(tmp_path / "a.mrc", NUMBERS, labels=labels)
    assert (caught.value.code, caught.value.argument) == ("labels-invalid", "labels")


def test_spacing_of_sections_is_kept_by_stacks_and_single_images_but_not_by_scans(tmp_path):
    data = read_file_with(
        tmp_path, counting((4, 4, 6), "int16"), cell=(12.0, 8.0, 8.0), intervals=(6, 4, 4)
    )
    for shape, spacing in (((4, 4, 6), 2), ((4, 6), 2), ((2, 2, 4, 6), 0)):
        frames = data["data"].ravel()[: np.prod(shape)].reshape(shape)
        copy = {"data": frames, "original_metadata": data["original_metadata"]}
        assert header_of_copy(tmp_path, copy)["cell"][2] == spacing


def test_start_that_exceeds_32_bits_is_not_stored(tmp_path):
    data = read_file_with(tmp_path, start=(2**31 - 2, 0, 0), cell=(0.0, 0.0, 0.0))
    assert header_of_copy(tmp_path, data)["start"] == (2**31 - 2, 0, 0)
    data["axes"][2]["offset"] += 2
    header = header_of_copy(tmp_path, data)
    assert (header["start"], header["codes"]) == ((0, 0, 0), ["start-not-stored"])
