"""Arrays of any shape and chunks: written files are compared byte by byte and read back."""

from __future__ import annotations

import io
import itertools
import struct
import warnings

import dask
import dask.array as da
import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcdist
from mrcdist.errors import MrcdistWarning
from tests.support.mrc_files import MODES, header_bytes

# dtype of the array, argument `dtype`, stored dtype.
TYPES = [
    *((name, None, name) for name in MODES),
    ("bool", None, "int8"),
    ("uint8", None, "uint16"),
    ("uint8", "uint8", "uint8"),
    ("float64", "float32", "float32"),
    ("int64", "int16", "int16"),
    ("int32", "uint4", "uint4"),
]


@st.composite
def shapes_and_chunks(draw):
    shape = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    chunks = []
    for size in shape:
        edges = sorted({0, size, *draw(st.sets(st.integers(1, size), max_size=1))})
        chunks.append(tuple(b - a for a, b in itertools.pairwise(edges)))
    return tuple(shape), tuple(chunks)


def values(shape, dtype, stored):
    random = np.random.default_rng(len(shape) + shape[-1])
    top = 2 if dtype == "bool" else 16 if stored == "uint4" else 100
    numbers = random.integers(0, top, shape)
    if dtype.startswith(("int", "float")) and stored != "uint4":
        numbers = numbers - 50
    return (numbers * (1 + 0.5j) if dtype == "complex64" else numbers).astype(dtype)


def pixel_bytes(array, stored, byteorder):
    if stored != "uint4":
        return array.astype(np.dtype(stored).newbyteorder(byteorder)).tobytes()
    packed = bytearray()
    for row in array.reshape(-1, array.shape[-1]).tolist():
        even = [*row, 0] if len(row) % 2 else row
        packed += bytes(a | b << 4 for a, b in zip(even[::2], even[1::2], strict=True))
    return bytes(packed)


def expected_file(array, stored, byteorder):
    """Return header and pixels of the file, without the label, whose date is unknown."""
    *sections, ny, nx = array.shape
    if array.dtype.kind == "c":
        statistics = (0.0, -1.0, -2.0, -1.0)
    else:
        exact = array.astype(np.float64)
        statistics = (exact.min(), exact.max(), exact.mean(), exact.std())
    raw = header_bytes(
        nx=nx, ny=ny, nz=int(np.prod(sections, dtype=int)), byteorder=byteorder,
        mode={"uint8": 0, "uint4": 101}.get(stored, MODES.get(stored)),
        intervals=(nx, ny, 1), statistics=statistics, nversion=20141,
        imod_flags=4 if stored == "uint8" else None,
    )  # fmt: skip
    return raw[:220] + struct.pack(f"{byteorder}i", 1), pixel_bytes(array, stored, byteorder)


@settings(max_examples=40, deadline=None)
@given(shapes_and_chunks(), st.sampled_from(TYPES), st.sampled_from("<>"))
def test_written_file_has_the_expected_bytes_and_reads_back(
    tmp_path_factory, shape_and_chunks, types, byteorder
):
    (shape, chunks), (dtype, requested, stored) = shape_and_chunks, types
    numbers = values(shape, dtype, stored)
    path = tmp_path_factory.mktemp("any") / "a.mrc"
    with warnings.catch_warnings(), dask.config.set(scheduler="sync"):
        warnings.filterwarnings("ignore", "a scan of|.*written as a plain stack", MrcdistWarning)
        mrcdist.write_mrc(
            path, da.from_array(numbers, chunks=chunks), dtype=requested, byteorder=byteorder
        )
    raw = path.read_bytes()
    header, pixels = expected_file(numbers, stored, byteorder)
    assert raw[:76] == header[:76]
    order = np.dtype("float32").newbyteorder(byteorder)
    for at, count in ((76, 3), (216, 1)):  # mean and RMS deviation, except the last digit
        ours, theirs = (np.frombuffer(each, order, count, at) for each in (raw, header))
        assert ours == pytest.approx(theirs, rel=3e-7, abs=1e-30)
    assert raw[88:216] == header[88:216]
    assert raw[220:232] == header[220:224] + b"mrcdist "
    assert raw[304:1024] == bytes(720)
    assert raw[1024:] == pixels
    [data] = mrcdist.read_mrc(path, distributed=False)
    np.testing.assert_array_equal(np.asarray(data["data"]).reshape(shape), numbers)
    if stored not in ("uint8", "uint4"):  # mrcfile supports neither
        with mrcfile.open(path) as file:
            np.testing.assert_array_equal(file.data.reshape(shape), numbers)
        if stored != "float16":  # mrcfile sums it in float16
            report = io.StringIO()
            assert mrcfile.validate(str(path), print_file=report), report.getvalue()
