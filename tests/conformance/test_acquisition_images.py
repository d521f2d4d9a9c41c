"""Companion images of a scan: names, shapes, and how they are found."""

from __future__ import annotations

import json
from urllib.parse import quote

import dask.array as da
import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

from mrcdist import ArgumentError, MrcdistWarning, TruncatedFileError, read_mrc
from mrcdist.cli import main
from mrcdist.testing.acquisition import write_acquisition
from tests.support.acquisitions import axis_names, url_of
from tests.support.serving import folder_server

FRAME = (3, 5)
SCAN = (2, 4)


def image(value, shape=SCAN):
    """Return an image with a unique value and orientation."""
    return value + np.arange(np.prod(shape), dtype="float32").reshape(shape) / 100


def acquisition(folder, **options):
    options = {
        "scan_shape": SCAN,
        "frame_shape": FRAME,
        "virtual_images": {"BF": image(1), "HAADF": image(2)},
        "external_images": {"Ext 1": image(3), "Ext 2": image(4)},
        **options,
    }
    return write_acquisition(folder, **options)


def read(path, store, **options):
    [dataset] = read_mrc(url_of(path, store), **options)
    return dataset


def navigators_of(dataset):
    """Return the signal dicts by name."""
    navigators = dataset["metadata"].get("_HyperSpy", {}).get("navigators", {})
    assert all(name.startswith("_sig_") for name in navigators)
    return {name.removeprefix("_sig_"): signal for name, signal in navigators.items()}


class TestNames:
    @pytest.mark.parametrize("server", ["2.7", "new"])
    def test_each_image_has_the_pixels_and_name_of_its_own_file(self, tmp_path, store, server):
        written = acquisition(tmp_path, server=server)
        navigators = navigators_of(read(written.movie, store))
        assert list(navigators) == ["BF", "HAADF", "Ext 1", "Ext 2"]
        for number, (name, signal) in enumerate(navigators.items(), start=1):
            np.testing.assert_array_equal(signal["data"], image(number))
            assert signal["metadata"]["General"]["title"] == name
            assert signal["metadata"]["Signal"]["signal_type"] == ""

    def test_images_are_ordered_by_number_not_alphabetically(self, tmp_path, store):
        names = [f"detector {letter}" for letter in "MLKJIHGFEDCBA"]
        images = {name: image(number) for number, name in enumerate(names)}
        written = acquisition(tmp_path, virtual_images=images, external_images=None)
        navigators = navigators_of(read(written.movie, store))
        assert list(navigators) == names
        for number, name in enumerate(names):
            np.testing.assert_array_equal(navigators[name]["data"], image(number))

    def test_virtual_and_external_image_of_the_same_name_are_both_loaded(self, tmp_path, store):
        written = acquisition(
            tmp_path, virtual_images={"BF": image(1)}, external_images={"BF": image(2)}
        )
        navigators = navigators_of(read(written.movie, store))
        assert [signal["data"][0, 0] for signal in navigators.values()] == [1, 2]
        assert len(navigators) == 2

    def test_names_of_images_are_unique_in_hyperspy(self, tmp_path, store):
        """HyperSpy keeps only ASCII letters and digits of a name; names must still be unique."""
        names = ["A B", "A_B", "DF+", "DF-", "\N{MICRO SIGN}", "\xa7", "1", "A B (2)", "BF"]
        images = {name: image(number) for number, name in enumerate(names)}
        written = acquisition(tmp_path, virtual_images=images, external_images={"A-B": image(9)})
        navigators = navigators_of(read(written.movie, store))
        assert [int(signal["data"][0, 0]) for signal in navigators.values()] == list(range(10))
        assert list(navigators)[-2:] == ["BF", "A-B"]
        slugify = pytest.importorskip("hyperspy.misc.utils").slugify
        assert len({slugify(name, valid_variable_name=True) for name in navigators}) == 10

    def test_images_of_another_acquisition_are_not_loaded(self, tmp_path, store):
        written = acquisition(tmp_path, name="20260101_00001_b", external_images=None)
        acquisition(tmp_path, name="20260101_00001", virtual_images={"no": image(9)})
        acquisition(tmp_path, name="20260101_00001_a", virtual_images={"nor this": image(9)})
        assert list(navigators_of(read(written.movie, store))) == ["BF", "HAADF"]


