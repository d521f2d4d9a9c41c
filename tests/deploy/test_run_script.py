"""What `run.py test` says and returns: each check runs, and each failure is named at the end."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.processes import ROOT

TESTS = """
def test_that_passes(): pass
def test_that_fails(): assert False
"""


@pytest.fixture
def script(tmp_path: Path) -> ModuleType:
    """A copy of run.py beside one file of tests, with this environment as its own."""
    copy = shutil.copy(ROOT / "run.py", tmp_path)
    (tmp_path / "test_any.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    spec = importlib.util.spec_from_file_location("copied_run_script", copy)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


PASSING = ("pytest", "-q", "test_any.py::test_that_passes")
FAILING = ("pytest", "-q", "test_any.py")
LOST = ("no_such_module",)


def test_failures_in_any_round_and_beside_it_are_named_at_the_end(script, capfd):
    rounds = [
        ({"lint": LOST, "pytest, first": PASSING}, {}, 0),
        ({"pytest, second": FAILING}, {"lint beside": LOST, "pytest beside": FAILING}, 10),
    ]
    assert script.check_in_rounds(rounds) == 1
    told = capfd.readouterr().out
    assert told.count("1 failed, 1 passed") == 2
    end = told.rpartition(" s  ")[2]
    failing = "\n  test_any.py::test_that_fails\n"
    assert end.split("\n", 1)[1].strip().replace("\n\n", "\n").split("failed: ")[1:] == [
        "lint\n",
        f"pytest, second{failing}",
        "lint beside\n",
        f"pytest beside{failing}".rstrip(),
    ]


def test_checks_that_pass_end_with_their_times_and_success(script, capfd):
    assert script.check_in_rounds([({"pytest": PASSING}, {"pytest beside": PASSING}, 0)]) == 0
    told = capfd.readouterr().out
    assert re.search(r" +\d+ s  pytest\n +\d+ s  pytest beside\n\nall checks passed\n$", told)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_checks_that_could_not_start_are_failures(script, monkeypatch, capfd):
    def full(*_args, **_options):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("subprocess.Popen", full)
    assert script.check_in_rounds([({}, {"pytest beside": PASSING, "lint": LOST}, 0)]) == 1
    assert "failed: pytest beside\n\nfailed: lint\n" in capfd.readouterr().out


def test_a_failure_beside_others_is_a_failure_of_all(script):
    assert script.check_in_rounds([({"pytest": PASSING}, {"pytest beside": FAILING}, 0)]) == 1


def test_lowest_versions_are_those_of_every_extra_that_the_tests_use(script, monkeypatch):
    """What a package of a group needs is no direct requirement; what the checkout needs is."""
    shutil.copy(ROOT / "pyproject.toml", script.HERE)
    asked = []
    monkeypatch.setattr(
        script, "install", lambda name, *words, venv, python: asked.append((venv, words))
    )
    script.install_group("test", script.LOWEST, "--resolution", "lowest-direct")
    [(venv, (checkout, *options))] = asked
    assert venv.name == ".venv-lowest"
    assert options[-2:] == ["--resolution", "lowest-direct"]
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    [named] = [each for each in groups["test"] if str(each).startswith("mrcdist[")]
    assert checkout == str(script.HERE) + named.removeprefix("mrcdist")


OLD = sorted(Path.home().glob(".pyenv/versions/3.[789].*/bin/python3"))


@pytest.mark.skipif(not OLD, reason="there is no Python before 3.10 here")
def test_a_python_that_is_too_old_is_told_which_to_take():
    for python in OLD:
        ran = subprocess.run([python, "run.py", "demo"], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 1
        assert re.fullmatch(r"error: Python 3\.\S+ is too old for mrcdist, .*\n", ran.stderr)
