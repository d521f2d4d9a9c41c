"""Files are read through `storage/`; other modules open only the files listed here."""

from __future__ import annotations

import ast

import pytest

from tests.support.package_code import package_trees

# Modules that read other files than data and what the user passes with them, and why.
EXCEPTIONS = {
    "batch/clusters.py": "dask's scheduler file, read again until the scheduler has written it",
    "batch/jobqueue.py": "settings and logs of dask-jobqueue on this machine",
    "batch/lock.py": "a lock, opened again and again to see the heartbeat of its holder",
    "cli/cluster.py": "an example that is part of the package",
    "compute/partial.py": "finished parts of a job, in numpy's format",
    "format/direct_electron/scan_points.py": "lines of a text in memory",
    "interop/zarr_destination.py": "metadata that zarr has just written to a temporary folder",
    "read/mapped.py": "maps of files that StoredFile has opened",
    "testing/server.py": "the log of a server that the caller has started",
    "write/local.py": "the unfinished file and its blocks",
    "write/tasks.py": "maps of the unfinished file",
}

READING_METHODS = {
    *("read_bytes", "read_text", "cat", "cat_file", "cat_ranges", "get_file"),
    *("open_memmap", "fromfile", "genfromtxt", "imread", "FileIO", "ZipFile", "TarFile"),
}
READING_FUNCTIONS = {"np.load", "np.loadtxt", "np.memmap"}


def reads_a_file(call: ast.Call) -> bool:
    """Return whether a call opens a file for reading, or reads one."""
    function = ast.unparse(call.func)
    name = function.rpartition(".")[2]
    if function == "os.open":
        return "O_WRONLY" not in ast.unparse(call)
    if name == "open":
        values = [each.value for each in ast.walk(call) if isinstance(each, ast.Constant)]
        modes = [
            value for value in values if isinstance(value, str) and set(value) <= set("rwxabt+")
        ]
        is_opened = bool(modes) or function == "open" or not (call.args or call.keywords)
        return is_opened and not any(mode.strip("bt") in ("w", "x", "a") for mode in modes)
    return name in READING_METHODS or function in READING_FUNCTIONS


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("open(path)", True),
        ("path.open()", True),
        ("path.open('rb')", True),
        ("fs.open(path, mode='r+b')", True),
        ("os.open(path, os.O_RDONLY)", True),
        ("path.read_bytes()", True),
        ("np.lib.format.open_memmap(path)", True),
        ("path.open('xb')", False),
        ("fs.open(path, 'wb')", False),
        ("StoredFile.open(location, 1024)", False),
        ("file.read(0, 10)", False),
    ],
)
def test_calls_that_read_a_file_are_recognised(code: str, reads: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert reads_a_file(call) == reads


def test_only_storage_and_the_exceptions_read_files() -> None:
    modules = {
        name
        for name, tree in package_trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and reads_a_file(node)
    }
    assert {name for name in modules if not name.startswith("storage/")} == set(EXCEPTIONS)
