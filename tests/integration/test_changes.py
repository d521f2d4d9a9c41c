"""Files that change after planning raise an error; old and new data are never mixed."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import dask
import fsspec
import numpy as np
import pytest
from distributed import Client
from fsspec.archive import AbstractArchiveFileSystem

from mrcdist import FileChangedError, MissingFileError, MrcdistWarning, ReadError, plan_mrc
from mrcdist.read.source import MrcSource
from mrcdist.read_plan import Plan
from mrcdist.storage.stored_file import current_version
from mrcdist.storage.version import Version
from tests.support.cluster import dask_cluster
from tests.support.exchange import web_store
from tests.support.http_log import CountingProxy, Exchange
from tests.support.mrc_files import mrc_bytes
from tests.support.s3 import Bucket, S3Server
from tests.support.serving import file_server

OLD = np.arange(64 * 8 * 8, dtype=np.uint16).reshape(64, 8, 8)
NEW = OLD[:, ::-1].copy()
FRAME_BYTES = OLD[0].nbytes


@pytest.fixture
def bucket(radosgw: S3Server) -> Iterator[Bucket]:
    with radosgw.bucket() as bucket:
        yield bucket


@pytest.fixture
def versioned(bucket: Bucket) -> Bucket:
    bucket.server.client.put_bucket_versioning(
        Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    return bucket


@pytest.fixture
def proxy(radosgw: S3Server) -> Iterator[CountingProxy]:
    with CountingProxy(radosgw) as proxy:
        yield proxy


def kind_of(plan: Plan) -> str:
    return plan.source.parts[0].file.version.kind


def once(proxy: CountingProxy, number: int, act: Callable[[], object]) -> None:
    """Call a function when request `number` has arrived, before the response to it."""
    arrived = 0

    def respond(_: Exchange) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == number:
            act()

    proxy.respond = respond


class TestObject:
    """Versions of an object are identified by its ETag."""

    @pytest.fixture
    def plan(self, bucket: Bucket, proxy: CountingProxy) -> Plan:
        url = bucket.put("movie.mrc", mrc_bytes(OLD))
        plan = plan_mrc(url, storage_options=proxy.server.storage_options())
        assert kind_of(plan) == "etag"
        return plan

    @pytest.mark.parametrize(
        "new", [NEW, NEW[:32], np.concatenate([NEW, NEW])], ids=["same size", "shorter", "longer"]
    )
    def test_object_overwritten_within_a_chunk_is_an_error(
        self, plan: Plan, bucket: Bucket, proxy: CountingProxy, new: np.ndarray
    ) -> None:
        once(proxy, 3, lambda: bucket.put("movie.mrc", mrc_bytes(new)))
        with dask.config.set({"mrcdist.sub-range": 1024}), pytest.raises(FileChangedError) as error:
            plan.source[...]
        assert "read_mrc again" in error.value.remedy

    def test_object_deleted_within_a_chunk_is_an_error(
        self, plan: Plan, bucket: Bucket, proxy: CountingProxy
    ) -> None:
        once(proxy, 3, lambda: bucket.delete("movie.mrc"))
        with dask.config.set({"mrcdist.sub-range": 1024}), pytest.raises(MissingFileError):
            plan.source[...]

    @pytest.mark.parametrize("consistency", ["strict", "size", "off"])
    def test_object_replaced_by_one_of_the_same_size_is_an_error_only_if_consistency_is_strict(
        self, plan: Plan, bucket: Bucket, consistency: str
    ) -> None:
        bucket.put("movie.mrc", mrc_bytes(NEW))
        with dask.config.set({"mrcdist.consistency": consistency}):
            if consistency == "strict":
                with pytest.raises(FileChangedError):
                    plan.source[5]
            else:
                np.testing.assert_array_equal(plan.source[5], NEW[5])

    @pytest.mark.parametrize("consistency", ["strict", "size", "off"])
    def test_object_replaced_by_a_longer_one_is_an_error_unless_consistency_is_off(
        self, plan: Plan, bucket: Bucket, consistency: str
    ) -> None:
        bucket.put("movie.mrc", mrc_bytes(np.concatenate([NEW, NEW])))
        with dask.config.set({"mrcdist.consistency": consistency}):
            if consistency == "off":
                np.testing.assert_array_equal(plan.source[5], NEW[5])
            else:
                with pytest.raises(FileChangedError):
                    plan.source[5]

    @pytest.mark.parametrize("consistency", ["strict", "size", "off"])
    def test_object_replaced_by_a_shorter_one_is_an_error_with_any_consistency(
        self, plan: Plan, bucket: Bucket, consistency: str
    ) -> None:
        bucket.put("movie.mrc", mrc_bytes(NEW[:32]))
        with dask.config.set({"mrcdist.consistency": consistency}):
            for chunk in (slice(30, 40), slice(40, 50)):  # across its end, and beyond it
                with pytest.raises(FileChangedError):
                    plan.source[chunk]


class TestVersionedObject:
    """Versions of an object are identified by its VersionId; the planned one is read."""

    @pytest.fixture(params=[False, True], ids=["", "version_aware"])
    def plan(self, request: pytest.FixtureRequest, versioned: Bucket, proxy: CountingProxy) -> Plan:
        versioned.put("movie.mrc", mrc_bytes(NEW))
        url = versioned.put("movie.mrc", mrc_bytes(OLD))
        options = {**proxy.server.storage_options(), "version_aware": request.param}
        plan = plan_mrc(url, storage_options=options)
        assert kind_of(plan) == "version_id"
        return plan

    def test_planned_version_of_an_overwritten_object_is_read(
        self, plan: Plan, versioned: Bucket, proxy: CountingProxy
    ) -> None:
        once(proxy, 3, lambda: versioned.put("movie.mrc", mrc_bytes(NEW)))
        with dask.config.set({"mrcdist.sub-range": 1024}):
            np.testing.assert_array_equal(plan.source[...], OLD)

    def test_planned_version_of_a_deleted_object_is_read(
        self, plan: Plan, versioned: Bucket, proxy: CountingProxy
    ) -> None:
        once(proxy, 3, lambda: versioned.delete("movie.mrc"))
        with dask.config.set({"mrcdist.sub-range": 1024}):
            np.testing.assert_array_equal(plan.source[...], OLD)

    def test_deleted_version_is_an_error(self, plan: Plan, versioned: Bucket) -> None:
        version = plan.source.parts[0].file.version.value
        versioned.server.client.delete_object(
            Bucket=versioned.name, Key="movie.mrc", VersionId=version
        )
        with pytest.raises(MissingFileError):
            plan.source[0]

    @pytest.mark.parametrize("consistency", ["size", "off"])
    def test_newest_version_is_read_if_consistency_is_not_strict(
        self, plan: Plan, versioned: Bucket, consistency: str
    ) -> None:
        versioned.put("movie.mrc", mrc_bytes(NEW))
        with dask.config.set({"mrcdist.consistency": consistency}):
            np.testing.assert_array_equal(plan.source[...], NEW)

    def test_version_in_the_url_is_read(self, versioned: Bucket, proxy: CountingProxy) -> None:
        url = versioned.put("movie.mrc", mrc_bytes(OLD))
        head = versioned.server.client.head_object(Bucket=versioned.name, Key="movie.mrc")
        versioned.put("movie.mrc", mrc_bytes(NEW[:32]))
        url = f"{url}?versionId={head['VersionId']}"
        plan = plan_mrc(url, storage_options=proxy.server.storage_options())
        np.testing.assert_array_equal(plan.source[...], OLD)

    def test_object_overwritten_during_planning_is_read_as_one_version(
        self, versioned: Bucket, proxy: CountingProxy
    ) -> None:
        """Header and data are of the same version."""
        url = versioned.put("movie.mrc", mrc_bytes(OLD))
        turned = NEW.astype(">u2").reshape(8, 64, 8)
        once(proxy, 2, lambda: versioned.put("movie.mrc", mrc_bytes(turned, byteorder=">")))
        plan = plan_mrc(url, storage_options=proxy.server.storage_options())
        np.testing.assert_array_equal(plan.source[...], OLD)


class TestMemoryFilesystem:
    """Versions in memory are identified by a date."""

    @pytest.fixture
    def plan(self) -> Plan:
        with fsspec.open("memory://changes/movie.mrc", "wb") as file:
            file.write(mrc_bytes(OLD))
        plan = plan_mrc("memory://changes/movie.mrc")
        assert kind_of(plan) == "modified"
        return plan

    @pytest.mark.parametrize("new", [NEW, NEW[:32]], ids=["same size", "shorter"])
    def test_file_overwritten_in_memory_is_an_error(self, plan: Plan, new: np.ndarray) -> None:
        with fsspec.open("memory://changes/movie.mrc", "wb") as file:
            file.write(mrc_bytes(new))
        with pytest.raises(FileChangedError):
            plan.source[3]

    def test_file_deleted_in_memory_is_an_error(self, plan: Plan) -> None:
        fsspec.filesystem("memory").rm("/changes/movie.mrc")
        with pytest.raises(MissingFileError):
            plan.source[3]


def zipped(numbers: np.ndarray) -> bytes:
    """Return an uncompressed archive with a fixed date, so that only the contents differ."""
    with zipfile.ZipFile(raw := io.BytesIO(), "w") as archive:
        archive.writestr(zipfile.ZipInfo("movie.mrc"), mrc_bytes(numbers))
    return raw.getvalue()


def tarred(numbers: np.ndarray) -> bytes:
    with tarfile.open(fileobj=(raw := io.BytesIO()), mode="w") as archive:
        member = tarfile.TarInfo("movie.mrc")
        member.size = len(content := mrc_bytes(numbers))
        archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


class TestArchive:
    """The version of a member includes that of the archive."""

    @pytest.fixture(params=[zipped, tarred])
    def packed(self, request: pytest.FixtureRequest) -> Callable[[np.ndarray], bytes]:
        packed: Callable[[np.ndarray], bytes] = request.param
        return packed

    @pytest.fixture(params=["", "simplecache::"])
    def cache(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def rewrite(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))

    def test_replaced_archive_is_an_error_until_planned_again(
        self, tmp_path: Path, packed: Callable[[np.ndarray], bytes], cache: str
    ) -> None:
        path = tmp_path / "all"
        path.write_bytes(packed(OLD))
        url = f"{cache}{packed.__name__[:3]}://movie.mrc::{path}"
        plan = plan_mrc(url)
        np.testing.assert_array_equal(plan.source[3], OLD[3])
        self.rewrite(path, packed(NEW))
        with pytest.raises(FileChangedError):
            plan.source[3]
        np.testing.assert_array_equal(plan_mrc(url).source[3], NEW[3])

    def test_archive_replaced_within_a_chunk_is_an_error(
        self,
        tmp_path: Path,
        packed: Callable[[np.ndarray], bytes],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        path = tmp_path / "all"
        path.write_bytes(packed(OLD))
        plan = plan_mrc(f"{packed.__name__[:3]}://movie.mrc::{path}")
        reads = 0

        def read_and_replace(*arguments: Any, **options: Any) -> bytes:
            nonlocal reads
            reads += 1
            if reads == 3:
                self.rewrite(path, packed(NEW))
            return bytes(read(*arguments, **options))

        read = AbstractArchiveFileSystem.cat_file
        monkeypatch.setattr(AbstractArchiveFileSystem, "cat_file", read_and_replace)
        with dask.config.set({"mrcdist.sub-range": 1024}), pytest.raises(FileChangedError):
            plan.source[...]
        assert reads >= 3

    def test_archive_in_a_replaced_object_is_an_error(self, bucket: Bucket) -> None:
        url = bucket.put("all.zip", zipped(OLD))
        plan = plan_mrc(f"zip://movie.mrc::{url}", storage_options={"s3": bucket.storage_options()})
        np.testing.assert_array_equal(plan.source[...], OLD)
        bucket.put("all.zip", zipped(NEW))
        with pytest.raises(FileChangedError):
            plan.source[...]


class TestWebServersWithIncompleteVersions:
    def test_version_reported_only_for_whole_files_is_an_error_of_the_task(self) -> None:
        with file_server(
            mrc_bytes(OLD), etag=lambda request: '"1"' if request.command == "HEAD" else None
        ) as url:
            source = plan_mrc(url, metadata_file=None).source
            with pytest.raises(ReadError, match="does not identify the version") as caught:
                source[0]
            assert "mrcdist.consistency" in caught.value.remedy
            with dask.config.set({"mrcdist.consistency": "size"}):
                np.testing.assert_array_equal(source[...], OLD)

    @pytest.mark.parametrize("s3", [False, True], ids=["web server", "gateway for S3"])
    @pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
    def test_response_without_the_planned_validator_is_an_error(
        self, validator: str, s3: bool
    ) -> None:
        headers = {validator: '"1"' if validator == "ETag" else "Mon, 01 Jan 2024 10:00:00 GMT"}
        with web_store(lambda _: headers, s3=s3) as store:
            store.put(mrc_bytes(OLD))
            options = {"storage_options": store.options, "metadata_file": None}
            source = plan_mrc(store.url, **options).source
            np.testing.assert_array_equal(source[...], OLD)
            headers.clear()
            with pytest.raises(ReadError) as caught:
                source[...]
            assert caught.value.code == "version-unknown"
            with dask.config.set({"mrcdist.consistency": "size"}):
                np.testing.assert_array_equal(source[...], OLD)

    def test_weak_etag_of_a_byte_range_is_accepted(self) -> None:
        """Servers that compress some responses report weak ETags."""

        def etag(request: BaseHTTPRequestHandler) -> str:
            return '"1"' if request.command == "HEAD" else 'W/"1"'

        for raw in (mrc_bytes(OLD), gzip.compress(mrc_bytes(OLD))):
            with file_server(raw, etag=etag) as url, warnings.catch_warnings():
                warnings.simplefilter("ignore", MrcdistWarning)  # one task reads a stream
                source = plan_mrc(url, metadata_file=None).source
                np.testing.assert_array_equal(source[...], OLD)
                file = source.parts[0].file
                assert current_version(file.location, 1024) == file.version

    def test_file_without_a_version_is_read_with_one_warning(self) -> None:
        with file_server(mrc_bytes(OLD), etag=lambda _: None) as url:
            with pytest.warns(MrcdistWarning, match="reports only a size"):
                plan = plan_mrc([url, f"{url}?2"], metadata_file=None)
            assert len(plan.notes) == 1
            np.testing.assert_array_equal(plan.source[:64], OLD)
            with dask.config.set({"mrcdist.consistency": "size"}):
                assert plan_mrc(url, metadata_file=None).notes == ()


@pytest.mark.parametrize(
    "validator",
    [
        lambda seconds, _: {"Last-Modified": formatdate(seconds, usegmt=True)},
        lambda seconds, size: {"ETag": f'"{seconds:x}-{size:x}"'},
    ],
    ids=["date", "ETag of nginx"],
)
def test_file_replaced_within_the_second_of_its_version_is_an_error(
    validator: Callable[[int, int], dict[str, str]],
) -> None:
    """If versions contain dates in whole seconds, planning waits until the second is over."""
    size, requests = len(mrc_bytes(OLD)), []
    put_at = int(time.time()) - 100
    with web_store(lambda _: validator(put_at, size)) as store:
        store.hook = lambda: requests.append(time.time())
        store.put(mrc_bytes(OLD))
        plan_mrc(store.url, metadata_file=None)
        settled = len(requests)
        time.sleep(1 - time.time() % 1)
        put_at = int(time.time())
        source = plan_mrc(store.url, metadata_file=None).source
        assert len(requests) == 2 * settled + 1
        assert requests[settled + 1] - requests[settled] >= 1
        put_at = int(time.time())
        store.put(mrc_bytes(NEW))
        with pytest.raises(FileChangedError):
            source[...]


def test_planning_waits_once_for_a_server_whose_dates_are_always_now() -> None:
    def now(ahead: float) -> str:  # the same second as in the response's own date
        return formatdate(time.time() + ahead, usegmt=True)

    requests = []
    with web_store(lambda _: {"Last-Modified": now(0.5)}) as store:
        store.hook = lambda: requests.append(time.time())
        store.put(mrc_bytes(OLD))
        with dask.config.set({"mrcdist.consistency": "size"}):
            assert plan_mrc(store.url, metadata_file=None).notes == ()
        for waited in (2, 0):
            before = len(requests)
            with pytest.warns(MrcdistWarning, match="is always the current time"):
                plan_mrc(store.url, metadata_file=None)
            gaps = np.diff(requests[before:])
            assert np.count_nonzero(gaps >= 1) == waited
    assert requests[1] - requests[0] < 1


def overwrite(path: Path) -> None:
    """Overwrite the file in place, with the same size."""
    with path.open("r+b") as file:
        file.write(mrc_bytes(NEW))


def replace(path: Path) -> None:
    """Replace the file by a rename, as rsync and most editors do."""
    other = path.with_suffix(".new")
    other.write_bytes(mrc_bytes(NEW))
    other.rename(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(NEW[0].tobytes())


def truncate(path: Path) -> None:
    os.truncate(path, 1024 + 32 * FRAME_BYTES)


CHANGES = {"overwritten": overwrite, "replaced": replace, "appended to": append,
           "truncated": truncate}  # fmt: skip


class TestLocalFile:
    """Versions of a file are identified by size, mtime and ctime (in ns)."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "movie.mrc"
        path.write_bytes(mrc_bytes(OLD))
        return path

    @pytest.fixture
    def plan(self, path: Path) -> Plan:
        plan = plan_mrc(path)
        assert kind_of(plan) == "mtime_ns"
        return plan

    @pytest.fixture(params=["map", "read"])
    def io(self, request: pytest.FixtureRequest) -> Iterator[str]:
        with dask.config.set({"mrcdist.io": request.param}):
            yield request.param

    @pytest.mark.usefixtures("io")
    @pytest.mark.parametrize("change", CHANGES)
    def test_file_changed_between_two_chunks_is_an_error(
        self, plan: Plan, path: Path, change: str
    ) -> None:
        np.testing.assert_array_equal(plan.source[:8], OLD[:8])
        CHANGES[change](path)
        with pytest.raises(FileChangedError) as error:
            plan.source[8:16]
        assert str(path) in error.value.problem

    @pytest.mark.usefixtures("io")
    def test_file_with_an_mtime_one_nanosecond_later_is_an_error(
        self, plan: Plan, path: Path
    ) -> None:
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        if path.stat().st_mtime_ns == stat.st_mtime_ns:
            pytest.skip("this filesystem does not store nanoseconds")
        with pytest.raises(FileChangedError):
            plan.source[0]

    @pytest.mark.usefixtures("io")
    @pytest.mark.parametrize("change", ["overwritten", "replaced"])
    def test_file_with_other_content_but_the_same_size_and_mtime_is_an_error(
        self, plan: Plan, path: Path, change: str
    ) -> None:
        stat = path.stat()
        CHANGES[change](path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert path.stat().st_size == stat.st_size
        with pytest.raises(FileChangedError):
            plan.source[0]

    @pytest.mark.usefixtures("io")
    def test_deleted_file_is_an_error(self, plan: Plan, path: Path) -> None:
        path.unlink()
        with pytest.raises(MissingFileError):
            plan.source[0]

    @pytest.mark.parametrize("change", CHANGES)
    def test_file_changed_while_a_chunk_is_read_is_an_error(
        self, plan: Plan, path: Path, change: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class ChangedOnceRead(io.FileIO):
            def readinto(self, buffer: Any, /) -> int:
                count = super().readinto(buffer)
                if not changed:
                    changed.append(True)
                    CHANGES[change](path)
                return count

        changed: list[bool] = []
        monkeypatch.setattr(io, "FileIO", ChangedOnceRead)
        with dask.config.set({"mrcdist.io": "read", "mrcdist.max-gap": 0}):
            if change == "replaced":  # the file that was opened is unchanged
                np.testing.assert_array_equal(plan.source[::9], OLD[::9])
            else:
                with pytest.raises(FileChangedError):
                    plan.source[::9]
        assert changed

    @pytest.mark.parametrize("consistency", ["size", "off"])
    @pytest.mark.usefixtures("io")
    def test_changed_file_is_read_if_consistency_is_not_strict(
        self, plan: Plan, path: Path, consistency: str
    ) -> None:
        overwrite(path)
        with dask.config.set({"mrcdist.consistency": consistency}):
            np.testing.assert_array_equal(plan.source[...], NEW)

    @pytest.mark.usefixtures("io")
    def test_truncated_file_is_an_error_for_missing_bytes_with_any_consistency(
        self, plan: Plan, path: Path
    ) -> None:
        truncate(path)
        with dask.config.set({"mrcdist.consistency": "off"}):
            np.testing.assert_array_equal(plan.source[:32], OLD[:32])
            with pytest.raises(FileChangedError):
                plan.source[30:40]
        with dask.config.set({"mrcdist.consistency": "size"}), pytest.raises(FileChangedError):
            plan.source[:32]

    def test_file_that_has_grown_is_read_if_consistency_is_off(
        self, plan: Plan, path: Path
    ) -> None:
        append(path)
        with dask.config.set({"mrcdist.consistency": "off"}):
            np.testing.assert_array_equal(plan.source[...], OLD)

    def test_reading_a_file_while_it_is_overwritten_gives_old_data_or_an_error(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "rewritten.mrc"
        versions = [mrc_bytes(np.full((256, 32, 32), number, np.uint16)) for number in range(30)]
        path.write_bytes(versions[0])

        def write(version: bytes) -> None:
            with path.open("r+b") as file:
                file.write(version)

        with dask.config.set({"mrcdist.io": "read"}), ThreadPoolExecutor(1) as writer:
            for number, new in enumerate(versions[1:]):
                source = plan_mrc(path).source
                writing = writer.submit(write, new)
                with pytest.raises(FileChangedError):
                    self.read_until_it_changes(source, number)
                writing.result()

    def read_until_it_changes(self, source: MrcSource, number: int) -> None:
        while True:
            assert np.all(source[...] == number)


class TestOnWorkers:
    @pytest.mark.parametrize(
        ("change", "error"), [(truncate, FileChangedError), (Path.unlink, MissingFileError)]
    )
    def test_error_from_a_worker_has_its_pid(
        self, cluster: Client, tmp_path: Path, change: Any, error: type[Exception]
    ) -> None:
        path = tmp_path / "movie.mrc"
        path.write_bytes(mrc_bytes(OLD))
        data = plan_mrc(path, chunks=(8, -1, -1)).to_dask()
        np.testing.assert_array_equal(data[:16].compute(), OLD[:16])
        pids = set(cluster.run(os.getpid).values())
        change(path)
        with pytest.raises(error) as caught:
            data.sum().compute()
        assert any(f"(pid {pid})" in caught.value.where for pid in pids)
        assert set(cluster.run(os.getpid).values()) == pids

    @pytest.mark.parametrize("io", [pytest.param("read", marks=pytest.mark.slow), "map"])
    def test_file_truncated_while_a_chunk_is_in_use_is_an_error_only_if_mapped(
        self, tmp_path: Path, io: str
    ) -> None:
        """A chunk that was read is a copy. Accessing one that is mapped kills the process.

        dask then repeats the task on a restarted worker, where it raises an error.
        """
        path = tmp_path / "movie.mrc"
        large = np.ones((64, 128, 128), np.uint16)
        path.write_bytes(mrc_bytes(large))
        source = plan_mrc(path).source
        variables = {"DASK_MRCDIST__IO": io}
        with dask_cluster(
            tmp_path / "cluster", workers=1, nanny=True, environment=variables
        ) as client:
            [pid] = client.run(os.getpid).values()
            total = client.submit(sum_after_truncation, source, path)
            if io == "read":
                assert total.result() == large.sum()
                assert [*client.run(os.getpid).values()] == [pid]
            else:
                with pytest.raises(FileChangedError):
                    total.result()
                assert [*client.run(os.getpid).values()] != [pid]


def sum_after_truncation(source: MrcSource, path: Path) -> int:
    """Read everything, truncate the file, then use the data."""
    block = source[...]
    os.truncate(path, 1024)
    return int(block.sum())


class TestDifferentEnvironments:
    """Working folder, time zone or user of the workers differ from those of the client."""

    def test_workers_with_another_working_folder_and_time_zone_read_the_same_data(
        self, tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "movie.mrc").write_bytes(mrc_bytes(OLD))
        url = bucket.put("movie.mrc", mrc_bytes(OLD))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        try:
            with dask_cluster(
                tmp_path / "cluster", workers=1, environment={"TZ": "America/Los_Angeles"}
            ) as client:
                assert set(client.run(time.strftime, "%z").values()) != {time.strftime("%z")}
                assert set(client.run(os.getcwd).values()) != {str(tmp_path)}
                for name, options in (("movie.mrc", {}), (url, bucket.storage_options())):
                    data = plan_mrc(name, storage_options=options).to_dask()
                    np.testing.assert_array_equal(data.compute(), OLD)
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_file_is_not_considered_changed_if_the_time_zone_changes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with fsspec.open("memory://zones/movie.mrc", "wb") as file:
            file.write(mrc_bytes(OLD))
        plan = plan_mrc("memory://zones/movie.mrc")
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        try:
            np.testing.assert_array_equal(plan.source[...], OLD)
        finally:
            monkeypatch.undo()
            time.tzset()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")
    def test_workers_of_another_user_read_files_that_they_may_read(
        self, cluster: Client, tmp_path: Path
    ) -> None:
        path = tmp_path / "movie.mrc"
        path.write_bytes(mrc_bytes(OLD))
        path.chmod(0o644)
        for folder in (tmp_path, *tmp_path.parents):
            mode = folder.stat().st_mode
            if mode & 0o055 != 0o055:
                folder.chmod(mode | 0o055)
        data = plan_mrc(path).to_dask()
        np.testing.assert_array_equal(data.compute(), OLD)  # loads all modules
        nobody = 65534
        cluster.run(os.seteuid, nobody)
        try:
            assert set(cluster.run(os.geteuid).values()) == {nobody}
            np.testing.assert_array_equal(data.compute(), OLD)
            path.chmod(0o600)
            with pytest.raises(PermissionError) as caught:
                data.compute()
        finally:
            cluster.run(os.seteuid, 0)
        assert str(path) in str(caught.value)
        assert "(pid " in str(caught.value)


def test_consistency_determines_which_part_of_a_version_is_required() -> None:
    version = Version(10, "etag", "abc")
    assert version.required("strict") == version
    assert version.required("size") == Version(10)
    assert version.required("off") == Version(None)
