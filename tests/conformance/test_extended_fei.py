"""Decoding of FEI1 and FEI2 records, built byte by byte from the layout in the EPU manual."""

import struct

import numpy as np
import pytest

from mrcdist.format.extended.registry import (
    bytes_needed,
    decode_extended,
    possible_decoders,
    scan_of_sections,
    scan_step,
    section_pixel_size,
    tilt_angles,
)
from mrcdist.format.header import parse_header
from tests.support.extended_headers import decode, identify, tem

# Fields of an FEI record in the EPU manual: offset, struct format, offset of the mask, its bit.
FEI_FIELDS = {
    "microscope": (20, "16s", 8, 1),
    "version": (68, "16s", 8, 4),
    "ht": (84, "d", 8, 5),
    "dose": (92, "d", 8, 6),
    "alpha": (100, "d", 8, 7),
    "beta": (108, "d", 8, 8),
    "stage_x": (116, "d", 8, 9),
    "stage_y": (124, "d", 8, 10),
    "stage_z": (132, "d", 8, 11),
    "pixel_x": (156, "d", 8, 14),
    "pixel_y": (164, "d", 8, 15),
    "defocus": (220, "d", 8, 22),
    "instrument_mode": (244, "i", 8, 25),
    "magnification": (289, "d", 8, 31),
    "camera_length": (301, "d", 297, 0),
    "convergence": (329, "d", 297, 4),
    "exposure": (419, "d", 297, 16),
    "camera": (435, "16s", 297, 19),
    "stem_detector": (519, "16s", 490, 7),
    "dwell": (571, "d", 490, 15),
    "scan_left": (587, "i", 490, 17),
    "scan_top": (591, "i", 490, 18),
    "scan_right": (595, "i", 490, 19),
    "scan_bottom": (599, "i", 490, 20),
    "fov_x": (603, "d", 490, 21),
    "fov_y": (611, "d", 490, 22),
    "scan_mode": (792, "i", 748, 5),
    "detector_commercial_name": (804, "16s", 748, 7),
    "tilt_per_image": (836, "d", 748, 10),
    "aperture": (872, "16s", 748, 16),
}


def fei_record(size=888, order="<", invalid=(), metadata_version=2, **values):
    """Return one record whose masks mark the fields passed as valid, except those in `invalid`."""
    record = bytearray(size)
    struct.pack_into(order + "ii", record, 0, size, metadata_version)
    masks = dict.fromkeys((8, 297, 490, 748), 0)
    for name, value in values.items():
        at, kind, mask, bit = FEI_FIELDS[name]
        struct.pack_into(order + kind, record, at, value)
        if name not in invalid:
            masks[mask] |= 1 << bit
    for at, mask in masks.items():
        struct.pack_into("<I", record, at, mask)  # always little-endian according to the EPU manual
    return bytes(record)


