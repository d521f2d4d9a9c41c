"""Written files are exact although workers are killed or requests fail; secrets are not shown."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client

import mrcdist
from mrcdist.errors import (
    AccessDeniedError,
    ArgumentError,
    MrcdistError,
    MrcdistWarning,
    WriteError,
)
from mrcdist.storage.location import Location
from mrcdist.storage.retry import stop_retries
from mrcdist.write.grid import Grid
from mrcdist.write.s3 import S3Destination
from mrcdist.write.s3_upload import S3Upload
from mrcdist.write.work_folder import WorkFolder
from tests.support.cluster import dask_cluster
from tests.support.http_log import CountingProxy, Exchange, Fault
from tests.support.s3 import SECRET_KEY, WRONG_SECRET, Bucket, S3Server

NUMBERS = np.random.default_rng(0).integers(0, 4000, (24, 512, 512), dtype="uint16")  # 12 MiB

ONCE = da.from_array(NUMBERS, chunks=(12, -1, -1))  # blocks of 6 MiB, each of which is one part
THREE_TIMES = da.concatenate([ONCE, ONCE, ONCE])


def read_back(url: Any, **options: Any) -> np.ndarray[Any, Any]:
    [data] = mrcdist.read_mrc(url, metadata_file=None, **options)
    numbers: np.ndarray[Any, Any] = data["data"].compute(scheduler="threads")
    return numbers


def contents_of(bucket: Bucket) -> list[str]:
    client = bucket.server.client
    objects = client.list_objects_v2(Bucket=bucket.name).get("Contents", ())
    uploads = client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", ())
    return [each["Key"] for each in (*objects, *uploads)]


@pytest.fixture
def bucket(moto: S3Server) -> Iterator[Bucket]:
    with moto.bucket() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Three workers; each of two tests kills one."""
    with dask_cluster(tmp_path_factory.mktemp("workers"), workers=3, default=False) as client:
        yield client


class TestKilledWorker:
    """A worker is killed after it has written a block."""

    @pytest.mark.parametrize("place", ["disk", "bucket"])
    def test_file_is_exact_although_a_worker_is_killed(
        self, workers: Client, tmp_path: Path, bucket: Bucket, place: str
    ) -> None:
        folder, computed = tmp_path / "written", tmp_path / "computed"
        folder.mkdir()
        computed.mkdir()
        on_disk = place == "disk"
        url = str(folder / "a.mrc") if on_disk else bucket.url("a.mrc")
        options = {} if on_disk else bucket.storage_options()
        array = THREE_TIMES.map_blocks(
            kill_once, computed, dtype="uint16", meta=np.empty((0, 0, 0), "uint16")
        )
        before = len(workers.ncores())
        with workers.as_current():
            mrcdist.write_mrc(url, array, storage_options=options)
        assert (computed / "killed").exists()
        assert len(workers.ncores()) == before - 1
        np.testing.assert_array_equal(read_back(url, storage_options=options), THREE_TIMES)
        assert ([each.name for each in folder.iterdir()] if on_disk else contents_of(bucket)) == [
            "a.mrc"
        ]


def kill_once(block: Any, folder: Path) -> Any:
    """Kill this process at its second block, if no other process was killed."""
    own_file = folder / f"{os.getpid()}"
    if own_file.exists():
        try:
            (folder / "killed").touch(exist_ok=False)
        except FileExistsError:
            return block
        os.kill(os.getpid(), signal.SIGKILL)
    own_file.touch()
    return block


def test_independent_requests_are_sent_concurrently(bucket: Bucket) -> None:
    groups = (
        ("HEAD a.mrc", "GET plan.json"),
        ("GET uploads", "PUT plan.json"),
        ("PUT partNumber=1", "GET uploadId"),
    )
    begun: dict[str, Exchange] = {}

    def respond(exchange: Exchange) -> Fault | None:
        words = re.split("[/?&=]", f"{exchange.path}?{exchange.query}".replace("=1", "%1"))
        for kind in itertools.chain(*groups):
            method, pattern = kind.split()
            if kind in begun or method != exchange.method or pattern.replace("=", "%") not in words:
                continue
            begun[kind] = exchange
            [group] = (set(group) for group in groups if kind in group)
            # No response before the other requests have arrived.
            return Fault("stall", seconds=30, until=partial(group.issubset, begun))
        return None

    # Longer than the proxy waits, so that a repeated request does not count as being in time.
    long_timeout = dask.config.set({"mrcdist.stall": 120})
    with CountingProxy(bucket.server, respond) as proxy, long_timeout:
        options = proxy.server.storage_options()
        mrcdist.write_mrc(bucket.url("a.mrc"), ONCE, storage_options=options)
    assert len(begun) == 6
    assert not proxy.overdue


