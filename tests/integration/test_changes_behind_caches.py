"""Files replaced behind a cache of fsspec or in an archive are errors or read as one version."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import numpy as np
import pytest

from mrcdist import FileChangedError, MrcdistWarning, ReadError, plan_mrc
from mrcdist.storage.location import Location
from tests.support.exchange import Store, exchange_before, store_of
from tests.support.mrc_files import mrc_bytes

OLD = np.full((4, 64, 64), 1, np.uint16)
NEW = np.full((4, 64, 64), 2, np.uint16)  # of the same size


def zipped(content: bytes) -> bytes:
    with zipfile.ZipFile(raw := io.BytesIO(), "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.mrc"), content)
    return raw.getvalue()


def tarred(content: bytes) -> bytes:
    with tarfile.open(fileobj=(raw := io.BytesIO()), mode="w") as archive:
        member = tarfile.TarInfo("a.mrc")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


PACKED = {"zip": zipped, "tar": tarred}


@pytest.fixture(params=["web etag", "web date", "web none"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param, request) as store:
        yield store


@pytest.fixture
def store_with_etags(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of("web etag", request) as store:
        yield store


@pytest.fixture
def store_without_versions(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of("web none", request) as store:
        yield store


def read_while_replaced(
    store: Store, url: str, packed: Callable[[bytes], bytes] = bytes, step: int = 1
) -> list[int]:
    """Replace the file before request 1, 2, 3, …; return the versions read, 0 for an error."""
    read = []
    for number in range(1, 100, step):
        store.put(packed(mrc_bytes(OLD)))
        arrived = exchange_before(store, number, packed(mrc_bytes(NEW)))
        with dask.config.set({"mrcdist.sub-range": "8 KiB", "mrcdist.concurrency": 1}):
            try:
                plan = plan_mrc([url], chunks=(2, -1, -1), metadata_file=None, tilt_file=None)
                values = set(np.unique(plan.to_dask().compute(scheduler="sync")).tolist())
            except FileChangedError:
                values = {0}
        store.hook = lambda: None
        assert len(values) == 1, "old and new are mixed"
        read += values
        if arrived[0] < number:
            break
    return read


@pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")
@pytest.mark.parametrize("cache", ["blockcache", "cached", "filecache", "simplecache"])
def test_file_replaced_behind_a_cache_is_an_error_or_one_version(
    store: Store, cache: str, request: pytest.FixtureRequest
) -> None:
    if "web none" in request.node.name and cache in ("blockcache", "cached"):
        pytest.skip("only the size identifies the version, which causes a warning")
    read = read_while_replaced(store, f"{cache}::{store.url}")
    assert read[-1] == 1  # too few requests for it to be replaced
    assert 2 in read  # it was replaced before the first request


@pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")
@pytest.mark.parametrize("cache", ["blockcache", "cached", "filecache", "simplecache"])
def test_plan_made_after_a_change_reads_the_new_file(store: Store, cache: str) -> None:
    for numbers in (OLD, NEW, OLD):
        store.put(mrc_bytes(numbers))
        plan = plan_mrc([f"{cache}::{store.url}"], metadata_file=None, tilt_file=None)
        np.testing.assert_array_equal(plan.source[...], numbers)


def test_copy_of_an_unversioned_file_must_have_the_planned_content(
    store_without_versions: Store,
) -> None:
    """A worker without a copy fetches one, which must have the planned content."""
    store = store_without_versions
    store.put(mrc_bytes(OLD))
    url, options = f"simplecache::{store.url}", {"metadata_file": None, "tilt_file": None}
    source = plan_mrc([url], **options).source
    file = source.parts[0].file
    Path(str(file.location.local_copy(file.version))).unlink()
    np.testing.assert_array_equal(source[...], OLD)
    Path(str(file.location.local_copy(file.version))).unlink()
    store.put(mrc_bytes(NEW))
    with pytest.raises(FileChangedError):
        source[...]


@pytest.mark.filterwarnings("ignore:.*is not used, every read goes to the store")
@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("cache", ["", "simplecache::", "blockcache::"])
def test_archives_without_versions_are_refused(
    store_without_versions: Store, kind: str, cache: str
) -> None:
    store = store_without_versions
    store.put(PACKED[kind](mrc_bytes(OLD)))
    url = f"{kind}://a.mrc::{cache}{store.url}"
    with pytest.raises(ReadError) as caught:
        plan_mrc(url)
    assert caught.value.code == "archive-unversioned"
    with dask.config.set({"mrcdist.consistency": "size"}):
        np.testing.assert_array_equal(plan_mrc(url).source[...], OLD)


@pytest.mark.filterwarnings("ignore:.*is not used, every read goes to the store")
@pytest.mark.parametrize("cache", ["", "simplecache::"])
def test_replaced_archive_is_an_error_or_one_version(store_with_etags: Store, cache: str) -> None:
    url = f"tar://a.mrc::{cache}{store_with_etags.url}"
    read = read_while_replaced(store_with_etags, url, tarred, step=9)
    assert read[-1] == 1
    assert 2 in read


class TestUnusedCaches:
    @pytest.mark.parametrize(
        ("url", "used"),
        [
            ("blockcache::s3://b/a.mrc", "s3://b/a.mrc"),
            ("cached::https://h/a.mrc", "https://h/a.mrc"),
            ("zip://a.mrc::blockcache::s3://b/a.zip", "zip://a.mrc::s3://b/a.zip"),
            ("zip://a.mrc::simplecache::s3://b/a.zip", "zip://a.mrc::s3://b/a.zip"),
            ("simplecache::blockcache::s3://b/a.mrc", "simplecache::s3://b/a.mrc"),
            ("simplecache::zip://a.mrc::s3://b/a.zip", "simplecache::zip://a.mrc::s3://b/a.zip"),
            ("blockcache::", "blockcache::"),
        ],
    )
    def test_caches_with_stale_bytes_are_removed_from_a_url(self, url: str, used: str) -> None:
        assert Location.of(url).url == used

    @pytest.mark.parametrize(
        ("url", "given", "kept"),
        [
            ("cached::s3://b/a", {"s3": {"anon": True}, "cache_storage": "x"}, {"anon": True}),
            ("cached::s3://b/a", {"target_options": {"anon": True}}, {"anon": True}),
            (
                "zip://a::cached::s3://b/a",
                {"s3": {"anon": True}, "cached": {"cache_storage": "x"}},
                {"s3": {"anon": True}},
            ),
            ("simplecache::s3://b/a", {"s3": {"anon": True}}, {"s3": {"anon": True}}),
        ],
    )
    def test_options_of_the_store_are_kept_without_its_cache(
        self, url: str, given: dict, kept: dict
    ) -> None:
        assert Location.of(url, given).storage_options == kept

    def test_unused_cache_is_reported_once(self, tmp_path) -> None:
        paths = [tmp_path / name for name in ("a.mrc", "b.mrc")]
        for path in paths:
            path.write_bytes(mrc_bytes(OLD))
        with pytest.warns(MrcdistWarning) as warned:
            plan = plan_mrc([f"blockcache::file://{path}" for path in paths])
        [warning] = warned
        assert "blockcache:: is not used" in str(warning.message)
        assert plan.location.is_local
