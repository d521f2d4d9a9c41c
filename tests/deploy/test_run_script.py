"""What `run.py test` says and returns: each check runs, and each failure is named at the end."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import sys
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
