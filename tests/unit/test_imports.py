"""What is imported, by whom and when: workers load little, and imports run one way."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import mrcdist
from tests.support.mrc_files import write_mrc

# What a worker has no use for.
CLIENT_ONLY = ("preview", "cli", "batch", "demo", "compute", "validate", "interop")


def loaded_by(code, *argv):
    """Names of the mrcdist modules that a fresh process has after running `code`."""
    code += "\nimport json, sys; print(json.dumps([m for m in sys.modules if 'mrcdist' in m]))"
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)], capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


def client_only(modules):
    return {m for m in modules if m.split(".")[1:2] and m.split(".")[1] in CLIENT_ONLY}


class TestALazyPackage:
    def test_import_loads_the_defaults_alone(self):
        assert loaded_by("import mrcdist") == {"mrcdist", "mrcdist.config", "mrcdist.errors"}

    def test_unpickling_a_source_loads_neither_viewer_nor_command_line(self, tmp_path):
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
        assert not modules & {"mrcdist.api", "mrcdist.dataset"}

    def test_defaults_are_in_dasks_configuration_after_import(self):
        loaded_by("import mrcdist, dask; assert dask.config.get('mrcdist.retries') == 10")

    def test_every_public_name_is_found(self):
        assert set(mrcdist.__all__) <= set(dir(mrcdist))
        for name in mrcdist.__all__:
            assert getattr(mrcdist, name).__name__ == name

    def test_public_names_are_listed_before_they_are_loaded(self):
        loaded_by(
            "import mrcdist, sys\n"
            "assert {'browse', 'Browser', 'register_hyperspy', 'read_mrc'} <= set(dir(mrcdist))\n"
            "assert 'mrcdist.preview' not in sys.modules\n"
            "from mrcdist import *\n"
            "assert browse is mrcdist.browse"
        )

    def test_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="module 'mrcdist' has no attribute 'read_tiff'"):
            mrcdist.read_tiff  # noqa: B018
