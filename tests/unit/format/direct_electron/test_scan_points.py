"""Lists of scan points, and the frame tables of custom scans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.errors import SidecarError
from mrcdist.format.direct_electron.scan_points import frame_table, parse_scan_points


def array(*points):
    return np.array(points, dtype=np.int64).reshape(-1, 2)


class TestParse:
    @pytest.mark.parametrize(
        "raw",
        [
            b"3,0\n1,2\n3,0",
            b"3,0\n1,2\n3,0\n",
            b"3,0\r\n1,2\r\n3,0\r\n",
            b"3,0\r1,2\r3,0\r",
            b"x,y\n3,0\n1,2\n3,0\n",
            b"\xef\xbb\xbfX (px), Y (px)\n3,0\n1,2\n3,0\n",
            b"\n\nScan X,Scan Y\n3,0\n\n  \t\n1,2\n3,0\n\n",
            b"3.0, 0.0\n 1e0 ,2.\n3,-0\n",
        ],
    )
    def test_rows_of_scan_points_are_x_and_y(self, raw):
        points, _ = parse_scan_points(raw)
        assert points.dtype == np.int64
        np.testing.assert_array_equal(points, [[3, 0], [1, 2], [3, 0]])

    def test_single_row_is_one_scan_point(self):
        np.testing.assert_array_equal(parse_scan_points(b"7,8")[0], [[7, 8]])

    @pytest.mark.parametrize(
        "row",
        [b"1.5,2", b"1", b"1,2,3", b"1,", b"a,2", b"nan,1", b"inf,1", b"1e300,1", b"1_0,1", b"1;2"],
    )
    @pytest.mark.parametrize("before", [b"", b"x,y\n", b"x,y\r\n\r\n0,0\r\n"])
    def test_error_for_an_invalid_row_has_its_line(self, before, row):
        line = before.count(b"\n") + 2
        with pytest.raises(SidecarError) as error:
            parse_scan_points(before + b"4,4\n" + row + b"\n5,5\n")
        assert f"line {line} " in error.value.problem
        assert row.decode() in error.value.problem

    def test_invalid_first_row_is_not_mistaken_for_a_header(self):
        with pytest.raises(SidecarError, match="line 1 "):
            parse_scan_points(b"1O,3\n1,2\n")

    def test_scan_points_with_three_columns_are_an_error(self):
        with pytest.raises(SidecarError, match="line 1 "):
            parse_scan_points(b"1,2,3\n4,5,6\n")

    @pytest.mark.parametrize("raw", [b"", b"\n \n", b"x,y\n", b"x,y"])
    def test_file_without_scan_points_is_an_error(self, raw):
        with pytest.raises(SidecarError, match="no points"):
            parse_scan_points(raw)

    @pytest.mark.parametrize(
        "header",
        [
            b"y,x",
            b"Y (px),X (px)",
            b"pos_y, pos_x",
            b"Y Position,X Position",
            b"ypixel,xpixel",
            b"row,col",
            b"Scan Row,Scan Column",
            b"line,pixel",
            b"slow axis,fast axis",
            b"slow,",
            b"position,x",
        ],
    )
    def test_header_of_scan_points_with_y_first_is_an_error(self, header):
        with pytest.raises(SidecarError, match="columns"):
            parse_scan_points(header + b"\n1,2\n")

    @pytest.mark.parametrize("header", [b"lat,long", b"first,second", b"x,x", b"points"])
    def test_ambiguous_header_of_scan_points_is_noted(self, header):
        points, [note] = parse_scan_points(header + b"\n1,2\n")
        assert points.tolist() == [[1, 2]]
        assert header.decode() in note

    @pytest.mark.parametrize(
        "header", [b"x,y", b"X axis,Y axis", b"x index, y index", b"col,row", b"pixel,line", b"1,1"]
    )
    def test_header_of_scan_points_with_x_first_is_not_noted(self, header):
        assert parse_scan_points(header + b"\n1,2\n")[1] == ()

    @given(st.binary())
    def test_any_bytes_give_scan_points_or_a_sidecar_error(self, raw):
        try:
            points, _ = parse_scan_points(raw)
        except SidecarError:
            return
        assert points.shape == (len(points), 2)
        assert len(points) > 0

    @given(st.lists(st.tuples(*[st.integers(-(2**53), 2**53)] * 2), min_size=1), st.booleans())
    def test_scan_points_are_read_back_exactly(self, rows, header):
        text = "x,y\n" * header + "".join(f"{x},{y}\n" for x, y in rows)
        assert parse_scan_points(text.encode())[0].tolist() == [list(row) for row in rows]


class TestTable:
    def test_frame_table_has_each_frame_at_its_scan_point(self):
        points = array((2, 0), (0, 1), (1, 1))
        table = frame_table(points, shape=(2, 3), n_frames=3)
        assert table.dtype == np.int64
        np.testing.assert_array_equal(table, [[-1, -1, 0], [1, 2, -1]])

    def test_repeated_visits_are_in_the_order_of_recording(self):
        points = array((1, 0), (0, 0), (1, 0), (1, 0), (0, 0))
        table = frame_table(points, shape=(1, 3), n_frames=5)
        np.testing.assert_array_equal(table, [[[1, 4, -1], [0, 2, 3], [-1, -1, -1]]])

    def test_frame_table_without_scan_points_has_no_frames(self):
        np.testing.assert_array_equal(frame_table(array(), shape=(1, 2), n_frames=0), [[-1, -1]])

    def test_frame_table_has_no_frames_that_are_missing(self):
        points = array((0, 0), (1, 0), (0, 0), (1, 0))
        table = frame_table(points, shape=(1, 2), n_frames=3)
        np.testing.assert_array_equal(table, [[[0, 2], [1, -1]]])

    def test_shape_of_the_frame_table_does_not_depend_on_missing_frames(self):
        points = array((0, 0), (1, 0), (0, 0))
        table = frame_table(points, shape=(1, 2), n_frames=0)
        np.testing.assert_array_equal(table, np.full((1, 2, 2), -1))

    @pytest.mark.parametrize("point", [(3, 0), (0, 2), (-1, 0), (0, -1), (2**53, 0)])
    def test_error_for_scan_points_outside_the_grid_has_the_first(self, point):
        points = array((0, 0), point, (0, 0), (9, 9))
        with pytest.raises(SidecarError) as error:
            frame_table(points, shape=(2, 3), n_frames=4)
        assert f"point 2 of 4 is x = {point[0]}, y = {point[1]}" in error.value.problem
        assert "3 x 2" in error.value.problem

    def test_shape_of_the_grid_is_rows_by_columns(self):
        assert frame_table(array((2, 0)), shape=(1, 3), n_frames=1).shape == (1, 3)
        with pytest.raises(SidecarError, match="outside"):
            frame_table(array((2, 0)), shape=(3, 1), n_frames=1)

    @pytest.mark.parametrize("shape", [(2**20, 2**20), (2**40, 2**40)])
    def test_grid_too_large_for_memory_is_an_error(self, shape):
        with pytest.raises(SidecarError, match="positions"):
            frame_table(array((0, 0)), shape=shape, n_frames=1)

    def test_large_grid_for_few_scan_points_is_an_error(self):
        with pytest.raises(SidecarError, match=r"268435456 positions.* for a list of 4 points"):
            frame_table(array(*[(0, y) for y in range(4)]), shape=(2**14, 2**14), n_frames=4)

    def test_sparse_scan_of_a_large_grid_has_a_frame_table(self):
        points = np.stack([np.arange(2**18) % 2**12, np.arange(2**18) // 2**12 * 50], axis=1)
        table = frame_table(points, shape=(2**12, 2**12), n_frames=len(points))
        assert np.count_nonzero(table >= 0) == len(points)

    def test_too_many_visits_for_memory_are_an_error(self):
        points = np.zeros((2**10, 2), dtype=np.int64)
        with pytest.raises(SidecarError, match="1024 times"):
            frame_table(points, shape=(2**10, 2**10), n_frames=2**10)

    def test_frame_table_of_a_large_random_scan_is_correct(self):
        rows, columns = 512, 512
        order = np.random.default_rng(4).permutation(rows * columns)
        y, x = np.divmod(order, columns)
        points = np.stack([x, y], axis=1)
        text = "\n".join(f"{a},{b}" for a, b in points.tolist())
        table = frame_table(
            parse_scan_points(text.encode())[0], shape=(rows, columns), n_frames=len(order)
        )
        np.testing.assert_array_equal(table[y, x], np.arange(len(order)))

    @given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.data())
    def test_frame_table_equals_that_of_a_plain_loop(self, shape, data):
        point = st.tuples(st.integers(0, shape[1] - 1), st.integers(0, shape[0] - 1))
        points = data.draw(st.lists(point, min_size=1, max_size=40))
        n_frames = data.draw(st.integers(0, len(points)))
        visits = {}
        for frame, (x, y) in enumerate(points):
            visits.setdefault((y, x), []).append(frame if frame < n_frames else -1)
        repeats = max(len(frames) for frames in visits.values())
        expected = np.full((*shape, repeats), -1)
        for (y, x), frames in visits.items():
            expected[y, x, : len(frames)] = frames

        table = frame_table(array(*points), shape=shape, n_frames=n_frames)
        assert table.shape == (shape if repeats == 1 else expected.shape)
        np.testing.assert_array_equal(table.reshape(expected.shape), expected)
