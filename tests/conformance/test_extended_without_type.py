"""Extended headers whose EXTTYP is missing or ambiguous: their kind is inferred.

NINT and NREAL, sizes and contents determine the kind. The layouts follow IMOD's description of its
MRC files; IMOD's programs keep the records of other writers.
"""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

import mrcdist
from mrcdist.errors import MrcdistWarning
from tests.support.mrc_files import counting, header_bytes

TILTS = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
N = len(TILTS)
NUMBERS = counting((N, 6, 8), "int16")


def record(tilt, *, byteorder="<", nint=0, nreal=32, pixel=3.2e-10):
    reals = np.zeros(nreal, byteorder + "f4")
    reals[0] = tilt
    if nreal >= 12:
        reals[11] = pixel
    if nreal >= 14:
        reals[12:14] = 42000, 300000
    return np.arange(1, nint + 1, dtype=byteorder + "i4").tobytes() + reals.tobytes()


def tilt_series(path, records, *, byteorder="<", nsymbt=None, **fields):
    extended = b"".join(records)
    nsymbt = nsymbt or len(extended)
    head = header_bytes(
        nx=8, ny=6, nz=N, mode=1, byteorder=byteorder, nsymbt=nsymbt, nversion=0, **fields
    )
    pixels = NUMBERS.astype(byteorder + "i2").tobytes()
    path.write_bytes(head + extended.ljust(nsymbt, b"\0") + pixels)
    [ds] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(ds["data"].compute(), NUMBERS)
    return ds


def positions(axis):
    return axis["offset"] + axis["scale"] * np.arange(axis["size"])


def assert_tilted(ds, pixel=0.32):
    tilt, y, x = ds["axes"]
    assert (tilt["name"], tilt["units"]) == ("tilt", "deg")
    np.testing.assert_allclose(positions(tilt), TILTS)
    if pixel is None:
        assert (y["units"], x["units"]) == (None, None)
    else:
        assert (y["units"], x["units"]) == ("nm", "nm")
        assert (y["scale"], x["scale"]) == pytest.approx((pixel, pixel))


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("exttyp", [b"AGAR", b""])
@pytest.mark.parametrize(("nint", "nreal"), [(0, 32), (8, 32), (3, 12), (0, 12), (1, 20)])
def test_first_float_is_the_tilt_angle_and_the_12th_the_pixel_size(
    tmp_path, byteorder, exttyp, nint, nreal
):
    records = [record(tilt, byteorder=byteorder, nint=nint, nreal=nreal) for tilt in TILTS]
    ds = tilt_series(
        tmp_path / "a.st", records, byteorder=byteorder, exttyp=exttyp, nint=nint, nreal=nreal
    )
    assert_tilted(ds)


@pytest.mark.parametrize("exttyp", [b"AGAR", b""])
@pytest.mark.parametrize(("nint", "nreal"), [(0, 11), (0, 1), (2, 4), (4, 1)])
def test_records_of_fewer_than_12_floats_have_no_pixel_size(tmp_path, exttyp, nint, nreal):
    records = [record(tilt, nint=nint, nreal=nreal) for tilt in TILTS]
    ds = tilt_series(tmp_path / "a.st", records, exttyp=exttyp, nint=nint, nreal=nreal)
    assert_tilted(ds, pixel=None)


def test_record_of_zeros_is_a_tilt_of_0_if_records_contain_only_the_tilt(tmp_path):
    """Records of 128 bytes, of which only the tilt angle is set."""
    records = [np.float32(tilt).tobytes().ljust(128, b"\0") for tilt in TILTS]
    ds = tilt_series(tmp_path / "a.st", records, nreal=32)
    assert_tilted(ds, pixel=None)


@pytest.mark.parametrize("nsymbt", [N * 128, 1024, 4096, 131072])
def test_records_of_128_bytes_are_decoded_from_a_block_of_any_size(tmp_path, nsymbt):
    records = [record(tilt) for tilt in TILTS]
    ds = tilt_series(tmp_path / "a.st", records, nsymbt=nsymbt, nreal=32)
    assert_tilted(ds)
    tem = ds["metadata"]["Acquisition_instrument"]["TEM"]
    assert tem["beam_energy"] == 300.0
    assert tem["magnification"] == 42000.0
    assert ds["original_metadata"]["extended_header"]["type"] == "FEI"


