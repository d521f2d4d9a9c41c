"""Custom scans: frames are arranged by the list of scan points, and tasks stay small."""

from __future__ import annotations

import io
import pickle

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist import MrcdistWarning, SidecarError, plan_mrc, read_mrc, stats
from mrcdist.testing.acquisition import write_acquisition
from mrcdist.testing.movie import frame_index, movie_header
from tests.support.acquisitions import axis_names, frames_of, in_memory, url_of
from tests.support.examples import examples

FRAME = (3, 5)
GRID = (3, 4)
# (x, y) in arbitrary order. Some points, such as (1, 0) and (3, 2), are never visited.
ONCE = np.array([[2, 1], [0, 0], [0, 2], [1, 1], [3, 0], [0, 1], [2, 2], [2, 0]])


def custom(folder, points, **options):
    return write_acquisition(
        folder, scan_shape=GRID, frame_shape=FRAME, custom_points=np.asarray(points), **options
    )


def read(path, store, **options):
    [dataset] = read_mrc(url_of(path, store), **options)
    return dataset


def frame_at(points, shape=GRID):
    """Return the frame number at each point, or -1: (y, x), or (y, x, visit) if any has several."""
    visits = {}
    for frame, (x, y) in enumerate(np.asarray(points).tolist()):
        visits.setdefault((y, x), []).append(frame)
    most = max(map(len, visits.values()))
    table = np.full((*shape, most), -1)
    for point, frames in visits.items():
        table[point][: len(frames)] = frames
    return table[..., 0] if most == 1 else table


class TestOrder:
    @pytest.mark.parametrize("chunks", ["auto", (1, 2, -1, -1), (2, 3, 2, 2)])
    def test_frames_are_placed_at_the_points_of_the_list(self, tmp_path, store, chunks):
        written = custom(tmp_path, ONCE)
        for lazy in (True, False):
            dataset = read(written.movie, store, chunks=chunks, lazy=lazy)
            assert axis_names(dataset) == ["y", "x", "ky", "kx"]
            expected = frames_of(frame_at(ONCE), written)
            assert not expected[0, 1].any()
            np.testing.assert_array_equal(np.asarray(dataset["data"]), expected)

    def test_points_visited_more_than_once_add_a_repeat_axis(self, tmp_path, store):
        points = [*ONCE.tolist(), [0, 0], [2, 1], [0, 0]]
        written = custom(tmp_path, points)
        dataset = read(written.movie, store)
        assert axis_names(dataset) == ["y", "x", "repeat", "ky", "kx"]
        table = frame_at(points)
        assert table[0, 0].tolist() == [1, 8, 10]
        assert table[1, 2].tolist() == [0, 9, -1]
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(table, written))

    @examples(25)
    @given(
        points=st.lists(
            st.tuples(st.integers(0, GRID[1] - 1), st.integers(0, GRID[0] - 1)), min_size=1
        ),
        chunk=st.integers(1, 4),
    )
    def test_arbitrary_lists_and_chunks_give_the_expected_frames(
        self, tmp_path_factory, store, points, chunk
    ):
        written = custom(tmp_path_factory.mktemp("custom"), points)
        table = frame_at(points)
        data = read(written.movie, store, chunks=chunk)["data"]
        np.testing.assert_array_equal(data.compute(), frames_of(table, written))

    def test_grid_has_the_size_in_the_sidecar_not_that_of_the_points(self, tmp_path, store):
        written = custom(tmp_path, [[0, 0], [1, 0], [1, 1]])
        assert read(written.movie, store)["data"].shape == (*GRID, *FRAME)

    def test_grid_of_one_row_has_no_y_axis(self, tmp_path, store):
        points = [[3, 0], [0, 0]]
        written = write_acquisition(
            tmp_path, scan_shape=(1, 4), frame_shape=FRAME, custom_points=np.array(points)
        )
        dataset = read(written.movie, store)
        assert axis_names(dataset) == ["x", "ky", "kx"]
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of([1, -1, -1, 0], written))

    def test_navigation_shape_keeps_the_frames_in_recorded_order(self, tmp_path, store):
        written = custom(tmp_path, ONCE)
        dataset = read(written.movie, store, navigation_shape=(4, 2))
        np.testing.assert_array_equal(
            dataset["data"].compute(), frames_of(np.arange(8).reshape(2, 4), written)
        )
        # One axis is as long as x of the grid, but is a different axis.
        for axis, name in zip(dataset["axes"], ["scan_y", "scan_x"], strict=False):
            assert (axis["name"], axis["scale"], axis["units"]) == (name, 1.0, None)


