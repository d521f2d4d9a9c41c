"""Auxiliary files: "auto", None, a path and an open file have the same meaning for every kind."""

from __future__ import annotations

import dataclasses
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mrcdist.discover.auxiliary_files import (
    SCAN_POINTS,
    SIDECAR,
    TILT_ANGLES,
    AuxiliaryFile,
    FileType,
    choose,
)
from mrcdist.discover.files import Directory
from mrcdist.errors import ArgumentError, MissingFileError, SidecarError
from mrcdist.storage.location import Location
from mrcdist.warning_notes import Notes

# A kind for this test: the name of the data with another ending.
WORDS = FileType(
    "words_file",
    parse=lambda name, raw: (name, raw.decode()),
    find=lambda data, listing: next((n for n in listing if n == f"{data}.words"), None),
    candidates=lambda data: (f"{data}.words", "all.words") if data.endswith(".mrc") else (),
)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "a.mrc").write_bytes(b"data")
    return tmp_path / "a.mrc"


def directory_of(data):
    return Directory(Location.of(data))


def read(data, wanted, kind=WORDS):
    notes = Notes()
    return AuxiliaryFile(kind, wanted, directory_of(data)).read(notes), list(notes)


class TestChoice:
    @pytest.mark.parametrize(
        ("wanted", "choice"),
        [
            (None, "none"),
            ("auto", "auto"),
            ("AUTO", "named"),
            ("", "named"),
            (Path("auto"), "named"),
            (io.StringIO("auto"), "named"),
        ],
    )
    def test_only_none_and_the_string_auto_are_special(self, wanted, choice):
        assert choose("scan_file", wanted) == choice

    @pytest.mark.parametrize("wanted", [[], ("auto",), [Path("a.mrc")]])
    def test_list_names_files_where_many_are_possible(self, wanted):
        assert choose("virtual_images", wanted, many=True) == "named"
        with pytest.raises(ArgumentError) as caught:
            choose("scan_file", wanted)
        assert (caught.value.code, caught.value.argument) == (
            "argument-type-invalid",
            "scan_file",
        )

    @pytest.mark.parametrize("wanted", [np.array(["auto"]), 5, b"auto"])
    @pytest.mark.parametrize("many", [False, True])
    def test_option_of_another_type_is_refused(self, wanted, many):
        with pytest.raises(ArgumentError, match="`scan_file` is a ") as caught:
            choose("scan_file", wanted, many=many)
        assert caught.value.code == "argument-type-invalid"

    @pytest.mark.parametrize(("wanted", "named"), [(None, False), ("auto", False), ("x", True)])
    def test_files_that_the_caller_passes_are_named(self, data, wanted, named):
        assert AuxiliaryFile(WORDS, wanted, directory_of(data)).named is named


class TestReading:
    def test_auxiliary_file_is_found_in_the_listing(self, data):
        data.with_name("a.mrc.words").write_text("next to it")
        assert read(data, "auto") == (("a.mrc.words", "next to it"), [])

    def test_auxiliary_file_that_is_not_in_the_listing_is_not_found(self, data):
        data.with_name("all.words").write_text("a name for stores that cannot list")
        assert read(data, "auto") == (None, [])

    def test_option_none_reads_no_auxiliary_file_although_one_exists(self, data):
        data.with_name("a.mrc.words").write_text("next to it")
        assert read(data, None) == (None, [])

    def test_directory_is_not_listed_for_data_that_cannot_have_such_a_file(self, tmp_path):
        (tmp_path / "a.dat").write_bytes(b"data")
        directory = directory_of(tmp_path / "a.dat")
        assert AuxiliaryFile(WORDS, "auto", directory).read(Notes()) is None
        assert "listing" not in vars(directory)

    @pytest.mark.parametrize("as_wanted", [str, Path, lambda path: path.as_uri()])
    def test_auxiliary_file_passed_by_name_overrides_the_one_next_to_the_data(
        self, data, tmp_path, as_wanted
    ):
        data.with_name("a.mrc.words").write_text("next to it")
        named = tmp_path / "elsewhere" / "other.txt"
        named.parent.mkdir()
        named.write_text("named")
        assert read(data, as_wanted(named)) == (("other.txt", "named"), [])

    def test_auxiliary_file_passed_by_name_must_exist(self, data, tmp_path):
        with pytest.raises(MissingFileError):
            read(data, tmp_path / "none.words")

    @pytest.mark.parametrize("stream", [io.BytesIO(b"open \xe2\x88\x92"), io.StringIO("open −")])
    def test_open_auxiliary_file_is_read_from_its_position(self, data, stream):
        stream.seek(5)
        assert read(data, stream) == (("", "−"), [])

    def test_open_auxiliary_file_keeps_its_name(self, data):
        data.with_name("b.words").write_text("open")
        with data.with_name("b.words").open() as stream:
            assert read(data, stream) == (("b.words", "open"), [])

    def test_argument_of_another_type_is_an_error_that_names_it(self, data):
        with pytest.raises(ArgumentError, match="is a int") as caught:
            read(data, 3)
        assert (caught.value.argument, caught.value.code) == (
            "words_file",
            "argument-type-invalid",
        )


