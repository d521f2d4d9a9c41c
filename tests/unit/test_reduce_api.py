"""Several results in one pass: values equal numpy's, and each byte needed is read once."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist import stats
from mrcdist.compute.bright_disk import find_disk
from mrcdist.compute.detectors import adf_ring
from mrcdist.errors import ArgumentError, MissingExtraError, MrcdistWarning
from mrcdist.reduce_api import (
    CenterOfMass,
    FrameReduction,
    MaximumPattern,
    MeanPattern,
    RadialProfile,
    StandardDeviation,
    SumPattern,
    VirtualImage,
    reduce_frames,
)
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import mrc_bytes

NUMBERS = np.random.default_rng(3).integers(0, 2**16, (12, 24, 32), np.uint16)
SCAN = NUMBERS.reshape(3, 4, 24, 32)
Y, X = np.indices((24, 32))
INSIDE = (Y - 10) ** 2 + (X - 12) ** 2 <= 25


@pytest.fixture
def plan() -> mrcdist.Plan:
    fsspec.filesystem("memory").pipe("/reduce/stack.mrc", mrc_bytes(NUMBERS))
    return mrcdist.plan_mrc(
        "memory://reduce/stack.mrc", navigation_shape=(4, 3), chunks=(1, 3, -1, -1)
    )


def reduce_quietly(data: Any, results: dict[str, Any], **options: Any) -> Any:
    return reduce_frames(data, results, progress=False, **options)


def test_all_results_of_one_pass_equal_those_of_numpy(plan: mrcdist.Plan) -> None:
    weights = np.linspace(0, 1, 24 * 32).reshape(24, 32)
    before = stats.snapshot()
    found = reduce_quietly(
        plan,
        {
            "circle": VirtualImage("circle:10,12,5"),
            "weighted": VirtualImage(weights),
            "com": CenterOfMass(),
            "mean": MeanPattern(),
            "sum": SumPattern(),
            "max": MaximumPattern(),
            "std": StandardDeviation(),
            "profile": RadialProfile((10, 12)),
            "median": FrameReduction(np_median),
        },
    )
    assert (stats.snapshot() - before).bytes_fetched == NUMBERS.nbytes
    assert next(iter(found)) == "circle"
    assert next(reversed(found)) == "median"
    np.testing.assert_array_equal(found["circle"], (SCAN * INSIDE).sum(axis=(2, 3)))
    np.testing.assert_allclose(found["weighted"], (SCAN * weights).sum(axis=(2, 3)), rtol=1e-12)
    mass = SCAN.sum(axis=(2, 3))
    center = [(SCAN * Y).sum(axis=(2, 3)) / mass, (SCAN * X).sum(axis=(2, 3)) / mass]
    np.testing.assert_array_equal(found["com"], center)
    np.testing.assert_array_equal(found["mean"], NUMBERS.mean(axis=0))
    np.testing.assert_array_equal(found["sum"], NUMBERS.sum(axis=0))
    np.testing.assert_array_equal(found["max"], NUMBERS.max(axis=0))
    np.testing.assert_allclose(found["std"], NUMBERS.std(axis=0), rtol=1e-12)
    ring = np.floor(np.hypot(Y - 10, X - 12) + 0.5)
    np.testing.assert_allclose(found["profile"].values[..., 7], SCAN[..., ring == 7].mean(axis=-1))
    np.testing.assert_array_equal(found["median"], np.median(SCAN, axis=(2, 3)))


def np_median(frames: Any) -> Any:
    return np.median(frames, axis=(1, 2))


def test_unneeded_rows_are_not_read(plan: mrcdist.Plan) -> None:
    before = stats.snapshot()
    with dask.config.set({"mrcdist.max-gap": 0}):
        reduce_quietly(
            plan, {"a": VirtualImage("circle:10,12,5"), "b": CenterOfMass("circle:8,12,2")}
        )
    read = (stats.snapshot() - before).bytes_fetched
    rows, row_bytes = 11, 32 * 2  # rows 5 to 15; from the first to the last column needed
    assert read <= 12 * rows * row_bytes


def test_only_frames_of_the_region_are_read_and_used(plan: mrcdist.Plan) -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = mask[2, 0] = True
    before = stats.snapshot()
    with dask.config.set({"mrcdist.max-gap": 0}):
        found = reduce_quietly(plan, {"mean": MeanPattern(), "all": VirtualImage()}, region=mask)
    assert (stats.snapshot() - before).bytes_fetched == 3 * 24 * 32 * 2
    np.testing.assert_array_equal(found["mean"], SCAN[mask].mean(axis=0))
    np.testing.assert_array_equal(found["all"], SCAN[mask].sum(axis=(1, 2)))
    assert [axis.name for axis in found["all"].axes] == ["frame"]


@pytest.mark.parametrize(
    "frames", [slice(2, 7), slice(None, None, 5), range(3), [7, 0, 7]], ids=str
)
def test_only_selected_frames_are_read_and_used(plan: mrcdist.Plan, frames: Any) -> None:
    expected = NUMBERS[frames]
    before = stats.snapshot()
    with dask.config.set({"mrcdist.max-gap": 0}):
        found = reduce_quietly(plan, {"mean": MeanPattern(), "all": VirtualImage()}, frames=frames)
    distinct = len({frame.tobytes() for frame in expected})
    assert (stats.snapshot() - before).bytes_fetched == distinct * 24 * 32 * 2
    np.testing.assert_array_equal(found["mean"], expected.mean(axis=0))
    np.testing.assert_array_equal(found["all"], expected.sum(axis=(1, 2)))


def test_bright_disk_is_located_in_the_data(tmp_path: Path) -> None:
    pattern = np.where((Y - 11) ** 2 + (X - 15) ** 2 <= 16, 900, 3).astype("uint16")
    movie = write_acquisition(
        tmp_path, scan_shape=(3, 4), frame_shape=(24, 32), frames=lambda number: pattern
    ).movie
    found = reduce_quietly(movie, {"bf": VirtualImage("bf"), "adf": VirtualImage("adf")})
    disk = find_disk(pattern)
    assert (disk.cy, disk.cx) == (11, 15)
    same = reduce_quietly(
        movie, {"disk": VirtualImage(disk), "ring": VirtualImage(adf_ring(disk, (24, 32)))}
    )
    np.testing.assert_array_equal(found["bf"], same["disk"])
    np.testing.assert_array_equal(found["adf"], same["ring"])
    assert (found["adf"].values > 0).all()
    assert found["bf"].axes[0].name == "y"


def test_plain_functions_may_return_a_value_or_an_array_per_frame(plan: mrcdist.Plan) -> None:
    found = reduce_quietly(
        plan,
        {
            "largest": lambda frames: frames.max(axis=(1, 2)),
            "rows": lambda frames: frames.mean(axis=2),
            "profile": lambda frames: np.stack([frames[:, 3], frames[:, 5]], axis=1),
        },
    )
    assert found["largest"].values.dtype == np.uint16
    np.testing.assert_array_equal(found["largest"], SCAN.max(axis=(2, 3)))
    np.testing.assert_array_equal(found["rows"], SCAN.mean(axis=3))
    np.testing.assert_array_equal(found["profile"], SCAN[:, :, [3, 5]])
    assert [axis.size for axis in found["profile"].axes] == [3, 4, 2, 32]


@pytest.mark.parametrize("chunks", [(1, 3, -1, -1), (3, 4, -1, -1)])
def test_function_results_are_merged_over_blocks(chunks: Any) -> None:
    fsspec.filesystem("memory").pipe("/reduce/merge.mrc", mrc_bytes(NUMBERS))
    plan = mrcdist.plan_mrc("memory://reduce/merge.mrc", navigation_shape=(4, 3), chunks=chunks)
    found = reduce_quietly(
        plan,
        {
            "least": FrameReduction(lambda frames: frames.min(axis=0), np.minimum),
            "histogram": FrameReduction(
                lambda frames: np.bincount(frames.ravel() >> 12, minlength=16), np.add
            ),
        },
    )
    np.testing.assert_array_equal(found["least"], NUMBERS.min(axis=0))
    assert found["least"].axes == plan.axes[2:]
    np.testing.assert_array_equal(found["histogram"], np.bincount(NUMBERS.ravel() >> 12))


def test_merge_receives_arrays_whatever_it_returns(plan: mrcdist.Plan) -> None:
    def merge(one: Any, other: Any) -> list[Any]:
        assert one.shape == other.shape == (2,)
        return [min(one[0], other[0]), max(one[1], other[1])]

    extremes = FrameReduction(lambda frames: [frames.min(), frames.max()], merge)
    found = reduce_quietly(plan, {"extremes": extremes}, region=np.ones(plan.shape[:2], bool))
    np.testing.assert_array_equal(found["extremes"], [SCAN.min(), SCAN.max()])
    parts = [np.asarray([part]) for part in ([1, 5], [0, 3], [2, 9])]
    [reduction] = extremes.reductions(SimpleNamespace(layout=plan.layout))
    np.testing.assert_array_equal(reduction.join(parts), [[0, 9]])


def test_merged_function_results_leave_out_missing_frames(tmp_path: Path) -> None:
    path = tmp_path / "short.mrc"
    path.write_bytes(mrc_bytes(NUMBERS[:6] | 1)[: 1024 + 4 * 24 * 32 * 2])
    least = FrameReduction(lambda frames: frames.min(axis=0), np.minimum)
    with pytest.warns(MrcdistWarning) as warned:
        found = reduce_quietly(
            path, {"least": least}, navigation_shape=(3, 2), allow_truncated=True
        )
    assert any("4 frames; 2 are missing" in str(one.message) for one in warned)
    assert not any("least" in str(one.message) for one in warned)  # the only result
    np.testing.assert_array_equal(found["least"], (NUMBERS[:4] | 1).min(axis=0))


@pytest.mark.parametrize("function", [lambda frames: frames.max(), lambda frames: frames.T])
def test_functions_must_return_one_value_per_frame(plan: mrcdist.Plan, function: Any) -> None:
    with pytest.raises(ArgumentError) as error:
        reduce_quietly(plan, {"mine": function})
    assert (error.value.code, error.value.argument) == ("function-invalid", "function")


@pytest.mark.parametrize("merge", [None, np.maximum])
def test_notes_of_an_exception_give_the_positions_of_its_frames(
    plan: mrcdist.Plan, merge: Any
) -> None:
    def failing(frames: Any) -> Any:
        if (frames == SCAN[2, 1]).all(axis=(1, 2)).any():
            raise ZeroDivisionError("mine")
        return frames.max(axis=(1, 2)) if merge is None else frames.max(axis=0)

    with pytest.raises(ZeroDivisionError) as error:
        reduce_quietly(plan, {"mine": FrameReduction(failing, merge)})
    assert error.value.__notes__ == [
        "raised for 3 frames: position (2, 0) (frame 8 of the file) to "
        "position (2, 2) (frame 10 of the file)",
        "also raised for a single frame: position (2, 1) (frame 9 of the file)",
    ]
    with pytest.raises(ZeroDivisionError) as error:
        reduce_quietly(
            plan, {"mine": FrameReduction(failing, merge)}, region=[(0, 0), (2, 1), (1, 2)]
        )
    assert error.value.__notes__[-1] == (
        "also raised for a single frame: position (1,) (frame 9 of the file)"
    )


@pytest.mark.parametrize("form", ["dict", "several files", "signal"])
def test_data_from_read_mrc_can_be_reduced(tmp_path: Path, form: str) -> None:
    paths = [tmp_path / "a.mrc", tmp_path / "b.mrc"]
    for path, half in zip(paths, (NUMBERS[:6], NUMBERS[6:]), strict=True):
        path.write_bytes(mrc_bytes(half))
    if form != "several files":
        paths[0].write_bytes(mrc_bytes(NUMBERS))
        del paths[1]
    [ds] = mrcdist.read_mrc(paths, navigation_shape=(4, 3), chunks=(1, -1, -1, -1))
    ds["axes"][2] |= {"scale": 0.5, "offset": 1.0, "units": "nm^-1"}  # recalibrated by the user
    data: Any = ds
    if form == "signal":
        data = (
            pytest.importorskip("hyperspy.api")
            .signals.Signal2D(ds["data"], axes=ds["axes"])
            .as_lazy()
        )
    found = reduce_quietly(
        data, {"mean": MeanPattern(), "com": CenterOfMass(), "all": VirtualImage()}
    )
    np.testing.assert_array_equal(found["mean"], NUMBERS.mean(axis=0))
    np.testing.assert_array_equal(found["all"], SCAN.sum(axis=(2, 3)))
    assert found["mean"].axes[0].units == "nm^-1"
    expected = (SCAN * Y).sum(axis=(2, 3)) / SCAN.sum(axis=(2, 3))
    np.testing.assert_allclose(found["com"].values[0], 1 + 0.5 * expected, rtol=1e-12)
    mask = np.eye(3, 4, dtype=bool)
    some = reduce_quietly(data, {"all": VirtualImage()}, region=mask)
    np.testing.assert_array_equal(some["all"], SCAN[mask].sum(axis=(1, 2)))


@pytest.mark.parametrize("change", [lambda data: data[1:], lambda data: data + 1, np.asarray])
def test_modified_arrays_are_refused(plan: mrcdist.Plan, change: Any) -> None:
    with pytest.raises(ArgumentError, match="not the lazy one that read_mrc returned"):
        reduce_quietly({"data": change(plan.to_dask())}, {"mean": MeanPattern()})


CALLS: list[int] = []
INTERRUPTED_CALL = [4]


def interrupted_maximum(frames: Any) -> Any:
    CALLS.append(len(frames))
    if len(CALLS) == INTERRUPTED_CALL[0]:
        raise KeyboardInterrupt
    return frames.max(axis=(1, 2))


def test_interrupted_pass_is_resumed_by_the_same_call(plan: mrcdist.Plan, tmp_path: Path) -> None:
    folder = tmp_path / "finished"
    mine = FrameReduction(interrupted_maximum, shape=(), dtype="uint16")
    results = {"mine": mine, "std": StandardDeviation()}
    CALLS.clear()
    INTERRUPTED_CALL[0] = 4
    with pytest.raises(KeyboardInterrupt) as error, dask.config.set(num_workers=1):
        reduce_quietly(plan, results, resume=folder)
    assert "repeat the same call to resume" in error.value.__notes__[-1]
    n_finished = len(list(folder.glob("part-*.npz")))
    assert 0 < n_finished < 4
    for thread in threading.enumerate():  # the interrupted call did not wait for them
        if thread.name.startswith("mrcdist-reduce"):
            thread.join()
    with pytest.raises(ArgumentError, match="belongs to another job"):
        reduce_quietly(plan, {**results, "max": MaximumPattern()}, resume=folder)
    CALLS.clear()
    INTERRUPTED_CALL[0] = 0
    found = reduce_quietly(plan, results, resume=folder)
    assert len(CALLS) == 6 - n_finished
    np.testing.assert_array_equal(found["mine"], SCAN.max(axis=(2, 3)))
    np.testing.assert_allclose(found["std"], NUMBERS.std(axis=0), rtol=1e-12)
    assert not folder.exists()


def check_against_numpy(data: Any, frames: Any, **options: Any) -> None:
    """Compare maps, patterns and a function with numpy, for frames in array order."""
    results = {
        "all": VirtualImage(),
        "com": CenterOfMass(),
        "mean": MeanPattern(),
        "max": MaximumPattern(),
        "largest": lambda some: some.max(axis=(1, 2)),
    }
    found = reduce_quietly(data, results, **options)
    flat = frames.reshape(-1, *frames.shape[-2:]).astype(np.float64)
    mass = frames.sum(axis=(-2, -1), dtype=np.float64)
    y = np.indices(frames.shape[-2:])[0]
    np.testing.assert_allclose(found["all"], mass, rtol=1e-12)
    rows = (frames * y.astype(np.float64)).sum(axis=(-2, -1)) / mass
    axis = found["mean"].axes[0]
    np.testing.assert_allclose(
        found["com"].values[0], axis.offset + axis.scale * rows if axis.units else rows, rtol=1e-9
    )
    np.testing.assert_allclose(found["mean"], flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(found["max"], flat.max(axis=0))
    np.testing.assert_array_equal(found["largest"], frames.max(axis=(-2, -1)))


def test_custom_scans_are_reduced(tmp_path: Path) -> None:
    points = np.array([(2, 0), (0, 1), (1, 1), (3, 0), (0, 0), (1, 0), (2, 1), (3, 1)])  # x, y
    movie = write_acquisition(
        tmp_path,
        scan_shape=(2, 4),
        frame_shape=(24, 32),
        frames=NUMBERS.__getitem__,
        custom_points=points,
    ).movie
    expected = np.empty((2, 4, 24, 32), np.uint16)
    expected[points[:, 1], points[:, 0]] = NUMBERS[:8]
    check_against_numpy(movie, expected)


def test_movies_in_parts_are_reduced(tmp_path: Path) -> None:
    paths = [tmp_path / f"part{number}.mrc" for number in range(3)]
    for path, first in zip(paths, (0, 5, 9), strict=True):
        path.write_bytes(mrc_bytes(NUMBERS[first : {0: 5, 5: 9, 9: 12}[first]]))
    check_against_numpy(paths, SCAN, navigation_shape=(4, 3), chunks=(1, 3, -1, -1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "uint8"])
def test_pixels_of_other_dtypes_are_reduced(tmp_path: Path, dtype: str) -> None:
    frames = (NUMBERS % 100).astype(dtype)
    mrcdist.write_mrc(tmp_path / "a.mrc", frames)
    options = {"mode0": dtype} if dtype in ("int8", "uint8") else {}
    check_against_numpy(tmp_path / "a.mrc", frames, chunks=(5, -1, -1), **options)


def test_4_bit_pixels_are_reduced(tmp_path: Path) -> None:
    frames = (NUMBERS % 16).astype("uint8")
    mrcdist.write_mrc(tmp_path / "a.mrc", frames, dtype="uint4")
    check_against_numpy(tmp_path / "a.mrc", frames, chunks=(5, -1, -1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mrcz_files_are_reduced(tmp_path: Path) -> None:
    mrcz = pytest.importorskip("mrcz")
    frames = (NUMBERS % 30_000).astype("int16")
    mrcz.writeMRC(frames, str(tmp_path / "a.mrcz"), compressor="zstd")
    check_against_numpy(tmp_path / "a.mrcz", frames, chunks=(5, -1, -1))


def test_sections_of_a_volume_are_reduced(tmp_path: Path) -> None:
    path = tmp_path / "tomogram.mrc"
    mrcdist.write_mrc(path, (NUMBERS % 1000).astype("int16"), kind="volume")
    check_against_numpy(path, (NUMBERS % 1000).astype("int16"))
    some = reduce_quietly(path, {"all": VirtualImage()}, region=[7, 2])
    np.testing.assert_array_equal(some["all"], (NUMBERS % 1000)[[7, 2]].sum(axis=(1, 2)))


def test_error_suggests_installing_xarray_if_it_is_missing(
    plan: mrcdist.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reduce_quietly(plan, {"com": CenterOfMass()})
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingExtraError, match="pip install xarray"):
        found["com"].to_xarray()


def test_options_of_plan_mrc_apply_to_urls() -> None:
    fsspec.filesystem("memory").pipe("/reduce/options.mrc", mrc_bytes(NUMBERS))
    found = reduce_quietly(
        "memory://reduce/options.mrc", {"all": VirtualImage()}, navigation_shape=(4, 3)
    )
    np.testing.assert_array_equal(found["all"], SCAN.sum(axis=(2, 3)))


def test_missing_frames_are_left_out_of_patterns_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "short.mrc"
    negative = -1 - (NUMBERS[:6] % 1000).astype("int16")
    path.write_bytes(mrc_bytes(negative)[: 1024 + 4 * 24 * 32 * 2])
    with pytest.warns(MrcdistWarning) as warned:
        found = reduce_quietly(
            path,
            {"max": MaximumPattern(), "mean": MeanPattern(), "std": StandardDeviation()},
            navigation_shape=(3, 2),
            allow_truncated=True,
        )
    missing = [str(one.message) for one in warned if "4 frames; 2 are missing" in str(one.message)]
    assert len(missing) == 3
    for name in ("max", "mean", "std"):
        assert any(f"{name}: " in message for message in missing)
    np.testing.assert_array_equal(found["max"], negative[:4].max(axis=0))
    np.testing.assert_array_equal(found["mean"], negative[:4].mean(axis=0))
    np.testing.assert_allclose(found["std"], negative[:4].std(axis=0), rtol=1e-12)


def test_empty_results_are_an_error(plan: mrcdist.Plan) -> None:
    with pytest.raises(ArgumentError, match="nothing to compute"):
        reduce_frames(plan, {})


@pytest.mark.parametrize(
    ("quantity", "argument"),
    [(RadialProfile((900, 900)), "center"), (VirtualImage("circle:900,900,2"), "detector")],
)
def test_detector_without_pixels_is_an_error(
    plan: mrcdist.Plan, quantity: Any, argument: str
) -> None:
    with pytest.raises(ArgumentError) as error:
        reduce_quietly(plan, {"far": quantity})
    assert (error.value.code, error.value.argument) == ("detector-empty", argument)


def test_results_are_converted_to_dicts_for_signals(plan: mrcdist.Plan) -> None:
    found = reduce_quietly(plan, {"com": CenterOfMass(), "mean": MeanPattern()})
    com = found["com"].to_dict()
    assert com["data"].shape == (2, 3, 4)
    assert [axis["name"] for axis in com["axes"]] == ["component", "scan_y", "scan_x"]
    assert [axis["navigate"] for axis in com["axes"]] == [True, False, False]
    assert found["mean"].to_dict()["metadata"]["General"]["title"] == "mean"


def test_notes_of_an_exception_include_the_first_position(plan: mrcdist.Plan) -> None:
    def failing(frames: Any) -> Any:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError) as error:
        reduce_quietly(plan, {"mine": FrameReduction(failing)})
    assert any("position (0, 0)" in note for note in error.value.__notes__)
