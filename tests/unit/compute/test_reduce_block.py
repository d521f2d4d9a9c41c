"""Reducing blocks in tiles: memory, and equal results with numpy and another array module."""

from __future__ import annotations

import sys
import tracemalloc
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mrcdist
from mrcdist import MeanPattern, VirtualImage, reduce_frames
from mrcdist.compute.detectors import Mask, Ring
from mrcdist.compute.functions import FrameReduction
from mrcdist.compute.reduce_block import reduce_block
from mrcdist.compute.reductions import (
    FrameMaximum,
    FrameSquares,
    FrameSum,
    PixelSums,
    RadialSums,
)
from mrcdist.errors import ArgumentError, MissingExtraError
from tests.support.examples import examples
from tests.support.mrc_files import mrc_bytes

ROWS, COLUMNS = range(6), range(8)
WINDOW = (ROWS, COLUMNS)
SHAPE = (6, 8)


class DeviceArray(np.ndarray[Any, Any]):
    """An array that, like arrays of CuPy, cannot be mixed with arrays of numpy."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        outputs = options.pop("out", ())
        if any(type(each) is np.ndarray for each in (*inputs, *outputs)):
            raise TypeError(f"{ufunc.__name__} of arrays of two modules")
        if outputs:
            options["out"] = tuple(np.asarray(each) for each in outputs)
        found = getattr(ufunc, method)(*map(_to_numpy, inputs), **options)
        if outputs:
            return outputs[0]
        return found.view(DeviceArray) if isinstance(found, np.ndarray) else found

    def __getitem__(self, index: Any) -> Any:
        for each in index if isinstance(index, tuple) else (index,):
            if type(each) is np.ndarray:
                raise TypeError("index is an array of another module")
        return super().__getitem__(index)


def _to_numpy(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, DeviceArray) else value


class DeviceModule(SimpleNamespace):
    """A module with the functions of CuPy, which computes with numpy."""

    def __init__(self) -> None:
        super().__init__(maximum=np.maximum)
        self.moved: list[Any] = []

    def asarray(self, array: Any) -> DeviceArray:
        self.moved.append(array)
        return np.array(array).view(DeviceArray)

    def asnumpy(self, array: Any) -> Any:
        assert isinstance(array, DeviceArray)
        return array.view(np.ndarray)

    def bincount(self, which: Any, weights: Any, minlength: int) -> Any:
        assert isinstance(which, DeviceArray)
        assert isinstance(weights, DeviceArray)
        return np.bincount(_to_numpy(which), _to_numpy(weights), minlength).view(DeviceArray)


def row_sums(frames: Any) -> Any:
    assert type(frames) is np.ndarray
    return frames.sum(axis=2)


def reductions(data: Any = None) -> tuple[Any, ...]:
    y, x = np.indices(SHAPE)
    bins = np.where(y > 4, -1, (y + x) % 4).astype(np.int32)
    weights = np.random.default_rng(1).integers(-127, 128, SHAPE)
    ring = Ring(2, 3, 0, 2)
    [own] = FrameReduction(row_sums, shape=(6,), dtype=float).reductions(
        SimpleNamespace(layout=SimpleNamespace(frame_shape=SHAPE))
    )
    return (
        FrameSum(SHAPE),
        FrameSquares(SHAPE),
        FrameMaximum(SHAPE),
        PixelSums(SHAPE, ring, moments=True),
        PixelSums(SHAPE, Mask.of(weights, SHAPE), moments=False),
        RadialSums(SHAPE, bins, 4),
        own,
    )


@given(
    frames=st.sampled_from(["uint8", "int8", "uint16", "int16", "float32"]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 7), *map(st.just, SHAPE)))
    ),
    tile_frames=st.integers(1, 4),
    data=st.data(),
)
@examples(60)
def test_results_with_another_array_module_equal_those_of_numpy(
    frames: Any, tile_frames: int, data: Any
) -> None:
    present = data.draw(st.none() | hnp.arrays(bool, len(frames)))
    wanted = reductions()
    with np.errstate(all="ignore"):
        expected = reduce_block(frames, WINDOW, wanted, present, compile_loops=False)
        size = tile_frames * frames[0].nbytes
        found = reduce_block(
            frames, WINDOW, wanted, present, module=DeviceModule(), tile_bytes=size
        )
    for one, other in zip(found, expected, strict=True):
        assert type(one) is np.ndarray
        assert one.dtype == other.dtype
        if frames.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=1e-6, equal_nan=True)
        else:
            np.testing.assert_array_equal(one, other)


def test_largest_pixel_values_are_summed_exactly_with_another_array_module() -> None:
    frames = np.full((300, *SHAPE), 65535, np.uint16)
    total, squares, largest, disk, *_ = reduce_block(
        frames, WINDOW, reductions(), module=DeviceModule()
    )
    assert (total == 300 * 65535).all()
    assert (squares == 300 * 65535**2).all()
    assert (largest == 65535).all()
    assert (disk[:, 0] == 13 * 65535).all()


@pytest.mark.parametrize("module", [np, DeviceModule()], ids=["numpy", "device"])
def test_nan_and_infinity_outside_the_detector_do_not_change_its_sums(module: Any) -> None:
    frames = np.full((2, 5, 5), np.nan, "float32")
    frames[:, 2, 1:4] = 1
    frames[:, 1:4, 2] = 1
    frames[0, 1, 1] = np.inf
    sums = PixelSums((5, 5), Ring(2, 2, 0, 1), moments=True)
    with np.errstate(invalid="ignore"):
        [found] = reduce_block(
            frames, (range(5), range(5)), [sums], module=module, compile_loops=False
        )
    assert found.tolist() == [[5, 10, 10]] * 2


def test_each_tile_is_moved_to_the_device_once_for_all_results() -> None:
    module = DeviceModule()
    frames = np.arange(4 * 48, dtype=np.uint16).reshape(4, *SHAPE)
    reduce_block(frames, WINDOW, reductions(), module=module, tile_bytes=2 * frames[0].nbytes)
    tiles = [each for each in module.moved if each.dtype == frames.dtype and each.ndim == 3]
    np.testing.assert_array_equal(np.concatenate(tiles), frames)


def test_pass_with_device_cupy_uses_its_array_module_and_equals_numpy(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.random.default_rng(2).integers(0, 2**16, (12, *SHAPE), np.uint16)
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(frames))
    module = DeviceModule()
    module.cuda = MagicMock()  # finds a GPU
    monkeypatch.setitem(sys.modules, "cupy", module)
    wanted = {"mean": MeanPattern(), "all": VirtualImage(), "rows": row_sums}
    found = reduce_frames(path, wanted, chunks=(5, -1, -1), device="cupy", progress=False)
    assert module.moved
    np.testing.assert_array_equal(found["mean"], frames.mean(axis=0))
    np.testing.assert_array_equal(found["all"], frames.sum(axis=(1, 2)))
    np.testing.assert_array_equal(found["rows"], frames.sum(axis=2))


def test_error_for_a_missing_gpu_names_the_extra(tmp_path: Any) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(mrc_bytes(np.ones((2, *SHAPE), np.uint16)))
    plan = mrcdist.plan_mrc(path)
    with pytest.raises(ArgumentError, match="pass one of cpu, cupy"):
        reduce_frames(plan, {"mean": MeanPattern()}, device="gpu", progress=False)
    with pytest.raises(MissingExtraError, match=r"(?s)no GPU with CuPy here.*\[gpu\]"):
        reduce_frames(plan, {"mean": MeanPattern()}, device="cupy", progress=False)


def test_reducing_with_missing_frames_copies_one_tile_at_a_time() -> None:
    """With two copies alive at a time, the kernel would have to clear memory for each of them."""
    frames = np.ones((1024, 32, 32), np.uint16)
    present = np.arange(len(frames)) % 10 > 0
    tile_bytes = 2**18
    tracemalloc.start()
    try:
        [largest] = reduce_block(
            frames,
            (range(32), range(32)),
            [FrameMaximum((32, 32))],
            present,
            tile_bytes=tile_bytes,
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (largest == 1).all()
    assert peak < 1.5 * tile_bytes
