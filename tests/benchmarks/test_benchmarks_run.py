"""The benchmark still runs, on a few MiB: every reader does every workload and gets it right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import chunk_sizes, defaults, one_pass
from tests.benchmarks.movie import Movie
from tests.benchmarks.report import Timed, as_markdown, share_of_task
from tests.benchmarks.run import in_another_order
from tests.benchmarks.workloads import NAMES, Workload, WrongResultError, make_workloads

RUN = Path(__file__).with_name("run.py")

DASK = set(NAMES)
BY_READER = {
    "mrcdist": DASK,
    "zeros": {"small-tasks"},
    "numpy processes": DASK - {"planning", "small-tasks"},
}
if find_spec("rsciio") is not None:
    BY_READER["rosettasciio"] = DASK - {"small-tasks"}
if find_spec("libertem") is not None:
    BY_READER["libertem"] = {"virtual-image", "mean-pattern", "cropped-detector", "random-frames"}
THREADS_ONLY = {"dask over memmap": DASK}


def pairs(by_reader: dict[str, set[str]]) -> set[tuple[str, str]]:
    return {(reader, workload) for reader, names in by_reader.items() for workload in names}


@pytest.fixture
def workloads(tmp_path) -> dict[str, Workload]:
    tiny = make_workloads(tmp_path, gib=0.001, chunk_mib=1, planned_chunks=20)
    return {workload.name: workload for workload in tiny}


@pytest.mark.timeout(600)
def test_all_readers_do_all_workloads_and_get_them_right(tmp_path):
    report = tmp_path / "times.json"
    sizes = ["--gib", "0.004", "--chunk-mib", "16", "--planned-chunks", "100", "--rounds", "1"]
    places = ["--folder", tmp_path, "--json", report, "--workers", "2"]
    done = subprocess.run(
        [sys.executable, RUN, *sizes, *places],
        capture_output=True,
        text=True,
        timeout=560,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    times = json.loads(report.read_text())["times"]
    expected = {"threads": pairs(BY_READER | THREADS_ONLY), "processes": pairs(BY_READER)}
    for scheduler, wanted in expected.items():
        rows = [each for each in times if each["scheduler"] == scheduler]
        assert {(each["reader"], each["workload"]) for each in rows} == wanted
        assert all(len(each["seconds"]) == 1 and not each["wrong"] for each in rows)
    for name in NAMES:
        assert f"| {name} | mrcdist |" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [report.name]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_reading_from_a_store_is_right_in_every_way():
    small = ["--stores", "nginx", "--mib", "64", "--rounds", "1", "--what", "chunks,frames,crops"]
    done = subprocess.run(
        [sys.executable, RUN.with_name("object_store.py"), *small],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("| mrcdist |") == 8


def test_writing_to_a_disk_is_right_in_every_way(tmp_path):
    small = ["--what", "disk", "--mib", "8", "--chunk-mib", "2", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, RUN.with_name("writing.py"), *small, "--folder", tmp_path],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "| dd conv=fsync |" in done.stdout


@pytest.mark.slow
def test_several_results_are_the_same_in_every_way(tmp_path, capsys):
    small = ["--gib", "0.02", "--chunk-mib", "4", "--rounds", "1", "--folder", str(tmp_path)]
    assert one_pass.main(small) == 0
    assert capsys.readouterr().out.count("| sum of 64-bit words |") == 3


def test_chunks_of_all_sizes_give_the_same_results(tmp_path, capsys):
    small = ["--gib", "0.02", "--sizes", "4,8", "--rounds", "1", "--schedulers", "threads"]
    assert chunk_sizes.main([*small, "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("| 8 MiB |") == 2


@pytest.mark.slow  # LiberTEM starts a cluster
def test_readers_agree_when_each_is_called_as_its_tutorial_says(tmp_path, capsys):
    small = ["--gib", "0.02", "--rounds", "1", "--folder", str(tmp_path)]
    assert defaults.main(small) == 0
    told = capsys.readouterr().out
    assert "| read_mrc |" in told
    if find_spec("hyperspy") is not None:
        assert "| hs.load, lazy=True |" in told


def test_readers_come_after_one_another_in_turn():
    turns = dict.fromkeys("abcd")
    orders = [[name for name, _ in in_another_order(turns, number)] for number in range(6)]
    assert all(sorted(order) == list("abcd") for order in orders)
    before_a = {order[order.index("a") - 1] for order in orders if order[0] != "a"}
    assert len(before_a) > 1


def test_workloads_are_those_that_the_command_line_offers(workloads):
    assert tuple(workloads) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_result_that_is_off_by_one_number_does_not_count(workloads, name):
    workload = workloads[name]
    right = workload.expected(workload.movie)
    workload.check(right)
    wrong = [each.copy() for each in right]
    wrong[-1].flat[-1] += 1
    with pytest.raises(WrongResultError):
        workload.check(wrong)
    with pytest.raises(WrongResultError):
        workload.check(right[:-1])


def test_frames_of_the_movie_differ(tmp_path):
    movie = Movie(tmp_path / "any.mrc", (12, 128))
    frames = [frame.tobytes() for y in range(movie.scan_shape[0]) for frame in movie.row(y)]
    assert len(set(frames)) == movie.n_frames


@pytest.mark.parametrize("sparse", [False, True])
def test_the_file_holds_what_the_movie_tells(tmp_path, sparse):
    movie = Movie(tmp_path / "any.mrc", (3, 4), sparse=sparse)
    movie.write()
    found = np.fromfile(movie.path, "<u2", offset=len(movie.header)).reshape(movie.shape)
    np.testing.assert_array_equal(found[-1], movie.row(2))
    if sparse:
        assert not found[:-1].any()
    else:
        np.testing.assert_array_equal(found[:-1], [movie.row(0), movie.row(1)])


def test_ratios_are_taken_round_by_round(workloads):
    # The machine is ten times slower in the second round; the ratio stays.
    workload = replace(workloads["small-tasks"], pieces=10)
    ours = Timed("threads", "small-tasks", "mrcdist", {1: 2.0, 2: 20.0, 3: 2.0})
    zeros = Timed("threads", "small-tasks", "zeros", {1: 1.0, 2: 10.0, 3: 1.0})
    failed = Timed(
        "threads", "small-tasks", "another", wrong="WrongResultError: the result differs"
    )
    assert zeros.ratio_to(ours) == 0.5
    assert share_of_task([ours, zeros], [workload], "threads") == 0.1
    table = as_markdown([ours, zeros, failed], [workload], {"machine": "any"})
    assert "| small-tasks | zeros | 1 s | 1 s to 10 s | 100 ms |  | 0.50 |" in table
    assert "| small-tasks | another | WrongResultError: the result differs | | | | |" in table
