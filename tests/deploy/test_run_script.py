"""Output and exit status of `run.py test`: every check runs, and failures are listed at the end."""

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
    """A copy of run.py next to a file of tests, with this environment as its `.venv`."""
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
MISSING = ("no_such_module",)


def test_failures_in_foreground_and_background_are_listed_at_the_end(script, capfd):
    rounds = [
        ({"lint": MISSING, "pytest, first": PASSING}, {}, 0),
        ({"pytest, second": FAILING}, {"lint, third": MISSING, "pytest, fourth": FAILING}, 10),
    ]
    assert script.check_in_rounds(rounds) == 1
    output = capfd.readouterr().out
    assert output.count("1 failed, 1 passed") == 2
    end = output.rpartition(" s  ")[2]
    failing = "\n  test_any.py::test_that_fails\n"
    assert end.split("\n", 1)[1].strip().replace("\n\n", "\n").split("failed: ")[1:] == [
        "lint\n",
        f"pytest, second{failing}",
        "lint, third\n",
        f"pytest, fourth{failing}".rstrip(),
    ]


def test_output_of_passing_checks_ends_with_their_durations_and_a_summary(script, capfd):
    assert script.check_in_rounds([({"pytest": PASSING}, {"pytest, again": PASSING}, 0)]) == 0
    output = capfd.readouterr().out
    assert re.search(r" +\d+ s  pytest\n +\d+ s  pytest, again\n\nall checks passed\n$", output)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_checks_that_cannot_be_started_count_as_failed(script, monkeypatch, capfd):
    def out_of_memory(*_args, **_options):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("subprocess.Popen", out_of_memory)
    assert script.check_in_rounds([({}, {"pytest": PASSING, "lint": MISSING}, 0)]) == 1
    assert "failed: pytest\n\nfailed: lint\n" in capfd.readouterr().out


def test_failure_in_the_background_fails_the_whole_run(script):
    assert script.check_in_rounds([({"pytest": PASSING}, {"pytest, again": FAILING}, 0)]) == 1


def test_lowest_versions_apply_to_the_requirements_of_every_extra_in_the_group(script, monkeypatch):
    """`lowest-direct` covers requirements of the checkout, not those of packages in a group."""
    shutil.copy(ROOT / "pyproject.toml", script.HERE)
    installed = []
    monkeypatch.setattr(
        script,
        "install",
        lambda name, *requirements, venv, python: installed.append((venv, requirements)),
    )
    script.install_group("test", script.LOWEST, "--resolution", "lowest-direct")
    [(venv, (checkout, *options))] = installed
    assert venv.name == ".venv-lowest"
    assert options[-2:] == ["--resolution", "lowest-direct"]
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    [extras] = [entry for entry in groups["test"] if str(entry).startswith("mrcdist[")]
    assert checkout == str(script.HERE) + extras.removeprefix("mrcdist")


OLD_PYTHONS = sorted(Path.home().glob(".pyenv/versions/3.[789].*/bin/python3"))


@pytest.mark.skipif(not OLD_PYTHONS, reason="needs a Python older than 3.10")
def test_error_for_a_python_that_is_too_old_names_its_version():
    for python in OLD_PYTHONS:
        ran = subprocess.run([python, "run.py", "demo"], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 1
        assert re.fullmatch(r"error: Python 3\.\S+ is too old for mrcdist, .*\n", ran.stderr)
