"""Files that are exactly NSYMBT bytes too short, and other files with a doubtful NSYMBT.

Either a program dropped the extended header but kept NSYMBT, or the file was truncated. The bytes
after the main header decide; if they cannot, it is an error: all pixels might be shifted.
"""

from __future__ import annotations

import struct
import warnings

import numpy as np
import pytest

import mrcdist
from mrcdist.errors import FormatError, TruncatedFileError
from mrcdist.validate.report import validate
from tests.support.mrc_files import header_bytes

N, NY, NX = 40, 8, 16
FRAME = NX * NY * 2
NUMBERS = np.random.default_rng(7).integers(100, 3000, (N, NY, NX), "int16")


def fei1():
    """Five records, as many bytes as 15 frames."""
    record = struct.pack("<i", 768).ljust(768, b"\0")
    return b"FEI1", 5 * record, {}


def fei2_with_longer_records():
    record = struct.pack("<i", 1024).ljust(1024, b"\0")
    return b"FEI2", 4 * record, {}


def old_fei():
    records = np.zeros((1024, 32), "<f4")
    records[:N, 0] = np.linspace(-60, 60, N)
    records[:N, 11], records[:N, 12] = 3.2e-10, 42000
    return b"", records.tobytes(), {}


def old_fei_shortened_by_imod():
    return b"", old_fei()[1][: 128 * N], {"nreal": 32}


def symmetry():
    return b"CCP4", b"X,Y,Z".ljust(80) * 16, {}


def untyped_symmetry():
    return b"", b"X,Y,Z".ljust(80) * 16, {}


def json():
    return b"json", b'{"key": "' + b"v" * 1013 + b'"}', {}


def hdf5():
    return b"HDF5", b"\x89HDF\r\n\x1a\n".ljust(1024, b"\1"), {}


def zeros():
    return b"", bytes(1024), {}


def zeros_in_fei1():
    return b"FEI1", bytes(768 * 2), {}


def zeros_in_serialem():
    return b"SERI", bytes(1024), {"nint": 2, "nreal": 1}


def unknown():
    return b"", b"\1\2\3\4" * 256, {}


def mrco():
    return b"MRCO", b"\1\2\3\4" * 256, {}


def serialem():
    return b"SERI", struct.pack("<h", 4500) * 512, {"nint": 2, "nreal": 1}


def agard():
    return b"AGAR", struct.pack("<f", 45.0) * 256, {"nint": 0, "nreal": 4}


def agard_with_integers_only():
    return b"AGAR", b"\1\2\3\4" * 256, {"nint": 4, "nreal": 0}


def agard_without_numbers():
    return b"AGAR", b"\1\2\3\4" * 256, {}


def serialem_that_does_not_add_up():
    return b"SERI", b"\1\2\3\4" * 256, {"nint": 6, "nreal": 1}


def serialem_for_fewer_sections():
    return b"SERI", b"\1\2\3\4" * 16, {"nint": 2, "nreal": 1}


# Kinds that are recognised by the bytes after the main header.
RECOGNISABLE = [
    fei1, fei2_with_longer_records, old_fei, old_fei_shortened_by_imod, symmetry,
    untyped_symmetry, json, hdf5, zeros, zeros_in_fei1, zeros_in_serialem,
]  # fmt: skip
# Kinds whose bytes may also be pixels.
AMBIGUOUS = [
    unknown, mrco, serialem, agard, agard_with_integers_only, agard_without_numbers,
    serialem_that_does_not_add_up, serialem_for_fewer_sections,
]  # fmt: skip
# Kinds that can be ruled out by the bytes after the main header.
REFUTABLE = [fei1, old_fei, symmetry, json, hdf5, agard]


