"""Decoding of extended headers, built byte by byte from the published layouts.

FEI1 and FEI2 are tested in test_extended_fei.py.
"""

import struct

import numpy as np
import pytest

import mrcdist
from mrcdist.format.extended.registry import (
    bytes_needed,
    extended_metadata,
    section_pixel_size,
    tilt_angles,
)
from tests.support.extended_headers import decode, identify, tem
from tests.support.mrc_files import header_bytes


def old_fei_record(order="<", a_tilt=0.0, pixel=0.0, magnification=0.0, ht=0.0, exposure=0.0):
    values = [
        a_tilt,
        0.5,
        1e-5,
        2e-5,
        3e-5,
        0,
        0,
        -4e-6,
        exposure,
        123.0,
        85.0,
        pixel,
        magnification,
        ht,
    ]
    return struct.pack(order + "14f", *values).ljust(128, b"\0")


class TestOldFeiBlock:
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_old_fei_block_is_decoded_up_to_the_number_of_sections(self, order):
        records = [
            old_fei_record(order, a, pixel=5e-10, magnification=5e4, ht=2e5, exposure=0.25)
            for a in (-1.0, 0.0, 1.0)
        ]
        raw = b"".join(records).ljust(131072, b"\0")
        decoders = identify("", 131072, 3, nreal=32)
        assert decoders[0].kind == "FEI"
        assert bytes_needed(decoders) == 384
        header = decode("", raw, 3, order=order, nreal=32)
        assert header.notes == ()
        np.testing.assert_array_equal(tilt_angles(header), [-1.0, 0.0, 1.0])
        assert section_pixel_size(header) == pytest.approx((0.5, 0.5))
        metadata = tem(header)
        assert metadata.pop("Stage") == pytest.approx(
            {"tilt_beta": 0.5, "x": 0.01, "y": 0.02, "z": 0.03}
        )
        assert metadata.pop("Detector") == {"Camera": {"exposure": 0.25}}
        assert metadata == pytest.approx(
            {"beam_energy": 200.0, "magnification": 5e4, "defocus": -4000.0}
        )
        np.testing.assert_array_equal(header.columns["mean_int"], [123.0] * 3)
        np.testing.assert_array_equal(header.columns["tilt_axis"], [85.0] * 3)

    @pytest.mark.parametrize(
        ("nsymbt", "n_sections", "name"),
        [
            (131072, 1, "FEI"),
            (131072, 1024, "FEI"),
            (131072, 1025, "unknown"),
            (1048576, 1025, "FEI"),
            (1048576, 1024, "unknown"),
            (131071, 1, "unknown"),
        ],
    )
    def test_old_fei_block_is_identified_by_its_size(self, nsymbt, n_sections, name):
        assert identify("", nsymbt, n_sections)[0].kind == name

    def test_pixel_size_above_1_m_is_ignored_with_a_note(self):
        header = decode("", old_fei_record(pixel=2.5).ljust(131072, b"\0"), 1)
        assert section_pixel_size(header) is None
        assert header.notes[0].startswith("pixel_size is 2.5 in the extended header")

    def test_high_tension_too_small_for_volts_is_ignored_with_a_note(self):
        header = decode("", old_fei_record(ht=300.0).ljust(131072, b"\0"), 1)
        assert "beam_energy" not in tem(header)
        assert header.notes[0].startswith("ht is 300 in the extended header")

    @pytest.mark.parametrize("word", [struct.pack("<f", 361), struct.pack("<f", np.nan), b"    "])
    def test_block_of_the_size_of_an_old_fei_header_with_foreign_bytes_is_not_decoded(self, word):
        raw = word * 32768
        header = decode("", raw, 2)
        assert (header.n_records, dict(header.columns)) == (0, {})
        assert "cannot be tilts" in header.notes[0]
        assert tilt_angles(header) is None

    def test_blank_records_give_no_tilt_angles(self):
        header = decode("", bytes(131072), 2)
        assert tilt_angles(header) is None
        assert extended_metadata(header) == {}
        assert "2 of 2 records of the FEI extended header are blank" in header.notes


def test_serialem_record_with_all_fields_is_decoded():
    # NREAL 63: tilt, piece x y z, stage x y, magnification, intensity, dose as two shorts.
    first = (-6000, 10, -20, 3, 250, -500, 290, 12500)
    record = struct.pack("<8h", *first) + struct.pack("<2h", 150, -1 * (7 * 256 + 64))
    other = struct.pack("<8h", 6000, *first[1:]) + struct.pack("<2h", -150, 2 * 256 + 64)
    header = decode("SERI", record + other, 2, nint=20, nreal=63)
    assert header.notes == ()
    assert header.kind == "SERI"
    np.testing.assert_allclose(tilt_angles(header), [-60.0, 60.0])
    expected = {
        "tilt_angle": [-60.0, 60.0],
        "piece_x": [10, 10],
        "piece_y": [-20, -20],
        "piece_z": [3, 3],
        "stage_x": [10.0, 10.0],
        "stage_y": [-20.0, -20.0],
        "magnification": [29000.0, 29000.0],
        "intensity": [0.5, 0.5],
        "exposure_dose": [(150 * 256 + 64) / 2**7, -(150 * 256 + 64) * 2**2],
    }
    assert list(header.columns) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(header.columns[name], values)
    metadata = tem(header)
    assert metadata.pop("Stage") == pytest.approx({"x": 0.01, "y": -0.02})
    # A negative dose is ignored, so the other one is common to all sections.
    assert metadata == pytest.approx({"magnification": 29000.0, "dose": 300.5})


