"""What the batch program reads and writes on the client: parts, results, settings, reports."""

from __future__ import annotations

import io
import json
import struct
import sys
import threading
import zlib
from typing import ClassVar

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner

from mrcdist.batch.check_workers import CheckReport, WorkerReport
from mrcdist.batch.clusters import Where, told_when_alone
from mrcdist.batch.jobqueue import parse_job_queue
from mrcdist.batch.output import check_outputs, write_result
from mrcdist.batch.partial import PartialStore, write_whole
from mrcdist.batch.picture import deflection
from mrcdist.batch.quantities import Result
from mrcdist.cli import main
from mrcdist.errors import ArgumentError, MissingExtraError, ReadError
from mrcdist.format.axis import Axis
from mrcdist.plotting import symmetric_limits

JOB = {"software": "mrcdist 1", "version": "10 bytes", "detector": "bf"}


class TestPartialStore:
    def test_parts_are_kept_until_the_job_is_done(self, tmp_path):
        folder = tmp_path / "out.npy.partial"
        store = PartialStore(folder, JOB, 3)
        assert store.open(resume=False) == []
        store.found = {"cy": 1.5}
        store.save(1, np.arange(4))
        again = PartialStore(folder, JOB, 3)
        assert again.open(resume=True) == [1]
        assert again.found == {"cy": 1.5}
        np.testing.assert_array_equal(again.load(1), np.arange(4))
        again.remove()
        assert not folder.exists()

    @pytest.mark.parametrize("finished", [0, 1])
    def test_a_failure_leaves_the_folder_only_if_there_is_a_part_in_it(self, tmp_path, finished):
        store = PartialStore(tmp_path / "out.npy.partial", JOB, 3)
        store.open(resume=False)
        for number in range(finished):
            store.save(number, np.arange(4))
        with pytest.raises(KeyboardInterrupt), store.kept_if_any():
            raise KeyboardInterrupt
        assert store.folder.exists() == bool(finished)

    def test_resuming_nothing_is_a_start(self, tmp_path):
        assert PartialStore(tmp_path / "new", JOB, 3).open(resume=True) == []
        assert PartialStore(tmp_path / "new", JOB, 3).open(resume=False) == []

    def test_finished_parts_are_neither_used_nor_lost_unasked(self, tmp_path):
        store = self.with_a_part(tmp_path)
        with pytest.raises(ArgumentError, match=r"1 finished parts.*\n.*\n.*--resume"):
            PartialStore(tmp_path / "out", JOB, 3).open(resume=False)
        np.testing.assert_array_equal(store.load(0), np.zeros(2))

    @pytest.mark.parametrize(
        ("change", "n_parts", "cause"),
        [
            ({"version": "11 bytes"}, 3, "version: 10 bytes then, 11 bytes now"),
            ({"detector": "adf", "software": "2"}, 3, "software: mrcdist 1 then, 2 now; detector"),
            ({}, 4, "parts: 3 then, 4 now"),
        ],
    )
    def test_parts_of_another_job_are_refused_by_name(self, tmp_path, change, n_parts, cause):
        self.with_a_part(tmp_path)
        with pytest.raises(ArgumentError, match=cause):
            PartialStore(tmp_path / "out", {**JOB, **change}, n_parts).open(resume=True)

    @pytest.mark.parametrize("described", ["", "{", "[]", '{"other": 1}'])
    def test_parts_without_a_description_are_refused(self, tmp_path, described):
        self.with_a_part(tmp_path)
        (tmp_path / "out" / "job.json").write_text(described)
        with pytest.raises(ArgumentError, match="another job"):
            PartialStore(tmp_path / "out", JOB, 3).open(resume=True)

    @pytest.mark.parametrize("bytes_left", [0, 7, 130])
    def test_a_damaged_part_is_an_error(self, tmp_path, bytes_left):
        store = self.with_a_part(tmp_path)
        part = tmp_path / "out" / "part-00000.npy"
        part.write_bytes(part.read_bytes()[:bytes_left])
        with pytest.raises(ReadError, match=r"part-00000.npy cannot be read"):
            store.load(0)

    def test_other_files_in_the_folder_of_parts_stay(self, tmp_path):
        store = self.with_a_part(tmp_path)
        (tmp_path / "out" / "notes.txt").write_text("mine")
        store.remove()
        assert [file.name for file in (tmp_path / "out").iterdir()] == ["notes.txt"]

    def test_a_file_appears_as_a_whole_or_not_at_all(self, tmp_path):
        def write(path, fail):
            with write_whole(path) as file:
                file.write(b"half")
                assert not path.exists()
                if fail:
                    raise ZeroDivisionError
                file.write(b" and half")

        with pytest.raises(ZeroDivisionError):
            write(tmp_path / "a", fail=True)
        assert list(tmp_path.iterdir()) == []
        write(tmp_path / "a", fail=False)
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"half and half"]

    def with_a_part(self, tmp_path):
        store = PartialStore(tmp_path / "out", JOB, 3)
        store.open(resume=False)
        store.save(0, np.zeros(2))
        return store


