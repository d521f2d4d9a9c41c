"""`convert` without a cluster: selections, refused arguments, and verification of MRC files."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import dask
import fsspec
import numpy as np
import pytest
import zarr
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

import mrcdist
from mrcdist import ArgumentError, MissingExtraError, MrcdistError, convert, plan_mrc, read_mrc
from mrcdist.convert_api import ConvertArguments, plan_conversion
from mrcdist.errors import MrcdistWarning, WriteError
from mrcdist.interop.zarr_destination import ZarrDestination
from mrcdist.interop.zarr_layouts import Selected, zspy_layout
from mrcdist.interop.zarr_writer import ZarrReport
from mrcdist.storage.location import Location
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, mrc_bytes, write_mrc


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_mrc(tmp_path / "in.mrc", counting((6, 8, 10), "int16"))


class TestMrc:
    def test_report_says_that_the_file_was_verified(self, source: Path, tmp_path: Path) -> None:
        report = convert(source, tmp_path / "out.mrc", select="1:3,:,2:", verify=True)
        assert report.verified
        assert str(report).endswith("verified by reading it back")
        [found] = read_mrc(tmp_path / "out.mrc", lazy=False)
        np.testing.assert_array_equal(found["data"], counting((6, 8, 10), "int16")[1:3, :, 2:])

    def test_selected_scan_is_verified_in_blocks(self, tmp_path: Path) -> None:
        movie = write_acquisition(tmp_path, scan_shape=(4, 6), frame_shape=(8, 10)).movie
        plan = plan_mrc(movie, chunks=(2, 4, 3, 7))
        with pytest.warns(MrcdistWarning, match="cannot store offsets"):
            report = convert(plan, tmp_path / "crop_movie.mrc", select=(slice(1, 3),), verify=True)
        assert (report.shape, report.verified) == ((2, 6, 8, 10), True)

    def test_verification_compares_with_rounded_numbers(self, tmp_path: Path) -> None:
        numbers = np.random.default_rng(0).random((3, 4, 5), "float32")
        source = write_mrc(tmp_path / "floats.mrc", numbers)
        assert convert(source, tmp_path / "half.mrc", dtype="float16", verify=True).verified
        [found] = read_mrc(tmp_path / "half.mrc", lazy=False)
        np.testing.assert_array_equal(found["data"], numbers.astype("float16"))

    def test_verification_detects_damage(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "out.mrc"
        real = dask.compute

        def damaging(*tasks: Any, **options: Any) -> Any:
            results = real(*tasks, **options)
            if target.exists():  # as a faulty disk might
                raw = bytearray(target.read_bytes())
                raw[-1] ^= 1
                target.write_bytes(raw)
            return results

        monkeypatch.setattr(dask, "compute", damaging)
        with pytest.raises(MrcdistError, match=r"\[0:6, 0:8, 0:10\] differs") as raised:
            convert(source, target, verify=True)
        assert raised.value.code == "verification-failed"

    def test_input_file_is_refused_as_destination(self, source: Path, tmp_path: Path) -> None:
        before = source.read_bytes()
        (tmp_path / "link.mrc").symlink_to(source)
        for target in (source, tmp_path / "link.mrc"):
            with pytest.raises(ArgumentError, match="is an input"):
                convert(source, target, overwrite=True)
        assert source.read_bytes() == before


class TestDestination:
    """Invalid destinations are refused while planning, before a cluster starts."""

    def plan(self, source: Path, target: Path) -> object:
        return plan_conversion(plan_mrc(source), ConvertArguments(source, target))

    @pytest.mark.parametrize("ending", [".mrc", ".zspy"])
    def test_existing_destination_is_refused(
        self, source: Path, tmp_path: Path, ending: str
    ) -> None:
        target = tmp_path / f"out{ending}"
        self.plan(source, target)
        convert(source, target)
        with pytest.raises(ArgumentError) as raised:
            self.plan(source, target)
        assert raised.value.code == "destination-exists"

    @pytest.mark.parametrize("ending", [".mrc", ".zspy"])
    def test_missing_folder_is_refused(self, source: Path, tmp_path: Path, ending: str) -> None:
        with pytest.raises(ArgumentError) as raised:
            self.plan(source, tmp_path / "missing" / f"out{ending}")
        assert raised.value.code == "destination-invalid"

    @pytest.mark.parametrize("name", ["", 3, "nowhere://out.mrc"])
    def test_errors_about_an_invalid_name_contain_the_argument(
        self, source: Path, name: Any
    ) -> None:
        numbers = np.zeros((2, 4, 4), np.uint8)
        calls: dict[str, Callable[[], object]] = {
            "destination": lambda: convert(source, name),
            "url": lambda: mrcdist.write_mrc(name, numbers),
            "metadata_file": lambda: plan_mrc(source, metadata_file=name or "\0"),
        }
        for argument, call in calls.items():
            with pytest.raises(ArgumentError) as raised:
                call()
            assert raised.value.argument == argument

    @pytest.mark.parametrize(
        ("option", "code"),
        [({"dtype": "foo"}, "dtype-unwritable"), ({"compressor": "gzip"}, "compressor-invalid")],
    )
    def test_options_that_zarr_does_not_support_are_refused(
        self, source: Path, tmp_path: Path, option: dict[str, Any], code: str
    ) -> None:
        with pytest.raises(ArgumentError) as raised:
            convert(source, tmp_path / "out.zspy", **option)
        assert raised.value.code == code
        assert not (tmp_path / "out.zspy").exists()


class TestZarrInterrupted:
    """Files of other calls are never deleted, and partly deleted ones never resumed."""

    def test_file_created_in_the_meantime_is_kept(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target, real = tmp_path / "out.zspy", ZarrDestination.finish

        def finish(destination: ZarrDestination) -> tuple[int, int]:
            target.mkdir()
            (target / "notes.txt").write_text("not ours")
            return real(destination)

        monkeypatch.setattr(ZarrDestination, "finish", finish)
        with pytest.raises(ArgumentError) as raised:
            convert(source, target)
        assert raised.value.code == "destination-exists"
        assert [file.name for file in target.iterdir()] == ["notes.txt"]
        assert sorted(file.name for file in tmp_path.iterdir()) == ["in.mrc", "out.zspy"]

    def test_failed_start_leaves_no_files(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = LocalFileSystem.pipe_file

        def full(fs: LocalFileSystem, path: str, *content: bytes, **options: Any) -> None:
            if not path.endswith("plan.json"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(fs, path, *content, **options)

        with monkeypatch.context() as patched:
            patched.setattr(LocalFileSystem, "pipe_file", full)
            with pytest.raises(MrcdistError):
                convert(source, tmp_path / "out.zspy")
        assert [file.name for file in tmp_path.iterdir()] == ["in.mrc"]
        convert(source, tmp_path / "out.zspy")

    def test_interrupted_removal_in_a_store_is_not_resumed(
        self, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The arrays are deleted, but the records of their blocks are not."""
        url = f"memory://{uuid.uuid4().hex}/out.zspy"
        real = MemoryFileSystem.rm

        def interrupted(*_: object) -> Any:
            raise KeyboardInterrupt

        def killed(fs: MemoryFileSystem, path: str, **options: Any) -> None:
            real(fs, path, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(MemoryFileSystem, "rm", killed)
            patched.setattr(ZarrDestination, "finish", interrupted)
            with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
                convert(source, url)
        with dask.config.set(scheduler="synchronous"):
            report = convert(source, url, resume=True, verify=True)
        assert isinstance(report, ZarrReport)
        assert report.blocks_kept == 0

    @pytest.mark.parametrize("resume", [False, True])
    def test_overwrite_killed_between_two_renames_is_recovered(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
    ) -> None:
        """The old hierarchy is moved away, and the new one is not yet renamed."""
        target, folder = tmp_path / "out.zspy", tmp_path / ".out.zspy.mrcdist-write"
        convert(source, target)

        def interrupted(*_: object) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(ZarrDestination, "finish", interrupted)
            patched.setattr(ZarrDestination, "abandon", lambda _: None)
            with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="synchronous"):
                convert(source, target, overwrite=True)
        mark = json.loads((folder / "plan.json").read_text())["mark"]
        target.rename(folder / f"replaced-{mark}")
        with dask.config.set(scheduler="synchronous"):
            report = convert(source, target, overwrite=True, resume=resume, verify=True)
        assert isinstance(report, ZarrReport)
        assert bool(report.blocks_kept) == resume
        assert sorted(file.name for file in tmp_path.iterdir()) == ["in.mrc", "out.zspy"]

    def test_tasks_of_a_replaced_call_change_nothing_in_a_store(self, tmp_path: Path) -> None:
        location = Location.of(f"memory://{uuid.uuid4().hex}/out.zspy")
        begun = []
        for dtype in ("int16", "uint16"):  # the second call replaces the first
            plan = plan_mrc(write_mrc(tmp_path / f"{dtype}.mrc", counting((6, 8, 10), dtype)))
            hierarchy = zspy_layout(plan, Selected(plan.source, (0, 0, 0), dtype), plan.axes)
            destination = ZarrDestination(location).begin(
                {"dtype": dtype}, hierarchy, "zstd", overwrite=True, resume=False
            )
            begun.append((destination, hierarchy.levels[0].array.path))
        (first, _), (second, path) = begun
        box, numbers = (slice(0, 6), slice(0, 8), slice(0, 10)), counting((6, 8, 10), "uint16")
        second.write(path, box, numbers)
        for late in (lambda: first.write(path, box, numbers + 1), first.finish):
            with pytest.raises(WriteError) as error:
                late()
            assert error.value.code == "unfinished-file-missing"
        second.finish()
        np.testing.assert_array_equal(second.read(path, box), numbers)

    @pytest.mark.parametrize("recorded", [False, True])
    def test_shard_that_arrives_after_an_interrupted_call_does_not_look_like_a_mystery(
        self, source: Path, recorded: bool
    ) -> None:
        url = f"memory://{uuid.uuid4().hex}/out.zspy"
        store = MemoryFileSystem()
        store.pipe_file(f"{url}/Experiments/in/data/0/0/0", b"late")
        if recorded:
            store.pipe_file(f"{url}.mrcdist-write/0.abc.done", b"")
        with pytest.raises(ArgumentError) as error:
            convert(source, url)
        assert error.value.code == ("destination-busy" if recorded else "destination-invalid")
        assert "interrupted" in f"{error.value.problem} {error.value.cause}"
        if recorded:
            convert(source, url, overwrite=True, verify=True)

    def test_unreadable_plan_is_an_error(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "out.zspy"
        convert(source, target)
        folder = tmp_path / ".out.zspy.mrcdist-write"
        folder.mkdir()
        (folder / "plan.json").write_text("{}")

        def denied(*_: object, **__: object) -> bytes:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        with monkeypatch.context() as patched:
            patched.setattr("fsspec.implementations.local.LocalFileSystem.cat_file", denied)
            with pytest.raises(MrcdistError):
                convert(source, target, overwrite=True)
        assert folder.exists()


class LosingFilesystem(MemoryFileSystem):  # type: ignore[misc]
    """Filesystem whose calls lose the connection once before and once after they succeed."""

    protocol = "losing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    lost: ClassVar[set[tuple[str, bool]]] = set()


def _losing(name: str) -> Callable[..., Any]:
    real = getattr(MemoryFileSystem, name)

    def call(fs: LosingFilesystem, *arguments: Any, **options: Any) -> Any:
        for succeeded in (False, True):
            result = real(fs, *arguments, **options) if succeeded else None
            if (name, succeeded) not in fs.lost:
                fs.lost.add((name, succeeded))
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return result

    return call


_CALLS = ("exists", "ls", "find", "cat_file", "pipe_file", "copy", "rm_file", "rm")
for _name in _CALLS:
    setattr(LosingFilesystem, _name, _losing(_name))


class TestZarrInAStore:
    def test_calls_are_repeated_after_a_lost_connection(self, source: Path) -> None:
        fsspec.register_implementation("losing", LosingFilesystem, clobber=True)
        url = "losing://out.zspy"
        with dask.config.set(scheduler="synchronous"):
            convert(source, url, select=":2")
            LosingFilesystem.lost.clear()
            convert(source, url, overwrite=True, verify=True)
        assert {name for name, _ in LosingFilesystem.lost} == set(_CALLS)
        assert not [name for name in LosingFilesystem.store if "mrcdist-write" in name]
        found = zarr.open_array(f"{url}/Experiments/in/data", mode="r")[...]
        np.testing.assert_array_equal(found, counting((6, 8, 10), "int16"))


class TestSelect:
    @pytest.mark.parametrize(
        ("select", "message"),
        [
            ("a", "one range per axis"),
            ([3], "one slice per axis"),
            ((slice(None, None, 2),), "has steps"),
            ("0:0", "is empty"),
            (":,:,:,:", "4 ranges"),
        ],
    )
    def test_impossible_selection_is_an_error(
        self, source: Path, tmp_path: Path, select: Any, message: str
    ) -> None:
        with pytest.raises(ArgumentError, match=message) as raised:
            convert(source, tmp_path / "out.mrc", select=select)
        assert raised.value.code == "select-invalid"


class TestZarr:
    @pytest.mark.skipif(int(zarr.__version__[0]) >= 3, reason="needs zarr 2")
    def test_zarr_2_is_too_old_for_shards(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(MissingExtraError, match=r"zarr 2 is installed: \.zarr needs") as raised:
            convert(source, tmp_path / "out.zarr")
        assert '".[xarray]"' in raised.value.remedy

    @pytest.mark.parametrize("options", [{"dtype": "uint4"}, {"byteorder": ">"}])
    def test_options_of_mrc_files_are_an_error_for_zarr(
        self, source: Path, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        [name] = options
        with pytest.raises(ArgumentError) as raised:
            convert(source, tmp_path / "out.zarr", **options)
        assert raised.value.argument == name


def test_pixels_of_a_converted_volume_are_unchanged(tmp_path: Path) -> None:
    volume = counting((3, 4, 5), "float32")
    (tmp_path / "in.mrc").write_bytes(mrc_bytes(volume, cell=(5.0, 4.0, 3.0), ispg=1))
    convert(tmp_path / "in.mrc", tmp_path / "out.mrc", verify=True)
    assert (tmp_path / "out.mrc").read_bytes()[1024:] == volume.tobytes()
