"""Results of a pass over the frames, compared with numpy, without a cluster."""

from __future__ import annotations

import dataclasses
import itertools
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mrcdist
from mrcdist.batch.run_job import Summary
from mrcdist.compute import schedule
from mrcdist.compute.bright_disk import SAMPLED_FRAMES, find_disk, sample_tasks
from mrcdist.compute.detectors import (
    ArrayFile,
    AutoDisk,
    Mask,
    Ring,
    WholeFrame,
    adf_ring,
    parse_detector,
)
from mrcdist.compute.functions import FrameReduction
from mrcdist.compute.one_pass import Finished, InMemory, OnePass
from mrcdist.compute.quantities import (
    CenterOfMass,
    MaximumPattern,
    MeanPattern,
    RadialProfile,
    StandardDeviation,
    SumPattern,
    VirtualImage,
)
from mrcdist.compute.reductions import FrameSum
from mrcdist.compute.results import Dataset, Result
from mrcdist.compute.schedule import block_frames, most_tasks, schedule_pass
from mrcdist.compute.tasks import Work, compute, join, merge_ledgers, total
from mrcdist.errors import ArgumentError
from mrcdist.format.axis import Axis
from mrcdist.plan.chunks import block_boxes, plan_chunks
from mrcdist.stats import ReadStats
from tests.support.detectors import detectors, whole_weights
from tests.support.examples import examples
from tests.support.mrc_files import header_bytes, mrc_bytes

INTEGERS = ["int8", "uint8", "int16", "uint16"]


class TestParseDetector:
    @pytest.mark.parametrize(
        ("text", "detector"),
        [
            ("bf", AutoDisk("bf")),
            ("adf", AutoDisk("adf")),
            ("all", WholeFrame()),
            ("circle:3,4.5,2", Ring(3, 4.5, 0, 2)),
            ("annulus:-1, 4,2,6.5", Ring(-1, 4, 2, 6.5)),
            ("masks/half.npy", ArrayFile("masks/half.npy")),
            ("https://host/a.npy?sig=1", ArrayFile("https://host/a.npy?sig=1")),
        ],
    )
    def test_detector_is_parsed_from_text(self, text, detector):
        assert parse_detector(text) == detector

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "df",
            "circle",
            "circle:1,2",
            "circle:1,2,3,4",
            "circle:1,2,x",
            "circle:1,2,0",
            "circle:1,2,-3",
            "circle:1,nan,3",
            "annulus:1,2,3",
            "annulus:1,2,4,3",
            "annulus:1,2,-1,3",
            "square:1,2,3",
        ],
    )
    def test_error_for_an_invalid_detector_has_the_syntax(self, text):
        with pytest.raises(ArgumentError, match=r"annulus:CY,CX,R1,R2"):
            parse_detector(text)

    def test_radius_is_refused_unless_the_bright_disk_is_detected(self):
        assert parse_detector("adf", 3.0) == AutoDisk("adf", 3.0)
        for detector, radius in (("circle:0,0,5", 3.0), ("all", 3.0), ("bf", 0.0)):
            with pytest.raises(ArgumentError, match=f"radius={radius:g}"):
                parse_detector(detector, radius)


shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))
# Multiples of 1/64, so that squares and their sums, and thus pixels on a circle, are exact.
coordinates = st.integers(-3 * 64, 12 * 64).map(lambda n: n / 64)
lengths = st.integers(0, 12 * 64).map(lambda n: n / 64)