def read(path, warning, **options):
    """Return the array after checking for the warning; records may cause further ones."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        [ds] = mrcdist.read_mrc(path, **options)
    messages = [str(one.message) for one in caught]
    assert any(warning in message for message in messages), messages
    return ds["data"].compute()


def pixels(nsymbt):
    """Return enough frames for some to remain if `nsymbt` bytes are missing."""
    repeats = -(-(nsymbt + 4 * FRAME) // NUMBERS.nbytes)
    return np.concatenate([NUMBERS] * repeats)


def head_of(kind, data, **fields):
    exttyp, extended, counts = kind()
    return header_bytes(
        nx=NX,
        ny=NY,
        nz=len(data),
        mode=1,
        nsymbt=len(extended),
        exttyp=exttyp,
        **{**counts, **fields},
    )


def truncated(kind, **fields):
    """Return a file without its last NSYMBT bytes, and the frames that remain."""
    _, extended, _ = kind()
    data = pixels(len(extended))
    raw = head_of(kind, data, **fields) + extended + data.tobytes()
    raw = raw[: len(raw) - len(extended)]
    return raw, data[: (data.nbytes - len(extended)) // FRAME]


def without_extended_header(kind, data=None):
    """Return a file without its extended header, and its frames."""
    data = pixels(len(kind()[1])) if data is None else data
    return head_of(kind, data) + data.tobytes(), data


def write(tmp_path, raw):
    path = tmp_path / "a.mrc"
    path.write_bytes(raw)
    return path


def errors_of(path):
    return {finding.check for finding in validate(path).findings if finding.severity == "error"}


@pytest.mark.parametrize("kind", RECOGNISABLE, ids=lambda kind: kind.__name__)
class TestTruncatedByNsymbt:
    def test_error_for_a_file_that_lacks_nsymbt_bytes_suggests_both_remedies(self, tmp_path, kind):
        path = write(tmp_path, truncated(kind)[0])
        with pytest.raises(TruncatedFileError) as caught:
            mrcdist.read_mrc(path)
        assert "allow_truncated=True" in caught.value.remedy
        assert "NSYMBT = 0" in caught.value.remedy

    def test_allow_truncated_reads_frames_if_nsymbt_bytes_are_missing(self, tmp_path, kind):
        raw, frames = truncated(kind)
        array = read(write(tmp_path, raw), "is truncated", allow_truncated=True)
        np.testing.assert_array_equal(array, frames)

    @pytest.mark.parametrize("allow_truncated", [False, True])
    def test_file_without_map_and_nsymbt_missing_bytes_is_not_taken_for_mrc(
        self, tmp_path, kind, allow_truncated
    ):
        path = write(tmp_path, truncated(kind, map_word=b"")[0])
        with pytest.raises(FormatError) as caught:
            mrcdist.read_mrc(path, allow_truncated=allow_truncated)
        assert caught.value.code == "not-mrc"

    def test_validation_reports_the_file_size_if_nsymbt_bytes_are_missing(self, tmp_path, kind):
        path = write(tmp_path, truncated(kind)[0])
        assert "file size" in errors_of(path)


def assert_refused(path, options):
    with pytest.raises(FormatError) as caught:
        mrcdist.read_mrc(path, **options)
    assert caught.value.code == "extended-header-doubtful"
    assert "NSYMBT = 0" in caught.value.remedy
    assert errors_of(path) >= {"extended header"}
    assert "file size" not in errors_of(path)


@pytest.mark.parametrize("kind", AMBIGUOUS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("options", [{}, {"allow_truncated": True}])
def test_truncated_file_is_refused_if_its_extended_header_may_be_pixels(tmp_path, kind, options):
    assert_refused(write(tmp_path, truncated(kind)[0]), options)


@pytest.mark.parametrize("kind", [unknown, mrco, serialem], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("options", [{}, {"allow_truncated": True}])
def test_file_without_extended_header_is_refused_if_its_pixels_may_be_one(tmp_path, kind, options):
    assert_refused(write(tmp_path, without_extended_header(kind)[0]), options)


@pytest.mark.parametrize("kind", REFUTABLE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("options", [{}, {"allow_truncated": True}])
def test_dropped_extended_header_is_recognised_by_the_bytes_in_its_place(tmp_path, kind, options):
    raw, data = without_extended_header(kind)
    path = write(tmp_path, raw)
    array = read(path, "no extended header: data begin at byte 1024", **options)
    np.testing.assert_array_equal(array, data)
    assert "extended header" in errors_of(path)
    assert "file size" not in errors_of(path)


@pytest.mark.parametrize("kind", [unknown, mrco, fei1, old_fei], ids=lambda kind: kind.__name__)
def test_file_shorter_than_nsymbt_is_read_without_an_extended_header(tmp_path, kind):
    """NSYMBT exceeds the size of the data, so the bytes present must be the data."""
    raw, data = without_extended_header(kind, NUMBERS[:1])
    array = read(write(tmp_path, raw), "no extended header: data begin at byte 1024")
    np.testing.assert_array_equal(array, data[0])


def test_single_image_with_nsymbt_missing_bytes_is_an_error(tmp_path):
    _, extended, _ = fei1()
    data = NUMBERS[:30].reshape(1, -1, NX)
    head = header_bytes(nx=NX, ny=240, nz=1, mode=1, nsymbt=len(extended), exttyp=b"FEI1")
    raw = (head + extended + data.tobytes())[: -len(extended)]
    path = write(tmp_path, raw)
    with pytest.raises(TruncatedFileError):
        mrcdist.read_mrc(path)


@pytest.mark.parametrize("kind", [fei1, symmetry, json, hdf5], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("missing", [FRAME, 3 * FRAME + 7])
def test_truncated_file_without_its_extended_header_is_an_error(tmp_path, kind, missing):
    """Frames would be read from after an extended header that does not exist."""
    raw, _ = without_extended_header(kind)
    path = write(tmp_path, raw[:-missing])
    for options in ({}, {"allow_truncated": True}):
        with pytest.raises(FormatError, match="its bytes are not those of"):
            mrcdist.read_mrc(path, **options)


@pytest.mark.parametrize("kind", [*RECOGNISABLE, *AMBIGUOUS], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("missing", [1, FRAME, 3 * FRAME + 7])
def test_allow_truncated_reads_frames_if_other_lengths_are_missing(tmp_path, kind, missing):
    _, extended, _ = kind()
    data = pixels(len(extended))
    raw = head_of(kind, data) + extended + data.tobytes()
    array = read(write(tmp_path, raw[:-missing]), "is truncated", allow_truncated=True)
    np.testing.assert_array_equal(array, data[: (data.nbytes - missing) // FRAME])


@pytest.mark.parametrize("kind", [fei1, symmetry, json, hdf5], ids=lambda kind: kind.__name__)
def test_extended_header_is_skipped_with_a_warning_if_nsymbt_is_0(tmp_path, kind):
    _, extended, _ = kind()
    raw = bytearray(head_of(kind, NUMBERS) + extended + NUMBERS.tobytes())
    struct.pack_into("<i", raw, 92, 0)
    path = write(tmp_path, raw)
    array = read(path, "NSYMBT = 0, but")
    np.testing.assert_array_equal(array, NUMBERS)
    assert "extended header" in errors_of(path)


@pytest.mark.parametrize("exttyp", [b"FEI1", b"CCP4", b"json", b"HDF5", b"MRCO", b"ABCD"])
def test_exttyp_without_an_extended_header_is_ignored(tmp_path, exttyp):
    head = header_bytes(nx=NX, ny=NY, nz=N, mode=1, exttyp=exttyp)
    raw = head + NUMBERS.tobytes()
    [ds] = mrcdist.read_mrc(write(tmp_path, raw))
    np.testing.assert_array_equal(ds["data"].compute(), NUMBERS)
    array = read(write(tmp_path, raw + bytes(768)), "768 bytes follow")
    np.testing.assert_array_equal(array, NUMBERS)