class TestFei2:
    def test_metadata_are_converted_to_the_units_of_hyperspy(self):
        header = decode(
            "FEI2",
            fei_record(
                microscope=b"Spectra",
                ht=200e3,
                dose=30e20,
                beta=-1.5,
                stage_x=1e-5,
                stage_y=-2e-5,
                stage_z=3e-6,
                defocus=-2e-6,
                instrument_mode=2,
                magnification=12500.0,
                camera_length=0.115,
                convergence=0.0213,
                exposure=0.5,
                dwell=2e-3,
                stem_detector=b"HAADF",
            ),
            1,
        )
        assert header.notes == ()
        metadata = tem(header)
        stage, detector = metadata.pop("Stage"), metadata.pop("Detector")
        assert stage == pytest.approx({"tilt_beta": -1.5, "x": 0.01, "y": -0.02, "z": 0.003})
        assert detector == {"detector_type": "HAADF", "Camera": {"exposure": 0.5}}
        assert metadata.pop("microscope") == "Spectra"
        assert metadata.pop("acquisition_mode") == "STEM"
        assert metadata == pytest.approx(
            {
                "beam_energy": 200.0,
                "magnification": 12500.0,
                "camera_length": 115.0,
                "convergence_angle": 21.3,
                "dwell_time": 2e-3,
                "defocus": -2000.0,
                "dose": 30.0,
            }
        )
        assert type(metadata["beam_energy"]) is float

    @pytest.mark.parametrize(
        ("field", "value", "path"),
        [
            ("ht", 300e3, ("beam_energy",)),
            ("dose", 1e20, ("dose",)),
            ("alpha", 5.0, ("Stage", "tilt_alpha")),
            ("beta", 5.0, ("Stage", "tilt_beta")),
            ("stage_x", 1e-6, ("Stage", "x")),
            ("stage_y", 1e-6, ("Stage", "y")),
            ("stage_z", 1e-6, ("Stage", "z")),
            ("defocus", 1e-6, ("defocus",)),
            ("magnification", 100.0, ("magnification",)),
            ("camera_length", 1.0, ("camera_length",)),
            ("convergence", 0.01, ("convergence_angle",)),
            ("exposure", 1.0, ("Detector", "Camera", "exposure")),
            ("dwell", 1e-6, ("dwell_time",)),
            ("microscope", b"Titan", ("microscope",)),
            ("instrument_mode", 1, ("acquisition_mode",)),
            ("camera", b"Ceta", ("Detector", "detector_type")),
            ("stem_detector", b"HAADF", ("Detector", "detector_type")),
        ],
    )
    def test_field_is_used_only_if_its_bit_in_the_mask_is_set(self, field, value, path):
        node = tem(decode("FEI2", fei_record(**{field: value}), 1))
        for key in path:
            assert list(node) == [key]
            node = node[key]
        # A second field stays valid so that the record is not blank.
        other = "ht" if field != "ht" else "beta"
        unmarked = fei_record(
            **{field: value, other: 200e3 if other == "ht" else 0.0}, invalid={field}
        )
        header = decode("FEI2", unmarked, 1)
        assert header.notes == ()
        assert tem(header) == tem(
            decode("FEI2", fei_record(**{other: 200e3 if other == "ht" else 0.0}), 1)
        )

    def test_columns_of_records_have_one_value_per_section(self):
        raw = b"".join(
            fei_record(alpha=angle, microscope=name, tilt_per_image=3.0, aperture=b"70")
            for angle, name in ((-3.0, b"Krios"), (0.0, b"Krios"), (3.0, b"Titan"))
        )
        header = decode("FEI2", raw, 3)
        assert header.kind == "FEI2"
        assert header.n_records == 3
        np.testing.assert_array_equal(header.columns["Alpha tilt"], [-3.0, 0.0, 3.0])
        assert header.columns["Microscope type"] == ["Krios", "Krios", "Titan"]
        assert header.columns["Objective aperture name"] == ["70", "70", "70"]
        np.testing.assert_array_equal(header.columns["Tilt per image"], [3.0, 3.0, 3.0])
        np.testing.assert_array_equal(tilt_angles(header), [-3.0, 0.0, 3.0])
        assert {len(column) for column in header.columns.values()} == {3}
        assert all(
            column.dtype.isnative
            for column in header.columns.values()
            if not isinstance(column, list)
        )

    def test_fields_that_change_between_sections_are_left_out_of_the_metadata(self):
        raw = b"".join(fei_record(ht=300e3, alpha=a, stage_x=1e-6) for a in (-3.0, 0.0, 3.0))
        assert tem(decode("FEI2", raw, 3)) == {
            "beam_energy": pytest.approx(300.0),
            "Stage": {"x": pytest.approx(1e-3)},
        }

    def test_masks_of_a_big_endian_record_can_be_little_endian(self):
        header = decode("FEI2", fei_record(order=">", ht=80e3, alpha=12.0), 1, order=">")
        assert header.notes == ()
        assert tem(header) == {"beam_energy": 80.0, "Stage": {"tilt_alpha": 12.0}}
        assert header.columns["Metadata size"].tolist() == [888]

    def test_records_in_another_byte_order_than_the_main_header_are_noted(self):
        header = decode("FEI2", fei_record(order=">", ht=80e3), 1, order="<")
        assert tem(header) == {"beam_energy": 80.0}
        assert "different byte orders" in header.notes[0]

    def test_preallocated_records_after_the_last_section_are_not_read(self):
        raw = fei_record(alpha=7.0) + 1023 * struct.pack("<ii880x", 888, 2)
        assert len(raw) == 909312
        assert bytes_needed(identify("FEI2", len(raw), 1)) == 888
        header = decode("FEI2", raw, 1)
        assert header.n_records == 1
        assert header.notes == ()

    def test_padding_after_the_last_record_is_ignored(self):
        raw = b"".join(fei_record(alpha=float(k)) for k in range(13)).ljust(15360, b"\0")
        header = decode("FEI2", raw, 13)
        assert header.n_records == 13
        assert header.notes == ()
        np.testing.assert_array_equal(tilt_angles(header), np.arange(13.0))

    def test_records_are_spaced_by_the_size_that_they_state(self):
        raw = b"".join(fei_record(size=1024, alpha=float(k), aperture=b"70") for k in range(4))
        decoders = identify("FEI2", len(raw), 4)
        assert bytes_needed(decoders) == 4 * 888
        assert bytes_needed(decoders, raw[:888]) == 4096
        header = decode("FEI2", raw, 4)
        np.testing.assert_array_equal(tilt_angles(header), np.arange(4.0))
        assert header.columns["Objective aperture name"] == ["70"] * 4

    def test_short_record_has_only_the_fields_that_fit_into_it(self):
        raw = b"".join(fei_record(size=768, **{"alpha": float(k), "dwell": 1e-3}) for k in range(3))
        header = decode("FEI2", raw, 3)
        np.testing.assert_array_equal(tilt_angles(header), np.arange(3.0))
        assert "Alpha tilt max" in header.columns
        assert "Scan rotation" not in header.columns

    @pytest.mark.parametrize(("size", "complete"), [(791, 0), (796, 1), (804, 1), (887, 3)])
    def test_record_between_fei1_and_fei2_has_the_appended_fields_that_fit(self, size, complete):
        full = fei_record(scan_mode=2, detector_commercial_name=b"Ceta", tilt_per_image=1.5)
        record = struct.pack("<i", size) + full[4:size]
        header = decode("FEI2", 3 * record, 3)
        appended = ("Scan mode enumeration", "Detector commercial name", "Tilt per image")
        assert [name in header.columns for name in appended] == [
            number < complete for number in range(3)
        ]
        assert header.n_records == 3
        if complete == 3:
            np.testing.assert_array_equal(header.columns["Tilt per image"], [1.5] * 3)
            assert "Objective aperture name" not in header.columns

    def test_fewer_records_than_sections_cause_a_note(self):
        header = decode("FEI2", fei_record(alpha=1.0) + fei_record(alpha=2.0), 5)
        assert header.n_records == 2
        assert header.notes == ("the extended header has 2 records for 5 sections",)

    def test_blank_records_cause_a_note_and_give_no_tilt_angles(self):
        header = decode("FEI2", fei_record(alpha=1.0, ht=3e5) + fei_record(), 2)
        assert tilt_angles(header) is None
        assert tem(header)["beam_energy"] == 300.0
        assert "1 of 2 FEI2 records mark no field as valid" in header.notes[0]

    def test_first_record_without_its_size_causes_a_note(self):
        broken = bytearray(fei_record(alpha=1.0))
        broken[:4] = b"\0\0\0\0"
        header = decode("FEI2", bytes(broken), 1)
        np.testing.assert_array_equal(tilt_angles(header), [1.0])
        assert "does not begin with its size (00 00 00 00)" in header.notes[0]

    def test_later_record_of_another_size_causes_a_note(self):
        shorter = bytearray(fei_record(alpha=2.0))
        struct.pack_into("<i", shorter, 0, 768)
        header = decode("FEI2", fei_record(alpha=1.0) + bytes(shorter), 2)
        assert header.notes == ("1 of 2 FEI2 records do not state their size, 888 bytes",)

    def test_nonzero_bytes_in_boolean_fields_are_true(self):
        raw = bytearray(fei_record(ht=3e5) * 3)
        raw[288], raw[888 + 288] = 1, 2  # EFTEM On
        column = decode("FEI2", bytes(raw), 3).columns["EFTEM On"]
        assert column.dtype == bool
        assert column.view(np.uint8).tolist() == [1, 1, 0]

    def test_detector_is_unknown_if_a_record_names_two(self):
        assert tem(decode("FEI2", fei_record(camera=b"Ceta", stem_detector=b"BF"), 1)) == {}


