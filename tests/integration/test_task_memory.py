"""Peak memory of a task while it computes; on dask workers, allocating memory is slow."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import mrcdist
from mrcdist.compute.detectors import Ring
from mrcdist.compute.functions import FrameReduction
from mrcdist.compute.reductions import FrameSum, PixelSums
from mrcdist.compute.tasks import Work, compute
from mrcdist.reduce_api import reduce_frames
from tests.support.mrc_files import write_mrc

FRAMES = np.random.default_rng(4).integers(0, 2**16, (4096, 32, 32), np.uint16)


def peak(work: Work, task: Any) -> tuple[int, tuple[npt.NDArray[Any], ...]]:
    """Return peak memory and values; the minimum of three, as other threads may allocate memory."""
    values = compute(task, work).values  # compiles the loops
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        try:
            compute(task, work)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(peaks), values


def test_summing_a_small_detector_takes_less_memory_than_its_pixels(tmp_path: Path) -> None:
    source = mrcdist.plan_mrc(write_mrc(tmp_path / "a.mrc", FRAMES)).source
    disk = Ring(16, 16, 0, 8)
    sums = PixelSums((32, 32), disk, moments=False)
    most, [values] = peak(Work(source, (sums,)), (((0, 4096),),))
    y, x = np.indices((32, 32)) - 16
    expected = (FRAMES * (y**2 + x**2 <= 64)).sum(axis=(1, 2))
    np.testing.assert_array_equal(values[:, 0], expected)
    assert most < 2**20 < FRAMES[:, 8:25, 8:25].nbytes


def test_blocks_of_a_task_are_added_to_the_same_arrays(tmp_path: Path) -> None:
    source = mrcdist.plan_mrc(write_mrc(tmp_path / "a.mrc", FRAMES)).source
    whole = Ring(16, 16, 0, 90)
    sums = PixelSums((32, 32), whole, moments=True)
    blocks = tuple(((first, first + 1024),) for first in range(0, 4096, 1024))
    most, [values, total] = peak(Work(source, (sums, FrameSum((32, 32)))), blocks)
    np.testing.assert_array_equal(values[:, 0], FRAMES.sum(axis=(1, 2)))
    np.testing.assert_array_equal(total, FRAMES.sum(axis=0))
    assert most < 2 * values.nbytes + 2**17


def test_frames_kept_by_a_function_are_not_overwritten(tmp_path: Path) -> None:
    """The memory of a tile is not reused for the next one."""
    path = write_mrc(tmp_path / "a.mrc", FRAMES)
    kept: dict[int, npt.NDArray[Any]] = {}

    def keep(frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
        kept[int(frames[0].astype(int).sum())] = frames
        return frames[:, 0, 0]

    wanted = {"first": FrameReduction(keep, shape=(), dtype=int)}
    # Columns of a scan are not contiguous in the file.
    options: Any = {"navigation_shape": (2, 2048), "chunks": (2048, 1, -1, -1)}
    reduce_frames(path, wanted, progress=False, **options)
    found = np.concatenate(list(kept.values()))
    assert len(found) == 4096
    assert {each.tobytes() for each in found} == {each.tobytes() for each in FRAMES}