def test_records_of_128_bytes_are_recognised_without_nint_and_nreal(tmp_path):
    """NSYMBT = 128 × NZ, NINT = NREAL = 0."""
    assert_tilted(tilt_series(tmp_path / "a.st", [record(tilt) for tilt in TILTS]))


@pytest.mark.parametrize(
    ("nsymbt", "labels"),
    [(131072, ()), (128 * N, (b"Fei Company (C) Copyright 2003",)), (2048, (b"other", b"Fei "))],
)
@pytest.mark.parametrize("exttyp", [b"", b"AGAR"])
def test_nint_of_128_is_the_record_size_in_files_of_fei(tmp_path, nsymbt, labels, exttyp):
    """FEI's software wrote the bytes per record to NINT, which should count integers."""
    records = [record(tilt) for tilt in TILTS]
    ds = tilt_series(
        tmp_path / "a.st",
        records,
        nsymbt=nsymbt,
        labels=labels,
        nint=128,
        nreal=32,
        exttyp=exttyp,
    )
    assert_tilted(ds)


def test_nint_of_128_counts_integers_in_files_of_other_programs(tmp_path):
    records = [record(tilt, nint=128) for tilt in TILTS]
    ds = tilt_series(tmp_path / "a.st", records, labels=(b"not Fei ",), nint=128, nreal=32)
    assert_tilted(ds)


def test_serialem_takes_precedence_over_plain_numbers(tmp_path):
    """NINT 2 and NREAL 1: two bytes per section, the tilt angle times 100."""
    records = [struct.pack("<h", int(100 * tilt)) for tilt in TILTS]
    ds = tilt_series(tmp_path / "a.st", records, nsymbt=1024, nint=2, nreal=1)
    assert_tilted(ds, pixel=None)


@pytest.mark.parametrize(
    "word",
    [
        struct.pack("<f", 361.0),  # not an angle
        struct.pack("<f", float("nan")),
        struct.pack("<2h", 3, 1),  # integers look like tiny floats
        b"\xff\xff\xff\x7f",
        b"\0\0\0\0",
    ],
)
def test_records_without_plausible_angles_are_of_unknown_kind(tmp_path, word):
    with pytest.warns(MrcdistWarning, match="of unknown kind"):
        ds = tilt_series(tmp_path / "a.st", [word * 7] * N, nint=3, nreal=4)
    assert ds["axes"][0]["name"] == "z"


def test_agard_numbers_that_are_not_angles_are_only_in_original_metadata(tmp_path):
    records = [struct.pack("<4f", 1000.0 + i, 2, 3, 4) for i in range(N)]
    ds = tilt_series(tmp_path / "a.st", records, exttyp=b"AGAR", nreal=4)
    assert ds["axes"][0]["name"] == "z"
    reals = ds["original_metadata"]["extended_header"]["records"]["reals"]
    assert [row[0] for row in reals] == [1000.0 + i for i in range(N)]


def test_agard_numbers_that_are_not_finite_become_none(tmp_path):
    records = [struct.pack("<3f", tilt, float("nan"), float("inf")) for tilt in TILTS]
    ds = tilt_series(tmp_path / "a.st", records, exttyp=b"AGAR", nreal=3)
    json.dumps(ds["original_metadata"], allow_nan=False)
    reals = ds["original_metadata"]["extended_header"]["records"]["reals"]
    assert reals == [[tilt, None, None] for tilt in TILTS]


SYMMETRY = (b"X,  Y,  Z", b"-X,  Y+1/2,  -Z")


@pytest.mark.parametrize("exttyp", [b"CCP4", b"", b"    "])
@pytest.mark.parametrize("pad", [b" ", b"\0"])
def test_symmetry_is_decoded_to_text_with_and_without_exttyp(tmp_path, exttyp, pad):
    extended = b"".join(line.ljust(80, pad) for line in SYMMETRY)
    path = tmp_path / "a.map"
    numbers = counting((4, 5, 6), "float32")
    head = header_bytes(nx=6, ny=5, nz=4, mode=2, ispg=4, nsymbt=160, exttyp=exttyp)
    path.write_bytes(head + extended + numbers.tobytes())
    [ds] = mrcdist.read_mrc(path)  # any warning fails the test
    np.testing.assert_array_equal(ds["data"].compute(), numbers)
    extended_header = ds["original_metadata"]["extended_header"]
    assert extended_header["type"] == "CCP4"
    assert [line.encode() for line in extended_header["text"]] == list(SYMMETRY)


