"""ARCHITECTURE.md lists every module, and its walks through the code match recorded calls."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import fsspec.asyn
import numpy as np
import pytest

import mrcdist
from mrcdist.testing.acquisition import write_acquisition
from tests.support.processes import ROOT
from tests.support.s3 import S3Server

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
STEPS = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", ARCHITECTURE)))
# Never called, so not among the recorded calls.
CONSTANTS = {"SPECIMEN_PIXEL_X"}


def names_in(path: str) -> set[str]:
    """Return the top-level names of a module, and the methods and properties of its classes."""
    names = set()
    for node in ast.parse((ROOT / "mrcdist" / path).read_text("utf-8")).body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            names |= {
                f"{node.name}.{below.name}"
                for below in getattr(node, "body", ())
                if isinstance(below, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


def walk(first_words: str) -> list[tuple[str, str]]:
    """Return the files and functions of one walk, in order."""
    [text] = re.findall(rf"^{first_words}.*?(?=^\S*[A-Z#])", ARCHITECTURE, re.M | re.S)
    steps = re.findall(r"`([\w/]+\.py):([\w.]+)`", text)
    return [step for step in steps if step[1] not in CONSTANTS]


@contextmanager
def record_calls(called: list[tuple[str, str]]) -> Iterator[None]:
    """Record the functions of the package called in this thread and in that of fsspec."""
    package = str(Path(mrcdist.__file__).parent)

    def record(frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename.startswith(package):
            path = Path(code.co_filename).relative_to(package).as_posix()
            called.append((path, code.co_qualname))
        if code.co_name == "__init__":
            cls = type(next(iter(frame.f_locals.values())))
            if cls.__module__.startswith("mrcdist."):
                module = sys.modules[cls.__module__].__file__ or ""
                called.append((Path(module).relative_to(package).as_posix(), cls.__name__))

    loop = fsspec.asyn.get_loop()
    before = sys.getprofile()
    loop.call_soon_threadsafe(sys.setprofile, record)
    sys.setprofile(record)
    try:
        yield
    finally:
        sys.setprofile(before)
        loop.call_soon_threadsafe(sys.setprofile, None)


def with_symmetry(raw: bytes) -> bytes:
    """Insert an extended header with one symmetry operator into a file."""
    header = bytearray(raw[:1024])
    header[92:96], header[104:108] = (80).to_bytes(4, "little"), b"CCP4"
    return bytes(header) + b"X,  Y,  Z".ljust(80) + raw[1024:]


@pytest.fixture(scope="module")
def calls(moto: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Record the calls that open an acquisition in S3, and those that read rows of its frames."""
    written = write_acquisition(
        tmp_path_factory.mktemp("walk"), scan_shape=(3, 4), frame_shape=(64, 64)
    )
    calls: dict[str, list[tuple[str, str]]] = {"open": [], "read": []}
    with moto.bucket() as bucket:
        for path in written.files:
            raw = path.read_bytes()
            bucket.put(f"scan/{path.name}", with_symmetry(raw) if path in written.movies else raw)
        options = {"storage_options": bucket.storage_options()}
        with record_calls(calls["open"]):
            [dataset] = mrcdist.read_mrc(bucket.url(f"scan/{written.movies[0].name}"), **options)
        with record_calls(calls["read"]):
            block = dataset["data"][:, 1:].compute(scheduler="sync")
    assert dataset["axes"][0]["units"] == "nm"  # the sidecar was read
    assert block.shape == (3, 3, 64, 64)
    assert np.any(block)
    return calls


def test_every_module_is_in_the_row_of_its_folder_in_architecture() -> None:
    [table] = re.findall(r"^## Where to change what$.*?^Outside", ARCHITECTURE, re.M | re.S)
    rows = {
        entry: set(re.findall(r"`([\w/]+)(?:\.py)?`", row))
        for row in table.splitlines()
        for entry in re.findall(r"`([\w/.]+)`", row.split("|")[1] if "|" in row else "")
    }
    for path in (ROOT / "mrcdist").rglob("[!_]*.py"):
        module = path.relative_to(ROOT / "mrcdist")
        folders = [f"{folder.as_posix()}/" for folder in module.parents[:-1]]
        row = next((rows[folder] for folder in folders if folder in rows), rows.keys())
        assert (path.stem if folders else path.name) in row, module
    assert [entry for entry in rows if not (ROOT / "mrcdist" / entry).exists()] == []


def test_architecture_contains_walks_through_the_code() -> None:
    assert len(STEPS) > 20


@pytest.mark.parametrize(("path", "name"), STEPS)
def test_function_named_in_architecture_exists(path: str, name: str) -> None:
    assert name in names_in(path)


@pytest.mark.parametrize(
    ("first_words", "phase"),
    [("`url`, on", "open"), ("A byte range, on", "read"), ("A key of the sidecar", "open")],
)
def test_walk_matches_the_recorded_calls(
    first_words: str, phase: str, calls: dict[str, list[tuple[str, str]]]
) -> None:
    steps = walk(first_words)
    assert len(steps) > 5
    assert [step for step in steps if step not in calls[phase]] == []
    remaining = iter(calls[phase])
    assert [step for step in steps if step not in remaining] == []  # in this order
