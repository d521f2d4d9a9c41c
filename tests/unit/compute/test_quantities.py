"""Results of a pass over the frames, compared with numpy, without a cluster."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcdist
from mrcdist.compute.detectors import (
    WholeFrame,
)
from mrcdist.compute.functions import FrameReduction
from mrcdist.compute.one_pass import InMemory, OnePass
from mrcdist.compute.quantities import (
    CenterOfMass,
    MaximumPattern,
    MeanPattern,
    RadialProfile,
    StandardDeviation,
    SumPattern,
    VirtualImage,
)
from mrcdist.compute.results import Dataset
from mrcdist.compute.tasks import compute, join
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.plan.chunks import plan_chunks
from tests.support.detectors import detectors, whole_weights
from tests.support.examples import examples
from tests.support.mrc_files import header_bytes, mrc_bytes

INTEGERS = ["int8", "uint8", "int16", "uint16"]


def test_small_deviations_from_a_large_mean_are_exact(memory_file):
    frames = np.full((1000, 2, 2), 65534, "uint16")
    frames[::2, 0, 0] += 1
    plan = mrcdist.plan_mrc(memory_file(mrc_bytes(frames)))
    deviation = reduce_here(plan, StandardDeviation()).values
    assert deviation.tolist() == [[0.5, 0.0], [0.0, 0.0]]


def test_exception_of_a_function_gets_a_note_with_the_frames(memory_file):
    def failing(frames):
        raise ZeroDivisionError("mine")

    plan = mrcdist.plan_mrc(
        memory_file(mrc_bytes(np.ones((6, 2, 2), "uint16"))), chunks=(3, -1, -1)
    )
    with pytest.raises(ZeroDivisionError, match="mine") as error:
        reduce_here(plan, FrameReduction(failing))
    assert "3 frames: position (0,) (frame 0 of the file)" in error.value.__notes__[0]


def test_radial_profiles_are_centred_on_the_central_pixel(memory_file):
    frames = np.arange(2 * 6 * 5, dtype="int16").reshape(2, 6, 5)
    profiles = reduce_here(mrcdist.plan_mrc(memory_file(mrc_bytes(frames))), RadialProfile()).values
    assert profiles.shape == (2, 3)
    np.testing.assert_array_equal(profiles[:, 0], frames[:, 3, 2])
    assert np.isfinite(profiles).all()


def dataset_of(plan, **changes):
    """Return the data of a plan, with some parts replaced."""
    source_changes = {name: changes.pop(name) for name in ("layout", "table") if name in changes}
    source = dataclasses.replace(plan.source, **source_changes)
    return Dataset(source, **{"axes": plan.axes, "chunks": plan.chunks, **changes})


def reduce_here(plan, quantity, data=None, threads=0):
    """Compute a result as on a cluster, but in this process."""

    def compute_parts(work, parts, save):
        for number, part in parts.items():
            save(number, join([compute(task, work) for task in part], work).values)
        return {}

    one_pass = OnePass(data or dataset_of(plan), {"it": quantity}, threads=threads)
    return one_pass.run(lambda: nullcontext(compute_parts), InMemory(), patience=math.inf).results[
        "it"
    ]


def rows_spread(frames):
    return np.ptp(frames.astype("float64"), axis=-1)


@st.composite
def files(draw):
    navigation = tuple(draw(st.lists(st.integers(2, 5), min_size=1, max_size=3)))
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    dtype = draw(st.sampled_from(["int8", "int16", "uint16", "float32"]))
    numbers = draw(st.randoms(use_true_random=False))
    low = 0 if dtype == "uint16" else -100
    frames = np.array(
        [numbers.randint(low, 120) for _ in range(math.prod(navigation + shape))], dtype
    )
    chunks = (*(draw(st.integers(1, size)) for size in navigation), -1, -1)
    return frames.reshape(navigation + shape), chunks, draw(detectors(shape))


class TestQuantities:
    """Results computed from the bytes of a file, in this process."""

    @given(case=files())
    @examples(30)
    def test_virtual_image_equals_that_of_numpy(self, case, memory_file):
        frames, chunks, detector = case
        got = reduce_here(self.plan(frames, chunks, memory_file), VirtualImage(detector))
        weights = whole_weights(detector, frames.shape[-2:])
        signed = frames.dtype.kind == "i" or not detector.is_nonnegative
        exact = "float64" if frames.dtype.kind == "f" else "int64" if signed else "uint64"
        assert got.values.dtype == exact
        np.testing.assert_array_equal(got.values, (frames * weights).sum(axis=(-2, -1)))

    @given(case=files())
    @examples(30)
    def test_mean_equals_that_of_numpy(self, case, memory_file):
        frames, chunks, _ = case
        got = reduce_here(self.plan(frames, chunks, memory_file), MeanPattern())
        np.testing.assert_array_equal(
            got.values, frames.mean(axis=tuple(range(frames.ndim - 2)), dtype="float64")
        )

    @given(case=files())
    @examples(30)
    def test_sum_maximum_and_deviation_equal_those_of_numpy(self, case, memory_file):
        frames, chunks, _ = case
        plan = self.plan(frames, chunks, memory_file)
        flat = frames.reshape(-1, *frames.shape[-2:])
        wide = {"u": "uint64", "i": "int64", "f": "float64"}[frames.dtype.kind]
        total = reduce_here(plan, SumPattern()).values
        assert total.dtype == wide
        np.testing.assert_array_equal(total, flat.sum(axis=0, dtype=wide))
        largest = reduce_here(plan, MaximumPattern()).values
        assert largest.dtype == frames.dtype
        np.testing.assert_array_equal(largest, flat.max(axis=0))
        deviation = reduce_here(plan, StandardDeviation()).values
        expected = flat.std(axis=0, dtype="float64")
        np.testing.assert_allclose(deviation, expected, rtol=1e-9, atol=1e-6)

    @given(case=files(), data=st.data())
    @examples(30)
    def test_radial_profiles_equal_those_of_numpy(self, case, data, memory_file):
        frames, chunks, _ = case
        rows, columns = frames.shape[-2:]
        cy, cx = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
        profile = RadialProfile((cy, cx), radius=data.draw(st.integers(0, 6)))
        got = reduce_here(self.plan(frames, chunks, memory_file), profile)
        y, x = np.indices((rows, columns))
        ring = np.floor(np.hypot(y - cy, x - cx) + 0.5)
        for r in range(got.values.shape[-1]):
            expected = frames[..., ring == r].mean(axis=-1, dtype="float64")
            np.testing.assert_allclose(got.values[..., r], expected, rtol=1e-12)

    @given(case=files())
    @examples(30)
    def test_functions_receive_each_whole_frame_once(self, case, memory_file):
        frames, chunks, _ = case
        spread = FrameReduction(rows_spread, shape=(frames.shape[-2],))
        got = reduce_here(self.plan(frames, chunks, memory_file), spread)
        expected = np.ptp(frames.astype("float64"), axis=-1)
        np.testing.assert_array_equal(got.values, expected)

    @given(case=files())
    @examples(30)
    def test_centre_of_mass_equals_that_of_numpy(self, case, memory_file):
        frames, chunks, detector = case
        got = reduce_here(self.plan(frames, chunks, memory_file), CenterOfMass(detector))
        weighted = frames * whole_weights(detector, frames.shape[-2:])
        mass = weighted.sum(axis=(-2, -1))
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = [
                (weighted * at).sum(axis=(-2, -1)) / mass for at in np.indices(frames.shape[-2:])
            ]
        np.testing.assert_array_equal(got.values, np.where(mass == 0, np.nan, expected))
        assert got.units == ("px", "px")
        warned = any("without intensity" in note for note in got.notes)
        assert warned == bool((mass == 0).any())

    @given(case=files())
    @examples(30)
    def test_tasks_with_several_blocks_give_the_same_results(self, case, memory_file):
        frames, chunks, detector = case
        plan = self.plan(frames, chunks, memory_file)
        for quantity in (VirtualImage(detector), MeanPattern()):
            several = reduce_here(plan, quantity, threads=1)  # at most four tasks
            np.testing.assert_array_equal(several.values, reduce_here(plan, quantity).values)

    def plan(self, frames, chunks, memory_file):
        raw = mrc_bytes(frames.reshape(-1, *frames.shape[-2:]))
        navigation = frames.shape[:-2][::-1]
        return mrcdist.plan_mrc(memory_file(raw), navigation_shape=navigation, chunks=chunks)

    def test_centres_of_mass_are_in_the_units_of_the_axes(self, memory_file):
        frames = np.zeros((3, 4, 5), "uint16")
        frames[0, 1, 2] = frames[1, 3, 0] = 7
        plan = self.plan(frames, (1, -1, -1), memory_file)
        y = Axis("ky", 4, navigate=False, scale=0.5, offset=-1.0, units="nm^-1")
        x = Axis("kx", 5, navigate=False, scale=-2.0, offset=3.0, units="mrad")
        data = dataset_of(plan, axes=(plan.axes[0], y, x))
        got = reduce_here(plan, CenterOfMass(WholeFrame()), data)
        np.testing.assert_array_equal(got.values, [[-0.5, 0.5, np.nan], [-1.0, 3.0, np.nan]])
        assert (got.names, got.units) == (("y", "x"), ("nm^-1", "mrad"))
        assert got.notes == ("positions without intensity on the detector (set to NaN): 1",)

    @pytest.mark.filterwarnings("ignore::mrcdist.MrcdistWarning")
    def test_missing_frames_are_left_out_of_the_mean(self, memory_file):
        frames = np.arange(6 * 4, dtype="uint16").reshape(6, 2, 2)
        url = memory_file(mrc_bytes(frames)[: 1024 + 8 * 4 + 3])
        plan = mrcdist.plan_mrc(url, navigation_shape=(3, 2), allow_truncated=True)
        got = reduce_here(plan, MeanPattern())
        np.testing.assert_array_equal(got.values, frames[:4].mean(axis=0))
        assert "4 frames; 2 are missing" in got.notes[0]
        image = reduce_here(plan, VirtualImage(WholeFrame()))
        assert image.values.ravel()[4:].tolist() == [0, 0]
        assert image.notes == ("positions without a frame (set to 0): 2",)

    def test_positions_with_frames_are_taken_from_the_frame_table(self, memory_file):
        plan = self.plan(np.ones((2, 3, 4, 4), "uint16"), (1, 3, -1, -1), memory_file)
        table = np.array([[5, -1, 3], [6, 0, 9]], np.int32)
        assert dataset_of(plan, table=table).present.tolist() == [0, 2, 4]

    @pytest.mark.parametrize(
        ("changes", "cause"),
        [
            ({"navigation_shape": ()}, "single image"),
            ({"navigation_shape": (0,)}, "no frames"),
        ],
    )
    def test_data_without_frames_cannot_be_reduced(self, changes, cause, memory_file):
        plan = self.plan(np.ones((2, 4, 4), "uint16"), (1, -1, -1), memory_file)
        layout = dataclasses.replace(plan.layout, **changes)
        with pytest.raises(ArgumentError, match=cause):
            dataset_of(
                plan, layout=layout, chunks=plan_chunks(layout, None, 2**27, plan.source.limits)
            )

    def test_complex_and_colour_data_cannot_be_reduced(self, memory_file):
        frames = np.ones((2, 4, 4), "complex64")
        with pytest.raises(ArgumentError, match="complex") as error:
            dataset_of(mrcdist.plan_mrc(memory_file(mrc_bytes(frames))))
        assert error.value.argument == "data"
        raw = header_bytes(nx=4, ny=4, nz=2, mode=16) + bytes(2 * 4 * 4 * 3)
        with pytest.raises(ArgumentError, match="colours"):
            dataset_of(mrcdist.plan_mrc(memory_file(raw)))

    def test_chunks_that_split_frames_cannot_be_reduced(self, memory_file):
        with pytest.raises(ArgumentError, match="whole frames"):
            dataset_of(self.plan(np.ones((2, 4, 4), "uint16"), (1, 2, 4), memory_file))
