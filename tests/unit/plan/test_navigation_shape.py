"""Guess that a long stack is a scan, and the suggestion that commands print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import mrcdist
from mrcdist.cli import main
from mrcdist.format.axis import Axis
from mrcdist.plan.navigation_shape import guess_scan
from tests.support.mrc_files import mrc_bytes


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
def test_guess_is_as_square_as_possible(n_frames: int, side: int, shape: tuple[int, int]) -> None:
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
def test_other_stacks_are_not_taken_for_scans(n_frames: int, side: int, name: str) -> None:
    assert guess(n_frames, side, name) is None


@pytest.fixture
def long_movie(tmp_path: Path) -> Path:
    """Write camera frames with the space group of a volume."""
    path = tmp_path / "long.mrc"
    path.write_bytes(mrc_bytes(np.zeros((1600, 8, 8), np.uint16), ispg=1, cell=(8, 8, 1600)))
    return path


QUESTION = "1600 frames of 8 × 8: 40 × 40? navigation_shape=(40, 40), or --navigation-shape 40,40"


@pytest.mark.parametrize("command", ["info", "explain", "preview"])
def test_commands_suggest_the_shape(long_movie: Path, tmp_path: Path, command: str) -> None:
    output = ["-o", str(tmp_path / "look.png")] if command == "preview" else []
    result = CliRunner().invoke(main, [command, str(long_movie), *output])
    assert result.exit_code == 0, result.output
    assert QUESTION in result.stdout
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
    assert QUESTION in str(plan)
