"""Memory is bounded by what the plan states, however large the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import mrcdist
from mrcdist import (
    CenterOfMass,
    MaximumPattern,
    MeanPattern,
    VirtualImage,
    reduce_frames,
    stats,
)
from mrcdist.testing.movie import movie_header
from tests.support.cluster import dask_cluster
from tests.support.memory import reader_memory, writer_memory
from tests.support.mrc_files import mrc_bytes
from tests.support.s3 import S3Server, radosgw_server

MIB = 2**20


@pytest.fixture(scope="module")
def radosgw(tmp_path_factory):
    """A store as slow as a disk, so that parts of a file wait for it in memory."""
    with radosgw_server(tmp_path_factory.mktemp("radosgw"), on_disk=True) as server:
        yield server


@pytest.fixture(scope="module")
def stored(radosgw: S3Server):
    """A bucket with 96 MiB of frames of 128² uint16, in both byte orders."""
    numbers = np.random.default_rng(0).integers(0, 2**15, (3072, 128, 128), "u2")
    with radosgw.bucket() as bucket:
        for order in "<>":
            raw = mrc_bytes(numbers, byteorder=order)
            bucket.put("little.mrc" if order == "<" else "big.mrc", raw)
        yield bucket


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("little.mrc", {"chunk_mib": 48, "threads": 1}),
        ("little.mrc", {"chunk_mib": 24, "threads": 4}),
        ("big.mrc", {"chunk_mib": 48, "threads": 2}),
        ("little.mrc", {"chunk_mib": 96, "threads": 2, "crop": True}),
    ],
    ids=["one thread", "four threads", "big-endian", "crop"],
)
def test_reading_from_s3_takes_little_more_memory_than_the_chunks(stored, name, options):
    found = reader_memory(stored.url(name), storage_options=stored.storage_options(), **options)
    assert found.peak <= 1.4 * found.chunk * found.threads
    assert found.estimate_ratio == pytest.approx(1, abs=0.25)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same frames on a local disk."""
    numbers = np.random.default_rng(0).integers(0, 2**15, (3072, 128, 128), "u2")
    folder = tmp_path_factory.mktemp("local")
    for name, order in (("little.mrc", "<"), ("big.mrc", ">")):
        (folder / name).write_bytes(mrc_bytes(numbers, byteorder=order))
    return folder


@pytest.mark.parametrize("io", ["map", "read"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("little.mrc", {"chunk_mib": 48, "threads": 2}),
        ("big.mrc", {"chunk_mib": 96, "threads": 1}),
        ("little.mrc", {"chunk_mib": 96, "threads": 1, "crop": True}),
    ],
    ids=["whole frames", "big-endian", "crop"],
)
def test_reading_from_a_disk_takes_the_memory_that_explain_states(
    local, monkeypatch, name, options, io
):
    monkeypatch.setenv("DASK_MRCDIST__IO", io)
    found = reader_memory(str(local / name), **options)
    assert found.estimate_ratio == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(
    ("block_mib", "threads", "byteorder"), [(32, 2, "<"), (64, 1, ">")], ids=["native", "swapped"]
)
def test_writing_to_a_disk_takes_little_more_memory_than_the_blocks(
    tmp_path, block_mib, threads, byteorder
):
    path = tmp_path / "written.mrc"
    found = writer_memory(str(path), block_mib=block_mib, threads=threads, byteorder=byteorder)
    assert found.per_chunk <= 1.5
    assert found.estimate_ratio == pytest.approx(1, abs=0.25)


def test_writing_to_s3_takes_little_more_memory_than_the_blocks(radosgw):
    with radosgw.bucket() as bucket:
        options = bucket.storage_options()
        url = bucket.url("written.mrc")
        # Threads and connections take another 40 MiB or so, whatever the size of a block.
        found = writer_memory(url, block_mib=128, threads=2, storage_options=options)
    assert found.per_chunk <= 1.5
    assert found.estimate_ratio == pytest.approx(1, abs=0.25)


def test_writing_compressed_to_s3_takes_little_more_memory_than_the_blocks(radosgw):
    with radosgw.bucket() as bucket:
        options = bucket.storage_options()
        url = bucket.url("written.mrcz")
        found = writer_memory(
            url, block_mib=128, threads=1, compressor="lz4", storage_options=options
        )
    assert found.per_chunk <= 1.5
    assert found.estimate_ratio == pytest.approx(1, abs=0.25)


def test_writing_the_first_block_to_s3_takes_20_mib_more_than_the_block(radosgw):
    """Two short parts: one with the header, and the bytes kept with the record."""
    with radosgw.bucket() as bucket:
        options = bucket.storage_options()
        found = writer_memory(
            bucket.url("written.mrc"), block_mib=16, threads=1, storage_options=options
        )
    assert found.peak <= (16 + 20) * MIB


