"""Reading from web servers, whole-file caches and memory."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import dask
import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.storage.location import Location
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import all_frames
from tests.support.http_log import CountingProxy, Fault
from tests.support.mrc_files import counting, mrc_bytes, write_mrc
from tests.support.processes import free_port
from tests.support.serving import serving
from tests.support.web import web_server

MIB = 2**20


@pytest.fixture(scope="module")
def numbers():
    return counting((12, 16, 16), "uint16")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "web").mkdir()
    return tmp_path / "web"


@pytest.fixture
def web(folder):
    with web_server(folder) as endpoint, CountingProxy(endpoint) as proxy:
        yield proxy


def data_of(url, **options):
    [ds] = mrcdist.read_mrc(url, **options)
    return ds["data"]


def touch_later(path):
    """Set the modification time of a rewritten file to 2 s later."""
    later = path.stat().st_mtime_ns + 2 * 10**9
    os.utime(path, ns=(later, later))


def test_file_read_from_every_store_equals_numpy(folder, web, numbers):
    path = write_mrc(folder / "a.mrc", numbers, byteorder=">")
    fsspec.filesystem("memory").pipe_file("memory://everywhere/a.mrc", path.read_bytes())
    for url in (
        path,
        str(path),
        f"file://{path}",
        f"local://{path}",
        f"{web.endpoint}/a.mrc",
        "memory://everywhere/a.mrc",
        f"simplecache::{web.endpoint}/a.mrc",
        f"filecache::file://{path}",
        "simplecache::memory://everywhere/a.mrc",
    ):
        array = data_of(url, chunks=(5, -1, -1))
        np.testing.assert_array_equal(array.compute(), numbers)
        np.testing.assert_array_equal(array[7, 3:9, ::2].compute(), numbers[7, 3:9, ::2])


class TestWeb:
    def test_opening_makes_a_single_get_request(self, folder, web, numbers):
        """Presigned URLs of object stores are valid for GET, not for HEAD."""
        write_mrc(folder / "a.mrc", numbers)
        web.respond = lambda e: Fault("status", status=403) if e.method == "HEAD" else None
        plan = mrcdist.plan_mrc(f"{web.endpoint}/a.mrc", metadata_file=None)
        assert [e.range for e in web.requests] == ["bytes=0-1023"]
        np.testing.assert_array_equal(plan.source[...], numbers)

    def test_frame_is_read_over_http_with_one_get_of_the_planned_version(
        self, folder, web, numbers
    ):
        write_mrc(folder / "a.mrc", numbers)
        array = data_of(f"{web.endpoint}/a.mrc", chunks=(5, -1, -1))
        web.clear()
        np.testing.assert_array_equal(array[7].compute(), numbers[7])
        [exchange] = web.requests
        start = 1024 + 7 * 512
        assert (exchange.range, exchange.body_bytes) == (f"bytes={start}-{start + 511}", 512)
        assert exchange.if_match

    def test_sidecar_on_a_web_server_is_found_by_name(self, folder, web):
        acquisition = write_acquisition(folder, scan_shape=(2, 3), frame_shape=(8, 8))
        array = data_of(f"{web.endpoint}/{acquisition.movies[0].name}")
        np.testing.assert_array_equal(array.compute(), all_frames(acquisition))

    def test_missing_sidecar_on_a_web_server_is_ignored(self, folder, web):
        acquisition = write_acquisition(folder, scan_shape=(2, 3), frame_shape=(8, 8))
        acquisition.sidecar.unlink()
        array = data_of(f"{web.endpoint}/{acquisition.movies[0].name}")
        assert array.shape == (6, 8, 8)

    def test_changed_file_on_a_web_server_is_an_error_until_planned_again(
        self, folder, web, numbers
    ):
        path = write_mrc(folder / "a.mrc", numbers)
        array = data_of(f"{web.endpoint}/a.mrc", chunks=(5, -1, -1))
        write_mrc(path, numbers + 1)
        touch_later(path)
        with pytest.raises(mrcdist.FileChangedError, match="call read_mrc again"):
            array.compute()
        np.testing.assert_array_equal(data_of(f"{web.endpoint}/a.mrc").compute(), numbers + 1)

    def test_missing_file_on_a_web_server_is_an_error(self, web):
        with pytest.raises(mrcdist.MissingFileError, match=r"/none\.mrc"):
            mrcdist.read_mrc(f"{web.endpoint}/none.mrc")

    def test_unreachable_server_is_not_reported_as_a_missing_file(self):
        url = f"http://127.0.0.1:{free_port()}/a.mrc"
        with (
            dask.config.set({"mrcdist.retries": 1}),
            pytest.raises(mrcdist.ReadError, match="after 2 attempts") as error,
        ):
            mrcdist.read_mrc(url)
        assert "Cannot connect to host" in error.value.cause

    def test_file_refused_by_a_web_server_is_an_access_error(self, folder, web, numbers):
        write_mrc(folder / "a.mrc", numbers)
        url = f"{web.endpoint}/a.mrc"
        array = data_of(url)
        web.respond = lambda exchange: Fault("status", status=403)
        for read in (array.compute, lambda: mrcdist.read_mrc(url)):
            with pytest.raises(mrcdist.AccessDeniedError, match="HTTP 403"):
                read()

    def test_web_server_without_ranges_is_refused_before_it_sends_everything(self, folder, web):
        large = np.zeros((24, 1024, 1024), np.uint16)
        write_mrc(folder / "a.mrc", large)
        web.respond = lambda exchange: Fault("ignore_range") if exchange.range else None
        with pytest.raises(mrcdist.ReadError, match=r"ignores Range(?s:.*)simplecache::"):
            mrcdist.read_mrc(f"{web.endpoint}/a.mrc")
        assert sum(e.body_bytes for e in web.requests) < large.nbytes / 2

    def test_file_of_a_web_server_without_ranges_is_read_through_simplecache(
        self, folder, web, numbers
    ):
        write_mrc(folder / "a.mrc", numbers)
        web.respond = lambda exchange: Fault("ignore_range") if exchange.range else None
        array = data_of(f"simplecache::{web.endpoint}/a.mrc", chunks=(5, -1, -1))
        np.testing.assert_array_equal(array.compute(), numbers)

    def test_task_raises_an_error_if_a_web_server_stops_supporting_ranges(
        self, folder, web, numbers
    ):
        write_mrc(folder / "a.mrc", numbers)
        array = data_of(f"{web.endpoint}/a.mrc", chunks=(5, -1, -1))
        web.respond = lambda exchange: Fault("ignore_range")
        with pytest.raises(mrcdist.ReadError, match="ignores Range"):
            array.compute()

    def test_error_for_an_empty_file_on_a_web_server_has_its_size(self, folder, web):
        (folder / "a.mrc").touch()
        with pytest.raises(mrcdist.FormatError, match="0 bytes are too few"):
            mrcdist.read_mrc(f"{web.endpoint}/a.mrc")


class TestPresignedUrl:
    """S3 without credentials: the URL contains a signature, and is valid for one object."""

    def test_presigned_url_is_read_and_redacted(self, radosgw):
        numbers = counting((6, 8, 8), "uint16")
        with radosgw.bucket() as bucket:
            key = "20241021_00001_movie.mrc"
            bucket.put(key, mrc_bytes(numbers))
            url = radosgw.client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket.name, "Key": key}
            )
            with pytest.warns(mrcdist.MrcdistWarning, match="_info.txt next to the data") as warned:
                plan = mrcdist.plan_mrc(url, chunks=(2, -1, -1))
            array = plan.to_dask()
            np.testing.assert_array_equal(array.compute(), numbers)
            bucket.delete(key)
            with pytest.raises(mrcdist.MissingFileError) as raised:
                array.compute()
        shown = repr(plan) + str(plan.explain()) + str(raised.value) + str(warned[0].message)
        shown += repr(array) + repr(array.dask) + array.name
        signature = url.partition("ignature=")[2].partition("&")[0]
        assert len(signature) > 10
        assert signature not in shown
        assert radosgw.key not in shown
        assert f"{bucket.name}/{key}?" in shown


class TestCaches:
    """``simplecache::`` and ``filecache::`` keep a copy of the planned version of a file."""

    @pytest.fixture(params=["simplecache", "filecache"])
    def cached(self, request, s3_proxy, s3_bucket):
        options = {"s3": s3_proxy.server.storage_options()}
        return s3_bucket, s3_proxy, f"{request.param}::{s3_bucket.url('a.mrc')}", options

    def fetched(self, proxy):
        return [e.range for e in proxy.requests if e.method == "GET" and e.path.endswith("mrc")]

    def test_cached_object_is_fetched_once_per_process(self, cached, numbers):
        bucket, proxy, url, options = cached
        bucket.put("a.mrc", mrc_bytes(numbers))
        array = data_of(url, storage_options=options, chunks=(1, -1, -1))
        with dask.config.set(scheduler="threads", num_workers=4):
            np.testing.assert_array_equal(array.compute(), numbers)
        np.testing.assert_array_equal(data_of(url, storage_options=options).compute(), numbers)
        assert self.fetched(proxy) == [None]

    def test_changed_cached_object_is_an_error_until_planned_again(self, cached, numbers):
        bucket, _, url, options = cached
        bucket.put("a.mrc", mrc_bytes(numbers))
        array = data_of(url, storage_options=options, chunks=(5, -1, -1))
        np.testing.assert_array_equal(array.compute(), numbers)
        bucket.put("a.mrc", mrc_bytes(numbers + 1))
        with pytest.raises(mrcdist.FileChangedError):
            array.compute()
        new = data_of(url, storage_options=options, chunks=(5, -1, -1))
        np.testing.assert_array_equal(new.compute(), numbers + 1)

    def test_copy_of_a_cached_object_is_stored_in_the_given_folder(self, cached, numbers, tmp_path):
        bucket, _, url, options = cached
        bucket.put("a.mrc", mrc_bytes(numbers))
        cache_folder = tmp_path / "cache_folder"
        options = {**options, url.partition(":")[0]: {"cache_storage": str(cache_folder)}}
        np.testing.assert_array_equal(data_of(url, storage_options=options).compute(), numbers)
        copies = [
            path for path in cache_folder.iterdir() if path.read_bytes() == mrc_bytes(numbers)
        ]
        assert len(copies) == 1

    def test_object_changed_while_it_is_copied_is_an_error_until_planned_again(
        self, cached, numbers
    ):
        bucket, proxy, url, options = cached
        bucket.put("a.mrc", mrc_bytes(numbers))

        def overwrite(exchange):
            if exchange.method == "GET" and exchange.path.endswith("mrc"):
                proxy.respond = None
                bucket.put("a.mrc", mrc_bytes(numbers + 1))

        proxy.respond = overwrite
        with pytest.raises(mrcdist.FileChangedError):
            mrcdist.read_mrc(url, storage_options=options)
        np.testing.assert_array_equal(data_of(url, storage_options=options).compute(), numbers + 1)

    def test_compression_option_of_a_cache_is_refused(self, cached, numbers):
        bucket, _, url, options = cached
        bucket.put("a.mrc", mrc_bytes(numbers))
        options = {**options, url.partition(":")[0]: {"compression": "gzip"}}
        with pytest.raises(ValueError, match=r"compression='gzip'(?s:.*)omit it"):
            mrcdist.read_mrc(url, storage_options=options)

    def test_threads_wait_until_a_cached_copy_is_complete(self, folder, web):
        """One thread fetches slowly; the others must not read its partial file."""
        numbers = np.arange(8 * 512 * 512, dtype=np.uint16).reshape(8, 512, 512) | 1
        write_mrc(folder / "a.mrc", numbers)
        slow = threading.Event()

        def stall(exchange):
            if exchange.method == "GET" and not slow.is_set():
                slow.set()
                return Fault("stall", after=MIB, seconds=1.0)
            return None

        array = data_of(f"simplecache::{web.endpoint}/a.mrc", chunks=(1, -1, -1))
        web.respond = stall
        remove_copies()
        with ThreadPoolExecutor(8) as pool:
            parts = list(pool.map(lambda i: array.blocks[i].compute(scheduler="sync"), range(8)))
        assert slow.is_set()
        np.testing.assert_array_equal(np.concatenate(parts), numbers)


def remove_copies():
    from mrcdist.storage import layers as copied

    for version in copied._copies:
        copied._copies.pop(version).unlink(missing_ok=True)


class TestMemoryFilesystem:
    def test_changed_file_in_memory_is_an_error(self, numbers):
        fs = fsspec.filesystem("memory")
        fs.pipe_file("memory://changing/a.mrc", mrc_bytes(numbers))
        array = data_of("memory://changing/a.mrc", chunks=(5, -1, -1))
        fs.pipe_file("memory://changing/a.mrc", mrc_bytes(numbers + 1))
        with pytest.raises(mrcdist.FileChangedError):
            array.compute()

    def test_file_of_a_memory_filesystem_is_missing_in_other_processes(self, numbers):
        fs = fsspec.filesystem("memory")
        fs.pipe_file("memory://mine/a.mrc", mrc_bytes(numbers))
        array = data_of("memory://mine/a.mrc", chunks=(5, -1, -1))
        with pytest.raises(mrcdist.MissingFileError, match="host "):
            array.compute(scheduler="processes", num_workers=1)


def test_listing_of_a_web_page_has_unique_names_without_queries():
    requests = []
    page = b"".join(b'<a href="%s">.</a>' % link for link in (b"a b.mrc", b"a%20b.mrc", b"c/"))

    def respond(request):
        requests.append(request.path)
        request.send_response(200)
        request.send_header("Content-Type", "text/html")
        request.send_header("Content-Length", str(len(page)))
        request.end_headers()
        request.wfile.write(page)

    with serving(respond) as url:
        location = Location.of(f"{url}/run/a%20b.mrc?token=x/y")
        assert location.list_files() == ("a b.mrc",)
        assert requests == ["/run/"]
        listing = location.list_siblings()
        assert listing is not None
        assert sorted(listing) == ["a b.mrc", "c"]
