"""Estimates of `Plan.explain()`, compared with counters and memory when the array is computed."""

from __future__ import annotations

import dataclasses
import os
import tracemalloc

import dask
import numpy as np
import pytest

import mrcdist
from mrcdist.read_limits import ReadLimits
from tests.support.counted import counted
from tests.support.mrc_files import counting, header_bytes, mrc_bytes, write_mrc


@pytest.fixture(scope="module")
def numbers():
    return counting((24, 32, 40), "uint16")


@pytest.fixture(scope="module")
def local_file(tmp_path_factory, numbers):
    return write_mrc(tmp_path_factory.mktemp("explain") / "any.mrc", numbers)


def memory_of_reading(source, index):
    """Return the peak of the memory of a block; mapped pages count, as in a worker."""
    tracemalloc.start()
    try:
        with counted() as count:
            source[index]
        return tracemalloc.get_traced_memory()[1] + count.read.bytes_mapped
    finally:
        tracemalloc.stop()


class TestExplain:
    """Estimates equal the values counted when the array is computed."""

    @pytest.mark.parametrize("chunks", [(6, -1, -1), (4, 8, -1), (6, 16, 10), (24, 8, 5), "auto"])
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"mrcdist.max-gap": 0},
            {"mrcdist.max-gap": 200, "mrcdist.sub-range": 5000},
            {"mrcdist.sub-range": 1000, "mrcdist.concurrency": 2},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("store", ["map", "read", "auto", "memory"])
    def test_estimated_requests_bytes_and_tasks_equal_those_counted(
        self, local_file, memory_file, numbers, store, settings, chunks
    ):
        io = "auto" if store == "memory" else store
        url = memory_file(mrc_bytes(numbers)) if store == "memory" else local_file
        with dask.config.set({**settings, "mrcdist.io": io}):
            plan = mrcdist.plan_mrc(url, chunks=chunks)
            cost = plan.explain()
            with counted() as count:
                plan.to_dask().compute(scheduler="synchronous")
        read = count.read
        assert cost.tasks == read.blocks == np.prod(cost.chunk_grid)
        assert cost.requests * cost.tasks == read.requests
        assert cost.fetched_bytes * cost.tasks == read.bytes_fetched + read.bytes_mapped
        assert (cost.requests == 0) == (store == "map")
        assert cost.task_bytes * cost.tasks == cost.total_bytes == numbers.nbytes
        assert cost.splits_frames == (cost.chunk_shape[1:] != (32, 40))

    def test_estimate_is_for_the_largest_of_uneven_chunks(self, local_file):
        cost = mrcdist.plan_mrc(local_file, chunks=((3, 16, 5), -1, -1)).explain()
        assert cost.chunk_shape == (16, 32, 40)
        assert cost.fetched_bytes == cost.task_bytes == 16 * 32 * 40 * 2

    @pytest.mark.parametrize("chunks", [(8, -1, -1), (8, 64, 64), (1, -1, -1), (1, -1, 256)])
    @pytest.mark.parametrize("byteorder", "<>")
    @pytest.mark.parametrize("store", ["map", "read", "auto", "memory"])
    def test_estimated_memory_is_close_to_that_measured(
        self, tmp_path, memory_file, store, byteorder, chunks
    ):
        numbers = counting((16, 512, 512), "uint16")
        raw = mrc_bytes(numbers, byteorder=byteorder)
        if store == "memory":
            url = memory_file(raw)
        else:
            url = tmp_path / "any.mrc"
            url.write_bytes(raw)
        io = "auto" if store == "memory" else store  # "auto" reads short ranges, maps long ones
        settings = {"mrcdist.io": io, "mrcdist.sub-range": 2**20, "mrcdist.concurrency": 2}
        with dask.config.set(settings):
            plan = mrcdist.plan_mrc(url, chunks=chunks)
            expected = plan.explain().worker_memory
            assert plan.explain(threads=3).worker_memory == 3 * expected
            where = tuple(slice(0, axis[0]) for axis in plan.chunks)
            # As in a worker without memory for pages that are not needed.
            source = dataclasses.replace(plan.source, limits=ReadLimits(mapped_memory_share=0))
            source[where]
            # The least of three: other threads and delayed releases only add to it.
            peak = min(memory_of_reading(source, where) for _ in range(3))
        assert expected / 2 <= peak <= 1.1 * expected + 2**17

    def test_remark_gives_the_cost_of_splitting_frames(self, local_file, memory_file, numbers):
        with dask.config.set({"mrcdist.io": "map"}):
            local = str(mrcdist.plan_mrc(local_file, chunks=(6, 16, 10)).explain())
        assert "8 tasks read from each frame" in local
        assert "not accessed are not read" in local
        url = memory_file(mrc_bytes(numbers))
        remote = str(mrcdist.plan_mrc(url, chunks=(6, 16, 10)).explain())
        assert "times the bytes it needs, in 1 request" in remote
        whole = str(mrcdist.plan_mrc(url, chunks=(6, -1, -1)).explain())
        assert "note" not in whole

    def test_text_of_the_report_has_a_line_per_quantity(self, local_file):
        with dask.config.set({"mrcdist.io": "map"}):
            text = str(mrcdist.plan_mrc(local_file, chunks=(6, -1, -1)).explain(threads=2))
        assert text.splitlines() == [
            str(local_file),
            "  array    24 × 32 × 40 uint16, 60.00 kiB",
            "  chunks   6 × 32 × 40, a grid of 4 × 1 × 1",
            "  tasks    4",
            "  per task 15.00 kiB of the array, 15.00 kiB of the file, mapped",
            "  memory   30.00 kiB per worker (2 threads), plus about 150 MiB for Python",
            "  float64  270.00 kiB per worker for operations that hold chunks as float64, "
            "such as std",
        ]

    def test_too_many_small_chunks_cause_one_remark_and_the_same_warning(self, memory_file):
        url = memory_file(mrc_bytes(counting((10_001, 1, 1), "int8")))
        with pytest.warns(mrcdist.MrcdistWarning, match="10,001 chunks are more than") as caught:
            plan = mrcdist.plan_mrc(url, chunks=(1, 1, -1, -1), navigation_shape=(73, 137))
        [remark] = plan.explain().remarks
        assert [str(each.message).endswith(remark) for each in caught] == [True]
        larger = mrcdist.plan_mrc(url, chunks=(1, 2, -1, -1), navigation_shape=(73, 137))
        assert larger.explain().remarks == ()

    def test_remark_proposes_chunks_for_computing_along_a_large_scan(self, tmp_path):
        path = tmp_path / "scan.mrc"
        path.write_bytes(header_bytes(nx=256, ny=256, nz=128 * 128, mode=1))
        os.truncate(path, 1024 + 128 * 128 * 256 * 256 * 2)

        def advice(**options):
            plan = mrcdist.plan_mrc(path, **options)
            return [text for text in plan.explain().remarks if "rechunking" in text]

        scan = {"navigation_shape": (128, 128)}
        [remark] = advice(**scan)
        assert 'chunks=(-1, -1, "auto", -1)' in remark
        assert advice(chunks=(-1, -1, "auto", -1), **scan) == []
        assert advice() == []