def test_serialem_records_have_the_byte_order_of_the_main_header():
    header = decode("SERI", struct.pack(">2h", 4500, -4500), 2, order=">", nint=2, nreal=1)
    np.testing.assert_allclose(tilt_angles(header), [45.0, -45.0])


@pytest.mark.parametrize(
    ("bit", "size"),
    [(0, 2), (1, 6), (2, 4), (3, 2), (4, 2), (5, 4), (6, 2), (7, 4), (8, 2), (9, 4), (10, 2)],
)
def test_serialem_fields_must_have_the_documented_sizes(bit, size):
    """Bits 0 to 10 of NREAL, from IMOD's description. NINT must equal the sum of the sizes."""
    tilt = struct.pack("<h", 1000)
    if bit:
        nint, nreal, record = 2 + size, 1 << bit | 1, tilt + bytes(size)
    else:
        nint, nreal, record = size, 1, tilt
    np.testing.assert_allclose(
        tilt_angles(decode("SERI", record * 3, 3, nint=nint, nreal=nreal)), [10.0] * 3
    )
    wrong = decode("SERI", record * 3, 3, nint=nint + 2, nreal=nreal)
    assert (wrong.n_records, tilt_angles(wrong)) == (0, None)
    assert "do not add up" in wrong.notes[0]


@pytest.mark.parametrize(
    ("nint", "nreal", "nsymbt", "name"),
    [
        (2, 1, 6, "SERI"),
        (2, 1, 5, "unknown"),  # too short for three sections
        (4, 1, 60, "unknown"),
        (0, 0, 60, "unknown"),
        (2, -1, 60, "unknown"),
        (2, 1 | 1 << 11, 60, "unknown"),
    ],
)
def test_header_without_exttyp_is_serialem_only_if_its_sizes_add_up(nint, nreal, nsymbt, name):
    assert identify("", nsymbt, 3, nint, nreal)[0].kind == name


@pytest.mark.parametrize("order", ["<", ">"])
def test_agard_record_consists_of_integers_and_reals(order):
    raw = struct.pack(order + "2i3f", -1, 2, 0.5, 1.5, 2.5) + struct.pack(
        order + "2i3f", 7, 8, 9, 10, 11
    )
    header = decode("AGAR", raw + bytes(40), 2, order=order, nint=2, nreal=3)
    assert (header.n_records, header.notes) == (2, ())
    np.testing.assert_array_equal(header.columns["integers"], [[-1, 2], [7, 8]])
    np.testing.assert_array_equal(header.columns["reals"], [[0.5, 1.5, 2.5], [9, 10, 11]])
    assert extended_metadata(header) == {}
    np.testing.assert_array_equal(tilt_angles(header), [0.5, 9.0])  # the first float
    assert section_pixel_size(header) is None  # would be the 12th float, but there are only 3


def test_agard_header_without_numbers_causes_a_note():
    header = decode("AGAR", bytes(40), 2, nint=0, nreal=0)
    assert header.n_records == 0
    assert "NINT = 0 and NREAL = 0 describe no record" in header.notes[0]


def test_ccp4_symmetry_is_decoded_to_lines_of_text():
    raw = b"X,  Y,  Z".ljust(80) + b"-X,  Y+1/2,  -Z".ljust(80)
    assert len(raw) == 160
    header = decode("CCP4", raw, 20)
    assert header.text == ("X,  Y,  Z", "-X,  Y+1/2,  -Z")
    assert (header.n_records, dict(header.columns), header.notes) == (0, {}, ())


@pytest.mark.parametrize("exttyp", ["MRCO", "HDF5", "ABCD"])
def test_note_on_an_undecoded_kind_states_its_size(exttyp):
    header = decode(exttyp, bytes(2048), 3)
    assert header.n_records == 0
    assert header.notes == (f"the extended header (2048 bytes, of kind '{exttyp}') is not decoded",)


def test_unknown_kind_causes_a_note():
    header = decode("", bytes(2048), 3)
    assert header.kind == "unknown"
    assert header.notes == ("the extended header (2048 bytes, of unknown kind) is not decoded",)


@pytest.mark.parametrize("exttyp", ["", "FEI1", "CCP4"])
def test_empty_extended_header_has_no_decoders(exttyp):
    assert identify(exttyp, 0, 1, nint=2, nreal=1) == ()


@pytest.mark.filterwarnings("ignore:.*mark no field:mrcdist.MrcdistWarning")
def test_records_beyond_64_mib_are_skipped_with_a_warning(tmp_path):
    sections = 90_000
    path = tmp_path / "long.mrc"
    record = struct.pack("<i", 768).ljust(768, b"\0")
    header = header_bytes(nx=1, ny=1, nz=sections, mode=0, nsymbt=768 * sections, exttyp=b"FEI1")
    path.write_bytes(header + record * sections + bytes(sections))
    with pytest.warns(mrcdist.MrcdistWarning, match="of the first 87381 of 90000 sections"):
        plan = mrcdist.plan_mrc(path)
    assert plan.extended.n_records == 64 * 2**20 // 768
    assert plan.layout.n_frames == sections
