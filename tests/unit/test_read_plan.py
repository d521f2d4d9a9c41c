"""Planning: one small task per chunk, named after the version of the file, and no pixels read."""

from __future__ import annotations

import ctypes
import dataclasses
import mmap
import os
import pickle
import sys
import time
from typing import ClassVar

import dask
import distributed.protocol.pickle as distributed_pickle
import fsspec
import numpy as np
import pytest
from dask.base import collections_to_expr
from fsspec.implementations.memory import MemoryFileSystem

import mrcdist
from mrcdist.format.mrcz import SectionTable
from mrcdist.plan.chunks import plan_chunks
from mrcdist.read.mapped import announce
from mrcdist.read.source import DatasetFile, MrcSource
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.read_plan import to_dask
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from mrcdist.storage.version import Version, local_version
from tests.support.counted import counted
from tests.support.mrc_files import counting, mrc_bytes, write_mrc


class RecordingFileSystem(MemoryFileSystem):
    """The memory filesystem, with a list of the ranges read."""

    protocol = "recording"
    ranges: ClassVar[list[tuple[int | None, int | None]]] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("recording://", "memory://"))

    def cat_file(self, path, start=None, end=None, **options):
        self.ranges.append((start, end))
        data = self.store[self._strip_protocol(path)].getvalue()
        return data[start:end]

    def _open(self, path, mode="rb", **options):
        raise AssertionError(f"{path} was opened: what is read from it is not recorded")


@pytest.fixture
def recording(memory_file):
    """Function that stores bytes and returns their URL and the list of ranges read."""
    fsspec.register_implementation("recording", RecordingFileSystem, clobber=True)
    RecordingFileSystem.ranges.clear()

    def put(raw, name="any.mrc"):
        return memory_file(raw, name).replace("memory:", "recording:"), RecordingFileSystem.ranges

    return put


def optimised_graph(array):
    """Return the graph that a scheduler receives."""
    return dict(collections_to_expr([array]).optimize().__dask_graph__())


@pytest.fixture(scope="module")
def numbers():
    return counting((24, 32, 40), "uint16")


@pytest.fixture(scope="module")
def local_file(tmp_path_factory, numbers):
    return write_mrc(tmp_path_factory.mktemp("graph") / "any.mrc", numbers)


class TestPlanning:
    def test_planning_reads_the_header_and_no_pixels(self, recording, numbers):
        url, ranges = recording(mrc_bytes(numbers))
        plan = mrcdist.plan_mrc(url, chunks=(3, -1, -1))
        plan.explain()
        str(plan.explain())
        repr(plan.to_dask()[3:5].sum())
        assert ranges == [(0, 1024)]

    def test_planning_reads_only_the_records_of_the_extended_header(self, recording, numbers):
        extended = bytes(2 * len(numbers))  # a tilt angle, 0, for each section
        raw = mrc_bytes(numbers, extended=extended, exttyp=b"SERI", nint=2, nreal=1)
        url, ranges = recording(raw)
        assert mrcdist.plan_mrc(url).extended.n_records == len(numbers)
        assert max(stop for _, stop in ranges) == 1024 + len(extended)

    def test_planning_a_million_chunks_opens_the_file_as_often_as_planning_one(self, recording):
        raw = mrc_bytes(counting((1_000_000, 1, 1), "int8"))
        url, ranges = recording(raw)
        mrcdist.plan_mrc(url, chunks=-1).to_dask()
        ranges_of_one_chunk = list(ranges)
        ranges.clear()
        with pytest.warns(mrcdist.MrcdistWarning, match="1,000,000 chunks"):
            array = mrcdist.plan_mrc(url, chunks=(1, -1, -1)).to_dask()
        assert array.npartitions == 1_000_000
        assert ranges == ranges_of_one_chunk

    def test_planning_records_the_version_of_the_file(self, local_file):
        stat = local_file.stat()
        [part] = mrcdist.plan_mrc(local_file).source.parts
        assert part.file.version == local_version(stat)
        assert part.file.location.url == str(local_file)

    def test_more_than_10000_small_chunks_cause_a_warning_with_a_remedy(self, memory_file):
        url = memory_file(mrc_bytes(counting((10_001, 1, 1), "int8")))
        assert mrcdist.plan_mrc(url, chunks=((2, *[1] * 9_999), -1, -1)).notes == ()
        with pytest.warns(mrcdist.MrcdistWarning, match='10,001 chunks.*chunks="auto"'):
            mrcdist.plan_mrc(url, chunks=(1, -1, -1))

    def test_selected_frames_that_are_compressed_as_a_whole_are_not_split(self, local_file):
        plan = mrcdist.plan_mrc(local_file)
        [part] = plan.source.parts
        layout = dataclasses.replace(plan.layout, frame_shape=(50_000, 60_000))
        for sections, rows in [(None, 45), (SectionTable((1024, 2048)), 1)]:
            part = dataclasses.replace(part, sections=sections)
            source = dataclasses.replace(plan.source, parts=(part,), layout=layout)
            selected = dataclasses.replace(plan, source=source).select([3, 2])
            assert [len(axis) for axis in selected.chunks] == [2, rows, 1]

    def test_repr_of_a_plan_shows_neither_bytes_of_the_file_nor_a_table(self, local_file):
        assert len(repr(mrcdist.plan_mrc(local_file))) < 1000


