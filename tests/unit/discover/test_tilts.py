"""Tilt angles: found next to the data, passed, or in the extended header; and sorting by them."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

from mrcdist import ArgumentError, MrcdistWarning, SidecarError, plan_mrc, read_mrc
from tests.support.mrc_files import counting, write_mrc

UP_AND_DOWN = (0.0, 3.0, -3.0, 6.0, -6.0, 9.0, -9.0)
SECTIONS = counting((7, 4, 5), "int16")


def tlt(angles):
    return "".join(f"{angle}\n" for angle in angles)


def mdoc(angles):
    return "".join(f"[ZValue = {k}]\nTiltAngle = {angle}\n" for k, angle in enumerate(angles))


def serialem(angles):
    """Return an extended header of SerialEM with tilt angles only, in hundredths of a degree."""
    raw = np.round(np.array(angles) * 100).astype("<i2").tobytes()
    return {"extended": raw, "exttyp": b"SERI", "nint": 2, "nreal": 1}


@pytest.fixture
def stack(tmp_path):
    return write_mrc(tmp_path / "ts.mrc", SECTIONS)


def angles_of(dataset):
    return dataset["original_metadata"]["tilt_series"]["tilt_angle"]


class TestNextToTheData:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("ts.mrc.mdoc", mdoc(UP_AND_DOWN)),
            ("ts.mdoc", mdoc(UP_AND_DOWN)),
            ("ts.rawtlt", tlt(UP_AND_DOWN)),
            ("ts.tlt", tlt(UP_AND_DOWN)),
            ("ts_TLT.txt", "".join(f"{angle} {9 - i}\n" for i, angle in enumerate(UP_AND_DOWN))),
        ],
    )
    def test_tilt_angles_are_found_next_to_the_stack(self, stack, name, text):
        stack.with_name(name).write_text(text)
        [dataset] = read_mrc(stack)
        assert dataset["axes"][0]["name"] == "tilt"
        stage = dataset["metadata"]["Acquisition_instrument"]["TEM"]["Stage"]
        assert stage == {"tilt_alpha": list(UP_AND_DOWN)}
        assert dataset["original_metadata"]["tilt_series"] == {
            "tilt_angle": list(UP_AND_DOWN),
            "section": list(range(7)),
            "source": name,
        }
        np.testing.assert_array_equal(dataset["data"].compute(), SECTIONS)

    def test_tilt_file_none_disables_the_search_for_angles(self, stack):
        stack.with_name("ts.tlt").write_text(tlt(UP_AND_DOWN))
        plan = plan_mrc(stack, tilt_file=None)
        assert plan.tilts is None
        assert plan.axes[0].name == "z"
        assert plan.directory.known_names == ()

    def test_tilt_file_passed_by_name_overrides_the_one_next_to_the_data(self, stack, tmp_path):
        stack.with_name("ts.tlt").write_text(tlt(UP_AND_DOWN))
        named = tmp_path / "other.tlt"
        named.write_text(tlt(range(7)))
        assert plan_mrc(stack, tilt_file=named).tilts.angles == tuple(range(7))
        assert plan_mrc(stack, tilt_file=named).tilts.source == "other.tlt"

    def test_open_tilt_file_is_read(self, stack):
        found = plan_mrc(stack, tilt_file=io.StringIO(mdoc(UP_AND_DOWN))).tilts
        assert (found.angles, found.source) == (UP_AND_DOWN, "tilt_file")

    def test_extended_header_takes_precedence_and_nothing_is_listed(self, tmp_path):
        path = write_mrc(tmp_path / "ts.mrc", SECTIONS, **serialem(UP_AND_DOWN))
        path.with_name("ts.tlt").write_text(tlt(range(7)))
        plan = plan_mrc(path)
        assert (plan.tilts.angles, plan.tilts.source) == (UP_AND_DOWN, "extended header")
        assert "listing" not in vars(plan.directory)

    def test_extended_header_without_tilts_does_not_take_precedence(self, tmp_path):
        path = write_mrc(tmp_path / "ts.mrc", SECTIONS, **serialem([0.01] * 7))
        path.with_name("ts.tlt").write_text(tlt(range(7)))
        assert plan_mrc(path).tilts.source == "ts.tlt"


class TestOtherFilesNextToTheData:
    """Files that are not a list of the tilts of this file do not prevent loading."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("ts.mrc.mdoc", "Voltage = 300\n[FrameSet = 0]\nTiltAngle = 3\n"),
            ("ts.mrc.mdoc", mdoc([0.01] * 7)),
            ("ts.tlt", ""),
        ],
    )
    def test_file_of_a_movie_or_of_an_untilted_stage_is_ignored(self, stack, name, text):
        stack.with_name(name).write_text(text)
        assert plan_mrc(stack).tilts is None
        assert plan_mrc(stack).notes == ()

    @pytest.mark.parametrize("name", ["ts.rawtlt", "ts.tlt", "ts_TLT.txt"])
    def test_list_of_equal_angles_causes_a_note(self, stack, name):
        stack.with_name(name).write_text(tlt([30, 30, 30.25, 30, 30, 30, 30]))
        with pytest.warns(MrcdistWarning, match=f"{name} is not used: .* 30 to 30.25 degrees"):
            assert plan_mrc(stack).tilts is None
        assert plan_mrc(stack, tilt_file=stack.with_name(name)).tilts.angles[2] == 30.25

    def test_wrong_number_of_angles_causes_a_note(self, stack):
        stack.with_name("ts.tlt").write_text(tlt(range(8)))
        with pytest.warns(MrcdistWarning, match="ts.tlt is not used: it has 8 .* 7 sections"):
            assert plan_mrc(stack).tilts is None
        with pytest.raises(ArgumentError, match="8 tilt angles, but the file has 7 sections"):
            plan_mrc(stack, tilt_file=stack.with_name("ts.tlt"))

    def test_damaged_list_of_tilt_angles_causes_a_note(self, stack):
        stack.with_name("ts.tlt").write_text("1\nx\n")
        with pytest.warns(MrcdistWarning, match="no tilt angles are used: ts.tlt, line 2"):
            assert plan_mrc(stack).tilts is None
        with pytest.raises(SidecarError, match=r"ts\.tlt, line 2"):
            plan_mrc(stack, tilt_file=stack.with_name("ts.tlt"))

    @pytest.mark.parametrize(
        ("shape", "header"),
        [
            ((1, 4, 5), {}),
            ((5001, 1, 1), {}),
            ((7, 4, 5), {"ispg": 1, "cell": (5, 4, 7)}),
            ((6, 4, 5), {"ispg": 401, "intervals": (5, 4, 3)}),
        ],
    )
    def test_directory_is_not_listed_for_data_that_cannot_be_a_tilt_series(
        self, tmp_path, shape, header
    ):
        path = write_mrc(tmp_path / "a.mrc", counting(shape, "int16"), **header)
        path.with_name("a.tlt").write_text(tlt(range(shape[0])))
        plan = plan_mrc(path)
        assert plan.tilts is None
        assert "listing" not in vars(plan.directory)

    @pytest.mark.usefixtures("unlistable")
    def test_names_of_tilt_files_are_not_tried_if_the_store_cannot_list(self, stack):
        stack.with_name("ts.tlt").write_text(tlt(UP_AND_DOWN))
        assert plan_mrc(stack).tilts is None

    def test_no_angles_are_searched_for_a_list_of_files(self, tmp_path, stack):
        stack.with_name("ts.tlt").write_text(tlt(range(14)))
        more = write_mrc(tmp_path / "b.mrc", SECTIONS)
        assert plan_mrc([stack, more]).tilts is None
        named = plan_mrc([stack, more], tilt_file=stack.with_name("ts.tlt"))
        assert named.tilts.angles == tuple(range(14))