class TestScanPoints:
    def test_point_outside_the_grid_is_an_error(self, tmp_path, store):
        written = custom(tmp_path, [[0, 0], [4, 1]])
        with pytest.raises(SidecarError, match="x = 4, y = 1"):
            read(written.movie, store)

    def test_error_for_a_missing_list_of_points_states_its_expected_name(self, tmp_path, store):
        written = custom(tmp_path, ONCE)
        written.scan_points.unlink()
        with pytest.raises(SidecarError, match=r"20260101_00001_scan_coordinates\.csv") as caught:
            read(written.movie, store)
        assert "scan_file" in caught.value.remedy

    def test_error_for_a_missing_list_of_points_names_all_files_looked_for(self, tmp_path, store):
        written = custom(tmp_path, ONCE, parts=2)
        written.scan_points.unlink()
        with pytest.raises(SidecarError) as caught:
            read(written.movie, store)
        assert "00001_0_scan_coordinates.csv, 20260101_00001_scan" in caught.value.cause
        renamed = written.movie.rename(tmp_path / "renamed.mrc")
        with pytest.raises(SidecarError) as caught:
            read(renamed, store, metadata_file=written.sidecar)
        assert "renamed" not in caught.value.cause
        assert "only looked for next to a file called *_movie.mrc" in caught.value.cause

    @pytest.mark.usefixtures("unlistable")
    def test_list_of_points_is_found_if_the_folder_cannot_be_listed(self, tmp_path, store):
        written = custom(tmp_path, ONCE)
        data = read(written.movie, store)["data"]
        np.testing.assert_array_equal(data.compute(), frames_of(frame_at(ONCE), written))

    def test_column_names_without_x_and_y_cause_a_warning(self, tmp_path, store):
        written = custom(tmp_path, ONCE)
        written.scan_points.write_bytes(b"first,second\n" + written.scan_points.read_bytes())
        with pytest.warns(MrcdistWarning, match="'first,second', are read as x, y"):
            data = read(written.movie, store)["data"]
        np.testing.assert_array_equal(data.compute(), frames_of(frame_at(ONCE), written))

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"navigation_shape": (8,)}, "navigation_shape"),
            ({"metadata_file": None}, "no sidecar"),
        ],
    )
    def test_scan_file_that_is_not_used_causes_a_warning(self, tmp_path, store, options, reason):
        written = custom(tmp_path, ONCE)
        with pytest.warns(MrcdistWarning, match=f"`scan_file` is not used: .*{reason}"):
            dataset = read(written.movie, store, scan_file=tmp_path / "nowhere.csv", **options)
        assert dataset["data"].shape == (8, *FRAME)

    def test_scan_file_causes_a_warning_if_the_requested_shape_replaces_an_invalid_scan(
        self, tmp_path, store
    ):
        written = custom(tmp_path, ONCE, sidecar={"Scan - Enable": "Maybe"})
        options = {"scan_file": tmp_path / "nowhere.csv", "navigation_shape": (8,)}
        with pytest.warns(MrcdistWarning, match="`scan_file` is not used"):
            assert read(written.movie, store, **options)["data"].shape == (8, *FRAME)

    @pytest.mark.parametrize(("scan", "kind"), [(True, "raster"), (False, "movie")])
    def test_scan_file_is_ignored_with_a_warning_without_a_custom_scan(
        self, tmp_path, store, scan, kind
    ):
        written = write_acquisition(tmp_path, scan_shape=GRID, frame_shape=FRAME, scan=scan)
        with pytest.warns(MrcdistWarning, match=f"`scan_file` is not used: .* {kind}"):
            data = read(written.movie, store, scan_file=tmp_path / "nowhere.csv")["data"]
        np.testing.assert_array_equal(
            data.compute().reshape(12, *FRAME), frames_of(range(12), written)
        )

    def test_scan_file_none_disables_the_list_of_points(self, tmp_path, store):
        written = custom(tmp_path, ONCE)
        with pytest.raises(SidecarError, match="scan_file=None"):
            read(written.movie, store, scan_file=None)

    @pytest.mark.parametrize("kind", ["path", "str", "url", "binary", "text"])
    def test_scan_file_can_be_a_path_url_or_stream(self, tmp_path, store, kind):
        written = custom(tmp_path, ONCE)
        points = written.scan_points.rename(tmp_path / "elsewhere.csv")
        scan_file = {
            "path": points,
            "str": str(points),
            "url": f"{in_memory(tmp_path)}/elsewhere.csv",
            "binary": io.BytesIO(points.read_bytes()),
            "text": io.StringIO(points.read_text()),
        }[kind]
        data = read(written.movie, store, scan_file=scan_file)["data"]
        np.testing.assert_array_equal(data.compute(), frames_of(frame_at(ONCE), written))

    def test_error_for_a_list_of_another_length_states_both_numbers(self, tmp_path, store):
        written = custom(tmp_path, ONCE, present=6)
        with pytest.raises(SidecarError, match="8 points, but the movie has 6 frames") as caught:
            read(written.movie, store)
        assert "allow_truncated=True" in caught.value.remedy
        longer = custom(tmp_path / "longer", ONCE, present=9)
        with pytest.raises(SidecarError, match="8 points, but the movie has 9 frames"):
            read(longer.movie, store, allow_truncated=True)

    def test_points_not_reached_by_an_aborted_scan_read_as_0(self, tmp_path, store):
        written = custom(tmp_path, ONCE, present=6)
        with pytest.warns(MrcdistWarning, match=r"2 of 8 .* read as 0"):
            dataset = read(written.movie, store, allow_truncated=True)
        table = frame_at(ONCE)
        table[table >= 6] = -1
        np.testing.assert_array_equal(dataset["data"].compute(), frames_of(table, written))