class TestDetectors:
    @given(shapes, coordinates, coordinates, lengths, lengths.filter(bool))
    def test_ring_contains_the_pixels_between_two_distances(self, shape, cy, cx, inner, wide):
        ring = Ring(cy, cx, inner, inner + wide)
        y, x = np.indices(shape)
        distance = (y - cy) ** 2 + (x - cx) ** 2
        inside = (ring.inner**2 <= distance) & (distance <= ring.outer**2)
        if not inside.any():
            with pytest.raises(ArgumentError, match="no pixel is inside"):
                ring.window(shape)
            return
        rows, columns = ring.window(shape)
        drawn = np.zeros(shape)
        drawn[rows.start : rows.stop, columns.start : columns.stop] = ring.weights(rows, columns)
        np.testing.assert_array_equal(drawn, inside)
        part = ring.weights(rows[1:], columns[:1])
        np.testing.assert_array_equal(part, inside[rows[1:], columns.start, None])

    def test_pixels_at_the_radii_belong_to_a_ring(self):
        assert Ring(2, 2, 0, 1).weights(range(5), range(5)).sum() == 5
        assert Ring(2, 2, 1, 2).weights(range(5), range(5)).sum() == 12

    @given(shapes.flatmap(lambda s: hnp.arrays("int8", s, elements=st.integers(-2, 2))))
    def test_cropping_a_mask_keeps_its_weights(self, values):
        assume(values.any())
        mask = Mask.of(values, values.shape)
        rows, columns = mask.window(values.shape)
        drawn = np.zeros(values.shape)
        drawn[rows.start : rows.stop, columns.start : columns.stop] = mask.weights(rows, columns)
        np.testing.assert_array_equal(drawn, values)
        assert drawn[rows.start].any()
        assert drawn[:, columns.stop - 1].any()
        assert mask.is_nonnegative == (values.min() >= 0)

    @pytest.mark.parametrize(
        ("mask", "cause"),
        [
            (np.ones((3, 4)), r"shape is \(3, 4\)"),
            (np.zeros((4, 3), bool), "all its pixels are 0"),
            (np.full((4, 3), np.nan), "NaN or infinite"),
            (np.full((4, 3), "x"), "dtype"),
            (np.ones((4, 3), complex), "dtype"),
        ],
    )
    def test_error_for_an_invalid_mask_has_the_cause(self, mask, cause):
        with pytest.raises(ArgumentError, match=cause):
            Mask.of(mask, (4, 3))

    def test_digest_of_a_mask_depends_on_values_and_positions(self):
        values = np.eye(4)
        assert Mask.of(values, (4, 4)).digest == Mask.of(values.copy(), (4, 4)).digest
        assert Mask.of(values, (4, 4)).digest != Mask.of(values[::-1], (4, 4)).digest
        # The same values elsewhere in the frame are another mask.
        assert Mask.of(np.eye(4, k=1), (4, 4)).digest != Mask.of(np.eye(4, k=-1), (4, 4)).digest

    @pytest.mark.parametrize(
        ("weight", "exact"), [(1, True), (127, True), (128, False), (0.5, False)]
    )
    def test_small_integer_weights_keep_sums_exact(self, weight, exact):
        assert Mask.of(np.full((2, 2), weight), (2, 2)).has_integer_weights is exact

    def test_rings_that_reach_outside_the_frame_are_detected(self):
        assert not Ring(5, 5, 0, 5.5).reaches_outside((11, 11))
        assert Ring(5, 5, 0, 5.6).reaches_outside((11, 11))
        assert Ring(5, 4, 0, 5).reaches_outside((11, 11))


def disk_pattern(shape, cy, cx, radius, *, bright=100.0, background=0.0):
    """Return a disk with an antialiased edge."""
    y, x = np.indices(shape)
    return background + bright * np.clip(radius + 0.5 - np.hypot(y - cy, x - cx), 0, 1)