class TestFailingRequests:
    FAULTS = (
        Fault("status", status=503),
        Fault("status", status=500),
        Fault("reset"),
        Fault("truncate"),
        Fault("reset", after=10),  # of the response: the request has been carried out
    )

    def test_object_is_exact_although_every_fifth_request_fails(self, s3_bucket: Bucket) -> None:
        bucket = s3_bucket
        faults: list[str] = []

        def every_fifth(exchange: Exchange) -> Fault | None:
            if len(proxy.requests) % 5:
                return None
            faults.append(f"{exchange.method} {exchange.query}")
            return self.FAULTS[len(faults) % len(self.FAULTS)]

        with CountingProxy(bucket.server, every_fifth) as proxy:
            options = proxy.server.storage_options()
            mrcdist.write_mrc(bucket.url("a.mrc"), THREE_TIMES, storage_options=options)
        assert len(faults) >= 6
        found = read_back(bucket.url("a.mrc"), storage_options=bucket.storage_options())
        np.testing.assert_array_equal(found, THREE_TIMES)
        assert contents_of(bucket) == ["a.mrc"]

    @pytest.mark.parametrize("name", ["plan.json", "partNumber=2"])
    def test_object_is_exact_although_a_put_stalls(self, bucket: Bucket, name: str) -> None:
        stalled: list[Exchange] = []

        def respond(exchange: Exchange) -> Fault | None:
            target = f"{exchange.path}?{exchange.query}"
            if stalled or exchange.method != "PUT" or name not in target:
                return None
            stalled.append(exchange)
            return Fault("stall", seconds=600)

        with (
            CountingProxy(bucket.server, respond) as proxy,
            dask.config.set({"mrcdist.stall": 1.5}),
        ):
            options = proxy.server.storage_options()
            mrcdist.write_mrc(bucket.url("a.mrc"), ONCE, storage_options=options)
        assert stalled
        found = read_back(bucket.url("a.mrc"), storage_options=bucket.storage_options())
        np.testing.assert_array_equal(found, ONCE)

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_object_is_complete_although_the_response_to_its_completion_is_lost(
        self, bucket: Bucket, overwrite: bool
    ) -> None:
        lost: list[Exchange] = []

        def respond(exchange: Exchange) -> Fault | None:
            completing = exchange.method == "POST" and "uploadId" in exchange.query
            if not completing or lost:
                return None
            lost.append(exchange)
            return Fault("reset", after=10)

        with CountingProxy(bucket.server, respond) as proxy:
            options = proxy.server.storage_options()
            url = bucket.url("a.mrc")
            mrcdist.write_mrc(url, ONCE, overwrite=overwrite, storage_options=options)
        assert lost
        np.testing.assert_array_equal(
            read_back(url, storage_options=bucket.storage_options()), ONCE
        )

    @pytest.mark.parametrize("always", [False, True])
    def test_upload_whose_response_was_lost_is_reported_and_not_aborted(
        self, bucket: Bucket, always: bool
    ) -> None:
        client = bucket.server.client
        other = client.create_multipart_upload(Bucket=bucket.name, Key="a.mrc")["UploadId"]
        lost: list[Exchange] = []

        def respond(exchange: Exchange) -> Fault | None:
            is_start = exchange.method == "POST" and "uploadId" not in exchange.query
            if not is_start or (lost and not always):
                return None
            lost.append(exchange)
            return Fault("reset", after=10)  # the upload has started

        with (
            CountingProxy(bucket.server, respond) as proxy,
            dask.config.set({"mrcdist.retries": 1}),
            pytest.warns(MrcdistWarning) if not always else pytest.raises(WriteError) as raised,
        ):
            options = proxy.server.storage_options()
            mrcdist.write_mrc(bucket.url("a.mrc"), ONCE, storage_options=options)
        found = client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", ())
        # The store does not say whose they are.
        assert {each["UploadId"] for each in found} > {other}
        assert len(found) == 1 + len(lost)
        text = str(raised.value) if always else str(raised[0].message)
        assert all(each["UploadId"] in text for each in found)

    def test_part_is_sent_again_if_the_plan_is_missing_only_once(self, bucket: Bucket) -> None:
        """A proxy that cannot reach the store may respond so."""
        broken: list[str] = []

        def respond(exchange: Exchange) -> Fault | None:
            if "partNumber=2" in exchange.query and not broken:
                broken.append("part")
                return Fault("status")
            if exchange.method == "GET" and "plan.json" in exchange.path and broken == ["part"]:
                broken.append("plan")
                return Fault("status", status=404)
            return None

        with CountingProxy(bucket.server, respond) as proxy, dask.config.set(scheduler="sync"):
            options = proxy.server.storage_options()
            mrcdist.write_mrc(bucket.url("a.mrc"), ONCE, storage_options=options)
        assert broken == ["part", "plan"]
        found = read_back(bucket.url("a.mrc"), storage_options=bucket.storage_options())
        np.testing.assert_array_equal(found, ONCE)
        assert contents_of(bucket) == ["a.mrc"]

    def test_call_that_begins_while_another_is_abandoned_keeps_its_objects(
        self, bucket: Bucket
    ) -> None:
        url = bucket.url("a.mrc")
        other = WorkFolder(Location.of(url, bucket.storage_options()), "other")

        def respond(exchange: Exchange) -> None:
            if "list-type" in exchange.query and other.plan() is None:
                other.claim({})
                other.keep(0, b"theirs")

        with CountingProxy(bucket.server, respond) as proxy:
            work = WorkFolder(Location.of(url, proxy.server.storage_options()), "mine")
            work.claim({})
            work.keep(0, b"ours")
            work.remove()
        assert other.holds()
        assert other.sizes().keys() == {"plan.json", "0.other.done"}

    @pytest.mark.parametrize("denied", ["list-type", "delete"])
    def test_object_is_written_without_permission_to_list_or_delete(
        self, bucket: Bucket, denied: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(exchange: Exchange) -> Fault | None:
            refused = denied in f"{exchange.query}".split("&")[0].split("=")[0]
            return Fault("status", status=403) if refused else None

        with CountingProxy(bucket.server, refuse) as proxy:
            options = proxy.server.storage_options()
            mrcdist.write_mrc(bucket.url("a.mrc"), ONCE, storage_options=options)
        found = read_back(bucket.url("a.mrc"), storage_options=bucket.storage_options())
        np.testing.assert_array_equal(found, ONCE)
        assert (contents_of(bucket) == ["a.mrc"]) == (denied == "list-type")
        assert ("could not all be removed" in caplog.text) == (denied == "delete")

    def test_unfinished_upload_is_replaced_without_permission_to_list(self, bucket: Bucket) -> None:
        def refuse(exchange: Exchange) -> Fault | None:
            lists = exchange.method == "GET" and re.match("(list-type|uploads)", exchange.query)
            return Fault("status", status=403) if lists else None

        url = bucket.url("a.mrc")
        arguments = {"compute": False, "storage_options": bucket.storage_options()}
        mrcdist.write_mrc(url, ONCE, **arguments)
        warning = "a.mrc.mrcdist-write/, could not all be removed"
        with CountingProxy(bucket.server, refuse) as proxy:
            options = proxy.server.storage_options()
            with pytest.warns(MrcdistWarning, match=warning):
                mrcdist.write_mrc(url, ONCE, overwrite=True, storage_options=options)
        found = read_back(url, storage_options=bucket.storage_options())
        np.testing.assert_array_equal(found, ONCE)
        assert contents_of(bucket) == ["a.mrc"]

    @pytest.mark.parametrize("compressor", [None, "zstd"])
    def test_objects_of_a_task_killed_after_another_call_took_over_are_removed(
        self, bucket: Bucket, compressor: str | None
    ) -> None:
        url, options = bucket.url("a.mrc"), bucket.storage_options()
        arguments = {"compute": False, "storage_options": options, "compressor": compressor}
        mrcdist.write_mrc(url, ONCE, **arguments)
        plan = WorkFolder(Location.of(url, options)).plan()
        assert plan is not None
        writing = mrcdist.write_mrc(url, ONCE, overwrite=True, **arguments)
        for kind in ("done", "packed", "segment"):
            bucket.put(f"a.mrc.mrcdist-write/0.{plan['mark']}.{kind}", b"left behind")
        writing.compute()
        np.testing.assert_array_equal(read_back(url, storage_options=options), ONCE)
        assert contents_of(bucket) == ["a.mrc"]

    def test_part_joined_from_compressed_blocks_is_sent_again(self, bucket: Bucket) -> None:
        broken: list[Exchange] = []

        def respond(exchange: Exchange) -> Fault | None:
            if broken or "partNumber=1" not in exchange.query:
                return None
            broken.append(exchange)
            return Fault("status")

        with CountingProxy(bucket.server, respond) as proxy:
            options = proxy.server.storage_options()
            url = bucket.url("a.mrcz")
            mrcdist.write_mrc(url, ONCE, storage_options=options)
        assert broken
        found = read_back(url, storage_options=bucket.storage_options())
        np.testing.assert_array_equal(found, ONCE)
        assert contents_of(bucket) == ["a.mrcz"]

    def test_error_page_of_a_proxy_is_not_taken_for_a_plan(self, bucket: Bucket) -> None:
        location = Location.of(bucket.url("a.mrc"), bucket.storage_options())
        upload = S3Upload(location, "mine")
        destination = S3Destination(location, Grid(1024, 1, 4096), uploads=(upload,))
        for page, holds in ((b"<html>", None), (b'{"mark": "other"}', False)):
            bucket.put("a.mrc.mrcdist-write/plan.json", page)
            assert destination.work.holds(retry=False) is holds
        with pytest.raises(WriteError, match="no longer exists"):
            destination._is_complete(upload)
        bucket.put("a.mrc.mrcdist-write/plan.json", b"<html>")
        assert not destination._is_complete(upload)

    def test_file_with_a_damaged_plan_can_be_started_over(self, bucket: Bucket) -> None:
        for name, content in (("a.mrc", b""), ("a[1].mrc", b"{")):
            bucket.put(f"{name}.mrcdist-write/plan.json", content)
            arguments = {"storage_options": bucket.storage_options()}
            with pytest.raises(ArgumentError, match="its plan is damaged") as error:
                mrcdist.write_mrc(bucket.url(name), ONCE, resume=True, **arguments)
            assert error.value.code == "destination-differs"
            mrcdist.write_mrc(bucket.url(name), ONCE, overwrite=True, **arguments)
        assert contents_of(bucket) == ["a.mrc", "a[1].mrc"]

    def test_plan_created_after_its_call_was_interrupted_is_removed(self, bucket: Bucket) -> None:
        location = Location.of(bucket.url("a.mrc"), bucket.storage_options())
        with stop_retries() as stop:
            stop()
            WorkFolder(location, "mine").claim({})
        assert contents_of(bucket) == []

    def test_permanent_failure_of_the_store_leaves_no_object_or_upload(
        self, bucket: Bucket
    ) -> None:
        def refuse_parts(exchange: Exchange) -> Fault | None:
            return Fault("status") if "partNumber" in exchange.query else None

        with (
            CountingProxy(bucket.server, refuse_parts) as proxy,
            dask.config.set({"mrcdist.retries": 1}),
            pytest.raises(WriteError) as error,
        ):
            mrcdist.write_mrc(
                bucket.url("a.mrc"), ONCE, storage_options=proxy.server.storage_options()
            )
        assert "Broken by the test" in error.value.cause
        assert contents_of(bucket) == []

    def test_first_error_is_raised_if_the_upload_cannot_be_aborted(self, bucket: Bucket) -> None:
        def refuse(exchange: Exchange) -> Fault | None:
            if exchange.method == "DELETE":
                return Fault("status", status=403)
            return Fault("status") if "partNumber" in exchange.query else None

        with (
            CountingProxy(bucket.server, refuse) as proxy,
            dask.config.set({"mrcdist.retries": 1}),
            pytest.raises(WriteError, match="Broken by the test") as error,
        ):
            mrcdist.write_mrc(
                bucket.url("a.mrc"), ONCE, storage_options=proxy.server.storage_options()
            )
        [note] = error.value.__notes__
        assert "no permission to write" in note
        assert contents_of(bucket) == ["a.mrc"]  # the upload; its temporary objects are removed


def test_secrets_are_neither_shown_nor_stored(bucket: Bucket) -> None:
    options = bucket.storage_options()
    plan = mrcdist.plan_write(bucket.url("a.mrc"), ONCE, storage_options=options)
    shown = [repr(plan), str(plan.explain()), repr(plan.explain())]
    writing = plan.delayed()
    shown += [repr(writing), *map(str, writing.dask)]
    with pytest.raises(ArgumentError) as busy:
        mrcdist.write_mrc(bucket.url("a.mrc"), ONCE, storage_options=options)
    client = bucket.server.client
    for key in contents_of(bucket):
        if key.endswith("plan.json"):
            shown.append(client.get_object(Bucket=bucket.name, Key=key)["Body"].read().decode())
    writing.compute()
    report = mrcdist.write_mrc(
        bucket.url("b.mrc"), ONCE, storage_options=options, resume=True, labels=["mine"]
    )
    shown += [str(report), repr(report)]
    whole = client.get_object(Bucket=bucket.name, Key="b.mrc")
    shown += [str(whole["Metadata"]), str(whole["Body"].read(1024))]
    with pytest.raises(MrcdistError) as missing:
        mrcdist.write_mrc("s3://no-such-bucket-here/a.mrc", ONCE, storage_options=options)
    for error in (busy.value, missing.value):
        shown += [str(error), repr(error), str(vars(error))]
    assert any('"uploads"' in text for text in shown)
    assert SECRET_KEY not in "\n".join(shown)


def test_error_for_a_wrong_secret_does_not_show_it(radosgw: S3Server) -> None:
    with radosgw.bucket() as bucket, pytest.raises(AccessDeniedError) as error:
        mrcdist.write_mrc(
            bucket.url("a.mrc"),
            ONCE,
            storage_options=radosgw.with_secret(WRONG_SECRET).storage_options(),
        )
    assert "no permission to" in error.value.problem
    assert WRONG_SECRET not in str(error.value) + repr(error.value)
