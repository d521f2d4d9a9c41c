"""The picture of a job that fills in while it runs."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcdist
from mrcdist import CenterOfMass, MeanPattern, StandardDeviation, VirtualImage
from mrcdist.batch.output import deflection, picture_so_far
from mrcdist.compute.one_pass import InMemory, OnePass
from mrcdist.compute.results import Dataset
from mrcdist.compute.submit import compute_in_threads
from mrcdist.plotting import symmetric_limits
from tests.support.mrc_files import mrc_bytes

FRAMES = np.random.default_rng(3).integers(0, 65536, (12, 6, 8), dtype="uint16")


def one_pass(memory_file: Any, wanted: Any) -> OnePass:
    url = memory_file(mrc_bytes(FRAMES))
    plan = mrcdist.plan_mrc(url, navigation_shape=(4, 3), chunks=(1, -1, -1, -1))
    return OnePass(Dataset(plan.source, plan.axes, plan.chunks), wanted)


def test_results_so_far_are_of_the_frames_that_were_read(memory_file: Any) -> None:
    the_pass = one_pass(
        memory_file,
        {
            "image": VirtualImage(),
            "com": CenterOfMass(),
            "mean": MeanPattern(),
            "std": StandardDeviation(),
        },
    )
    seen = []
    compute = partial(compute_in_threads, threads=1)
    the_pass.run(
        lambda: nullcontext(compute),
        InMemory(),
        on_save=lambda results: seen.append(results()),
        patience=np.inf,
    )
    for rows, found in enumerate(seen, 1):
        there, scan = FRAMES[: 4 * rows], FRAMES.reshape(3, 4, 6, 8)
        np.testing.assert_array_equal(found["image"].values[:rows], scan[:rows].sum((2, 3)))
        assert np.isnan(found["image"].values[rows:]).all()
        assert np.isnan(found["com"].values[:, rows:]).all()
        assert np.isfinite(found["com"].values[:, :rows]).all()
        np.testing.assert_array_equal(found["mean"].values, there.mean(axis=0))
        np.testing.assert_allclose(found["std"].values, there.std(axis=0), rtol=1e-12)
    assert len(seen) == 3


def test_picture_shows_all_images_computed_so_far(memory_file: Any, tmp_path: Path) -> None:
    wanted = {"image": VirtualImage(), "com": CenterOfMass(), "mean": MeanPattern()}
    the_pass = one_pass(memory_file, wanted)
    draw = picture_so_far(tmp_path / "so-far.png", interval=0)
    sizes = []

    def look(results: Any) -> None:
        draw(results)
        sizes.extend(path.stat().st_size for path in tmp_path.iterdir())

    compute = partial(compute_in_threads, threads=1)
    the_pass.run(lambda: nullcontext(compute), InMemory(), on_save=look, patience=np.inf)
    assert (tmp_path / "so-far.png").read_bytes().startswith(b"\x89PNG")
    assert len(sizes) == 3


def test_picture_of_a_running_job_is_not_drawn_before_its_time(tmp_path: Path) -> None:
    def results() -> Any:
        raise AssertionError("the results were requested")

    picture_so_far(tmp_path / "so-far.png")(results)
    assert not list(tmp_path.iterdir())


def test_deflection_is_relative_to_the_median_on_a_symmetric_scale():
    image = np.array([7.0, 7, 7, 9, 4, np.nan])
    shown, middle = deflection(image)
    assert middle == 7
    np.testing.assert_array_equal(shown, image - 7)
    low, high = symmetric_limits(shown)
    assert low == -high
    assert 2 < high <= 3


@pytest.mark.parametrize("image", [np.zeros(4), np.full(4, np.nan)])
def test_zero_deflection_has_a_nonempty_range(image):
    assert symmetric_limits(deflection(image)[0]) == (-1, 1)
