"""Single images: truncated files, stacks of one image, and one image of a stack."""

from __future__ import annotations

import fsspec
import numpy as np
import pytest

import mrcdist
from tests.support.mrc_files import counting, mrc_bytes, write_mrc


def read(path, **options):
    [dataset] = mrcdist.read_mrc(path, **options)
    return dataset


@pytest.mark.parametrize("cell", [(0.0, 0.0, 0.0), (50.0, 120.0, 1.0)])
@pytest.mark.parametrize("extra_bytes", [0, 1, 9])
def test_allow_truncated_reads_the_complete_rows_of_an_image(tmp_path, extra_bytes, cell):
    data = counting((1, 6, 5), "int16")
    path = tmp_path / "image.mrc"
    path.write_bytes(mrc_bytes(data, cell=cell)[: 1024 + 4 * 10 + extra_bytes])
    with pytest.raises(mrcdist.TruncatedFileError):
        read(path)
    with pytest.warns(mrcdist.MrcdistWarning, match="4 of 6 rows of the image") as caught:
        dataset = read(path, allow_truncated=True)
    assert len(caught) == 1
    np.testing.assert_array_equal(dataset["data"], data[0, :4])
    assert [axis["size"] for axis in dataset["axes"]] == [4, 5]
    y = dataset["axes"][0]
    assert (y["scale"], y["units"]) == ((2.0, "nm") if cell[0] else (1.0, None))
    assert dataset["original_metadata"]["std_header"]["NY"] == 6


def test_image_without_a_complete_row_is_an_error(tmp_path):
    path = tmp_path / "image.mrc"
    path.write_bytes(mrc_bytes(counting((1, 6, 5), "int16"))[: 1024 + 9])
    with pytest.raises(mrcdist.TruncatedFileError, match="less than one frame"):
        read(path, allow_truncated=True)


@pytest.mark.parametrize("shape", [(1,), (-1,), [1], (1, 1)])
def test_navigation_shape_of_1_keeps_the_axis_of_a_stack_of_one_image(tmp_path, shape):
    data = counting((1, 3, 4), "float32")
    path = write_mrc(tmp_path / "one.mrcs", data)
    assert read(path)["data"].shape == (3, 4)
    for lazy in (True, False):
        dataset = read(path, navigation_shape=shape, lazy=lazy)
        np.testing.assert_array_equal(dataset["data"], data)
        assert [axis["navigate"] for axis in dataset["axes"]] == [True, False, False]


class TestNumberBeforeTheFileName:
    """``000003@stack.mrcs``, the notation of RELION and SPIDER."""

    @pytest.fixture
    def stack(self, tmp_path):
        return write_mrc(tmp_path / "stack.mrcs", counting((5, 3, 4), "int16"))

    @pytest.mark.parametrize("number", [1, 3, 5])
    def test_number_before_the_file_name_selects_one_image_of_the_stack(self, stack, number):
        for lazy in (True, False):
            dataset = read(f"{number:06}@{stack}", lazy=lazy)
            np.testing.assert_array_equal(dataset["data"], counting((5, 3, 4), "int16")[number - 1])
            assert [axis["name"] for axis in dataset["axes"]] == ["y", "x"]

    def test_number_before_a_url_selects_one_image_of_the_stack(self, stack):
        fsspec.filesystem("memory").pipe("/stack.mrcs", stack.read_bytes())
        dataset = read("2@memory://stack.mrcs")
        np.testing.assert_array_equal(dataset["data"], counting((5, 3, 4), "int16")[1])

    @pytest.mark.parametrize("number", [0, 6])
    def test_image_number_outside_the_stack_is_an_error(self, stack, number):
        with pytest.raises(mrcdist.ArgumentError, match=f"section {number} of 5"):
            read(f"{number}@{stack}")

    def test_existing_file_whose_name_contains_a_number_and_at_sign_is_read(
        self, stack, monkeypatch
    ):
        monkeypatch.chdir(stack.parent)
        write_mrc(stack.with_name("1@stack.mrcs"), counting((2, 3, 4), "int16"))
        assert read("1@stack.mrcs")["data"].shape == (2, 3, 4)


class TestFormatAfterTheFileName:
    """``stack.mrcs:mrcs``, the notation of Xmipp and RELION."""

    @pytest.fixture
    def stack(self, tmp_path):
        return write_mrc(tmp_path / "stack.map", counting((5, 3, 4), "int16"))

    @pytest.mark.parametrize("name", ["{}:mrcs", "{}:mrc", "2@{}:mrcs"])
    def test_format_after_the_file_name_is_ignored(self, stack, name):
        index = 1 if "@" in name else ...
        expected = counting((5, 3, 4), "int16")[index]
        np.testing.assert_array_equal(read(name.format(stack))["data"], expected)
        fsspec.filesystem("memory").pipe("/stack.map", stack.read_bytes())
        dataset = read(name.format("memory://stack.map"))
        np.testing.assert_array_equal(dataset["data"], expected)

    def test_format_after_the_file_name_is_ignored_for_files_of_a_list(self, stack):
        other = write_mrc(stack.with_name("other.map"), counting((2, 3, 4), "int16"))
        assert read([f"{stack}:mrcs", other])["data"].shape == (7, 3, 4)

    def test_existing_file_whose_name_ends_in_a_format_is_read(self, stack):
        other = write_mrc(stack.with_name("stack.map:mrcs"), counting((2, 3, 4), "int16"))
        assert read(other)["data"].shape == (2, 3, 4)
