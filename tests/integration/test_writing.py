"""Writing with a cluster of processes to disks and S3, resuming, and failures."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import fsspec
import numpy as np
import pytest
from distributed import Client

import mrcdist
from mrcdist import stats
from mrcdist.errors import ArgumentError, MrcdistWarning, WriteError
from mrcdist.storage.location import Location
from mrcdist.write.encoded_block import EncodedBlock
from mrcdist.write.grid import Grid, split_run
from mrcdist.write.local import LocalDestination
from mrcdist.write.plan import WritePlan
from mrcdist.write.s3 import S3Destination
from mrcdist.write.s3_parts import S3Limits, packed_pieces
from mrcdist.write.s3_upload import S3Upload
from mrcdist.write.tasks import Job, write_block
from tests.support.http_log import CountingProxy, Exchange
from tests.support.processes import ROOT
from tests.support.s3 import Bucket, S3Server

MIB = 2**20
NUMBERS = np.random.default_rng(0).integers(0, 4000, (48, 512, 512), dtype="uint16")  # 24 MiB


def chunked(frames: int = 12) -> da.Array:
    return da.from_array(NUMBERS, chunks=(frames, -1, -1))


def read_back(url: Any, **options: Any) -> np.ndarray[Any, Any]:
    [data] = mrcdist.read_mrc(url, metadata_file=None, **options)
    numbers: np.ndarray[Any, Any] = data["data"].compute()
    return numbers


def names_in(bucket: Bucket) -> list[str]:
    response = bucket.server.client.list_objects_v2(Bucket=bucket.name)
    return [each["Key"] for each in response.get("Contents", ())]


def uploads_in(bucket: Bucket) -> list[str]:
    response = bucket.server.client.list_multipart_uploads(Bucket=bucket.name)
    return [each["Key"] for each in response.get("Uploads", ())]


@pytest.fixture
def options(s3_bucket: Bucket) -> dict[str, Any]:
    return s3_bucket.storage_options()


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if request.param == "disk":
        yield str(tmp_path / "a.mrc"), {}
        return
    with request.getfixturevalue("moto").bucket() as bucket:
        yield bucket.url("a.mrc"), bucket.storage_options()


class TestDisk:
    @pytest.mark.usefixtures("cluster")
    @pytest.mark.parametrize("chunks", [(6, -1, -1), (48, 100, -1), (48, 512, 130), (7, 300, 200)])
    def test_blocks_of_any_shape_are_written_by_the_workers(
        self, tmp_path: Path, chunks: tuple[int, ...]
    ) -> None:
        path = tmp_path / "numbers.mrc"
        report = mrcdist.write_mrc(path, da.from_array(NUMBERS, chunks=chunks))
        np.testing.assert_array_equal(read_back(path), NUMBERS)
        assert report.statistics == pytest.approx(
            (NUMBERS.min(), NUMBERS.max(), NUMBERS.mean(), NUMBERS.std())
        )
        assert [each.name for each in tmp_path.iterdir()] == ["numbers.mrc"]

    @pytest.mark.parametrize("dtype", ["uint16", "float64"])
    def test_header_does_not_depend_on_the_chunks(self, tmp_path: Path, dtype: str) -> None:
        values = NUMBERS if dtype == "uint16" else np.random.default_rng(0).normal(size=(8, 64, 64))
        if dtype == "float64":  # values that cancel out except for rounding errors
            values = np.concatenate([values, -values])
        headers = set()
        for number, chunks in enumerate([(48, -1, -1), (6, -1, -1), (5, 100, -1), (7, 30, 20)]):
            path = tmp_path / f"{number}.mrc"
            stored = None if dtype == "uint16" else "float32"
            mrcdist.write_mrc(path, da.from_array(values, chunks=chunks), dtype=stored)
            headers.add(path.read_bytes()[:224])  # labels have a date
        assert len(headers) == 1

    def test_existing_file_is_replaced_only_with_overwrite(self, tmp_path: Path) -> None:
        path = tmp_path / "numbers.mrc"
        path.write_bytes(b"mine")
        with pytest.raises(ArgumentError) as error:
            mrcdist.write_mrc(path, chunked())
        assert error.value.code == "destination-exists"
        assert path.read_bytes() == b"mine"
        mrcdist.write_mrc(path, chunked(), overwrite=True)
        np.testing.assert_array_equal(read_back(path), NUMBERS)

    def test_existing_file_is_kept_if_replacing_it_fails(self, tmp_path: Path) -> None:
        path = tmp_path / "numbers.mrc"
        path.write_bytes(b"mine")

        def failing(block: Any) -> Any:
            raise RuntimeError("the computation failed")

        broken = chunked().map_blocks(failing, dtype="uint16", meta=np.empty((0, 0, 0), "uint16"))
        with pytest.raises(RuntimeError):
            mrcdist.write_mrc(path, broken, overwrite=True)
        assert path.read_bytes() == b"mine"
        assert [each.name for each in tmp_path.iterdir()] == ["numbers.mrc"]

    def test_second_writer_is_refused_while_the_first_writes(self, tmp_path: Path) -> None:
        path = tmp_path / "numbers.mrc"
        first = mrcdist.write_mrc(path, chunked(), compute=False)
        with pytest.raises(ArgumentError) as error:
            mrcdist.write_mrc(path, chunked())
        assert error.value.code == "destination-busy"
        first.compute()
        np.testing.assert_array_equal(read_back(path), NUMBERS)

    @pytest.mark.parametrize("first_ends_first", [True, False])
    def test_tasks_of_a_replaced_call_write_nothing(
        self, tmp_path: Path, first_ends_first: bool
    ) -> None:
        path = tmp_path / "numbers.mrc"
        first, second = (
            mrcdist.write_mrc(path, data, overwrite=True, compute=False)
            for data in (chunked() + 1, chunked())
        )
        if not first_ends_first:
            second.compute()
        with pytest.raises(WriteError) as error:
            first.compute()
        assert error.value.code == "unfinished-file-missing"
        if first_ends_first:
            assert not path.exists()
            second.compute()
        np.testing.assert_array_equal(read_back(path), NUMBERS)
        assert [each.name for each in tmp_path.iterdir()] == ["numbers.mrc"]

    def test_link_is_replaced_rather_than_its_target(self, tmp_path: Path) -> None:
        path, other = tmp_path / "numbers.mrc", tmp_path / "other.mrc"
        path.symlink_to(other)
        for _ in range(2):  # a dangling link, then a link to a file
            with pytest.raises(ArgumentError) as error:
                mrcdist.write_mrc(path, chunked())
            assert error.value.code == "destination-exists"
            other.write_bytes(b"mine")
        mrcdist.write_mrc(path, chunked(), overwrite=True)
        assert other.read_bytes() == b"mine"
        assert not path.is_symlink()

    @pytest.mark.parametrize("compressor", [None, "lz4"])
    def test_failed_delayed_writing_does_not_block_the_next_call(
        self, place: tuple[str, dict[str, Any]], compressor: str | None
    ) -> None:
        url, options = place
        wide = da.from_array(NUMBERS.astype("int32") + 70_000, chunks=(24, -1, -1))
        arguments = {"compressor": compressor, "storage_options": options}
        writing = mrcdist.write_mrc(url, wide, dtype="uint16", compute=False, **arguments)
        with dask.config.set(scheduler="sync"), pytest.raises(ArgumentError, match="does not fit"):
            writing.compute()
        mrcdist.write_mrc(url, chunked(), **arguments)  # is not refused
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)

    def test_file_created_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "numbers.mrc"
        writing = mrcdist.write_mrc(path, chunked(), compute=False)
        path.write_bytes(b"another writer's")
        with pytest.raises(ArgumentError) as error:
            writing.compute()
        assert error.value.code == "destination-exists"
        assert path.read_bytes() == b"another writer's"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.fixture
    def small(self, tmp_path: Path) -> Iterator[Path]:
        """A disk of 4 MiB."""
        folder = tmp_path / "small"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
        if subprocess.run(mount, check=False).returncode:
            pytest.skip("mounting a small disk requires root")
        yield folder
        # A thread of the failed computation may still have a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

    @pytest.mark.parametrize("frames", [6, 48])
    def test_full_disk_raises_the_same_error_for_compressed_blocks(
        self, small: Path, frames: int
    ) -> None:
        noise = np.random.default_rng(0).integers(0, 2**16, NUMBERS.shape, dtype="uint16")
        array = da.from_array(noise, chunks=(frames, -1, -1))
        with pytest.raises(WriteError) as error:
            mrcdist.write_mrc(small / "numbers.mrcz", array)
        assert error.value.code == "disk-full"
        assert list(small.iterdir()) == []

    def test_full_disk_raises_the_same_error_when_blocks_are_joined(self, small: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 2**16, (6, 512, 512), dtype="uint16")
        with pytest.raises(WriteError) as error:  # 3 MiB, needed twice
            mrcdist.write_mrc(small / "numbers.mrcz", da.from_array(noise, chunks=(2, -1, -1)))
        assert error.value.code == "disk-full"
        assert list(small.iterdir()) == []

    def test_full_disk_is_detected_before_anything_is_computed(
        self, tmp_path: Path, small: Path
    ) -> None:
        computed = tmp_path / "computed"

        def touching(block: Any) -> Any:
            computed.touch()
            return block

        array = chunked().map_blocks(touching, dtype="uint16", meta=np.empty((0, 0, 0), "u2"))
        with pytest.raises(WriteError) as error:
            mrcdist.write_mrc(small / "numbers.mrc", array)
        assert error.value.code == "disk-full"
        assert list(small.iterdir()) == []
        assert not computed.exists()

    def test_value_that_does_not_fit_is_an_error_that_leaves_no_file(self, tmp_path: Path) -> None:
        wide = NUMBERS.astype("int32")
        wide[40, 3, 5] = 70_000
        with pytest.raises(ArgumentError) as error:
            mrcdist.write_mrc(
                tmp_path / "a.mrc", da.from_array(wide, chunks=(6, -1, -1)), dtype="uint16"
            )
        assert "70000" in error.value.problem
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("step", [4096, 65536, 10**6])
    def test_pages_shared_by_blocks_are_each_written_once(
        self, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Network filesystems need this, because each host caches their pages."""
        written: list[tuple[int, int]] = []
        write = mrcdist.write.local.LocalDestination.write

        def record(self: Any, start: int, stop: int, between: Any, block: int = 0) -> None:
            written.append((start, stop))
            write(self, start, stop, between, block)

        monkeypatch.setattr(mrcdist.write.local.LocalDestination, "write", record)
        monkeypatch.setattr(
            mrcdist.write.plan,
            "local_grid",
            lambda path, offset, size: Grid(-(-offset // step) * step, step, size),
        )
        path = tmp_path / "numbers.mrc"
        odd = da.from_array(NUMBERS[:, :511, :509], chunks=(5, -1, -1))
        mrcdist.write_mrc(path, odd)
        np.testing.assert_array_equal(read_back(path), NUMBERS[:, :511, :509])
        cuts = sorted(written)
        size = path.stat().st_size
        assert [a for a, _ in cuts] == [0, *(b for _, b in cuts[:-1])]
        assert cuts[-1][1] == size
        assert all(start % step == 0 for start, _ in cuts)


@pytest.mark.parametrize(
    ("dtype", "stored", "byteorder"),
    [("uint16", None, ">"), ("uint8", "uint16", "<"), ("float64", "float32", "<")],
)
def test_encoding_a_small_block_takes_at_most_half_of_its_memory(
    place: tuple[str, dict[str, Any]], dtype: str, stored: str | None, byteorder: Any
) -> None:
    url, options = place
    block = np.ones((16 * MIB // np.dtype(dtype).itemsize // 512, 512), dtype)
    array = da.from_array(np.broadcast_to(block, (3, *block.shape)), chunks=(1, -1, -1))
    plan = mrcdist.plan_write(
        url, array, dtype=stored, byteorder=byteorder, storage_options=options
    )
    destination = plan._begin()
    assert destination is not None
    grid, size = destination.grid, (plan.nbytes - plan.header.data_offset) // 3

    def write(number: int) -> None:
        start = plan.header.data_offset + number * size
        encoded = EncodedBlock(block, plan.header.storage, byteorder, start)
        cells, _ = split_run(grid, start, start + encoded.nbytes)
        destination.write(*cells, encoded.between, block.nbytes)

    write(2)  # opens connections
    tracemalloc.start()
    try:
        write(1)
        [_, peak] = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    destination.abandon()
    assert peak <= block.nbytes // 2
    assert plan.explain().task_memory <= 1.5 * block.nbytes


class TestHyperSpy:
    @pytest.mark.parametrize("shape", [(512, 512), (12, 512, 512), (3, 4, 512, 512)])
    @pytest.mark.filterwarnings("ignore:.*written as a plain stack")
    @pytest.mark.usefixtures("registered")
    def test_lazy_signal_is_computed_only_by_the_workers(
        self, tmp_path: Path, cluster: Client, shape: tuple[int, ...]
    ) -> None:
        import hyperspy.api as hs

        def process_ids(block: Any) -> Any:
            return np.full_like(block, os.getpid())

        chunks = (*(1,) * (len(shape) - 3), *(4,) * (len(shape) > 2), -1, -1)
        numbers = da.zeros(shape, dtype="float32", chunks=chunks)
        array = numbers.map_blocks(process_ids, meta=np.empty((0,) * len(shape), "float32"))
        signal = hs.signals.Signal2D(array).as_lazy()
        signal.save(tmp_path / "a.mrc", file_format="mrcdist")
        processes = set(np.unique(read_back(tmp_path / "a.mrc")).astype(int))
        assert processes <= set(cluster.run(os.getpid).values())
        assert signal._lazy


class TestRepeatedTasks:
    """Tasks are repeated after the loss of a worker that had not reported its results."""

    @pytest.mark.parametrize("compressor", [None, "lz4"])
    def test_repeating_all_tasks_of_a_complete_file_changes_nothing(
        self, place: tuple[str, dict[str, Any]], tmp_path: Path, compressor: str | None
    ) -> None:
        url, options = place
        writing = mrcdist.write_mrc(
            url, chunked(), storage_options=options, compute=False, compressor=compressor
        )
        first = writing.compute()
        assert writing.compute() == first
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert {each.name for each in tmp_path.iterdir()} <= {"a.mrc"}

    def test_repeated_task_does_not_mistake_another_file_of_the_same_size_for_its_own(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.mrc"
        writing = mrcdist.write_mrc(path, chunked(), compute=False)
        writing.compute()
        path.write_bytes(bytes(path.stat().st_size))
        with pytest.raises(WriteError):
            writing.compute()

    def test_repeated_last_task_writes_the_missing_sidecar(self, tmp_path: Path) -> None:
        path = tmp_path / "a_movie.mrc"
        scan = da.from_array(NUMBERS.reshape(6, 8, 512, 512), chunks=(2, -1, -1, -1))
        writing = mrcdist.write_mrc(path, scan, compute=False)
        # The last task had given the file its name, but not yet written the sidecar.
        [data] = (tmp_path / ".a_movie.mrc.mrcdist-write").glob("data.*")
        os.link(data, path)
        writing.compute()
        np.testing.assert_array_equal(read_back(path), NUMBERS)
        assert {each.name for each in tmp_path.iterdir()} == {"a_movie.mrc", "a_info.txt"}


class TestInterruptedClient:
    """A client is killed, and another one resumes its call."""

    PROGRAM = """
import sys, time
import dask.array as da, numpy as np
import mrcdist
from distributed import LocalCluster, Client

numbers = np.load(sys.argv[2], mmap_mode="r")
def slow(block):
    time.sleep(0.2)
    return block
array = da.from_array(np.asarray(numbers), chunks=(2, -1, -1)).map_blocks(
    slow, dtype="uint16", meta=np.empty((0, 0, 0), "uint16"), token="slow"
)
array = array.rechunk((6, -1, -1))
print("started", flush=True)
mrcdist.write_mrc(sys.argv[1], array, resume=True)
print("done", flush=True)
"""

    @pytest.mark.parametrize("seed", range(2))
    def test_resume_continues_on_a_disk_after_sigkill(self, tmp_path: Path, seed: int) -> None:
        path = tmp_path / "a.mrc"
        self.kill_and_resume(tmp_path, str(path), seed, {})
        np.testing.assert_array_equal(read_back(path), NUMBERS)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["a.mrc", "a.npy", "program.py"]

    @pytest.mark.parametrize(
        "s3", ["moto", pytest.param("radosgw", marks=pytest.mark.slow)], indirect=True
    )
    def test_resume_continues_in_s3_after_sigkill(
        self, tmp_path: Path, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        url = s3_bucket.url("a.mrc")
        stderr = self.kill_and_resume(tmp_path, url, 2, s3_bucket.server.environment())
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert names_in(s3_bucket) == ["a.mrc"]
        # An upload that was started but not yet recorded remains, and is reported.
        assert uploads_in(s3_bucket) == [] or "unfinished multipart upload" in stderr

    def kill_and_resume(self, folder: Path, url: str, seed: int, variables: dict[str, str]) -> str:
        """Return the standard error of the resuming call."""
        program, stored = folder / "program.py", folder / "a.npy"
        program.write_text(self.PROGRAM)
        np.save(stored, NUMBERS)
        command = [sys.executable, str(program), url, str(stored)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            time.sleep(random.Random(seed).uniform(0.1, 1.5))
            process.send_signal(signal.SIGKILL)
        finished = subprocess.run(command, capture_output=True, env=environment, check=False)
        stderr = finished.stderr.decode()
        assert finished.returncode == 0, stderr
        return stderr


class TestResume:
    def test_blocks_are_kept_for_resume_if_another_file_takes_the_name(
        self, place: tuple[str, dict[str, Any]], tmp_path: Path
    ) -> None:
        url, options = place
        arguments = {"storage_options": options, "resume": True}
        writing = mrcdist.write_mrc(url, chunked(), compute=False, **arguments)
        fs, path = fsspec.core.url_to_fs(url, **options)
        fs.pipe_file(path, b"another writer's")
        with pytest.raises(ArgumentError, match="exists"):
            writing.compute()
        fs.rm_file(path)
        plan = mrcdist.plan_write(url, chunked(), **arguments)
        assert len(plan._begin().work.kept()) == plan.array.npartitions
        plan.write()
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)

    @pytest.mark.parametrize("compressor", [None, "lz4"])
    def test_finished_blocks_are_not_computed_again(
        self, place: tuple[str, dict[str, Any]], tmp_path: Path, compressor: str | None
    ) -> None:
        url, options = place
        computed = tmp_path / "computed"
        fails = tmp_path / "fails"
        fails.touch()
        array = chunked().map_blocks(
            counting_block,
            computed,
            fails,
            dtype="uint16",
            meta=np.empty((0, 0, 0), "u2"),
            token="counting",
        )
        with pytest.raises(RuntimeError):
            mrcdist.write_mrc(
                url, array, resume=True, storage_options=options, compressor=compressor
            )
        before = len(computed.read_text().splitlines())
        fails.unlink()
        mrcdist.write_mrc(url, array, resume=True, storage_options=options, compressor=compressor)
        after = len(computed.read_text().splitlines())
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert after - before < 4

    def test_resuming_with_other_data_is_refused(self, place: tuple[str, dict[str, Any]]) -> None:
        url, options = place
        mrcdist.write_mrc(url, chunked(), compute=False, storage_options=options)
        other = da.from_array(NUMBERS[::-1], chunks=(12, -1, -1))
        with pytest.raises(ArgumentError) as error:
            mrcdist.write_mrc(url, other, resume=True, storage_options=options)
        assert error.value.code == "destination-differs"
        with pytest.raises(ArgumentError) as error:
            mrcdist.write_mrc(url, chunked(24), resume=True, storage_options=options)
        assert "up to 12 × 512 × 512 then, 24 × 512 × 512 now" in error.value.cause
        mrcdist.write_mrc(url, chunked(), resume=True, storage_options=options)
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)

    def test_resume_keeps_the_parts_of_the_first_call(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        """The limits on the size of parts were others when the first call chose them."""
        url, arguments = s3_bucket.url("a.mrc"), {"resume": True, "storage_options": options}
        plan = mrcdist.plan_write(url, chunked(), **arguments)
        destination = replace(plan, limits=S3Limits(least=12 * MIB))._begin()
        assert destination is not None
        blocks = [slice(0, 12), slice(12, 24)]
        job = Job(destination, plan.header, NUMBERS.shape, True)
        for number, block in enumerate(blocks):
            box = ((block.start, block.stop), (0, 512), (0, 512))
            write_block(NUMBERS[block], job, number, box)
        mrcdist.write_mrc(url, chunked(), **arguments)
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)

    def test_upload_started_by_another_version_is_refused_and_kept(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        url, arguments = s3_bucket.url("a.mrc"), {"resume": True, "storage_options": options}
        mrcdist.write_mrc(url, chunked(), compute=False, **arguments)
        key, client = "a.mrc.mrcdist-write/plan.json", s3_bucket.server.client
        plan = json.load(client.get_object(Bucket=s3_bucket.name, Key=key)["Body"])
        plan["format"] -= 1
        client.put_object(Bucket=s3_bucket.name, Key=key, Body=json.dumps(plan).encode())
        with pytest.raises(ArgumentError, match="another version") as error:
            mrcdist.write_mrc(url, chunked(), **arguments)
        assert (error.value.code, error.value.argument) == ("destination-differs", "resume")
        assert uploads_in(s3_bucket) == ["a.mrc"]
        mrcdist.write_mrc(url, chunked(), overwrite=True, storage_options=options)
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert uploads_in(s3_bucket) == []

    def test_file_started_on_a_network_filesystem_is_resumed_on_a_disk(
        self, tmp_path: Path
    ) -> None:
        path, folder = tmp_path / "a.mrc", tmp_path / ".a.mrc.mrcdist-write"
        plan = mrcdist.plan_write(path, chunked(), resume=True)
        disk = plan._begin()
        assert isinstance(disk, LocalDestination)
        about = json.loads((folder / "plan.json").read_text())["about"]
        disk.abandon()
        pages = replace(disk, grid=Grid(65536, 65536, plan.nbytes))
        destination = pages.begin(about, overwrite=False, resume=True)
        job = Job(destination, plan.header, NUMBERS.shape, True)
        write_block(NUMBERS[:12], job, 0, ((0, 12), (0, 512), (0, 512)))
        mrcdist.write_mrc(path, chunked(), resume=True)
        np.testing.assert_array_equal(read_back(path), NUMBERS)
        assert list(tmp_path.iterdir()) == [path]

    def test_file_started_on_a_disk_is_not_resumed_on_a_network_filesystem(
        self, tmp_path: Path
    ) -> None:
        """Several hosts would write to the same pages."""
        path, folder = tmp_path / "a.mrc", tmp_path / ".a.mrc.mrcdist-write"
        disk = mrcdist.plan_write(path, chunked(), resume=True)._begin()
        assert isinstance(disk, LocalDestination)
        about = json.loads((folder / "plan.json").read_text())["about"]
        pages = replace(disk, grid=Grid(65536, 65536, disk.grid.size))
        with pytest.raises(ArgumentError) as error:
            pages.begin(about, overwrite=False, resume=True)
        assert (error.value.code, error.value.argument) == ("destination-differs", "resume")
        mrcdist.write_mrc(path, chunked(), resume=True)
        np.testing.assert_array_equal(read_back(path), NUMBERS)

    def test_resume_starts_over_after_a_call_killed_before_it_stored_its_plan(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "a.mrc"
        (tmp_path / ".a.mrc.mrcdist-write").mkdir()
        mrcdist.write_mrc(path, chunked(), resume=True)
        np.testing.assert_array_equal(read_back(path), NUMBERS)
        assert list(tmp_path.iterdir()) == [path]

    def test_call_replaced_while_it_reserves_space_leaves_the_new_one_untouched(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, folder = tmp_path / "a.mrc", tmp_path / ".a.mrc.mrcdist-write"
        plan = mrcdist.plan_write(path, chunked(), resume=True)
        new_calls: list[Any] = []

        def meanwhile(*space: Any) -> None:
            monkeypatch.undo()
            os.posix_fallocate(*space)
            new_calls.append(plan._begin())

        monkeypatch.setattr(os, "posix_fallocate", meanwhile)
        with pytest.raises(ArgumentError) as error:
            plan._begin()
        assert error.value.code == "destination-busy"
        [new] = new_calls
        assert json.loads((folder / "plan.json").read_text())["mark"] == new.mark
        mrcdist.write_mrc(path, chunked(), resume=True)
        np.testing.assert_array_equal(read_back(path), NUMBERS)
        assert list(tmp_path.iterdir()) == [path]

    def test_resume_starts_over_after_the_upload_was_aborted(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        """Lifecycle rules of buckets abort old uploads."""
        url, client = s3_bucket.url("a.mrc"), s3_bucket.server.client
        arguments = {"resume": True, "storage_options": options}
        mrcdist.write_mrc(url, chunked(), compute=False, **arguments)
        [upload] = client.list_multipart_uploads(Bucket=s3_bucket.name)["Uploads"]
        client.abort_multipart_upload(
            Bucket=s3_bucket.name, Key="a.mrc", UploadId=upload["UploadId"]
        )
        mrcdist.write_mrc(url, chunked(), **arguments)
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert names_in(s3_bucket) == ["a.mrc"]


class TestRunningTasks:
    """Tasks that are running when the call fails, and continue for a while."""

    def test_tasks_that_outlive_their_call_leave_no_files(
        self, place: tuple[str, dict[str, Any]], tmp_path: Path
    ) -> None:
        url, options = place
        ended = tmp_path / "ended"
        array = chunked().map_blocks(
            failing_while_others_run, ended, dtype="uint16", meta=np.empty((0, 0, 0), "u2")
        )
        with dask.config.set(num_workers=4), pytest.raises(RuntimeError):
            mrcdist.write_mrc(url, array, storage_options=options)
        deadline = time.monotonic() + 60
        while not ended.exists() or len(ended.read_text().splitlines()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.0)  # for their attempts to write blocks
        if options:
            fs = fsspec.filesystem("s3", **options, skip_instance_cache=True)
            assert fs.find(url.rpartition("/")[0]) == []
        else:
            assert [each.name for each in tmp_path.iterdir()] == ["ended"]

    def test_compressed_block_is_sent_piece_by_piece(self, s3_bucket: Bucket) -> None:
        """Each piece is long enough for a part."""
        location = Location.of(s3_bucket.url("a.mrcz"), s3_bucket.storage_options())
        limits = S3Limits(least=5)
        destination = S3Destination(
            location, Grid(1024, 1, 0), limits, packed=packed_pieces(40, 4, 1, limits)
        ).begin({}, overwrite=False, resume=False)
        sections = [bytes([n]) * 26 for n in range(4)]
        assert destination.keep_packed(0, iter(sections)) == 104
        sizes = {
            key: s3_bucket.server.client.head_object(Bucket=s3_bucket.name, Key=key)[
                "ContentLength"
            ]
            for key in names_in(s3_bucket)
            if key.endswith(".packed")
        }
        assert sorted(sizes.values()) == [26, 26, 26, 26]
        destination.abandon()
        assert names_in(s3_bucket) == []

    def test_compressed_block_stored_after_the_call_has_ended_is_removed(
        self, s3_bucket: Bucket
    ) -> None:
        location = Location.of(s3_bucket.url("late.mrcz"), s3_bucket.storage_options())
        destination = S3Destination(location, Grid(1024, 1, 0)).begin(
            {}, overwrite=False, resume=False
        )
        destination.abandon()
        destination.keep_packed(0, iter([b"late"]))
        destination.keep(0, b"late")
        assert names_in(s3_bucket) == []

    def test_record_stored_after_the_call_has_ended_is_removed(self, s3_bucket: Bucket) -> None:
        location = Location.of(s3_bucket.url("late.mrc"), s3_bucket.storage_options())
        grid = Grid(8 * MIB, 8 * MIB, 16 * MIB)
        destination = S3Destination(location, grid).begin({}, overwrite=False, resume=False)
        destination.keep(0, b"in time")
        assert len(names_in(s3_bucket)) == 2  # and the plan
        destination.abandon()
        destination.keep(1, b"late")
        assert names_in(s3_bucket) == []
        assert uploads_in(s3_bucket) == []

    def test_record_stored_during_the_removal_of_the_folder_is_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        location = Location.of(tmp_path / "late.mrc")
        destination = LocalDestination(location, Grid(1024, 1, 4096)).begin(
            {}, overwrite=False, resume=False
        )
        remove = os.rmdir

        def keep_and_remove(path: Any, **options: Any) -> None:
            with suppress(WriteError):
                destination.keep(1, b"late")
            remove(path, **options)

        monkeypatch.setattr(os, "rmdir", keep_and_remove)
        destination.abandon()
        assert list(tmp_path.iterdir()) == []


def failing_while_others_run(block: Any, ended: Path, block_info: Any = None) -> Any:
    if block_info[0]["chunk-location"][0] == 3:
        time.sleep(0.5)
        raise RuntimeError("the computation failed")
    time.sleep(0.7)
    with ended.open("a", encoding="utf-8") as file:
        file.write("x\n")
    return block


def counting_block(block: Any, computed: Path, fails: Path, block_info: Any = None) -> Any:
    if block_info[0]["chunk-location"][0] == 3:
        time.sleep(1.0)  # by then the others are complete
        if fails.exists():
            raise RuntimeError("the computation failed")
    with computed.open("a", encoding="utf-8") as file:
        file.write("x\n")
    return block


class TestBucket:
    @pytest.mark.usefixtures("cluster")
    @pytest.mark.parametrize("frames", [1, 13, 15, 48])
    def test_workers_upload_their_own_parts(
        self, s3_bucket: Bucket, options: dict[str, Any], frames: int
    ) -> None:
        url = s3_bucket.url("folder/numbers.mrc")
        mrcdist.write_mrc(url, chunked(frames), storage_options=options)
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert names_in(s3_bucket) == ["folder/numbers.mrc"]
        assert uploads_in(s3_bucket) == []

    @pytest.mark.usefixtures("cluster")
    def test_blocks_of_parts_of_frames_are_rechunked_for_s3(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        url = s3_bucket.url("numbers.mrc")
        array = da.from_array(NUMBERS, chunks=(48, 100, 130))
        mrcdist.write_mrc(url, array, storage_options=options)
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)

    def test_file_with_more_parts_than_an_upload_may_have_is_one_object(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        url = s3_bucket.url("numbers.mrc")

        def with_two_parts(array: da.Array, **arguments: Any) -> WritePlan:
            plan = mrcdist.plan_write(url, array, storage_options=options, **arguments)
            return replace(plan, limits=S3Limits(parts=2))

        plan = with_two_parts(chunked())
        assert "2 objects are uploaded" in str(plan.explain())
        writing = plan.delayed()
        main, *segments = sorted(uploads_in(s3_bucket))
        assert main == "numbers.mrc"
        # Without the mark, two writers would use the same names.
        names = [re.sub(r"\.[0-9a-f]{32}\.", ".mark.", name) for name in segments]
        assert names == [f"numbers.mrc.mrcdist-write/{n}.mark.segment" for n in (0, 1)]
        first = writing.compute()
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert names_in(s3_bucket) == ["numbers.mrc"]
        assert uploads_in(s3_bucket) == []
        before = stats.snapshot().retries
        with dask.config.set(scheduler="threads"):
            assert writing.compute() == first  # repeated, like after the loss of a worker
        assert stats.snapshot().retries == before  # even if a late part is an error
        with_two_parts(chunked(), overwrite=True).delayed()
        with_two_parts(da.from_array(NUMBERS[::-1], chunks=(24, -1, -1)), overwrite=True).write()
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS[::-1])
        assert uploads_in(s3_bucket) == []

    @pytest.mark.usefixtures("cluster")
    @pytest.mark.parametrize("frames", [3, 20, 48])
    def test_compressed_blocks_become_one_object(
        self, s3_bucket: Bucket, options: dict[str, Any], frames: int
    ) -> None:
        url = s3_bucket.url("numbers.mrcz")
        written = mrcdist.write_mrc(url, chunked(frames), storage_options=options, compressor="lz4")
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert names_in(s3_bucket) == ["numbers.mrcz"]
        assert uploads_in(s3_bucket) == []
        head = s3_bucket.server.client.head_object(Bucket=s3_bucket.name, Key="numbers.mrcz")
        assert written.nbytes == head["ContentLength"] < NUMBERS.nbytes

    def test_existing_object_is_kept(self, s3_bucket: Bucket, options: dict[str, Any]) -> None:
        s3_bucket.put("numbers.mrc", b"mine")
        with pytest.raises(ArgumentError) as error:
            mrcdist.write_mrc(s3_bucket.url("numbers.mrc"), chunked(), storage_options=options)
        assert error.value.code == "destination-exists"
        assert names_in(s3_bucket) == ["numbers.mrc"]
        assert uploads_in(s3_bucket) == []

    def test_object_created_meanwhile_is_kept(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        url = s3_bucket.url("numbers.mrc")
        writing = mrcdist.write_mrc(url, chunked(), storage_options=options, compute=False)
        s3_bucket.put("numbers.mrc", b"another writer's")
        with pytest.raises(ArgumentError) as error:
            writing.compute()
        assert error.value.code == "destination-exists"
        body = s3_bucket.server.client.get_object(Bucket=s3_bucket.name, Key="numbers.mrc")["Body"]
        assert body.read() == b"another writer's"
        assert names_in(s3_bucket) == ["numbers.mrc"]
        assert uploads_in(s3_bucket) == []

    def test_replaced_call_in_s3_raises_an_error_without_retries(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        url, options_of_both = s3_bucket.url("numbers.mrc"), {"overwrite": True, "compute": False}
        first, second = (
            mrcdist.write_mrc(url, data, storage_options=options, **options_of_both)
            for data in (chunked() + 1, chunked())
        )
        before = stats.snapshot().retries
        with dask.config.set(scheduler="threads"), pytest.raises(WriteError) as error:
            first.compute()
        assert error.value.code == "unfinished-file-missing"
        # For parts of an aborted upload, moto responds with an error that is usually retried.
        assert stats.snapshot().retries == before
        second.compute()
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)

    def test_open_uploads_are_listed_page_by_page(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        client, uploads = s3_bucket.server.client, []
        for key in ("numbers.mr", *("numbers.mrc",) * 5, "numbers.mrc.b", "numbers.mrcz"):
            upload = client.create_multipart_upload(Bucket=s3_bucket.name, Key=key)
            uploads.append((key, upload["UploadId"]))
        found = S3Upload(Location.of(s3_bucket.url("numbers.mrc"), options)).open_uploads(page=2)
        assert found == {upload for key, upload in uploads if key == "numbers.mrc"}

    def test_second_writer_that_starts_at_the_same_time_is_refused(
        self, s3_bucket: Bucket, s3_proxy: CountingProxy, options: dict[str, Any]
    ) -> None:
        url, first = s3_bucket.url("numbers.mrc"), []

        def overtake(exchange: Exchange) -> None:
            """Start another writer just before the first one creates its plan."""
            if exchange.method == "PUT" and exchange.path.endswith("plan.json") and not first:
                arguments = {"storage_options": options, "compute": False}
                with ThreadPoolExecutor(1) as executor:
                    write = executor.submit(mrcdist.write_mrc, url, chunked(), **arguments)
                    first.append(write.result())

        s3_proxy.respond = overtake
        through_proxy = s3_proxy.server.storage_options()
        with pytest.warns(MrcdistWarning), pytest.raises(ArgumentError) as error:
            mrcdist.write_mrc(url, chunked() + 1, storage_options=through_proxy)
        assert error.value.code == "destination-busy"
        first[0].compute()
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert names_in(s3_bucket) == ["numbers.mrc"]
        assert uploads_in(s3_bucket) == []

    def test_sidecar_of_an_object_created_meanwhile_is_kept(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        url = s3_bucket.url("a_movie.mrc")
        scan = da.from_array(NUMBERS.reshape(6, 8, 512, 512), chunks=(2, -1, -1, -1))
        writing = mrcdist.write_mrc(url, scan, storage_options=options, compute=False)
        for name in ("a_movie.mrc", "a_info.txt"):
            s3_bucket.put(name, b"another writer's")
        with pytest.raises(ArgumentError):
            writing.compute()
        body = s3_bucket.server.client.get_object(Bucket=s3_bucket.name, Key="a_info.txt")["Body"]
        assert body.read() == b"another writer's"

    def test_failed_upload_leaves_no_object_or_upload(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        def failing(block: Any) -> Any:
            raise RuntimeError("the computation failed")

        broken = da.concatenate(
            [
                chunked()[:36],
                chunked()[36:].map_blocks(failing, dtype="u2", meta=np.empty((0, 0, 0), "u2")),
            ]
        )
        with pytest.raises(RuntimeError):
            mrcdist.write_mrc(s3_bucket.url("numbers.mrc"), broken, storage_options=options)
        assert names_in(s3_bucket) == []
        assert uploads_in(s3_bucket) == []

    def test_unfinished_upload_is_reported_and_replaced_with_overwrite(
        self, s3_bucket: Bucket, options: dict[str, Any]
    ) -> None:
        url = s3_bucket.url("numbers.mrc")
        mrcdist.write_mrc(url, chunked(), storage_options=options, compute=False)
        with pytest.raises(ArgumentError) as error:
            mrcdist.write_mrc(url, chunked(), storage_options=options)
        assert error.value.code == "destination-busy"
        assert f"{url}.mrcdist-write/" in error.value.cause
        mrcdist.write_mrc(url, chunked(), storage_options=options, overwrite=True)
        np.testing.assert_array_equal(read_back(url, storage_options=options), NUMBERS)
        assert names_in(s3_bucket) == ["numbers.mrc"]
        assert uploads_in(s3_bucket) == []

    def test_error_for_a_missing_bucket_mentions_the_bucket(self, moto: S3Server) -> None:
        with pytest.raises(WriteError) as error:
            mrcdist.write_mrc(
                "s3://no-such-bucket-here/a.mrc", chunked(), storage_options=moto.storage_options()
            )
        assert "bucket" in error.value.remedy
