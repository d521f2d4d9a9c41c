"""Outputs of batch jobs are written by one job, from its own parts, never over an input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from distributed import Client

from tests.support.gate import gate
from tests.support.jobs import (
    DATA,
    FRAME,
    MOVIE,
    N_BLOCKS,
    SHAPE,
    address,
    failing_after,
    killed_before_parts_are_removed,
    mrcdist_fails,
    mrcdist_json,
    parts_in,
    start_command,
)
from tests.support.mrc_files import mrc_bytes, write_mrc
from tests.support.processes import Processes
from tests.support.serving import file_server, folder_server

OTHER = DATA[::-1, ::-1] + 7
MEAN, OTHER_MEAN = (data.mean(axis=(0, 1)) for data in (DATA, OTHER))


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    return write_mrc(tmp_path / "movie.mrc", DATA.reshape(-1, *FRAME))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_mrc(tmp_path / "other.mrc", OTHER.reshape(-1, *FRAME))


class TestTwoJobs:
    @pytest.fixture
    def running(self, cluster: Client, tmp_path: Path) -> Iterator[Callable[[], None]]:
        """A running job with two outputs; call the fixture to let the job finish."""
        with (
            file_server(MOVIE) as url,
            gate(("127.0.0.1", int(urlsplit(url).port or 0))) as door,
            Processes(tmp_path / "job") as processes,
        ):
            door.shut_after(int(0.4 * len(MOVIE)))
            ended = start_command(
                processes,
                *("mean", "http://{}:{}/movie.mrc".format(*door.address), *SHAPE),
                *("--out", tmp_path / "mean.npy", "--out", tmp_path / "mean.mrc"),
                *("--scheduler", address(cluster)),
            )
            processes.wait_until(lambda: door.is_shut and parts_in(tmp_path / "mean.npy"), "parts")

            def finish() -> None:
                door.open()
                status, output = ended()
                assert status == 0, output

            yield finish

    def test_second_job_with_any_output_in_common_is_refused(
        self, running: Callable[[], None], cluster: Client, other: Path, tmp_path: Path
    ) -> None:
        for outputs in (["mean.npy"], ["mean.mrc"], ["else.npy", "mean.mrc"]):
            out = [word for name in outputs for word in ("--out", tmp_path / name)]
            for flags in ([], ["--overwrite"], ["--resume"], ["--overwrite", "--resume"]):
                output = mrcdist_fails(
                    "mean", other, *SHAPE, *out, *flags, "--scheduler", address(cluster)
                )
                assert "is in use" in output
                assert "another job is writing it: process " in output
        running()
        np.testing.assert_array_equal(np.load(tmp_path / "mean.npy"), MEAN)
        assert sorted(path.name for path in tmp_path.glob("*mean*")) == ["mean.mrc", "mean.npy"]


class TestUndetectableChanges:
    """The input is replaced by another file with the same size and version."""

    @pytest.mark.parametrize(
        ("etag", "modified"),
        [
            (None, None),
            (None, "Tue, 02 Jan 2024 03:04:05 GMT"),
            ('W/"1"', "Tue, 02 Jan 2024 03:04:05 GMT"),
            (f'"65937c05-{len(MOVIE):x}"', "Tue, 02 Jan 2024 03:04:05 GMT"),
        ],
        ids=["nothing", "date", "weak ETag", "ETag of nginx"],
    )
    def test_job_starts_over_if_a_replaced_input_cannot_be_detected(
        self, cluster: Client, tmp_path: Path, etag: str | None, modified: str | None
    ) -> None:
        content, out = bytearray(MOVIE), tmp_path / "mean.npy"
        with file_server(content, etag=lambda _: etag, modified=modified) as url:
            job = ["mean", url, *SHAPE, "--out", out, "--scheduler", address(cluster)]
            with failing_after(3, out, KeyboardInterrupt()):
                output = mrcdist_fails(*job, status=130)
            assert "cannot be resumed" in output
            assert "--resume" not in output.splitlines()[-1]
            assert not out.with_name("mean.npy.partial").exists()

            with failing_after(3, out, KeyboardInterrupt()), killed_before_parts_are_removed():
                mrcdist_fails(*job, status=130)
            assert len(parts_in(out)) == 3
            content[:] = mrc_bytes(OTHER.reshape(-1, *FRAME))
            summary = mrcdist_json(*job, "--resume")
        assert (summary["parts_kept"], summary["blocks"]) == (0, N_BLOCKS)
        np.testing.assert_array_equal(np.load(out), OTHER_MEAN)
        assert [path.name for path in tmp_path.iterdir()] == ["mean.npy"]

    def test_job_is_resumed_if_the_etag_is_the_same(self, cluster: Client, tmp_path: Path) -> None:
        out = tmp_path / "mean.npy"
        with file_server(MOVIE) as url:
            job = ["mean", url, *SHAPE, "--out", out, "--scheduler", address(cluster)]
            with failing_after(3, out, KeyboardInterrupt()):
                assert "3 of 24 parts are finished and kept" in mrcdist_fails(*job, status=130)
            assert mrcdist_json(*job, "--resume")["parts_kept"] == 3
        np.testing.assert_array_equal(np.load(out), MEAN)


class TestInput:
    @pytest.mark.parametrize("form", ["{}", "file://{}", "simplecache::file://{}"])
    @pytest.mark.parametrize("link", [None, Path.symlink_to, Path.hardlink_to])
    def test_input_is_never_replaced(
        self, movie: Path, monkeypatch: pytest.MonkeyPatch, form: str, link: object
    ) -> None:
        out = movie.with_name("out.mrc") if link else movie
        if callable(link):
            link(out, movie)
        monkeypatch.chdir(movie.parent)
        before, version = movie.read_bytes(), movie.stat()
        for flags in ([], ["--overwrite"], ["--resume"], ["--overwrite", "--resume"]):
            output = mrcdist_fails(
                "mean", form.format(movie), *SHAPE, "--out", out.name, *flags,
                "--scheduler", "tcp://127.0.0.1:9",
            )  # fmt: skip
            assert "is an input" in output
        assert movie.read_bytes() == before
        assert movie.stat().st_ino == version.st_ino

    def test_input_served_from_its_own_folder_is_never_replaced(self, movie: Path) -> None:
        before = movie.read_bytes()
        with folder_server(movie.parent) as url:
            output = mrcdist_fails(
                "mean", f"{url}/movie.mrc", *SHAPE, "--out", movie, "--overwrite",
                "--scheduler", "tcp://127.0.0.1:9",
            )  # fmt: skip
        assert "is an input" in output
        assert movie.read_bytes() == before

    def test_mask_is_never_replaced(self, movie: Path) -> None:
        mask = movie.with_name("mask.npy")
        np.save(mask, np.ones(FRAME))
        before = mask.read_bytes()
        output = mrcdist_fails(
            "virtual", movie, *SHAPE, "--detector", mask, "--out", mask, "--overwrite",
            "--scheduler", "tcp://127.0.0.1:9",
        )  # fmt: skip
        assert "is an input" in output
        assert mask.read_bytes() == before

    def test_folder_of_the_input_is_never_replaced(self, cluster: Client, tmp_path: Path) -> None:
        folder = tmp_path / "run.zarr"
        folder.mkdir()
        movie = write_mrc(folder / "movie.mrc", DATA.reshape(-1, *FRAME))
        output = mrcdist_fails("mean", movie, *SHAPE, "--out", folder, "--overwrite")
        assert "is in this folder" in output
        assert movie.exists()


class TestOutputPath:
    @pytest.mark.parametrize("folder", ["empty", "of another job"])
    def test_existing_file_next_to_a_folder_of_parts_is_not_replaced(
        self, movie: Path, folder: str
    ) -> None:
        out, parts = movie.with_name("mean.npy"), movie.with_name("mean.npy.partial")
        np.save(out, np.arange(3))
        parts.mkdir()
        if folder == "of another job":
            (parts / "job.json").write_text('{"job": {"quantity": "com"}, "id": "0123"}')
        output = mrcdist_fails(
            "mean", movie, *SHAPE, "--out", out, "--resume", "--scheduler", "tcp://127.0.0.1:9"
        )
        assert "exists" in output
        np.testing.assert_array_equal(np.load(out), np.arange(3))

    @pytest.mark.parametrize(
        "place",
        ["mean.npy/", "mean.npy.partial", "mean.npy.partial -> foreign", "mean.npy.partial/mine"],
    )
    def test_files_that_block_the_output_are_reported_before_anything_is_computed(
        self, movie: Path, place: str
    ) -> None:
        out, foreign = movie.with_name("mean.npy"), movie.with_name("foreign")
        foreign.mkdir()
        (foreign / "part-00000.npz").write_text("mine")
        name, _, target = place.partition(" -> ")
        if target:
            movie.with_name(name).symlink_to(foreign)
        elif name.endswith("/"):
            movie.with_name(name.rstrip("/")).mkdir()
        else:
            (movie.parent / name).parent.mkdir(exist_ok=True)
            (movie.parent / name).write_text("mine")
        before = sorted(movie.parent.rglob("*"))
        for flags in ([], ["--overwrite"], ["--resume"], ["--overwrite", "--resume"]):
            output = mrcdist_fails(
                "mean", movie, *SHAPE, "--out", out, *flags, "--scheduler", "tcp://127.0.0.1:9"
            )
            assert "is in the way" in output
            assert "remedy: delete or rename it" in output
        assert sorted(movie.parent.rglob("*")) == before

    def test_result_replaces_the_target_of_a_link(
        self, cluster: Client, movie: Path, tmp_path: Path
    ) -> None:
        link, target = tmp_path / "mean.npy", tmp_path / "elsewhere" / "real.npy"
        target.parent.mkdir()
        link.symlink_to(target)
        job = ["mean", movie, *SHAPE, "--out", link, "--scheduler", address(cluster)]
        assert mrcdist_json(*job)["outputs"] == [str(link)]
        assert link.is_symlink()
        np.testing.assert_array_equal(np.load(target), MEAN)
        assert "exists" in mrcdist_fails(*job)

    def test_output_given_twice_is_written_once(
        self, cluster: Client, movie: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(movie.parent)
        twice = ["--out", "mean.npy", "--out", movie.with_name("mean.npy")]
        mrcdist_json("mean", movie, *SHAPE, *twice, "--scheduler", address(cluster))
        np.testing.assert_array_equal(np.load("mean.npy"), MEAN)
