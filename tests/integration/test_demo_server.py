"""The S3 server of the demonstration behaves like a bucket, and serves only its folder."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import s3fs

from mrcdist import FileChangedError, read_mrc
from mrcdist.testing.acquisition import write_acquisition
from mrcdist.testing.server import serve_s3
from tests.support.processes import ROOT


@pytest.fixture(scope="module")
def acquisition(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bucket")
    return write_acquisition(folder, scan_shape=(4, 8), frame_shape=(16, 16))


@pytest.fixture(scope="module")
def server(acquisition, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.log"
    program = ROOT / "demo" / "file_server.py"
    folder = acquisition.movie.parent
    with serve_s3(log, [sys.executable, str(program), str(folder)]) as running:
        yield running


def response_to(url, **headers):
    """Return status and body of a response."""
    request = urllib.request.Request(
        url, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_movie_on_the_demo_server_is_read_with_its_sidecar(server, acquisition):
    url = f"s3://demo/{acquisition.movie.name}"
    [ds] = read_mrc(url, distributed=True, storage_options=server.storage_options)
    frames = np.frombuffer(acquisition.movie.read_bytes()[1024:], "<u2").reshape(4, 8, 16, 16)
    np.testing.assert_array_equal(ds["data"].compute(scheduler="threads"), frames)
    assert server.requests()["GET"] >= 4, "the server did not count the requests"


def test_demo_server_lists_its_files_with_sizes(server, acquisition):
    store = s3fs.S3FileSystem(**server.storage_options, skip_instance_cache=True)
    listed = {info["name"]: info["size"] for info in store.ls("demo", detail=True)}
    assert listed == {f"demo/{path.name}": path.stat().st_size for path in acquisition.files}


def test_changed_file_on_the_demo_server_is_an_error(server, acquisition):
    copy = acquisition.movie.with_name("changed.mrc")
    copy.write_bytes(acquisition.movie.read_bytes())
    try:
        [ds] = read_mrc(
            "s3://demo/changed.mrc", distributed=True, storage_options=server.storage_options
        )
        copy.write_bytes(acquisition.movie.read_bytes()[:-2] + b"\1\1")
        with pytest.raises(FileChangedError):
            ds["data"].compute(scheduler="threads")
    finally:
        copy.unlink()


def test_demo_server_sends_the_requested_byte_ranges(server, acquisition):
    url = f"{server.endpoint}/demo/{acquisition.movie.name}"
    content = acquisition.movie.read_bytes()
    assert response_to(url) == (200, content)
    assert response_to(url, Range="bytes=3-1030") == (206, content[3:1031])
    assert response_to(url, Range=f"bytes={len(content) - 5}-") == (206, content[-5:])
    assert response_to(url, Range=f"bytes={len(content)}-")[0] == 416


@pytest.mark.parametrize("key", ["none.mrc", "../conftest.py", "%2e%2e/log/server.log"])
def test_demo_server_serves_no_files_outside_its_folder(key, server):
    status, body = response_to(f"{server.endpoint}/demo/{key}")
    assert (status, b"NoSuchKey" in body) == (404, True)
