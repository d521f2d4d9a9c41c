"""Reading on a cluster: tasks contain everything that workers need from the client."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dask.base import collections_to_expr

import mrcdist
from mrcdist import stats
from tests.support.cluster import dask_cluster
from tests.support.mrc_files import counting, mrc_bytes, write_mrc
from tests.support.processes import ROOT
from tests.support.s3 import SECRET_KEY, WRONG_SECRET

MOVIE = "20241021_00405_movie.mrc"


@pytest.fixture(scope="module")
def numbers():
    return counting((24, 16, 20), "uint16")


@pytest.fixture
def path(tmp_path, numbers):
    return write_mrc(tmp_path / "a.mrc", numbers)


def data_of(url, **options):
    [ds] = mrcdist.read_mrc(url, **options)
    return ds["data"]


def assert_equal_on(array, numbers):
    """Compare the whole array, a slice and a reduction with numpy."""
    np.testing.assert_array_equal(array.compute(), numbers)
    np.testing.assert_array_equal(array[5:9, 3:, ::2].compute(), numbers[5:9, 3:, ::2])
    assert array.sum().compute() == numbers.sum()


class TestLocalFiles:
    def test_local_files_are_read_by_the_workers(self, cluster, path, numbers):
        array = data_of(path, chunks=(4, -1, -1))
        blocks = sum(read.blocks for read in cluster.run(stats.snapshot).values())
        client_stats = stats.snapshot()
        np.testing.assert_array_equal(array.compute(), numbers)
        assert sum(read.blocks for read in cluster.run(stats.snapshot).values()) == blocks + 6
        assert stats.snapshot() == client_stats

    def test_slices_and_sums_of_local_files_equal_numpy(self, cluster, path, numbers):
        assert_equal_on(data_of(path, chunks=(4, 8, -1)), numbers)

    def test_relative_paths_refer_to_the_client(self, cluster, path, numbers, monkeypatch):
        monkeypatch.chdir(path.parent)
        assert str(path.parent) not in cluster.run(os.getcwd).values()
        assert_equal_on(data_of("a.mrc", chunks=(4, -1, -1)), numbers)
        assert_equal_on(data_of("./a.mrc", chunks=(4, -1, -1)), numbers)

    def test_maps_are_released_with_the_chunks(self, cluster, tmp_path):
        numbers = counting((12, 512, 1024), "uint16")  # 1 MiB per frame: smaller ones are read
        path = write_mrc(tmp_path / "large.mrc", numbers)
        before = cluster.run(stats.snapshot)
        assert data_of(path, chunks=(4, -1, -1)).sum().compute() == numbers.sum()
        after = cluster.run(stats.snapshot)
        assert sum(after[w].bytes_mapped - before[w].bytes_mapped for w in after) == numbers.nbytes
        assert not any(cluster.run(holds, str(path)).values())

    @pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
    def test_local_files_are_read_with_the_schedulers_of_dask(self, path, numbers, scheduler):
        array = data_of(path, chunks=(12, -1, -1))
        np.testing.assert_array_equal(array.compute(scheduler=scheduler, num_workers=2), numbers)

    def test_error_about_a_changed_file_keeps_its_attributes(self, cluster, path, numbers):
        array = data_of(path, chunks=(4, -1, -1))
        write_mrc(path, numbers + 1)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        with pytest.raises(mrcdist.FileChangedError) as raised:
            array.compute()
        error = raised.value
        assert error.problem.startswith(f"{path} changed since it was planned")
        assert "was written to" in error.cause
        assert "call read_mrc again" in error.remedy
        pids = [f"(pid {pid})" for pid in cluster.run(os.getpid).values()]
        assert any(error.where.endswith(pid) for pid in pids)
        assert pickle.loads(pickle.dumps(error)).__dict__ == error.__dict__

    def test_error_for_a_file_visible_to_the_client_only_has_cause_remedy_and_host(
        self, tmp_path, numbers
    ):
        """The most common mistake is a path on a disk of the client."""
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        path = write_mrc(hidden / "a.mrc", numbers)
        array = data_of(path, chunks=(4, -1, -1))
        np.testing.assert_array_equal(array.compute(scheduler="synchronous"), numbers)
        with dask_cluster(tmp_path / "cluster", hidden=hidden, workers=1) as client:
            [pid] = client.run(os.getpid).values()
            with pytest.raises(mrcdist.MissingFileError) as raised:
                array.compute()
        error = raised.value
        assert str(path) in error.problem
        assert "not mounted on this host" in error.cause
        assert "every worker" in error.remedy
        assert f"host {os.uname().nodename} (pid {pid})" in error.where


def holds(path):
    """Return whether this process has a file open or mapped."""
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return path in Path("/proc/self/maps").read_text(encoding="utf-8") or path in opened


class TestS3:
    def test_tasks_read_with_the_storage_options_of_the_client(self, cluster, s3_bucket, numbers):
        url = s3_bucket.put("a.mrc", mrc_bytes(numbers, byteorder=">"))
        options = s3_bucket.storage_options()
        assert_equal_on(data_of(url, chunks=(4, 8, -1), storage_options=options), numbers)

    def test_error_on_a_worker_has_url_byte_range_and_pid(self, cluster, s3_bucket, numbers):
        url = s3_bucket.put("a.mrc", mrc_bytes(numbers))
        array = data_of(url, chunks=(4, -1, -1), storage_options=s3_bucket.storage_options())
        s3_bucket.put("a.mrc", mrc_bytes(numbers + 1))
        with pytest.raises(mrcdist.FileChangedError) as raised:
            array.compute()
        assert url in raised.value.problem
        assert f"{url}, bytes " in raised.value.where
        assert any(f"(pid {p})" in raised.value.where for p in cluster.run(os.getpid).values())

    @pytest.mark.parametrize(
        "s3", ["moto", pytest.param("radosgw", marks=pytest.mark.slow)], indirect=True
    )
    def test_workers_read_an_acquisition_from_s3_only(
        self, s3_bucket, real_data, tmp_path, monkeypatch
    ):
        """Workers use their own credentials; neither the URL nor the tasks contain any."""
        for path in real_data.glob("20241021_00405_*"):
            s3_bucket.put(f"session/{path.name}", path.read_bytes())
        raw = (real_data / MOVIE).read_bytes()
        expected = np.frombuffer(raw, "<u2", 4 * 8 * 4 * 8, offset=1024).reshape(4, 8, 4, 8)
        environment = s3_bucket.server.environment()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with dask_cluster(
            tmp_path / "cluster", hidden=real_data, environment=environment
        ) as client:
            assert set(map(tuple, client.run(os.listdir, str(real_data)).values())) == {()}
            [ds] = mrcdist.read_mrc(s3_bucket.url(f"session/{MOVIE}"), chunks=(1, 3, -1, -1))
            assert ds["data"].shape == (4, 8, 4, 8)
            assert ds["data"].dtype == expected.dtype
            np.testing.assert_array_equal(ds["data"].compute(), expected)
            np.testing.assert_array_equal(ds["data"][2, 3].compute(), expected[2, 3])
        assert [axis["name"] for axis in ds["axes"]][:2] == ["y", "x"]
        assert ds["metadata"]["General"]["original_filename"] == MOVIE

    def test_remedy_for_workers_without_credentials_mentions_every_worker(
        self, cluster, radosgw, numbers, monkeypatch
    ):
        """Only the client has credentials in its environment."""
        with radosgw.bucket() as bucket:
            url = bucket.put("a.mrc", mrc_bytes(numbers))
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                monkeypatch.setenv(name, radosgw.environment()[name])
            options = {"client_kwargs": radosgw.storage_options()["client_kwargs"]}
            array = data_of(url, storage_options=options)
            with pytest.raises(mrcdist.AccessDeniedError, match="no credentials found") as raised:
                array.compute()
        assert "every worker" in raised.value.remedy


class TestQueryPlanning:
    """Array expressions of dask, which are enabled or disabled when a process starts."""

    CODE = """