def axis(name, size, scale=1.0, units=None, offset=0.0):
    return Axis(name, size, navigate=True, scale=scale, offset=offset, units=units)


def image(values, *, units=("nm", "nm"), scales=(0.5, 2.0), **others):
    axes = [
        axis(name, size, scale, unit)
        for name, size, scale, unit in zip("yx", values.shape[-2:], scales, units, strict=True)
    ]
    return Result("virtual image", values, tuple(axes), **others)


class TestOutput:
    def test_npy_has_every_bit(self, tmp_path):
        values = np.array([[2**64 - 1, 0], [1, 2]], np.uint64)
        assert write_result(tmp_path / "a.npy", image(values), origin="s3://b/k") == []
        got = np.load(tmp_path / "a.npy")
        assert got.dtype == values.dtype
        np.testing.assert_array_equal(got, values)

    def test_zarr_has_every_bit_and_the_axes(self, tmp_path):
        zarr = pytest.importorskip("zarr")
        values = np.array([[2**64 - 1, 0, 5], [1, 2, 3]], np.uint64)
        for _ in range(2):  # the second one replaces the first
            write_result(tmp_path / "a.zarr", image(values), origin="s3://b/k")
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
        said = write_result(tmp_path / "a.mrc", image(values), origin="s3://b/k")
        assert len(said) == notes
        got = mrcfile.read(tmp_path / "a.mrc")
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, values.astype(dtype))

    def test_mrc_is_calibrated_in_angstrom_where_the_axes_are_in_nm(self, tmp_path):
        write_result(tmp_path / "a.mrc", image(np.ones((4, 6))), origin="s3://b/k")
        with mrcfile.open(tmp_path / "a.mrc") as file:
            voxel = file.voxel_size
            assert (voxel.x, voxel.y) == (20, 5)
        assert mrcfile.validate(tmp_path / "a.mrc", print_file=io.StringIO())

    def test_mrc_of_a_diffraction_pattern_names_its_units(self, tmp_path):
        pattern = image(np.ones((4, 6)), units=("nm^-1", "nm^-1"))
        write_result(tmp_path / "a.mrc", pattern, origin="s3://b/k")
        with mrcfile.open(tmp_path / "a.mrc") as file:
            assert file.voxel_size.x == 0
            assert "x: 2 nm^-1 a pixel" in [str(label).strip() for label in file.get_labels()]

    def test_mrc_holds_two_maps_as_a_stack(self, tmp_path):
        values = np.arange(24.0).reshape(2, 3, 4)
        maps = image(values, names=("y", "x"), units=("nm^-1", "nm^-1"))
        maps = Result("centre of mass", values, maps.axes, ("y", "x"), ("px", "px"))
        write_result(tmp_path / "a.mrc", maps, origin="s3://b/k")
        with mrcfile.open(tmp_path / "a.mrc") as file:
            assert file.is_image_stack()
            np.testing.assert_array_equal(file.data, values)

    @pytest.mark.parametrize(
        ("values", "names", "pattern"),
        [
            (np.arange(12).reshape(3, 4), (), False),
            (np.arange(24.0).reshape(2, 3, 4), ("y", "x"), False),
            (np.arange(12).reshape(3, 4) - 20, (), True),
            (np.full((3, 4), np.nan), (), False),
            (np.zeros((3, 4), np.uint64), (), True),
        ],
        ids=["image", "two maps", "pattern without counts", "NaN", "empty pattern"],
    )
    def test_png_is_drawn_of_anything(self, tmp_path, values, names, pattern):
        pytest.importorskip("matplotlib")
        units = ("px",) * max(len(names), 1)
        result = Result("any", values, image(values).axes, names, units, pattern=pattern)
        write_result(tmp_path / "a.png", result, origin="s3://b/k")
        width, height, shades = png_facts((tmp_path / "a.png").read_bytes())
        assert (width > 1.9 * height) == bool(names)
        assert shades > 2

    def test_what_cannot_be_written_is_known_beforehand(self, tmp_path):
        (tmp_path / "there.npy").touch()
        for name, ndim, cause in (
            ("a.tif", 2, "suffix '.tif'"),
            ("a", 2, "suffix ''"),
            ("a.mrc", 1, "1 axes"),
            ("a.mrc", 4, "4 axes"),
            ("a.png", 3, "3 axes"),
            ("none/a.npy", 2, "none is not there"),
            ("there.npy", 2, "--overwrite"),
        ):
            with pytest.raises(ArgumentError, match=cause):
                check_outputs([tmp_path / name], ndim, panels=False, overwrite=False)
        check_outputs([tmp_path / "there.npy"], 2, panels=False, overwrite=True)
        check_outputs([tmp_path / "a.png"], 3, panels=True, overwrite=False)

    def test_a_missing_package_is_known_beforehand(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(MissingExtraError, match=r"mrcdist\[plot\]"):
            check_outputs([tmp_path / "a.png"], 2, panels=False, overwrite=False)


def png_facts(raw):
    """Width, height and number of different bytes in the pixels."""
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", raw[16:24])
    pixels, at = b"", 8
    while at < len(raw):
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        pixels += raw[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size
    return width, height, len(set(zlib.decompress(pixels)))


class TestPicture:
    def test_positions_are_shown_by_their_distance_from_the_median_to_either_side(self):
        image = np.array([7.0, 7, 7, 9, 4, np.nan])
        shown, middle = deflection(image)
        assert middle == 7
        np.testing.assert_array_equal(shown, image - 7)
        low, high = symmetric_limits(shown)
        assert low == -high
        assert 2 < high <= 3

    @pytest.mark.parametrize("image", [np.zeros(4), np.full(4, np.nan)])
    def test_no_deflection_at_all_has_a_range_too(self, image):
        assert symmetric_limits(deflection(image)[0]) == (-1, 1)


QUEUES = """
jobqueue:
  slurm: {cores: 16, memory: 64 GiB, job-extra-directives: [--exclusive], name: dask}
  pbs: {cores: 8}
"""


class TestJobQueue:
    @pytest.mark.parametrize(("command", "system"), [("sbatch", "slurm"), ("qsub", "pbs")])
    def test_the_installed_batch_system_is_taken(self, command, system):
        queue = parse_job_queue(QUEUES, installed=command.__eq__)
        assert (queue.system, queue.minimum, queue.maximum) == (system, 0, 10)

    def test_settings_become_arguments(self):
        queue = parse_job_queue(
            QUEUES + "system: slurm\njobs: {minimum: 2, maximum: 40}", installed=lambda _: False
        )
        assert queue.settings == {
            "cores": 16,
            "memory": "64 GiB",
            "job_extra_directives": ["--exclusive"],
            "job_name": "dask",
        }
        assert (queue.minimum, queue.maximum) == (2, 40)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("a: [", "no YAML"),
            ("- 1", "no section jobqueue"),
            ("jobqueue: {slrum: {}}", "unknown batch system 'slrum'"),
            (QUEUES + "job: {}", "unknown section 'job'"),
            (QUEUES + "system: lsf", "system: lsf"),
            (QUEUES + "jobs: {minimum: 5, maximum: 4}", "jobs:"),
            (QUEUES + "jobs: {maximum: many}", "jobs:"),
            (QUEUES + "jobs: 7", "jobs: 7"),
            (QUEUES + "jobs: {max: 7}", "jobs:"),
            (QUEUES, "no batch system of slurm, pbs is here"),
            ("jobqueue: {slurm: 3}\nsystem: slurm", "system: slurm"),
        ],
    )
    def test_a_wrong_setting_is_named(self, text, problem):
        with pytest.raises(ArgumentError, match=problem):
            parse_job_queue(text, installed=lambda _: False)


