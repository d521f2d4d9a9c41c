"""Invalid arguments of `reduce_frames`: errors with a code and a suggested fix."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import mrcdist
from mrcdist.compute.detectors import ArrayFile
from mrcdist.errors import ArgumentError
from mrcdist.reduce_api import (
    CenterOfMass,
    FrameReduction,
    MeanPattern,
    RadialProfile,
    VirtualImage,
    reduce_frames,
)
from tests.support.mrc_files import mrc_bytes

FRAMES = np.random.default_rng(3).integers(0, 200, (12, 6, 8)).astype("uint16")
FRAMES[0] = 0


@pytest.fixture
def plan() -> mrcdist.Plan:
    fsspec.filesystem("memory").pipe("/requests/stack.mrc", mrc_bytes(FRAMES))
    return mrcdist.plan_mrc("memory://requests/stack.mrc", navigation_shape=(4, 3))


def reduce_quietly(data: Any, results: Any, **options: Any) -> Any:
    return reduce_frames(data, results, progress=False, **options)


def error_of(data: Any, results: Any, **options: Any) -> ArgumentError:
    with pytest.raises(ArgumentError) as error:
        reduce_quietly(data, results, **options)
    return error.value


def fraction_of_the_largest(frames: Any) -> Any:
    return [frame.max() / frame.sum() if frame.any() else 0 for frame in frames]


def test_function_results_that_the_dtype_cannot_hold_are_refused(plan: mrcdist.Plan) -> None:
    error = error_of(plan, {"fraction": fraction_of_the_largest})
    assert error.code == "function-invalid"
    assert "float64" in str(error)
    assert "dtype=" in error.remedy
    found = reduce_quietly(
        plan, {"fraction": FrameReduction(fraction_of_the_largest, dtype="float32")}
    )
    np.testing.assert_allclose(
        found["fraction"].values.ravel(), fraction_of_the_largest(FRAMES), 1e-6
    )


def test_integer_results_are_converted_to_another_dtype_only_if_they_fit(
    plan: mrcdist.Plan,
) -> None:
    def count(frames: Any) -> Any:
        return (frames > 0).sum(axis=(1, 2))

    found = reduce_quietly(plan, {"count": FrameReduction(count, dtype="uint8")})
    np.testing.assert_array_equal(found["count"].values.ravel(), count(FRAMES))
    sums = FrameReduction(lambda frames: frames.sum(axis=(1, 2)), dtype="uint8")
    assert error_of(plan, {"sums": sums}).code == "function-invalid"


@pytest.mark.parametrize("form", ["plan", "dict"])
def test_options_without_effect_are_refused(plan: mrcdist.Plan, form: str) -> None:
    data = plan if form == "plan" else {"data": plan.to_dask()}
    error = error_of(data, {"mean": MeanPattern()}, navigation_shape=(3, 4), regoin=[0])
    assert (error.code, error.argument) == ("options-invalid", "navigation_shape")
    assert "regoin" in str(error)


@pytest.mark.parametrize(
    ("results", "remedy"),
    [
        ({"v": "bf"}, "VirtualImage('bf')"),
        ({"v": VirtualImage}, "VirtualImage()"),
        ({"v": None}, "MeanPattern()"),
        (MeanPattern(), "dict"),
        (["bf"], "dict"),
    ],
)
def test_invalid_results_are_refused(plan: mrcdist.Plan, results: Any, remedy: str) -> None:
    error = error_of(plan, results)
    assert (error.code, error.argument) == ("results-invalid", "results")
    assert remedy in error.remedy


@pytest.mark.parametrize("kind", [VirtualImage, CenterOfMass])
@pytest.mark.parametrize(
    ("detector", "message"),
    [
        ([[1, 2], [3, 4]], r"\(2, 2\)"),
        ([[1, 2], [3]], "inhomogeneous"),
        (None, "dtype|shape"),
        (3.0, "shape"),
    ],
)
def test_invalid_detectors_are_refused(
    plan: mrcdist.Plan, kind: Any, detector: Any, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message) as error:
        reduce_quietly(plan, {"v": kind(detector)})
    assert (error.value.code, error.value.argument) == ("detector-invalid", "detector")


def test_detector_can_be_a_list_of_weights(plan: mrcdist.Plan) -> None:
    weights = np.arange(48).reshape(6, 8)
    found = reduce_quietly(plan, {"v": VirtualImage(weights.tolist())})
    np.testing.assert_array_equal(
        found["v"].values.ravel(), (FRAMES * weights).sum(axis=(1, 2), dtype=np.int64)
    )


def test_center_must_be_two_finite_numbers(plan: mrcdist.Plan) -> None:
    found = reduce_quietly(
        plan, {"a": RadialProfile(np.array([2.0, 3.0])), "b": RadialProfile((2.0, 3.0))}
    )
    np.testing.assert_array_equal(found["a"], found["b"])
    for center in ((1.0, np.nan), (1.0,), (1, 2, 3)):
        assert error_of(plan, {"p": RadialProfile(center)}).argument == "center"


@pytest.mark.parametrize("region", [[], np.zeros((3, 4), bool)], ids=["list", "mask"])
def test_empty_region_is_refused(plan: mrcdist.Plan, region: Any) -> None:
    error = error_of(plan, {"mean": MeanPattern()}, region=region)
    assert error.argument == "region"
    assert "selects nothing" in str(error)


@pytest.mark.parametrize(
    "limits",
    [{"frames": slice(5, 5)}, {"frames": [99]}, {"frames": slice(3), "region": [1]}],
    ids=["nothing", "outside", "with a region"],
)
def test_invalid_frames_are_refused(plan: mrcdist.Plan, limits: dict[str, Any]) -> None:
    error = error_of(plan, {"mean": MeanPattern()}, **limits)
    assert (error.code, error.argument) == ("frames-invalid", "frames")


def test_detector_and_region_files_without_an_array_are_refused(
    plan: mrcdist.Plan, tmp_path: Path
) -> None:
    archive = tmp_path / "mask.npy"
    with archive.open("wb") as file:
        np.savez(file, np.ones((6, 8)))
    (folder := tmp_path / "folder.npy").mkdir()
    for name in (archive, tmp_path / "none.npy", folder):
        error = error_of(plan, {"bf": VirtualImage(str(name))})
        assert (error.code, error.argument) == ("detector-invalid", "detector")
        assert error.problem == f"`detector={name}` cannot be read"
        error = error_of(plan, {"mean": MeanPattern()}, region=ArrayFile(str(name)))
        assert (error.code, error.argument) == ("frames-invalid", "region")
        assert error.problem == f"`region={name}` cannot be read"
        spelling = "" if name == archive else "check the spelling, or "
        remedy = f"{spelling}pass a file written by numpy.save, with a mask over the scan"
        assert error.remedy == remedy


def test_error_for_a_region_outside_the_scan_has_region_as_argument(plan: mrcdist.Plan) -> None:
    assert error_of(plan, {"mean": MeanPattern()}, region=[99]).argument == "region"


def test_parent_of_the_resume_folder_must_exist(plan: mrcdist.Plan, tmp_path: Path) -> None:
    error = error_of(plan, {"mean": MeanPattern()}, resume=tmp_path / "none" / "a" / "b")
    assert (error.code, error.argument) == ("destination-invalid", "resume")
    assert str(tmp_path / "none" / "a") in error.cause


def test_existing_file_is_refused_as_resume_folder(plan: mrcdist.Plan, tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("a file")
    error = error_of(plan, {"mean": MeanPattern()}, resume=tmp_path / "parts")
    assert error.argument == "resume"
    assert "--" not in str(error)


@pytest.mark.usefixtures("plan")
def test_functions_are_not_called_after_one_has_raised() -> None:
    running = []

    def failing(frames: Any) -> Any:
        running.append(1)
        time.sleep(0.1 if frames[0].any() else 0.05)
        if not frames[0].any():
            raise ValueError("mine")
        running.append(-1)
        return frames.sum((1, 2))

    blocks = mrcdist.plan_mrc(
        "memory://requests/stack.mrc", navigation_shape=(4, 3), chunks=(1, 1, -1, -1)
    )
    with pytest.raises(ValueError, match=r"^mine"):
        reduce_quietly(blocks, {"sum": FrameReduction(failing, (), "f8")})
    running_at_return = list(running)
    time.sleep(0.3)
    assert running == running_at_return
