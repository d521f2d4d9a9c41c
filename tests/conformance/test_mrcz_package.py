"""Calibration, voltage and JSON of files by the mrcz package, which HyperSpy uses too.

Most files are built byte by byte.
"""

from __future__ import annotations

import json
import struct

import blosc
import mrcz
import numpy as np
import pytest
from click.testing import CliRunner

import mrcdist
from mrcdist.cli import main
from mrcdist.errors import MrcdistWarning
from mrcdist.validate.report import validate
from tests.support.mrc_files import counting, header_bytes

NUMBERS = counting((3, 6, 8), "int16")
LABEL = b"MRCZ0.6.0"
# 1 nm, 0.5 nm and 0.25 nm along z, y, x, in Å, times the number of pixels.
CELL = (8 * 2.5, 6 * 5.0, 3 * 10.0)


def mrcz_bytes(
    numbers=NUMBERS,
    *,
    codec=0,
    byteorder="<",
    document=None,
    instrument=(0.0, 0.0, 1.0),
    slices=0,
    text=None,
    **fields,
):
    """Build a file as mrcz does: MX = MY = 0, MZ is the slices per frame, cell is sizes × pixels.

    `instrument` is voltage, C3 and gain.
    """
    nz, ny, nx = numbers.shape
    extended = text if text is not None else b""
    if document is not None:
        extended = json.dumps(document).encode()
    fields = {"labels": (LABEL,), "exttyp": b"json" if extended else b"", "cell": CELL, **fields}
    raw = bytearray(
        header_bytes(
            nx=nx,
            ny=ny,
            nz=nz,
            mode=1000 * codec + 1,
            byteorder=byteorder,
            intervals=(0, 0, slices),
            nversion=0,
            nsymbt=len(extended),
            **fields,
        )
    )
    struct.pack_into(byteorder + "3f", raw, 132, *instrument)
    stored = numbers.astype(byteorder + "i2")
    if codec:
        sections = (blosc.compress(section.tobytes(), 2, cname="zstd") for section in stored)
        return bytes(raw) + extended + b"".join(sections)
    return bytes(raw) + extended + stored.tobytes()


def load(tmp_path, raw):
    path = tmp_path / "a.mrcz"
    path.write_bytes(raw)
    [ds] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(ds["data"].compute(), NUMBERS)
    json.dumps(ds["metadata"], allow_nan=False)
    json.dumps(ds["original_metadata"], allow_nan=False)
    return ds


def calibration(ds):
    return [(axis["name"], pytest.approx(axis["scale"]), axis["units"]) for axis in ds["axes"]]


CALIBRATED = [("z", 1.0, "nm"), ("y", 0.5, "nm"), ("x", 0.25, "nm")]
UNCALIBRATED = [("z", 1.0, None), ("y", 1.0, None), ("x", 1.0, None)]


@pytest.mark.parametrize("codec", [0, 6])
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("slices", [0, 1, 3])
def test_pixel_size_is_the_edge_of_the_cell_divided_by_the_pixels(
    tmp_path, codec, byteorder, slices
):
    ds = load(tmp_path, mrcz_bytes(codec=codec, byteorder=byteorder, slices=slices))
    assert calibration(ds) == CALIBRATED
    std = ds["original_metadata"]["std_header"]
    assert (std["MX"], std["MY"], std["MZ"]) == (0, 0, slices)  # as stored


@pytest.mark.parametrize(
    ("codec", "fields", "expected"),
    [
        (6, {"labels": ()}, CALIBRATED),  # MODE alone identifies mrcz
        (0, {"labels": (), "document": {}}, CALIBRATED),  # so does EXTTYP
        (0, {"labels": (b"other", LABEL)}, UNCALIBRATED),  # the label was copied from another file
        (0, {"labels": ()}, UNCALIBRATED),  # any program may leave MX at 0
        (0, {"cell": (-20.0, -30.0, 0.0)}, UNCALIBRATED),
        (0, {"cell": (0.0, 0.0, 0.0)}, UNCALIBRATED),
    ],
)
def test_pixel_size_is_read_only_if_the_file_is_identified_as_by_mrcz(
    tmp_path, codec, fields, expected
):
    assert calibration(load(tmp_path, mrcz_bytes(codec=codec, **fields))) == expected


def test_stack_of_volumes_has_an_axis_of_volumes(tmp_path):
    numbers = counting((4, 6, 8), "int16")
    path = tmp_path / "volumes.mrcz"
    path.write_bytes(mrcz_bytes(numbers, codec=6, slices=2, ispg=401))
    [data] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(data["data"], numbers.reshape(2, 2, 6, 8))