class TestPixelSize:
    def test_pixel_size_is_converted_to_nm_and_ordered_y_x(self):
        header = decode("FEI1", fei_record(size=768, pixel_x=2e-9, pixel_y=3e-9), 1)
        assert section_pixel_size(header) == pytest.approx((3.0, 2.0))

    @pytest.mark.parametrize("invalid", ["pixel_x", "pixel_y"])
    def test_pixel_size_is_unknown_unless_both_directions_are_valid(self, invalid):
        header = decode(
            "FEI1", fei_record(size=768, pixel_x=2e-9, pixel_y=3e-9, invalid={invalid}), 1
        )
        assert section_pixel_size(header) is None

    def test_pixel_size_above_1_m_is_ignored_with_a_note(self):
        header = decode("FEI2", fei_record(pixel_x=2.5, pixel_y=2.5), 1)
        assert section_pixel_size(header) is None
        assert [note.split(" in the")[0] for note in header.notes] == [
            "Pixel size X is 2.5",
            "Pixel size Y is 2.5",
        ]

    def test_pixel_size_that_changes_between_sections_is_unknown(self):
        raw = b"".join(fei_record(pixel_x=size, pixel_y=size) for size in (1e-9, 2e-9))
        header = decode("FEI2", raw, 2)
        assert section_pixel_size(header) is None
        assert "pixel size changes" in header.notes[0]


