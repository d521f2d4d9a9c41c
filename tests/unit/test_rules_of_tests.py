"""Rules for tests: their names stand alone and never vary, and they do not patch the package.

Unit tests mirror the modules of the package, and start no process, server or cluster.
"""

from __future__ import annotations

import ast

import pytest

from tests.support.processes import ROOT

UNIT = ROOT / "tests" / "unit"

# First words that make a name depend on the test before it, or on its class or file.
DEPENDENT = (
    *("and", "are", "but", "in", "is", "it", "its", "nor", "of", "that", "they", "their"),
    *("another", "auto", "new", "none", "other", "others", "same", "such", "the", "this"),
)


# Members of the package that tests replace, and what that stands for. Limits are arguments; faults
# are simulated in the filesystem, in dask or in the operating system.
PATCHED = {
    "mrcdist.cli.main.commands": "a command of the test",
    "mrcdist.compute.partial.PartialStore.remove": "a job killed before it removes its parts",
    "mrcdist.compute.partial.PartialStore.save": "a job interrupted between two parts",
    "mrcdist.compute.reduce_block.compiled": "numba is not installed",
    "mrcdist.interop.zarr_destination.ZarrDestination.abandon": "a call killed while it ends",
    "mrcdist.interop.zarr_destination.ZarrDestination.finish": "a call interrupted before its end",
    "mrcdist.read.mmap_pool.POOL.shared": "a file truncated before it is mapped",
    "mrcdist.read.source.RemoteReader": "counts files that are opened",
    "mrcdist.storage.url.Path": "Windows",
    "mrcdist.write.local.LocalDestination.write": "records what is written",
    "mrcdist.write.plan.local_grid": "a network filesystem with large pages",
    "mrcdist.storage.layers.Progress": "an operation that takes longer than two seconds",
    "mrcdist.{}.Progress": "an operation that takes longer than two seconds",
}


# Modules without a unit test of their own → where they are tested: with whole files, with servers,
# in the environment of zarr 3, or together with another module.
TESTED_IN = {
    "api.py": "conformance/test_header.py",
    "byte_size.py": "unit/test_config.py",
    "cli/cluster.py": "unit/cli/test_options.py",
    "cli/convert.py": "integration/test_convert.py",
    "cluster_memory.py": "integration/test_cluster_memory.py",
    "compute/compiled.py": "integration/test_compiled_loops.py",
    "compute/functions.py": "unit/test_reduce_api.py",
    "compute/reductions.py": "unit/compute/test_reduce_block.py",
    "compute/results.py": "unit/test_reduce_api.py",
    "compute/submit.py": "integration/test_reduce.py",
    "discover/images.py": "conformance/test_acquisition_images.py",
    "discover/scan.py": "conformance/test_custom_scans.py",
    "format/byte_order.py": "conformance/test_header.py",
    "format/direct_electron/sidecar.py": "conformance/test_acquisition_sidecars.py",
    "format/encode.py": "conformance/test_written_files.py",
    "format/extended/corrections.py": "conformance/test_missing_extended_header.py",
    "format/extended/decoder.py": "conformance/test_extended.py",
    "format/extended/fei.py": "conformance/test_extended_fei.py",
    "format/extended/nint_nreal.py": "conformance/test_extended.py",
    "format/extended/stored_records.py": "conformance/test_rewritten_extended_headers.py",
    "format/header.py": "conformance/test_header.py",
    "format/modes.py": "conformance/test_packed_by_label.py",
    "format/mrcz.py": "conformance/test_mrcz_format.py",
    "format/pixels.py": "conformance/test_modes.py",
    "interop/labelled_array.py": "zarr3/test_zarr_store.py",
    "interop/navigator_images.py": "conformance/test_acquisition_images.py",
    "interop/ome_zarr.py": "zarr3/test_convert_to_ome_zarr.py",
    "interop/references.py": "zarr3/test_references.py",
    "interop/rosettasciio.py": "parity/test_rosettasciio.py",
    "interop/zarr_destination.py": "unit/test_convert_api.py",
    "interop/zarr_store.py": "zarr3/test_zarr_store.py",
    "plan/agreement.py": "conformance/test_lists.py",
    "plan/axes.py": "conformance/test_acquisitions.py",
    "plan/layout.py": "unit/plan/test_block.py",
    "plan/reader_capabilities.py": "unit/plan/test_block.py",
    "planner.py": "conformance/test_lists.py",
    "preview/overview_page.py": "unit/preview/test_preview.py",
    "preview/panels.py": "unit/preview/test_choose_sample.py",
    "preview/reading.py": "unit/preview/test_preview.py",
    "preview/sample.py": "unit/preview/test_choose_sample.py",
    "preview/scan_data.py": "unit/preview/test_browser.py",
    "startup_interrupt.py": "integration/test_command_processes.py",
    "stats.py": "unit/test_explain.py",
    "storage/transport/fsspec.py": "contract/test_transports.py",
    "storage/transport/http.py": "contract/test_transports.py",
    "storage/transport/s3.py": "contract/test_transports.py",
    "testing/server.py": "integration/test_support.py",
    "validate/findings.py": "unit/validate/test_report.py",
    "write/errors.py": "integration/test_writing_faults.py",
    "write/mrcz.py": "conformance/test_written_mrcz.py",
    "write/new_header.py": "conformance/test_header_of_copies.py",
    "write/s3.py": "integration/test_writing_faults.py",
    "write/s3_client.py": "integration/test_s3_client.py",
    "write/s3_upload.py": "integration/test_writing_faults.py",
    "write/stream.py": "conformance/test_written_files.py",
    "write_api.py": "conformance/test_written_files.py",
    "xarray_api.py": "zarr3/test_xarray_backend.py",
}