class TestUse:
    @pytest.mark.parametrize("option", ["tilt_file", "sort_by_tilt"])
    def test_unused_options_cause_a_note_if_a_shape_is_passed(self, stack, option):
        stack.with_name("ts.tlt").write_text(tlt(UP_AND_DOWN))
        value = {"tilt_file": stack.with_name("ts.tlt"), "sort_by_tilt": True}[option]
        with pytest.warns(MrcdistWarning, match=f"`{option}` is not used: `navigation_shape`"):
            plan = plan_mrc(stack, navigation_shape=(7,), **{option: value})
        assert (plan.tilts, plan.source.table) == (None, None)

    def test_navigation_shape_alone_causes_no_search_for_tilt_angles(self, stack):
        stack.with_name("ts.tlt").write_text(tlt(range(8)))
        assert plan_mrc(stack, navigation_shape=(7,)).notes == ()

    def test_sort_by_tilt_without_angles_causes_a_note(self, stack):
        with pytest.warns(MrcdistWarning, match="`sort_by_tilt` is not used: no tilt angles"):
            [dataset] = read_mrc(stack, sort_by_tilt=True)
        np.testing.assert_array_equal(dataset["data"].compute(), SECTIONS)

    def test_truncated_series_has_the_angles_of_its_sections(self, stack):
        stack.with_name("ts.tlt").write_text(tlt(UP_AND_DOWN))
        stack.write_bytes(stack.read_bytes()[:-41])
        for sort in (False, True):
            with pytest.warns(MrcdistWarning, match="5 of 7 frames"):
                [dataset] = read_mrc(stack, allow_truncated=True, sort_by_tilt=sort)
            order = np.argsort(UP_AND_DOWN[:5]) if sort else np.arange(5)
            assert angles_of(dataset) == [UP_AND_DOWN[i] for i in order]
            np.testing.assert_array_equal(dataset["data"].compute(), SECTIONS[:5][order])

    def test_angles_in_the_headers_of_several_files_are_joined(self, tmp_path):
        paths = [
            write_mrc(tmp_path / f"{name}.mrc", SECTIONS[:2], **serialem(angles))
            for name, angles in (("a", (-60, -40)), ("b", (-20, 0)))
        ]
        [dataset] = read_mrc(paths)
        assert angles_of(dataset) == [-60.0, -40.0, -20.0, 0.0]
        assert dataset["axes"][0]["scale"] == 20.0

    @pytest.mark.filterwarnings("ignore:.*differ in their extended headers")
    def test_list_has_no_angles_if_one_file_has_none(self, tmp_path):
        first = write_mrc(tmp_path / "a.mrc", SECTIONS[:2], **serialem((-60, -40)))
        other = write_mrc(tmp_path / "b.mrc", SECTIONS[:2])
        assert plan_mrc([first, other]).tilts is None


