"""New processes: modules loaded by an import, exit statuses, and servers that end with them."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mrcdist
from tests.support.mrc_files import counting, write_mrc
from tests.support.processes import ROOT

# Packages that workers do not need.
CLIENT_ONLY = ("preview", "cli", "batch", "testing", "compute", "validate", "interop", "plotting")


def loaded_by(code, *argv):
    """Return the names of mrcdist modules that a new process has loaded after running `code`."""
    code += "\nimport json, sys; print(json.dumps([m for m in sys.modules if 'mrcdist' in m]))"
    return set(json.loads(run_python("-c", code, *argv).stdout.splitlines()[-1]))


def client_only(modules):
    return {m for m in modules if m.split(".")[1:2] and m.split(".")[1] in CLIENT_ONLY}


def run_python(*arguments, check=True, **environment):
    """Run Python with this checkout and capture its output."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=check,
        timeout=240,
    )


@pytest.fixture
def plain(tmp_path):
    """A stack of five frames."""
    return write_mrc(tmp_path / "plain.mrc", counting((5, 6, 7), "float32"))


class TestLazyImports:
    def test_importing_the_package_loads_only_the_configuration_and_errors(self):
        assert loaded_by("import mrcdist") == {
            "mrcdist",
            "mrcdist.byte_size",
            "mrcdist.config",
            "mrcdist.errors",
            "mrcdist.printable",
            "mrcdist.remembered",
            "mrcdist.startup_interrupt",
        }

    def test_unpickling_a_source_loads_only_what_workers_need(self, tmp_path):
        path = write_mrc(tmp_path / "a.mrc", np.arange(24, dtype="int16").reshape(2, 3, 4))
        stored = tmp_path / "source"
        stored.write_bytes(pickle.dumps(mrcdist.plan_mrc(path).source))
        modules = loaded_by(
            "import pathlib, pickle, sys\n"
            "source = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
            "assert source[1, 2, 3] == 23",
            stored,
        )
        assert "mrcdist.read.source" in modules
        assert client_only(modules) == set()
        assert not modules & {"mrcdist.api", "mrcdist.planner", "mrcdist.read_plan"}

    def test_importing_the_package_adds_its_defaults_to_the_configuration_of_dask(self):
        loaded_by("import mrcdist, dask; assert dask.config.get('mrcdist.retries') == 10")

    def test_dir_lists_public_names_without_loading_their_modules(self):
        loaded_by(
            "import mrcdist, sys\n"
            "assert {'browse', 'Browser', 'register_hyperspy', 'read_mrc'} <= set(dir(mrcdist))\n"
            "assert 'mrcdist.preview' not in sys.modules\n"
            "from mrcdist import *\n"
            "assert browse is mrcdist.browse\n"
            "assert not {'xarray', 'zarr'} & set(sys.modules)"
        )


def test_array_names_are_the_same_in_another_process(plain):
    code = (
        "import mrcdist, sys;"
        "print(mrcdist.plan_mrc(sys.argv[1], chunks=(2, -1, -1)).to_dask().name)"
    )
    name = run_python("-c", code, plain, PYTHONHASHSEED="7").stdout.strip()
    assert mrcdist.plan_mrc(plain, chunks=(2, -1, -1)).to_dask().name == name


class TestProgram:
    def run(self, *arguments):
        return run_python("-m", "mrcdist.cli", *arguments, check=False)

    def test_result_is_printed_to_stdout_and_an_error_to_stderr_with_status_1(
        self, plain, tmp_path
    ):
        good = self.run("info", plain, "--json")
        assert (good.returncode, good.stderr) == (0, "")
        assert json.loads(good.stdout)["shape"] == [5, 6, 7]
        bad = self.run("info", tmp_path / "none.mrc")
        assert (bad.returncode, bad.stdout) == (1, "")
        assert "Traceback" not in bad.stderr
        assert "\x1b" not in bad.stderr, "coloured output without a terminal"


def test_s3_server_ends_with_its_parent_process(tmp_path: Path) -> None:
    """The kernel of a notebook may be killed before it stops the server."""
    program = (
        "import sys, time; from pathlib import Path; from mrcdist.testing.server import serve_s3\n"
        "with serve_s3(Path(sys.argv[1])) as server: print(server.endpoint, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "s3.log"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        port = int(process.stdout.readline().rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port)).close()
        process.kill()

    def connect_repeatedly() -> None:
        while True:  # until the timeout of pytest, if the server keeps running
            socket.create_connection(("127.0.0.1", port)).close()
            time.sleep(0.1)

    with pytest.raises(ConnectionRefusedError):
        connect_repeatedly()