SCAN = {"scan_left": 10, "scan_right": 42, "scan_top": 5, "scan_bottom": 13}


class TestScan:
    def test_scan_shape_is_ordered_y_x(self):
        header = decode("FEI2", fei_record(**SCAN) * 256, 256)
        assert scan_of_sections(header, n_sections=256)[0] == (8, 32)

    def test_scan_shape_must_match_the_number_of_sections(self):
        header = decode("FEI2", fei_record(**SCAN) * 255, 255)
        assert scan_of_sections(header, n_sections=255)[0] is None

    @pytest.mark.parametrize("edge", list(SCAN))
    def test_scan_shape_is_unknown_unless_all_four_edges_are_valid(self, edge):
        header = decode("FEI2", fei_record(**SCAN, invalid={edge}) * 256, 256)
        assert scan_of_sections(header, n_sections=256)[0] is None

    def test_serpentine_scan_has_no_scan_shape(self):
        header = decode("FEI2", fei_record(**SCAN, scan_mode=2) * 256, 256)
        assert scan_of_sections(header, n_sections=256)[0] is None
        header = decode("FEI2", fei_record(**SCAN, scan_mode=1) * 256, 256)
        assert scan_of_sections(header, n_sections=256)[0] == (8, 32)

    def test_scan_step_is_the_field_of_view_divided_by_the_points(self):
        header = decode("FEI2", fei_record(**SCAN, fov_x=64e-9, fov_y=24e-9), 1)
        assert scan_step(header) == pytest.approx((3.0, 2.0))


