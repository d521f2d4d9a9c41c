"""Errors have a problem, cause and remedy, and are raised before any task runs."""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import pickle
import re
from pathlib import Path

import dask
import distributed.protocol.pickle as distributed_pickle
import numpy as np
import pytest
from botocore.exceptions import NoCredentialsError

import mrcdist
from mrcdist import errors, stats
from mrcdist.cli import main
from mrcdist.storage.store_errors import explain_failure
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, header_bytes, mrc_bytes, write_mrc
from tests.support.processes import free_port
from tests.support.raised import KINDS, RAISED, TEXTS

BUILTINS = {
    "ArgumentError": ValueError,
    "FormatError": ValueError,
    "TruncatedFileError": ValueError,
    "SidecarError": ValueError,
    "MissingExtraError": ImportError,
    "MissingFileError": FileNotFoundError,
    "AccessDeniedError": PermissionError,
    "FileChangedError": OSError,
    "ReadError": OSError,
    "WriteError": OSError,
}
EVERY = [getattr(errors, name) for name in BUILTINS]
PARAMS = [param for command in main.commands.values() for param in command.params]
ARGUMENTS = {str(param.name) for param in PARAMS}.union(
    *(
        inspect.signature(function).parameters
        for function in (write_acquisition, *(getattr(mrcdist, name) for name in mrcdist.__all__))
        if inspect.isfunction(function)
    )
)
CODES = sorted({raised.code for raised in RAISED} - {"error.code"})


class TestClasses:
    def test_table_of_builtin_bases_has_every_error_class(self):
        assert set(KINDS) - {"MrcdistError", "MrcdistWarning"} == set(BUILTINS)

    @pytest.mark.parametrize("name", BUILTINS)
    def test_error_class_derives_from_mrcdist_error_and_a_builtin(self, name):
        error = getattr(errors, name)
        assert issubclass(error, mrcdist.MrcdistError)
        assert issubclass(error, BUILTINS[name])

    def test_errors_about_truncated_files_and_sidecars_are_format_errors(self):
        assert issubclass(errors.TruncatedFileError, errors.FormatError)
        assert issubclass(errors.SidecarError, errors.FormatError)

    def test_warnings_can_be_filtered_as_user_warnings(self):
        assert issubclass(mrcdist.MrcdistWarning, UserWarning)


class TestText:
    def test_error_text_has_problem_cause_remedy_and_place(self):
        error = errors.ReadError("a = 3", cause="b", remedy="c", where="d")
        assert str(error) == "a = 3\n  cause: b\n  remedy: c\n  where: d\n  code: read-failed"

    def test_repr_of_an_error_has_its_text(self):
        """Workers log the `repr` of exceptions of tasks."""
        error = errors.ReadError("a = 3", cause="b", remedy="c", where="d")
        assert repr(error) == f"ReadError({str(error)!r})"

    def test_error_text_omits_empty_parts(self):
        assert (
            str(errors.ReadError("a = 3", remedy="c")) == "a = 3\n  remedy: c\n  code: read-failed"
        )

    def test_place_of_an_error_is_set_only_once(self):
        error = errors.ReadError("a = 3").located("host 1")
        assert error.where == "host 1"
        assert error.located("host 2") is error
        assert type(error) is errors.ReadError