class TestBrightDisk:
    @given(
        st.floats(20, 40), st.floats(20, 30), st.floats(4, 15), st.sampled_from([0.0, 50.0, 1000.0])
    )
    def test_disk_is_found_to_half_a_pixel_on_any_background(self, cy, cx, radius, background):
        disk = find_disk(disk_pattern((64, 50), cy, cx, radius, background=background))
        assert (disk.cy, disk.cx) == (pytest.approx(cy, abs=0.5), pytest.approx(cx, abs=0.5))
        assert (disk.inner, disk.outer) == (0, pytest.approx(radius, abs=0.5))

    def test_hot_pixels_and_dimmer_disks_are_ignored(self):
        pattern = disk_pattern((64, 50), 30, 25, 8)
        alone = find_disk(pattern)
        pattern += 0.3 * disk_pattern((64, 50), 55, 40, 6)
        pattern[3, 4] = 1e6
        assert find_disk(pattern) == alone

    def test_requested_radius_overrides_the_detected_one(self):
        disk = find_disk(disk_pattern((64, 50), 30, 25, 8))
        found = AutoDisk("bf", 11.0).located(disk, (64, 50))
        assert (found.outer, found.cy) == (11.0, pytest.approx(30, abs=0.01))

    @pytest.mark.parametrize(
        "pattern",
        [
            disk_pattern((64, 50), 20, 25, 8) + disk_pattern((64, 50), 45, 25, 8),
            disk_pattern((64, 50), 30, 25, 18) - disk_pattern((64, 50), 30, 25, 14),
            np.ones((64, 50)),
            np.zeros((64, 50)),
            np.full((64, 50), np.nan),
        ],
        ids=["two disks", "ring", "uniform", "empty", "NaN"],
    )
    def test_pattern_without_a_single_disk_is_an_error(self, pattern):
        with pytest.raises(ArgumentError, match="detector='circle") as error:
            find_disk(pattern)
        assert error.value.argument == "detector"

    def test_dark_field_extends_from_the_disk_to_the_nearest_edge(self):
        assert adf_ring(Ring(30, 20, 0, 10), (64, 50)) == Ring(30, 20, 12, 20.5)
        assert adf_ring(Ring(30, 35, 0, 10), (64, 50)) == Ring(30, 35, 12, 14.5)
        with pytest.raises(ArgumentError, match="no space"):
            adf_ring(Ring(30, 20, 0, 18), (64, 50))

    @given(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    def test_sampled_frames_are_spread_evenly_over_the_scan(self, navigation):
        tasks = sample_tasks(tuple(navigation), range(math.prod(navigation)))
        blocks = [block for task in tasks for block in task]
        count = min(SAMPLED_FRAMES, math.prod(navigation))
        at = [np.ravel_multi_index([start for start, _ in block], navigation) for block in blocks]
        assert {block_frames(block) for block in blocks} == {1}
        assert len(set(at)) == len(blocks) == count
        step = math.prod(navigation) / count
        assert all(abs(position - (i + 0.5) * step) < 1 for i, position in enumerate(at))


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


block_lengths = st.lists(
    st.lists(st.integers(1, 4), min_size=1, max_size=6).map(tuple), min_size=1, max_size=3
)


class TestSchedule:
    @given(block_lengths)
    def test_blocks_cover_every_scan_position_once(self, navigation):
        covered = np.zeros([sum(axis) for axis in navigation], int)
        for block in block_boxes(navigation):
            covered[tuple(slice(*span) for span in block)] += 1
        assert (covered == 1).all()

    @given(block_lengths, st.integers(1, 10**9), st.integers(0, 10**9))
    def test_parts_contain_all_blocks_in_order(self, navigation, frame_bytes, sum_bytes):
        blocks = list(block_boxes(navigation))
        parts = schedule_pass(navigation, frame_bytes=frame_bytes, sum_bytes=sum_bytes)
        assert [block for part in parts for task in part for block in task] == blocks
        assert all(part and all(part) for part in parts)

    def test_numbers_of_parts_and_tasks_are_bounded_for_the_largest_files(self):
        navigation = [(1,) * 400, (4,) * 400]
        maps = schedule_pass(navigation, frame_bytes=2**25, sum_bytes=0)
        assert (len(maps), sum(map(len, maps))) == (schedule.MAX_PARTS, schedule.MAX_TASKS)
        sums = schedule_pass(navigation, frame_bytes=2**25, sum_bytes=2**19)
        assert (len(sums), sum(map(len, sums))) == (schedule.MAX_SUM_PARTS, schedule.MAX_TASKS)

    def test_short_jobs_have_a_few_tasks_per_thread_and_long_jobs_tasks_of_bounded_size(self):
        assert most_tasks(2**30, threads=2) == 8
        assert most_tasks(2**42, threads=2) == 2**42 // 2**32
        assert most_tasks(2**50, threads=2) == most_tasks(2**60) == 4096
        assert most_tasks(2**30) == schedule.MAX_TASKS

    def test_tasks_sum_large_frames_over_many_blocks(self):
        parts = schedule_pass([(4,) * 1000], frame_bytes=2**25, sum_bytes=2**27)
        assert {len(task) for part in parts for task in part} == {8}
        few = schedule_pass([(4,) * 100], frame_bytes=2**25, sum_bytes=2**27)
        assert {len(task) for part in few for task in part} == {1}


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
        assert got.notes == ("positions without intensity on the detector, which are NaN: 1",)

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
        assert image.notes == ("positions without a frame, which are 0: 2",)

    def test_positions_with_frames_are_taken_from_the_frame_table(self, memory_file):
        plan = self.plan(np.ones((2, 3, 4, 4), "uint16"), (1, 3, -1, -1), memory_file)
        table = np.array([[5, -1, 3], [-1, 0, 9]], np.int32)
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
            dataset_of(plan, layout=layout, chunks=plan_chunks(layout, None, 2**27))

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


class TestLedger:
    def test_read_statistics_are_merged_per_process_and_summed_over_processes(self):
        start = ReadStats(blocks=7, requests=2)
        early = {
            "a": (start, start + ReadStats(blocks=1, requests=5)),
            "b": (ReadStats(), ReadStats(blocks=2)),
        }
        late = {"a": (early["a"][1], start + ReadStats(blocks=3, requests=5))}
        for ledgers in itertools.permutations((early, late, {})):
            assert total(merge_ledgers(ledgers)) == ReadStats(blocks=5, requests=5)

    def test_each_job_counts_the_bytes_that_its_tasks_read(self, memory_file):
        frames = np.ones((6, 4, 4), "uint16")
        plan = mrcdist.plan_mrc(memory_file(mrc_bytes(frames)), chunks=(1, -1, -1))
        parts = schedule_pass(plan.chunks[:1], frame_bytes=32, sum_bytes=0)
        tasks = [task for part in parts for task in part]
        work = Work(plan.source, (FrameSum((4, 4)),))
        for _ in range(2):
            piece = join([compute(task, work) for task in tasks], work)
            assert total(piece.ledger).blocks == 6
            assert total(piece.ledger).bytes_fetched == frames.nbytes


@pytest.mark.parametrize(
    ("mapped", "fetched", "lines"),
    [
        (
            2**20,
            0,
            ["1.00 MiB of local files mapped, of which the pages with these pixels are read"],
        ),
        (0, 2**10, ["1.00 kiB fetched; 3 requests, 1 retries"]),
        (
            2**20,
            2**10,
            [
                "1.00 MiB of local files mapped, of which the pages with these pixels are read",
                "1.00 kiB fetched; 3 requests, 1 retries",
            ],
        ),
    ],
)
def test_summary_of_a_job_states_mapped_and_fetched_bytes(mapped, fetched, lines):
    read = ReadStats(blocks=1, requests=3, retries=1, bytes_fetched=fetched, bytes_mapped=mapped)
    summary = Summary(
        url="movie.mrc",
        outputs={"mean": (Path("out.npy"),)},
        done=Finished(
            results={"mean": Result("mean", np.zeros((4, 4), "float32"), ())},
            quantities={"mean": MeanPattern()},
            ledger={"worker": (ReadStats(), read)},
            pixel_bytes=2**10,
            seconds=1.0,
        ),
        parts=1,
        parts_kept=0,
        tasks=1,
        notes=(),
    )
    shown = [line[12:] for line in str(summary).splitlines() if line.startswith("  read ")]
    assert shown == lines