class TestFei1:
    def test_fei1_records_of_768_bytes_are_decoded(self):
        raw = fei_record(size=768, ht=300e3, alpha=-60.0) + fei_record(
            size=768, ht=300e3, alpha=60.0
        )
        assert bytes_needed(identify("FEI1", len(raw), 2)) == 1536
        header = decode("FEI1", raw, 2)
        np.testing.assert_array_equal(tilt_angles(header), [-60.0, 60.0])
        assert tem(header) == {"beam_energy": 300.0}
        assert "Scan rotation" not in header.columns


def test_records_of_a_real_velox_file_are_decoded(real_data):
    raw = (real_data / "HAADFscan.mrc").read_bytes()
    main = parse_header(raw[:1024], file_size=len(raw))
    decoders = possible_decoders(main)
    first = raw[1024 : 1024 + 888]
    assert bytes_needed(decoders) == bytes_needed(decoders, first) == 888
    header = decode_extended(decoders, first)
    assert header.notes == ()
    assert section_pixel_size(header) == pytest.approx((5.67913129, 5.67913129))
    # CELLA of the main header, in Å, agrees.
    assert main.pixel_size(0) / 10 == pytest.approx(section_pixel_size(header)[1], rel=1e-5)
    assert scan_step(header) == pytest.approx(section_pixel_size(header))
    metadata = tem(header)
    assert metadata["beam_energy"] == 300.0
    assert metadata["camera_length"] == pytest.approx(91.1)
    assert metadata["convergence_angle"] == pytest.approx(14.327, abs=1e-3)
    assert metadata["dwell_time"] == 0.01
    assert metadata["microscope"] == "Spectra"
    assert metadata["acquisition_mode"] == "STEM"
    assert metadata["Stage"]["x"] == pytest.approx(0.0238563)
    assert "magnification" not in metadata  # its bit is not set


class TestAnglesConvertedTwice:
    """Version 4.4.0.4981 multiplies degrees by 180/π a second time: ±60° become ±3437."""

    TILTS = (-60.0, -0.5, 0.0, 30.0, 60.0)

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize(("layout", "size"), [("FEI1", 768), ("FEI2", 888)])
    @pytest.mark.parametrize("invalid", [(), ("version",)])
    def test_angles_of_version_4_4_0_4981_are_converted_back(self, order, layout, size, invalid):
        records = [
            fei_record(
                size,
                order,
                invalid,
                version=b"4.4.0.4981",
                alpha=np.rad2deg(tilt),
                beta=np.rad2deg(1.5),
            )
            for tilt in self.TILTS
        ]
        header = decode(layout, b"".join(records), len(self.TILTS), order=order)
        assert header.notes == ()
        np.testing.assert_allclose(tilt_angles(header), self.TILTS)
        assert tem(header)["Stage"] == pytest.approx({"tilt_beta": 1.5})
        stored = header.columns["Alpha tilt"]  # columns contain the numbers as stored
        np.testing.assert_allclose(stored, np.rad2deg(self.TILTS))

    @pytest.mark.parametrize("version", [b"4.4.0.4982", b"4.4.0", b"5.0", b"4.4.0.49811", b""])
    def test_angles_of_other_versions_are_not_converted(self, version):
        records = [fei_record(version=version, alpha=tilt) for tilt in self.TILTS]
        header = decode("FEI2", b"".join(records), len(self.TILTS))
        np.testing.assert_array_equal(tilt_angles(header), self.TILTS)

    def test_angle_beyond_360_degrees_is_ignored_with_a_note_in_other_versions(self):
        header = decode("FEI2", fei_record(version=b"5.0", alpha=3437.7), 1)
        assert tilt_angles(header) is None
        assert "3437.7 in the extended header" in header.notes[0]
