"""What is imported, by whom and when: workers load little, and imports run one way."""

from __future__ import annotations

import ast
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcdist
from tests.support.mrc_files import write_mrc

# What a worker has no use for.
CLIENT_ONLY = ("preview", "cli", "batch", "testing", "compute", "validate", "interop")

# From the top down: a module imports from its own layer and from those below.
LAYERS = (
    ("mrcdist", "cli", "batch", "preview", "testing"),
    ("api", "images", "interop", "compute", "validate"),
    ("dataset", "options", "explain", "plan_html", "dask_array"),
    ("discover", "read"),
    ("storage", "plan"),
    ("format", "words"),
    ("config", "progress", "stats", "errors", "notes"),
)
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}

PACKAGE = Path(mrcdist.__file__).parent


def part_of(module):
    """The folder below the package, or the module that lies in none; the package's own is it."""
    return module.split(".")[1] if "." in module else module


def all_imports():
    """Modules of the package → those that they import anywhere, in functions too."""
    paths = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    imports = {}
    for module, path in paths.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} has a relative import"
                for alias in node.names:
                    below = f"{node.module}.{alias.name}"
                    found.add(below if below in paths else node.module)
        imports[module] = (found & set(paths)) - {module}
    return imports


def find_cycle(graph):
    """The first way from a node back to itself, or an empty list."""
    done = set()

    def visit(node, way):
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for other in sorted(graph[node]):
            if cycle := visit(other, [*way, node]):
                return cycle
        done.add(node)
        return []

    for node in sorted(graph):
        if cycle := visit(node, []):
            return cycle
    return []


IMPORTS = all_imports()


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


class TestImportsRunOneWay:
    def test_every_module_and_folder_has_a_layer(self):
        assert {part_of(module) for module in IMPORTS} == set(LAYER_OF)

    def test_no_module_imports_from_a_layer_above(self):
        upwards = [
            f"{module} imports {other}"
            for module, others in IMPORTS.items()
            for other in others
            if LAYER_OF[part_of(module)] > LAYER_OF[part_of(other)]
        ]
        assert upwards == []

    def test_no_module_imports_itself_by_way_of_others(self):
        assert find_cycle(IMPORTS) == []

    def test_no_folder_imports_itself_by_way_of_others(self):
        folders = {part_of(module): set() for module in IMPORTS}
        for module, others in IMPORTS.items():
            folders[part_of(module)] |= {part_of(other) for other in others} - {part_of(module)}
        assert find_cycle(folders) == []

    @pytest.mark.parametrize(
        ("graph", "cycle"),
        [
            ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
            ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ],
    )
    def test_cycles_are_found(self, graph, cycle):
        assert find_cycle(graph) == cycle