class TestShape:
    def test_images_have_the_axes_of_the_scan(self, tmp_path, store):
        dataset = read(acquisition(tmp_path).movie, store)
        for signal in navigators_of(dataset).values():
            assert axis_names(signal) == ["y", "x"]
            for axis, scan_axis in zip(signal["axes"], dataset["axes"], strict=False):
                assert (axis["scale"], axis["units"]) == (scan_axis["scale"], scan_axis["units"])
                assert not axis["navigate"]

    def test_image_with_all_points_in_one_row_is_reshaped(self, tmp_path, store):
        flat = image(1).reshape(1, 8)
        written = acquisition(tmp_path, virtual_images={"BF": flat})
        signal = navigators_of(read(written.movie, store))["BF"]
        assert axis_names(signal) == ["y", "x"]
        np.testing.assert_array_equal(signal["data"], image(1))

    def test_image_whose_lines_have_another_length_is_not_reshaped(self, tmp_path, store):
        """The number of pixels matches, but their order is not that of the scan points."""
        written = acquisition(
            tmp_path,
            scan_shape=(3, 4),
            virtual_images={"transposed": image(1, (4, 3)), "wide": image(2, (2, 6))},
            external_images={"Ext": image(3, (3, 4))},
        )
        with pytest.warns(
            MrcdistWarning, match=r"(4 x 3|2 x 6) pixels, but the scan has 3 x 4 points"
        ):
            dataset = read(written.movie, store)
        navigators = navigators_of(dataset)
        for name, shape in (("transposed", (4, 3)), ("wide", (2, 6))):
            assert navigators[name]["data"].shape == shape
            axis_names(navigators[name])
        navigator = dataset["metadata"]["_HyperSpy"]["_sig_navigator"]
        np.testing.assert_array_equal(navigator["data"], image(3, (3, 4)))

    def test_image_with_repeats_below_each_other_gets_a_repeat_axis(self, tmp_path, store):
        written = acquisition(
            tmp_path, repeats=2, virtual_images={"BF": image(1, (4, 4))}, external_images={}
        )
        signal = navigators_of(read(written.movie, store))["BF"]
        assert axis_names(signal) == ["repeat", "y", "x"]
        np.testing.assert_array_equal(signal["data"], image(1, (4, 4)).reshape(2, 2, 4))

    def test_images_of_a_line_scan_have_one_axis(self, tmp_path, store):
        written = acquisition(
            tmp_path, scan_shape=(1, 8), virtual_images={"BF": image(1, (1, 8))}, external_images={}
        )
        dataset = read(written.movie, store)
        assert axis_names(navigators_of(dataset)["BF"]) == ["x"]
        assert dataset["metadata"]["_HyperSpy"]["_sig_navigator"]["data"].shape == (8,)

    def test_image_of_repeated_scans_has_the_axes_of_one_scan(self, tmp_path, store):
        dataset = read(acquisition(tmp_path, repeats=2).movie, store)
        axes = navigators_of(dataset)["BF"]["axes"]
        assert [(axis["name"], axis["scale"]) for axis in axes] == [("y", 0.5), ("x", 0.4)]
        assert "_sig_navigator" not in dataset["metadata"]["_HyperSpy"]

    def test_image_of_another_size_keeps_its_shape(self, tmp_path, store):
        written = acquisition(tmp_path, virtual_images={"square": image(1, (3, 3)), "BF": image(2)})
        dataset = read(written.movie, store)
        np.testing.assert_array_equal(navigators_of(dataset)["square"]["data"], image(1, (3, 3)))
        axis_names(navigators_of(dataset)["square"])
        navigator = dataset["metadata"]["_HyperSpy"]["_sig_navigator"]
        np.testing.assert_array_equal(navigator["data"], image(2))

    def test_navigator_is_the_first_image_in_the_shape_of_the_scan(self, tmp_path, store):
        navigator = read(acquisition(tmp_path).movie, store)["metadata"]["_HyperSpy"][
            "_sig_navigator"
        ]
        assert navigator["metadata"]["General"]["title"] == "BF"
        np.testing.assert_array_equal(navigator["data"], image(1))

    def test_images_of_a_custom_scan_have_the_shape_of_its_grid(self, tmp_path, store):
        points = np.array([[0, 0], [3, 1], [0, 0]])
        dataset = read(acquisition(tmp_path, custom_points=points).movie, store)
        assert axis_names(dataset) == ["y", "x", "repeat", "ky", "kx"]
        np.testing.assert_array_equal(navigators_of(dataset)["BF"]["data"], image(1))


