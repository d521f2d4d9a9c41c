"""Results are written exactly, to the requested files, and never over an input."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import zlib

import mrcfile
import numpy as np
import pytest
import zarr

from mrcdist.batch.output import (
    check_outputs,
    clean_up,
    require_absent,
    result_figure,
    write_result,
)
from mrcdist.compute.results import Result
from mrcdist.errors import ArgumentError, MissingExtraError, MrcdistError
from mrcdist.format.axis import Axis
from mrcdist.read_limits import DEFAULT_LIMITS
from mrcdist.storage.location import Location
from mrcdist.storage.stored_file import StoredFile
from tests.support.mrc_files import write_mrc


def axis(name, size, scale=1.0, units=None, offset=0.0):
    return Axis(name, size, navigate=True, scale=scale, offset=offset, units=units)


def image(values, *, units=("nm", "nm"), scales=(0.5, 2.0), **others):
    axes = [
        axis(name, size, scale, unit)
        for name, size, scale, unit in zip("yx", values.shape[-2:], scales, units, strict=True)
    ]
    return Result("virtual image", values, tuple(axes), **others)


def write(path, result, *, job="0123456789ab", claim=lambda *_: None):
    return write_result(path, result, origin="s3://b/k", job=job, claim=claim)


class TestOutput:
    def test_npy_stores_every_bit(self, tmp_path):
        values = np.array([[2**64 - 1, 0], [1, 2]], np.uint64)
        assert write(tmp_path / "a.npy", image(values)) == ()
        got = np.load(tmp_path / "a.npy")
        assert got.dtype == values.dtype
        np.testing.assert_array_equal(got, values)

    def test_zarr_stores_every_bit_and_the_axes(self, tmp_path):
        zarr = pytest.importorskip("zarr")
        values = np.array([[2**64 - 1, 0, 5], [1, 2, 3]], np.uint64)
        for _ in range(2):  # the second one replaces the first
            write(tmp_path / "a.zarr", image(values))
        got = zarr.open_array(str(tmp_path / "a.zarr"), mode="r")
        np.testing.assert_array_equal(got[:], values)
        assert got.attrs["source"] == "s3://b/k"
        assert [(a["name"], a["size"], a["scale"], a["units"]) for a in got.attrs["axes"]] == [
            ("y", 2, 0.5, "nm"),
            ("x", 3, 2.0, "nm"),
        ]
        assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]

    @pytest.mark.parametrize(
        ("values", "dtype", "notes"),
        [
            (np.array([[0, 65535]], np.uint64), "uint16", 0),
            (np.array([[-1, 32767]], np.int64), "int16", 0),
            (np.array([[0, 65536]], np.uint64), "float32", 0),
            (np.array([[-1, 32768]], np.int64), "float32", 0),
            (np.array([[0, 2**24 + 1]], np.uint64), "float32", 1),
            (np.array([[0.5, 1 / 3]]), "float32", 0),
        ],
    )
    def test_mrc_has_the_smallest_dtype_that_holds_the_numbers(
        self, tmp_path, values, dtype, notes
    ):
        said = write(tmp_path / "a.mrc", image(values))
        assert len(said) == notes
        got = mrcfile.read(tmp_path / "a.mrc")
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, values.astype(dtype))

    def test_mrc_has_a_pixel_size_in_angstrom_if_the_axes_are_in_nm(self, tmp_path):
        write(tmp_path / "a.mrc", image(np.ones((4, 6))))
        with mrcfile.open(tmp_path / "a.mrc") as file:
            voxel = file.voxel_size
            assert (voxel.x, voxel.y) == (20, 5)
        assert mrcfile.validate(tmp_path / "a.mrc", print_file=io.StringIO())

    def test_mrc_of_a_diffraction_pattern_has_its_units_in_a_label(self, tmp_path):
        pattern = image(np.ones((4, 6)), units=("nm^-1", "nm^-1"))
        write(tmp_path / "a.mrc", pattern)
        with mrcfile.open(tmp_path / "a.mrc") as file:
            assert file.voxel_size.x == 0
            assert "x: 2 nm^-1 per pixel" in [str(label).strip() for label in file.get_labels()]

    def test_unfinished_mrc_file_of_a_killed_job_is_replaced(self, tmp_path):
        (tmp_path / ".a.mrc.job.tmp" / ".a.mrc.mrcdist-write").mkdir(parents=True)
        write(tmp_path / "a.mrc", image(np.ones((4, 6))), job="job")
        assert [path.name for path in tmp_path.iterdir()] == ["a.mrc"]

    def test_mrc_stores_two_maps_as_a_stack(self, tmp_path):
        values = np.arange(24.0).reshape(2, 3, 4)
        maps = image(values, names=("y", "x"), units=("nm^-1", "nm^-1"))
        maps = Result("centre of mass", values, maps.axes, ("y", "x"), ("px", "px"))
        write(tmp_path / "a.mrc", maps)
        with mrcfile.open(tmp_path / "a.mrc") as file:
            assert file.is_image_stack()
            np.testing.assert_array_equal(file.data, values)

    @pytest.mark.parametrize(
        ("values", "names", "contrast"),
        [
            (np.arange(12).reshape(3, 4), (), "linear"),
            (np.arange(24.0).reshape(2, 3, 4), ("y", "x"), "linear"),
            (np.arange(12).reshape(3, 4) - 20, (), "log"),
            (np.full((3, 4), np.nan), (), "linear"),
            (np.full((2, 3, 4), np.nan), ("y", "x"), "signed"),
            (np.zeros((3, 4), np.uint64), (), "log"),
        ],
        ids=["image", "two maps", "pattern without counts", "NaN", "no positions", "empty pattern"],
    )
    def test_png_is_drawn_for_any_result(self, tmp_path, values, names, contrast):
        pytest.importorskip("matplotlib")
        units = ("px",) * max(len(names), 1)
        result = Result("any", values, image(values).axes, names, units, contrast=contrast)
        write(tmp_path / "a.png", result)
        assert png_shades((tmp_path / "a.png").read_bytes()) > 2
        titles = [axes.get_title() for axes in result_figure(result).axes if axes.images]
        assert titles == ([f"any, {name}" for name in names] or ["any"])

    def test_outputs_that_cannot_be_written_are_refused_beforehand(self, tmp_path):
        (tmp_path / "there.npy").touch()
        for name, ndim, cause in (
            ("a.tif", 2, "suffix '.tif'"),
            ("a", 2, "suffix ''"),
            ("a.mrc", 1, "1 axes"),
            ("a.mrc", 4, "4 axes"),
            ("a.png", 3, "3 axes"),
        ):
            with pytest.raises(ArgumentError, match=cause):
                check_outputs([tmp_path / name], ndim, panels=False)
        check_outputs([tmp_path / "there.npy"], 2, panels=False)
        check_outputs([tmp_path / "a.png"], 3, panels=True)
        with pytest.raises(ArgumentError, match=r"overwrite=True"):
            require_absent(tmp_path / "there.npy")
        require_absent(tmp_path / "a.npy")

    def test_missing_package_is_reported_beforehand(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(MissingExtraError, match=r"\.\[plot\]"):
            check_outputs([tmp_path / "a.png"], 2, panels=False)

    @pytest.mark.parametrize("suffix", [".npy", ".zarr", ".mrc", ".png"])
    def test_result_replaces_an_earlier_one_and_leaves_nothing_else(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        for number in range(2):
            write(path, image(np.full((4, 6), number, np.uint16)))
            check_outputs([path], 2, panels=False)
        assert list(tmp_path.iterdir()) == [path]

    def test_earlier_result_moved_aside_by_a_killed_run_is_removed_after_the_next_one(
        self, tmp_path
    ):
        path = tmp_path / "a.zarr"
        for number in range(2):
            write(path, image(np.full((4, 6), number)), job="job1")
            previous = tmp_path / ".a.zarr.job1.tmp" / "previous"
            previous.mkdir(parents=True)
            (previous / "0.0").touch()
        write(path, image(np.full((4, 6), 2)), job="job1")
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("job", ["0123456789ab", "another job"])
    def test_earlier_result_moved_aside_by_a_killed_run_is_restored(
        self, tmp_path, monkeypatch, job
    ):
        """A run was killed between two renames; the next one fails before it has a result."""
        path = tmp_path / "a.zarr"
        write(path, image(np.full((4, 6), 5)))
        before = {file.name for file in path.iterdir()}
        temporary = tmp_path / ".a.zarr.0123456789ab.tmp"
        (temporary / "a.zarr").mkdir(parents=True)
        path.rename(temporary / "previous")
        (tmp_path / ".a.zarr.swp").touch()
        if job == "another job":
            clean_up(path)
        else:
            monkeypatch.setattr(zarr, "open_array", full_disk)
            with pytest.raises(MrcdistError):
                write(path, image(np.ones((4, 6))), job=job)
        assert {file.name for file in path.iterdir()} == before
        assert {file.name for file in tmp_path.iterdir()} == {"a.zarr", ".a.zarr.swp"}

    def test_temporary_folders_of_killed_runs_are_removed_next_to_a_result(self, tmp_path):
        path = tmp_path / "a[1].zarr"
        write(path, image(np.full((4, 6), 5)))
        (tmp_path / f".{path.name}.0123456789ab.tmp" / "previous").mkdir(parents=True)
        lock = tmp_path / f".{path.name}.lock"
        lock.touch()
        clean_up(path)
        assert set(tmp_path.iterdir()) == {path, lock}

    @pytest.mark.parametrize("suffix", [".npy", ".zarr", ".mrc", ".png"])
    def test_unfinished_result_of_a_killed_run_is_replaced(self, tmp_path, suffix):
        left = tmp_path / f".a{suffix}.job1.tmp" / f"a{suffix}"
        left.parent.mkdir()
        if suffix == ".zarr":
            left.mkdir()
            (left / "0.0").touch()
        else:
            left.write_bytes(b"half")
        result = image(np.ones((4, 6), np.uint16))
        write(tmp_path / f"a{suffix}", result, job="job1")
        assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]

    @pytest.mark.parametrize("suffix", [".npy", ".zarr", ".mrc", ".png"])
    def test_result_is_claimed_before_it_has_its_name(self, tmp_path, suffix):
        path, seen = tmp_path / f"a{suffix}", []

        def claim(output, complete):
            seen.append((output, complete.exists(), output.exists()))

        write(path, image(np.ones((4, 6))), claim=claim)
        assert seen == [(path, True, False)]

    def test_error_has_the_message_of_the_operating_system(self, tmp_path):
        (tmp_path / "a.npy").mkdir()
        (tmp_path / "a.npy" / "file").touch()
        (tmp_path / "b.npy").touch()
        with pytest.raises(MrcdistError, match=r"b.npy/c.npy could not be written") as failed:
            write(tmp_path / "b.npy" / "c.npy", image(np.ones((4, 6))))
        assert failed.value.code == "write-failed"
        assert failed.value.cause == os.strerror(20)


class TestPaths:
    @pytest.mark.parametrize(
        ("name", "make", "cause"),
        [
            ("a.npy", lambda path: path.mkdir(), "it is a folder"),
            ("a.mrc", lambda path: path.mkdir(), "it is a folder"),
            ("a.npy", lambda path: os.mkfifo(path), "not a regular file"),
            ("a.npy", lambda path: path.symlink_to(path), "a broken link"),
            ("a.zarr", lambda path: path.touch(), "it is not a folder"),
            ("a.zarr", lambda path: folder_with(path, "mine.txt"), "such as mine.txt"),
            ("a.zarr", lambda path: folder_with(path, ".zgroup"), "such as .zgroup"),
        ],
    )
    def test_file_that_is_not_an_earlier_result_is_never_replaced(
        self, tmp_path, name, make, cause
    ):
        make(tmp_path / name)
        with pytest.raises(ArgumentError, match="is in the way") as refused:
            check_outputs([tmp_path / name], 2, panels=False)
        assert refused.value.code == "destination-invalid"
        assert cause in refused.value.cause

    @pytest.mark.parametrize("content", [None, ".zarray", "zarr.json"])
    def test_empty_folder_and_earlier_arrays_may_be_replaced(self, tmp_path, content):
        folder_with(tmp_path / "a.zarr", content)
        check_outputs([tmp_path / "a.zarr"], 2, panels=False)


def folder_with(path, name):
    path.mkdir()
    if name is not None:
        (path / name).touch()


class TestInputs:
    @pytest.fixture
    def movie(self, tmp_path):
        return write_mrc(tmp_path / "movie.mrc", np.arange(24, dtype="uint16").reshape(2, 3, 4))

    @pytest.mark.parametrize(
        "form", ["{}", "file://{}", "simplecache::file://{}", "blockcache::{}"]
    )
    @pytest.mark.parametrize("how", ["itself", "symlink", "hard link", "link of a folder", "copy"])
    def test_input_is_never_an_output(self, movie, how, form):
        names = {"itself": "movie.mrc", "link of a folder": "folder/movie.mrc"}
        out = movie.parent / names.get(how, "out.mrc")
        if how == "symlink":
            out.symlink_to(movie)
        elif how == "hard link":
            out.hardlink_to(movie)
        elif how == "link of a folder":
            out.parent.symlink_to(movie.parent)
        elif how == "copy":  # as a server on this machine, or another mount, would show it
            out.write_bytes(movie.read_bytes())
        file = opened(form.format(movie))
        before = movie.read_bytes()
        with pytest.raises(ArgumentError) as refused:
            check_outputs([out], 2, panels=False, inputs=[file])
        assert refused.value.code == "destination-is-input"
        assert movie.read_bytes() == before

    def test_folder_that_contains_an_input_is_never_an_output(self, tmp_path):
        folder = tmp_path / "out.zarr" / "raw"
        folder.mkdir(parents=True)
        (tmp_path / "out.zarr" / ".zarray").touch()
        file = opened(write_mrc(folder / "movie.mrc", np.zeros((2, 3, 4), "uint16")))
        with pytest.raises(ArgumentError, match="is in this folder"):
            check_outputs([tmp_path / "out.zarr"], 2, panels=False, inputs=[file])

    def test_any_of_several_inputs_is_protected(self, movie, tmp_path):
        mask = tmp_path / "mask.npy"
        np.save(mask, np.ones((3, 4)))
        files = [opened(movie), opened(mask)]
        with pytest.raises(ArgumentError, match=r"mask.npy` is an input"):
            check_outputs([tmp_path / "a.npy", mask], 2, panels=False, inputs=files)

    def test_file_of_the_same_size_is_not_taken_for_the_input(self, movie):
        out = movie.with_name("out.mrc")
        raw = bytearray(movie.read_bytes())
        raw[224] = 65
        out.write_bytes(raw)
        check_outputs([out], 2, panels=False, inputs=[opened(movie)])


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def opened(url):
    return StoredFile.open(Location.of(url), 0, DEFAULT_LIMITS)[0]


def png_shades(raw):
    """Number of different bytes in the pixels."""
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    pixels, at = b"", 8
    while at < len(raw):
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        pixels += raw[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size
    return len(set(zlib.decompress(pixels)))
