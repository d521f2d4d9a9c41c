"""Results are exact at the largest and smallest pixel values, across all boundaries.

There are boundaries of chunks, of tiles, and between existing and missing frames. All tests are run
with compiled loops and with numpy.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcdist import plan_mrc
from mrcdist.compute.one_pass import InMemory, OnePass
from mrcdist.compute.results import Dataset
from mrcdist.compute.submit import compute_in_threads
from mrcdist.compute.tasks import Work
from mrcdist.errors import ArgumentError, MrcdistWarning
from mrcdist.reduce_api import (
    CenterOfMass,
    MaximumPattern,
    MeanPattern,
    RadialProfile,
    StandardDeviation,
    SumPattern,
    VirtualImage,
    reduce_frames,
)
from tests.support.examples import examples
from tests.support.mrc_files import header_bytes, mrc_bytes

URL = "memory://exact/stack.mrc"
RESULTS: dict[str, Any] = {
    "sum": SumPattern(),
    "mean": MeanPattern(),
    "largest": MaximumPattern(),
    "deviation": StandardDeviation(),
    "all": VirtualImage(),
    "disk": VirtualImage("circle:3,2,1.5"),
    "com": CenterOfMass("circle:3,2,2"),
    "rings": RadialProfile(),
}
N = 11


@st.composite
def stacks(draw: st.DrawFn, dtype: str) -> Any:
    """Draw frames with the largest value of a dtype, and with some pixels at other extremes."""
    info: Any = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo("float16")
    ends = st.sampled_from([float(info.min), 0.0, 1.0, float(info.max)])
    shape = (N, draw(st.integers(5, 9)), draw(st.integers(4, 40)))
    frames = np.full(shape, info.max, dtype)
    frames[:, 1:5, :3] = draw(hnp.arrays("float64", (N, 4, 3), elements=ends))
    return frames


def computed(url: str, tile_bytes: int, compile_loops: bool, chunk: int) -> Any:
    def compute(work: Work, *arguments: Any) -> Any:
        work = replace(work, tile_bytes=tile_bytes, compile_loops=compile_loops)
        return compute_in_threads(work, *arguments, threads=1)

    with warnings.catch_warnings(action="ignore", category=MrcdistWarning):
        plan = plan_mrc(url, chunks=(chunk, -1, -1), navigation_shape=(N,), allow_truncated=True)
    one_pass = OnePass(Dataset(plan.source, plan.axes, plan.chunks), RESULTS)
    return one_pass.run(lambda: nullcontext(compute), InMemory()).results


def check(frames: Any, n_present: int, found: Any) -> None:
    """Compare results with unbounded Python integers, or with float64."""
    exact = frames.dtype.kind in "iu"
    present = frames[:n_present].astype(object if exact else float)
    y, x = np.indices(frames.shape[1:])
    disk = (y - 3) ** 2 + (x - 2) ** 2
    masses = (present * (disk <= 4)).sum(axis=(1, 2))
    expected = {
        "sum": present.sum(axis=0),
        "largest": present.max(axis=0),
        "all": present.sum(axis=(1, 2)),
        "disk": (present * (disk <= 1.5**2)).sum(axis=(1, 2)),
    }
    for name, values in expected.items():
        got = found[name].values
        got = got[:n_present] if got.ndim == 1 else got
        if exact:
            assert got.tolist() == values.tolist(), name
        else:
            np.testing.assert_allclose(got, values, rtol=1e-12, atol=1e-6)
    np.testing.assert_allclose(found["mean"], (present.sum(axis=0) / n_present).astype(float))
    deviation = np.std(frames[:n_present].astype(float), axis=0)
    np.testing.assert_allclose(found["deviation"], deviation, rtol=1e-9, atol=1e-6)
    with np.errstate(all="ignore"):
        for got, at in zip(found["com"].values, (y, x), strict=True):
            moments = (present * (disk <= 4) * at).sum(axis=(1, 2)).astype(float)
            some = masses.astype(float) > 0
            np.testing.assert_allclose(
                got[:n_present][some],
                moments[some] / masses[some].astype(float),
                rtol=1e-9,
                atol=1e-9,
            )
    center = found["rings"].values[:n_present, 0]
    middle = present[:, frames.shape[1] // 2, frames.shape[2] // 2]
    np.testing.assert_array_equal(center, middle.astype(float))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int8", "float16", "float32"])
@given(data=st.data(), n_present=st.integers(1, N), chunk=st.integers(1, N), tile=st.integers(1, 4))
@examples(12)
def test_results_are_exact_across_all_boundaries(
    dtype: str, data: Any, n_present: int, chunk: int, tile: int
) -> None:
    frames = data.draw(stacks(dtype))
    stored = mrc_bytes(frames)
    missing = (N - n_present) * frames[0].nbytes
    fsspec.filesystem("memory").pipe("/exact/stack.mrc", stored[: len(stored) - missing])
    for compile_loops in (True, False):
        check(frames, n_present, computed(URL, tile * frames[0].nbytes, compile_loops, chunk))


@pytest.mark.parametrize("chunk", [3, N])
def test_results_of_4_bit_pixels_are_exact(tmp_path: Path, chunk: int) -> None:
    frames = np.full((N, 9, 12), 15, np.uint8)
    frames[::2, 1:4, :3] = 0
    path = tmp_path / "packed.mrc"
    pairs = frames[..., ::2] | frames[..., 1::2] << 4
    path.write_bytes(header_bytes(nx=12, ny=9, nz=N, mode=101) + pairs.tobytes())
    for compile_loops in (True, False):
        check(frames, N, computed(str(path), 200, compile_loops, chunk))


def test_complex_pixels_cannot_be_reduced(tmp_path: Path) -> None:
    path = tmp_path / "complex.mrc"
    path.write_bytes(mrc_bytes(np.ones((2, 4, 4), "complex64")))
    with pytest.raises(ArgumentError, match="complex") as error:
        reduce_frames(path, RESULTS, progress=False)
    assert error.value.code == "data-not-reducible"
