"""`convert` to .zarr: numbers, chunks, atomic creation, and resuming."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import mrcdist
from mrcdist import ArgumentError, MrcdistError, convert, plan_mrc, read_mrc
from mrcdist.interop.zarr_writer import ZarrReport
from tests.support.examples import examples
from tests.support.http_log import Fault
from tests.support.mrc_files import counting, write_mrc
from tests.support.processes import ROOT
from tests.support.random_mrc import random_chunks
from tests.zarr3.conftest import FRAMES
from tests.zarr3.random_selection import sound_case

zarr = pytest.importorskip("zarr", minversion="3", reason="shards need zarr 3")

pytestmark = pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")


def data_in(path):
    return zarr.open_array(f"{path}/data", mode="r")


def keys_in(bucket):
    listing = bucket.server.client.list_objects_v2(Bucket=bucket.name)
    return [entry["Key"] for entry in listing.get("Contents", [])]


def files_in(path):
    return sorted(f"{file.relative_to(path)}" for file in path.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cases")


@pytest.fixture
def source(tmp_path):
    """A stack of 40 frames, which is converted to ten shards of 64 KiB."""
    numbers = np.random.default_rng(0).integers(0, 1000, (40, 64, 128), "uint16")
    path = tmp_path / "in.mrc"
    write_mrc(path, numbers)
    return plan_mrc(path, chunks=(4, -1, -1)), numbers


class Counted(zarr.storage.WrapperStore):
    """Store that counts the bytes of the chunks that are read."""

    nbytes = 0

    async def get(self, key, prototype, byte_range=None):
        buffer = await super().get(key, prototype, byte_range)
        if "/c/" in key and buffer is not None:
            Counted.nbytes += len(buffer)
        return buffer


class TestNumbers:
    @given(number=st.integers(0, 2**32))
    @examples(40)
    def test_converted_selection_of_any_dataset_equals_numpy(
        self, folder, tmp_path_factory, number
    ):
        url, options, truth, rng = sound_case(number, folder)
        plan = plan_mrc(url, chunks=random_chunks(rng, truth.shape), **options)
        select = [
            slice(start, rng.randint(start + 1, size))
            for size in truth.shape[: rng.randint(0, truth.ndim)]
            for start in [rng.randrange(size)]
        ]
        target = tmp_path_factory.mktemp("out") / "a.zarr"
        report = convert(plan, target, select=select, verify=True)
        expected = truth[tuple(select)]
        found = data_in(target)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found[...], expected)
        assert (report.shape, report.verified) == (expected.shape, True)

    def test_converted_array_has_the_requested_dtype(self, source, tmp_path):
        plan, numbers = source
        convert(plan, tmp_path / "a.zarr", dtype="float32")
        found = data_in(tmp_path / "a.zarr")
        assert found.dtype == "float32"
        np.testing.assert_array_equal(found[...], numbers)

    def test_value_that_does_not_fit_is_an_error_and_leaves_no_files(self, source, tmp_path):
        with pytest.raises(ArgumentError, match="does not fit int8"):
            convert(source[0], tmp_path / "a.zarr", dtype="int8")
        assert [path.name for path in tmp_path.iterdir()] == ["in.mrc"]


class TestChunks:
    def test_converted_scan_has_few_files_from_which_single_patterns_are_read(self, tmp_path):
        numbers = np.random.default_rng(0).integers(0, 2**16, (1024, 128, 128), "uint16")
        path = write_mrc(tmp_path / "in.mrc", numbers)
        target = tmp_path / "a.zarr"
        plan = plan_mrc(path, navigation_shape=(32, 32), chunks="8 MiB")
        convert(plan, target)
        data = [name for name in files_in(target) if name.startswith("data/c/")]
        assert len(data) == 4  # each with 1024 patterns
        array = zarr.open_group(Counted(zarr.storage.LocalStore(target)), mode="r")["data"]
        Counted.nbytes = 0
        np.testing.assert_array_equal(array[5, 7], numbers[5 * 32 + 7])
        index = 256 * 16 + 4  # index of the shard, and its checksum
        assert Counted.nbytes - index < 1.1 * 128 * 128 * 2

    def test_large_frames_are_converted_to_tiles(self, tmp_path):
        numbers = np.random.default_rng(0).integers(0, 2**16, (4, 1024, 1024), "uint16")
        target = tmp_path / "a.zarr"
        convert(write_mrc(tmp_path / "in.mrc", numbers), target)
        assert data_in(target).chunks == (1, 256, 256)
        assert len([name for name in files_in(target) if name.startswith("data/c/")]) == 1

    def test_converted_volume_has_cubic_chunks(self, tmp_path):
        path = tmp_path / "in.mrc"
        write_mrc(path, np.zeros((70, 80, 90), "int8"), cell=(90.0, 80.0, 70.0), ispg=1)
        convert(path, tmp_path / "a.zarr")
        assert data_in(tmp_path / "a.zarr").chunks == (64, 64, 64)


class TestOtherTools:
    def test_xarray_opens_a_converted_scan_with_axes_and_metadata(self, acquisition, tmp_path):
        convert(acquisition.movie, tmp_path / "a.zarr", select="1:,2:")
        expected = xr.open_dataset(acquisition.movie, engine="mrcdist").isel(
            y=slice(1, None), x=slice(2, None)
        )
        found = xr.open_zarr(tmp_path / "a.zarr")
        xr.testing.assert_allclose(found.compute(), expected.compute())
        assert found.attrs == expected.attrs
        assert found["x"].attrs == {"units": "nm"}

    def test_dask_reads_a_converted_array(self, source, tmp_path):
        convert(source[0], tmp_path / "a.zarr")
        lazy = dask.array.from_zarr(str(tmp_path / "a.zarr"), component="data")
        np.testing.assert_array_equal(lazy.compute(), source[1])


class TestAtomicCreation:
    def test_existing_destination_is_kept(self, source, tmp_path):
        plan, numbers = source
        convert(plan, tmp_path / "a.zarr")
        with pytest.raises(ArgumentError, match="exists"):
            convert(plan, tmp_path / "a.zarr", select=":1")
        np.testing.assert_array_equal(data_in(tmp_path / "a.zarr")[...], numbers)
        convert(plan, tmp_path / "a.zarr", select=":1", overwrite=True)
        np.testing.assert_array_equal(data_in(tmp_path / "a.zarr")[...], numbers[:1])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "in.mrc"]

    @pytest.mark.parametrize("inside", ["something.txt", None])
    def test_folder_other_than_zarr_is_never_replaced(self, source, tmp_path, inside):
        existing = tmp_path / "a.zarr"
        if inside:
            existing.mkdir()
            existing = existing / inside
        existing.write_text("not ours")
        with pytest.raises(ArgumentError, match="is not a Zarr"):
            convert(source[0], tmp_path / "a.zarr", overwrite=True)
        assert existing.read_text() == "not ours"

    def test_input_is_never_replaced(self, tmp_path):
        folder = tmp_path / "a.zarr"
        folder.mkdir()
        path = write_mrc(folder / "in.mrc", counting((4, 8, 8), "int16"))
        (folder / "zarr.json").write_text("{}")
        for target in (folder, path):
            with pytest.raises(ArgumentError) as raised:
                convert(path, target, overwrite=True)
            assert raised.value.code == "destination-is-input"
        assert path.exists()

    def test_failed_conversion_keeps_the_existing_hierarchy(self, source, tmp_path):
        plan, numbers = source
        convert(plan, tmp_path / "a.zarr")
        before = plan_mrc(tmp_path / "in.mrc", chunks=(4, -1, -1))
        os.truncate(tmp_path / "in.mrc", 2000)
        with pytest.raises(MrcdistError):
            convert(before, tmp_path / "a.zarr", overwrite=True)
        np.testing.assert_array_equal(data_in(tmp_path / "a.zarr")[...], numbers)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "in.mrc"]

    def test_damage_is_detected_before_the_destination_appears(self, source, tmp_path):
        plan, _ = source
        target = tmp_path / "a.zarr"
        kill_conversion(plan, target, after=3)
        shard = next(tmp_path.glob(".a.zarr.mrcdist-write/tree-*/data/c/*/0/0"))
        raw = bytearray(shard.read_bytes())
        raw[len(raw) // 2] ^= 1
        shard.write_bytes(raw)
        # The checksum of zarr's codec may detect it first.
        with pytest.raises(Exception, match=r"differs|could not be written|decompress"):
            convert(plan, target, resume=True, verify=True)
        assert not target.exists()


def kill_conversion(plan, target, *, after):
    """Convert in another process, which is killed after a number of blocks."""
    script = (
        "import dask, mrcdist, sys\n"
        "with dask.config.set(scheduler='synchronous'):\n"
        "    plan = mrcdist.plan_mrc(sys.argv[1], chunks=(4, -1, -1))\n"
        "    mrcdist.convert(plan, sys.argv[2], resume=True)\n"
    )
    command = [sys.executable, "-c", script, plan.location.url, str(target)]
    folder = target.with_name(f".{target.name}.mrcdist-write")
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        while len(list(folder.glob("*.done"))) < after and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


class TestResume:
    def test_killed_conversion_is_resumed(self, source, tmp_path):
        plan, numbers = source
        target = tmp_path / "a.zarr"
        kill_conversion(plan, target, after=3)
        assert not target.exists()
        with pytest.raises(ArgumentError, match="an earlier call was interrupted"):
            convert(plan, target)
        with pytest.raises(ArgumentError, match="a different array"):
            convert(plan, target, resume=True, select=":3")
        report = convert(plan, target, resume=True)
        assert 3 <= report.blocks_kept < report.blocks == 10
        np.testing.assert_array_equal(data_in(target)[...], numbers)
        convert(plan, tmp_path / "b.zarr")
        whole = {name: (tmp_path / "b.zarr" / name).read_bytes() for name in files_in(target)}
        assert {name: (target / name).read_bytes() for name in files_in(target)} == whole
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.zarr", "in.mrc"]


class TestStores:
    def test_root_document_is_written_last_in_a_bucket(self, stack, moto):
        with moto.bucket() as bucket:
            url = bucket.url("out.zarr")
            report = convert(stack.url, url, storage_options=stack.options, verify=True)
            assert isinstance(report, ZarrReport)
            keys = keys_in(bucket)
            assert not [key for key in keys if "mrcdist-write" in key]
            group = zarr.open_group(url, mode="r", storage_options=stack.options)
            [ds] = read_mrc(stack.url, lazy=False, storage_options=stack.options)
            np.testing.assert_array_equal(group["data"][...], ds["data"])
            with pytest.raises(ArgumentError, match="exists"):
                convert(stack.url, url, storage_options=stack.options)
            convert(stack.url, url, select=":2", storage_options=stack.options, overwrite=True)
            group = zarr.open_group(url, mode="r", storage_options=stack.options)
            np.testing.assert_array_equal(group["data"][...], ds["data"][:2])
            assert stack.options["secret"] not in "".join(map(str, keys))
            assert not [key for key in keys_in(bucket) if "mrcdist-write" in key]

    def test_failed_overwrite_in_a_bucket_keeps_the_existing_hierarchy(self, stack, moto):
        with moto.bucket() as bucket:
            url = bucket.url("out.zarr")
            convert(stack.url, url, select=":2", storage_options=stack.options)
            before = keys_in(bucket)
            with pytest.raises(ArgumentError, match="does not fit int8"):
                convert(stack.url, url, dtype="int8", storage_options=stack.options, overwrite=True)
            assert keys_in(bucket) == before
            group = zarr.open_group(url, mode="r", storage_options=stack.options)
            np.testing.assert_array_equal(group["data"][...], FRAMES[:2])

    @pytest.mark.parametrize("step", ["deletes", "copies"])
    def test_overwrite_in_a_bucket_that_fails_half_way_can_be_resumed(self, stack, moto, step):
        def refuse_chunks(exchange):
            deleted = step == "deletes" and exchange.method == "POST"
            copied = step == "copies" and exchange.method == "PUT"
            copied = copied and "/out.zarr/data/c/" in exchange.path
            return Fault("status", status=403) if deleted or copied else None

        options = {"storage_options": stack.options, "overwrite": True}
        with moto.bucket() as bucket:
            url = bucket.url("out.zarr")
            convert(stack.url, url, select=":2", **options)
            stack.proxy.respond = refuse_chunks
            with pytest.raises(MrcdistError, match="no permission to write"):
                convert(stack.url, url, select="3:6", **options)
            stack.proxy.respond = None
            assert any("/out.zarr/data/c/" in f"/{key}" for key in keys_in(bucket)) == (
                step == "deletes"
            )
            # Neither hierarchy can be opened, since zarr would read missing chunks as zeros.
            for open_, path in ((zarr.open_group, url), (zarr.open_array, f"{url}/data")):
                with pytest.raises(FileNotFoundError):
                    open_(path, mode="r", storage_options=stack.options)
            with pytest.raises(ArgumentError, match="an earlier call was interrupted"):
                convert(stack.url, url, select="3:6", **options)
            report = convert(stack.url, url, select="3:6", resume=True, **options)
            assert report.blocks_kept == report.blocks
            group = zarr.open_group(url, mode="r", storage_options=stack.options)
            np.testing.assert_array_equal(group["data"][...], FRAMES[3:6])
            assert not [key for key in keys_in(bucket) if "mrcdist-write" in key]


def test_convert_and_its_report_are_public_names():
    assert {"convert", "ZarrReport"} <= set(mrcdist.__all__)
    assert Path(mrcdist.__file__).is_relative_to(ROOT)
