"""Reading from S3 is exact, takes few requests, and never mixes versions."""

from __future__ import annotations

from collections import Counter

import dask
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import mrcdist
from mrcdist import stats
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import all_frames
from tests.support.http_log import CountingProxy, Fault
from tests.support.mrc_files import counting, mrc_bytes
from tests.support.s3 import WRONG_SECRET, Bucket, S3Server, forget_s3
from tests.unit.read.test_source import cases

MIB = 2**20
# Sidecar and scan points are requested up to one byte beyond their maximum size.
SIDECAR_RANGE = f"GET bytes=0-{16 * MIB}"
POINTS_RANGE = f"GET bytes=0-{64 * MIB}"


@pytest.fixture(autouse=True)
def _one_thread():
    """Each thread has its own S3 client, and creating one takes longer than most reads."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def shared_bucket(s3):
    """A bucket on each server in turn, for tests that overwrite nothing but their own object."""
    with s3.bucket() as bucket:
        yield bucket


@pytest.fixture
def proxied(s3_proxy, s3_bucket):
    """An empty bucket, a counting proxy in front of it, and storage options for the proxy."""
    return s3_bucket, s3_proxy, s3_proxy.server.storage_options()


def requests(proxy: CountingProxy) -> list[str]:
    """Return the requests in order: HEAD, LIST, or GET with its range."""
    return [
        "LIST" if "list-type" in e.query else f"{e.method} {e.range or ''}".strip()
        for e in proxy.requests
    ]


class TestAnyArray:
    """Arrays of any shape, dtype, byte order, chunks and index equal those of numpy."""

    pytestmark = pytest.mark.filterwarnings("ignore:.*of unknown kind.*:mrcdist.MrcdistWarning")

    @given(case=cases())
    @settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
    def test_any_array_equals_numpy(self, shared_bucket, case):
        raw, navigation, expected, index, chunks = case
        url = shared_bucket.put("any.mrc", raw)
        [ds] = mrcdist.read_mrc(
            url,
            navigation_shape=navigation[::-1],
            chunks=chunks,
            storage_options=shared_bucket.storage_options(),
        )
        got = ds["data"][index].compute()
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected[index])

    @given(case=cases())
    @settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
    def test_any_array_fetched_in_many_small_ranges_equals_numpy(self, shared_bucket, case):
        raw, navigation, expected, index, _ = case
        plan = mrcdist.plan_mrc(
            shared_bucket.put("any.mrc", raw),
            navigation_shape=navigation[::-1],
            storage_options=shared_bucket.storage_options(),
        )
        with dask.config.set({"mrcdist.sub-range": 50, "mrcdist.max-gap": 0}):
            np.testing.assert_array_equal(plan.source[index], expected[index])

    def test_object_names_may_contain_spaces_and_special_characters(self, s3_bucket):
        numbers = counting((3, 4, 5), "int16")
        for key in ("a b.mrc", "run#1/ä+ö?.mrc", "100%/x=1&y=2.mrc"):
            url = s3_bucket.put(key, mrc_bytes(numbers))
            plan = mrcdist.plan_mrc(url, storage_options=s3_bucket.storage_options())
            assert plan.location.name == key.rpartition("/")[2]
            np.testing.assert_array_equal(plan.to_dask().compute(), numbers)


class TestRequests:
    @pytest.mark.parametrize("scan_shape", [(2, 3), (60, 50)])
    def test_opening_an_acquisition_of_any_size_takes_three_requests(
        self, proxied, tmp_path, scan_shape
    ):
        bucket, proxy, options = proxied
        acquisition = write_acquisition(tmp_path, scan_shape=scan_shape, frame_shape=(8, 8))
        for path in (*acquisition.movies, acquisition.sidecar):
            bucket.put(f"session/{path.name}", path.read_bytes())
        url = bucket.url(f"session/{acquisition.movies[0].name}")
        plan = mrcdist.plan_mrc(url, storage_options=options)
        assert plan.layout.navigation_shape == scan_shape
        assert requests(proxy) == ["GET bytes=0-1023", "LIST", SIDECAR_RANGE]
        proxy.clear()
        [ds] = mrcdist.read_mrc(url, storage_options=options)
        assert len(proxy.requests) == 3
        np.testing.assert_array_equal(ds["data"].compute(), all_frames(acquisition))

    @pytest.mark.parametrize("side", [2, 60])
    def test_opening_a_custom_scan_takes_one_more_request_for_its_points(
        self, proxied, tmp_path, side
    ):
        bucket, proxy, options = proxied
        points = np.argwhere(np.ones((side, side)))
        acquisition = write_acquisition(
            tmp_path, scan_shape=(side, side), custom_points=points, frame_shape=(8, 8)
        )
        for path in acquisition.files:
            bucket.put(f"session/{path.name}", path.read_bytes())
        plan = mrcdist.plan_mrc(
            bucket.url(f"session/{acquisition.movie.name}"), storage_options=options
        )
        assert plan.layout.navigation_shape == (side, side)
        expected = ["GET bytes=0-1023", "LIST", SIDECAR_RANGE, POINTS_RANGE]
        assert requests(proxy) == expected

    def test_each_companion_image_takes_two_more_requests(self, proxied, tmp_path):
        bucket, proxy, options = proxied
        acquisition = write_acquisition(
            tmp_path,
            scan_shape=(3, 4),
            frame_shape=(8, 8),
            virtual_images={"BF": np.ones((3, 4), np.float32), "DF": np.zeros((3, 4), np.uint16)},
        )
        for path in acquisition.files:
            bucket.put(f"session/{path.name}", path.read_bytes())
        url = bucket.url(f"session/{acquisition.movie.name}")
        [ds] = mrcdist.read_mrc(url, storage_options=options)
        assert {"_sig_BF", "_sig_DF"} <= set(ds["metadata"]["_HyperSpy"]["navigators"])
        assert len(proxy.requests) == 3 + 2 * 2

    def test_planning_a_million_chunks_takes_as_many_requests_as_one(self, proxied):
        bucket, proxy, options = proxied
        url = bucket.put("many.mrc", mrc_bytes(counting((1_000_000, 1, 1), "int8")))
        mrcdist.read_mrc(url, chunks=-1, storage_options=options)
        requests_for_one = requests(proxy)
        proxy.clear()
        with pytest.warns(mrcdist.MrcdistWarning, match="1,000,000 chunks"):
            [ds] = mrcdist.read_mrc(url, chunks=(1, 1, 1), storage_options=options)
        assert ds["data"].npartitions == 1_000_000
        assert requests(proxy) == requests_for_one == ["GET bytes=0-1023"]

    def test_one_frame_is_fetched_with_one_get_of_exactly_its_bytes(self, proxied):
        bucket, proxy, options = proxied
        numbers = counting((20, 16, 16), "uint16")
        url = bucket.put("a.mrc", mrc_bytes(numbers))
        [ds] = mrcdist.read_mrc(url, storage_options=options)
        proxy.clear()
        np.testing.assert_array_equal(ds["data"][17].compute(), numbers[17])
        start = 1024 + 17 * 512
        assert requests(proxy) == [f"GET bytes={start}-{start + 511}"]
        assert proxy.requests[0].body_bytes == 512

    def test_crop_of_one_frame_is_fetched_with_one_get_from_its_first_to_its_last_pixel(
        self, proxied
    ):
        bucket, proxy, options = proxied
        numbers = counting((20, 16, 16), "uint16")
        url = bucket.put("a.mrc", mrc_bytes(numbers))
        [ds] = mrcdist.read_mrc(url, storage_options=options)
        proxy.clear()
        np.testing.assert_array_equal(ds["data"][17, 4:9, 2:5].compute(), numbers[17, 4:9, 2:5])
        first, last = 17 * 512 + 4 * 32 + 2 * 2, 17 * 512 + 8 * 32 + 5 * 2
        assert requests(proxy) == [f"GET bytes={1024 + first}-{1024 + last - 1}"]

    def test_crops_of_small_frames_are_fetched_with_one_get(self, proxied):
        bucket, proxy, options = proxied
        numbers = counting((500, 16, 16), "uint16")
        url = bucket.put("a.mrc", mrc_bytes(numbers))
        [ds] = mrcdist.read_mrc(url, storage_options=options)
        proxy.clear()
        crop = (slice(None), slice(4, 8), slice(4, 8))
        np.testing.assert_array_equal(ds["data"][crop].compute(), numbers[crop])
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize("chunks", [(5, -1, -1), (10, 8, -1), (10, 8, 4)])
    @pytest.mark.parametrize("config", [{}, {"mrcdist.sub-range": 1000}, {"mrcdist.max-gap": 0}])
    def test_explain_gives_the_exact_numbers_of_requests_and_bytes(self, proxied, chunks, config):
        bucket, proxy, options = proxied
        numbers = counting((20, 16, 16), "uint16")
        url = bucket.put("a.mrc", mrc_bytes(numbers))
        with dask.config.set(config):
            plan = mrcdist.plan_mrc(url, chunks=chunks, storage_options=options)
            cost = plan.explain()
            proxy.clear()
            np.testing.assert_array_equal(plan.to_dask().compute(), numbers)
        assert len(proxy.requests) == cost.requests * cost.tasks
        assert sum(e.body_bytes for e in proxy.requests) == cost.fetched_bytes * cost.tasks
        assert {e.if_match for e in proxy.requests} == {plan.source.parts[0].file.version.value}

    def test_large_chunk_is_fetched_in_as_many_ranges_as_may_be_in_flight(self, proxied):
        bucket, proxy, options = proxied
        numbers = np.random.default_rng(0).integers(0, 2**16, (10, 1024, 2048), np.uint16)
        raw = mrc_bytes(numbers, byteorder=">")
        assert len(raw) > 40 * MIB
        url = bucket.put("large.mrc", raw)
        [ds] = mrcdist.read_mrc(url, storage_options=options)
        assert ds["data"].npartitions == 1
        proxy.clear()
        with dask.config.set({"mrcdist.sub-range": 16 * MIB}):
            np.testing.assert_array_equal(ds["data"].compute(), numbers)
        sizes = Counter(e.body_bytes for e in proxy.requests)
        # One per connection, although each range could be longer.
        assert sizes == {5 * MIB: 8}
        assert all(e.complete and e.status == 206 for e in proxy.requests)


class TestOneVersion:
    """Tasks read the planned version or fail; they never mix old and new bytes."""

    @pytest.fixture
    def old(self):
        return counting((12, 16, 16), "uint16")

    def put_and_read(self, bucket, old, options, **more):
        [ds] = mrcdist.read_mrc(
            bucket.put("a.mrc", mrc_bytes(old)),
            chunks=(3, -1, -1),
            storage_options=options,
            **more,
        )
        return ds["data"]

    @pytest.mark.parametrize("new_size", ["same", "longer", "shorter"])
    def test_overwritten_object_is_an_error(self, s3_bucket, old, new_size):
        array = self.put_and_read(s3_bucket, old, s3_bucket.storage_options())
        new = {"same": old + 1, "longer": np.tile(old, (2, 1, 1)), "shorter": old[:2]}[new_size]
        s3_bucket.put("a.mrc", mrc_bytes(new))
        for part in range(4):
            with pytest.raises(mrcdist.FileChangedError, match="call read_mrc again") as raised:
                array.blocks[part].compute()
            assert f"s3://{s3_bucket.name}/a.mrc, bytes " in raised.value.where
            assert "host " in raised.value.where
        [ds] = mrcdist.read_mrc(s3_bucket.url("a.mrc"), storage_options=s3_bucket.storage_options())
        np.testing.assert_array_equal(ds["data"].compute(), new)

    def test_deleted_object_is_a_missing_file(self, s3_bucket, old):
        array = self.put_and_read(s3_bucket, old, s3_bucket.storage_options())
        s3_bucket.delete("a.mrc")
        with pytest.raises(mrcdist.MissingFileError, match=r"s3://.*/a\.mrc does not exist"):
            array.compute()

    @pytest.mark.parametrize("after", range(1, 5))
    def test_object_overwritten_while_it_is_read_is_an_error(self, proxied, old, after):
        """The object is overwritten when the request number `after` arrives at the server."""
        bucket, proxy, options = proxied
        array = self.put_and_read(bucket, old, options)
        proxy.clear()

        def overwrite(exchange):
            if len(proxy.requests) == after:
                bucket.put("a.mrc", mrc_bytes(old + 1))

        proxy.respond = overwrite
        for part in range(4):
            if part + 1 < after:
                got = array.blocks[part].compute()
                np.testing.assert_array_equal(got, old[3 * part : 3 * part + 3])
            else:
                with pytest.raises(mrcdist.FileChangedError):
                    array.blocks[part].compute()

    def test_header_and_version_come_from_one_response(self, proxied, old):
        bucket, proxy, options = proxied
        url = bucket.put("a.mrc", mrc_bytes(old))

        def overwrite(exchange):
            if exchange.range:
                proxy.respond = None
                bucket.put("a.mrc", mrc_bytes(old + 1))

        proxy.respond = overwrite
        [ds] = mrcdist.read_mrc(url, storage_options=options)
        np.testing.assert_array_equal(ds["data"].compute(), old + 1)

    def test_planned_version_is_read_from_a_versioned_bucket(self, moto, old):
        with moto.bucket() as bucket:
            moto.client.put_bucket_versioning(
                Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
            )
            array = self.put_and_read(bucket, old, bucket.storage_options())
            bucket.put("a.mrc", mrc_bytes(old + 1))
            np.testing.assert_array_equal(array.compute(), old)
            bucket.delete("a.mrc")
            np.testing.assert_array_equal(array.compute(), old)

    def test_error_for_a_gateway_that_ignores_ranges_has_a_remedy(self, proxied, old):
        bucket, proxy, options = proxied
        array = self.put_and_read(bucket, old, options)
        proxy.respond = lambda exchange: Fault("ignore_range")
        with pytest.raises(mrcdist.ReadError, match=r"ignores Range(?s:.*)supports byte ranges"):
            array.compute()

    def test_names_of_tasks_depend_on_the_version(self, s3_bucket, old):
        options = s3_bucket.storage_options()
        first = self.put_and_read(s3_bucket, old, options).name
        assert self.put_and_read(s3_bucket, old, options).name == first
        assert self.put_and_read(s3_bucket, old + 1, options).name != first


class TestRefusals:
    def refused(self, kind, url, options):
        before = stats.snapshot()
        with pytest.raises(kind) as raised:
            mrcdist.read_mrc(url, storage_options=options)
        error = raised.value
        assert error.cause
        assert error.remedy
        assert "host " in error.where
        assert options.get("secret", "no secret") not in str(error) + repr(error)
        assert stats.snapshot().blocks == before.blocks
        return error

    def test_error_for_a_missing_object_has_its_url(self, s3_bucket):
        url, options = s3_bucket.url("none.mrc"), s3_bucket.storage_options()
        assert url in self.refused(mrcdist.MissingFileError, url, options).problem

    def test_error_for_a_missing_bucket_has_the_url(self, s3_bucket):
        url, options = "s3://there-is-no-such-bucket/a.mrc", s3_bucket.storage_options()
        assert url in self.refused(mrcdist.MissingFileError, url, options).problem

    def test_error_for_a_prefix_calls_it_a_folder(self, s3_bucket):
        s3_bucket.put("run/a.mrc", mrc_bytes(counting((2, 4, 5), "int16")))
        for url in (s3_bucket.url("run"), s3_bucket.url("run/")):
            error = self.refused(mrcdist.MissingFileError, url, s3_bucket.storage_options())
            assert "is a folder" in error.problem

    def test_error_for_an_empty_or_short_object_has_its_size(self, s3_bucket):
        for raw in (b"", b"hello"):
            url = s3_bucket.put("a.mrc", raw)
            with pytest.raises(mrcdist.FormatError, match=f"{len(raw)} bytes are too few"):
                mrcdist.read_mrc(url, storage_options=s3_bucket.storage_options())

    def test_wrong_secret_is_an_error_during_planning(self, radosgw: S3Server):
        with radosgw.bucket() as bucket:
            url = bucket.put("a.mrc", mrc_bytes(counting((2, 4, 5), "int16")))
            options = radosgw.with_secret(WRONG_SECRET).storage_options()
            error = self.refused(mrcdist.AccessDeniedError, url, options)
            assert "storage_options" in error.remedy
            assert "403" in error.cause

    def test_wrong_secret_in_the_environment_is_an_error_of_the_task(
        self, radosgw: S3Server, monkeypatch
    ):
        with radosgw.bucket() as bucket:
            for name, value in radosgw.environment().items():
                monkeypatch.setenv(name, value)
            url = bucket.put("a.mrc", mrc_bytes(counting((2, 4, 5), "int16")))
            [ds] = mrcdist.read_mrc(url)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WRONG_SECRET)
            forget_s3()
            with pytest.raises(mrcdist.AccessDeniedError, match="environment") as raised:
                ds["data"].compute()
            assert WRONG_SECRET not in str(raised.value)

    def test_missing_credentials_are_an_error(self, s3_bucket: Bucket):
        url = s3_bucket.put("a.mrc", mrc_bytes(counting((2, 4, 5), "int16")))
        options = {"client_kwargs": s3_bucket.storage_options()["client_kwargs"]}
        error = self.refused(mrcdist.AccessDeniedError, url, options)
        assert "no credentials found" in error.cause

    def test_error_for_a_server_that_cannot_be_reached_has_its_address(self):
        options = {"anon": True, "client_kwargs": {"endpoint_url": "http://127.0.0.1:1"}}
        with dask.config.set({"mrcdist.retries": 1}):
            error = self.refused(mrcdist.ReadError, "s3://bucket/a.mrc", options)
        assert "127.0.0.1:1" in error.cause


class TestWithoutPermissionToList:
    """The sidecar is looked up by each name that it can have."""

    @pytest.fixture
    def acquisition(self, tmp_path):
        return write_acquisition(tmp_path, scan_shape=(2, 3), frame_shape=(8, 8))

    @pytest.fixture
    def no_lists(self, s3_proxy):
        def respond(exchange):
            return Fault("status", status=403) if "list-type" in exchange.query else None

        s3_proxy.respond = respond
        return s3_proxy

    def test_sidecar_is_found_without_permission_to_list(self, no_lists, s3_bucket, acquisition):
        [movie] = acquisition.movies
        for path in (movie, acquisition.sidecar):
            s3_bucket.put(path.name, path.read_bytes())
        [ds] = mrcdist.read_mrc(
            s3_bucket.url(movie.name), storage_options=no_lists.server.storage_options()
        )
        np.testing.assert_array_equal(ds["data"].compute(), all_frames(acquisition))
        assert ds["data"].shape == (2, 3, 8, 8)

    def test_missing_sidecar_without_permission_to_read_it_causes_a_warning(
        self, no_lists, s3_bucket, acquisition
    ):
        [movie] = acquisition.movies
        url = s3_bucket.put(movie.name, movie.read_bytes())
        refuse_lists = no_lists.respond

        def respond(exchange):
            forbidden = exchange.path.endswith("_info.txt")
            return Fault("status", status=403) if forbidden else refuse_lists(exchange)

        no_lists.respond = respond
        options = no_lists.server.storage_options()
        with pytest.warns(mrcdist.MrcdistWarning, match=r"_info\.txt.*metadata_file=None"):
            [ds] = mrcdist.read_mrc(url, storage_options=options)
        assert ds["data"].shape == (6, 8, 8)
        mrcdist.read_mrc(url, storage_options=options, metadata_file=None)