@pytest.mark.parametrize(
    "extended", [bytes(80), b" " * 80, b"\x01X,Y,Z".ljust(80), b"X,Y,Z".ljust(81)]
)
def test_bytes_that_are_not_lines_of_text_are_not_symmetry(tmp_path, extended):
    path = tmp_path / "a.map"
    numbers = counting((4, 5, 6), "float32")
    head = header_bytes(nx=6, ny=5, nz=4, mode=2, ispg=1, nsymbt=len(extended))
    path.write_bytes(head + extended + numbers.tobytes())
    with pytest.warns(MrcdistWarning, match="of unknown kind"):
        [ds] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(ds["data"].compute(), numbers)


class TestPlaceholderPixelSize:
    """FEI's older software leaves 1 Å in the main header; the records have the real pixel size."""

    @staticmethod
    def load(path, spacing, *, pixel=3.2e-10, depth=1.0, **fields):
        records = [record(tilt, pixel=pixel) for tilt in TILTS]
        fields = {"nreal": 32, "nsymbt": 131072, **fields}
        cell = (8 * spacing[0], 6 * spacing[1], N * depth)
        return tilt_series(path / "a.st", records, cell=cell, **fields)

    @pytest.mark.parametrize("nsymbt", [131072, 128 * N])
    @pytest.mark.parametrize("fields", [{}, {"imod_flags": 0}, {"imod_flags": 4}])
    def test_pixel_size_of_the_records_replaces_1_angstrom(self, tmp_path, nsymbt, fields):
        assert_tilted(self.load(tmp_path, (1.0, 1.0), nsymbt=nsymbt, **fields))

    def test_pixel_size_of_agard_records_replaces_1_angstrom(self, tmp_path):
        assert_tilted(self.load(tmp_path, (1.0, 1.0), exttyp=b"AGAR", nsymbt=128 * N))

    @pytest.mark.parametrize("binning", [2, 3, 4])
    def test_whole_number_of_angstroms_is_taken_as_binning_with_a_warning(self, tmp_path, binning):
        """As in IMOD, whose programs multiply the placeholder when they bin."""
        with pytest.warns(MrcdistWarning, match=f"binning by {binning} of pixels of 0.32 nm"):
            ds = self.load(tmp_path, (binning, binning))
        assert_tilted(ds, pixel=0.32 * binning)

    @pytest.mark.parametrize(
        ("spacing", "fields"),
        [
            ((3.1, 3.1), {}),
            ((5.0, 5.0), {}),  # IMOD bins by 4 at most
            ((1.5, 1.5), {}),
            ((1.01, 1.01), {}),
            ((0.5, 0.5), {}),
            ((1.0, 1.0), {"imod_flags": 2}),  # IMOD marks the pixel size as right
            ((2.0, 2.0), {"imod_flags": 2 | 4}),
        ],
    )
    def test_pixel_sizes_other_than_1_angstrom_are_taken_from_the_main_header(
        self, tmp_path, spacing, fields
    ):
        assert_tilted(self.load(tmp_path, spacing, **fields), pixel=spacing[0] / 10)

    def test_1_angstrom_in_one_direction_is_not_a_placeholder(self, tmp_path):
        axes = self.load(tmp_path, (1.0, 2.0))["axes"]
        assert [axis["scale"] for axis in axes[1:]] == [0.2, 0.1]

    @pytest.mark.parametrize("spacing", [1.0, 2.0])
    def test_equal_pixel_size_in_records_and_header_causes_no_warning(self, tmp_path, spacing):
        ds = self.load(tmp_path, (spacing, spacing), pixel=spacing * 1.001e-10)
        assert_tilted(ds, pixel=spacing / 10)

    def test_1_angstrom_is_kept_if_records_have_no_pixel_size(self, tmp_path):
        assert_tilted(self.load(tmp_path, (1.0, 1.0), pixel=0.0), pixel=0.1)

    def test_placeholder_does_not_calibrate_the_axis_of_sections(self, tmp_path):
        records = [record(0.0)] * N  # a volume, not a tilt series
        ds = tilt_series(
            tmp_path / "a.mrc", records, cell=(8.0, 6.0, N), nreal=32, ispg=1, nsymbt=131072
        )
        assert [axis["units"] for axis in ds["axes"]] == [None, "nm", "nm"]