def write_sparse_movie(folder, frames, side):
    """Write a sparse file, read as zeros, with a one as its last pixel."""
    path = folder / "large.mrc"
    with path.open("wb") as file:
        file.write(movie_header(frames, (side, side)))
        file.seek(frames * 2 * side**2 - 2, 1)
        file.write(b"\1\0")
    return path


class TestSmallWorker:
    """Files larger than the memory limit of the worker."""

    FRAMES, SIDE = 1024, 1448  # 4 MiB per frame

    @pytest.fixture
    def large(self, tmp_path):
        return write_sparse_movie(tmp_path, self.FRAMES, self.SIDE)

    def test_worker_with_600_mib_streams_a_file_of_4_gib_without_pausing(self, tmp_path, large):
        with dask_cluster(tmp_path, workers=1, threads=2, memory_limit="600 MiB") as client:
            [ds] = mrcdist.read_mrc(large, chunks=(16, -1, -1))
            assert ds["data"].nbytes > 4e9
            # Without the timeout, a worker paused for good would block the test for ever.
            found = client.compute(ds["data"].max(axis=(1, 2))).result(timeout=600)
            assert found[-1] == 1
            assert not found[:-1].any()
            [read] = client.run(stats.snapshot).values()
            assert read.blocks == self.FRAMES // 16
            assert read.bytes_mapped > 4e9
            [lines] = client.get_worker_logs().values()
        assert not [line for _, line in lines if "memory usage" in line]

    def test_worker_with_600_mib_reads_a_band_of_every_frame_of_2_gib(self, tmp_path):
        """The bands lie on all pages of the file, which exceed the memory limit of the worker."""
        path = write_sparse_movie(tmp_path, 2**16, 128)  # 2 GiB
        with dask_cluster(tmp_path, workers=1, threads=1, memory_limit="600 MiB") as client:
            [ds] = mrcdist.read_mrc(path, chunks=(-1, 8, -1))  # 128 MiB
            found = client.compute(ds["data"][:, -16:].max(axis=(1, 2))).result(timeout=600)
            assert found[-1] == 1
            assert not found[:-1].any()
            [lines] = client.get_worker_logs().values()
        assert not [line for _, line in lines if "memory usage" in line]

    def test_float64_temporaries_of_default_chunks_fit_into_a_worker_with_512_mib(self, tmp_path):
        """`std` and boolean indexing hold a chunk several times, as float64 and as positions."""
        path = write_sparse_movie(tmp_path, 2**15, 128)  # 1 GiB
        with dask_cluster(tmp_path, workers=1, threads=1, memory_limit="512 MiB") as client:
            before = client.run(os.getpid)
            [ds] = mrcdist.read_mrc(path)
            data = ds["data"]
            deviation = client.compute(data.std()).result(timeout=600)
            assert deviation == pytest.approx(data.size**-0.5, rel=1e-3)
            assert client.compute(data[data > 0]).result(timeout=600).tolist() == [1]
            assert client.run(os.getpid) == before

    @pytest.mark.filterwarnings("ignore:.*without intensity")
    def test_reducing_2_gib_takes_no_more_memory_than_explain_states(self, tmp_path):
        """Each thread maps one chunk, and frames are not copied, whatever the number of results."""
        path = write_sparse_movie(tmp_path, 2**16, 128)
        results = {
            "mean": MeanPattern(),
            "largest": MaximumPattern(),
            "disk": VirtualImage("circle:64,64,14"),
            "com": CenterOfMass(),
        }
        with dask_cluster(tmp_path, workers=1, threads=2, memory_limit="600 MiB") as client:
            plan = mrcdist.plan_mrc(path)
            reduce_frames(plan, results, frames=slice(0, 64), progress=False)  # compiles loops
            client.run(reset_peak_memory)
            before = client.run(memory_in_use)
            found = reduce_frames(plan, results, progress=False)
            [used] = (peak - before[worker] for worker, peak in client.run(peak_memory).items())
            [lines] = client.get_worker_logs().values()
        assert found["mean"].values[-1, -1] == 1 / 2**16
        assert found["largest"].values.sum() == 1
        assert not found["disk"].values.any()
        assert np.flatnonzero(~np.isnan(found["com"].values[0])).tolist() == [2**16 - 1]
        assert used < plan.explain(threads=2).worker_memory + 48 * MIB
        assert not [line for _, line in lines if "memory usage" in line]


def reset_peak_memory():
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def memory_in_use():
    return _status("VmRSS")


def peak_memory():
    return _status("VmHWM")


def _status(name):
    """Return an entry of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    [kibibytes] = (int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return kibibytes * 1024
