"""4-bit frames marked only by a label, as written by SerialEM's plugin; NX counts bytes."""

from __future__ import annotations

import numpy as np
import pytest

import mrcdist
from mrcdist.errors import MrcdistWarning
from tests.support.mrc_files import header_bytes


def load(path, content, **options):
    path = path / "a.mrc"
    path.write_bytes(content)
    [ds] = mrcdist.read_mrc(path, **options)
    return ds


PACKED_LABEL = b"SerialEMCCD: Dose frac. image, scaled by 1.00  r/f 0  4 bits packed"


def raw(nx, ny, nz=1, *, labels=(PACKED_LABEL,), mode=0, **fields):
    head = header_bytes(nx=nx, ny=ny, nz=nz, mode=mode, labels=labels, **fields)
    row = np.arange(nx * (2 if mode == 1 else 1), dtype="u1") * 7 + 0x21
    return head + row.tobytes() * ny * nz


def nibbles(nx):
    row = np.arange(nx, dtype="u1") * 7 + 0x21
    return np.stack([row & 15, row >> 4], -1).ravel()


def assert_packed(tmp_path, content, shape, **options):
    ds = load(tmp_path, content, **options)
    assert ds["data"].shape == shape
    assert ds["data"].dtype == "uint8"
    row = ds["data"].reshape(-1, shape[-1])[-1].compute()
    np.testing.assert_array_equal(row, nibbles(shape[-1] // 2))
    return ds


@pytest.mark.parametrize(
    ("nx", "ny"),
    [
        (3838, 7420), (3710, 7676), (3840, 7424), (3712, 7680), (5760, 8184), (4092, 11520),
        (3836, 7422), (5762, 8182),
    ],
)  # fmt: skip
def test_frames_of_the_sizes_of_gatan_cameras_are_unpacked(tmp_path, nx, ny):
    packed = raw(nx, ny, statistics=(0.0, 15.0, 1.0, -1.0))
    assert_packed(tmp_path, packed, (ny, 2 * nx))


def test_big_endian_stack_is_unpacked(tmp_path):
    assert_packed(tmp_path, raw(3838, 7420, 2, byteorder=">"), (2, 7420, 7676))


@pytest.mark.parametrize("labels", [(b"first", PACKED_LABEL), (PACKED_LABEL, b"second")])
def test_frames_are_unpacked_whichever_label_marks_them(tmp_path, labels):
    assert_packed(tmp_path, raw(3838, 7420, labels=labels), (7420, 7676))


def test_frames_twice_as_high_as_wide_are_unpacked_with_a_warning(tmp_path):
    """EMAN2 uses this rule for other cameras."""
    with pytest.warns(MrcdistWarning, match='"4 bits packed".*half a frame'):
        assert_packed(tmp_path, raw(256, 512), (512, 512))


def test_pixel_size_of_packed_frames_is_that_of_the_header(tmp_path):
    packed = raw(3838, 7420, cell=(3838.0, 7420.0, 1.0), intervals=(3838, 7420, 1))
    ds = assert_packed(tmp_path, packed, (7420, 7676))
    assert [(axis["scale"], axis["units"]) for axis in ds["axes"]] == [(0.1, "nm")] * 2


def test_complete_packed_frames_of_a_truncated_file_are_read(tmp_path):
    packed = raw(3838, 7420, 2)[:-1]
    with pytest.warns(MrcdistWarning, match="1 of 2 frames are complete"):
        data = load(tmp_path, packed, allow_truncated=True)["data"]
    assert data.shape == (7420, 7676)


@pytest.mark.parametrize("size", [(512, 512), (7420, 3838), (7676, 7420), (256, 400)])
def test_frames_of_other_sizes_are_read_as_bytes_with_a_warning(tmp_path, size):
    """A program may have copied the label to an image that it had unpacked."""
    with pytest.warns(MrcdistWarning, match='"4 bits packed".*mode0="uint4"'):
        data = load(tmp_path, raw(*size))["data"]
    assert data.shape == size[::-1]
    assert data.dtype == "int8"
    np.testing.assert_array_equal(
        data[0].compute().view("u1"), np.arange(size[0], dtype="u1") * 7 + 0x21
    )


@pytest.mark.filterwarnings("ignore:.*4 bits packed:mrcdist.MrcdistWarning")
@pytest.mark.parametrize("size", [(3838, 7420), (256, 512), (512, 512)])
@pytest.mark.parametrize("mode0", ["int8", "uint8"])
def test_mode0_int8_or_uint8_takes_precedence_over_the_label(tmp_path, size, mode0):
    data = load(tmp_path, raw(*size), mode0=mode0)["data"]
    assert data.dtype == mode0
    assert data.shape == size[::-1]


@pytest.mark.filterwarnings("ignore:.*4 bits packed:mrcdist.MrcdistWarning")
@pytest.mark.parametrize("labels", [(PACKED_LABEL,), ()])
def test_mode0_uint4_unpacks_frames_of_any_size(tmp_path, labels):
    packed = raw(300, 40, 3, labels=labels)
    assert_packed(tmp_path, packed, (3, 40, 600), mode0="uint4")


@pytest.mark.parametrize("flags", [0, 1, 4])
def test_imod_flags_take_precedence_over_the_label(tmp_path, flags):
    """IMOD keeps the labels of its input, and marks packed bytes with its own flag."""
    data = load(tmp_path, raw(3838, 7420, imod_flags=flags))["data"]
    assert data.shape == (7420, 3838)


def test_label_about_packing_is_ignored_in_modes_other_than_0(tmp_path):
    assert load(tmp_path, raw(3838, 7420, mode=1))["data"].shape == (7420, 3838)


def test_frames_are_not_unpacked_without_the_words_4_bits_packed(tmp_path):
    labels = (b"SerialEMCCD: Dose frac. image, scaled by 1.00  r/f 0",)
    assert load(tmp_path, raw(3838, 7420, labels=labels))["data"].shape == (7420, 3838)