class TestSorting:
    @pytest.mark.parametrize(
        "angles", [UP_AND_DOWN, (0, 3, 6, 9, -3, -6, -9), (0, 0, 3, 3, -3, -3, 6)]
    )
    @pytest.mark.parametrize("options", [{}, {"distributed": False}, {"chunks": (2, -1, -1)}])
    def test_sections_are_in_the_order_of_their_angles(self, stack, angles, options):
        stack.with_name("ts.tlt").write_text(tlt(angles))
        [dataset] = read_mrc(stack, sort_by_tilt=True, **options)
        order = np.argsort(angles, kind="stable")
        np.testing.assert_array_equal(np.asarray(dataset["data"]), SECTIONS[order])
        assert angles_of(dataset) == sorted(angles)
        series = dataset["original_metadata"]["tilt_series"]
        assert series["section"] == order.tolist()
        assert series["tilt_angle"] == sorted(angles)

    def test_sorted_angles_are_an_axis(self, stack):
        stack.with_name("ts.tlt").write_text(tlt(UP_AND_DOWN))
        [dataset] = read_mrc(stack, sort_by_tilt=True)
        axis = dataset["axes"][0]
        assert (axis["name"], axis["offset"], axis["scale"], axis["units"]) == (
            "tilt",
            -9.0,
            3.0,
            "deg",
        )
        assert "Acquisition_instrument" not in dataset["metadata"]

    @pytest.mark.parametrize("index", [3, slice(1, 6, 2), slice(None, None, -1), [5, 0, 3]])
    def test_indexing_a_sorted_series_equals_numpy(self, stack, index):
        stack.with_name("ts.tlt").write_text(tlt(UP_AND_DOWN))
        plan = plan_mrc(stack, sort_by_tilt=True)
        expected = SECTIONS[np.argsort(UP_AND_DOWN)][index]
        np.testing.assert_array_equal(plan.to_dask()[index].compute(), expected)

    def test_tilt_series_recorded_in_order_is_still_mapped(self, stack):
        stack.with_name("ts.tlt").write_text(tlt(range(7)))
        assert plan_mrc(stack, sort_by_tilt=True).source.table is None


def test_single_section_has_an_angle_but_no_axis(tmp_path):
    path = write_mrc(tmp_path / "a.mrc", SECTIONS[:1])
    [dataset] = read_mrc(path, tilt_file=io.StringIO("3\n"))
    assert (angles_of(dataset), dataset["data"].shape) == ([3.0], (4, 5))


def test_valid_tilt_series_causes_no_warning(stack):
    stack.with_name("ts.tlt").write_text(tlt(UP_AND_DOWN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_mrc(stack, sort_by_tilt=True)