class TestCodes:
    """Stable identifiers, independent of the messages."""

    @pytest.mark.parametrize("kind", EVERY)
    def test_default_code_of_an_error_class_is_unique(self, kind):
        code = kind("a").code
        assert [other for other in EVERY if other("a").code == code] == [kind]

    @pytest.mark.parametrize("code", CODES)
    def test_error_code_consists_of_lower_case_words_with_hyphens(self, code):
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", code)

    def test_argument_errors_have_an_argument(self):
        errors_of_arguments = [raised for raised in RAISED if raised.kind is errors.ArgumentError]
        assert [raised.place for raised in errors_of_arguments if not raised.argument] == []

    @pytest.mark.parametrize("raised", RAISED, ids=lambda raised: raised.place)
    def test_problem_that_begins_with_the_argument_has_it_in_backticks(self, raised):
        if match := re.match("`([^=`]+)=", raised.problem):
            assert match[1] == raised.argument
        assert not re.match(rf"{re.escape(raised.argument or '`')}\b", raised.problem)

    def test_argument_and_format_errors_never_have_the_default_code(self):
        kinds = (errors.ArgumentError, errors.FormatError)
        bare = [raised for raised in RAISED if raised.explicit_code is None]
        assert [raised.place for raised in bare if issubclass(raised.kind, kinds)] == []

    @pytest.mark.parametrize("code", CODES)
    def test_errors_with_the_same_code_have_the_same_class(self, code):
        assert len({raised.kind for raised in RAISED if raised.code == code}) <= 1

    def test_copies_with_a_place_or_remedy_keep_code_and_argument(self):
        error = errors.ArgumentError("chunks=0", code="chunks-invalid", argument="chunks")
        for other in (error.located("host 1"), error.remedied("pass `chunks=1`")):
            assert (other.code, other.argument) == ("chunks-invalid", "chunks")
            assert type(other) is errors.ArgumentError

    def test_errors_caused_by_a_recursion_error_can_be_copied(self):
        """`tblib`, which distributed installs, makes the `copy` module follow the traceback."""

        def descend():
            descend()

        try:
            descend()
        except RecursionError as cause:
            error = errors.ArgumentError("jobqueue file is not valid")
            error.__context__ = cause
        assert error.located("deep.yaml").where == "deep.yaml"

    def test_copies_with_a_place_or_remedy_keep_notes(self):
        error = errors.WriteError("a")
        error.add_note("some files could not be removed")
        for other in (error.located("host 1"), error.remedied("call again")):
            assert other.__notes__ == ["some files could not be removed"]
            other.add_note("another note")
        assert error.__notes__ == ["some files could not be removed"]


class TestArguments:
    """In texts, arguments are in backticks, so that the command line can show its options."""

    def assert_absent(self, pattern, ignored="`[^`]*`|«[^»]*»", package=""):
        texts = {place: re.sub(ignored, "", text) for place, text in TEXTS.items()}
        found = {place: text for place, text in texts.items() if re.search(pattern, text)}
        assert {place: text for place, text in found.items() if re.match(package, place)} == {}

    def test_arguments_are_in_backticks(self):
        words = "|".join(name for name in ARGUMENTS if "_" in name)
        self.assert_absent(rf"(?<![\w.])(({words})\b|({'|'.join(ARGUMENTS)})=)")

    def test_arguments_whose_name_is_a_variable_are_in_backticks(self):
        self.assert_absent(r"«(\w+\.)*argument»", ignored="`[^`]*`")

    def test_arguments_are_not_in_braces(self):
        self.assert_absent(rf"{{({'|'.join(ARGUMENTS)})[=}}]")

    def test_texts_outside_the_command_line_have_no_options(self):
        options = {name for param in PARAMS for name in param.opts if name.startswith("--")}
        self.assert_absent(rf"({'|'.join(options)})\b(?!=)", package="(?!cli/)")


@pytest.mark.parametrize("protocol", ["pickle", "distributed"])
@pytest.mark.parametrize("kind", EVERY)
def test_errors_are_pickled_with_all_attributes(kind, protocol):
    error = kind("a = 3", code="job-differs", argument="a", cause="b", remedy="`c=1`", where="d")
    module = pickle if protocol == "pickle" else distributed_pickle
    copy = module.loads(module.dumps(error))
    assert not hasattr(copy, "__notes__")
    error.add_note("in frames 3 to 5")
    copy = module.loads(module.dumps(error))
    assert copy.__notes__ == ["in frames 3 to 5"]
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert (copy.problem, copy.cause, copy.remedy, copy.where) == ("a = 3", "b", "`c=1`", "d")
    assert (copy.code, copy.argument) == ("job-differs", "a")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_mrc(tmp_path_factory.mktemp("errors") / "a.mrc", counting((24, 8, 8), "uint16"))


def assert_explained(error, value):
    assert value in error.problem
    assert error.cause
    assert "\n" not in error.problem + error.cause
    assert error.remedy