import sys
import numpy as np, mrcdist
from distributed import Client
[ds] = mrcdist.read_mrc(sys.argv[1], chunks=(4, 8, -1))
array = ds["data"]
assert "_array_expr" in type(array).__module__, type(array)
expected = np.load(sys.argv[2])
def check(**options):
    np.testing.assert_array_equal(array.compute(**options), expected)
    np.testing.assert_array_equal(array[5].compute(**options), expected[5])
    np.testing.assert_array_equal(array[:, 3:9, ::2].compute(**options), expected[:, 3:9, ::2])
    assert array.sum().compute(**options) == expected.sum()
    np.testing.assert_allclose(array.mean(axis=0).compute(**options), expected.mean(axis=0))
if __name__ == "__main__":
    check(scheduler="threads")
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"):
        check()
    print("ok")
"""

    def test_arrays_can_be_computed_with_query_planning(self, path, numbers, tmp_path):
        np.save(tmp_path / "expected.npy", numbers)
        (tmp_path / "script.py").write_text(self.CODE)
        done = subprocess.run(
            [sys.executable, "script.py", path, tmp_path / "expected.npy"],
            env={
                **os.environ,
                "DASK_ARRAY__QUERY_PLANNING": "True",
                "PYTHONPATH": str(ROOT),
                "PYTHONWARNINGS": "error::mrcdist.errors.MrcdistWarning",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.stdout.strip() == "ok", done.stderr


class TestSecrets:
    """Credentials in tasks are never shown."""

    def test_arrays_plans_tasks_errors_and_logs_show_no_secret(self, moto, numbers, tmp_path):
        with moto.bucket() as bucket:
            shown = self.everything_shown(bucket, numbers, tmp_path)
        assert "Compute Failed" in shown["worker-0.out"]
        assert bucket.url("a.mrc") in shown["worker-0.out"]
        for name, text in shown.items():
            assert text, name
            assert SECRET_KEY not in text, name
            assert WRONG_SECRET not in text, name

    def everything_shown(self, bucket, numbers, tmp_path):
        url, options = bucket.put("a.mrc", mrc_bytes(numbers)), bucket.storage_options()
        assert options["secret"] == SECRET_KEY
        shown = {}
        with dask_cluster(tmp_path / "cluster", workers=1) as client:
            plan = mrcdist.plan_mrc(url, chunks=(4, -1, -1), storage_options=options)
            array = plan.to_dask()
            table = np.arange(24, dtype=np.int32)[::-1].reshape(24)
            sent_once = dataclasses.replace(
                plan, source=dataclasses.replace(plan.source, table=table)
            )
            for name, collection in {"array": array, "sent once": sent_once.to_dask()}.items():
                graph = dict(
                    collections_to_expr([collection[3:7].sum()]).optimize().__dask_graph__()
                )
                shown[f"{name}: array"] = repr(collection) + collection._repr_html_()
                shown[f"{name}: layers"] = repr(collection.dask) + collection.dask._repr_html_()
                shown[f"{name}: layer dicts"] = repr(
                    [dict(x) for x in collection.dask.layers.values()]
                )
                shown[f"{name}: keys and tasks"] = repr(graph)
                shown[f"{name}: arguments"] = repr([getattr(t, "args", t) for t in graph.values()])
                shown[f"{name}: name"] = collection.name
            shown["plan"] = repr(plan) + str(plan) + str(plan.explain()) + repr(plan.explain())
            shown["source"] = (
                repr(plan.source) + str(plan.source) + repr(plan.source.__dask_tokenize__())
            )
            futures = client.compute([array.sum(), sent_once.to_dask().sum()])
            assert client.gather(futures) == [numbers.sum()] * 2
            shown["tasks on the scheduler"] = client.run_on_scheduler(tasks_of)
            bucket.delete("a.mrc")
            with pytest.raises(mrcdist.MissingFileError) as raised:
                array.mean().compute()
            shown["error"] = str(raised.value) + repr(raised.value)
            wrong_options = {**options, "secret": WRONG_SECRET}
            failing = dataclasses.replace(plan.location, storage_options=wrong_options)
            shown["wrong secret"] = repr(failing)
            shown["worker logs"] = str(client.get_worker_logs())
            shown["scheduler logs"] = str(client.get_scheduler_logs())
        for file in (tmp_path / "cluster").glob("*.out"):
            shown[file.name] = file.read_text()
        return shown


def tasks_of(dask_scheduler):
    return repr([(key, task.run_spec) for key, task in dask_scheduler.tasks.items()])
