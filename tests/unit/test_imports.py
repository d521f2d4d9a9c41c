"""Public names can be imported, and imports between layers go one way."""

from __future__ import annotations

import ast

import pytest

import mrcdist
from tests.support.package_code import package_trees

# From top to bottom: a module imports only from its own layer and those below.
LAYERS = (
    ("mrcdist", "cli", "batch", "preview", "testing"),
    (
        *("api", "write_api", "reduce_api", "zarr_api", "xarray_api", "convert_api"),
        *("interop", "compute", "plan_summary", "plotting", "validate"),
    ),
    ("planner", "read_plan", "write", "options", "explain"),
    ("discover", "read"),
    ("storage", "plan"),
    ("format", "formatting"),
    (
        *("cluster_memory", "config", "default_chunk_size", "progress", "stats", "errors"),
        *("warning_notes", "printable", "extras", "startup_interrupt"),
    ),
    ("byte_size", "read_limits", "remembered", "signature", "system_calls"),
)
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}

IMPORT_BY_NAME = ("importlib.import_module", "import_module", "import_optional")


def part_of(module):
    """Return the folder or top-level module of the package that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def imported_names(tree):
    """Yield the dotted names that a module imports, also within functions and by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORT_BY_NAME:
            constant = isinstance(name := node.args[0], ast.Constant)
            yield name.value if constant else f"{{{ast.unparse(name)}}}"


def package_of(name, modules):
    """Return the longest beginning of a dotted name that is a module of the package, or None."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def all_imports():
    """Return two dicts by module: the modules of the package, and other names, that it imports."""
    trees = {}
    for path, tree in package_trees().items():
        parts = ("mrcdist", *path.removesuffix(".py").split("/"))
        trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = tree
    internal, external = {}, {}
    for module, tree in trees.items():
        names = set(imported_names(tree))
        if module == "mrcdist":  # public names are imported when they are first used
            names |= {f"mrcdist.{lazy}" for lazy in mrcdist._MODULES.values()}
        internal[module] = {package_of(name, trees) for name in names} - {module, None}
        external[module] = {name for name in names if package_of(name, trees) is None}
    return internal, external


def collapsed(graph, folder):
    """Return the imports between the modules and subfolders of a folder, without its __init__."""
    children = {}
    for module, others in graph.items():
        child, *targets = (
            name.removeprefix(f"{folder}.").split(".")[0] if name.startswith(f"{folder}.") else ""
            for name in (module, *others)
        )
        children.setdefault(child, set()).update(targets)
    return {child: others - {child, ""} for child, others in children.items() if child}


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


IMPORTS, OTHER_IMPORTS = all_imports()
FOLDERS = sorted({module.rpartition(".")[0] for module in IMPORTS} - {""})


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

    @pytest.mark.parametrize("folder", FOLDERS)
    def test_modules_and_subfolders_of_a_folder_have_no_circular_imports(self, folder):
        assert find_cycle(collapsed(IMPORTS, folder)) == []

    def test_circular_imports_of_folders_are_found_if_no_module_is_in_a_circle(self):
        graph = {"p": set(), "p.a.x": {"p.b.x"}, "p.b.x": set(), "p.b.y": {"p.a.y"}, "p.a.y": set()}
        assert find_cycle(graph) == []
        assert find_cycle(collapsed(graph, "p")) == ["a", "b", "a"]

    @pytest.mark.parametrize(
        ("source", "names"),
        [
            ("import a.b, c", {"a.b", "c"}),
            ("def f():\n    from a.b import c as d", {"a.b.c"}),
            ('importlib.import_module("a.b").c()', {"a.b"}),
            ("import_module(f'a.{b}')", {"{f'a.{b}'}"}),
        ],
    )
    def test_all_forms_of_import_are_found(self, source, names):
        assert set(imported_names(ast.parse(source))) == names

    def test_only_optional_packages_are_imported_by_a_name_that_varies(self):
        varying = {
            (module, name)
            for module, names in OTHER_IMPORTS.items()
            for name in names
            if name.startswith("{")
        }
        assert varying == {
            ("mrcdist", "{f'mrcdist.{_MODULES[name]}'}"),  # followed by `all_imports`
            ("mrcdist.batch.jobqueue", "{f'dask_jobqueue.{system}'}"),
            ("mrcdist.batch.output", "{package}"),
            ("mrcdist.compute.tasks", "{device}"),
            ("mrcdist.extras", "{module}"),  # the argument of `import_optional`
            ("mrcdist.format.mrcz", "{name}"),
            ("mrcdist.zarr_api", "{package}"),
            ("mrcdist.zarr_api", "{f'virtualizarr.{module}'}"),
        }

    @pytest.mark.parametrize(
        ("graph", "cycle"),
        [
            ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
            ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ],
    )
    def test_cycle_in_a_graph_is_found(self, graph, cycle):
        assert find_cycle(graph) == cycle


class TestPurePackages:
    """Modules of format/ and plan/, with all that they import, depend on their arguments only."""

    ALLOWED = frozenset(
        {
            *(
                "__future__",
                "base64",
                "collections",
                "contextlib",
                "copy",
                "dataclasses",
                "datetime",
                "enum",
            ),
            *("functools", "itertools", "json", "math", "numbers", "numpy", "operator", "re"),
            *("struct", "types", "typing", "unicodedata"),
            *("sys", "warnings"),  # to issue notes as warnings, which `api.py` does
            "pathlib.PurePosixPath",
            "mrcfile.dtypes.HEADER_DTYPE",  # layouts of the header and of FEI's records
            "mrcfile.dtypes.get_ext_header_dtype",
            "dask.array.core.normalize_chunks",  # a pure function
            "dask.utils.parse_bytes",  # a pure function
            *("importlib", "{name}", "{module}"),  # blosc, to decompress MRCZ
        }
    )

    def test_format_and_plan_import_nothing_that_reads_files_or_settings(self):
        modules = [name for name in IMPORTS if part_of(name) in ("format", "plan")]
        reached = set()
        while modules:
            reached.add(module := modules.pop())
            modules += IMPORTS[module] - reached
        impure = {
            f"{module} imports {name}"
            for module in reached
            for name in OTHER_IMPORTS[module]
            if not {name, name.split(".")[0]} & self.ALLOWED
        }
        assert impure == set()
        assert {part_of(module) for module in reached} - {"format", "plan"} == {
            *("byte_size", "errors", "extras", "formatting", "printable", "read_limits"),
            "warning_notes",
        }