class TestBadArguments:
    @pytest.mark.parametrize(
        ("options", "value"),
        [
            ({"chunks": "tiny"}, "chunks='tiny'"),
            ({"chunks": "-3 MiB"}, "chunks='-3 MiB'"),
            ({"chunks": "0"}, "chunks='0'"),
            ({"chunks": 0}, "chunks=0"),
            ({"chunks": -2}, "chunks=-2"),
            ({"chunks": (3,)}, "chunks=(3,)"),
            ({"chunks": (0, 8, 8)}, "chunks=(0, 8, 8)"),
            ({"chunks": (2.5, 8, 8)}, "chunks=(2.5, 8, 8)"),
            ({"chunks": ((3, 4), 8, 8)}, "chunks=((3, 4), 8, 8)"),
            ({"chunks": ("auto", 8, "x")}, "chunks=('auto', 8, 'x')"),
            ({"chunks": {7: 1}}, "chunks={7: 1}"),
            ({"chunks": {"x": 1}}, "chunks={'x': 1}"),
            ({"chunks": {1, 2}}, "chunks={1, 2}"),
            (
                {"navigation_shape": (5, 5)},
                "`navigation_shape=(5, 5)` has 25 points, but the file has 24",
            ),
            ({"navigation_shape": (5, -1)}, "navigation_shape=(5, -1)"),
            ({"navigation_shape": (0,)}, "navigation_shape=(0,)"),
            ({"navigation_shape": (-1, -1)}, "navigation_shape=(-1, -1)"),
            ({"navigation_shape": "abc"}, "navigation_shape='abc'"),
            ({"navigation_shape": 24}, "navigation_shape=24"),
            ({"navigation_shape": ()}, "navigation_shape=()"),
            ({"endianness": "big"}, "endianness='big'"),
            ({"mode0": "int32"}, "mode0='int32'"),
            ({"mmap_mode": "w+"}, "mmap_mode='w+'"),
            ({"mmap_mode": "w+", "distributed": False}, "mmap_mode='w+'"),
            ({"mmap_mode": "r+"}, "`mmap_mode='r+'` with a lazy array"),
            ({"mmap_mode": "r+", "lazy": True, "distributed": False}, "mmap_mode='r+'"),
            ({"mmap_mode": "r+", "lazy": False}, "mmap_mode='r+'"),
            ({"mmap_mode": "rw"}, "mmap_mode='rw'"),
            ({"metadata_file": 5}, "`metadata_file` is a int"),
            ({"tilt_file": 5}, "`tilt_file` is a int"),
            ({"virtual_images": "one.mrc"}, "`virtual_images` is a str"),
            ({"external_images": 5}, "`external_images` is a int"),
            ({"external_images": [5]}, "`external_images` is a int"),
            ({"storage_options": "anon"}, "`storage_options` is a str"),
        ],
        ids=str,
    )
    def test_invalid_arguments_are_refused_before_any_task_runs(self, path, options, value):
        before = stats.snapshot()
        with pytest.raises(mrcdist.errors.ArgumentError) as raised:
            mrcdist.read_mrc(path, **options)
        assert_explained(raised.value, value)
        assert stats.snapshot() == before

    @pytest.mark.parametrize(
        ("filename", "value"),
        [
            (5, "`filename` is a int"),
            (None, "`filename` is a NoneType"),
            (b"a.mrc", "`filename` is a bytes"),
            pytest.param(io.BytesIO(), "`filename` is a BytesIO", id="open file"),
            ("", "`filename` is empty"),
            ([], "list of files is empty"),
            ([5], "`filename` is a int"),
        ],
        ids=str,
    )
    def test_invalid_filenames_are_refused(self, filename, value):
        with pytest.raises(mrcdist.errors.ArgumentError) as raised:
            mrcdist.read_mrc(filename)
        assert_explained(raised.value, value)
        assert raised.value.argument == "filename"

    def test_url_of_an_unknown_protocol_is_refused(self):
        with pytest.raises(mrcdist.errors.ArgumentError) as raised:
            mrcdist.read_mrc("nowhere://a/b.mrc")
        assert_explained(raised.value, "no filesystem for nowhere://a/b.mrc")

    @pytest.mark.parametrize("kind", ["<>", "bigendian"])
    def test_errors_of_file_reader_contain_the_invalid_value(self, path, kind):
        with pytest.raises(mrcdist.errors.ArgumentError, match=kind):
            mrcdist.file_reader(path, endianess=kind)

    @pytest.mark.parametrize(
        ("knob", "value"),
        [
            ("sub-range", 0),
            ("sub-range", "16 MB a piece"),
            ("sub-range", 0.5),
            ("concurrency", 2.5),
            ("concurrency", float("inf")),
            ("process-concurrency", True),
            ("max-gap", -1),
            ("deadline", float("nan")),
            ("retries", None),
            ("io", "mmap"),
        ],
    )
    def test_invalid_settings_are_refused(self, path, knob, value):
        [ds] = mrcdist.read_mrc(path)
        with dask.config.set({f"mrcdist.{knob}": value}):
            with pytest.raises(mrcdist.errors.ArgumentError) as raised:
                mrcdist.plan_mrc(path).explain()
            assert_explained(raised.value, f"mrcdist.{knob} = {value!r}")
            with pytest.raises(mrcdist.errors.ArgumentError):
                ds["data"].compute()

    def test_integer_settings_may_be_floats(self, memory_file):
        numbers = counting((24, 8, 8), "uint16")
        with dask.config.set({"mrcdist.sub-range": 1e3, "mrcdist.concurrency": 2.0}):
            [ds] = mrcdist.read_mrc(memory_file(mrc_bytes(numbers)))
            np.testing.assert_array_equal(ds["data"].compute(), numbers)


