"""`Plan.frames`: selected frames in the requested order, without reading others."""

from __future__ import annotations

import gzip
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist import plan_mrc, stats
from mrcdist.testing.acquisition import write_acquisition
from tests.support.examples import examples
from tests.support.mrc_files import mrc_bytes

pytestmark = pytest.mark.filterwarnings("ignore:.*compressed with gzip:mrcdist.MrcdistWarning")

NUMBERS = np.random.default_rng(0).integers(0, 2**16, (6, 9, 16, 32), np.uint16)
FRAME_BYTES = 16 * 32 * 2
STACK = mrc_bytes(NUMBERS.reshape(54, 16, 32))


@pytest.fixture(scope="module", params=["disk", "memory", "gzip", "parts"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("stored")
    path = folder / "movie.mrc"
    if request.param == "memory":
        fsspec.filesystem("memory").pipe("/selected/movie.mrc", STACK)
        return "memory://selected/movie.mrc"
    if request.param == "gzip":
        path = folder / "movie.mrc.gz"
        path.write_bytes(gzip.compress(STACK))
        return path
    if request.param == "parts":
        parts = [folder / f"part{n}.mrc" for n in range(3)]
        for part, frames in zip(
            parts, np.split(NUMBERS.reshape(54, 16, 32), [20, 21]), strict=True
        ):
            part.write_bytes(mrc_bytes(frames))
        return parts
    path.write_bytes(STACK)
    return path


@given(
    numbers=st.lists(st.integers(-54, 53), max_size=20),
    length=st.integers(1, 20),
    window=st.tuples(st.integers(0, 15), st.integers(0, 31)),
)
@examples(60)
def test_selected_frames_equal_those_indexed_by_numpy(
    stored: Any, numbers: list[int], length: int, window: tuple[int, int]
) -> None:
    plan = plan_mrc(stored, navigation_shape=(9, 6))
    array = plan.frames(numbers, chunks=(length, -1, -1))[:, window[0] :, : window[1] + 1]
    expected = NUMBERS.reshape(54, 16, 32)[numbers, window[0] :, : window[1] + 1]
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    np.testing.assert_array_equal(array.compute(scheduler="sync"), expected)


def test_mask_selects_frames_in_array_order(stored: Any) -> None:
    mask = np.random.default_rng(1).random((6, 9)) < 0.3
    array = plan_mrc(stored, navigation_shape=(9, 6)).frames(mask)
    np.testing.assert_array_equal(array.compute(scheduler="sync"), NUMBERS[mask])


def test_frames_of_a_custom_scan_are_selected_by_scan_points(tmp_path: Any) -> None:
    points = np.array([[2, 1], [0, 0], [0, 2], [1, 1], [3, 0], [0, 1]])
    movie = write_acquisition(
        tmp_path, scan_shape=(3, 4), frame_shape=(3, 5), custom_points=points
    ).movie
    plan = plan_mrc(movie)
    whole = plan.to_dask().compute(scheduler="sync")
    selection = [(1, 2), (2, 3), (0, 0), (1, 2)]  # (2, 3) was never visited, so it reads as 0
    frames = plan.frames(selection).compute(scheduler="sync")
    np.testing.assert_array_equal(frames, whole[tuple(np.array(selection).T)])
    assert not frames[1].any()


def test_tasks_fetch_only_the_bytes_of_selected_frames(tmp_path: Any) -> None:
    fsspec.filesystem("memory").pipe("/selected/counted.mrc", STACK)
    plan = plan_mrc("memory://selected/counted.mrc", navigation_shape=(9, 6))
    array = plan.frames([3, 4, 50], chunks=(2, -1, -1))
    before = stats.snapshot()
    array.compute(scheduler="sync")
    read = stats.snapshot() - before
    assert array.npartitions == 2
    assert read.bytes_fetched == 3 * FRAME_BYTES
    assert read.requests == 2


def test_dask_name_depends_on_the_selection(stored: Any) -> None:
    plan = plan_mrc(stored, navigation_shape=(9, 6))
    assert plan.frames([1, 2]).name == plan.frames([1, 2]).name
    assert plan.frames([1, 2]).name != plan.frames([2, 1]).name