def test_depth_of_a_volume_does_not_change_the_sampling_of_rows_and_columns(tmp_path):
    """If columns are along Z, MZ is still the number of sections, not of columns."""
    raw = bytearray(mrcz_bytes(counting((4, 6, 8), "int16"), slices=2, ispg=401))
    struct.pack_into("<3i", raw, 64, 3, 1, 2)
    struct.pack_into("<3f", raw, 40, 30.0, 40.0, 160.0)
    (tmp_path / "volumes.mrcz").write_bytes(raw)
    [ds] = mrcdist.read_mrc(tmp_path / "volumes.mrcz")
    assert ds["data"].shape == (2, 2, 6, 8)
    assert calibration(ds)[2:] == [("x", 0.5, "nm"), ("z", 2.0, "nm")]


def test_pixel_size_follows_the_sampling_that_older_versions_wrote(tmp_path):
    raw = bytearray(mrcz_bytes(labels=(b"MRCZ0.4.1",)))
    struct.pack_into("<3i", raw, 28, 16, 12, 6)
    expected = [("z", 1.0, None), ("y", 0.25, "nm"), ("x", 0.125, "nm")]  # images: MZ ≠ NZ
    assert calibration(load(tmp_path, bytes(raw))) == expected


@pytest.mark.parametrize("codec", [0, 6])
@pytest.mark.parametrize("byteorder", "<>")
def test_voltage_and_gain_are_read_into_the_metadata(tmp_path, codec, byteorder):
    ds = load(tmp_path, mrcz_bytes(codec=codec, byteorder=byteorder, instrument=(200.0, 2.5, 4.0)))
    metadata = ds["metadata"]
    assert metadata["Acquisition_instrument"]["TEM"] == {"beam_energy": 200.0}
    model = metadata["Signal"]["Noise_properties"]["Variance_linear_model"]
    assert model == {"gain_factor": 4.0}
    assert ds["original_metadata"]["mrcz_header"] == {"voltage": 200.0, "C3": 2.5, "gain": 4.0}


@pytest.mark.parametrize(
    "instrument", [(0.0, 0.0, 0.0), (-1.0, 0.0, -1.0), (float("nan"), float("inf"), float("nan"))]
)
def test_voltage_and_gain_that_were_never_set_are_left_out(tmp_path, instrument):
    metadata = load(tmp_path, mrcz_bytes(instrument=instrument))["metadata"]
    assert "Acquisition_instrument" not in metadata
    assert metadata["Signal"] == {"signal_type": ""}


def test_voltage_and_gain_are_not_read_from_files_of_other_programs(tmp_path):
    ds = load(tmp_path, mrcz_bytes(labels=(), instrument=(200.0, 2.5, 4.0)))
    assert "Acquisition_instrument" not in ds["metadata"]
    assert "mrcz_header" not in ds["original_metadata"]


DOCUMENT = {
    "General": {
        "title": "specimen é",
        "original_filename": "other.dm4",
        "FileIO": {"0": {"operation": "load"}},
        "authors": "someone",
    },
    "Signal": {"signal_type": "electron_diffraction"},
    "Acquisition_instrument": {"TEM": {"beam_energy": 300.1, "microscope": "Titan"}},
    "Sample": {"elements": ["Fe", "O"]},
    "other": {"kept": [1, 2.5, None, True]},
}


@pytest.mark.parametrize("codec", [0, 6])
@pytest.mark.parametrize("byteorder", "<>")
def test_json_is_merged_into_the_metadata(tmp_path, codec, byteorder):
    instrument = (300.1, 0.0, 1.0)
    ds = load(
        tmp_path,
        mrcz_bytes(codec=codec, byteorder=byteorder, document=DOCUMENT, instrument=instrument),
    )
    metadata = ds["metadata"]
    assert metadata["General"] == {
        "title": "specimen é",
        "original_filename": "a.mrcz",
        "authors": "someone",
    }
    assert metadata["Signal"]["signal_type"] == "electron_diffraction"
    # 300.1 from the JSON, not 300.1000061 from the float32 in the header.
    assert metadata["Acquisition_instrument"]["TEM"] == {
        "beam_energy": 300.1,
        "microscope": "Titan",
    }
    assert metadata["Sample"] == {"elements": ["Fe", "O"]}
    assert "other" not in metadata
    extended_header = ds["original_metadata"]["extended_header"]
    assert extended_header == {"type": "json", "records": {}, "text": [], "json": DOCUMENT}


