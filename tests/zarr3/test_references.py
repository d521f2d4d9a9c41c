"""References to the byte ranges of MRC files, for kerchunk, VirtualiZarr and Icechunk."""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import math
import sys
import zipfile

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist import (
    ArgumentError,
    MissingExtraError,
    MRCParser,
    plan_mrc,
    read_mrc,
    write_references,
)
from mrcdist.testing.acquisition import write_acquisition
from tests.support.examples import examples
from tests.support.mrc_files import counting, header_bytes, mrc_bytes, write_mrc
from tests.support.random_mrc import random_chunks
from tests.zarr3.conftest import FRAMES
from tests.zarr3.random_selection import sound_case

pytest.importorskip("zarr", minversion="3", reason="kerchunk needs zarr 3")
xr = pytest.importorskip("xarray")

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")


def write_json(plan, folder):
    """Write references to a JSON file, and return them."""
    path = folder / "references.json"
    path.unlink(missing_ok=True)
    write_references(plan, path)
    document = json.loads(path.read_text())
    assert set(document) == {"version", "refs"}
    assert document["version"] == 1
    return document["refs"]


def array_of(refs):
    """Read the array through references, using only numpy."""
    head = json.loads(refs["data/.zarray"])
    array = np.zeros(head["shape"], np.dtype(head["dtype"]).newbyteorder("="))
    chunks = head["chunks"]
    grid = [size // length for size, length in zip(array.shape, chunks, strict=True)]
    for index in np.ndindex(*grid):
        url, offset, size = refs[f"data/{'.'.join(map(str, index))}"]
        assert size == math.prod(chunks) * array.itemsize
        with open(url.removeprefix("file://"), "rb") as file:  # noqa: PTH123
            file.seek(offset)
            block = np.frombuffer(file.read(size), head["dtype"]).reshape(chunks)
        slices = (slice(i * n, (i + 1) * n) for i, n in zip(index, chunks, strict=True))
        array[tuple(slices)] = block
    assert sum(key.startswith("data/") for key in refs) == 2 + math.prod(grid)
    return array


def is_stored_plainly(plan):
    """Return whether each frame is stored in a file as in a numpy array."""
    numbers = plan.layout.frames(tuple(map(range, plan.layout.navigation_shape)), plan.source.table)
    parts = plan.source.parts
    encoded = any(part.compression or part.sections or part.pixels for part in parts)
    return plan.layout.pixels.plain and not encoded and numbers.min() >= 0


def cause_of_refusal(plan, folder):
    with pytest.raises(ArgumentError) as raised:
        write_references(plan, folder / "refused.json")
    assert raised.value.code == "references-impossible"
    assert not (folder / "refused.json").exists()
    return raised.value.cause


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cases")


class TestByteRanges:
    @given(number=st.integers(0, 2**32))
    @examples(200)
    def test_referenced_byte_ranges_of_any_dataset_contain_its_pixels(self, folder, number):
        url, options, truth, rng = sound_case(number, folder)
        plan = plan_mrc(url, chunks=random_chunks(rng, truth.shape), **options)
        if not is_stored_plainly(plan):
            assert cause_of_refusal(plan, folder)
            return
        array = array_of(write_json(plan, folder))
        assert array.dtype == truth.dtype
        np.testing.assert_array_equal(array, truth)

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    @pytest.mark.parametrize(
        "dtype", ["int8", "int16", "float32", "complex64", "uint16", "float16"]
    )
    def test_plain_modes_can_be_referenced(self, tmp_path, dtype, byteorder):
        numbers = counting((6, 4, 5), dtype)
        path = write_mrc(tmp_path / "a.mrc", numbers, byteorder=byteorder)
        refs = write_json(plan_mrc(path, chunks=(2, -1, -1)), tmp_path)
        assert json.loads(refs["data/.zarray"])["chunks"] == [2, 4, 5]
        np.testing.assert_array_equal(array_of(refs), numbers)

    @pytest.mark.parametrize(("n", "length", "expected"), [(7, 3, 1), (12, 5, 4), (10, 10, 10)])
    def test_all_referenced_chunks_are_full(self, tmp_path, n, length, expected):
        path = write_mrc(tmp_path / "a.mrc", counting((n, 4, 5), "int16"))
        refs = write_json(plan_mrc(path, chunks=(length, -1, -1)), tmp_path)
        assert json.loads(refs["data/.zarray"])["chunks"] == [expected, 4, 5]

    def test_referenced_frame_can_have_several_chunks(self, tmp_path):
        numbers = counting((3, 6, 4), "int16")
        path = write_mrc(tmp_path / "a.mrc", numbers)
        refs = write_json(plan_mrc(path, chunks=(1, 2, -1)), tmp_path)
        assert json.loads(refs["data/.zarray"])["chunks"] == [1, 2, 4]
        np.testing.assert_array_equal(array_of(refs), numbers)

    def test_stack_of_single_rows_can_be_referenced(self, tmp_path):
        numbers = counting((4, 1, 5), "int16")
        path = write_mrc(tmp_path / "a.mrc", numbers)
        refs = write_json(plan_mrc(path, chunks=(2, 1, 1)), tmp_path)
        np.testing.assert_array_equal(array_of(refs), numbers)

    def test_referenced_chunks_do_not_extend_beyond_a_part(self, tmp_path):
        numbers = counting((6, 4, 5), "int16")
        parts = [tmp_path / f"part{n}.mrc" for n in range(2)]
        for part, frames in zip(parts, np.split(numbers, [2]), strict=True):
            write_mrc(part, frames)
        refs = write_json(plan_mrc(parts, chunks=(3, -1, -1)), tmp_path)
        np.testing.assert_array_equal(array_of(refs), numbers)
        assert {
            ref[0]
            for key, ref in refs.items()
            if key.startswith("data/") and "." in key[6:] and isinstance(ref, list)
        } == {f"file://{part}" for part in parts}


class TestImpossibleReferences:
    def test_compressed_file_cannot_be_referenced(self, tmp_path):
        path = tmp_path / "a.mrc.gz"
        path.write_bytes(gzip.compress(mrc_bytes(counting((3, 4, 5), "int16"))))
        assert cause_of_refusal(plan_mrc(path), tmp_path) == "the file is one gzip stream"

    def test_file_in_an_archive_cannot_be_referenced(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.writestr("a.mrc", mrc_bytes(counting((3, 4, 5), "int16")))
        plan = plan_mrc(f"zip://a.mrc::{tmp_path}/all.zip")
        assert "archives" in cause_of_refusal(plan, tmp_path)

    @pytest.mark.parametrize(
        ("mode", "row", "cause"), [(101, 3, "share a byte"), (3, 20, "two integers")]
    )
    def test_pixels_without_a_zarr_dtype_cannot_be_referenced(self, tmp_path, mode, row, cause):
        path = tmp_path / "a.mrc"
        path.write_bytes(header_bytes(nx=5, ny=4, nz=2, mode=mode) + bytes(2 * 4 * row))
        assert cause in cause_of_refusal(plan_mrc(path), tmp_path)

    def test_scan_points_without_a_frame_cannot_be_referenced(self, tmp_path):
        points = np.array([(0, 0), (1, 1), (2, 1)])
        acquisition = write_acquisition(tmp_path, scan_shape=(2, 3), custom_points=points)
        assert "without a frame" in cause_of_refusal(plan_mrc(acquisition.movie), tmp_path)


class TestDestination:
    @pytest.mark.parametrize("name", ["a.json", "a.parquet"])
    def test_existing_destination_of_references_is_not_replaced(self, acquisition, tmp_path, name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").write_text("data")
        with pytest.raises(ArgumentError, match="exists"):
            write_references(acquisition.movie, tmp_path / name)
        assert (tmp_path / name / "precious").read_text() == "data"

    def test_unknown_suffix_for_references_is_an_error(self, acquisition, tmp_path):
        with pytest.raises(ArgumentError) as raised:
            write_references(acquisition.movie, tmp_path / "a.zarr")
        assert raised.value.code == "destination-invalid"

    def test_references_contain_the_version_of_the_file_but_no_secrets(self, stack, tmp_path):
        write_references(stack.url, tmp_path / "a.json", storage_options=stack.options)
        text = (tmp_path / "a.json").read_text()
        assert stack.options["secret"] not in text
        [file] = json.loads(json.loads(text)["refs"]["data/.zattrs"])["files"]
        version = plan_mrc(stack.url, storage_options=stack.options).source.parts[0].file.version
        assert file == {
            "url": stack.url,
            "size": version.size,
            "kind": version.kind,
            "value": version.value,
        }

    def test_references_contain_the_positions_along_the_axes_as_coordinates(
        self, acquisition, tmp_path
    ):
        refs = write_json(plan_mrc(acquisition.movie), tmp_path)
        raw = base64.b64decode(refs["x/0"].removeprefix("base64:"))
        np.testing.assert_allclose(np.frombuffer(raw, "<f8"), 0.4 * np.arange(8))


class TestReaders:
    @pytest.mark.parametrize("name", ["movie.json", "movie.parquet"])
    def test_xarray_opens_references(self, acquisition, tmp_path, name):
        plan = plan_mrc(acquisition.movie, chunks=(2, -1, -1, -1))
        write_references(plan, tmp_path / name)
        ds = xr.open_dataset(str(tmp_path / name), engine="kerchunk", chunks={})
        [expected] = read_mrc(acquisition.movie, lazy=False)
        assert ds["data"].dtype == expected["data"].dtype
        np.testing.assert_array_equal(ds["data"].values, expected["data"])
        assert ds.chunks["y"] == (2, 2)
        assert ds["x"].attrs == {"units": "nm"}

    def test_references_to_s3_can_be_written_to_a_disk_or_to_s3(self, stack, tmp_path):
        on_disk, on_s3 = tmp_path / "a.json", f"{stack.url}.json"
        for destination in (on_disk, on_s3):
            write_references(stack.url, destination, storage_options=stack.options)
        with fsspec.open(on_s3, **stack.options) as file:
            assert file.read() == on_disk.read_bytes()
        # A copy, because kerchunk modifies it.
        options = {"remote_protocol": "s3", "remote_options": dict(stack.options)}
        ds = xr.open_dataset(str(on_disk), engine="kerchunk", storage_options=options)
        np.testing.assert_array_equal(ds["data"][7].values, FRAMES[7])

    @pytest.mark.parametrize("module", ["manifests", "parsers.kerchunk.translator"])
    def test_virtualizarr_without_a_needed_module_counts_as_missing(self, monkeypatch, module):
        pytest.importorskip("virtualizarr")
        monkeypatch.setitem(sys.modules, f"virtualizarr.{module}", None)
        with pytest.raises(MissingExtraError, match=r"references"):
            MRCParser()("file:///no/such/file.mrc", registry=None)

    def test_virtualizarr_and_icechunk_read_a_parsed_file(self, acquisition, tmp_path):
        virtualizarr = pytest.importorskip("virtualizarr")
        icechunk = pytest.importorskip("icechunk")
        from obspec_utils.registry import ObjectStoreRegistry
        from obstore.store import LocalStore

        [expected] = read_mrc(acquisition.movie, lazy=False)
        registry = ObjectStoreRegistry({"file://": LocalStore()})
        ds = virtualizarr.open_virtual_dataset(
            f"file://{acquisition.movie}",
            registry=registry,
            parser=MRCParser(chunks=(2, -1, -1, -1)),
        )
        folder = f"file://{acquisition.movie.parent}/"
        config = icechunk.RepositoryConfig.default()
        store = icechunk.local_filesystem_store(str(acquisition.movie.parent))
        config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(folder, store))
        now = datetime.datetime.now(datetime.UTC)

        def read_with_icechunk(seconds):
            """Commit the references, `seconds` newer than the file; read the array with them."""
            repository = icechunk.Repository.create(
                icechunk.in_memory_storage(), config, authorize_virtual_chunk_access={folder: None}
            )
            session = repository.writable_session("main")
            date = now + datetime.timedelta(seconds=seconds)
            ds.vz.to_icechunk(session.store, last_updated_at=date)
            return xr.open_zarr(session.store, consolidated=False)["data"].values

        np.testing.assert_array_equal(read_with_icechunk(1), expected["data"])
        with pytest.raises(icechunk.IcechunkError, match="checksum"):
            read_with_icechunk(-(10**6))
