"""Default chunks leave memory for float64 temporaries on clusters with little memory."""

from __future__ import annotations

import math

import distributed
import pytest

from mrcdist import plan_mrc
from mrcdist.cluster_memory import task_memory
from tests.support.mrc_files import header_bytes

MIB = 2**20


@pytest.fixture
def movie(tmp_path):
    """A sparse file of 1 GiB."""
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes(nx=512, ny=512, nz=2048, mode=6))
    with path.open("r+b") as file:
        file.truncate(1024 + 2**30)
    return path


def local_client(limit, threads=1):
    return distributed.Client(
        n_workers=1,
        threads_per_worker=threads,
        memory_limit=limit,
        processes=False,
        dashboard_address=None,
    )


def largest_chunk(plan):
    return math.prod(max(axis) for axis in plan.chunks) * 2


def test_default_chunks_have_128_mib_without_a_cluster(movie):
    assert task_memory() is None
    assert largest_chunk(plan_mrc(movie)) == 128 * MIB


@pytest.mark.parametrize(("limit", "threads", "size"), [(512, 1, 24), (1024, 4, 15), (300, 1, 10)])
def test_default_chunks_and_their_temporaries_fit_into_small_workers(movie, limit, threads, size):
    with local_client(limit * MIB, threads):
        plan = plan_mrc(movie)
        assert plan_mrc(movie, chunks="64 MiB").chunks[0][0] == 128
        assert largest_chunk(plan.select(range(2048))) == largest_chunk(plan)
        assert largest_chunk(plan_mrc(movie, chunks=("auto", -1, -1))) <= size * MIB
    assert size - 1 <= largest_chunk(plan) / MIB <= size
    assert plan.explain(threads=threads).float64_memory <= 0.6 * (limit - 150) * MIB


@pytest.mark.parametrize("limit", [16 * 2**30, 0])
def test_default_chunks_have_128_mib_in_workers_with_ample_or_unlimited_memory(movie, limit):
    with local_client(limit):
        assert largest_chunk(plan_mrc(movie)) == 128 * MIB


def test_closed_cluster_no_longer_limits_default_chunks(movie):
    with local_client(512 * MIB):
        assert task_memory() == int(0.6 * 362 * MIB)
    assert task_memory() is None
    assert largest_chunk(plan_mrc(movie)) == 128 * MIB


def test_worker_with_the_least_memory_counts_in_a_cluster_of_many():
    """Early versions of distributed describe only five workers unless asked for all."""
    with distributed.LocalCluster(
        n_workers=8,
        threads_per_worker=1,
        memory_limit=2**30,
        processes=False,
        dashboard_address=None,
    ) as cluster:
        *_, last = cluster.scheduler.workers.values()
        last.memory_limit = 512 * MIB
        with distributed.Client(cluster):
            assert task_memory() == int((512 - 150) * MIB * 0.6)
