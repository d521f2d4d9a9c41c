"""Public names can be imported, and imports between layers go one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mrcdist

# From top to bottom: a module imports only from its own layer and those below.
LAYERS = (
    ("mrcdist", "cli", "batch", "preview", "testing"),
    (
        *("api", "write_api", "reduce_api", "zarr_api", "xarray_api", "convert_api"),
        *("interop", "compute", "plotting", "validate"),
    ),
    ("planner", "read_plan", "write", "options", "explain", "plan_html"),
    ("discover", "read"),
    ("storage", "plan"),
    ("format", "formatting"),
    (
        *("cluster_memory", "config", "progress", "stats", "errors", "warning_notes", "printable"),
        *("extras", "startup_interrupt"),
    ),
    ("read_limits", "remembered", "signature", "system_calls"),
)
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}

PACKAGE = Path(mrcdist.__file__).parent


def part_of(module):
    """Return the folder or top-level module of the package that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def all_imports():
    """Return module → modules of the package that it imports, also within functions."""
    paths = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    imports = {}
    for module, path in paths.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} has a relative import"
                for alias in node.names:
                    submodule = f"{node.module}.{alias.name}"
                    names.add(submodule if submodule in paths else node.module)
        imports[module] = (names & set(paths)) - {module}
    return imports


def find_cycle(graph):
    """Return the first path from a node back to itself, or an empty list."""
    visited = set()

    def visit(node, path):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in visited:
            return []
        for other in sorted(graph[node]):
            if cycle := visit(other, [*path, node]):
                return cycle
        visited.add(node)
        return []

    for node in sorted(graph):
        if cycle := visit(node, []):
            return cycle
    return []


IMPORTS = all_imports()


class TestPublicNames:
    def test_every_name_in_all_can_be_imported(self):
        assert set(mrcdist.__all__) <= set(dir(mrcdist))
        for name in mrcdist.__all__:
            assert getattr(mrcdist, name).__name__ == name

    def test_unknown_name_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="module 'mrcdist' has no attribute 'read_tiff'"):
            mrcdist.read_tiff  # noqa: B018


class TestImportsRunOneWay:
    def test_every_module_and_folder_belongs_to_a_layer(self):
        assert {part_of(module) for module in IMPORTS} == set(LAYER_OF)

    def test_no_module_imports_from_a_layer_above(self):
        upwards = [
            f"{module} imports {other}"
            for module, others in IMPORTS.items()
            for other in others
            if LAYER_OF[part_of(module)] > LAYER_OF[part_of(other)]
        ]
        assert upwards == []

    def test_modules_have_no_circular_imports(self):
        assert find_cycle(IMPORTS) == []

    def test_folders_have_no_circular_imports(self):
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
    def test_cycle_in_a_graph_is_found(self, graph, cycle):
        assert find_cycle(graph) == cycle


def test_no_module_has_more_than_400_lines():
    lines = {path: path.read_text("utf-8").count("\n") for path in PACKAGE.rglob("*.py")}
    assert [path.name for path, count in lines.items() if count > 400] == []