@pytest.mark.usefixtures("unlistable")
class TestStoresThatCannotList:
    def test_names_of_auxiliary_files_are_tried_in_order(self, data):
        data.with_name("all.words").write_text("second")
        assert read(data, "auto") == (("all.words", "second"), [])
        data.with_name("a.mrc.words").write_text("first")
        assert read(data, "auto") == (("a.mrc.words", "first"), [])

    def test_missing_auxiliary_file_is_not_an_error(self, data):
        assert read(data, "auto") == (None, [])


class TestOptionalKinds:
    """Files of these kinds are only searched in a listing, and not on web servers."""

    OPTIONAL = dataclasses.replace(WORDS, essential=False)

    def test_optional_auxiliary_file_is_found_in_the_listing(self, data):
        data.with_name("a.mrc.words").write_text("next to it")
        assert read(data, "auto", self.OPTIONAL) == (("a.mrc.words", "next to it"), [])

    @pytest.mark.usefixtures("unlistable")
    def test_names_of_optional_files_are_not_tried_if_the_store_cannot_list(self, data):
        data.with_name("a.mrc.words").write_text("next to it")
        assert read(data, "auto", self.OPTIONAL) == (None, [])

    @pytest.mark.parametrize("url", ["https://host/a.mrc", "simplecache::http://host/http/a.mrc"])
    def test_web_servers_are_not_asked_for_a_listing(self, url):
        directory = Directory(Location.of(url))
        assert AuxiliaryFile(self.OPTIONAL, "auto", directory).read(Notes()) is None
        assert "listing" not in vars(directory)

    @pytest.mark.parametrize("url", ["/http/a.mrc", "s3://https/a.mrc", "memory://a.mrc"])
    def test_stores_other_than_web_servers_can_be_listed(self, url):
        assert Directory(Location.of(url)).can_be_listed


class TestErrorsInTheFile:
    """Errors in an auxiliary file are located there, not in the data."""

    @pytest.mark.parametrize("kind", [SIDECAR, SCAN_POINTS])
    @pytest.mark.parametrize("wanted", ["auto", "named"])
    def test_errors_are_located_in_the_auxiliary_file(self, tmp_path, kind, wanted):
        movie = tmp_path / "20260101_00001_movie.mrc"
        movie.write_bytes(b"data")
        [damaged, *_] = kind.candidates(movie.name)
        (tmp_path / damaged).write_bytes(b"damaged")
        with pytest.raises(SidecarError) as caught:
            read(movie, tmp_path / damaged if wanted == "named" else wanted, kind)
        assert caught.value.where == str(tmp_path / damaged)

    def test_error_in_an_open_file_has_no_location(self, data):
        with pytest.raises(SidecarError) as caught:
            read(data, io.BytesIO(b"damaged"), SIDECAR)
        assert caught.value.where == ""


class TestLargeFiles:
    """Files of another kind are an error before they take memory."""

    @pytest.mark.parametrize("kind", [SIDECAR, SCAN_POINTS, TILT_ANGLES])
    @pytest.mark.parametrize("wanted", ["path", "stream"])
    def test_large_file_is_refused(self, data, tmp_path, kind, wanted):
        large = tmp_path / "large.txt"
        with large.open("wb") as file:
            file.truncate(2**30)  # sparse
        with large.open("rb") as stream, pytest.raises(SidecarError) as caught:
            read(data, large if wanted == "path" else stream, kind)
        error = caught.value
        assert (error.code, error.argument) == ("auxiliary-file-too-large", kind.argument)

    def test_auxiliary_file_of_garbage_is_refused_after_its_first_lines(self, data):
        garbage = io.BytesIO(b"a\n" * (16 * 2**20))
        tracemalloc.start()
        try:
            with pytest.raises(SidecarError, match="not two whole numbers"):
                read(data, garbage, SCAN_POINTS)
            assert tracemalloc.get_traced_memory()[1] < 256 * 2**20
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("bad", [10, 9_000])
    def test_invalid_line_is_named_by_its_number(self, data, bad):
        lines = [b"1,2"] * 10_000
        lines[bad - 1] = b"1;2"
        with pytest.raises(SidecarError, match=f"line {bad} of the list"):
            read(data, io.BytesIO(b"\n".join(lines)), SCAN_POINTS)


class TestAbsence:
    @pytest.mark.parametrize(
        ("name", "wanted", "reason"),
        [
            ("a.mrc", None, "`words_file=None` was passed"),
            ("a.mrc", "auto", "looked for next to the movie: a.mrc.words, all.words"),
            ("a.dat", "auto", "looked for next to a file called"),
        ],
    )
    def test_reason_for_a_missing_file_is_given(self, tmp_path, name, wanted, reason):
        (tmp_path / name).write_bytes(b"data")
        file = AuxiliaryFile(WORDS, wanted, directory_of(tmp_path / name))
        assert file.read(Notes()) is None
        assert reason in file.absence()
