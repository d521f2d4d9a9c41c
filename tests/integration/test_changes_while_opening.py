"""A file that is replaced while it is opened is read as one version, or is an error.

Each test replaces the object before request 1, 2, 3, … until opening it takes fewer requests.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import dask
import mrcz
import numpy as np
import pytest

from mrcdist import FileChangedError, FormatError, plan_mrc, stats
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import read_whole
from tests.support.exchange import KINDS, Store, exchange_before, store_of
from tests.support.mrc_files import mrc_bytes

# Sides of the frames of the two versions, which also differ in their contents.
SAME_SIZE = ((64, 8), (8, 64))
OTHER_SIZE = ((64, 8), (72, 8))


def with_symmetry(number: int, sides: tuple[int, int]) -> bytes:
    """Return a file with 400 text records in its extended header, all of one letter."""
    letter = b"AB"[number : number + 1]
    return mrc_bytes(np.full((2, *sides), number, "u2"), extended=letter * 80 * 400, exttyp=b"CCP4")


def compressed(number: int, sides: tuple[int, int]) -> bytes:
    return gzip.compress(with_symmetry(number, sides), mtime=0, compresslevel=0)


def in_sections(folder: Path, number: int, sides: tuple[int, int]) -> bytes:
    path = folder / "sections.mrcz"
    data = np.random.default_rng(number).integers(0, 9, (8, *sides), np.int16)
    mrcz.writeMRC(data, str(path), compressor="zstd")
    return path.read_bytes()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    with store_of(kind, request) as store:
        yield store


@pytest.fixture(params=["extended header", "gzip", "sections"])
def contents(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> tuple[bytes, bytes]:
    """Return two versions of the same size, unless nothing but the size identifies a version."""
    make: Callable[[int, tuple[int, int]], bytes] = {
        "extended header": with_symmetry,
        "gzip": compressed,
        "sections": partial(in_sections, tmp_path),
    }[request.param]
    if kind == "web none":
        return make(0, OTHER_SIZE[0]), make(1, OTHER_SIZE[1])
    old, new = (make(number, sides) for number, sides in enumerate(SAME_SIZE))
    size = max(len(old), len(new))  # of compressed sections, which zeros may follow
    return old.ljust(size, b"\0"), new.ljust(size, b"\0")


@pytest.fixture
def small_requests() -> Iterator[None]:
    """Limit requests to 64 bytes, so that many are needed for compressed sections."""
    with dask.config.set({"mrcdist.sub-range": 64}):
        yield


def opened(store: Store) -> Any:
    """Return what is known of a file after opening it, except its version."""
    plan = plan_mrc(store.url, storage_options=store.options, metadata_file=None)
    [part] = plan.source.parts
    sections = None if part.sections is None else tuple(map(int, part.sections.offsets))
    text = () if plan.extended is None else plan.extended.text
    return plan.shape, text, sections


@pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")
@pytest.mark.usefixtures("small_requests")
def test_file_replaced_while_it_is_opened_is_an_error_or_one_version(
    store: Store, contents: tuple[bytes, bytes]
) -> None:
    old, new = contents
    expected = []
    for content in (new, old):
        store.put(content)
        expected.append(opened(store))
    assert expected[0] != expected[1]
    outcomes = []
    for number in range(1, 100):
        store.put(old)
        arrived = exchange_before(store, number, new)
        try:
            outcomes.append(expected.index(opened(store)))
        except FileChangedError:
            outcomes.append("changed")
        store.hook = lambda: None
        if arrived[0] < number:
            break
    assert len(outcomes) > 1
    assert outcomes[-1] == 1  # too few requests for it to be replaced


def test_sidecar_replaced_while_it_is_read_is_an_error_or_one_version(store: Store) -> None:
    old, new = b"Frame Width = 8\n" * 5000, b"Frame Width = 9\n" * 5000
    for number in range(1, 20):
        store.put(old)
        arrived = exchange_before(store, number, new)
        with suppress(FileChangedError):
            assert read_whole(Location.of(store.url, store.options), 2**28) in (old, new)
        store.hook = lambda: None
        if arrived[0] < number:
            break


@pytest.mark.filterwarnings("ignore::mrcdist.errors.MrcdistWarning")
@pytest.mark.usefixtures("small_requests")
def test_file_truncated_while_it_is_opened_is_not_retried(
    store: Store, contents: tuple[bytes, bytes]
) -> None:
    old, _ = contents
    for number, size in zip(range(1, 100), cycle((600, 20_000, 1500)), strict=False):
        store.put(old)
        arrived = exchange_before(store, number, old[:size])
        retries = stats.snapshot().retries
        with suppress(FileChangedError, FormatError):
            opened(store)
        store.hook = lambda: None
        assert stats.snapshot().retries == retries
        if arrived[0] < number:
            break