class TestTasks:
    def test_each_chunk_has_one_task(self, local_file, numbers):
        [ds] = mrcdist.read_mrc(local_file, chunks=(5, 16, 40))
        array = ds["data"]
        assert array.numblocks == (5, 2, 1)
        assert len(optimised_graph(array)) == 10
        with counted() as count:
            np.testing.assert_array_equal(array.compute(scheduler="synchronous"), numbers)
        assert count.read.blocks == 10

    def test_tasks_are_data_producers_which_the_scheduler_queues(self, local_file):
        [ds] = mrcdist.read_mrc(local_file, chunks=(5, -1, -1))
        tasks = optimised_graph(ds["data"]).values()
        assert [task.data_producer for task in tasks] == [True] * 5

    def test_tasks_run_without_optimisation_and_without_a_scheduler(self, local_file, numbers):
        [ds] = mrcdist.read_mrc(local_file, chunks=(5, 16, 40))
        frames = ds["data"][3:7].compute(scheduler="synchronous", optimize_graph=False)
        np.testing.assert_array_equal(frames, numbers[3:7])

    @pytest.mark.parametrize("chunks", ["auto", (8, -1, -1)])
    @pytest.mark.parametrize("io", ["map", "read"])
    def test_single_frame_of_a_chunk_reads_one_frame(self, local_file, numbers, chunks, io):
        [ds] = mrcdist.read_mrc(local_file, chunks=chunks)
        with dask.config.set({"mrcdist.io": io}), counted() as count:
            np.testing.assert_array_equal(ds["data"][17].compute(), numbers[17])
        assert count.read.blocks == 1
        assert count.read.bytes_fetched + count.read.bytes_mapped == numbers[0].nbytes

    def test_crop_of_one_frame_reads_only_its_rows(self, local_file, numbers):
        [ds] = mrcdist.read_mrc(local_file)
        with dask.config.set({"mrcdist.io": "read"}), counted() as count:
            crop = ds["data"][17, 4:9, 10:12].compute()
        np.testing.assert_array_equal(crop, numbers[17, 4:9, 10:12])
        assert (count.read.requests, count.read.bytes_fetched) == (1, (4 * 40 + 2) * 2)

    def test_slices_are_pushed_into_the_read_if_the_source_is_sent_once(self, tmp_path, numbers):
        paths = [
            write_mrc(tmp_path / f"a_{i}.mrc", half) for i, half in enumerate(np.split(numbers, 2))
        ]
        [ds] = mrcdist.read_mrc(paths, chunks=(6, -1, -1))
        with counted() as count:
            np.testing.assert_array_equal(ds["data"][17].compute(), numbers[17])
        assert (count.read.blocks, count.read.bytes_fetched) == (1, numbers[0].nbytes)

    def test_lists_masks_and_negative_steps_equal_numpy(self, local_file, numbers):
        [ds] = mrcdist.read_mrc(local_file, chunks=(5, 16, -1))
        mask = numbers[:, 0, 0] % 3 == 0
        for index in (
            [20, 3, 3, 7],
            mask,
            slice(None, None, -3),
            (slice(4), [1, 30], slice(9, 2, -2)),
        ):
            np.testing.assert_array_equal(ds["data"][index].compute(), numbers[index])

    def test_missing_file_is_an_error_of_the_task(self, tmp_path, numbers):
        path = write_mrc(tmp_path / "any.mrc", numbers)
        [ds] = mrcdist.read_mrc(path)
        path.unlink()
        with pytest.raises(mrcdist.MissingFileError, match=str(path)):
            ds["data"][3].compute()

    @pytest.mark.parametrize("io", ["map", "read"])
    @pytest.mark.parametrize("change", ["rewritten", "longer", "shorter"])
    def test_changed_file_is_an_error_of_the_task(self, tmp_path, numbers, io, change):
        path = write_mrc(tmp_path / "any.mrc", numbers)
        [ds] = mrcdist.read_mrc(path, chunks=(5, -1, -1))
        np.testing.assert_array_equal(ds["data"][3].compute(), numbers[3])
        if change == "rewritten":
            write_mrc(path, numbers + 1)
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
        else:
            with path.open("r+b") as file:
                file.truncate(path.stat().st_size + (1 if change == "longer" else -1))
        with (
            dask.config.set({"mrcdist.io": io}),
            pytest.raises(mrcdist.FileChangedError, match="call read_mrc again"),
        ):
            ds["data"][3].compute()