class TestBadFiles:
    def refused_problem(self, tmp_path, raw, kind):
        path = tmp_path / "bad.mrc"
        path.write_bytes(raw)
        with pytest.raises(kind) as raised:
            mrcdist.read_mrc(path)
        assert type(raised.value) is kind
        assert raised.value.cause
        assert raised.value.remedy
        assert str(path) in raised.value.where
        return raised.value.problem

    def test_error_about_another_file_type_shows_its_first_bytes(self, tmp_path):
        problem = self.refused_problem(tmp_path, b"%PDF-1.4 " * 200, errors.FormatError)
        assert "not an MRC file" in problem
        assert "25 50 44 46" in problem
        assert "%PDF" in problem

    def test_file_shorter_than_a_header_is_refused(self, tmp_path):
        problem = self.refused_problem(tmp_path, b"hello", errors.FormatError)
        assert "5 bytes are too few for the 1024-byte header" in problem
        assert "hello" in problem

    def test_empty_file_is_refused(self, tmp_path):
        assert "0 bytes" in self.refused_problem(tmp_path, b"", errors.FormatError)

    def test_error_about_a_truncated_file_has_both_sizes(self, tmp_path):
        raw = mrc_bytes(counting((24, 8, 8), "uint16"))
        problem = self.refused_problem(tmp_path, raw[:-100], errors.TruncatedFileError)
        assert f"{len(raw) - 100} bytes" in problem
        assert f"announces {len(raw)}" in problem
        assert "23 of 24 frames" in problem

    def test_truncated_file_is_read_on_request(self, tmp_path):
        numbers = counting((24, 8, 8), "uint16")
        path = tmp_path / "short.mrc"
        path.write_bytes(mrc_bytes(numbers)[:-100])
        with pytest.warns(mrcdist.MrcdistWarning):
            [ds] = mrcdist.read_mrc(path, allow_truncated=True)
        np.testing.assert_array_equal(ds["data"].compute(), numbers[:23])

    def test_missing_file_is_an_error(self, tmp_path):
        with pytest.raises(errors.MissingFileError) as raised:
            mrcdist.read_mrc(tmp_path / "none.mrc")
        assert_explained(raised.value, str(tmp_path / "none.mrc"))
        assert "host" in raised.value.where

    def test_folder_instead_of_a_file_is_an_error(self, tmp_path):
        with pytest.raises(errors.MissingFileError, match=r"is a folder(?s:.*)pass the .mrc file"):
            mrcdist.read_mrc(tmp_path)

    def test_missing_sidecar_passed_by_name_is_an_error(self, path, tmp_path):
        with pytest.raises(errors.MissingFileError, match=r"none_info\.txt"):
            mrcdist.read_mrc(path, metadata_file=tmp_path / "none_info.txt")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_file_without_read_permission_is_an_error(self, tmp_path):
        path = write_mrc(tmp_path / "a.mrc", counting((2, 8, 8), "uint16"))
        path.chmod(0)
        with pytest.raises(errors.AccessDeniedError):
            mrcdist.read_mrc(path)


class TestStores:
    """Stores that cannot be reached or refuse access."""

    @pytest.mark.parametrize("host", ["127.0.0.1:{}", "nosuch.invalid:{}"])
    def test_host_never_reached_before_suggests_checking_its_name(self, host):
        url = f"http://{host.format(free_port())}/movie.mrc"
        with (
            dask.config.set({"mrcdist.retries": 0}),
            pytest.raises(mrcdist.ReadError, match="after 1 attempt") as caught,
        ):
            mrcdist.plan_mrc(url)
        assert caught.value.remedy.startswith("check the host name or the endpoint")
        assert "then try again" in caught.value.remedy

    def test_missing_credentials_suggest_anonymous_access(self):
        error = explain_failure(NoCredentialsError(), "s3://b/x.mrc", str)
        assert '{"anon": True}' in error.remedy

    def test_missing_file_suggests_checking_the_spelling(self, tmp_path):
        with pytest.raises(mrcdist.MissingFileError) as caught:
            mrcdist.plan_mrc(tmp_path / "moive.mrc")
        assert caught.value.remedy.startswith("check the spelling")