class TestCost:
    def test_task_fetches_only_the_frames_of_its_chunk(self, tmp_path):
        written = custom(tmp_path, ONCE)
        frame_bytes = 2 * FRAME[0] * FRAME[1]
        with dask.config.set({"mrcdist.max-gap": 0}):
            [dataset] = read_mrc(url_of(written.movie, in_memory), chunks=(1, -1, -1, -1))
            for row, table_row in enumerate(frame_at(ONCE)):
                before = stats.snapshot()
                dataset["data"][row].compute(scheduler="sync")
                after = stats.snapshot()
                fetched = after.bytes_fetched - before.bytes_fetched
                assert fetched == frame_bytes * np.count_nonzero(table_row >= 0)

    def test_adjacent_frames_of_a_serpentine_scan_are_fetched_in_one_request(self, tmp_path):
        rows, columns = GRID
        serpentine = [
            [x if y % 2 == 0 else columns - 1 - x, y] for y in range(rows) for x in range(columns)
        ]
        written = custom(tmp_path, serpentine)
        with dask.config.set({"mrcdist.max-gap": 0}):
            [dataset] = read_mrc(url_of(written.movie, in_memory), chunks=(1, -1, -1, -1))
            before = stats.snapshot()
            data = dataset["data"].compute(scheduler="sync")
            assert stats.snapshot().requests - before.requests == rows
        np.testing.assert_array_equal(data, frames_of(frame_at(serpentine), written))


SIDE = 1000


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """Return path and frame table of a scan of a million points in random order."""
    folder = tmp_path_factory.mktemp("million")
    written = write_acquisition(
        folder,
        scan_shape=(SIDE, SIDE),
        frame_shape=(1, 4),
        dtype="uint8",
        custom_points=np.array([[0, 0]]),
        present=0,
    )
    points = np.random.default_rng(0).permutation(SIDE * SIDE)
    digits = np.arange(points.size)[:, None] // 100 ** np.arange(4) % 100
    header = movie_header(points.size, (1, 4), "uint8")
    written.movie.write_bytes(header + digits.astype("u1").tobytes())
    columns = np.stack([points % SIDE, points // SIDE], axis=1)
    np.savetxt(written.scan_points, columns, fmt="%d", delimiter=",")
    return str(written.movie), np.argsort(points).reshape(SIDE, SIDE)


class TestAMillionPoints:
    def test_points_of_a_large_custom_scan_have_their_frames(self, million):
        movie, table = million
        data = plan_mrc(movie, chunks=(100, 100, -1, -1)).to_dask()
        assert data.shape == (SIDE, SIDE, 1, 4)
        corner = data[990:, :30].compute()
        frames = [[frame_index(frame) for frame in row] for row in corner]
        np.testing.assert_array_equal(frames, table[990:, :30])

    @pytest.mark.parametrize(
        "index", [..., np.s_[::2, 5:, 0, 1]], ids=["all", "with a slice pushed into the tasks"]
    )
    def test_frame_table_is_stored_once_in_the_graph_not_per_task(self, million, index):
        movie, table = million
        data = plan_mrc(movie, chunks=(100, 100, -1, -1)).to_dask()
        assert data.npartitions == 100
        for array in (data, *dask.optimize(data[index])):
            sizes = [len(pickle.dumps(task)) for task in dict(array.__dask_graph__()).values()]
            *small, large = sorted(sizes)
            assert len(small) >= 100
            assert small[-1] < 2000
            assert 4 * table.size < large < 4 * table.size + 2000
