"""A file that is replaced between any two requests is read as one version, or is an error.

Each test replaces the object before request 1, 2, 3, … until reading it takes fewer requests.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import suppress

import dask
import numpy as np
import pytest

from mrcdist import FileChangedError, plan_mrc, stats
from tests.support.exchange import KINDS, Store, exchange_before, store_of
from tests.support.mrc_files import mrc_bytes

# More than twice as much as is fetched at a time from a compressed stream.
SHAPE = (20, 512, 512)


def numbers(version: int) -> np.ndarray:
    """Return odd or even noise, which has the same size with any compression."""
    noise = np.random.default_rng(version).integers(0, 2**14, SHAPE, np.int16)
    return (2 * noise + version).astype(np.int16)


def plain(version: int) -> bytes:
    return mrc_bytes(numbers(version))


def stored(version: int) -> bytes:
    return gzip.compress(mrc_bytes(numbers(version)), compresslevel=0, mtime=0)


CONTENTS = {"plain": plain, "gzip": stored}


@pytest.fixture(params=CONTENTS)
def contents(request: pytest.FixtureRequest) -> tuple[bytes, bytes]:
    make = CONTENTS[request.param]
    return make(0), make(1)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(request.param, request) as store:
        yield store


def version_read(store: Store) -> int:
    """Plan and read; check that all numbers are of one version, and return it."""
    source = plan_mrc(store.url, storage_options=store.options, metadata_file=None).source
    found = source[...]
    version = int(found[0, 0, 0]) % 2
    np.testing.assert_array_equal(found, numbers(version))
    return version


@pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")
def test_file_replaced_before_any_request_is_an_error_or_one_version(
    store: Store, contents: tuple[bytes, bytes], request: pytest.FixtureRequest
) -> None:
    kind, content = (request.node.callspec.params[name] for name in ("store", "contents"))
    if (kind, content) == ("web none", "plain"):
        pytest.skip("only the size identifies the version, which causes a warning")
    old, new = contents
    outcomes: list[object] = []
    with dask.config.set({"mrcdist.sub-range": "4 MiB", "mrcdist.io": "read"}):
        for number in range(1, 100):
            store.put(old)
            arrived = exchange_before(store, number, new)
            try:
                outcomes.append(version_read(store))
            except FileChangedError:
                outcomes.append("changed")
            store.hook = lambda: None
            if arrived[0] < number:
                break
    assert outcomes[-1] == 0  # too few requests for it to be replaced
    assert len(outcomes) > 2


@pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")
def test_file_truncated_while_it_is_read_is_not_retried(store: Store) -> None:
    old = mrc_bytes(numbers(0)[:2])
    with dask.config.set({"mrcdist.sub-range": "256 KiB", "mrcdist.concurrency": 1}):
        for number in range(1, 100):
            store.put(old)
            source = plan_mrc(store.url, storage_options=store.options, metadata_file=None).source
            arrived = exchange_before(store, number, old[: len(old) // 2])
            retries = stats.snapshot().retries
            with suppress(FileChangedError):
                np.testing.assert_array_equal(source[...], numbers(0)[:2])
            store.hook = lambda: None
            assert stats.snapshot().retries == retries
            if arrived[0] < number:
                break
