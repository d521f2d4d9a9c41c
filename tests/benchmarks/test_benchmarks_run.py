"""Benchmarks run with a few MiB, and every reader returns correct results for every workload."""

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
from tests.benchmarks.report import Timed, as_markdown, overhead_per_task
from tests.benchmarks.run import shuffled
from tests.benchmarks.workloads import NAMES, Workload, WrongResultError, make_workloads

RUN = Path(__file__).with_name("run.py")

ALL = set(NAMES)
WORKLOADS_BY_READER = {
    "mrcdist": ALL,
    "zeros": {"small-tasks"},
    "numpy processes": ALL - {"planning", "small-tasks"},
}
if find_spec("rsciio") is not None:
    WORKLOADS_BY_READER["rosettasciio"] = ALL - {"small-tasks"}
if find_spec("libertem") is not None:
    WORKLOADS_BY_READER["libertem"] = {
        *("virtual-image", "mean-pattern", "cropped-detector", "random-frames")
    }
THREADS_ONLY = {"dask over memmap": ALL}


def pairs(by_reader: dict[str, set[str]]) -> set[tuple[str, str]]:
    return {(reader, workload) for reader, names in by_reader.items() for workload in names}


@pytest.fixture
def workloads(tmp_path) -> dict[str, Workload]:
    tiny = make_workloads(tmp_path, gib=0.001, chunk_mib=1, planned_chunks=20)
    return {workload.name: workload for workload in tiny}


@pytest.mark.timeout(600)
def test_all_readers_return_correct_results_for_their_workloads(tmp_path):
    report = tmp_path / "times.json"
    sizes = ["--gib", "0.004", "--chunk-mib", "16", "--planned-chunks", "100", "--rounds", "1"]
    options = ["--folder", tmp_path, "--json", report, "--workers", "2"]
    process = subprocess.run(
        [sys.executable, RUN, *sizes, *options],
        capture_output=True,
        text=True,
        timeout=560,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )
    assert process.returncode == 0, process.stderr + process.stdout
    times = json.loads(report.read_text())["times"]
    expected = {
        "threads": pairs(WORKLOADS_BY_READER | THREADS_ONLY),
        "processes": pairs(WORKLOADS_BY_READER),
    }
    for scheduler, expected_pairs in expected.items():
        rows = [row for row in times if row["scheduler"] == scheduler]
        assert {(row["reader"], row["workload"]) for row in rows} == expected_pairs
        assert all(len(row["seconds"]) == 1 and not row["wrong"] for row in rows)
    for name in NAMES:
        assert f"| {name} | mrcdist |" in process.stdout
    assert [path.name for path in tmp_path.iterdir()] == [report.name]


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_object_store_benchmark_reads_correctly_in_every_way():
    small = ["--stores", "nginx", "--mib", "64", "--rounds", "1", "--what", "chunks,frames,crops"]
    process = subprocess.run(
        [sys.executable, RUN.with_name("object_store.py"), *small],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert process.returncode == 0, process.stderr + process.stdout
    assert process.stdout.count("| mrcdist |") == 8


def test_writing_benchmark_writes_correctly_in_every_way(tmp_path):
    small = ["--what", "disk", "--mib", "8", "--chunk-mib", "2", "--rounds", "1"]
    process = subprocess.run(
        [sys.executable, RUN.with_name("writing.py"), *small, "--folder", tmp_path],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert process.returncode == 0, process.stderr + process.stdout
    assert "| dd conv=fsync |" in process.stdout


@pytest.mark.slow
def test_one_pass_benchmark_gets_the_same_results_in_every_way(tmp_path, capsys):
    small = ["--gib", "0.02", "--chunk-mib", "4", "--rounds", "1", "--folder", str(tmp_path)]
    assert one_pass.main(small) == 0
    assert capsys.readouterr().out.count("| sum of 64-bit words |") == 3


def test_chunk_size_benchmark_gets_the_same_results_with_every_size(tmp_path, capsys):
    small = ["--gib", "0.02", "--sizes", "4,8", "--rounds", "1", "--schedulers", "threads"]
    assert chunk_sizes.main([*small, "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("| 8 MiB |") == 2


@pytest.mark.slow  # LiberTEM starts a cluster
def test_defaults_benchmark_gets_the_same_results_with_every_reader(tmp_path, capsys):
    small = ["--gib", "0.02", "--rounds", "1", "--folder", str(tmp_path)]
    assert defaults.main(small) == 0
    output = capsys.readouterr().out
    assert "| read_mrc |" in output
    if find_spec("hyperspy") is not None:
        assert "| hs.load, lazy=True |" in output


def test_readers_run_in_different_orders_in_different_rounds():
    turns = dict.fromkeys("abcd")
    orders = [[name for name, _ in shuffled(turns, number)] for number in range(6)]
    assert all(sorted(order) == list("abcd") for order in orders)
    before_a = {order[order.index("a") - 1] for order in orders if order[0] != "a"}
    assert len(before_a) > 1


def test_workloads_match_the_choices_of_the_command_line(workloads):
    assert tuple(workloads) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_result_with_one_wrong_value_or_a_missing_array_is_rejected(workloads, name):
    workload = workloads[name]
    correct = workload.expected(workload.movie)
    workload.check(correct)
    wrong = [array.copy() for array in correct]
    wrong[-1].flat[-1] += 1
    with pytest.raises(WrongResultError):
        workload.check(wrong)
    with pytest.raises(WrongResultError):
        workload.check(correct[:-1])


def test_all_frames_of_the_benchmark_movie_are_different(tmp_path):
    movie = Movie(tmp_path / "any.mrc", (12, 128))
    frames = [frame.tobytes() for y in range(movie.scan_shape[0]) for frame in movie.row(y)]
    assert len(set(frames)) == movie.n_frames


@pytest.mark.parametrize("sparse", [False, True])
def test_file_of_the_benchmark_movie_contains_its_rows(tmp_path, sparse):
    movie = Movie(tmp_path / "any.mrc", (3, 4), sparse=sparse)
    movie.write()
    numbers = np.fromfile(movie.path, "<u2", offset=len(movie.header)).reshape(movie.shape)
    np.testing.assert_array_equal(numbers[-1], movie.row(2))
    if sparse:
        assert not numbers[:-1].any()
    else:
        np.testing.assert_array_equal(numbers[:-1], [movie.row(0), movie.row(1)])


def test_report_computes_ratios_within_each_round(workloads):
    # The machine is ten times slower in the second round, but the ratio is the same.
    workload = replace(workloads["small-tasks"], pieces=10)
    ours = Timed("threads", "small-tasks", "mrcdist", {1: 2.0, 2: 20.0, 3: 2.0})
    zeros = Timed("threads", "small-tasks", "zeros", {1: 1.0, 2: 10.0, 3: 1.0})
    failed = Timed(
        "threads", "small-tasks", "another", wrong="WrongResultError: the result differs"
    )
    assert zeros.ratio_to(ours) == 0.5
    assert overhead_per_task([ours, zeros], [workload], "threads") == 0.1
    table = as_markdown([ours, zeros, failed], [workload], {"machine": "any"})
    assert "| small-tasks | zeros | 1 s | 1 s to 10 s | 100 ms |  | 0.50 |" in table
    assert "| small-tasks | another | WrongResultError: the result differs | | | | |" in table
