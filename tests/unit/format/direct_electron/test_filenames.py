"""Names of the auxiliary files, parts and companion images that belong to a movie."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcdist.errors import MissingFileError
from mrcdist.format.direct_electron.filenames import (
    SCAN_POINTS_ENDING,
    SIDECAR_ENDING,
    Companion,
    candidate_names,
    find_companions,
    find_file,
    find_parts,
)

find_sidecar = partial(find_file, ending=SIDECAR_ENDING)
find_scan_points = partial(find_file, ending=SCAN_POINTS_ENDING)

DAY = "20241021_00405"
SUFFIXES = st.sampled_from(
    ["", "_0", "_7", "_BF", "_tilt_10", "_3_foo", "_ext1", "_Virt 0", "_a_b"]
)


class TestSidecarCandidates:
    @pytest.mark.parametrize(
        ("movie", "sidecars"),
        [
            (f"{DAY}_movie.mrc", (f"{DAY}_info.txt",)),
            (f"{DAY}_BF_movie.mrc", (f"{DAY}_BF_info.txt",)),
            (f"{DAY}_2_movie.mrc", (f"{DAY}_2_info.txt", f"{DAY}_info.txt")),
            (f"{DAY}_BF_12_movie.mrc", (f"{DAY}_BF_12_info.txt", f"{DAY}_BF_info.txt")),
            (f"{DAY}_1_2_movie.mrc", (f"{DAY}_1_2_info.txt", f"{DAY}_1_info.txt")),
            (f"{DAY}_BF2_movie.mrc", (f"{DAY}_BF2_info.txt",)),
            (f"{DAY}_Movie.MRC", (f"{DAY}_info.txt",)),
            ("sample_2_movie.mrc", ("sample_2_info.txt",)),
            (f"{DAY}_final.mrc", ()),
            ("tomogram.mrc", ()),
            ("_movie.mrc", ()),
            ("", ()),
        ],
    )
    def test_sidecar_has_the_stem_of_the_movie_with_or_without_the_part_number(
        self, movie, sidecars
    ):
        assert candidate_names(movie, ending=SIDECAR_ENDING) == sidecars


class TestAnyEnding:
    def test_auxiliary_files_with_any_ending_are_found_by_the_stem_of_the_movie(self):
        listing = [f"{DAY}_2_movie.mrc", f"{DAY}_META.json", "other_meta.json"]
        assert find_file(f"{DAY}_2_movie.mrc", listing, ending="_meta.json") == listing[1]
        assert find_file(f"{DAY}_3_movie.mrc", listing[2:], ending="_meta.json") is None


class TestScanPointsCandidates:
    def test_scan_points_are_named_like_sidecars(self):
        assert candidate_names(f"{DAY}_2_Movie.MRC", ending=SCAN_POINTS_ENDING) == (
            f"{DAY}_2_scan_coordinates.csv",
            f"{DAY}_scan_coordinates.csv",
        )
        assert candidate_names("tomogram.mrc", ending=SCAN_POINTS_ENDING) == ()


class TestFindSidecar:
    def test_sidecar_with_the_exact_stem_is_preferred(self):
        listing = [f"{DAY}_info.txt", f"{DAY}_2_info.txt"]
        assert find_sidecar(f"{DAY}_2_movie.mrc", listing) == f"{DAY}_2_info.txt"
        assert find_sidecar(f"{DAY}_movie.mrc", listing) == f"{DAY}_info.txt"

    def test_sidecar_of_a_part_is_that_of_its_acquisition(self):
        assert find_sidecar(f"{DAY}_2_movie.mrc", [f"{DAY}_info.txt"]) == f"{DAY}_info.txt"

    @pytest.mark.parametrize("other", ["_BF", "_BF2", "_1", "0"])
    def test_sidecar_of_another_acquisition_is_never_used(self, other):
        assert find_sidecar(f"{DAY}_movie.mrc", [f"{DAY}{other}_info.txt"]) is None
        assert find_sidecar(f"{DAY}{other}0_movie.mrc", [f"{DAY}{other}_info.txt"]) is None

    def test_sidecar_of_an_unnumbered_movie_is_not_used_for_a_numbered_one(self):
        listing = [f"{DAY}_movie.mrc", f"{DAY}_info.txt", f"{DAY}_1_movie.mrc"]
        assert find_sidecar(f"{DAY}_1_movie.mrc", listing) is None
        assert find_sidecar(f"{DAY}_movie.mrc", listing) == f"{DAY}_info.txt"

    def test_sidecar_endings_are_case_insensitive_and_stems_are_not(self):
        assert find_sidecar(f"{DAY}_BF_MOVIE.mrc", [f"{DAY}_BF_INFO.TXT"]) == f"{DAY}_BF_INFO.TXT"
        assert find_sidecar(f"{DAY}_BF_movie.mrc", [f"{DAY}_bf_info.txt"]) is None
        both = [f"{DAY}_INFO.txt", f"{DAY}_info.txt", f"{DAY}_Info.txt"]
        assert find_sidecar(f"{DAY}_movie.mrc", both) == f"{DAY}_info.txt"

    def test_only_movies_have_a_sidecar(self):
        assert find_sidecar("tomogram.mrc", ["tomogram_info.txt"]) is None
        assert find_sidecar(f"{DAY}_movie.mrc", []) is None

    @given(st.lists(SUFFIXES, unique=True, min_size=1).flatmap(st.permutations))
    def test_each_acquisition_in_a_folder_has_its_sidecar(self, suffixes):
        listing = [
            f"{DAY}{suffix}_{end}" for suffix in suffixes for end in ("movie.mrc", "info.txt")
        ]
        for suffix in suffixes:
            found = find_sidecar(f"{DAY}{suffix}_movie.mrc", iter(listing))
            assert found == f"{DAY}{suffix}_info.txt"


class TestFindScanPoints:
    def test_scan_points_are_found_like_sidecars(self):
        points = f"{DAY}_scan_coordinates.csv"
        assert find_scan_points(f"{DAY}_movie.mrc", [points, f"{DAY}_info.txt"]) == points
        assert find_scan_points(f"{DAY}_2_movie.mrc", [points, f"{DAY}_info.txt"]) == points
        assert find_scan_points(f"{DAY}_2_movie.mrc", [points, f"{DAY}_2_info.txt"]) is None
        assert find_scan_points(f"{DAY}_BF_movie.mrc", [points]) is None
        assert find_scan_points(f"{DAY}_movie.mrc", [f"{DAY}_BF_scan_coordinates.csv"]) is None
        assert find_scan_points(f"{DAY}_movie.mrc", []) is None


class TestFindParts:
    @given(st.sampled_from([0, 1]), st.integers(1, 15), st.sampled_from(["", "_BF"]), st.data())
    def test_parts_of_a_movie_are_found_in_the_order_of_their_numbers(
        self, first, count, suffix, data
    ):
        parts = [f"{DAY}{suffix}_{n}_movie.mrc" for n in range(first, first + count)]
        others = [f"{DAY}{suffix}_info.txt", f"{DAY}_other_0_movie.mrc", f"{DAY}{suffix}_final.mrc"]
        listing = data.draw(st.permutations([*parts, *others]))
        part = data.draw(st.sampled_from(parts))
        assert find_parts(part, iter(listing)) == tuple(parts)

    def test_part_numbers_with_leading_zeros_are_recognised(self):
        parts = tuple(f"{DAY}_{n:03}_movie.mrc" for n in range(12))
        assert find_parts(parts[3], reversed(parts)) == parts

    def test_movie_that_is_not_listed_is_added_to_the_other_parts(self):
        parts = (f"{DAY}_0_movie.mrc", f"{DAY}_1_movie.mrc")
        assert find_parts(parts[1], parts[:1]) == parts

    def test_parts_are_found_without_a_sidecar(self):
        parts = (f"{DAY}_0_movie.mrc", f"{DAY}_1_movie.mrc")
        assert find_parts(parts[0], parts) == parts

    @pytest.mark.parametrize("movie", [f"{DAY}_movie.mrc", f"{DAY}_BF_movie.mrc", "volume.mrc"])
    def test_movie_without_a_number_has_no_parts(self, movie):
        listing = [movie, f"{DAY}_0_movie.mrc", f"{DAY}_1_movie.mrc", f"{DAY}_info.txt"]
        assert find_parts(movie, listing) == (movie,)
        assert find_parts(movie, []) == (movie,)

    def test_numbered_movie_with_its_own_sidecar_is_not_a_part(self):
        listing = [f"{DAY}_{n}_{end}" for n in (0, 1, 2) for end in ("movie.mrc", "info.txt")]
        assert find_parts(f"{DAY}_1_movie.mrc", listing) == (f"{DAY}_1_movie.mrc",)
        listing.remove(f"{DAY}_0_info.txt")
        assert find_parts(f"{DAY}_0_movie.mrc", listing) == (f"{DAY}_0_movie.mrc",)

    def test_numbered_movie_next_to_an_unnumbered_one_is_not_a_part(self):
        listing = [f"{DAY}_movie.mrc", f"{DAY}_0_movie.mrc", f"{DAY}_1_movie.mrc"]
        assert find_parts(f"{DAY}_0_movie.mrc", listing) == (f"{DAY}_0_movie.mrc",)

    @pytest.mark.parametrize("numbers", [["0", "2"], ["2", "3"], ["0", "1", "01"], ["20240101"]])
    def test_error_for_missing_or_duplicate_parts_has_the_numbers(self, numbers):
        parts = [f"{DAY}_{number}_movie.mrc" for number in numbers]
        with pytest.raises(MissingFileError) as error:
            find_parts(parts[0], [*parts, f"{DAY}_info.txt"])
        assert ", ".join(str(int(number)) for number in numbers) in error.value.problem
        # Without a sidecar, the numbers may be suffixes.
        assert find_parts(parts[0], parts) == (parts[0],)


class TestFindCompanions:
    def test_companion_images_are_named_after_their_files(self):
        listing = [
            f"{DAY}_10_HAADF_sum.mrc",
            f"{DAY}_ext2.mrc",
            f"{DAY}_2_dark_field_mean.mrc",
            f"{DAY}_movie.mrc",
            f"{DAY}_final.mrc",
            f"{DAY}_ext1_Ext #1.mrc",
            f"{DAY}_virt3_COM x_Center Of Mass.mrc",
            f"{DAY}_0_Virt #0_total_sum.mrc",
            f"{DAY}_info.txt",
            f"{DAY}_5_CentroidAmp_centroid_amplitude.mrc",
            f"{DAY}_1_Virt 1_sum.MRC",
            f"{DAY}_4__sum.mrc",
        ]
        assert find_companions(f"{DAY}_movie.mrc", iter(listing)) == (
            Companion("Virt #0", f"{DAY}_0_Virt #0_total_sum.mrc", "virtual", 0),
            Companion("Virt 1", f"{DAY}_1_Virt 1_sum.MRC", "virtual", 1),
            Companion("dark_field", f"{DAY}_2_dark_field_mean.mrc", "virtual", 2),
            Companion("COM x", f"{DAY}_virt3_COM x_Center Of Mass.mrc", "virtual", 3),
            Companion("4__sum", f"{DAY}_4__sum.mrc", "virtual", 4),
            Companion("CentroidAmp", f"{DAY}_5_CentroidAmp_centroid_amplitude.mrc", "virtual", 5),
            Companion("HAADF", f"{DAY}_10_HAADF_sum.mrc", "virtual", 10),
            Companion("Ext #1", f"{DAY}_ext1_Ext #1.mrc", "external", 1),
            Companion("ext2", f"{DAY}_ext2.mrc", "external", 2),
        )

    def test_companion_images_with_the_same_name_are_distinguished_by_their_files(self):
        listing = [f"{DAY}_0_BF_sum.mrc", f"{DAY}_0_BF_mean.mrc", f"{DAY}_ext1_BF.mrc"]
        names = [image.name for image in find_companions(f"{DAY}_movie.mrc", listing)]
        assert names == ["0_BF_mean", "0_BF_sum", "ext1_BF"]

    def test_parts_share_the_companion_images_of_their_acquisition(self):
        images = [f"{DAY}_0_BF_sum.mrc", f"{DAY}_1_DF_sum.mrc"]
        listing = [f"{DAY}_0_movie.mrc", f"{DAY}_1_movie.mrc", f"{DAY}_info.txt", *images]
        for part in listing[:2]:
            assert [image.file for image in find_companions(part, listing)] == images

    @pytest.mark.parametrize(
        "file",
        [
            f"{DAY}_0_movie.mrc",
            f"{DAY}_0_BF_movie.mrc",
            f"{DAY}_1_BF_final.mrc",
            f"{DAY}_crude.mrc",
            f"{DAY}_0_sum.mrc",
            f"{DAY}_0_BF_sum.tif",
            f"{DAY}0_0_BF_sum.mrc",
            f"{DAY}_BF_0_BF_sum.mrc",
            f"{DAY}_external_1.mrc",
            "20241021_00406_0_BF_sum.mrc",
            f"copy of {DAY}_0_BF_sum.mrc",
        ],
    )
    def test_files_with_other_names_are_not_companion_images(self, file):
        assert find_companions(f"{DAY}_movie.mrc", [f"{DAY}_movie.mrc", file]) == ()

    def test_volume_has_no_companion_images(self):
        assert find_companions("volume.mrc", ["volume_0_BF_sum.mrc"]) == ()

    @pytest.mark.parametrize("end", ["movie.mrc", "info.txt"])
    def test_number_is_part_of_the_stem_if_a_movie_or_sidecar_has_it(self, end):
        listing = [f"{DAY}_movie.mrc", f"{DAY}_3_{end}", f"{DAY}_3_0_BF_sum.mrc"]
        assert find_companions(f"{DAY}_movie.mrc", listing) == ()
        (image,) = find_companions(f"{DAY}_movie.mrc", [listing[0], listing[2]])
        assert (image.number, image.name) == (3, "0_BF")

    @given(
        st.lists(SUFFIXES, unique=True, min_size=1),
        st.lists(
            st.sampled_from(
                ["_0_BF_sum", "_12_my image_mean", "_virt3_a_b_sum", "_ext1", "_ext2_E x"]
            ),
            unique=True,
        ),
        st.data(),
    )
    def test_every_companion_image_belongs_to_one_acquisition(self, suffixes, images, data):
        expected = {s: {f"{DAY}{s}{image}.mrc" for image in images} for s in suffixes}
        base = [f"{DAY}{s}_{end}" for s in suffixes for end in ("movie.mrc", "info.txt")]
        listing = data.draw(
            st.permutations([*base, *(file for s in expected for file in expected[s])])
        )
        for suffix in suffixes:
            found = find_companions(f"{DAY}{suffix}_movie.mrc", listing)
            assert {image.file for image in found} == expected[suffix]
            assert [(i.kind, i.number) for i in found] == sorted(
                ((i.kind, i.number) for i in found), key=lambda key: (key[0] != "virtual", key[1])
            )
            assert len({image.name for image in found}) == len(found)
