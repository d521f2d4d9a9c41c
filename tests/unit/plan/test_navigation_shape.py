"""The requested shape of a scan, and the suggestion of one for a long stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import mrcdist
from mrcdist.cli import main
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.plan.navigation_shape import RequestedShape, guess_scan
from mrcdist.plan.truncation import MissingFrames
from tests.support.mrc_files import mrc_bytes


@pytest.mark.parametrize(
    ("lengths", "n_frames", "shape"),
    [
        ((4, 6), 24, (6, 4)),
        ([4, -1], 24, (6, 4)),
        (np.array([1, 24]), 24, (24,)),
        ((1, 1), 1, (1,)),
    ],
)
def test_requested_shape_is_returned_in_array_order(
    lengths: Any, n_frames: int, shape: tuple[int, ...]
) -> None:
    requested = RequestedShape.of(lengths)
    assert requested is not None
    assert requested.resolve(MissingFrames(n_frames, n_frames)) == shape
    assert (requested.n_points is None) == (-1 in lengths)
    assert requested.min_frames == (4 if -1 in lengths else None)


@pytest.mark.parametrize(
    ("announced", "allowed", "shape"),
    [(22, True, (5, 4)), (22, False, None), (24, True, (6, 4))],
)
def test_remaining_length_is_that_of_the_complete_frames_only_if_needed(
    announced: int, allowed: bool, shape: tuple[int, ...] | None
) -> None:
    requested = RequestedShape.of((4, -1))
    assert requested is not None
    frames = MissingFrames(announced=announced, present=20, allowed=allowed)
    if shape is not None:
        assert requested.resolve(frames) == shape
        return
    with pytest.raises(ArgumentError, match="22 frames are not divisible by 4"):
        requested.resolve(frames)


@pytest.mark.parametrize("shape", [(), (0,), (-1, -1), (2.5,), "34", 24, ("a",), (1e400,)])
def test_invalid_shape_is_refused_before_the_file_is_opened(shape: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        mrcdist.plan_mrc("s3://no-such-bucket/a.mrc", navigation_shape=shape)
    assert caught.value.code == "navigation-shape-invalid"


def guess(n_frames: int, side: int, name: str = "z") -> tuple[int, int] | None:
    axes = [Axis(name, n_frames, navigate=True)]
    axes += [Axis(axis, side, navigate=False) for axis in "yx"]
    return guess_scan(axes)


@pytest.mark.parametrize(
    ("n_frames", "side", "shape"),
    [
        (65536, 128, (256, 256)),
        (32768, 128, (128, 256)),
        (1024, 256, (32, 32)),
        (6000, 64, (75, 80)),
    ],
)
def test_guessed_navigation_shape_is_as_square_as_possible(
    n_frames: int, side: int, shape: tuple[int, int]
) -> None:
    assert guess(n_frames, side) == shape
    assert guess(n_frames, side, "time") == shape


@pytest.mark.parametrize(
    ("n_frames", "side", "name"),
    [
        (1000, 64, "z"),  # few
        (4096, 2048, "z"),  # a tomogram, or a movie of large frames
        (4099, 64, "z"),  # a prime number: no rectangle
        (4096, 64, "tilt"),
        (4096, 64, "x"),  # a line scan
        (4096, 64, "scan_x"),  # as requested
    ],
)
def test_no_navigation_shape_is_guessed_for_stacks_that_are_not_scans(
    n_frames: int, side: int, name: str
) -> None:
    assert guess(n_frames, side, name) is None


@pytest.fixture
def long_movie(tmp_path: Path) -> Path:
    """Write camera frames with the space group of a volume."""
    path = tmp_path / "long.mrc"
    path.write_bytes(mrc_bytes(np.zeros((1600, 8, 8), np.uint16), ispg=1, cell=(8, 8, 1600)))
    return path


QUESTION = "1600 frames of 8 × 8: 40 × 40?"


@pytest.mark.parametrize("command", ["info", "explain", "preview"])
def test_commands_suggest_the_shape(long_movie: Path, tmp_path: Path, command: str) -> None:
    output = ["-o", str(tmp_path / "look.png")] if command == "preview" else []
    result = CliRunner().invoke(main, [command, str(long_movie), *output])
    assert result.exit_code == 0, result.output
    assert f"{QUESTION} `--navigation-shape 40,40`" in result.stdout
    with_shape = CliRunner().invoke(
        main, [command, str(long_movie), "--navigation-shape", "40,40", *output]
    )
    assert "--navigation-shape" not in with_shape.output


def test_preview_of_a_long_stack_shows_images(long_movie: Path, tmp_path: Path) -> None:
    """Planes across 1,600 sections of 8 rows would be lines."""
    result = CliRunner().invoke(
        main, ["preview", str(long_movie), "-o", str(tmp_path / "look.png")]
    )
    assert result.stdout.count("  panel    z ") == 12


def test_printed_plan_is_its_report(long_movie: Path) -> None:
    plan = mrcdist.plan_mrc(long_movie)
    assert str(plan) == str(plan.explain())
    assert f"{QUESTION} `navigation_shape=(40, 40)`" in str(plan)