class TestArguments:
    def test_virtual_images_none_and_external_images_none_load_no_images(self, tmp_path, store):
        written = acquisition(tmp_path)
        assert list(navigators_of(read(written.movie, store, virtual_images=None))) == [
            "Ext 1",
            "Ext 2",
        ]
        without_images = read(written.movie, store, virtual_images=None, external_images=None)
        assert "_HyperSpy" not in without_images["metadata"]

    def test_images_that_are_passed_replace_those_in_the_folder(self, tmp_path, store):
        written = acquisition(tmp_path)
        passed = acquisition(tmp_path / "passed", virtual_images={"passed": image(7)}).companions[0]
        navigators = navigators_of(read(written.movie, store, virtual_images=[passed]))
        assert list(navigators) == [passed.stem, "Ext 1", "Ext 2"]
        np.testing.assert_array_equal(navigators[passed.stem]["data"], image(7))

    def test_images_of_the_same_name_that_are_passed_are_all_loaded(self, tmp_path, store):
        written = acquisition(tmp_path, external_images=None)
        passed = [
            acquisition(tmp_path / folder, virtual_images={"BF": image(value)}).companions[0]
            for folder, value in (("a", 7), ("b", 8))
        ]
        navigators = navigators_of(read(written.movie, store, virtual_images=passed))
        assert [float(signal["data"][0, 0]) for signal in navigators.values()] == [7, 8]

    def test_single_path_instead_of_a_list_of_images_is_an_error(self, tmp_path, store):
        written = acquisition(tmp_path)
        with pytest.raises(ArgumentError, match="`virtual_images` is a str"):
            read(written.movie, store, virtual_images=str(written.companions[0]))

    def test_images_are_not_looked_for_without_a_sidecar(self, tmp_path, store):
        written = acquisition(tmp_path)
        assert "_HyperSpy" not in read(written.movie, store, metadata_file=None)["metadata"]


class TestLoading:
    @pytest.mark.parametrize("passed", ["movie", "first part", "pattern", "list"])
    def test_single_listing_finds_parts_sidecar_points_and_images(
        self, tmp_path, store, monkeypatch, passed
    ):
        points = np.array([[x, y] for y in range(2) for x in range(4)])
        parts = 1 if passed == "movie" else 2
        written = acquisition(tmp_path, custom_points=points, parts=parts)
        url = url_of(written.movie, store)
        files: str | list[str] = url
        if passed == "pattern":
            files = url.replace("_0_movie", "_*_movie")
        elif passed == "list":
            files = [url.replace("_0_movie", f"_{number}_movie") for number in range(parts)]
        filesystem, path = fsspec.url_to_fs(url)
        listings, ls = [], type(filesystem).ls

        def counted(self, folder, **options):
            listings.append(folder)
            return ls(self, folder, **options)

        monkeypatch.setattr(type(filesystem), "ls", counted)
        [dataset] = read_mrc(files)
        assert dataset["data"].shape[:2] == (2, 4)
        assert len(navigators_of(dataset)) == 4
        assert listings == [filesystem._parent(path)]

    @pytest.mark.usefixtures("unlistable")
    def test_sidecar_but_no_images_are_found_if_the_folder_cannot_be_listed(self, tmp_path, store):
        written = acquisition(tmp_path)
        dataset = read(written.movie, store)
        assert axis_names(dataset) == ["y", "x", "ky", "kx"]
        assert "_HyperSpy" not in dataset["metadata"]

    def test_images_above_16_mib_are_lazy_only_if_the_data_are(self, tmp_path, store):
        small = navigators_of(read(acquisition(tmp_path / "small").movie, store))
        assert {type(signal["data"]) for signal in small.values()} == {np.ndarray}
        scan = (2049, 2048)
        written = acquisition(
            tmp_path / "large",
            scan_shape=scan,
            frame_shape=(1, 1),
            present=1,
            virtual_images={"HAADF": image(2, scan)},
            external_images={},
        )

        def large(**options):
            with pytest.warns(MrcdistWarning, match="missing"):
                navigators = navigators_of(
                    read(written.movie, store, allow_truncated=True, **options)
                )
            return navigators["HAADF"]["data"]

        assert isinstance(large(), da.Array)
        np.testing.assert_array_equal(large().compute(), image(2, scan))
        assert type(large(lazy=False)) is np.ndarray

    def test_truncated_image_in_the_folder_is_left_out_with_a_warning(self, tmp_path, store):
        written = acquisition(tmp_path)
        truncated = written.companions[0]
        truncated.write_bytes(truncated.read_bytes()[:-4])
        with pytest.warns(MrcdistWarning, match=f"{truncated.name} is left out"):
            dataset = read(written.movie, store)
        assert list(navigators_of(dataset)) == ["HAADF", "Ext 1", "Ext 2"]
        navigator = dataset["metadata"]["_HyperSpy"]["_sig_navigator"]
        np.testing.assert_array_equal(navigator["data"], image(2))

    def test_truncated_image_that_is_passed_is_an_error(self, tmp_path, store):
        written = acquisition(tmp_path)
        truncated = written.companions[0]
        truncated.write_bytes(truncated.read_bytes()[:-4])
        with pytest.raises(TruncatedFileError):
            read(written.movie, store, virtual_images=[truncated])