@pytest.mark.parametrize("document", [{}, {"General": "text", "Signal": 3}, {"a": {"b": 1}}])
def test_json_without_the_branches_of_hyperspy_is_only_in_original_metadata(tmp_path, document):
    ds = load(tmp_path, mrcz_bytes(document=document))
    assert ds["metadata"]["General"] == {"title": "a", "original_filename": "a.mrcz"}
    assert ds["metadata"]["Signal"]["signal_type"] == ""
    assert ds["original_metadata"]["extended_header"]["json"] == document


def test_json_entries_of_wrong_type_do_not_replace_metadata(tmp_path):
    document = {"General": {"title": 5, "notes": "n"}, "Signal": {"signal_type": None}}
    metadata = load(tmp_path, mrcz_bytes(document=document))["metadata"]
    assert metadata["General"]["title"] == "a"
    assert metadata["General"]["notes"] == "n"
    assert metadata["Signal"]["signal_type"] == ""


def test_numbers_in_json_that_are_not_finite_become_none(tmp_path):
    text = b'{"a": NaN, "b": [Infinity, -Infinity, 1e999], "c": 1e3}  \0\0'
    extended_header = load(tmp_path, mrcz_bytes(text=text))["original_metadata"]["extended_header"]
    assert extended_header["json"] == {"a": None, "b": [None, None, None], "c": 1000.0}


@pytest.mark.parametrize(
    "text",
    [
        b"\0" * 40,
        b"no JSON",
        b'{"cut": ',
        b"[1, 2]",
        b"\xff\xfe{}",
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_invalid_json_causes_a_warning(tmp_path, text):
    with pytest.warns(MrcdistWarning, match="json\\) is not decoded"):
        ds = load(tmp_path, mrcz_bytes(text=text))
    assert ds["metadata"]["General"]["title"] == "a"
    assert calibration(ds) == CALIBRATED


def test_json_larger_than_16_mib_is_not_read(tmp_path):
    path = tmp_path / "a.mrcz"
    size = 17 * 2**20
    raw = mrcz_bytes(text=b"{}")
    with path.open("wb") as file:
        file.write(raw[:92] + struct.pack("<i", size) + raw[96:1024])
        file.truncate(1024 + size)
        file.seek(1024 + size)
        file.write(raw[1026:])
    with pytest.warns(MrcdistWarning, match="json\\) is not decoded: more than"):
        [ds] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(ds["data"].compute(), NUMBERS)


@pytest.mark.parametrize("compressor", [None, "zstd", "lz4"])
@pytest.mark.parametrize(
    ("units", "factor"), [("nm", 1.0), ("\\AA", 0.1), ("\\mum", 1000.0), ("pm", 1e-3)]
)
def test_calibration_and_metadata_agree_with_the_mrcz_package(tmp_path, compressor, units, factor):
    path = tmp_path / "a.mrcz"
    mrcz.writeMRC(
        NUMBERS,
        str(path),
        meta={"key": "value"},
        pixelsize=[3.0, 2.0, 1.0],
        pixelunits=units,
        voltage=120.0,
        compressor=compressor,
    )
    ds = load(tmp_path, path.read_bytes())
    theirs = mrcz.readMRC(str(path), pixelunits="nm")[1]
    assert [axis["scale"] for axis in ds["axes"]] == pytest.approx(list(theirs["pixelsize"]))
    assert [axis["scale"] for axis in ds["axes"]] == pytest.approx([3 * factor, 2 * factor, factor])
    assert ds["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] == theirs["voltage"]
    assert ds["original_metadata"]["extended_header"]["json"] == {"key": "value"}


def test_validation_says_that_the_pixel_size_is_stored_as_by_mrcz(tmp_path):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrcz_bytes())
    [sampling] = [finding for finding in validate(path).findings if finding.check == "sampling"]
    assert sampling.severity == "warning"
    assert "mrcz package" in sampling.found


def test_command_info_shows_voltage_and_pixel_size(tmp_path):
    path = tmp_path / "a.mrcz"
    path.write_bytes(mrcz_bytes(instrument=(200.0, 0.0, 1.0)))
    result = CliRunner().invoke(main, ["info", "--json", str(path)])
    report = json.loads(result.output)
    assert report["metadata"]["Acquisition_instrument"]["TEM"]["beam_energy"] == 200.0
    assert report["axes"][-1]["scale"] == pytest.approx(0.25)
