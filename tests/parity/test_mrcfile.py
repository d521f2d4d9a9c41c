"""Arrays and headers are the same as in mrcfile, for all files that mrcfile reads correctly."""

from __future__ import annotations

import bz2
import gzip
import warnings

import mrcfile
import numpy as np
import pytest

import mrcdist
from mrcdist.errors import MrcdistWarning
from tests.support.mrc_files import MODES, counting, mrc_bytes

# Name of a header field in mrcfile → its name in original_metadata.
FIELDS = {
    "nx": "NX", "ny": "NY", "nz": "NZ", "mode": "MODE",
    "nxstart": "NXSTART", "nystart": "NYSTART", "nzstart": "NZSTART",
    "mx": "MX", "my": "MY", "mz": "MZ",
    "mapc": "MAPC", "mapr": "MAPR", "maps": "MAPS",
    "dmin": "AMIN", "dmax": "AMAX", "dmean": "AMEAN", "rms": "RMS",
    "ispg": "ISPG", "nsymbt": "NSYMBT", "nversion": "NVERSION", "nlabl": "NLABL",
}  # fmt: skip
RECORDS = {
    "cella": {"x": "Xlen", "y": "Ylen", "z": "Zlen"},
    "cellb": {"alpha": "ALPHA", "beta": "BETA", "gamma": "GAMMA"},
    "origin": {"x": "XORIGIN", "y": "YORIGIN", "z": "ZORIGIN"},
}


def assert_same(path):
    """Compare array, shape, all header fields, and the pixel size if both readers know it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MrcdistWarning)
        [ds] = mrcdist.read_mrc(path, metadata_file=None)
        [eager] = mrcdist.read_mrc(path, metadata_file=None, distributed=False)
    with mrcfile.open(path) as theirs, np.errstate(all="ignore"):
        expected, header = np.array(theirs.data), theirs.header.copy()
        labels = [label.rstrip() for label in theirs.get_labels()]
        voxel = theirs.voxel_size.copy()

    assert ds["data"].dtype == expected.dtype.newbyteorder("=")
    assert np.squeeze(ds["data"]).shape == np.squeeze(expected).shape
    np.testing.assert_array_equal(np.squeeze(ds["data"].compute()), np.squeeze(expected))
    np.testing.assert_array_equal(eager["data"], ds["data"].compute())

    std = ds["original_metadata"]["std_header"]
    for theirs_name, ours in FIELDS.items():
        assert_same_number(std[ours], header[theirs_name])
    for record, fields in RECORDS.items():
        for field, ours in fields.items():
            assert_same_number(std[ours], header[record][field])
    assert std["LABELS"] == labels
    assert std["MAP"].encode() == bytes(header["map"])
    assert bytes.fromhex(std["MACHST"]) == header["machst"].tobytes()
    assert std["EXTTYP"].encode() == bytes(header["exttyp"]).strip(b"\0 ")
    if header["mapc"] == 1 and header["mapr"] == 2:
        for axis in ds["axes"][-2:]:
            if axis["units"] == "nm" and header["nsymbt"] == 0:
                assert axis["scale"] == pytest.approx(float(voxel[axis["name"]]) / 10)


def assert_same_number(ours, theirs):
    theirs = theirs.item()
    assert ours == (theirs if np.isfinite(theirs) else None)  # JSON has no NaN


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("dtype", sorted(MODES))
@pytest.mark.parametrize("shape", [(1, 7, 5), (6, 4, 5), (3, 1, 1), (0, 4, 5)])
def test_all_modes_shapes_and_byte_orders_are_read_as_by_mrcfile(tmp_path, dtype, byteorder, shape):
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(counting(shape, dtype), byteorder=byteorder))
    assert_same(path)


HEADERS = {
    "stack of images": {"ispg": 0, "intervals": (5, 4, 1)},
    "volume": {"ispg": 1},
    "volume stack": {"ispg": 401, "intervals": (5, 4, 3)},
    "volume stack of single sections": {"ispg": 630, "intervals": (5, 4, 1)},
    "sampling of zeros": {"intervals": (0, 0, 0)},
    "cell": {"intervals": (10, 8, 12), "cell": (50.0, 80.0, 90.0)},
    "invalid cell": {"cell": (-50.0, float("nan"), float("inf"))},
    "MAPCRS": {"mapcrs": (3, 1, 2)},
    "MAPCRS of zeros": {"mapcrs": (0, 0, 0)},
    "start and origin": {"start": (-5, 7, -(2**31)), "origin": (-1.5, 0.0, 2e6)},
    "statistics": {"statistics": (0.0, 19.0, 9.5, 5.8)},
    "invalid statistics": {"statistics": (float("nan"),) * 4},
    "labels": {"labels": (b"one", b"two with 'quotes'", b"x" * 80)},
    "version": {"nversion": 20141},
    "extended header of text": {"extended": b"X,Y,Z".ljust(160), "exttyp": b"CCP4"},
    "extended header of zeros": {"extended": bytes(131072)},
    "extended header of odd length": {"extended": bytes(7), "exttyp": b"MRCO"},
}


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("name", HEADERS)
def test_header_fields_are_read_as_by_mrcfile(tmp_path, byteorder, name):
    path = tmp_path / "a.mrc"
    data = counting((6, 4, 5), "int16")
    path.write_bytes(mrc_bytes(data, byteorder=byteorder, **HEADERS[name]))
    assert_same(path)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files_are_read_as_by_mrcfile(tmp_path, compress):
    path = tmp_path / "a.mrc"
    path.write_bytes(compress(mrc_bytes(counting((6, 4, 5), "float32"))))
    assert_same(path)


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "complex64", "uint16", "float16"])
@pytest.mark.parametrize("shape", [(7, 5), (6, 4, 5), (2, 3, 4, 5)])
def test_files_written_by_mrcfile_are_read(tmp_path, dtype, shape):
    data = counting(shape, dtype)
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(data)
        file.voxel_size = (1.0, 2.0, 4.0)
        file.add_label("written by mrcfile")
    assert_same(path)
    [ds] = mrcdist.read_mrc(path)
    np.testing.assert_array_equal(ds["data"].compute(), data)
    scales = {axis["name"]: axis["scale"] for axis in ds["axes"] if axis["units"] == "nm"}
    assert scales["x"] == pytest.approx(0.1)
    assert scales["y"] == pytest.approx(0.2)


def test_real_files_are_read_as_by_mrcfile(real_data):
    files = sorted([*real_data.glob("*.mrc"), *real_data.glob("*.map")])
    assert len(files) >= 7
    for path in files:
        assert_same(path)