class TestWebServer:
    """Names may be percent-encoded in URLs; the names of images never are."""

    NAME = "20260101_00001_my run"

    @pytest.mark.parametrize("encode", [str, quote])
    def test_sidecar_and_images_of_a_url_are_found_by_their_decoded_names(self, tmp_path, encode):
        images = {"Virt 0": image(1), "50% \N{MICRO SIGN}m": image(2)}
        written = acquisition(tmp_path, name=self.NAME, virtual_images=images)
        with folder_server(tmp_path) as url:
            [dataset] = read_mrc(f"{url}/{encode(written.movie.name)}")
        assert axis_names(dataset) == ["y", "x", "ky", "kx"]
        navigators = navigators_of(dataset)
        assert list(navigators) == [*images, "Ext 1", "Ext 2"]
        for number, signal in enumerate(navigators.values(), start=1):
            np.testing.assert_array_equal(signal["data"], image(number))
        assert dataset["metadata"]["General"]["original_filename"] == written.movie.name

    @pytest.mark.parametrize("encode", [str, quote])
    def test_sidecar_of_a_url_is_found_without_a_listing(self, tmp_path, encode):
        written = acquisition(tmp_path, name=self.NAME)
        with folder_server(tmp_path, listing=False) as url:
            [dataset] = read_mrc(f"{url}/{encode(written.movie.name)}")
        assert axis_names(dataset) == ["y", "x", "ky", "kx"]

    @pytest.mark.parametrize("pattern", [f"{NAME}_0_movie.mrc", f"{quote(NAME)}_*_movie.mrc"])
    def test_parts_of_a_url_with_spaces_are_found(self, tmp_path, pattern):
        acquisition(tmp_path, name=self.NAME, parts=2)
        with folder_server(tmp_path) as url:
            [dataset] = read_mrc(f"{url}/{pattern}")
        assert dataset["data"].shape == (*SCAN, *FRAME)


class TestInfo:
    def test_command_info_lists_the_images(self, tmp_path, store):
        written = acquisition(tmp_path)
        url = url_of(written.movie, store)
        result = CliRunner().invoke(main, ["info", url])
        assert result.exit_code == 0
        for path, name in zip(written.companions, ["BF", "HAADF", "Ext 1", "Ext 2"], strict=True):
            assert f"image             {name}: {path.name}" in result.stdout
        listed = json.loads(CliRunner().invoke(main, ["info", "--json", url]).stdout)["images"]
        assert listed["Ext 2"] == f"{url.rpartition('/')[0]}/{written.companions[3].name}"


class TestRealAcquisition:
    def test_images_of_a_real_microscope_are_loaded(self, real_data):
        [dataset] = read_mrc(real_data / "20241021_00405_movie.mrc")
        navigators = navigators_of(dataset)
        assert list(navigators) == ["Virt 0", "Virt 1", "Ext 1"]
        for name, file in {"Virt 0": "0_Virt 0_sum", "Ext 1": "ext1_Ext 1"}.items():
            raw = (real_data / f"20241021_00405_{file}.mrc").read_bytes()
            stored = np.frombuffer(raw[1024:], "<f4").reshape(4, 8)
            np.testing.assert_array_equal(navigators[name]["data"], stored)