def resident_bytes(path, start, stop):
    """Return the number of bytes of the file in the page cache, according to mincore(2)."""
    page = mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // page))()
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), pages):
            raise OSError(ctypes.get_errno(), "mincore")
    return sum(flag & 1 for flag in pages[start // page : -(-stop // page)]) * page


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise and mincore")
def test_crop_does_not_read_whole_frames_from_the_disk(tmp_path):
    frame = 2048 * 2048 * 2  # 8 MiB: far more than a disk reads ahead
    numbers = np.ones((4, 2048, 2048), np.uint16) * np.arange(2048, dtype=np.uint16)
    path = write_mrc(tmp_path / "large.mrc", numbers)
    [ds] = mrcdist.read_mrc(path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident_bytes(path, 0, 4 * frame) > frame // 8:
        pytest.skip("the page cache of this file system cannot be dropped")

    crop = ds["data"][:, 40:88, 40:88].compute()
    np.testing.assert_array_equal(crop, numbers[:, 40:88, 40:88])
    for i in range(4):
        in_cache = resident_bytes(path, 1024 + i * frame, 1024 + (i + 1) * frame)
        assert 48 * 48 * 2 <= in_cache < frame // 2


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise and mincore")
def test_scattered_frames_are_announced_together(tmp_path):
    """`announce` lets the disk read several of them at once, in any order."""
    frame = 2**20
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(16 * frame))
    starts = np.arange(0, 16, 4) * frame
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if resident_bytes(path, 0, 16 * frame) > frame:
            pytest.skip("the page cache of this file system cannot be dropped")
        announce(file, starts, np.full(starts.size, 2**16), DEFAULT_LIMITS)
        while any(resident_bytes(path, at, at + 2**16) < 2**16 for at in starts.tolist()):
            time.sleep(0.01)  # until the timeout of the test
    assert resident_bytes(path, 0, 16 * frame) < 8 * frame


class TestNames:
    def name(self, path, **options):
        return mrcdist.plan_mrc(path, **options).to_dask().name

    def test_array_name_is_the_same_for_the_same_file(self, local_file):
        chunks = (5, -1, -1)
        assert self.name(local_file, chunks=chunks) == self.name(str(local_file), chunks=chunks)

    def test_array_name_depends_on_chunks_and_shape(self, local_file):
        names = {
            self.name(local_file),
            self.name(local_file, chunks=(5, -1, -1)),
            self.name(local_file, chunks=(6, -1, -1)),
            self.name(local_file, navigation_shape=(4, 6)),
            self.name(local_file, navigation_shape=(6, 4)),
        }
        assert len(names) == 5

    def test_array_name_changes_with_the_file(self, tmp_path, numbers):
        path = write_mrc(tmp_path / "any.mrc", numbers)
        before = self.name(path)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        assert self.name(path) != before

    def name_in_s3(self, options):
        source = s3_source((24,), options)
        return to_dask(source, plan_chunks(source.layout, None, 2**27, source.limits)).name

    def test_array_name_does_not_depend_on_credentials(self):
        first, second = ({"key": "a", "secret": secret} for secret in ("b", "c"))
        assert self.name_in_s3(first) == self.name_in_s3(second)

    def test_array_name_depends_on_the_endpoint(self):
        """URL, size and version may be equal in two stores."""
        first, second = ({"endpoint_url": f"http://{host}"} for host in ("one", "two"))
        assert self.name_in_s3(first) != self.name_in_s3(second)


def s3_source(navigation_shape, options, table=None, parts=1):
    """Return a source in a store that does not exist; building a graph makes no request."""
    fs = fsspec.filesystem("memory")
    fs.pipe_file("memory://sizes/one.mrc", mrc_bytes(counting((2, 8, 8), "uint16")))
    layout = mrcdist.plan_mrc("memory://sizes/one.mrc").layout
    count = int(np.prod(navigation_shape))
    layout = dataclasses.replace(layout, navigation_shape=navigation_shape, present=count)
    url = "s3://a-bucket-with-a-long-name/2024/10/21/project/session/20241021_00405_{}_movie.mrc"
    version = Version(2**40, "etag", '"d41d8cd98f00b204e9800998ecf8427e-1234"')
    return MrcSource(
        tuple(
            DatasetFile(StoredFile(Location(url.format(i), options), version), 1024, count // parts)
            for i in range(parts)
        ),
        layout,
        table,
    )


class TestSizes:
    OPTIONS: ClassVar = {
        "key": "k" * 20,
        "secret": "s" * 40,
        "client_kwargs": {"endpoint_url": "https://object-store.example.org:7480"},
    }

    def sources(self):
        shape = (10, 10, 2)
        table = np.arange(200, dtype=np.int32).reshape(shape)
        yield s3_source(shape, self.OPTIONS)
        yield s3_source(shape, self.OPTIONS, table=np.repeat(table, 1))
        yield s3_source(shape, self.OPTIONS, parts=100)

    def test_pickled_task_is_smaller_than_2_kib(self):
        for source in self.sources():
            array = to_dask(
                source, plan_chunks(source.layout, (1, 10, -1, -1, -1), 2**27, source.limits)
            )
            tasks = [
                task
                for key, task in optimised_graph(array).items()
                if isinstance(key, tuple)  # other keys are sources, which are sent once
            ]
            assert len(tasks) == 10
            assert all(len(distributed_pickle.dumps(task)) < 2048 for task in tasks)

    def test_large_table_is_sent_once_and_not_with_each_task(self):
        shape = (1000, 1000)
        table = np.arange(1_000_000, dtype=np.int32).reshape(shape)
        source = s3_source(shape, self.OPTIONS, table=table)
        array = to_dask(
            source, plan_chunks(source.layout, (10, 1000, -1, -1), 2**27, source.limits)
        )
        sizes = sorted(
            len(distributed_pickle.dumps(task)) for task in optimised_graph(array).values()
        )
        assert len(sizes) == 101
        assert sizes[-1] > table.nbytes
        assert sizes[-2] < 2048

    def test_pickled_graph_of_100000_chunks_is_smaller_than_2_mb(self):
        for shape, chunks in (((100_000,), (1, -1, -1)), ((1000, 100), (1, 1, -1, -1))):
            source = s3_source(shape, self.OPTIONS)
            array = to_dask(source, plan_chunks(source.layout, chunks, 2**27, source.limits))
            assert array.npartitions == 100_000
            assert len(distributed_pickle.dumps(array.dask)) < 1e6
            expression = collections_to_expr([array]).optimize()
            keys = distributed_pickle.dumps(array.__dask_keys__())  # independent of the graph
            assert len(distributed_pickle.dumps(expression)) - len(keys) < 2e6
            one = collections_to_expr([array[17]]).optimize()
            assert len(distributed_pickle.dumps(one)) < 2e6

    def test_source_is_pickled_without_handles(self, local_file, numbers):
        source = mrcdist.plan_mrc(local_file).source
        copy = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(copy[3], numbers[3])
        assert copy.parts == source.parts

    def test_tasks_of_a_process_share_one_unpickled_source(self, local_file):
        plan = mrcdist.plan_mrc(local_file)
        first, second = (pickle.loads(pickle.dumps(plan.source)) for _ in range(2))
        assert first is second
        other = mrcdist.plan_mrc(local_file, navigation_shape=(6, 4)).source
        assert pickle.loads(pickle.dumps(other)).shape == other.shape != first.shape

    def test_options_of_a_class_defined_in_a_notebook_reach_workers(self, monkeypatch):
        class Key:
            """A class as if defined in a cell."""

        Key.__module__, Key.__qualname__ = "__main__", "Key"
        with monkeypatch.context() as notebook:
            notebook.setattr(sys.modules["__main__"], "Key", Key, raising=False)
            key = Key()
            key.number = 7
            source = s3_source((10,), {"session": key})
            pickled = distributed_pickle.dumps(source)
        copy = distributed_pickle.loads(pickled)
        assert copy.parts[0].file.location.storage_options["session"].number == 7
