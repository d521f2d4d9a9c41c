"""List of the private members of other packages that mrcdist uses.

They may change in any release. One test per member checks the behaviour that mrcdist relies on; its
name says which feature would break.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
import zipfile

import dask.array as da
import fsspec
import numpy as np
import pytest
from dask_jobqueue.local import LocalCluster as LocalJobCluster
from fsspec.asyn import AsyncFileSystem, sync
from fsspec.core import url_to_fs
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from s3fs import S3FileSystem

from mrcdist.storage.layers import close
from mrcdist.write.s3_client import new_client
from tests.support.package_code import package_trees
from tests.support.processes import ROOT

PRIVATE = {
    # dask
    "data._meta": "test_masked_dask_arrays_are_recognised_by_the_type_of_their_blocks",
    # dask-jobqueue
    "cluster.job_cls._call": "test_output_of_batch_system_commands_is_returned_and_failures_raise",
    "cluster._dummy_job": "test_log_directory_of_jobs_is_known_after_workers_end",
    # fsspec
    "fs._strip_protocol": "test_local_url_becomes_a_path",
    "LocalFileSystem._strip_protocol": "test_local_url_becomes_a_path",
    "fs._parent": "test_parent_of_a_file_is_its_folder_on_every_filesystem",
    "type(layer)._cache": "test_closed_archive_is_opened_again",
    "self.filesystem._cat_file": "test_byte_ranges_are_fetched_by_a_coroutine_of_the_filesystem",
    # s3fs
    "fs._get_s3_method_kwargs": "test_requester_pays_is_passed_with_every_s3_request",
    # zarr, tested in the environment with zarr 3
    "self._decode_single": "tests/zarr3/test_zarr_store.py",
    # Python
    "threading._register_atexit": "tests/integration/test_interrupted_reads.py",
    # Python: documented in spite of the underscore
    "os._exit": "",
    "quantity._replace": "",
    "sys._getframe": "",
}


@pytest.fixture(scope="module")
def nodes():
    """Syntax nodes of all modules of the package and the demo."""
    demo = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "demo").rglob("*.py")]
    return [node for tree in (*package_trees().values(), *demo) for node in ast.walk(tree)]


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


def test_every_private_member_of_another_package_is_listed(nodes):
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    own = {node.name for node in nodes if isinstance(node, definitions)}
    stored = [node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)]
    own |= {node.attr for node in stored if isinstance(node, ast.Attribute)}
    own |= {node.id for node in stored if isinstance(node, ast.Name)}
    read = [node for node in nodes if isinstance(node, ast.Attribute) and is_private(node.attr)]
    used = {ast.unparse(node): node.attr for node in read}
    foreign = {expression for expression, name in used.items() if name not in own}
    assert foreign - PRIVATE.keys() == set(), "add it to PRIVATE, with a test"
    assert PRIVATE.keys() - used.keys() == set(), "no longer used"
    assert {test for test in PRIVATE.values() if test.startswith("test_")} <= globals().keys()


def test_private_modules_of_other_packages_are_not_imported(nodes):
    imported = [
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert [name for name in imported if any(map(is_private, name.split(".")))] == []


def test_masked_dask_arrays_are_recognised_by_the_type_of_their_blocks():
    assert type(da.zeros((2, 3))._meta) is np.ndarray
    masked = da.ma.masked_array(da.zeros((2, 3)), mask=np.eye(2, 3))
    assert np.ma.isMaskedArray(masked._meta)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no batch systems on Windows")
def test_output_of_batch_system_commands_is_returned_and_failures_raise():
    """mrcdist asks squeue why jobs are waiting."""
    output = asyncio.run(LocalJobCluster.job_cls._call(["echo", "7|Priority"]))
    assert output == "7|Priority\n"
    with pytest.raises(RuntimeError, match="Invalid job id"):
        asyncio.run(LocalJobCluster.job_cls._call(["sh", "-c", "echo Invalid job id >&2; exit 1"]))


def test_log_directory_of_jobs_is_known_after_workers_end(tmp_path):
    assert isinstance(inspect.getattr_static(LocalJobCluster, "_dummy_job"), property)
    job = LocalJobCluster.job_cls(
        None, name="worker", cores=1, memory="1 GiB", log_directory=str(tmp_path)
    )
    assert job.log_directory == str(tmp_path)


def test_local_url_becomes_a_path(tmp_path):
    path = tmp_path / "#1 a?b.mrc"
    assert LocalFileSystem._strip_protocol(f"file://{path.as_posix()}") == path.as_posix()
    assert fsspec.filesystem("file")._strip_protocol(str(path)) == path.as_posix()


@pytest.mark.parametrize(
    ("fs", "path", "folder"),
    [
        (fsspec.filesystem("memory"), "/scans/a.mrc", "/scans"),
        (S3FileSystem(anon=True), "bucket/scans/a.mrc", "bucket/scans"),
        (LocalFileSystem(), "/data/scans/a.mrc", "/data/scans"),
    ],
)
def test_parent_of_a_file_is_its_folder_on_every_filesystem(fs, path, folder):
    assert fs._parent(path) == folder


def test_closed_archive_is_opened_again(tmp_path):
    """An archive may have been replaced since it was opened."""
    path = tmp_path / "scans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.mrc", b"old")
    url = f"simplecache::zip://a.mrc::file://{path.as_posix()}"
    fs, _ = url_to_fs(url)
    assert url_to_fs(url)[0] is fs, "fsspec no longer caches filesystems of archives"
    close(fs)
    assert url_to_fs(url)[0] is not fs


@pytest.mark.parametrize("kind", [AsyncFileSystem, HTTPFileSystem, S3FileSystem])
def test_byte_ranges_are_fetched_by_a_coroutine_of_the_filesystem(kind):
    assert inspect.iscoroutinefunction(kind._cat_file)
    inspect.signature(kind._cat_file).bind(None, "bucket/a.mrc", start=0, end=1024)


def test_requester_pays_is_passed_with_every_s3_request():
    fs = S3FileSystem(
        key="a",
        secret="b",
        requester_pays=True,
        s3_additional_kwargs={"SSECustomerAlgorithm": "AES256", "ACL": "private"},
        skip_instance_cache=True,
    )
    client = sync(fs.loop, fs.set_session)
    request = {"Bucket": "b", "Key": "a.mrc", "Range": "bytes=0-1023"}
    arguments = fs._get_s3_method_kwargs(client.get_object, fs.req_kw, **request)
    # Only options that get_object accepts are added; the same holds for botocore's own client.
    get_object = new_client(fs, "b").get_object
    assert fs._get_s3_method_kwargs(get_object, fs.req_kw, **request) == arguments
    assert arguments == {**request, "RequestPayer": "requester", "SSECustomerAlgorithm": "AES256"}
    assert sync(fs.loop, fs.get_s3, "b") is client