@pytest.mark.parametrize(
    "given",
    [
        {"scheduler": "tcp://a:1", "scheduler_file": "f"},
        {"jobqueue": "f", "workers": 2},
        {"scheduler": "tcp://a:1", "memory_limit": "1 GiB"},
        {"workers": 0},
        {"threads": -1},
        {"memory_limit": "much"},
    ],
)
def test_a_job_runs_in_one_place(given):
    with pytest.raises(ArgumentError, match=f"--{next(iter(given)).replace('_', '-')}"):
        Where(**given)


def test_a_job_without_workers_says_that_it_waits():
    class Scheduler:
        workers: ClassVar[dict[str, int]] = {"tcp://1": 1}

        def nthreads(self):
            return self.workers

    said, enough = [], threading.Event()

    def say(text):
        said.append(text)
        enough.set()

    with told_when_alone(Scheduler(), say, interval=0.01):
        assert not enough.wait(0.2)
    Scheduler.workers = {}
    with told_when_alone(Scheduler(), say, interval=0.01):
        assert enough.wait(30)
    assert said[0] == "there are no workers: tasks wait for some to come"


class TestCheckReport:
    VERSIONS: ClassVar = {"python": "3.11.7", "dask": "2026.8"}
    GOOD = WorkerReport(
        "tcp://1", "w-1", "node1", 7, 4, 2**33, VERSIONS, bytes_read=2**26, seconds=0.25
    )

    def report(self, *workers):
        return CheckReport("s3://b/k", "10 bytes, etag x", self.VERSIONS, workers)

    def test_a_report_of_good_workers_is_ok(self):
        report = self.report(self.GOOD)
        assert report.ok
        assert report.as_dict()["workers"][0]["bytes_per_second"] == 2**28
        row = str(report).splitlines()[5]
        assert row.split() == ["w-1", "node1", "4", "8.00", "GiB", "256.00", "MiB/s", "yes", "-"]
        assert "1 of 1 workers can read the file: 64.00 MiB each, all at once" in str(report)

    def test_workers_that_cannot_read_are_reported_with_the_reason(self):
        problem = {"problem": "it is not there", "cause": "no mount", "remedy": "mount it"}
        bad = [WorkerReport(f"tcp://{n}", f"w-{n}", "node2", **problem) for n in (2, 3)]
        report = self.report(self.GOOD, *bad)
        assert not report.ok
        assert [worker["ok"] for worker in report.as_dict()["workers"]] == [True, False, False]
        told = str(report)
        assert "1 of 3 workers" in told
        assert "cannot: w-2, w-3\n  it is not there\n  cause: no mount\n  remedy: mount it" in told

    def test_other_versions_of_packages_are_reported_and_no_error(self):
        other = WorkerReport(
            "tcp://2", "w-2", "node2", versions={"python": "3.12.1"}, bytes_read=1, seconds=1
        )
        report = self.report(self.GOOD, other)
        assert report.ok
        assert report.differences(self.GOOD) == []
        assert report.differences(other) == ["python 3.12.1", "dask missing"]
        assert "python 3.12.1, dask missing" in str(report)

    def test_no_workers_are_not_enough(self):
        assert not self.report().ok
        json.dumps(self.report().as_dict())


@pytest.mark.parametrize("command", list(main.commands))
def test_every_command_has_help_with_an_example(command):
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert f"\n    mrcdist {command} " in shown.output
