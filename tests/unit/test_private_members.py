"""The one list of private members of other packages that mrcdist calls.

Their authors may change them in any release. A test per member holds what mrcdist counts on, and
its name says what breaks with it.
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
from dask_jobqueue.local import LocalCluster as JobsOnThisMachine
from fsspec.asyn import AsyncFileSystem, sync
from fsspec.core import url_to_fs
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from s3fs import S3FileSystem

from mrcdist.storage.layers import close
from mrcdist.write.s3_client import new_client
from tests.support.processes import ROOT

PRIVATE = {
    # dask
    "data._meta": "test_masked_dask_arrays_are_refused_by_what_their_blocks_are",
    # dask-jobqueue
    "cluster.job_cls._call": "test_slurm_is_asked_for_the_reason_why_jobs_wait",
    "cluster._dummy_job": "test_logs_of_workers_that_ended_are_found_in_the_folder_of_jobs",
    # fsspec
    "fs._strip_protocol": "test_local_urls_are_paths_without_file",
    "LocalFileSystem._strip_protocol": "test_local_urls_are_paths_without_file",
    "fs._parent": "test_files_beside_a_file_are_listed_in_its_folder",
    "type(layer)._cache": "test_an_archive_that_was_replaced_is_opened_anew",
    "self.filesystem._cat_file": "test_several_ranges_are_asked_for_in_the_loop_of_a_filesystem",
    # s3fs
    "fs._get_s3_method_kwargs": "test_who_pays_goes_with_every_request",
    # zarr, in an environment of its own
    "self._decode_single": "tests/zarr3/test_zarr_store.py",
    # Python
    "threading._register_atexit": "tests/integration/test_interrupted_reads.py",
    # Python, documented in spite of their names
    "os._exit": "",
    "quantity._replace": "",
    "sys._getframe": "",
}


@pytest.fixture(scope="module")
def nodes():
    """All syntax of the package and the demonstration."""
    files = (path for folder in ("mrcdist", "demo") for path in (ROOT / folder).rglob("*.py"))
    return [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


def test_every_private_member_of_another_package_is_listed(nodes):
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    own = {node.name for node in nodes if isinstance(node, functions)}
    stored = [node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Store)]
    own |= {node.attr for node in stored if isinstance(node, ast.Attribute)}
    own |= {node.id for node in stored if isinstance(node, ast.Name)}
    read = [node for node in nodes if isinstance(node, ast.Attribute) and is_private(node.attr)]
    used = {ast.unparse(node): node.attr for node in read}
    foreign = {written for written, name in used.items() if name not in own}
    assert foreign - PRIVATE.keys() == set(), "list it in PRIVATE, with a test of its own"
    assert PRIVATE.keys() - used.keys() == set(), "nothing uses it any more"
    assert {test for test in PRIVATE.values() if test.startswith("test_")} <= globals().keys()


def test_private_modules_of_other_packages_are_not_imported(nodes):
    named = [
        alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert [name for name in named if any(map(is_private, name.split(".")))] == []


def test_masked_dask_arrays_are_refused_by_what_their_blocks_are():
    assert type(da.zeros((2, 3))._meta) is np.ndarray
    masked = da.ma.masked_array(da.zeros((2, 3)), mask=np.eye(2, 3))
    assert np.ma.isMaskedArray(masked._meta)


@pytest.mark.skipif(sys.platform == "win32", reason="batch systems are not for Windows")
def test_slurm_is_asked_for_the_reason_why_jobs_wait():
    said = asyncio.run(JobsOnThisMachine.job_cls._call(["echo", "7|Priority"]))
    assert said == "7|Priority\n"
    with pytest.raises(RuntimeError, match="Invalid job id"):
        asyncio.run(
            JobsOnThisMachine.job_cls._call(["sh", "-c", "echo Invalid job id >&2; exit 1"])
        )


def test_logs_of_workers_that_ended_are_found_in_the_folder_of_jobs(tmp_path):
    made = inspect.getattr_static(JobsOnThisMachine, "_dummy_job")
    assert isinstance(made, property)
    job = JobsOnThisMachine.job_cls(
        None, name="worker", cores=1, memory="1 GiB", log_directory=str(tmp_path)
    )
    assert job.log_directory == str(tmp_path)


def test_local_urls_are_paths_without_file(tmp_path):
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
def test_files_beside_a_file_are_listed_in_its_folder(fs, path, folder):
    assert fs._parent(path) == folder


def test_an_archive_that_was_replaced_is_opened_anew(tmp_path):
    path = tmp_path / "scans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.mrc", b"old")
    url = f"simplecache::zip://a.mrc::file://{path.as_posix()}"
    fs, _ = url_to_fs(url)
    assert url_to_fs(url)[0] is fs, "fsspec keeps nothing over an archive any more"
    close(fs)
    assert url_to_fs(url)[0] is not fs


@pytest.mark.parametrize("kind", [AsyncFileSystem, HTTPFileSystem, S3FileSystem])
def test_several_ranges_are_asked_for_in_the_loop_of_a_filesystem(kind):
    assert inspect.iscoroutinefunction(kind._cat_file)
    inspect.signature(kind._cat_file).bind(None, "bucket/a.mrc", start=0, end=1024)


def test_who_pays_goes_with_every_request():
    fs = S3FileSystem(
        key="a",
        secret="b",
        requester_pays=True,
        s3_additional_kwargs={"SSECustomerAlgorithm": "AES256", "ACL": "private"},
        skip_instance_cache=True,
    )
    client = sync(fs.loop, fs.set_session)
    asked = {"Bucket": "b", "Key": "a.mrc", "Range": "bytes=0-1023"}
    given = fs._get_s3_method_kwargs(client.get_object, fs.req_kw, **asked)
    # Of what was given once, what this method knows; of botocore's own client, too.
    assert fs._get_s3_method_kwargs(new_client(fs, "b").get_object, fs.req_kw, **asked) == given
    assert given == {**asked, "RequestPayer": "requester", "SSECustomerAlgorithm": "AES256"}
    assert sync(fs.loop, fs.get_s3, "b") is client
