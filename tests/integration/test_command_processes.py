"""The program in its own process: output errors at exit, and Ctrl-C during its start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import mrcdist
from tests.support.mrc_files import counting, write_mrc
from tests.support.processes import ROOT

FULL = Path("/dev/full")


def closed_pipe():
    """Return the writing end of a pipe whose reading end is closed."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


@pytest.mark.parametrize(("stdout", "status"), [("full", 1), ("closed", 141)])
def test_python_prints_nothing_at_exit_if_stdout_is_full_or_closed(tmp_path, stdout, status):
    """Python flushes its streams at exit, which fails a second time."""
    file = write_mrc(tmp_path / "a.mrc", counting((5, 6, 7), "float32"))
    with FULL.open("w", encoding="utf-8") if stdout == "full" else closed_pipe() as stream:
        done = subprocess.run(
            [sys.executable, "-m", "mrcdist.cli", "info", str(file)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=stream,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == status
    assert done.stderr.count(b"\n") == (2 if stdout == "full" else 0)


# Module that Python imports at its start; sends SIGINT when a given module is about to be imported.
INTERRUPTING = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)


class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            signal.raise_signal(signal.SIGINT)


sys.meta_path.insert(0, Interrupting())
"""


@pytest.mark.parametrize(
    ("program", "module"),
    [("module", "dask"), ("script", "numpy"), ("script", "mrcdist.cli.inspect")],
)
def test_ctrl_c_during_imports_ends_a_command_quietly(
    tmp_path: Path, program: str, module: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    script = tmp_path / "bin" / "mrcdist"
    script.parent.mkdir()
    script.write_text("import sys\nfrom mrcdist.cli import main\nsys.exit(main())\n")
    command = ["-m", "mrcdist.cli"] if program == "module" else [str(script)]
    package = str(Path(mrcdist.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, *command, "--help"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), package]),
            "INTERRUPT_AT": module,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGINT, "", "")


def test_ctrl_c_while_another_program_imports_the_package_is_left_to_that_program(
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    own = tmp_path / "own.py"
    own.write_text("try:\n    import mrcdist\nexcept KeyboardInterrupt:\n    print('mine')\n")
    package = str(Path(mrcdist.__file__).parents[1])
    path = os.pathsep.join([str(tmp_path), package])
    ended = subprocess.run(
        [sys.executable, str(own)],
        env={**os.environ, "PYTHONPATH": path, "INTERRUPT_AT": "dask"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ended.stdout == "mine\n"