# Tests of the whole package, rather than of one module.
WHOLE_PACKAGE = {
    *("test_file_access", "test_imports", "test_private_members"),
    *("test_process_state", "test_rules_of_code", "test_rules_of_tests"),
}


@pytest.fixture(scope="module")
def trees():
    """Path of each file below `tests` → its syntax tree."""
    tests = ROOT / "tests"
    return {
        path.relative_to(tests).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(tests.rglob("*.py"))
    }


def misnamed(tree):
    """Return names of tests that cannot be understood alone."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and node.name.split("_")[1] in DEPENDENT
    ]


def wrongly_patched(tree):
    """Return what is patched, if it is private, or a member of the package not in `PATCHED`."""
    return [
        name
        for name in patched(tree)
        if is_private(name.rpartition(".")[2]) or (is_of_package(name) and name not in PATCHED)
    ]


def patched(tree):
    """Return the full names of what is replaced by methods that patch, or by an assignment."""
    imported = imported_names(tree)
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            method = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if method in ("setitem", "delitem", "patch"):
                names.append(full_name(node.args[0], imported))
            elif method in ("setattr", "delattr", "object"):
                parts = [full_name(each, imported) for each in node.args[:2]]
                names.append(".".join(filter(None, parts)))
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            name = full_name(node, imported)
            names += [name] if is_of_package(name) else []
    return names


def imported_names(tree):
    """Return what each imported name stands for."""
    names = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names[alias.asname or alias.name] = module + alias.name
    return names


def full_name(node, imported):
    """Return the full name of a text, an attribute or an item; empty for other expressions."""
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, imported)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return full_name(node.value, imported)
    if isinstance(node, ast.JoinedStr):
        return "".join(full_name(part, {}) or "{}" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return imported.get(getattr(node, "id", None), "")


def is_of_package(name):
    return name.partition(".")[0] == "mrcdist"


def time_dependent_constants(tree):
    """Return calls at module level whose result contains the current time.

    If it became a parametrize id, parallel test processes would collect different names.
    """
    inside = {
        id(call)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.Lambda)
        for statement in (function.body if isinstance(function.body, list) else [function.body])
        for call in ast.walk(statement)
    }
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and id(node) not in inside
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) == "gzip.compress"
        and "mtime" not in [keyword.arg for keyword in node.keywords]
    ]


def imported_starters(tree):
    """Return imports with which a module could start processes, servers or clusters."""
    modules = ("subprocess", "multiprocessing", "http.server", "socketserver", "moto")
    support = ("cluster", "gate", "hosts", "jobs", "serving", "slurm", "web")
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(
        name
        for name in imported
        if name in modules
        or name in [f"tests.support.{each}" for each in support]
        or name in ("distributed.Client", "distributed.LocalCluster", "distributed.Scheduler")
    )


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize("find", [misnamed, wrongly_patched, time_dependent_constants])
def test_no_test_file_violates_the_rule(find, trees):
    violations = {name: find(tree) for name, tree in trees.items()}
    assert {name: found for name, found in violations.items() if found} == {}


def test_every_member_listed_as_patched_is_patched_by_a_test(trees):
    names = {name for tree in trees.values() for name in patched(tree)}
    assert set(PATCHED) - names == set()


def test_unit_tests_start_no_process_server_or_cluster():
    imports = {
        path.relative_to(UNIT).as_posix(): imported_starters(ast.parse(path.read_text("utf-8")))
        for path in UNIT.rglob("*.py")
    }
    assert {name: starters for name, starters in imports.items() if starters} == {}


def module_of(test, modules):
    """Return the module with the longest name that begins the name of a unit test, or None."""
    begins = test.relative_to(UNIT).as_posix().replace("test_", "", 1).removesuffix(".py")
    possible = (each for each in modules if f"{begins}_".startswith(f"{each[:-3]}_"))
    return max(possible, key=len, default=None)


def test_each_module_has_a_unit_test_or_is_tested_elsewhere():
    package, demo = ROOT / "mrcdist", ROOT / "demo"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("[!_]*.py")}
    others = {f"demo/{path.name}" for path in demo.glob("[!_]*.py")}
    tested = {test: module_of(test, modules | others) for test in UNIT.rglob("test_*.py")}
    assert {test.stem for test, module in tested.items() if module is None} == WHOLE_PACKAGE
    assert modules - set(tested.values()) == set(TESTED_IN)
    assert [file for file in TESTED_IN.values() if not (ROOT / "tests" / file).is_file()] == []


def test_violations_of_the_rules_are_found():
    code = (
        "import subprocess, os; from distributed import Client; from tests.support import serving"
    )
    assert imported_starters(ast.parse(code)) == [
        "distributed.Client",
        "subprocess",
        "tests.support.serving",
    ]
    assert misnamed(ast.parse("class TestA:\n    def test_and_is_read(self): ...")) == [
        "test_and_is_read"
    ]
    code = """
from mrcdist.a import b as c; import mrcdist
monkeypatch.setattr(module, "_LIMIT", 1); patch.object(c, "read"); patch("package.module._call")
monkeypatch.setattr(mrcdist.read, "open", 1); monkeypatch.setitem(mrcdist.names, "x", 1)
monkeypatch.setattr(str, "__str__", 1); c.limit = 1
"""
    assert sorted(wrongly_patched(ast.parse(code))) == [
        "_LIMIT",
        "mrcdist.a.b.limit",
        "mrcdist.a.b.read",
        "mrcdist.names",
        "mrcdist.read.open",
        "package.module._call",
    ]
    code = 'TABLE = {"gzip": gzip.compress(b"a")}; OTHER = gzip.compress(b"a", mtime=0)\n'
    code += "def test_a(): return gzip.compress(b'b')"
    assert time_dependent_constants(ast.parse(code)) == ["gzip.compress(b'a')"]