class TestMmapModes:
    """`mmap_mode` is for arrays that are not lazy; tasks never write."""

    @pytest.fixture
    def numbers(self):
        return counting((24, 8, 8), "uint16")

    @pytest.fixture
    def path(self, tmp_path, numbers):
        return write_mrc(tmp_path / "a.mrc", numbers)

    def data(self, path, mode, **options):
        [ds] = mrcdist.read_mrc(path, distributed=False, mmap_mode=mode, **options)
        return ds["data"]

    @pytest.mark.parametrize("mode", [None, "c"])
    def test_mode_c_is_the_default_and_copies_on_write(self, path, numbers, mode):
        before = path.read_bytes()
        data = self.data(path, mode)
        assert isinstance(data, np.memmap)
        np.testing.assert_array_equal(data, numbers)
        data[3] = 7
        assert data[3].min() == 7
        del data
        assert path.read_bytes() == before

    def test_mode_r_is_read_only(self, path, numbers):
        data = self.data(path, "r")
        np.testing.assert_array_equal(data, numbers)
        with pytest.raises(ValueError, match="read-only"):
            data[3] = 7

    @pytest.mark.parametrize("byteorder", "<>")
    def test_mode_r_plus_writes_through(self, tmp_path, numbers, byteorder):
        path = write_mrc(tmp_path / "a.mrc", numbers, byteorder=byteorder, extended=b"")
        header = path.read_bytes()[:1024]
        data = self.data(path, "r+", navigation_shape=(6, 4))
        data[1, 2] = 7
        data.flush()
        del data
        numbers[8] = 7
        assert path.read_bytes() == header + numbers.astype(f"{byteorder}u2").tobytes()

    def test_mode_r_plus_is_refused_if_the_file_cannot_be_mapped(
        self, memory_file, numbers, tmp_path
    ):
        four_bit = tmp_path / "packed.mrc"
        four_bit.write_bytes(header_bytes(nx=8, ny=8, nz=2, mode=101) + bytes(64))
        for url in (memory_file(mrc_bytes(numbers)), four_bit):
            with pytest.raises(errors.ArgumentError, match="writing through") as raised:
                self.data(url, "r+")
            assert_explained(raised.value, "mmap_mode='r+'")

    @pytest.mark.parametrize("mode", [None, "r", "c"])
    @pytest.mark.parametrize("byteorder", "<>")
    @pytest.mark.parametrize("store", ["disk", "memory"])
    def test_values_do_not_depend_on_store_byte_order_or_mode(
        self, tmp_path, memory_file, numbers, store, byteorder, mode
    ):
        raw = mrc_bytes(numbers, byteorder=byteorder)
        url = memory_file(raw) if store == "memory" else tmp_path / "b.mrc"
        if store == "disk":
            url.write_bytes(raw)
        np.testing.assert_array_equal(self.data(url, mode), numbers)

    @pytest.mark.parametrize("lazy", [True, False])
    @pytest.mark.parametrize("distributed", [True, False])
    def test_reading_does_not_change_the_file_or_its_folder(self, path, numbers, lazy, distributed):
        def state():
            stat = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return digest, stat.st_mtime_ns, stat.st_ino, sorted(path.parent.iterdir())

        before = state()
        [ds] = mrcdist.read_mrc(path, lazy=lazy, distributed=distributed)
        data = ds["data"]
        assert hasattr(data, "dask") == lazy
        data = data.compute() if lazy else data
        np.testing.assert_array_equal(data, numbers)
        if data.flags.writeable:
            data[...] = 0
        del data, ds
        assert state() == before

    def test_lazy_result_does_not_write_through(self, path, numbers):
        before = path.read_bytes()
        [ds] = mrcdist.read_mrc(path)
        data = ds["data"].compute()
        if data.flags.writeable:
            data[...] = 0
        assert path.read_bytes() == before


def test_relative_path_is_made_absolute_at_once(path, monkeypatch, tmp_path):
    monkeypatch.chdir(path.parent)
    [ds] = mrcdist.read_mrc(path.name)
    source = mrcdist.plan_mrc(Path(path.name)).source
    monkeypatch.chdir(tmp_path)
    assert ds["data"][3].compute().shape == (8, 8)
    assert source.parts[0].file.location.url == str(path)
